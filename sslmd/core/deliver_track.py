"""The track of delivering: from a rolled `curr` to every server using it, and settled.

It runs beside the track of renewing: a server that stays down never stops a renewal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sslmd.core.jobs import Deliver, Restart, Settle, Told
from sslmd.core.lifecycle import CertState, Delivered, Server, ServerPhase, ServersProven
from sslmd.core.names import CertId
from sslmd.core.view import Decision, View, blocking, clock, told

# Restarts wait this long for rolls that are still under way, so that one restart serves all.
BATCH_WAIT = timedelta(seconds=30)


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
        return Decision(text, job=Deliver(cert, there.curr, there.next, text, state.adopted))
    if state.deployed != curr.name:
        waiting = [server for server in state.servers if server.phase is not ServerPhase.PROVEN]
        if not waiting:
            return Decision("every server uses it", event=ServersProven(now))
        return Decision(
            "waits for its servers: "
            + ", ".join(f"{server.kind} on {server.host} {_standing(server)}" for server in waiting)
        )
    if state.settled != curr.name:
        return Decision("live; old records and sets can go", job=Settle(cert, "it is deployed"))
    return None


def _standing(server: Server) -> str:
    match server.phase:
        case ServerPhase.FAILED if server.next_try is not None:
            return f"({server.error}; next try at {clock(server.next_try)})"
        case ServerPhase.FAILED | ServerPhase.PENDING:
            return f"({server.error or 'not delivered yet'})"
        case _:
            return "(to be restarted)"


def plan_restarts(
    states: Iterable[tuple[CertId, CertState]],
    order: Sequence[str],
    now: datetime,
) -> list[Restart]:
    """Return the restarts that are due, one job per host, its classes in `order`.

    Everything that touches a class of a host is in one restart of it, also what is waiting
    out an earlier failure: it is restarted now in any case.
    """
    waiting: dict[tuple[str, str], list[Told]] = {}
    ready: set[tuple[str, str]] = set()
    for cert, state in states:
        for server in state.servers:
            if server.set is None or server.phase in (ServerPhase.PROVEN, ServerPhase.PENDING):
                continue
            place = (server.host, server.kind)
            waiting.setdefault(place, []).append(Told(cert, server.set))
            if server.phase is ServerPhase.DELIVERED or _over(server.next_try, now):
                ready.add(place)
    jobs = []
    for host in sorted({host for host, _ in ready}):
        told = tuple((kind, tuple(waiting[host, kind])) for kind in order if (host, kind) in ready)
        certs = sorted({str(one.cert) for _, group in told for one in group})
        jobs.append(Restart(host, told, f"{', '.join(certs)} rolled"))
    return jobs


def next_restart(states: Iterable[CertState]) -> datetime | None:
    """Return when the first failed restart is to be tried again."""
    times = [
        server.next_try
        for state in states
        for server in state.servers
        if server.phase is ServerPhase.FAILED and server.next_try is not None
    ]
    return min(times, default=None)


def _over(when: datetime | None, now: datetime) -> bool:
    return when is None or when <= now
