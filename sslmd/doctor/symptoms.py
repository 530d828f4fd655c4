"""What `sslmctl doctor` finds, and how a look that fails itself becomes a finding."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from sslmd.config.model import CaInfo, Config, ServiceConfig
from sslmd.console.text import count
from sslmd.core.errors import SslmError
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.core.spec import AcmeCa
from sslmd.core.words.doctor import Diagnosis
from sslmd.core.words.pattern import tell
from sslmd.core.words.sentence import say
from sslmd.dns.ask import DnsAsker
from sslmd.dns.nameservers import NameServers, name_servers
from sslmd.dns.resolver import Resolver
from sslmd.net.inside import Inside
from sslmd.net.link import Asker
from sslmd.processes import start

Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds for a program that only says how things are.
PROGRAM = 15.0

# Names, servers or hosts of one kind that are looked at at the same time.
AT_ONCE = 32

# Seconds for what a look does beside its items, when the time for all is over.
_SLACK = 5.0

# Programs that only root has on PATH.
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class Grade(StrEnum):
    """How it is. Only what is wrong makes the exit status 1."""

    WELL = "ok"
    UNSEEN = "unseen"
    ODD = "odd"
    WRONG = "wrong"


@dataclass(frozen=True)
class Symptom:
    """One thing that was looked at. `text` has the way out, where there is one to go.

    `paste`: lines for a configuration of somebody else's, shown below the text.
    """

    where: str
    level: Grade
    text: str
    paste: tuple[str, ...] = ()

    def of(self, what: str) -> Symptom:
        """Return it as found of something that is named."""
        return replace(self, text=tell(Diagnosis.ABOUT, what=what, why=self.text))


def _of(level: Grade, where: str, what: Diagnosis | Reason | str, facts: dict[str, Any]) -> Symptom:
    paste = facts.pop("paste", ())
    if isinstance(what, Reason):
        what = say(what)
    text = tell(what, **facts) if isinstance(what, Diagnosis) else what
    return Symptom(where, level, text, tuple(paste))


def well(where: str, what: Diagnosis | Reason | str, /, **facts: Any) -> Symptom:
    """Return a finding of something that is as it should be."""
    return _of(Grade.WELL, where, what, facts)


def odd(where: str, what: Diagnosis | Reason | str, /, **facts: Any) -> Symptom:
    """Return one that may be meant, and may go wrong. A text is somebody's who made it before."""
    return _of(Grade.ODD, where, what, facts)


def wrong(where: str, what: Diagnosis | Reason | str, /, **facts: Any) -> Symptom:
    """Return one that has to be corrected."""
    return _of(Grade.WRONG, where, what, facts)


def unseen(where: str, what: Diagnosis | Reason | str, /, **facts: Any) -> Symptom:
    """Return one that could not be looked at, and why."""
    return _of(Grade.UNSEEN, where, what, facts)


def alike(found: Iterable[tuple[Item, Result]]) -> dict[Result, list[Item]]:
    """Return items by what was found of them; those of which nothing was are left out."""
    items: dict[Result, list[Item]] = {}
    for item, one in found:
        if one:
            items.setdefault(one, []).append(item)
    return items


def acme_ca(config: Config, service: ServiceConfig) -> CaInfo | None:
    """Return the ACME CA that signs a service, None if another one does."""
    signer = service.spec.signer
    return config.cas[signer.name] if isinstance(signer, AcmeCa) else None


