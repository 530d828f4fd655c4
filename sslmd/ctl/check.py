"""`sslmctl check`: a plugin for Nagios, Icinga, Checkmk and their kin.

As one, for some certificates, for a host, for a kind of alarm; or a line for each certificate, to
be handed in as passive results. One line with performance data; exit status 0, 1 or 2 (Monitoring
Plugins Development Guidelines). No daemon is as bad as no certificate: nobody would renew it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sslmd.console.answers import Fields, certs_of
from sslmd.console.args import CERTS, Commands, arg, ask, ask_certs, bounded, command
from sslmd.console.health import (
    SEVERITIES,
    dh_problems,
    host_problems,
    net_problems,
    net_remarks,
    own_problems,
    problems,
    refusal_line,
    remarks,
    why,
    zone_problems,
)
from sslmd.console.program import USAGE, CtlError
from sslmd.console.text import count, printable, say
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.plain import local, span
from sslmd.core.trouble import Limits, Severity, unseen_servers
from sslmd.wire.messages import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

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
        arg("--host", metavar="HOST", help="check what concerns this host alone"),
        arg(
            "--kind",
            metavar="KIND",
            action="append",
            choices=list(AlarmKind),
            help=f"check alarms of this kind alone (may be repeated): {', '.join(AlarmKind)}",
        ),
        arg(
            "--passive",
            metavar="NAME",
            help="print a result for each certificate as external commands of Nagios and Icinga, "
            "under this name of the host; the exit status is 0",
        ),
    )


def run(args: argparse.Namespace) -> int:
    """Print the verdict; return it as the exit status."""
    if args.warning and args.critical and args.warning < args.critical:
        raise CtlError("-w must be at least -c: a warning comes first", USAGE)
    if (args.host or args.kind) and (args.passive or args.certs):
        raise CtlError("--host and --kind go neither with --passive nor with certificates", USAGE)
    try:
        if args.host or args.kind:
            return _of_alarms(args, Fields(ask(args, Method.ALARMS, timeout=_TIMEOUT)))
        result = ask_certs(args, Method.STATUS, _TIMEOUT)
    except CtlError as err:
        if args.passive:
            _passive(args.passive, "sslmd", Severity.CRITICAL, err.text)
            return Severity.OK
        return _verdict(Severity.CRITICAL, err.text, "")
    if args.passive:
        return _each(args.passive, result, Limits(args.warning, args.critical))
    return _all(args, result)


def _all(args: argparse.Namespace, result: Json) -> int:
    """Print one verdict on everything that was asked about."""
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
    if not args.certs:
        wrong += [(severity, "", text) for severity, text in own_problems(result)]
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
    # What could be safer is no trouble: it stands in the line, and wakes nobody.
    if not args.certs and (notes := net_remarks(result)):
        more += f"; note: {_few(notes)}"
    return _verdict(level, f"{text}{more}", " ".join(data))


def _each(host: str, result: Json, limits: Limits) -> int:
    """Print a result for each certificate, and one for the daemon itself."""
    certs, now = certs_of(result), datetime.now(UTC)
    for cert in certs:
        found = problems(cert, now, limits)
        level = found[0][0].severity if found else Severity.OK
        left = f"valid until {local(cert.not_after, now)}" if cert.not_after else why(cert)
        _passive(host, cert.name.replace("/", ":"), level, _few([one for _, one in found]) or left)
    others = [*zone_problems(result, certs), *host_problems(result), *dh_problems(result)]
    others += [*filter(None, [refusal_line(result, now)]), *net_problems(result)]
    own = own_problems(result)
    level = max(Severity.WARNING if others else Severity.OK, *(one for one, _ in own), Severity.OK)
    others = [text for _, text in own] + others
    text = _few(others) or count(len(certs), "certificate")
    notes = net_remarks(result)
    _passive(host, "sslmd", level, f"{text}; note: {_few(notes)}" if notes else text)
    return Severity.OK


def _passive(host: str, service: str, level: Severity, text: str) -> None:
    """Print one external command: a semicolon ends a field of it, and "|" the text."""
    at = int(datetime.now(UTC).timestamp())
    shown = printable(text).replace("|", "/").replace(";", ",")
    name = printable(host).replace(";", ",")
    head = f"[{at}] PROCESS_SERVICE_CHECK_RESULT;{name};{service};{level:d}"
    say(f"{head};SSLMD {level.name} - {shown}")


def _of_alarms(args: argparse.Namespace, answer: Fields) -> int:
    """Print one verdict on the alarms of some kinds, or about a host."""
    if answer.time("looked_at") is None:
        return _verdict(Severity.WARNING, "nobody has looked for alarms yet", "")
    found = [
        one
        for one in answer.subs("alarms")
        if not args.kind or one.text("kind") in args.kind
        if not args.host or args.host in (*one.texts("subjects"), *one.texts("places"))
    ]
    loud = [one for one in found if not one.flag("silenced")]
    level = max((SEVERITIES[one.text("severity")] for one in loud), default=Severity.OK)
    text = _few([f"{one.text('title')}: {one.text('text')}" for one in loud])
    about = " and ".join(filter(None, (args.host, ", ".join(args.kind or ()))))
    silent = len(found) - len(loud)
    more = f", {silent} silenced" if silent else ""
    data = f"alarms={len(loud)};;;0 silenced={silent};;;0"
    return _verdict(level, f"{text or f'no alarm about {about}'}{more}", data)


def _few(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return "; ".join([*texts[:_SHOWN], *more])


def _verdict(level: Severity, text: str, data: str) -> int:
    # "|" begins the performance data.
    line = f"SSLMD {level.name} - {printable(text).replace('|', '/')}"
    say(f"{line} | {data}" if data else line)
    return level
