"""What comes over a network, or over the socket, as targets of `make fuzz`."""

from __future__ import annotations

import asyncio
import http.client
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.exception
import dns.message
import dns.tsig
import dns.update

from sslmd.acme.problems import read_problem, to_error
from sslmd.acme.refusals import retry_at
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.starttls import ProbeWord
from sslmd.core.words.sentence import say
from sslmd.dns import answers
from sslmd.dns.caa import Property, forbidden, names_account
from sslmd.net import http_look
from sslmd.net.acme_read import ProblemError, directory_in, directory_of
from sslmd.net.dns_messages import EXCHANGE, SEND_UPDATE, DnsAnswer, DnsQuestion
from sslmd.net.dns_reading import (
    Query,
    TooLongError,
    TooManyError,
    read_at_once,
    read_update_answer,
)
from sslmd.net.starttls import MOST_LINE, NoTlsError, Talk
from sslmd.net.web import Reply
from sslmd.processes import Output
from sslmd.servers.ssh import RemoteShell
from sslmd.wire.framing import FrameReader
from sslmd.wire.messages import RpcRequest, WireError, encode, parse_message
from sslmd.wire.params import Params
from tests.fuzz.target import Target

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ZONE = ZoneName.parse("example.com")
OWNER = DomainName.parse("_acme-challenge.www.example.com")
URL = "https://acme.example.test/dir"
TESTS = Path(__file__).parent.parent

_loop: list[asyncio.AbstractEventLoop] = []


def _run(coroutine: Any) -> Any:
    """Run it in one loop for all inputs: to make one costs more than most readers."""
    if not _loop:
        _loop.append(asyncio.new_event_loop())
    return _loop[0].run_until_complete(coroutine)


# --- the socket ---


def _messages(data: bytes) -> Iterable[str]:
    reader = FrameReader()
    for line in [*reader.feed(data)[:200], b""]:  # each has its own turn in the loop
        try:
            message = parse_message(line)
            encode(message)
            if isinstance(message, RpcRequest):
                params = Params(message)
                params.certs()
                params.text("why")
        except WireError as err:
            encode(err.response())
            yield str(err)


_MESSAGES = [
    b'{"jsonrpc":"2.0","id":1,"method":"status","params":{"certs":["example.com:web"]}}\n',
    b'{"jsonrpc":"2.0","id":"a","method":"renew","params":{"certs":null,"force":true}}\n',
    b'{"jsonrpc":"2.0","method":"hello","params":{"daemon":"sslmd","version":"1","api":1}}\n',
    b'{"jsonrpc":"2.0","id":2,"error":{"code":-32600,"message":"no","data":{"a":[1,2.5e3]}}}\n',
]


# --- name servers ---


def _query() -> dns.message.QueryMessage:
    return dns.message.make_query(OWNER.text, "TXT", use_edns=0, id=1)


def _answer(data: bytes) -> Iterable[str]:
    query = Query(DnsQuestion("192.0.2.1", 53, OWNER.text, "TXT", 1.0))
    # What has another id or question is dropped, which says nothing of the parser.
    if not query.is_answered_by(data := query.wire[:2] + data[2:]):
        return []
    try:
        found = read_at_once(data)
    except (TooManyError, dns.exception.DNSException):
        return []  # its words are told nobody
    if found is None:
        return []  # it is read in a thread
    # It crosses to the daemon, which ends the link where it would not take it.
    message = EXCHANGE.answered.validate_json(EXCHANGE.answered.dump_json(found))
    assert isinstance(message, DnsAnswer)
    name = OWNER.text
    texts = [answers.rcode_of(message), *map(ascii, answers.txt_in(message, name)[0])]
    answers.tlsa_in(message, answers.end_of_chain(message, name))
    answers.soa_serial(message)
    zones = (answers.zone_in(message, OWNER), answers.delegation(message, OWNER, ZONE))
    return [*texts, *map(str, zones)]


