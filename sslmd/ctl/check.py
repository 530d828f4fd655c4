"""`sslmctl check`: a plugin for Nagios, Icinga and their kin.

One line with performance data; exit status 0, 1 or 2 (Monitoring Plugins Development
Guidelines). No daemon is as bad as no certificate: nobody would renew it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sslmd.console.answers import certs_of
from sslmd.console.args import CERTS, Commands, arg, ask_certs, bounded, command
from sslmd.console.health import (
    dh_problems,
    host_problems,
    net_problems,
    problems,
    refusal_line,
    remarks,
    zone_problems,
)
from sslmd.console.program import USAGE, CtlError
from sslmd.console.text import count, printable, say
from sslmd.core.plain import span
from sslmd.core.trouble import Limits, Severity, unseen_servers
from sslmd.wire.messages import Method

# Seconds; a monitoring system gives a plugin ten by default.
_TIMEOUT = 4.0

_DAYS = bounded(
    lambda text: timedelta(days=float(text)), lambda days: days >= timedelta(0), "a number of days"
)

# A line of text is read on a pager: the worst few, and how many more.
_SHOWN = 3


def add(commands: Commands) -> None:
    """Declare the command."""
    command(
        commands,
        "check",
        run,
        "check for a monitoring system (exit status 0, 1 or 2)",
        "Without -w and -c it warns when a sixth of a certificate's life is left, and a tenth is "
        "critical; so is a certificate that its CA wants replaced now. Failures and overdue "
        "renewals are warnings, and so are certificates that no server uses, servers that nobody "
        "has seen using theirs for a day, TLSA records that cannot be published, foreign keys in "
        "production, Diffie-Hellman groups that cannot be made, and a network process that does "
        "not run or can read keys. What could not be looked at is named, whatever the status.",
        CERTS,
        arg("-w", "--warning", type=_DAYS, metavar="DAYS", help="warn when fewer days are left"),
        arg(
            "-c",
            "--critical",
            type=_DAYS,
            metavar="DAYS",
            help="critical when fewer days are left",
        ),
    )


def run(args: argparse.Namespace) -> int:
    """Print the verdict; return it as the exit status."""
    if args.warning and args.critical and args.warning < args.critical:
        raise CtlError("-w must be at least -c: a warning comes first", USAGE)
    try:
        result = ask_certs(args, Method.STATUS, _TIMEOUT)
    except CtlError as err:
        return _verdict(Severity.CRITICAL, err.text, "")
    certs, now = certs_of(result), datetime.now(UTC)
    limits = Limits(args.warning, args.critical)
    wrong = [
        (trouble.severity, cert.name, text)
        for cert in certs
        for trouble, text in problems(cert, now, limits)
    ]
    data = [f"certificates={len(certs)};;;0", f"trouble={len({name for _, name, _ in wrong})};;;0"]
    end, first = min(((c.not_after, c.name) for c in certs if c.not_after), default=(None, ""))
    if end:
        data.append(f"next_expiry={int((end - now).total_seconds())}s")
    # What nobody looked at: the verdict says nothing about it.
    unseen = [f"{cert.name} {text}" for cert in certs for text in remarks(cert, now)]
    if certs:
        unproven = sum(len(unseen_servers(cert.status, now, long=True)) for cert in certs)
        data += [f"unproven={unproven};;;0", f"unseen={len(unseen)};;;0"]
    if refused := refusal_line(result, now):
        wrong.insert(0, (Severity.WARNING, "", refused))
    others = zone_problems(result, certs)
    if not args.certs:
        others += host_problems(result) + dh_problems(result)
    others += net_problems(result)
    wrong += [(Severity.WARNING, "", text) for text in others]
    wrong.sort(key=lambda problem: -problem[0])
    level = wrong[0][0] if wrong else Severity.OK
    text = _few([f"{name} {text}".lstrip() for _, name, text in wrong])
    if not wrong and certs:
        coming = sum(cert.status.is_coming for cert in certs)
        parts = [f"{coming} of them on the way for the first time"] if coming else []
        parts += [f"next expiry in {span(end - now)} ({first})"] if end else []
        text = f"{count(len(certs), 'certificate')}, {', '.join(parts)}"
    elif not wrong:
        level, text = Severity.WARNING, "the daemon has no certificates"
    more = f"; not looked at: {_few(unseen)}" if unseen else ""
    return _verdict(level, f"{text}{more}", " ".join(data))


def _few(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return "; ".join([*texts[:_SHOWN], *more])


def _verdict(level: Severity, text: str, data: str) -> int:
    # "|" begins the performance data.
    line = f"SSLMD {level.name} - {printable(text).replace('|', '/')}"
    say(f"{line} | {data}" if data else line)
    return level
