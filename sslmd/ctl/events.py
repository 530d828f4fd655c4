"""`sslmctl events`: what happened lately, and what happens."""

from __future__ import annotations

import argparse
import json

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, add_certs, chosen, command, connect
from sslmd.console.client import ANSWER_TIMEOUT
from sslmd.console.errors import DONE
from sslmd.console.text import clock, printable_json, say
from sslmd.wire.messages import Method, Notice, Notification

# syslog's numbers (RFC 5424 §6.2.1): 3 is an error, 4 a warning, 5 to 7 are nothing bad.
_ERROR, _WARNING = 3, 4


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(commands, "events", run, "show what happened lately")
    add_certs(parser)
    parser.add_argument("--follow", "-f", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print lines of JSON")


def run(args: argparse.Namespace) -> int:
    """Print events, one per line."""
    show = _print_json if args.json else _print_line
    params = {"certs": chosen(args), "follow": args.follow}
    with connect(args) as daemon:
        try:
            daemon.call(
                Method.EVENTS,
                params,
                on_notice=lambda notice: show(notice) if notice.method == Notice.EVENT else None,
                timeout=None if args.follow else ANSWER_TIMEOUT,
            )
        except KeyboardInterrupt:
            if not args.follow:
                raise
    return DONE


def _print_json(notice: Notification) -> None:
    text = json.dumps(notice.params, ensure_ascii=False, separators=(",", ":"))
    say(printable_json(text))


def _print_line(notice: Notification) -> None:
    event = Fields(notice.params)
    parts = (
        clock(event.time("at")),
        event.text("cert"),
        event.text("event"),
        event.text("text"),
    )
    priority = event.text("priority")
    level = int(priority) if priority.isdecimal() else _WARNING + 1
    colour = "red" if level <= _ERROR else "yellow" if level == _WARNING else ""
    say("  ".join(filter(None, parts)), colour)
