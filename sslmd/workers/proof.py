"""Proof after a restart: each certificate of a class is looked at on its host, as a client would.

A server that was told to restart may still serve what it had (I4: until it is seen serving the new
set, the records of the old key stay).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sslmd.config.model import Config, Probe, ServerClass, Unprobed
from sslmd.core.errors import SslmError, reason_of, several, together
from sslmd.core.jobs import Told
from sslmd.core.names import BadName, CertId, DomainName, covers, machine_of, parse_san
from sslmd.core.reason import Reason
from sslmd.core.seen import AtPort
from sslmd.core.spec import CertFacts
from sslmd.core.state import Unseen
from sslmd.dns.resolver import Resolver
from sslmd.net.probe_messages import Served
from sslmd.pki.chain import only_cert
from sslmd.pki.inspect import cert_facts
from sslmd.servers.local import LOOPBACK, Locality, is_loopback
from sslmd.servers.probe import (
    BELIEVED,
    Expected,
    ProbedHost,
    is_blind,
    missing_at,
    no_other,
    prove,
    served_at,
    told_of,
)
from sslmd.servers.ssh import address_of
from sslmd.store import files, sets
from sslmd.store.layout import CERT, CURR, Tree
from sslmd.workers.tools import Delivering, Site, Standings

# Looks of one class at a time.
AT_A_TIME = 8

# Seconds for all looks before a restart, which are no reason to hold it up. A port that did not
# answer by then does not count.
BEFORE = 30.0

# What stands for the star of a certificate that has no other name (RFC 6125 §6.4.3: any label).
_UNDER_A_STAR = "sslmd"

# Certificates by their serial number, which no CA gives twice (RFC 5280 §4.1.2.2).
Known = Mapping[str, tuple[CertId, CertFacts]]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A certificate that has to show, as it is in the tree."""

    cert: CertId
    leaf: bytes
    facts: CertFacts

    def is_for(self, probe: Probe) -> bool:
        """Whether the certificate can show there: a probe may name a host of another one."""
        return not probe.name or covers(self.facts.names, probe.name)

    def asked_with(self, probe: Probe) -> str:
        """Return the name that is sent as SNI."""
        return probe.name or name_of(self.facts.names)


def name_of(names: Iterable[str]) -> str:
    """Return a name that a client could ask for and get this certificate; "" if it has none."""
    below = ""
    for text in names:
        try:
            name = parse_san(text)
        except BadName:
            continue
        if isinstance(name, DomainName):
            if not name.is_wildcard:
                return name.text
            below = below or f"{_UNDER_A_STAR}{name.text.removeprefix('*')}"
    return below


def current(site: Site, standings: Standings) -> Known:
    """Return the certificates that are in use."""
    states = ((cert, standings.state_of(cert).curr) for cert in site.config.services)
    return {
        curr.cert.serial: (cert, curr.cert)
        for cert, curr in states
        if curr is not None and curr.cert is not None
    }


def whose_is(facts: CertFacts | None, known: Known) -> CertId | None:
    """Return whose certificate it is, by what it says; None: nobody's of those."""
    if facts is None or facts.serial not in known:
        return None
    cert, its = known[facts.serial]
    return cert if its == facts else None


