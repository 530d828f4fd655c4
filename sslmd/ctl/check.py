"""`sslmctl check`: a plugin for Nagios, Icinga and their kin.

One line with performance data; exit status 0, 1 or 2 (Monitoring Plugins Development
Guidelines). No daemon is as bad as no certificate: nobody would renew it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sslmd.console.answers import Cert, certs_of
from sslmd.console.args import CERTS, Commands, arg, ask_certs, bounded, command
from sslmd.console.health import (
    dh_problems,
    host_problems,
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
        "critical. Failures and overdue renewals are warnings, and so are certificates that no "
        "server uses, servers that nobody has seen using theirs for a day, TLSA records that "
        "cannot be published, foreign keys in production, and Diffie-Hellman groups that cannot be "
        "made. What could not be looked at is "
        "named, whatever the status.",
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
    certs = certs_of(result)
    now = datetime.now(UTC)
    limits = Limits(args.warning, args.critical)
    wrong = [
        (trouble.severity, cert.name, text)
        for cert in certs
        for trouble, text in problems(cert, now, limits)
    ]
    data = _performance(certs, len({name for _, name, _ in wrong}), now)
    if refused := refusal_line(result, now):
        wrong.insert(0, (Severity.WARNING, "", refused))
    wrong += [(Severity.WARNING, "", text) for text in zone_problems(result, certs)]
    if not args.certs:
        others = host_problems(result) + dh_problems(result)
        wrong += [(Severity.WARNING, "", text) for text in others]
    unseen = [f"{cert.name} {text}" for cert in certs for text in remarks(cert, now)]
    data += f" unseen={len(unseen)};;;0" if certs else ""
    if not certs and not wrong:
        return _verdict(Severity.WARNING, "the daemon has no certificates", data)
    if not wrong:
        well = f"{count(len(certs), 'certificate')}, {_next(certs, now)}"
        return _verdict(Severity.OK, f"{well}{_not_seen(unseen)}", data)
    wrong.sort(key=lambda problem: -problem[0])
    shown = [f"{name} {text}".lstrip() for _, name, text in wrong]
    return _verdict(wrong[0][0], f"{_few(shown)}{_not_seen(unseen)}", data)


def _few(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return "; ".join([*texts[:_SHOWN], *more])


def _not_seen(texts: Sequence[str]) -> str:
    """Return what nobody looked at, so that the verdict says nothing about it."""
    return f"; not looked at: {_few(texts)}" if texts else ""


def _verdict(level: Severity, text: str, data: str) -> int:
    # "|" begins the performance data.
    line = f"SSLMD {level.name} - {printable(text).replace('|', '/')}"
    say(f"{line} | {data}" if data else line)
    return level


def _ends(certs: Sequence[Cert]) -> list[tuple[datetime, str]]:
    return [(cert.not_after, cert.name) for cert in certs if cert.not_after]


def _next(certs: Sequence[Cert], now: datetime) -> str:
    coming = sum(cert.status.is_coming for cert in certs)
    parts = [f"{coming} of them on the way for the first time"] if coming else []
    if ends := _ends(certs):
        end, name = min(ends)
        parts.append(f"next expiry in {span(end - now)} ({name})")
    return ", ".join(parts)


def _performance(certs: Sequence[Cert], trouble: int, now: datetime) -> str:
    data = f"certificates={len(certs)};;;0 trouble={trouble};;;0"
    ends = _ends(certs)
    if ends:
        data += f" next_expiry={int((min(ends)[0] - now).total_seconds())}s"
    if certs:
        unproven = sum(len(unseen_servers(cert.status, now, long=True)) for cert in certs)
        data += f" unproven={unproven};;;0"
    return data
