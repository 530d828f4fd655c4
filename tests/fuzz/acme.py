"""What CAs answer, as a target of `make fuzz`: each step of ACME, to the error that a person reads.

An input is answers one after the other, NUL between them: a line with status, Retry-After, Location
and Link, `|` between them, and a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

from sslmd.acme.ca_problem import ca_error, directory_error, unvalidated
from sslmd.acme.problems import to_error
from sslmd.net import acme_messages as messages
from sslmd.net.acme import AcmeSteps
from sslmd.net.acme_messages import AcmeAccount, AcmeProblem, CaAddress, Signature
from sslmd.net.web import Reply
from tests.fuzz.target import Target
from tests.stand.virtual_time import VirtualLoop

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
URL = "https://ca.test/dir"
SERVER = CaAddress(URL)
ACCOUNT = AcmeAccount("key", "https://ca.test/account/1")
ORDER, AUTHORIZATION = "https://ca.test/order/1", "https://ca.test/authz/1"

# Seconds of the loop's own time that the CA may take.
WAIT = 20.0

_OF = SERVER, ACCOUNT
_QUESTIONS: tuple[tuple[Any, Any], ...] = (
    (messages.DIRECTORY, messages.OfServer(SERVER)),
    (messages.REGISTER, messages.AskAccount(SERVER, AcmeAccount("key"))),
    (messages.ACCOUNT, messages.ChangeAccount(*_OF)),
    (messages.KEY_CHANGE, messages.ChangeKey(*_OF, "other")),
    (messages.NEW_ORDER, messages.AskOrder(*_OF, ("example.test",), "", "aki.serial")),
    (messages.ORDER, messages.OfOrder(*_OF, ORDER)),
    (messages.AUTHORIZATIONS, messages.OfAuthorizations(*_OF, (AUTHORIZATION,))),
    (messages.OFFER, messages.Offer(*_OF, ("https://ca.test/c/1",), (AUTHORIZATION,), WAIT)),
    (messages.FINALIZE, messages.Finalize(*_OF, ORDER, b"csr", WAIT)),
    (messages.CERTIFICATE, messages.Fetch(*_OF, "https://ca.test/cert/1", alternates=True)),
    (messages.RENEWAL_INFO, messages.OfCertificate(SERVER, "aki.serial")),
)


class _Web:
    """Answers with what is there, over and over."""

    def __init__(self, data: bytes) -> None:
        self._answers = cycle(data.split(b"\0")[:20])

    async def request(self, _: str, url: str, *__: object, **___: object) -> Reply:
        line, *body = next(self._answers).split(b"\n", 1)
        words = [*line.decode("latin-1").split("|"), "", "", "", ""]
        status, after, location, link = words[:4]
        number = int(status) if status.isascii() and status.isdecimal() and len(status) < 4 else 200
        headers = {"retry-after": after, "location": location, "link": link, "replay-nonce": "n"}
        return Reply(url, number, headers, b"".join(body))

    def close(self) -> None: ...


async def _sign(_: object) -> Signature:
    return Signature("e30", "e30")


async def _public_key(_: str) -> str:
    return "{}"


_STEPS = AcmeSteps(_sign, _public_key)


async def _ask_all(data: bytes) -> list[str]:
    told = []
    for operation, asked in _QUESTIONS:
        ca = _STEPS._ca(SERVER)
        ca.forget_directory()
        ca._nonces.clear()
        ca._web = _Web(data)  # type: ignore[assignment]
        answer = await _STEPS.handlers()[operation](asked)
        # It goes over the link.
        answer = operation.answered.validate_json(operation.answered.dump_json(answer))
        if isinstance(answer, AcmeProblem):
            told += [str(ca_error(answer, URL, NOW)), str(directory_error(answer, URL, NOW))]
        elif operation in (messages.OFFER, messages.AUTHORIZATIONS):
            told.append(str(to_error(unvalidated(answer, URL), NOW)))
    return told


_loop: list[asyncio.AbstractEventLoop] = []


def _read(data: bytes) -> Iterable[str]:
    if not _loop:
        _loop.append(VirtualLoop())
    return _loop[0].run_until_complete(_ask_all(data))


_DIRECTORY = (
    b'{"newNonce":"https://ca.test/n","newAccount":"https://ca.test/a","keyChange":"https://ca.test'
    b'/k","newOrder":"https://ca.test/o","renewalInfo":"https://ca.test/ari"}'
)
_ORDER = (
    b'{"status":"ready","identifiers":[{"type":"dns","value":"example.test"}],"authorizations":'
    b'["https://ca.test/authz/1"],"finalize":"https://ca.test/f","certificate":"https://ca.test/c",'
    b'"expires":"2026-06-08T00:00:00Z","error":{"type":"urn:ietf:params:acme:error:caa"}}'
)
_AUTHORIZATION = (
    b'{"status":"invalid","identifier":{"type":"dns","value":"example.test"},"wildcard":true,'
    b'"challenges":[{"type":"dns-01","url":"https://ca.test/c/1","token":"x","status":"invalid",'
    b'"error":{"type":"urn:ietf:params:acme:error:dns","detail":"no TXT"}}]}'
)
_PROBLEM = (
    b'{"type":"urn:ietf:params:acme:error:compound","title":"t","detail":"two","instance":"i",'
    b'"subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"no","identifier":'
    b'{"type":"dns","value":"a.test"}}]}'
)
_WINDOW = (
    b'{"suggestedWindow":{"start":"2026-06-01T00:00:00Z","end":"2026-06-02T00:00:00+02:00"},'
    b'"explanationURL":"https://ca.test/why"}'
)
_CHAIN = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
_LINKS = b'200|5|https://ca.test/x|<https://ca.test/alt>;rel="alternate"\n'


def _seeds() -> list[bytes]:
    directory = b"200\n" + _DIRECTORY
    nonce = b"200\n"
    later = [_LINKS + one for one in (_ORDER, _AUTHORIZATION, _WINDOW, _CHAIN)]
    later += [b"503|Fri, 31 Dec 9999 23:59:59 GMT\n" + _PROBLEM, b"429|5\n" + _PROBLEM]
    seeds = [b"\0".join((directory, nonce, one)) for one in later]
    order = b"\0".join((directory, nonce, later[0], later[1], later[0].replace(b"ready", b"valid")))
    odd = order.replace(b"https://ca.test/c", rb"https://ca.test/\ud800").replace(b"/alt>", b"[>")
    chain = seeds[3].replace(b"https://ca.test/alt>", b"https://[>")
    return [*seeds, order, *later, odd, chain, seeds[0].replace(b"https://ca.test/x", b"https://[")]


ACME = Target(
    "acme",
    _read,
    _seeds,
    (),
    (
        b'"',
        b"{",
        b"|",
        b"\0",
        b"null",
        b"pending",
        b"processing",
        b"valid",
        b"9999-12-31T00:00:00Z",
    ),
)
