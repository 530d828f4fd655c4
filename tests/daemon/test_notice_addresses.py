"""Several addresses of one notifier: each is told for itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.config.kinds import NotifyAddress
from sslmd.config.notify import NotifyOptions
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.daemon.tell.journal import Record
from sslmd.workers.notify import HandedOver
from tests.stand.alarm_stand import MINUTE, Stand
from tests.stand.tools import Tools

DAY = timedelta(days=1)
TO = tuple(NotifyAddress(f"ntfys://host{number}/topic") for number in range(3))
ADMINS = NotifyOptions("admins", TO)
FILE = NotifyOptions("admins", (), Path("/addresses"))
BROKEN = Permanent(Reason(Failed.NOTIFY_ADDRESS, to="ntfys (1 of to)"))
BUSY = Transient(Reason(Failed.NOTIFY_STATUS, to="ntfys (2 of to)", status=503))


@pytest.fixture
def stand(tools: Tools) -> Iterator[Stand]:
    one = Stand(tools)
    one.hub.load()
    yield one
    assert not one.bugs


def told(stand: Stand) -> list[list[str]]:
    """The kinds in each message that was taken."""
    return [[row["kind"] for row in one.document["alarms"]] for one in stand.postman.took]


async def test_one_that_fails_holds_up_no_other(stand: Stand) -> None:
    stand.configure(ADMINS)
    stand.postman.broken = {0: BROKEN, 1: BUSY}
    await stand.minute(12)
    assert told(stand) == [["never-issued"]]
    # What comes next reaches the others at once, though the first is tried again tomorrow; and they
    # hear that it fails.
    stand.postman.broken = {0: BROKEN}
    await stand.minute(12)
    assert told(stand)[1:] == [["never-issued"], ["notifier"], ["notifier"]]
    notifiers = stand.hub.alarms.state.book.notifiers
    assert list(notifiers) == ["admins", "admins/2", "admins/3"]
    assert [one.trouble is None for one in notifiers.values()] == [False, True, True]
    (alarm,) = stand.alarms(AlarmKind.NOTIFIER)
    assert alarm.subjects == ("admins",)
    # It gets its own when it is put right, and nobody else gets that again.
    stand.postman.broken = {}
    before = len(stand.postman.took)
    stand.configure(replace(ADMINS, to=(NotifyAddress("ntfys://right/topic"), *TO[1:])))
    await stand.minute()
    assert told(stand)[before:] == [["never-issued"]]


async def test_a_test_that_arrives_ends_the_wait_after_a_failure(stand: Stand) -> None:
    stand.configure(ADMINS)
    stand.postman.broken = {0: BROKEN, 1: BROKEN}
    await stand.minute(12)
    assert told(stand) == [["never-issued"]]
    # The first is put right where it is, and tried out.
    stand.postman.broken = {1: BROKEN}
    await stand.notices.test("admins")
    notifiers = stand.hub.alarms.state.book.notifiers
    assert [one.trouble is None for one in notifiers.values()] == [True, False, True]
    stand.postman.took.clear()
    await stand.minute()
    assert ["never-issued"] in told(stand)


async def test_a_test_of_a_file_that_arrives_ends_the_wait_of_all_of_them(stand: Stand) -> None:
    stand.postman.files = [("a", "b")]
    stand.configure(FILE)
    stand.postman.broken = {0: BROKEN, 1: BROKEN}
    await stand.minute(12)
    assert not told(stand)
    stand.postman.broken = {}
    stand.postman.ends = [HandedOver((0, 1))]
    await stand.notices.test("admins")
    notifiers = stand.hub.alarms.state.book.notifiers
    assert [one.trouble for one in notifiers.values()] == [None, None]


@pytest.mark.parametrize("text", ["version = 1\nraised = 7\n", "version = 9\n", "\x00"])
async def test_a_note_that_makes_no_sense_is_kept_and_told(
    stand: Stand, tools: Tools, text: str
) -> None:
    stand.configure(ADMINS)
    await stand.minute(12)
    note = Path(stand.hub.site.tree.alarm_note)
    note.write_text(text)
    again = Stand(tools)
    again.now = stand.now + MINUTE
    records: list[Record] = []
    again.hub.bus.follow(records.append)
    again.hub.load()
    (aside,) = note.parent.glob(f"{note.name}.bad-*")
    assert aside.read_text() == text
    assert [one.event for one in records if str(aside) in one.text] == ["tree-remark"]
    await again.minute(12)
    assert again.postman.took, "what stands is told again"


async def test_a_restart_repeats_nothing_to_any_of_them(stand: Stand, tools: Tools) -> None:
    stand.configure(ADMINS)
    await stand.minute(12)
    assert len(stand.postman.took) == 3
    again = Stand(tools)
    again.now = stand.now + MINUTE
    again.hub.load()
    await again.minute(30)
    assert not again.postman.took


async def test_addresses_in_a_file_are_known_when_it_is_read(stand: Stand, tools: Tools) -> None:
    stand.postman.files = [("a", "b")]
    stand.configure(FILE)
    await stand.minute(12)
    assert len(stand.postman.took) == 2
    # A start that cannot read it forgets nobody, and says so.
    again = Stand(tools)
    again.now = stand.now + DAY
    again.hub.load()
    again.postman.files = [Permanent(Reason(Failed.NOTIFY_NOBODY, file="/addresses"))]
    await again.minute(2)
    assert not again.postman.took
    assert list(again.hub.alarms.state.book.notifiers) == ["admins", "admins/2"]
    assert again.alarms(AlarmKind.NOTIFIER)
    # It is read again when somebody tries it out.
    again.postman.files = [("a", "b", "c")]
    await again.notices.test("admins/2")
    again.postman.took.clear()
    await again.minute()
    assert told(again) == [["never-issued"]] * 3
    assert list(again.hub.alarms.state.book.notifiers) == ["admins", "admins/2", "admins/3"]
