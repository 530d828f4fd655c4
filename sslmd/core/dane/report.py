"""What the last look tells of a certificate's TLSA records, for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.dane.content import Given, unsigned_text
from sslmd.core.dane.look import answer_of, short
from sslmd.core.dane.places import Elsewhere, Fate, fits, records_for
from sslmd.core.dane.sighting import surplus
from sslmd.core.dane.tlsa import TlsaHosts, owned
from sslmd.core.dane.zone import KnownZone
from sslmd.core.names import CertId, DomainName, SetName
from sslmd.core.plain import clock
from sslmd.core.roll_wait import issued_at
from sslmd.core.state import CertState, Phase

# Where a finding is of a record that is wanted and nowhere.
NOT_PUBLISHED = "not published"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report. `wrong`: clients that check DANE are turned away, or may be.

    `warning`: DANE does not do what it is there for. `unseen`: it could not be looked at, so that
    nobody knows (I11).
    """

    where: str
    text: str
    wrong: bool = False
    warning: bool = False
    unseen: bool = False


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
        return [Finding("DNS", zone.look_trouble or "not looked at yet", wrong=True)]
    needed = zone.share(cert).serving
    owners = {owner for owner, _ in needed}
    found = [Finding("DNS", zone.trouble, wrong=True)] if zone.trouble else []
    if problem := late(state, now, limit):
        found.append(Finding("on deck", problem, wrong=True))
    for whose, text in zone.given.unfit.values() if zone.given is not None else ():
        if whose == cert:
            found.append(Finding(NOT_PUBLISHED, text, wrong=True))
    before = zone.given.before if zone.given is not None else {}
    ours = owned(zone.content) | owned(before)
    for server in zone.seen.servers:
        answer = answer_of(zone, server, needed)
        where = f"name server {answer.server}"
        if server.out_of_reach:
            found.append(Finding(where, f"not asked: it {server.out_of_reach}", unseen=True))
            continue
        if problem := answer.silent or answer.missing:
            found.append(Finding(where, problem, wrong=True))
            continue
        others = {(at, record) for at, record in surplus(server, ours) if at in owners}
        if others:
            owner, record = min(others)
            text = f"serves {owner} TLSA {short(record)}, which is not ours; remove it there"
            found.append(Finding(where, text, wrong=True))
            continue
        count = len(needed)
        what = "record" if count == 1 else f"{count} records"
        text = f"shows the {what} of the keys in use" if count else "nothing to show"
        found.append(Finding(where, text))
    if zone.unsigned:
        found.append(Finding("DNSSEC", unsigned_text(zone.name), warning=True))
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
            if place.fate is Fate.ELSEWHERE:
                add = self._record(owner, place.at, curr)
                text = f"{why}; there are no TLSA records there; add {add}"
                nothing = Finding(NOT_PUBLISHED, text, warning=True)
                yield self._judged(owner, place.at, why, elsewhere.get(owner), nothing)
            else:
                where = "published" if place.is_written else NOT_PUBLISHED
                yield Finding(where, why, warning=not place.is_written)
        for owner, first in sorted(given.ends_of(cert).items()):
            # The records at the end of a host that is a CNAME come first.
            if owner not in given.places or given.places[owner].is_written:
                why = f"its host is a CNAME, so clients look at {first} first (RFC 7671 §7)"
                text = f"{why}; there are no TLSA records there, so those here count"
                seen = elsewhere.get(first)
                yield self._judged(owner, first, why, seen, Finding(owner.text, text))
        if given.ends_problem:
            text = "whether hosts are CNAMEs, so that records at their ends come first"
            yield Finding("hosts", f"not seen: {text}: {given.ends_problem}", unseen=True)
        others = self.zone.kept_by_others(cert)
        unfit = any(whose == cert for whose, _ in given.unfit.values())
        if given.wants.get(cert) and not (self.zone.share(cert).needed or others or unfit):
            text = "none of its TLSA records is in DNS, so nobody checks its ports"
            yield Finding(NOT_PUBLISHED, text, warning=True)

    def _record(self, owner: DomainName, at: DomainName, name: SetName | None) -> str:
        materials, wants = self.given.materials.get(self.cert, {}), self.given.wants
        material = materials.get(name) if name is not None else None
        made = records_for(material, owner, wants.get(self.cert, {})) if material else []
        return f"{at} TLSA {made[0][1]}" if made else f"a TLSA record of set {name}"

    def _judged(
        self, owner: DomainName, at: DomainName, why: str, seen: Elsewhere | None, nothing: Finding
    ) -> Finding:
        """Judge the records that are somewhere else, for the keys in use and on deck.

        `nothing`: what is found if there are none.
        """
        if seen is None or seen.problem:
            unseen = "not looked at yet" if seen is None else f"not seen: {seen.problem}"
            return Finding(owner.text, f"{why}; {unseen}", unseen=True)
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
            text = f"no TLSA record there is of the key in use; add {add}"
            return Finding(owner.text, f"{why}; {text}", wrong=True)
        text = "the TLSA records there are of the key in use"
        if missing:
            add = self._record(owner, at, missing[0])
            text += f"; the roll waits until that of the next key is there: {add}"
        return Finding(owner.text, f"{why}; {text}")

    def outside(self) -> Iterator[Finding]:
        """Tell which hosts get no records because they are in other zones."""
        mine, zone = self.zone.mine(self.cert), self.zone.name
        kinds = {entry.hosts for entry in mine.entries} if mine is not None else set()
        hosts = set(self.given.outside if TlsaHosts.MX in kinds else ())
        if mine is not None and TlsaHosts.SANS in kinds:
            names = (name for name in mine.names if isinstance(name, DomainName))
            hosts.update(name for name in names if not name.is_within(zone))
        for host in sorted(hosts):
            text = f"is not in zone {zone}: its TLSA records belong into its own zone"
            yield Finding(host.text, text)
        if self.given.notes.null_mx and TlsaHosts.MX in kinds:
            text = f"zone {zone} takes no mail (null MX, RFC 7505): no TLSA record for MX hosts"
            yield Finding("MX", text)


def late(state: CertState, now: datetime, limit: timedelta) -> str:
    """Return for what a set on deck has been waiting too long, "" if it has not."""
    next_, sighting = state.next, state.sighting
    if next_ is None or next_.cert is None or state.phase is not Phase.ISSUED:
        return ""
    since = issued_at(next_, state.next_note)
    if now - since < limit or (sighting is not None and sighting.since is not None):
        return ""
    why = sighting.missing if sighting is not None else "they are not published"
    return f"set {next_.name} waits for its TLSA records since {clock(since)}: {why}"
