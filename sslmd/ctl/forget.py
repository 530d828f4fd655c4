"""`sslmctl forget`: a host that is in no server class any more, in place of deleting its note."""

from __future__ import annotations

import argparse

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, command, connect
from sslmd.console.errors import DONE, FAILED
from sslmd.console.text import say
from sslmd.wire.messages import Method


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "forget",
        run,
        "forget a host that is in no server class any more",
        "Says which certificates were copied there and may still be there, with their keys. They "
        "are not removed: do that on the host first, then run it with --yes.",
    )
    parser.add_argument("host", metavar="HOST", help="as it was written in servers")
    parser.add_argument(
        "--yes", action="store_true", help="forget it although certificates were left there"
    )


def run(args: argparse.Namespace) -> int:
    """Forget it, or say what is still there."""
    with connect(args) as daemon:
        asked = {"host": args.host, "leaving": args.yes}
        result = Fields(daemon.call(Method.FORGET, asked))
    held = result.texts("holds")
    place = result.text("prod") or "the production tree"
    for cert in held:
        say(f"{cert}, with its key: was copied to {place} there")
    if not result.flag("forgotten"):
        if not held:
            say(f"keys of certificates that were copied to {place} are still there")
        say(f"Remove them on {args.host}, then run: sslmctl forget {args.host} --yes")
        return FAILED
    say(f"{args.host} is forgotten")
    return DONE
