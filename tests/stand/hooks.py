"""A server that takes messages as ntfy and web hooks do, and answers as it is told to.

What it does is said by the last part of the path, or by the topic of a post as to ntfy: `ok`, a
status (`500`), `429-120` (with Retry-After), `moved` (a redirect to `elsewhere`), `huge` (10 MB),
`silent` (nothing, until the end), `cut` (it hangs up), `noise` (no HTTP).
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

HUGE = 10 << 20


@dataclass(frozen=True)
class Post:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


class Hooks:
    """Listens on loopback; `posts` is what came, in order."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.end = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def at(self, path: str, scheme: str = "json") -> str:
        """Return an address for Apprise."""
        return f"{scheme}://127.0.0.1:{self.port}/{path}"

    def to(self, path: str) -> list[Post]:
        """Return what came to a path, or a topic."""
        return [one for one in self.posts if one.path == path]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(hooks: Hooks) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.strip("/")
            if not path:
                path = str(json.loads(body)["topic"])
            hooks.posts.append(Post(path, dict(self.headers), body))
            self._answer(path.rpartition("/")[2])

        def _answer(self, what: str) -> None:
            status, _, after = what.partition("-")
            if what == "moved":
                self._head(307, Location=f"http://127.0.0.1:{hooks.port}/elsewhere")
            elif what == "huge":
                self._head(200)
                piece = b"x" * (1 << 16)
                try:
                    for _ in range(HUGE // len(piece)):
                        self.wfile.write(piece)
                except OSError:
                    pass  # nobody reads on
            elif what == "silent":
                hooks.end.wait()
            elif what == "noise":
                self.wfile.write(b"\x00\xff" * 100 + b"\r\n\r\n")
            elif what == "cut":
                pass
            elif status.isdigit():
                self._head(int(status), **({"Retry_After": after} if after else {}))
            else:
                self._head(200)
                self.wfile.write(b"{}")

        def _head(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
