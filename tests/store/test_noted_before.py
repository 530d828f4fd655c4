"""Notes that earlier versions wrote are read as those did: files in `noted/`, and older shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sslmd.core.errors import Trouble
from sslmd.core.names import CertId
from sslmd.core.state import NOT_YET, Ask, CertState, Request, Server, ServerPhase
from sslmd.dns import before
from sslmd.store.note_kinds import HOST_NOTE, ZONE_NOTE, HostNote
from sslmd.store.state import parse, parse_history
from tests.store import noted_before as noted
from tests.store.noted_before import AT, CURR, LATER, OLD

FOLDER = Path(__file__).parent / "noted"


def test_every_file_is_read() -> None:
    every = {*noted.STATES, *noted.ZONES, *noted.HOSTS, *noted.BEFORE}
    assert {path.stem for path in FOLDER.iterdir()} == every


@pytest.mark.parametrize("name", noted.STATES)
def test_states(name: str) -> None:
    content = (FOLDER / f"{name}.toml").read_bytes()
    assert parse(content) == noted.STATES[name]
    assert parse_history(content) == ([] if name == "state-empty" else noted.HISTORY)


@pytest.mark.parametrize("name", noted.ZONES)
def test_zones(name: str) -> None:
    assert ZONE_NOTE.read(str(FOLDER / f"{name}.toml")) == noted.ZONES[name]


@pytest.mark.parametrize("name", noted.HOSTS)
def test_hosts(name: str) -> None:
    assert HOST_NOTE.read(str(FOLDER / f"{name}.toml")) == noted.HOSTS[name]


@pytest.mark.parametrize("name", noted.BEFORE)
def test_what_include_files_held(name: str) -> None:
    assert before._read(str(FOLDER / f"{name}.toml")) == noted.BEFORE[name]


# --- older shapes ---

_HEAD = "version = 1\nrenew_at = 2026-06-01T12:30:15Z\na_key_of_later = [{}]\n"


def _parse(text: str) -> CertState:
    return parse((_HEAD + text).encode()).state


def test_proven_without_having_been_seen() -> None:
    """Versions that did not note when wrote "proven" where nobody had looked (I11)."""
    server = "[[servers]]\nclass = 'web'\nhost = 'a'\n"
    proven = f"{server}state = 'proven'\nset = '{CURR}'\nproven = '{CURR}'\n"
    known = Server("web", "a", ServerPhase.RESTARTED, CURR, restarted=CURR, unseen=NOT_YET)
    assert _parse(proven).servers == (known,)
    failed = f"{server}state = 'failed'\nset = '{CURR}'\nproven = '{OLD}'\n"
    known = replace(known, phase=ServerPhase.FAILED, restarted=OLD)
    assert _parse(failed).servers == (known,)


def test_what_was_not_noted_yet_is_as_if_it_were_empty() -> None:
    ask = _parse("[ask]\nwhat = 'renew'\nat = 2026-06-01T14:30:15+02:00\n").ask
    assert ask == Ask(Request.RENEW, AT)
    trouble = (
        "[trouble]\nattempts = 2\nfailure = 'bug'\nat = 2026-06-01T12:30:15Z\n"
        "next_try = 2026-06-02T01:02:03.450067Z\n"
    )
    known = _parse(trouble).trouble
    assert known is not None
    assert known == Trouble(2, known.failure, "", AT, LATER, "")
    assert parse_history(b"version = 1\n\n[[history]]\nat = 2026-06-01T12:30:15Z\n")[0].text == ""


def test_a_host_that_was_never_reached_holds_nothing(tmp_path: Path) -> None:
    """Older versions noted what was to be sent before anybody had answered."""
    path = tmp_path / "host"
    path.write_text("version = 1\nholds = ['example.com/web']\nattempts = 1\nerror = 'x'\n")
    assert HOST_NOTE.read(str(path)) == HostNote(attempts=1, error="x")
    path.write_text("version = 1\nholds = ['example.com/web']\nmachine = 'm'\nattempts = -3\n")
    held = frozenset({CertId("example.com", "web")})
    assert HOST_NOTE.read(str(path)) == HostNote(held, machine="m")
