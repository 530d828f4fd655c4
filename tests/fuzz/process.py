"""The network process itself, asked by the daemon's end of it while servers answer anything.

Each input is what a server of this process answers. A fault is whatever ends the network process,
is one of its own, takes too long, or is told and not printable.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any

import dns.message
import dns.rrset
from cryptography import x509

from sslmd.core.starttls import ProbeWord
from sslmd.core.words.sentence import say
from sslmd.net import acme_messages as acme
from sslmd.net.acme_messages import AcmeAccount, AcmeProblem, CaAddress
from sslmd.net.dns_messages import EXCHANGE, SEND_UPDATE, AskedBy, DnsQuestion, DnsUpdate
from sslmd.net.probe_messages import (
    CHALLENGE_LOOK,
    SITE_LOOK,
    TLS_LOOK,
    LedTo,
    LookAtChallenge,
    LookAtPort,
    LookAtSite,
    NotShown,
    Served,
)
from tests.fuzz.network import _answers, _updates
from tests.fuzz.subject import HERE, LOOK, Subject
from tests.fuzz.target import Target
from tests.stand.odd_certs import Extensions, key, make

HOST = "www.example.com"

_subject: list[Subject] = []


def subject() -> Subject:
    """Return the one that all targets share."""
    if not _subject:
        _subject.append(Subject())
    return _subject[0]


# --- name servers ---


def _dns(data: bytes) -> Iterable[str]:
    to = subject()
    port = to.ports["dns"]

    async def ask() -> list[str]:
        # By UDP what is no answer is waited for.
        way = AskedBy.TCP if zlib.crc32(data) % 16 else AskedBy.UDP
        name = "_acme-challenge.www.example.com"
        await to.net.call(EXCHANGE, DnsQuestion(HERE, port, name, "TXT", LOOK, way))
        await to.net.call(SEND_UPDATE, DnsUpdate(HERE, port, _updates()[1], LOOK))
        return []  # its words are codes

    return to.ask(data, ask)


def _dns_answers() -> list[bytes]:
    """Answers as they are, and one of a server that says much, in commas."""
    query = dns.message.make_query("_acme-challenge.www.example.com", "TXT", use_edns=0)
    much = dns.message.make_response(query)
    caa = dns.rrset.from_text("www.example.com.", 5, "IN", "CAA", f'0 issue "{"," * 60_000}"')
    much.answer.append(caa)
    return [*_answers(), much.to_wire(max_size=0xFFFF)]


# --- ports ---


def _served(data: bytes) -> Iterable[str]:
    to = subject()

    async def ask() -> list[str]:
        seen = [await _look(to, to.ports["handshake"])]
        if (server := await to.serving(data)) is not None:
            seen.append(await _look(to, server.sockets[0].getsockname()[1]))
            server.close()
        return [say(one.told) for one in seen]

    return to.ask(data, ask)


async def _look(to: Subject, port: int, word: ProbeWord | None = ProbeWord.TLS) -> Served:
    return await to.net.call(TLS_LOOK, LookAtPort(HERE, port, word, HOST, "", 5 * LOOK))


def _certificates() -> list[bytes]:
    own = key("fuzz")
    names = x509.SubjectAlternativeName([x509.DNSName("," * 60_000)])
    much: Extensions = {x509.SubjectAlternativeName: (names, False)}
    return [
        make("fuzz", own=own).der,
        make("a" * 60, own=own, serial=1).der,
        make("", own=own).der,
        make("much", own=own, extensions=much).der,
    ]


def _greeted(data: bytes) -> Iterable[str]:
    to = subject()

    async def ask() -> list[str]:
        words = (ProbeWord.SMTP, ProbeWord.IMAP, ProbeWord.POP3, ProbeWord.TLS, None)
        word = words[zlib.crc32(data) % len(words)]
        return [str(await _look(to, to.ports["raw"], word))]

    return to.ask(data, ask)


_GREETINGS = [
    b"220 mail.example.com\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n\x16\x03\x03\0\x04\x0e\0\0\0",
    b"* OK ready\r\na OK\r\n\x15\x03\x01\0\x02\x02\x28",
    b"+OK ready\r\n+OK\r\n\x16\x03\x03",
    b"\x16\x03\x03\0\x31\x02\0\0\x2d\x03\x03" + bytes(32) + b"\0\0\x9c\0\0\x05\0\x0a\0\x01\0",
]


# --- web servers ---


def _shown(data: bytes) -> Iterable[str]:
    to = subject()
    port = to.ports["raw"]

    async def ask() -> list[str]:
        url = f"http://{HOST}:{port}/.well-known/acme-challenge/x"
        asked = LookAtChallenge(HOST, HERE, url, "x.y", (HERE,), (80, 443, port), LOOK, LOOK)
        seen: Any = await to.net.call(CHALLENGE_LOOK, asked)
        for _ in range(3):
            if not isinstance(seen, LedTo):
                break
            asked = LookAtChallenge(
                HOST, HERE, seen.url, "x.y", (HERE,), (80, 443, port), LOOK, LOOK,
                redirects=seen.redirects, led_to=(HERE,),
            )  # fmt: skip
            seen = await to.net.call(CHALLENGE_LOOK, asked)
        urls = (f"http://{HOST}:{port}/", f"http://other.invalid:{port}/")
        await to.net.call(SITE_LOOK, LookAtSite(HERE, urls, LOOK))
        return [say(seen.told)] if isinstance(seen, NotShown) else []

    return to.ask(data.replace(b"@", str(port).encode()), ask)


_PAGES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 301 x\r\nLocation: http://other.example:@/x\r\n\r\n",
    b"HTTP/1.1 302 x\r\nLocation: //other.example:@/a/\r\n\r\n",
    b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.0 307 x\r\nLocation: y/" + b"y" * 9000 + b"/\r\n\r\n",
]


# --- CAs ---


_STEPS: tuple[Any, ...] = (
    *(acme.DIRECTORY, acme.REGISTER, acme.ACCOUNT, acme.KEY_CHANGE, acme.NEW_ORDER, acme.ORDER),
    *(acme.AUTHORIZATIONS, acme.OFFER, acme.FINALIZE, acme.CERTIFICATE, acme.RENEWAL_INFO),
)


def _step(data: bytes) -> int:
    """Return which step is told an input: always the same one."""
    return zlib.crc32(data) % len(_STEPS)


def _ca(data: bytes) -> Iterable[str]:
    to = subject()

    async def ask() -> list[str]:
        server = CaAddress(f"{to.base}/dir")
        account, evil = AcmeAccount("key", f"{to.base}/evil"), f"{to.base}/evil"
        asked = (
            acme.OfServer(CaAddress(evil), 5.0),
            acme.AskAccount(server, AcmeAccount("key"), binding_kid="kid"),
            acme.ChangeAccount(server, account, ("mailto:a@b",)),
            acme.ChangeKey(server, account, "new"),
            acme.AskOrder(server, account, (HOST,)),
            acme.OfOrder(server, account, evil),
            acme.OfAuthorizations(server, account, (evil,) * 3),
            acme.Offer(server, account, (evil,), (evil,), LOOK / 3),
            acme.Finalize(server, account, evil, b"csr", LOOK / 3),
            acme.Fetch(server, account, evil, alternates=True),
            acme.OfCertificate(server, "a.b"),
        )
        step = _step(data)
        found = await to.net.call(_STEPS[step], asked[step])
        if not isinstance(found, AcmeProblem):
            return []
        return [
            found.title,
            found.detail,
            found.instance,
            *(one.detail for one in found.subproblems),
        ]

    return to.ask(data, ask)


_ORDER = (
    b'{"status":"pending","identifiers":[{"type":"dns","value":"www.example.com"}],'
    b'"authorizations":["@/evil"],"finalize":"@/evil","certificate":"@/evil"}'
)
_SAID = [
    b"201\nLocation: @/evil\nRetry-After: 1\n\n" + _ORDER,
    b"200\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\n\n" + _ORDER.replace(b"pending", b"valid"),
    b'200\n\n{"status":"pending","identifier":{"type":"dns","value":"a"},"wildcard":true,"challenges":'
    b'[{"type":"dns-01","url":"@/evil","token":"x","status":"invalid","error":{"type":"urn:ietf:'
    b'params:acme:error:dns","detail":"no"}}]}',
    b'403\nContent-Type: application/problem+json\nLink: <@/t>; rel="terms-of-service"\n\n'
    b'{"type":"urn:ietf:params:acme:error:malformed","detail":"no","subproblems":[{"type":"x",'
    b'"detail":"y","identifier":{"type":"dns","value":"a"}}]}',
    b'400\n\n{"type":"urn:ietf:params:acme:error:badNonce","detail":"again"}',
    b'200\nLink: <@/evil>;rel="alternate"\n\n-----BEGIN CERTIFICATE-----\nMAA=\n'
    b"-----END CERTIFICATE-----\n",
    b'200\nRetry-After: 5\n\n{"suggestedWindow":{"start":"2026-01-01T00:00:00Z","end":'
    b'"9999-12-31T23:59:59Z"},"explanationURL":"https://x.test/"}',
    b"302\nLocation: @/dir\n\n",
    b'201\nLocation: @/evil\n\n{"status":"valid","contact":["mailto:a@b"],"orders":"@/evil"}',
]


def _said_by_cas() -> list[bytes]:
    """What each step is told, and what it is told at length, or not at all."""
    part = {"type": "," * 1000, "detail": "," * 1000, "identifier": {"value": "," * 1000}}
    problem = {"type": "urn:ietf:params:acme:error:x", "subproblems": [part] * 200}
    challenge = dict.fromkeys(("type", "url", "token", "status"), '"' * 5000)
    offered = {"status": "pending", "identifier": {"type": "dns", "value": "a"}}
    offers = {**offered, "challenges": [challenge] * 40}
    chain = b'\nLink: <@/evil>;rel="alternate"\n\n-----BEGIN CERTIFICATE-----\n' + b"," * 200_000
    return [
        *_SAID,
        _for(acme.NEW_ORDER, b"400\n\n" + json.dumps(problem).encode()),
        _for(acme.AUTHORIZATIONS, b"200\n\n" + json.dumps(offers).encode()),
        _for(acme.CERTIFICATE, b"200" + chain),
        _for(acme.ORDER, b"200\n\n" + _ORDER.replace(b"status", b"staten")),
        _for(acme.REGISTER, b"201\nLocation: http://[\n\n{}"),
        _for(acme.KEY_CHANGE, b"400\n\n," + bytes(3)),
    ]


def _for(operation: Any, said: bytes) -> bytes:
    """Return an answer that is for that step, by white space at its end."""
    at = _STEPS.index(operation)
    return next(one for one in (said + b" " * n for n in range(999)) if _step(one) == at)


_WORDS = (b",", b"\\u0000", b'"', b"[", b"{", b"@", b"\n\n", b"1e999", b"-1", b"null")

# Each of these takes some messages between processes.
_CHANGES = 60

TARGETS = tuple(
    Target(f"process-{name}", read, seeds, tokens=tokens, changes=_CHANGES)
    for name, read, seeds, tokens in (
        ("dns", _dns, _dns_answers, (b"\xc0\x0c", b"\x3f", b"\0\x10\0\1", b",")),
        ("served", _served, _certificates, (b"\x30\x80", b"\x06\x03\x55\x1d\x11")),
        ("greeting", _greeted, lambda: _GREETINGS, (b"220 ", b"250-", b"\x16\3\3")),
        ("shown", _shown, lambda: _PAGES, (b"HTTP/1.1 ", b"Location: ", b"//", b",")),
        ("ca", _ca, _said_by_cas, _WORDS),
    )
)
