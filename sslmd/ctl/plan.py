"""`sslmctl plan`: what the daemon is doing, and what it will do when."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, add_certs, chosen, command, connect
from sslmd.console.errors import DONE
from sslmd.console.table import Row, print_table
from sslmd.console.text import local, say
from sslmd.wire.messages import Method

_COLOURS = {"running": "green", "waiting": "yellow"}


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(commands, "plan", run, "show the jobs that run, wait, and come")
    add_certs(parser)


def run(args: argparse.Namespace) -> int:
    """Print the jobs."""
    with connect(args) as daemon:
        jobs = Fields(daemon.call(Method.PLAN, {"certs": chosen(args)})).subs("jobs")
    if not jobs:
        say("nothing to do")
        return DONE
    now = datetime.now(UTC)
    print_table(("CERTIFICATE", "JOB", "WHEN", "STATE", "REASON"), [_row(job, now) for job in jobs])
    return DONE


def _row(job: Fields, now: datetime) -> Row:
    at, state = job.time("at"), job.text("state")
    cells = (
        (job.text("cert") or "-", ""),
        (job.text("job"), ""),
        (local(at, now) if at else "now", ""),
        (state, _COLOURS.get(state, "")),
    )
    return Row(cells, [(job.text("reason"), "")])
