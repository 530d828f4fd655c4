"""`sslmctl alarms`, `silence` and `notify`: what is wrong now, and who hears of it."""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, datetime, timedelta

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, arg, ask, bounded, command, flag
from sslmd.console.program import DONE, FAILED, USAGE, CtlError
from sslmd.console.text import say
from sslmd.core.plain import local, some_of, span
from sslmd.wire.messages import Method

# Seconds: a message may take a minute at each of several addresses.
TEST_TIMEOUT = 600.0

# Names that a line shows.
_NAMED = 5

_UNITS = {"min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_COLOURS = {"critical": "red", "warning": "yellow"}


def _length(text: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,4}) ?(min|h|d|w)", text)
    if found is None:
        raise ValueError
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


_LENGTH = bounded(_length, lambda length: length > timedelta(0), "a span such as 2d, 12h or 30min")


def add(commands: Commands) -> None:
    """Declare the commands."""
    command(
        commands,
        "alarms",
        alarms,
        "show what is wrong now (exit status 0, 1 or 2)",
        "What certificates, servers, zones and the daemon itself have in common is one alarm. "
        "The exit status is that of the worst that nobody silenced: 1 for a warning, 2 for what "
        "is critical.",
        flag("--json", "print what the daemon answers"),
    )
    command(
        commands,
        "silence",
        silence,
        "send no messages about something for some time",
        "WHAT is a certificate (group:service), a group, a host, a zone, or a kind of alarm. It "
        "stays an alarm, and check and status go on telling it; a silence ends by itself.",
        arg("what", nargs="?", metavar="WHAT", help="what to be silent about"),
        arg("--for", dest="length", metavar="SPAN", type=_LENGTH, help="2d, 12h, 30min"),
        arg("--why", metavar="TEXT", help="the reason, for those who wonder"),
        flag("--list", "show the silences that there are"),
        flag("--end", "end the one about WHAT"),
    )
    command(
        commands,
        "notify",
        notify,
        "send a message to try a notifier",
        "",
        arg("name", nargs="?", default="", metavar="NAME", help="its name; none: all of them"),
        arg("--test", action="store_true", required=True, help="say that it is a test"),
    )


def alarms(args: argparse.Namespace) -> int:
    """Print what is raised."""
    result = ask(args, Method.ALARMS)
    answer = Fields(result)
    if args.json:
        say(json.dumps(result, indent=2, ensure_ascii=False))
    now, worst = datetime.now(UTC), DONE
    for one in answer.subs("alarms"):
        severity = one.text("severity")
        if not one.flag("silenced"):
            worst = max(worst, 2 if severity == "critical" else 1)
        if not args.json:
            _print(one, severity, now)
    if not args.json:
        if not answer.subs("alarms"):
            at = answer.time("looked_at")
            say(f"no alarm, looked for at {local(at, now)}" if at else "nobody has looked yet")
        for one in answer.subs("silences"):
            say(one.text("text"))
        for one in answer.subs("notifiers"):
            if error := one.text("error"):
                say(f"notifier {one.text('name')}: {error}", "yellow")
    return worst


def _print(one: Fields, severity: str, now: datetime) -> None:
    since = one.time("since")
    ago = f", for {span(now - since)}" if since else ""
    silent = ", silenced" if one.flag("silenced") else ""
    colour = "" if silent else _COLOURS.get(severity, "")
    say(f"{severity.upper()} {one.text('kind')}: {one.text('title')}{ago}{silent}", colour)
    say(f"  {one.text('text')}")
    names = one.texts("subjects")
    if len(names) > 1:
        say(f"  {some_of(names, _NAMED)}")
    if ends := one.time("ends"):
        say(f"  valid until {local(ends, now)}")
    if advice := one.text("advice"):
        say(f"  To do: {advice}")


def silence(args: argparse.Namespace) -> int:
    """Make, end or show silences."""
    if args.list or (not args.what and not args.end):
        found = Fields(ask(args, Method.ALARMS)).subs("silences")
        for one in found:
            say(one.text("text"))
        if not found:
            say("there are no silences")
        return DONE
    if not args.what:
        raise CtlError("name what to end the silence about", USAGE)
    if args.end:
        params: dict[str, object] = {"what": args.what, "end": True}
    else:
        if args.length is None or not args.why:
            raise CtlError("a silence wants an end and a reason: --for 2d --why TEXT", USAGE)
        seconds = int(args.length.total_seconds())
        params = {"what": args.what, "seconds": seconds, "why": args.why}
    say(Fields(ask(args, Method.SILENCE, params)).text("text"))
    return DONE


def notify(args: argparse.Namespace) -> int:
    """Print for each notifier whether it took a message."""
    status = DONE
    for one in Fields(ask(args, Method.NOTIFY, {"name": args.name}, TEST_TIMEOUT)).subs(
        "notifiers"
    ):
        error = one.text("error")
        say(f"{one.text('name')}: {error or 'sent'}", "red" if error else "")
        status = FAILED if error else status
    return status
