"""What `show` and `dane` answer, and what parts `status` has (docs/socket-api.md).

`status_document` has `status`, `plan_document` has `plan`. `status --json` is stable: fields are
added, never renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import thread_time
from typing import Any

from sslmd.acme.accounts import account_uri
from sslmd.config.model import ServiceConfig
from sslmd.core.dane.tlsa import Share
from sslmd.core.errors import SslmError, Trouble
from sslmd.core.jobs import (
    Certify,
    CertJob,
    Deliver,
    MakeKey,
    Order,
    Prove,
    PutBack,
    Roll,
    Settle,
    TakeOff,
)
from sslmd.core.limits import MOST_ISSUED
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Held, Reason, on_wire, said
from sslmd.core.roll_wait import issued_at
from sslmd.core.spec import AcmeCa, SetFacts
from sslmd.core.state import Server, ServerPhase, SetNote, Unseen
from sslmd.core.trouble import CertStatus, ServerStatus
from sslmd.core.words.sentence import say
from sslmd.daemon.planner import Planner
from sslmd.daemon.registry import Entry
from sslmd.dns.bounds import bounds
from sslmd.store import certs, sets
from sslmd.store.state import HistoryEntry

FORMAT = 1


def time(when: datetime | None) -> str | None:
    """Return `when` as RFC 3339 in UTC."""
    if when is None:
        return None
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def status_of(entry: Entry) -> CertStatus:
    """Return what is judged of a certificate: what `status` says of it, as values."""
    state, decision = entry.state, entry.decision
    trouble = _trouble(entry)
    # While it waits for its CA, the failures are the CA's; `reason` tells of them.
    attempts = 0 if decision.waits_for_ca else trouble.attempts if trouble else 0
    failed = _failed_server(state.servers)
    error, about, _ = _last_error(entry, trouble, failed)
    cert, report = state.curr.cert if state.curr else None, entry.report
    return CertStatus(
        begins=cert.not_before if cert else None,
        ends=cert.not_after if cert else None,
        has_next=state.next is not None and state.next.cert is not None,
        is_made=bool(_doing(entry)),
        unusable=entry.unusable,
        error=error,
        about=about,
        attempts=attempts or (failed.attempts if failed else 0),
        next_try=_next_try(entry, trouble, failed),
        renew_at=decision.renew_at,
        roll_at=decision.roll_at,
        unused=entry.unused,
        servers=[
            ServerStatus(
                server.kind,
                server.host,
                str(server.phase),
                error=server.error,
                attempts=server.attempts,
                since=server.since,
                unseen=unseen.why if (unseen := _unseen(server)) and not unseen.meant else None,
            )
            for server in state.servers
        ],
        dane=(report.wrong, report.warnings) if report and entry.wanted.dane else ((), ()),
    )


def status_entry(cert: CertId, entry: Entry) -> dict[str, Any]:
    """Return one certificate of `status --json` (docs/socket-api.md, Status)."""
    state, status = entry.state, status_of(entry)
    *_, why = _last_error(entry, _trouble(entry), _failed_server(state.servers))
    return {
        "group": cert.group,
        "service": cert.service,
        "phase": str(state.phase),
        "reason": _reason(entry),
        **on_wire(entry.decision.reason),
        "doing": _doing(entry) or None,
        "progress": entry.progress or None,
        "signing_ca": str(entry.wanted.spec.signer),
        "curr": _set(state.curr, state.curr_note),
        "next": _set(state.next, state.next_note),
        "renew_at": time(status.renew_at),
        "roll_at": time(status.roll_at),
        "attempts": status.attempts,
        "last_error": status.error or None,
        **on_wire(why, "error"),
        "error_about": status.about or None,
        "next_try": time(status.next_try),
        "servers": [
            {
                "class": server.kind,
                "host": server.host,
                "set": str(server.set) if server.set else None,
                "state": str(server.phase),
                "error": server.error or None,
                "since": time(server.since),
                "attempts": server.attempts,
                "next_try": time(server.next_try) if server.attempts else None,
                "unseen": unseen.why if (unseen := _unseen(server)) else None,
                "meant": unseen.meant if unseen else False,
            }
            for server in state.servers
        ],
        "dane": _dane(entry),
        "dane_wanted": entry.wanted.dane,
        "used_by": list(entry.used_by),
        "unused": entry.unused,
        "unusable": entry.unusable or None,
    }


# What a job does, for people, while it is at work or waits for its place.
_DOES: dict[type[CertJob], str] = {
    MakeKey: "its key is being made",
    Certify: "its certificate is being made",
    Order: "its certificate is being ordered",
    Roll: "it is being rolled",
    PutBack: "it is being put on deck",
    TakeOff: "it is being taken off the deck",
    Deliver: "it goes to production",
    Prove: "its ports are looked at",
    Settle: "old sets are cleaned up",
}


def _doing(entry: Entry) -> str:
    """Return what is being done for a certificate at this moment, "" if it waits or rests."""
    decision = entry.decision
    if decision.job is not None and not entry.hold:
        return entry.progress or _DOES[type(decision.job)]
    return "its CA is being made" if decision.ca_is_made else ""


def _reason(entry: Entry) -> str:
    parts = [say(entry.decision.reason), entry.progress]
    trial = entry.state.trial
    if trial is not None and not entry.progress and not entry.hold:
        parts.append(f"a {trial.kind} is under way")
    return "; ".join(filter(None, parts))


def _unseen(server: Server) -> Unseen | None:
    """Return why nobody saw what a server uses, None where that was seen, or nothing is used."""
    return server.unseen if server.phase is ServerPhase.RESTARTED else None


def hosts(planner: Planner) -> list[dict[str, Any]]:
    """Return what there is to tell of hosts that no certificate tells."""
    notes = planner.hosts.notes
    return [
        {
            "host": host,
            "visited": time(entry.note.visited),
            "surplus": list(map(str, entry.note.surplus)),
            "surplus_more": entry.note.more,
            "text": say(why),
            **on_wire(why, "text"),
            "error": entry.note.error or None,
            **on_wire(entry.trouble, "error"),
            "next_try": time(entry.note.next_try),
        }
        for host, entry, why in notes.told()
    ]


def zones(planner: Planner) -> list[dict[str, Any]]:
    """Return the zones whose TLSA records cannot be published or looked at, and why.

    `told_by`: certificates whose last comparison says the same.
    """
    entries = planner.registry.entries
    return [
        {
            "zone": str(zone),
            "error": text,
            **on_wire(reason, "error"),
            "told_by": [
                str(cert)
                for cert, entry in entries.items()
                if cert.group == str(zone) and entry.report
                if any(one.wrong and one.text == text for one in entry.report.findings)
            ],
        }
        for zone, text, reason in planner.zones.troubled()
    ]


def dns() -> list[dict[str, Any]]:
    """Return what of name servers is not asked, or has to wait, because of the bounds."""
    return [{"text": say(one), **on_wire(one)} for one in bounds().remarks()]


def dh(planner: Planner) -> list[dict[str, Any]]:
    """Return what failed when Diffie-Hellman groups were looked at last."""
    return [{"error": text} for text in planner.dh.troubles]


def config(planner: Planner) -> dict[str, Any]:
    """Return which configuration is in force: its folder, what was read, what it is warned of."""
    loaded = planner.site.config
    return {
        "conf_dir": str(loaded.conf_dir),
        "certs_dir": str(loaded.globals.certs_dir),
        "files": dict(loaded.files),
        "warnings": [str(warning) for warning in loaded.warnings],
    }


def _dane(entry: Entry) -> dict[str, Any] | None:
    """Return how the last comparison of DNS, ports and keys went, None without one."""
    report = entry.report
    if report is None or not entry.wanted.dane:
        return None
    return {
        "at": time(report.at),
        "ok": not report.wrong,
        "fits": report.fits,
        "problems": report.wrong,
        "warnings": report.warnings,
        "unseen": report.unseen,
    }


def dane(planner: Planner, cert: CertId) -> dict[str, Any]:
    """Return everything about a certificate's TLSA records."""
    entry = planner.registry[cert]
    report = entry.report
    zone = planner.zones.zone_of(cert)
    share = zone.share(cert) if zone is not None else Share()
    content = zone.content if zone is not None else {}
    rows = [
        {
            "owner": str(owner),
            "ttl": content[owner].ttl if owner in content else None,
            "record": str(record),
            "of": of,
        }
        for of, records in (("serving", share.serving), ("next", share.coming - share.serving))
        for owner, record in sorted(records)
    ]
    return {
        "cert": str(cert),
        "at": time(report.at) if report else None,
        "age": max(0, round((planner.site.now() - report.at).total_seconds())) if report else None,
        "ok": report is not None and report.fits,
        "reason": say(entry.decision.reason),
        **on_wire(entry.decision.reason),
        "records": rows,
        "findings": [
            {
                "where": one.where,
                "text": one.text,
                "wrong": one.wrong,
                "warning": one.warning,
                "unseen": one.unseen,
            }
            for one in (report.findings if report else ())
        ],
    }


