"""sslm-verify and sslm-info with certificates that are odd: what is said, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sslmd.offline import sslm_info, sslm_verify
from tests.stand.odd_certs import EKU, NC, SAN, Extensions, Made, make
from tests.stand.samples import NOW

DAMAGED = sorted((Path(__file__).parent / "damaged").glob("*.pem"))
AT = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
DNS = x509.DNSName
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\5\0")
CRITICAL: Extensions = {type(UNKNOWN): (UNKNOWN, True)}


class Case:
    """Files, and the tool run on them in this process."""

    def __init__(self, top: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.top = top
        self._capsys = capsys
        self.root = make("Root", ca=True)

    def file(self, name: str, *certs: Made) -> Path:
        path = self.top / name
        path.write_bytes(b"".join(one.pem for one in certs))
        return path

    def verify(
        self, chain: Sequence[Made], *args: str | Path, at: datetime = NOW
    ) -> tuple[int, list[str], str]:
        """Return status, complaints and the rest for a chain and `self.root`."""
        file, root = self.file("chain.pem", *chain), self.file("root.pem", self.root)
        when = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        return self.run("--at", when, "--root", root, file, *args)

    def run(self, *args: str | Path) -> tuple[int, list[str], str]:
        status = sslm_verify.main([*map(str, args)])
        said = self._capsys.readouterr()
        return status, said.err.splitlines(), said.out


@pytest.fixture
def case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Case:
    return Case(tmp_path, capsys)


@pytest.mark.parametrize("damaged", DAMAGED, ids=lambda path: path.stem)
def test_a_damaged_file_is_one_line_wherever_it_is(case: Case, damaged: Path) -> None:
    good = case.file("good.pem", case.root)
    for args in (
        [damaged], ["--root", damaged, good], ["--chain", damaged, good], ["--root", good, damaged],
        ["--name", "www.example.com", damaged],
    ):  # fmt: skip
        status, said, _ = case.run(*args)
        assert status == 1
        (line,) = said
        assert line.startswith(f"sslm-verify: {damaged}: the certificate is damaged: ")
        assert "ParseError" not in line
    assert sslm_info.main([str(damaged)]) == 1


def test_a_damaged_root_is_not_trusted_and_the_others_are(case: Case) -> None:
    roots = case.file("roots.pem", case.root)
    roots.write_bytes(DAMAGED[0].read_bytes() + roots.read_bytes())
    leaf, stranger = make("www.example.com", case.root), make("other", make("Other", ca=True))
    assert case.run("--at", AT, "--root", roots, case.file("leaf.pem", leaf))[0] == 0
    status, said, _ = case.run("--at", AT, "--root", roots, case.file("leaf.pem", stranger))
    assert status == 1
    assert said[-1].startswith("root: it does not lead to a certificate of that file")
    assert "; certificate 1 is damaged: " in said[-1]


def test_an_address_is_no_host_name(case: Case) -> None:
    names = SAN([DNS("192.0.2.1"), DNS("www.example.com")])
    leaf = make("www.example.com", case.root, {SAN: (names, False)})
    status, said, _ = case.verify([leaf], "--name", "192.0.2.1")
    assert status == 1
    assert said == [
        "name: it is not for 192.0.2.1; it is for 192.0.2.1, www.example.com (192.0.2.1 is there "
        "as a host name; an address has to be an iPAddress, RFC 9525)"
    ]
    assert case.verify([leaf], "--name", "www.example.com")[0] == 0


@pytest.mark.parametrize(
    ("presented", "asked", "fits"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.EXAMPLE.com", "a.example.com", True),
        ("*.com", "example.com", False),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("w*.example.com", "www.example.com", False),
        ("www.*.com", "www.example.com", False),
        ("*", "localhost", False),
    ],
)
def test_wildcards(case: Case, presented: str, asked: str, fits: bool) -> None:
    leaf = make("x", case.root, {SAN: (SAN([DNS(presented)]), False)})
    assert (case.verify([leaf], "--name", asked)[0] == 0) == fits


def test_the_common_name_is_no_host_name(case: Case) -> None:
    leaf = make("www.example.com", case.root, {SAN: None})
    status, said, _ = case.verify([leaf], "--name", "www.example.com")
    assert (status, said) == (1, ["name: it is not for www.example.com; it is for no name"])


def test_critical_extensions_are_refused_and_shown(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    leaf = make("www.example.com", case.root, CRITICAL)
    status, said, out = case.verify([leaf])
    assert status == 1
    assert said == [
        "rules: the certificate: it has the critical extension 1.3.6.1.4.1.55555.1, which is not "
        "known here (RFC 5280 §4.2)"
    ]
    assert out.endswith("not verified\n")
    file = str(case.file("leaf.pem", leaf))
    assert sslm_info.main([file]) == 0
    assert "unknown         critical 1.3.6.1.4.1.55555.1\n" in capsys.readouterr().out
    assert sslm_info.main(["--json", file]) == 0
    (found,) = json.loads(capsys.readouterr().out)["files"][0]["found"]
    assert found["unknown"] == ["critical 1.3.6.1.4.1.55555.1"]


def test_without_roots_the_rules_are_the_same(case: Case) -> None:
    file = case.file("chain.pem", make("www.example.com", case.root, CRITICAL), case.root)
    status, said, _ = case.run("--at", AT, file)
    assert status == 1
    assert said[0].startswith("rules: the certificate: it has the critical extension")


def test_uses_of_keys_count_where_a_name_is_asked_for(case: Case) -> None:
    client = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
    leaf = make("www.example.com", case.root, {EKU: (client, False)})
    assert case.verify([leaf])[0] == 0
    status, said, _ = case.verify([leaf], "--name", "www.example.com")
    assert status == 1
    assert said == [
        "rules: the certificate: it is not for servers: its extendedKeyUsage is clientAuth "
        "(RFC 5280 §4.2.1.12)"
    ]


def test_a_wildcard_that_covers_an_excluded_name(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = NC(None, [DNS("secret.example.com")])
    sub = make("Sub", case.root, {NC: (limits, True)}, ca=True)
    leaf = make("x", sub, {SAN: (SAN([DNS("*.example.com")]), False)})
    status, said, _ = case.verify([leaf, sub])
    assert status == 1
    assert said == [
        "constraints: the name constraints of 'CN=Sub' exclude 'secret.example.com', which the "
        "wildcard '*.example.com' stands for too"
    ]
    assert sslm_info.main([str(case.file("sub.pem", sub))]) == 0
    assert "excluded names  secret.example.com\n" in capsys.readouterr().out


def test_what_a_chain_brings_too_much_is_named(case: Case) -> None:
    old = make("Old", ca=True, end=NOW - timedelta(days=1))
    sub = make("Sub", case.root, ca=True)
    crossed = make(case.root.subject, old, ca=True, own=case.root.key, end=NOW - timedelta(hours=1))
    status, said, out = case.verify([make("www.example.com", sub), sub, crossed, old])
    assert (status, said) == (0, [])
    assert "chain: signed by CN=Sub, by CN=Root; not needed: CN=Root, CN=Old\n" in out


def test_a_single_certificate_may_be_in_der(case: Case) -> None:
    leaf, root = case.top / "leaf.der", case.top / "root.der"
    leaf.write_bytes(make("www.example.com", case.root).der)
    root.write_bytes(case.root.der)
    assert case.run("--at", AT, "--root", root, leaf)[0] == 0


def test_times_that_are_none(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("yesterday", "0001-01-01T00:00:00+14:00", ""):
        with pytest.raises(SystemExit) as ended:
            sslm_verify.main(["--at", text, "x"])
        assert ended.value.code == 2
        assert "is no time; write it as 2026-12-24" in capsys.readouterr().err
