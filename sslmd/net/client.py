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
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.core.words.sentence import say
from sslmd.net import resolver_files
from sslmd.net.link import (
    A,
    CallBounds,
    Handlers,
    Link,
    LinkError,
    NetBug,
    NetGone,
    Operation,
    Q,
    link_on,
)
from sslmd.net.messages import PING, Alive, NetLimit
from sslmd.net.telling import Seldom, Trace

# Whom it becomes, by systemd/sysusers.d.
USER = "sslmd-net"
# Seconds between looks whether it still turns, and after which it is taken to hang. What it
# reads takes 0.1 s at most (`received`); on a machine under load everything takes longer.
PING_EVERY = 5.0
HANGS = 20.0
# For what may not be asked twice, before a file of the resolver that it cannot read is its end.
PATIENCE = 60.0

# Seconds for it to start: it imports some hundred modules; to be gone once it has closed its end.
STARTING, ENDING = 60.0, 1.0

# Seconds before the next one is started, the factor by which they grow, and at most: where it
# started, and where not. After how many seconds of life all is forgotten.
FIRST_PAUSE, SLOWER, LONGEST_PAUSE, LONGEST_UNSTARTED = 0.1, 2.0, 2.0, 30.0
LIVED = 60.0
# So many in a row that did not start: whoever asks gets that for an answer and waits no longer.
GIVES_UP = 3

# So many ends, or faults, within so many seconds are trouble, although it runs at this moment.
OFTEN, WITHIN = 3, 3600.0

# How often one thing is asked of another process because the one that had it died: what is asked
# may be what kills it. So it is asked alone then, for so many seconds.
TRIES, ALONE = 3, 0.5

# What it may have the daemon do: signatures, a dozen for each of a thousand orders within a minute.
BOUNDS = CallBounds(calls=5000, size=32 << 20, a_second=500.0, at_once=2000)

# How often one thing is asked that meets a fault of the process: memory may be there again.
FAULTS = 2

