"""What a zone makes of lifetimes of others, records kept elsewhere, and servers that are silent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sslmd.core.dane.content import Given, Wish, ZoneNotes, cert_wish, content_for
from sslmd.core.dane.judging import dane_of
from sslmd.core.dane.look import sight, take
from sslmd.core.dane.places import Elsewhere, Fate, Place
from sslmd.core.dane.report import DaneReport, findings_of
from sslmd.core.dane.sighting import Instant, NameServersSeen, OwnerSeen, TlsaSeen
from sslmd.core.dane.tlsa import Tlsa, TlsaSet, association
from sslmd.core.dane.verdict import Counting, Dane, HeldBack, NoRecords, Unknown, Withdrawn
from sslmd.core.dane.zone import KnownZone
from sslmd.core.names import DomainName
from sslmd.core.state import CertState
from sslmd.core.view import Decision
from sslmd.core.words.sentence import say
from sslmd.daemon.registry import Entry
from tests.daemon.test_dane_zone import (
    BOTH,
    CERT,
    CURR,
    NEXT,
    OWNER,
    PLAIN,
    SERVICE,
    WANTED,
    ZONE,
    material,
    seen,
    zone_with,
)
from tests.reasons import because
from tests.stand.world import START, days

DAY = 86_400
ENTRY = Entry(WANTED, frozenset(), BOTH, None, Decision(because("")))
PROVIDER = DomainName("_dane.provider.test")
CURR_RECORD = association(PLAIN.combination, material(CURR.name))
NEXT_RECORD = association(PLAIN.combination, material(NEXT.name))


def known_zone() -> KnownZone:
    return zone_with(SERVICE, ZoneNotes(known=frozenset({(OWNER, PLAIN.combination)}), ttl=600))


def dane_now(zone: KnownZone, state: CertState = BOTH) -> Dane:
    return dane_of(zone, CERT, Entry(WANTED, frozenset(), state, None, Decision(because(""))))


def sighted(zone: KnownZone, state: CertState) -> tuple[KnownZone, CertState]:
    sighting, alone = sight(zone, CERT, state)
    assert alone is not None
    return replace(zone, apart={CERT: alone}), replace(state, sighting=sighting)


def is_checked(zone: KnownZone) -> bool:
    return not isinstance(dane_now(zone), NoRecords)


def at(seconds: float, one: NameServersSeen) -> NameServersSeen:
    when = Instant("boot", seconds)
    return replace(one, began=when, ended=when)


# --- lifetimes ---


def test_the_longest_ttl_that_was_ever_seen_is_waited_for() -> None:
    """A record made by hand, of a day: caches hold the set with it when it is long gone."""
    zone = known_zone()
    some = zone.content[OWNER]
    zone = take(zone, seen(zone, {OWNER: TlsaSet(DAY, some.records)}))
    assert zone.notes is not None
    assert zone.noted.longest == {OWNER: DAY}
    zone = take(zone, at(200.0, seen(zone, zone.content)))
    sighting = sight(zone, CERT, BOTH)[0]
    assert sighting is not None
    assert sighting.need == 2 * DAY
    # Kept over a restart, and gone when no cache can have it any more.
    later = at(250.0 + 2 * DAY, seen(zone, zone.content))
    zone = take(zone, later)
    assert zone.noted.longest == {}
    assert zone.noted.ttl == 600


def test_one_that_stays_keeps_nothing_from_its_end() -> None:
    """Somebody's record of a day stands beside ours for good."""
    zone = known_zone()
    some = zone.content[OWNER]
    beside = seen(zone, {OWNER: TlsaSet(DAY, some.records)})
    zone = take(zone, beside)
    zone = take(zone, at(200.0 + 2 * DAY, beside))
    assert zone.sighting is not None
    assert zone.sighting.complete
    assert zone.ttl_of(CERT) == DAY


def test_the_ttl_at_another_owner_is_not_waited_for() -> None:
    """I6."""
    zone = known_zone()
    other = DomainName("_25._tcp.other.example.com")
    assert zone.notes is not None
    zone = replace(zone, notes=replace(zone.notes, longest={other: DAY}))
    assert zone.ttl_of(CERT) == 600
    assert zone.noted.longest_ttl == DAY


# --- kept elsewhere ---


