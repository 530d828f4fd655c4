"""Orders for the same names of one account go one after the other."""

from __future__ import annotations

import asyncio

import pytest

from sslmd.acme.same_names import SameNames
from sslmd.core.names import CertId

EC, RSA, OTHER = (CertId("example.com", name) for name in ("web-ec", "web-rsa", "mail"))
KEY = ("https://ca.test/dir", "/certs/.accounts/ca", "mark")


async def test_one_after_the_other_and_who_waits_knows_for_whom() -> None:
    same, waited, inside = SameNames(), list[tuple[CertId, CertId]](), list[CertId]()
    go = asyncio.Event()

    async def order(cert: CertId, key: tuple[str, str, str]) -> None:
        async with same.turn(key, cert, lambda other: waited.append((cert, other))):
            inside.append(cert)
            await go.wait()
            inside.remove(cert)

    tasks = [asyncio.ensure_future(order(cert, KEY)) for cert in (EC, RSA)]
    tasks += [asyncio.ensure_future(order(OTHER, (*KEY[:2], "other")))]
    await asyncio.sleep(0)
    assert inside == [EC, OTHER]
    assert waited == [(RSA, EC)]
    go.set()
    await asyncio.gather(*tasks)


async def test_who_fails_or_is_cancelled_lets_the_next_in() -> None:
    same, stuck = SameNames(), asyncio.Event()

    async def order(cert: CertId) -> CertId:
        async with same.turn(KEY, cert, lambda _: None):
            if cert is EC:
                await stuck.wait()
            if cert is RSA:
                raise OSError
            return cert

    first, second, third = (asyncio.ensure_future(order(cert)) for cert in (EC, RSA, OTHER))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(OSError):
        await second
    assert await third is OTHER
    assert not same._lines
