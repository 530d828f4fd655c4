"""Why a record is not seen everywhere: which server, what, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.dns.answers import is_behind
from sslmd.dns.ask import NameServer

# Kinds of trouble that one reason tells.
MOST_TOLD = 5


class PublishedBy(StrEnum):
    """How the records got to the primary."""

    BY_COMMAND = "command"
    BY_UPDATE = "update"


@dataclass(slots=True)
class Behind:
    """A server that does not show the records of `owners`.

    `fault`: why it gives no answer at all, None if it gives one. `resolver`: one of `dns_xtra_ns`.
    """

    server: NameServer
    owners: Sequence[DomainName]
    fault: Reason | None = None
    serial: int | None = None
    resolver: bool = False


@dataclass(frozen=True, slots=True)
class Primary:
    """What the primary says. `shows`: whether it has the record of `owner`, None if unknown.

    `serial_before`: its serial before the change, None if that is not known.
    """

    server: NameServer
    owner: DomainName
    shows: bool | None
    serial: int | None
    serial_before: int | None

    @property
    def unchanged(self) -> bool:
        """Whether its serial is known to be the one from before the change."""
        return self.serial is not None and self.serial == self.serial_before


def missing(
    zone: ZoneName,
    behind: Sequence[Behind],
    primary: Primary | None,
    waited: timedelta | None = None,
    published: PublishedBy | None = None,
) -> Reason:
    """Return what is being waited for; after `waited` in vain, the ways out as well."""
    if primary is not None and primary.shows is False:
        why = Reason(
            Failed.PRIMARY_WITHOUT,
            server=str(primary.server),
            serial=primary.serial,
            owner=primary.owner,
            unchanged=primary.unchanged or None,
            was_known=primary.serial_before is not None or None,
            zone=zone,
            published=published,
            waited=waited,
        )
        return why.of(f"zone {zone}")
    alike: dict[Reason, list[str]] = {}
    for one in behind:
        alike.setdefault(_lack(one, primary, waited), []).append(str(one.server))
    parts = [
        Reason(why.code, servers=tuple(servers), **dict(why.facts))
        for why, servers in alike.items()
    ]
    remedies = dict.fromkeys(_remedy(one, primary) for one in behind) if waited is not None else ()
    why = Reason(
        Failed.NOT_EVERYWHERE,
        servers=tuple(parts[:MOST_TOLD]),
        more=len(parts[MOST_TOLD:]) or None,
        remedies=tuple(remedies) or None,
    )
    return why.of(f"zone {zone}")


def _lack(one: Behind, primary: Primary | None, waited: timedelta | None) -> Reason:
    """Return what a server does instead of showing the records, without its name."""
    if one.fault:
        return Reason(Failed.SERVERS_LACK, fault=one.fault, waited=waited)
    owners = tuple(map(str, one.owners))
    why = Reason(Failed.SERVERS_LACK, owners=owners, waited=waited)
    if one.resolver or one.serial is None or primary is None or primary.serial is None:
        return why
    if (one.server.address, one.server.port) == (primary.server.address, primary.server.port):
        return why
    return Reason(
        Failed.SERVERS_LACK,
        owners=owners,
        waited=waited,
        serial=one.serial,
        primary=primary.serial,
        behind=is_behind(one.serial, primary.serial) or None,
    )


def _remedy(one: Behind, primary: Primary | None) -> Reason:
    if one.resolver:
        return Reason(Failed.FIX_RESOLVER)
    if one.fault:
        return Reason(Failed.FIX_NAME_SERVER)
    if primary is not None and primary.shows and primary.unchanged:
        return Reason(Failed.FIX_SERIAL, serial=primary.serial)
    return Reason(Failed.FIX_TRANSFER)
