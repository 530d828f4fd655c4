"""What `sslmctl doctor` looks at on servers: ssh, what hosts have, and what ports serve."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sslmd.config.model import (
    THIS_HOST,
    Config,
    Probe,
    ServerClass,
    Unprobed,
    hosts_of,
    places,
    wanted_here,
    wanted_on,
)
from sslmd.core.errors import SslmError
from sslmd.core.host.needs import Needs, Placement, needs, surplus_on
from sslmd.core.names import CertId, covers, machine_of
from sslmd.core.plain import some_of
from sslmd.core.spec import CertFacts
from sslmd.core.state import Server, ServerPhase
from sslmd.core.words.doctor import Diagnosis
from sslmd.core.words.sentence import say
from sslmd.doctor.daemon import Running
from sslmd.doctor.symptoms import Checkup, Symptom, Symptoms, odd, unseen, well, wrong
from sslmd.net.probe_messages import Reach, Served
from sslmd.pki.chain import only_cert
from sslmd.pki.inspect import cert_facts
from sslmd.servers import around
from sslmd.servers.local import LOOPBACK, hosts_here, is_local, is_loopback
from sslmd.servers.probe import served_at
from sslmd.servers.production import linked
from sslmd.servers.ssh import ShellAnswer, address_of, shell_on
from sslmd.store.files import read_file
from sslmd.store.layout import CERT, CURR, Tree
from sslmd.store.note_kinds import HOST_NOTE, HostNote
from sslmd.workers.proof import name_of

# Hosts that are visited at the same time, and seconds for all of a visit.
_HOSTS = 64
_VISIT = 90.0

_SHOWN = 5  # certificates that one message names


async def look_at_hosts(case: Checkup, running: Running) -> Symptoms:
    """Whether the daemon's user gets in everywhere, and each host has what it needs, no more."""
    config = case.config
    prod = str(config.globals.prod_cert_dir)

    async def one(host: str) -> Symptoms:
        try:
            async with asyncio.timeout(_VISIT), shell_on(host, prod) as shell:
                answer = await shell.ask("survey")
                rsync = await shell.ask("run", "20", "rsync", "--version")
        except SslmError as err:
            yield wrong("ssh", Diagnosis.ABOUT, what=host, why=err.text_beside(host))
            return
        except TimeoutError:
            yield wrong("ssh", Diagnosis.HOST_HANGS, host=host, seconds=f"{_VISIT:g}")
            return
        if rsync.status != "0":
            yield wrong("ssh", Diagnosis.NO_RSYNC, host=host)
            return
        yield well("ssh", Diagnosis.HOST_WELL, host=host)
        found = await asyncio.to_thread(needs_there, config, host, answer, datetime.now(UTC))
        for finding in _of_needs("ssh", config, host, found, is_told=host in running.hosts_told):
            yield finding

    here = await asyncio.to_thread(hosts_here, config)
    hosts = [host for host in hosts_of(config) if host not in here]
    if hosts and (stranger := case.stranger("ssh")):
        yield stranger
        return
    async for finding in case.watch.findings("ssh", hosts, one, "host", _HOSTS):
        yield finding


async def look_at_production(case: Checkup, running: Running) -> Symptoms:
    """Whether production on this machine has what does not belong there."""
    if stranger := case.stranger("production"):
        yield stranger
        return
    found = await asyncio.to_thread(around.needs_here, case.config, datetime.now(UTC))
    is_told = THIS_HOST in running.hosts_told
    for finding in _of_needs("production", case.config, THIS_HOST, found, is_told=is_told):
        yield finding
    if not found.to_go and not found.surplus:
        yield well(
            "production", Diagnosis.PRODUCTION_WELL, folder=case.config.globals.prod_cert_dir
        )


def needs_there(config: Config, host: str, answer: ShellAnswer, now: datetime) -> Needs:
    """Return what another machine needs, by what it tells that it has (`survey`); blocks."""
    tree, prod = Tree(str(config.globals.certs_dir)), str(config.globals.prod_cert_dir)
    try:
        note = HOST_NOTE.read(tree.host_note(host))
    except SslmError:
        note = HostNote()
    there = around.found_there(answer, note.holds)
    have = {one.cert for one in there}
    lacking = (
        Placement(cert, Server(kind, host, ServerPhase.PENDING), linked(prod, cert))
        for cert in config.services
        if cert not in have
        for kind, on in places(config, cert)
        if on == host
    )
    return needs(wanted_on(config, host, *note.same), now, lacking, there)


