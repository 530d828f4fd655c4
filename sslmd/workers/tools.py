"""What workers are given, each only what it needs: the site, threads, telling, and the like."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ParamSpec, Protocol, TypeVar

from sslmd.acme.accounts import Accounts
from sslmd.acme.orders import Orders
from sslmd.acme.same_names import SameNames
from sslmd.acme.signing import Signer
from sslmd.config.model import Argv, Config, NextKey, ServiceConfig
from sslmd.core.buckets import ANY_FAILED, CaLimit
from sslmd.core.errors import Permanent, Transient, text_of
from sslmd.core.holds import CaHold
from sslmd.core.limits import Issuances
from sslmd.core.names import CertId, SetName, ZoneName
from sslmd.core.reason import Ended, Reason
from sslmd.core.renewal import Wanted
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, FailedValidation, Issuance, OrderMade
from sslmd.core.view import Standing
from sslmd.dns.aims import Learnt
from sslmd.dns.challenges import Challenges
from sslmd.dns.means import Means, keep_place
from sslmd.dns.resolver import Resolver
from sslmd.dns.runs import Runs
from sslmd.net.link import Asker, Nobody
from sslmd.processes import missing_right, run_command
from sslmd.servers.local import Locality
from sslmd.store.layout import Tree
from sslmd.store.scratch import Scratch

P = ParamSpec("P")
T = TypeVar("T")


# Orders that are under way at a time where none takes a place of the pool.
ORDERS = 1000


def _unheard(*_: object) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Site:
    """The configuration, which a reload exchanges whole, the tree, the clock and dice.

    `now` gives aware UTC. `rng` draws spreads and jitter, nothing secret. `scratch` has folders for
    what is temporary. `established`: groups that had certificates in use when the daemon, or a
    reload, found them.
    """

    config: Config
    tree: Tree
    now: Callable[[], datetime]
    rng: random.Random
    scratch: Scratch = field(default_factory=Scratch)
    established: set[str] = field(default_factory=set)

    def draw(self) -> float:
        """Return a set's place in the spread of renewals, uniform from -1 to 1."""
        return self.rng.uniform(-1, 1)

    def service(self, cert: CertId) -> ServiceConfig:
        """Return what the configuration asks of `cert`; raise `Permanent` if it is gone."""
        service = self.config.services.get(cert)
        if service is None:
            raise Permanent(Reason(Ended.NOT_CONFIGURED), about=cert)
        return service

    async def command(self, argv: Argv) -> None:
        """Run a command of the admin's; raises what it failed with, and names a missing right."""
        timeout = self.config.globals.cmd_timeout
        try:
            await run_command(argv, timeout=timeout, cwd=str(self.config.top))
        except (Transient, Permanent) as err:
            if right := missing_right(str(err.reason["said"]), "this machine"):
                raise type(err)(err.reason.also(right)) from err
            raise


@dataclass(slots=True)
class Telling:
    """What others are told meanwhile.

    `tell`: event and line for the journal. A job that takes long reports how far it is by
    `progress`. `count` takes in names that a CA may have failed to validate, `count_issued` a
    certificate that it issued; `ordered` an order that is about to be made, and what it says
    that it replaces.
    """

    tell: Callable[[str, Reason | str, CertId | None], None] = _unheard
    bug: Callable[[str, BaseException], None] = _unheard
    progress: Callable[[CertId, Reason | None], None] = _unheard
    count: Callable[[CertId, tuple[str, ...]], None] = _unheard
    count_issued: Callable[[CertId, Issuance], None] = _unheard
    ordered: Callable[[CertId, OrderMade, str], None] = _unheard


@dataclass(slots=True)
class Standings:
    """What is known of certificates: `state_of` one, and `every` one of them.

    `failed_beside`: validations that failed for others of its account. `held`: what the CA with
    that directory asked to be left alone with, as far as it keeps an order from being sent.
    """

    state_of: Callable[[CertId], CertState]
    every: Callable[[], Iterable[Standing]] = tuple
    failed_beside: Callable[[CertId], tuple[FailedValidation, ...]] = lambda _: ()
    held: Callable[[CertId, str], tuple[Reason, CaHold] | None] = lambda *_: None

    def issuances(self, site: Site) -> Issuances:
        """Return what CAs issued until now for each set of names."""
        return Issuances(self.every(), site.config.acme_server, site.now())


