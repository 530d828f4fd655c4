"""The answer to `plan`: every job, copy and command, before it happens (docs/socket-api.md)."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Any

from sslmd.config.model import Config, commands_of, is_meant
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
from sslmd.core.names import CertId
from sslmd.core.own_ca import renews_how
from sslmd.core.reason import Reason, Why, on_wire, said
from sslmd.core.state import Server, ServerPhase
from sslmd.core.told import ToDo
from sslmd.core.words.sentence import say
from sslmd.daemon.api.beside import time
from sslmd.daemon.api.users import gently
from sslmd.daemon.hub import Hub
from sslmd.daemon.registry import Entry

_ZONE_JOBS = {
    Publish: ToDo.PUBLISH,
    Look: ToDo.LOOK,
    Watch: ToDo.WATCH,
    PublishChallenges: ToDo.CHALLENGES,
}
_OF_DAEMON = {
    ReadHeld: ToDo.READ_HELD,
    WriteNotes: ToDo.WRITE_NOTES,
    WatchAlarms: ToDo.ALARMS,
    SayAlive: ToDo.ALIVE,
    WriteDh: ToDo.DH,
}

AFTER_ROLL = Reason(Why.AFTER_ROLL)


def _because(reason: Reason) -> dict[str, Any]:
    return {"reason": say(reason), **on_wire(reason)}


def _does(what: Reason) -> dict[str, Any]:
    return {"job": say(what), **on_wire(what, "job")}


def _beside_certs(job: Job) -> Reason | None:
    """Return what is done that is of no certificate; None for what is."""
    match job:
        case Copy():
            return Reason(ToDo.COPY, host=job.host)
        case Restart() | See():
            classes = tuple(kind for kind, _ in job.told)
            code = ToDo.RESTART if isinstance(job, Restart) else ToDo.SEE
            return Reason(code, classes=classes, host=job.host)
        case Publish() | Look() | Watch() | PublishChallenges():
            return Reason(_ZONE_JOBS[type(job)], zone=job.zone)
        case AskCa():
            return Reason(ToDo.ASK_CA, ca=job.ca)
        case Notify():
            return Reason(ToDo.NOTIFY, name=job.name)
        case _:
            own = _OF_DAEMON.get(type(job))
            return Reason(own) if own is not None else None


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
                row = {"cert": "", **_does(name)}
            elif isinstance(job, CertJob | Trial) and job.cert in chosen:
                if not isinstance(job, Trial):
                    busy.add(job.cert)
                of_kind = Reason(ToDo.OF_KIND, kind=type(job).__name__)
                row = {"cert": str(job.cert), **_does(of_kind)}
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
            **_does(Reason(ToDo.REMOVE, host=host)),
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
        what, when, state = ToDo.ROLL, decision.roll_at, "planned"
    elif decision.stuck is not None:
        what, when, state = ToDo.AGAIN, decision.stuck.next_try, "waiting"
    elif decision.renew_at is not None:
        what, when, state = ToDo.RENEW, decision.renew_at, "planned"
    else:
        what, when, state = ToDo.WAIT, decision.wake_at, "waiting"
    row = {"cert": str(cert), **_does(Reason(what)), "at": time(when), "state": state}
    plain = what is ToDo.RENEW and not decision.alarm
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
            does = _restart(one.kind, host, one.argv)
            yield {**row, **does, "at": time(opens), **_because(AFTER_ROLL)}
    if entry.wanted.dane:
        for argv in commands.restarting(DNS, [cert]):
            because = _because(Reason(Why.RECORDS_CHANGE))
            yield {**row, **_restart(DNS, None, argv), "at": None, **because}


def _copy(config: Config, host: str) -> dict[str, Any]:
    folder = str(config.globals.prod_cert_dir)
    return _does(Reason(ToDo.COPY, host=host, folder=folder))


def _restart(kind: str, host: str | None, argv: Argv) -> dict[str, Any]:
    """Return a restart on a host, None: of this machine's name server."""
    command = shlex.join(argv) if argv else None
    return _does(Reason(ToDo.RESTART, classes=(kind,), host=host, command=command))


def _run_after(argv: Argv) -> dict[str, Any]:
    return _does(Reason(ToDo.RUN_HERE, command=shlex.join(argv)))


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
                    does = _restart(server.kind, server.host, argv)
                    yield {**row, **does, **_because(Reason(Why.AFTER_COPY))}
            case ServerPhase.FAILED | ServerPhase.DELIVERED:
                at = hub.hosts.restarts_at(cert, server, now)
                asked = server.phase is ServerPhase.DELIVERED and server.next_try is not None
                due = Reason(Why.FORCED) if asked else Reason(Why.USES_SET, set=server.set)
                reason = said(server.error) or due
                for argv in commands.restarting(server.kind, [cert]) or ((),):
                    does = _restart(server.kind, server.host, argv)
                    yield {**row, **does, "at": time(at), **_because(reason)}
            case _:
                pass
