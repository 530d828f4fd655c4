"""Where nobody could look, nobody has failed: it is said so, and looked at again (I11)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sslmd.acme.directory import Directory
from sslmd.acme.orders import Challenge
from sslmd.config.kinds import Validation
from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.jobs import Restart, See, Told
from sslmd.core.names import DomainName
from sslmd.core.reason import Reason
from sslmd.core.seen import AtPort
from sslmd.core.state import Server, ServerPhase
from sslmd.dns.ask import DnsAsker, NameServer
from sslmd.dns.resolver import Resolver
from sslmd.net.inside import Inside
from sslmd.net.link import Operation
from sslmd.net.probe_messages import LookEnd, NotShown, Shown
from sslmd.servers.local import Locality
from sslmd.servers.probe import NobodyLooked, ProbedHost, prove
from sslmd.store.state import parse
from sslmd.workers.dane import prove_ports
from sslmd.workers.http import PAUSES, FileChallenges
from sslmd.workers.ports import PortSeen, look_at_ports
from sslmd.workers.preflight import Preflight
from sslmd.workers.restart import restart
from tests.daemon.test_hosts import hosts_of, sights
from tests.reasons import because
from tests.servers.test_probe import PLACE, at, pair, proof
from tests.stand import virtual_time
from tests.stand.absent import Absent
from tests.stand.server import free_port
from tests.stand.tls import LOOPBACK, TlsPort, context, server
from tests.stand.tools import WEB, Site
from tests.workers.test_ports import HOST, here, material_of
from tests.workers.test_proof import Reloading, load, one_class, probing, site_of, tls
from tests.workers.test_restart import make

ALWAYS = math.inf


@pytest.fixture
def port(tmp_path: Path) -> TlsPort:
    return TlsPort(context(tmp_path, pair()))


def away(site: Site, net: Absent) -> None:
    """Have the network process be away."""
    site.tools.delivering = replace(site.tools.delivering, net=net)


def resolver(net: Absent) -> Resolver:
    return Resolver(DnsAsker(net), [NameServer(LOOPBACK, 9)])


def server_of(site: Site) -> Server:
    (found,) = site.state(WEB).servers
    return found


def codes(why: Reason) -> set[str]:
    return {str(one.code) for one in why.within()}


# --- what ports serve -----------------------------------------------------------------------


@pytest.mark.parametrize("net", [Absent(ALWAYS), Absent(0, ALWAYS)], ids=["away", "faulty"])
async def test_a_port_that_nobody_could_look_at_is_not_proven_and_has_not_failed(
    net: Absent,
) -> None:
    with pytest.raises(NobodyLooked) as caught:
        await prove(net, PLACE, at(free_port()), proof(), 0.3)
    assert caught.value.reason.code is Failed.NOBODY_LOOKED
    assert caught.value.reason["host"] == "localhost"


async def test_it_is_looked_at_again_until_somebody_can(port: TlsPort) -> None:
    net = Absent(2, 1)
    async with server(port) as number:
        assert await prove(net, PLACE, at(number), proof(), 30) is None
    assert net.asked == 4


async def test_what_was_seen_somewhere_else_is_a_failure(port: TlsPort) -> None:
    """One address serves another certificate, whatever the other serves."""
    place = ProbedHost("mx", (LOOPBACK, "127.0.0.2"))

    class HalfAbsent(Inside):
        async def call(self, operation: Operation[Any, Any], asked: Any) -> Any:
            net = Absent(ALWAYS) if asked.address == "127.0.0.2" else Inside()
            return await net.call(operation, asked)

    async with server(port) as number:
        with pytest.raises(Transient) as caught:
            await prove(HalfAbsent(), place, at(number), proof("ec", "new"), 0.3)
    assert caught.value.reason.code is Failed.NOT_SERVED


async def test_what_was_seen_before_nobody_could_look_says_nothing_of_now(port: TlsPort) -> None:
    """A server that reloads serves the old certificate for a moment."""

    class Leaving(Inside):
        looks = 0

        async def call(self, operation: Operation[Any, Any], asked: Any) -> Any:
            self.looks += 1
            net = Inside() if self.looks == 1 else Absent(ALWAYS)
            return await net.call(operation, asked)

    async with server(port) as number:
        with pytest.raises(NobodyLooked):
            await prove(Leaving(), PLACE, at(number), proof("ec", "new"), 0.5)


@pytest.mark.parametrize("serves", ["the new one", "an older one"])
async def test_a_restart_that_nobody_could_look_at_is_judged_by_the_next_look(
    tmp_path: Path, serves: str
) -> None:
    site = await site_of(tmp_path, tool="true")
    load(site)
    if serves == "an older one":
        await site.renew(WEB)
        await site.deliver(WEB)
    net = Absent(ALWAYS)
    away(site, net)
    hosts = hosts_of(site)
    told = (("web", (Told(WEB, site.live()),)),)
    async with server(Reloading(tmp_path)) as number:
        probing(site, tls(number), seconds=0.3)
        assert await hosts.run(Restart("localhost", told, because(""))) == []
        owed = server_of(site)
        assert (owed.phase, owed.attempts, owed.error) == (ServerPhase.RESTARTED, 0, "")
        assert owed.is_owed_a_look
        # It is remembered, and the same for as long as nobody can look.
        site.save(WEB)
        state = site.place(WEB) / "state.toml"
        (noted,) = parse(state.read_bytes()).state.servers
        assert noted == owed
        hosts.note(WEB)
        site.now += timedelta(seconds=5)
        (job,) = sights(hosts, site)
        assert await hosts.run(job) == []
        assert server_of(site) == owed

        net.away = 0
        await hosts.run(See("localhost", told, because("")))
    after = server_of(site)
    assert not after.is_owed_a_look
    if serves == "the new one":
        assert (after.phase, after.unseen, after.proven) == (
            *(ServerPhase.PROVEN, None),
            site.live(),
        )
    else:
        assert (after.phase, after.attempts) == (ServerPhase.FAILED, 1)
        assert after.next_try is not None


async def test_a_host_whose_name_nobody_could_look_up_has_not_failed(tmp_path: Path) -> None:
    main = one_class().replace("'localhost'", "'mx.example.com'").partition("    restart_cmd")[0]
    site = await site_of(tmp_path, main)
    probing(site, tls(free_port()), seconds=0.3)
    net = Absent(ALWAYS)
    site.tools.delivering = replace(
        site.tools.delivering, net=net, resolver=resolver(net), locality=Locality(net)
    )
    told = (("web", (Told(WEB, site.live()),)),)
    (outcome,) = await restart(Restart("mx.example.com", told, because("")), site.tools.delivering)
    assert outcome.errors == []
    unseen = outcome.sight_of(WEB).unseen
    assert unseen is not None
    assert (unseen.owed, unseen.meant) == (True, False)


async def test_records_of_an_older_key_stay_while_nobody_can_look_at_the_ports(
    tmp_path: Path,
) -> None:
    """An older key may be served there (I4)."""
    site = await site_of(tmp_path)
    known = {site.live(): material_of(site, site.live())}

    async def seen(net: Absent, addresses: Callable[..., Any]) -> list[PortSeen]:
        tools = site.tools
        ends = [(HOST, free_port())]
        return await look_at_ports(
            net, WEB, tools.site, tools.standings, known, ends, addresses, seconds=0.5
        )

    async def by_name(host: DomainName) -> tuple[str, ...]:
        return await resolver(Absent(ALWAYS)).addresses(host.text)

    for found in (await seen(Absent(ALWAYS), here), await seen(Absent(), by_name)):
        with pytest.raises(NobodyLooked) as caught:
            prove_ports(WEB, site.live(), found, alone=False)
        assert caught.value.reason.code is Failed.NOBODY_LOOKED
    # Where nobody listens no client meets a key.
    prove_ports(WEB, site.live(), await seen(Absent(), here), alone=False)


# --- challenges -----------------------------------------------------------------------------


class Web:
    """Web servers that show every challenge, or none."""

    def __init__(self, *, shows: bool = True) -> None:
        self.shows = shows

    async def call(self, operation: Operation[Any, Any], asked: Any) -> Any:
        """Look."""
        return (
            Shown()
            if self.shows
            else NotShown(asked.address, LookEnd(AtPort.STATUS, number=404), status=404)
        )


def files_of(top: Path, net: Absent) -> FileChallenges:
    main = one_class().replace("[web]", f"[web]\n    server_dir = '{top}/web'")
    site = make(top, main)
    for name in ("cb", "web"):
        (top / name).mkdir()
    ordering = replace(site.tools.ordering, net=net, resolver=resolver(net))
    config = site.tools.site.config

    async def no_account() -> str:
        raise AssertionError

    checks = Preflight(
        *(WEB, config, ordering.resolver, Directory(), Validation.HTTP_01, ""),
        make_account=no_account,
        warn=lambda _: None,
    )
    return FileChallenges(WEB, config, ordering, f"{top}/cb", checks)


CHALLENGE = Challenge("127.0.0.1", f"token.{'x' * 43}", "token")


def test_challenges_that_nobody_could_look_at_are_looked_at_again(tmp_path: Path) -> None:
    told: list[Reason] = []
    net = Absent(2, 1, there=Web())
    virtual_time.run(files_of(tmp_path, net).show([CHALLENGE], told.append))
    untried = [Failed.HTTP_UNTRIED in codes(why) for why in told]
    assert untried == [False, True, True, True]
    assert net.asked == 4


def test_where_nobody_could_look_to_the_end_the_web_server_is_not_to_blame(tmp_path: Path) -> None:
    net = Absent(ALWAYS)
    with pytest.raises(Transient) as caught:
        virtual_time.run(files_of(tmp_path, net).show([CHALLENGE], lambda _: None))
    assert caught.value.reason.code is Failed.HTTP_NOBODY_LOOKED
    assert net.asked == len(PAUSES) + 1


def test_a_name_that_nobody_could_look_up(tmp_path: Path) -> None:
    net = Absent(ALWAYS)
    challenge = replace(CHALLENGE, name="www.elsewhere.test")
    with pytest.raises(Transient) as caught:
        virtual_time.run(files_of(tmp_path, net).show([challenge], lambda _: None))
    assert caught.value.reason.code is Failed.HTTP_NOBODY_LOOKED


def test_what_is_seen_wrong_in_the_end_is_told(tmp_path: Path) -> None:
    net = Absent(3, there=Web(shows=False))
    with pytest.raises(Transient) as caught:
        virtual_time.run(files_of(tmp_path, net).show([CHALLENGE], lambda _: None))
    assert caught.value.reason.code is Failed.HTTP_NOT_SHOWN
    assert Failed.HTTP_UNTRIED not in codes(caught.value.reason)
