"""What an ACME server says of itself, read from servers good and bad."""

from __future__ import annotations

import asyncio
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sslmd.acme.directory import MOST_TEXTS, Directory, fetch
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.net.acme_ca import MOST_REDIRECTS
from sslmd.net.acme_messages import AcmeDirectory, AcmeProblem
from sslmd.net.acme_read import ProblemError, directory_in, directory_of
from sslmd.net.inside import Inside
from sslmd.net.link import Operation
from sslmd.net.web import MOST_BYTES, Reply

URL = "https://acme.example.test/dir"
GOOD = {
    "newNonce": "https://acme.example.test/nonce",
    "newAccount": "https://acme.example.test/account",
    "newOrder": "https://acme.example.test/order",
}
WHOLE = {
    **GOOD,
    "renewalInfo": "https://acme.example.test/ari",
    "meta": {
        "caaIdentities": ["example.test", "ca.example.test"],
        "profiles": {"classic": "…", "shortlived": "…"},
        "externalAccountRequired": True,
    },
    "x8fj3kd": "https://community.example.test/random",
}
NOW_MOST = timedelta(seconds=5)  # between a server's answer and our look at the clock

# The path asked for -> status, header fields, body.
Answers = Callable[[str], tuple[int, Mapping[str, str], bytes]]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


class Said:
    """Reads what a CA is taken to have said."""

    def __init__(self, content: bytes, url: str = URL) -> None:
        self.reply = Reply(url, 200, {}, content)

    async def call(self, operation: Operation[Any, Any], asked: Any) -> AcmeDirectory | AcmeProblem:
        try:
            return directory_of(directory_in(self.reply, asked.server.url))
        except ProblemError as err:
            return err.problem


def parse(content: bytes, url: str) -> Directory:
    return asyncio.run(fetch(url, None, Said(content)))  # type: ignore[arg-type]


# --- what it says ---------------------------------------------------------------------------


def test_a_whole_one() -> None:
    assert parse(json.dumps(WHOLE).encode(), URL) == Directory(
        new_order="https://acme.example.test/order",
        caa_identities=("example.test", "ca.example.test"),
        profiles=("classic", "shortlived"),
        external_account_required=True,
        renewal_info="https://acme.example.test/ari",
    )


def test_the_least() -> None:
    assert parse(json.dumps(GOOD).encode(), URL) == Directory(new_order=GOOD["newOrder"])


@pytest.mark.parametrize(
    "more",
    [
        {"meta": 7}, {"meta": None}, {"meta": []}, {"renewalInfo": "ftp://x"}, {"renewalInfo": 7},
        {"meta": {"caaIdentities": "example.test", "profiles": ["a"]}},
        {"meta": {"caaIdentities": [7, None, "", "a\x1b[2J"], "profiles": {"": "", "\n": ""}}},
        {"meta": {"externalAccountRequired": "yes"}}, {"meta": {"externalAccountRequired": 1}},
    ],
)  # fmt: skip
def test_what_else_it_says_is_taken_only_if_it_makes_sense(more: object) -> None:
    assert isinstance(more, dict)
    found = parse(json.dumps({**GOOD, **more}).encode(), URL)
    assert found == Directory(new_order=GOOD["newOrder"])


@pytest.mark.parametrize(
    "content",
    [
        b"", b"<html>", b"[]", b"7", b"null", b"{}", b"\xff\xfe", b"[" * 100_000,
        b'{"a":' * 100_000, b'{"n": ' + b"9" * 9999 + b"}", json.dumps([GOOD]).encode(),
    ],
)  # fmt: skip
def test_no_directory(content: bytes) -> None:
    with pytest.raises(Permanent, match=rf"^{URL} is no ACME directory; correct ca_server"):
        parse(content, URL)


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize(
    "value",
    [None, 7, "", "ftp://a/b", "/order", "https://", "https:///x", "https://[/", "https://a b/",
     "https://a/\x1b[2J", "https://ä/", "javascript:alert(1)", ["https://a/b"]],
)  # fmt: skip
def test_what_is_needed_has_to_be_a_url(name: str, value: object) -> None:
    with pytest.raises(Permanent, match="is no ACME directory"):
        parse(json.dumps({**GOOD, name: value}).encode(), URL)


# --- from where it says it ------------------------------------------------------------------


