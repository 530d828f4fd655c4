"""The documents say what the code says."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sslmd.core.events import Event
from sslmd.core.lifecycle import LEAVING, TABLE
from sslmd.core.state import Phase
from sslmd.daemon.tell.events import EVENTS, message_id
from tests.stand.server import ROOT
from tests.systemd.test_units import EXPOSURE

DOCS = ROOT / "docs"
WRITTEN = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    DOCS / "ARCHITECTURE.md",
    DOCS / "on-disk.md",
    DOCS / "operations.md",
    DOCS / "moving-from-ssl-mgr.md",
    *sorted((DOCS / "decisions").glob("*.md")),
]


def between(path: Path, name: str) -> str:
    text = path.read_text()
    found = re.search(f"<!-- {name}: begin -->\n(.*)<!-- {name}: end -->", text, re.DOTALL)
    assert found is not None, f"{path} has no place for {name}"
    return found[1]


def lifecycle_table() -> str:
    """Return the transitions as a table: a row per phase, a column per event."""
    every: tuple[type[Event], ...] = typing.get_args(Event)
    changing = [event for event in every if any(event is one for _, one in TABLE)]
    beside = [event.__name__ for event in every if event not in (*changing, *LEAVING)]
    leaving = ", ".join(event.__name__ for event in LEAVING)
    lines = [
        "| phase | " + " | ".join(event.__name__ for event in changing) + " |",
        "| --- |" + " --- |" * len(changing),
    ]
    for phase in Phase:
        cells = [str(TABLE.get((phase, event), "")) for event in changing]
        lines.append(f"| **{phase}** | " + " | ".join(cells) + " |")
    lines += ["", f"From what is on deck back to the phase of `curr` alone: {leaving}.", ""]
    lines += [f"Beside the phase, at any time: {', '.join(beside)}.", ""]
    return "\n".join(lines)


def message_ids() -> dict[str, str]:
    return {event: message_id(event) for event in EVENTS}


def test_the_life_of_a_certificate_is_drawn_as_it_is() -> None:
    assert between(DOCS / "ARCHITECTURE.md", "lifecycle") == lifecycle_table()


def test_every_event_of_the_journal_is_listed_with_its_message_id() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| `([0-9a-f]{32})` \| (\S.*) \|$",
        between(DOCS / "operations.md", "events"),
        re.MULTILINE,
    )
    assert {event: ident for event, ident, *_ in rows} == message_ids()
    assert len(rows) == len(EVENTS)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_what_is_named_is_there(path: Path) -> None:
    text = path.read_text()
    for name in re.findall(
        r"`((?:sslmd|systemd|packaging|docs|tests|conf\.d-example)/[\w./-]*)`", text
    ):
        assert (ROOT / name).exists(), f"{path.name} names {name}"
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", text):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


# Files of the architecture stand below the package, with what to look for in them.
PACKAGE = ROOT / "sslmd"
PLACE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.(?:py|sh)|(?:[\w-]+/)+)(?: ([\w.]+))?`")
ELSEWHERE = ("sslmd/", "tests/", "packaging/", "systemd/", "prod-certs/", "cb/", "db/")


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return what a file defines: `function`, `Class`, `Class.method`, `TABLE`."""
    return frozenset(_names(ast.parse(path.read_text()).body, ""))


def _names(body: list[ast.stmt], before: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner):
                yield before + name
                yield from _names(inner, f"{before}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield before + name
            case ast.Assign(targets=targets):
                yield from (before + one.id for one in targets if isinstance(one, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield before + name


def test_the_architecture_names_what_is_there() -> None:
    text = (DOCS / "ARCHITECTURE.md").read_text()
    found = [one.groups() for one in PLACE.finditer(text) if not one[1].startswith(ELSEWHERE)]
    assert len(found) > 200
    missing = [path for path, _ in found if not (PACKAGE / path).exists()]
    assert missing == []
    assert [
        (path, name) for path, name in found if name and name not in names_in(PACKAGE / path)
    ] == []


def test_the_architecture_has_every_room() -> None:
    text = between(DOCS / "ARCHITECTURE.md", "rooms")
    for room in PACKAGE.iterdir():
        if room.is_dir() and not any(room.rglob("*.py")):
            continue  # compiled files of a room that was renamed: git leaves them behind
        name = f"{room.name}/" if room.is_dir() else room.name
        if not name.startswith("_") and room.name != "py.typed":
            assert f"`{name}`" in text, f"nothing is said of {name}"


def test_the_rooms_are_drawn_as_they_are_enforced() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (one["layers"] for one in settings["contracts"] if one["type"] == "layers")
    drawn = "\n".join(layers).replace("sslmd.", "")
    assert f"```text\n{drawn}\n```" in between(DOCS / "ARCHITECTURE.md", "rooms")


def test_the_glossary_is_short() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", between(DOCS / "ARCHITECTURE.md", "words"), re.MULTILINE)
    words = [word for row in rows[2:] for word in row.split(", ")]
    assert len(words) == len(set(words)) <= 40


def cited() -> Iterator[tuple[str, str]]:
    """Yield documents that the code names, with the file that does."""
    for folder in ("sslmd", "tests", "packaging"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".sh", ".toml"):
                for name in re.findall(r"(?<![\w/])docs/[\w./-]*\w", path.read_text()):
                    yield str(path.relative_to(ROOT)), name


def test_documents_that_the_code_cites_are_there() -> None:
    missing = [(file, name) for file, name in cited() if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("sub", [[], ["init"]], ids=str)
def test_the_manual_has_every_option(sub: list[str]) -> None:
    command = [sys.executable, "-m", "sslmd.daemon.main", *sub, "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    manual = (DOCS / "man" / "sslmd.8").read_text().replace("\\-", "-")
    for option in set(re.findall(r"(?<![\w-])--[a-z-]+", told)):
        assert option in manual, option


def test_every_program_has_a_manual() -> None:
    programs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {path.stem for path in (DOCS / "man").iterdir()} == set(programs)


@pytest.mark.parametrize("path", sorted((DOCS / "man").iterdir()), ids=lambda path: path.name)
def test_a_manual_is_well_formed(path: Path) -> None:
    checks = (["man", "--warnings", "-l"], ["mandoc", "-T", "lint", "-W", "warning"])
    found = [check for check in checks if shutil.which(check[0])]
    if not found:
        pytest.skip("neither man nor mandoc is installed (Debian packages man-db, mandoc)")
    for check in found:
        done = subprocess.run([*check, path], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert done.returncode == 0, done.stdout


def test_the_number_in_the_operations_manual_is_that_of_the_unit() -> None:
    """What `systemd-analyze security` says, as far as it can be asked here."""
    told = re.search(r"rates its exposure as (\d\.\d)", (DOCS / "operations.md").read_text())
    assert told is not None
    assert float(told[1]) * 10 <= EXPOSURE
