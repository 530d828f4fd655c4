"""A scripted daemon on a real UNIX socket, and ways to run sslmctl against it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import sslmd
from sslmd.ctl.main import main
from sslmd.wire.framing import FrameReader
from sslmd.wire.messages import (
    Message,
    Method,
    Notice,
    Notification,
    Response,
    RpcRequest,
    WireError,
    encode,
    hello,
    parse_message,
)
from tests.stand.forked import run_forked

# What the daemon does on a request: messages, raw bytes, or None to hang up.
Step = Message | bytes | None
Script = Callable[[RpcRequest], Iterable[Step]]

ROOT = Path(sslmd.__file__).parents[1]


def result(value: Any) -> Script:
    return lambda request: [Response(request.id, value)]


def refusal(code: int, text: str, data: Any = None) -> Script:
    return lambda request: [Response(request.id, error=WireError(code, text, data=data))]


def steps(*given: Step) -> Script:
    """Always the same; for what is no answer."""
    return lambda request: given


def progress(cert: str, event: str, text: str) -> Notification:
    return Notification(Notice.PROGRESS, {"cert": cert, "event": event, "text": text})


class FakeDaemon:
    """Answers by a script per method; keeps the requests that came."""

    def __init__(
        self,
        answers: Mapping[Method, Script] | None = None,
        *,
        greeting: tuple[Step, ...] = (hello("9.9.9"),),
    ) -> None:
        self.answers = dict(answers or {})
        self.greeting = greeting
        self.requests: list[RpcRequest] = []
        self._folder = tempfile.mkdtemp(prefix="sslm")  # short: a socket's path has 107 bytes
        self.path = f"{self._folder}/sock"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._server, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._server.close()
        shutil.rmtree(self._folder)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        reader = FrameReader()
        with connection, contextlib.suppress(OSError):
            self._send(connection, self.greeting)
            while data := connection.recv(4096):
                for line in reader.feed(data):
                    request = parse_message(line)
                    assert isinstance(request, RpcRequest)
                    self.requests.append(request)
                    self._send(connection, self.answers[Method(request.method)](request))

    def _send(self, connection: socket.socket, given: Iterable[Step]) -> None:
        for step in given:
            if step is None:
                connection.shutdown(socket.SHUT_RDWR)
                raise ConnectionAbortedError
            connection.sendall(step if isinstance(step, bytes) else encode(step))

    @property
    def params(self) -> dict[str, Any]:
        """Those of the only request."""
        (request,) = self.requests
        return request.params


def environment(**more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "TZ": "UTC",
        **more,
    }


def command_line(*args: str) -> list[str]:
    return [sys.executable, "-m", "sslmd.ctl.main", *args]


def sslmctl(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run sslmctl as people do."""
    return run_forked(main, ["sslmctl", *args], env=environment(**env))


def on_terminal(*args: str, columns: int = 160, interrupt_at: bytes = b"", **env: str) -> str:
    """Run sslmctl on a terminal of its own; Ctrl-C once `interrupt_at` was seen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command_line(*args), env=environment(**env), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while data := _read(ours):
        seen += data
        if interrupt_at and interrupt_at in seen:
            process.send_signal(signal.SIGINT)
            interrupt_at = b""
    os.close(ours)
    assert process.wait() == 0
    return seen.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as err:
        if err.errno == errno.EIO:  # the other side is closed
            return b""
        raise
