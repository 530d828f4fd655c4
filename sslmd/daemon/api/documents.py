"""What `show`, `dane`, `config` and `plan` answer (docs/socket-api.md).

`status_document` has `status`.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from time import thread_time
from typing import Any

from sslmd.acme.accounts import account_used
from sslmd.acme.certbot import server_of
from sslmd.config.model import Config, ServiceConfig, commands_of, is_meant
from sslmd.core.dane.tlsa import Share
from sslmd.core.errors import SslmError
from sslmd.core.host.commands import DNS, Argv, following_roll
from sslmd.core.jobs import (
    AskCa,
    CertJob,
    Copy,
    Job,
    Look,
    Notify,
    Publish,
    PublishChallenges,
    ReadHeld,
    Restart,
    SayAlive,
    See,
    Trial,
    Watch,
    WatchAlarms,
    WriteDh,
    WriteNotes,
)
from sslmd.core.limits import MOST_ISSUED
from sslmd.core.names import CertId, SetName
from sslmd.core.own_ca import renews_how
from sslmd.core.reason import Reason, Why, on_wire, said
from sslmd.core.spec import AcmeCa, SetFacts
from sslmd.core.state import Server, ServerPhase, SetNote
from sslmd.core.words.sentence import say
from sslmd.daemon.api.beside import time
from sslmd.daemon.api.set_row import set_row
from sslmd.daemon.api.status_document import status_entry
from sslmd.daemon.api.users import gently
from sslmd.daemon.hub import Hub
from sslmd.daemon.registry import Entry
from sslmd.store import certs, sets
from sslmd.store.state import HistoryEntry


def config(hub: Hub) -> dict[str, Any]:
    """Return which configuration is in force: its folder, what was read, what it is warned of."""
    loaded = hub.site.config
    return {
        "conf_dir": str(loaded.conf_dir),
        "certs_dir": str(loaded.globals.certs_dir),
        "files": dict(loaded.files),
        "warnings": [str(warning) for warning in loaded.warnings],
    }


def dane(hub: Hub, cert: CertId) -> dict[str, Any]:
    """Return everything about a certificate's TLSA records."""
    entry = hub.registry[cert]
    report = entry.report
    zone = hub.zones.zone_of(cert)
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
        "age": max(0, round((hub.site.now() - report.at).total_seconds())) if report else None,
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


async def show(hub: Hub, cert: CertId, spend: Callable[[float], None]) -> dict[str, Any]:
    """Return everything about one certificate: reasons, sets, history, configuration.

    `spend` is told what reading the files takes of the CPU, in a thread of its own.
    """
    entry = hub.registry[cert]
    service = hub.site.config.services.get(cert)

    def read() -> tuple[list[dict[str, Any]], Sequence[HistoryEntry], str, float]:
        began = thread_time()
        account = _account(hub, service) if service else ""
        sets_, lines = _sets(hub, cert), certs.history(hub.site.tree, cert)
        return sets_, lines, account, thread_time() - began

    unwritten = hub.ledger.unwritten(cert)
    details, entries, account, seconds = await hub.threads.aside(read)
    entries = [*entries, *(one for one in unwritten if one not in entries)]
    spend(seconds)
    used = hub.standings.issuances(hub.site).known(entry.wanted)
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


def _account(hub: Hub, service: ServiceConfig) -> str:
    """Return the URL of a certificate's account at its ACME CA, "" without one; blocks."""
    signer = service.spec.signer
    if not isinstance(signer, AcmeCa):
        return ""
    server = server_of(hub.site.config.cas[signer.name], "")
    tree = hub.site.tree
    return account_used(tree, server, tree.certbot_dir(service.id))


def _sets(hub: Hub, cert: CertId) -> list[dict[str, Any]]:
    tree = hub.site.tree
    try:
        links = sets.read_links(tree, cert)
        names = sets.list_sets(tree, cert)
    except SslmError:
        return []
    roles = {links.prev: "prev", links.next: "next", links.curr: "curr"}
    state = hub.registry[cert].state
    notes = {"prev": state.prev_note, "next": state.next_note, "curr": state.curr_note}
    return [
        _one_set(hub, cert, name, role, notes.get(role))
        for name in reversed(names)
        for role in (roles.get(name, ""),)
    ]


