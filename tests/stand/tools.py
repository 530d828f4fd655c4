"""A small site on disk, and the tools of the workers for it, as the daemon makes them."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sslmd.config.load import load
from sslmd.config.model import class_order
from sslmd.core.errors import Permanent
from sslmd.core.events import Event, ServerTold
from sslmd.core.jobs import Certify, CertJob, Deliver, MakeKey, Roll
from sslmd.core.names import CertId, SetName, ZoneName
from sslmd.core.plan import decide
from sslmd.core.reason import Reason
from sslmd.core.state import CertState, ServerPhase
from sslmd.daemon.loop import Loop
from sslmd.daemon.registry import Registry, Taken, entry_of
from sslmd.dns.resolver import Resolver
from sslmd.net.inside import Inside
from sslmd.servers.local import Locality
from sslmd.store import certs
from sslmd.store.layout import Tree
from sslmd.workers import tools
from sslmd.workers.dispatch import work
from sslmd.workers.restart import restart
from tests.reasons import because
from tests.stand.asking import ASKER
from tests.stand.hosts_decided import restarts

R = TypeVar("R")

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
ROOT = CertId("ca", "my-root")
INT = CertId("ca", "my-int")
WEB = CertId("example.com", "web")

_FILES = {
    "ca-info.conf": """\
[my-root]
    ca_type = 'self'

[my-int]
    ca_type = 'local'
""",
    "ca/my-root": """\
name = 'Root'
group = 'ca'
service = 'my-root'
signing_ca = 'self'

[KeyOpts]
    ktype = 'ec'
    ec_algo = 'secp256r1'

[X509]
    CN = 'Root'
""",
    "ca/my-int": """\
name = 'Intermediate'
group = 'ca'
service = 'my-int'
signing_ca = 'my-root'

[KeyOpts]
    ktype = 'ec'
    ec_algo = 'secp256r1'

[X509]
    CN = 'Intermediate'

[CA]
    sign_end_days = 90
""",
    "example.com/web": """\
name = 'Web'
group = 'example.com'
service = 'web'
signing_ca = 'my-int'

[KeyOpts]
    ktype = 'ec'
    ec_algo = 'secp256r1'

[X509]
    CN = 'example.com'
    sans = ['example.com', 'www.example.com']
""",
}
GROUPS = """
[[groups]]
    active = true
    domain = 'ca'
    services = ['my-root', 'my-int']

[[groups]]
    active = true
    domain = 'example.com'
    services = ['ALL']
"""
GLOBALS = "[globals]\n    clean_keep = 2\n"
MAIN = GLOBALS + GROUPS


class Inline(ThreadPoolExecutor):
    """An executor that has no threads: for what has to be stopped at a certain call."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as err:
            future.set_exception(err)
        return future


class Open:
    """No port has TLSA records: nothing speaks against a roll."""

    async def may_roll(self, _cert: CertId, _name: SetName) -> Reason | None:
        """Say nothing against it."""
        return None

    async def prove_ports(self, _cert: CertId, _name: SetName) -> None:
        """Find nothing wrong."""


def believe(registry: Registry, cert: CertId, **known: Any) -> None:
    """Have other things be known of a certificate: fields of `Entry`."""
    registry.put(cert, Taken(replace(registry[cert], **known)))


def believe_zone(registry: Registry, name: ZoneName, **known: Any) -> None:
    """Have other things be known of a zone: fields of `KnownZone`."""
    registry.zones._entries[name] = replace(registry.zones[name], **known)


