"""Alarms in the daemon: looked for, told, remembered, silenced; and the sign of life."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sslmd.config.kinds import AliveUrl
from sslmd.core.alarm_events import SilenceMade
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.alarms import CertStanding
from sslmd.core.errors import Permanent, Refused, Transient
from sslmd.core.failed import Failed
from sslmd.core.jobs import SayAlive, WatchAlarms
from sslmd.core.names import CertId
from sslmd.core.notices import silence
from sslmd.core.reason import Reason
from sslmd.core.trouble import Severity
from sslmd.daemon import alarms as watching
from sslmd.daemon.alarms import PERIOD
from sslmd.daemon.heartbeat import EVERY, LOOKED
from sslmd.daemon.registry import Entry, Unsaved
from sslmd.net.messages import Beat, BeatEnd
from sslmd.store.note_kinds import ALARM_BOOK_NOTE
from sslmd.workers.notify import HandedOver
from tests.reasons import because
from tests.stand.alarm_stand import ADMINS, MINUTE, Stand
from tests.stand.tools import Tools

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BROKEN = Transient(Reason(Failed.NOTIFY_STATUS, to="ntfys://host", status=503))


@pytest.fixture
def stand(tools: Tools) -> Iterator[Stand]:
    one = Stand(tools)
    one.hub.load()
    yield one
    assert not one.bugs


async def test_what_stands_for_a_while_is_told_once_and_reminded_after_a_day(stand: Stand) -> None:
    stand.configure(ADMINS)
    await stand.minute(10)
    assert not stand.postman.took
    await stand.minute(2)
    (message,) = stand.postman.took
    # All of the example, and nobody has issued anything: one cause.
    (row,) = message.document["alarms"]
    assert (row["kind"], row["news"], row["number"]) == ("never-issued", "raised", 6)
    assert message.severity is Severity.CRITICAL
    assert json.dumps(message.document)
    await stand.minute(30)
    assert len(stand.postman.took) == 1
    stand.now += DAY
    await stand.minute()
    assert [row["news"] for row in stand.postman.took[-1].document["alarms"]] == ["still"]
    assert [event for event, _ in stand.told] == ["notice-sent"] * 2


async def test_a_restart_repeats_nothing(stand: Stand, tools: Tools) -> None:
    stand.configure(ADMINS)
    await stand.minute(12)
    assert len(stand.postman.took) == 1
    note = Path(stand.site.tree.alarm_note)
    assert note.stat().st_mode & 0o777 == 0o600
    again = Stand(tools)
    again.now = stand.now + MINUTE
    again.hub.load()
    await again.minute(30)
    assert not again.postman.took
    # Nonsense there costs a message, and no more.
    note.write_text("= nonsense")
    other = Stand(tools)
    other.now = again.now
    other.hub.load()
    await other.minute(12)
    assert len(other.postman.took) == 1


async def test_a_notifier_that_fails_is_an_alarm_and_tried_again(stand: Stand) -> None:
    stand.configure(ADMINS)
    stand.postman.ends = [BROKEN, BROKEN]
    await stand.minute(13)
    assert not stand.postman.took
    state = stand.hub.alarms.state
    assert state.book.notifier("admins").trouble is not None
    assert [one.kind for one in state.alarms if one.subjects == ("admins",)] == [AlarmKind.NOTIFIER]
    assert "notice-failed" in [event for event, _ in stand.told]
    await stand.minute(120)
    # Nothing has queued up, and nobody is told by a notifier of its own troubles.
    first = stand.postman.took[0]
    assert [row["kind"] for row in first.document["alarms"]] == ["never-issued"]
    assert stand.hub.alarms.state.book.notifier("admins").trouble is None


async def test_silences_are_on_disk_before_they_are_confirmed(stand: Stand, tools: Tools) -> None:
    stand.configure(ADMINS)
    made = silence("never-issued", 2 * DAY, "root", "setting it up", stand.now)
    await stand.hub.alarms.noted(SilenceMade(made))
    again = Stand(tools)
    again.now = stand.now
    again.hub.load()
    assert again.hub.alarms.state.book.silences == (made,)
    await again.minute(60)
    assert not again.postman.took
    assert again.hub.alarms.state.alarms
    again.now += 2 * DAY
    await again.minute(2)
    assert len(again.postman.took) == 1


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), Transient("no space"), Permanent("a link")]
)
async def test_what_cannot_be_written_is_an_alarm_and_refuses_a_silence(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    await stand.look()
    with monkeypatch.context() as patch:
        patch.setattr(type(ALARM_BOOK_NOTE), "write", full)
        stand.configure(ADMINS)
        await stand.look()
        await stand.look()
        kinds = {one.kind for one in stand.hub.alarms.state.alarms}
        assert AlarmKind.NOTES in kinds
        made = silence("dane", DAY, "root", "in a test", stand.now)
        with pytest.raises(Transient) as refused:
            await stand.hub.alarms.noted(SilenceMade(made))
        assert refused.value.reason.code is Failed.ALARMS_UNSAVED
    await stand.look()
    await stand.look()
    assert AlarmKind.NOTES not in {one.kind for one in stand.hub.alarms.state.alarms}


async def test_a_full_disk_is_critical(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs("/")
    fields = list(free)
    fields[4] = 0  # f_bavail
    full = os.statvfs_result(fields)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    await stand.look()
    (disk,) = (one for one in stand.hub.alarms.state.alarms if one.kind is AlarmKind.DISK)
    assert disk.severity is Severity.CRITICAL
    monkeypatch.undo()
    await stand.look()
    assert AlarmKind.DISK not in {one.kind for one in stand.hub.alarms.state.alarms}


async def test_a_clock_that_is_behind_what_was_seen_is_critical(stand: Stand) -> None:
    await stand.look()
    stand.now -= 300 * DAY
    assert [type(job) for job in stand.hub.alarms.step("").jobs] == [WatchAlarms]
    await stand.look()
    clocks = [one for one in stand.hub.alarms.state.alarms if one.kind is AlarmKind.CLOCK]
    assert [one.severity for one in clocks] == [Severity.CRITICAL]
    await stand.minute(20)  # it is not forgotten because we look again
    assert AlarmKind.CLOCK in {one.kind for one in stand.hub.alarms.state.alarms}
    for _ in range(170):  # a day of a clock that goes on as it should
        stand.now += 9 * MINUTE
        await stand.look()
    assert AlarmKind.CLOCK not in {one.kind for one in stand.hub.alarms.state.alarms}


async def test_who_has_not_changed_is_not_judged_every_minute(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[CertId] = []
    judge = watching.cert_standing

    def counted(cert: CertId, entry: Entry) -> CertStanding:
        judged.append(cert)
        return judge(cert, entry)

    monkeypatch.setattr(watching, "cert_standing", counted)
    await stand.look()
    every = stand.hub.registry.managed()
    assert judged == every
    before = stand.hub.alarms.state.alarms
    stand.now += MINUTE
    await stand.look()
    assert judged == every
    assert stand.hub.alarms.state.alarms == before
    # A change is seen at once, and what comes with time within a quarter of an hour.
    stand.hub.registry.put(every[0], Unsaved(because("test")))
    await stand.look()
    assert judged == [*every, every[0]]
    stand.now += 15 * MINUTE
    await stand.look()
    assert sorted(judged[-len(every) :]) == sorted(every)


async def test_it_is_looked_for_every_minute(stand: Stand) -> None:
    assert [type(job) for job in stand.hub.alarms.step("").jobs] == [WatchAlarms]
    await stand.look()
    due = stand.hub.alarms.step("")
    assert due.jobs == ()
    assert due.wakes == (("look", stand.now + PERIOD),)


async def test_a_test_message_goes_out_whatever_stands(stand: Stand) -> None:
    stand.configure(ADMINS, replace(ADMINS, name="others"))
    stand.postman.ends = [HandedOver((0,)), Permanent(Reason(Failed.NO_SENDMAIL, to="mailto:root"))]
    first, second = await stand.notices.test("")
    assert first == ("admins", None)
    assert second[1] is not None
    assert second[1].code is Failed.NO_SENDMAIL
    assert stand.postman.took[0].severity is Severity.OK
    with pytest.raises(Refused):
        await stand.notices.test("nobody")


async def test_a_notifier_that_left_the_configuration_is_told_nothing(stand: Stand) -> None:
    stand.configure(ADMINS)
    await stand.minute(9)
    stand.configure()
    assert stand.notices.step("admins").jobs == ()
    await stand.minute(30)
    assert not stand.postman.took
    assert not stand.hub.alarms.state.book.notifiers


# --- the sign of life ------------------------------------------------------------------------


URL = AliveUrl("https://hc.example.com/secret", "hc.example.com")


async def beat(stand: Stand) -> list[Any]:
    jobs = stand.heart.step("").jobs
    for job in jobs:
        assert isinstance(job, SayAlive)
        await stand.heart.do(job)
    return list(jobs)


async def test_a_sign_of_life_is_given_every_hour_while_all_turns(stand: Stand) -> None:
    assert await beat(stand) == []  # nobody wants one
    stand.configure(alive_url=URL)
    stand.hub.loop.meters.turned = stand.now
    await stand.look()
    assert await beat(stand)
    assert stand.net.asked == [Beat(URL.text)]
    assert await beat(stand) == []
    stand.now += EVERY
    await stand.look()
    assert await beat(stand)
    assert len(stand.net.asked) == 2
    assert stand.told == []
    # No alarms were looked for: something stands still, and the switch is to notice it.
    stand.now += EVERY + LOOKED
    assert await beat(stand)
    assert len(stand.net.asked) == 2
    assert stand.heart.trouble is not None
    assert [event for event, _ in stand.told] == ["alive-failed"]


async def test_a_start_is_looked_at_before_it_is_called_well(stand: Stand) -> None:
    stand.configure(alive_url=URL)
    stand.hub.loop.meters.turned = stand.now
    assert stand.heart.step("").jobs == ()
    ((_, at),) = stand.heart.step("").wakes or ()
    await stand.look()
    assert at is not None
    stand.now = at
    assert await beat(stand)
    assert (len(stand.net.asked), stand.told) == (1, [])


async def test_nothing_is_planned_any_more(stand: Stand) -> None:
    stand.configure(alive_url=URL)
    stand.hub.loop.meters.turned = stand.now - DAY
    await stand.look()
    await beat(stand)
    assert stand.net.asked == []


async def test_a_switch_that_does_not_answer_is_tried_again_and_its_address_stays_secret(
    stand: Stand,
) -> None:
    stand.configure(alive_url=URL)
    stand.hub.loop.meters.turned = stand.now
    await stand.look()
    stand.net.end = BeatEnd(500)
    await beat(stand)
    trouble = stand.heart.trouble
    assert trouble is not None
    assert trouble.reason is not None
    assert trouble.reason.code is Failed.ALIVE_REFUSED
    assert "secret" not in trouble.text
    assert "secret" not in repr(stand.net.asked)
    stand.now = trouble.next_try
    await stand.look()
    stand.net.end = BeatEnd(200)
    await beat(stand)
    assert stand.heart.trouble is None
    assert [event for event, _ in stand.told] == ["alive-failed"]


async def test_a_command_in_place_of_an_address(stand: Stand, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    stand.configure(alive_command=("touch", str(mark)))
    stand.hub.loop.meters.turned = stand.now
    await stand.look()
    await beat(stand)
    assert mark.exists()
    stand.configure(alive_command=("false",))
    stand.now += EVERY
    await stand.look()
    await beat(stand)
    assert stand.heart.trouble is not None
