"""`sslmctl clean`: remove old sets."""

from __future__ import annotations

import argparse

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, add_certs, chosen, command, connect, count_arg
from sslmd.console.errors import DONE
from sslmd.console.text import say
from sslmd.wire.messages import Method


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands, "clean", run, "remove old sets", "As many as clean_keep says are kept."
    )
    add_certs(parser)
    parser.add_argument(
        "--inactive", action="store_true",
        help="of certificates of groups that are not active as well",
    )  # fmt: skip
    parser.add_argument(
        "--keep", metavar="N", type=count_arg, help="keep so many, whatever clean_keep says"
    )


def run(args: argparse.Namespace) -> int:
    """Print what was removed."""
    params = {"certs": chosen(args), **({} if args.keep is None else {"keep": args.keep})}
    if args.inactive:
        params["inactive"] = True
    with connect(args) as daemon:
        removed = Fields(daemon.call(Method.CLEAN, params)).subs("removed")
    for one in removed:
        say(f"{one.text('cert')}: removed {one.text('set')}")
    if not removed:
        say("nothing to remove")
    return DONE
