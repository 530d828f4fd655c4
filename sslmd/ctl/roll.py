"""`sslmctl roll`: make `next` the new `curr`."""

from __future__ import annotations

import argparse

from sslmd.ctl.args import Commands, add_certs, add_no_wait, chosen, command, connect
from sslmd.ctl.work import work
from sslmd.wire.messages import Method


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "roll",
        run,
        "make the next set the one in use",
        "Before its time, without --force, it is refused with the time when it happens by itself.",
    )
    add_certs(parser)
    parser.add_argument(
        "--force", action="store_true", help="do not wait, not even for TLSA records to be seen"
    )
    add_no_wait(parser)


def run(args: argparse.Namespace) -> int:
    """Ask for the roll and wait for its end."""
    params = {"certs": chosen(args), "force": args.force, "wait": not args.no_wait}
    with connect(args) as daemon:
        return work(daemon, Method.ROLL, params)
