"""Starts sslmd and sslmctl by forks of a process that has read their modules: most of a start.

The network process of such a daemon is forked too (`forked_net`).

What is forked is a process with a session, an environment and files of its own, as if it had been
started anew; it is told `start` by a socket, and later asked how it ended.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import IO, Any, NoReturn

from tests.stand import forked_net
from tests.stand.faketime import of_loading
from tests.stand.forked import become
from tests.stand.server import ROOT

_MOST = 1 << 20  # bytes of one message: a command line and an environment
_DAEMON, _CLIENT = "sslmd.daemon.main", "sslmd.ctl.main"


class Started:
    """What is asked of a `Popen`, of a process that is no child of ours."""

    def __init__(self, starter: _Starter, pid: int, stderr: IO[str] | None = None) -> None:
        self.pid, self.stderr = pid, stderr
        self.returncode: int | None = None
        self._starter = starter
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        if self.returncode is None and select.select([self._handle], [], [], 0)[0]:
            self.returncode = self._starter.ask({"status": self.pid})
            os.close(self._handle)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended; raise TimeoutExpired after so many seconds."""
        if self.returncode is None and not select.select([self._handle], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class _Starter:
    """The process that has read the modules, and the way to it."""

    def __init__(self, loading: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, **loading},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._ours.close()
        self._process.wait()

    def ask(self, what: Mapping[str, Any], files: Sequence[int] = ()) -> int:
        with self._lock:
            socket.send_fds(self._ours, [json.dumps(what).encode()], files)
            return int(self._ours.recv(_MOST))


@cache
def _starter(*loading: tuple[str, str]) -> _Starter:
    """Return the one that has loaded libfaketime with these settings, or nothing."""
    return _Starter(dict(loading))


def start_daemon(options: Sequence[str], env: Mapping[str, str]) -> Started:
    """Start it in the checkout, with nothing to read; what it prints is to be read at `stderr`."""
    starter = _starter(*sorted(of_loading(env).items()))
    reading, writing = os.pipe()
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        asked = {"argv": [_DAEMON, *options], "env": dict(env)}
        pid = starter.ask(asked, [nothing, writing])
    finally:
        os.close(writing)
        os.close(nothing)
    return Started(starter, pid, os.fdopen(reading, encoding="utf-8"))


def run_client(words: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run sslmctl with nothing to read; raise TimeoutExpired after so many seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        asked = {"argv": [_CLIENT, *words], "env": dict(os.environ)}
        started = Started(_starter(), _starter().ask(asked, [out.fileno(), err.fileno()]))
        try:
            status = started.wait(timeout)
        finally:
            started.send_signal(signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        said, complained = out.read().decode(), err.read().decode()
    return subprocess.CompletedProcess(list(words), status, said, complained)


# --- the other side -----------------------------------------------------------------------


def _serve(line: socket.socket) -> Callable[[], object] | None:
    """Do what is asked until nobody asks; in a process that was forked, return what it is to do."""
    mains: dict[str, Callable[[], object]]
    mains = {name: import_module(name).main for name in (_DAEMON, _CLIENT)}
    forked_net.prepare()
    gc.collect()
    gc.freeze()  # no collection in what is forked need look at it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        data, files, _, _ = socket.recv_fds(line, _MOST, 2)
        if not data:
            return None
        asked = json.loads(data)
        if "status" in asked:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["status"], 0)[1])
        elif (answer := os.fork()) == 0:
            line.close()
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDONLY)
            become((nothing, *files), asked["argv"], asked["env"])
            for file in (nothing, *files):
                os.close(file)
            asyncio.set_event_loop_policy(forked_net.ForkingPolicy())
            return mains[asked["argv"][0]]
        for file in files:
            os.close(file)
        line.send(str(answer).encode())


def _run(what: Callable[[], object]) -> NoReturn:
    """Run a `main` to its end, but for taking apart what was loaded: a tenth of a second."""
    status: object = 1
    try:
        status = what()
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status or 0)


if __name__ == "__main__":
    if what := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _run(what)
