"""What is noted of a host: written, read, and damaged."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.core.host.needs import Belonging
from sslmd.core.names import CertId
from sslmd.store.layout import Tree
from sslmd.store.note_kinds import HOST_NOTE, HostNote, parse_cert

HOST = "certs@web1.example.net"
NOTE = HostNote(
    holds=frozenset({CertId("example.com", "web"), CertId("ca", "my-int")}),
    surplus=tuple(map(Belonging.noted, ("ca/my-root with its key", "example.com/old"))),
    visited=datetime(2026, 6, 1, 12, 30, tzinfo=UTC),
    attempts=3,
    error="web1: Connection refused; see whether it is up",
    next_try=datetime(2026, 6, 1, 12, 35, 0, 250000, tzinfo=UTC),
)


@pytest.mark.parametrize("note", [NOTE, HostNote(), HostNote(error='"\n\\\x1b')])
def test_round_trip(tmp_path: Path, note: HostNote) -> None:
    path = Tree(str(tmp_path)).host_note(HOST)
    assert path == f"{tmp_path}/.hosts/{HOST}.toml"
    assert HOST_NOTE.read(path) == HostNote()
    HOST_NOTE.write(path, note)
    assert HOST_NOTE.read(path) == note
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path / ".hosts") == [f"{HOST}.toml"]


def test_no_host_leads_elsewhere(tmp_path: Path) -> None:
    hosts = ("../../etc/x", "a/b", "fe80::1%eth0", "[2001:db8::1]", "a%2Fb", ".")
    paths = {Tree(str(tmp_path)).host_note(host) for host in hosts}
    assert len(paths) == len(hosts)
    for path in paths:
        assert Path(path).parent == tmp_path / ".hosts"
        HOST_NOTE.write(path, NOTE)
        assert HOST_NOTE.read(path) == NOTE


def test_times_of_other_zones_are_the_same(tmp_path: Path) -> None:
    path = Tree(str(tmp_path)).host_note(HOST)
    zone = timezone(timedelta(hours=2))
    HOST_NOTE.write(path, HostNote(visited=datetime(2026, 6, 1, 14, tzinfo=zone)))
    assert HOST_NOTE.read(path) == HostNote(visited=datetime(2026, 6, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "holds = ['example.com/web']",
        "version = 2\nholds = ['example.com/web']",
        "version = 1\nholds = 5",
        "version = 1\nholds = ['web']",
        "version = 1\nholds = ['../x/web']",
        "version = 1\nholds = ['example.com/../web']",
        "version = 1\nattempts = 'x'",
        "version = 1\nattempts = inf",
        "version = 1\nnext_try = 2026-01-01",
        "version = 1\nnext_try = 2026-01-01T12:00:00",
        "version = 1\nvisited = 'yesterday'",
        "version = 1\nsurplus = 7",
        "version = 1\nholds = ['example.com/web'",
        "x = " + "[" * 100_000,
        "\x00\xff",
    ],
)
def test_what_makes_no_sense_counts_as_nothing(tmp_path: Path, text: str) -> None:
    path = Path(Tree(str(tmp_path)).host_note(HOST))
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    assert HOST_NOTE.read(str(path)) == HostNote()
    HOST_NOTE.write(str(path), NOTE)
    assert HOST_NOTE.read(str(path)) == NOTE


def test_fewer_attempts_than_none(tmp_path: Path) -> None:
    path = Path(Tree(str(tmp_path)).host_note(HOST))
    path.parent.mkdir()
    path.write_text("version = 1\nattempts = -3\n")
    assert HOST_NOTE.read(str(path)).attempts == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_note_of_somebody_else_is_not_believed(tmp_path: Path) -> None:
    path = Tree(str(tmp_path)).host_note(HOST)
    HOST_NOTE.write(path, NOTE)
    os.chown(path, 12345, -1)
    with pytest.raises(Permanent, match="belongs to uid 12345"):
        HOST_NOTE.read(path)
    # What is noted next is ours again.
    HOST_NOTE.write(path, NOTE)
    assert HOST_NOTE.read(path) == NOTE


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = Path(Tree(str(tmp_path)).host_note(HOST))
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Permanent, match="replace the link"):
        HOST_NOTE.read(str(path))
    HOST_NOTE.write(str(path), NOTE)
    assert not path.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


def test_names_of_certificates() -> None:
    assert parse_cert("example.com/web") == CertId("example.com", "web")
    for text in ("web", "", "/", "example.com/", "a b/web", "../web", "example.com/a/b"):
        with pytest.raises(ValueError):
            parse_cert(text)


def test_a_host_that_was_never_reached_holds_nothing(tmp_path: Path) -> None:
    """Older versions noted what was to be sent before anybody had answered."""
    path = Tree(str(tmp_path)).host_note(HOST)
    held = frozenset({CertId("example.com", "web")})
    HOST_NOTE.write(path, HostNote(held, error="Connection refused", attempts=1))
    assert HOST_NOTE.read(path).holds == frozenset()
    HOST_NOTE.write(path, HostNote(held, machine="0123:7"))
    assert HOST_NOTE.read(path).holds == held
