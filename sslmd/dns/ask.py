"""Asking one name server one question.

By UDP, again by TCP when the answer does not fit (RFC 7766) or does not come. How many questions a
server gets, and how fast, is in `manners`. Each question has a socket of its own, connected to the
server: the kernel drops what others send, the port is not to be guessed, and a port where nobody
listens is noticed at once. What comes back and is no answer to the question (another id, another
name, noise, or longer than we said that we take) is passed over before it is parsed, for it may be
forged (RFC 5452 §9). `received` reads the rest.
"""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.query
import dns.rcode

from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason, Said
from sslmd.core.words.sentence import say
from sslmd.dns.manners import Manners, SharedQuestion, domain_of, manners_at
from sslmd.dns.received import Query, TooMuchError, is_cut_short

PORT = 53

# Bytes of an answer by UDP that no path breaks into fragments (DNS flag day 2020).
PAYLOAD = 1232

# Seconds for an answer, and after how many the question is sent once more: datagrams get lost.
TIMEOUT = 3.0
RESEND = 1.0

# Datagrams that answer the question and cannot be read, after which no good one is waited for.
MOST_DAMAGED = 8

_NO_WAY = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
)


# What servers without EDNS answer to a question with it: old ones, and some load balancers.
_WITHOUT_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS})


@dataclass(frozen=True, slots=True, order=True)
class NameServer:
    """One address of a name server. `name`: the host it belongs to, "" if that is not known."""

    address: str
    port: int = PORT
    name: str = ""

    def __str__(self) -> str:
        where = self.address
        if self.port != PORT:
            where = f"[{where}]:{self.port}" if ":" in where else f"{where}:{self.port}"
        return f"{self.name} ({where})" if self.name else where


class Unanswered(Transient):
    """A server gave no answer: `why`."""

    def __init__(self, server: NameServer, why: Reason) -> None:
        super().__init__(of_server(server, why))
        self.server = server
        self.why = why

    @property
    def problem(self) -> str:
        """What people read of it beside the server's name."""
        return say(self.why)


def of_server(server: NameServer, why: Reason) -> Reason:
    """Return what a server does, as a sentence of its own."""
    return Reason(Failed.NAME_SERVER, server=str(server), why=why)


class Silent(Unanswered):
    """No answer in time, none that makes sense, or the connection was refused."""


class Mute(Silent):
    """No answer in time, or one that was cut short: a server that limits its answers does so."""


class Excessive(Silent):
    """It answers with more than is read: that is its zone's fault, and asking again no help."""


class OutOfReach(Unanswered):
    """This machine has no route to that address: it has no IPv6, say."""


