"""Files for `sslmctl doctor`, in the places where challenges of http-01 would be (RFC 8555 §8.3).

They are put on the web servers as challenges are, by the same code, so that what can be fetched of
them can be fetched of a challenge. What is on web servers is noted on disk first: a file that a
killed daemon left is removed at the next start, or with the next test.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from sslmd.core.errors import Permanent, SslmError
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.servers import http01
from sslmd.servers.local import Locality
from sslmd.store.notes import read_lines, write_lines
from sslmd.workers.http import WebServers, http_services, web_servers
from sslmd.workers.tools import Site, Telling, Threads

# Bytes of randomness: a token and a thumbprint of the form that RFC 8555 §8.1 gives them.
_RANDOM = 32

# Files put in place or removed at a time; each is a visit by ssh where servers are elsewhere.
AT_ONCE = 8


@dataclass(frozen=True, slots=True, order=True)
class Placed:
    """One file: `value` is what it holds; its name is `token`."""

    group: str
    token: str
    value: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Test:
    """What is put on which web servers."""

    __test__ = False  # for pytest: it is none

    web: WebServers
    files: tuple[Placed, ...]


class TestFiles:
    """Puts files on web servers and takes them away again. One per daemon."""

    __test__ = False

    def __init__(self, site: Site, threads: Threads, telling: Telling, locality: Locality) -> None:
        self._site = site
        self._threads = threads
        self._telling = telling
        self._locality = locality
        self._note = site.tree.http_test_note
        self._noting = asyncio.Lock()
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._used: set[Placed] = set()

    async def plan(self) -> Test:
        """Return what to put, a file with a random name for each group with http-01; it is noted.

        Raises `Permanent` where the configuration has no place for it, `Permanent` or `Transient`
        where it cannot be noted.
        """
        config = self._site.config
        web = web_servers(config, self._site, self._threads, self._locality)
        if web is None or not web.hosts:
            raise Permanent(Reason(Failed.NO_WEB_TEST))
        await self.remove_left()
        groups = dict.fromkeys(one.id.group for one in http_services(config))
        test = Test(web, tuple(map(_random, groups)))
        await self._write_note(add=test.files)
        self._used |= {*test.files}
        return test

    async def put(self, test: Test) -> tuple[str, ...]:
        """Put them in place; return what web servers did not take, and why."""

        async def put(file: Placed) -> None:
            await test.web.put(file.group, {file.token: file.value})

        _, problems = await self._each(test, put)
        return problems

    async def remove(self, test: Test) -> tuple[str, ...]:
        """Take them away; return what was in the way: that is tried again later."""
        try:
            return await self._remove(test)
        finally:
            self._used -= {*test.files}

    async def remove_left(self) -> None:
        """Take away what a daemon that was killed has left."""
        try:
            left = await self._threads.in_thread(_read_note, self._note)
        except SslmError as err:
            self._telling.tell("order-trouble", err.reason, None)
            return
        old = tuple(left - self._used)
        web = web_servers(self._site.config, self._site, self._threads, self._locality)
        if old and web is not None:
            for text in await self._remove(Test(web, old)):
                self._telling.tell("order-trouble", f"{text}; it is tried again later", None)

    async def _remove(self, test: Test) -> tuple[str, ...]:
        async def remove(file: Placed) -> None:
            await test.web.remove(file.group, [file.token])

        gone, problems = await self._each(test, remove)
        try:
            await self._write_note(drop=gone)
        except SslmError as err:
            problems += (str(err),)
        return problems

    async def _each(
        self, test: Test, visit: Callable[[Placed], Awaitable[None]]
    ) -> tuple[list[Placed], tuple[str, ...]]:
        """Do something with every file; return those that it was done with, and what failed."""
        done: list[Placed] = []
        problems: dict[str, None] = {}

        async def one(file: Placed) -> None:
            async with self._turn:
                try:
                    await visit(file)
                except SslmError as err:
                    problems[str(err)] = None
                else:
                    done.append(file)

        await asyncio.gather(*map(one, test.files))
        return done, tuple(problems)

    async def _write_note(self, add: Iterable[Placed] = (), drop: Iterable[Placed] = ()) -> None:
        async with self._noting:
            await self._threads.in_thread(_write_note, self._note, {*add}, {*drop})


def _random(group: str) -> Placed:
    token = secrets.token_urlsafe(_RANDOM)
    return Placed(group, token, f"{token}.{secrets.token_urlsafe(_RANDOM)}")


def _read_note(path: str) -> set[Placed]:
    found = set()
    for one in read_lines(path):
        group, _, token = one.partition(" ")
        # What is no name of a file of ours is not removed as one.
        with suppress(ValueError):
            http01.check(group, token)
            found.add(Placed(group, token))
    return found


def _write_note(path: str, add: set[Placed], drop: set[Placed]) -> None:
    left = (_read_note(path) | add) - drop
    write_lines(path, (f"{one.group} {one.token}" for one in left))
