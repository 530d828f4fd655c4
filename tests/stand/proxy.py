"""A proxy in front of Pebble that changes its answers: a CA that gives what nobody asked for."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.stand.pebble import Pebble


@dataclass
class Answer:
    """An answer of the CA's, on its way to the client.

    `asked`: what it is an answer to. `cut`: how much of it comes there before the line is cut; 0:
    not even a status.
    """

    path: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: bytes = b""
    cut: int | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """What a client said in its request, without its signature (RFC 7515 §7.2.2)."""
        return payload_of(self.asked)


Change = Callable[[Answer], Answer]

# What is done with a request before the CA has it: None passes it on.
Ask = Callable[[str, bytes], Answer | None]


def payload_of(asked: bytes) -> dict[str, Any]:
    """Return what is signed in a request, {} for nothing."""
    try:
        text = json.loads(asked)["payload"]
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}


class Proxy:
    """Listens beside `ca` with the same certificate; `change` may alter every answer.

    `ask` may answer in place of the CA. The CA builds its URLs from the Host header, so that
    clients stay with the proxy.
    """

    def __init__(self, ca: Pebble, change: Change, ask: Ask = lambda *_: None) -> None:
        self.change = change
        self.ask = ask
        self.paths: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            upstream: http.client.HTTPSConnection | None = None

            def do_GET(self) -> None:
                proxy._pass(self, ca)

            do_POST = do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

            def finish(self) -> None:
                with suppress(OSError):
                    super().finish()
                if self.upstream is not None:
                    self.upstream.close()

        self._server = _Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ca.folder / "https-cert.pem", ca.folder / "https-key.pem")
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._context = ssl.create_default_context(cafile=str(ca.root_file))
        self.root_file: Path = ca.root_file
        self.directory = f"https://localhost:{self._server.server_address[1]}/dir"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def _pass(self, handler: Any, ca: Pebble) -> None:
        self.paths.append(handler.path)
        asked = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        answer = self.ask(handler.path, asked)
        if answer is None:
            answer = self.change(self._answer(handler, ca, asked))
        if answer.cut is not None:
            handler.close_connection = True
        if answer.cut == 0:
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(answer.body[: answer.cut])

    def _answer(self, handler: Any, ca: Pebble, asked: bytes) -> Answer:
        """Return what the CA answers."""
        headers = dict(handler.headers)
        try:
            found = self._upstream(handler, ca, asked, headers)
        except (OSError, http.client.HTTPException):  # a CA that was started anew meanwhile
            handler.upstream.close()
            handler.upstream = None
            found = self._upstream(handler, ca, asked, headers)
        given = {name: value for name, value in found.getheaders() if name != "Content-Length"}
        return Answer(handler.path, found.status, given, found.read(), asked)

    def _upstream(
        self, handler: Any, ca: Pebble, asked: bytes, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        if handler.upstream is None:
            handler.upstream = http.client.HTTPSConnection(
                "localhost", ca.port, context=self._context, timeout=30
            )
        line: http.client.HTTPSConnection = handler.upstream
        line.request(handler.command, handler.path, asked, headers)
        return line.getresponse()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Clients that go away, or are killed, are nobody's trouble."""

    def handle_error(self, *_: Any) -> None:
        pass
