"""Words for alarms: messages of notifiers, and the lines of `sslmctl alarms` and `status`.

Each says what it is, since when, how much life is left and what to do. Whatever others said in it
becomes part of one line, and is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from operator import attrgetter

from sslmd.core.alarm import Alarm
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.notice_book import AlarmSilence
from sslmd.core.notices import AlarmMessage, News, NewsItem
from sslmd.core.plain import minute, plain, some_of, span
from sslmd.core.trouble import Severity
from sslmd.core.words.pattern import fill, tell
from sslmd.core.words.sentence import say

# Of a message: alarms that it tells in full, names that it has of one, and characters of the line
# above it all, of a cause and of all other lines. Phones and chats show little more.
MOST_ALARMS = 20
MOST_NAMES = 10
MOST_OF_SUBJECT = 200
MOST_OF_CAUSE = 800
MOST_OF_LINE = 2000

# What an alarm is: about one subject, and about several.
TITLES: Mapping[AlarmKind, tuple[str, str]] = {
    AlarmKind.REPLACE_NOW: (
        "the CA wants {who} replaced now",
        "the CA wants {many} certificates replaced now",
    ),
    AlarmKind.EXPIRY: ("{who} is not renewed", "{many} certificates are not renewed"),
    AlarmKind.NEVER_ISSUED: ("{who} gets no certificate", "{many} services get no certificate"),
    AlarmKind.HELD: (
        "{who} is held, and not renewed",
        "{many} certificates are held, and not renewed",
    ),
    AlarmKind.KEYS: ("keys where they do not belong, on {who}",) * 2,
    AlarmKind.DANE: ("DANE does not fit: {who}", "DANE does not fit: {who} and others, {many}"),
    AlarmKind.NOT_SERVED: (
        "{where} does not serve {who}",
        "{where} does not serve {many} certificates",
    ),
    AlarmKind.HOST: ("host {who} is not reached", "{many} hosts are not reached"),
    AlarmKind.NETWORK: ("the network process does not work",) * 2,
    AlarmKind.ACCOUNT: ("trouble with the account at {who}", "trouble with {many} accounts"),
    AlarmKind.DISK: ("the disk is full: {who}", "disks are full: {who} and others, {many}"),
    AlarmKind.CLOCK: ("the clock is wrong",) * 2,
    AlarmKind.CONFIG: ("the configuration was refused",) * 2,
    AlarmKind.NOTES: ("the notes of {who} cannot be written", "{many} notes cannot be written"),
    AlarmKind.NOTIFIER: ("messages to {who} fail", "messages to {many} notifiers fail"),
    AlarmKind.BLIND: ("{who} could not be looked at", "{many} could not be looked at"),
    AlarmKind.DH: ("Diffie-Hellman groups are missing or old",) * 2,
    AlarmKind.UNUSED: ("no server uses {who}", "no server uses {many} certificates"),
}

# What to do; what the cause says itself comes first.
ADVICE: Mapping[AlarmKind, str] = {
    AlarmKind.REPLACE_NOW: "sslmctl show {first} says how far that is",
    AlarmKind.EXPIRY: "correct the cause; to try it at once: sslmctl renew {first}",
    AlarmKind.NEVER_ISSUED: "correct the cause; to try it at once: sslmctl renew {first}",
    AlarmKind.HELD: "sslmctl show {first}",
    AlarmKind.KEYS: "remove them, or name them in keep of [[globals]]",
    AlarmKind.DANE: "sslmctl dane {first}",
    AlarmKind.NOT_SERVED: "sslmctl show {first}; to try it at once: sslmctl deliver {first}",
    AlarmKind.HOST: "see whether it is up and lets this machine in; it is tried again",
    AlarmKind.NETWORK: "journalctl -u sslmd",
    AlarmKind.ACCOUNT: "correct it; what the CA says of it: sslmctl account show {first}",
    AlarmKind.DISK: "free some space; nothing is renewed until then",
    AlarmKind.CLOCK: "set the clock, and look at its time service",
    AlarmKind.CONFIG: "correct it (sslmd --check-config), then run: sslmctl reload",
    AlarmKind.NOTES: "free some space, or mount the file system for writing",
    AlarmKind.NOTIFIER: "sslmctl notify --test {first}",
    AlarmKind.BLIND: "sslmctl doctor",
    AlarmKind.DH: "sslmctl doctor",
    AlarmKind.UNUSED: "name it in svc_depends of a class, or write used_by = 'none' in its file",
}

# Of these the line above a message says how much life is left.
_LIVES = frozenset(
    {AlarmKind.EXPIRY, AlarmKind.REPLACE_NOW, AlarmKind.HELD, AlarmKind.NEVER_ISSUED}
)

_SEVERITIES = {Severity.OK: "ok", Severity.WARNING: "warning", Severity.CRITICAL: "CRITICAL"}
_NEWS = {News.RAISED: "", News.WORSE: "worse", News.STILL: "still", News.OVER: "over"}


class AlarmWords(StrEnum):
    """Lines of messages and answers."""

    SUBJECT = "{host}: {word}: {title}[, {life}][ (and {more} more)]"
    ALL_CLEAR = "{host}: all clear: no longer: {title}[ (and {more} more)]"
    HEAD = "{word}: {title}"
    SINCE = "since {since} ({ago})[; {life}]"
    LASTED = "since {since}, for {ago}"
    ADVICE = "To do: {advice}"
    MORE = "and {more} more"
    OPEN = "Alarms that stand now: {number}. To see them: sslmctl alarms"
    NONE_OPEN = "All clear: no alarm stands now."
    LEFT = "[{left} left, until {at}][expired {ago} ago, at {at}]"
    TEST = "{host}: this is a test of sslmd: messages arrive here"
    SILENCE = "{what} is silent until {until}, by {who}: {why}"


def title_of(kind: AlarmKind, names: Sequence[str], first: str, where: str = "") -> str:
    """Return what an alarm about `names` is, in a few words: `first` is the most urgent of them."""
    one, several = TITLES[kind]
    pattern = one if len(names) == 1 else several
    return plain(fill(pattern, {"who": first, "many": len(names), "where": where or "a server"}))


def title(alarm: Alarm) -> str:
    """Return what an alarm is, in a few words."""
    return title_of(alarm.kind, alarm.subjects, alarm.first.name, alarm.place)


def advice(alarm: Alarm) -> str:
    """Return what to do about an alarm."""
    return plain(fill(ADVICE[alarm.kind], {"first": alarm.first.name}))


def life(ends: datetime | None, now: datetime) -> str:
    """Return how much life is left until `ends`, "" where there is nothing to say."""
    if ends is None:
        return ""
    which = "left" if ends > now else "ago"
    return tell(AlarmWords.LEFT, **{which: span(ends - now)}, at=minute(ends))


def silence_line(silence: AlarmSilence) -> str:
    """Return what is silent, until when, and who wanted that for what reason."""
    facts = {"what": silence.what, "until": minute(silence.until)}
    return plain(tell(AlarmWords.SILENCE, **facts, who=silence.who, why=silence.why), MOST_OF_LINE)


# --- messages ----------------------------------------------------------------------------------


def subject_of(message: AlarmMessage, host: str) -> str:
    """Return the line above a message of the machine `host`: its most urgent item."""
    first, more = message.items[0], len(message.items) - 1
    facts: dict[str, object] = {"host": host, "title": _title(first), "more": more or None}
    if first.news is News.OVER and not message.left:
        return plain(tell(AlarmWords.ALL_CLEAR, **facts), MOST_OF_SUBJECT)
    alarm = first.alarm
    if alarm is not None and alarm.kind in _LIVES:
        facts["life"] = life(alarm.ends, message.at)
    return plain(tell(AlarmWords.SUBJECT, **facts, word=_word(first)), MOST_OF_SUBJECT)


def body_of(message: AlarmMessage) -> str:
    """Return the text of a message: a paragraph for each alarm, and a line on all that stand."""
    parts = ["\n  ".join(_lines(item, message.at)) for item in message.items[:MOST_ALARMS]]
    if (more := len(message.items) - MOST_ALARMS) > 0:
        parts.append(tell(AlarmWords.MORE, more=more))
    left = message.left
    parts.append(tell(AlarmWords.OPEN, number=left) if left else tell(AlarmWords.NONE_OPEN))
    return "\n\n".join(parts) + "\n"


def _lines(item: NewsItem, now: datetime) -> Iterator[str]:
    """Yield the lines about one alarm, each plain and bounded."""
    raised, alarm = item.raised, item.alarm
    since = minute(raised.since)
    yield plain(tell(AlarmWords.HEAD, word=_word(item), title=_title(item)), MOST_OF_LINE)
    if alarm is None:
        yield plain(raised.text, MOST_OF_CAUSE)
        lasted = span((raised.gone or now) - raised.since)
        yield tell(AlarmWords.LASTED, since=since, ago=lasted)
        names = sorted(raised.everyone)
    else:
        yield plain(say(alarm.cause), MOST_OF_CAUSE)
        ago = span(now - raised.since)
        yield tell(AlarmWords.SINCE, since=since, ago=ago, life=life(alarm.ends, now))
        names = [one.name for one in sorted(alarm.affected, key=attrgetter("urgency"))]
    if len(names) > 1:  # one alone stands in the title
        yield plain(some_of(names, MOST_NAMES), MOST_OF_LINE)
    if alarm is not None:
        yield plain(tell(AlarmWords.ADVICE, advice=advice(alarm)), MOST_OF_LINE)


def _word(item: NewsItem) -> str:
    """Return how bad it is and what is new about it, or that it is over."""
    if item.alarm is None:
        return _NEWS[News.OVER]
    return ", ".join(filter(None, (_SEVERITIES[item.alarm.severity], _NEWS[item.news])))


def _title(item: NewsItem) -> str:
    if item.alarm is not None:
        return title(item.alarm)
    raised = item.raised
    names = sorted(raised.everyone) or ["-"]
    return title_of(raised.kind, names, names[0], raised.place)
