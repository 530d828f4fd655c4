"""state.toml: a note of what the files themselves do not say, docs/on-disk.md.

Not the truth: deleted or unreadable, it is rebuilt from the sets, losing only history. The
history stands at the end, and a daemon that starts does not read that far: parsing it for
10,000 certificates would take longer than everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import tomli
import tomli_w

from sslmd.core.backoff import Failure
from sslmd.core.dane.sighting import Instant, Sighting, Silence
from sslmd.core.errors import SslmError
from sslmd.core.names import SetName
from sslmd.core.state import (
    MAX_MIN_ROLL,
    NOT_YET,
    Ask,
    CertState,
    Delivered,
    FailedValidation,
    Issuance,
    Request,
    Server,
    ServerPhase,
    SetNote,
    TrialAsk,
    TrialKind,
    Trouble,
    Unseen,
)

VERSION = 1
HISTORY_KEPT = 50

_HISTORY = "[[history]]\n"

# A number of thousands of digits is a plain ValueError.
_NOT_TOML = (tomli.TOMLDecodeError, RecursionError, ValueError)
# An infinite number of attempts overflows, as does a time at the edge of the calendar.
_NO_SENSE = (ValueError, TypeError, KeyError, OverflowError)


class BadStateError(SslmError):
    """A state file that cannot be made sense of."""


class LaterVersionError(SslmError):
    """A state file that a later sslmd wrote: not ours to touch."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a certificate's history."""

    at: datetime
    event: str
    set: str
    text: str


@dataclass(slots=True)
class Notes:
    """What state.toml holds, the history apart."""

    sets: dict[SetName, SetNote] = field(default_factory=dict)
    rolled_at: datetime | None = None
    advertised: SetName | None = None
    deployed: SetName | None = None
    settled: SetName | None = None
    retired: tuple[SetName, ...] = ()
    sighting: Sighting | None = None
    delivered: Delivered = field(default_factory=Delivered)
    servers: tuple[Server, ...] = ()
    ask: Ask | None = None
    trouble: Trouble | None = None
    delivery_trouble: Trouble | None = None
    failed: tuple[FailedValidation, ...] = ()
    issued: tuple[Issuance, ...] = ()
    trial: TrialAsk | None = None
    trial_after: datetime | None = None
    off_deck: SetName | None = None
    adopted: bool = False
    whole: bool = False


def notes_of(state: CertState) -> Notes:
    """Return what of a state has to be noted."""
    sets = {}
    for facts, note in ((state.curr, state.curr_note), (state.next, state.next_note)):
        if facts is not None and note is not None:
            sets[facts.name] = note
    if state.prev is not None and state.prev_note is not None:
        sets[state.prev] = state.prev_note
    return Notes(
        sets,
        state.rolled_at,
        state.advertised,
        state.deployed,
        state.settled,
        state.retired,
        state.sighting,
        state.delivered,
        state.servers,
        state.ask,
        state.trouble,
        state.delivery_trouble,
        state.failed,
        state.issued,
        state.trial,
        state.trial_after,
        state.off_deck,
        state.adopted,
        state.whole,
    )


# --- writing -----------------------------------------------------------------------------


