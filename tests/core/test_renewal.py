"""Why and when to renew: each check, their order, and the time that is drawn."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.errors import CLOCK_TOLERANCE
from sslmd.core.names import CertId
from sslmd.core.reason import Code, Why
from sslmd.core.renewal import (
    Question,
    Wanted,
    least_lead,
    renew_at,
    usual_lead,
    why_renew,
    why_unusable,
    why_unwanted,
    why_useless,
)
from sslmd.core.spec import (
    AcmeCa,
    ByLife,
    CertFacts,
    KeySpec,
    KeyType,
    OwnCa,
    SetFacts,
    Signer,
    Timing,
)
from sslmd.core.state import SetNote
from sslmd.core.words.sentence import say
from tests.stand.world import START, days, facts, wanted

NOW = START
SUB = OwnCa(CertId("ca", "sub"))
WANTED = wanted("example.com:web", signer=SUB, renew=30)
_GOOD = facts(WANTED, NOW - days(10), cert=(NOW - days(10), NOW + days(80)))
GOOD = replace(_GOOD, signer="sub")
SUB_IS, SUB2_IS, NOBODY = frozenset({"sub"}), frozenset({"sub2"}), frozenset[str]()
NOTE = SetNote(0.0, NOW - days(10), "sub")


def until(facts_: SetFacts, not_after: datetime, not_before: datetime | None = None) -> SetFacts:
    assert facts_.cert is not None
    start = not_before or facts_.cert.not_before
    return replace(facts_, cert=replace(facts_.cert, not_after=not_after, not_before=start))


def ask(
    curr: SetFacts | None = GOOD,
    note: SetNote | None = NOTE,
    want: Wanted = WANTED,
    *,
    forced: bool = False,
    now: datetime = NOW,
) -> Code | None:
    signers = SUB2_IS if want.spec.signer == OTHER_CA.spec.signer else SUB_IS
    reason = why_renew(Question(curr, note, want, signers, forced, now))
    assert reason is None or say(reason)
    return reason.code if reason else None


BROKEN = replace(GOOD, problem="privkey.pem does not match cert.pem")
BARE = replace(GOOD, cert=None)
OTHER_NAMES = replace(WANTED, names=frozenset({"new.example"}))
OTHER_KEY = replace(WANTED, spec=replace(WANTED.spec, key=KeySpec(KeyType.RSA, bits=2048)))
OTHER_CA = replace(WANTED, spec=replace(WANTED.spec, signer=OwnCa(CertId("ca", "sub2"))))


def test_a_good_certificate_needs_nothing() -> None:
    assert ask() is None


def test_each_check() -> None:
    assert ask(None) is Why.NO_CURR
    assert ask(BROKEN) is Why.UNUSABLE
    assert ask(BARE) is Why.NO_CERTIFICATE
    assert ask(until(GOOD, NOW)) is Why.EXPIRED
    assert ask(until(GOOD, NOW + days(90), NOW + CLOCK_TOLERANCE * 2)) is Why.NOT_YET_VALID
    assert ask(until(GOOD, NOW + days(90), NOW + CLOCK_TOLERANCE)) is None
    assert ask(want=OTHER_NAMES) is Why.NAMES
    assert ask(want=OTHER_KEY) is Why.KEY
    assert ask(want=OTHER_CA) is Why.CA
    assert ask(now=NOW + days(50)) is Why.DUE
    assert ask(now=NOW + days(50) - timedelta(seconds=1)) is None
    assert ask(forced=True) is Why.FORCED


def test_the_first_reason_counts() -> None:
    late = NOW + days(60)
    assert ask(None, want=OTHER_NAMES, forced=True) is Why.NO_CURR
    assert ask(BROKEN, want=OTHER_NAMES, forced=True) is Why.UNUSABLE
    every = replace(OTHER_NAMES, spec=replace(OTHER_KEY.spec, signer=AcmeCa("x")))
    assert ask(want=every, forced=True, now=late) is Why.NAMES
    assert ask(want=replace(every, names=WANTED.names), forced=True, now=late) is Why.KEY
    assert ask(want=OTHER_CA, forced=True, now=late) is Why.CA
    assert ask(forced=True, now=late) is Why.DUE


def test_the_reasons_say_what_changed() -> None:
    def text(want: Wanted, curr: SetFacts = GOOD, signers: frozenset[str] = SUB_IS) -> str:
        reason = why_renew(Question(curr, NOTE, want, signers, False, NOW))
        assert reason
        return say(reason)

    assert "+new.example -web.example" in text(OTHER_NAMES)
    assert "rsa 2048" in text(OTHER_KEY)
    assert "ec secp384r1" in text(OTHER_KEY)
    assert "sub2, it is from sub" in text(OTHER_CA, signers=SUB2_IS)
    assert BROKEN.problem in text(WANTED, BROKEN)
    late = until(GOOD, NOW + days(29), NOW - days(61))
    assert text(WANTED, late) == "29.0 d left, it renews at 30.0 d"


def test_names_are_those_of_the_request_or_else_of_the_certificate() -> None:
    assert GOOD.cert is not None
    dropped = replace(GOOD, cert=replace(GOOD.cert, names=()))
    assert why_unwanted(dropped, NOTE, WANTED, NOBODY) is None
    without_csr = replace(GOOD, asked_names=frozenset())
    assert why_unwanted(without_csr, NOTE, WANTED, NOBODY) is None
    assert why_unwanted(without_csr, NOTE, OTHER_NAMES, NOBODY)


def test_a_final_dot_does_not_make_it_another_name() -> None:
    """ssl-mgr signs names as they are written."""
    dotted = replace(GOOD, asked_names=frozenset(f"{name}." for name in WANTED.names))
    assert WANTED.names
    assert why_unwanted(dotted, NOTE, WANTED, NOBODY) is None
    reason = why_unwanted(dotted, NOTE, OTHER_NAMES, NOBODY)
    assert reason is not None
    assert reason.code is Why.NAMES


def test_a_key_that_cannot_be_read_is_not_called_another_kind() -> None:
    assert why_unwanted(replace(GOOD, key=""), NOTE, OTHER_KEY, NOBODY) is None


def signed_by(signer: Signer) -> Wanted:
    return replace(WANTED, spec=replace(WANTED.spec, signer=signer))


@pytest.mark.parametrize("note", [None, SetNote(0.5), NOTE], ids=["none", "no CA", "noted"])
def test_who_signed_it_tells_whether_it_is_from_another_ca(note: SetNote | None) -> None:
    """The name and the key count, whatever is noted, and the older generations of the CA too."""
    assert GOOD.cert is not None
    assert why_unwanted(GOOD, note, WANTED, SUB_IS) is None
    assert why_unwanted(GOOD, note, WANTED, SUB2_IS | SUB_IS) is None
    assert why_unwanted(GOOD, note, WANTED, NOBODY) is None
    other = why_unwanted(GOOD, note, WANTED, SUB2_IS)
    assert other
    assert other.code is Why.CA
    assert "CN=sub" in say(other)
    renamed = replace(OTHER_CA, names=WANTED.names)
    assert why_unwanted(GOOD, note, renamed, SUB_IS) is None


def test_of_a_public_ca_what_is_noted_counts() -> None:
    acme = signed_by(AcmeCa("letsencrypt"))
    assert why_unwanted(GOOD, replace(NOTE, ca="letsencrypt"), acme, NOBODY) is None
    assert why_unwanted(GOOD, SetNote(0.5), acme, NOBODY) is None
    assert why_unwanted(GOOD, None, acme, NOBODY) is None
    assert why_unwanted(GOOD, NOTE, acme, NOBODY)


def test_while_nothing_is_known_of_the_ca_what_is_noted_counts() -> None:
    assert why_unwanted(GOOD, NOTE, WANTED, NOBODY) is None
    assert why_unwanted(GOOD, NOTE, OTHER_CA, NOBODY)
    assert GOOD.cert is not None
    unknown = replace(GOOD, signer="")
    assert why_unwanted(unknown, NOTE, WANTED, SUB2_IS) is None


def test_useless_is_unwanted_or_unusable() -> None:
    assert why_useless(GOOD, NOTE, WANTED, NOBODY, NOW) is None
    for useless, why in (
        (why_useless(GOOD, NOTE, OTHER_NAMES, NOBODY, NOW + days(99)), Why.NAMES),
        (why_useless(GOOD, NOTE, WANTED, NOBODY, NOW + days(99)), Why.EXPIRED),
    ):
        assert useless
        assert useless.code is why


def test_unusable_texts_name_the_set() -> None:
    reason = why_unusable(BROKEN, NOW)
    assert reason
    assert str(BROKEN.name) in say(reason)


# --- when ----------------------------------------------------------------------------------


def life(length: timedelta) -> CertFacts:
    return CertFacts("01", NOW, NOW + length, (), "CN=a", "CN=b", "ec secp384r1", False)


def lead(length: float, renew: float, spread: float = 0, draw: float = 0, roll: float = 0) -> float:
    """The days before expiry at which a certificate of `length` days is renewed."""
    timing = Timing(days(renew), days(spread), timedelta(minutes=roll))
    cert = life(days(length))
    return (cert.not_after - renew_at(cert, timing, draw)) / days(1)


@pytest.mark.parametrize(
    ("length", "renew", "expected"),
    [
        (90, 30, 30),
        (90, 20, 20),
        (90, 60, 30),  # no more than a third
        (45, 30, 15),
        (397, 30, 30),
        (397, 365, 397 / 3),
        (10, 30, 10 / 3),
        (9.99, 30, 9.99 / 2),  # no more than half, if it lives under ten days
        (6, 30, 3),
        (6, 2, 2),
        (1, 30, 0.5),
    ],
)
def test_the_lead(length: float, renew: float, expected: float) -> None:
    assert lead(length, renew) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("length", "renew", "spread", "expected"),
    [
        (90, 30, 5, 5),
        (45, 30, 5, 2.5),  # E was halved, and so is the spread
        (6, 30, 5, 0.5),
        (90, 30, 300, 22.5),  # at most three quarters of the lead
        (90, 30, 0, 0),
    ],
)
def test_the_spread_is_scaled_as_the_lead_was(
    length: float, renew: float, spread: float, expected: float
) -> None:
    middle = lead(length, renew)
    assert lead(length, renew, spread, 1) - middle == pytest.approx(expected)
    assert middle - lead(length, renew, spread, -1) == pytest.approx(expected)


lengths = st.floats(0.5, 4000)
leads = st.floats(1, 500)


@given(lengths, leads, st.floats(0, 100))
def test_the_mean_over_the_draws_is_the_lead(length: float, renew: float, spread: float) -> None:
    draws = [step / 10 for step in range(-10, 11)]
    mean = sum(lead(length, renew, spread, draw) for draw in draws) / len(draws)
    if lead(length, renew, spread, -1) > 1 / 23:  # what an hour's margin for the roll leaves alone
        assert mean == pytest.approx(lead(length, renew), rel=1e-6)


@given(lengths, st.floats(0, 500), st.floats(0, 1000), st.floats(-1, 1), st.floats(0, 100_000))
def test_a_renewal_is_after_the_issue_and_before_the_expiry(
    length: float, renew: float, spread: float, draw: float, roll: float
) -> None:
    found = lead(length, renew, spread, draw, roll)
    assert 0 < found < length
    if length < 10:
        assert found <= length * 0.875 + 1e-6
    else:
        assert found <= length * 1.75 / 3 + 1e-6


@given(lengths, leads, st.floats(-1, 1), st.floats(0, 0.5))
def test_a_modest_spread_never_renews_in_the_first_half(
    length: float, renew: float, draw: float, share: float
) -> None:
    if length >= 10:
        assert lead(length, renew, renew * share, draw) <= length / 2 + 1e-6


@pytest.mark.parametrize("draw", [-1, 0, 1])
def test_there_is_always_time_to_roll(draw: float) -> None:
    """`renew_expire_days = 0` is late, but `min_roll_mins` and an hour have to fit in."""
    assert lead(90, 0, 5, draw, roll=90) == pytest.approx(2.5 / 24)
    assert lead(90, 0.01, 0, draw, roll=90) == pytest.approx(2.5 / 24)
    assert lead(0.1, 0, 0, draw, roll=90) == pytest.approx(0.05)


POINTS = ((1.0, 0.5), (10.0, 5.0), (90.0, 30.0))


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0.5, 0.25), (1, 0.5), (5.5, 2.75), (50, 16.6667), (60, 20), (90, 30), (180, 60), (900, 300)],
)
def test_a_lead_that_follows_from_the_life(length: float, expected: float) -> None:
    """Between two points a straight line, beyond the last its share; never beyond the limits."""
    by_life = ByLife(POINTS, ((90.0, 9.0),))
    timing = Timing(days(1), days(0), timedelta(0), by_life)
    cert = life(days(length))
    assert (cert.not_after - renew_at(cert, timing, 0)) / days(1) == pytest.approx(expected, 1e-4)
    assert usual_lead(days(length), timing) == cert.not_after - renew_at(cert, timing, 0)
    early = cert.not_after - renew_at(cert, timing, 1)
    assert early / days(1) <= length * 1.75 / 2 + 1e-6
    assert least_lead(days(length), timing) == cert.not_after - renew_at(cert, timing, -1)


points = st.dictionaries(st.floats(0, 4000), st.floats(0, 4000), min_size=1, max_size=6)


@given(points, points, lengths, st.floats(-1, 1))
def test_any_points_renew_after_the_issue_and_before_the_expiry(
    targets: dict[float, float], spreads: dict[float, float], length: float, draw: float
) -> None:
    by_life = ByLife(tuple(sorted(targets.items())), tuple(sorted(spreads.items())))
    cert = life(days(length))
    due = renew_at(cert, Timing(days(1), days(0), timedelta(0), by_life), draw)
    assert cert.not_before < due < cert.not_after


@given(st.integers(0, 200 * 86400))
def test_due_agrees_with_renew_at(seconds: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    assert GOOD.cert is not None
    due = renew_at(GOOD.cert, WANTED.timing, NOTE.draw)
    assert (ask(now=now) is not None) == (now >= due)
