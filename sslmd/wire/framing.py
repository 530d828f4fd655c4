"""Framing: one message per line, ended by a newline; whoever reads bounds their length."""

from __future__ import annotations

from sslmd.wire.messages import ErrorCode, WireError

# Bytes, the newline not counted. A request names certificates: 10,000 of them fit.
MAX_MESSAGE = 1 << 20

# Bytes. An answer about 10,000 certificates takes some 10 MB.
MAX_ANSWER = 1 << 28


class FrameReader:
    """Cuts a stream of bytes into lines.

    It holds at most `limit` bytes. After a line that is longer nothing can be told apart any
    more: every further `feed` raises, and the connection has to end.
    """

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._held = 0
        self._broken = False

    @property
    def pending(self) -> bool:
        """Whether a line has begun that is not ended: at the end of the stream, a cut one."""
        return self._held > 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; return the lines now complete, without their newlines.

        Raises `WireError` (`LIMIT`) on a longer line than allowed; lines that arrived in the
        same piece before it are dropped with it.
        """
        if self._broken:
            raise self._too_long()
        *lines, rest = data.split(b"\n")
        if lines:
            self._pieces.append(lines[0])
            lines[0] = b"".join(self._pieces)
            self._pieces.clear()
            self._held = 0
        self._held += len(rest)
        if self._held > self._limit or any(len(line) > self._limit for line in lines):
            self._broken = True
            self._pieces.clear()
            self._held = 0
            raise self._too_long()
        if rest:
            self._pieces.append(rest)
        return lines

    def _too_long(self) -> WireError:
        return WireError(ErrorCode.LIMIT, f"a message may have {self._limit} bytes at most")
