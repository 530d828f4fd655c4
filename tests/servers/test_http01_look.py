"""Challenges fetched as a CA fetches them, from servers of every kind."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sslmd.core.errors import Transient
from sslmd.core.seen import AtPort
from sslmd.core.words.sentence import say
from sslmd.net.dns_messages import LOOK_UP, HostAddresses
from sslmd.net.http_look import MOST_BODY, MOST_REDIRECTS
from sslmd.net.inside import Inside
from sslmd.net.link import Operation
from sslmd.net.probe_messages import LookEnd, NotShown
from sslmd.servers.http01 import put
from sslmd.servers.http01_look import fetch_back
from tests.stand import nginx
from tests.stand.nginx import Nginx
from tests.stand.openssl import group
from tests.stand.server import free_port

P = ParamSpec("P")
T = TypeVar("T")
LOOPBACK = "127.0.0.1"
HOST = "www.example.com"
TOKEN = "token"
CONTENT = f"{TOKEN}.{'x' * 43}"
PATH = f"/.well-known/acme-challenge/{TOKEN}"

# Head of a request -> what the server sends; None: nothing, it only holds the connection.
Answers = Callable[[str], bytes | None]


def ok(body: str = CONTENT, fields: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{fields}\r\n{body}".encode()


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Over there\r\nLocation: {location}\r\n\r\n".encode("latin-1")


class Web:
    """A server that says what a test wants, byte by byte."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heads: list[str] = []
        self.open = self.most = 0  # connections now, and at most until now


@asynccontextmanager
async def web(
    answers: Answers,
    *,
    address: str = LOOPBACK,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    keep: bool = False,
    endless: bytes = b"",
) -> AsyncIterator[Web]:
    """Serve; `keep`: leave the connection open after an answer; `endless`: go on with that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.open += 1
        made.most = max(made.most, made.open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            made.heads.append(head)
            answer = answers(head)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
            while endless:
                writer.write(endless)
                await writer.drain()
                await asyncio.sleep(0)
            if keep or answer is None:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            made.open -= 1
            writer.close()

    server = await asyncio.start_server(serve, address, port, ssl=tls)
    made = Web(server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


class Names(Inside):
    """Knows some names; the others are the system's."""

    answers: Mapping[str, Sequence[Sequence[str]]] = {}
    asked: list[str]

    async def call(self, operation: Operation[Any, Any], asked: Any) -> Any:
        if operation is not LOOK_UP or asked.name not in self.answers:
            return await super().call(operation, asked)
        self.asked.append(asked.name)
        answers = self.answers[asked.name]
        return HostAddresses(tuple(answers[min(self.asked.count(asked.name), len(answers)) - 1]))


NET = Names()


async def look(
    port: int, *, seconds: float = 10, host: str = HOST, also: int = 443
) -> list[NotShown]:
    return await fetch_back(
        NET, host, [LOOPBACK], port, TOKEN, CONTENT, seconds=seconds, ports=(80, also)
    )


async def told(answers: Answers, *, also: int = 443, **more: object) -> str:
    """Return what is told of such a server, "" if it shows the challenge.

    `also`: a port that is taken for 443.
    """
    async with web(answers, **more) as server:  # type: ignore[arg-type]
        found = await look(server.port, also=also)
    assert all(not one.out_of_reach and one.address == LOOPBACK for one in found)
    return "; ".join(say(one.told) for one in found)


async def test_shown() -> None:
    async with web(lambda _: ok()) as server:
        assert await look(server.port) == []
    head = server.heads[0].split("\r\n")
    assert head[0] == f"GET {PATH} HTTP/1.1"
    assert f"Host: {HOST}:{server.port}" in head
    assert "Connection: close" in head
    assert any(line.startswith("User-Agent: sslmd/") for line in head)


@pytest.mark.parametrize("end", ["\n", " \t\r\n\n", ""])
async def test_white_space_at_the_end_does_not_count(end: str) -> None:
    assert await told(lambda _: ok(CONTENT + end)) == ""


