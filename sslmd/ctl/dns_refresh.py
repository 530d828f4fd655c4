"""`sslmctl dns-refresh`: write the zones' records again and have them served."""

from __future__ import annotations

import argparse

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, add_certs, chosen, command, connect
from sslmd.console.errors import DONE, FAILED
from sslmd.console.text import say
from sslmd.wire.messages import Method, Outcome

# Seconds. Each zone runs restart_cmd, which has `cmd_timeout` of its own.
TIMEOUT = 3600.0


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "dns-refresh",
        run,
        "write the DNS records of zones again",
        "Writes the include files of the certificates' zones and runs restart_cmd of [dns], or "
        "sends the records to zones with dynamic update. One zone that fails stops no other; the "
        "exit status is 1.",
    )
    add_certs(parser)


def run(args: argparse.Namespace) -> int:
    """Ask for it, and print a line for each zone."""
    with connect(args) as daemon:
        result = daemon.call(Method.DNS_REFRESH, {"certs": chosen(args)}, timeout=TIMEOUT)
    zones = Fields(result).subs("zones")
    status = DONE
    for zone in zones:
        failed = zone.text("outcome") == Outcome.FAILED
        word = "failed: " if failed else ""
        say(f"{zone.text('zone')}: {word}{zone.text('text')}", "red" if failed else "")
        status = FAILED if failed else status
    if not zones:
        say("nothing to do: certificates of group ca are in no zone")
    return status
