"""No byte of others reaches a line raw, whatever they say and wherever it is told.

Two halves: whatever a text is, every place that tells it makes it plain; and whoever it comes
from, what is told of it is escaped once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shlex
import shutil
import socket
import struct
import sys
import unicodedata
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from _pytest.logging import LogCaptureHandler
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sslmd.acme.problems import read_problem
from sslmd.config.load import load
from sslmd.core.dane.report import DaneReport, Finding
from sslmd.core.errors import ConfigError, Failure, Mistake, SslmError, Transient, Trouble
from sslmd.core.host.needs import Belonging
from sslmd.core.names import BadName, CertId, DomainName, SetName
from sslmd.core.plain import MOST, MOST_LINES, plain
from sslmd.core.state import Server, ServerPhase
from sslmd.core.words.sentence import say
from sslmd.daemon.api.methods import Methods
from sslmd.daemon.api.server import SocketServer
from sslmd.daemon.host_book import Configured, HostEntry
from sslmd.daemon.hub import Hub
from sslmd.daemon.refusal import refusal_of
from sslmd.daemon.systemd import Notifier
from sslmd.daemon.tell import journal
from sslmd.daemon.tell.journal import ERROR, Bus, JournalHandler, Record, StderrHandler
from sslmd.dns.caa import Property, forbidden
from sslmd.net.starttls import _said
from sslmd.processes import run_command
from sslmd.servers.ssh import _last, _shown
from sslmd.store.note_kinds import HostNote
from sslmd.wire.messages import ErrorCode, Method, RpcRequest, WireError, encode, encode_plain
from tests.daemon.conftest import EXAMPLE
from tests.reasons import because
from tests.stand.tools import Tools, believe

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WEB = CertId("example.com", "web-ec")

# One of each kind that does something: terminals, lines, directions, invisible, broken, endless.
NASTY = [
    "\x1b[31m\x1b]0;title\x07\x1b]8;;http://x\x1b\\",
    "\x9b31m\x90\x9c\x7f\b\x00",
    "a\nb\rc\vd\x0ce\x1cf\x1dg\x1eh\x85i\u2028j\u2029k",
    "<3>example.com/web: lost\nWATCHDOG=1\nMESSAGE=x",
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u115f\u3164\u2800\ufe0f\U000e0100",
    "\ud800\udfff\udc80\udcff",
    "\ue000\U000f0000\uffff\ufffe\u0378",
    "\u00a0\u3000\u2003",
    "x" * 20_000,
    "\x1b" * 20_000,
    '"\\x1b\\u202e\\',
]
texts = st.lists(
    st.sampled_from(NASTY) | st.text(st.characters(codec=None), max_size=20), max_size=4
).map("".join)

# What may stand in a line, told in another way than the program's own.
_BAD = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_INVISIBLE = set("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe0f\u180b\U000e0100")


def check_line(line: str, most: int = 1 << 17) -> None:
    bad = [one for one in set(line) if unicodedata.category(one) in _BAD or one in _INVISIBLE]
    assert not bad, f"{bad!r} in {line[:200]!r}"
    assert len(line) < most


def check_lines(data: bytes) -> None:
    """Every line is UTF-8 and plain."""
    for line in data.decode("utf-8").split("\n"):
        check_line(line, MOST + 300)


def check_json(data: bytes) -> None:
    """Every line is plain, and so is every text in it, when it is taken out."""
    lines = data.decode("utf-8").split("\n")
    assert lines.pop() == ""
    for line in lines:
        check_line(line, 1 << 24)
        _check_value(json.loads(line))


def _check_value(value: Any) -> None:
    if isinstance(value, str):
        check_line(value)
    elif isinstance(value, dict):
        for key, one in value.items():
            check_line(key)
            _check_value(one)
    elif isinstance(value, list):
        for one in value:
            _check_value(one)


# --- wherever it is told ----------------------------------------------------------------------


class World:
    """A hub, and everything that tells of it: each is the program's own."""

    def __init__(self, tools: Tools, top: Path) -> None:
        self.top, self.tools = top, tools
        self.runner = asyncio.Runner()
        self.journal = self._listener("journal")
        self.manager = self._listener("notify")
        self.stderr = StringIO()
        self.bus = Bus()
        self.notifier = Notifier()
        self.runner.run(self._start())

    async def _start(self) -> None:
        self.hub = Hub(
            self.tools.site,
            self.tools.threads,
            self.tools.standings,
            self.tools.telling,
            self.bus,
            1,
        )
        self.hub.load()
        methods = Methods(self.hub, self._reload, NOW, 1)
        path = str(self.top / "sock")
        self.server = SocketServer(path, methods.handle, lambda *_: None)
        await self.server.start()
        self.reader, self.writer = await asyncio.open_unix_connection(path, limit=1 << 26)
        assert b"hello" in await self.reader.readline()
        self.mistake = ""

    async def _reload(self) -> dict[str, Any]:
        wrong = Mistake(self.mistake, 1, self.mistake, self.mistake, self.mistake)
        raise ConfigError([wrong], [wrong])

    def _listener(self, name: str) -> socket.socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        line.bind(str(self.top / name))
        line.settimeout(10)
        return line

    def end(self) -> None:
        self.writer.close()
        self.runner.run(self.server.stop())
        self.runner.close()
        self.journal.close()
        self.manager.close()
        self.notifier._notifier.socket.close()

    # --- what is told ---

    def log(self, text: str) -> Iterator[bytes]:
        """Yield what journal, stderr and log file get."""
        _unheard_by_pytest()
        try:
            raise RuntimeError(text)
        except RuntimeError as err:
            bug = err
        self.bus.record(Record(NOW, "held", text, ERROR, WEB))
        yield self.journal.recv(1 << 20)
        self.bus.bug(NOW, text, bug, WEB)
        yield self.journal.recv(1 << 20)
        # What a library logs, or asyncio.
        logging.getLogger("asyncio").error("%s", text)
        yield self.journal.recv(1 << 20)
        yield self.stderr.getvalue().encode("utf-8")
        self.stderr.seek(0)
        self.stderr.truncate()
        log = self.top / "logs/sslmd.log"
        yield log.read_bytes()
        log.write_bytes(b"")

    def become(self, text: str) -> None:
        """Let everything that a person is told be this text."""
        _unheard_by_pytest()
        error = Transient(text)
        entry = self.hub.registry[WEB]
        trouble = Trouble(1, Failure.TRANSIENT, str(error), NOW, NOW, "")
        server = Server("web", text, ServerPhase.FAILED, error=text, attempts=1, next_try=NOW)
        state = replace(entry.state, trouble=trouble, servers=(server,))
        decision = replace(entry.decision, reason=because(text), alarm=because(text))
        found = Finding(text, because(text), wrong=True), Finding(text, because(text))
        report = DaneReport(NOW, found)
        told = dict.fromkeys(("hold", "unsaved", "progress", "astray"), because(text))
        registry, more = self.hub.registry, {"state": state, "decision": decision}
        believe(registry, WEB, **told, **more, report=report)
        self.hub.refused = refusal_of(NOW, [text])
        self.hub.dh.troubles = (because(text),)
        odd = HostNote(surplus=(Belonging.noted(text),), older=(text,))
        notes, is_this = self.hub.hosts.notes, HostEntry(odd, in_use=True, is_this=True)
        notes.put("localhost", Configured(is_this))
        self.mistake = text
        self.journal.setblocking(False)  # what the change itself has told is not looked at
        with suppress(BlockingIOError):
            while self.journal.recv(1 << 20):
                pass
        self.journal.settimeout(10)

    async def ask(self, method: Method, **params: object) -> bytes:
        self.writer.write(encode(RpcRequest(1, method, params)))
        told = b""
        while b'"id":1,' not in told.rsplit(b"\n", 2)[-2:][0]:
            told += await self.reader.readline()
        return told

    def answers(self, text: str) -> Iterator[bytes]:
        """Yield what clients get."""
        self.become(text)
        for method in (Method.STATUS, Method.CONFIG, Method.PLAN, Method.EVENTS, Method.RELOAD):
            yield self.runner.run(self.ask(method))
        yield self.runner.run(self.ask(Method.SHOW, cert="example.com:web-ec"))
        yield encode_plain(WireError(ErrorCode.REFUSED, text, data={text: [text]}).response())

    def status(self, text: str) -> bytes:
        """Return what the service manager gets."""
        self.notifier.status(text)
        return self.manager.recv(1 << 20)