class _Conversation(asyncio.DatagramProtocol):
    """Waits for the answer to one query; None is an answer that was cut short.

    One that takes long to read is left as it came.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self.answer: asyncio.Future[dns.message.Message | bytes | None] = (
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
                answer = self._query.read_at_once(data)
                self.answer.set_result(data if answer is None else answer)
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


async def ask(
    server: NameServer,
    qname: DomainName | ZoneName | str,
    rdtype: str,
    *,
    recursive: bool = False,
    dnssec: bool = False,
    checking_disabled: bool = False,
    timeout: float = TIMEOUT,  # noqa: ASYNC109
) -> dns.message.Message:
    """Return the server's answer, whatever its rcode.

    `recursive`: have it ask others (RD). `dnssec`: with signatures (DO, RFC 4035 §3.2.1).
    `checking_disabled`: a resolver shall not validate (CD, §3.2.2). `timeout`: seconds, by UDP,
    and once more by TCP if it has to be; waiting for a place (`manners`) is not in it. Who asks the
    same before it was sent gets the same answer. Raises `Silent` or `OutOfReach`.
    """
    if not dns.inet.is_address(server.address):
        raise Silent(server, Reason(Failed.NS_NO_ADDRESS))
    name = dns.name.from_text(str(qname))
    flags = dns.flags.Flag(0)
    if recursive:
        flags |= dns.flags.RD
    if checking_disabled:
        flags |= dns.flags.CD
    query = dns.message.make_query(
        name, rdtype, use_edns=0, payload=PAYLOAD, want_dnssec=dnssec, flags=flags
    )
    manners = manners_at(server.address, server.port, recursive=recursive)
    key = (name, rdtype, flags, dnssec, timeout)
    same = manners.unsent.get(key)
    if same is None:
        asking = _Asking(server, manners, timeout)
        answer = asking.answer(query, lambda: manners.unsent.pop(key, None))
        same = manners.unsent[key] = SharedQuestion(asyncio.ensure_future(answer))
    return await same.wait()


def heard_by_udp(server: NameServer) -> bool:
    """Whether a server ever answered by UDP, which is how CAs and most others ask."""
    return manners_at(server.address, server.port).by_udp


async def by_tcp(
    server: NameServer,
    query: Query,
    timeout: float = TIMEOUT,  # noqa: ASYNC109
) -> dns.message.Message:
    """Return the answer to any message: the first that a server sends by TCP within `timeout` s.

    Raises `Silent`, and what dnspython raises for an answer that makes no sense (`DNSException`).
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(server.address, server.port)
            writer.write(struct.pack("!H", len(query.wire)) + query.wire)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            data = await reader.readexactly(length)
    except TimeoutError:
        raise Silent(server, Reason(Failed.NS_SILENT, seconds=timeout, tcp=True)) from None
    except EOFError:
        raise Silent(server, Reason(Failed.NS_CLOSED)) from None
    except OSError as err:
        why = Reason(Failed.NS_NOT_ASKED, said=_said(err), tcp=True)
        raise Silent(server, why) from None
    finally:
        if writer is not None:
            writer.transport.abort()  # whatever else it sends
    if not query.is_answered_by(data):
        raise dns.query.BadResponse
    return await _read(server, query, data)


async def _read(server: NameServer, query: Query, data: bytes) -> dns.message.Message:
    """Return an answer that came as `data`; raises `Excessive`, and `DNSException` for nonsense."""
    try:
        return await query.read(data)
    except TooMuchError as err:
        raise Excessive(server, err.why) from None


