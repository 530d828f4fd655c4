"""A name server for tests, by UDP and TCP on a port of its own, as wrong as a test wants it."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.tsig

from sslmd.dns.ask import NameServer

Answer = dns.message.Message | bytes | None
Answering = Callable[[dns.message.Message, bool], Answer]  # the query; whether it came by TCP


Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


async def on_one_port(
    connected: Connected, datagrams: Callable[[], asyncio.DatagramProtocol]
) -> tuple[asyncio.Server, asyncio.DatagramTransport, int]:
    """Listen by TCP and UDP on a port that is free for both."""
    loop = asyncio.get_running_loop()
    while True:
        tcp = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = tcp.sockets[0].getsockname()[1]
        try:
            udp, _ = await loop.create_datagram_endpoint(datagrams, local_addr=("127.0.0.1", port))
        except OSError:
            tcp.close()
        else:
            return tcp, udp, port


class Responder:
    """Answers as `answering` says: a message, raw bytes, or None to stay silent.

    `keyring` holds the keys of signed queries. `delay`: seconds after which it answers by UDP;
    `most`: questions it had at one time.
    """

    def __init__(
        self, answering: Answering, name: str = "ns.example.com", delay: float = 0.0
    ) -> None:
        self.answering = answering
        self.delay = delay
        self.keyring: dict[dns.name.Name, dns.tsig.Key] | None = None
        self.most = 0
        self.queries: list[dns.message.Message] = []
        self._name = name
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._tcp, self._udp, port = await on_one_port(self._connected, lambda: _Datagrams(self))
        self.server = NameServer("127.0.0.1", port, self._name)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._udp.abort()
        self._tcp.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def asked(self, rdtype: str) -> list[str]:
        """Return the names that were asked for with this type, in order."""
        kind = dns.rdatatype.from_text(rdtype)
        return [
            query.question[0].name.to_text(omit_final_dot=True)
            for query in self.queries
            if query.question and query.question[0].rdtype == kind
        ]

    def reply(self, wire: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(wire, keyring=self.keyring)
        self.queries.append(query)
        answer = self.answering(query, tcp)
        if not isinstance(answer, dns.message.Message):
            return answer
        return answer.to_wire(max_size=65535)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                reply = self.reply(await reader.readexactly(length), tcp=True)
                if reply is not None:
                    writer.write(struct.pack("!H", len(reply)) + reply)
                    await writer.drain()
        finally:
            self._connections.discard(task)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._pending = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._pending += 1
        self._responder.most = max(self._responder.most, self._pending)
        if self._responder.delay:
            loop = asyncio.get_running_loop()
            loop.call_later(self._responder.delay, self._answer, data, addr)
        else:
            self._answer(data, addr)

    def _answer(self, data: bytes, addr: tuple[str, int]) -> None:
        self._pending -= 1
        reply = self._responder.reply(data, tcp=False)
        if reply is not None and not self._transport.is_closing():
            self._transport.sendto(reply, addr)


class Zone:
    """What a zone holds; gives proper authoritative answers for it."""

    def __init__(self, origin: str = "example.com", serial: int = 1) -> None:
        self.origin = dns.name.from_text(origin)
        self.serial = serial
        self.records: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], list[str]] = {}
        self.rcode = dns.rcode.NOERROR
        self.authoritative = True
        self.ttl = 60

    def add(self, name: str, rdtype: str, *values: str) -> None:
        key = (dns.name.from_text(name), dns.rdatatype.from_text(rdtype))
        self.records.setdefault(key, []).extend(values)

    def __call__(self, query: dns.message.Message, tcp: bool) -> Answer:
        answer = dns.message.make_response(query)
        answer.set_rcode(self.rcode)
        if self.rcode != dns.rcode.NOERROR:
            return answer
        if self.authoritative:
            answer.flags |= dns.flags.AA
        name, rdtype = query.question[0].name, query.question[0].rdtype
        soa = dns.rrset.from_text(
            self.origin, 60, "IN", "SOA", f"ns. admin. {self.serial} 60 60 60 60"
        )
        if rdtype == dns.rdatatype.SOA and name == self.origin:
            answer.answer.append(soa)
            return answer
        while (cname := (name, dns.rdatatype.CNAME)) in self.records:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", *self.records[cname]))
            name = dns.name.from_text(self.records[cname][0])
            if len(answer.answer) > 20:
                return answer
        if values := self.records.get((name, rdtype)):
            answer.answer.append(dns.rrset.from_text(name, self.ttl, "IN", rdtype, *values))
            return answer
        if not any(known.is_subdomain(name) for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        answer.authority.append(soa)
        return answer


@contextmanager
def name_server_at(answering: Answering) -> Iterator[int]:
    """Answer at a port of 127.0.0.1, in a thread of its own; give the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    responder = Responder(answering)
    try:
        asyncio.run_coroutine_threadsafe(responder.__aenter__(), loop).result(30.0)
        try:
            yield responder.server.port
        finally:
            ended = responder.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(ended, loop).result(30.0)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30.0)
        loop.close()
