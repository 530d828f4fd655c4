"""The plan of a certificate with TLSA records: the gate, the key made ahead, what goes last."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sslmd.core.dane.sighting import Instant, Sighting, Silence
from sslmd.core.dane.verdict import (
    UNKNOWN,
    CheckedPorts,
    Counting,
    Dane,
    Everywhere,
    HeldBack,
    NoRecords,
    Unknown,
    counted,
)
from sslmd.core.events import Advertised, Lost, ServersProven
from sslmd.core.jobs import Certify, MakeKey, Prove, Roll, Settle
from sslmd.core.lifecycle import advance
from sslmd.core.plan import decide
from sslmd.core.reason import said
from sslmd.core.renewal import Wanted
from sslmd.core.state import CertState, Server, ServerPhase
from sslmd.core.view import Decision
from sslmd.core.words.sentence import say
from tests.core.test_plan import (
    DANE,
    DUE,
    FORCED,
    FORCED_ROLL,
    GOOD,
    HOUR,
    KEYED,
    MINUTE,
    NEXT,
    NOW,
    OTHER_KEY,
    OTHER_NAMES,
    READY,
    ROLL,
    advertised,
    look,
    settled,
    waits,
)
from tests.reasons import because

SILENT = Silence("ns2", Instant("boot", 1.0))
WAITING = Server("web", "localhost", ServerPhase.DELIVERED, GOOD.name)
READY_SEEN = Sighting(READY.name, frozenset({"0f"}), 60.0, NOW - HOUR, 60.0, opens_at=NOW)
PORTS = CheckedPorts(("mail.example.com:25",), 30)
LOOKED_FOR = Counting(PORTS)
HELD = HeldBack(PORTS, because("_25._tcp.mail.example.com has TLSA records"))
SAME = Everywhere(PORTS)


def seen(sighting: Sighting | None, trouble: str = "") -> Dane:
    """What is known of a set on deck whose records are published."""
    return counted(PORTS, sighting, said(trouble))


def dane_step(state: CertState, dane: Dane | None = None, want: Wanted = DANE) -> Decision:
    return decide(replace(look(state, want), dane=dane or seen(state.sighting)), NOW)


def test_with_dane_a_set_is_advertised_when_the_wait_is_over_and_rolled_then() -> None:
    waiting = replace(READY_SEEN, waited=59.9, opens_at=NOW + MINUTE)
    decision = waits(dane_step(settled(DUE, READY, sighting=waiting)), "since", "rolls at")
    assert decision.roll_at == NOW + MINUTE
    event = dane_step(settled(DUE, READY, sighting=READY_SEEN)).advertised
    assert isinstance(event, Advertised)
    job = dane_step(advertised(DUE, READY, sighting=READY_SEEN)).job
    assert isinstance(job, Roll)
    assert not job.blind


def test_the_wall_clock_has_no_say_in_the_wait() -> None:
    waiting = replace(READY_SEEN, waited=1.0, opens_at=NOW + MINUTE)
    view = replace(look(settled(DUE, READY, sighting=waiting), DANE), dane=seen(waiting))
    waits(decide(view, NOW + HOUR), "TLSA")


def test_no_minutes_that_an_admin_names_are_shorter_than_the_wait_for_dns() -> None:
    young = replace(READY_SEEN, set=NEXT.name, waited=59.9, opens_at=NOW + MINUTE)
    ask = replace(ROLL, min_roll=timedelta(0))
    decision = waits(dane_step(settled(DUE, NEXT, sighting=young, ask=ask)), "since")
    assert decision.roll_at == NOW + MINUTE  # by the configuration it would be in 30 min
    over = replace(young, waited=60.0, opens_at=NOW)
    state = settled(DUE, NEXT, sighting=over, ask=ask)
    assert isinstance(dane_step(state).advertised, Advertised)
    job = dane_step(advertised(DUE, NEXT, sighting=over, ask=ask)).job
    assert isinstance(job, Roll)
    assert not job.blind


@pytest.mark.parametrize(
    ("dane", "text"),
    [
        (LOOKED_FOR, "looked for"),
        (seen(replace(READY_SEEN, since=None, missing=because("ns2 lacks it"))), "ns2 lacks it"),
        (
            seen(replace(READY_SEEN, silent=(SILENT,), missing=because("ns2 is silent"))),
            "ns2 is silent",
        ),
        (Unknown(PORTS, because("no name server")), "no name server"),
        (seen(None, "rndc failed"), "rndc failed"),
        (HeldBack(PORTS, because("3 1 2 is new")), "3 1 2 is new"),
        (Unknown(PORTS), "being published"),
        (UNKNOWN, "being published"),
    ],
)
def test_with_dane_a_roll_waits_and_says_for_what(dane: Dane, text: str) -> None:
    waits(dane_step(settled(DUE, READY, sighting=READY_SEEN), dane), text)


def test_records_that_are_seen_count_whatever_else_of_the_zone_is_refused() -> None:
    refused = seen(READY_SEEN, "REFUSED for _443._tcp.www")
    assert isinstance(
        dane_step(settled(DUE, READY, sighting=READY_SEEN), refused).advertised, Advertised
    )
    assert isinstance(dane_step(advertised(DUE, READY, sighting=READY_SEEN), refused).job, Roll)


@pytest.mark.parametrize(
    ("dane", "text"),
    [
        (seen(replace(READY_SEEN, since=None, missing=because("ns2 lacks it"))), "ns2 lacks it"),
        (seen(replace(READY_SEEN, waited=1.0)), "others are wanted"),
        (seen(None, "rndc failed"), "rndc failed"),
        (HELD, "has TLSA records"),
    ],
)
def test_what_was_advertised_and_is_lost_waits_again(dane: Dane, text: str) -> None:
    event = dane_step(advertised(DUE, READY, sighting=READY_SEEN), dane).event
    assert isinstance(event, Lost)
    assert text in say(event.reason)


def test_what_was_advertised_waits_for_its_zone_after_a_start() -> None:
    view = replace(look(advertised(DUE, READY, sighting=READY_SEEN), DANE), dane=UNKNOWN)
    waits(decide(view, NOW), "being published")


def test_nobody_checks_a_port_without_records() -> None:
    free = NoRecords()
    for state in (settled(None, READY), settled(DUE, READY)):
        event = dane_step(state, free).advertised
        assert isinstance(event, Advertised)
        assert isinstance(dane_step(advance(state, event), free).job, Roll)
    waits(dane_step(settled(None, READY)), "TLSA")


def test_a_first_certificate_that_cannot_be_rolled_is_an_alarm_at_once() -> None:
    """Its port has records of somebody else's key, and none that ours could be added to."""
    decision = waits(dane_step(settled(None, READY), HELD), "has TLSA records")
    alarm = say(decision.alarm)
    assert alarm.startswith("no certificate is in use yet, and the set on deck cannot be")
    assert "_25._tcp.mail.example.com has TLSA records; or: sslmctl roll --force" in alarm
    assert "clients that check DANE may refuse mail.example.com:25" in alarm
    # What is published beside them, and waited for, ends by itself.
    assert say(waits(dane_step(settled(None, READY)), "looked for").alarm) == ""
    # With one in use there is time until that expires.
    assert waits(dane_step(settled(GOOD, READY), HELD), "has TLSA records").alarm is None


