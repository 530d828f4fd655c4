"""Messages to people: who is told what, when (`[[notify]]`), and that the daemon is alive.

`core.notices` decides for each notifier, of the alarms that stand. Nothing queues up: a message
that could not be sent is made again of what stands then.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from sslmd.config.notify import NotifyOptions
from sslmd.core.alarm import Alarm
from sslmd.core.alarm_events import MessageFailed, MessageSent, NotifiersAre
from sslmd.core.errors import Refused, SslmError, Trouble
from sslmd.core.jobs import Job, Notify
from sslmd.core.notices import AlarmMessage, NewsItem, NoticeRule, decide_notices
from sslmd.core.plain import rfc3339
from sslmd.core.reason import Reason, Why, on_wire
from sslmd.core.told import Denied
from sslmd.core.trouble import Severity
from sslmd.core.words.alarms import AlarmWords, advice, body_of, subject_of, title
from sslmd.core.words.pattern import tell
from sslmd.core.words.sentence import say
from sslmd.daemon.alarms import Alarms
from sslmd.daemon.loop import Due, Loop
from sslmd.daemon.tell.journal import NOTICE, WARNING
from sslmd.daemon.zone_work import Tell
from sslmd.workers.notify import Outgoing, Sender
from sslmd.workers.tools import Site

# Alarms that a command gets as data; and names of one.
MOST_ALARMS, MOST_NAMES = 100, 100


class Notices:
    """The reconciler of notifiers, by their names."""

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
        # Who of several addresses has the message that the others did not take yet.
        self._took: dict[str, frozenset[int]] = {}

    def touch_all(self) -> None:
        """Ask for all notifiers."""
        for one in self._site.config.notify:
            self._loop.touch(self.name, one.name)

    def reconfigured(self) -> None:
        """Another configuration is in force."""
        names = tuple(one.name for one in self._site.config.notify)
        for name in set(self._alarms.state.book.notifiers) - set(names):
            self._loop.forget(self.name, name)
        self._took.clear()
        self._alarms.put(NotifiersAre(names))

    def step(self, ident: str) -> Due:
        """Tell it what there is to tell, or ask again when that may be."""
        options = self._options(ident)
        if options is None:
            return Due(wakes=())
        state = self._alarms.state
        decision = decide_notices(rule_of(options), state.book, state.alarms, self._site.now())
        if decision.message is not None:
            return Due((Notify(ident, Reason(Why.NOTICE_DUE)),))
        return Due(wakes=(("tell", decision.wake_at),))

    def after(self, job: Job) -> Iterable[str]:
        """Return the notifier whose message was sent, or was not."""
        return (job.name,) if isinstance(job, Notify) else ()

    async def do(self, job: Notify) -> None:
        """Send what is to be told now; it may be less, or more, than when the job was made."""
        options = self._options(job.name)
        if options is None:
            return
        rule, state, now = rule_of(options), self._alarms.state, self._site.now()
        message = decide_notices(rule, state.book, state.alarms, now).message
        if message is None:
            return
        trouble: Trouble | None = None
        try:
            took = self._took.get(job.name, frozenset())
            handed = await self._sender.hand_over(outgoing_of(message), options, took)
            self._took[job.name] = took | frozenset(handed.took)
            trouble = self._failed(job.name, handed.failure, rule)
        except Exception as err:
            trouble = self._failed(job.name, err, rule)
            if not isinstance(err, SslmError):
                self._bug(f"notifier {job.name}: an error of sslmd's own: {err!r}", err)
        if trouble is not None:
            self._alarms.put(MessageFailed(job.name, trouble))
            text = f"notifier {job.name}: {trouble.text}"
            self._tell("notice-failed", text, WARNING, None)
        else:
            self._took.pop(job.name, None)
            self._alarms.put(MessageSent(message))
            text = f"notifier {job.name}: {subject_of(message, host_name())}"
            self._tell("notice-sent", text, NOTICE, None)
        await self._alarms.save()

    async def test(self, name: str) -> list[tuple[str, Reason | None]]:
        """Send a message to a notifier, or to all for ""; return of each what went wrong.

        Raises `Refused` where there is none of that name, or none at all.
        """
        every = self._site.config.notify
        chosen = [one for one in every if name in ("", one.name)]
        if not chosen:
            known = tuple(one.name for one in every)
            raise Refused(Reason(Denied.NO_NOTIFIER, named=name or None, known=known))
        return [(one.name, await self._tested(one)) for one in chosen]

    async def _tested(self, options: NotifyOptions) -> Reason | None:
        try:
            handed = await self._sender.hand_over(test_message(), options)
        except SslmError as err:
            return err.reason
        failure = handed.failure
        return failure.reason if isinstance(failure, SslmError) else None

    def _failed(self, name: str, err: Exception | None, rule: NoticeRule) -> Trouble | None:
        if err is None:
            return None
        before = self._alarms.state.book.notifier(name).trouble
        same = before is not None and before.fingerprint == rule.fingerprint
        attempts = before.attempts if before is not None and same else 0
        jitter = self._site.rng.random()
        now = self._site.now()
        return Trouble.of(err, attempts, now, jitter=jitter, fingerprint=rule.fingerprint)

    def _options(self, name: str) -> NotifyOptions | None:
        return next((one for one in self._site.config.notify if one.name == name), None)


def rule_of(options: NotifyOptions) -> NoticeRule:
    """Return what a notifier is to hear."""
    # Another address is tried at once; the mark shows none of what stands in it.
    where = repr((*(one.text for one in options.to), str(options.to_file), options.command))
    return NoticeRule(
        options.name,
        options.about,
        options.level,
        options.after,
        options.repeat,
        options.quiet,
        sha256(where.encode("utf-8", "replace")).hexdigest()[:16],
    )


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
