"""Many CAs at one time: one that is being asked keeps its connections; others are let go."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sslmd.net.acme import MOST_CAS, AcmeSteps
from sslmd.net.acme_messages import (
    DIRECTORY,
    AcmeDirectory,
    AcmeProblem,
    CaAddress,
    OfServer,
)
from sslmd.net.sign_messages import AskSignature, Signature
from tests.stand.samples import make_root
from tests.stand.tls import Reader, Writer, server

# Of one CA: those of the system take a moment each time.
_ROOTS = make_root().cert_pem.decode()


class _Cas:
    """A directory for each path; that of /slow is told where it is when `go` is set."""

    def __init__(self) -> None:
        self.go, self.begun = asyncio.Event(), asyncio.Event()
        self.base = ""

    async def serve(self, reader: Reader, writer: Writer) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            answer = "HTTP/1.1 200 OK\r\n"
            if path == "/slow":
                self.begun.set()
                await self.go.wait()
                answer = "HTTP/1.1 302 Found\r\nLocation: /moved\r\n"
            urls = dict.fromkeys(("newNonce", "newAccount", "newOrder"), f"{self.base}/x")
            body = json.dumps(urls)
            writer.write(f"{answer}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    def asked(self, path: str) -> OfServer:
        return OfServer(CaAddress(f"{self.base}/{path}", _ROOTS))


@asynccontextmanager
async def _running() -> AsyncIterator[tuple[AcmeSteps, _Cas]]:
    async def sign(_: AskSignature) -> Signature:
        return Signature()

    async def public_key(_: str) -> str:
        return ""

    cas, steps = _Cas(), AcmeSteps(sign, public_key)
    async with server(cas.serve) as port:
        cas.base = f"http://127.0.0.1:{port}"
        yield steps, cas
        steps.close()


async def test_one_that_is_being_asked_is_not_let_go() -> None:
    async with _running() as (steps, cas):
        directory = steps.handlers()[DIRECTORY]
        slow = asyncio.ensure_future(directory(cas.asked("slow")))
        await cas.begun.wait()
        for number in range(MOST_CAS + 5):
            assert isinstance(await directory(cas.asked(f"ca-{number}")), AcmeDirectory)
        assert len(steps._cas) == MOST_CAS
        cas.go.set()
        assert isinstance(await slow, AcmeDirectory)
        assert len(steps._cas) == MOST_CAS
        assert not any(ca.users for ca in steps._cas.values())


async def test_those_that_are_asked_least_are_let_go_with_all_that_they_have() -> None:
    before = set(threading.enumerate())  # other tests may have left some

    def threads() -> int:
        new = set(threading.enumerate()) - before
        return sum(one.name.startswith("web") for one in new)

    async with _running() as (steps, cas):
        directory = steps.handlers()[DIRECTORY]
        asked = [cas.asked(f"ca-{number}") for number in range(MOST_CAS + 20)]
        found = await asyncio.gather(*map(directory, asked))
        assert all(isinstance(one, AcmeDirectory) for one in found)
        assert len(steps._cas) == MOST_CAS
        first = asked[-MOST_CAS]
        await directory(first)
        await directory(cas.asked("another"))
        assert first.server in steps._cas
        async with asyncio.timeout(60):
            while threads() > MOST_CAS:
                await asyncio.sleep(0.01)


async def test_roots_that_are_none_leave_nothing_behind() -> None:
    async with _running() as (steps, cas):
        bad = OfServer(CaAddress(f"{cas.base}/x", roots="-----BEGIN CERTIFICATE-----\nx\n"))
        found = await steps.handlers()[DIRECTORY](bad)
        assert isinstance(found, AcmeProblem)
        assert found.type == "ca-root-unusable"
        assert not steps._cas


@pytest.mark.parametrize("number", [1, 3])
async def test_who_stops_waiting_uses_it_no_more(number: int) -> None:
    async with _running() as (steps, cas):
        directory = steps.handlers()[DIRECTORY]
        slow = [asyncio.ensure_future(directory(cas.asked("slow"))) for _ in range(number)]
        await cas.begun.wait()
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        (ca,) = steps._cas.values()
        assert ca.users == 0
        cas.go.set()
