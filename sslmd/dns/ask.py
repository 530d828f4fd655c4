"""Asking one name server one question.

By UDP, again by TCP when the answer does not fit (RFC 7766). Each question has a socket of its
own, connected to the server: the kernel drops what others send, the port is not to be guessed,
and a port where nobody listens is noticed at once. What comes back and is no answer to the
question (another id, another name, noise) is passed over, for it may be forged (RFC 5452 §9).
"""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass

import dns.asyncquery
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from sslmd.core.errors import Transient
from sslmd.core.names import DomainName, ZoneName

PORT = 53

# Bytes of an answer by UDP that no path breaks into fragments (DNS flag day 2020).
PAYLOAD = 1232

# Seconds for an answer, and after how many the question is sent once more: datagrams get lost.
TIMEOUT = 3.0
RESEND = 1.0

_NO_WAY = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
)


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
    """A server gave no answer. `problem` says why, without the server's name."""

    def __init__(self, server: NameServer, problem: str) -> None:
        super().__init__(f"{server} {problem}")
        self.server = server
        self.problem = problem


class Silent(Unanswered):
    """No answer in time, none that makes sense, or the connection was refused."""


class OutOfReach(Unanswered):
    """This machine has no route to that address: it has no IPv6, say."""


class _Conversation(asyncio.DatagramProtocol):
    """Waits for the answer to one query; None is an answer that was cut short."""

    def __init__(self, query: dns.message.Message) -> None:
        self._query = query
        self.answer: asyncio.Future[dns.message.Message | None] = (
            asyncio.get_running_loop().create_future()
        )
        # An error that comes when nobody waits any more is nobody's concern.
        self.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.noise = False

    def datagram_received(self, data: bytes, _: object) -> None:
        found: dns.message.Message | None
        try:
            found = answer = dns.message.from_wire(data, raise_on_truncation=True)
        except dns.message.Truncated as cut:
            found, answer = None, cut.message()  # type: ignore[no-untyped-call]
        except Exception:  # whatever a parser says of whatever was sent
            self.noise = True
            return
        if not self._query.is_response(answer):
            self.noise = True
        elif not self.answer.done():
            self.answer.set_result(found)

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
    and once more by TCP if it has to be. Raises `Silent` or `OutOfReach`.
    """
    if not dns.inet.is_address(server.address):
        raise Silent(server, "has no address to ask")
    name = dns.name.from_text(str(qname))
    flags = dns.flags.Flag(0)
    if recursive:
        flags |= dns.flags.RD
    if checking_disabled:
        flags |= dns.flags.CD
    query = dns.message.make_query(
        name, rdtype, use_edns=0, payload=PAYLOAD, want_dnssec=dnssec, flags=flags
    )
    answer = await _by_udp(server, query, timeout)
    if answer is not None:
        return answer
    try:
        return await by_tcp(server, query, timeout)
    except dns.exception.DNSException:
        raise Silent(server, "answers nonsense by TCP") from None


async def by_tcp(
    server: NameServer,
    query: dns.message.Message,
    timeout: float = TIMEOUT,  # noqa: ASYNC109
) -> dns.message.Message:
    """Return the answer to any message, sent by TCP within `timeout` seconds.

    Raises `Silent`, and what dnspython raises for an answer that makes no sense (`DNSException`).
    """
    try:
        # dnspython goes by the wall clock, which jumps: the loop's own has the last word.
        async with asyncio.timeout(timeout):
            return await dns.asyncquery.tcp(query, server.address, timeout, server.port)
    except (TimeoutError, dns.exception.Timeout):
        raise Silent(server, f"did not answer by TCP within {timeout:g} s") from None
    except EOFError:
        raise Silent(server, "closed the TCP connection without an answer") from None
    except OSError as err:
        raise Silent(server, f"cannot be asked by TCP: {_reason(err)}") from None


async def _by_udp(
    server: NameServer,
    query: dns.message.Message,
    timeout: float,  # noqa: ASYNC109
) -> dns.message.Message | None:
    """Return the answer, None if it was cut short (TC)."""
    wire = query.to_wire()
    conversation = _Conversation(query)
    transport: asyncio.DatagramTransport | None = None
    try:
        async with asyncio.timeout(timeout):
            try:
                transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: conversation, remote_addr=(server.address, server.port)
                )
            except OSError as err:
                raise _not_sent(server, err) from None
            transport.sendto(wire)
            done, _ = await asyncio.wait({conversation.answer}, timeout=RESEND)
            if not done:
                transport.sendto(wire)
            return await conversation.answer
    except TimeoutError:
        problem = f"did not answer within {timeout:g} s"
        if conversation.noise:
            problem = f"sent nothing within {timeout:g} s that answers the question"
        raise Silent(server, problem) from None
    except OSError as err:
        raise Silent(server, f"cannot be asked: {_reason(err)}") from None
    finally:
        conversation.answer.cancel()
        if transport is not None:
            transport.abort()


def _not_sent(server: NameServer, err: OSError) -> Unanswered:
    """Tell a server that there is no way to from one that may answer later.

    Only the routing table speaks here. The same errors after sending come from the way there, a
    neighbour that is switched off, say.
    """
    if err.errno in _NO_WAY:
        family = "IPv6" if ":" in server.address else "IPv4"
        return OutOfReach(server, f"is out of reach from here by {family}: {_reason(err)}")
    return Silent(server, f"cannot be asked: {_reason(err)}")


def _reason(err: OSError) -> str:
    return os.strerror(err.errno) if err.errno and err.errno > 0 else str(err)