def test_the_key_in_use_needs_no_wait() -> None:
    event = dane_step(settled(DUE, READY), SAME).advertised
    assert isinstance(event, Advertised)
    assert "those of the key in use" in say(event.reason)


@pytest.mark.parametrize(
    ("sighting", "texts"),
    [
        (None, ["mail.example.com:25", "until every name server shows", "for 30 s after"]),
        (replace(READY_SEEN, since=None, missing=because("ns2 lacks it")), ["ns2 lacks it"]),
        (replace(READY_SEEN, waited=10.0), ["for up to 20 s", "until 20"]),
        (replace(READY_SEEN, waited=40.0), ["longer than their TTL, 30 s"]),
    ],
)
def test_force_says_what_it_breaks_and_for_how_long(
    sighting: Sighting | None, texts: list[str]
) -> None:
    job = dane_step(settled(DUE, READY, sighting=sighting, ask=FORCED_ROLL)).job
    assert isinstance(job, Roll)
    assert job.blind
    for text in texts:
        assert text in say(job.overrode)


# --- the next key, made ahead ---

AHEAD_WANTED = replace(DANE, next_ahead=True)


def test_the_next_key_is_made_as_soon_as_a_roll_is_settled() -> None:
    job = dane_step(settled(GOOD), want=AHEAD_WANTED).job
    assert isinstance(job, MakeKey)
    assert not job.reuse
    waits(dane_step(settled(GOOD, KEYED), want=AHEAD_WANTED), "the next key is made")
    assert not isinstance(dane_step(settled(GOOD), want=DANE).job, MakeKey)
    rolled = settled(GOOD, settled=None, deployed=None, servers=(WAITING,))
    assert not isinstance(dane_step(rolled, want=AHEAD_WANTED).job, MakeKey)