def _update(data: bytes) -> Iterable[str]:
    if len(data) >= 12:
        with suppress(TooManyError, TooLongError, dns.exception.DNSException):
            answer = read_update_answer(data)
            SEND_UPDATE.answered.validate_json(SEND_UPDATE.answered.dump_json(answer))
    return ()


def _updates() -> list[bytes]:
    update = dns.update.UpdateMessage("example.com")
    key = dns.tsig.Key("k.example", b"secret")
    update.use_tsig(key)
    update.to_wire()
    answer = dns.message.make_response(update)
    return [answer.to_wire(), update.to_wire(), update.to_wire()[:-3]]


def _answers() -> list[bytes]:
    query = _query()
    tlsa = f"{OWNER} 60 IN TLSA 3 1 1 {'ab' * 32}"
    sections = (
        [f'{OWNER} 60 IN TXT "one" "two"', f'{OWNER} 60 IN TXT "\\000\\255"'],
        [f"{OWNER} 60 IN CNAME a.example.net.", "a.example.net. 5 IN CNAME b.example.net."],
        [tlsa, "example.com. 60 IN SOA ns.example.com. x.example.com. 7 1 1 1 1"],
        ["www.example.com. 60 IN DNAME example.org."],
    )
    found = []
    for lines in sections:
        message = dns.message.make_response(query)
        for line in lines:
            owner, ttl, rdclass, rdtype, data = line.split(maxsplit=4)
            rrset = dns.rrset.from_text(f"{owner.rstrip('.')}.", int(ttl), rdclass, rdtype, data)
            message.answer.append(rrset)
        found.append(message.to_wire())
    return found


def _caa(data: bytes) -> Iterable[str]:
    records = []
    for line in data.split(b"\n")[:50]:
        flags, _, rest = line.partition(b" ")
        tag, _, value = rest.partition(b" ")
        number = int(flags) if flags.isdigit() and len(flags) < 4 else 0
        records.append(Property(number, tag.decode("latin-1"), value.decode("latin-1")))

    async def lookup(_: str) -> Sequence[Property]:
        return records

    name = DomainName.parse("*.www.example.com")
    yield say(_run(forbidden(name, ["ca.test"], "dns-01", f"{URL}/acct/1", lookup)))
    yield say(_run(forbidden(name, [], "http-01", "", lookup)))
    _run(names_account(name, ["ca.test"], lookup))


_CAA = [
    b"0 issue ca.test; accounturi=https://acme.example.test/dir/acct/1\n128 tbs x",
    b'0 issuewild ;\n0 issue "ca.test; validationmethods=dns-01,http-01"\n0 iodef mailto:a@b',
]


# --- CAs ---


def _halves(data: bytes) -> tuple[str, str]:
    output, _, log = data.decode(errors="replace").partition("\0")
    return output, log


def _certbot(data: bytes) -> Iterable[str]:
    problem = read_problem(1, *_halves(data), NOW, URL)
    error = to_error(problem, NOW)
    return [problem.text, str(error), *problem.failed]


def _certbot_logs() -> list[bytes]:
    folder = TESTS / "acme" / "certbot_logs"
    logs = sorted(folder.glob("*.log"))
    return [one.with_suffix(".out").read_bytes() + b"\0" + one.read_bytes() for one in logs]


def _directory(data: bytes) -> Iterable[str]:
    directory_of(directory_in(Reply(URL, 200, {}, data), URL))
    retry_at(data[:80].decode("latin-1"), NOW, data.decode(errors="replace"))
    return ()


_DIRECTORY = (
    b'{"newNonce":"https://a.test/n","newAccount":"https://a.test/a","newOrder":"https://a.test/o",'
    b'"revokeCert":"https://a.test/r","meta":{"caaIdentities":["a.test"],"profiles":{"x":"y"},'
    b'"termsOfService":"https://a.test/t","externalAccountRequired":true}}'
)


# --- other machines ---