async def test_bodies_of_every_form() -> None:
    until_end = f"HTTP/1.1 200 OK\r\n\r\n{CONTENT}".encode()
    assert await told(lambda _: until_end) == ""
    assert await told(lambda _: until_end.replace(b"HTTP/1.1", b"HTTP/1.0")) == ""
    assert await told(lambda _: until_end.replace(b" OK", b"")) == ""
    head = "HTTP/1.1 200 OK\r\nTRANSFER-Encoding: chunked\r\n\r\n"
    one, rest = CONTENT[:5], CONTENT[5:]
    chunked = f"{head}5;x=y\r\n{one}\r\n{len(rest):X}\r\n{rest}\r\n0\r\n\r\n".encode()
    assert await told(lambda _: chunked) == ""
    # It does not close, though it was asked to.
    assert await told(lambda _: ok(), keep=True) == ""
    assert await told(lambda _: chunked, keep=True) == ""


@pytest.mark.parametrize("status", [404, 403, 500, 204, 206, 304, 401])
async def test_other_answers(status: int) -> None:
    answer = ok().replace(b"200", str(status).encode())
    assert await told(lambda _: answer) == f"127.0.0.1 answers {status}"


async def test_something_else() -> None:
    other = "127.0.0.1 shows something else: {} bytes that are no key authorization".format
    assert await told(lambda _: ok("<html>")) == other(6)
    assert await told(lambda _: ok("")) == other(0)
    assert await told(lambda _: ok(f" {CONTENT}")) != ""
    assert await told(lambda _: ok(CONTENT[:-1])) == other(len(CONTENT) - 1)
    assert await told(lambda _: ok("\x1b[2J\x07")) == other(5)
    assert await told(lambda _: ok(f"password\n{CONTENT}\n")) == other(len(CONTENT) + 10)
    # That of another order, or of another account: no secret, and tells what is wrong.
    older = f"{TOKEN}.{'y' * 43}"
    assert await told(lambda _: ok(f"{older}\r\n<html>")) == (
        f"127.0.0.1 shows something else: {len(older) + 8} bytes with the key authorization "
        f"'{older}'"
    )
    # Bounded, even if the right one stands at its beginning.
    long = await told(lambda _: ok(CONTENT + " " * MOST_BODY + "x"))
    assert long == ""  # nothing but white space, as far as it is read
    assert len(await told(lambda _: ok("y" * 1_000_000))) < 200


ENDLESS = [
    (b"HTTP/1.1 200 OK\r\n\r\n", b"spam" * 1000, "4096 bytes or more that are"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
        "something else: 4096 bytes",
    ),
    (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100, "does not answer in HTTP"),
    (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000, "does not answer in HTTP"),
    (b"", b"\0" * 1000, "does not answer in HTTP"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 1000, "not answer in HTTP"),
]


@pytest.mark.parametrize(("begin", "endless", "phrase"), ENDLESS)
async def test_endless(begin: bytes, endless: bytes, phrase: str) -> None:
    began = time.monotonic()
    assert phrase in await told(lambda _: begin, endless=endless)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nshort",
    ],
)  # fmt: skip
async def test_cut_off(answer: bytes) -> None:
    assert await told(lambda _: answer) == (
        "127.0.0.1 closes the connection before its answer is whole"
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    ],
)  # fmt: skip
async def test_no_http(answer: bytes) -> None:
    assert await told(lambda _: answer) == "127.0.0.1 does not answer in HTTP"


async def test_silent() -> None:
    async with web(lambda _: None) as server:
        found = await look(server.port, seconds=0.3)
    # Somebody is there: this is no question of the way.
    assert found == [NotShown(LOOPBACK, LookEnd(AtPort.ANSWERS_LATE, number=0.3))]


async def test_a_trickle_ends_in_time() -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(trickle, LOOPBACK, 0)
    async with server:
        began = time.monotonic()
        found = await look(server.sockets[0].getsockname()[1], seconds=0.3)
        assert time.monotonic() - began < 5
    assert say(found[0].told) == "127.0.0.1 does not answer within 0.3 s"


async def test_out_of_reach() -> None:
    port = free_port()
    assert await look(port) == [
        NotShown(LOOPBACK, LookEnd(AtPort.NOT_CONNECTED, "connection refused"), True)
    ]
    # TEST-NET-1: no route there, or no answer, as this machine's network has it.
    for address in ("192.0.2.1", "2001:db8::1"):
        [found] = await fetch_back(NET, HOST, [address], port, TOKEN, CONTENT, seconds=0.5)
        assert found.out_of_reach
        assert found.problem.code in (AtPort.NOT_CONNECTED, AtPort.CONNECTS_LATE)