def _unheard_by_pytest() -> None:
    """Take away the handlers by which pytest captures: what they hear raw cannot be reported."""
    for name in ("sslmd", "asyncio"):
        log = logging.getLogger(name)
        log.handlers[:] = [one for one in log.handlers if not isinstance(one, LogCaptureHandler)]


@pytest.fixture
def world(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    one = World(tools, tmp_path)
    monkeypatch.setattr(sys, "stderr", one.stderr)
    ours, root = logging.getLogger("sslmd"), logging.getLogger()
    before, level, root_level = list(ours.handlers), ours.level, root.level
    handlers = [JournalHandler(str(tmp_path / "journal")), StderrHandler()]
    ours.handlers[:], ours.propagate = handlers, False
    asyncio_log = logging.getLogger("asyncio")
    for handler in handlers:
        asyncio_log.addHandler(handler)
    asyncio_log.propagate = False
    ours.setLevel(logging.INFO)
    journal.add_file(tmp_path / "logs")
    try:
        yield one
    finally:
        asyncio_log.propagate = True
        for handler in list(ours.handlers):
            asyncio_log.removeHandler(handler)
            handler.close()
        ours.handlers[:] = before
        ours.setLevel(level)
        root.setLevel(root_level)
        one.end()


def fields_of(datagram: bytes) -> dict[str, bytes]:
    """Read journald's native protocol."""
    fields = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", datagram[:8])
            value, datagram = datagram[8 : 8 + length], datagram[9 + length :]
        assert name.decode() not in fields
        fields[name.decode()] = value
    return fields


_QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_QUICK
@given(text=texts)
@example(text="".join(NASTY))
def test_every_line_of_the_log_is_plain(world: World, text: str) -> None:
    record, bug, library, stderr, file = world.log(text)
    for datagram in (record, bug, library):
        fields = fields_of(datagram)
        assert set(fields) <= {
            *("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE_ID"),
            *("SSLM_EVENT", "SSLM_CERT", "SSLM_JOB", "SSLM_SET"),
        }
        check_lines(b"\n".join(fields.values()))
    assert b"\n" not in fields_of(record)["MESSAGE"]
    for data in (stderr, file):
        check_lines(data)
    # What is no first line of a record cannot be taken for one.
    assert all(re.match(rb"<3>", line) for line in stderr.splitlines())
    lines = file.decode().split("\n")[:-1]
    assert [line for line in lines if not line.startswith((" ", "2"))] == []
    assert sum(line.startswith("2") for line in lines) == 2
    assert len(lines) < 2 * MOST_LINES + 5


@_QUICK
@given(text=texts)
@example(text="".join(NASTY))
def test_every_answer_is_plain(world: World, text: str) -> None:
    for _ in world.log(text):
        pass  # for `events`
    for told in world.answers(text):
        check_json(told)


@_QUICK
@given(text=texts)
@example(text="x\nWATCHDOG=1\nMAINPID=1")
@example(text="é" * 5000)
def test_the_status_line_is_one_assignment(world: World, text: str) -> None:
    told = world.status(text)
    assert told.startswith(b"STATUS=")
    assert len(told) < 4096  # NOTIFY_BUFFER_MAX of systemd
    check_line(told.decode())


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@given(text=texts)
def test_nothing_is_escaped_twice(text: str) -> None:
    once = plain(text)
    check_line(once)
    assert len(once) <= MOST
    assert plain(once) == once
    assert str(Transient(str(Transient(text)))) == once
    assert Record(NOW, "held", once).text == once
    assert json.loads(encode_plain(WireError(1, once).response()))["error"]["message"] == once


# --- whoever says it --------------------------------------------------------------------------


async def a_caa_record(text: str) -> str:
    async def lookup(_: str) -> list[Property]:
        return [Property(0, "issue", text), Property(128, text, text)]

    name = DomainName.parse("www.example.com")
    return say(await forbidden(name, ["ca.example"], "dns-01", "", lookup))


async def a_caa_value(text: str) -> str:
    async def lookup(_: str) -> list[Property]:
        return [Property(0, "issue", text)]

    name = DomainName.parse("www.example.com")
    return say(await forbidden(name, ["ca.example"], "dns-01", "", lookup))


async def a_host_name(text: str) -> str:
    with pytest.raises(BadName) as caught:
        DomainName.parse(f"{text} x")
    return str(caught.value)


async def a_banner(text: str) -> str:
    return _said(text.encode("utf-8", "surrogatepass"))


async def a_far_host(text: str) -> str:
    # As `servers.ssh` quotes what a login prints.
    return f"it says {_shown(text)}"


async def what_ssh_says(text: str) -> str:
    return _last(f"{text}\nlast {text}")


async def a_command(text: str) -> str:
    """What a program says: git, rndc, a hook of the admin's."""
    data = text.encode("utf-8", "surrogatepass")[:1000]
    octal = "".join(f"\\{byte:03o}" for byte in data)
    with pytest.raises(SslmError) as caught:
        await run_command(
            ("sh", "-c", f"printf {shlex.quote(octal)}; exit 3"),
            timeout=timedelta(seconds=60),
            cwd="/",
        )
    return str(caught.value)


async def a_problem_document(text: str) -> str:
    stamp = "2026-11-24 12:30:00,000:DEBUG:"
    document = {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": text}
    log = (
        f"{stamp}acme.client:Received response:\nHTTP 400\nServer: nginx\n\n"
        f"{json.dumps(document)}\n{stamp}certbot._internal.log:Exiting abnormally:\n"
    )
    return read_problem(1, "", log, NOW, "https://ca.example/dir").text


async def what_certbot_says(text: str) -> str:
    return read_problem(1, text, text, NOW, "https://ca.example/dir").text


async def a_file_name(text: str) -> str:
    return str(Transient(f"/certs/{text}: cannot be read"))


SOURCES: dict[str, Callable[[str], Coroutine[None, None, str]]] = {
    one.__name__: one
    for one in (
        *(a_caa_record, a_caa_value, a_host_name, a_banner, a_far_host, what_ssh_says),
        *(a_command, a_problem_document, what_certbot_says, a_file_name),
    )
}


@pytest.mark.parametrize("source", SOURCES)
def test_what_others_say_is_escaped_once(source: str) -> None:
    """An ESC is `\\x1b` at the end of its way, and nowhere `\\\\x1b`, a question mark or raw."""

    @settings(max_examples=30 if source != "a_command" else 8)
    @given(text=texts)
    @example(text="\x1b[31mred\x1b[0m")
    def check(text: str) -> None:
        told = asyncio.run(SOURCES[source](text)) or ""
        record = Record(NOW, "held", str(Transient(told)))
        check_line(record.text, MOST + 1)
        answer = json.loads(encode_plain(WireError(ErrorCode.REFUSED, record.text).response()))
        assert answer["error"]["message"] == record.text
        if text == "\x1b[31mred\x1b[0m":
            assert "\\x1b[31mred" in record.text
            assert "\\\\x1b" not in record.text

    check()


@pytest.mark.parametrize("wrong", ["clean_keep = 'x'\n", "clean_kep = 1\n"])
def test_names_of_files_in_the_configuration(tmp_path: Path, wrong: str) -> None:
    """Folders are named by whoever makes them; mistakes and warnings begin with the path."""
    conf = tmp_path / os.fsdecode(b"\x1b]0;x\x07\xe2\x80\xae\xff")
    shutil.copytree(EXAMPLE, conf)
    main = conf / "ssl-mgr.conf"
    main.write_text(main.read_text().replace("[globals]", f"[globals]\n{wrong}", 1))
    try:
        told = [str(one) for one in load(conf).warnings]
    except ConfigError as err:
        told = err.lines()
    assert [one for one in told if "x1b]0;x" in one]
    for line in told:
        check_line(line)


def test_sets_are_named_by_nobody_else() -> None:
    with pytest.raises(BadName) as caught:
        SetName.parse("\x1b[31m")
    check_line(str(caught.value))
