"""`sslmctl cancel`, `clean`, `forget`, `reload` and `dns-refresh`: what is done at once.

Each is one call, and a line for everything that it changed.
"""

from __future__ import annotations

import argparse

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, add_certs, ask, chosen, command, count_arg
from sslmd.console.program import DONE, FAILED
from sslmd.console.text import complain, say
from sslmd.wire.messages import Method, Outcome

# Seconds. Each zone runs restart_cmd, which has `cmd_timeout` of its own.
REFRESH_TIMEOUT = 3600.0


def add(commands: Commands) -> None:
    """Declare the commands."""
    parser = command(
        commands,
        "dns-refresh",
        refresh_dns,
        "write the DNS records of zones again",
        "Writes the include files of the certificates' zones and runs restart_cmd of [dns], or "
        "sends the records to zones with dynamic update. One zone that fails stops no other; the "
        "exit status is 1.",
    )
    add_certs(parser)

    parser = command(commands, "cancel", cancel, "take back renewals and rolls that were asked for")
    add_certs(parser)

    parser = command(
        commands,
        "forget",
        forget,
        "forget a host that is in no server class any more",
        "Says which certificates were copied there and may still be there, with their keys. They "
        "are not removed: do that on the host first, then run it with --yes.",
    )
    parser.add_argument("host", metavar="HOST", help="as it was written in servers")
    parser.add_argument(
        "--yes", action="store_true", help="forget it although certificates were left there"
    )

    parser = command(
        commands, "clean", clean, "remove old sets", "As many as clean_keep says are kept."
    )
    add_certs(parser)
    parser.add_argument(
        "--inactive", action="store_true",
        help="of certificates of groups that are not active as well",
    )  # fmt: skip
    parser.add_argument(
        "--keep", metavar="N", type=count_arg, help="keep so many, whatever clean_keep says"
    )

    command(
        commands,
        "reload",
        reload,
        "read the configuration again",
        "With a mistake in it nothing changes, and every mistake is shown.",
    )


def cancel(args: argparse.Namespace) -> int:
    """Print what was cancelled."""
    cancelled = Fields(ask(args, Method.CANCEL, {"certs": chosen(args)})).subs("cancelled")
    for one in cancelled:
        say(f"{one.text('cert')}: {one.text('text') or 'cancelled'}")
    if not cancelled:
        say("nothing to cancel")
    return DONE


def clean(args: argparse.Namespace) -> int:
    """Print what was removed."""
    params = {"certs": chosen(args), **({} if args.keep is None else {"keep": args.keep})}
    if args.inactive:
        params["inactive"] = True
    removed = Fields(ask(args, Method.CLEAN, params)).subs("removed")
    for one in removed:
        say(f"{one.text('cert')}: removed {one.text('set')}")
    if not removed:
        say("nothing to remove")
    return DONE


def forget(args: argparse.Namespace) -> int:
    """Forget a host, or say what is still there."""
    answer = Fields(ask(args, Method.FORGET, {"host": args.host, "leaving": args.yes}))
    held = answer.texts("holds")
    place = answer.text("prod") or "the production tree"
    for cert in held:
        say(f"{cert}, with its key: was copied to {place} there")
    if not answer.flag("forgotten"):
        if not held:
            say(f"keys of certificates that were copied to {place} are still there")
        say(f"Remove them on {args.host}, then run: sslmctl forget {args.host} --yes")
        return FAILED
    say(f"{args.host} is forgotten")
    return DONE


def reload(args: argparse.Namespace) -> int:
    """Print what changed; the mistakes of a refused configuration come as an error."""
    answer = Fields(ask(args, Method.RELOAD))
    for warning in answer.texts("warnings"):
        complain(f"warning: {warning}", "yellow")
    changes = {label: answer.texts(label) for label in ("added", "changed", "removed")}
    for label, names in changes.items():
        for name in names:
            say(f"{label:<8} {name}")
    for table in answer.texts("tables"):
        say(table)
    counts = ", ".join(
        f"{len(changes[label])} {label}" for label in ("added", "removed", "changed")
    )
    say(f"configuration loaded: {counts}")
    return DONE


def refresh_dns(args: argparse.Namespace) -> int:
    """Have records written and served again; print a line for each zone."""
    params = {"certs": chosen(args)}
    zones = Fields(ask(args, Method.DNS_REFRESH, params, REFRESH_TIMEOUT)).subs("zones")
    status = DONE
    for zone in zones:
        failed = zone.text("outcome") == Outcome.FAILED
        word = "failed: " if failed else ""
        say(f"{zone.text('zone')}: {word}{zone.text('text')}", "red" if failed else "")
        status = FAILED if failed else status
    if not zones:
        say("nothing to do: certificates of group ca are in no zone")
    return status
