"""Proof after a restart: each certificate of a class is looked at on its host, as a client would.

A server that was told to restart may still serve what it had (I4: until it is seen serving the new
set, the records of the old key stay).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sslmd.config.model import Probe, ServerClass
from sslmd.core.errors import SslmError, together
from sslmd.core.facts import CertFacts
from sslmd.core.jobs import Told
from sslmd.core.names import BadName, CertId, DomainName, covers, machine_of, parse_san
from sslmd.pki.chain import only_cert
from sslmd.pki.inspect import cert_facts
from sslmd.servers.local import LOOPBACK, is_loopback
from sslmd.servers.probe import Place, Proof, Served, facts_of, no_other, prove, served_at
from sslmd.servers.ssh import address_of
from sslmd.store import files
from sslmd.store.layout import CERT, CURR
from sslmd.workers.tools import Tools

# Looks of one class at a time.
AT_A_TIME = 8

# Seconds for all looks before a restart, which are no reason to hold it up. A port that did not
# answer by then does not count.
BEFORE = 30.0

# What stands for the star of a certificate that has no other name (RFC 6125 §6.4.3: any label).
_UNDER_A_STAR = "sslmd"

Errors = Mapping[CertId, Exception]

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


def current(tools: Tools) -> Known:
    """Return the certificates that are in use."""
    states = ((cert, tools.state_of(cert).curr) for cert in tools.config.services)
    return {
        curr.cert.serial: (cert, curr.cert)
        for cert, curr in states
        if curr is not None and curr.cert is not None
    }


def whose_is(leaf: bytes, known: Known) -> CertId | None:
    """Return whose certificate it is; None: nobody's of those."""
    facts = facts_of(leaf)
    if facts is None or facts.serial not in known:
        return None
    cert, its = known[facts.serial]
    return cert if its == facts else None


async def place_of(host: str, tools: Tools) -> Place:
    """Return a host of a server class with its addresses; raises `Transient`.

    A name that only ssh knows is looked up as ssh does.
    """
    bare = machine_of(host)
    if is_loopback(bare):
        return Place(host, LOOPBACK, own=True)
    own = bool(await tools.locality.is_local(bare))
    problem: SslmError | None = None
    try:
        if addresses := await tools.resolver.addresses(bare):
            return Place(host, addresses, own)
    except SslmError as err:
        problem = err
    real = bare if own else await address_of(host)
    if real.lower() == bare.lower():
        if problem is not None:
            raise problem
        return Place(host, (), own)
    return Place(host, await tools.resolver.addresses(real), own=False)


