"""What `dying` interrupts: jobs on a site that is there already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sslmd.core.jobs import Certify, CertJob, Deliver, MakeKey, PutBack, Roll, Settle, TakeOff
from tests.reasons import because
from tests.stand.tools import NOW, WEB, Site


def _site(top: Path) -> Site:
    site = Site(top, now=NOW)
    site.later(days=60, hours=2)
    return site


def _job(site: Site, job: CertJob) -> Callable[[], Any]:
    async def do() -> None:
        await site.work(job)

    return lambda: asyncio.run(do())


def make_key(top: Path) -> Callable[[], Any]:
    return _job(_site(top), MakeKey(WEB, because("test")))


def certify(top: Path) -> Callable[[], Any]:
    site = _site(top)
    return _job(site, Certify(WEB, site.on_deck(), because("test")))


def roll(top: Path) -> Callable[[], Any]:
    site = _site(top)
    return _job(site, Roll(WEB, site.on_deck(), because("test")))


def put_back(top: Path) -> Callable[[], Any]:
    site = _site(top)
    ask = site.state(WEB).ask
    assert ask is not None
    assert ask.back is not None
    return _job(site, PutBack(WEB, ask.back, because("test")))


def take_off(top: Path) -> Callable[[], Any]:
    site = _site(top)
    return _job(site, TakeOff(WEB, site.on_deck(), because("test")))


def deliver(top: Path) -> Callable[[], Any]:
    site = _site(top)
    state = site.state(WEB)
    on_deck = state.next.name if state.next and state.next.complete else None
    return _job(site, Deliver(WEB, site.live(), on_deck, because("test")))


def settle(top: Path) -> Callable[[], Any]:
    return _job(_site(top), Settle(WEB, because("test")))


def save(top: Path) -> Callable[[], Any]:
    site = _site(top)
    site.state(WEB)
    return lambda: site.save(WEB)
