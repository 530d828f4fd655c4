"""A hub whose clock a test turns, with a postman and a network that do as the test says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sslmd.config.notify import NotifyOptions
from sslmd.core.alarm import Alarm
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.jobs import Notify, WatchAlarms
from sslmd.core.reason import Reason
from sslmd.daemon.heartbeat import Heartbeat
from sslmd.daemon.hub import Hub
from sslmd.daemon.notices import Notices
from sslmd.daemon.tell.journal import Bus
from sslmd.net.messages import BEAT, BeatEnd
from sslmd.workers.notify import HandedOver, Outgoing, Sender, marks_of
from tests.reasons import because, text
from tests.stand.tools import Tools

MINUTE = timedelta(minutes=1)
ADMINS = NotifyOptions("admins", (), None, ("/bin/true",))


@dataclass
class Postman:
    """Takes messages in place of `Sender`; `ends`: what the next ones end with.

    `broken`: addresses that fail, by their place, with what.
    """

    took: list[Outgoing] = field(default_factory=list)
    ends: list[HandedOver | Exception] = field(default_factory=list)
    broken: dict[int, Exception] = field(default_factory=dict)
    files: list[tuple[str, ...] | Exception] = field(default_factory=list)

    async def marks(self, to: NotifyOptions) -> tuple[str, ...]:
        """As of `to`; of a file what `files` has, the last of it for ever."""
        if to.to_file is None:
            return marks_of([one.text for one in to.to] or [repr(to.command)])
        found = self.files.pop(0) if len(self.files) > 1 else self.files[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def hand_over(
        self, what: Outgoing, to: NotifyOptions, only: Collection[int] | None = None
    ) -> HandedOver:
        for at in only or ():
            if at in self.broken:
                raise self.broken[at]
        end = self.ends.pop(0) if self.ends else HandedOver((0,))
        if isinstance(end, Exception):
            raise end
        self.took.append(what)
        return end


@dataclass
class Net:
    """Answers signs of life."""

    asked: list[Any] = field(default_factory=list)
    end: BeatEnd = field(default_factory=lambda: BeatEnd(200))

    async def call(self, operation: Any, asked: Any) -> Any:
        assert operation is BEAT
        self.asked.append(asked)
        return self.end


class Stand:
    """A hub that is not started, its clock, and what it tells."""

    def __init__(self, tools: Tools) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.site = tools.site
        self.site.now = lambda: self.now
        self.told: list[tuple[str, str]] = []
        self.bugs: list[BaseException] = []
        telling = replace(tools.telling, bug=self._bug)
        self.hub = Hub(tools.site, tools.threads, tools.standings, telling, Bus(), 2)
        self.postman = Postman()
        self.net = Net()
        sender = cast(Sender, self.postman)
        told = self._tell, self._bug
        self.notices = Notices(self.site, self.hub.alarms, self.hub.loop, sender, *told)
        self.heart = Heartbeat(self.site, self.hub.loop, self.net, self.hub.alarms, *told)

    def _tell(self, event: str, line: Reason | str, *_: object) -> None:
        self.told.append((event, text(line)))

    def _bug(self, text: str, err: BaseException) -> None:
        self.bugs.append(err)

    def configure(self, *notifiers: NotifyOptions, **of_globals: Any) -> None:
        own = replace(self.site.config.globals, **of_globals)
        self.site.config = replace(self.site.config, notify=notifiers, globals=own)
        self.notices.reconfigured()

    async def look(self) -> None:
        await self.hub.alarms.do(WatchAlarms(because("test")))

    async def notify(self) -> None:
        """Do what is due for the notifier."""
        for job in self.notices.step("admins").jobs:
            assert isinstance(job, Notify)
            await self.notices.do(job)

    async def minute(self, number: int = 1) -> None:
        for _ in range(number):
            self.now += MINUTE
            await self.look()
            await self.notify()

    def alarms(self, kind: AlarmKind) -> list[Alarm]:
        """The alarms of a kind that stand."""
        return [one for one in self.hub.alarms.state.alarms if one.kind is kind]
