"""Why a record is not seen everywhere, in words: which server, what, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from sslmd.core.names import DomainName, ZoneName
from sslmd.dns.answers import is_behind
from sslmd.dns.ask import NameServer

# Servers and owners that a text names.
MOST_SERVERS = 5
MOST_OWNERS = 2
MOST_ALIKE = 5


class PublishedBy(Enum):
    """How the records got to the primary."""

    BY_COMMAND = auto()
    BY_UPDATE = auto()


@dataclass(slots=True)
class Behind:
    """A server that does not show the records of `owners`.

    `fault`: why it gives no answer at all, "" if it gives one. `resolver`: one of `dns_xtra_ns`.
    """

    server: NameServer
    owners: Sequence[DomainName]
    fault: str = ""
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


def waiting(zone: ZoneName, behind: Sequence[Behind], primary: Primary | None) -> str:
    """Return what is being waited for."""
    if primary is not None and primary.shows is False:
        return f"zone {zone}: {_without(primary)}"
    return f"zone {zone}: {_servers(behind, primary)}"


def failed(
    zone: ZoneName,
    behind: Sequence[Behind],
    primary: Primary | None,
    published: PublishedBy,
    waited: float,
) -> str:
    """Return what is still missing after `waited` seconds, and the ways out."""
    time = _span(waited)
    if primary is not None and primary.shows is False:
        done, remedy = _primary_remedy(zone, primary, published)
        return f"zone {zone}: {done}, but {_without(primary)} after {time}{remedy}"
    remedies = dict.fromkeys(_remedy(one, primary) for one in behind)
    return f"zone {zone}: {_servers(behind, primary, time)}; {'; '.join(remedies)}"


def _without(primary: Primary) -> str:
    still = "still serves" if primary.unchanged else "serves"
    serial = "" if primary.serial is None else f"serial {primary.serial} "
    return f"the primary {primary.server} {still} {serial}without {primary.owner} TXT"


def _primary_remedy(zone: ZoneName, primary: Primary, published: PublishedBy) -> tuple[str, str]:
    if published is PublishedBy.BY_UPDATE:
        view = "; see its log, and whether it answers us with another view of the zone"
        return "the update was accepted", view
    include = f"has an $INCLUDE of acme-challenge.{zone}"
    if primary.unchanged:
        remedy = ": the reload was not taken; see its log, run named-checkzone"
    elif primary.serial_before is not None:
        remedy = f"; see whether its zone file {include}"
    else:
        remedy = f"; see its log, run named-checkzone, see whether its zone file {include}"
    return "the command succeeded", remedy


def _servers(behind: Sequence[Behind], primary: Primary | None, waited: str = "") -> str:
    told: dict[str, list[NameServer]] = {}
    for one in behind:
        told.setdefault(_what(one, primary, waited), []).append(one.server)
    texts = [
        f"{_some(servers)} {what if len(servers) == 1 else what.replace('does not', 'do not', 1)}"
        for what, servers in told.items()
    ]
    return "; ".join(texts[:MOST_SERVERS]) + _and_more(len(texts) - MOST_SERVERS)


def _some(servers: Sequence[NameServer]) -> str:
    """Return servers of which the same is to be said."""
    named = ", ".join(map(str, servers[:MOST_ALIKE]))
    return f"{named}{_and_more(len(servers) - MOST_ALIKE)}"


def _what(one: Behind, primary: Primary | None, waited: str) -> str:
    if one.fault:
        return f"{one.fault}, tried for {waited}" if waited else one.fault
    owners = ", ".join(str(owner) for owner in one.owners[:MOST_OWNERS])
    text = f"does not show {owners}{_and_more(len(one.owners) - MOST_OWNERS)} TXT"
    if waited:
        text += f" after {waited}"
    if one.resolver or one.serial is None or primary is None or primary.serial is None:
        return text
    if (one.server.address, one.server.port) == (primary.server.address, primary.server.port):
        return text
    if is_behind(one.serial, primary.serial):
        return f"{text}, its serial {one.serial} is behind the primary's {primary.serial}"
    return f"{text}, although its serial is {one.serial} and the primary's {primary.serial}"


def _remedy(one: Behind, primary: Primary | None) -> str:
    if one.resolver:
        return "if a resolver cannot be asked from here or keeps old answers, correct dns_xtra_ns"
    if one.fault:
        return (
            "let it serve the zone and answer us, or take it out of the zone's NS records (or of "
            "nameservers in [[dns_primary]])"
        )
    if primary is not None and primary.shows and primary.unchanged:
        return (
            f"the primary shows it with the serial it had before, {primary.serial}, so that "
            "nobody fetches the zone: let restart_cmd of [dns] raise the serial"
        )
    return "check its transfer from the primary"


def _and_more(number: int) -> str:
    return f" and {number} more" if number > 0 else ""


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
