"""What ports serve: every way to begin TLS, servers with two certificates, and hostile ones."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from sslmd.config.model import Probe
from sslmd.core.errors import Transient
from sslmd.core.starttls import ProbeWord
from sslmd.core.words.sentence import say
from sslmd.net.inside import Inside
from sslmd.net.probe import facts_of
from sslmd.net.probe_messages import Reach, Served, described
from sslmd.net.starttls import MOST_LINE
from sslmd.pki.inspect import cert_facts
from sslmd.servers.probe import Expected, ProbedHost, prove, served_at
from tests.stand import nginx
from tests.stand.nginx import Nginx
from tests.stand.samples import EC256, RSA2048, hierarchy, key_pem, leaf_spec, make_leaf
from tests.stand.server import free_port
from tests.stand.tls import LOOPBACK, Handler, Reader, TlsPort, Writer, context, server

NAME = "www.example.com"
WORDS = list(ProbeWord)

SMTP: list[str | bytes] = [
    *("220-mx.example.com ESMTP", "220 hello", b"EHLO [127.0.0.1]", "250-mx.example.com"),
    *("250-SIZE 1000", "250-starttls", "250 HELP", b"STARTTLS", "220 go ahead"),
]
IMAP: list[str | bytes] = [
    "* OK [CAPABILITY IMAP4rev1 STARTTLS] hello",
    b"a STARTTLS",
    "* X",
    "a OK begin",
]
POP3: list[str | bytes] = ["+OK hello", b"STLS", "+OK begin"]
SCRIPTS: dict[ProbeWord, list[str | bytes]] = {
    ProbeWord.TLS: [],
    ProbeWord.SMTP: SMTP,
    ProbeWord.IMAP: IMAP,
    ProbeWord.POP3: POP3,
}


def pair(kind: str = "ec", label: str = "") -> tuple[bytes, bytes]:
    """Return a key and its certificate with the whole chain, the same ones for the same label."""
    return _pair(kind, label)


@cache
def _pair(kind: str, label: str) -> tuple[bytes, bytes]:
    _, sub, _ = hierarchy()
    spec = leaf_spec(key=EC256 if kind == "ec" else RSA2048)
    key = key_pem(spec.key, label)
    issued = make_leaf(sub, spec, key=key)
    return key, issued.cert_pem + issued.chain_pem


def ders(chain: bytes) -> tuple[bytes, ...]:
    end = "-----END CERTIFICATE-----\n"
    return tuple(ssl.PEM_cert_to_DER_cert(one + end) for one in chain.decode().split(end)[:-1])


def leaf(kind: str = "ec", label: str = "") -> bytes:
    return ders(pair(kind, label)[1])[0]


@pytest.fixture
def port(tmp_path: Path) -> TlsPort:
    return TlsPort(context(tmp_path, pair()))


async def look(
    handler: Handler, word: ProbeWord | None = ProbeWord.TLS, name: str = NAME, kind: str = ""
) -> Served:
    async with server(handler) as number:
        return await served_at(Inside(), LOOPBACK, number, word, name, kind, seconds=10)


async def problem(handler: Handler, word: ProbeWord | None, *, seconds: float = 10) -> str:
    """Return what is told of a server that shows nothing."""
    async with server(handler) as number:
        seen = await served_at(Inside(), LOOPBACK, number, word, NAME, seconds=seconds)
    assert seen.chain == ()
    assert seen.leaf is None
    assert seen.reached
    text = say(seen.what)
    assert text.isprintable()
    return text


@pytest.mark.parametrize("word", WORDS)
async def test_the_whole_chain_is_seen(port: TlsPort, word: ProbeWord) -> None:
    port.script = SCRIPTS[word]
    seen = await look(port, word)
    assert seen.chain == ders(pair()[1])
    assert len(seen.chain) > 2
    assert (seen.problem, seen.reach) == (None, Reach.CONNECTED)
    assert port.names == [NAME]


@pytest.mark.parametrize("word", WORDS[1:])
async def test_it_takes_its_leave(port: TlsPort, word: ProbeWord) -> None:
    port.script = SCRIPTS[word]
    async with server(port) as number:
        await served_at(Inside(), LOOPBACK, number, word, NAME)
        said = await port.said.get()
    assert said.strip() == (b"b LOGOUT" if word is ProbeWord.IMAP else b"QUIT")


@pytest.mark.parametrize("word", WORDS)
async def test_how_tls_begins_is_found_out(port: TlsPort, word: ProbeWord) -> None:
    port.script = SCRIPTS[word]
    async with server(port) as number:
        # A greeting is waited for no longer than a part of the time.
        seconds = 2 if word is ProbeWord.TLS else 60
        seen = await served_at(Inside(), LOOPBACK, number, None, NAME, seconds=seconds)
    assert seen.chain == ders(pair()[1])


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("", None),
        ("192.0.2.1", None),
        ("2001:db8::1", None),
        ("mail.example.com.", "mail.example.com"),
        ("_x.example.com", "_x.example.com"),
    ],
)
async def test_what_is_sent_as_sni(port: TlsPort, name: str, sent: str | None) -> None:
    assert (await look(port, name=name)).chain
    assert port.names == [sent]


async def test_what_is_no_name_is_told(port: TlsPort) -> None:
    for name in (".", "a" * 70 + ".example", "\0", "a..b"):
        seen = await look(port, name=name)
        assert seen.chain or "which is no name" in say(seen.what)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
async def test_a_server_with_two_certificates(tmp_path: Path, kind: str) -> None:
    both = TlsPort(context(tmp_path, pair("ec"), pair("rsa")))
    seen = await look(both, kind=f"{kind} any")
    assert seen.leaf == leaf(kind)
    assert both.looks == 1


@pytest.mark.parametrize(("kind", "word"), [("rsa", ProbeWord.TLS), ("rsa", ProbeWord.SMTP)])
async def test_the_other_kind_is_shown_if_there_is_no_other(
    port: TlsPort, kind: str, word: ProbeWord
) -> None:
    port.script = SCRIPTS[word]
    seen = await look(port, word, kind=f"{kind} 2048")
    assert seen.leaf == leaf("ec")
    assert port.looks == 2


async def test_tls_1_3_alone(port: TlsPort) -> None:
    port.tls.minimum_version = ssl.TLSVersion.TLSv1_3
    assert (await look(port, kind="ec secp256r1")).leaf == leaf()


async def test_a_server_that_wants_a_client_certificate(port: TlsPort, tmp_path: Path) -> None:
    roots = tmp_path / "roots"
    roots.write_bytes(pair()[1])
    port.tls.load_verify_locations(roots)
    port.tls.verify_mode = ssl.CERT_REQUIRED
    assert (await look(port, kind="ec secp256r1")).leaf == leaf()


async def test_where_nothing_listens() -> None:
    number = free_port()
    seen = await served_at(Inside(), LOOPBACK, number, ProbeWord.TLS, NAME)
    assert (seen.reach, seen.reached, seen.chain) == (Reach.REFUSED, False, ())
    assert say(seen.told) == f"127.0.0.1 port {number} cannot be connected to: connection refused"


async def test_what_is_no_address() -> None:
    for address in ("", "300.1.1.1", "\0", "a" * 80):
        seen = await served_at(Inside(), address, 1, ProbeWord.TLS, NAME)
        assert not seen.chain
        assert say(seen.what).isprintable()


# --- hostile ones ---------------------------------------------------------------------------


def says(*script: str | bytes, more: bytes = b"", keep: bool = False) -> Handler:
    """Return a server that follows a script, sends `more`, and closes unless it is to `keep`."""

    async def handler(reader: Reader, writer: Writer) -> None:
        for line in script:
            if isinstance(line, str):
                writer.write(line.encode() + b"\r\n")
            else:
                assert (await reader.readuntil(b"\n")).startswith(line)
        writer.write(more)
        await writer.drain()
        if keep:
            await reader.read()
        else:
            # Everything is read first: to close before would be a reset.
            writer.write_eof()
            await reader.read()

    return handler


@pytest.mark.parametrize("word", WORDS)
async def test_a_silent_one(word: ProbeWord) -> None:
    said = await problem(says(keep=True), word, seconds=0.1)
    assert said == "does not come to a handshake within 0.1 s"


async def endless(reader: Reader, writer: Writer) -> None:
    """Send lines of every kind for ever."""
    while True:
        writer.write(b"220-on and on\r\n" * 50)
        await writer.drain()


@pytest.mark.parametrize("word", [*WORDS, None])
async def test_an_endless_banner(word: ProbeWord | None) -> None:
    said = await problem(endless, word)
    expected = {
        ProbeWord.TLS: "has no TLS for us: ",
        ProbeWord.SMTP: "sends a reply that does not end",
        ProbeWord.IMAP: "greets with '220-on and on'",
        ProbeWord.POP3: "greets with '220-on and on'",
        None: "sends a reply that does not end",
    }
    assert said.startswith(expected[word])


@pytest.mark.parametrize(
    ("script", "word", "told"),
    [
        ([*SMTP[:3], "250 mx.example.com"], "smtp", "offers no STARTTLS"),
        ([*SMTP[:3], "250 STARTTLS"], "smtp", "offers no STARTTLS"),
        (
            [*SMTP[:3], "250-mx", "250 STARTTLS", b"STARTTLS", "454 4.7.0 not now"],
            *("smtp", "refuses STARTTLS: '454 4.7.0 not now'"),
        ),
        (["554 go away"], "smtp", "greets with '554 go away'"),
        (["220 hi", b"EHLO", "502 what"], "smtp", "answers EHLO with '502 what'"),
        (["220 hi", b"EHLO", "250 h", "250 i"], "smtp", "offers no STARTTLS"),
        (["SSH-2.0-OpenSSH_9"], "smtp", "greets with 'SSH-2.0-OpenSSH_9'"),
        (["SSH-2.0-OpenSSH_9"], "", "greets with 'SSH-2.0-OpenSSH_9', which is no protocol kn"),
        (["* PREAUTH hi"], "imap", "greets with '* PREAUTH hi'"),
        ([*IMAP[:2], "a NO never"], "imap", "refuses STARTTLS: 'a NO never'"),
        ([*IMAP[:2], "b OK"], "imap", "answers STARTTLS with 'b OK'"),
        ([*IMAP[:2], *["* X"] * 100], "imap", "sends a reply that does not end"),
        (["-ERR no"], "pop3", "greets with '-ERR no'"),
        ([*POP3[:2], "-ERR no"], "pop3", "refuses STLS: '-ERR no'"),
        (["\0\x1b[31m\xff"], "pop3", r"greets with '\x00\x1b[31mÿ'"),
        (["a" * MOST_LINE * 3], "imap", f"sends a line of more than {MOST_LINE} bytes"),
        ([], "smtp", "closes the connection without a word"),
        ([], "tls", "closes the connection in the handshake"),
    ],
)
async def test_what_is_no_tls(script: Sequence[str | bytes], word: str, told: str) -> None:
    said = await problem(says(*script), ProbeWord(word) if word else None)
    assert said.startswith(told)


async def test_a_line_without_an_end() -> None:
    assert await problem(says(more=b"220 half"), ProbeWord.SMTP) == (
        "closes the connection after '220 half'"
    )
    said = await problem(says(more=b"220 half", keep=True), ProbeWord.SMTP, seconds=0.1)
    assert said == "does not come to a handshake within 0.1 s"


async def test_plaintext_after_starttls() -> None:
    said = await problem(says(*SMTP, more=b"250 injected\r\n"), ProbeWord.SMTP)
    assert said.startswith("has no TLS for us: ")


@pytest.mark.parametrize("more", [b"\x16\x03\x03\xff\xff" + b"\0" * 70000, b"\x15\x03\x03\0\2\2("])
async def test_bytes_that_look_like_tls(more: bytes) -> None:
    assert (await problem(says(more=more), ProbeWord.TLS)).startswith("has no TLS for us: ")


async def test_a_connection_that_is_reset() -> None:
    async def reset(reader: Reader, writer: Writer) -> None:
        await reader.read(1)  # the rest is left unread, and so closing is a reset

    for kind in ("", "ec secp256r1"):
        seen = await look(reset, kind=kind)
        assert "the handshake" in say(seen.what)


async def test_cancelled_it_leaves_nothing_behind() -> None:
    connected = asyncio.Event()

    async def silent(reader: Reader, writer: Writer) -> None:
        connected.set()
        await reader.read()
        await reader.read()
        gone.set()

    gone = asyncio.Event()
    async with server(silent) as number:
        looking = asyncio.create_task(served_at(Inside(), LOOPBACK, number, ProbeWord.IMAP, NAME))
        await connected.wait()
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        await gone.wait()


def test_certificates_are_described() -> None:
    facts = facts_of(leaf())
    assert facts is not None
    assert facts == cert_facts(pair()[1].split(b"\n-----END")[0] + b"\n-----END CERTIFICATE-----\n")
    told = say(described(facts))
    assert told.startswith(f"serial {facts.serial} for 'www.example.com', valid until 2027-")
    assert facts_of(b"\x30\x03") is None
    assert say(described(facts_of(leaf()[:-50]))) == "a damaged certificate"


# --- proof ----------------------------------------------------------------------------------

PLACE = ProbedHost("localhost", (LOOPBACK,))


def proof(kind: str = "ec", label: str = "") -> Expected:
    return Expected(leaf(kind, label), NAME, kind, "/prod/example.com/web/curr")


def at(number: int) -> Probe:
    return Probe(number, ProbeWord.TLS)


async def test_proven_at_once(port: TlsPort) -> None:
    async with server(port) as number:
        assert await prove(Inside(), PLACE, at(number), proof(), 10) is None
    assert port.looks == 1


async def test_proven_in_the_end(port: TlsPort, tmp_path: Path) -> None:
    new = context(tmp_path, pair("ec", "new"))

    async def reloading(reader: Reader, writer: Writer) -> None:
        if port.looks == 1:
            port.tls = new
        await port(reader, writer)

    async with server(reloading) as number:
        assert await prove(Inside(), PLACE, at(number), proof("ec", "new"), 10) is None
    assert port.looks == 2


async def test_not_proven(port: TlsPort) -> None:
    async with server(port) as number:
        with pytest.raises(Transient) as caught:
            await prove(Inside(), PLACE, at(number), proof("ec", "new"), 0.1)
    assert str(caught.value) == (
        f"localhost does not serve the new certificate for {NAME} within 0.1 s: 127.0.0.1 port "
        f"{number} serves {say(described(facts_of(leaf())))}; see whether its configuration reads "
        "/prod/example.com/web/curr, and whether restart_cmd makes it read it"
    )


async def test_what_was_served_is_told_though_the_last_look_saw_nothing(port: TlsPort) -> None:
    async def once(reader: Reader, writer: Writer) -> None:
        if port.looks == 0:
            await port(reader, writer)
        else:
            await reader.read()

    async with server(once) as number:
        with pytest.raises(Transient) as caught:
            await prove(Inside(), PLACE, at(number), proof("ec", "new"), 0.5)
    assert f"port {number} serves {say(described(facts_of(leaf())))}" in str(caught.value)


async def test_every_address_has_to_show_it(port: TlsPort) -> None:
    place = ProbedHost("mx", (LOOPBACK, "127.0.0.2"))
    own = replace(place, own=True)
    async with server(port) as number:
        with pytest.raises(Transient, match=r"127\.0\.0\.2 port \d+ cannot be connected to"):
            await prove(Inside(), place, at(number), proof(), 0.1)
        # This machine's servers need not listen on all of its addresses.
        assert await prove(Inside(), own, at(number), proof(), 10) is None
        # But on one of them.
        with pytest.raises(Transient, match="refused"):
            await prove(Inside(), own, at(free_port()), proof(), 0.1)
    async with server(port) as number, server(port, address="127.0.0.2", port=number):
        assert await prove(Inside(), place, at(number), proof(), 10) is None


async def test_an_address_without_a_route_is_left_out_if_another_serves(port: TlsPort) -> None:
    nowhere = "224.0.0.1"  # a multicast address: there never is a way for TCP
    seen = await served_at(Inside(), nowhere, 1, ProbeWord.TLS, NAME)
    assert seen.reach is Reach.NO_ROUTE
    async with server(port) as number:
        assert (
            await prove(Inside(), ProbedHost("mx", (nowhere, LOOPBACK)), at(number), proof(), 10)
            is None
        )
    with pytest.raises(Transient, match="unreachable"):
        await prove(Inside(), ProbedHost("mx", (nowhere,)), at(1), proof(), 0.1)


async def test_a_silent_one_is_no_proof() -> None:
    async with server(says(keep=True)) as number:
        with pytest.raises(Transient, match="does not come to a handshake within 0"):
            await prove(Inside(), PLACE, at(number), proof(), 0.1)


async def test_without_an_address() -> None:
    with pytest.raises(Transient, match="mx has no address"):
        await prove(Inside(), ProbedHost("mx", ()), at(1), proof(), 0.1)


async def test_the_port_of_another_certificate_of_ours(port: TlsPort) -> None:
    def other(seen: Served) -> str:
        return "example.com/mail" if seen.leaf == leaf() else ""

    async with server(port) as number:
        note = await prove(Inside(), PLACE, at(number), proof("ec", "new"), 0.1, other=other)
        assert say(note) == f"port {number} of localhost serves example.com/mail: not counted"
        # One address that is nobody's is enough to count.
        place = ProbedHost("localhost", (LOOPBACK, "127.0.0.2"))
        with pytest.raises(Transient):
            await prove(Inside(), place, at(number), proof("ec", "new"), 0.1, other=other)


async def test_those_that_never_had_their_turn(port: TlsPort) -> None:
    turn = asyncio.Semaphore(1)
    async with server(says(keep=True)) as silent, server(port) as number:
        results = await asyncio.gather(
            prove(Inside(), PLACE, at(silent), proof(), 0.1, turn=turn),
            prove(Inside(), PLACE, at(number), proof(), 0.05, turn=turn),
            return_exceptions=True,
        )
    assert "does not come to a handshake" in str(results[0])
    assert "was not looked at" in str(results[1])


@pytest.mark.skipif(bool(nginx.missing()), reason=nginx.missing() or "-")
async def test_nginx_with_two_certificates(tmp_path: Path) -> None:
    pairs = []
    for kind in ("ec", "rsa"):
        key, chain = pair(kind)
        (tmp_path / kind).write_bytes(key + chain)
        pairs.append(tmp_path / kind)
    with Nginx(tmp_path / "nginx", {"example.com": []}, tls=pairs) as web:
        for kind in ("ec", "rsa"):
            seen = await served_at(Inside(), LOOPBACK, web.tls_port, ProbeWord.TLS, NAME, kind)
            assert seen.chain == ders(pair(kind)[1])
