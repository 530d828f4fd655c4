"""The track of delivering: from a rolled `curr` to every server using it, and settled.

It runs beside the track of renewing: a server that stays down never stops a renewal. What is
copied to which host, and restarted there, is planned for all certificates at once: `host.plan`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sslmd.core.dane.verdict import UNKNOWN, NoRecords
from sslmd.core.events import ServersProven
from sslmd.core.jobs import Deliver, Prove, Settle
from sslmd.core.state import DONE, Delivered, Server, ServerPhase
from sslmd.core.times import clock
from sslmd.core.view import Decision, View, blocking, told


def delivering(view: View, now: datetime) -> Decision | None:
    """Return what delivery of `curr` needs; None if there is nothing to do or to wait for."""
    state, curr = view.state, view.state.curr
    if curr is None or not curr.complete:
        return None
    stuck = blocking(state.delivery_trouble, view.wanted, now)
    step = _delivery_step(view, now)
    if step is None or step.job is None or stuck is None:
        return step
    return Decision(told(stuck), wake_at=stuck.next_try, stuck=stuck)


def _delivery_step(view: View, now: datetime) -> Decision | None:
    state, curr = view.state, view.state.curr
    assert curr is not None
    cert = view.wanted.spec.id
    next_ = state.next if state.next is not None and state.next.complete else None
    there = Delivered(curr.name, next_.name if next_ else None)
    known = frozenset((server.kind, server.host) for server in state.servers)
    if there != state.delivered or known != view.servers:
        if there.curr != state.delivered.curr:
            text = f"set {curr.name} is to go to production"
        elif there.next != state.delivered.next:
            text = "production is to show what is on deck"
        else:
            text = "other servers depend on it now"
        # As ssl-mgr left it, and as it was found before. What is new is delivered as ours is.
        leave = not state.whole and (state.adopted or state.delivered == there)
        job = Deliver(cert, there.curr, there.next, text, state.adopted, leave)
        return Decision(text, job=job)
    # One that is done with an older set is not with this one (I4). Where nobody can look, the
    # restart has to do.
    waiting = [
        server for server in state.servers if server.phase not in DONE or server.set != curr.name
    ]
    if state.settled == curr.name:
        text = f"live, but not everywhere: {_listed(waiting)}"
        return Decision(text) if waiting else None
    if state.deployed != curr.name:
        if not waiting:
            if view.wanted.dane and view.dane == UNKNOWN:
                return Decision("live; its TLSA records are being published")
            if view.wanted.dane and view.proves and not isinstance(view.dane, NoRecords):
                why = "the ports with TLSA records are to serve it before older ones go"
                return Decision(why, job=Prove(cert, curr.name, why))
            return Decision("no server is left to restart", event=ServersProven(now))
        return Decision(f"waits for its servers: {_listed(waiting)}")
    if view.wanted.dane and (view.behind or view.dane == UNKNOWN):
        why = view.behind or "its name servers are being told"
        return Decision(f"live; TLSA records of older keys are to go: {why}")
    return Decision("live; old records and sets can go", job=Settle(cert, "it is deployed"))


def _listed(servers: Iterable[Server]) -> str:
    return ", ".join(f"{server.kind} on {server.host} {_standing(server)}" for server in servers)


def _standing(server: Server) -> str:
    match server.phase:
        case ServerPhase.FAILED | ServerPhase.PENDING if server.next_try is not None:
            return f"({server.error or 'failed'}; next try at {clock(server.next_try)})"
        case ServerPhase.FAILED:
            return f"({server.error or 'failed'})"
        case ServerPhase.PENDING:
            return f"({server.error or 'to be copied to'})"
        case ServerPhase.RESTARTED:
            return f"(restarted with set {server.set})"
        case ServerPhase.PROVEN:
            return f"(proven on set {server.set})"
        case _:
            return "(to be restarted)"
