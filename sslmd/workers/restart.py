"""Restarts: the server classes of one host, in order; one that fails stops no other.

Then each certificate is looked at where it is served (`proof`); one that is not proven keeps no
other from being so.
"""

from __future__ import annotations

import asyncio
import math
import shlex
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sslmd.config.model import Argv, Config, Trigger, commands_of
from sslmd.core.errors import Permanent, SslmError, Transient, together
from sslmd.core.events import RestartAsked
from sslmd.core.failed import Failed
from sslmd.core.host.commands import DNS
from sslmd.core.jobs import Restart, See, Told
from sslmd.core.names import CertId, GroupName, ZoneName
from sslmd.core.reason import Reason, Said, Why
from sslmd.core.state import DONE, NOT_YET, CertState
from sslmd.dns.runs import Runs
from sslmd.processes import missing_right
from sslmd.servers.probe import BELIEVED
from sslmd.servers.ssh import RemoteShell, shell_on
from sslmd.workers.deliver import is_here
from sslmd.workers.proof import Proving, Sight, rule_of
from sslmd.workers.tools import Delivering, Site

# Seconds that a command gets to end once it was told to, and for the answer to come here.
KILLING = 5.0
LINE = 15.0

# Of a shell and of timeout(1): not found, or not to be executed; ended, or killed. For the first,
# busybox's gives what the signal makes of the command.
_NOT_STARTED = ("126", "127")
_ENDED = ("124", "143", "137")


@dataclass(frozen=True, slots=True)
class ClassRestarted:
    """How the restart of one class on one host went; `error` None: it was restarted.

    `sights`: what was seen of each certificate then.
    """

    kind: str
    host: str
    told: tuple[Told, ...]
    error: Exception | None
    sights: Mapping[CertId, Sight] = field(default_factory=dict)

    def sight_of(self, cert: CertId) -> Sight:
        """Return what was seen of one certificate, or why nobody looked."""
        return self.sights.get(cert, Sight(unseen=NOT_YET))

    def error_of(self, cert: CertId) -> Exception | None:
        """Return why one certificate is not served, as far as is known."""
        return self.error or self.sight_of(cert).error

    @property
    def unproven(self) -> dict[CertId, Exception]:
        """The certificates that it does not serve all the same, and what was seen instead."""
        return {cert: one.error for cert, one in self.sights.items() if one.error is not None}

    @property
    def errors(self) -> list[Exception]:
        """Everything that failed, once each."""
        found = [self.error, *self.unproven.values()]
        return list(dict.fromkeys(one for one in found if one is not None))


def dependents(
    config: Config, zone: ZoneName, states: Iterable[tuple[CertId, CertState]], now: datetime
) -> Iterator[tuple[CertId, RestartAsked]]:
    """Yield what is to be restarted because the TLSA records of a zone changed: `depends`."""
    because = Reason(Why.RECORDS_CHANGED, zone=zone)
    kinds = [
        str(one.kind) for one in config.server_classes if one.depends & {Trigger.DNS, Trigger.TLSA}
    ]
    mine = [(cert, state) for cert, state in states if cert.group == zone.text]
    for kind in kinds:
        for cert, state in mine:
            idle = frozenset(
                server.host
                for server in state.servers
                if server.kind == kind and server.phase in DONE
            )
            if idle:
                yield cert, RestartAsked(now, kind, idle, because)


async def restart(job: Restart, delivering: Delivering) -> list[ClassRestarted]:
    """Do the job; the result has one entry for each class of it, in the same order.

    All commands are run before anything is proven: a proof may take as long as `probe_timeout`.
    """
    proofs = [_proving(kind, told, job, delivering) for kind, told in job.told]
    for proof in proofs:
        if proof is not None:
            await proof.look_before()
    errors = await _restart_all(job, delivering)
    seen = await asyncio.gather(
        *(
            _sights(proof, kind, told, delivering.site, failed=error is not None)
            for (kind, told), proof, error in zip(job.told, proofs, errors, strict=True)
        )
    )
    return [
        ClassRestarted(kind, job.host, told, error, sights)
        for (kind, told), error, sights in zip(job.told, errors, seen, strict=True)
    ]


async def see(job: See, delivering: Delivering) -> list[ClassRestarted]:
    """Look at what classes of a host serve, and restart nothing; as `restart` otherwise."""
    seen = await asyncio.gather(
        *(
            _sights(_proving(kind, told, job, delivering, BELIEVED), kind, told, delivering.site)
            for kind, told in job.told
        )
    )
    return [
        ClassRestarted(kind, job.host, told, None, sights)
        for (kind, told), sights in zip(job.told, seen, strict=True)
    ]


