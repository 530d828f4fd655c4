"""What changes during a delivery is not forgotten, nor done by halves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.stand.delivery_site import ZONE, DeliveryWorld, Table, delivery_world
from tests.stand.host import Host
from tests.stand.server import wait_until

ONE = "one.example.net"
WEB, MAIL = f"{ZONE}/web", f"{ZONE}/mail"
GRANTS = f"[['{ZONE}', ['web', 'mail']]]"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DeliveryWorld]:
    with delivery_world(tmp_path) as one:
        yield one


class Restarts:
    """A restart command on a host: counts its calls, and waits or fails as a test wants it."""

    def __init__(self, host: Host) -> None:
        self._log = host.folder / "restarts"
        self.held = host.folder / "held"
        self.broken = host.folder / "broken"
        script = host.root / "restart"
        script.write_text(
            f"#!/bin/sh\necho x >> {self._log}\nwhile [ -e {self.held} ]; do sleep 0.05; done\n"
            f"[ ! -e {self.broken} ]\n"
        )
        script.chmod(0o755)

    def count(self) -> int:
        return self._log.read_text().count("x") if self._log.exists() else 0

    def wait(self, count: int) -> None:
        wait_until(lambda: self.count() >= count, f"restart {count}")


def begin(world: DeliveryWorld, **options: Any) -> tuple[Host, Restarts]:
    """Have two certificates delivered to one host, which is restarted."""
    one = world.add("one")
    restarts = Restarts(one)
    site = world.site
    site.services = {"web": ["www.example.com"], "mail": ["mail.example.com"]}
    command = [f"{site.prod}/restart"]
    site.tables = {"web": Table([ONE], GRANTS, command, **options)}
    site.globals["cmd_timeout"] = "30"
    site.write()
    site.begin()
    site.wait_settled()
    return one, restarts


def same_there(world: DeliveryWorld, service: str = "web") -> bool:
    here = world.site.live(f"{ZONE}/{service}") / "cert.pem"
    there = world.curr("one", service) / "cert.pem"
    return there.exists() and here.read_bytes() == there.read_bytes()


def test_a_roll_during_a_restart_has_a_restart_of_its_own(world: DeliveryWorld) -> None:
    _, restarts = begin(world)
    before = restarts.count()
    restarts.held.touch()
    world.renew("web")
    restarts.wait(before + 1)
    world.renew("web")
    restarts.held.unlink()
    world.site.wait_settled()
    assert same_there(world)
    assert restarts.count() == before + 2


def test_what_was_lost_during_a_restart_is_brought_and_restarted(world: DeliveryWorld) -> None:
    _, restarts = begin(world)
    before = restarts.count()
    restarts.held.touch()
    world.renew("web")
    restarts.wait(before + 1)
    world.curr("one", "web").unlink()
    world.site.ctl("deliver", "--no-wait", f"{ZONE}:web")
    restarts.held.unlink()
    restarts.wait(before + 2)
    world.site.wait_settled()
    assert same_there(world)


def test_a_grant_that_is_withdrawn_during_a_visit(world: DeliveryWorld) -> None:
    site = world.site
    held, begun = world.top / "held", world.top / "begun"
    script = world.top / "post"
    script.write_text(f"#!/bin/sh\ntouch {begun}\nwhile [ -e {held} ]; do sleep 0.05; done\n")
    script.chmod(0o755)
    site.globals["post_copy_cmd"] = f"[['{ONE}', '{script}']]"
    begin(world)
    begun.unlink()
    held.touch()
    world.renew("mail")
    wait_until(begun.exists, "the command after the copy")
    site.tables["web"].grants = f"[['{ZONE}', ['web']]]"
    site.configure()
    held.unlink()
    world.wait_certs("one", {WEB})


def test_what_cannot_be_removed_keeps_nobody_from_a_restart(world: DeliveryWorld) -> None:
    one, restarts = begin(world)
    before = restarts.count()
    place = f"{world.site.prod}/{MAIL}/db/x"
    one.run(["sh", "-c", f"mkdir {place} && mount -t tmpfs x {place}"])
    world.site.tables["web"].grants = f"[['{ZONE}', ['web']]]"
    world.site.configure()
    world.site.wait_line("not removed: ")
    world.renew("web")
    restarts.wait(before + 1)
    world.site.wait_settled(MAIL)
    assert same_there(world)
    (told,) = json.loads(world.site.ctl("status", "--json").stdout)["hosts"]
    assert "busy" in told["error"]
    assert told["next_try"]
    one.run(["umount", place])
    world.site.ctl("reload")
    world.wait_certs("one", {WEB})


def test_a_restart_waits_for_its_window_and_an_admin_does_not(world: DeliveryWorld) -> None:
    day = (datetime.now(UTC) + timedelta(days=3)).strftime("%a")
    _, restarts = begin(world, more=f"restart_window = ['{day} 02:00-03:00']")
    # What uses nothing of ours yet is not kept from it.
    before = restarts.count()
    assert before >= 1
    site = world.site
    site.ctl("force-renew", f"{ZONE}:web")
    site.wait_servers("web", lambda found: found[ONE]["state"] == "delivered", "the copy")
    assert same_there(world)
    (row,) = [
        row
        for row in site.ctl("plan", f"{ZONE}:web").stdout.splitlines()
        if "restart web on" in row
    ]
    assert "waiting" in row
    assert "waits for the restart_window" in site.ctl("deliver", f"{ZONE}:web", status=5).stdout
    assert restarts.count() == before
    site.ctl("restart", "web")
    assert restarts.count() == before + 1
    site.wait_settled()


def test_going_back_restarts_what_may_have_been_restarted_since(world: DeliveryWorld) -> None:
    _, restarts = begin(world, more="skip_prod_copy = true")
    restarts.broken.touch()
    world.renew("web")
    world.site.wait_servers("web", lambda found: found[ONE]["attempts"], "a restart that fails")
    before = restarts.count()
    restarts.broken.unlink()
    world.site.ctl("roll", "--back", f"{ZONE}:web")
    assert restarts.count() > before


def test_a_group_that_is_not_active_is_left_alone(world: DeliveryWorld) -> None:
    begin(world)
    main = world.site.conf / "ssl-mgr.conf"
    text = main.read_text().replace(
        f"active = true\ndomain = '{ZONE}'\n", f"active = false\ndomain = '{ZONE}'\n"
    )
    main.write_text(text)
    world.site.ctl("reload")
    world.site.ctl("deliver")
    world.site.stop()
    world.site.begin("--once")
    world.site.wait()
    assert world.certs_on("one") == {WEB, MAIL}
    assert (world.site.prod / WEB / "curr" / "privkey.pem").exists()


def test_another_place_for_production(world: DeliveryWorld) -> None:
    begin(world)
    new = world.site.prod / "new"
    world.site.globals["prod_cert_dir"] = f"'{new}'"
    world.site.tables["web"].restart = []
    world.site.configure()
    there = world.hosts["one"].root / "new" / WEB / "curr" / "privkey.pem"
    wait_until(there.exists, "the copy in the new place")
    # What is left in the old place is reported, over a restart too, until it is gone.
    hosts = ("localhost", "one.example.net")
    site, told = world.site, f"{world.site.prod} is not used any more (prod_cert_dir), but still"

    def text() -> str:
        return site.ctl("status").stdout

    wait_until(lambda: all(f"{host}: {told}" in text() for host in hosts), "the older places")
    site.stop()
    site.begin()
    assert all(f"{host}: {told}" in text() for host in hosts)
    assert site.ctl("check", status=1).stdout.count(told) == len(hosts)
    # What is meant to stay is said as it is for production itself: all of it, or it is told.
    site.globals["keep"] = f"['{WEB}']"
    site.configure()
    assert all(f"{host}: {told}" in text() for host in hosts)
    site.globals["keep"] = f"['{ZONE}']"
    site.configure()
    wait_until(lambda: told not in text(), "what is kept to be told no more")
    del site.globals["keep"]
    site.configure()
    wait_until(lambda: all(f"{host}: {told}" in text() for host in hosts), "them again")
    for root in (site.prod, world.hosts["one"].root):
        for group in ("ca", ZONE):
            shutil.rmtree(root / group, ignore_errors=True)
    site.ctl("reload")
    wait_until(lambda: told not in text(), "nothing to be told of")


def test_a_host_that_left_is_told_of_while_it_has_keys(world: DeliveryWorld) -> None:
    begin(world)
    site = world.site
    site.tables["web"].servers = ["localhost"]
    site.tables["web"].restart = []
    site.configure()
    assert "is no longer in a server class" in site.ctl("status").stdout
    site.stop()
    site.begin()
    assert f"with keys: {MAIL}, {WEB}" in site.ctl("status").stdout
