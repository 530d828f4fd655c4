"""Warnings about commands that are right, and do something else than a shell, or ssl-mgr, would."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from sslmd.config import shell
from sslmd.config.locate import KeyPath
from sslmd.config.model import ServerKind
from sslmd.config.report import Notes, Source
from sslmd.config.table import path
from sslmd.core.names import shown

_TABLES = ("dns", *(kind.value for kind in ServerKind))


def check_commands(data: Mapping[str, object], top: str, notes: Notes, main: Source) -> None:
    """Warn about what a shell would expand in commands, and about paths with spaces.

    `data` is `ssl-mgr.conf`, of whatever form: its mistakes are told elsewhere.
    """
    for key, line in _lines(data):
        if " " in line and os.path.isfile(path(line, top)):
            # ssl-mgr takes the whole text of `[dns]`, and after a copy, for the program.
            notes.warn(
                main,
                key,
                f"{shown(line)} is a file with a space in its name, and is split there",
                f'write "{shown(line)}", with both kinds of quotes',
            )
        elif found := shell.expansions(line):
            notes.warn(
                main,
                key,
                f"no shell runs this, so the program gets {' '.join(map(shown, found))} as written",
                "write sh -c '…' around the whole if a shell should see it, else quotes",
            )


def _lines(data: Mapping[str, object]) -> Iterator[tuple[KeyPath, str]]:
    """Yield every command line with its place."""
    for name in _TABLES:
        table = data.get(name)
        lines = table.get("restart_cmd") if isinstance(table, dict) else None
        for index, line in enumerate(lines if isinstance(lines, list) else [lines]):
            if isinstance(line, str):
                yield (name, "restart_cmd", index), line
    options = data.get("globals")
    pairs = options.get("post_copy_cmd") if isinstance(options, dict) else None
    for index, pair in enumerate(pairs if isinstance(pairs, list) else []):
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str):
            yield ("globals", "post_copy_cmd", index), pair[1]
