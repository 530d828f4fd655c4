"""`sslmctl deliver` and `sslmctl restart`: bring servers what they need, and have them use it."""

from __future__ import annotations

import argparse

from sslmd.console.args import Commands, add_certs, add_no_wait, chosen, command, connect
from sslmd.ctl.work import restart, work
from sslmd.wire.messages import Method


def add(commands: Commands) -> None:
    """Declare the commands."""
    parser = command(
        commands,
        "deliver",
        deliver_run,
        "bring servers the certificates that they should have",
        "Does not wait for the next try of a host that failed, and looks at everything again. What "
        "a server has and uses already is not restarted.",
    )
    add_certs(parser)
    parser.add_argument("--to", metavar="HOST", default="", help="only to this host")
    add_no_wait(parser)

    parser = command(
        commands,
        "restart",
        restart_run,
        "restart a server class, and see what it serves",
        "Runs its restart_cmd on each of its servers that has a certificate, whatever its "
        "restart_window says.",
    )
    parser.add_argument("kind", metavar="CLASS", help="smtp, imap, web, other or dns")
    parser.add_argument("--to", metavar="HOST", default="", help="only on this host")
    add_no_wait(parser)


def deliver_run(args: argparse.Namespace) -> int:
    """Ask for the delivery and wait for its end."""
    params = {"certs": chosen(args), "to": args.to, "wait": not args.no_wait}
    with connect(args) as daemon:
        return work(daemon, Method.DELIVER, params)


def restart_run(args: argparse.Namespace) -> int:
    """Ask for the restart and wait for its end."""
    params = {"class": args.kind, "to": args.to, "wait": not args.no_wait}
    with connect(args) as daemon:
        return restart(daemon, params)