class Threads:
    """Runs what blocks: `jobs` for jobs, `others` for what waits, or must not wait for jobs."""

    def __init__(
        self,
        jobs: ThreadPoolExecutor,
        others: ThreadPoolExecutor | None = None,
        bug: Callable[[str, BaseException], None] = _unheard,
    ) -> None:
        self._jobs = jobs
        self._others = others or jobs
        self._bug = bug
        self._background: set[asyncio.Task[None]] = set()

    async def in_thread(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what blocks or computes long outside the event loop.

        A thread cannot be stopped: when the caller is cancelled, its end is awaited all the
        same, so that a lane is never free while something still works in it.
        """
        return await _run_in(self._jobs, lambda: func(*args, **kwargs))

    async def aside(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what waits for others, or must not wait for jobs, in threads of its own (I9)."""
        return await _run_in(self._others, lambda: func(*args, **kwargs))

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done that nobody waits for and that ends by itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (err := task.exception()):
            self._bug(text_of(err), err)

    async def background_done(self, limit: float) -> None:
        """Wait until nothing is done in the background, at most `limit` seconds."""
        if self._background:
            await asyncio.wait(set(self._background), timeout=limit)


async def _run_in(threads: ThreadPoolExecutor, call: Callable[[], T]) -> T:
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


@dataclass(slots=True)
class Delivering:
    """What deliveries, copies, restarts and proofs need. `runs`: the command of the name servers.

    `locality` knows which names are this machine. `net`: who reads what ports send.
    """

    site: Site
    threads: Threads
    standings: Standings
    telling: Telling
    resolver: Resolver
    locality: Locality
    runs: Runs
    net: Asker = field(default_factory=Nobody)


@dataclass(slots=True)
class Ordering:
    """What orders need. `socket` is where certbot's hooks find the daemon.

    `crowded` tells an order that others wait for its place; `learnt` is what orders that failed
    found out about owners, until they succeed. `net`: who reads what CAs and web servers send;
    `signer` signs for it, with the keys of `accounts`. `resting`: to be held while a lane's job
    needs no place; `under_way`: by each order that has none; `same_names`: by each order.
    """

    site: Site
    threads: Threads
    standings: Standings
    telling: Telling
    resolver: Resolver
    challenges: Challenges
    socket: str = ""
    crowded: Callable[[], bool] = bool  # False
    orders: Orders = field(default_factory=Orders)
    learnt: dict[CertId, Learnt] = field(default_factory=dict)
    resting: Callable[[str], AbstractContextManager[None]] = keep_place
    same_names: SameNames = field(default_factory=SameNames)
    under_way: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ORDERS))
    net: Asker = field(default_factory=Nobody)
    signer: Signer = field(default_factory=Signer)
    accounts: Accounts = field(init=False)

    def __post_init__(self) -> None:
        """Take in the accounts at CAs."""
        self.accounts = Accounts(
            self.site.tree,
            self.net.call,
            self.threads.in_thread,
            self.site.now,
            lambda event, what: self.telling.tell(event, what, None),
            self.signer,
        )


@dataclass(slots=True)
class Publishing:
    """What TLSA records need, from a wish to what name servers show of it."""

    site: Site
    threads: Threads
    standings: Standings
    telling: Telling
    means: Means


class RollGate(Protocol):
    """Who knows what clients check of a certificate's TLSA records."""

    async def may_roll(self, cert: CertId, name: SetName) -> Reason | None:
        """Return what speaks against serving a set, None if nothing does."""

    async def prove_ports(self, cert: CertId, name: SetName) -> None:
        """Raise what ports serve instead of a set."""


def means_of(
    site: Site,
    threads: Threads,
    telling: Telling,
    resolver: Resolver,
    crowded: Callable[[], bool] = bool,
    resting: Callable[[str], AbstractContextManager[None]] = keep_place,
    net: Asker | None = None,
) -> Means:
    """Return what publishing needs."""
    return Means(
        lambda: site.config,
        site.command,
        threads.in_thread,
        resolver,
        crowded,
        established=lambda zone: zone.text in site.established,
        resting=resting,
        tell=lambda event, text: telling.tell(event, text, None),
        net=net or Nobody(),
    )


def ordering_of(
    site: Site,
    threads: Threads,
    standings: Standings,
    telling: Telling,
    means: Means,
    socket: str = "",
    touch: Callable[[ZoneName], None] = _unheard,
    signer: Signer | None = None,
) -> Ordering:
    """Return what orders need. `touch` is told of zones whose challenges changed."""
    challenges = Challenges(
        means,
        lambda event, text: telling.tell(event, text, None),
        lambda text, err: telling.bug(text, err),
        touch,
    )
    return Ordering(
        site,
        threads,
        standings,
        telling,
        means.resolver,
        challenges,
        socket,
        means.crowded,
        resting=means.resting,
        net=means.net,
        signer=signer or Signer(),
    )


def wanted_of(
    service: ServiceConfig, config: Config, known: frozenset[str] = frozenset()
) -> Wanted:
    """Return what a decision has to know of a service's configuration.

    `known`: names that are kept anyhow, and that it may have in the place of others like them.
    """
    names = frozenset(str(name) for name in service.spec.all_names())
    cert, signer = service.id, service.spec.signer
    ca = config.cas.get(signer.name) if isinstance(signer, AcmeCa) else None
    return Wanted(
        spec=service.spec,
        timing=service.timing,
        names=known if known == names else names,
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
        failed_rate=ca.kept.get(CaLimit.FAILED) if ca is not None else ANY_FAILED,
    )
