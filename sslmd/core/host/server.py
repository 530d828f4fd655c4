"""How a server comes to use a set: what may happen to it in each phase, and what it is then.

    PENDING -> DELIVERED -> RESTARTED -> PROVEN

`TABLE` has all of it; what it does not name cannot happen. A server is one host of one server
class, as one certificate sees it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sslmd.core.errors import ImpossibleTransition, Trouble
from sslmd.core.events import RestartAsked
from sslmd.core.names import SetName
from sslmd.core.state import NOT_YET, CertState, Server, ServerPhase, Unseen

# What stands for the access to keys that others put there.
UNTOUCHED = "not copied"


class ServerChange(StrEnum):
    """What can happen to a server that changes its phase."""

    GIVEN = "given a set"
    NOT_GIVEN = "not given a set"
    RESTARTED = "restarted"
    FAILED = "not restarted, or seen using something else"
    LOOKED = "looked at"
    WANTED = "wanted again"
    ASKED = "to be restarted"


_NOT_PENDING = tuple(phase for phase in ServerPhase if phase is not ServerPhase.PENDING)
_DONE = frozenset({ServerPhase.RESTARTED, ServerPhase.PROVEN})

# A restart is done in each phase that has a set: an admin may ask again.
TABLE: Mapping[tuple[ServerPhase, ServerChange], frozenset[ServerPhase]] = {
    # With the set that it is known to use already, it is done; rolled again, it is to get another.
    (ServerPhase.PENDING, ServerChange.GIVEN): frozenset(ServerPhase) - {ServerPhase.FAILED},
    (ServerPhase.PENDING, ServerChange.NOT_GIVEN): frozenset({ServerPhase.PENDING}),
    **{(phase, ServerChange.RESTARTED): _DONE for phase in _NOT_PENDING},
    **{(phase, ServerChange.FAILED): frozenset({ServerPhase.FAILED}) for phase in _NOT_PENDING},
    (ServerPhase.RESTARTED, ServerChange.LOOKED): _DONE,
    **{(phase, ServerChange.WANTED): frozenset({ServerPhase.PENDING}) for phase in ServerPhase},
    **{(phase, ServerChange.ASKED): frozenset({ServerPhase.DELIVERED}) for phase in _NOT_PENDING},
}


def _after(server: Server, what: ServerChange, phase: ServerPhase, **changes: Any) -> Server:
    """Return a server in another phase; raise `ImpossibleTransition` for one out of place."""
    if phase not in TABLE.get((server.phase, what), ()):
        raise ImpossibleTransition(f"a server that is {server.phase}, {what}: {phase}")
    return replace(server, phase=phase, **changes)


def _well(server: Server, now: datetime) -> Server:
    """Return a server of which all is well since now."""
    return replace(server.without_trouble(), since=now)


# --- what happens to one server -----------------------------------------------------------


def given(server: Server, name: SetName, now: datetime, *, is_new: bool, here: bool) -> Server:
    """Return a server that has a set now. `is_new`: it had other files in use."""
    phase = ServerPhase.DELIVERED if is_new else server.phase_with(name)
    return _after(_well(server, now), ServerChange.GIVEN, phase, set=name, here=here)


def not_given(server: Server, trouble: Trouble) -> Server:
    """Return a server that could not be given a set."""
    return _after(server.failed(trouble), ServerChange.NOT_GIVEN, ServerPhase.PENDING)


def restarted(
    server: Server, unseen: Unseen | None, expires: datetime | None, now: datetime
) -> Server:
    """Return a server that was restarted. `unseen`: why nobody saw it using its set."""
    phase = ServerPhase.PROVEN if unseen is None else ServerPhase.RESTARTED
    after = _after(_well(server, now), ServerChange.RESTARTED, phase, expires=expires)
    return _used(after, unseen, now)


def failed(server: Server, trouble: Trouble) -> Server:
    """Return a server whose restart failed, or that was seen using something else."""
    return _after(server.failed(trouble), ServerChange.FAILED, ServerPhase.FAILED)


def looked_at(server: Server, unseen: Unseen | None, now: datetime) -> Server:
    """Return a server that was looked at without a restart."""
    if unseen is not None:
        after = _after(server, ServerChange.LOOKED, ServerPhase.RESTARTED)
    else:
        after = _after(_well(server, now), ServerChange.LOOKED, ServerPhase.PROVEN)
    return _used(after, unseen, now)


def _used(server: Server, unseen: Unseen | None, now: datetime) -> Server:
    """Return it with its set noted as the one that it uses, or was restarted with."""
    if unseen is None:
        return replace(server, proven=server.set, seen=now, unseen=None)
    return replace(server.used(), unseen=unseen)


def wanted(server: Server, hosts: Collection[str]) -> Server:
    """Return a server that is to be given its set again, if it is on one of these hosts."""
    if server.host not in hosts:
        return server
    return _after(server.without_trouble(), ServerChange.WANTED, ServerPhase.PENDING)


def asked(server: Server, event: RestartAsked) -> Server:
    """Return a server that is to be restarted, if the event means it."""
    is_named = server.kind == event.kind and server.host in event.hosts
    if not is_named or server.phase is ServerPhase.PENDING or server.set is None:
        return server
    # With a time, it is an admin who asked: no window is waited for.
    asked_at = None if event.because else event.at
    server = _well(server, event.at)
    return _after(server, ServerChange.ASKED, ServerPhase.DELIVERED, next_try=asked_at)


# --- what is known by now, when an event comes in -----------------------------------------


def with_told(servers: Iterable[Server], told: Server) -> tuple[Server, ...]:
    """Put `told` in its place, unless that server is to be given something in the meantime."""
    return tuple(
        told
        if (old.kind, old.host, old.set) == (told.kind, told.host, told.set)
        and old.phase is not ServerPhase.PENDING
        else old
        for old in servers
    )


def with_copied(state: CertState, told: Server, before: SetName | None) -> tuple[Server, ...]:
    """Put a server that was copied to in its place, unless it is known better by now.

    `before`: the set that it was known to have.
    """
    curr = state.curr.name if state.curr else None
    if told.set != curr and told.phase is not ServerPhase.PENDING:
        # Rolled again meanwhile: it has a set now, but not yet this one.
        told = replace(told, phase=ServerPhase.PENDING, next_try=None)
    place = (told.kind, told.host, before, ServerPhase.PENDING)
    return tuple(
        told if (old.kind, old.host, old.set, old.phase) == place else old for old in state.servers
    )


# --- what production holds, servers are to have -------------------------------------------


@dataclass(frozen=True, slots=True)
class HostUse:
    """One server class of one host that uses a certificate.

    `access`: who may read the key there, `UNTOUCHED` where others copy it; `here`: it is this
    machine; `is_visited`: something has to be done there before it has what production has.
    """

    kind: str
    host: str
    access: str
    here: bool
    is_visited: bool


def in_production(
    state: CertState,
    uses: Iterable[HostUse],
    curr: SetName,
    now: datetime,
    *,
    changed: bool,
    adopt: bool,
) -> tuple[Server, ...]:
    """Return how the servers stand once production holds the set `curr`.

    `changed`: its `curr` is another set now. `adopt`: what is already there needs no restart.
    """
    known = {(one.kind, one.host): one for one in state.servers}
    is_same = state.delivered.curr == curr
    found = []
    for use in uses:
        old = known.get((use.kind, use.host))
        # What others bring there is what production holds.
        other = changed and (use.here or use.access == UNTOUCHED)
        waits = (ServerPhase.PENDING, use.access, use.here)
        still = old is not None and (old.phase, old.access, old.here) == waits
        if old is not None and still and is_same and use.is_visited and not other:
            found.append(old)  # with what failed, and its next try
            continue
        found.append(_supplied(state, use, old, curr, now, changed=other, adopt=adopt))
    return tuple(found)


def _supplied(
    state: CertState,
    use: HostUse,
    old: Server | None,
    curr: SetName,
    now: datetime,
    *,
    changed: bool,
    adopt: bool,
) -> Server:
    """Return how a server stands now that production holds what it is to use.

    `changed`: what it reads are other files now, as far as that is known here.
    """
    fresh = Server(
        use.kind, use.host, ServerPhase.PENDING, since=now, access=use.access, here=use.here
    )
    if old is not None:
        # Which machine it is matters where a key is to be had by others there.
        moved = old.here != use.here and use.access not in ("", UNTOUCHED)
        other = changed or moved or old.access != use.access
        if old.set == curr and old.phase is not ServerPhase.PENDING and not other:
            return old
        was = old.used()
        fresh = replace(
            fresh,
            set=old.set,
            # What was seen with other files than those that are there now was not seen with these.
            proven=None if other else was.proven,
            restarted=None if other else was.restarted,
            unseen=old.unseen,
            ports=old.ports,
            seen=old.seen,
            expires=old.expires,
        )
    elif adopt:
        # As ssl-mgr left it: its servers were restarted when it was put there. So it is said.
        ends = state.curr.cert.not_after if state.curr and state.curr.cert else None
        taken = None if changed else curr
        fresh = replace(fresh, restarted=taken, unseen=NOT_YET, expires=ends)
    return fresh if use.is_visited else replace(fresh, phase=fresh.phase_with(curr), set=curr)
