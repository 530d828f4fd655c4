"""Restarting the server classes of one host, in order; one that fails stops no other."""

from __future__ import annotations

from dataclasses import dataclass

from sslmd.config.model import Argv, Config
from sslmd.core.errors import SslmError
from sslmd.core.jobs import Restart, Told
from sslmd.dns.command import with_zones
from sslmd.processes import run_command
from sslmd.workers.deliver import DNS
from sslmd.workers.tools import Tools


@dataclass(frozen=True, slots=True)
class ClassRestarted:
    """How the restart of one class on one host went; `error` None: it was restarted."""

    kind: str
    host: str
    told: tuple[Told, ...]
    error: Exception | None


async def restart(job: Restart, tools: Tools) -> list[ClassRestarted]:
    """Do the job; the result has one entry for each class of it, in the same order."""
    return [await _restart(kind, told, job, tools) for kind, told in job.told]


async def _restart(kind: str, told: tuple[Told, ...], job: Restart, tools: Tools) -> ClassRestarted:
    config = tools.config
    try:
        for argv in _commands(config, kind, told):
            await run_command(argv, timeout=config.globals.cmd_timeout, cwd=str(config.top))
    except SslmError as err:
        return ClassRestarted(kind, job.host, told, err)
    return ClassRestarted(kind, job.host, told, None)


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
