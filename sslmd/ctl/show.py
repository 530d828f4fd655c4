"""`sslmctl show CERT`: everything about one certificate, with reasons and history."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime

from sslmd.console.answers import Cert, Fields, server_status
from sslmd.console.args import Commands, arg, ask, command
from sslmd.console.health import dane_unseen, problems, why
from sslmd.console.program import DONE
from sslmd.console.table import Row, print_table, terminal_width, wrapped
from sslmd.console.text import clock, say
from sslmd.core.plain import local, span
from sslmd.core.words.health import Health
from sslmd.wire.messages import Method

_INDENT = "  "
_LABEL = 12  # columns, at least
_MIN_TEXT = 20  # columns


def add(commands: Commands) -> None:
    """Declare the command."""
    text = "show everything about one certificate, with reasons and history"
    cert = arg("cert", metavar="CERT", help="group:service")
    command(commands, "show", run, text, "", cert)


def run(args: argparse.Namespace) -> int:
    """Print what the daemon knows of the certificate."""
    answer = Fields(ask(args, Method.SHOW, {"cert": args.cert}))
    now = datetime.now(UTC)
    _print_state(answer, now)
    _print_servers(answer.sub("cert"), now)
    _print_sets(answer.subs("sets"), now)
    if config := answer.sub("config"):
        _heading("Configuration")
        _fields([(name, config.text(name), "") for name in config.names()])
    if history := answer.subs("history"):
        _heading("History")
        rows = []
        for event in history:
            cells = (clock(event.time("at")), event.text("event"), event.text("set") or "-")
            rows.append(Row([(cell, "") for cell in cells], [(event.text("text"), "")]))
        print_table(("TIME", "EVENT", "SET", "TEXT"), rows, indent=_INDENT)
    return DONE


def _print_state(answer: Fields, now: datetime) -> None:
    cert = Cert(answer.sub("cert"))
    decision = answer.sub("decision")
    is_told = decision.text("reason_code") == cert.text("reason_code")
    # "" from a daemon that does not report it.
    used_by = ", ".join(cert.texts("used_by")) or (Health.NO_SERVER if cert.flag("unused") else "")
    say(cert.name, "bold")
    times = (("renews", "renew_at"), ("rolls", "roll_at"))
    # How much of a CA's limit for exactly these names is used.
    issuances, issued = answer.sub("issuances"), ""
    if used := issuances.number("used"):
        again = issuances.time("next_at")
        then = f"; one more at {local(again, now)}" if again else ""
        most = issuances.number("most")
        issued = f"{used} of {most} certificates for these names in 7 days{then}"
    _fields(
        [
            ("phase", cert.text("phase"), ""),
            ("because", why(cert), ""),
            ("decision", "" if is_told else decision.text("text"), ""),
            ("signed by", cert.text("signing_ca") or "itself", ""),
            ("account", answer.text("account"), ""),
            ("issued", issued, ""),
            *((label, local(at, now), "") for label, name in times if (at := cert.time(name))),
            ("used by", used_by, ""),
            *(("problem", text, "red") for _, text in problems(cert, now)),
            *(("not seen", text, "yellow") for text in dane_unseen(cert, now)),
        ]
    )


def _print_servers(cert: Fields, now: datetime) -> None:
    servers = cert.subs("servers")
    if not servers:
        return
    _heading("Servers")
    rows = []
    for server in servers:
        colour = "red" if server_status(server).failed else ""
        cells = [(server.text(name) or "-", colour) for name in ("class", "host", "state", "set")]
        cells.append((local(server.time("since"), now), colour))
        # The error of a failed one stands above, as a problem.
        text, again = "" if colour else server.text("error"), server.time("next_try")
        text = text or server.text("unseen")
        if again:
            text = f"attempt {server.number('attempts')} failed, the next is at {local(again, now)}"
        rows.append(Row(cells, [(text, colour)]))
    last = "REMARK" if any(row.remarks for row in rows) else ""
    print_table(("CLASS", "HOST", "STATE", "SET", "SINCE", last), rows, indent=_INDENT)


def _print_sets(sets: list[Fields], now: datetime) -> None:
    if sets:
        _heading("Sets")
    for one in sets:
        say(f"  {one.text('set')}  {one.text('role')}".rstrip(), "bold" if one.text("role") else "")
        begin, end, valid = one.time("not_before"), one.time("not_after"), ""
        if begin and end:
            left = f"{span(end - now)} left" if end > now else f"expired {span(now - end)} ago"
            valid = f"{local(begin, now)} to {local(end, now)}, {span(end - begin)} in all, {left}"
        # As noted, else when the certificate says that it begins.
        made = one.time("issued_at") or begin
        ago = f", {span(now - made)} ago" if made and made <= now else ""
        fields = [
            ("key", one.text("key"), ""),
            ("valid", valid, ""),
            ("issued", f"{clock(made)}{ago}" if made else "", ""),
            ("serial", one.text("serial"), ""),
            ("names", one.text("names"), ""),
            *_renewal_info(one.sub("renewal_info"), now),
            *(("not as asked", text, "yellow") for text in one.texts("unmet")),
            ("problem", one.text("problem"), "red"),
        ]
        _fields(fields, indent=2 * _INDENT)


def _renewal_info(said: Fields, now: datetime) -> list[tuple[str, str, str]]:
    """Return what the CA suggests for a set, and when it was asked."""
    looked = said.time("looked_at")
    if looked is None:
        return []
    begin, end = said.time("start"), said.time("end")
    window = f"renew from {local(begin, now)} to {local(end, now)}" if begin and end else "nothing"
    failed = said.number("failures")
    unanswered = f", {failed} looks in a row without an answer" if failed else ""
    urgent = "red" if said.time("urgent_since") else ""
    return [
        ("CA suggests", f"{window}; asked {local(looked, now)}{unanswered}", urgent),
        ("because", said.text("explanation"), urgent),
    ]


def _heading(text: str) -> None:
    say()
    say(text, "bold")


def _fields(fields: Sequence[tuple[str, str, str]], indent: str = _INDENT) -> None:
    """Print labels, texts and colours, aligned; without those that have no text."""
    wide = max(_LABEL, *(len(label) for label, _, _ in fields))
    head = len(indent) + wide + 1
    width = terminal_width()
    room = max(width - head, _MIN_TEXT) if width else 0
    for label, text, colour in fields:
        if text:
            first, *more = wrapped(text, room)
            say(f"{indent}{label:<{wide}} {first}", colour)
            for line in more:
                say(" " * head + line, colour)
