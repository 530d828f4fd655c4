"""What is raised now: the alarms that follow from how everything stands.

`core.trouble` judges certificates, for alarms as for `status` and `check`. With thousands of
certificates the daemon asks `cases_of` for some at a time, and puts all cases together by
`gathered`; `alarms_of` does both at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.alarm import Affected, Alarm, AlarmCase, gathered, sketch, step_of
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.names import CertId
from sslmd.core.plain import local
from sslmd.core.reason import Reason, noted
from sslmd.core.trouble import (
    NETWORK,
    STALE,
    CertStatus,
    CertTrouble,
    ServerStatus,
    Severity,
    TroubleKind,
    troubles,
)
from sslmd.core.words.health import Health, of_trouble
from sslmd.core.words.pattern import tell
from sslmd.core.words.sentence import say

# Of which kind what is wrong with a certificate is.
KINDS: Mapping[TroubleKind, AlarmKind] = {
    TroubleKind.UNUSABLE: AlarmKind.HELD,
    TroubleKind.NO_CERT: AlarmKind.NEVER_ISSUED,
    TroubleKind.EXPIRY: AlarmKind.EXPIRY,
    TroubleKind.REPLACE_NOW: AlarmKind.REPLACE_NOW,
    TroubleKind.LATE_RENEWAL: AlarmKind.EXPIRY,
    TroubleKind.LATE_ROLL: AlarmKind.EXPIRY,
    TroubleKind.FAILED: AlarmKind.EXPIRY,
    TroubleKind.HELD: AlarmKind.HELD,
    TroubleKind.NO_SERVER: AlarmKind.UNUSED,
    TroubleKind.NOT_SEEN: AlarmKind.BLIND,
    TroubleKind.DANE: AlarmKind.DANE,
    TroubleKind.DANE_WARNING: AlarmKind.DANE,
    TroubleKind.SERVER: AlarmKind.NOT_SERVED,
}

# What stands beside certificates is a warning, but for these.
CRITICAL = frozenset(
    {
        AlarmKind.DISK,  # nothing can be renewed
        AlarmKind.CLOCK,  # nobody knows what is due
    }
)

# Which cause it is does not depend on words there: a host is one cause, whatever it says.
BY_NAME = frozenset({AlarmKind.ACCOUNT, AlarmKind.HOST, AlarmKind.KEYS, AlarmKind.NOTIFIER})

# That it does not renew is one thing, whatever of it can be seen.
LATE = (AlarmKind.EXPIRY, AlarmKind.NEVER_ISSUED)

Unknown = tuple[AlarmKind, str]
"""What was not looked at: of which kind, and whom it would be about."""


@dataclass(frozen=True, slots=True)
class BesideStanding:
    """What is wrong with something that is no certificate: a host, a zone, a disk, a notifier."""

    kind: AlarmKind
    name: str
    cause: Reason
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CertStanding:
    """How one certificate stands. `why`: the reason of what failed, or of what it waits for.

    `names`: what it is about, in lower case: its names and zone. `unsaved`: why its state.toml
    cannot be written. `dane`: its TLSA records are looked at; `compared`: when they last were, and
    `unseen`: what of them could not be. `account`: what is wrong with its account at a CA, which
    others may share.
    """

    cert: CertId
    status: CertStatus
    why: Reason | None = None
    names: frozenset[str] = frozenset()
    unsaved: str = ""
    dane: bool = False
    compared: datetime | None = None
    unseen: Sequence[Reason] = ()
    account: BesideStanding | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """How everything stands. `unknown`: what was not looked at, beside certificates."""

    certs: Sequence[CertStanding] = ()
    beside: Sequence[BesideStanding] = ()
    unknown: frozenset[Unknown] = frozenset()


def alarms_of(overview: Overview, now: datetime) -> list[Alarm]:
    """Return what is raised now, the most urgent first."""
    cases = [case for cert in overview.certs for case in cases_of(cert, now)]
    return gathered([*cases, *cases_beside(overview.beside)])


# One for thousands of certificates: an empty set takes 200 bytes.
_ALL_KNOWN: frozenset[Unknown] = frozenset()


def unknown_of(overview: Overview, now: datetime) -> frozenset[Unknown]:
    """Return what nobody knows at the moment: it is not over because it is not seen (I11)."""
    found = set(overview.unknown)
    for one in overview.certs:
        if one.dane and (one.unseen or _is_stale(one, now)):
            found.add((AlarmKind.DANE, one.cert.arg))
        if one.dane and one.compared is None:
            found.add((AlarmKind.BLIND, one.cert.arg))
        if one.status.error and not one.status.attempts:  # left alone: it is not renewed either
            found |= {(kind, one.cert.arg) for kind in LATE}
    return frozenset(found) if found else _ALL_KNOWN


def cases_of(standing: CertStanding, now: datetime) -> Iterator[AlarmCase]:
    """Yield what of a certificate makes an alarm; nothing where all is well."""
    lateness: list[CertTrouble] = []
    for trouble in troubles(standing.status, now):
        kind = KINDS[trouble.kind]
        if kind in LATE and not _by_server(standing, trouble):
            lateness.append(trouble)
        else:
            yield from _cases(standing, kind, trouble, now)
    if lateness:
        yield _late(standing, lateness, now)
    if standing.account is not None:
        yield from cases_beside([standing.account])
    yield from _unseen(standing, now)


def cases_beside(beside: Iterable[BesideStanding]) -> Iterator[AlarmCase]:
    """Yield what of hosts, zones and everything else makes an alarm."""
    for one in beside:
        if one.kind is AlarmKind.NETWORK and one.cause.code not in NETWORK:
            continue  # a remark: what could be safer
        severity = Severity.CRITICAL if one.kind in CRITICAL else Severity.WARNING
        key = one.name if one.kind in BY_NAME else sketch(say(one.cause), {one.name})
        yield AlarmCase(one.kind, key, one.cause, Affected(one.name, severity, places=one.places))


# --- one certificate ---------------------------------------------------------------------------


def _by_server(standing: CertStanding, trouble: CertTrouble) -> ServerStatus | None:
    """Return the server that a failure is of, None where it is the certificate's own."""
    if trouble.kind is not TroubleKind.FAILED:
        return None
    servers = standing.status.servers
    return next((one for one in servers if one.place == standing.status.about), None)


