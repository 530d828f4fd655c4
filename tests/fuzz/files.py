"""Files that others can write, certificates and keys among them, as targets of `make fuzz`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.names import SetName, ZoneName
from sslmd.core.words.sentence import say
from sslmd.dns import before, include, notes
from sslmd.net.probe import facts_of
from sslmd.net.probe_messages import described
from sslmd.pki.chain import arranged
from sslmd.pki.csr import asked_names
from sslmd.pki.describe import describe
from sslmd.pki.inspect import repairs, set_facts
from sslmd.pki.judge import Terms, find_path, judge
from sslmd.pki.keys import load_public
from sslmd.pki.parsed import Use, parse_all
from sslmd.pki.pem import MALFORMED, key_der, whole_blocks
from sslmd.pki.tlsa import material_of
from sslmd.store import state
from sslmd.store.files import read_file
from sslmd.store.note_kinds import HOST_NOTE, ZONE_NOTE
from sslmd.store.notes import BadNoteError, LaterVersionError
from tests.fuzz.target import Target

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ZONE = ZoneName.parse("example.com")
TESTS = Path(__file__).parent.parent

_folder = tempfile.TemporaryDirectory(prefix="sslmd-fuzz-")


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    path = f"{_folder.name}/{os.getpid()}"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    yield path


# --- files ---


def _records(data: bytes) -> Iterable[str]:
    include.CHALLENGE_FILES.is_ours(data)
    texts = [str(one.owner) for one in include.parse_challenges(data)]
    content = include.parse_tlsa(data, 300)
    include.says(data, ZONE, content)
    return [*texts, *map(str, content)]


_RECORDS = [
    b'_acme-challenge.www.example.com. 60 IN TXT "abc"\n; sslmd\n',
    b"_25._tcp.mail.example.com. 1w2d IN TLSA 3 1 1 ( "
    + b"ab" * 16
    + b"\n "
    + b"cd" * 16
    + b" )\n",
]


def _bind_reload() -> Callable[[bytes], Iterable[str]]:
    source = (TESTS.parent / "sslmd/config/tools/bind-reload").read_text()
    tool: dict[str, Any] = {"__name__": "bind_reload"}
    exec(compile(source, "bind-reload", "exec"), tool)
    problem: type[Exception] = tool["Problem"]

    def read(data: bytes) -> Iterable[str]:
        try:
            tool["with_next_serial"](data.decode(errors="surrogateescape"), "zone")
        except problem as err:
            return [str(err)]
        return ()

    return read


_ZONES = [
    b"$TTL 1h\n@ 1d IN SOA ns.example.com. admin.example.com. ( 2026010101 ; serial\n"
    b' 1h 15m 2w 1h )\n@ NS ns\n$INCLUDE "/etc/bind/tlsa.example.com"\n',
    b"example.com. 3600 IN SOA a b 1 2 3 4 5\n",
]


def _state(data: bytes) -> Iterable[str]:
    state.split(data)
    for read in (state.parse, state.parse_history):
        try:
            read(data)
        except (BadNoteError, LaterVersionError) as err:
            yield str(err)


def _notes(data: bytes) -> Iterable[str]:
    with _as_file(data) as path:
        HOST_NOTE.read(path)
        ZONE_NOTE.read(path)
        notes.note_in(data, include.TLSA_FILES)
        notes.note_in(data, include.CHALLENGE_FILES)
        before.left(path, b"")
        read_file(path)
    return ()


_STATE = [
    b"""version = 1
curr = "20260601-12:00:00"
[sets."20260601-12:00:00"]
issued = 2026-06-01T12:00:00Z
[trouble]
kind = "transient"
text = "x"
[[history]]
at = 2026-06-01T12:00:00Z
text = "y"
"""
]
_NOTES = [
    b"""version = 1
holds = ["example.com:web"]
surplus = ["a"]
visited = 2026-06-01T12:00:00Z
""",
    b"""version = 1
mx = ["mail.example.com"]
longest = ["_25._tcp.mail.example.com 60"]
ttl = 5
""",
    b"""version = 1
[[files]]
path = "/x"
before = "y"
loaded = "z"
written = ["00"]
""",
]


# --- certificates and keys ---


def _pem(data: bytes) -> Iterable[str]:
    found, problem = whole_blocks(data)
    yield ascii(problem)
    for one in describe(data, NOW):
        yield one.error
    parsed, troubles = parse_all([block.der for block in found if block.label == "CERTIFICATE"])
    yield from troubles
    terms = Terms(NOW, Use.SERVER)
    if parsed:
        yield from (one.text for one in judge(parsed, terms))
        if found_path := find_path(parsed[0], parsed[1:], parsed[-1:], terms):
            yield from (one.text for one in found_path[1])


def _served(data: bytes) -> Iterable[str]:
    material_of([data])
    with suppress(*MALFORMED):
        x509.load_der_x509_certificate(data)
        key_der(data)
    return [say(described(facts_of(data)))]


_NAMES = ("privkey.pem", "csr.pem", "cert.pem", "chain.pem", "fullchain.pem", "bundle.pem")


def _set(data: bytes) -> Iterable[str]:
    files = dict(zip(_NAMES, data.split(b"\0"), strict=False))
    yield set_facts(SetName.at(NOW), files).problem
    set_facts(SetName.at(NOW), files, deep=False)
    repairs(files)
    for read in (load_public, asked_names):
        try:
            read(data)
        except Permanent as err:
            yield str(err)
    arranged(load_public(_key()), data, NOW)


# The same in every run, so that what was found is found again.
_SET = Path(__file__).with_name("set")


def _pems() -> list[bytes]:
    return [*(file.read_bytes() for file in sorted(_SET.iterdir())), *_ders()]


def _ders() -> list[bytes]:
    return [block.der for block in whole_blocks((_SET / "bundle.pem").read_bytes())[0]]


def _key() -> bytes:
    return (_SET / "privkey.pem").read_bytes()


def _sets() -> list[bytes]:
    return [b"\0".join((_SET / name).read_bytes() for name in _NAMES)]


_TOML = (b"[[", b"]]", b"= ", b'"""', b"1e400", b"inf", b"nan", b"0001-01-01", b"-1", b"{}", b"[")
_DER = (b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x06\x03\x55\x1d\x11", b"\x0c\x04")

TARGETS = (
    Target("include", _records, lambda: _RECORDS, (), (b"(", b")", b"1w", b'"', b"\\")),
    Target("zone", _bind_reload(), lambda: _ZONES, (), (b"(", b"1w", b'"', b"\\", b" SOA ")),
    Target("state", _state, lambda: _STATE, (), _TOML),
    Target("notes", _notes, lambda: _NOTES, (SslmError,), _TOML),
    Target("pem", _pem, _pems, (Permanent, Transient), _DER),
    Target("served", _served, _ders, (), _DER),
    Target("set", _set, _sets, (Permanent, Transient), _DER),
)