def render(
    notes: Notes,
    times: Mapping[str, datetime | None],
    old: bytes | None,
    entries: list[Entry],
) -> bytes:
    """Return the text of a state file.

    `times` (renew_at, roll_at) are for people and not read back; `old` is the file as it
    stands, whose history is kept, and `entries` what is new in it.
    """
    head: dict[str, Any] = {"version": VERSION}
    head.update({key: value for key, value in times.items() if value is not None})
    head.update(_names(advertised=notes.advertised, deployed=notes.deployed))
    head.update(_names(settled=notes.settled, off_deck=notes.off_deck))
    if notes.rolled_at is not None:
        head["rolled_at"] = notes.rolled_at
    head.update({key: True for key in ("adopted", "whole") if getattr(notes, key)})
    if notes.retired:
        head["retired"] = [str(name) for name in notes.retired]
    if notes.sighting is not None:
        head["sighting"] = _sighting_table(notes.sighting)
    if notes.delivered != Delivered():
        head["delivered"] = _names(curr=notes.delivered.curr, next=notes.delivered.next)
    if notes.ask is not None:
        head["ask"] = _ask_table(notes.ask)
    if notes.trouble is not None:
        head["trouble"] = _trouble_table(notes.trouble)
    if notes.delivery_trouble is not None:
        head["delivery_trouble"] = _trouble_table(notes.delivery_trouble)
    if notes.trial is not None:
        head["trial"] = {"kind": str(notes.trial.kind), "at": notes.trial.at}
    if notes.trial_after is not None:
        head["trial_after"] = notes.trial_after
    if notes.sets:
        head["sets"] = {str(name): _note_table(note) for name, note in notes.sets.items()}
    if notes.servers:
        head["servers"] = [_server_table(server) for server in notes.servers]
    if notes.failed:
        head["failed"] = [{"name": one.name, "at": one.at} for one in notes.failed]
    if notes.issued:
        head["issued"] = [
            {"serial": one.serial, "server": one.server, "names": one.names, "at": one.at}
            for one in notes.issued
        ]
    tail = split(old)[1] if old else ""
    blocks = [block for block in tail.split(_HISTORY) if block.strip()]
    blocks += [_entry_text(entry) for entry in entries]
    history = "".join(f"\n{_HISTORY}{block.strip()}\n" for block in blocks[-HISTORY_KEPT:])
    return (tomli_w.dumps(head) + history).encode("utf-8", "replace")


def split(content: bytes) -> tuple[str, str]:
    """Cut a state file into what a start needs and its history; bad UTF-8 is replaced."""
    text = content.decode("utf-8", "replace")
    if text.startswith(_HISTORY):
        return "", text
    head, mark, tail = text.partition("\n" + _HISTORY)
    return head + "\n", _HISTORY + tail if mark else ""


def _entry_text(entry: Entry) -> str:
    table: dict[str, Any] = {"at": entry.at.replace(microsecond=0), "event": entry.event}
    if entry.set:
        table["set"] = entry.set
    return tomli_w.dumps({**table, "text": entry.text})


def _names(**names: SetName | None) -> dict[str, str]:
    return {key: str(name) for key, name in names.items() if name is not None}


def _sighting_table(seen: Sighting) -> dict[str, Any]:
    table: dict[str, Any] = {
        **_names(set=seen.set),
        "records": sorted(seen.records),
        "need": seen.need,
        "waited": round(seen.waited, 3),
    }
    if seen.since is not None:
        table["since"] = seen.since
    if seen.opens_at is not None:
        table["opens_at"] = seen.opens_at
    if seen.missing:
        table["missing"] = seen.missing
    if seen.at is not None:
        table["at"] = _instant_table(seen.at)
    if seen.silent:
        table["silent"] = [
            {"server": one.server, **_instant_table(one.since)} for one in seen.silent
        ]
    return table


def _instant_table(instant: Instant) -> dict[str, Any]:
    return {"boot": instant.boot, "seconds": round(instant.seconds, 3)}


def _note_table(note: SetNote) -> dict[str, Any]:
    table: dict[str, Any] = {"draw": note.draw}
    if note.issued_at is not None:
        table["issued_at"] = note.issued_at
    if note.ca:
        table["ca"] = note.ca
    if note.new_key:
        table["new_key"] = True
    if note.at_end:
        table["at_end"] = True
    if note.unmet:
        table["unmet"] = list(note.unmet)
    return table


def _ask_table(ask: Ask) -> dict[str, Any]:
    return {
        "what": str(ask.what),
        "at": ask.at,
        "force": ask.force,
        "reuse": ask.reuse,
        **({"new_key": True} if ask.new_key else {}),
        **_names(replaces=ask.replaces, back=ask.back),
        **_minutes(min_roll_mins=ask.min_roll),
    }


def _minutes(**waits: timedelta | None) -> dict[str, float]:
    return {key: wait / timedelta(minutes=1) for key, wait in waits.items() if wait is not None}


def _trouble_table(trouble: Trouble) -> dict[str, Any]:
    return {
        "attempts": trouble.attempts,
        "failure": str(trouble.failure),
        "text": trouble.text,
        "at": trouble.at,
        "next_try": trouble.next_try,
        "fingerprint": trouble.fingerprint,
        "binding": trouble.binding,
        "ca": trouble.ca,
    }


