"""What `sslmctl import --check` makes of a rehearsal: a line a certificate, and a verdict."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from sslmd.config.model import Config
from sslmd.core.errors import SslmError
from sslmd.core.names import CertId
from sslmd.core.plain import day
from sslmd.core.reason import Reason, Said, noted, said
from sslmd.core.state import CertState
from sslmd.core.told import Would
from sslmd.servers import folders
from sslmd.servers.production import survey
from sslmd.store import sets
from sslmd.store.layout import Tree
from sslmd.store.ssl_mgr import at_work
from sslmd.wire.messages import SOCKET_PATH
from sslmd.workers.rehearsal import Rehearsal, Rehearsed


@dataclass(slots=True)
class Line:
    """One certificate. `then`: what comes next."""

    cert: CertId
    curr: str
    next: str
    ends: str
    then: Reason
    colour: str = ""
    remarks: list[Reason] = field(default_factory=list)


@dataclass(slots=True)
class ImportOutcome:
    """The verdict. `made` and `rolled` count certificates; `changes` are all other changes.

    `problems`: what keeps the tree, or part of it, from being taken over; `new_roots`: which roots
    get another key or certificate.
    """

    rehearsal: Rehearsal
    certs: list[Line] = field(default_factory=list)
    made: int = 0
    rolled: int = 0
    changes: list[Reason] = field(default_factory=list)
    problems: list[Reason] = field(default_factory=list)
    new_roots: list[Reason] = field(default_factory=list)


def outcome_of(config: Config, rehearsal: Rehearsal, now: datetime) -> ImportOutcome:
    """Judge a rehearsal; blocks, never raises."""
    found = ImportOutcome(rehearsal)
    found.problems += _of_the_tree(config)
    there: dict[CertId, bool] = {}
    try:
        there = survey(str(config.globals.prod_cert_dir))
    except SslmError as err:
        found.problems.append(err.reason)
    tree = Tree(str(config.globals.certs_dir))
    lost: list[str] = []
    for cert, one in rehearsal.certs.items():
        state = one.loaded
        ends = state.curr.cert.not_after if state.curr and state.curr.cert else None
        line = Line(
            cert,
            str(state.curr.name) if state.curr else "-",
            str(state.next.name) if state.next else "-",
            day(ends) if ends else "-",
            _then(one, now),
            remarks=[*one.remarks, *_odd(state, tree.state_file(cert))],
        )
        found.certs.append(line)
        problem = _problem(one, tree, now)
        if problem is not None:
            line.then, line.colour = problem, "red"
            found.problems.append(Reason(Would.OF_CERT, cert=cert, what=problem))
        elif one.is_made:
            found.made += 1
            line.colour = "yellow"
            if one.is_root:
                line.colour = "red"
                keeps = getattr(one.job, "reuse", False)
                found.new_roots.append(Reason(Would.NEW_ROOT, cert=cert, reuse=keeps))
        elif one.is_rolled:
            found.rolled += 1
            line.colour = "yellow"
        found.changes += [Reason(Would.OF_CERT, cert=cert, what=what) for what in one.changes]
        if one.loaded.curr is None and cert in there:
            lost.append(str(cert))
    if lost:
        found.problems.append(Reason(Would.PRODUCTION_HAS_MORE, certs=tuple(lost)))
    for zone in rehearsal.zones:
        found.changes += zone.changes
    found.changes += rehearsal.changes
    found.problems += rehearsal.unseen
    return found


def _problem(one: Rehearsed, tree: Tree, now: datetime) -> Reason | None:
    """Return what keeps a certificate from being taken over, None if nothing does."""
    if one.hold is not None:
        return one.hold
    if one.failed:
        return one.failed[0]
    if one.decision.alarm is not None:
        return Reason(Would.ADMIN_DECIDES, why=one.decision.alarm)
    if one.decision.stuck is not None:
        return Reason(Would.FAILED_BEFORE, why=one.decision.reason)
    unusable = one.unusable(now)
    if one.is_made or one.is_rolled or unusable is None:
        return None
    names: tuple[str, ...] = ()
    if one.loaded.curr is None:
        with suppress(SslmError):
            names = tuple(map(str, sets.list_sets(tree, one.cert)))
    return Reason(Would.NOT_RENEWED, why=unusable, managed=one.wanted.managed, sets=names)


def _then(one: Rehearsed, now: datetime) -> Reason:
    """Return what comes next of a certificate."""
    decision, renews = one.decision, one.renews()
    if one.is_made:
        root = one.is_root or None
        if decision.waits_for_ca:
            return Reason(Would.NOT_YET, root=root, why=decision.reason)
        assert one.job is not None
        drawn = renews is not None and renews[0] <= now < renews[1]
        until = renews[1] if renews is not None and drawn else None
        return Reason(Would.RENEWED, root=root, why=one.job.reason, until=until)
    if one.is_rolled:
        assert one.job is not None
        return Reason(Would.ROLLED, why=one.job.reason)
    if not one.wanted.managed:
        return Reason(Would.SIGNS_ONLY)
    if decision.roll_at is not None:
        return Reason(Would.ROLLS_AT, at=decision.roll_at, windows=decision.rolls_when)
    if one.loaded.next is not None and one.loaded.next.complete:
        return Reason(Would.STAYS_FOR_NOW, why=decision.reason)
    if renews is None:
        return decision.reason
    return Reason(Would.RENEWS, first=renews[0], last=renews[1])


def _odd(state: CertState, notes: str) -> Iterator[Reason]:
    """Yield what is odd about the sets. `notes`: where sslmd has its own."""
    curr, next_ = state.curr, state.next
    if os.path.lexists(notes):
        yield Reason(Would.WAS_HERE)
    if next_ is not None and not next_.complete:
        yield Reason(Would.NEXT_UNFINISHED, problem=said(next_.problem))
    if (
        curr is not None
        and curr.cert is not None
        and next_ is not None
        and next_.cert is not None
        and next_.cert.not_before < curr.cert.not_before
    ):
        yield Reason(Would.NEXT_OLDER, set=next_.name)


# --- the tree as a whole ----------------------------------------------------------------


def _of_the_tree(config: Config) -> Iterator[Reason]:
    """Yield what keeps the daemon from starting on this tree, or from writing to it."""
    if other := at_work(config.conf_dir):
        yield Reason(Would.SSL_MGR_WORKS, pid=other.pid, what=Said(other.what))
    yield from (noted(str(one)) for one in folders.look(config, SOCKET_PATH) if one.refused)
    for key, folder in (
        ("certs_dir", config.globals.certs_dir),
        ("prod_cert_dir", config.globals.prod_cert_dir),
    ):
        try:
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        except OSError:
            continue
        if read_only:
            yield Reason(Would.READ_ONLY, key=key, folder=str(folder))