class Proving:
    """The proof of one class on one host: `look_before` the restart, `errors` after it."""

    def __init__(
        self, server_class: ServerClass, host: str, told: Sequence[Told], tools: Tools
    ) -> None:
        self._class = server_class
        self._host = host
        # A class may depend on certificates that it is not granted: those it does not serve.
        self._told = [one for one in told if server_class.receives(one.cert)]
        self._tools = tools
        self._turn = asyncio.Semaphore(AT_A_TIME)
        # Those of a try before that was not proven count on: it may have been that which ended
        # what listened there.
        self._place = (str(server_class.kind), host)
        self._answered: set[tuple[CertId, Probe]] = set(tools.answered.get(self._place, ()))
        self._ours: Known | None = None

    async def look_before(self) -> None:
        """See which of the default ports answer with TLS; the others will not count."""
        optional = [probe for probe in self._class.probes if probe.optional]
        if not optional or not self._told:
            return
        wanted = [one for one in await self._read(self._told) if isinstance(one, _Wanted)]
        with suppress(SslmError, TimeoutError):
            async with asyncio.timeout(BEFORE):
                place = await place_of(self._host, self._tools)
                for probe in optional:
                    await self._look_before(place, probe, wanted)
        if self._answered:
            self._tools.answered[self._place] = set(self._answered)

    async def _look_before(self, place: Place, probe: Probe, wanted: Sequence[_Wanted]) -> None:
        # Where nobody listens, one look is enough for all.
        for some in (wanted[:1], wanted[1:]):
            found = await asyncio.gather(*(self._look(place, probe, one) for one in some))
            for one, seen in zip(some, found, strict=True):
                if any(served.chain for served in seen):
                    self._answered.add((one.cert, probe))
            if not any(served.reached for seen in found for served in seen):
                return

    async def _look(self, place: Place, probe: Probe, one: _Wanted) -> list[Served]:
        async def at(address: str) -> Served:
            async with self._turn:
                return await served_at(address, probe.port, probe.word, one.asked_with(probe))

        return await asyncio.gather(*map(at, place.addresses))

    async def errors(self) -> Errors:
        """Look at each certificate side by side, as long as `probe_timeout`; return what failed."""
        found = await self._errors()
        proven = {one.cert for one in self._told} - found.keys()
        left = {(cert, probe) for cert, probe in self._answered if cert not in proven}
        if left:
            self._tools.answered[self._place] = left
        else:
            self._tools.answered.pop(self._place, None)
        return found

    async def _errors(self) -> Errors:
        counting = [one for one in self._told if self._counting(one.cert)]
        if not counting:
            return {}
        found: dict[CertId, Exception] = {}
        works: dict[CertId, _Wanted] = {}
        for told, one in zip(counting, await self._read(counting), strict=True):
            if isinstance(one, Exception):
                found[told.cert] = one
            elif not one.facts.is_ca:  # that is shown with those that it signed
                works[told.cert] = one
        if not works:
            return found
        try:
            place = await place_of(self._host, self._tools)
        except SslmError as err:
            return {**found, **dict.fromkeys(works, err)}
        results = await asyncio.gather(
            *(self._prove(place, one) for one in works.values()), return_exceptions=True
        )
        failed = zip(works, results, strict=True)
        return found | {cert: err for cert, err in failed if isinstance(err, Exception)}

    def _counting(self, cert: CertId) -> list[Probe]:
        """Return the probes that count for a certificate."""
        return [
            probe
            for probe in self._class.probes
            if not probe.optional or (cert, probe) in self._answered
        ]

    async def _prove(self, place: Place, one: _Wanted) -> None:
        seconds = self._class.probe_timeout.total_seconds()
        prod = self._tools.config.globals.prod_cert_dir
        works = []
        for probe in filter(one.is_for, self._counting(one.cert)):
            proof = Proof(
                one.leaf,
                one.asked_with(probe),
                one.facts.key,
                f"{prod}/{one.cert.group}/{one.cert.service}/{CURR}",
            )
            # A port that was named is meant for every certificate of the class.
            other = partial(self._other, one.cert) if probe.optional else no_other
            works.append(prove(place, probe, proof, seconds, turn=self._turn, other=other))
        results = await asyncio.gather(*works, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            raise together(failures)
        for remark in results:
            if isinstance(remark, str) and remark:
                self._tools.tell("probe-left-out", f"{self._class.kind}: {remark}", one.cert)

    def _other(self, cert: CertId, served: Served) -> str:
        if served.leaf is None:
            return ""
        if self._ours is None:
            self._ours = current(self._tools)
        whose = whose_is(served.leaf, self._ours)
        return str(whose) if whose is not None and whose != cert else ""

    async def _read(self, some: Sequence[Told]) -> list[_Wanted | Exception]:
        """Read the certificates that have to show."""
        tree = self._tools.tree

        def read_one(told: Told) -> _Wanted | Exception:
            path = f"{tree.set_dir(told.cert, told.set)}/{CERT}"
            try:
                pem = files.read_file(path)
                return _Wanted(told.cert, only_cert(pem)[1], cert_facts(pem))
            except SslmError as err:
                return err
            except OSError as err:
                return files.trouble(err, "read", path)

        return await self._tools.in_thread(lambda: [read_one(told) for told in some])
