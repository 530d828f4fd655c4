"""`sslmctl renew` and `sslmctl force-renew`: new keys and certificates."""

from __future__ import annotations

import argparse

from sslmd.console.args import Commands, add_certs, add_no_wait, chosen, command, connect
from sslmd.console.errors import USAGE, CtlError
from sslmd.ctl.work import work
from sslmd.wire.messages import Method


def add(commands: Commands) -> None:
    """Declare both commands."""
    parser = command(
        commands,
        "renew",
        run,
        "renew certificates that are due",
        "Goes past the wait after a failure, but not past a CA's limits.",
    )
    parser.add_argument(
        "--force", action="store_true", help="also what is not due; a next on deck is replaced"
    )
    _add_shared(parser)
    parser.add_argument("--test", action="store_true", help="ask the CA's test server")
    parser.add_argument(
        "--dry-run", action="store_true", help="only try whether the CA would; keep nothing"
    )
    parser = command(
        commands,
        "force-renew",
        run,
        "renew certificates, due or not",
        "Replaces a next on deck.",
    )
    _add_shared(parser)
    parser.set_defaults(force=True, test=False, dry_run=False)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    add_certs(parser)
    parser.add_argument(
        "--all", action="store_true", help="really every certificate (needed to force all)"
    )
    parser.add_argument(
        "--reuse", action="store_true", help="keep the key of curr; a CA always does"
    )
    parser.add_argument(
        "--new-key",
        action="store_true",
        help="give a CA another key, which its clients have to learn; needs --force",
    )
    add_no_wait(parser)


def run(args: argparse.Namespace) -> int:
    """Ask for the renewal and wait for its end."""
    if args.certs and args.all:
        raise CtlError("name certificates, or give --all, not both", USAGE)
    if args.new_key and not args.certs:
        raise CtlError(
            "--new-key is for CAs that you name: sslmctl renew --force --new-key ca:NAME", USAGE
        )
    if args.new_key and not args.force:
        raise CtlError("--new-key needs --force: clients have to learn the new CA", USAGE)
    if args.new_key and args.reuse:
        raise CtlError("--new-key and --reuse are contraries; give one of them", USAGE)
    if args.force and not args.certs and not args.all:
        raise CtlError(
            "this would renew every certificate, due or not; name certificates, or give --all "
            "if you mean it",
            USAGE,
        )
    params = {
        "certs": chosen(args),
        "all": args.all,
        "force": args.force,
        "reuse": args.reuse,
        **({"new_key": True} if args.new_key else {}),
        "test": args.test,
        "dry_run": args.dry_run,
        "wait": not args.no_wait,
    }
    with connect(args) as daemon:
        return work(daemon, Method.RENEW, params)
