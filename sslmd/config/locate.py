"""On which line of a TOML file a key stands.

The TOML parser gives values without their places. This small scanner finds the places, and
runs only when there is something to report. It is for texts that the parser took; on any
other text it may find less, but it always ends and never fails.
"""

from __future__ import annotations

import bisect
import contextlib
import re

import tomli

KeyPath = tuple[str | int, ...]
"""A key from the top of the file: table names and keys as `str`, places in arrays as `int`."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*+"')
_LITERAL = re.compile(r"'[^'\n]*'")
# A multi-line string may end in up to five quotes: two of them are still its text.
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*+"{3,5}')
_LONG_LITERAL = re.compile(r"'''(?:[^']|'{1,2}(?!'))*+'{3,5}")
_TEXTS = (('"""', _LONG_BASIC), ("'''", _LONG_LITERAL), ('"', _BASIC), ("'", _LITERAL))
_SCALAR = re.compile(r"[^,\]}#\n]+")


def find_line(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path`, or of the nearest table or array around it; 0 if none is known."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, counted from 1, of every table, key and array element in `text`."""
    scanner = _Scanner(text)
    # What was found up to there is right even then.
    with contextlib.suppress(_Lost, RecursionError):
        scanner.document()
    return scanner.lines


class _Lost(Exception):
    """The text is not TOML here."""


class _Scanner:
    """Walks through a text once, noting where keys begin."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.lines: dict[KeyPath, int] = {}
        self._ends = [at for at, char in enumerate(text) if char == "\n"]
        self._tables: dict[KeyPath, int] = {}  # arrays of tables: how many so far

    def document(self) -> None:
        """Scan headers and `key = value` lines to the end."""
        prefix: KeyPath = ()
        while self._skip_blank():
            if self._peek("["):
                prefix = self._header()
            else:
                self._pair(prefix)

    def _header(self) -> KeyPath:
        line = self._line()
        array = self._peek("[[")
        self.pos += 2 if array else 1
        parts = self._dotted()
        if not self._peek("]]" if array else "]"):
            raise _Lost
        self.pos += 2 if array else 1
        path: KeyPath = ()
        for part in parts[:-1]:
            path = self._last_of((*path, part), line)
        path = (*path, parts[-1])
        self.lines.setdefault(path, line)
        if array:
            self._tables[path] = self._tables.get(path, 0) + 1
            path = self._last_of(path, line)
        return path

    def _last_of(self, path: KeyPath, line: int) -> KeyPath:
        """Enter `path`: where it is an array of tables, its last table is meant."""
        self.lines.setdefault(path, line)
        if path in self._tables:
            path = (*path, self._tables[path] - 1)
            self.lines.setdefault(path, line)
        return path

    def _pair(self, prefix: KeyPath) -> None:
        line = self._line()
        path = prefix
        for part in self._dotted():
            path = (*path, part)
            self.lines.setdefault(path, line)
        if not self._peek("="):
            raise _Lost
        self.pos += 1
        self._skip_blank()
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self._line())
        for sign, pattern in _TEXTS:
            if self._peek(sign):
                self._take(pattern)
                return
        for begin, end in ("[]", "{}"):
            if self._peek(begin):
                self._elements(path, end)
                return
        self._take(_SCALAR)

    def _elements(self, path: KeyPath, end: str) -> None:
        """Scan an array up to its `]`, or an inline table up to its `}`."""
        self.pos += 1
        index = 0
        while self._skip_blank() and not self._peek(end):
            if end == "]":
                self._value((*path, index))
            else:
                self._pair(path)
            index += 1
            self._skip_blank()
            if self._peek(","):
                self.pos += 1
            elif not self._peek(end):
                raise _Lost
        self.pos += 1

    def _dotted(self) -> list[str]:
        parts = [self._key()]
        while self._peek("."):
            self.pos += 1
            parts.append(self._key())
        return parts

    def _key(self) -> str:
        self._skip_blank()
        if not self._peek('"') and not self._peek("'"):
            key = self._take(_BARE_KEY)
        else:
            quoted = self._take(_BASIC if self._peek('"') else _LITERAL)
            try:
                key = str(tomli.loads(f"key = {quoted}")["key"])
            except tomli.TOMLDecodeError:
                raise _Lost from None
        self._skip_blank()
        return key

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.pos)
        if not found:
            raise _Lost
        self.pos = found.end()
        return found.group()

    def _skip_blank(self) -> bool:
        """Skip white space and comments; return whether something follows."""
        if found := _BLANK.match(self.text, self.pos):
            self.pos = found.end()
        return self.pos < len(self.text)

    def _peek(self, sign: str) -> bool:
        return self.text.startswith(sign, self.pos)

    def _line(self) -> int:
        return bisect.bisect_left(self._ends, self.pos) + 1
