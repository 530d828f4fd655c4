"""What `plan` answers: every job, copy and command, before it happens (docs/socket-api.md)."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Any

from sslmd.config.model import Config, commands_of, is_meant
from sslmd.core.host.commands import DNS, Argv, following_roll
from sslmd.core.jobs import (
    Copy,
    Look,
    Publish,
    ReadHeld,
    Restart,
    See,
    Trial,
    Watch,
    WriteDh,
    ZoneJob,
)
from sslmd.core.names import CertId
from sslmd.core.own_ca import renews_how
from sslmd.core.reason import Reason, Why, on_wire, said
from sslmd.core.state import Server, ServerPhase
from sslmd.core.words.sentence import say
from sslmd.daemon.api.documents import time
from sslmd.daemon.api.users import gently
from sslmd.daemon.planner import Planner
from sslmd.daemon.registry import Entry

_ZONE_JOBS = {
    Publish: "publish TLSA records of",
    Look: "look at TLSA records of",
    Watch: "watch TLSA ports of",
}

AFTER_ROLL = Reason(Why.AFTER_ROLL)


def _because(reason: Reason) -> dict[str, Any]:
    return {"reason": say(reason), **on_wire(reason)}


async def plan(
    planner: Planner, which: list[CertId], turn: Callable[[], Awaitable[None]]
) -> list[dict[str, Any]]:
    """Return what runs, what is queued, and what comes when, soonest first.

    `turn` returns when something may be done again for who asks.
    """
    chosen = set(which)
    now_rows = []
    busy: set[CertId] = set()
    for state, jobs in (("running", planner.queue.running()), ("queued", planner.queue.queued())):
        for job in jobs:
            if isinstance(job, Copy):
                row = {"cert": "", "job": f"copy to {job.host}"}
            elif isinstance(job, Restart):
                name = f"{', '.join(kind for kind, _ in job.told)} on {job.host}"
                row = {"cert": "", "job": f"restart {name}"}
            elif isinstance(job, See):
                name = f"{', '.join(kind for kind, _ in job.told)} on {job.host}"
                row = {"cert": "", "job": f"look at {name}"}
            elif isinstance(job, ZoneJob):
                word = _ZONE_JOBS[type(job)]
                row = {"cert": "", "job": f"{word} {job.zone}"}
            elif isinstance(job, ReadHeld):
                row = {"cert": "", "job": "read what is held"}
            elif isinstance(job, WriteDh):
                row = {"cert": "", "job": "write Diffie-Hellman groups"}
            elif job.cert in chosen:
                if not isinstance(job, Trial):
                    busy.add(job.cert)
                row = {"cert": str(job.cert), "job": type(job).__name__}
            else:
                continue
            now_rows.append({**row, "at": None, "state": state, **_because(job.reason)})
    later = []
    async for cert in gently(which, turn):
        if cert in planner.registry:
            later += _later(planner, cert, busy=cert in busy)
    later += [
        {
            "cert": "",
            "job": f"remove from {host}",
            "at": time(when),
            "state": "waiting",
            **_because(Reason(Why.HOST_SURPLUS)),
        }
        for host, when in planner.hosts.notes.untidy().items()
    ]
    later.sort(key=lambda row: (row["at"] is None, row["at"] or "", row["cert"]))
    return now_rows + later


def _later(planner: Planner, cert: CertId, *, busy: bool) -> list[dict[str, Any]]:
    """Return what comes for a certificate; `busy`: its job stands among those of now already."""
    entry = planner.registry[cert]
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
    how = renews_how(planner.registry.view(cert)) if plain else None
    rows = [] if busy else [{**row, **_because(decision.reason.also(how))}]
    if decision.roll_at is not None and not busy:
        rows += _after_roll(planner, cert, entry, decision.roll_at)
    return [*rows, *_servers(planner, cert, entry)]


def _after_roll(
    planner: Planner, cert: CertId, entry: Entry, at: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the copies and commands that a roll leads to, in their order on each host."""
    config, now = planner.site.config, planner.site.now()
    row = {"cert": str(cert), "at": time(at), "state": "planned"}
    hosts = sorted({host for _, host in entry.servers})
    copied = [host for host in hosts if is_meant(config, cert, host)]
    known = {(one.kind, one.host): one.expires for one in entry.state.servers}
    commands = commands_of(config)
    follows = list(following_roll(commands, cert, entry.servers, copied))
    for host in hosts:
        if host in copied and not planner.locality.seems_local(host):
            yield {**row, **_copy(config, host), **_because(AFTER_ROLL)}
        for one in (one for one in follows if one.host == host):
            if not one.kind:
                because = _because(Reason(Why.AFTER_COPY, host=host))
                yield {**row, **_run_after(one.argv), **because}
                continue
            ends = known.get((one.kind, host), now)
            server = Server(one.kind, host, ServerPhase.DELIVERED, expires=ends)
            opens = planner.hosts.restarts_at(cert, server, max(at, now))
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


def _servers(planner: Planner, cert: CertId, entry: Entry) -> Iterator[dict[str, Any]]:
    """Yield what is still to be done with the servers of a certificate, and when."""
    config, now = planner.site.config, planner.site.now()
    commands = commands_of(config)
    for server in entry.state.servers:
        row: dict[str, Any] = {"cert": str(cert), "state": "waiting"}
        match server.phase:
            case ServerPhase.PENDING:
                reason = said(server.error) or Reason(Why.HOST_WITHOUT, certs=(str(cert),))
                row = {**row, "at": time(server.next_try)}
                here = server.here or planner.locality.seems_local(server.host)
                if not here:
                    yield {**row, **_copy(config, server.host), **_because(reason)}
                for argv in commands.after_copy_to(server.host):
                    yield {**row, **_run_after(argv), **_because(reason)}
                for argv in commands.restarting(server.kind, [cert]):
                    job = f"restart {server.kind} on {server.host}: {shlex.join(argv)}"
                    yield {**row, "job": job, **_because(Reason(Why.AFTER_COPY))}
            case ServerPhase.FAILED | ServerPhase.DELIVERED:
                at = planner.hosts.restarts_at(cert, server, now)
                asked = server.phase is ServerPhase.DELIVERED and server.next_try is not None
                due = Reason(Why.FORCED) if asked else Reason(Why.USES_SET, set=server.set)
                reason = said(server.error) or due
                for argv in commands.restarting(server.kind, [cert]) or ((),):
                    job = f"restart {server.kind} on {server.host}"
                    job = f"{job}: {shlex.join(argv)}" if argv else job
                    yield {**row, "job": job, "at": time(at), **_because(reason)}
            case _:
                pass
