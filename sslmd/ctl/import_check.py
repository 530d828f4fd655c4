"""`sslmctl import --check`: what will differ when sslmd takes over a tree of ssl-mgr's.

There is nothing to import: the daemon reads the tree as it is. This reads it the same way,
without a daemon, changes nothing, and tells what the daemon would do. What is looked at is in
`import_tree`.
"""

from __future__ import annotations

import argparse
import os

from sslmd.ctl.args import Commands, command
from sslmd.ctl.errors import DONE, FAILED, USAGE, CtlError
from sslmd.ctl.table import Row, print_table
from sslmd.ctl.text import complain, count, printable, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.config.model import Config
    from sslmd.ctl.import_tree import Adopted

_TOP = "/etc/ssl-mgr"


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "import",
        run,
        "tell what will differ when a tree of ssl-mgr's is taken over (exit status 0 or 1)",
        "The daemon takes over such a tree as it is: there is nothing to convert. This looks at "
        "it as the daemon would, and lists what it will do and what will differ. Changes "
        "nothing, and needs no daemon.",
    )
    parser.add_argument("--check", action="store_true", help="look, and tell (needed)")
    parser.add_argument(
        "top",
        nargs="?",
        metavar="TOP",
        help=f"the top directory, which has conf.d; default $SSL_MGR_TOPDIR, else {_TOP}",
    )


def run(args: argparse.Namespace) -> int:
    """Look and tell; 1 if something has to be mended before the daemon can take it over."""
    if not args.check:
        raise CtlError(
            "there is nothing to convert: the daemon takes the tree over when it starts. "
            "sslmctl import --check tells what will differ",
            USAGE,
        )
    top = os.path.abspath(args.top or os.environ.get("SSL_MGR_TOPDIR") or _TOP)
    config = _configuration(top)
    if config is None:
        return FAILED

    from sslmd.core.errors import SslmError
    from sslmd.ctl import import_tree

    certs = import_tree.adopted(config)
    _print_certs(certs)
    unseen = False
    for title, lines in (
        ("Keys and folders", import_tree.rights(config)),
        ("The site's own CA", import_tree.own_ca(config)),
        ("Production", import_tree.production(config, certs)),
        ("Servers", import_tree.servers(config)),
        ("DNS", import_tree.dns(config)),
        ("ACME accounts", import_tree.accounts(config)),
        ("What runs ssl-mgr", import_tree.timers()),
    ):
        try:
            found = list(lines)
        except (SslmError, OSError, ValueError) as err:
            found, unseen = [f"this cannot be looked at: {err}"], True
        if found:
            say()
            say(title, "bold")
        for line in found:
            say(f"  {printable(line)}")
    say()
    if unseen:
        say("not all of it could be looked at: mend that first", "red")
        return FAILED
    return _verdict(certs, import_tree.lost(config, certs))


def _verdict(certs: list[Adopted], lost: list[str]) -> int:
    """Say what it comes to; return the exit status."""
    held = [one for one in certs if one.hold]
    anew = [one for one in certs if one.anew]
    if held:
        say(f"{count(len(held), 'certificate')} would be left alone: mend that first", "red")
        return FAILED
    if lost:
        say(
            f"production has {', '.join(lost)}, but the working tree has not: they would be made "
            "anew in place of what is in use. Look at certs_dir first",
            "red",
        )
        return FAILED
    if anew:
        say(f"it can be taken over; {count(len(anew), 'certificate')} renewed at once", "yellow")
    else:
        say("it can be taken over as it is, and nothing is renewed at once", "green")
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
        complain(f"sslmctl: {count(len(err.mistakes), 'mistake')} to be mended first", "red")
        return None
    except SslmError as err:
        raise CtlError(str(err)) from None
    for warning in config.warnings:
        say(f"  {printable(str(warning))}", "yellow")
    services = sum(service.managed for service in config.services.values())
    say(f"  {folder}: {count(services, 'service')}, no mistakes")
    return config


def _print_certs(certs: list[Adopted]) -> None:
    say()
    rows = []
    for one in certs:
        colour = "red" if one.hold else "yellow" if one.anew else ""
        cells = [(str(one.cert), ""), (one.curr, ""), (one.next, ""), (one.ends, "")]
        rows.append(Row(cells, [(one.hold or one.then, colour), *((r, "") for r in one.remarks)]))
    if rows:
        print_table(["CERTIFICATE", "CURR", "NEXT", "UNTIL", "THEN"], rows)
