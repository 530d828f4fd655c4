"""Which of our sets the ports serve that DANE clients check (I4); nothing is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509

from sslmd.core.dane.tlsa import Material
from sslmd.core.errors import SslmError
from sslmd.core.names import CertId, DomainName, SetName
from sslmd.core.reason import Reason
from sslmd.core.seen import AtPort
from sslmd.net.link import Asker
from sslmd.net.probe_messages import TIMEOUT, Reach, Served, described
from sslmd.pki.identity import describe_key
from sslmd.pki.pem import MALFORMED
from sslmd.servers.probe import is_blind, served_at
from sslmd.workers.proof import current, whose_is
from sslmd.workers.tools import Site, Standings

# Why nothing is served where there is no host to connect to.
NO_ADDRESS = Reason(AtPort.NO_ADDRESS)

# Looks at a time, for one certificate.
AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class PortSeen:
    """What one address of an endpoint serves.

    `match`: the set of the certificate that it is. `other` says what it is where it is none, and
    where it is a certificate that the set does not have, for a key that it does; None otherwise,
    also where nothing is served. `why`: why no address is known to look at, None if one is.
    """

    host: DomainName
    port: int
    served: Served
    match: SetName | None
    other: Reason | None = None
    why: Reason | None = None

    @property
    def what(self) -> Reason:
        """What was met where nothing is served."""
        return self.why or self.served.what


async def look_at_ports(
    net: Asker,
    cert: CertId,
    site: Site,
    standings: Standings,
    sets: Mapping[SetName, Material],
    endpoints: Iterable[tuple[DomainName, int]],
    addresses: Callable[[DomainName], Awaitable[tuple[str, ...]]],
    *,
    seconds: float = TIMEOUT,
) -> list[PortSeen]:
    """Look at every address of every endpoint, side by side; return what each serves.

    A host whose addresses cannot be told is there once, with nothing served. How TLS is begun is
    found out. A client sends the TLSA base domain as SNI, which is the host (RFC 7672 §8.1), and so
    do we. No address has longer than `seconds`.
    """
    turn = asyncio.Semaphore(AT_A_TIME)
    kind = _kind_of(cert, site, sets)

    async def at(host: DomainName, port: int, address: str) -> PortSeen:
        async with turn:
            served = await served_at(net, address, port, None, host.text, kind, seconds=seconds)
        match, other = _compare(served, cert, site, standings, sets)
        return PortSeen(host, port, served, match, other)

    async def endpoint(host: DomainName, port: int) -> list[PortSeen]:
        try:
            found = await addresses(host)
        except SslmError as err:
            reach = Reach.NOT_TRIED if is_blind(err) else Reach.UNANSWERED
            return [_nothing(host, port, err.reason, reach)]
        if not found:
            return [_nothing(host, port, NO_ADDRESS)]
        return await asyncio.gather(*(at(host, port, address) for address in found))

    ends = dict.fromkeys(endpoints)
    looks = await asyncio.gather(*(endpoint(host, port) for host, port in ends))
    return [seen for some in looks for seen in some]


def _nothing(host: DomainName, port: int, why: Reason, reach: Reach = Reach.UNANSWERED) -> PortSeen:
    return PortSeen(host, port, Served("", port, reach=reach), None, why=why)


def _kind_of(cert: CertId, site: Site, sets: Mapping[SetName, Material]) -> str:
    """Return the kind of key to ask for: of the newest set that has a certificate."""
    for name in sorted(sets, reverse=True):
        leaf = sets[name].leaf
        with suppress(*MALFORMED):
            if leaf is not None:
                return describe_key(x509.load_der_x509_certificate(leaf).public_key())
    service = site.config.services.get(cert)
    return str(service.spec.key) if service else ""


def _compare(
    served: Served, cert: CertId, site: Site, standings: Standings, sets: Mapping[SetName, Material]
) -> tuple[SetName | None, Reason | None]:
    leaf = served.leaf
    if leaf is None:
        return None, None
    names, what = sorted(sets, reverse=True), described(served.facts)
    for name in names:
        if sets[name].leaf == leaf:
            return name, None
    for name in names:
        # Selector 1 goes by the key alone (RFC 6698 §2.1.2), selector 0 does not.
        if sets[name].key == served.keys[0]:
            return name, Reason(AtPort.OF_ITS_KEY, certificate=what)
    whose = whose_is(served.facts, current(site, standings))
    if whose in (None, cert):
        return None, what
    return None, Reason(AtPort.OF_CERT, cert=whose, certificate=what)
