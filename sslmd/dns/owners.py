"""What the owner of a record is in DNS, found before anything is written there.

The records that we write have owners (`_acme-challenge.www.example.com` TXT,
`_25._tcp.mail.example.com` TLSA), and the configuration says in which zone they are. DNS may see it
otherwise:

- a part of the zone is a zone of its own (a cut, RFC 1034 §4.2), which hides what is written
  above it;
- the owner is a CNAME, or below a DNAME (RFC 6672): what is written beside it is refused, or
  breaks the zone file;
- a wildcard answers for the owner (RFC 4592): a record at the owner itself is served in its
  place. But it makes nodes of the names above it that were none before, and the wildcard no
  longer answers for those: a host that has its address from `*.apps` has none while there is
  anything below it.

`OwnerLook` asks every name server of one zone, each question once, and gives `OwnerFacts` for each
owner:

    looking = OwnerLook(asker, zone, await authoritative(zone, primary, resolver))
    finding = await looking.at(owner)
    finding.zone       the zone that the owner is in; `finding.in_child`: in one below ours
    finding.alias      the CNAME at the owner; `alias.is_real`: not made by a wildcard
    finding.overshadowed    the names that would lose what a wildcard gives them

Only name servers of the zone are believed: a resolver that lies about it changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sslmd.core.errors import SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.dns.ask import DnsAsker, NameServer
from sslmd.dns.nameservers import nobody_tells
from sslmd.dns.owner_view import TTL, Alias, Node, OwnerSaid, OwnerUnheard, OwnerView


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """What `owner` is, as all name servers say that answer.

    `asked`: the zone whose name servers were asked. `zone`: the one that the owner is in, by the
    SOA or the referral in their answers. `wildcard` is the one that answers for the owner, where
    `node` says so, and `absent` the names from the owner upward that do not exist, up to the
    wildcard's place. `silent`: servers that did not answer, and why, without those that this
    machine has no way to. `ttl`: seconds for which this counts.
    """

    owner: DomainName
    asked: ZoneName
    zone: ZoneName
    node: Node
    alias: Alias | None = None
    wildcard: DomainName | None = None
    absent: tuple[DomainName, ...] = ()
    silent: tuple[Reason, ...] = ()
    ttl: int = TTL

    @property
    def in_child(self) -> bool:
        """Whether it is in a zone below the one that was asked, delegated or on the same server."""
        return self.zone != self.asked and DomainName(self.zone.text).is_within(self.asked)

    @property
    def in_parent(self) -> bool:
        """Whether what was asked for as a zone is none, but a part of `zone`."""
        return self.zone != self.asked and not self.in_child

    @property
    def overshadowed(self) -> tuple[DomainName, ...]:
        """The names above the owner that a record there would take from the wildcard, lowest first.

        They do not exist, and get all that they have from `wildcard`. A record at the owner makes
        them empty non-terminals, with nothing (RFC 4592 §2.2.2). Empty where no harm is done.
        """
        return tuple(name for name in self.absent if name != self.owner)

    @property
    def is_plain(self) -> bool:
        """Whether a record at the owner, in the zone that was asked, is served and harms none."""
        real = self.alias is not None and self.alias.is_real
        return self.zone == self.asked and not real and not self.overshadowed


class Contradictory(Transient):
    """A zone's name servers do not say the same; that may pass."""


class OwnerLook:
    """Asks the name servers of one zone about owners. For one attempt: it keeps all answers.

    `foreign`: nothing is written in that zone, and CNAMEs that wildcards make there stay. Elsewhere
    servers need not agree on these: what is written takes their place on all of them.
    """

    def __init__(
        self,
        asker: DnsAsker,
        zone: ZoneName,
        servers: Sequence[NameServer],
        *,
        foreign: bool = False,
    ) -> None:
        self.zone = zone
        self._foreign = foreign
        self._views = [OwnerView(asker, server, zone) for server in dict.fromkeys(servers)]

    async def at(self, owner: DomainName) -> OwnerFacts:
        """Return what `owner`, a name in the zone, is.

        Raises `Transient` if no server tells, `Contradictory` if they contradict each other, naming
        the servers and what they said, and `Permanent` for a CNAME that leads to no host name.
        """
        said = await asyncio.gather(*(view.of(owner) for view in self._views))
        heard = [one for one in said if isinstance(one, OwnerSaid)]
        silent = [one for one in said if isinstance(one, OwnerUnheard)]
        if not heard:
            raise nobody_tells(self.zone, owner, [one.why for one in silent])
        self._same(owner, heard)
        # One that serves the child knows more than one that only refers to it.
        known = [one for one in heard if one.node is not Node.UNKNOWN] or heard
        best = max(known, key=lambda one: len(one.absent))
        return OwnerFacts(
            owner,
            self.zone,
            best.zone,
            best.node,
            best.alias,
            best.wildcard,
            best.absent,
            tuple(one.why for one in silent if not one.out_of_reach),
            min(one.ttl for one in heard),
        )

    async def all(self, owners: Iterable[DomainName]) -> dict[DomainName, OwnerFacts | SslmError]:
        """Return the finding of each owner, or why there is none: one keeps out no other (I6)."""
        names = list(dict.fromkeys(owners))
        found = await asyncio.gather(*map(self.at, names), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, SslmError):
                raise one
        return {
            name: one
            for name, one in zip(names, found, strict=True)
            if isinstance(one, OwnerFacts | SslmError)
        }

    def _same(self, owner: DomainName, heard: Sequence[OwnerSaid]) -> None:
        """Raise `Contradictory` if the servers do not say the same."""
        tellers: dict[Reason, list[str]] = {}
        for one in heard:
            tellers.setdefault(one.told(), []).append(str(one.server))
        if len({one.zone for one in heard}) == 1:
            aliases = {
                (one.alias.target, one.alias.made, one.alias.by)
                if one.alias is not None and (one.alias.is_real or self._foreign)
                else None
                for one in heard
                if one.node is not Node.UNKNOWN
            }
            if len(aliases) <= 1:
                return
        said = tuple(
            Reason(Failed.SERVERS_SAY, servers=tuple(servers), what=what)
            for what, servers in tellers.items()
        )
        why = Reason(Failed.CONTRADICTORY, owner=owner, said=said)
        raise Contradictory(why, about=f"zone {self.zone}")
