"""A CA that turns against its clients at one path; everything else is Pebble's."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

from tests.stand.pebble import Pebble
from tests.stand.proxy import Proxy

# What it does there.
SILENT, DRIP, HUGE, REDIRECT, CHUNKS = "silent", "drip", "huge", "redirect", "chunks"
WAYS = (SILENT, DRIP, HUGE, REDIRECT, CHUNKS)

# Bytes of an answer that is whole, and far too long.
SIZE = 50 << 20

# Seconds between two bytes of a drip.
PAUSE = 1.0


class HostileCa(Proxy):
    """Listens beside `ca`; where it is asked for a path that ends in `at`, it does `how`."""

    def __init__(self, ca: Pebble, how: str, at: str) -> None:
        super().__init__(ca, lambda answer: answer)
        self._how = how
        self._at = at
        self._over = threading.Event()
        self.reached = threading.Event()

    def _pass(self, handler: BaseHTTPRequestHandler, ca: Pebble) -> None:
        path = handler.path.partition("?")[0]
        if not path.endswith(self._at):
            super()._pass(handler, ca)
            return
        self.reached.set()
        handler.close_connection = True
        with suppress(OSError):
            handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
            getattr(self, f"_{self._how}")(handler)

    def _silent(self, _: BaseHTTPRequestHandler) -> None:
        self._over.wait()

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Wait: ")
        while not self._over.wait(PAUSE):
            handler.wfile.write(b"a")

    def _huge(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE >> 16):
            handler.wfile.write(b" " * (1 << 16))

    def _redirect(self, handler: BaseHTTPRequestHandler) -> None:
        where = f"{handler.path.partition('?')[0]}?{len(self.paths)}"
        handler.wfile.write(
            b"HTTP/1.1 307 Away\r\nConnection: close\r\nContent-Length: 0\r\n"
            b"Location: %s\r\n\r\n" % where.encode()
        )

    def _chunks(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self._over.is_set():
            handler.wfile.write(b"10000\r\n" + b" " * (1 << 16) + b"\r\n")

    def __exit__(self, *_: object) -> None:
        self._over.set()
        super().__exit__(*_)