def _server_table(server: Server) -> dict[str, Any]:
    table: dict[str, Any] = {
        "class": server.kind,
        "host": server.host,
        "state": str(server.phase),
        **_names(set=server.set),
    }
    if server.error:
        table["error"] = server.error
    if server.attempts:
        table["attempts"] = server.attempts
    if server.next_try is not None:
        table["next_try"] = server.next_try
    if server.since is not None:
        table["since"] = server.since
    table.update(_names(proven=server.proven))
    if server.access:
        table["access"] = server.access
    if server.expires is not None:
        table["expires"] = server.expires
    if server.here:
        table["here"] = True
    table.update(_names(restarted=server.restarted))
    if server.unseen is not None:
        table["unseen"] = server.unseen.why
        if server.unseen.meant:
            table["meant"] = True
    if server.ports:
        table["ports"] = list(server.ports)
    if server.seen is not None:
        table["seen"] = server.seen
    return table


# --- reading -----------------------------------------------------------------------------


def parse(content: bytes) -> Notes:
    """Read the head of a state file.

    Raises `LaterVersionError`, or `BadStateError` for anything that we did not write.
    """
    try:
        table = tomli.loads(split(content)[0])
    except _NOT_TOML as err:
        raise BadStateError(f"it is not TOML: {err}") from None
    version = table.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise LaterVersionError(f"it is of version {version}, this sslmd knows {VERSION}")
    if version != VERSION:
        raise BadStateError(f"version must be {VERSION}, not {version!r}")
    try:
        return _notes(_Table(table))
    except _NO_SENSE as err:
        raise BadStateError(f"it makes no sense: {err}") from None


def parse_history(content: bytes) -> list[Entry]:
    """Read the history, oldest first; entries that make no sense are left out."""
    entries = []
    for block in split(content)[1].split(_HISTORY):
        if not block.strip():
            continue
        try:
            one = _Table(tomli.loads(block))
            entries.append(
                Entry(one.time("at"), one.text("event"), one.text("set"), one.text("text"))
            )
        except (*_NOT_TOML, *_NO_SENSE):
            continue
    return entries


