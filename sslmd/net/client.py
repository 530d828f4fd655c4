"""The network process as the daemon has it: started, watched, started anew.

It is started before a key is read, and dies with the daemon. When it dies, hangs, or answers
nonsense, another one is started, and what was under way is asked of that one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from sslmd.core.failed import Failed
from sslmd.core.names import shown
from sslmd.core.reason import Reason
from sslmd.net.link import Handlers, Link, LinkError, NetGone, Operation, link_on
from sslmd.net.messages import PING, Alive

Q = TypeVar("Q")
A = TypeVar("A")

# Seconds between looks whether it still turns, and after which it is taken to hang. What it
# reads takes 0.1 s at most (`received`); on a machine under load everything takes longer.
PING_EVERY = 5.0
HANGS = 20.0

# Seconds for it to start: it imports some hundred modules.
STARTING = 60.0

# Seconds for one that has closed its end to be gone.
ENDING = 1.0

# Seconds before the next one is started, the factor by which they grow, and at most; and after how
# many seconds of life all is forgotten.
FIRST_PAUSE, SLOWER, LONGEST_PAUSE = 0.1, 2.0, 30.0
LIVED = 60.0

# How often one thing is asked of another process because the one that had it died: what is asked
# may be what kills it.
TRIES = 3

# Bytes of its last words that are told.
LAST_WORDS = 1000

# The same package as this one, wherever it is; nothing of the environment or the working directory.
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PROGRAM = f"""
import sys
sys.path.insert(0, {_ROOT!r})
from sslmd.net.child import main
main(sys.argv[1:])
"""
_COMMAND = (sys.executable, "-I", "-c", _PROGRAM)


class Net:
    """The daemon's end. `handlers` do what the process asks of the daemon; `tell` reports.

    `user`: the system user that the process becomes where the daemon is root.
    """

    def __init__(
        self,
        handlers: Handlers,
        tell: Callable[[str], object],
        failed: Callable[[BaseException], object],
        *,
        user: str = "sslmd-net",
        command: tuple[str, ...] = _COMMAND,
    ) -> None:
        self._handlers = handlers
        self._tell = tell
        self._failed = failed
        self._user = user
        self._command = command
        self._link: Link | None = None
        self._changed = asyncio.Condition()
        self._keeping: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self.limits: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        """Its process id, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start it, and keep one running until `stop`."""
        self._keeping = asyncio.ensure_future(self._keep())

    async def stop(self) -> None:
        """End it; what is under way fails with `NetGone`."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
        async with self._changed:
            self._changed.notify_all()

    async def call(self, operation: Operation[Q, A], asked: Q) -> A:
        """Ask it; what died with a process is asked of the next one, if it may be.

        Raises `NetGone` where that did not help, and `NetBug`. How long it may take is the
        operation's own matter, and the caller's.
        """
        died: Link | None = None
        for tries in reversed(range(TRIES if operation.repeatable else 1)):
            link = await self._running(died)
            try:
                return await link.call(operation, asked)
            except NetGone:
                if not tries:
                    raise
            died = link
        raise AssertionError

    async def _running(self, died: Link | None) -> Link:
        """Wait for a process other than the one that died; raises `NetGone` at the end."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._keeping is None or self._link not in (None, died)
            )
        if self._link is None:
            raise NetGone(Reason(Failed.NET_GONE))
        return self._link

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                why = await self._one_life()
            except OSError as err:
                why = f"cannot be started: {err.strerror}"
            if loop.time() - began > LIVED:
                pause = FIRST_PAUSE
            self._tell(f"the network process {why}; another one is started")
            await asyncio.sleep(pause)
            pause = min(pause * SLOWER, LONGEST_PAUSE)

    async def _one_life(self) -> str:
        """Start one and stay with it to its end; return how it ended."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                str(os.getpid()),
                self._user if os.geteuid() == 0 else "",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env=_environment(),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process = process
        ours.settimeout(0)
        words = asyncio.ensure_future(_last_words(process))
        link = await link_on(ours, self._handlers, self._failed)
        running = asyncio.ensure_future(link.run())
        watching = asyncio.ensure_future(self._watch(link))
        why = ""
        try:
            await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
            if running.done() and (err := running.exception()) is not None:
                if not isinstance(err, LinkError):
                    self._failed(err)
                why = f"sent what makes no sense ({err})"
            elif not running.done():
                why = watching.result()
            else:  # it has closed its end: it is about to tell why
                with suppress(TimeoutError):
                    async with asyncio.timeout(ENDING):
                        await process.wait()
        finally:
            self._link = None
            link.close()
            watching.cancel()
            running.cancel()
            with suppress(ProcessLookupError):
                process.kill()
            status = await process.wait()
            self._process = None
            last = await words
        if why:
            return f"{why} and was ended"
        how = f"was killed by {_signal(-status)}" if status < 0 else f"ended with {status}"
        return f"{how}: {shown(last, 300)}" if last else how

    async def _watch(self, link: Link) -> str:
        """Return when it does not answer any more, saying so."""
        seconds = STARTING
        while True:
            try:
                async with asyncio.timeout(seconds):
                    answer = await link.call(PING, Alive())
            except TimeoutError:
                return f"did not answer for {seconds:g} s"
            except NetGone:
                await asyncio.Event().wait()  # `run` tells
                raise
            seconds = HANGS
            self.limits = answer.limits
            if self._link is not link:
                self._link = link
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(PING_EVERY)


def _environment() -> dict[str, str]:
    """Return what it goes by: locales, proxies, trusted roots; nothing of the daemon's own."""
    passed = (
        *("LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    )
    return {name: os.environ[name] for name in passed if name in os.environ}


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """Return the end of what it writes to stderr: the trace of what ended it."""
    assert process.stderr is not None
    last = b""
    while piece := await process.stderr.read(4096):
        last = (last + piece)[-LAST_WORDS:]
    lines = last.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
