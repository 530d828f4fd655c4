"""`sslmctl doctor`: looks at what usually goes wrong, and says how to mend it.

It changes nothing and needs no daemon. What it looks at is in `doctor_here`, `doctor_dns` and
`doctor_servers`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Coroutine, Iterator

from sslmd.ctl.args import Commands, command
from sslmd.ctl.errors import DONE, FAILED
from sslmd.ctl.text import count, printable, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.ctl.doctor_finding import Finding

_COLOURS = {"ok": "", "odd": "yellow", "wrong": "red", "unseen": "dim"}


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "doctor",
        run,
        "look at what usually goes wrong (exit status 0 or 1)",
        "Looks at the configuration, rights, the unit, the clock, certbot, CAs, name servers and "
        "include files, DNSSEC, ssh to every server, and ports; says how to mend what is wrong. "
        "Changes nothing. Run it as the daemon's user, or root.",
    )
    parser.add_argument(
        "--conf-dir", metavar="DIR", default="", help="configuration (/etc/ssl-mgr/conf.d)"
    )
    parser.add_argument("--json", action="store_true", help="print a list for programs")


def run(args: argparse.Namespace) -> int:
    """Look at everything, and print it; 1 if something is wrong."""
    found = asyncio.run(_look(args))
    if args.json:
        dicts = [{"where": one.where, "level": one.level, "text": one.text} for one in found]
        say(json.dumps(dicts, indent=2, ensure_ascii=False))
    levels = [str(one.level) for one in found]
    bad, odd = levels.count("wrong"), levels.count("odd")
    if not args.json:
        more = f"; {count(odd, 'thing')} to look at" if odd else ""
        say()
        if bad:
            say(f"{count(bad, 'thing')} to be mended{more}", "red")
        else:
            say(f"nothing is wrong{more}", "green")
    return FAILED if bad else DONE


async def _look(args: argparse.Namespace) -> list[Finding]:
    """Take all looks at the same time; print each when those before it are over."""
    found: list[Finding] = []
    async with asyncio.TaskGroup() as group:
        for task in [group.create_task(look) for look in _looks(args)]:
            for one in await task:
                if not args.json:
                    _print(one, found[-1].where if found else "")
                found.append(one)
    return found


def _print(one: Finding, before: str) -> None:
    where = "" if one.where == before else one.where
    say(f"{where:14} {one.level:6}  {printable(one.text)}", _COLOURS[one.level])


def _looks(args: argparse.Namespace) -> Iterator[Coroutine[None, None, list[Finding]]]:
    from sslmd.config.files import locate_conf_dir
    from sslmd.config.load import load
    from sslmd.core.errors import ConfigError, SslmError
    from sslmd.ctl import doctor_dns, doctor_here, doctor_servers
    from sslmd.ctl.doctor_finding import all_of

    daemon = all_of("daemon", doctor_here.look_at_daemon(args.socket))
    folder = locate_conf_dir(args.conf_dir, os.environ)
    try:
        config = load(folder)
    except ConfigError as err:
        mistakes = [str(mistake) for mistake in err.mistakes]
        yield all_of("configuration", doctor_here.look_at_mistakes(mistakes))
        yield daemon
        return
    except SslmError as err:
        yield all_of("configuration", doctor_here.look_at_mistakes([str(err)]))
        yield daemon
        return
    yield all_of("configuration", doctor_here.look_at_configuration(config))
    yield daemon
    yield all_of("rights", doctor_here.look_at_rights(config))
    yield all_of("unit", doctor_here.look_at_unit(config))
    yield all_of("clock", doctor_here.look_at_clock(config))
    yield all_of("commands", doctor_here.look_at_commands(config))
    yield all_of("certbot", doctor_here.look_at_certbot(config))
    yield all_of("CAs", doctor_servers.look_at_cas(config))
    for zone in doctor_dns.zones(config):
        yield all_of("DNS", doctor_dns.look_at_zone(config, zone))
    yield all_of("DNS", doctor_dns.look_at_extra_servers(config))
    yield all_of("DNSSEC", doctor_dns.look_at_dnssec(config))
    yield all_of("port 80", doctor_servers.look_at_http(config))
    yield all_of("ssh", doctor_servers.look_at_hosts(config))
    yield all_of("ports", doctor_servers.look_at_ports(config))
