"""What a certificate should be: its names, and how keys and signers read."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import timedelta

import pytest

from sslmd.core.names import CertId, DomainName, SanName
from sslmd.core.spec import (
    AcmeCa,
    CaOptions,
    CertSpec,
    KeySpec,
    KeyType,
    OwnCa,
    SelfSigned,
    Subject,
)

KEY = KeySpec(KeyType.EC, curve="secp384r1")
MAIL, WWW = DomainName("mail.example.com"), DomainName("www.example.com")


def spec(common_name: str, *names: SanName) -> CertSpec:
    cert = CertId("example.com", "mail")
    return CertSpec(cert, "", KEY, Subject(common_name), names, AcmeCa("letsencrypt"))


def test_the_common_name_comes_first_if_it_is_a_host_name() -> None:
    assert spec("mail.example.com", WWW).all_names() == (MAIL, WWW)


@pytest.mark.parametrize(
    "common_name", ["mail.example.com", "Mail.Example.COM", "mail.example.com."]
)
def test_a_common_name_that_is_there_already_is_not_repeated(common_name: str) -> None:
    assert spec(common_name, WWW, MAIL).all_names() == (WWW, MAIL)


@pytest.mark.parametrize(
    "common_name", ["", "Our mail server", "a/b", "x@example.com", "12", "1.2.3"]
)
def test_a_common_name_that_is_no_host_name_stays_in_the_subject(common_name: str) -> None:
    assert spec(common_name, WWW).all_names() == (WWW,)


def test_addresses_wildcards_and_idns_count_as_common_names() -> None:
    assert spec("192.0.2.7").all_names() == (ipaddress.ip_address("192.0.2.7"),)
    assert spec("*.example.com").all_names() == (DomainName("*.example.com"),)
    assert spec("bücher.example").all_names() == (DomainName("xn--bcher-kva.example"),)


def test_a_cas_common_name_is_no_host_name() -> None:
    ca = replace(spec("ca.example.com"), ca=CaOptions(timedelta(days=90), "sha384", None))
    assert ca.all_names() == ()


def test_texts() -> None:
    assert str(KEY) == "ec secp384r1"
    assert str(KeySpec(KeyType.RSA, bits=4096)) == "rsa 4096"
    assert str(SelfSigned()) == "self"
    assert str(OwnCa(CertId("ca", "sub"))) == "sub"
    assert str(AcmeCa("letsencrypt")) == "letsencrypt"
