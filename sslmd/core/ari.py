"""When a CA wants a certificate renewed: renewal information (ARI, RFC 9773).

A CA suggests a window, and each set is renewed at its own place in it, which was drawn once. A
window that the CA moved to the past says that the certificate is to be replaced now: it is, or will
soon be, revoked. Nothing that a CA answers leads to orders in a loop (`pause`), and one that is
silent or makes no sense has its certificates renewed by days.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

# §4.3.3: a Retry-After is kept to within these.
SOONEST, LATEST = timedelta(minutes=1), timedelta(days=1)

# To the next look after an answer without a Retry-After, one that makes no sense, or a refusal; and
# at most after an error that will pass, from `SOONEST` on, doubling.
LONG = timedelta(hours=6)

# A CA that has not answered for so long has its certificates renewed by days.
SILENT = timedelta(days=2)

# With a CA's window, a certificate is renewed no later than this share of its life before its end.
BACKSTOP = 1 / 6

# What was issued because its CA wanted another replaced lives at least so long before it is renewed
# because its CA wants that: a share of its life, between these.
LEAST_PAUSE, MOST_PAUSE = timedelta(hours=1), timedelta(days=1)

# A CA may not know a certificate that it has just issued.
FRESH = timedelta(hours=1)

# A window that ended so long before the certificate began means nothing: the clock of 1970.
OLDEST = timedelta(days=3652)

# The share of a certificate's life after which CAs have their windows, by themselves.
_USUAL = 1 / 2

# A window is still the one that it was where its ends moved by no more than this share of its
# length: a CA may compute it again at each look. One for what is to be revoked moves by far more.
_JITTER = 1 / 20

# Characters of an explanation that are kept.
_LONGEST_URL = 500


@dataclass(frozen=True, slots=True)
class Advice:
    """What a CA said of a set, and when it is asked again.

    `begin`, `end`, `explanation` (a URL, or ""): of the last answer that made sense. `failures`:
    in a row, since `silent_since`. `urgent_since`: the window lies in the past since then, other
    than by the passing of time.
    """

    looked: datetime
    next_look: datetime
    begin: datetime | None = None
    end: datetime | None = None
    explanation: str = ""
    failures: int = 0
    silent_since: datetime | None = None
    urgent_since: datetime | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the CA has not answered for too long."""
        return self.silent_since is not None and self.looked - self.silent_since >= SILENT

    def at(self, draw: float) -> datetime | None:
        """Return the time in the window for a set with `draw` (-1 to 1), None without a window."""
        if self.begin is None or self.end is None:
            return None
        return self.begin + (self.end - self.begin) * ((draw + 1) / 2)


@dataclass(frozen=True, slots=True)
class WindowAnswer:
    """A CA's answer: seconds since 1970, as they came. `retry_after`: None without one."""

    start: float
    end: float
    explanation: str = ""
    retry_after: timedelta | None = None


class Fault(Enum):
    """Why there is no answer: it will pass soon, or it will not."""

    TEMPORARY = auto()
    LASTING = auto()


@dataclass(frozen=True, slots=True)
class Later:
    """A CA answers nothing before `after`: it refused with a Retry-After (429, 503)."""

    after: timedelta

    @property
    def pause(self) -> timedelta:
        """For how long it is left alone."""
        return min(max(self.after, SOONEST), LATEST)


@dataclass(frozen=True, slots=True)
class Life:
    """Of a set: when its certificate begins and ends, and its place in windows (-1 to 1)."""

    begin: datetime
    end: datetime
    draw: float = 0.0


def certificate_id(key_id: bytes, serial: int) -> str:
    """Return how a certificate is named in requests (§4.1).

    `key_id`: the keyIdentifier of its authority key identifier.
    """
    # DER: a serial whose first bit is set has a byte of zeros before it (X.690 §8.3).
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True)
    return f"{_base64(key_id)}.{_base64(number)}"


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def looked(
    before: Advice | None,
    answer: WindowAnswer | Fault | Later,
    life: Life,
    now: datetime,
    wait: float = 0.0,
) -> Advice:
    """Return what is known after a look. `wait` (0 to 1) spreads looks that come again later."""
    if isinstance(answer, Fault | Later):
        return _unanswered(before, answer, now, wait)
    window = _window(answer, life)
    if window is None:
        return _unanswered(before, Fault.LASTING, now, wait)
    begin, end = window
    again = LONG
    if answer.retry_after is not None:
        again = min(max(answer.retry_after, SOONEST), LATEST)
    advice = Advice(now, now + again, begin, end, answer.explanation[:_LONGEST_URL])
    since = _urgent_since(before, advice, life, now)
    return replace(advice, urgent_since=since)


def _unanswered(before: Advice | None, fault: Fault | Later, now: datetime, wait: float) -> Advice:
    failures, pause = before.failures if before is not None else 0, LONG
    if isinstance(fault, Later):
        pause = fault.pause
    elif fault is Fault.TEMPORARY:
        pause = min(SOONEST * 2 ** min(failures, 16), LONG)
    again = now + pause * (1 + wait / 10)
    if before is None:
        return Advice(now, again, failures=1, silent_since=now)
    since = min(before.silent_since or now, now)
    return replace(before, looked=now, next_look=again, failures=failures + 1, silent_since=since)


def _window(answer: WindowAnswer, life: Life) -> tuple[datetime, datetime] | None:
    """Return the window, None for one that is none, or of another time (§4.2)."""
    try:
        begin = datetime.fromtimestamp(answer.start, UTC)
        end = datetime.fromtimestamp(answer.end, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if end <= begin or begin >= life.end or life.begin - end > OLDEST:
        return None
    return begin, end


def _urgent_since(
    before: Advice | None, fresh: Advice, life: Life, now: datetime
) -> datetime | None:
    """Return since when the CA wants the set replaced, None if it does not.

    That its window passed while it could not be renewed is no such wish.
    """
    at, begin, end = fresh.at(life.draw), fresh.begin, fresh.end
    assert at is not None
    assert begin is not None
    assert end is not None
    if at > now:
        return None
    if before is None or before.begin is None or before.end is None:
        if end > now:
            return None
        late = begin >= life.begin + (life.end - life.begin) * _USUAL
        # Known for the first time long after it was over: the one that it always had.
        usual = late and not fresh.explanation and now - end > LATEST
        return None if usual else at
    if before.urgent_since is not None:
        return min(before.urgent_since, at)
    slack = (before.end - before.begin) * _JITTER
    if abs(begin - before.begin) <= slack and abs(end - before.end) <= slack:
        return None
    was = before.at(life.draw)
    pulled_forward = was is not None and was > now
    return at if end <= now or pulled_forward else None


def pause(life: timedelta) -> timedelta:
    """Return how long a set that replaced another at a CA's wish is left before the next wish."""
    return max(min(life * BACKSTOP, MOST_PAUSE), LEAST_PAUSE)