def _next_try(entry: Entry, trouble: Trouble | None, failed: Server | None) -> datetime | None:
    if entry.hold:
        return entry.looks_at
    if entry.decision.looks_again is not None:
        return entry.decision.looks_again
    if trouble is not None:
        return trouble.next_try
    if entry.decision.alarm:
        return entry.looks_at
    return failed.next_try if failed is not None else None


def _trouble(entry: Entry) -> Trouble | None:
    state = entry.state
    return entry.decision.stuck or state.trouble or state.delivery_trouble


def _last_error(
    entry: Entry, trouble: Trouble | None, failed: Server | None
) -> tuple[str, str, Reason | None]:
    """Return what failed last, what that is about (`CertStatus.about`), and its reason."""
    if entry.hold:
        return entry.hold, CertStatus.REASON, said(entry.hold)
    if entry.unsaved:
        return entry.unsaved, "", said(entry.unsaved)
    waits = entry.decision.waits_for_ca  # its CA says what failed
    if trouble is not None and not trouble.rests and not waits:
        return trouble.text, "", trouble.reason or said(trouble.text)
    if alarm := entry.decision.alarm:
        about = CertStatus.REASON if alarm in entry.decision.reason.within() else ""
        return say(alarm), CertStatus.SET if alarm.code is Held.CA_UNUSABLE else about, alarm
    if failed is not None and not waits:
        place = f"{failed.kind} on {failed.host}"
        return f"{place}: {failed.error}", place, said(failed.error)
    return "", "", None