@contextmanager
def serving(answers: Answers, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a server; yield its URL, by address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, fields, body = answers(self.path)
            if body.startswith(b"WHOLE"):
                body = whole(f"http{'s' if tls else ''}://{self.headers['Host']}") + body[5:]
            self.send_response_only(status, "odd\x07words")
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that does not trust it, or has read enough

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        # The handshake belongs to the thread of the connection.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def whole(base: str) -> bytes:
    """Return the directory of a server."""
    return json.dumps(WHOLE).replace("https://acme.example.test", base).encode()


def good(path: str) -> tuple[int, Mapping[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, b"WHOLE"


class Ca:
    """A private CA, and TLS with a certificate of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Private Root")])
        ca = x509.BasicConstraints(ca=True, path_length=None)
        root = self._builder(self._name, self._key, 9).add_extension(ca, critical=True)
        self.root = folder / "root.pem"
        self.root.write_bytes(root.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(ski, critical=False)
            .add_extension(aki, critical=False)
        )

    def tls(self, address: str = "127.0.0.1", days: int = 5) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        san = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = self._builder(x509.Name([]), key, days).add_extension(san, critical=True)
        pem = self._folder / "server.pem"
        pem.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return Ca(tmp_path)


async def failure(
    url: str, root: Path | None = None, *, seconds: float = 20
) -> Transient | Permanent:
    with pytest.raises(SslmError) as caught:
        await fetch(url, root, Inside(), seconds=seconds)
    error = caught.value
    assert isinstance(error, Transient | Permanent)
    assert url in str(error)
    assert str(error).isprintable()
    return error


async def test_from_a_ca_with_a_root_of_its_own(ca: Ca) -> None:
    with serving(good, ca.tls()) as base:
        found = await fetch(f"{base}/dir", ca.root, Inside())
    assert found.caa_identities == ("example.test", "ca.example.test")


async def test_without_its_root_it_is_not_trusted(ca: Ca) -> None:
    with serving(good, ca.tls()) as base:
        error = await failure(f"{base}/dir")
    assert type(error) is Transient
    assert "cannot be reached: its certificate is not trusted (unable to get local" in str(error)
    assert str(error).endswith("; name the root of a private CA with ca_server_root")


async def test_certificates_that_no_root_makes_better(ca: Ca) -> None:
    for tls, why in (
        (ca.tls(days=-1), "certificate has expired"),
        (ca.tls("192.0.2.1"), "IP address mismatch"),
    ):
        with serving(good, tls) as base:
            error = await failure(f"{base}/dir", ca.root)
        assert type(error) is Transient
        assert why in str(error)
        assert "ca_server_root" not in str(error)


async def test_no_tls_there() -> None:
    with serving(good) as base:
        error = await failure(base.replace("http:", "https:"))
    assert type(error) is Transient
    assert "TLS failed" in str(error)


async def test_a_root_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("gone.pem", "empty.pem"):
        error = await failure(URL, tmp_path / name)
        assert isinstance(error, Permanent)
        assert str(error).startswith(f"{tmp_path / name} cannot be used to trust the CA at")
        assert "correct ca_server_root" in str(error)


def refusing() -> int:
    """Return a port where nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


async def test_out_of_reach() -> None:
    error = await failure(f"https://127.0.0.1:{refusing()}/dir")
    assert type(error) is Transient
    assert str(error).endswith("cannot be reached: Connection refused")
    error = await failure("https://ca.invalid/dir")
    assert type(error) is Transient
    assert "its name cannot be resolved" in str(error)


@contextmanager
def saying(
    *pieces: bytes, pause: float = 0, hold: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Run a server that says this to whoever connects; `hold`: and then waits."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # nobody has connected in time
            return
        with tls.wrap_socket(connection, server_side=True) if tls else connection as connection:
            try:
                connection.recv(4096)
                for piece in pieces:
                    connection.sendall(piece)
                    if ended.wait(pause):
                        return
            except OSError:
                return
            if hold:
                ended.wait(30)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}/dir"
    finally:
        ended.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


async def test_silent() -> None:
    began = time.monotonic()
    with saying(hold=True) as url:
        error = await failure(url, seconds=0.3)
    assert type(error) is Transient
    assert str(error).endswith("no answer within 0.3 s")
    assert time.monotonic() - began < 5


async def test_a_trickle_ends_in_time() -> None:
    began = time.monotonic()
    with saying(b"HTTP/1.1 200 OK\r\n\r\n", *[b" "] * 1000, pause=0.05) as url:
        error = await failure(url, seconds=0.3)
    assert str(error).endswith("no answer within 0.3 s")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "begun",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
     b"HTTP/1.1 302 Found\r\nLocation: /"],
)  # fmt: skip
async def test_a_trickle_ends_in_time_wherever_it_begins(begun: bytes) -> None:
    """Every byte is within the time of a socket, and none of them is the last."""
    began = time.monotonic()
    with saying(begun, *[b"1"] * 400, pause=0.05) as url:
        error = await failure(url, seconds=0.3)
    assert type(error) is Transient
    assert str(error).endswith("no answer within 0.3 s")
    assert time.monotonic() - began < 5


async def test_a_trickle_within_tls_ends_in_time(ca: Ca) -> None:
    began = time.monotonic()
    with saying(b"HTTP/1.1 200 OK\r\nX: ", *[b"1"] * 400, pause=0.05, tls=ca.tls()) as url:
        error = await failure(url, ca.root, seconds=0.5)
    assert str(error).endswith("no answer within 0.5 s")
    assert time.monotonic() - began < 5


def test_lists_without_an_end_are_cut() -> None:
    many = [f"{number}.example" for number in range(5000)]
    meta = {
        "caaIdentities": [*many, "x" * 9999],
        "profiles": {"y" * 9999: "", **dict.fromkeys(many, "")},
    }
    found = parse(json.dumps({**GOOD, "meta": meta}).encode(), URL)
    assert list(found.caa_identities) == many[:MOST_TEXTS]
    assert list(found.profiles) == many[:MOST_TEXTS]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "it does not answer in HTTP"),
        (b"HTTP/1.1 x OK\r\n\r\n", "it does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, "it does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "it does not answer in HTTP"),
        (b"", "closed the connection before its answer was whole"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "closed the connection before its answer was whole",
        ),
    ],
)
async def test_no_http(said: bytes, reason: str) -> None:
    with saying(said) as url:
        error = await failure(url)
    assert type(error) is Transient
    assert reason in str(error)


