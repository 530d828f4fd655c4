"""`sslmctl import --check`: what the first start of sslmd would do to a tree of ssl-mgr's.

There is nothing to import: the daemon takes the tree over as it is. This rehearses its start by its
own rules (`workers.rehearsal`), without a daemon, and changes nothing. The exit status is 0 only if
that start would make, change and restart nothing. What is said beside that is in
`import_site`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable

from sslmd.console.args import Commands, command
from sslmd.console.program import DONE, FAILED, USAGE, CtlError
from sslmd.console.table import Row, print_table
from sslmd.console.text import complain, count, printable, say
from sslmd.core.words.sentence import written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from sslmd.config.model import Config
    from sslmd.core.reason import Reason
    from sslmd.setup.import_outcome import ImportOutcome

_TOP = "/etc/ssl-mgr"


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "import",
        run,
        "report what would change when a tree of ssl-mgr's is taken over (exit status 0 or 1)",
        "The daemon takes over such a tree as it is: there is nothing to convert. This rehearses "
        "its first start, and reports what it would make, change and restart. The exit status is 0 "
        "only if that is nothing. Changes nothing, and needs no daemon. Run it as the daemon's "
        "user, or root.",
    )
    parser.add_argument("--check", action="store_true", help="look, and report (needed)")
    parser.add_argument(
        "top",
        nargs="?",
        metavar="TOP",
        help=f"the top directory, which has conf.d; default $SSL_MGR_TOPDIR, else {_TOP}",
    )


def run(args: argparse.Namespace) -> int:
    """Look and report; 1 if the first start would not leave everything as it is."""
    from datetime import UTC, datetime

    from sslmd.memory import keep_private

    keep_private()
    if not args.check:
        raise CtlError(
            "there is nothing to convert: the daemon takes the tree over when it starts. "
            "sslmctl import --check reports what would change",
            USAGE,
        )
    top = os.path.abspath(args.top or os.environ.get("SSL_MGR_TOPDIR") or _TOP)
    return check(top, datetime.now(UTC))


def check(top: str, now: datetime, root: str = "/") -> int:
    """Report what a start at `now` would do; return the exit status.

    `root`: where cron's files, timers and the unit are looked for.
    """
    config = _configuration(top)
    if config is None:
        return FAILED

    import asyncio

    from sslmd.core.errors import SslmError
    from sslmd.setup import import_outcome, import_site
    from sslmd.workers.rehearsal import rehearse

    found = import_outcome.outcome_of(config, asyncio.run(rehearse(config, now)), now)
    rehearsal = found.rehearsal
    say()
    rows = []
    for one in found.certs:
        cells = [(str(one.cert), ""), (one.curr, ""), (one.next, ""), (one.ends, "")]
        remarks = ((written(remark), "") for remark in one.remarks)
        rows.append(Row(cells, [(written(one.then), one.colour), *remarks]))
    if rows:
        print_table(["CERTIFICATE", "CURR", "NEXT", "UNTIL", "THEN"], rows)
    _print("What would be changed", found.changes, "yellow")
    _print("What would be run", rehearsal.runs, "yellow")
    _print("What has to be fixed first", found.problems, "red")
    sections = (
        ("Keys and folders", import_site.keys(config, rehearsal)),
        ("The site's own CA", import_site.own_ca(config)),
        ("Production", rehearsal.remarks),
        ("Servers", import_site.servers(config)),
        ("DNS", import_site.dns(config, rehearsal)),
        ("Extended key usages", import_site.usages(config)),
        ("Groups", import_site.groups(config)),
        ("ACME accounts", import_site.accounts(config)),
        ("The unit", import_site.unit(config, root)),
        ("What runs ssl-mgr", import_site.timers(root)),
    )
    complete = True
    for title, lines in sections:
        try:
            _print(title, list(lines))
        except (SslmError, OSError, ValueError) as err:
            complete = False
            _print(title, [f"this cannot be looked at: {err}"], "red")
    return _verdict(found, complete)


def _print(title: str, lines: Iterable[Reason | str], colour: str = "") -> None:
    found = list(lines)
    if found:
        say()
        say(title, "bold")
    for line in found:
        say(f"  {printable(written(line))}", colour)


def _verdict(found: ImportOutcome, complete: bool) -> int:  # noqa: FBT001
    """Say what it comes to; return the exit status."""
    say()
    for root in found.new_roots:
        say(printable(written(root)), "red")
    if found.problems or not complete:
        number = len(found.problems) or 1
        say(f"{count(number, 'thing')} to be fixed first; nothing was changed", "red")
        return FAILED
    told = []
    if found.made:
        told.append(f"{count(found.made, 'certificate')} renewed at once")
    if found.rolled:
        told.append(f"{count(found.rolled, 'certificate')} rolled at once")
    if found.changes:
        told.append(count(len(found.changes), "other change"))
    if found.rehearsal.runs:
        told.append(f"{count(len(found.rehearsal.runs), 'command')} run")
    if told:
        say(f"the first start would not leave it as it is: {', '.join(told)}", "red")
        say("nothing was changed")
        return FAILED
    say("it can be taken over: the first start makes, changes and restarts nothing", "green")
    say("nothing was changed")
    return DONE


def _configuration(top: str) -> Config | None:
    """Load and print; None if it has mistakes."""
    from pathlib import Path

    from sslmd.config.load import load
    from sslmd.core.errors import ConfigError, SslmError

    folder = Path(top, "conf.d")
    if not folder.is_dir():
        raise CtlError(f"there is no {folder}; name the top directory, which has conf.d")
    say("Configuration", "bold")
    try:
        config = load(folder)
    except ConfigError as err:
        for mistake in err.mistakes:
            say(f"  {printable(str(mistake))}", "red")
        complain(f"sslmctl: {count(len(err.mistakes), 'mistake')} to be fixed first", "red")
        return None
    except SslmError as err:
        raise CtlError(str(err)) from None
    for warning in config.warnings:
        say(f"  {printable(str(warning))}", "yellow")
    services = sum(service.managed for service in config.services.values())
    say(f"  {folder}: {count(services, 'service')}, no mistakes")
    return config
