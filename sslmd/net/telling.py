"""What is reported of the network process: what it writes to stderr, and how often its faults are.

Who has taken it over decides what it writes, and how much: a line of it is for people, bounded and
without what moves a cursor, and so are their number and what reading them costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sslmd.core.plain import plain
from sslmd.core.reason import Reason
from sslmd.core.words.sentence import say

# Lines that are told at once, how many more each second, and characters of one.
LINES, LINES_A_SECOND, LONGEST_LINE = 100, 0.5, 300

# Bytes that are read at one time, and each second: who writes more waits.
_PIECE, BYTES_A_SECOND = 4096, 1 << 20

# What is told again and again is told at once, and then at intervals that grow (seconds: first,
# factor, at most).
FIRST_SILENCE, QUIETER, LONGEST_SILENCE = 15.0, 4.0, 3600.0


class Trace:
    """What it writes to stderr, such as the trace of what ended it. `last`: the last line."""

    def __init__(self, said: Callable[[str], object]) -> None:
        self._said = said
        self._lines = float(LINES)
        self.last = ""

    async def listen(self, stream: asyncio.StreamReader) -> None:
        """Tell its lines until it is closed."""
        loop = asyncio.get_running_loop()
        rest, heard, self.last = b"", loop.time(), ""
        while piece := await stream.read(_PIECE):
            now = loop.time()
            self._lines = min(self._lines + (now - heard) * LINES_A_SECOND, LINES)
            heard = now
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > 4 * LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._tell(line)
            if self._lines < 1:
                await asyncio.sleep(len(piece) / BYTES_A_SECOND)
        self._tell(rest)

    def _tell(self, line: bytes) -> None:
        text = plain(line[: 4 * LONGEST_LINE].decode("utf-8", "replace").strip(), LONGEST_LINE)
        self.last = text or self.last
        if text and self._lines >= 1:
            self._lines -= 1
            left_out = " (what follows is left out)" if self._lines < 1 else ""
            self._said(f"{text}{left_out}")


class Seldom:
    """Reports what happens again and again less and less often, with how often it was meanwhile."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._untold, self._silence, self._until = 0, 0.0, 0.0

    def tell(self, now: float, reason_of: Callable[[int], Reason]) -> None:
        """Tell it if it is time; `reason_of` gets how many more there were."""
        self._untold += 1
        if now < self._until:
            return
        times, self._untold = self._untold, 0
        self._silence = min(max(self._silence * QUIETER, FIRST_SILENCE), LONGEST_SILENCE)
        self._until = now + self._silence
        self._tell(say(reason_of(times - 1)))

    def forget(self) -> None:
        """Begin as at first: all was well for a while."""
        self._untold, self._silence, self._until = 0, 0.0, 0.0
