"""Only the registry changes what is known."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import get_args

import pytest

from sslmd.core.alarm_events import AlarmEvent, AlarmState
from sslmd.core.dane.events import ZoneEvent, ZoneReloaded
from sslmd.core.dane.report import DaneReport
from sslmd.core.dane.zone import KnownZone
from sslmd.core.events import Event
from sslmd.core.names import ZoneName
from sslmd.core.state import CertState
from sslmd.core.view import Decision
from sslmd.daemon import registry
from sslmd.daemon.host_book import HostEntry, HostEvent
from sslmd.daemon.registry import Entry, Noticed
from sslmd.store.note_kinds import HostNote
from tests.reasons import because

DAEMON = Path(registry.__file__).parent

# Who asks what would be, and changes nothing: a reload, which puts what it read; and requests,
# which tell what a roll would break.
WHAT_IF = {"hub.py": {"with_sets"}, "api/requests.py": {"advance"}}

# The functions that make the next state, by what kind of thing it is of.
MAKES_STATE = {
    "sslmd.core.lifecycle": None,  # all of it
    "sslmd.core.dane.events": {"advance_zone"},
    "sslmd.core.dane.look": {"take"},
    "sslmd.core.alarm_events": {"advance_alarms"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(DAEMON.rglob("*.py")):
        yield path.relative_to(DAEMON).as_posix(), ast.parse(path.read_text())


@pytest.mark.parametrize(
    "kind",
    [
        *(Entry, CertState, Decision, DaneReport, *get_args(Event), *get_args(Noticed)),
        *(HostEntry, HostNote, *get_args(HostEvent)),
        *(KnownZone, *get_args(ZoneEvent)),
        *(AlarmState, *get_args(AlarmEvent)),
    ],
)
def test_what_is_known_is_frozen(kind: type) -> None:
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_entries_are_for_reading() -> None:
    one = registry.Registry()
    with pytest.raises(TypeError, match="does not support item assignment"):
        one.entries[None] = None  # type: ignore[index]
    entry = Entry.__new__(Entry)
    with pytest.raises(FrozenInstanceError):
        entry.hold = because("changed")  # type: ignore[misc]
    with pytest.raises(TypeError, match="does not support item assignment"):
        one.zones.entries[None] = None  # type: ignore[index]
    with pytest.raises(KeyError):
        one.zones.put(ZoneName("example.com"), ZoneReloaded())


def test_nobody_else_makes_the_next_state() -> None:
    found = {
        (name, alias.name)
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in MAKES_STATE
        for alias in node.names
        if alias.name in (MAKES_STATE[node.module] or (alias.name,))
        if name != "registry.py" and alias.name not in WHAT_IF.get(name, ())
    }
    assert not found


def test_nobody_else_makes_or_writes_what_is_known_of_a_host() -> None:
    found = {
        (name, node.lineno)
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in ("HOST_NOTE", "HostNote", "HostEntry")
        if name != "host_book.py"
    }
    assert not found


def test_nobody_else_reaches_into_the_registry() -> None:
    found = {
        (name, node.lineno)
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("_entries", "__setattr__")
        if name not in ("registry.py", "tell/journal.py")
    }
    assert not found
