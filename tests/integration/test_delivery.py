"""Certificates reach the servers that they are for, and no others, without an instant of harm."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.stand.client import TlsClient
from tests.stand.dane_site import ARG, clean, dane_world
from tests.stand.delivery_site import ZONE, DeliveryWorld, Table, delivery_world
from tests.stand.host import User
from tests.stand.server import wait_until
from tests.stand.watch import Watch

WEB, MAIL, BACKUP = "web1.example.net", "mail1.example.net", "backup.example.net"

# So often everything is rolled under the eyes of clients and watchmen.
ROLLS = int(os.environ.get("SSLMD_TEST_ROLLS", "4"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DeliveryWorld]:
    with delivery_world(tmp_path) as one:
        yield one


def three_hosts(world: DeliveryWorld) -> None:
    """Three hosts and this machine: web and mail servers, and one that keeps copies."""
    world.add("web1", groups={"tls": 4242})
    world.add("mail1")
    world.add("backup", user="certs", users=[User("certs", 5101)])
    site = world.site
    site.services = {
        "web": ["www.example.com"],
        "mail": ["mail.example.com"],
        "intra": ["intra.example.com"],
    }
    opened = "key_group = '4242'\nkey_mode = '0640'"
    site.tables = {
        "imap": Table([MAIL], f"[['{ZONE}', ['mail']]]"),
        "web": Table(["localhost", WEB], f"[['{ZONE}', ['web']]]", more=opened),
        "other": Table([f"certs@{BACKUP}"], ""),
    }
    site.write()
    site.begin()
    site.wait_settled()


def serving(world: DeliveryWorld) -> None:
    """Start the servers, and have them restarted and looked at from now on."""
    for name, service in (("web1", "web"), ("mail1", "mail"), ("here", "web")):
        world.serve(name, service)
    for kind, name in (("web", "www"), ("imap", "mail")):
        table = world.site.tables[kind]
        table.restart = [world.reload]
        table.probe = f"[[{world.port}, 'tls', '{name}.example.com']]"
    world.site.configure()


def shows_one_of(client: TlsClient, serials: set[str]) -> bool:
    return client.serials()[-1] in serials


def test_a_roll_reaches_all_and_each_has_only_its_own(world: DeliveryWorld) -> None:
    three_hosts(world)
    serving(world)
    mine = {
        "web1": {f"{ZONE}/web"},
        "mail1": {f"{ZONE}/mail"},
        "backup": {f"{ZONE}/web", f"{ZONE}/mail", f"{ZONE}/intra"},
    }
    allowed = {"web1": 0o640, "here": 0o640, "mail1": 0o600, "backup": 0o600}
    with ExitStack() as stack:
        watches = []
        for name, mode in allowed.items():

            def at_most(path: Path, mode: int = mode, name: str = name) -> int:
                return 0o600 if name == "here" and "/web/" not in f"{path}" else mode

            one = Watch(world.top / f"watch-{name}", world.root(name), at_most)
            watches.append(stack.enter_context(one))
        visits = [("web1", "www"), ("here", "www"), ("mail1", "mail")]
        clients = [
            stack.enter_context(world.visit(name, f"{sub}.example.com")) for name, sub in visits
        ]
        for _ in range(ROLLS):
            serials = world.renew("web", "mail", "intra")
            world.site.wait_settled()
            assert {name: world.certs_on(name) for name in mine} == mine
        for client in clients:
            wait_until(partial(shows_one_of, client, set(serials.values())), "the last certificate")
        assert [one.too_wide() for one in watches] == [[]] * len(watches)
        assert all(one.looks() > ROLLS for one in watches)
    for client in clients:
        outcome = client.outcome()
        assert outcome.failures == []
        assert len(outcome.serials) == ROLLS + 1
    for name in world.hosts:
        key = (world.curr(name, "web" if name == "web1" else "mail") / "privkey.pem").stat()
        expected = (0o640, 4242) if name == "web1" else (0o600, key.st_gid)
        assert (key.st_mode & 0o777, key.st_gid) == expected
        assert not list(world.root(name).glob(".sslmd*"))
    assert (world.curr("backup", "mail") / "privkey.pem").stat().st_uid == 5101


def test_a_mail_server_on_another_machine_with_dane(tmp_path: Path) -> None:
    """A host that is down keeps the records of the key that it serves."""
    with dane_world(tmp_path, far=True) as world:
        assert world.host is not None
        world.begin()
        probes = world.prober()
        probes.wait_probes(20)
        for _ in range(3):
            world.cycle()
        world.host.stop()  # its ssh; Postfix goes on
        served = world.served()
        before = world.renew()
        world.site.wait_cert(lambda one: one["curr"]["serial"] != before, "a roll here")
        world.site.wait_cert(lambda one: one["servers"][0]["attempts"], "an attempt to copy")
        probes.wait_probes(20)
        assert served in world.records()
        assert len(world.records()) == 2
        world.host.start()
        world.site.ctl("deliver", ARG)
        world.wait_rolled(before)
        assert world.served() != served
        world.wait_shown(1)
        clean(probes)
