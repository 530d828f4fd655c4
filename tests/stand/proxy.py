"""A proxy in front of Pebble that changes its answers: a CA that gives what nobody asked for."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.stand.pebble import Pebble


@dataclass
class Answer:
    """An answer of the CA's, on its way to the client."""

    path: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Change = Callable[[Answer], Answer]


class Proxy:
    """Listens beside `ca` with the same certificate; `change` may alter every answer.

    The CA builds its URLs from the Host header, so that clients stay with the proxy.
    """

    def __init__(self, ca: Pebble, change: Change) -> None:
        self.change = change
        self.paths: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._pass(self, ca)

            do_POST = do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ca.folder / "https-cert.pem", ca.folder / "https-key.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.root_file: Path = ca.root_file
        self.directory = f"https://localhost:{self._server.server_address[1]}/dir"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def _pass(self, handler: BaseHTTPRequestHandler, ca: Pebble) -> None:
        self.paths.append(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        found = self.upstream(ca, handler.command, handler.path, body, dict(handler.headers))
        answer = self.change(found)
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(answer.body)

    def upstream(
        self, ca: Pebble, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> Answer:
        """Return what the CA answers."""
        context = ssl.create_default_context(cafile=str(ca.root_file))
        line = http.client.HTTPSConnection("localhost", ca.port, context=context, timeout=30)
        line.request(method, path, body, headers)
        found = line.getresponse()
        kept = {name: value for name, value in found.getheaders() if name != "Content-Length"}
        answer = Answer(path, found.status, kept, found.read())
        line.close()
        return answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
