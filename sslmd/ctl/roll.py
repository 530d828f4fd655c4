"""`sslmctl roll`: make `next` the new `curr`."""

from __future__ import annotations

import argparse

from sslmd.console.args import (
    Commands,
    add_certs,
    add_no_wait,
    chosen,
    command,
    connect,
    count_arg,
)
from sslmd.console.errors import USAGE, CtlError
from sslmd.ctl.work import work
from sslmd.wire.messages import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json


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
        "--back",
        action="store_true",
        help="make the set that was in use before the one in use again; CERT has to be named",
    )
    parser.add_argument(
        "--force", action="store_true", help="do not wait, not even for TLSA records to be seen"
    )
    parser.add_argument(
        "--min-roll-mins",
        metavar="N",
        type=count_arg,
        help="roll what was issued N minutes ago, whatever min_roll_mins says; TLSA records and "
        "windows are waited for",
    )
    add_no_wait(parser)


def run(args: argparse.Namespace) -> int:
    """Ask for the roll and wait for its end."""
    if args.back and not args.certs:
        raise CtlError("name the certificates that are to go back", USAGE)
    if args.min_roll_mins is not None and (args.back or args.force):
        way = "--force" if args.force else "--back"
        raise CtlError(f"{way} does not wait for min_roll_mins: leave --min-roll-mins out", USAGE)
    params: dict[str, Json] = {
        "certs": chosen(args),
        "force": args.force,
        "wait": not args.no_wait,
    }
    if args.back:
        params["back"] = True
    if args.min_roll_mins is not None:
        params["min_roll_mins"] = args.min_roll_mins
    with connect(args) as daemon:
        return work(daemon, Method.ROLL, params)
