"""Include files with TLSA records: what we write, what ssl-mgr wrote, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.dane.tlsa import Content, Tlsa, TlsaSet
from sslmd.core.names import DomainName, ZoneName
from sslmd.dns.include import LONGEST_TTL, TLSA_FILES, parse_tlsa
from sslmd.store.layout import tlsa_file

ZONE = ZoneName("example.com")
MAIL = DomainName("_25._tcp.mail.example.com")
WEB = DomainName("_443._tcp.example.com")
ONE = Tlsa(3, 1, 1, "ab" * 32)
TWO = Tlsa(3, 1, 1, "cd" * 32)
LONG = Tlsa(3, 0, 0, "0123456789abcdef" * 300)

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?", fullmatch=True)
owners = st.builds(
    lambda port, host: DomainName(f"_{port}._tcp.{host}.example.com"), st.integers(0, 65535), labels
)
numbers = st.integers(0, 255)
records = st.builds(
    Tlsa, numbers, numbers, numbers, st.binary(min_size=1, max_size=400).map(bytes.hex)
)
contents = st.dictionaries(
    owners,
    st.builds(TlsaSet, st.integers(0, LONGEST_TTL), st.frozensets(records, min_size=1, max_size=4)),
    max_size=5,
)


def content(*some: Tlsa, ttl: int = 1800, owner: DomainName = MAIL) -> Content:
    return {owner: TlsaSet(ttl, frozenset(some))}


def test_where_it_is() -> None:
    assert tlsa_file(Path("/etc/dns"), ZONE) == "/etc/dns/tlsa.example.com"


def test_what_is_in_it() -> None:
    some = {**content(TWO, owner=WEB, ttl=60), **content(TWO, ONE)}
    comment, *lines = TLSA_FILES.render(ZONE, some).decode().splitlines()
    assert comment.startswith("; ")
    assert lines == [
        f"_25._tcp.mail.example.com. 1800 IN TLSA 3 1 1 {'ab' * 32}",
        f"_25._tcp.mail.example.com. 1800 IN TLSA 3 1 1 {'cd' * 32}",
        f"_443._tcp.example.com. 60 IN TLSA 3 1 1 {'cd' * 32}",
    ]


def test_without_records_there_is_a_comment() -> None:
    text = TLSA_FILES.render(ZONE, {}).decode()
    assert text.startswith("; ")
    assert text.count("\n") == 1
    assert TLSA_FILES.render(ZONE, content()) == text.encode()


def test_long_data_goes_over_several_lines() -> None:
    lines = TLSA_FILES.render(ZONE, content(LONG)).decode().splitlines()
    assert lines[1] == f"{MAIL}. 1800 IN TLSA 3 0 0 ("
    assert lines[-1] == ")"
    assert max(map(len, lines)) <= 160


@pytest.mark.parametrize(
    "bad",
    [
        content(Tlsa(3, 1, 1, "ab\n$INCLUDE /etc/shadow")),
        content(Tlsa(3, 1, 1, "")),
        content(Tlsa(3, 1, 1, "abc")),
        content(Tlsa(3, 1, 1, "AB")),
        content(Tlsa(3, 1, 1, "ab\n")),
        content(Tlsa(3, 1, 1, "zz")),
        content(Tlsa(256, 1, 1, "ab")),
        content(Tlsa(3, 1, -1, "ab")),
        content(ONE, ttl=-1),
        content(ONE, ttl=2**31),
        content(ONE, owner=DomainName("_25._tcp.mail.example.net")),
        content(ONE, owner=DomainName("_25._tcp.mailexample.com")),
        content(ONE, owner=DomainName("a b.example.com")),
        content(ONE, owner=DomainName("a\n.example.com")),
    ],
)
def test_what_could_break_the_zone_is_refused(bad: Content) -> None:
    with pytest.raises(ValueError):
        TLSA_FILES.render(ZONE, {WEB: TlsaSet(60, frozenset({TWO})), **bad})


@given(contents)
def test_what_is_written_reads_back(some: Content) -> None:
    assert parse_tlsa(TLSA_FILES.render(ZONE, some), 7) == some


@given(st.binary(max_size=300))
def test_noise_is_no_record(data: bytes) -> None:
    assert parse_tlsa(data, 7) == {}


@given(contents, st.text(alphabet=' ()";\n\\aT1.', max_size=20), st.data())
def test_nothing_in_a_file_raises(some: Content, noise: str, data: st.DataObject) -> None:
    text = TLSA_FILES.render(ZONE, some).decode()
    at = data.draw(st.integers(0, len(text)))
    parse_tlsa((text[:at] + noise + text[at:]).encode(), 7)


def test_files_of_others_are_read_leniently(tmp_path: Path) -> None:
    path = tmp_path / "tlsa.example.com"
    path.write_text(
        "; made by ssl-mgr\n"
        f"_25._tcp.mail.example.com. IN TLSA 3 1 1 {ONE.data}\n"
        f"_25._TCP.Mail.Example.COM.\tin\tTLSA 3 1 1 {TWO.data.upper()} ; a remark\n"
        "_1._tcp.example.com. 1h30m IN TLSA 2 0 1 abcd\n"
        "_2._tcp.example.com. IN 60 tlsa 2 0 1 ( ab ; one\n cd\n\t) ; two\n"
        "_3._tcp.example.com. TLSA 2 0 1 ab cd\n"
        "_4._tcp.example.com. 60 TLSA 2 0 1 abcd\n"
        "_4._tcp.example.com. 90 TLSA 2 0 1 abcd\n"
        "_5._tcp.example.com. 60 CH TLSA 2 0 1 abcd\n"
        "_5._tcp.example.com. 60 IN TLSA 2 0 1 abc\n"
        "_5._tcp.example.com. 60 IN TLSA 2 0 256 abcd\n"
        "_5._tcp.example.com. 60 IN TLSA 2 0 x abcd\n"
        "_5._tcp.example.com. 60 IN TLSA 2 0 1\n"
        "_5._tcp.example.com. 60 60 IN IN 2 0 1 abcd\n"
        "_5._tcp 60 IN TLSA 2 0 1 abcd\n"
        "_5..tcp. 60 IN TLSA 2 0 1 abcd\n"
        '_5._tcp.example.com. 60 IN TXT "TLSA 3 1 1 (" ab\n'
        "_5._tcp.example.com. 60 IN A 192.0.2.1\n"
        "$TTL 60\n\n   \n)\n"
        "_6._tcp.example.com. TLSA 2 0 1 abcd"
    )
    found = TLSA_FILES.read(str(path))
    assert found is not None
    assert found[MAIL] == TlsaSet(1800, frozenset({ONE, TWO}))
    some = frozenset({Tlsa(2, 0, 1, "abcd")})
    ttls = {1: 5400, 2: 60, 3: 1800, 4: 90, 6: 1800}
    assert found == {
        MAIL: found[MAIL],
        **{DomainName(f"_{n}._tcp.example.com"): TlsaSet(ttl, some) for n, ttl in ttls.items()},
    }


def test_no_file_no_records(tmp_path: Path) -> None:
    assert TLSA_FILES.read(str(tmp_path / "none")) is None
    assert TLSA_FILES.read(str(tmp_path)) is None


@pytest.mark.skipif(shutil.which("named-checkzone") is None, reason="there is no named-checkzone")
def test_bind_takes_it(tmp_path: Path) -> None:
    include = tmp_path / "include"
    some = {**content(ONE, TWO, LONG), **content(TWO, owner=WEB)}
    include.write_bytes(TLSA_FILES.render(ZONE, some))
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
    dumped = "".join(done.stdout.lower().split())
    for record in (ONE, TWO, LONG):
        assert record.data in dumped
