"""Include files: what we write, what ssl-mgr wrote, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sslmd.core.names import DomainName, ZoneName
from sslmd.core.records import TxtRecord
from sslmd.dns.include import CHALLENGE_FILES
from sslmd.store.layout import challenge_file

ZONE = ZoneName("example.com")
APEX = DomainName("_acme-challenge.example.com")
WWW = DomainName("_acme-challenge.www.example.com")
ONE = TxtRecord(APEX, "x" * 43)
TWO = TxtRecord(APEX, "a_b-" + "Z" * 39)
THREE = TxtRecord(WWW, "y" * 43)


def test_where_it_is() -> None:
    assert challenge_file(Path("/etc/dns"), ZONE) == "/etc/dns/acme-challenge.example.com"


def test_what_is_in_it() -> None:
    text = CHALLENGE_FILES.render(ZONE, frozenset([THREE, ONE, TWO]))
    comment, *lines = text.decode().splitlines()
    assert comment.startswith("; ")
    assert lines == [
        f'_acme-challenge.example.com. 60 IN TXT "{TWO.value}"',
        f'_acme-challenge.example.com. 60 IN TXT "{ONE.value}"',
        f'_acme-challenge.www.example.com. 60 IN TXT "{THREE.value}"',
    ]


def test_without_records_there_is_a_comment() -> None:
    text = CHALLENGE_FILES.render(ZONE, frozenset([])).decode()
    assert text.startswith("; ")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "record",
    [
        TxtRecord(APEX, 'a" \n$INCLUDE /etc/shadow'),
        TxtRecord(APEX, "a;b"),
        TxtRecord(APEX, "a b"),
        TxtRecord(APEX, "a\n"),
        TxtRecord(APEX, ""),
        TxtRecord(APEX, "a" * 256),
        TxtRecord(DomainName("_acme-challenge.example.net"), "a"),
        TxtRecord(DomainName("a b.example.com"), "a"),
        TxtRecord(DomainName('a".example.com'), "a"),
        TxtRecord(DomainName("a\n.example.com"), "a"),
    ],
)
def test_what_could_break_the_zone_is_refused(record: TxtRecord) -> None:
    with pytest.raises(ValueError):
        CHALLENGE_FILES.render(ZONE, frozenset([ONE, record]))


@pytest.mark.parametrize("records", [[], [ONE], [ONE, TWO, THREE]])
def test_what_is_written_reads_back(tmp_path: Path, records: list[TxtRecord]) -> None:
    path = tmp_path / "acme-challenge.example.com"
    path.write_bytes(CHALLENGE_FILES.render(ZONE, frozenset(records)))
    assert CHALLENGE_FILES.read(str(path)) == frozenset(records)


def test_files_of_others_are_read_leniently(tmp_path: Path) -> None:
    path = tmp_path / "acme-challenge.example.com"
    path.write_text(
        "; made by ssl-mgr\n"
        f'_acme-challenge.example.com. 60 IN TXT "{ONE.value}"\n'
        f'_ACME-Challenge.Example.COM.  IN 60 TXT "{TWO.value}" ; a remark\n'
        f"_acme-challenge.www.example.com. TXT {THREE.value}\n"
        f'_acme-challenge.example.com. 1h IN TXT "abc" "def"\n'
        "_acme-challenge.example.com. 60 IN TXT broken value!\n"
        "_acme-challenge.example.com. 60 IN A 192.0.2.1\n"
        "$TTL 60\n\n   \n)))(((\n"
        "\udcff".encode(errors="surrogateescape").decode(errors="replace")
    )
    found = CHALLENGE_FILES.read(str(path))
    assert found == frozenset({ONE, TWO, THREE, TxtRecord(APEX, "abcdef")})


def test_no_file_no_records(tmp_path: Path) -> None:
    assert CHALLENGE_FILES.read(str(tmp_path / "none")) is None
    assert CHALLENGE_FILES.read(str(tmp_path)) is None


@pytest.mark.skipif(shutil.which("named-checkzone") is None, reason="there is no named-checkzone")
def test_bind_takes_it(tmp_path: Path) -> None:
    include = tmp_path / "include"
    include.write_bytes(CHALLENGE_FILES.render(ZONE, frozenset([ONE, TWO, THREE])))
    (tmp_path / "zone").write_text(
        "$TTL 60\n@ IN SOA ns admin 1 60 60 60 60\n@ IN NS ns\nns IN A 192.0.2.1\n"
        f"$INCLUDE {include}\n"
    )
    done = subprocess.run(
        ["named-checkzone", "-D", "example.com", str(tmp_path / "zone")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for record in (ONE, TWO, THREE):
        assert f'"{record.value}"' in done.stdout