async def test_every_address_is_asked() -> None:
    async with (
        web(lambda _: ok()) as server,
        web(lambda _: ok("old"), address="127.0.0.2", port=server.port),
        web(lambda _: ok(), address="::1", port=server.port),
    ):
        addresses = ["127.0.0.3", "127.0.0.2", LOOPBACK, "::1"]
        found = await fetch_back(NET, HOST, addresses, server.port, TOKEN, CONTENT)
    assert [(one.address, one.out_of_reach) for one in found] == [
        ("127.0.0.3", True),
        ("127.0.0.2", False),
    ]
    assert (
        say(found[1].told)
        == "127.0.0.2 shows something else: 3 bytes that are no key authorization"
    )
    assert await fetch_back(NET, HOST, [], 80, TOKEN, CONTENT) == []


async def test_an_address_as_the_name() -> None:
    async with web(lambda _: ok(), address="::1") as server:
        assert await fetch_back(NET, "::1", ["::1"], server.port, TOKEN, CONTENT) == []
        assert f"Host: [::1]:{server.port}" in server.heads[0]


# --- redirects ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_on_the_same_server(status: int) -> None:
    def answer(head: str) -> bytes:
        return ok() if head.startswith("GET /other?a=b%20c ") else redirect("/other?a=b c", status)

    assert await told(answer) == ""


async def test_the_name_stays_at_its_address() -> None:
    """A redirect to the name itself is asked for at the address that is looked at."""

    def answer(head: str) -> bytes:
        port = head.partition("Host: ")[2].partition("\r\n")[0].partition(":")[2]
        return ok() if head.startswith("GET /x ") else redirect(f"http://WWW.Example.com:{port}/x")

    assert await told(answer) == ""


async def test_redirects_to_another_host() -> None:
    async with web(lambda _: ok()) as other:
        assert (
            await told(lambda _: redirect(f"http://localhost:{other.port}/x"), also=other.port)
            == ""
        )
        assert f"Host: localhost:{other.port}" in other.heads[0]
    async with web(lambda _: redirect("http://no-such-host.invalid/x")) as server:
        [found] = await look(server.port)
    assert found == NotShown(
        LOOPBACK,
        LookEnd(AtPort.REDIRECT_UNRESOLVED),
        out_of_reach=True,
        led="http://no-such-host.invalid/",
    )


async def test_redirects_to_https_whatever_its_certificate(tmp_path: Path) -> None:
    async with web(lambda _: ok(), tls=tls_context(tmp_path)) as secure:
        where = f"https://{HOST}:{secure.port}/x"
        assert await told(lambda _: redirect(where), also=secure.port) == ""


async def test_redirects_to_https_where_there_is_none() -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, LOOPBACK, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        where = f"https://{HOST}:{port}/x"
        said = await told(lambda _: redirect(where), also=port)
    assert said.startswith(f"127.0.0.1 (redirected to '{where[:-1]}') does not speak TLS: ")


async def test_circles_end() -> None:
    async with web(lambda _: redirect("/again")) as server:
        [found] = await look(server.port)
    assert say(found.told).endswith(f"redirects more than {MOST_REDIRECTS} times")
    assert len(server.heads) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("location", "phrase"),
    [
        ("ftp://example.com/x", "leads where no CA follows"),
        ("file:///etc/passwd", "leads where no CA follows"),
        ("mailto:x@example.com", "leads where no CA follows"),
        ("http://a b/x", "leads where no CA follows"),
        ("http://\x1b[31m.example/x", "what is no URL"),
        ("http://\x1b.example/x", "leads where no CA follows"),
        ("http://example.com/\xe9", "leads where no CA follows"),
        ("http://[/x", "is no URL"),
        ("http://example.com:99999/x", "redirects to what is no URL"),
        ("http://example.com:0/x", "leads where no CA follows"),
    ],
)
async def test_redirects_to_nowhere(location: str, phrase: str) -> None:
    said = await told(lambda _: redirect(location))
    assert phrase in said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("location", "phrase"),
    [
        ("http://www.example.com:8080/x", "leads to port 8080, and CAs follow redirects to 80"),
        ("https://www.example.com:8443/x", "leads to port 8443"),
        ("//www.example.com:22/x", "leads to port 22"),
        ("http://192.0.2.1/x", "leads to an IP address, and CAs follow redirects to names"),
        ("https://[2001:db8::1]/x", "leads to an IP address"),
        ("http://[fe80::1%25eth0]/x", "leads to an IP address"),
        ("http://127.0.0.1/x", "leads to an IP address"),
        ("http://0x7f000001/x", "leads to an IP address"),
        ("http://127.1/x", "leads to an IP address"),
    ],
)
async def test_redirects_that_no_public_ca_follows(location: str, phrase: str) -> None:
    said = await told(lambda _: redirect(location))
    assert phrase in said
    assert "/.well-known/acme-challenge/" in said