async def place_of(host: str, resolver: Resolver, locality: Locality) -> ProbedHost:
    """Return a host of a server class with its addresses; raises `Transient`.

    A name that only ssh knows is looked up as ssh does.
    """
    bare = machine_of(host)
    if is_loopback(bare):
        return ProbedHost(host, LOOPBACK, own=True)
    own = bool(await locality.is_local(bare))
    problem: SslmError | None = None
    try:
        if addresses := await resolver.addresses(bare):
            return ProbedHost(host, addresses, own)
    except SslmError as err:
        problem = err
    real = bare if own else await address_of(host)
    if real.lower() == bare.lower():
        if problem is not None:
            raise problem
        return ProbedHost(host, (), own)
    return ProbedHost(host, await resolver.addresses(real), own=False)


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of one certificate at the ports of a class.

    `error`: a port that counts serves something else. `unseen`: no port that counts, and why
    nobody saw it at another. Neither: it is served. `ports`: the default ports that count from now
    on.
    """

    error: Exception | None = None
    unseen: Unseen | None = None
    ports: tuple[int, ...] = ()

    @property
    def why_unseen(self) -> Unseen | None:
        """Why nobody saw it using its set; None: it was seen."""
        return self.unseen if self.error is None else Unseen.at(reason_of(self.error))


def rule_of(config: Config, kind: str, cert: CertId) -> Unseen | None:
    """Return why nobody looks at a certificate on servers of a class; None: its ports are."""
    found = next((one for one in config.server_classes if one.kind == kind), None)
    if found is None:
        return Unseen(Reason(AtPort.OF_NAME_SERVER), meant=True)
    if not found.receives(cert):
        return Unseen(Reason(AtPort.ONLY_DEPENDS), meant=True)
    service = config.services.get(cert)
    if service is not None and service.spec.ca is not None:
        return Unseen(Reason(AtPort.OF_CA), meant=True)
    if found.unprobed is Unprobed.NONE:
        return Unseen(Reason(AtPort.PROBE_NONE), meant=True)
    if found.unprobed is Unprobed.FALSE:
        return Unseen(Reason(AtPort.PROBE_FALSE))
    if not found.probes:
        return Unseen(Reason(AtPort.NO_PROBE))
    names = [str(name) for name in service.spec.all_names()] if service is not None else []
    if not any(not one.name or covers(names, one.name) for one in found.probes):
        return Unseen(Reason(AtPort.NO_PROBE_FOR_IT))
    return None


class Proving:
    """The proof of one class on one host: `look_before` the restart, `sights` after it."""

    def __init__(
        self,
        server_class: ServerClass,
        host: str,
        told: Sequence[Told],
        delivering: Delivering,
        *,
        patience: float = math.inf,
    ) -> None:
        """`patience`: seconds that a port may take to serve it, if `probe_timeout` is longer."""
        self._seconds = min(server_class.probe_timeout.total_seconds(), patience)
        self._class = server_class
        self._host = host
        self._told = told
        self._delivering = delivering
        self._turn = asyncio.Semaphore(AT_A_TIME)
        # Default ports that count.
        self._ports = {one.cert: self._noted_ports(one.cert) for one in told}
        self._ours: Known | None = None
        # Default ports where nobody listens, and what is said of them.
        self._silent: dict[int, Reason] = {}

    def _noted_ports(self, cert: CertId) -> set[int]:
        place = (str(self._class.kind), self._host)
        servers = self._delivering.standings.state_of(cert).servers
        return {port for one in servers if (one.kind, one.host) == place for port in one.ports}

    def _rule(self, cert: CertId) -> Unseen | None:
        return rule_of(self._delivering.site.config, str(self._class.kind), cert)

    async def look_before(self) -> None:
        """See which of the default ports serve a certificate of the same service: they count."""
        asked = [
            one
            for one in self._told
            if self._rule(one.cert) is None and any(self._optional(one.cert))
        ]
        if not asked:
            return
        wanted = [one for one in await self._read(asked) if isinstance(one, _Wanted)]
        with suppress(SslmError, TimeoutError):
            async with asyncio.timeout(BEFORE):
                place = await place_of(
                    self._host, self._delivering.resolver, self._delivering.locality
                )
                older = await self._older([one.cert for one in wanted])
                for probe in self._class.probes:
                    if probe.optional:
                        await self._look_before(place, probe, wanted, older)

    async def _look_before(
        self,
        place: ProbedHost,
        probe: Probe,
        wanted: Sequence[_Wanted],
        older: Mapping[CertId, Collection[bytes]],
    ) -> None:
        wanted = [one for one in wanted if probe.port not in self._ports[one.cert]]
        # Where nobody listens, one look is enough for all.
        for some in (wanted[:1], wanted[1:]):
            found = await asyncio.gather(*(self._look(place, probe, one) for one in some))
            for one, seen in zip(some, found, strict=True):
                if any(served.leaf in older[one.cert] for served in seen if served.leaf):
                    self._ports[one.cert].add(probe.port)
            if not any(served.reached for seen in found for served in seen):
                return

    async def _look(self, place: ProbedHost, probe: Probe, one: _Wanted) -> list[Served]:
        async def at(address: str) -> Served:
            async with self._turn:
                return await served_at(
                    self._delivering.net,
                    address,
                    probe.port,
                    probe.word,
                    one.asked_with(probe),
                    one.facts.key,
                )

        return await asyncio.gather(*map(at, place.addresses))

    async def sights(self) -> dict[CertId, Sight]:
        """Look at each certificate side by side, as long as `probe_timeout`."""
        rules = {one.cert: self._rule(one.cert) for one in self._told}
        found = {cert: Sight(unseen=rule) for cert, rule in rules.items() if rule is not None}
        asked = [one for one in self._told if rules[one.cert] is None]
        works: dict[CertId, _Wanted] = {}
        for told, one in zip(asked, await self._read(asked), strict=True):
            if isinstance(one, Exception):
                found[told.cert] = self._failed(told.cert, one)
            else:
                works[told.cert] = one
        if not works:
            return found
        try:
            place = await place_of(self._host, self._delivering.resolver, self._delivering.locality)
        except SslmError as err:
            return {**found, **{cert: self._failed(cert, err) for cert in works}}
        await self._find_silent(place, list(works.values()))
        results = await asyncio.gather(*(self._sight(place, one) for one in works.values()))
        return found | dict(zip(works, results, strict=True))

    async def _find_silent(self, place: ProbedHost, wanted: Sequence[_Wanted]) -> None:
        """Find the default ports where nobody listens: one look is enough for all."""
        for probe in self._class.probes:
            one = next((one for one in wanted if probe in self._optional(one.cert)), None)
            seen = await self._look(place, probe, one) if one is not None else []
            if seen and not any(served.reached for served in seen):
                self._silent[probe.port] = told_of(seen)

    def _failed(self, cert: CertId, err: Exception, *, owed: bool = False) -> Sight:
        ports, counts = self.counted(cert), any(self._counting(cert))
        if counts and not (owed or is_blind(err)):
            return Sight(err, ports=ports)
        why = reason_of(err)
        return Sight(unseen=Unseen(why, owed=True) if counts else Unseen.at(why), ports=ports)

    def counted(self, cert: CertId) -> tuple[int, ...]:
        """Return the default ports that count for a certificate from now on."""
        return tuple(sorted(self._ports[cert]))

    def _counting(self, cert: CertId) -> Iterator[Probe]:
        """Yield the probes that count for a certificate."""
        for probe in self._class.probes:
            if not probe.optional or probe.port in self._ports[cert]:
                yield probe

    def _optional(self, cert: CertId) -> Iterator[Probe]:
        """Yield the default probes that do not count for it yet."""
        for probe in self._class.probes:
            if probe.optional and probe.port not in self._ports[cert]:
                yield probe

    async def _sight(self, place: ProbedHost, one: _Wanted) -> Sight:
        cert = one.cert
        named = [probe for probe in self._counting(cert) if one.is_for(probe)]
        others = list(self._optional(cert))
        proofs = asyncio.gather(
            *(self._prove(place, probe, one) for probe in named), return_exceptions=True
        )
        looks = asyncio.gather(*(self._missing(place, probe, one) for probe in others))
        results, missing = await asyncio.gather(proofs, looks)
        failures = [result for result in results if isinstance(result, BaseException)]
        seen = False
        for probe, wrong in zip(others, missing, strict=True):
            if not wrong:
                self._ports[cert].add(probe.port)
                seen = True
        if failures:
            error = together(failures)
            if not isinstance(error, Exception):
                raise error  # the daemon stops
            return self._failed(cert, error, owed=all(map(is_blind, failures)))
        told = [wrong for wrong in missing if wrong]
        for remark in results:
            if isinstance(remark, Reason):
                self._delivering.telling.tell("probe-left-out", remark.of(self._class.kind), cert)
                told.append(remark)
            else:
                seen = True
        if seen:
            return Sight(ports=self.counted(cert))
        return Sight(unseen=Unseen.at(several(told)), ports=self.counted(cert))

    async def _prove(self, place: ProbedHost, probe: Probe, one: _Wanted) -> Reason | None:
        # A port that was named is meant for every certificate of the class.
        other = partial(self._other, one.cert) if probe.optional else no_other
        proof = self._proof(probe, one)
        return await prove(
            self._delivering.net, place, probe, proof, self._seconds, turn=self._turn, other=other
        )

    async def _missing(self, place: ProbedHost, probe: Probe, one: _Wanted) -> Reason | None:
        """Return what a default port shows in place of a certificate, None if it shows it."""
        if not place.addresses:
            return Reason(AtPort.NO_ADDRESS).of(place.host)
        if probe.port in self._silent:
            return self._silent[probe.port]
        seconds = min(self._seconds, BELIEVED)
        net, proof = self._delivering.net, self._proof(probe, one)
        wrong = await missing_at(net, place, probe, proof, seconds, turn=self._turn)
        return told_of(wrong) if wrong else None

    def _proof(self, probe: Probe, one: _Wanted) -> Expected:
        path = Tree(str(self._delivering.site.config.globals.prod_cert_dir)).link(one.cert, CURR)
        return Expected(one.leaf, one.asked_with(probe), one.facts.key, path)

    def _other(self, cert: CertId, served: Served) -> str:
        if served.leaf is None:
            return ""
        if self._ours is None:
            self._ours = current(self._delivering.site, self._delivering.standings)
        whose = whose_is(served.facts, self._ours)
        return str(whose) if whose is not None and whose != cert else ""

    async def _older(self, certs: Sequence[CertId]) -> dict[CertId, frozenset[bytes]]:
        """Return the certificates of all sets that are there, as DER."""
        tree = self._delivering.site.tree

        def of(cert: CertId) -> frozenset[bytes]:
            found = set()
            for name in sets.list_sets(tree, cert):
                with suppress(SslmError, OSError):
                    pem = files.read_file(f"{tree.set_dir(cert, name)}/{CERT}")
                    found.add(only_cert(pem)[1])
            return frozenset(found)

        return await self._delivering.threads.in_thread(lambda: {cert: of(cert) for cert in certs})

    async def _read(self, some: Sequence[Told]) -> list[_Wanted | Exception]:
        """Read the certificates that have to show."""
        tree = self._delivering.site.tree

        def read_one(told: Told) -> _Wanted | Exception:
            path = f"{tree.set_dir(told.cert, told.set)}/{CERT}"
            try:
                pem = files.read_file(path)
                return _Wanted(told.cert, only_cert(pem)[1], cert_facts(pem))
            except SslmError as err:
                return err
            except OSError as err:
                return files.trouble(err, "read", path)

        return await self._delivering.threads.in_thread(lambda: [read_one(told) for told in some])
