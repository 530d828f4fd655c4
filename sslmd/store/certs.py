"""One certificate on disk, whole: its sets, links and notes become a `CertState` and back.

Reads trees that are incomplete, edited by hand, made by ssl-mgr, or left by a crash; what
cannot be dealt with becomes a `hold` on that certificate alone (I6).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sslmd.core.errors import Permanent, SslmError, naming
from sslmd.core.lifecycle import phase_of
from sslmd.core.names import CertId, GroupName, SetName
from sslmd.core.reason import Held, Reason
from sslmd.core.spec import SetFacts
from sslmd.core.state import CertState, SetNote
from sslmd.core.told import Odd, Would
from sslmd.store import files, sets, state
from sslmd.store.layout import CERT, CURR, NEXT, Tree
from sslmd.store.notes import BadNoteError, LaterVersionError


class Repair(StrEnum):
    """What is done about what is found not as it should be: it is put right, or only reported."""

    DONE = "done"
    REPORTED = "reported"


@dataclass(slots=True)
class Loaded:
    """A certificate as read. `hold`: why nothing may be done with it; `remarks`: what is odd.

    `unsaved`: something was found out or drawn that state.toml does not hold yet. What reading
    puts right, or would: `wide` are the keys that others could read, `repairs` the rest.
    `astray`: there is no set in use because a link leads to none.
    """

    state: CertState
    hold: Reason | None = None
    remarks: list[Reason] = field(default_factory=list)
    unsaved: bool = False
    wide: list[str] = field(default_factory=list)
    repairs: list[Reason] = field(default_factory=list)
    astray: Reason | None = None


def load(
    tree: Tree,
    cert: CertId,
    *,
    draw: Callable[[], float],
    now: datetime,
    repair: Repair = Repair.DONE,
) -> Loaded:
    """Read one certificate. Never raises: trouble with its files is the certificate's own.

    `draw` gives a number from -1 to 1 for a set that has none noted. `repair`: whether what is not
    as it should be is put right; reported, nothing is changed.
    """
    try:
        return _load(tree, cert, draw, now, repair)
    except LaterVersionError as err:
        hold = Reason(Held.LATER_STATE, path=tree.state_file(cert), why=err.reason)
    except SslmError as err:
        hold = Reason(Held.LEFT_ALONE, why=err.reason)
    except OSError as err:
        where = str(err.filename or tree.cert_dir(cert))
        hold = Reason(Held.LEFT_ALONE, why=files.trouble(err, "read", where).reason)
    return Loaded(_as_it_lies(tree, cert), hold)


def _as_it_lies(tree: Tree, cert: CertId) -> CertState:
    """Return what there is to see of a certificate that is left alone; nothing is changed."""
    try:
        links = sets.read_links(tree, cert)
        curr = _look(tree, cert, links.curr)
        next_ = _look(tree, cert, links.next) if links.next != links.curr else None
    except (SslmError, OSError):
        return CertState()
    phase = phase_of(curr, next_, advertised=None, deployed=links.curr, settled=links.curr)
    return CertState(phase=phase, curr=curr, next=next_)


def _look(tree: Tree, cert: CertId, name: SetName | None) -> SetFacts | None:
    return None if name is None else sets.read_set(tree, cert, name, deep=False)


def _load(
    tree: Tree, cert: CertId, draw: Callable[[], float], now: datetime, repair: Repair
) -> Loaded:
    found = Loaded(CertState())
    for folder in (tree.group_dir(cert.group), tree.cert_dir(cert), tree.db_dir(cert)):
        files.check_dir(folder)
    links = sets.read_links(tree, cert)
    found.remarks += links.remarks
    if links.curr is None:
        found.astray = next(iter(links.remarks), None)
    noted = _read_notes(tree, cert, now, found, repair)
    if links.next is not None and links.next == links.curr:
        found.repairs.append(Reason(Would.REMOVE_NEXT, path=tree.link(cert, NEXT)))
        if repair is Repair.DONE:
            sets.finish_roll(tree, cert, links)
        links.next = None
    is_noted, noted = noted is not None, _without_former_life(noted or state.Notes(), links)
    curr = _read(tree, cert, links.curr, found, repair)
    next_ = _read(tree, cert, links.next, found, repair)
    if not is_noted:
        # ssl-mgr's; sets of ours have been right from birth.
        linked = (links.curr, links.next)
        for older in (one for one in sets.list_sets(tree, cert) if one not in linked):
            try:
                _tighten(tree, cert, older, found, repair)
            except SslmError as err:  # nobody uses it any more
                found.remarks.append(err.beside(cert))
    prev = links.prev if links.prev != links.curr else None
    phase = phase_of(
        curr,
        next_,
        advertised=noted.state.advertised,
        deployed=noted.state.deployed,
        settled=noted.state.settled,
    )
    found.state = replace(
        noted.state,
        phase=phase,
        curr=curr,
        next=next_,
        prev=prev,
        curr_note=_note(noted, links.curr, draw),
        next_note=_note(noted, links.next, draw),
        prev_note=noted.sets.get(prev) if prev else None,
        retired=_retired(noted.state, links),
        adopted=curr is not None and (noted.state.adopted or links.curr not in noted.sets),
        **_of_ca(tree, cert, links),
    )
    linked_now = (links.curr, links.next)
    found.unsaved = any(name is not None and name not in noted.sets for name in linked_now)
    return found


def _of_ca(tree: Tree, cert: CertId, links: sets.Links) -> dict[str, Any]:
    """Return what is known of the older generations of a CA: what they signed is still out."""
    if cert.group != GroupName.CA:
        return {}
    former = set()
    for name in sets.list_sets(tree, cert):
        with suppress(SslmError, OSError):  # nobody uses it any more
            facts = sets.read_set(tree, cert, name, deep=False)
            former.add(facts.cert.identity if facts.cert is not None else "")
    remains = "" if links.curr is not None else remains_of_ca(tree, cert, links.next)
    return {"former": frozenset(former - {""}), "remains": remains}


def remains_of_ca(tree: Tree, cert: CertId, next_: SetName | None = None) -> str:
    """Return which sets there are of a CA, beside one that is just being made; "" for none.

    Raises what reading raises.
    """
    names = [
        name
        for name in sets.list_sets(tree, cert)
        if name != next_ and os.path.lexists(f"{tree.set_dir(cert, name)}/{CERT}")
    ]
    if names:
        return f"set {names[-1]} in {tree.db_dir(cert)}"
    link = tree.link(cert, CURR)
    return f"the link {link}, and nothing where it leads to" if os.path.lexists(link) else ""


def _without_former_life(noted: state.Notes, links: sets.Links) -> state.Notes:
    """Servers were given another set than `curr` last: that it was deployed before is no news."""
    was = noted.state
    if was.delivered.curr in (None, links.curr):
        return noted
    deployed = was.deployed if was.deployed != links.curr else None
    settled = was.settled if was.settled != links.curr else None
    return replace(noted, state=replace(was, deployed=deployed, settled=settled))


def _retired(noted: CertState, links: sets.Links) -> tuple[SetName, ...]:
    """The sets that servers may still use: those noted, and that of a roll not noted yet.

    Without `curr`, or with another than was noted, also what went to servers last.
    """
    before: list[SetName | None] = list(noted.retired)
    if links.curr is None or links.curr not in (noted.deployed, noted.settled):
        before += [noted.deployed, noted.delivered.curr]
        before += [links.prev] if links.curr is not None else []
    there = (name for name in before if name is not None and name != links.curr)
    return tuple(dict.fromkeys(there))


def reread(tree: Tree, cert: CertId, known: CertState, *, draw: Callable[[], float]) -> CertState:
    """Return what the sets and links on disk say now, for `with_sets`.

    For after a failure and for a reload, when somebody may have worked on the tree by hand.
    Raises what reading raises.
    """
    links = sets.read_links(tree, cert)
    sets.finish_roll(tree, cert, links)
    noted = state.notes_of(known)
    prev = links.prev if links.prev != links.curr else None
    unheard = Loaded(known)
    found = CertState(
        curr=_read(tree, cert, links.curr, unheard, Repair.DONE),
        next=_read(tree, cert, links.next, unheard, Repair.DONE),
        prev=prev,
        curr_note=_note(noted, links.curr, draw),
        next_note=_note(noted, links.next, draw),
        prev_note=noted.sets.get(prev) if prev else None,
    )
    return replace(found, **_of_ca(tree, cert, links))


def _read(
    tree: Tree, cert: CertId, name: SetName | None, found: Loaded, repair: Repair
) -> SetFacts | None:
    if name is None:
        return None
    files.check_dir(tree.set_dir(cert, name))
    _tighten(tree, cert, name, found, repair)
    return sets.read_set(tree, cert, name, deep=False)


def _tighten(tree: Tree, cert: CertId, name: SetName, found: Loaded, repair: Repair) -> None:
    """Make keys of a set private that others can read. Raises what `owners.tighten` raises."""
    if repair is Repair.DONE:
        wide = sets.tighten_keys(tree, cert, name)
    else:
        wide = sets.wide_in(tree, cert, name)
    found.wide += wide
    found.remarks += [Reason(Odd.KEY_WAS_WIDE, path=path) for path in wide]


def _note(notes: state.Notes, name: SetName | None, draw: Callable[[], float]) -> SetNote | None:
    if name is None:
        return None
    return notes.sets.get(name) or SetNote(draw())


def _read_notes(
    tree: Tree, cert: CertId, now: datetime, found: Loaded, repair: Repair
) -> state.Notes | None:
    """Return the notes, None if there are none; a bad file is set aside, never lost."""
    path = tree.state_file(cert)
    try:
        return state.parse(files.read_file(path))
    except FileNotFoundError:
        return None
    except BadNoteError as err:
        if repair is Repair.REPORTED:
            found.repairs.append(Reason(Would.SET_ASIDE, path=path, why=err.reason))
            return None
        when = SetName.at(now)
        while os.path.lexists(f"{path}.bad-{when}"):
            when = when.later()
        aside = f"{path}.bad-{when}"
        with naming("set aside", path):
            files.move(path, aside)
        found.remarks.append(Reason(Odd.STATE_ASIDE, path=path, why=err.reason, aside=aside))
        return None


def in_use(tree: Tree, cert: CertId) -> list[SetName]:
    """Return the sets that servers may still use, as state.toml has it, beside those of links.

    Raises what reading raises, and `Permanent` for notes that cannot be understood: then nobody
    knows.
    """
    try:
        noted = state.parse(files.read_file(tree.state_file(cert))).state
    except FileNotFoundError:
        return []
    except (BadNoteError, LaterVersionError) as err:
        raise Permanent(f"{tree.state_file(cert)} cannot be read: {err}") from err
    return [name for name in (*noted.retired, noted.deployed, noted.settled) if name is not None]


def was_delivered(tree: Tree, cert: CertId) -> bool:
    """Whether it is noted that sslmd brought a certificate into production; never raises.

    The notes stay when a certificate leaves the configuration.
    """
    try:
        noted = state.parse(files.read_file(tree.state_file(cert))).state
    except (OSError, SslmError):
        return False
    return noted.delivered.curr is not None


def save(
    tree: Tree,
    cert: CertId,
    cert_state: CertState,
    *,
    times: dict[str, datetime | None],
    entries: list[state.HistoryEntry],
) -> None:
    """Write state.toml; raises `Transient` or `Permanent`, and then the old one stands."""
    path = tree.state_file(cert)
    files.make_dirs(tree.cert_dir(cert))
    try:
        old = files.read_file(path)
    except FileNotFoundError:
        old = None
    content = state.render(state.notes_of(cert_state), times, old, entries)
    if content != old:
        files.write_file(path, content)


def history(tree: Tree, cert: CertId) -> list[state.HistoryEntry]:
    """Return what happened to a certificate, oldest first."""
    try:
        return state.parse_history(files.read_file(tree.state_file(cert)))
    except (FileNotFoundError, SslmError):
        return []