def zone_elsewhere(*records: object, problem: str = "") -> KnownZone:
    """A zone whose only owner is a CNAME to a provider's."""
    wish = Wish(ZONE, (cert_wish(ENTRY, SERVICE.dane, SERVICE.dane_ttl),))
    place = Place(Fate.ELSEWHERE, PROVIDER, because("is a CNAME"), PROVIDER)
    places = {OWNER: place}
    content, materials, notes = content_for(
        wish, ZoneNotes(), {}, lambda _, name: material(name), frozenset(), places
    )
    assert content.records == {}
    zone = KnownZone(ZONE, frozenset({CERT}), notes, wish, wish)
    wants = {CERT: {OWNER: frozenset({PLAIN.combination})}}
    zone = replace(
        zone,
        given=Given(content, materials, notes, {}, None, (), True, (), wants=wants, places=places),
    )
    there = frozenset(one for one in records if one is not None)
    zone = replace(zone, elsewhere={OWNER: Elsewhere(PROVIDER, there, 60 if there else 0, problem)})  # type: ignore[arg-type]
    shown = OwnerSeen[Tlsa](ttl=60, fault=because("has a CNAME"), cname=PROVIDER)
    when = Instant("boot", 100.0)
    return take(zone, NameServersSeen((TlsaSeen("192.0.2.1", {OWNER: shown}),), when, when, START))


def test_a_key_waits_for_its_record_at_the_provider() -> None:
    zone = zone_elsewhere(CURR_RECORD)
    assert is_checked(zone)
    sighting = sight(zone, CERT, BOTH)[0]
    assert sighting is not None
    assert sighting.since is None
    assert f"add TLSA {NEXT_RECORD} there" in say(sighting.missing)
    both = frozenset(one for one in (CURR_RECORD, NEXT_RECORD) if one is not None)
    zone = replace(zone, elsewhere={OWNER: Elsewhere(PROVIDER, both, 60)})
    sighting = sight(zone, CERT, replace(BOTH, sighting=sighting))[0]
    assert sighting is not None
    assert sighting.since is not None
    assert sighting.need == 120


def test_what_cannot_be_looked_at_there_is_not_taken_for_nothing() -> None:
    zone = zone_elsewhere(problem="nobody answers")
    assert is_checked(zone)
    sighting = sight(zone, CERT, BOTH)[0]
    assert sighting is not None
    assert "nobody answers" in say(sighting.missing)


def test_nothing_there_is_waited_for_by_nobody() -> None:
    zone = zone_elsewhere()
    assert not is_checked(zone)
    assert sight(zone, CERT, BOTH)[0] is None


def test_where_no_key_fits_nothing_is_lost_by_a_roll() -> None:
    """A host of somebody else's, say: it is told, and keeps nothing from being renewed."""
    zone = zone_elsewhere(association(PLAIN.combination, material("other")))
    assert not is_checked(zone)
    assert sight(zone, CERT, BOTH)[0] is None
    # With the record of the key in use beside it, that may be lost.
    assert is_checked(zone_elsewhere(CURR_RECORD))
    # So with that of the next key alone: caches may hold what was there before.
    assert is_checked(zone_elsewhere(NEXT_RECORD))


def test_what_others_take_away_fades_as_ours_does() -> None:
    zone = zone_elsewhere(CURR_RECORD)
    assert zone.notes is not None
    assert zone.notes.holders == {(OWNER, str(CERT))}
    zone = replace(zone, elsewhere={OWNER: Elsewhere(PROVIDER)})
    assert zone.seen is not None
    zone = take(zone, at(200.0, zone.seen))
    assert zone.noted.fading == {(OWNER, str(CERT))}
    assert isinstance(dane_now(zone), Withdrawn)


def test_what_is_reported_of_it() -> None:
    limit = days(1)

    def report(zone: KnownZone) -> DaneReport:
        return DaneReport(START, tuple(findings_of(zone, CERT, BOTH, START, limit)))

    well = report(zone_elsewhere(CURR_RECORD))
    assert well.fits
    assert any("of the key in use" in one.text for one in well.findings)
    other = association(PLAIN.combination, material("other"))
    wrong = report(zone_elsewhere(other))
    assert any(f"add {PROVIDER} TLSA {CURR_RECORD}" in text for text in wrong.wrong)
    unseen = report(zone_elsewhere(problem="nobody answers"))
    assert unseen.unseen
    assert not unseen.fits
    nothing = report(zone_elsewhere())
    assert nothing.missing
    assert not nothing.fits
    assert not nothing.wrong


# --- silent servers ---


def silent_of(dane: Dane) -> str:
    assert isinstance(dane, Counting)
    return say(dane.silent)


