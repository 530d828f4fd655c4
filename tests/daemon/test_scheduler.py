"""Wake-ups: what is armed fires once, what is dropped does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sslmd.core.names import CertId
from sslmd.core.view import Decision
from sslmd.daemon.scheduler import Scheduler
from tests.reasons import because

WEB = CertId("example.com", "web")
MAIL = CertId("example.com", "mail")


def now() -> datetime:
    return datetime.now(UTC)


def soon(milliseconds: float = 20) -> datetime:
    return now() + timedelta(milliseconds=milliseconds)


async def test_renew_roll_and_look_wake_their_certificate() -> None:
    woken: asyncio.Queue[CertId] = asyncio.Queue()
    scheduler = Scheduler(woken.put_nowait, lambda _: None, now)
    scheduler.start()
    try:
        makers: list[Callable[[datetime], Decision]] = [
            lambda at: Decision(because(""), renew_at=at, wake_at=at),
            lambda at: Decision(
                because(""), renew_at=at + timedelta(days=60), roll_at=at, wake_at=at
            ),
            lambda at: Decision(because(""), wake_at=at),
            # What has come while it was being decided on.
            lambda at: Decision(
                because(""), renew_at=at - timedelta(days=1), wake_at=at - timedelta(1)
            ),
        ]
        for make in makers:
            scheduler.arm(WEB, make(soon()))
            async with asyncio.timeout(10):
                assert await woken.get() == WEB
    finally:
        scheduler.stop()


async def test_what_changed_or_was_dropped_does_not_fire() -> None:
    woken: asyncio.Queue[CertId] = asyncio.Queue()
    scheduler = Scheduler(woken.put_nowait, lambda _: None, now)
    scheduler.start()
    try:
        scheduler.arm(WEB, Decision(because(""), renew_at=soon()))
        scheduler.arm(WEB, Decision(because(""), renew_at=now() + timedelta(days=60)))
        scheduler.arm(MAIL, Decision(because(""), renew_at=soon()))
        scheduler.drop(MAIL)
        scheduler.drop(MAIL)
        last = CertId("example.com", "last")
        scheduler.arm(last, Decision(because(""), renew_at=soon(60)))
        async with asyncio.timeout(10):
            assert await woken.get() == last
        assert woken.empty()
    finally:
        scheduler.stop()
