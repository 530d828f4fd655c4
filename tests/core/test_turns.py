"""Lines before buckets: the most urgent first, never more under way than the CA allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.buckets import CaLimit, Key, Rate
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, Why
from sslmd.core.turns import DUE, NOW, Limited, Turns, paced
from sslmd.core.view import Decision
from sslmd.core.words.sentence import say

NOON = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEY: Key = (CaLimit.ORDERS, ("https://ca.example/", ""))
ZONE: Key = (CaLimit.DOMAIN, ("https://ca.example/", "example.com"))
RATES = {CaLimit.ORDERS: Rate(2, 20 * SECOND), CaLimit.DOMAIN: Rate(1, 60 * SECOND)}


def cert(number: int) -> CertId:
    return CertId("example.com", f"s{number}")


def test_the_most_urgent_goes_first_and_the_others_are_told_when() -> None:
    turns = Turns()

    def ask(number: int, kind: int = DUE) -> Limited | None:
        return turns.ask(cert(number), (kind, float(number)), [KEY], RATES, NOON)

    assert ask(1) is None
    assert ask(2) is None
    third = ask(3)
    assert third is not None
    assert third.ahead == 2
    assert abs(third.until - (NOON + 10 * SECOND)) < SECOND / 10
    # One comes that is more urgent: whoever is not under way yet waits for it.
    turns.begin(cert(1))
    assert ask(4, NOW) is None
    assert ask(2) is not None
    turns.begin(cert(4))
    for number in (1, 4):
        turns.take(cert(number), KEY, RATES[CaLimit.ORDERS], NOON)
    second = ask(2)
    assert second is not None
    assert (second.ahead, second.until) == (0, third.until)
    assert turns.leave(cert(1)) == []  # it stood in no line any more
    # Who gives up makes room.
    assert turns.leave(cert(2)) == [cert(3)]


def test_who_takes_from_two_buckets_waits_for_the_slower() -> None:
    turns = Turns()
    turns.take(None, ZONE, RATES[CaLimit.DOMAIN], NOON)
    waits = turns.ask(cert(1), (DUE, 0.0), [KEY, ZONE], RATES, NOON)
    assert waits is not None
    assert waits.key == ZONE
    decision = Decision(Reason(Why.NO_CURR))
    told = paced(decision, waits, "le")
    assert (told.job, told.wake_at, told.looks_again) == (None, waits.until, waits.until)
    assert "le allows 1 certificates of example.com in 60 s" in say(told.reason)
    ahead = replace(waits, ahead=1)
    assert "one that is more urgent goes first" in say(ahead.reason("le"))
    assert "and 7 more urgent go first" in say(replace(waits, ahead=7).reason("le"))


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=25),
    st.integers(1, 4),
    st.integers(1, 30),
    st.integers(0, 15),
)
def test_never_more_than_the_rate_and_all_come_through(
    coming: list[tuple[int, int]], most: int, every: int, takes: int
) -> None:
    """Certificates come at some second with some urgency; each order begins, and takes later."""
    rate = Rate(most, timedelta(seconds=every))
    turns, took, begun = Turns(), list[datetime](), dict[CertId, datetime]()
    waiting = {cert(n): (at, kind) for n, (at, kind) in enumerate(coming)}
    for second in range(60 + (len(coming) + 2) * (every + takes + 2)):
        now = NOON + second * SECOND
        for one, since in list(begun.items()):
            if now >= since + takes * SECOND:
                turns.take(one, KEY, rate, now)
                turns.leave(one)
                took.append(now)
                del begun[one]
        for one, (at, kind) in list(waiting.items()):
            if at > second:
                continue
            if turns.ask(one, (kind + 1, 0.0), [KEY], {CaLimit.ORDERS: rate}, now) is None:
                turns.begin(one)
                begun[one] = now
                del waiting[one]
                assert turns.is_under_way(one)
    assert not waiting
    level, before = 0.0, NOON  # of a plain bucket that leaks
    for when in took:
        level = max(level - (when - before) / rate.refill, 0) + 1
        assert level <= most + 0.1
        before = when
