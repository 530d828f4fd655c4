"""Restarts: the server classes of one host, in order; one that fails stops no other.

Then each certificate is looked at where it is served (`proof`); one that is not proven keeps no
other from being so.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from sslmd.config.model import Argv, Config
from sslmd.core.errors import SslmError
from sslmd.core.jobs import Restart, Told
from sslmd.core.names import CertId
from sslmd.dns.command import with_zones
from sslmd.processes import run_command
from sslmd.workers.deliver import DNS
from sslmd.workers.proof import Errors, Proving
from sslmd.workers.tools import Tools


@dataclass(frozen=True, slots=True)
class ClassRestarted:
    """How the restart of one class on one host went; `error` None: it was restarted.

    `unproven`: the certificates that it does not serve all the same, and what was seen instead.
    """

    kind: str
    host: str
    told: tuple[Told, ...]
    error: Exception | None
    unproven: Errors = field(default_factory=dict)

    def error_of(self, cert: CertId) -> Exception | None:
        """Return why one certificate is not proven to be served."""
        return self.error or self.unproven.get(cert)

    @property
    def errors(self) -> list[Exception]:
        """Everything that failed, once each."""
        found = [self.error, *self.unproven.values()]
        return list(dict.fromkeys(one for one in found if one is not None))


async def restart(job: Restart, tools: Tools) -> list[ClassRestarted]:
    """Do the job; the result has one entry for each class of it, in the same order.

    All commands are run before anything is proven: a proof may take as long as `probe_timeout`.
    """
    proofs = [_proving(kind, told, job, tools) for kind, told in job.told]
    for proof in proofs:
        if proof is not None:
            await proof.look_before()
    errors = [await _restart(kind, told, tools) for kind, told in job.told]
    unproven = await asyncio.gather(
        *(_prove(proof, error) for proof, error in zip(proofs, errors, strict=True))
    )
    return [
        ClassRestarted(kind, job.host, told, error, missing)
        for (kind, told), error, missing in zip(job.told, errors, unproven, strict=True)
    ]


def _proving(kind: str, told: tuple[Told, ...], job: Restart, tools: Tools) -> Proving | None:
    for server_class in tools.config.server_classes:
        if str(server_class.kind) == kind and server_class.probes:
            return Proving(server_class, job.host, told, tools)
    return None


async def _prove(proof: Proving | None, error: Exception | None) -> Errors:
    return {} if proof is None or error is not None else await proof.errors()


async def _restart(kind: str, told: tuple[Told, ...], tools: Tools) -> Exception | None:
    config = tools.config
    try:
        for argv in _commands(config, kind, told):
            await run_command(argv, timeout=config.globals.cmd_timeout, cwd=str(config.top))
    except SslmError as err:
        return err
    return None


def _commands(config: Config, kind: str, told: tuple[Told, ...]) -> tuple[Argv, ...]:
    if kind == DNS:
        zones = sorted({one.cert.group for one in told if one.cert.group != "ca"})
        return tuple(
            with_zones(argv, zones, pass_zones=config.dns.pass_zones) for argv in config.dns.restart
        )
    for server_class in config.server_classes:
        if str(server_class.kind) == kind:
            return server_class.restart
    return ()