def _of_needs(
    where: str, config: Config, host: str, found: Needs, *, is_told: bool
) -> Iterator[Symptom]:
    """Yield what is wrong with what is on a host. `is_told`: the daemon says what is surplus."""
    if lacking := list(dict.fromkeys(str(one.told.cert) for one in found.lacking)):
        yield wrong(where, Diagnosis.HOST_LACKS, host=host, certs=some_of(lacking, _SHOWN))
    if found.to_go:
        things = some_of(list(map(str, found.to_go)), _SHOWN)
        yield odd(where, Diagnosis.HOST_TO_GO, host=host, things=things)
    if found.surplus and not is_told:
        prod, now = str(config.globals.prod_cert_dir), datetime.now(UTC)
        wanted = wanted_here(config) if host == THIS_HOST else wanted_on(config, host)
        yield wrong(where, surplus_on(host, prod, wanted, found.surplus, now))


# --- ports ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ours:
    """A certificate in use, as servers get it."""

    cert: CertId
    leaf: bytes
    facts: CertFacts


@dataclass(frozen=True)
class _Place:
    """A port of a class on one host. `counted`: the daemon looks there, too, after restarts."""

    kind: str
    host: str
    probe: Probe
    counted: bool
    wanted: tuple[_Ours, ...]

    def __str__(self) -> str:
        return f"[{self.kind}] {machine_of(self.host)} port {self.probe.port}"


async def look_at_ports(case: Checkup) -> Symptoms:
    """Whether the ports that serve certificates answer, and with ours.

    Default ports are looked at although `probe = false` keeps the daemon from it.
    """
    config = case.config
    ours = await asyncio.to_thread(_leaves, config)
    places = []
    for one in config.server_classes:
        certs = tuple(ours[cert] for cert in config.services if one.receives(cert) and cert in ours)
        found = list(_places(one, certs))
        places += found
        if one.unprobed is Unprobed.NONE:
            if certs:
                yield unseen("ports", Diagnosis.PROBE_NONE, kind=one.kind)
        elif one.servers and not found and one.svc_depends:
            yield unseen("ports", Diagnosis.NO_PORT, kind=one.kind)
    by_leaf = {one.leaf: one.cert for one in ours.values()}

    async for finding in case.watch.findings(
        "ports", places, lambda place: _look(case, place, by_leaf), "port"
    ):
        yield finding


def _places(one: ServerClass, certs: tuple[_Ours, ...]) -> Iterator[_Place]:
    if one.unprobed is Unprobed.NONE:
        return  # nothing is to be seen there
    probes = one.ports
    for host in one.servers:
        for probe in probes:
            wanted = tuple(
                each
                for each in certs
                if not each.facts.is_ca and (not probe.name or covers(each.facts.names, probe.name))
            )
            yield _Place(one.kind, host, probe, bool(one.probes), wanted)


def _leaves(config: Config) -> dict[CertId, _Ours]:
    """Return the certificates in use; blocks."""
    found, prod = {}, Tree(str(config.globals.prod_cert_dir))
    for cert in config.services:
        path = f"{prod.link(cert, CURR)}/{CERT}"
        try:
            pem = read_file(path)
            found[cert] = _Ours(cert, only_cert(pem)[1], cert_facts(pem))
        except (OSError, SslmError):
            continue
    return found


async def _look(case: Checkup, place: _Place, by_leaf: Mapping[bytes, CertId]) -> Symptoms:
    host = machine_of(place.host)
    try:
        addresses, own = await _addresses(case, place.host)
    except SslmError as err:
        yield wrong("ports", Diagnosis.ABOUT, what=place, why=err)
        return
    if not addresses:
        yield wrong("ports", Diagnosis.PLACE_NO_ADDRESS, place=place, host=host)
        return
    # Where nobody listens, or speaks TLS, one look is enough for all certificates.
    first = await _ask(case, place, addresses, place.wanted[:1] or [None])
    silent = [one for one, _ in first if not one.reached]
    if own and len(silent) < len(first):
        # Servers need not listen on every address of their own machine.
        silent = [one for one in silent if one.reach is not Reach.REFUSED]
    for finding in dict.fromkeys(_silent(place, one, silent) for one in silent):
        yield finding
    seen = [pair for pair in first if pair[0].reached]
    speaking = [one.address for one, _ in first if one.chain]
    seen += await _ask(case, place, speaking, place.wanted[1:])
    for finding in _judge(case, place, seen, by_leaf):
        yield finding


