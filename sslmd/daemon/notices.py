"""Messages to people: who is told what, when (`[[notify]]`), and that the daemon is alive.

`core.notices` decides for each notifier, of the alarms that stand. Nothing queues up: a message
that could not be sent is made again of what stands then.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

from sslmd.config.notify import NotifyOptions
from sslmd.core.alarm import Alarm
from sslmd.core.alarm_events import MessageFailed, MessageSent, NotifiersAre, TrialTaken
from sslmd.core.errors import Refused, SslmError, Trouble, reason_of
from sslmd.core.jobs import Notify
from sslmd.core.notices import AlarmMessage, NewsItem, NoticeDecision, NoticeRule, decide_notices
from sslmd.core.plain import rfc3339
from sslmd.core.reason import Reason, Said, Why, on_wire
from sslmd.core.told import Denied, Reported
from sslmd.core.trouble import Severity
from sslmd.core.words.alarms import AlarmWords, advice, body_of, subject_of, title
from sslmd.core.words.pattern import tell
from sslmd.core.words.sentence import say
from sslmd.daemon.alarms import Alarms
from sslmd.daemon.loop import Due, Loop, OfItsJobs
from sslmd.daemon.tell.journal import NOTICE, WARNING, Tell
from sslmd.workers.notify import Outgoing, Sender, marks_of
from sslmd.workers.tools import Site

# Alarms that a command gets as data; and names of one.
MOST_ALARMS, MOST_NAMES = 100, 100


class Notices(OfItsJobs):
    """The reconciler of notifiers, by their names.

    Each of several addresses is told for itself: it is `admins`, `admins/2` and so on in the book.
    """

    name = "notices"
    jobs = (Notify,)

    def __init__(
        self,
        site: Site,
        alarms: Alarms,
        loop: Loop,
        sender: Sender,
        tell: Tell,
        bug: Callable[[str, BaseException], None],
    ) -> None:
        self._site, self._alarms, self._loop = site, alarms, loop
        self._sender, self._tell, self._bug = sender, tell, bug
        # Of a notifier a mark of each address, as its file was last read: none where it cannot be.
        self._read: dict[str, tuple[str, ...]] = {}

    def touch_all(self) -> None:
        """Ask for all notifiers."""
        for one in self._site.config.notify:
            self._loop.touch(self.name, one.name)

    def reconfigured(self) -> None:
        """Another configuration is in force."""
        names = {one.name for one in self._site.config.notify}
        gone = {_owner(key) for key in self._alarms.state.book.notifiers} - names
        for name in gone:
            self._loop.forget(self.name, name)
        self._read.clear()
        self._know()

    def _know(self) -> None:
        """Have it remembered what was told to everybody, and to nobody else."""
        before, keys = self._alarms.state.book.notifiers, list[str]()
        for options in self._site.config.notify:
            if options.to_file is not None and not self._read.get(options.name):
                # Nobody knows how many they are.
                keys += [options.name, *(key for key in before if _is_further(key, options.name))]
            else:
                keys += [rule.name for rule in self._rules(options)]
        if list(before) != keys:
            self._alarms.put(NotifiersAre(tuple(keys)))

    def _rules(self, options: NotifyOptions) -> list[NoticeRule]:
        """Return what each address of a notifier is to hear, in order; for a command one."""
        return rules_of(options, _marks(options) or self._read.get(options.name) or ("",))

    def step(self, ident: str) -> Due:
        """Tell it what there is to tell, or ask again when that may be."""
        options = self._options(ident)
        if options is None:
            return Due(wakes=())
        if options.to_file is not None and ident not in self._read:
            return Due((Notify(ident, Reason(Why.NOTICE_DUE)),))
        decisions = [self._decision(rule) for rule in self._rules(options)]
        if any(one.message is not None for one in decisions):
            return Due((Notify(ident, Reason(Why.NOTICE_DUE)),))
        wakes = [one.wake_at for one in decisions if one.wake_at is not None]
        return Due(wakes=(("tell", min(wakes, default=None)),))

    def _decision(self, rule: NoticeRule) -> NoticeDecision:
        state = self._alarms.state
        return decide_notices(rule, state.book, state.alarms, self._site.now())

    async def do(self, job: Notify) -> None:
        """Send what is to be told now; it may be less, or more, than when the job was made.

        Each address has messages of its own: one that fails holds up no other.
        """
        options = self._options(job.name)
        if options is None:
            return
        try:
            self._read[job.name] = await self._sender.marks(options)
        except Exception as err:
            self._read[job.name] = ()
            (rule,) = self._rules(options)
            if self._decision(rule).message is not None:
                self._failed(rule, err)
        else:
            self._know()
            rules = enumerate(self._rules(options))
            await asyncio.gather(*(self._deliver(options, at, rule) for at, rule in rules))
        await self._alarms.save()

    async def _deliver(self, options: NotifyOptions, at: int, rule: NoticeRule) -> None:
        """Send to one address what it is to be told."""
        message = self._decision(rule).message
        if message is None:
            return
        try:
            await self._sender.hand_over(outgoing_of(message), options, (at,))
        except Exception as err:
            self._failed(rule, err)
            return
        self._alarms.put(MessageSent(message))
        subject = Said(subject_of(message, host_name()))
        sent = Reason(Reported.NOTICE_SENT, name=rule.name, subject=subject)
        self._tell("notice-sent", sent, NOTICE, None)

    async def test(self, name: str) -> list[tuple[str, Reason | None]]:
        """Send a message to a notifier, or to all for ""; return of each what went wrong.

        Raises `Refused` where there is none of that name, or none at all.
        """
        every = self._site.config.notify
        chosen = [one for one in every if name == "" or one.name == _owner(name)]
        if not chosen:
            known = tuple(one.name for one in every)
            raise Refused(Reason(Denied.NO_NOTIFIER, named=name or None, known=known))
        return [(one.name, await self._tested(one)) for one in chosen]

    async def _tested(self, options: NotifyOptions) -> Reason | None:
        self._read.pop(options.name, None)  # what was put right counts from now on
        self._loop.touch(self.name, options.name)
        try:
            handed = await self._sender.hand_over(test_message(), options)
        except SslmError as err:
            return err.reason
        for key in (_key(options.name, at + 1) for at in handed.took):
            if self._alarms.state.book.notifier(key).trouble is not None:
                self._alarms.put(TrialTaken(key))
        failure = handed.failure
        return failure.reason if isinstance(failure, SslmError) else None

    def _failed(self, rule: NoticeRule, err: Exception) -> None:
        """Take in that a message was not sent, and tell it."""
        before = self._alarms.state.book.notifier(rule.name).trouble
        same = before is not None and before.fingerprint == rule.fingerprint
        attempts = before.attempts if before is not None and same else 0
        jitter, now = self._site.rng.random(), self._site.now()
        trouble = Trouble.of(err, attempts, now, jitter=jitter, fingerprint=rule.fingerprint)
        self._alarms.put(MessageFailed(rule.name, trouble))
        self._tell("notice-failed", reason_of(err).of(f"notifier {rule.name}"), WARNING, None)
        if not isinstance(err, SslmError):
            self._bug(f"notifier {rule.name}: an error of sslmd's own: {err!r}", err)

    def _options(self, name: str) -> NotifyOptions | None:
        return next((one for one in self._site.config.notify if one.name == name), None)


def _key(name: str, number: int) -> str:
    """Return how one of a notifier's addresses is called in the book."""
    return f"{name}/{number}" if number > 1 else name