def _proving(
    kind: str,
    told: tuple[Told, ...],
    job: Restart | See,
    delivering: Delivering,
    patience: float = math.inf,
) -> Proving | None:
    for server_class in delivering.site.config.server_classes:
        if str(server_class.kind) == kind and server_class.probes:
            return Proving(server_class, job.host, told, delivering, patience=patience)
    return None


async def _sights(
    proof: Proving | None, kind: str, told: tuple[Told, ...], site: Site, *, failed: bool = False
) -> dict[CertId, Sight]:
    """Look; where the restart failed, there is what was seen before it: the ports that count."""
    if failed:
        return {one.cert: Sight(ports=proof.counted(one.cert)) for one in told} if proof else {}
    if proof is not None:
        return await proof.sights()
    rules = {one.cert: rule_of(site.config, kind, one.cert) for one in told}
    return {cert: Sight(unseen=rule or NOT_YET) for cert, rule in rules.items()}


async def _restart_all(job: Restart, delivering: Delivering) -> list[Exception | None]:
    """Run the commands of every class in their order; return what failed of each."""
    known = commands_of(delivering.site.config)
    commands = [known.restarting(kind, [one.cert for one in told]) for kind, told in job.told]
    if not any(commands):
        return [None] * len(commands)
    certs = [one.cert for _, told in job.told for one in told]
    if await is_here(job.host, certs, delivering.standings, delivering.locality):
        return [
            await _restart_here(kind, told, argvs, delivering.site, delivering.runs)
            for (kind, told), argvs in zip(job.told, commands, strict=True)
        ]
    failed: list[Exception | None] = []
    try:
        prod = str(delivering.site.config.globals.prod_cert_dir)
        async with shell_on(job.host, prod, delivering.site.scratch) as shell:
            for argvs in commands:
                error = await _restart(argvs, partial(_run_there, delivering.site, shell))
                failed.append(error)
    except SslmError as err:
        # What was to come after the connection broke has failed with it.
        left = commands[len(failed) :]
        failed += [err if argvs else None for argvs in left]
    return failed


async def _restart_here(
    kind: str, told: tuple[Told, ...], argvs: tuple[Argv, ...], site: Site, runs: Runs
) -> Exception | None:
    zones = {one.cert.group for one in told} - {GroupName.CA} if kind == DNS else set()
    if not zones:
        return await _restart(argvs, site.command)
    # Never beside a run for changed records: both may want the same lock.
    ends = await asyncio.gather(
        *(runs.ask(ZoneName(zone)) for zone in sorted(zones)), return_exceptions=True
    )
    if failed := [end for end in ends if end is not None]:
        error = together(failed)
        if not isinstance(error, Exception):
            raise error  # the daemon stops
        return error
    return None


async def _restart(
    argvs: tuple[Argv, ...], run: Callable[[Argv], Awaitable[None]]
) -> Exception | None:
    try:
        for argv in argvs:
            await run(argv)
    except _BrokenError:
        raise
    except SslmError as err:
        return err
    return None


async def _run_there(site: Site, shell: RemoteShell, argv: Argv) -> None:
    seconds = site.config.globals.cmd_timeout.total_seconds()
    words = ("run", f"{math.ceil(seconds)}", *argv)
    began = time.monotonic()
    try:
        answer = await shell.ask(*words, limit=seconds + KILLING + LINE)
    except SslmError as err:
        raise _BrokenError(err.reason) from err
    status = answer.status
    if status == "0":
        return
    shown, said = shlex.join(argv), Said(answer.said or "it said nothing")
    if status in _NOT_STARTED:
        fix = Reason(Failed.FIX_RESTART_THERE)
        why = Reason(Failed.COMMAND_NOT_STARTED, command=shown, said=said, remedy=fix)
        raise Permanent(why, about=shell.host)
    if status in _ENDED and time.monotonic() - began >= seconds:
        why = Reason(
            Failed.COMMAND_OVERDUE, command=shown, seconds=seconds, limit="cmd_timeout", said=said
        )
    else:
        why = Reason(Failed.COMMAND_EXITED, command=shown, status=status, said=said)
        why = why.also(missing_right(said, shell.host))
    raise Transient(why, about=shell.host)


class _BrokenError(Transient):
    """The connection is no more."""
