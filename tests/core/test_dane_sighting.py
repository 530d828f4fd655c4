"""The wait before a roll: what begins it, what counts, what begins it anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from sslmd.core.dane.sighting import Answer, Instant, Sighting, Silence, digests, look_again
from sslmd.core.dane.tlsa import Tlsa
from sslmd.core.names import DomainName, SetName
from sslmd.core.words.sentence import say
from tests.reasons import because
from tests.stand.world import START

NEXT = SetName("20260101-00:00:00")
BOTH = frozenset({"curr", "next"})
FINE = (Answer("ns1"), Answer("ns2"))
LACKS = (Answer("ns1"), Answer("ns2", missing=because("lacks it")))
QUIET = (Answer("ns1"), Answer("ns2", silent=because("does not answer")))
TTL = 100.0


def look(
    old: Sighting | None,
    seconds: float,
    answers: tuple[Answer, ...] = FINE,
    *,
    boot: str = "first",
    took: float = 0.0,
    ttl: float = TTL,
    records: frozenset[str] = BOTH,
    name: SetName = NEXT,
    now: datetime = START,
) -> Sighting:
    began, ended = Instant(boot, seconds), Instant(boot, seconds + took)
    return look_again(
        old,
        name=name,
        records=records,
        ttl=ttl,
        answers=answers,
        now=now,
        began=began,
        ended=ended,
    )


def test_the_wait_is_twice_the_ttl_from_when_all_was_seen() -> None:
    first = look(None, 10)
    assert first.since == START
    assert (first.need, first.waited, first.left) == (200, 0, 200)
    assert first.opens_at == START + timedelta(seconds=200)
    later = look(first, 209.9)
    assert later.since == START
    assert later.waited == pytest.approx(199.9)
    assert not later.complete
    assert look(later, 210).complete


def test_a_look_takes_time_and_none_of_it_counts() -> None:
    """Who was asked first may have lost the record before the last one had it."""
    first = look(None, 10, took=5)
    assert look(first, 20, took=5).waited == pytest.approx(5)


def test_looks_side_by_side_count_no_time_twice() -> None:
    first = look(None, 0)
    second = look(first, 60)  # began last, ended first
    third = look(second, 40)
    assert third.waited == 60
    assert look(third, 100).waited == 100


@pytest.mark.parametrize("answers", [LACKS, QUIET, ()])
def test_it_does_not_begin_before_every_server_shows_everything(
    answers: tuple[Answer, ...],
) -> None:
    first = look(None, 10, answers)
    assert first.since is None
    assert first.missing
    assert first.opens_at is None
    assert look(first, 500).waited == 0


def test_it_begins_anew_when_a_server_answers_without() -> None:
    lost = look(look(None, 0), 150, LACKS)
    assert lost.since is None
    assert "ns2 lacks it" in say(lost.missing)
    again = look(lost, 160, now=START + timedelta(seconds=160))
    assert again.since == START + timedelta(seconds=160)
    assert again.waited == 0


def test_silence_is_borne_for_a_ttl() -> None:
    first = look(None, 0)
    quiet = look(first, 50, QUIET)
    assert quiet.since == first.since
    assert quiet.silent == (Silence("ns2", Instant("first", 50)),)
    assert "does not answer" in say(quiet.missing)
    assert look(quiet, 150).silent == ()
    assert look(look(quiet, 150), 200).complete
    assert not look(quiet, 149, QUIET).complete
    still = look(quiet, 150, QUIET)
    assert still.since == first.since
    assert look(still, 151, QUIET).since is None


def test_when_the_wait_is_over_there_is_nothing_more_to_note() -> None:
    over = look(look(None, 0), 200)
    assert look(over, 10_000) is over
    assert not look(over, 10_000, LACKS).complete
    # A longer TTL counts from when it was seen as well.
    assert look(over, 10_000, ttl=200).waited == 10_000


def test_who_is_silent_keeps_a_roll_back_even_when_the_wait_is_over() -> None:
    over = look(look(None, 0), 200)
    assert over.complete
    assert not look(over, 210, QUIET).complete
    assert look(look(over, 210, QUIET), 220).complete


def test_what_was_waited_is_kept_over_a_restart_and_a_reboot() -> None:
    before = look(look(None, 0), 120)
    assert look(before, 180).waited == 180  # the daemon was down for a minute
    rebooted = look(before, 5, boot="second")
    assert rebooted.since == before.since
    assert rebooted.waited == 120  # nobody can tell how long that took
    assert look(rebooted, 85, boot="second").complete


def test_a_clock_that_was_set_changes_nothing() -> None:
    first = look(None, 0)
    for hours in (-1, 1):
        later = look(first, 20, now=START + timedelta(hours=hours))
        assert later.waited == 20
        assert later.since == START


def test_other_records_begin_it_anew_and_fewer_do_not() -> None:
    first = look(look(None, 0), 100)
    assert look(first, 110, records=BOTH | {"more"}).waited == 0
    assert look(first, 110, records=frozenset({"next"})).waited == 110
    assert look(first, 110, name=NEXT.later()).waited == 0


def test_a_longer_ttl_is_waited_for_and_a_shorter_one_does_not_help() -> None:
    first = look(None, 0, ttl=300)
    assert look(first, 10, ttl=30).need == 600
    assert look(look(None, 0, ttl=30), 10, ttl=300).need == 600


def test_it_is_looked_at_more_often_than_a_lapse_lasts() -> None:
    first = look(None, 0)
    assert first.next_look == 25
    assert look(first, 190).next_look == pytest.approx(10)
    assert look(look(first, 0), 200).next_look == 60  # complete: every half TTL, or minute
    pauses = []
    missing = None
    for number in range(20):
        missing = look(missing, number, LACKS)
        pauses.append(missing.next_look)
    assert pauses[0] == 1.5
    assert pauses == sorted(pauses)
    assert pauses[-1] == 300
    quiet = first
    for number in range(20):
        quiet = look(quiet, number, QUIET)
    assert quiet.next_look == 30


def test_digests_tell_records_apart() -> None:
    owner = DomainName("_25._tcp.mail.example.com")
    one, other = Tlsa(3, 1, 1, "aa"), Tlsa(3, 1, 1, "ab")
    assert digests([(owner, one)]) != digests([(owner, other)])
    assert digests([(owner, one)]) != digests([(DomainName("_465._tcp.mail.example.com"), one)])
    assert digests([(owner, one), (owner, other)]) == digests([(owner, other), (owner, one)])


def test_an_instant_of_before_cannot_be_counted_from() -> None:
    now = Instant("a", 50)
    assert now.since(Instant("a", 20)) == 30
    assert now.since(Instant("b", 20)) == 0
    assert now.since(None) == 0
    assert now.since(replace(now, seconds=60)) == 0
