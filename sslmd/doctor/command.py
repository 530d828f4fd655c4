"""`sslmctl doctor`: looks at what usually goes wrong, and says how to correct it.

It changes nothing, but for files that it has the daemon put on web servers for a moment. What it
looks at is in the modules beside this one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Coroutine, Iterator, Sequence
from importlib import import_module

from sslmd.console.args import Commands, arg, bounded, command, flag
from sslmd.console.program import DONE, FAILED
from sslmd.console.text import complain, count, printable, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from sslmd.config.model import Config
    from sslmd.core.errors import Mistake
    from sslmd.doctor.daemon import Running
    from sslmd.doctor.symptoms import Symptom, TimeBox

# Seconds for all looks together, and between two lines about how far they are.
LIMIT = 300.0
_TELLS = 5.0

_MODULES = (
    "dns",
    "here",
    "http",
    "include",
    "orders",
    "resolvers",
    "servers",
    "sets",
)

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
    from sslmd.doctor.daemon import ask_daemon, work_as
    from sslmd.memory import keep_private

    keep_private()
    running = ask_daemon(args.socket)
    for module in _MODULES:  # while we may still read where they are
        import_module(f"sslmd.doctor.{module}")
    work_as(running.uid)
    found = asyncio.run(_look(args, running))
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


async def _look(args: argparse.Namespace, running: Running) -> list[Symptom]:
    """Take all looks at the same time; print each when those before it are over."""
    from sslmd.doctor.symptoms import TimeBox

    watch = TimeBox(args.limit)
    found: list[Symptom] = []
    printer = _Printer()
    telling = None if args.json else asyncio.ensure_future(_tell(watch))
    tasks = [asyncio.ensure_future(look) for look in _looks(args, running, watch)]
    try:
        for task in tasks:
            for one in await task:
                if not args.json:
                    printer.print(one)
                found.append(one)
    finally:
        # Looks that are under way have things to put in order: files on web servers, for one.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if telling is not None:
            telling.cancel()
    return found


async def _tell(watch: TimeBox) -> None:
    """Say now and then how far it is: with many names it takes its time."""
    while True:
        await asyncio.sleep(_TELLS)
        if progress := watch.progress:
            complain(f"still looking: {progress}", "dim")


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


def _looks(
    args: argparse.Namespace, running: Running, watch: TimeBox
) -> Iterator[Coroutine[None, None, list[Symptom]]]:
    """Yield the looks, in the order of printing."""
    from sslmd.core.words.doctor import Diagnosis
    from sslmd.doctor import (
        daemon,
        dns,
        here,
        http,
        include,
        orders,
        resolvers,
        servers,
        sets,
    )
    from sslmd.doctor.symptoms import Checkup, all_of, odd, unseen

    folder, config, mistakes = _configuration(args, running)
    look = here.look_at_configuration(running, folder, config, mistakes)
    yield all_of("configuration", look, watch)
    if not args.conf_dir and not running.conf_dir:
        yield _found(unseen("configuration", Diagnosis.CONF_UNKNOWN, folder=folder))
    elif not running.reads(folder):
        facts = {"its": running.conf_dir, "folder": folder}
        yield _found(odd("configuration", Diagnosis.CONF_OTHER, **facts))
    unused = here.named_unused(config) if running.reads(folder) else ()
    yield all_of("daemon", daemon.look_at_daemon(running, unused=unused), watch)
    if config is None:
        return
    case = Checkup(config, watch, running.uid)
    for where, look in (
        ("rights", here.look_at_rights(case, running.socket)),
        ("sets", sets.look_at_sets(case, running)),
        ("unit", here.look_at_unit(case)),
        ("user", here.look_at_user(case, running)),
        ("clock", here.look_at_clock(case)),
        ("commands", here.look_at_commands(case)),
        ("certbot", here.look_at_certbot(case)),
        ("orders", orders.look_at_orders(case)),
        ("names", dns.look_at_names(case)),
        ("DNS", dns.look_at_zones(case)),
        ("DNS", resolvers.look_at_extra_servers(case)),
        ("include", include.look_at_includes(case)),
        ("DNSSEC", resolvers.look_at_dnssec(case)),
        ("http-01", http.look_at_http(case, running)),
        ("ssh", servers.look_at_hosts(case)),
        ("ports", servers.look_at_ports(case)),
    ):
        yield all_of(where, look, watch)


def _configuration(
    args: argparse.Namespace, running: Running
) -> tuple[Path, Config | None, tuple[Mistake, ...]]:
    """Load the configuration of the daemon that answers, or the one that was named."""
    from pathlib import Path

    from sslmd.config.files import locate_conf_dir
    from sslmd.config.load import load_partly
    from sslmd.core.errors import Mistake, SslmError

    if not args.conf_dir and running.conf_dir:
        folder = Path(running.conf_dir)
    else:
        folder = locate_conf_dir(args.conf_dir, os.environ)
    try:
        return folder, *load_partly(folder, owners={0, os.geteuid(), running.uid})
    except SslmError as err:
        return folder, None, (Mistake(str(folder), 0, "", str(err), "correct it"),)


async def _found(finding: Symptom) -> list[Symptom]:
    return [finding]
