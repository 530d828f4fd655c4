"""Names: what parses is safe as a path component and parses to itself; the rest is BadName."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sslmd.core.names import (
    BadName,
    CertId,
    DomainName,
    GroupName,
    SetName,
    ZoneName,
    parse_san,
    parse_service,
    shown,
)

PARSERS: dict[str, Callable[[str], Any]] = {
    "domain": DomainName.parse,
    "zone": ZoneName.parse,
    "san": parse_san,
    "group": GroupName.parse,
    "service": parse_service,
    "cert": CertId.parse,
    "set": SetName.parse,
}

HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "x/../y",
    "/etc/passwd",
    "a\\b",
    "a b.example",
    "-rf",
    "-x.example",
    ".example",
    "a\x00.example",
    "a\n",
    "example.com\n",
    "\x1b[31m.example",
    "a" * 300,
    ".".join(["abc"] * 75),
    "a" * 64 + ".example",
    "..:web",
    "example.com:..",
    "example.com/../x",
    "example.com:web/x",
    "example.com:.hidden",
    "example.com:-rf",
    "example.com:ALL",
    "example.com:*",
    "20260101-00:00:00/..",
    "20260101-00:00:00\n",
    "\ud800.example",
    "．．／x",
    "\u202eexample.com",
    "$(id).example",
    "*",
    "*.",
]

texts = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="ab1.-_:/*%ü。\n", max_size=30),
    st.from_regex(r"[a-z0-9*._:/-]{1,20}", fullmatch=True),
    st.from_regex(r"[0-9]{8}-[0-9]{2}:[0-9]{2}:[0-9]{2}", fullmatch=True),
    st.ip_addresses().map(str),
)


def component(text: str) -> None:
    assert text not in ("", ".", "..")
    assert not text.startswith("-")
    assert len(text.encode()) <= 255
    assert all(char.isascii() and char.isprintable() and char not in "/\\ " for char in text)


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_refused(kind: str, text: str) -> None:
    with pytest.raises(BadName) as caught:
        PARSERS[kind](text)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600


@pytest.mark.parametrize("kind", PARSERS)
@given(text=texts)
@example(text="１.2.3.4")
@example(text="1。2。3。4")
@example(text="fe80::1%eth0")
@example(text="bücher.example。")
@example(text="*." + "a." * 126 + "b")
@example(text="９９991231-23:59:59")
def test_what_parses_is_safe_and_parses_to_itself(kind: str, text: str) -> None:
    parse = PARSERS[kind]
    try:
        name = parse(text)
    except BadName:
        return
    assert parse(str(name)) == name
    if isinstance(name, CertId):
        assert CertId.parse(name.arg) == name
        component(name.group)
        component(name.service)
    else:
        component(str(name))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("bücher。example。", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("*.Example.com", "*.example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("localhost", "localhost"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        ("4.3.2.in-addr.arpa", "4.3.2.in-addr.arpa"),
        ("a." * 126 + "b", "a." * 126 + "b"),
        ("*." + "a." * 125 + "b", "*." + "a." * 125 + "b"),
    ],
)
def test_domain_names_become_lower_case_a_labels(text: str, parsed: str) -> None:
    assert DomainName.parse(text).text == parsed
    assert parse_san(text) == DomainName(parsed)


@pytest.mark.parametrize(
    "text",
    ["*.com", "*.com.", "**.example.com", "a.*.example.com", "*a.example.com", "*.*.example.com"],
)
def test_a_star_stands_only_for_a_whole_first_label(text: str) -> None:
    with pytest.raises(BadName):
        DomainName.parse(text)


@pytest.mark.parametrize(
    "text", ["*.example.com", "example.com..", "a..example", "x-.example", "1.2.3.4", "a" * 254]
)
def test_not_a_zone(text: str) -> None:
    with pytest.raises(BadName):
        ZoneName.parse(text)


def test_a_name_too_long_with_its_star_is_refused() -> None:
    DomainName.parse("a." * 126 + "b")
    with pytest.raises(BadName, match="253"):
        DomainName.parse("*." + "a." * 126 + "b")


def test_wildcard_and_within() -> None:
    zone = ZoneName.parse("example.com")
    assert DomainName.parse("*.example.com").is_wildcard
    assert not DomainName.parse("www.example.com").is_wildcard
    for inside in ("example.com", "a.b.example.com", "*.example.com"):
        assert DomainName.parse(inside).is_within(zone)
    for outside in ("badexample.com", "example.com.net", "com"):
        assert not DomainName.parse(outside).is_within(zone)


@pytest.mark.parametrize(
    ("text", "address"),
    [("192.0.2.7", "192.0.2.7"), ("2001:DB8:0::1", "2001:db8::1"), ("::1", "::1")],
)
def test_addresses_as_alternative_names(text: str, address: str) -> None:
    assert parse_san(text) == ipaddress.ip_address(address)


@pytest.mark.parametrize(
    "text",
    ["192.0.2", "192.0.2.256", "192.0.2.7.", "192.0.2.07", "1", "2001:db8::g", "[::1]", "a:b"],
)
def test_almost_an_address_is_neither_address_nor_name(text: str) -> None:
    with pytest.raises(BadName):
        parse_san(text)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "::1%1", "fe80::1%../../x"])
def test_an_address_with_a_scope_cannot_stand_in_a_certificate(text: str) -> None:
    with pytest.raises(BadName):
        parse_san(text)


@pytest.mark.parametrize("text", ["１.2.3.4", "1。2。3。4", "1.2.3.4"])
def test_what_reads_as_an_address_is_not_a_domain_name(text: str) -> None:
    with pytest.raises(BadName):
        DomainName.parse(text)


def test_cert_ids() -> None:
    cert = CertId("example.com", "mail-ec")
    assert CertId.parse("example.com:mail-ec") == cert
    assert CertId.parse("Example.COM./mail-ec") == cert
    assert (str(cert), cert.arg) == ("example.com/mail-ec", "example.com:mail-ec")
    assert CertId.parse("ca:my-root") == CertId("ca", "my-root")


@pytest.mark.parametrize("text", ["example.com", "example.com:", ":web", "a:b:c", "a/b:c", "a:b/c"])
def test_not_a_cert_id(text: str) -> None:
    with pytest.raises(BadName):
        CertId.parse(text)


@pytest.mark.parametrize("service", ["tlsa.example.com", "dh"])
def test_a_service_cannot_take_the_place_of_its_groups_own_files(service: str) -> None:
    with pytest.raises(BadName, match="cannot name a service"):
        CertId.of("example.com", service)


@pytest.mark.parametrize("text", ["web", "Web_2", "a.b", "x" * 64, "user@host", "c++", "9", "_x"])
def test_services(text: str) -> None:
    assert parse_service(text) == text


@pytest.mark.parametrize("text", ["ALL", "*", "x" * 65, ".web", "@x", "+x", "wéb", "a:b", "web~"])
def test_not_a_service(text: str) -> None:
    with pytest.raises(BadName):
        parse_service(text)


def test_the_group_of_the_sites_own_ca() -> None:
    assert GroupName.parse("ca").is_ca
    assert not GroupName.parse("ca.example").is_ca


times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9998, 12, 31))  # noqa: DTZ001


@given(times.map(lambda when: when.replace(tzinfo=UTC)))
def test_set_names_round_trip(when: datetime) -> None:
    name = SetName.at(when)
    assert SetName.parse(name.text) == name
    assert name.time == when.replace(microsecond=0)
    assert name.later() > name
    assert name.later().time - name.time == timedelta(seconds=1)


@given(times, times)
def test_set_names_sort_by_age(one: datetime, other: datetime) -> None:
    a, b = one.replace(tzinfo=UTC, microsecond=0), other.replace(tzinfo=UTC, microsecond=0)
    assert (SetName.at(a) < SetName.at(b)) == (a < b)


def test_set_names_are_in_utc() -> None:
    when = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=2)))
    assert SetName.at(when).text == "20260329-00:30:00"


def test_a_leap_day() -> None:
    assert SetName.parse("20280229-12:00:00").later().text == "20280229-12:00:01"


@pytest.mark.parametrize(
    "text",
    [
        "20270229-00:00:00",
        "20261301-00:00:00",
        "20260431-00:00:00",
        "20260101-24:00:00",
        "20260101-00:60:00",
        "20260630-23:59:60",
        "20260101-00:00:61",
        "00000101-00:00:00",
        "2026011-00:00:00",
        "20260101-0:00:00",
        "20260101 00:00:00",
        "20260101-00:00:00.1",
        "２０260101-00:00:00",
        "curr",
    ],
)
def test_not_a_set_name(text: str) -> None:
    with pytest.raises(BadName, match="YYYYMMDD-HH:MM:SS"):
        SetName.parse(text)


@given(st.text(max_size=200))
def test_texts_are_shown_short_and_printable(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown("\U0010ffff" * 1000)) < 700