class StillLoop(Loop):
    """Asks for nothing: `touched` is what it would have asked for."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now, 1, lambda _: "", lambda _: None, lambda *_: None)
        self.touched: list[tuple[str, object]] = []

    def touch(self, name: str, ident: object = "") -> None:
        self.touched.append((name, ident))


class Tools:
    """All that workers take, as the hub makes it."""

    def __init__(
        self,
        site: tools.Site,
        threads: tools.Threads,
        standings: tools.Standings,
        telling: tools.Telling,
    ) -> None:
        self.site, self.threads, self.standings, self.telling = site, threads, standings, telling
        self.resolver, self.locality = Resolver(ASKER), Locality(Inside())
        self.means = tools.means_of(site, threads, telling, self.resolver, net=Inside())
        self.ordering = tools.ordering_of(site, threads, standings, telling, self.means)
        self.publishing = tools.Publishing(site, threads, standings, telling, self.means)
        self.delivering = tools.Delivering(
            *(site, threads, standings, telling),
            *(self.resolver, self.locality, self.means.runs, self.means.net),
        )


class Site:
    """A top directory with a configuration; the tree is read again by every new `Site`."""

    def __init__(
        self,
        top: Path,
        main: str = MAIN,
        *,
        now: datetime = NOW,
        files: dict[str, str] | None = None,
        threads: ThreadPoolExecutor | None = None,
    ) -> None:
        self.top = top
        if not (top / "conf.d").exists():
            for name, text in {**_FILES, "ssl-mgr.conf": main, **(files or {})}.items():
                self.write(name, text)
        self.now = now
        self.remarks: list[Reason] = []
        self.gate: tools.RollGate = Open()
        config = load(top / "conf.d")
        self.tree = Tree(str(config.globals.certs_dir))
        self.prod = config.globals.prod_cert_dir
        self.tools = Tools(
            tools.Site(config, self.tree, lambda: self.now, random.Random(7)),
            tools.Threads(threads or Inline()),
            tools.Standings(self.state),
            tools.Telling(),
        )
        self.registry = Registry()
        self.load()

    def write(self, name: str, text: str) -> None:
        """Write a file of the configuration."""
        path = self.top / "conf.d" / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text)

    def reload(self) -> None:
        """Take over a changed configuration."""
        self.tools.site.config = load(self.top / "conf.d")
        self.load()

    def load(self) -> None:
        """Read every certificate from disk."""
        for cert in self.tools.site.config.services:
            self.take(cert, self.read(cert))
        self.registry.relate()

    def read(self, cert: CertId) -> certs.Loaded:
        """Read one certificate as a daemon that starts does."""
        return certs.load(self.tree, cert, draw=self.tools.site.draw, now=self.now)

    def take(self, cert: CertId, one: certs.Loaded) -> None:
        """Believe what was read."""
        config = self.tools.site.config
        entry = entry_of(config, config.services[cert], one.state, one.hold)
        self.registry.put(cert, Taken(entry))
        self.remarks += one.remarks

    def state(self, cert: CertId) -> CertState:
        """Return how a certificate stands."""
        return self.registry[cert].state

    def apply(self, cert: CertId, event: Event) -> None:
        """Take in an event."""
        self.registry.put(cert, event)

    def save(self, cert: CertId) -> None:
        """Write its state.toml."""
        certs.save(self.tree, cert, self.state(cert), times={}, entries=[])

    # --- jobs ---

    async def work(self, job: CertJob) -> Event:
        """Do a job."""
        return await work(job, self.tools.ordering, self.tools.delivering, self.gate)

    async def do(self, job: CertJob) -> Event:
        """Do a job, and take in what happened."""
        event = await self.work(job)
        self.apply(job.cert, event)
        return event

    async def make_key(self, cert: CertId = WEB, *, reuse: bool = False) -> SetName:
        """Put a new set on deck; a CA that is in use keeps its key."""
        known = cert.group == "ca" and (self.place(cert) / "curr").is_symlink()
        await self.do(MakeKey(cert, because("test"), reuse or known))
        return self.on_deck(cert)

    async def certify(self, cert: CertId = WEB) -> SetName:
        """Have what is on deck signed."""
        await self.do(Certify(cert, self.on_deck(cert), because("test")))
        return self.on_deck(cert)

    async def roll(self, cert: CertId = WEB) -> SetName:
        """Roll what is on deck."""
        await self.do(Roll(cert, self.on_deck(cert), because("test")))
        return self.live(cert)

    async def renew(self, cert: CertId = WEB) -> SetName:
        """Make a set and roll it; return it."""
        await self.make_key(cert)
        await self.certify(cert)
        return await self.roll(cert)

    async def deliver(self, cert: CertId = WEB) -> None:
        """Bring production up to date."""
        state = self.state(cert)
        on_deck = state.next.name if state.next and state.next.complete else None
        await self.do(Deliver(cert, self.live(cert), on_deck, because("test"), state.adopted))

    async def with_cas(self) -> Site:
        """Make the CAs; return itself."""
        for ca in (ROOT, INT):
            await self.renew(ca)
            self.save(ca)
        return self

    def on_deck(self, cert: CertId = WEB) -> SetName:
        """Return the set on deck."""
        facts = self.state(cert).next
        assert facts is not None
        return facts.name

    def live(self, cert: CertId = WEB) -> SetName:
        """Return the set in use."""
        facts = self.state(cert).curr
        assert facts is not None
        return facts.name

    async def rest(self, *which: CertId) -> None:
        """Do what the plan says until there is nothing more to do; on-deck sets are waited for."""
        for _ in range(100):
            busy = False
            for cert in which or tuple(self.registry):
                busy |= await self._step(cert)
            order = class_order(self.tools.site.config)
            states = [(cert, self.state(cert)) for cert in self.registry]
            for job in restarts(states, order, self.now):
                busy = True
                await self._restart(cert_job=job)
            if not busy:
                return
        raise AssertionError("it never comes to rest")

    async def _step(self, cert: CertId) -> bool:
        decision = decide(self.registry.view(cert), self.now)
        event = decision.advertised or decision.event
        if event is not None:
            self.apply(cert, event)
        elif decision.job is not None:
            await self.do(decision.job)
        elif self.state(cert).next is not None and decision.roll_at:
            assert decision.roll_at > self.now
            self.now = decision.roll_at
        else:
            return False
        self.save(cert)
        return True

    async def _restart(self, cert_job: Any) -> None:
        for outcome in await restart(cert_job, self.tools.delivering):
            for error in outcome.errors:
                raise error
            for told in outcome.told:
                for server in self.state(told.cert).servers:
                    if (server.kind, server.host) == (outcome.kind, outcome.host):
                        proven = type(server)(
                            server.kind, server.host, ServerPhase.PROVEN, told.set
                        )
                        self.apply(told.cert, ServerTold(self.now, proven))
                self.save(told.cert)

    def later(self, **delta: float) -> None:
        """Let time pass."""
        self.now += timedelta(**delta)

    # --- looking ---

    def folder(self, name: SetName, cert: CertId = WEB) -> Path:
        """Return the folder of a set."""
        return Path(self.tree.set_dir(cert, name))

    def place(self, cert: CertId = WEB) -> Path:
        """Return the folder of a certificate in the working tree."""
        return Path(self.tree.cert_dir(cert))

    def in_prod(self, cert: CertId = WEB) -> Path:
        """Return its folder in production."""
        return self.prod / cert.group / cert.service


def leftovers(top: Path) -> list[str]:
    """Return all temporary files below a folder."""
    return sorted(str(path) for path in top.rglob(".*.new"))


def refused(err: BaseException) -> str:
    """Return what a `Permanent` says."""
    assert isinstance(err, Permanent)
    return str(err)
