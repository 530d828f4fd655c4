"""state.toml: a note of what the files themselves do not say, docs/on-disk.md.

Not the truth: deleted or unreadable, it is rebuilt from the sets, losing only history. The
history stands at the end, and a daemon that starts does not read that far: parsing it for
10,000 certificates would take longer than everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

import tomli
import tomli_w

from sslmd.core.dane.sighting import Instant, Sighting, Silence
from sslmd.core.errors import Trouble
from sslmd.core.names import SetName
from sslmd.core.state import (
    MAX_MIN_ROLL,
    NOT_YET,
    Ask,
    CertState,
    Server,
    ServerPhase,
    SetNote,
    Unseen,
)
from sslmd.store.notes import (
    NO_SENSE,
    Nonsense,
    NoteKind,
    Shape,
    codec_of,
    minutes,
    number,
)
from sslmd.store.reasons import TROUBLE, reason_as

HISTORY_KEPT = 50

_HISTORY = "[[history]]\n"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a certificate's history."""

    at: datetime
    event: str
    set: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Notes:
    """What state.toml holds, the history apart: of `state` all that no file says."""

    sets: Mapping[SetName, SetNote] = field(default_factory=dict)
    state: CertState = field(default_factory=CertState)


def notes_of(state: CertState) -> Notes:
    """Return what of a state has to be noted."""
    sets = {}
    for facts, note in ((state.curr, state.curr_note), (state.next, state.next_note)):
        if facts is not None and note is not None:
            sets[facts.name] = note
    if state.prev is not None and state.prev_note is not None:
        sets[state.prev] = state.prev_note
    return Notes(sets, state)


def _seen(server: Server) -> Server:
    """Versions that did not note when wrote "proven" where nobody had looked, too (I11)."""
    if server.seen is not None or server.proven is None:
        return server
    used = server.used().proven
    phase = ServerPhase.RESTARTED if server.phase is ServerPhase.PROVEN else server.phase
    return replace(server, phase=phase, proven=None, restarted=used, unseen=NOT_YET)


_SECONDS = number(0, 1e12, digits=3)

# Of a state: what the links and sets say.
_ON_DISK = frozenset(
    ("phase", "curr", "next", "prev", "curr_note", "next_note", "prev_note", "former", "remains")
)

STATE = NoteKind(
    Notes,
    Nonsense.SET_ASIDE,
    {
        Notes: Shape(flat=frozenset({"state"})),
        CertState: Shape(never=_ON_DISK),
        Trouble: TROUBLE,
        SetNote: Shape(codecs={"draw": number(-1, 1)}),
        Ask: Shape({"min_roll": "min_roll_mins"}, {"min_roll": minutes(MAX_MIN_ROLL)}),
        Server: Shape(
            {"kind": "class", "phase": "state"}, flat=frozenset({"unseen"}), upgrade=_seen
        ),
        Unseen: Shape(codecs={"why": reason_as("unseen", optional=False)}, flat=frozenset({"why"})),
        Sighting: Shape(
            codecs={"need": _SECONDS, "waited": _SECONDS, "missing": reason_as("missing")},
            flat=frozenset({"missing"}),
            always=frozenset({"waited"}),
            never=frozenset({"pause"}),
        ),
        Silence: Shape(flat=frozenset({"since"})),
        Instant: Shape(codecs={"seconds": _SECONDS}),
    },
)
_ENTRY = codec_of(HistoryEntry)


def render(
    notes: Notes,
    times: Mapping[str, datetime | None],
    old: bytes | None,
    entries: list[HistoryEntry],
) -> bytes:
    """Return the text of a state file.

    `times` (renew_at, roll_at) are for people and not read back; `old` is the file as it
    stands, whose history is kept, and `entries` what is new in it.
    """
    head = STATE.encode(notes, {key: at for key, at in times.items() if at is not None})
    tail = split(old)[1] if old else ""
    blocks = [block for block in tail.split(_HISTORY) if block.strip()]
    for entry in entries:
        table = _ENTRY.dump(replace(entry, at=entry.at.replace(microsecond=0)))
        blocks.append(tomli_w.dumps(table))
    history = "".join(f"\n{_HISTORY}{block.strip()}\n" for block in blocks[-HISTORY_KEPT:])
    return head + history.encode("utf-8", "replace")


def split(content: bytes) -> tuple[str, str]:
    """Cut a state file into what a start needs and its history; bad UTF-8 is replaced."""
    text = content.decode("utf-8", "replace")
    if text.startswith(_HISTORY):
        return "", text
    head, mark, tail = text.partition("\n" + _HISTORY)
    return head + "\n", _HISTORY + tail if mark else ""


def parse(content: bytes) -> Notes:
    """Read the head of a state file; raises as `NoteKind.decode` does."""
    return STATE.decode(split(content)[0])


def parse_history(content: bytes) -> list[HistoryEntry]:
    """Read the history, oldest first; entries that make no sense are left out."""
    entries = []
    for block in split(content)[1].split(_HISTORY):
        with suppress(*NO_SENSE):
            entries.append(_ENTRY.load(tomli.loads(block)))
    return entries
