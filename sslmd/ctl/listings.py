"""`sslmctl plan`, `events` and `dane`: what will be done, what happened, and what DNS shows."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from sslmd.console.answers import Fields
from sslmd.console.args import CERTS, Commands, arg, ask_certs, chosen, command, connect, flag
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
    command(commands, "plan", plan, "show the jobs that run, wait, and come", "", CERTS)
    command(
        commands,
        "events",
        events,
        "show what happened lately",
        "",
        CERTS,
        arg("--follow", "-f", action="store_true", help="go on until Ctrl-C"),
        flag("--json", "print lines of JSON"),
    )
    command(
        commands,
        "dane",
        dane,
        "compare TLSA records, name servers and ports (exit status 0 or 1)",
        "Asks every name server for the TLSA records of the certificates, connects to every "
        "address of every port that has some, and tells what does not fit. The daemon does this "
        "every day by itself, and at most once a minute for those who ask: until then they get the "
        "last answer, with its age.",
        CERTS,
        flag("--now", "ask the world again, within that minute (admins only)"),
        flag("--json", "print what the daemon answers"),
    )


def plan(args: argparse.Namespace) -> int:
    """Print the jobs."""
    now, rows = datetime.now(UTC), []
    for job in Fields(ask_certs(args, Method.PLAN)).subs("jobs"):
        at, state = job.time("at"), job.text("state")
        when = local(at, now) if at else "now"
        cells = [(text, "") for text in (job.text("cert") or "-", job.text("job"), when)]
        rows.append(Row([*cells, (state, _STATES.get(state, ""))], [(job.text("reason"), "")]))
    if rows:
        print_table(("CERTIFICATE", "JOB", "WHEN", "STATE", "REASON"), rows)
    else:
        say("nothing to do")
    return DONE


def events(args: argparse.Namespace) -> int:
    """Print events, one per line."""

    def show(notice: Notification) -> None:
        if notice.method != Notice.EVENT:
            return
        if args.json:
            text = json.dumps(notice.params, ensure_ascii=False, separators=(",", ":"))
            say(printable_json(text))
            return
        event = Fields(notice.params)
        priority = event.text("priority")
        level = int(priority) if priority.isdecimal() else _WARNING + 1
        colour = "red" if level <= _ERROR else "yellow" if level == _WARNING else ""
        parts = (clock(event.time("at")), *map(event.text, ("cert", "event", "text")))
        say("  ".join(filter(None, parts)), colour)

    params = {"certs": chosen(args), "follow": args.follow}
    timeout = None if args.follow else ANSWER_TIMEOUT
    with connect(args) as daemon:
        try:
            daemon.call(Method.EVENTS, params, on_notice=show, timeout=timeout)
        except KeyboardInterrupt:
            if not args.follow:
                raise
    return DONE


def dane(args: argparse.Namespace) -> int:
    """Ask for it and print it; 1 if something does not fit, was not looked at or is not there."""
    # Left out where it is not asked for: a daemon of before does not know it.
    result = ask_certs(args, Method.DANE, DANE_TIMEOUT, **({"now": True} if args.now else {}))
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


def _is_old(one: Fields) -> bool:
    """Whether it was not looked at for this question; a daemon of before always did that."""
    return "fresh" in one.names() and not one.flag("fresh")


def _print_dane(one: Fields) -> None:
    findings = one.subs("findings")
    verdict, colour = "NOT PUBLISHED", "yellow"
    if one.flag("ok"):
        verdict, colour = "all fits", "green"
    elif any(finding.flag("wrong") for finding in findings):
        verdict, colour = "NOT WELL", "red"
    elif any(finding.flag("unseen") for finding in findings):
        verdict = "NOT ALL COULD BE LOOKED AT"
    age = f" ({one.number('age')} s ago)" if _is_old(one) and one.text("at") else ""
    say(f"{one.text('cert')}: {verdict}{age}", colour)
    for record in one.subs("records"):
        ttl = record.number("ttl")
        coming = "  ; of the next key" if record.text("of") == "next" else ""
        say(f"  {record.text('owner')}. {ttl} IN TLSA {record.text('record')}{coming}")
    for finding in findings:
        mark, colour = "ok", ""
        if finding.flag("warning") or finding.flag("unseen"):
            mark, colour = "??", "yellow"
        if finding.flag("wrong") and not finding.flag("warning"):
            mark, colour = "!!", "red"
        say(f"  {mark} {finding.text('where')}: {finding.text('text')}", colour)
    say(f"  {one.text('reason')}")