def _owner(key: str) -> str:
    """Return the notifier of one of its addresses."""
    return key.partition("/")[0]


def _is_further(key: str, name: str) -> bool:
    return key != name and _owner(key) == name


def _marks(options: NotifyOptions) -> tuple[str, ...]:
    """Return the marks of those whom a notifier names, () where a file does that."""
    texts = (repr(options.command),) if options.command else [one.text for one in options.to]
    return marks_of(texts)


def rules_of(options: NotifyOptions, marks: Sequence[str]) -> list[NoticeRule]:
    """Return what each address is to hear, the first one under the notifier's name.

    `marks`: of each of them. Another address is tried at once.
    """
    return [
        NoticeRule(
            _key(options.name, number),
            options.about,
            options.level,
            options.after,
            options.repeat,
            options.quiet,
            mark,
        )
        for number, mark in enumerate(marks, 1)
    ]


# --- what is sent ---------------------------------------------------------------------------------


def host_name() -> str:
    """Return what this machine is called in messages."""
    return socket.gethostname()


def outgoing_of(message: AlarmMessage) -> Outgoing:
    """Return a message as it goes out: in words, and as data for commands."""
    items = message.items
    worst = max(item.alarm.severity if item.alarm is not None else Severity.OK for item in items)
    return Outgoing(
        subject_of(message, host_name()),
        tuple(body_of(message).splitlines()),
        worst,
        {
            "version": 1,
            "host": host_name(),
            "at": rfc3339(message.at),
            "standing": message.left,
            "alarms": [item_row(item) for item in items[:MOST_ALARMS]],
        },
    )


def item_row(item: NewsItem) -> dict[str, Any]:
    """Return one alarm of a message as data (docs/socket-api.md, Alarms)."""
    raised, alarm = item.raised, item.alarm
    about: dict[str, Any]
    if alarm is None:
        names = sorted(raised.everyone)
        about = {
            "kind": str(raised.kind),
            "severity": raised.severity.name.lower(),
            "title": None,
            "text": raised.text,
            "subjects": names[:MOST_NAMES],
            "number": len(names),
            "places": [raised.place] if raised.place else [],
            "ends": None,
            "advice": None,
        }
    else:
        about = alarm_row(alarm)
    return {
        "id": item.id,
        "news": str(item.news),
        **about,
        "since": rfc3339(raised.since),
        "gone": rfc3339(raised.gone) if raised.gone is not None else None,
    }


def alarm_row(alarm: Alarm) -> dict[str, Any]:
    """Return an alarm as data."""
    return {
        "kind": str(alarm.kind),
        "severity": alarm.severity.name.lower(),
        "title": title(alarm),
        "text": say(alarm.cause),
        **on_wire(alarm.cause, "text"),
        "subjects": list(alarm.subjects[:MOST_NAMES]),
        "number": len(alarm.subjects),
        "places": sorted({place for one in alarm.affected for place in one.places})[:MOST_NAMES],
        "ends": rfc3339(alarm.ends) if alarm.ends is not None else None,
        "advice": advice(alarm),
    }


def test_message() -> Outgoing:
    """Return what `sslmctl notify --test` sends."""
    text = tell(AlarmWords.TEST, host=host_name())
    return Outgoing(text, (text,), Severity.OK, {"version": 1, "host": host_name(), "alarms": []})
