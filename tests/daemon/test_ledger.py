"""State files written behind the events; a failure loses nothing."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sslmd.core.errors import SslmError
from sslmd.core.jobs import WriteNotes
from sslmd.core.names import CertId, SetName
from sslmd.core.state import CertState
from sslmd.daemon.ledger import RETRY, Ledger, Page
from sslmd.daemon.loop import Due
from sslmd.store import certs
from sslmd.store.state import HistoryEntry
from tests.stand.tools import Tools

WEB, OTHER = CertId("example.com", "web-ec"), CertId("example.com", "mail-ec")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def entry(text: str) -> HistoryEntry:
    return HistoryEntry(NOW, "rolled", "", text)


async def test_many_changes_are_few_writes_and_none_is_lost(tools: Tools) -> None:
    state = CertState(settled=SetName.at(NOW))
    ledger = Ledger(tools.site, lambda _: Page(state, {}), lambda *_: None)
    ledger.start()
    for number in range(30):
        ledger.note(WEB, [entry(str(number))])
    await ledger.written(WEB)
    assert [one.text for one in certs.history(tools.site.tree, WEB)] == [str(n) for n in range(30)]
    ledger.note(WEB, [entry("last")])
    await ledger.close()
    assert certs.history(tools.site.tree, WEB)[-1].text == "last"


async def test_what_is_being_written_is_not_yet_written(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    save = certs.save

    def slow(*args: Any, **more: Any) -> None:
        begun.set()
        assert go_on.wait(20)
        save(*args, **more)

    monkeypatch.setattr(certs, "save", slow)
    ledger = Ledger(tools.site, lambda _: Page(CertState(), {}), lambda *_: None)
    ledger.start()
    ledger.note(WEB, [entry("slow")])
    ledger.write()
    await asyncio.to_thread(begun.wait, 20)
    waiting = asyncio.ensure_future(ledger.written(WEB))
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done
    go_on.set()
    await waiting
    assert [one.text for one in certs.history(tools.site.tree, WEB)] == ["slow"]
    await ledger.close()


async def test_a_write_that_fails_is_told_once_kept_and_made_up_for(tools: Tools) -> None:
    told: list[Exception] = []
    ledger = Ledger(tools.site, lambda _: Page(CertState(), {}), lambda _, err: told.append(err))
    ledger.start()
    in_the_way = Path(tools.site.tree.state_file(WEB))
    in_the_way.mkdir(parents=True)
    for text in ("first", "second"):
        ledger.note(WEB, [entry(text)])
        with pytest.raises(SslmError) as caught:
            await ledger.written(WEB)
        assert str(in_the_way) in str(caught.value)
    assert len(told) == 1

    in_the_way.rmdir()
    ledger.note(WEB, [entry("third")])
    await ledger.written(WEB)
    assert [one.text for one in certs.history(tools.site.tree, WEB)] == ["first", "second", "third"]
    await ledger.close()


async def test_when_it_is_tried_again_is_asked_of_the_loop(tools: Tools) -> None:
    now, touched = NOW, asyncio.Event()
    tools.site.now = lambda: now
    ledger = Ledger(tools.site, lambda _: Page(CertState(), {}), lambda *_: None, touch=touched.set)
    ledger.start()
    assert ledger.step("") == Due(wakes=())
    in_the_way = Path(tools.site.tree.state_file(WEB))
    in_the_way.mkdir(parents=True)
    ledger.note(WEB, [entry("first")])
    with pytest.raises(SslmError):
        await ledger.written(WEB)
    await asyncio.wait_for(touched.wait(), 20)
    assert ledger.step("") == Due(wakes=(("look", NOW + RETRY),))
    in_the_way.rmdir()
    now = NOW + RETRY
    (job,) = ledger.step("").jobs
    assert isinstance(job, WriteNotes)
    await ledger.do(job)
    await ledger.written(WEB)
    assert [one.text for one in certs.history(tools.site.tree, WEB)] == ["first"]
    assert ledger.step("") == Due(wakes=())
    # A clock that is set back keeps nothing waiting.
    in_the_way.unlink()
    in_the_way.mkdir()
    ledger.note(WEB, [entry("second")])
    touched.clear()
    with pytest.raises(SslmError):
        await ledger.written(WEB)
    await asyncio.wait_for(touched.wait(), 20)
    now = NOW
    assert ledger.step("").jobs
    await ledger.close()


async def test_what_cannot_be_written_at_the_end_holds_up_nothing(tools: Tools) -> None:
    ledger = Ledger(tools.site, lambda _: Page(CertState(), {}), lambda *_: None)
    ledger.start()
    Path(tools.site.tree.state_file(WEB)).mkdir(parents=True)
    ledger.note(WEB, [entry("lost")])
    await ledger.close()


async def test_what_left_the_configuration_is_not_written(tools: Tools) -> None:
    ledger = Ledger(tools.site, lambda _: None, lambda *_: None)
    ledger.start()
    ledger.note(WEB, [entry("gone")])
    await ledger.written(WEB)
    await ledger.close()
    assert not Path(tools.site.tree.state_file(WEB)).exists()


async def test_an_error_of_our_own_is_told_and_stops_neither_others_nor_the_next_try(
    tools: Tools,
) -> None:
    told: list[Exception] = []
    broken = True

    def page_of(cert: CertId) -> Page:
        if broken and cert == WEB:
            raise KeyError("a bug")
        return Page(CertState(), {})

    ledger = Ledger(tools.site, page_of, lambda _, err: told.append(err))
    ledger.start()
    ledger.note(WEB, [entry("first")])
    ledger.note(OTHER, [entry("other")])
    with pytest.raises(KeyError):
        await ledger.written(WEB)
    assert [one.text for one in certs.history(tools.site.tree, OTHER)] == ["other"]
    assert [type(one) for one in told] == [KeyError]

    # What cannot be put into words on disk: an error in the thread that writes.
    ledger.note(OTHER, [HistoryEntry(NOW, "rolled", "", object())])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await ledger.written(OTHER)

    broken = False
    ledger.note(WEB, [entry("second")])
    await ledger.written(WEB)
    assert [one.text for one in certs.history(tools.site.tree, WEB)] == ["first", "second"]
    await ledger.close()


async def test_what_nobody_waits_for_is_written_together(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[int] = []
    save = certs.save

    def counted(*args: Any, **more: Any) -> None:
        saves.append(1)
        save(*args, **more)

    monkeypatch.setattr(certs, "save", counted)
    monkeypatch.setattr("sslmd.daemon.ledger.MANY", 1)
    ledger = Ledger(tools.site, lambda _: Page(CertState(), {}), lambda *_: None)
    ledger.start()
    ledger.note(WEB, [entry("first")])
    await ledger.written(WEB)
    for text in ("second", "third", "fourth"):
        ledger.note(WEB, [entry(text)])
        ledger.write()
        await asyncio.sleep(0.02)
    await ledger.close()
    assert len(saves) == 2
    known = [one.text for one in certs.history(tools.site.tree, WEB)]
    assert known == ["first", "second", "third", "fourth"]