async def test_a_status_that_no_public_ca_follows() -> None:
    assert "answers 303, which CAs do not follow" in await told(lambda _: redirect("/x", 303))


async def test_an_address_may_redirect_to_itself() -> None:
    """A certificate for an address: its server has no other name (RFC 8738)."""

    def answer(head: str) -> bytes:
        port = head.partition("Host: ")[2].partition("\r\n")[0].rpartition(":")[2]
        return ok() if head.startswith("GET /x ") else redirect(f"http://127.0.0.1:{port}/x")

    async with web(answer) as server:
        assert await look(server.port, host=LOOPBACK) == []


async def test_a_redirect_without_a_place() -> None:
    assert await told(lambda _: b"HTTP/1.1 302 X\r\n\r\n") == "127.0.0.1 answers 302"


# --- what redirects and addresses may cost ---------------------------------------------------


async def test_hosts_of_redirects_are_looked_up_as_they_are_told_to() -> None:
    """And not by the system's few threads, which a silent name server holds for all."""
    asked: list[str] = []

    async def resolve(name: str) -> list[str]:
        asked.append(name)
        if name == "slow.example":
            await asyncio.Event().wait()
        raise Transient(f"{name} A cannot be looked up")

    for name, text in [
        ("slow.example", "does not take a connection within 0.5 s"),
        ("other.example", "leads to a name that cannot be resolved"),
    ]:
        async with web(lambda _, name=name: redirect(f"http://{name}/")) as server:  # type: ignore[misc]
            [found] = await fetch_back(
                NET, HOST, [LOOPBACK], server.port, TOKEN, CONTENT, seconds=0.5, resolve=resolve
            )
        assert say(found.told) == f"127.0.0.1 (redirected to 'http://{name}/') {text}"
        assert found.out_of_reach
    assert asked == ["slow.example", "other.example"]


async def test_looks_take_turns() -> None:
    """Each has a socket open; and who waits for a turn loses no time by it."""
    async with web(lambda _: None) as server:  # it holds each connection
        addresses, turn = [LOOPBACK] * 8, asyncio.Semaphore(2)
        found = await fetch_back(
            NET, HOST, addresses, server.port, TOKEN, CONTENT, seconds=0.2, turn=turn
        )
    assert [say(one.told) for one in found] == ["127.0.0.1 does not answer within 0.2 s"] * 8
    assert (len(server.heads), server.most) == (8, 2)


# --- services of this machine and network, which no CA sees ----------------------------------

SECRET = "password=hunter2"


@asynccontextmanager
async def resolving(answers: Mapping[str, Sequence[Sequence[str]]]) -> AsyncIterator[list[str]]:
    """Have names resolve to these, each time to the next; yield what was asked."""
    NET.answers, NET.asked = answers, []
    try:
        yield NET.asked
    finally:
        NET.answers = {}


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "fd00::1"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "::"),
    ],
)
async def test_redirects_do_not_lead_into_this_network(address: str) -> None:
    """Whatever a name resolves to: nothing is connected to there."""
    async with web(lambda _: redirect("http://inside.example/")) as server:
        async with resolving({"inside.example": [[address]]}):
            [found] = await fetch_back(NET, HOST, ["127.0.0.7"], server.port, TOKEN, CONTENT)
            assert found.out_of_reach  # nobody is there
            [found] = await fetch_back(NET, HOST, [LOOPBACK], server.port, TOKEN, CONTENT)
    if address == LOOPBACK:
        return  # the name's own, as the next test has it
    assert say(found.told) == (
        "127.0.0.1 (redirected to 'http://inside.example/') leads into a private network, where "
        "no public CA can follow; redirect to a name that has public addresses, or not at all "
        "below /.well-known/acme-challenge/"
    )


async def test_a_local_service_is_not_asked_and_not_told() -> None:
    """The service listens where the redirect leads; the name has another address."""

    async with web(lambda _: ok(SECRET), address="127.0.0.2") as service:
        where = f"http://localhost.example:{service.port}/admin?key=1"
        async with (
            web(lambda _: redirect(where)) as server,
            resolving({"localhost.example": [["127.0.0.2"]]}),
        ):
            [found] = await look(server.port, also=service.port)
    assert service.heads == []
    assert "private network" in say(found.told)
    assert "admin" not in say(found.told)


