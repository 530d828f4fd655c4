"""`sslmctl plan`, `events` and `dane`: what will be done, what happened, and what DNS shows."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, add_certs, ask, chosen, command, connect
from sslmd.console.client import ANSWER_TIMEOUT
from sslmd.console.program import DONE, FAILED
from sslmd.console.table import Row, print_table
from sslmd.console.text import clock, printable_json, say
from sslmd.core.plain import local
from sslmd.wire.messages import Method, Notice, Notification

# Seconds. Name servers and ports that do not answer are waited for, side by side.
DANE_TIMEOUT = 180.0

_STATES = {"running": "green", "waiting": "yellow"}

# syslog's numbers (RFC 5424 §6.2.1): 3 is an error, 4 a warning, 5 to 7 are nothing bad.
_ERROR, _WARNING = 3, 4


def add(commands: Commands) -> None:
    """Declare the commands."""
    parser = command(commands, "plan", plan, "show the jobs that run, wait, and come")
    add_certs(parser)

    parser = command(commands, "events", events, "show what happened lately")
    add_certs(parser)
    parser.add_argument("--follow", "-f", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print lines of JSON")

    parser = command(
        commands,
        "dane",
        dane,
        "compare TLSA records, name servers and ports (exit status 0 or 1)",
        "Asks every name server for the TLSA records of the certificates, connects to every "
        "address of every port that has some, and tells what does not fit. The daemon does this "
        "every day by itself, and at most once a minute for those who ask: until then they get the "
        "last answer, with its age.",
    )
    add_certs(parser)
    parser.add_argument(
        "--now", action="store_true", help="ask the world again, within that minute (admins only)"
    )
    parser.add_argument("--json", action="store_true", help="print what the daemon answers")


def plan(args: argparse.Namespace) -> int:
    """Print the jobs."""
    jobs = Fields(ask(args, Method.PLAN, {"certs": chosen(args)})).subs("jobs")
    if not jobs:
        say("nothing to do")
        return DONE
    now = datetime.now(UTC)
    print_table(("CERTIFICATE", "JOB", "WHEN", "STATE", "REASON"), [_job(job, now) for job in jobs])
    return DONE


def _job(job: Fields, now: datetime) -> Row:
    at, state = job.time("at"), job.text("state")
    cells = (
        (job.text("cert") or "-", ""),
        (job.text("job"), ""),
        (local(at, now) if at else "now", ""),
        (state, _STATES.get(state, "")),
    )
    return Row(cells, [(job.text("reason"), "")])


def events(args: argparse.Namespace) -> int:
    """Print events, one per line."""

    def show(notice: Notification) -> None:
        if notice.method == Notice.EVENT:
            _print_event(notice, as_json=args.json)

    params = {"certs": chosen(args), "follow": args.follow}
    with connect(args) as daemon:
        try:
            daemon.call(
                Method.EVENTS,
                params,
                on_notice=show,
                timeout=None if args.follow else ANSWER_TIMEOUT,
            )
        except KeyboardInterrupt:
            if not args.follow:
                raise
    return DONE


def _print_event(notice: Notification, *, as_json: bool) -> None:
    if as_json:
        text = json.dumps(notice.params, ensure_ascii=False, separators=(",", ":"))
        say(printable_json(text))
        return
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


def dane(args: argparse.Namespace) -> int:
    """Ask for it and print it; 1 if something does not fit, was not looked at or is not there."""
    # Left out where it is not asked for: a daemon of before does not know it.
    params = {"certs": chosen(args), **({"now": True} if args.now else {})}
    result = ask(args, Method.DANE, params, DANE_TIMEOUT)
    certs = Fields(result).subs("certs")
    if args.json:
        say(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        for one in certs:
            _print_dane(one)
        if not certs:
            say("none of the certificates has dane_tls")
        if any(map(_is_old, certs)):
            say("looked at less than a minute ago; an admin has it done again: sslmctl dane --now")
    return DONE if all(one.flag("ok") for one in certs) else FAILED


def _verdict(one: Fields) -> tuple[str, str]:
    """Return what there is to say in a word or two, and its colour."""
    if one.flag("ok"):
        return "all fits", "green"
    if any(finding.flag("wrong") for finding in one.subs("findings")):
        return "NOT WELL", "red"
    if any(finding.flag("unseen") for finding in one.subs("findings")):
        return "NOT ALL COULD BE LOOKED AT", "yellow"
    return "NOT PUBLISHED", "yellow"


def _is_old(one: Fields) -> bool:
    """Whether it was not looked at for this question; a daemon of before always did that."""
    return "fresh" in one.names() and not one.flag("fresh")


def _print_dane(one: Fields) -> None:
    verdict, colour = _verdict(one)
    age = f" ({one.number('age')} s ago)" if _is_old(one) and one.text("at") else ""
    say(f"{one.text('cert')}: {verdict}{age}", colour)
    for record in one.subs("records"):
        ttl = record.number("ttl")
        coming = "  ; of the next key" if record.text("of") == "next" else ""
        say(f"  {record.text('owner')}. {ttl} IN TLSA {record.text('record')}{coming}")
    for finding in one.subs("findings"):
        wrong = finding.flag("wrong")
        mark, colour = ("!!", "red") if wrong else ("ok", "")
        if finding.flag("warning") or (finding.flag("unseen") and not wrong):
            mark, colour = "??", "yellow"
        say(f"  {mark} {finding.text('where')}: {finding.text('text')}", colour)
    say(f"  {one.text('reason')}")
