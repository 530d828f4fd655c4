"""What a roll waits for beside DNS: `min_roll_mins`, and the windows.

Nothing is waited for that would leave servers without a valid certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.reason import Reason, Why
from sslmd.core.renewal import ROLL_MARGIN, Wanted, why_unusable
from sslmd.core.spec import SetFacts
from sslmd.core.state import CertState, Request, SetNote
from sslmd.core.windows import listed, next_common, opens

# A certificate may begin so long before it was issued, for clocks that are slow (Let's Encrypt).
BACKDATED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Opening:
    """When windows let the set on deck be rolled.

    `when`: which ones are waited for, and `wait` the same as what an admin sets aside; `passed`:
    why shut ones are not waited for.
    """

    at: datetime
    when: Reason | None = None
    wait: Reason | None = None
    passed: Reason | None = None


def roll_at(state: CertState, wanted: Wanted, now: datetime) -> datetime:
    """Return when `next` may be rolled as far as `min_roll_mins` goes.

    At once without a usable `curr`, and if an admin goes back to it: it was in use before. A CA
    that was renewed by rule, with its key and its name, too: nobody sees a difference. No later
    than when `curr` expires. An admin who asks for a roll can name other minutes.
    """
    if state.next is None or why_unusable(state.curr, now) is not None:
        return now
    if _goes_back(state) or _stays_the_same_ca(state):
        return now
    issued = issued_at(state.next, state.next_note)
    # An issue time in the future is a clock that was set back.
    asked = asked_wait(state)
    at = min(issued, now) + (wanted.timing.min_roll if asked is None else asked)
    assert state.curr is not None
    assert state.curr.cert is not None
    return min(at, state.curr.cert.not_after)


def _stays_the_same_ca(state: CertState) -> bool:
    if state.next_note is None or not state.next_note.at_end:
        return False
    curr = state.curr.cert if state.curr is not None else None
    next_ = state.next.cert if state.next is not None else None
    if curr is None or next_ is None or not curr.identity:
        return False
    return curr.identity == next_.identity


def opening_of(state: CertState, wanted: Wanted, ready: datetime) -> Opening:
    """Return when windows let `next` be rolled, from `ready` on, when nothing else is waited for.

    They are not waited for without a usable `curr`, nor when an admin goes back to an older set,
    nor if servers could not be restarted before it expires: at the next opening the certificate
    must be rolled and every class that uses it restarted, with an hour to spare.
    """
    curr, groups = state.curr, wanted.roll_windows
    if not groups or why_unusable(curr, ready) is not None or _goes_back(state):
        return Opening(ready)
    at = next_common(groups, ready)
    if at == ready:
        return Opening(ready)
    some, several = listed(groups), len(groups) > 1
    if at is None:
        passed = Reason(Why.WINDOWS_NEVER_MEET, windows=some, several=several)
        return Opening(ready, passed=passed)
    assert curr is not None
    assert curr.cert is not None
    restarted = max((opens(one, at) for one in wanted.restart_windows), default=at)
    if restarted + ROLL_MARGIN > curr.cert.not_after:
        end = curr.cert.not_after
        passed = Reason(Why.WINDOW_TOO_LATE, windows=some, several=several, at=at, end=end)
        return Opening(ready, passed=passed)
    when = Reason(Why.WINDOW, windows=some, several=several)
    return Opening(at, when, Reason(Why.WINDOW_AT, windows=some, several=several, at=at))


def issued_at(facts: SetFacts, note: SetNote | None) -> datetime:
    """Return when a set got its certificate: as noted, else by what can be read of it.

    The name is the time at which the key was made; ssl-mgr names sets by the local time of its
    machine, so it counts only where the certificate does not speak against it. The times of files
    are no witnesses: whoever copied a tree, or put it back, made them.
    """
    if note is not None and note.issued_at is not None:
        return note.issued_at
    named = facts.name.time
    if facts.cert is None:
        return named
    begin = facts.cert.not_before
    return max(begin, min(named, begin + BACKDATED))


def asked_wait(state: CertState) -> timedelta | None:
    """Return the wait that an admin asked for in place of `min_roll_mins`, None for none."""
    ask = state.ask
    return ask.min_roll if ask is not None and ask.what is Request.ROLL else None


def _goes_back(state: CertState) -> bool:
    return state.ask is not None and state.next is not None and state.ask.back == state.next.name
