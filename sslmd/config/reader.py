"""Reading TOML files one by one: what cannot be read is noted, with its line."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Collection
from pathlib import Path

import tomli

from sslmd.config.files import Missing, Unusable, read_file, risk_of
from sslmd.config.report import Notes, Source, at_line

Tables = dict[str, object]


class Reader:
    """Reads the files of one configuration directory and collects `notes` about them.

    `owners` are the users who may own files and folders. `digests`: SHA-256 of every file that was
    read, by its path, so that it can be told whether a file is another one by now.
    """

    def __init__(self, conf_dir: Path, owners: Collection[int]) -> None:
        self.conf_dir = conf_dir
        self.notes = Notes()
        self.digests: dict[str, str] = {}
        self._owners = frozenset(owners)

    def path(self, *names: str) -> str:
        """Return the path of a file below the configuration directory."""
        return os.path.join(self.conf_dir, *names)

    def check_risk(self, path: str, status: os.stat_result) -> None:
        """Note it if others may write a file or folder: that is a mistake."""
        if risk := risk_of(path, status, self._owners):
            self.notes.mistake(Source(path), (), risk.problem, risk.remedy)

    def content(self, path: str) -> bytes | None:
        """Return a file's bytes; None after a mistake (noted). Raises `Missing`."""
        try:
            content, status = read_file(path)
        except Missing:
            raise
        except Unusable as err:
            self.notes.mistake(Source(path), (), err.problem, err.remedy)
            return None
        self.check_risk(path, status)
        self.digests[path] = hashlib.sha256(content).hexdigest()
        return content

    def parse(self, path: str, content: bytes) -> tuple[Source, Tables] | None:
        """Parse a file's bytes; None after a mistake (noted)."""
        source = Source(path)
        try:
            source.text = content.removeprefix(codecs.BOM_UTF8).decode()
            return source, tomli.loads(source.text)
        except UnicodeDecodeError as err:
            mistake = at_line(
                source,
                content.count(b"\n", 0, err.start) + 1,
                f"byte 0x{content[err.start]:02x} is not UTF-8",
                "save the file as UTF-8 text",
            )
        except tomli.TOMLDecodeError as err:
            # A text without its closing quote is found out at the start of the next line.
            unclosed = err.colno == 1 and err.msg.startswith("Expected")
            mistake = at_line(
                source,
                max(err.lineno - unclosed, 1),
                f"this is not TOML: {err.msg} (column {err.colno})",
                "correct what stands here or before it",
            )
        except (ValueError, RecursionError):
            # Numbers of thousands of digits, thousands of brackets.
            mistake = at_line(source, 0, "a value in it is beyond all measure", "make it shorter")
        self.notes.mistakes.append(mistake)
        return None

    def toml(self, path: str) -> tuple[Source, Tables] | None:
        """Read and parse a file; None after a mistake (noted). Raises `Missing`."""
        content = self.content(path)
        return None if content is None else self.parse(path, content)