def _failed_server(servers: tuple[Server, ...]) -> Server | None:
    failed = [server for server in servers if server.attempts and server.next_try]
    return min(failed, key=lambda server: str(server.next_try), default=None)


def _set(facts: SetFacts | None, note: SetNote | None) -> dict[str, Any] | None:
    if facts is None or facts.cert is None:
        return None
    return {
        "set": str(facts.name),
        "serial": facts.cert.serial,
        "not_before": time(facts.cert.not_before),
        "not_after": time(facts.cert.not_after),
        "issued_at": time(issued_at(facts, note)),
        "names": list(facts.cert.names),
        "key": facts.cert.key,
        "unmet": list(note.unmet) if note is not None else [],
    }


async def show(planner: Planner, cert: CertId, spend: Callable[[float], None]) -> dict[str, Any]:
    """Return everything about one certificate: reasons, sets, history, configuration.

    `spend` is told what reading the files takes of the CPU, in a thread of its own.
    """
    entry = planner.registry[cert]
    service = planner.site.config.services.get(cert)

    def read() -> tuple[list[dict[str, Any]], Sequence[HistoryEntry], str, float]:
        began = thread_time()
        account = _account(planner, service) if service else ""
        sets_, lines = _sets(planner, cert), certs.history(planner.site.tree, cert)
        return sets_, lines, account, thread_time() - began

    details, entries, account, seconds = await planner.threads.aside(read)
    spend(seconds)
    used = planner.standings.issuances(planner.site).spent(entry.wanted)
    document = status_entry(cert, entry)
    history = [
        {"at": time(one.at), "event": one.event, "set": one.set, "text": one.text}
        for one in entries
    ]
    return {
        "cert": document,
        "decision": {
            "text": say(entry.decision.reason),
            "wake_at": time(entry.decision.wake_at),
            **on_wire(entry.decision.reason),
        },
        "sets": details,
        "history": history,
        "config": _config(service) if service else {},
        "account": account or None,
        "issuances": {"used": used.used, "most": MOST_ISSUED, "next_at": time(used.again)}
        if used is not None
        else None,
    }


