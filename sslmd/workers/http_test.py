"""Files for `sslmctl doctor`, in the places where challenges of http-01 would be (RFC 8555 §8.3).

They are put on the web servers as challenges are, by the same code, so that what can be fetched of
them can be fetched of a challenge. What is on web servers is noted on disk first: a file that a
killed daemon left is removed at the next start, or with the next test.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sslmd.config.model import Config, ServerClass, ServerKind, Validation
from sslmd.core.errors import Permanent, SslmError
from sslmd.core.spec import AcmeCa
from sslmd.servers import http01
from sslmd.store.notes import read_lines, write_lines
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

    servers: tuple[str, ...]
    server_dir: Path
    files: tuple[Placed, ...]


class TestFiles:
    """Puts files on web servers and takes them away again. One per daemon."""

    __test__ = False

    def __init__(self, site: Site, threads: Threads, telling: Telling) -> None:
        self._site = site
        self._threads = threads
        self._telling = telling
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
        web = _web_of(config)
        if web is None or web.server_dir is None or not web.servers:
            raise Permanent("[web] has no servers or no server_dir, so nothing can be put there")
        await self.remove_left()
        test = Test(web.servers, web.server_dir, tuple(map(_random, groups_of(config))))
        await self._write_note(add=test.files)
        self._used |= {*test.files}
        return test

    async def put(self, test: Test) -> tuple[str, ...]:
        """Put them in place; return what web servers did not take, and why."""

        async def one(file: Placed) -> str:
            contents = {file.token: file.value}
            async with self._turn:
                try:
                    await http01.put(
                        test.servers,
                        test.server_dir,
                        file.group,
                        contents,
                        self._threads.aside,
                        self._site.scratch,
                    )
                except SslmError as err:
                    return str(err)
            return ""

        return _some(await asyncio.gather(*map(one, test.files)))

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
            self._telling.tell("order-trouble", str(err), None)
            return
        old = tuple(left - self._used)
        web = _web_of(self._site.config)
        if old and web is not None and web.server_dir is not None:
            for text in await self._remove(Test(web.servers, web.server_dir, old)):
                self._telling.tell("order-trouble", f"{text}; it is tried again later", None)

    async def _remove(self, test: Test) -> tuple[str, ...]:
        gone = []

        async def one(file: Placed) -> str:
            async with self._turn:
                try:
                    await http01.remove(
                        test.servers,
                        test.server_dir,
                        file.group,
                        [file.token],
                        self._threads.aside,
                        self._site.scratch,
                    )
                except SslmError as err:
                    return str(err)
            gone.append(file)
            return ""

        problems = _some(await asyncio.gather(*map(one, test.files)))
        try:
            await self._write_note(drop=gone)
        except SslmError as err:
            problems += (str(err),)
        return problems

    async def _write_note(self, add: Iterable[Placed] = (), drop: Iterable[Placed] = ()) -> None:
        async with self._noting:
            await self._threads.in_thread(_write_note, self._note, {*add}, {*drop})


def groups_of(config: Config) -> list[str]:
    """Return the groups with certificates that are proven by http-01."""
    found: dict[str, None] = {}
    for service in config.services.values():
        signer = service.spec.signer
        if not service.managed or not isinstance(signer, AcmeCa):
            continue
        if config.cas[signer.name].validation is Validation.HTTP_01:
            found[service.id.group] = None
    return list(found)


def _random(group: str) -> Placed:
    token = secrets.token_urlsafe(_RANDOM)
    return Placed(group, token, f"{token}.{secrets.token_urlsafe(_RANDOM)}")


def _some(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, texts)))


def _web_of(config: Config) -> ServerClass | None:
    return next((one for one in config.server_classes if one.kind is ServerKind.WEB), None)


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
