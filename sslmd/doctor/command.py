"""`sslmctl doctor`: looks at what usually goes wrong, and says how to correct it.

It changes nothing, but for files that it has the daemon put on web servers for a moment. What it
looks at is in the modules beside this one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from sslmd.console.args import Commands, arg, bounded, command, flag
from sslmd.console.program import DONE, FAILED
from sslmd.console.text import count, printable, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.doctor.symptoms import Symptom

# Seconds for all looks together.
LIMIT = 300.0

_COLOURS = {"ok": "", "odd": "yellow", "wrong": "red", "unseen": "dim"}


def add(commands: Commands) -> None:
    """Declare the command."""
    command(
        commands,
        "doctor",
        run,
        "look at what usually goes wrong (exit status 0 or 1)",
        "Repeats what the daemon has in trouble. Looks at the configuration that the daemon uses, "
        "at every set and key, permissions, the unit, the clock, certbot, CAs, orders, names, "
        "name servers, include files, DNSSEC, http-01, ssh to every server, and ports; says how to "
        "correct what is wrong. For http-01 a file is put on the web servers for a moment; nothing "
        "else is changed. Run it as root or the daemon's user.",
        arg(
            "--conf-dir",
            metavar="DIR",
            default="",
            help="configuration (that of the daemon; without one /etc/ssl-mgr/conf.d)",
        ),
        arg(
            "--limit",
            metavar="SECONDS",
            type=bounded(
                float, lambda one: 1 <= one <= 86400, "a number of seconds from 1 to 86400"
            ),
            default=LIMIT,
            help=f"stop looking after so many seconds ({LIMIT:g})",
        ),
        flag("--json", "print a list for programs"),
    )


def run(args: argparse.Namespace) -> int:
    """Look at everything, and print it; 1 if something is wrong."""
    import asyncio

    from sslmd.doctor.daemon import ask_daemon, work_as
    from sslmd.doctor.rounds import take  # with all looks, while we may still read where they are
    from sslmd.memory import keep_private

    keep_private()
    running = ask_daemon(args.socket)
    work_as(running.uid)
    tell = None if args.json else _Printer().print
    found = asyncio.run(take(running, args.conf_dir, args.limit, tell))
    if args.json:
        dicts = [
            {"where": one.where, "level": one.level, "text": one.text}
            | ({"paste": list(one.paste)} if one.paste else {})
            for one in found
        ]
        say(json.dumps(dicts, indent=2, ensure_ascii=False))
    levels = [str(one.level) for one in found]
    if not args.json:
        say()
        say(*_summary(levels))
    return FAILED if "wrong" in levels else DONE


def _summary(levels: Sequence[str]) -> tuple[str, str]:
    """Return the last line, and its colour. Only what was seen is called well."""
    bad, odd, hidden = (levels.count(word) for word in ("wrong", "odd", "unseen"))
    parts = [f"{count(bad, 'thing')} to be corrected"] if bad else []
    if odd:
        parts.append(f"{count(odd, 'thing')} that may go wrong")
    if hidden:
        parts.append(f"{count(hidden, 'thing')} not looked at")
    if not parts:
        return "all is well", "green"
    if not bad:
        parts.insert(0, "nothing is wrong in what was looked at" if hidden else "nothing is wrong")
    return "; ".join(parts), "red" if bad else "yellow"


class _Printer:
    """Prints findings as they come; what is the same as before is left out."""

    def __init__(self) -> None:
        self._where = ""
        self._pasted: set[tuple[str, ...]] = set()

    def print(self, one: Symptom) -> None:
        """Print one, and the lines to paste unless they were printed already."""
        where = "" if one.where == self._where else one.where
        self._where = one.where
        say(f"{where:14} {one.level:6}  {printable(one.text)}", _COLOURS[one.level])
        if one.paste in self._pasted:
            say(f"{'':24}(lines to paste: see above)")
            return
        for line in one.paste:
            say(f"{'':24}{printable(line)}")
        if one.paste:
            self._pasted.add(one.paste)
