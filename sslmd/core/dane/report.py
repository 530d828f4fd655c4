"""What the last look tells of a certificate's TLSA records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.dane.content import Given
from sslmd.core.dane.look import answer_of, short
from sslmd.core.dane.places import Elsewhere, Fate, fits, records_for
from sslmd.core.dane.sighting import surplus
from sslmd.core.dane.tlsa import TlsaHosts, owned
from sslmd.core.dane.zone import KnownZone
from sslmd.core.names import CertId, DomainName, SetName
from sslmd.core.plain import plain
from sslmd.core.reason import Reason, on_wire
from sslmd.core.roll_wait import issued_at
from sslmd.core.seen import InDns
from sslmd.core.state import CertState, Phase
from sslmd.core.words.sentence import say

# Where a finding is of a record that is wanted and nowhere.
NOT_PUBLISHED = "not published"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report. `wrong`: clients that check DANE are turned away, or may be.

    `warning`: DANE does not do what it is there for. `unseen`: it could not be looked at, so that
    nobody knows (I11).
    """

    where: str
    why: Reason
    wrong: bool = False
    warning: bool = False
    unseen: bool = False

    @property
    def text(self) -> str:
        """What people read beside `where`."""
        return plain(say(self.why))

    def as_json(self) -> dict[str, object]:
        """Return it as the socket has it."""
        return {
            "where": self.where,
            "text": self.text,
            **on_wire(self.why, "text"),
            "wrong": self.wrong,
            "warning": self.warning,
            "unseen": self.unseen,
        }


@dataclass(frozen=True, slots=True)
class DaneReport:
    """What the last comparison of DNS, ports and keys found, and when."""

    at: datetime
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> list[str]:
        """What clients that check DANE are turned away by."""
        return [f"{one.where} {one.text}" for one in self.findings if one.wrong]

    @property
    def warnings(self) -> list[str]:
        """What makes DANE useless, and turns nobody away."""
        return [f"{one.where}: {one.text}" for one in self.findings if one.warning]

    @property
    def unseen(self) -> list[str]:
        """What could not be looked at, so that nobody knows (I11)."""
        return [f"{one.where}: {one.text}" for one in self.findings if one.unseen]

    @property
    def notable(self) -> list[Finding]:
        """The findings of these three kinds."""
        return [one for one in self.findings if one.wrong or one.warning or one.unseen]

    @property
    def missing(self) -> bool:
        """Whether something that is wanted is not published."""
        return any(one.where == NOT_PUBLISHED for one in self.findings)

    @property
    def fits(self) -> bool:
        """Whether everything was looked at, and is as it should be."""
        return not (self.wrong or self.unseen or self.missing)


def findings_of(
    zone: KnownZone, cert: CertId, state: CertState, now: datetime, limit: timedelta
) -> list[Finding]:
    """Return what the last look tells of a certificate's records, server by server.

    `limit`: for how long a set on deck may wait for its records before that is told.
    """
    if zone.look_trouble or zone.seen is None:
        return [Finding("DNS", zone.look_trouble or Reason(InDns.NOT_YET), wrong=True)]
    needed = zone.share(cert).serving
    owners = {owner for owner, _ in needed}
    found = [Finding("DNS", zone.trouble, wrong=True)] if zone.trouble else []
    if problem := late(state, now, limit):
        found.append(Finding("on deck", problem, wrong=True))
    for whose, why in zone.given.unfit.values() if zone.given is not None else ():
        if whose == cert:
            found.append(Finding(NOT_PUBLISHED, why, wrong=True))
    before = zone.given.before if zone.given is not None else {}
    ours = owned(zone.content) | owned(before)
    for server in zone.seen.servers:
        answer = answer_of(zone, server, needed)
        where = f"name server {answer.server}"
        if server.out_of_reach:
            why = Reason(InDns.NOT_ASKED, why=server.out_of_reach)
            found.append(Finding(where, why, unseen=True))
            continue
        if problem := answer.silent or answer.missing:
            found.append(Finding(where, problem, wrong=True))
            continue
        others = {(at, record) for at, record in surplus(server, ours) if at in owners}
        if others:
            owner, record = min(others)
            why = Reason(InDns.NOT_OURS, owner=owner, record=short(record))
            found.append(Finding(where, why, wrong=True))
            continue
        shows = Reason(InDns.SHOWS, number=len(needed)) if needed else Reason(InDns.SHOWS_NOTHING)
        found.append(Finding(where, shows))
    if zone.unsigned:
        found.append(Finding("DNSSEC", Reason(InDns.ZONE_UNSIGNED, zone=zone.name), warning=True))
    if zone.given is not None:
        mine = _CertInZone(zone, zone.given, cert, state)
        found += [*mine.of_places(), *mine.outside()]
    return found