class _Table:
    """A TOML table that checks types: whatever is not as we write it raises ValueError."""

    def __init__(self, table: object) -> None:
        if not isinstance(table, dict):
            raise ValueError(f"a table is expected, not {table!r:.60}")
        self._table = table

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def sub(self, key: str) -> _Table:
        return _Table(self._table[key])

    def tables(self, key: str) -> list[_Table]:
        value = self._table.get(key, [])
        if not isinstance(value, list):
            raise ValueError(f"{key}: a list is expected")
        return [_Table(one) for one in value]

    def keys(self) -> list[str]:
        return list(self._table)

    def text(self, key: str) -> str:
        value = self._table.get(key, "")
        if not isinstance(value, str):
            raise ValueError(f"{key}: a string is expected")
        return value

    def texts(self, key: str) -> list[str]:
        value = self._table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"{key}: a list of strings is expected")
        return value

    def number(self, key: str) -> float:
        value = self._table[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{key}: a number is expected")
        return value

    def numbers(self, key: str) -> tuple[int, ...]:
        value = self._table.get(key, [])
        if not isinstance(value, list) or not all(type(one) is int for one in value):
            raise ValueError(f"{key}: a list of whole numbers is expected")
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            raise ValueError(f"{key}: true or false is expected")
        return value

    def time(self, key: str) -> datetime:
        value = self._table[key]
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise ValueError(f"{key}: a time with its zone is expected")
        return value.astimezone(UTC)

    def time_or_none(self, key: str) -> datetime | None:
        return self.time(key) if key in self._table else None

    def minutes_or_none(self, key: str) -> timedelta | None:
        if key not in self._table:
            return None
        number = self.number(key)
        if not 0 <= number <= MAX_MIN_ROLL / timedelta(minutes=1):
            raise ValueError(f"{key}: a number of minutes is expected, not {number}")
        return timedelta(minutes=number)

    def set(self, key: str) -> SetName | None:
        return SetName.parse(self.text(key)) if key in self._table else None


def _notes(table: _Table) -> Notes:
    sets = {}
    if "sets" in table:
        every = table.sub("sets")
        sets = {SetName.parse(name): _note(every.sub(name)) for name in every.keys()}  # noqa: SIM118
    delivered = Delivered()
    if "delivered" in table:
        there = table.sub("delivered")
        delivered = Delivered(there.set("curr"), there.set("next"))
    return Notes(
        sets=sets,
        rolled_at=table.time_or_none("rolled_at"),
        advertised=table.set("advertised"),
        deployed=table.set("deployed"),
        settled=table.set("settled"),
        retired=tuple(map(SetName.parse, table.texts("retired"))),
        sighting=_sighting(table.sub("sighting")) if "sighting" in table else None,
        delivered=delivered,
        servers=tuple(_server(one) for one in table.tables("servers")),
        ask=_ask(table.sub("ask")) if "ask" in table else None,
        trouble=_trouble(table.sub("trouble")) if "trouble" in table else None,
        delivery_trouble=(
            _trouble(table.sub("delivery_trouble")) if "delivery_trouble" in table else None
        ),
        failed=tuple(
            FailedValidation(one.text("name"), one.time("at")) for one in table.tables("failed")
        ),
        issued=tuple(
            Issuance(one.text("serial"), one.text("server"), one.text("names"), at)
            for one in table.tables("issued")
            for at in (one.time("at"),)
        ),
        trial=_trial(table.sub("trial")) if "trial" in table else None,
        trial_after=table.time_or_none("trial_after"),
        off_deck=table.set("off_deck"),
        adopted=table.flag("adopted"),
        whole=table.flag("whole"),
    )


def _sighting(table: _Table) -> Sighting:
    return Sighting(
        set=table.set("set"),
        records=frozenset(table.texts("records")),
        need=_seconds(table, "need"),
        since=table.time_or_none("since"),
        waited=_seconds(table, "waited"),
        at=_instant(table.sub("at")) if "at" in table else None,
        silent=tuple(Silence(one.text("server"), _instant(one)) for one in table.tables("silent")),
        missing=table.text("missing"),
        opens_at=table.time_or_none("opens_at"),
    )


def _instant(table: _Table) -> Instant:
    return Instant(table.text("boot"), _seconds(table, "seconds"))


def _seconds(table: _Table, key: str) -> float:
    seconds = float(table.number(key))
    if not 0 <= seconds < 1e12:
        raise ValueError(f"{key}: seconds are expected, not {seconds}")
    return seconds


def _note(table: _Table) -> SetNote:
    draw = table.number("draw")
    if not -1 <= draw <= 1:
        raise ValueError(f"draw: from -1 to 1, not {draw}")
    issued_at = table.time_or_none("issued_at")
    new_key, at_end = table.flag("new_key"), table.flag("at_end")
    unmet = tuple(table.texts("unmet"))
    return SetNote(float(draw), issued_at, table.text("ca"), new_key, at_end, unmet)


def _ask(table: _Table) -> Ask:
    return Ask(
        Request(table.text("what")),
        table.time("at"),
        table.flag("force"),
        table.flag("reuse"),
        table.set("replaces"),
        table.set("back"),
        table.flag("new_key"),
        min_roll=table.minutes_or_none("min_roll_mins"),
    )


def _trial(table: _Table) -> TrialAsk:
    return TrialAsk(TrialKind(table.text("kind")), table.time("at"))


def _trouble(table: _Table) -> Trouble:
    return Trouble(
        int(table.number("attempts")),
        Failure(table.text("failure")),
        table.text("text"),
        table.time("at"),
        table.time("next_try"),
        table.text("fingerprint"),
        table.flag("binding"),
        table.text("ca"),
    )


def _server(table: _Table) -> Server:
    server = _noted_server(table)
    if server.seen is not None or server.proven is None:
        return server
    # Versions that did not note when wrote "proven" where nobody had looked, too (I11).
    used = server.used().proven
    phase = ServerPhase.RESTARTED if server.phase is ServerPhase.PROVEN else server.phase
    return replace(server, phase=phase, proven=None, restarted=used, unseen=NOT_YET)


def _noted_server(table: _Table) -> Server:
    return Server(
        table.text("class"),
        table.text("host"),
        ServerPhase(table.text("state")),
        table.set("set"),
        table.text("error"),
        int(table.number("attempts")) if "attempts" in table else 0,
        table.time_or_none("next_try"),
        table.time_or_none("since"),
        table.set("proven"),
        table.text("access"),
        table.time_or_none("expires"),
        table.flag("here"),
        table.set("restarted"),
        Unseen(table.text("unseen"), table.flag("meant")) if "unseen" in table else None,
        table.numbers("ports"),
        table.time_or_none("seen"),
    )
