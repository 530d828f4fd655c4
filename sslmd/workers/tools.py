"""What a worker is given: the configuration, the tree, the clock, dice, and threads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from sslmd.acme.orders import Orders
from sslmd.config.model import Argv, Config, NextKey, ServiceConfig
from sslmd.core.errors import Permanent, Transient
from sslmd.core.issuances import Issuances
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Reason
from sslmd.core.renewal import Wanted
from sslmd.core.standing import Standing
from sslmd.core.state import CertState, Issuance
from sslmd.dns.aims import Learnt
from sslmd.dns.challenges import Challenges
from sslmd.dns.publish import Means
from sslmd.dns.resolver import Resolver
from sslmd.processes import run_command
from sslmd.servers.local import Locality
from sslmd.servers.rights import missing_right
from sslmd.store.layout import Tree
from sslmd.store.scratch import Scratch

P = ParamSpec("P")
T = TypeVar("T")


# Names of hosts that are looked up at a time.
LOOKUPS = 16


def _unheard(*_: object) -> None:
    """Nobody listens."""


async def _nothing_against(*_: object) -> Reason | None:
    return None


async def _all_well(*_: object) -> None:
    """Nobody looks."""


@dataclass(slots=True)
class Tools:
    """Shared by all workers. `config` is exchanged whole by a reload.

    `now` gives aware UTC. `rng` draws spreads and jitter, nothing secret. `state_of` tells how
    a certificate stands, `every` knows them all. `socket` is where certbot's hooks find the
    daemon, `scratch` has folders for what is temporary. A job that takes long tells how far it is
    by `progress`; `count` takes in names that a CA may have failed to
    validate, `count_issued` a certificate that it issued; `crowded` tells an order that others
    wait for its place; `may_roll` tells what speaks against serving a set; `prove_ports` raises
    what ports serve instead of it.
    """

    config: Config
    tree: Tree
    now: Callable[[], datetime]
    rng: random.Random
    threads: ThreadPoolExecutor
    state_of: Callable[[CertId], CertState]
    every: Callable[[], Iterable[Standing]] = tuple
    others: ThreadPoolExecutor | None = None
    socket: str = ""
    scratch: Scratch = field(default_factory=Scratch)
    tell: Callable[[str, str, CertId | None], None] = _unheard
    bug: Callable[[str, BaseException], None] = _unheard
    progress: Callable[[CertId, str], None] = _unheard
    count: Callable[[CertId, tuple[str, ...]], None] = _unheard
    count_issued: Callable[[CertId, Issuance], None] = _unheard
    crowded: Callable[[], bool] = bool  # False
    orders: Orders = field(default_factory=Orders)
    resolver: Resolver = field(default_factory=Resolver)
    may_roll: Callable[[CertId, SetName], Awaitable[Reason | None]] = _nothing_against
    prove_ports: Callable[[CertId, SetName], Awaitable[None]] = _all_well
    means: Means = field(init=False)
    challenges: Challenges = field(init=False)
    locality: Locality = field(init=False)
    # What orders that failed found out about owners, until they succeed.
    learnt: dict[CertId, Learnt] = field(default_factory=dict)
    # Groups that had certificates in use when the daemon, or a reload, found them.
    established: set[str] = field(default_factory=set)
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Give the zones what they work with."""
        self.means = Means(
            lambda: self.config,
            self._command,
            self.in_thread,
            self.resolver,
            lambda: self.crowded(),
            established=lambda zone: zone.text in self.established,
            tell=lambda event, text: self.tell(event, text, None),
        )
        # Name servers that are silent hold up nobody but those who ask for names.
        lookups = ThreadPoolExecutor(LOOKUPS, "sslmd-lookups")
        self.locality = Locality(lambda call: self._run_in(lookups, call))
        self.challenges = Challenges(
            self.means, lambda event, text: self.tell(event, text, None), self.bug
        )

    async def _command(self, argv: Argv) -> None:
        timeout = self.config.globals.cmd_timeout
        try:
            await run_command(argv, timeout=timeout, cwd=str(self.config.top))
        except (Transient, Permanent) as err:
            if remedy := missing_right(str(err), "this machine"):
                raise type(err)(f"{err}{remedy}") from err
            raise

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done that nobody waits for and that ends by itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (err := task.exception()):
            self.bug(f"an error of sslmd's own: {err!r}", err)

    async def background_done(self, limit: float) -> None:
        """Wait until nothing is done in the background, at most `limit` seconds."""
        if self._background:
            await asyncio.wait(set(self._background), timeout=limit)

    def issuances(self) -> Issuances:
        """Return what CAs issued until now for each set of names."""
        return Issuances(self.every(), self.config.acme_server, self.now())

    def draw(self) -> float:
        """Return a set's place in the spread of renewals, uniform from -1 to 1."""
        return self.rng.uniform(-1, 1)

    def service(self, cert: CertId) -> ServiceConfig:
        """Return what the configuration asks of `cert`; raise `Permanent` if it is gone."""
        service = self.config.services.get(cert)
        if service is None:
            raise Permanent(f"{cert} is not in the configuration any more")
        return service

    async def in_thread(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what blocks or computes long outside the event loop.

        A thread cannot be stopped: when the caller is cancelled, its end is awaited all the
        same, so that a lane is never free while something still works in it.
        """
        return await self._run_in(self.threads, lambda: func(*args, **kwargs))

    async def aside(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what waits for others, or must not wait for jobs, in threads of its own (I9)."""
        return await self._run_in(self.others or self.threads, lambda: func(*args, **kwargs))

    async def _run_in(self, threads: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(threads, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                with suppress(asyncio.CancelledError):  # asked to stop once more
                    await asyncio.wait({future})
            if not future.cancelled():
                future.exception()  # nobody waits for it any more
            raise


def wanted_of(service: ServiceConfig, config: Config) -> Wanted:
    """Return what the planner has to know of a service's configuration."""
    cert = service.id
    return Wanted(
        spec=service.spec,
        timing=service.timing,
        names=frozenset(str(name) for name in service.spec.all_names()),
        fingerprint=service.fingerprint,
        dane=bool(service.dane),
        next_ahead=bool(service.dane) and service.dane_next_key is NextKey.AT_ROLL,
        managed=service.managed,
        roll_windows=config.roll_windows(cert),
        restart_windows=tuple(
            windows
            for one in config.users_of(cert)
            if (windows := config.restart_windows(one.kind, cert))
        ),
    )
