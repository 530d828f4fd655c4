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
from sslmd.core.plain import clock, day
from sslmd.core.state import CertState
from sslmd.core.words.sentence import say
from sslmd.servers import folders
from sslmd.servers.production import survey
from sslmd.store import sets
from sslmd.store.layout import Tree
from sslmd.store.ssl_mgr import at_work
from sslmd.wire.messages import SOCKET_PATH
from sslmd.workers.rehearsal import Rehearsal, Rehearsed


@dataclass(slots=True)
class Line:
    """One certificate. `then`: what comes next, in words."""

    cert: CertId
    curr: str
    next: str
    ends: str
    then: str
    colour: str = ""
    remarks: list[str] = field(default_factory=list)


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
    changes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    new_roots: list[str] = field(default_factory=list)


def outcome_of(config: Config, rehearsal: Rehearsal, now: datetime) -> ImportOutcome:
    """Judge a rehearsal; blocks, never raises."""
    found = ImportOutcome(rehearsal)
    found.problems += _of_the_tree(config)
    there: dict[CertId, bool] = {}
    try:
        there = survey(str(config.globals.prod_cert_dir))
    except SslmError as err:
        found.problems.append(str(err))
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
        if problem:
            line.then, line.colour = problem, "red"
            found.problems.append(f"{cert}: {problem}")
        elif one.is_made:
            found.made += 1
            line.colour = "yellow"
            if one.is_root:
                line.colour = "red"
                keeps = getattr(one.job, "reuse", False)
                what = "certificate, with its key" if keeps else "key and certificate"
                found.new_roots.append(
                    f"NEW ROOT: {cert} would get another {what}. Every client that trusts it has "
                    "to learn the new one"
                )
        elif one.is_rolled:
            found.rolled += 1
            line.colour = "yellow"
        found.changes += [f"{cert}: {text}" for text in one.changes]
        if one.loaded.curr is None and cert in there:
            lost.append(str(cert))
    if lost:
        found.problems.append(
            f"production has {', '.join(lost)}, and the working tree does not: look at certs_dir "
            "before the daemon makes others in place of what is in use"
        )
    for zone in rehearsal.zones:
        found.changes += zone.changes
    found.changes += rehearsal.changes
    found.problems += rehearsal.unseen
    return found


def _problem(one: Rehearsed, tree: Tree, now: datetime) -> str:
    """Return what keeps a certificate from being taken over, "" if nothing does."""
    if one.hold:
        return one.hold
    if one.failed:
        return one.failed[0]
    alarm = one.decision.alarm
    if alarm:
        return f"HELD, until an admin decides: {say(alarm)}"
    if one.decision.stuck is not None:
        return f"it failed before: {say(one.decision.reason)}"
    if one.is_made or one.is_rolled:
        return ""
    unusable = one.unusable(now)
    if unusable is None:
        return ""
    more = "" if one.wanted.managed else " No active group lists it, so nobody renews it."
    if one.loaded.curr is None:
        with suppress(SslmError):
            if names := sets.list_sets(tree, one.cert):
                more += f" There is no curr, but there are sets: {', '.join(map(str, names))}"
    return f"it cannot be used, and is not renewed: {say(unusable)}.{more}"


def _then(one: Rehearsed, now: datetime) -> str:
    """Return what comes next of a certificate, in words."""
    decision = one.decision
    if one.is_made:
        what = "NEW ROOT" if one.is_root else "is RENEWED AT ONCE"
        if decision.waits_for_ca:
            return f"{what}, but {say(decision.reason)}"
        assert one.job is not None
        renews = one.renews()
        by_chance = f", or until {day(renews[1])}: the day is drawn" if renews else ""
        drawn = renews is not None and renews[0] <= now < renews[1]
        return f"{what}: {say(one.job.reason)}{by_chance if drawn else ''}"
    if one.is_rolled:
        assert one.job is not None
        return f"is ROLLED AT ONCE: {say(one.job.reason)}"
    if not one.wanted.managed:
        return "is used to sign, and never renewed: no active group lists it"
    if decision.roll_at is not None:
        when = f", {say(decision.rolls_when)}" if decision.rolls_when else ""
        return f"rolls at {clock(decision.roll_at)}{when}"
    if one.loaded.next is not None and one.loaded.next.complete:
        return f"stays for now; {say(decision.reason)}"
    renews = one.renews()
    if renews is None:
        return say(decision.reason)
    first, last = (day(when) for when in renews)
    return f"stays; renews {first}" if first == last else f"stays; renews {first} to {last}"


def _odd(state: CertState, notes: str) -> Iterator[str]:
    """Yield what is odd about the sets. `notes`: where sslmd has its own."""
    curr, next_ = state.curr, state.next
    if os.path.lexists(notes):
        yield "it has a state.toml: sslmd was here before, and what is noted there counts too"
    if next_ is not None and not next_.complete:
        problem = f" ({next_.problem})" if next_.problem else ""
        yield f"next is not finished{problem}: finished or replaced when a renewal is due"
    if (
        curr is not None
        and curr.cert is not None
        and next_ is not None
        and next_.cert is not None
        and next_.cert.not_before < curr.cert.not_before
    ):
        yield f"next, set {next_.name}, is older than curr; to keep curr, remove the link next"


# --- the tree as a whole ----------------------------------------------------------------


def _of_the_tree(config: Config) -> Iterator[str]:
    """Yield what keeps the daemon from starting on this tree, or from writing to it."""
    if other := at_work(config.conf_dir):
        yield (
            f"ssl-mgr works on this tree at this moment (process {other.pid}: {other.what}): what "
            "is said here may be wrong in a minute, and the daemon does not start; wait until it "
            "has ended"
        )
    yield from (str(one) for one in folders.look(config, SOCKET_PATH) if one.refused)
    for key, folder in (
        ("certs_dir", config.globals.certs_dir),
        ("prod_cert_dir", config.globals.prod_cert_dir),
    ):
        try:
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        except OSError:
            continue
        if read_only:
            yield f"{key}: {folder} is on a file system that is read-only; mount it for writing"
