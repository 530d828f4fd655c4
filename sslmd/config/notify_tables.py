"""`[[notify]]`: who hears of what, when. The manual is made of it, as of the other tables."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator

from sslmd.config import values
from sslmd.config.kinds import Argv, NotifyAddress
from sslmd.config.notify_address import notify_address
from sslmd.config.table import SINGLE, Windows, each_once, key, one_command, path_key, table
from sslmd.config.tables import IN_GLOBALS
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.plain import span as shown
from sslmd.core.trouble import Severity
from sslmd.core.windows import Group

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SPAN = re.compile(r"([0-9]{1,6}) ?(s|min|h|d)")
_UNITS = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_LEVELS = {one.name.lower(): one for one in (Severity.WARNING, Severity.CRITICAL)}
_DAY = timedelta(days=1)
EVERY_KIND = ("all", "*")


def _name(value: Any) -> str:
    name = values.text(value)
    if not _NAME.fullmatch(name):
        remedy = "write letters, digits, and . _ - such as 'admins'"
        raise values.wrong(f"{values.seen(value)} is not a name", remedy)
    return name


def _command(value: Any) -> Argv:
    if isinstance(value, list):
        return tuple(map(values.text, value))
    return values.command(value, "sh -c '…; …'")


def _level(value: Any) -> Severity:
    found = _LEVELS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise values.wrong(f"{values.seen(value)} is not known here", values.one_of(list(_LEVELS)))
    return found


def _span(least: timedelta, most: timedelta, example: str) -> Any:
    def parse(value: Any) -> timedelta:
        found = _SPAN.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            remedy = f"write a number and s, min, h or d, such as '{example}'"
            raise values.wrong(f"{values.seen(value)} is not a span of time", remedy)
        span = int(found[1]) * _UNITS[found[2]]
        if not least <= span <= most:
            word, bound = (
                ("short", f"at least {shown(least)}")
                if span < least
                else ("long", f"at most {shown(most)}")
            )
            remedy = f"write {bound}, such as '{example}'"
            raise values.wrong(f"{values.seen(value)} is too {word}", remedy)
        return span

    return Annotated[timedelta, PlainValidator(parse)]


def _kind(value: Any) -> str:
    if value in EVERY_KIND:
        return EVERY_KIND[0]
    try:
        return AlarmKind(value)
    except ValueError:
        problem = f"{values.seen(value)} is no kind of alarm"
        raise values.wrong(problem, values.one_of(list(AlarmKind))) from None


def _about(kinds: list[str], _: str) -> frozenset[AlarmKind]:
    return frozenset(AlarmKind if EVERY_KIND[0] in kinds else map(AlarmKind, kinds))


@table(homes=IN_GLOBALS)
class NotifyOptions:
    """One `[[notify]]`. Of `to`, `to_file` and `command` there is one.

    `about`: kinds that it hears of, `level`: how bad they are at least. `quiet`: windows in which
    it hears of what is critical alone.
    """

    name: Annotated[str, PlainValidator(_name)] = key(
        "name", "What it is called: `sslmctl notify --test NAME`. Each table has its own."
    )
    to: tuple[NotifyAddress, ...] = key(
        "list of addresses",
        "Whom to tell, as Apprise writes it (<https://appriseit.com>): `ntfys://host/topic`, "
        "`slack://…`, `tgram://…`, `matrixs://…`, `jsons://host/path` for a web hook of your own, "
        "`mailtos://user:password@host` for a mail server. `mailto:root` or `mailto:user@host`, "
        "without `//`, goes to this machine's own sendmail. Who may read this file may read what "
        "stands here: an address with a password or a token goes into `to_file`.",
        default=[],
        read=Annotated[list[Annotated[NotifyAddress, PlainValidator(notify_address)]], SINGLE],
        to=each_once,
    )
    to_file: Path | None = path_key(
        "The same in a file of mode 0600: an address on each line; lines that begin with `#` do "
        "not count. It is read for each message.",
        shown="none",
    )
    command: Argv = key(
        "command, or list of words",
        "A program in place of addresses: it gets a message as one JSON object on stdin "
        "(`subject`, `lines`, `severity`, `alarms`) and may take `cmd_timeout`. It runs as the "
        "daemon's user, within its unit, without a shell. An exit status other than 0 is a "
        "failure: it is tried again.",
        default=[],
        shown="none",
        read=Annotated[Argv, PlainValidator(_command)],
        to=one_command,
    )
    about: frozenset[AlarmKind] = key(
        "list of kinds, or `'all'`",
        "What to report: " + ", ".join(f"`{kind}`" for kind in AlarmKind) + ".",
        default=[EVERY_KIND[0]],
        read=Annotated[list[Annotated[str, PlainValidator(_kind)]], SINGLE],
        to=_about,
    )
    level: Severity = key(
        "`warning` or `critical`",
        "Report only what is at least as bad.",
        default=Severity.WARNING,
        shown="`warning`",
        read=Annotated[Severity, PlainValidator(_level)],
    )
    after: timedelta = key(
        "span of time",
        "Trouble that is over sooner is not reported. Units are `s`, `min`, `h`, `d`.",
        default=timedelta(minutes=10),
        shown="`10 min`",
        read=_span(timedelta(0), _DAY, "10 min"),
    )
    repeat: timedelta = key(
        "span of time",
        "What is still wrong is reported again after this long.",
        default=_DAY,
        shown="`1 d`",
        read=_span(timedelta(hours=1), 30 * _DAY, "1 d"),
    )
    quiet: Group = key(
        "list of windows",
        "Hours in which only what is critical is reported, such as `'22:00-07:00 Europe/Berlin'`; "
        "the rest waits until they are over. Together they last 4 days at most without a break.",
        default=[],
        shown="none",
        read=Windows,
    )
