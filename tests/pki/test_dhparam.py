from __future__ import annotations

import time

import pytest

from sslmd.core.errors import Permanent
from sslmd.pki.dhparam import dhparam, prime
from tests.stand.samples import needs_openssl, openssl

SIZES = (2048, 3072, 4096, 6144, 8192)


def _probably_prime(number: int) -> bool:
    """Miller-Rabin with the first primes as bases: enough against a slip in the formula."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7):
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


# The larger ones are too large for arithmetic in Python; openssl knows them below.
@pytest.mark.parametrize("bits", SIZES[:3])
def test_the_primes_are_safe_and_of_their_size(bits: int) -> None:
    p = prime(bits)
    assert p.bit_length() == bits
    assert _probably_prime(p)
    assert _probably_prime(p // 2)


def test_the_first_group_is_the_one_printed_in_the_rfc() -> None:
    # RFC 7919 §A.1: the first and the last 64 bits of every group are ones.
    text = f"{prime(2048):X}"
    assert text.startswith("FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1")
    assert text.endswith("886B423861285C97FFFFFFFFFFFFFFFF")


@needs_openssl
@pytest.mark.parametrize("bits", SIZES)
def test_openssl_knows_the_group_by_name(bits: int) -> None:
    pem = dhparam(bits)
    said = openssl("pkeyparam", "-check", "-text", "-noout", stdin=pem).decode()
    assert "Parameters are valid" in said
    assert f"ffdhe{bits}" in said
    openssl("dhparam", "-check", "-noout", stdin=pem)
    assert openssl("dhparam", stdin=pem) == pem


def test_making_one_takes_no_time() -> None:
    start = time.perf_counter()
    dhparam.__wrapped__(4096)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("bits", [0, 1024, 2047, 16384])
def test_other_sizes_are_refused(bits: int) -> None:
    with pytest.raises(Permanent, match="2048, 3072, 4096"):
        dhparam(bits)
