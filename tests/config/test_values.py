"""Windows, addresses, probes, modes and the other small languages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from sslmd.config import addresses, values
from sslmd.config.model import (
    Endpoint,
    Probe,
    ServiceMatch,
)
from sslmd.core.dane.tlsa import DaneEntry, TlsaHosts
from sslmd.core.names import CertId, DomainName
from sslmd.core.starttls import ProbeWord

SAT = datetime(2026, 6, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("Sat 02:00-05:00 UTC", {5}),
        ("sat,SUN 02:00-05:00", {5, 6}),
        ("Mon-Fri,Sun 2:00-5:00", {0, 1, 2, 3, 4, 6}),
        ("Fri-Mon 02:00-05:00", {4, 5, 6, 0}),
        ("02:00-05:00 Europe/Berlin", set(range(7))),
    ],
)
def test_days_of_a_window(text: str, days: set[int]) -> None:
    window = values.window(text)
    assert set(window.days) == days
    assert (window.start, window.end) == (120, 300)
    assert str(window) == text


@pytest.mark.parametrize(
    "text",
    ["", "Sat", "Sat 02:00", "Sat 02:00-05:00 Nowhere/City", "Sat 2-5", "Sat-Xyz 02:00-05:00",
     "Sat 02:00-05:00 UTC now", "Sat 24:00-02:00", "Sat 02:00-24:30", "Sat 02:60-03:00",
     "Sat 02:00-02:00", "Sat 02:00-05:00 ../../etc/passwd", "Sat 02:00-05:00 Europe"],
)  # fmt: skip
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        values.window(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("1.1.1.1", "1.1.1.1", 53),
        ("1.1.1.1:5353", "1.1.1.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
        ("ns1.example.com", "ns1.example.com", 53),
        ("ns1.example.com:54", "ns1.example.com", 54),
        ("localhost", "localhost", 53),
    ],
)
def test_name_servers(text: str, host: str, port: int) -> None:
    assert addresses.endpoint(text) == Endpoint(host, port)
    assert addresses.endpoint(str(addresses.endpoint(text))) == Endpoint(host, port)


@pytest.mark.parametrize("text", ["", ":53", "1.1.1.1:0", "1.1.1.1:70000", "[::1", "a b", "1.1.1"])
def test_what_is_no_name_server(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        addresses.endpoint(text)


@pytest.mark.parametrize(
    ("value", "probe"),
    [
        ([443, "tls", "www.example.com"], Probe(443, ProbeWord.TLS, "www.example.com")),
        ([25], Probe(25, ProbeWord.SMTP)),
        ([587], Probe(587, ProbeWord.SMTP)),
        ([2525, "smtp"], Probe(2525, ProbeWord.SMTP)),
        (993, Probe(993, ProbeWord.TLS)),
    ],
)
def test_probes(value: Any, probe: Probe) -> None:
    assert values.probe(value) == probe


@pytest.mark.parametrize(
    ("value", "entry"),
    [
        ([25, "tcp", 3, 1, 1], DaneEntry(25, "tcp", 3, 1, 1, TlsaHosts.MX)),
        ([443, "tcp", 3, 1, 1], DaneEntry(443, "tcp", 3, 1, 1, TlsaHosts.SANS)),
        ([25, "tcp", 3, 1, 1, "MX"], DaneEntry(25, "tcp", 3, 1, 1, TlsaHosts.MX)),
        ([25, "tcp", 2, 0, 2, "SANS"], DaneEntry(25, "tcp", 2, 0, 2, TlsaHosts.SANS)),
        (
            [993, "tcp", 3, 1, 1, ["imap.example.com"]],
            DaneEntry(993, "tcp", 3, 1, 1, (DomainName("imap.example.com"),)),
        ),
        (["443", "TCP", "3", "1", "1", "mx"], DaneEntry(443, "tcp", 3, 1, 1, TlsaHosts.MX)),
        ([443, "Udp", 3, 1, 1, "sans"], DaneEntry(443, "udp", 3, 1, 1, TlsaHosts.SANS)),
        ([25, "tcp", 3, 1, 1, ""], DaneEntry(25, "tcp", 3, 1, 1, TlsaHosts.MX)),
        ([], None),
    ],
)
def test_tlsa_entries(value: Any, entry: DaneEntry | None) -> None:
    assert values.dane(value) == entry


@pytest.mark.parametrize(("value", "mode"), [("0640", 0o640), ("600", 0o600), (0o440, 0o440)])
def test_modes(value: Any, mode: int) -> None:
    assert values.key_mode(value) == mode


@pytest.mark.parametrize("value", [640, 600, 440, 400, "0644", 0o604, "0700", "0200", "rw", True])
def test_what_is_no_mode_for_a_key(value: Any) -> None:
    with pytest.raises(PydanticCustomError):
        values.key_mode(value)


def test_grants() -> None:
    mail = CertId("example.com", "mail")
    assert values.service_match(["any", ["mail"]]).matches(mail)
    assert values.service_match(["ALL", ["mail"]]) == ServiceMatch(None, frozenset({"mail"}))
    assert values.service_match(["Example.COM", "ALL"]) == ServiceMatch("example.com", None)
    assert not values.service_match(["example.net", ["mail"]]).matches(mail)
    assert not values.service_match(["*", ["web"]]).matches(mail)


@pytest.mark.parametrize("host", ["-x", "a b", "a;b", "a@-b", "", "root@", "x$(id)", "*.a.b"])
def test_what_could_be_an_option_or_a_command_is_no_server(host: str) -> None:
    with pytest.raises(PydanticCustomError):
        addresses.server(host)


@pytest.mark.parametrize("host", ["localhost", "192.0.2.1", "::1", "root@mx1.example.com", "mx1"])
def test_servers(host: str) -> None:
    assert addresses.server(host) == host


def test_commands_are_split_as_a_shell_would() -> None:
    assert values.command("a 'b c' d\\ e") == ("a", "b c", "d e")
    assert values.command("") == ()


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("sha256", "sha256"),
        ("SHA384", "sha384"),
        ("sha-512", "sha512"),
        ("SHA_224", "sha224"),
        ("sha3_256", "sha3_256"),
        ("SHA3-512", "sha3_512"),
        (" sha3_224 ", "sha3_224"),
        ("", "sha384"),
    ],
)
def test_digests(value: str, made: str) -> None:
    assert values.digest(value) == made


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("sha1", "'sha1' is no hash that certificates are signed with; write 'sha256', which"),
        (
            "MD5",
            "'MD5' is no hash that certificates are signed with; write 'sha256', which ssl-mgr",
        ),
        ("sha3256", "'sha3256' is no hash that certificates are signed with; write 'sha384' or"),
        ("sha2", "'sha2' is no hash"),
        (256, "256 is not a text"),
    ],
)
def test_what_is_no_digest(value: Any, said: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        values.digest(value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "number"), [("5", 5), ("2.5", 2.5), (" 7 ", 7), (3, 3), ("-1", "-1"), ("1e3", "1e3")]
)
def test_numbers_in_quotes(value: Any, number: Any) -> None:
    assert values.quantity(value) == number
