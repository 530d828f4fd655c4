"""`sslmctl show CERT`: everything about one certificate, with reasons and history."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from sslmd.ctl.answers import Cert, Fields
from sslmd.ctl.args import Commands, command, connect
from sslmd.ctl.errors import DONE
from sslmd.ctl.health import Limits, problems
from sslmd.ctl.text import clock, local, say
from sslmd.wire.messages import Method


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands, "show", run, "show everything about one certificate, with reasons and history"
    )
    parser.add_argument("cert", metavar="CERT", help="group:service")


def run(args: argparse.Namespace) -> int:
    """Print what the daemon knows of the certificate."""
    with connect(args) as daemon:
        answer = Fields(daemon.call(Method.SHOW, {"cert": args.cert}))
    now = datetime.now(UTC)
    _print_state(answer, now)
    _print_servers(answer.sub("cert"))
    _print_sets(answer.subs("sets"), now)
    if config := answer.sub("config"):
        _heading("Configuration")
        for name in config.names():
            _field(name, config.text(name))
    if history := answer.subs("history"):
        _heading("History")
    for event in history:
        parts = (event.text("event"), event.text("set"), event.text("text"))
        say(f"  {clock(event.time('at'))}  " + "  ".join(filter(None, parts)))
    return DONE


def _print_state(answer: Fields, now: datetime) -> None:
    cert = Cert(answer.sub("cert"))
    say(cert.name, "bold")
    _field("phase", cert.text("phase"))
    _field("because", cert.text("reason"))
    _field("decision", answer.sub("decision").text("text"))
    _field("signed by", cert.text("signing_ca") or "itself")
    for label, field in (("renews", "renew_at"), ("rolls", "roll_at")):
        _field(label, local(cert.time(field), now) if cert.time(field) else "")
    for _, text in problems(cert, now, Limits()):
        _field("problem", text, "red")


def _print_servers(cert: Fields) -> None:
    servers = cert.subs("servers")
    if servers:
        _heading("Servers")
    for server in servers:
        parts = ("class", "host", "state", "set", "error")
        colour = "red" if server.text("state") == "failed" else ""
        say("  " + "  ".join(filter(None, map(server.text, parts))), colour)


def _print_sets(sets: list[Fields], now: datetime) -> None:
    if sets:
        _heading("Sets")
    for one in sets:
        say(f"  {one.text('set')}  {one.text('role')}".rstrip(), "bold" if one.text("role") else "")
        _field("  key", one.text("key"))
        begin, end = one.time("not_before"), one.time("not_after")
        if begin and end:
            _field("  valid", f"{local(begin, now)} to {local(end, now)}")
        _field("  serial", one.text("serial"))
        _field("  names", one.text("names"))
        _field("  problem", one.text("problem"), "red")


def _heading(text: str) -> None:
    say()
    say(text, "bold")


def _field(label: str, text: str, colour: str = "") -> None:
    if text:
        say(f"  {label:<12} {text}", colour)