async def test_too_long() -> None:
    with serving(lambda _: (200, {}, b" " * (MOST_BYTES + 1))) as base:
        error = await failure(f"{base}/dir")
    assert isinstance(error, Permanent)
    assert f"it has more than {MOST_BYTES} bytes" in str(error)
    with serving(lambda _: (200, {}, b"WHOLE".ljust(MOST_BYTES // 2))) as base:
        await fetch(f"{base}/dir", None, Inside())


async def test_a_page_is_no_directory() -> None:
    with serving(lambda _: (200, {}, b"<html>Welcome</html>")) as base:
        assert isinstance(await failure(f"{base}/dir"), Permanent)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, Permanent), (410, Permanent), (403, Transient), (500, Transient), (599, Transient)],
)
async def test_other_answers(status: int, kind: type[SslmError]) -> None:
    with serving(lambda _: (status, {}, b"\x1b[2J")) as base:
        error = await failure(f"{base}/dir")
    assert type(error) is kind
    assert f"answers {status}" in str(error)
    assert "odd" not in str(error)  # its own words for a status are nobody's


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after(status: int) -> None:
    for value, seconds in (("120", 120), ("0", 60), ("99999999", 7 * 86400), ("soon", None)):
        with serving(
            lambda _, value=value: (status, {"Retry-After": value}, b"")  # type: ignore[misc]
        ) as base:
            error = await failure(f"{base}/dir")
        assert isinstance(error, Transient)
        if seconds is None and status == 503:
            assert error.retry_at is None
        else:
            assert error.retry_at is not None
            seconds = 3600 if seconds is None else seconds
            wait = error.retry_at - datetime.now(UTC)
            assert timedelta(seconds=seconds) - NOW_MOST < wait <= timedelta(seconds=seconds)


# --- redirects ------------------------------------------------------------------------------


async def test_redirects(ca: Ca) -> None:
    asked = []

    def answers(path: str) -> tuple[int, Mapping[str, str], bytes]:
        asked.append(path)
        return good(path) if path == "/dir" else (302, {"Location": "/dir"}, b"")

    with serving(answers, ca.tls()) as base:
        assert (await fetch(f"{base}/", ca.root, Inside())).new_order
    assert asked == ["/", "/dir"]


async def test_circles_end() -> None:
    asked = []

    def answers(path: str) -> tuple[int, Mapping[str, str], bytes]:
        asked.append(path)
        return 302, {"Location": f"/{len(asked)}"}, b""

    with serving(answers) as base:
        error = await failure(f"{base}/dir")
    assert type(error) is Transient
    assert "answers 302 Found again and again" in str(error)
    assert len(asked) == MOST_REDIRECTS + 1


@pytest.mark.parametrize("where", ["http", "file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
async def test_no_redirect_leaves_https(ca: Ca, where: str) -> None:
    with serving(good) as plain:
        location = f"{plain}/dir" if where == "http" else where
        with serving(lambda _: (302, {"Location": location}, b""), ca.tls()) as base:
            error = await failure(f"{base}/dir", ca.root)
    assert type(error) is Transient
    assert "it redirects from https to" in str(error) or "answers 302" in str(error)


async def test_no_redirect_leaves_http() -> None:
    with serving(lambda _: (302, {"Location": "ftp://127.0.0.1/x"}, b"")) as base:
        error = await failure(f"{base}/dir")
    assert str(error).endswith("it redirects from http to ftp")


async def test_what_leads_to_another_host() -> None:
    for name in ("newOrder", "keyChange", "renewalInfo"):
        content = json.dumps({**WHOLE, name: "https://elsewhere.test/x"}).encode()
        with pytest.raises(Permanent, match=r"leads to another host: https://elsewhere.test/x; "):
            await fetch(URL, None, Said(content))  # type: ignore[arg-type]
    other = json.dumps(WHOLE).replace("acme.example.test", "moved.test").encode()
    with pytest.raises(Permanent, match="leads to another host"):
        await fetch(URL, None, Said(other))  # type: ignore[arg-type]
    # Where it was redirected to is where it is.
    assert (await fetch(URL, None, Said(other, "https://moved.test/d"))).new_order  # type: ignore[arg-type]
