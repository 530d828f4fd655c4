"""One server that costs much to read: the network process does other things meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from sslmd.core.seen import AtPort
from sslmd.core.starttls import ProbeWord
from sslmd.net.client import Net
from sslmd.net.handshake import MOST_DH_BITS
from sslmd.net.messages import PING, Alive
from sslmd.net.probe_messages import LookEnd
from sslmd.servers.probe import served_at
from tests.stand.openssl import group, s_server
from tests.stand.tls import LOOPBACK, Reader, Writer, server

NAME = "www.example.com"

# Seconds for a question that costs nothing, while others calculate on a machine under load.
SOON = 2.0


async def test_a_server_that_costs_much_stalls_nobody_else(tmp_path: Path) -> None:
    path = group(tmp_path, MOST_DH_BITS)
    options = ("-tls1_2", "-cipher", "kDHE:@SECLEVEL=0", "-dhparam", str(path))
    failed: list[BaseException] = []
    net = Net({}, print, failed.append, user="nobody")
    await net.start()
    try:
        await net.call(PING, Alive())
        async with s_server(tmp_path, *options) as port:
            bombs = [
                asyncio.ensure_future(served_at(net, LOOPBACK, port, ProbeWord.TLS, NAME))
                for _ in range(8)
            ]
            longest = 0.0
            loop = asyncio.get_running_loop()
            while not all(one.done() for one in bombs):
                begin = loop.time()
                await net.call(PING, Alive())
                longest = max(longest, loop.time() - begin)
                await asyncio.sleep(0.01)
            seen = [one.result() for one in bombs]
    finally:
        await net.stop()
    assert not failed
    assert longest < SOON
    # Each is seen, or its time was over.
    assert all(one.chain or one.problem for one in seen)
    assert any(one.chain for one in seen)


async def test_it_is_looked_at_once_more_after_the_process_died() -> None:
    """The look that was under way is asked of the next one."""
    connected = asyncio.Event()

    async def silent(reader: Reader, writer: Writer) -> None:
        connected.set()
        await reader.read()

    net = Net({}, lambda _: None, lambda _: None, user="nobody")
    await net.start()
    try:
        async with server(silent) as port:
            looking = asyncio.ensure_future(
                served_at(net, LOOPBACK, port, ProbeWord.SMTP, NAME, seconds=1.0)
            )
            await connected.wait()
            connected.clear()
            os.kill(net.pid, signal.SIGKILL)
            seen = await looking
            assert connected.is_set() or seen.cut_short
    finally:
        await net.stop()
    assert seen.problem
    assert not seen.chain


async def test_nobody_can_look() -> None:
    net = Net({}, lambda _: None, lambda _: None, user="nobody")
    seen = await served_at(net, LOOPBACK, 1, ProbeWord.TLS, NAME, seconds=0.1)
    assert seen.problem == LookEnd(AtPort.NET_GONE)
    assert not seen.reached
