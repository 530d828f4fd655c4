"""`sslmctl status`: every certificate in a table, what it waits for, and what is wrong."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from sslmd.console.answers import Cert, Fields, certs_of
from sslmd.console.args import CERTS, Commands, ask_certs, chosen, command, connect
from sslmd.console.health import (
    Problem,
    dh_problems,
    host_problems,
    net_problems,
    net_remarks,
    own_problems,
    problems,
    refusal,
    remarks,
    why,
    zone_problems,
)
from sslmd.console.program import DONE, NO_DAEMON, USAGE, CtlError
from sslmd.console.table import Row, table, terminal_height, terminal_width, wrapped
from sslmd.console.text import colours, count, paint, printable, printable_json
from sslmd.core.plain import local
from sslmd.core.trouble import BY_LIFE, Severity
from sslmd.wire.messages import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

WATCH_SECONDS = 2.0

_HEADER = ("CERTIFICATE", "CA", "KEY", "LEFT", "RENEWS", "ROLLS", "STATE")
# On a narrow terminal what is missed least goes first; and ROLLS, if nothing rolls.
_SPARE = ("KEY", "CA")
_COLOURS = {Severity.OK: "", Severity.WARNING: "yellow", Severity.CRITICAL: "red"}
_NEXT = (
    ("renew_at", "renews {} on {}"),
    ("roll_at", "rolls {} on {}"),
    ("next_try", "tries {} again on {}"),
)
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


def add(commands: Commands) -> None:
    """Declare the command."""
    text = "show certificates, what they wait for, and what is wrong"
    parser = command(commands, "status", run, text, "", CERTS)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print the daemon's answer as JSON")
    how.add_argument("--watch", action="store_true", help="show it again every two seconds")
    how.add_argument("--timeline", action="store_true", help="draw the life of each as a line")


def run(args: argparse.Namespace) -> int:
    """Print the status."""
    if args.watch:
        if not sys.stdout.isatty():
            raise CtlError("--watch draws on a terminal; stdout is none", USAGE)
        return watch(args)
    if args.json:
        with connect(args) as daemon:
            raw = daemon.call_raw(Method.STATUS, {"certs": chosen(args)})
        if not sys.stdout.isatty():
            sys.stdout.flush()
            sys.stdout.buffer.write(raw + b"\n")
            return DONE
        for line in json.dumps(json.loads(raw), ensure_ascii=False, indent=2).split("\n"):
            print(printable_json(line))
        return DONE
    result = ask_certs(args, Method.STATUS)
    if args.timeline:
        from sslmd.ctl.timeline import timeline

        lines = timeline(certs_of(result), datetime.now(UTC))
    else:
        lines = _screen(args, result)
    for line in lines:
        print(line)
    return DONE


def watch(args: argparse.Namespace, pause: Callable[[float], None] = time.sleep) -> int:
    """Draw the status again and again until Ctrl-C; a daemon that restarts is waited for."""
    result = ask_certs(args, Method.STATUS)
    print(_HOME + _CLEAR_REST, end="")
    try:
        while True:
            _draw(list(_screen(args, result)))
            result = None
            while result is None:
                pause(WATCH_SECONDS)
                try:
                    # Over a new connection: the daemon may have been restarted in between.
                    result = ask_certs(args, Method.STATUS)
                except CtlError as err:
                    if err.exit_status != NO_DAEMON:
                        raise
                    _draw([printable(err.text), "", "Trying again."])
    except KeyboardInterrupt:
        print()
        return DONE


def _draw(lines: Sequence[str]) -> None:
    height = terminal_height()
    if len(lines) > height:
        lines = [*lines[: height - 2], "…", lines[-1]]
    text = "\n".join(line + _CLEAR_LINE for line in lines)
    print(_HOME + text + _CLEAR_REST, end="", flush=True)


def _screen(args: argparse.Namespace, result: Json) -> Iterator[str]:
    """Yield the lines, as the terminal or pipe takes them."""
    now, width, colour = datetime.now(UTC), terminal_width(), colours(sys.stdout)
    certs = certs_of(result)
    judged = [(cert, problems(cert, now)) for cert in certs]
    rows = [_row(cert, wrong, now) for cert, wrong in judged]
    if rows:
        rolls = any(cert.time("roll_at") for cert in certs)
        spare = _SPARE if rolls else (*_SPARE, "ROLLS")
        yield from table(_HEADER, rows, width=width, colour=colour, spare=spare)
        yield ""
    trouble = sum(bool(wrong) for _, wrong in judged)
    for line in wrapped(_summary(certs, trouble, now), width):
        yield paint(line, "red" if trouble else "", on=colour)
    beside = host_problems(result, now) + zone_problems(result, certs) + dh_problems(result)
    beside += [one.text("text") for one in Fields(result).subs("dns")]
    beside += [one.text("text") for one in Fields(result).subs("replacing")]
    beside += net_problems(result) + net_remarks(result)
    beside += [text for _, text in own_problems(result)]
    silences = [one.text("text") for one in Fields(result).subs("silences")]
    refused, mistakes = refusal(result, now)
    for text, style in (
        *((text, "yellow") for text in beside),
        *((text, "") for text in silences),
        *((text, "red") for text in (f"{refused}:" * bool(refused), *mistakes) if text),
    ):
        for line in wrapped(text, width):
            yield paint(line, style, on=colour)
    if daemon := Fields(result).sub("daemon"):
        yield from wrapped(_daemon(daemon, now, some=bool(args.certs)), width)


def _row(cert: Cert, wrong: Sequence[Problem], now: datetime) -> Row:
    end, left = cert.not_after, cert.left(now)
    level = BY_LIFE.severity(cert.status, now)
    shown = cert.curr or cert.sub("next")
    cells = (
        (cert.name, ""),
        (cert.text("signing_ca") or "self", ""),
        (shown.text("key") or "-", ""),
        (left, _COLOURS[level] or ("" if end is None else "green")),
        (local(cert.time("renew_at"), now), ""),
        (local(cert.time("roll_at"), now), ""),
    )
    state = ": ".join(filter(None, (cert.text("phase"), why(cert))))
    more = [*((text, "red") for _, text in wrong), *((text, "") for text in remarks(cert, now))]
    return Row(cells, [(state, ""), *more])


def _summary(certs: Sequence[Cert], trouble: int, now: datetime) -> str:
    renewals = [cert.time("renew_at") if cert.curr else now for cert in certs]
    due = sum(moment is not None and moment <= now for moment in renewals)
    parts = [count(len(certs), "certificate"), f"{due} due", f"{trouble} in trouble"]
    coming = [
        (moment, cert.name, text)
        for cert in certs
        for field, text in _NEXT
        if (moment := cert.time(field)) and moment > now
    ]
    text = ", ".join(parts)
    if coming:
        moment, name, event = min(coming)
        text += f"; next: {event.format(name, local(moment, now))}"
    return text


def _daemon(daemon: Fields, now: datetime, *, some: bool) -> str:
    """Return the daemon's line. `some`: not of all certificates, while its text is about all."""
    # A refused configuration stands above.
    text = daemon.text("summary") or daemon.text("text")
    if some and text:
        text = f"in all {text}"
    state = ": ".join(filter(None, (daemon.text("state"), text)))
    return (
        f"sslmd {daemon.text('version')}, pid {daemon.number('pid')}, since "
        f"{local(daemon.time('started'), now)}; {state}"
    )