def _cases(
    standing: CertStanding, kind: AlarmKind, trouble: CertTrouble, now: datetime
) -> Iterator[AlarmCase]:
    if server := _by_server(standing, trouble):
        yield _server_case(standing, server, trouble.severity, now)
    elif trouble.kind is TroubleKind.SERVER:
        for server in trouble.servers:
            yield _server_case(standing, server, trouble.severity, now)
    elif trouble.kind is TroubleKind.NOT_SEEN:
        for server in trouble.servers:
            why = server.why or noted(server.unseen or of_trouble(trouble, now)[0])
            cause = why.of(server.place)
            yield _case(standing, kind, trouble.severity, server.unseen or "", cause, server.host)
    elif trouble.kind is TroubleKind.HELD:
        kind = AlarmKind.NOTES if standing.unsaved else kind
        cause = standing.why or noted(trouble.text)
        yield _case(standing, kind, trouble.severity, trouble.text, cause)
    else:
        cause = noted(trouble.text or of_trouble(trouble, now)[0])
        yield _case(standing, kind, trouble.severity, trouble.text, cause)


def _late(standing: CertStanding, found: Sequence[CertTrouble], now: datetime) -> AlarmCase:
    """Return that it does not renew, for whatever of that can be seen: it is one thing.

    It stays the same alarm while an expiry comes nearer.
    """
    status = standing.status
    kind = AlarmKind.NEVER_ISSUED if status.ends is None else AlarmKind.EXPIRY
    severity = max(one.severity for one in found)
    cause = standing.why or noted(status.error or of_trouble(found[0], now)[0])
    return _case(
        standing, kind, severity, status.error, cause, step=_step(status, status.ends, now)
    )


def _step(status: CertStatus, ends: datetime | None, now: datetime) -> int:
    """Return how near an expiry is, by the time that there was when its renewal was due."""
    if ends is None or status.ends is None or status.begins is None:
        return 0
    life, due = status.ends - status.begins, status.renew_at
    # A CA may ask for it much earlier: then it had more time than anybody needs.
    had = min(status.ends - due, life / 2) if due is not None and due < status.ends else life / 3
    return step_of((ends - now) / had) if had > timedelta() else 0


def _server_case(
    standing: CertStanding, server: ServerStatus, severity: Severity, now: datetime
) -> AlarmCase:
    """Return that a server does not use it; one that was not given it was not reached.

    How near the end is counts for the certificate that it uses instead.
    """
    cause = noted(server.error).of(server.place)
    step = _step(standing.status, server.ends, now)
    if server.state == "pending":
        who = Affected(server.host, severity, step, server.ends)
        return AlarmCase(AlarmKind.HOST, server.host, cause, who)
    who = Affected(standing.cert.arg, severity, step, server.ends, (server.host,))
    return AlarmCase(AlarmKind.NOT_SERVED, server.host, cause, who)


def _unseen(standing: CertStanding, now: datetime) -> Iterator[AlarmCase]:
    """Yield what of its TLSA records could not be looked at."""
    if not standing.dane:
        return
    compared = standing.compared
    if compared is not None and now - compared > STALE:
        text = tell(Health.NOT_COMPARED_SINCE, at=local(compared, now))
        yield _case(standing, AlarmKind.BLIND, Severity.WARNING, text, noted(text))
    for why in standing.unseen:
        yield _case(standing, AlarmKind.BLIND, Severity.WARNING, say(why), why)


def _is_stale(standing: CertStanding, now: datetime) -> bool:
    return standing.compared is None or now - standing.compared > STALE


def _case(
    standing: CertStanding,
    kind: AlarmKind,
    severity: Severity,
    text: str,
    cause: Reason,
    *places: str,
    step: int = 0,
) -> AlarmCase:
    name, group = standing.cert.arg, standing.cert.group
    who = Affected(name, severity, step, standing.status.ends, places)
    own = standing.names | {name, f"{group}/{standing.cert.service}", group}
    return AlarmCase(kind, sketch(text, own) if text else "", cause, who)
