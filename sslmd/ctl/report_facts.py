"""What a report tells, gathered from the daemon's answers: for a page and for a terminal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sslmd.console.answers import Cert, Fields, certs_of
from sslmd.console.health import (
    dh_problems,
    host_problems,
    net_problems,
    own_problems,
    problems,
    refusal,
    remarks,
    why,
)
from sslmd.core.plain import day, here
from sslmd.ctl.shade import Shade, shade_of, worst_first

if TYPE_CHECKING:
    from sslmd.wire.messages import Json

# How far ahead it looks.
AHEAD = timedelta(days=30)

# States of a server, from what is least well.
_STATES = ("failed", "pending", "delivered", "restarted", "proven", "nothing to see")
_SEEN = {"proven", "nothing to see"}


@dataclass(frozen=True, slots=True)
class CertLine:
    """One certificate. `notes`: what is wrong, and what it waits for."""

    cert: Cert
    shade: Shade
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One class on one host. `states`: how many certificates are how far; `errors`: why not."""

    kind: str
    host: str
    states: tuple[tuple[str, int], ...]
    certs: tuple[str, ...]
    errors: tuple[str, ...]
    shade: Shade
    word: str


@dataclass(frozen=True, slots=True)
class ZoneLine:
    """TLSA records of a zone. `waits`: certificates on their way, each with its reason."""

    zone: str
    shade: Shade
    word: str
    looked_at: datetime | None
    certs: int
    wrong: tuple[str, ...]
    waits: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FailedLine:
    """One failure, and everything that has it."""

    text: str
    who: tuple[str, ...]
    times: int = 0
    since: datetime | None = None
    next_try: datetime | None = None


@dataclass(frozen=True, slots=True)
class ComingLine:
    """What comes on a day, for how many and for whom. `at`: None is now."""

    at: datetime | None
    what: str
    who: tuple[str, ...]
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """All of it."""

    now: datetime
    certs: Sequence[CertLine]
    alarms: Sequence[Fields] | None
    servers: Sequence[ServerLine]
    zones: Sequence[ZoneLine]
    failed: Sequence[FailedLine]
    coming: Sequence[ComingLine]
    daemon: Fields

    def counted(self) -> list[tuple[Shade, int]]:
        """Return how many certificates stand how, without those of which there is none."""
        found = Counter(line.shade for line in self.certs)
        return [(shade, found[shade]) for shade in Shade if found[shade]]


def gather(
    status: Json, plan: Json, alarms: Json | None, metrics: Json | None, now: datetime
) -> ReportFacts:
    """Return what the answers say. None: a daemon of before, which does not know the question."""
    certs = certs_of(status)
    judged = worst_first([(shade_of(cert, now), cert) for cert in certs])
    lines = [CertLine(cert, shade, tuple(_notes(cert, shade, now))) for shade, cert in judged]
    return ReportFacts(
        now,
        lines,
        None if alarms is None else Fields(alarms).subs("alarms"),
        _servers(lines),
        _zones(certs, Fields(status), Fields(metrics)),
        [*_failed_certs(certs), *_failed_servers(certs), *_failed_beside(status, now)],
        _coming(Fields(plan), certs, now),
        Fields(status).sub("daemon"),
    )


def _notes(cert: Cert, shade: Shade, now: datetime) -> Iterator[str]:
    for _, text in problems(cert, now):
        yield text
    yield from remarks(cert, now)
    # That it is valid is said by its dates.
    idle = cert.text("phase") == "settled" and cert.text("reason_code") in ("", "valid")
    reason = "" if idle else why(cert)
    if reason and (shade is not Shade.WELL or cert.text("phase") != "settled"):
        yield reason


# --- servers and zones ---------------------------------------------------------------------


def _servers(lines: Iterable[CertLine]) -> list[ServerLine]:
    found: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for line in lines:
        for server in line.cert.subs("servers"):
            place = server.text("class"), server.text("host")
            error = server.text("error")
            state = server.text("state")
            if error or server.number("attempts"):
                state = "failed"
            elif state == "restarted" and server.flag("meant"):
                state = "nothing to see"
            found[place].append((state, line.cert.name, error))
    return sorted(
        (_server(kind, host, some) for (kind, host), some in found.items()),
        key=lambda one: (one.shade, one.kind, one.host),
    )


def _server(kind: str, host: str, some: list[tuple[str, str, str]]) -> ServerLine:
    states = Counter(state for state, _, _ in some)
    order = {state: at for at, state in enumerate(_STATES)}
    some.sort(key=lambda one: (order.get(one[0], -1), one[1]))
    if states["failed"]:
        shade, word = Shade.WARNING, "failed"
    elif states["pending"] or states["delivered"]:
        shade, word = Shade.COMING, "under way"
    elif set(states) <= _SEEN:
        shade, word = Shade.WELL, "well"
    else:  # what nobody saw is not well
        shade, word = Shade.COMING, "not seen"
    return ServerLine(
        kind,
        host,
        tuple(sorted(states.items(), key=lambda one: order.get(one[0], -1))),
        tuple(name if state in _SEEN else f"{name} ({state})" for state, name, _ in some),
        tuple(dict.fromkeys(error for _, _, error in some if error)),
        shade,
        word,
    )


