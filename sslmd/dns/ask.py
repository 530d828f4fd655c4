"""Asking one name server one question: when, how often, and by which way.

The network process asks and reads what comes back (`net.dns_exchange`); here is what a question
goes through before it is sent, and what follows from its answer. How many questions a server gets,
and how fast, is in `manners`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import dns.rcode

from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason, Said
from sslmd.core.words.sentence import say
from sslmd.dns.bounds import clock
from sslmd.dns.manners import Manners, SharedQuestion, domain_of, manners_at
from sslmd.net.dns_messages import (
    EXCHANGE,
    LOOK_UP,
    MOST_RECORDS,
    PAYLOAD,
    SEND_UPDATE,
    AskedBy,
    DnsAnswer,
    DnsQuestion,
    DnsUpdate,
    Host,
    NoAnswer,
    Unheard,
    UpdateAnswer,
)
from sslmd.net.link import Asker, NetGone

PORT = 53

# Seconds for an answer.
TIMEOUT = 3.0

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


class Unasked(Unanswered):
    """The network process ended: nothing is known of the server."""


_KINDS = {
    Unheard.SILENT: Silent,
    Unheard.MUTE: Mute,
    Unheard.EXCESSIVE: Excessive,
    Unheard.OUT_OF_REACH: OutOfReach,
}


def unanswered(server: NameServer, said: NoAnswer, seconds: float) -> Unanswered:
    """Return the error for a question that got no answer within `seconds`."""
    tcp, why = said.tcp or None, said.why
    system = Said(os.strerror(said.errno) if said.errno > 0 else str(said.errno))
    match why:
        case Failed.NS_SILENT | Failed.NS_NOISE:
            reason = Reason(why, seconds=seconds, tcp=tcp)
        case Failed.NS_NOT_ASKED:
            reason = Reason(why, said=system, tcp=tcp)
        case Failed.NS_OUT_OF_REACH:
            family = "IPv6" if ":" in server.address else "IPv4"
            reason = Reason(why, family=family, said=system)
        case Failed.NS_NONSENSE:
            reason = Reason(why, tcp=tcp)
        case Failed.NS_TOO_MANY:
            reason = Reason(why, records=said.records, most=MOST_RECORDS)
        case _:
            reason = Reason(why)
    return _KINDS[said.kind](server, reason)


class DnsAsker:
    """Asks name servers, by the network process."""

    def __init__(self, net: Asker) -> None:
        self._net = net

    async def ask(
        self,
        server: NameServer,
        qname: DomainName | ZoneName | str,
        rdtype: str,
        *,
        recursive: bool = False,
        dnssec: bool = False,
        checking_disabled: bool = False,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> DnsAnswer:
        """Return the server's answer, whatever its rcode.

        `recursive`: have it ask others (RD). `dnssec`: with signatures (DO, RFC 4035 §3.2.1).
        `checking_disabled`: a resolver shall not validate (CD, §3.2.2). `timeout`: seconds, by UDP,
        and once more by TCP if it has to be; waiting for a place (`manners`) is not in it. Who asks
        the same before it was sent gets the same answer. Raises `Silent`, `OutOfReach`, `Unasked`.
        """
        if not _is_address(server.address):
            raise Silent(server, Reason(Failed.NS_NO_ADDRESS))
        question = DnsQuestion(
            server.address,
            server.port,
            str(qname),
            rdtype,
            timeout,
            recursive=recursive,
            checking_disabled=checking_disabled,
            dnssec=dnssec,
        )
        manners = manners_at(server.address, server.port, recursive=recursive)
        same = manners.unsent.get(question)
        if same is None:
            asking = _Asking(self._net, server, manners, question)
            answer = asking.answer(lambda: manners.unsent.pop(question, None))
            same = manners.unsent[question] = SharedQuestion(asyncio.ensure_future(answer))
        return await same.wait()

    async def by_tcp(self, server: NameServer, qname: ZoneName, rdtype: str) -> DnsAnswer:
        """Return the answer by TCP, asked at once; raises `Silent` or `Unasked`."""
        question = DnsQuestion(
            server.address, server.port, str(qname), rdtype, TIMEOUT, way=AskedBy.TCP
        )
        return await _exchange(self._net, server, question)

    async def send_update(self, server: NameServer, message: bytes, seconds: float) -> UpdateAnswer:
        """Send an update, and return what the primary answers; raises `Silent` or `Unasked`."""
        asked = DnsUpdate(server.address, server.port, message, seconds)
        try:
            answer = await self._net.call(SEND_UPDATE, asked)
        except NetGone as err:
            raise Unasked(server, Reason(Failed.NS_UNASKED, why=err.reason)) from None
        if isinstance(answer, NoAnswer):
            raise unanswered(server, answer, seconds)
        return answer

    async def look_up(self, host: str) -> tuple[str, ...]:
        """Return the addresses that the system tells of a host, none if it tells none."""
        try:
            return (await self._net.call(LOOK_UP, Host(host))).addresses
        except NetGone:
            return ()


def heard_by_udp(server: NameServer) -> bool:
    """Whether a server ever answered by UDP, which is how CAs and most others ask."""
    return manners_at(server.address, server.port).by_udp


async def _exchange(net: Asker, server: NameServer, question: DnsQuestion) -> DnsAnswer:
    try:
        answer = await net.call(EXCHANGE, question)
    except NetGone as err:
        raise Unasked(server, Reason(Failed.NS_UNASKED, why=err.reason)) from None
    if question.way is AskedBy.UDP and answer.by_udp:
        manners_at(server.address, server.port, recursive=question.recursive).by_udp = True
    if isinstance(answer, NoAnswer):
        raise unanswered(server, answer, question.seconds)
    return answer


@dataclass(slots=True)
class _Asking:
    """One question at a server, by all ways."""

    net: Asker
    server: NameServer
    manners: Manners
    question: DnsQuestion

    async def answer(self, sent: Callable[[], object]) -> DnsAnswer:
        """Ask when it is the question's turn; again if it got lost at a server that lives."""
        manners = self.manners
        about = domain_of(self.question.name)
        for attempt in range(1, manners.attempts + 1):
            try:
                async with manners.place(about):
                    sent()
                    began = clock()
                    try:
                        answer = await self._understood()
                    except Unasked:
                        raise  # which says nothing against the server
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
                        manners.answered(answer.seconds)
                        why = manners.of_no_use(answer)
                        again = Reason(Failed.NS_AGAIN, why=why) if why else None
                        manners.useless(Silent(self.server, again) if again else None, about)
                        return answer
            finally:
                sent()
        raise AssertionError

    async def _understood(self) -> DnsAnswer:
        """Ask, and once more without EDNS where the server does not know it (RFC 6891 §6.2.2, §7).

        Both in the same place: that the server does not know EDNS says nothing against it, and the
        second question does not wait behind all others.
        """
        answer = await self._once(self.question)
        if answer.rcode not in _WITHOUT_EDNS:
            return answer
        await self.manners.turn()
        return await self._once(replace(self.question, edns=False, dnssec=False))

    async def _once(self, question: DnsQuestion) -> DnsAnswer:
        """Ask by UDP; by TCP first where the server limits what it sends by UDP."""
        manners = self.manners
        if manners.prefers_tcp:
            try:
                return await _exchange(self.net, self.server, replace(question, way=AskedBy.TCP))
            except (Excessive, Unasked):
                raise
            except Silent:
                manners.not_by_tcp()
        limited = manners.limit_likely
        answer = await _exchange(self.net, self.server, replace(question, limited=limited))
        if answer.by_tcp and (not answer.by_udp or answer.size <= PAYLOAD):
            manners.limited()  # it was not lost, and there was no need to cut it short
        return answer


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
