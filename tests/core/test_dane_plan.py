"""What comes next for a zone (I4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sslmd.core.dane.content import NOTHING_GIVEN, CertWish, Given, Wish
from sslmd.core.dane.events import (
    DAY,
    DOUBT,
    FILES,
    FIRST_WATCH,
    IN_ALARM,
    GivingBegun,
    JobBroke,
    NotGiven,
    SightingsTaken,
    WasGiven,
    WatchBegun,
    WatchEnded,
    ZoneReloaded,
    advance_zone,
)
from sslmd.core.dane.plan import ZoneDecision, ZoneView, decide_zone
from sslmd.core.dane.sighting import Sighting
from sslmd.core.dane.tlsa import DaneEntry, TlsaHosts
from sslmd.core.dane.zone import KnownZone
from sslmd.core.errors import Transient, Trouble
from sslmd.core.jobs import Look, Watch
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.reason import Why
from sslmd.core.words.sentence import say
from tests.reasons import because
from tests.stand.world import START

ZONE = ZoneName("example.com")
CERT = CertId("example.com", "web")
ENTRY = DaneEntry(443, "tcp", 3, 1, 1, (DomainName("www.example.com"),))
ONE = CertWish(CERT, (ENTRY,), 60, (), (), None, False, True, False)
WISH = Wish(ZONE, (ONE,))
MX = Wish(ZONE, (replace(ONE, entries=(replace(ENTRY, hosts=TlsaHosts.MX),)),))
SEEN = Sighting(None, frozenset(), 120.0, since=START, waited=120.0)
LIMIT = 3600.0
NOW = 50_000.0

# Everything was given, and seen by all; nothing is due.
QUIET = KnownZone(
    ZONE,
    frozenset({CERT}),
    wish=WISH,
    tried=WISH,
    given=NOTHING_GIVEN,
    sighting=SEEN,
    look_at=NOW + 900.0,
    watch_at=NOW + 800.0,
    mx_at=NOW + 700.0,
    files_at=NOW + 60.0,
)


def decided(zone: KnownZone, wish: Wish = WISH, *, edited: bool = False) -> ZoneDecision:
    return decide_zone(ZoneView(zone, wish, lambda: edited, LIMIT), NOW)


def why(zone: KnownZone, wish: Wish = WISH, *, edited: bool = False) -> Why | None:
    job = decided(zone, wish, edited=edited).job
    return job.reason.code if job is not None else None  # type: ignore[return-value]


def trouble(text: str = "rndc failed") -> Trouble:
    return Trouble.of(Transient(text), 0, START, jitter=0)


@pytest.mark.parametrize(
    ("known", "wish", "reason"),
    [
        ({"wish": None, "tried": None}, WISH, Why.ZONE_MAY_DIFFER),
        # What failed is tried again when it is time, and something else at once.
        ({"wish": None, "again": True, "retry_at": NOW + 1}, WISH, None),
        ({"wish": None, "again": True, "retry_at": NOW}, WISH, Why.ZONE_MAY_DIFFER),
        ({"wish": None, "tried": MX, "retry_at": NOW + 1}, WISH, Why.ZONE_MAY_DIFFER),
        ({"again": True, "retry_at": NOW + 1}, WISH, None),
        ({"again": True, "retry_at": NOW}, WISH, Why.ZONE_COMPARED),
        ({"wish": MX, "tried": MX, "mx_at": NOW}, MX, Why.ZONE_MX),
        ({"mx_at": NOW}, WISH, None),
        ({"places_at": NOW}, WISH, Why.ZONE_OWNERS),
        ({"look_at": NOW}, WISH, Why.ZONE_LOOK),
        ({"watch_at": NOW}, WISH, Why.ZONE_WATCH),
        # Name servers may just be taking it.
        ({"watch_at": NOW, "sighting": None, "changed_at": NOW - LIMIT + 1}, WISH, None),
        ({"watch_at": NOW, "sighting": None, "changed_at": NOW - LIMIT}, WISH, Why.ZONE_WATCH),
        ({"watch_at": NOW, "changed_at": NOW - 1}, WISH, Why.ZONE_WATCH),
        # Without records there is nothing to look at.
        ({"certs": frozenset[CertId](), "look_at": NOW, "watch_at": NOW}, WISH, None),
        ({"given": None, "look_at": NOW, "watch_at": NOW}, WISH, None),
    ],
)
def test_what_is_due(known: dict[str, object], wish: Wish, reason: Why | None) -> None:
    assert why(replace(QUIET, **known), wish) == reason  # type: ignore[arg-type]


def test_when_it_is_asked_again() -> None:
    assert decided(QUIET).again_at == NOW + FILES
    assert decided(replace(QUIET, places_at=NOW + 5)).again_at == NOW + 5
    assert decided(replace(QUIET, again=True, retry_at=NOW + 5)).again_at == NOW + 5
    assert decided(replace(QUIET, retry_at=NOW - 5)).again_at == NOW + FILES
    assert decided(replace(QUIET, look_at=NOW + 5)).again_at == NOW + 5
    assert decided(replace(QUIET, watch_at=NOW + 5)).again_at == NOW + 5
    waits = replace(QUIET, wish=MX, tried=MX, mx_at=NOW + 5)
    assert decided(waits, MX).again_at == NOW + 5
    alone = replace(QUIET, certs=frozenset[CertId](), look_at=NOW + 5, watch_at=NOW + 5)
    assert decided(alone).again_at == NOW + FILES


def test_files_are_compared_every_minute() -> None:
    assert why(QUIET, edited=True) is None
    due = replace(QUIET, files_at=NOW)
    assert why(due, edited=True) is Why.ZONE_BY_HAND
    assert why(due) is None
    assert decided(due).again_at == NOW + FILES


def test_what_fails_at_the_start_waits_for_its_next_try() -> None:
    """Neither the files nor the MX hosts, which are as they were, have it tried at once."""
    zone = advance_zone(KnownZone(ZONE, frozenset({CERT})), GivingBegun(NOW))
    zone = advance_zone(zone, NotGiven(MX, trouble(), ("as it is",), NOW))
    decision = decide_zone(ZoneView(zone, MX, lambda: zone.stamps != ("as it is",), LIMIT), NOW)
    assert decision == ZoneDecision(again_at=NOW + 60.0)
    assert say(zone.trouble) == "rndc failed"
    assert decide_zone(ZoneView(zone, MX, lambda: False, LIMIT), NOW + 60.0).job
    assert why(advance_zone(zone, ZoneReloaded()), MX) is Why.ZONE_MAY_DIFFER


def given(**known: object) -> Given:
    return replace(NOTHING_GIVEN, ours=True, **known)  # type: ignore[arg-type]


def test_what_was_given_is_looked_at_at_once() -> None:
    event = WasGiven(WISH, given(changed=because("new")), None, ("stamp",), 0.5, NOW)
    zone = advance_zone(KnownZone(ZONE, frozenset({CERT})), event)
    assert isinstance(decided(zone).job, Look)
    zone = advance_zone(zone, SightingsTaken({}, frozenset(), 30.0, NOW))
    assert decided(zone).again_at == NOW + 30.0
    # Compared first when name servers have had the time to take it.
    assert zone.watch_at == NOW + 0.55 * FIRST_WATCH
    decision = decide_zone(ZoneView(zone, WISH, lambda: False, LIMIT), zone.watch_at)
    assert not isinstance(decision.job, Watch)
    assert (zone.failed, zone.again, zone.stamps) == (None, False, ("stamp",))


def test_ports_that_are_not_ready_are_told_once() -> None:
    owner = DomainName("_443._tcp.www.example.com")
    some = given(unfit={owner: (CERT, because("serves another key"))})
    zone = advance_zone(QUIET, WasGiven(WISH, some, trouble(""), (), 0.5, NOW))
    assert (zone.trouble, zone.again, zone.watch_at) == (None, True, NOW)
    later = replace(zone, watch_at=NOW + DAY)
    again = advance_zone(later, WasGiven(WISH, some, trouble(""), (), 0.5, NOW + 60))
    assert again.watch_at == NOW + DAY


def test_what_is_wrong_is_looked_at_twice_before_it_is_told() -> None:
    zone = advance_zone(QUIET, WatchBegun(NOW))
    assert zone.watch_at == NOW + DAY
    once = advance_zone(zone, WatchEnded(True, False, NOW))
    assert (once.doubted, once.watch_at) == (True, NOW + DOUBT)
    twice = advance_zone(advance_zone(once, WatchBegun(NOW)), WatchEnded(True, False, NOW))
    assert (twice.doubted, twice.watch_at) == (True, NOW + IN_ALARM)
    assert advance_zone(zone, WatchEnded(True, True, NOW)).watch_at == NOW + IN_ALARM
    well = advance_zone(twice, WatchEnded(False, False, NOW))
    assert (well.doubted, well.watch_at) == (False, NOW + IN_ALARM)


def test_who_is_late_is_reported_now() -> None:
    late = SightingsTaken({}, frozenset({CERT}), 1.0, NOW)
    zone = advance_zone(QUIET, late)
    assert zone.watch_at == NOW
    assert advance_zone(replace(zone, watch_at=NOW + DAY), late).watch_at == NOW + DAY


def test_after_a_bug_there_is_a_pause() -> None:
    zone = advance_zone(replace(QUIET, again=True), JobBroke(because("Look: a bug"), NOW))
    assert decided(zone).again_at == NOW + timedelta(minutes=1).total_seconds()
    assert say(zone.look_trouble) == "Look: a bug"
