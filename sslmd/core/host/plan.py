"""What is to be copied to each host, and restarted there: one job a host, for all certificates.

A host that fails is tried again by the table (`Server.next_try`), and holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sslmd.core.backoff import LONGEST_WAIT
from sslmd.core.jobs import Copy, Restart, See, Told
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, Why
from sslmd.core.state import DONE, CertState, Server, ServerPhase

# Copies and restarts wait this long for rolls that are still under way, so that one serves all.
BATCH_WAIT = timedelta(seconds=30)

# When a server may be restarted for a certificate, from a time on: its `restart_window`.
Opens = Callable[[CertId, Server, datetime], datetime]


# When a server is looked at without a restart: None for one that need not be, or was seen.
Sights = Callable[[CertId, Server, datetime], datetime | None]

# Between looks at a server that nobody has seen using its set: at first, and at most.
FIRST_SIGHT, LAST_SIGHT = timedelta(seconds=5), timedelta(hours=1)


def never(_cert: CertId, _server: Server, _now: datetime) -> datetime | None:
    """Tell that nothing is looked at."""
    return None


def at_any_time(_cert: CertId, _server: Server, now: datetime) -> datetime:
    """Tell that there are no windows."""
    return now


def plan_copies(
    states: Iterable[tuple[CertId, CertState]],
    untidy: Mapping[str, datetime | None],
    now: datetime,
) -> list[Copy]:
    """Return the copies that are due, one job a host with everything that it lacks.

    `untidy` are hosts that have what they should not, and when each is next seen to (None: now).
    """
    lacking: dict[str, dict[CertId, Told]] = {}
    ready = {host for host, when in untidy.items() if is_over(when, now)}
    for cert, state in states:
        curr = state.curr
        if curr is None or not curr.complete or state.delivered.curr != curr.name:
            continue  # production comes first
        for server in state.servers:
            if server.phase is ServerPhase.PENDING:
                lacking.setdefault(server.host, {})[cert] = Told(cert, curr.name)
                if is_over(server.next_try, now):
                    ready.add(server.host)
    jobs = []
    for host in sorted(ready):
        told = tuple(lacking.get(host, {}).values())
        certs = tuple(str(one.cert) for one in told)
        reason = Reason(Why.HOST_WITHOUT, certs=certs) if told else Reason(Why.HOST_SURPLUS)
        jobs.append(Copy(host, told, reason))
    return jobs


def plan_restarts(
    states: Iterable[tuple[CertId, CertState]],
    order: Sequence[str],
    now: datetime,
    *,
    opens: Opens = at_any_time,
    busy: Collection[str] = (),
) -> list[Restart]:
    """Return the restarts that are due, one job a host, its classes in `order`.

    Everything that touches a class of a host is in one restart of it, also what is waiting
    out an earlier failure: it is restarted now in any case. Hosts that are `busy` are left out:
    they are being copied to.
    """
    waiting: dict[tuple[str, str], list[Told]] = {}
    ready: set[tuple[str, str]] = set()
    for cert, state in states:
        for server in state.servers:
            if server.set is None or server.phase in (*DONE, ServerPhase.PENDING):
                continue
            place = (server.host, server.kind)
            waiting.setdefault(place, []).append(Told(cert, server.set))
            if server.host not in busy and restarts_at(cert, server, now, opens) <= now:
                ready.add(place)
    jobs = []
    # A class that is no longer in the configuration is not restarted.
    for host in sorted({host for host, kind in ready if kind in order}):
        told = tuple((kind, tuple(waiting[host, kind])) for kind in order if (host, kind) in ready)
        certs = sorted({str(one.cert) for _, group in told for one in group})
        jobs.append(Restart(host, told, Reason(Why.RESTARTS_FOR, certs=tuple(certs))))
    return jobs


def looks_again(since: datetime, last: datetime) -> datetime:
    """Return when a server is looked at again that was not seen using its set since `since`.

    Often at first, for who is just setting it up; then as seldom as costs nothing.
    """
    return last + min(max(last - since, FIRST_SIGHT), LAST_SIGHT)


def plan_sights(
    states: Iterable[tuple[CertId, CertState]],
    order: Sequence[str],
    now: datetime,
    *,
    sights: Sights,
    busy: Collection[str] = (),
) -> list[See]:
    """Return the looks that are due, one job a host, with everything there that nobody has seen."""
    waiting: dict[tuple[str, str], list[Told]] = {}
    ready = set()
    for cert, state in states:
        for server in state.servers:
            when = sights(cert, server, now)
            if when is None or server.set is None or server.host in busy:
                continue
            waiting.setdefault((server.host, server.kind), []).append(Told(cert, server.set))
            if is_over(when, now):
                ready.add(server.host)
    jobs = []
    for host in sorted(ready):
        told = tuple(
            (kind, tuple(waiting[host, kind])) for kind in order if (host, kind) in waiting
        )
        if told:
            jobs.append(See(host, told, Reason(Why.NOBODY_SAW)))
    return jobs


def next_look(
    states: Iterable[tuple[CertId, CertState]],
    untidy: Mapping[str, datetime | None],
    now: datetime,
    *,
    opens: Opens = at_any_time,
    sights: Sights = never,
) -> datetime | None:
    """Return when the first host is to be copied to, restarted or looked at that has to wait."""
    times = list(untidy.values())
    for cert, state in states:
        times += [_next_look(cert, server, now, opens) for server in state.servers]
        times += [sights(cert, server, now) for server in state.servers]
    return min((when for when in times if when is not None and when > now), default=None)


def _next_look(cert: CertId, server: Server, now: datetime, opens: Opens) -> datetime | None:
    if server.phase is ServerPhase.PENDING:
        return server.next_try
    if server.set is None or server.phase in DONE:
        return None
    return restarts_at(cert, server, now, opens)


def restarts_at(cert: CertId, server: Server, now: datetime, opens: Opens) -> datetime:
    """Return when a server that is to be restarted may be."""
    wait = now if is_over(server.next_try, now) else server.next_try
    if server.phase is ServerPhase.DELIVERED:
        # With a time, it is an admin who asked, and he knows what time it is.
        return now if server.next_try is not None else opens(cert, server, now)
    return opens(cert, server, wait or now)


def is_over(when: datetime | None, now: datetime) -> bool:
    """Whether a wait is over, or was noted before the clock was set back."""
    return when is None or when <= now or when > now + LONGEST_WAIT
