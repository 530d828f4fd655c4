"""`sslmctl reload`: read the configuration again, all or nothing."""

from __future__ import annotations

import argparse

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, command, connect
from sslmd.console.errors import DONE
from sslmd.console.text import complain, say
from sslmd.wire.messages import Method


def add(commands: Commands) -> None:
    """Declare the command."""
    command(
        commands,
        "reload",
        run,
        "read the configuration again",
        "With a mistake in it nothing changes, and every mistake is shown.",
    )


def run(args: argparse.Namespace) -> int:
    """Print what changed; the mistakes of a refused configuration come as an error."""
    with connect(args) as daemon:
        result = Fields(daemon.call(Method.RELOAD))
    for warning in result.texts("warnings"):
        complain(f"warning: {warning}", "yellow")
    for label in ("added", "changed", "removed"):
        for name in result.texts(label):
            say(f"{label:<8} {name}")
    for table in result.texts("tables"):
        say(table)
    # As counts: what they count stands above.
    say(result.text("text").partition("; ")[0] or "the configuration was read again")
    return DONE
