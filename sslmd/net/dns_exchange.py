"""One question to one name server, in the network process: everything that it sends is read here.

By UDP, again by TCP when the answer does not fit (RFC 7766) or does not come. How many questions a
server gets, and how fast, the daemon decides. Each question has a socket of its own, connected to
the server: the kernel drops what others send, the port is not to be guessed, and a port where
nobody listens is noticed at once. What comes back and is no answer to the question (another id,
another name, noise, or longer than we said that we take) is passed over before it is parsed, for it
may be forged (RFC 5452 §9). `dns_reading` reads the rest.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import dns.exception

from sslmd.core.failed import Failed
from sslmd.net.dns_messages import (
    EXCHANGE,
    LOOK_UP,
    PAYLOAD,
    SEND_UPDATE,
    AskedBy,
    DnsAnswer,
    DnsQuestion,
    DnsUpdate,
    Host,
    HostAddresses,
    NoAnswer,
    Unheard,
    UpdateAnswer,
)
from sslmd.net.dns_reading import (
    Query,
    TooLongError,
    TooManyError,
    is_cut_short,
    is_update_answer,
    read,
    read_at_once,
    read_update_answer,
)
from sslmd.net.link import Handlers

# After how many seconds a question is sent once more: datagrams get lost.
RESEND = 1.0

# Datagrams that answer the question and cannot be read, after which no good one is waited for.
MOST_DAMAGED = 8

# Seconds for the system to tell a host's addresses: it may ask resolvers that are silent. Threads
# of their own: a silent resolver holds up nobody but those who ask for names.
LOOKING_UP = 8.0
_LOOK_UPS = ThreadPoolExecutor(16, thread_name_prefix="look-ups")

_NO_WAY = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
)


def handlers() -> Handlers:
    """Return what is done here."""
    return {EXCHANGE: exchange, SEND_UPDATE: send_update, LOOK_UP: look_up}


async def exchange(asked: DnsQuestion) -> DnsAnswer | NoAnswer:
    """Ask one server one question."""
    began = _now()
    asking = _Exchange(asked)
    try:
        found: DnsAnswer | NoAnswer = await asking.answer()
    except _UnheardError as err:
        found = err.why
    return replace(found, by_udp=asking.by_udp, seconds=_now() - began)


async def send_update(asked: DnsUpdate) -> UpdateAnswer | NoAnswer:
    """Send an update, and return what the primary answers."""
    try:
        data = await _by_tcp(asked.address, asked.port, asked.message, asked.seconds)
        if not is_update_answer(data, asked.message):
            raise _UnheardError(Failed.NS_NONSENSE, tcp=True)
        return read_update_answer(data)
    except _UnheardError as err:
        return err.why
    except (TooManyError, TooLongError, dns.exception.DNSException) as err:
        return _unread(err, tcp=True)


async def look_up(asked: Host) -> HostAddresses:
    """Return what the system tells of a host, nothing if that takes too long."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKING_UP):
            found = await loop.run_in_executor(
                _LOOK_UPS, partial(socket.getaddrinfo, asked.name, None, type=socket.SOCK_DGRAM)
            )
    except (OSError, UnicodeError):  # TimeoutError is an OSError
        return HostAddresses()
    return HostAddresses(tuple(dict.fromkeys(str(where[0]) for *_, where in found)))


class _UnheardError(Exception):
    """There is no answer."""

    def __init__(self, why: Any, kind: Unheard = Unheard.SILENT, **facts: Any) -> None:
        super().__init__(why)
        self.why = NoAnswer(kind, why, **facts)


def _unread(err: Exception, *, tcp: bool) -> NoAnswer:
    """Return why what was heard is no answer."""
    if isinstance(err, TooManyError):
        return NoAnswer(Unheard.EXCESSIVE, Failed.NS_TOO_MANY, tcp, records=err.records)
    if isinstance(err, TooLongError):
        return NoAnswer(Unheard.EXCESSIVE, Failed.NS_TOO_LONG, tcp)
    return NoAnswer(Unheard.SILENT, Failed.NS_NONSENSE, tcp)