async def test_a_private_address_that_the_name_itself_has_is_followed_to() -> None:
    async with (
        web(lambda _: ok()) as other,
        resolving({"other.example": [[LOOPBACK]]}),
    ):
        where = f"http://other.example:{other.port}/"
        assert await told(lambda _: redirect(where), also=other.port) == ""


async def test_what_was_checked_is_what_is_connected_to() -> None:
    """A name that has a public address when it is looked up first, and another then."""
    async with web(lambda _: ok(SECRET), address="127.0.0.2") as service:
        where = f"http://rebinding.example:{service.port}/"
        names = {"rebinding.example": [["192.88.99.1"], ["127.0.0.2"]]}
        async with web(lambda _: redirect(where)) as server, resolving(names) as asked:
            [found] = await look(server.port, also=service.port, seconds=1)
            assert asked == ["rebinding.example"]
    assert service.heads == []
    assert found.out_of_reach


async def test_of_several_addresses_none_that_is_private_is_tried() -> None:
    async with web(lambda _: ok(SECRET), address="127.0.0.2") as service:
        where = f"http://both.example:{service.port}/"
        names = {"both.example": [["127.0.0.2", "192.88.99.1", "10.0.0.1"]]}
        async with web(lambda _: redirect(where)) as server, resolving(names):
            await look(server.port, also=service.port, seconds=1)
    assert service.heads == []


@pytest.mark.parametrize(
    "answer",
    [
        ok(SECRET),
        ok(f"{SECRET}\n{CONTENT}"),
        f"HTTP/1.1 403 {SECRET}\r\nContent-Length: 16\r\n\r\n{SECRET}".encode(),
        f"HTTP/1.1 200 OK\r\nX-Key: {SECRET}\r\n\r\nx".encode(),
        f"{SECRET}\r\n\r\n".encode(),
        redirect(f"http://[{SECRET}"),
        redirect(f"http://www.example.com:22/{SECRET}"),
        redirect(f"http://no-such-host.invalid/{SECRET}?{SECRET}#{SECRET}"),
        redirect(f"http://{SECRET}@no-such-host.invalid/"),
        redirect(f"ftp://www.example.com/{SECRET}"),
        redirect(f"/{SECRET}", 303),
        redirect(f"/{SECRET}"),
    ],
)
async def test_nothing_of_an_answer_is_told(answer: bytes) -> None:
    """A name may have the address of a service that was never meant for anybody."""
    async with web(lambda _: answer) as server:
        [found] = await look(server.port, seconds=5)
    for text in (say(found.told), found.led):
        assert "hunter2" not in text
        assert text.isprintable()


async def test_a_group_of_finite_fields_is_not_calculated(tmp_path: Path) -> None:
    """A server of https whose only key exchange may cost seconds."""
    tls = tls_context(tmp_path)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("kDHE:@SECLEVEL=0")
    tls.load_dh_params(str(group(tmp_path, 10_000)))
    async with web(lambda _: ok(), tls=tls) as secure:
        where = f"https://{HOST}:{secure.port}/x"
        async with web(lambda _: redirect(where)) as server:
            [found] = await look(server.port, also=secure.port)
    assert f"redirected to 'https://{HOST}" in say(found.told)


async def test_odd_names_of_hosts() -> None:
    async with web(lambda _: redirect(f"http://{'x' * 300}.example/")) as server:
        [found] = await look(server.port)
    assert found.out_of_reach
    assert len(say(found.told)) < 400


# --- a real web server ----------------------------------------------------------------------


async def in_thread(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.to_thread(func, *args, **kwargs)


async def test_nginx_shows_what_is_put(tmp_path: Path) -> None:
    if lacking := nginx.missing():
        pytest.skip(lacking)
    with Nginx(tmp_path / "nginx", {"example.com": []}) as server:
        assert say((await look(server.port))[0].told) == "127.0.0.1 answers 404"
        await put(["localhost"], server.server_dir, "example.com", {TOKEN: CONTENT}, in_thread)
        assert await look(server.port) == []
        assert say((await look(server.port, host="www.example.net"))[0].told).endswith(
            "answers 404"
        )
        assert (HOST, PATH, 200) in server.requests()


def tls_context(folder: Path) -> ssl.SSLContext:
    """Return a server's TLS with a certificate that is expired, and of somebody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other.example.net")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now - timedelta(days=1))
        .sign(key, SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + cert.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