class TimeBox:
    """Bounds all looks in time, and knows how far they are.

    `seconds` for all of them together.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = asyncio.get_running_loop().time() + seconds
        self._counts: dict[str, tuple[int, int]] = {}

    @property
    def progress(self) -> str:
        """What is not finished yet: "DNS 12 of 300, ssh 3 of 5"; "" for nothing."""
        left = ((where, done, all_) for where, (done, all_) in self._counts.items() if done < all_)
        return ", ".join(f"{where} {done} of {all_}" for where, done, all_ in left)

    async def each(
        self,
        where: str,
        items: Iterable[Item],
        look: Callable[[Item], Awaitable[Result]],
        noun: str,
        at_once: int = AT_ONCE,
    ) -> tuple[list[tuple[Item, Result]], list[Symptom]]:
        """Look at each item, `at_once` at a time.

        Return what was found of those done in time, and how many (`noun`) were not, if any.
        """
        items = list(items)
        turn = asyncio.Semaphore(at_once)
        ended, all_ = self._counts.get(where, (0, 0))
        self._counts[where] = ended, all_ + len(items)

        async def one(item: Item) -> Result | None:
            try:
                async with asyncio.timeout_at(self.until):
                    async with turn:
                        return await look(item)
            except TimeoutError:
                if asyncio.get_running_loop().time() < self.until:
                    raise
                return None
            finally:
                ended, all_ = self._counts[where]
                self._counts[where] = ended + 1, all_

        looked = zip(items, await asyncio.gather(*map(one, items)), strict=True)
        done = [(item, found) for item, found in looked if found is not None]
        missed = len(items) - len(done)
        if not missed:
            return done, []
        facts = {"what": count(missed, noun), "seconds": f"{self.seconds:g}"}
        return done, [unseen(where, Diagnosis.LATE, **facts)]

    async def findings(
        self,
        where: str,
        items: Iterable[Item],
        look: Callable[[Item], Symptoms],
        noun: str,
        at_once: int = AT_ONCE,
        fine: Diagnosis | None = None,
    ) -> AsyncIterator[Symptom]:
        """Yield what a look at each item finds, and how many (`noun`) were not done in time.

        `fine`: what there is to say of those of which nothing was found.
        """

        async def one(item: Item) -> list[Symptom]:
            return [finding async for finding in look(item)]

        done, late = await self.each(where, items, one, noun, at_once)
        for finding in (*(each for _, found in done for each in found), *late):
            yield finding
        if fine and (good := sum(not found for _, found in done)):
            yield well(where, fine, what=count(good, noun))


@dataclass(frozen=True)
class Checkup:
    """What all looks share. `uid`: the user of the daemon."""

    config: Config
    watch: TimeBox
    uid: int
    resolver: Resolver = field(default_factory=lambda: Resolver(DnsAsker(Inside())))
    net: Asker = field(default_factory=Inside)
    _servers: dict[ZoneName, asyncio.Task[NameServers]] = field(default_factory=dict)

    def stranger(self, where: str) -> Symptom | None:
        """Return why we cannot look as the daemon would; None if we can."""
        if os.geteuid() == self.uid:
            return None
        return unseen(where, Diagnosis.OTHER_USER, ours=os.geteuid(), its=self.uid)

    async def servers(self, zone: ZoneName) -> NameServers:
        """Return the name servers of a zone of ours, looked up once; raises as that does."""
        if zone not in self._servers:
            looking = name_servers(zone, self.config.primary_for(zone), self.resolver)
            self._servers[zone] = asyncio.ensure_future(looking)
        return await asyncio.shield(self._servers[zone])


Symptoms = AsyncIterator[Symptom]


async def all_of(where: str, look: Symptoms, watch: TimeBox) -> list[Symptom]:
    """Return what a look finds; one that fails itself is a finding, and ends no other."""
    found = []
    try:
        async with asyncio.timeout_at(watch.until + _SLACK):
            async for finding in look:
                found.append(finding)  # noqa: PERF401 - what was found before a failure stays
    except TimeoutError:
        found.append(unseen(where, Diagnosis.LATE_ITSELF, seconds=f"{watch.seconds:g}"))
    except OSError as err:
        what = f"{err.filename}: {err.strerror}" if err.filename else str(err)
        found.append(unseen(where, Diagnosis.CLOSED, why=what))
    except (SslmError, ValueError) as err:
        found.append(unseen(where, Diagnosis.FAILED, why=err))
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
        program = await start([path, *argv[1:]], cwd="/")
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
