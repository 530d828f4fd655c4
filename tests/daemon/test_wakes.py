"""Wake-ups: what is armed fires once, what is dropped does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sslmd.core.names import CertId
from sslmd.daemon.loop import NEAR, Key, Times, Wakes

WEB: Key = ("cert", CertId("example.com", "web"))
MAIL: Key = ("cert", CertId("example.com", "mail"))


def now() -> datetime:
    return datetime.now(UTC)


def soon(milliseconds: float = 20) -> datetime:
    return now() + timedelta(milliseconds=milliseconds)


async def test_renew_roll_and_look_wake_their_certificate() -> None:
    woken: asyncio.Queue[Key] = asyncio.Queue()
    wakes = Wakes(woken.put_nowait, lambda _: None, now)
    wakes.start()
    try:
        makers: list[Callable[[datetime], Times]] = [
            lambda at: (("renew", at),),
            lambda at: (("renew", at + timedelta(days=60)), ("roll", at), ("look", None)),
            lambda at: (("look", at),),
        ]
        for make in makers:
            wakes.arm(WEB, make(soon()))
            async with asyncio.timeout(60):
                assert await woken.get() == WEB
    finally:
        wakes.stop()


async def test_what_changed_or_was_dropped_does_not_fire() -> None:
    woken: asyncio.Queue[Key] = asyncio.Queue()
    wakes = Wakes(woken.put_nowait, lambda _: None, now)
    wakes.start()
    try:
        wakes.arm(WEB, (("renew", soon()),))
        wakes.arm(WEB, (("renew", now() + timedelta(days=60)),))
        wakes.arm(MAIL, (("renew", soon()),))
        wakes.drop(MAIL)
        wakes.drop(MAIL)
        last: Key = ("zone", "last")
        wakes.arm(last, (("look", soon(60)),))
        async with asyncio.timeout(60):
            assert await woken.get() == last
        assert woken.empty()
    finally:
        wakes.stop()


async def test_what_is_far_ahead_gets_its_timer_when_it_is_near() -> None:
    behind = NEAR
    woken: asyncio.Queue[Key] = asyncio.Queue()
    wakes = Wakes(woken.put_nowait, lambda _: None, lambda: now() - behind)
    wakes.start()
    try:
        times: Times = (("renew", soon()),)
        wakes.arm(WEB, times)
        behind = timedelta()
        last: Key = ("zone", "last")
        wakes.arm(last, (("look", soon(60)),))
        async with asyncio.timeout(60):
            assert await woken.get() == last
            wakes.arm(WEB, times)  # as a full look does
            assert await woken.get() == WEB
    finally:
        wakes.stop()
