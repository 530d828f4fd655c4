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
from sslmd.core.reason import Reason, Said, Why
from sslmd.core.state import DONE, Delivered, Server
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
            why = Reason(Why.TO_PRODUCTION, set=curr.name)
        elif there.next != state.delivered.next:
            why = Reason(Why.SHOWS_NEXT)
        else:
            why = Reason(Why.OTHER_SERVERS)
        # As ssl-mgr left it, and as it was found before. What is new is delivered as ours is.
        leave = not state.whole and (state.adopted or state.delivered == there)
        job = Deliver(cert, there.curr, there.next, why, state.adopted, leave)
        return Decision(why, job=job)
    # One that is done with an older set is not with this one (I4). Where there is nothing to look
    # at, the restart has to do.
    waiting = [
        server
        for server in state.servers
        if server.phase not in DONE or server.set != curr.name or server.is_owed_a_look
    ]
    if state.settled == curr.name:
        lacking = Reason(Why.LIVE_NOT_EVERYWHERE, servers=_listed(waiting))
        return Decision(lacking) if waiting else None
    if state.deployed != curr.name:
        if not waiting:
            if view.wanted.dane and view.dane == UNKNOWN:
                return Decision(Reason(Why.LIVE_PUBLISHING))
            if view.wanted.dane and view.proves and not isinstance(view.dane, NoRecords):
                why = Reason(Why.PROVE_PORTS)
                return Decision(why, job=Prove(cert, curr.name, why))
            return Decision(Reason(Why.NO_SERVER_LEFT), event=ServersProven(now))
        return Decision(Reason(Why.SERVERS_WAIT, servers=_listed(waiting)))
    if view.wanted.dane and (view.behind or view.dane == UNKNOWN):
        behind = view.behind or Reason(Why.BEING_GIVEN)
        return Decision(Reason(Why.OLD_RECORDS_GO, why=behind))
    return Decision(Reason(Why.OLD_SETS_GO), job=Settle(cert, Reason(Why.DEPLOYED)))


def _listed(servers: Iterable[Server]) -> tuple[Reason, ...]:
    return tuple(
        Reason(
            Why.SERVER,
            kind=server.kind,
            host=server.host,
            phase=server.phase,
            set=server.set,
            error=Said(server.error) if server.error else None,
            unseen=server.unseen.why if server.is_owed_a_look and server.unseen else None,
            next_try=server.next_try,
        )
        for server in servers
    )