# What it goes by of the environment: locales, proxies, trusted roots; nothing of the daemon's own.
PASSED = (
    *("LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)

# The same package as this one, wherever it is; nothing of the environment or the working directory.
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PROGRAM = f"""
import gc
import sys
gc.disable()
sys.path.insert(0, {_ROOT!r})
from sslmd.net.child import main
main(sys.argv[1:])
"""
COMMAND = (sys.executable, "-I", "-c", _PROGRAM)


class Net:
    """The daemon's end. `handlers` do what the process asks of the daemon.

    `tell` reports how it ended and that it runs again, `said` each line of what it writes to
    stderr, such as a trace. `failed` hears of exceptions in `handlers`. `user`: the system user
    that it becomes where the daemon is root.
    """

    def __init__(
        self,
        handlers: Handlers,
        tell: Callable[[str], object],
        failed: Callable[[BaseException], object],
        *,
        said: Callable[[str], object] = lambda _: None,
        user: str = USER,
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        self._handlers = handlers
        self._tell = tell
        self._failed = failed
        self._trace = Trace(said)
        self._user = user
        self._command = command
        self._link: Link | None = None
        self._changed, self._turn = asyncio.Condition(), asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ends: deque[float] = deque(maxlen=1000)
        self._why: Reason | None = None
        self._weakness: Reason | None = None
        self._unstarted, self.starts = 0, 0
        self._faults: deque[tuple[float, Reason]] = deque(maxlen=1000)
        self._ends_told, self._faults_told = Seldom(tell), Seldom(tell)
        # What holds the one that was started last, as it said before it read anything.
        self.limits: tuple[NetLimit, ...] = ()

    @property
    def pid(self) -> int:
        """Its process id, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def trouble(self) -> Reason | None:
        """Why there is none, or that it ends again and again; None where all is well."""
        if self._why is not None and self._link is None and self._unstarted > 1:
            return Reason(Failed.NET_DOWN, why=self._why)
        recent = asyncio.get_running_loop().time() - WITHIN
        times = sum(when > recent for when in self._ends)
        if self._why is not None and times >= OFTEN:
            return Reason(Failed.NET_ENDS, times=times, why=self._why)
        faults = [why for when, why in self._faults if when > recent]
        if len(faults) < OFTEN:
            return None
        return Reason(Failed.NET_FAULTY, times=len(faults), why=faults[-1])

    @property
    def weakness(self) -> Reason | None:
        """What of it is less apart from the daemon than it could be."""
        if not self.limits or NetLimit.UID in self.limits:
            return None
        if NetLimit.NOBODY in self.limits:
            return Reason(Failed.NET_NOBODY, user=self._user)
        is_open = NetLimit.LANDLOCK not in self.limits
        if os.geteuid() == 0:
            code = Failed.NET_ROOT_OPEN if is_open else Failed.NET_STAYS_ROOT
            return Reason(code, user=self._user)
        return Reason(Failed.NET_OPEN) if is_open else None

    async def start(self) -> None:
        """Start it, and keep one running until `stop`; returns when the first is on its way."""
        begun = asyncio.Event()
        self._keeping = asyncio.ensure_future(self._keep(begun))
        await begun.wait()

    async def stop(self) -> None:
        """End it; what is under way fails with `NetGone`."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
        await self._notify()

    async def call(self, operation: Operation[Q, A], asked: Q) -> A:
        """Ask it; what died with a process, or met a fault there, is asked again, if it may be.

        Raises `NetGone` where that did not help. How long it takes is for others to bound.
        """
        me, died, deaths, faults = object(), None, 0, 0
        while True:
            link = await self._running(died)
            try:
                if not deaths:
                    return await link.call(operation, asked)
                async with self._turn:
                    link = await self._running(died)
                    answer = await self._begin_alone(me, link, operation, asked)
                return await answer
            except NetBug as bug:
                self._met(bug.reason)
                faults += 1
                if not operation.repeatable or faults >= FAULTS:
                    raise
                continue
            except NetGone:
                if link.is_open or self._keeping is None:
                    raise  # no other process can be had
                deaths += link.blamed in (None, me)
                if not operation.repeatable or deaths >= TRIES:
                    raise
            died = link

    def _met(self, fault: Reason) -> None:
        now = asyncio.get_running_loop().time()
        self._faults.append((now, fault))
        what, where = fault["fault"], fault["operation"]
        self._faults_told.tell(
            now, lambda more: Reason(Failed.NET_FAULT, fault=what, operation=where, more=more)
        )

    async def _begin_alone(
        self, me: object, link: Link, operation: Operation[Q, A], asked: Q
    ) -> asyncio.Future[A]:
        """Ask again what a process died with, while nobody else does so.

        Returns when it is answered, or the process turns a while later: then it was not this that
        ended the last one. What ends this one now is to blame, and the others are asked once more.
        """
        answer = asyncio.ensure_future(link.call(operation, asked))
        link.blamed = me
        try:
            await asyncio.wait({answer}, timeout=ALONE)
            if not answer.done():
                with suppress(NetGone):
                    await link.call(PING, Alive())
        except asyncio.CancelledError:
            answer.cancel()
            raise
        finally:
            if link.is_open:
                link.blamed = None
        return answer

    async def _running(self, died: Link | None) -> Link:
        """Wait for a process other than the one that died.

        Raises `NetGone` at the end, and where none can be started.
        """

        def running() -> Link | None:
            link = self._link
            return link if link is not None and link.is_open and link is not died else None

        async with self._changed:
            await self._changed.wait_for(
                lambda: running() or self._keeping is None or self._unstarted >= GIVES_UP
            )
        if (link := running()) is not None:
            return link
        if self._keeping is not None and self._why is not None:
            raise NetGone(Reason(Failed.NET_DOWN, why=self._why))
        raise NetGone(Reason(Failed.NET_GONE))

    async def _keep(self, begun: asyncio.Event) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            began, self.limits = loop.time(), ()
            try:
                self._why = await self._one_life(begun)
            except OSError as err:
                self._why = Reason(Failed.NET_NOT_STARTED, why=err.strerror or type(err).__name__)
            except Exception as err:  # a fault here must not be the end of all of them
                self._failed(err)
                self._why = Reason(Failed.NET_NOT_STARTED, why=type(err).__name__)
            begun.set()
            if self._keeping is None:
                return  # whatever the end of the last one met
            now = loop.time()
            if now - began > LIVED:
                pause = FIRST_PAUSE
                self._ends_told.forget()
            self._unstarted = 0 if self.limits else self._unstarted + 1
            if self._why.code is not Failed.NET_FILES:
                self._ends.append(now)
            self._ends_told.tell(now, self._ended)
            await self._notify()
            await asyncio.sleep(pause)
            pause = min(pause * SLOWER, LONGEST_PAUSE if self.limits else LONGEST_UNSTARTED)

    def _ended(self, more: int) -> Reason:
        return Reason(Failed.NET_ENDED, why=self._why, more=more)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _started(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        """Start one; return it, and our end of the line to it. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
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
                    env={name: os.environ[name] for name in PASSED if name in os.environ},
                )
            except BaseException:
                ours.close()
                raise
        return process, ours

    async def _one_life(self, begun: asyncio.Event) -> Reason:
        """Start one and stay with it to its end; return how it ended."""
        files = resolver_files.identities()
        process, ours = await self._started()
        self._process, self.starts = process, self.starts + 1
        begun.set()
        assert process.stderr is not None
        words = asyncio.ensure_future(self._trace.listen(process.stderr))
        link: Link | None = None
        tasks: list[asyncio.Future[Any]] = []
        why: Reason | None = None
        try:
            ours.settimeout(0)
            link = await link_on(ours, self._handlers, self._failed, BOUNDS)
            running = asyncio.ensure_future(link.run())
            watching = asyncio.ensure_future(self._watch(link, files))
            tasks += running, watching
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if running.done() and (err := running.exception()) is not None:
                if not isinstance(err, LinkError):
                    self._failed(err)
                why = Reason(Failed.NET_NONSENSE, said=str(err))
            elif not running.done():
                why = watching.result()
            else:  # it has closed its end: it is about to tell why
                with suppress(TimeoutError):
                    async with asyncio.timeout(ENDING):
                        await process.wait()
        finally:
            self._link = None
            if link is not None:
                link.close()
            else:
                ours.close()
            for task in tasks:
                task.cancel()
            # Without CAP_KILL root may not end a process of another user: its line is cut.
            with suppress(ProcessLookupError, PermissionError):
                process.kill()
            status: int | None = None
            with suppress(TimeoutError):
                async with asyncio.timeout(ENDING):
                    status = await process.wait()
            self._process = None
            with suppress(TimeoutError):  # whoever else has the pipe
                async with asyncio.timeout(ENDING):
                    await words
            last = self._trace.last
        if why is not None:
            return why
        if status is None:
            return Reason(Failed.NET_SILENT, seconds=int(ENDING))
        if status < 0:
            return Reason(Failed.NET_KILLED, signal=_signal(-status), said=last)
        return Reason(Failed.NET_EXITED, status=status, said=last)

    async def _watch(self, link: Link, files: resolver_files.Identities) -> Reason:
        """Return why it is to end: it does not answer any more, or cannot read what is new."""
        seconds, patient, loop = STARTING, 0.0, asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(seconds):
                    answer = await link.call(PING, Alive())
            except TimeoutError:
                return Reason(Failed.NET_SILENT, seconds=int(seconds))
            except NetGone:
                await asyncio.Event().wait()  # `run` tells
                raise
            seconds = HANGS
            if self._link is not link:
                self._link, self.limits = link, answer.limits
                if self._unstarted:
                    self._unstarted = 0
                    self._ends_told.forget()
                    self._ends.clear()
                    self._tell(say(Reason(Failed.NET_AGAIN)))
                if self.weakness not in (None, self._weakness):
                    self._tell(say(self.weakness))
                self._weakness = self.weakness
                await self._notify()
            await asyncio.sleep(PING_EVERY)
            if NetLimit.LANDLOCK in self.limits and resolver_files.identities() != files:
                patient = patient or loop.time() + PATIENCE
                if link.is_asked_once and loop.time() < patient:
                    continue  # an order under way would be lost, and made twice
                link.blamed = link  # nothing that was asked has ended it
                return Reason(Failed.NET_FILES)


def _signal(number: int) -> str:
    known = {one.value: one.name for one in signal.Signals}
    return known.get(number, f"signal {number}")