@dataclass(frozen=True, slots=True)
class _Asking:
    """One question at a server, by all ways; `seconds` for each of them."""

    server: NameServer
    manners: Manners
    seconds: float

    async def answer(
        self, query: dns.message.Message, sent: Callable[[], object]
    ) -> dns.message.Message:
        """Ask when it is the question's turn; again if it got lost at a server that lives."""
        manners = self.manners
        about = domain_of(query.question[0].name)
        for attempt in range(1, manners.attempts + 1):
            try:
                async with manners.place(about):
                    sent()
                    began = asyncio.get_running_loop().time()
                    try:
                        answer = await self._understood(query)
                    except Mute as err:
                        alive = manners.silent_since(began)
                        if not alive:
                            manners.useless(err, about)
                            manners.give_up(err)
                        if not alive or attempt == manners.attempts:
                            raise
                    except Unanswered as err:
                        manners.useless(err, about)
                        raise
                    else:
                        manners.answered(began)
                        why = manners.of_no_use(answer)
                        again = Reason(Failed.NS_AGAIN, why=why) if why else None
                        manners.useless(Silent(self.server, again) if again else None, about)
                        return answer
            finally:
                sent()
        raise AssertionError

    async def _understood(self, query: dns.message.Message) -> dns.message.Message:
        """Ask, and once more without EDNS where the server does not know it (RFC 6891 §6.2.2, §7).

        Both in the same place: that the server does not know EDNS says nothing against it, and the
        second question does not wait behind all others.
        """
        answer = await self._once(Query(query))
        if answer.rcode() not in _WITHOUT_EDNS:
            return answer
        await self.manners.turn()
        # A message of its own: who forged an answer to the first does not know the id of this one.
        asked = query.question[0]
        plain = dns.message.make_query(asked.name, asked.rdtype, use_edns=False, flags=query.flags)
        return await self._once(Query(plain))

    async def _once(self, query: Query) -> dns.message.Message:
        """Ask by UDP; by TCP first where the server limits what it sends by UDP."""
        if self.manners.prefers_tcp:
            try:
                return await self._by_tcp(query)
            except Excessive:
                raise
            except Silent:
                self.manners.not_by_tcp()
        answer = await self._by_udp(query)
        if answer is not None:
            return answer
        self.manners.by_udp = True
        try:
            answer = await self._by_tcp(query)
        except Excessive:
            raise
        except Silent as err:
            # Cut short because there were too many? By UDP it comes when there are fewer.
            raise Mute(self.server, err.why) from None
        if len(answer.wire or b"") <= PAYLOAD:
            self.manners.limited()  # there was no need to cut it short
        return answer

    async def _by_tcp(self, query: Query) -> dns.message.Message:
        try:
            return await by_tcp(self.server, query, self.seconds)
        except dns.exception.DNSException:
            raise Silent(self.server, Reason(Failed.NS_NONSENSE, tcp=True)) from None

    async def _by_udp(self, query: Query) -> dns.message.Message | None:
        """Return the answer, None if it was cut short. A silent server is asked by TCP as well."""
        server, manners = self.server, self.manners
        conversation = _Conversation(query)
        transport: asyncio.DatagramTransport | None = None
        besides: asyncio.Future[dns.message.Message] | None = None
        try:
            async with asyncio.timeout(self.seconds):
                try:
                    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                        lambda: conversation, remote_addr=(server.address, server.port)
                    )
                except OSError as err:
                    # Only the routing table speaks here. The same errors after sending come from
                    # the way there, a neighbour that is switched off, say.
                    if err.errno not in _NO_WAY:
                        raise
                    family = "IPv6" if ":" in server.address else "IPv4"
                    why = Reason(Failed.NS_OUT_OF_REACH, family=family, said=_said(err))
                    raise OutOfReach(server, why) from None
                transport.sendto(query.wire)
                done, _ = await asyncio.wait({conversation.answer}, timeout=RESEND)
                if not done:
                    besides = asyncio.ensure_future(self._by_tcp(query))
                    if manners.limit_likely:
                        # By UDP it would only count as one more.
                        await asyncio.wait({besides}, timeout=RESEND)
                    if not besides.done():
                        transport.sendto(query.wire)
                    if (answer := await _first(conversation.answer, besides)) is not None:
                        manners.limited()
                        return answer
                heard = await conversation.answer
            manners.by_udp = True
            return await _read(server, query, heard) if isinstance(heard, bytes) else heard
        except TimeoutError:
            code = Failed.NS_NOISE if conversation.noise else Failed.NS_SILENT
            raise Mute(server, Reason(code, seconds=self.seconds)) from None
        except dns.exception.DNSException:
            raise Silent(server, Reason(Failed.NS_NONSENSE)) from None
        except OSError as err:
            raise Silent(server, Reason(Failed.NS_NOT_ASKED, said=_said(err))) from None
        finally:
            conversation.answer.cancel()
            if transport is not None:
                transport.abort()
            if besides is not None:
                besides.cancel()
                await asyncio.gather(besides, return_exceptions=True)


async def _first(
    by_udp: asyncio.Future[dns.message.Message | bytes | None],
    by_tcp: asyncio.Future[dns.message.Message],
) -> dns.message.Message | None:
    """Return the answer by TCP if it is there first, None if UDP is to be waited for.

    Raises `Excessive` if that came by TCP.
    """
    both: set[asyncio.Future[Any]] = {by_udp, by_tcp}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    failed = None if by_udp.done() else by_tcp.exception()
    if by_udp.done() or (failed is not None and not isinstance(failed, Excessive)):
        return None
    return by_tcp.result()


def _said(err: OSError) -> Said:
    return Said(os.strerror(err.errno) if err.errno and err.errno > 0 else err)
