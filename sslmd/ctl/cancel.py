"""`sslmctl cancel`: take back what was asked for."""

from __future__ import annotations

import argparse

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, add_certs, chosen, command, connect
from sslmd.console.errors import DONE
from sslmd.console.text import say
from sslmd.wire.messages import Method


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(commands, "cancel", run, "take back renewals and rolls that were asked for")
    add_certs(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was cancelled."""
    with connect(args) as daemon:
        result = Fields(daemon.call(Method.CANCEL, {"certs": chosen(args)}))
    cancelled = result.subs("cancelled")
    for one in cancelled:
        say(f"{one.text('cert')}: {one.text('text') or 'cancelled'}")
    if not cancelled:
        say("nothing to cancel")
    return DONE
