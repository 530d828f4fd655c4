"""`alarms`, `silence` and `notify`: what is wrong now, what is kept silent, and do messages come.

docs/socket-api.md, Alarms.
"""

from __future__ import annotations

import pwd
from collections import Counter
from datetime import timedelta
from typing import Any

from sslmd.core.alarm import Alarm
from sslmd.core.alarm_events import SilenceEnded, SilenceMade
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.notice_book import AlarmSilence
from sslmd.core.notices import silence
from sslmd.core.plain import plain, rfc3339
from sslmd.core.reason import Reason, on_wire
from sslmd.core.told import Denied
from sslmd.core.words.alarms import silence_line
from sslmd.core.words.sentence import say
from sslmd.daemon.api.beside import time
from sslmd.daemon.api.server import Client
from sslmd.daemon.api.users import denied
from sslmd.daemon.hub import Hub
from sslmd.daemon.notices import alarm_row
from sslmd.wire.messages import ErrorCode
from sslmd.wire.params import Params

# Characters of a reason for a silence.
MOST_WHY = 300

# Seconds: more than any silence has (`LONGEST_SILENCE` says how long one may be).
MOST_SECONDS = 10**9

# What `status` has no part of its own for.
_OWN = frozenset(
    {
        *(AlarmKind.ACCOUNT, AlarmKind.DISK, AlarmKind.CLOCK, AlarmKind.NOTES),
        AlarmKind.NOTIFIER,
    }
)


class AlarmMethods:
    """Answers the three."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def listed(self) -> dict[str, Any]:
        """Return the alarms that stand, the most urgent first, the silences, and the notifiers."""
        state, now = self._hub.alarms.state, self._hub.site.now()
        silences = [one for one in state.book.silences if one.holds(now)]
        return {
            "alarms": [self._row(alarm, silences) for alarm in state.alarms],
            "looked_at": time(state.looked),
            **silences_and_notifiers(self._hub),
        }

    def _row(self, alarm: Alarm, silences: list[AlarmSilence]) -> dict[str, Any]:
        raised = self._hub.alarms.state.book.raised.get(alarm.id)
        return {
            "id": alarm.id,
            **alarm_row(alarm),
            "since": rfc3339(raised.since) if raised is not None else None,
            "silenced": is_silenced(alarm, silences),
        }

    async def silence(self, client: Client, params: Params) -> dict[str, Any]:
        """Make a silence, or end one; return when that is on disk."""
        hub, now = self._hub, self._hub.site.now()
        what = self._named(params.text("what"))
        if params.flag("end"):
            if not any(one.what == what for one in hub.alarms.state.book.silences):
                raise denied(Reason(Denied.NO_SILENCE, what=what))
            await hub.alarms.noted(SilenceEnded(what))
            text = f"no more silence about {what}, by {user_of(client.uid)}"
            hub.telling.tell("silence-ended", text, None)
            return {"text": text}
        length = timedelta(seconds=min(params.count("seconds"), MOST_SECONDS))
        why = plain(params.text("why"), MOST_WHY)
        made = silence(what, length, user_of(client.uid), why, now)
        await hub.alarms.noted(SilenceMade(made))
        text = silence_line(made)
        hub.telling.tell("silence", text, None)
        return {"text": text, "until": rfc3339(made.until)}

    def _named(self, what: str) -> str:
        """Return what a silence is about, as alarms name it; raises `Denied` where nothing is."""
        hub, entries = self._hub, self._hub.registry.entries
        group, slash, service = what.partition("/")
        name = f"{group}:{service}" if slash else what
        known = {*AlarmKind, *(str(zone) for zone, _ in hub.zones.known())}
        known |= {text for cert in entries for text in (cert.arg, cert.group)}
        known |= {host for entry in entries.values() for _, host in entry.servers}
        known |= set(hub.hosts.notes.entries)
        known |= {ca.name for ca in hub.site.config.cas.values() if not ca.is_own}
        known |= {one.what for one in hub.alarms.state.book.silences}
        if name not in known:
            why = Reason(Denied.SILENCE_WHAT, what=plain(what, 100), kinds=tuple(AlarmKind))
            raise denied(why, ErrorCode.INVALID_PARAMS)
        return name

    async def notify(self, params: Params) -> dict[str, Any]:
        """Send a message to a notifier, or to all, and return how that went."""
        ends = await self._hub.notices.test(params.text("name"))
        return {
            "notifiers": [
                {
                    "name": name,
                    "sent": why is None,
                    "error": say(why) if why is not None else None,
                    **on_wire(why, "error"),
                }
                for name, why in ends
            ]
        }


def silences_and_notifiers(hub: Hub) -> dict[str, Any]:
    """Return what `status` says of them as well."""
    book, now = hub.alarms.state.book, hub.site.now()
    return {
        "silences": [
            {
                "what": one.what,
                "until": rfc3339(one.until),
                "who": one.who,
                "why": one.why,
                "made": rfc3339(one.made),
                "text": silence_line(one),
            }
            for one in sorted(book.silences, key=lambda one: (one.until, one.what))
            if one.holds(now)
        ],
        "notifiers": [
            {
                "name": name,
                "sent": time(state.sent[-1]) if state.sent else None,
                "attempts": state.trouble.attempts if state.trouble is not None else 0,
                "error": state.trouble.text if state.trouble is not None else None,
                "next_try": time(state.trouble.next_try) if state.trouble is not None else None,
            }
            for name, state in book.notifiers.items()
        ],
    }


def own_alarms(hub: Hub) -> list[dict[str, Any]]:
    """Return the alarms that `status` says nowhere else: of the daemon, its machine, accounts."""
    certs = {cert.arg for cert in hub.registry}
    some = (alarm.of(lambda one: one.name not in certs) for alarm in hub.alarms.state.alarms)
    return [alarm_row(one) for one in some if one is not None and one.kind in _OWN]


def counted(hub: Hub) -> list[dict[str, Any]]:
    """Return how many alarms there are of each kind and severity, for metrics."""
    state, now = hub.alarms.state, hub.site.now()
    silences = [one for one in state.book.silences if one.holds(now)]
    numbers = Counter(
        (str(alarm.kind), alarm.severity.name.lower(), is_silenced(alarm, silences))
        for alarm in state.alarms
    )
    return [
        {"kind": kind, "severity": severity, "silenced": silenced, "number": number}
        for (kind, severity, silenced), number in sorted(numbers.items())
    ]


def is_silenced(alarm: Alarm, silences: list[AlarmSilence]) -> bool:
    """Whether nobody is told of an alarm, because of all that it affects somebody wants silence."""
    return all(any(one.covers(alarm.kind, who) for one in silences) for who in alarm.affected)


def user_of(uid: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