def _zones(certs: Iterable[Cert], status: Fields, metrics: Fields) -> list[ZoneLine]:
    found: dict[str, list[Cert]] = defaultdict(list)
    for cert in certs:
        if cert.flag("dane_wanted"):
            found[cert.text("group")].append(cert)
    errors = {one.text("zone"): one.text("error") for one in status.subs("zones")}
    errors = {zone: error for zone, error in errors.items() if error}
    for zone in errors:
        found.setdefault(zone, [])
    known = {one.text("zone"): one for one in metrics.subs("zones")}
    lines = (
        _zone(zone, some, errors.get(zone, ""), known.get(zone, Fields(None)))
        for zone, some in found.items()
    )
    return sorted(lines, key=lambda one: (one.shade, one.zone))


def _zone(zone: str, certs: list[Cert], error: str, known: Fields) -> ZoneLine:
    danes = [cert.sub("dane") for cert in certs]
    wrong = [text for dane in danes for text in dane.texts("problems")]
    mild = [text for dane in danes for text in (*dane.texts("warnings"), *dane.texts("unseen"))]
    waits = [
        (cert.name, cert.text("reason"))
        for cert in certs
        if cert.text("phase") != "settled" or cert.sub("next")
    ]
    if wrong:
        shade, word = Shade.CRITICAL, "does not fit"
    elif error or mild:
        shade, word = Shade.WARNING, "not published or not looked at" if error else "see the notes"
    elif not all(danes):
        shade, word = Shade.COMING, "not yet compared"
    elif all(dane.flag("fits") for dane in danes):
        shade, word = Shade.WELL, "all fits"
    else:
        shade, word = Shade.COMING, "not all is published and seen"
    silent = known.number("servers") - known.number("heard")
    notes = [error] * bool(error) + wrong + mild
    if known.flag("changed"):
        notes.append("not all name servers show the last change yet")
    if silent > 0:
        notes.append(f"{silent} of {known.number('servers')} name servers did not answer")
    looked = [at for dane in danes if (at := dane.time("at"))]
    return ZoneLine(
        zone,
        shade,
        word,
        min(looked, default=None),
        len(certs),
        tuple(dict.fromkeys(notes)),
        tuple(waits),
    )


# --- what failed ---------------------------------------------------------------------------


def _failed_certs(certs: Iterable[Cert]) -> list[FailedLine]:
    found: dict[str, list[Cert]] = defaultdict(list)
    for cert in certs:
        text = cert.text("last_error") or cert.text("unusable")
        # A server's failure stands there.
        places = {f"{one.text('class')} on {one.text('host')}" for one in cert.subs("servers")}
        if text and cert.text("error_about") not in places:
            found[text].append(cert)
    lines = [
        FailedLine(
            text,
            tuple(cert.name for cert in some),
            max(cert.number("attempts") for cert in some),
            _first(cert.time("failed_at") for cert in some),
            _first(cert.time("next_try") for cert in some),
        )
        for text, some in found.items()
    ]
    return sorted(lines, key=lambda line: -len(line.who))


def _failed_servers(certs: Iterable[Cert]) -> list[FailedLine]:
    found: dict[tuple[str, str], list[Fields]] = defaultdict(list)
    for cert in certs:
        for server in cert.subs("servers"):
            if error := server.text("error"):
                place = f"{server.text('class')} on {server.text('host')}"
                found[place, error].append(server)
    return [
        FailedLine(
            error,
            (place,),
            max(one.number("attempts") for one in some),
            None,
            _first(one.time("next_try") for one in some),
        )
        for (place, error), some in found.items()
    ]


def _failed_beside(status: Json, now: datetime) -> Iterator[FailedLine]:
    refused, mistakes = refusal(status, now)
    for text in (refused, *mistakes):
        if text:
            yield FailedLine(text, ("configuration",))
    for zone in Fields(status).subs("zones"):
        if error := zone.text("error"):
            yield FailedLine(error, (zone.text("zone"),))
    for who, texts in (
        ("host", host_problems(status)),
        ("Diffie-Hellman groups", dh_problems(status)),
        ("network process", net_problems(status)),
        ("daemon", [text for _, text in own_problems(status)]),
    ):
        for text in texts:
            yield FailedLine(text, (who,))


def _first(moments: Iterable[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment), default=None)


# --- what comes ----------------------------------------------------------------------------


def _coming(plan: Fields, certs: Iterable[Cert], now: datetime) -> list[ComingLine]:
    found: dict[tuple[str, str], list[tuple[datetime | None, str, str]]] = defaultdict(list)
    for job in plan.subs("jobs"):
        at, what = job.time("at"), job.text("job")
        if at is None and what == "wait":
            continue
        if at is not None and at > now + AHEAD:
            continue
        later = at is not None and at > now
        row = at if later else None, job.text("cert"), job.text("reason")
        found[day(at) if later and at else "", what].append(row)
    for cert in certs:
        end, renews = cert.not_after, cert.time("renew_at")
        if end is None or not now < end <= now + AHEAD:
            continue
        # It expires only where nothing is to come before that.
        renewed = renews is not None and renews < end and not cert.number("attempts")
        if not renewed and not cert.sub("next"):
            found[day(end), "expires, unless it is renewed"].append((end, cert.name, ""))
    lines = [_on_a_day(what, rows) for (_, what), rows in found.items()]
    return sorted(lines, key=lambda line: (line.at or now, line.what))


def _on_a_day(what: str, rows: list[tuple[datetime | None, str, str]]) -> ComingLine:
    reasons = {reason for _, _, reason in rows}
    at = _first(at for at, _, _ in rows)
    who = tuple(dict.fromkeys(name for _, name, _ in rows if name))
    reason = reasons.pop() if len(reasons) == 1 else ""
    return ComingLine(here(at) if at else None, what, who, len(rows), reason)