class _Unread:
    """The near end of a shell's input."""

    def write(self, data: bytes) -> None: ...

    def get_extra_info(self, _: str) -> tuple[str, int]:
        return ("192.0.2.1", 25)


def _told(data: bytes) -> Iterable[str]:
    return _run(_hear(data))  # type: ignore[no-any-return]


async def _hear(data: bytes) -> list[str]:
    stream = asyncio.StreamReader()
    errors = Output()
    os.close(errors.writer)
    process = SimpleNamespace(stdin=_Unread(), stdout=stream, returncode=0, wait=_at_once)
    shell = RemoteShell("far.example.net", process, errors, "/nowhere")  # type: ignore[arg-type]
    mark = shell._mark.encode()
    stream.feed_data(data.replace(b"@", mark))
    stream.feed_eof()
    told: list[str] = []
    for answer in await shell.ask_each([["survey"], ["begin"]]):
        if isinstance(answer, Exception):
            told.append(str(answer))
        else:
            told.append(answer.said)
    return told


async def _at_once() -> int:
    return 0


_TOLD = [
    b"@ in /etc/x\n@ have a b 0600\n@ end\n@ error cannot: no space\n@ end\n",
    b"Welcome!\n\x1b[31mred\r\n@ surplus a/b\n@ end\nThis account is not available.\n",
]


def _shown(data: bytes) -> Iterable[str]:
    return _run(_fetch(data))  # type: ignore[no-any-return]


async def _fetch(data: bytes) -> list[str]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    try:
        _, headers = await http_look._head(reader)
        return [say(http_look._something_else(await http_look._body(reader, headers)).met.reason)]
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, http.client.HTTPException):
        return []
    except ValueError:
        return []


_SHOWN = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 301 x\r\nLocation: /\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 43 + b"." + b"b" * 43,
]


def _greeting(data: bytes) -> Iterable[str]:
    return _run(_greet(data))  # type: ignore[no-any-return]


async def _greet(data: bytes) -> list[str]:
    told = []
    for word in (ProbeWord.SMTP, ProbeWord.IMAP, ProbeWord.POP3):
        reader = asyncio.StreamReader(limit=MOST_LINE)
        reader.feed_data(data)
        reader.feed_eof()
        talk = Talk(reader, _Unread())  # type: ignore[arg-type]
        try:
            await talk.start(word)
        except NoTlsError as err:
            told.append(say(err.met.reason))
        except OSError as err:
            told.append(str(err))
    return told


_GREETINGS = [
    b"220-a\r\n220 mail.example.com ESMTP\r\n250-mail\r\n250 STARTTLS\r\n220 go\r\n",
    b"* OK ready\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\nA1 OK\r\nA2 OK {5}\r\nhello\r\n",
    b"+OK ready\r\n+OK\r\n-ERR no\r\n",
]


TARGETS = (
    Target("socket", _messages, lambda: _MESSAGES, (WireError,), (b"[", b'{"a":', b"1e999")),
    Target("dns", _answer, _answers, (), (b"\xc0\x0c", b"\x3f")),
    Target("update", _update, _updates, (), (b"\xc0\x0c", b"\0\xfa\0\xff")),
    Target("caa", _caa, lambda: _CAA, (), (b";", b"=", b"issue ")),
    Target("certbot", _certbot, _certbot_logs, (), (b"HTTP 400\n", b'{"type":"', b"urn:ietf:")),
    Target("directory", _directory, lambda: [_DIRECTORY], (ProblemError,), (b"{", b'"', b"[")),
    Target("shown", _shown, lambda: _SHOWN, (), (b"HTTP/1.1 ", b"\r\n\r\n", b"chunked")),
    Target("greeting", _greeting, lambda: _GREETINGS, (), (b"220 ", b"250-", b"* OK", b"{9}")),
    Target("told", _told, lambda: _TOLD, (), (b"@ ", b"@ end\n", b"@ error ")),
)
