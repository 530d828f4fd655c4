"""`sslmctl cancel`, `clean`, `forget`, `reload` and `dns-refresh`: what is done at once.

Each is one call, and a line for everything that it changed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from sslmd.console.answers import Fields
from sslmd.console.args import CERTS, Commands, arg, ask, ask_certs, command, count_arg, flag
from sslmd.console.program import DONE, FAILED
from sslmd.console.text import complain, say
from sslmd.wire.messages import Method, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

# Seconds. Each zone runs restart_cmd, which has `cmd_timeout` of its own.
REFRESH_TIMEOUT = 3600.0


def add(commands: Commands) -> None:
    """Declare the commands."""
    command(
        commands,
        "dns-refresh",
        refresh_dns,
        "write the DNS records of zones again",
        "Writes the include files of the certificates' zones and runs restart_cmd of [dns], or "
        "sends the records to zones with dynamic update. One zone that fails stops no other; the "
        "exit status is 1.",
        CERTS,
    )
    text = "take back renewals and rolls that were asked for"
    command(commands, "cancel", cancel, text, "", CERTS)
    command(
        commands,
        "forget",
        forget,
        "forget a host that is in no server class any more",
        "Says which certificates were copied there and may still be there, with their keys. They "
        "are not removed: do that on the host first, then run it with --yes.",
        arg("host", metavar="HOST", help="as it was written in servers"),
        flag("--yes", "forget it although certificates were left there"),
    )
    command(
        commands,
        "clean",
        clean,
        "remove old sets",
        "As many as clean_keep says are kept.",
        CERTS,
        flag("--inactive", "of certificates of groups that are not active as well"),
        arg("--keep", metavar="N", type=count_arg, help="keep so many, whatever clean_keep says"),
    )
    command(
        commands,
        "reload",
        reload,
        "read the configuration again",
        "With a mistake in it nothing changes, and every mistake is shown.",
    )


def _listed(found: Sequence[Fields], line: Callable[[Fields], str], none: str) -> int:
    for one in found:
        say(f"{one.text('cert')}: {line(one)}")
    if not found:
        say(none)
    return DONE


def cancel(args: argparse.Namespace) -> int:
    """Print what was cancelled."""
    cancelled = Fields(ask_certs(args, Method.CANCEL)).subs("cancelled")
    return _listed(cancelled, lambda one: one.text("text") or "cancelled", "nothing to cancel")


def clean(args: argparse.Namespace) -> int:
    """Print what was removed."""
    params: dict[str, Json] = {} if args.keep is None else {"keep": args.keep}
    if args.inactive:
        params["inactive"] = True
    removed = Fields(ask_certs(args, Method.CLEAN, **params)).subs("removed")
    return _listed(removed, lambda one: f"removed {one.text('set')}", "nothing to remove")


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
    for label in ("added", "changed", "removed"):
        for name in answer.texts(label):
            say(f"{label:<8} {name}")
    for table in answer.texts("tables"):
        say(table)
    labels = ("added", "removed", "changed")
    counts = ", ".join(f"{len(answer.texts(label))} {label}" for label in labels)
    say(f"configuration loaded: {counts}")
    return DONE


def refresh_dns(args: argparse.Namespace) -> int:
    """Have records written and served again; print a line for each zone."""
    zones = Fields(ask_certs(args, Method.DNS_REFRESH, REFRESH_TIMEOUT)).subs("zones")
    status = DONE
    for zone in zones:
        failed = zone.text("outcome") == Outcome.FAILED
        word = "failed: " if failed else ""
        say(f"{zone.text('zone')}: {word}{zone.text('text')}", "red" if failed else "")
        status = FAILED if failed else status
    if not zones:
        say("nothing to do: certificates of group ca are in no zone")
    return status
