"""When a set on deck is rolled: what it waits for is DNS, `min_roll_mins`, and the windows.

Nothing is waited for that would leave servers without a valid certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sslmd.core.dane.gate import gate_of, harm_of
from sslmd.core.dane.last_call import alarm_of, calls_of, curr_ends, first_alarm, rescue
from sslmd.core.dane.verdict import UNKNOWN, Everywhere
from sslmd.core.events import Advertised
from sslmd.core.jobs import Roll
from sslmd.core.reason import Reason, Why
from sslmd.core.renewal import ROLL_MARGIN, Wanted, why_unusable, why_urgent
from sslmd.core.spec import SetFacts
from sslmd.core.state import CertState, Phase, Request, SetNote
from sslmd.core.view import Decision, View
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


def rolling(view: View, now: datetime) -> Decision:
    """Return the next step for a complete set on deck: roll it, or what is waited for."""
    state, wanted, ask = view.state, view.wanted, view.state.ask
    next_ = state.next
    assert next_ is not None
    forced = ask is not None and ask.what is Request.ROLL and ask.force
    ready = roll_at(state, wanted, now)
    back = next_.name if ask is not None and ask.back == next_.name else None
    gate = gate_of(view)
    blind = not gate.open and state.phase is not Phase.ADVERTISED
    rest = max(ready, gate.at) if blind and gate.at else ready
    opening = opening_of(state, wanted, max(rest, now))
    at = opening.at if opening.when else rest
    if state.phase is Phase.ISSUED and gate.open and (wanted.dane or (at > now and not forced)):
        seen = Advertised(now, gate.reason)
        ahead = replace(view, state=replace(state, phase=Phase.ADVERTISED))
        return replace(rolling(ahead, now), advertised=seen)
    if state.phase is Phase.ADVERTISED and wanted.dane and view.dane == UNKNOWN:
        # Just after a start: the last look would find nothing to look for.
        why = Reason(Why.DNS_WAITS, back=back, gate=gate.reason)
        return Decision(why, wake_at=at if at > now else None)
    young = Reason(Why.MIN_ROLL, until=ready) if ready > now else None
    shut = opening_of(state, wanted, now)
    waits = [one for one in (gate.reason if blind else None, young, shut.wait) if one]
    end = curr_ends(state)
    in_need = None if end is None or not blind or len(waits) > 1 else rescue(view, end, now)
    if forced or in_need or not waits:
        if forced:
            why, how = Reason(Why.ROLL_FORCED), Reason(Why.FORCE)
        else:
            goes_back = Reason(Why.GOES_BACK, set=back) if back else None
            asked = asked_wait(state)
            ready_why = Reason(Why.READY) if asked is None else Reason(Why.ASKED_WAIT, wait=asked)
            why = how = in_need or goes_back or why_unusable(state.curr, now) or ready_why
        passed = Reason(Why.ROLLED_ANYWAY, why=shut.passed) if shut.passed else None
        overrode = passed
        if waits:
            set_aside = Reason(Why.SET_ASIDE, how=how, waits=tuple(waits))
            overrode = set_aside.also(harm_of(view, now), passed)
        why = why.also(passed)
        job = Roll(wanted.spec.id, next_.name, why, overrode, blind)
        return Decision(why, job=job, roll_at=rest)
    windows = opening.when or opening.passed
    if blind:
        alarm = first_alarm(view, gate.reason, now)
        if end is not None:
            alarm = alarm_of(view, gate.reason, rest, end, now)
        calls = calls_of(state, end) if end is not None else ()
        # The wait is counted from look to look: the wall clock has no say in its end.
        times = (ready,) if gate.at is None else (rest, at)
        wake_at = min((when for when in (*times, *calls) if when > now), default=None)
        if gate.at is None:
            why = Reason(Why.DNS_WAITS, back=back, gate=gate.reason)
            return Decision(why, wake_at=wake_at, alarm=alarm)
        why = Reason(Why.DNS_WAITS, back=back, gate=gate.reason, at=at, windows=windows)
        return Decision(why, wake_at=wake_at, roll_at=at, rolls_when=opening.when, alarm=alarm)
    same = wanted.dane and isinstance(view.dane, Everywhere) and view.dane.since is None
    why = Reason(Why.ROLL_WAITS, back=back, at=at, windows=windows)
    why = why.also(Reason(Why.SAME_RECORDS) if same else None)
    return Decision(why, wake_at=at, roll_at=at, rolls_when=opening.when)


def roll_at(state: CertState, wanted: Wanted, now: datetime) -> datetime:
    """Return when `next` may be rolled as far as `min_roll_mins` goes.

    At once without a usable `curr`, and if an admin goes back to it: it was in use before. A CA
    that was renewed by rule, with its key and its name, too: nobody sees a difference. No later
    than when `curr` expires. An admin who asks for a roll can name other minutes.
    """
    if state.next is None or why_unusable(state.curr, now) is not None:
        return now
    if _goes_back(state):
        return now
    if state.next_note is not None and state.next_note.at_end:
        curr = state.curr.cert if state.curr is not None else None
        next_ = state.next.cert
        same = curr is not None and next_ is not None and curr.identity == next_.identity
        if same and curr is not None and curr.identity:
            return now
    issued = issued_at(state.next, state.next_note)
    # An issue time in the future is a clock that was set back.
    asked = asked_wait(state)
    at = min(issued, now) + (wanted.timing.min_roll if asked is None else asked)
    assert state.curr is not None
    assert state.curr.cert is not None
    return min(at, state.curr.cert.not_after)


def opening_of(state: CertState, wanted: Wanted, ready: datetime) -> Opening:
    """Return when windows let `next` be rolled, from `ready` on, when nothing else is waited for.

    They are not waited for without a usable `curr`, or with a revoked one, nor when an admin goes
    back to an older set, nor if servers could not be restarted before it expires: at the next
    opening the certificate must be rolled and every class that uses it restarted, with an hour to
    spare.
    """
    curr, groups = state.curr, wanted.roll_windows
    if not groups or why_unusable(curr, ready) is not None or _goes_back(state):
        return Opening(ready)
    if state.shows_revoked:
        return Opening(ready)
    at = next_common(groups, ready)
    if at == ready:
        return Opening(ready)
    some, several = listed(groups), len(groups) > 1
    if urgent := why_urgent(curr, state.curr_note, wanted, ready):
        url = urgent.get("url")
        passed = Reason(Why.CA_PASSES_WINDOWS, windows=some, url=url)
        return Opening(ready, passed=passed)
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
