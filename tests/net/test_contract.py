"""Who reads bytes of others, by pyproject.toml: the lists there are as short as they can be."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

from tests.stand.server import ROOT

RUFF = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
BANNED = tuple(RUFF["flake8-tidy-imports"]["banned-api"])


def _imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def _files(pattern: str) -> list[Path]:
    before, brace, rest = pattern.partition("{")
    names, _, after = rest.partition("}")
    every = [f"{before}{name}{after}" for name in names.split(",")] if brace else [pattern]
    return [ROOT / one for one in every]


def test_nobody_is_excepted_without_need() -> None:
    excepted = [
        path
        for pattern, rules in RUFF["per-file-ignores"].items()
        if "TID251" in rules and not pattern.startswith("tests")
        for path in _files(pattern)
    ]
    assert excepted
    for path in excepted:
        files = sorted(path.parent.rglob("*.py")) if path.name == "**" else [path]
        assert all(file.exists() for file in files), f"{path} is gone: take it out"
        imported = set[str]().union(*map(_imports, files))
        reads = {name for name in imported for one in BANNED if f"{name}.".startswith(f"{one}.")}
        assert reads, f"{path} reads no bytes of others any more: take it out of pyproject.toml"


def test_the_process_half_is_named_whole() -> None:
    """A new file of the network process is in the contract, or is told to be the daemon's."""
    linted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (one for one in linted["contracts"] if one["name"].startswith("What reads"))
    named = {*contract["source_modules"], *contract["forbidden_modules"]}
    for path in (ROOT / "sslmd" / "net").glob("[!_]*.py"):
        assert f"sslmd.net.{path.stem}" in named, path