class _Conversation(asyncio.DatagramProtocol):
    """Waits for the answer to one query; None is an answer that was cut short.

    One that takes long to read is left as it came.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self.answer: asyncio.Future[DnsAnswer | bytes | None] = (
            asyncio.get_running_loop().create_future()
        )
        # An error that comes when nobody waits any more is nobody's concern.
        self.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.noise = False
        self._damaged = 0

    def datagram_received(self, data: bytes, _: object) -> None:
        if self.answer.done():
            return
        if len(data) > PAYLOAD or not self._query.is_answered_by(data):
            self.noise = True
        elif is_cut_short(data):
            self.answer.set_result(None)
        else:
            try:
                answer = read_at_once(data)
                self.answer.set_result(data if answer is None else answer)
            except TooManyError as err:
                self.answer.set_exception(err)
            except dns.exception.DNSException as err:
                self.noise = True
                self._damaged += 1
                if self._damaged == MOST_DAMAGED:
                    self.answer.set_exception(err)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.error_received(exc)


class _Exchange:
    """One question. `by_udp`: the server answered by UDP, whatever it said."""

    def __init__(self, asked: DnsQuestion) -> None:
        self._asked = asked
        self._query = Query(asked)
        self.by_udp = False

    async def answer(self) -> DnsAnswer:
        """Return the answer, whatever its rcode; raises `_UnheardError`."""
        if self._asked.way is AskedBy.TCP:
            return await self._by_tcp()
        answer = await self._by_udp()
        if answer is not None:
            return answer
        self.by_udp = True
        try:
            return await self._by_tcp()
        except _UnheardError as err:
            if err.why.kind is Unheard.SILENT:
                # Cut short because there were too many? By UDP it comes when there are fewer.
                err.why = replace(err.why, kind=Unheard.MUTE)
            raise

    async def _by_tcp(self) -> DnsAnswer:
        asked = self._asked
        data = await _by_tcp(asked.address, asked.port, self._query.wire, asked.seconds)
        if not self._query.is_answered_by(data):
            raise _UnheardError(Failed.NS_NONSENSE, tcp=True)
        return replace(await _read(data, tcp=True), by_tcp=True)

    async def _by_udp(self) -> DnsAnswer | None:
        """Return the answer, None if it was cut short. A silent server is asked by TCP as well."""
        asked, query = self._asked, self._query
        conversation = _Conversation(query)
        transport: asyncio.DatagramTransport | None = None
        besides: asyncio.Future[DnsAnswer] | None = None
        try:
            async with asyncio.timeout(asked.seconds):
                transport = await _connected(asked, lambda: conversation)
                transport.sendto(query.wire)
                done, _ = await asyncio.wait({conversation.answer}, timeout=RESEND)
                if not done:
                    besides = asyncio.ensure_future(self._by_tcp())
                    if asked.limited:
                        await asyncio.wait({besides}, timeout=RESEND)
                    if not besides.done():
                        transport.sendto(query.wire)
                    if (answer := await _first(conversation.answer, besides)) is not None:
                        return answer
                heard = await conversation.answer
            self.by_udp = True
            return await _read(heard, tcp=False) if isinstance(heard, bytes) else heard
        except TimeoutError:
            code = Failed.NS_NOISE if conversation.noise else Failed.NS_SILENT
            raise _UnheardError(code, Unheard.MUTE) from None
        except TooManyError as err:
            raise _UnheardError(
                Failed.NS_TOO_MANY, Unheard.EXCESSIVE, records=err.records
            ) from None
        except dns.exception.DNSException:
            raise _UnheardError(Failed.NS_NONSENSE) from None
        except OSError as err:
            raise _UnheardError(Failed.NS_NOT_ASKED, errno=err.errno or 0) from None
        finally:
            conversation.answer.cancel()
            if transport is not None:
                transport.abort()
            if besides is not None:
                besides.cancel()
                await asyncio.gather(besides, return_exceptions=True)


async def _connected(
    asked: DnsQuestion, protocol: Callable[[], asyncio.DatagramProtocol]
) -> asyncio.DatagramTransport:
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            protocol, remote_addr=(asked.address, asked.port)
        )
    except OSError as err:
        # Only the routing table speaks here. The same errors after sending come from the way
        # there, a neighbour that is switched off, say.
        if err.errno not in _NO_WAY:
            raise
        raise _UnheardError(Failed.NS_OUT_OF_REACH, Unheard.OUT_OF_REACH, errno=err.errno) from None
    return transport


async def _first(
    by_udp: asyncio.Future[DnsAnswer | bytes | None], by_tcp: asyncio.Future[DnsAnswer]
) -> DnsAnswer | None:
    """Return the answer by TCP if it is there first, None if UDP is to be waited for.

    Raises what is wrong with one that came by TCP and is more than is read.
    """
    both: set[asyncio.Future[Any]] = {by_udp, by_tcp}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if by_udp.done():
        return None
    failed = by_tcp.exception()
    if isinstance(failed, _UnheardError) and failed.why.kind is not Unheard.EXCESSIVE:
        return None
    return by_tcp.result()


async def _by_tcp(address: str, port: int, message: bytes, seconds: float) -> bytes:
    """Return the first message that a server sends by TCP within `seconds`."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(struct.pack("!H", len(message)) + message)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(length)
    except TimeoutError:
        raise _UnheardError(Failed.NS_SILENT, tcp=True) from None
    except EOFError:
        raise _UnheardError(Failed.NS_CLOSED, tcp=True) from None
    except OSError as err:
        raise _UnheardError(Failed.NS_NOT_ASKED, tcp=True, errno=err.errno or 0) from None
    finally:
        if writer is not None:
            writer.transport.abort()  # whatever else it sends


async def _read(data: bytes, *, tcp: bool) -> DnsAnswer:
    try:
        return await read(data)
    except (TooManyError, TooLongError, dns.exception.DNSException) as err:
        unread = _unread(err, tcp=tcp)
        raise _UnheardError(
            unread.why, unread.kind, tcp=unread.tcp, records=unread.records
        ) from None


def _now() -> float:
    return asyncio.get_running_loop().time()
