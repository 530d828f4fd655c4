"""What comes next on a host: one copy, one restart or one look, for all certificates together.

A host that fails is tried again by the table (`Server.next_try`), and delays no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.errors import is_over
from sslmd.core.host.needs import (
    HostWanted,
    Need,
    Opens,
    Placement,
    Sights,
    at_any_time,
    needs,
    never,
)
from sslmd.core.jobs import Copy, HostJob, Restart, See, Told
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Reason, Why
from sslmd.core.state import CertState

# Copies and restarts wait this long for rolls that are still under way, so that one serves all.
BATCH_WAIT = timedelta(seconds=30)

# Between looks at a server that nobody has seen using its set: at first, and at most.
FIRST_SIGHT, LAST_SIGHT = timedelta(seconds=5), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class HostView:
    """One host: what is known of its servers, and what is wanted of it.

    `order`: the server classes in the order of the file; one that is not among them is not
    restarted. `visit_at`: when it is to be visited whatever its servers have, if it is.
    """

    host: str
    placements: Sequence[Placement]
    wanted: HostWanted
    order: Sequence[str]
    visit_at: datetime | None = None
    opens: Opens = at_any_time
    sights: Sights = never


@dataclass(frozen=True, slots=True)
class HostDecision:
    """What comes next on a host: a job, and when it is to be looked at again at the latest."""

    job: HostJob | None = None
    wake_at: datetime | None = None


def decide_host(view: HostView, now: datetime) -> HostDecision:
    """Return what comes next. What a copy brings is restarted after it, not before it too.

    Everything that touches a class is in one restart of it, also what is waiting out an earlier
    failure: it is restarted now in any case.
    """
    need = needs(view.wanted, now, view.placements, opens=view.opens, sights=view.sights)
    every = (*need.lacking, *need.restarts, *need.unseen)
    times = [one.at for one in every if one.at > now]
    if view.visit_at is not None and view.visit_at > now:
        times.append(view.visit_at)
    wake_at = min(times, default=None)
    job: HostJob | None = None
    is_visited = view.visit_at is not None and is_over(view.visit_at, now)
    if is_visited or _is_due(need.lacking, now):
        told = tuple(dict.fromkeys(one.told for one in need.lacking))
        certs = tuple(str(one.cert) for one in told)
        reason = Reason(Why.HOST_WITHOUT, certs=certs) if told else Reason(Why.HOST_SURPLUS)
        job = Copy(view.host, told, reason)
    elif groups := by_class(need.restarts, view.order, now):
        certs = tuple(sorted({str(one.cert) for _, group in groups for one in group}))
        job = Restart(view.host, groups, Reason(Why.RESTARTS_FOR, certs=certs))
    elif _is_due(need.unseen, now) and (groups := by_class(need.unseen, view.order)):
        job = See(view.host, groups, Reason(Why.NOBODY_SAW))
    return HostDecision(job, wake_at)


def _is_due(some: Iterable[Need], now: datetime) -> bool:
    return any(one.at <= now for one in some)


def by_class(
    some: Sequence[Need], order: Sequence[str], now: datetime | None = None
) -> tuple[tuple[str, tuple[Told, ...]], ...]:
    """Return what each class needs; those alone of which something is due `now`."""
    found = {kind: [one for one in some if one.kind == kind] for kind in order}
    return tuple(
        (kind, tuple(one.told for one in its))
        for kind, its in found.items()
        if its and (now is None or _is_due(its, now))
    )


def by_host(states: Iterable[tuple[CertId, CertState]]) -> dict[str, list[Placement]]:
    """Return what is known of the servers of each host."""
    found: dict[str, list[Placement]] = {}
    for cert, state in states:
        for server in state.servers:
            placement = Placement(cert, server, _in_production(state))
            found.setdefault(server.host, []).append(placement)
    return found


def placed_on(host: str, states: Iterable[tuple[CertId, CertState]]) -> list[Placement]:
    """Return the same for one host."""
    return [
        Placement(cert, server, _in_production(state))
        for cert, state in states
        for server in state.servers
        if server.host == host
    ]


def _in_production(state: CertState) -> SetName | None:
    """Return the set that production holds, if it is the one in use."""
    curr = state.curr
    is_ready = curr is not None and curr.complete and state.delivered.curr == curr.name
    return curr.name if curr is not None and is_ready else None


def looks_again(since: datetime, last: datetime) -> datetime:
    """Return when a server is looked at again that was not seen using its set since `since`.

    Often at first, for who is just setting it up; then as seldom as costs nothing.
    """
    return last + min(max(last - since, FIRST_SIGHT), LAST_SIGHT)