@dataclass(frozen=True, slots=True)
class _CertInZone:
    """What is looked at for one certificate."""

    zone: KnownZone
    given: Given
    cert: CertId
    state: CertState

    def of_places(self) -> Iterator[Finding]:
        """Tell where records are that are not at their owner, and of those that others keep."""
        given, cert, elsewhere = self.given, self.cert, self.zone.elsewhere
        curr = self.state.curr.name if self.state.curr is not None else None
        for owner, place in sorted(given.places_of(cert).items()):
            why = place.why
            assert why is not None
            if place.fate is Fate.ELSEWHERE:
                none = Reason(InDns.NONE_THERE, place=why, **self._record(owner, place.at, curr))
                nothing = Finding(NOT_PUBLISHED, none, warning=True)
                yield self._judged(owner, place.at, why, elsewhere.get(owner), nothing)
            else:
                where = "published" if place.is_written else NOT_PUBLISHED
                yield Finding(where, why, warning=not place.is_written)
        for owner, first in sorted(given.ends_of(cert).items()):
            # The records at the end of a host that is a CNAME come first.
            if owner not in given.places or given.places[owner].is_written:
                why = Reason(InDns.END_FIRST, first=first)
                nothing = Finding(owner.text, Reason(InDns.NONE_AT_END, place=why))
                yield self._judged(owner, first, why, elsewhere.get(first), nothing)
        if given.ends_problem:
            why = Reason(InDns.ENDS_UNSEEN, why=given.ends_problem)
            yield Finding("hosts", why, unseen=True)
        others = self.zone.kept_by_others(cert)
        unfit = any(whose == cert for whose, _ in given.unfit.values())
        if given.wants.get(cert) and not (self.zone.share(cert).needed or others or unfit):
            yield Finding(NOT_PUBLISHED, Reason(InDns.NONE_IN_DNS), warning=True)

    def _record(self, owner: DomainName, at: DomainName, name: SetName | None) -> dict[str, str]:
        """Return which record is to be added, as facts: the record, or of which set."""
        materials, wants = self.given.materials.get(self.cert, {}), self.given.wants
        material = materials.get(name) if name is not None else None
        made = records_for(material, owner, wants.get(self.cert, {})) if material else []
        if made:
            return {"add": f"{at} TLSA {made[0][1]}"}
        return {"set": str(name)} if name is not None else {}

    def _judged(
        self,
        owner: DomainName,
        at: DomainName,
        place: Reason,
        seen: Elsewhere | None,
        nothing: Finding,
    ) -> Finding:
        """Judge the records that are somewhere else, for the keys in use and on deck.

        `place`: where they are; `nothing`: what is found if there are none.
        """
        if seen is None or seen.problem:
            problem = seen.problem if seen is not None else None
            why = Reason(InDns.THERE_UNSEEN, place=place, why=problem)
            return Finding(owner.text, why, unseen=True)
        if not seen.records:
            return nothing
        missing = [
            one.name
            for one in (self.state.curr, self.state.next)
            if one is not None
            and (material := self.given.materials.get(self.cert, {}).get(one.name)) is not None
            and fits(material, seen.records) is None
        ]
        curr = self.state.curr
        if curr is not None and curr.name in missing:
            add = self._record(owner, at, curr.name)
            return Finding(owner.text, Reason(InDns.THERE_WRONG, place=place, **add), wrong=True)
        add = self._record(owner, at, missing[0]) if missing else {}
        return Finding(owner.text, Reason(InDns.THERE_WELL, place=place, **add))

    def outside(self) -> Iterator[Finding]:
        """Tell which hosts get no records because they are in other zones."""
        mine, zone = self.zone.mine(self.cert), self.zone.name
        kinds = {entry.hosts for entry in mine.entries} if mine is not None else set()
        hosts = set(self.given.outside if TlsaHosts.MX in kinds else ())
        if mine is not None and TlsaHosts.SANS in kinds:
            names = (name for name in mine.names if isinstance(name, DomainName))
            hosts.update(name for name in names if not name.is_within(zone))
        for host in sorted(hosts):
            yield Finding(host.text, Reason(InDns.HOST_OUTSIDE, zone=zone))
        if self.given.notes.null_mx and TlsaHosts.MX in kinds:
            yield Finding("MX", Reason(InDns.NULL_MX, zone=zone))


def late(state: CertState, now: datetime, limit: timedelta) -> Reason | None:
    """Return for what a set on deck has been waiting too long, None if it has not."""
    next_, sighting = state.next, state.sighting
    if next_ is None or next_.cert is None or state.phase is not Phase.ISSUED:
        return None
    since = issued_at(next_, state.next_note)
    if now - since < limit or (sighting is not None and sighting.since is not None):
        return None
    why = sighting.missing if sighting is not None else None
    return Reason(InDns.LATE, set=next_.name, since=since, why=why)