def test_a_renewal_takes_the_key_that_was_made_ahead() -> None:
    job = dane_step(settled(DUE, KEYED), want=AHEAD_WANTED).job
    assert isinstance(job, Certify)
    assert job.set == KEYED.name
    forced = dane_step(settled(GOOD, KEYED, ask=FORCED), want=AHEAD_WANTED).job
    assert isinstance(forced, Certify)


def test_other_names_keep_the_key_that_was_made_ahead() -> None:
    want = replace(OTHER_NAMES, dane=True, next_ahead=True)
    job = dane_step(settled(GOOD, KEYED), want=want).job
    assert isinstance(job, MakeKey)
    assert job.keep
    assert "there is no wait" in say(job.reason)
    other_key = replace(AHEAD_WANTED, spec=OTHER_KEY.spec)
    fresh = dane_step(settled(GOOD, KEYED), want=other_key).job
    assert isinstance(fresh, MakeKey)
    assert not fresh.keep


def test_reuse_says_that_nothing_is_waited_for() -> None:
    job = dane_step(settled(GOOD, ask=replace(FORCED, reuse=True))).job
    assert isinstance(job, MakeKey)
    assert job.reuse
    assert "there is no wait" in say(job.reason)


def test_the_key_in_use_on_deck_says_that_dns_is_not_waited_for() -> None:
    """What `plan` shows while `min_roll_mins` lasts."""
    decision = waits(dane_step(advertised(DUE, NEXT), SAME), "rolls at", "no wait for DNS")
    assert decision.roll_at is not None
    sighting = replace(READY_SEEN, set=NEXT.name)
    waiting = waits(dane_step(advertised(DUE, NEXT, sighting=sighting)), "rolls at")
    text = say(waiting.reason)
    assert "no wait" not in text


# --- old records go last ---


def test_ports_are_looked_at_before_records_of_older_keys_go() -> None:
    rolled = settled(GOOD, deployed=None, settled=None)
    job = decide(replace(look(rolled, DANE), dane=LOOKED_FOR), NOW).job
    assert isinstance(job, Prove)
    assert job.set == GOOD.name
    # Which ports those are is not known right after a start: then nothing is proven.
    waits(decide(replace(look(rolled, DANE), dane=UNKNOWN), NOW), "are being published")
    unproving = replace(look(rolled, DANE), dane=LOOKED_FOR, proves=False)
    assert isinstance(decide(unproving, NOW).event, ServersProven)
    nobody = replace(look(rolled, DANE), dane=NoRecords())
    assert isinstance(decide(nobody, NOW).event, ServersProven)


def test_a_roll_is_settled_when_dns_was_told() -> None:
    deployed = settled(GOOD, settled=None)
    view = replace(look(deployed, DANE), dane=LOOKED_FOR)
    waits(decide(replace(view, behind=because("rndc failed")), NOW), "older keys", "rndc failed")
    waits(decide(replace(view, dane=UNKNOWN), NOW), "older keys")
    assert isinstance(decide(view, NOW).job, Settle)