def _account(planner: Planner, service: ServiceConfig) -> str:
    """Return the URL of a certificate's account at its ACME CA, "" without one; blocks."""
    signer = service.spec.signer
    if not isinstance(signer, AcmeCa):
        return ""
    server = planner.site.config.cas[signer.name].server
    return account_uri(planner.site.tree.certbot_dir(service.id), server)


def _sets(planner: Planner, cert: CertId) -> list[dict[str, Any]]:
    tree = planner.site.tree
    try:
        links = sets.read_links(tree, cert)
        names = sets.list_sets(tree, cert)
    except SslmError:
        return []
    roles = {links.prev: "prev", links.next: "next", links.curr: "curr"}
    state = planner.registry[cert].state
    notes = {"prev": state.prev_note, "next": state.next_note, "curr": state.curr_note}
    return [
        _one_set(planner, cert, name, role, notes.get(role))
        for name in reversed(names)
        for role in (roles.get(name, ""),)
    ]


def _one_set(
    planner: Planner, cert: CertId, name: SetName, role: str, note: SetNote | None
) -> dict[str, Any]:
    try:
        facts = sets.read_set(planner.site.tree, cert, name)
    except SslmError as err:
        facts = SetFacts(name, "", frozenset(), None, str(err))
    details = _set(facts, note) or {
        "set": str(name),
        "serial": None,
        "not_before": None,
        "not_after": None,
        "issued_at": None,
        "names": sorted(facts.asked_names),
        "key": facts.key,
        "unmet": [],
    }
    return {**details, "role": role, "problem": facts.problem}


def _config(service: ServiceConfig) -> dict[str, str]:
    spec, timing = service.spec, service.timing
    dane = {}
    if service.dane:
        ports = (f"{one.port}/{one.proto} {one.combination}" for one in service.dane)
        dane = {
            "dane_tls": ", ".join(ports),
            "dane_tls_ttl": f"{service.dane_ttl} s",
            "dane_next_key": str(service.dane_next_key),
        }
    by_life = {}
    if timing.by_life is not None:
        by_life = {
            "renew_info": "the lead follows from the life; renew_expire_days is that for 90 days"
        }
    windows = {"roll_window": service.roll_window, "restart_window": service.restart_window}
    return {
        **dane,
        **{word: ", ".join(map(str, some)) for word, some in windows.items() if some},
        "name": spec.title,
        "signing_ca": str(spec.signer),
        "key": str(spec.key),
        "common name": spec.subject.common_name,
        "names": " ".join(str(name) for name in spec.all_names()),
        "renew_expire_days": f"{timing.renew_before.total_seconds() / 86400:g}",
        "renew_expire_days_spread": f"{timing.spread.total_seconds() / 86400:g}",
        **by_life,
        "min_roll_mins": f"{timing.min_roll.total_seconds() / 60:g}",
    }
