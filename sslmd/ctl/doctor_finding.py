"""What `sslmctl doctor` finds, and how a look that fails itself becomes a finding."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sslmd.config.model import CaInfo, Config, ServiceConfig
from sslmd.core.errors import SslmError
from sslmd.core.spec import AcmeCa
from sslmd.processes import start

# Seconds for a program that tells how things are.
PROGRAM = 15.0
# Programs that only root has on PATH.
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class Level(StrEnum):
    """How it is. Only what is wrong makes the exit status 1."""

    WELL = "ok"
    UNSEEN = "unseen"
    ODD = "odd"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `text` has the way out, where there is one to go."""

    where: str
    level: Level
    text: str


def well(where: str, text: str) -> Finding:
    """Return a finding of something that is as it should be."""
    return Finding(where, Level.WELL, text)


def odd(where: str, text: str) -> Finding:
    """Return one that may be meant, and may go wrong."""
    return Finding(where, Level.ODD, text)


def wrong(where: str, text: str) -> Finding:
    """Return one that has to be mended."""
    return Finding(where, Level.WRONG, text)


def unseen(where: str, text: str) -> Finding:
    """Return one that could not be looked at, and why."""
    return Finding(where, Level.UNSEEN, text)


def acme_ca(config: Config, service: ServiceConfig) -> CaInfo | None:
    """Return the ACME CA that signs a service, None if another one does."""
    signer = service.spec.signer
    return config.cas[signer.name] if isinstance(signer, AcmeCa) else None


Look = AsyncIterator[Finding]


async def all_of(where: str, look: Look) -> list[Finding]:
    """Return what a look finds; one that fails itself is a finding, and ends no other."""
    found = []
    try:
        async for finding in look:
            found.append(finding)  # noqa: PERF401 - what was found before a failure stays
    except OSError as err:
        what = f"{err.filename}: {err.strerror}" if err.filename else str(err)
        found.append(unseen(where, f"this cannot be looked at: {what}; run it as root"))
    except (SslmError, ValueError) as err:
        found.append(unseen(where, f"this cannot be looked at: {err}"))
    return found


def which(program: str) -> str | None:
    """Return where a program is, also of those that only root has on PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")


async def output_of(argv: Sequence[str]) -> tuple[int, str]:
    """Run a program that only tells something; return its status and the end of what it said.

    Status 127: it cannot be started; 124: it took longer than `PROGRAM`, and was ended with all
    that it started.
    """
    path = which(argv[0])
    if path is None:
        return 127, "it is not there"
    try:
        program = await start([path, *argv[1:]], cwd="/", remedy="install it again")
    except SslmError as err:
        return 127, str(err)
    try:
        async with asyncio.timeout(PROGRAM):
            status = await program.wait()
        await program.rest_of_output()
    except TimeoutError:
        return 124, f"it took longer than {PROGRAM:g} s"
    finally:
        await program.end()
    return status, program.text.strip()
