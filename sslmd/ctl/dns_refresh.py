"""`sslmctl dns-refresh`: write the zones' records anew and have them served."""

from __future__ import annotations

import argparse

from sslmd.ctl.answers import Fields
from sslmd.ctl.args import Commands, add_certs, chosen, command, connect
from sslmd.ctl.errors import DONE
from sslmd.ctl.text import say
from sslmd.wire.messages import Method

# Seconds. Each zone runs restart_cmd, which has `cmd_timeout` of its own.
TIMEOUT = 3600.0


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "dns-refresh",
        run,
        "write the DNS records of zones anew",
        "Writes the include files of the certificates' zones and runs restart_cmd of [dns], or "
        "sends the records to zones with dynamic update.",
    )
    add_certs(parser)


def run(args: argparse.Namespace) -> int:
    """Ask for it, and print a line for each zone."""
    with connect(args) as daemon:
        result = daemon.call(Method.DNS_REFRESH, {"certs": chosen(args)}, timeout=TIMEOUT)
    for zone in Fields(result).subs("zones"):
        say(f"{zone.text('zone')}: {zone.text('text')}")
    return DONE