def _one_set(
    hub: Hub, cert: CertId, name: SetName, role: str, note: SetNote | None
) -> dict[str, Any]:
    try:
        facts = sets.read_set(hub.site.tree, cert, name)
    except SslmError as err:
        facts = SetFacts(name, "", frozenset(), None, str(err))
    details = set_row(facts, note) or {
        "set": str(name),
        "serial": None,
        "not_before": None,
        "not_after": None,
        "issued_at": None,
        "names": sorted(facts.asked_names),
        "key": facts.key,
        "unmet": [],
        "renewal_info": None,
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
    if isinstance(spec.signer, AcmeCa):
        by_life["renew_by"] = "ca" if timing.by_ca else "days"
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


# --- the plan: every job, copy and command, before it happens ----------------------------------

_ZONE_JOBS = {
    Publish: "publish TLSA records of",
    Look: "look at TLSA records of",
    Watch: "watch TLSA ports of",
}

AFTER_ROLL = Reason(Why.AFTER_ROLL)


def _because(reason: Reason) -> dict[str, Any]:
    return {"reason": say(reason), **on_wire(reason)}


def _beside_certs(job: Job) -> str | None:
    """Return what is done that is of no certificate; None for what is."""
    match job:
        case Copy():
            return f"copy to {job.host}"
        case Restart():
            return f"restart {', '.join(kind for kind, _ in job.told)} on {job.host}"
        case See():
            return f"look at {', '.join(kind for kind, _ in job.told)} on {job.host}"
        case Publish() | Look() | Watch():
            return f"{_ZONE_JOBS[type(job)]} {job.zone}"
        case PublishChallenges():
            return f"publish challenges of {job.zone}"
        case ReadHeld():
            return "read what is held"
        case WriteNotes():
            return "write state.toml again"
        case AskCa():
            return f"ask the CA {job.ca}"
        case WatchAlarms():
            return "look for alarms"
        case Notify():
            return f"notify {job.name}"
        case SayAlive():
            return "say that the daemon works"
        case WriteDh():
            return "write Diffie-Hellman groups"
        case _:
            return None


async def plan(
    hub: Hub, which: list[CertId], turn: Callable[[], Awaitable[None]]
) -> list[dict[str, Any]]:
    """Return what runs, what is queued, and what comes when, soonest first.

    `turn` returns when something may be done again for who asks.
    """
    chosen = set(which)
    now_rows = []
    busy: set[CertId] = set()
    for state, jobs in (("running", hub.queue.running()), ("queued", hub.queue.queued())):
        for job in jobs:
            if (name := _beside_certs(job)) is not None:
                row = {"cert": "", "job": name}
            elif isinstance(job, CertJob | Trial) and job.cert in chosen:
                if not isinstance(job, Trial):
                    busy.add(job.cert)
                row = {"cert": str(job.cert), "job": type(job).__name__}
            else:
                continue
            now_rows.append({**row, "at": None, "state": state, **_because(job.reason)})
    later = []
    async for cert in gently(which, turn):
        if cert in hub.registry:
            later += _later(hub, cert, busy=cert in busy)
    later += [
        {
            "cert": "",
            "job": f"remove from {host}",
            "at": time(when),
            "state": "waiting",
            **_because(Reason(Why.HOST_SURPLUS)),
        }
        for host, when in hub.hosts.notes.untidy().items()
    ]
    later.sort(key=lambda row: (row["at"] is None, row["at"] or "", row["cert"]))
    return now_rows + later


def _later(hub: Hub, cert: CertId, *, busy: bool) -> list[dict[str, Any]]:
    """Return what comes for a certificate; `busy`: its job stands among those of now already."""
    entry = hub.registry[cert]
    decision = entry.decision
    when: datetime | None
    if decision.roll_at is not None:
        what, when, state = "roll", decision.roll_at, "planned"
    elif decision.stuck is not None:
        what, when, state = "try again", decision.stuck.next_try, "waiting"
    elif decision.renew_at is not None:
        what, when, state = "renew", decision.renew_at, "planned"
    else:
        what, when, state = "wait", decision.wake_at, "waiting"
    row = {"cert": str(cert), "job": what, "at": time(when), "state": state}
    plain = what == "renew" and not decision.alarm
    how = renews_how(hub.registry.view(cert)) if plain else None
    rows = [] if busy else [{**row, **_because(decision.reason.also(how))}]
    if decision.roll_at is not None and not busy:
        rows += _after_roll(hub, cert, entry, decision.roll_at)
    return [*rows, *_servers(hub, cert, entry)]


def _after_roll(hub: Hub, cert: CertId, entry: Entry, at: datetime) -> Iterator[dict[str, Any]]:
    """Yield the copies and commands that a roll leads to, in their order on each host."""
    config, now = hub.site.config, hub.site.now()
    row = {"cert": str(cert), "at": time(at), "state": "planned"}
    hosts = sorted({host for _, host in entry.servers})
    copied = [host for host in hosts if is_meant(config, cert, host)]
    known = {(one.kind, one.host): one.expires for one in entry.state.servers}
    commands = commands_of(config)
    follows = list(following_roll(commands, cert, entry.servers, copied))
    for host in hosts:
        if host in copied and not hub.locality.seems_local(host):
            yield {**row, **_copy(config, host), **_because(AFTER_ROLL)}
        for one in (one for one in follows if one.host == host):
            if not one.kind:
                because = _because(Reason(Why.AFTER_COPY, host=host))
                yield {**row, **_run_after(one.argv), **because}
                continue
            ends = known.get((one.kind, host), now)
            server = Server(one.kind, host, ServerPhase.DELIVERED, expires=ends)
            opens = hub.hosts.restarts_at(cert, server, max(at, now))
            job = f"restart {one.kind} on {host}: {shlex.join(one.argv)}"
            yield {**row, "job": job, "at": time(opens), **_because(AFTER_ROLL)}
    if entry.wanted.dane:
        for argv in commands.restarting(DNS, [cert]):
            job = f"restart {DNS} here: {shlex.join(argv)}"
            yield {**row, "job": job, "at": None, **_because(Reason(Why.RECORDS_CHANGE))}


def _copy(config: Config, host: str) -> dict[str, str]:
    return {"job": f"copy to {host}:{config.globals.prod_cert_dir}"}


def _run_after(argv: Argv) -> dict[str, str]:
    return {"job": f"run here: {shlex.join(argv)}"}


def _servers(hub: Hub, cert: CertId, entry: Entry) -> Iterator[dict[str, Any]]:
    """Yield what is still to be done with the servers of a certificate, and when."""
    config, now = hub.site.config, hub.site.now()
    commands = commands_of(config)
    for server in entry.state.servers:
        row: dict[str, Any] = {"cert": str(cert), "state": "waiting"}
        match server.phase:
            case ServerPhase.PENDING:
                reason = said(server.error) or Reason(Why.HOST_WITHOUT, certs=(str(cert),))
                row = {**row, "at": time(server.next_try)}
                here = server.here or hub.locality.seems_local(server.host)
                if not here:
                    yield {**row, **_copy(config, server.host), **_because(reason)}
                for argv in commands.after_copy_to(server.host):
                    yield {**row, **_run_after(argv), **_because(reason)}
                for argv in commands.restarting(server.kind, [cert]):
                    job = f"restart {server.kind} on {server.host}: {shlex.join(argv)}"
                    yield {**row, "job": job, **_because(Reason(Why.AFTER_COPY))}
            case ServerPhase.FAILED | ServerPhase.DELIVERED:
                at = hub.hosts.restarts_at(cert, server, now)
                asked = server.phase is ServerPhase.DELIVERED and server.next_try is not None
                due = Reason(Why.FORCED) if asked else Reason(Why.USES_SET, set=server.set)
                reason = said(server.error) or due
                for argv in commands.restarting(server.kind, [cert]) or ((),):
                    job = f"restart {server.kind} on {server.host}"
                    job = f"{job}: {shlex.join(argv)}" if argv else job
                    yield {**row, "job": job, "at": time(at), **_because(reason)}
            case _:
                pass
