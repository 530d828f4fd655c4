"""The plan: from what is wanted, what is there, and the time, to the next job or wake-up.

Pure, and remembers nothing: recovery after a crash and normal running are one path (I5).
Every decision has a reason (I10).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sslmd.core.events import AskDropped
from sslmd.core.host.delivering import delivering
from sslmd.core.jobs import Rolling
from sslmd.core.reason import Reason, Why
from sslmd.core.renew_track import renewing
from sslmd.core.state import Request
from sslmd.core.view import Decision, View


def decide(view: View, now: datetime) -> Decision:
    """Return the next step of one certificate."""
    if view.hold is not None:
        return Decision(view.hold)
    if not view.wanted.managed:
        unmanaged = Reason(Why.UNMANAGED)
        asked = view.state.ask is not None
        return Decision(unmanaged, event=AskDropped(now, unmanaged) if asked else None)
    state = view.state
    if state.next is not None and state.curr is not None and state.next.name == state.curr.name:
        # Trees of ssl-mgr's have a `next` that is `curr`: it is none.
        view = replace(view, state=replace(state, next=None, next_note=None))
    making = renewing(view, now)
    # A roll comes before delivery, so that a new `next` is not copied twice.
    if making.event is not None or isinstance(making.job, Rolling):
        return making
    step = delivering(view, now)
    if step is None:
        return making
    if step.job is not None or step.event is not None:
        return replace(making, job=step.job, event=step.event, reason=step.reason)
    if making.job is not None:
        return making
    # Who asked for a roll wants to hear what it waits for, not how the set that goes gets on.
    is_roll = view.state.ask is not None and view.state.ask.what is Request.ROLL
    speaks = making if is_roll or (making.stuck and not step.stuck) else step
    return replace(
        making,
        reason=speaks.reason,
        wake_at=min(filter(None, (making.wake_at, step.wake_at)), default=None),
        stuck=speaks.stuck,
    )