async def _addresses(case: Checkup, host: str) -> tuple[Sequence[str], bool]:
    """Return a host's addresses, and whether it is this machine."""
    bare = machine_of(host)
    if is_loopback(bare):
        return LOOPBACK, True
    own = await asyncio.to_thread(is_local, bare)
    if addresses := await case.resolver.addresses(bare):
        return addresses, own
    return await case.resolver.addresses(await address_of(host)), own


async def _ask(
    case: Checkup, place: _Place, addresses: Sequence[str], wanted: Sequence[_Ours | None]
) -> list[tuple[Served, _Ours | None]]:
    """Look at every address, once for each certificate; None: for any."""
    found: list[tuple[Served, _Ours | None]] = []
    for one in wanted:
        name = place.probe.name or (name_of(one.facts.names) if one else "")
        kind = one.facts.key if one else ""
        looks = (
            served_at(case.net, address, place.probe.port, place.probe.word, name, kind)
            for address in addresses
        )
        found += [(served, one) for served in await asyncio.gather(*looks)]
    return found


def _silent(place: _Place, one: Served, others: Sequence[Served]) -> Symptom:
    """Judge an address that takes no connection, together with all that are silent alike."""
    alike = [each for each in others if (each.reach, each.problem) == (one.reach, one.problem)]
    text = f"{', '.join(each.address for each in alike)} {say(one.what)}"
    if one.reach is Reach.NOT_TRIED:
        return unseen("ports", Diagnosis.PLACE_UNKNOWN, place=place, said=text)
    if one.reach is Reach.NO_ROUTE:
        return unseen("ports", Diagnosis.PLACE_NO_ROUTE, place=place, said=text)
    return _mute(place, text)


def _mute(place: _Place, text: str) -> Symptom:
    """Judge a port that shows no certificate: it has to only where the daemon looks, too."""
    if place.counted and not place.probe.optional:
        return wrong("ports", Diagnosis.PLACE_MUTE, place=place, said=text)
    return unseen("ports", Diagnosis.PLACE_UNKNOWN, place=place, said=text)


def _judge(
    case: Checkup,
    place: _Place,
    seen: Sequence[tuple[Served, _Ours | None]],
    by_leaf: Mapping[bytes, CertId],
) -> Iterator[Symptom]:
    """Compare what is served with what should be."""
    good: dict[str, list[str]] = {}
    for served, one in seen:
        where = f"[{place.kind}] {served.address} port {served.port}"
        if served.leaf is None:
            yield _mute(place, f"{served.address} {say(served.what)}")
        elif one is None:
            yield unseen("ports", Diagnosis.NONE_IN_USE, kind=place.kind, served=say(served.told))
        elif served.leaf == one.leaf:
            good.setdefault(where, []).append(str(one.cert))
        else:
            yield _foreign(case, place, served, one, by_leaf)
    for where, certs in good.items():
        facts = {"where": where, "certs": some_of(certs, _SHOWN)}
        yield well("ports", Diagnosis.SERVED_WELL, **facts, not_probed=not place.counted)


def _foreign(
    case: Checkup, place: _Place, served: Served, one: _Ours, by_leaf: Mapping[bytes, CertId]
) -> Symptom:
    folder = Tree(str(case.config.globals.prod_cert_dir)).link(one.cert, CURR)
    assert served.leaf is not None
    other = by_leaf.get(served.leaf)
    if other is not None and place.probe.optional:
        where = f"[{place.kind}] {served.address} port {served.port}"
        return odd("ports", Diagnosis.SERVES_OTHER, where=where, other=other, cert=one.cert)
    return (wrong if place.counted else odd)(
        "ports",
        Diagnosis.SERVES_WRONG,
        kind=place.kind,
        served=say(served.told),
        other=other,
        foreign=other is None,
        cert=one.cert,
        folder=folder,
        not_probed=not place.counted,
    )