def test_the_others_are_counted_apart() -> None:
    zone = known_zone()
    full = seen(zone, zone.content)
    dead = TlsaSeen("192.0.2.2", {}, silent=because("does not answer"))
    both = replace(full, servers=(*full.servers, dead))
    state = BOTH
    for number in range(4):
        zone = take(zone, at(100.0 + 700.0 * number, both))
        zone, state = sighted(zone, state)
    assert state.sighting is not None
    assert state.sighting.since is None
    assert silent_of(dane_now(zone, state)) == "192.0.2.2 does not answer"
    # That is of use at the end of the certificate in use, also while no look succeeds.
    zone = replace(zone, look_trouble=because("its name servers cannot be looked up"))
    assert silent_of(dane_now(zone, state)) == "192.0.2.2 does not answer"
    assert state.sighting is not None
    over = replace(state.sighting, since=datetime.now(UTC), waited=1e6, need=0.0, silent=())
    assert over.complete
    assert isinstance(dane_now(zone, replace(state, sighting=over)), Counting)
    zone = replace(zone, look_trouble=None)
    lacking = TlsaSeen("192.0.2.3", {OWNER: OwnerSeen[Tlsa]()})
    zone = take(zone, at(4000.0, replace(both, servers=(*both.servers, lacking))))
    zone, state = sighted(zone, state)
    assert silent_of(dane_now(zone, state)) == ""


# --- files that no name server takes ---


def test_taken_and_ignored() -> None:
    zone = known_zone()
    zone = replace(zone, replaced={})
    zone = take(zone, seen(zone, {}))
    assert zone.is_ignored()
    assert not zone.is_taken()
    zone = take(zone, seen(zone, zone.content))
    assert zone.is_taken()
    assert not zone.is_ignored()
    dead = TlsaSeen("192.0.2.2", {}, silent=because("does not answer"))
    assert zone.seen is not None
    zone = take(zone, replace(zone.seen, servers=(dead,)))
    assert not zone.is_ignored()


def test_an_owner_that_is_something_else_now() -> None:
    zone = known_zone()
    zone = take(zone, seen(zone, zone.content))
    assert not zone.surprises()
    assert zone.seen is not None
    cname = OwnerSeen[Tlsa](fault=because("has a CNAME"), cname=PROVIDER)
    server = replace(zone.seen.servers[0], owners={OWNER: cname})
    zone = take(zone, replace(zone.seen, servers=(server,)))
    assert {owner for owner, *_ in zone.surprises()} == {OWNER}
    cut = OwnerSeen[Tlsa](fault=because("is not authoritative"), is_cut=True)
    assert zone.seen is not None
    zone = take(zone, replace(zone.seen, servers=(replace(server, owners={OWNER: cut}),)))
    assert zone.surprises()


# --- before the first set is served ---


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        (OwnerSeen(frozenset({Tlsa(3, 1, 1, "0f" * 32)}), 600), HeldBack),
        (OwnerSeen(fault=because("answers SERVFAIL for it")), Unknown),
        (OwnerSeen(fault=because("is not authoritative for it"), is_cut=True), NoRecords),
        (OwnerSeen(), NoRecords),
    ],
)
def test_a_first_set_where_nobody_tells_what_an_owner_is(
    shown: OwnerSeen[Tlsa], kind: type[Dane]
) -> None:
    """Name servers that contradict each other show records all the same: those are checked (I4)."""
    entry = Entry(WANTED, frozenset(), replace(BOTH, curr=None), None, Decision(because("")))
    wish = Wish(ZONE, (cert_wish(entry, SERVICE.dane, SERVICE.dane_ttl),))
    places = {OWNER: Place(Fate.UNKNOWN, OWNER, because(f"{OWNER}: nobody tells"))}
    found = content_for(wish, ZoneNotes(), {}, lambda _, name: material(name), frozenset(), places)
    wants = {CERT: {OWNER: frozenset({PLAIN.combination})}}
    zone = KnownZone(ZONE, frozenset({CERT}), found[2], wish, wish)
    zone = replace(zone, given=Given(*found, {}, None, (), True, (), wants=wants, places=places))
    now = Instant("boot", 100.0)
    servers = (TlsaSeen("192.0.2.1", dict.fromkeys(zone.owners(), shown)),)
    zone = take(zone, NameServersSeen(servers, now, now, START))
    assert isinstance(dane_of(zone, CERT, entry), kind)
