"""What goes where: only what is granted, and what is not any more is taken away (I1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.delivery_site import (
    ZONE,
    DeliveryWorld,
    Table,
    delivery_world,
)
from tests.stand.server import wait_until

ONE, TWO = "one.example.net", "two.example.net"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DeliveryWorld]:
    with delivery_world(tmp_path) as one:
        yield one


def begin(world: DeliveryWorld, *, clock: bool = False, **tables: Table) -> None:
    """Have two certificates, and one of each host's."""
    world.site.services = {"web": ["www.example.com"], "mail": ["mail.example.com"]}
    world.site.tables = dict(tables)
    world.site.write()
    world.site.begin(clock=clock)
    world.site.wait_settled()


def left_by_ssl_mgr(root: Path) -> None:
    """Put the whole tree there, as ssl-mgr did: directories, and the keys of the CA."""
    for place in ("ca/my-root/curr", f"{ZONE}/mail/curr", f"{ZONE}/web/curr", f"{ZONE}/web/next"):
        folder = root / place
        folder.mkdir(parents=True)
        (folder / "privkey.pem").write_text("an old key\n")
        (folder / "fullchain.pem").write_text("an old chain\n")
    (root / ZONE / "dh").mkdir()
    (root / ZONE / "dh" / "dhparam.pem").write_text("primes\n")
    (root / "README").write_text("mine\n")


def hosts_told(world: DeliveryWorld) -> dict[str, dict[str, object]]:
    document = json.loads(world.site.ctl("status", "--json").stdout)
    return {one["host"]: one for one in document["hosts"]}


def test_what_ssl_mgr_has_left_is_reported_and_pruned_if_asked(world: DeliveryWorld) -> None:
    root = world.add("one").root
    left_by_ssl_mgr(root)
    begin(world, web=Table([ONE], f"[['{ZONE}', ['web']]]"))
    line = world.site.wait_line("that do not belong there")
    assert "prune = true in [web]" in line
    assert hosts_told(world)[ONE]["surplus"] == [
        "ca/my-root with its key",
        f"{ZONE}/mail with its key",
    ]
    assert "ca/my-root with its key" in world.site.ctl("status").stdout
    assert (root / "ca/my-root/curr/privkey.pem").exists()
    # What it is meant to have is in our form, and nothing of the old generation is with it.
    assert (root / ZONE / "web/curr").is_symlink()
    assert not (root / ZONE / "web/next").exists()

    world.site.tables["web"].more = "prune = true"
    world.site.configure()
    world.wait_certs("one", {f"{ZONE}/web"})
    assert not (root / "ca").exists()
    assert (root / ZONE / "dh/dhparam.pem").exists()
    assert (root / "README").exists()
    wait_until(lambda: ONE not in hosts_told(world), "nothing to tell any more")


@pytest.mark.parametrize("running", [True, False], ids=["reload", "while it was down"])
def test_what_is_withdrawn_is_taken_away(world: DeliveryWorld, running: bool) -> None:
    world.add("one")
    world.add("two")
    both = f"[['{ZONE}', ['web', 'mail']]]"
    begin(world, web=Table([ONE], both), other=Table([TWO], both))
    (world.hosts["one"].root / ZONE / "mail" / "mine").write_text("an admin's own")
    if not running:
        world.site.stop()
    world.site.tables["web"].grants = f"[['{ZONE}', ['web']]]"
    del world.site.services["mail"]
    (world.site.conf / ZONE / "mail").unlink()
    if running:
        world.site.configure()
    else:
        world.site.write()
        world.site.begin()
    for name in ("one", "two"):
        world.wait_certs(name, {f"{ZONE}/web"})
    left = world.hosts["one"].root / ZONE / "mail"
    wait_until(lambda: [path.name for path in left.iterdir()] == ["mine"], "all but the admin's")
    wait_until(lambda: not (world.hosts["two"].root / ZONE / "mail").exists(), "the folder to go")
    wait_until(lambda: not (world.site.prod / ZONE / "mail").exists(), "it to go here too")
    # The set itself is kept.
    assert (world.site.live(f"{ZONE}/mail") / "privkey.pem").exists()


def test_a_host_that_was_down_loses_later_what_was_withdrawn(world: DeliveryWorld) -> None:
    one = world.add("one")
    begin(world, clock=True, web=Table([ONE], f"[['{ZONE}', ['web', 'mail']]]"))
    one.stop()
    world.site.tables["web"].grants = f"[['{ZONE}', ['web']]]"
    world.site.configure()
    wait_until(lambda: hosts_told(world).get(ONE), "it to be told")
    assert "Connection refused" in str(hosts_told(world)[ONE]["error"])
    one.start()
    world.site.later(2)
    world.wait_certs("one", {f"{ZONE}/web"})


def test_a_command_runs_here_after_each_hosts_copy(world: DeliveryWorld) -> None:
    world.add("one")
    log = world.top / "log"
    script = world.top / "note"
    script.write_text(f'#!/bin/sh\n[ ! -e {world.top}/broken ] || exit 7\necho "$@" >> {log}\n')
    script.chmod(0o755)
    commands = [[ONE, f"{script} after"], ["localhost", f"{script} here"], [TWO, f"{script} never"]]
    world.site.globals["post_copy_cmd"] = str(commands)
    begin(world, web=Table([ONE, "localhost"], f"[['{ZONE}', ['ALL']]]"))
    assert set(log.read_text().splitlines()) == {f"after {ONE}", "here localhost"}
    log.unlink()

    (world.top / "broken").touch()
    world.renew("web")
    found = world.site.wait_rest(f"{ZONE}:web")
    assert {one["state"] for one in found["servers"]} == {"pending"}
    assert all("exited with 7" in one["error"] for one in found["servers"])
    (world.top / "broken").unlink()
    world.site.ctl("deliver", f"{ZONE}:web")
    assert set(log.read_text().splitlines()) == {f"after {ONE}", "here localhost"}


def test_what_is_not_to_be_copied_is_restarted_all_the_same(world: DeliveryWorld) -> None:
    one = world.add("one")
    (one.root / "restart").write_text(f"#!/bin/sh\necho done >> {one.folder}/log\n")
    (one.root / "restart").chmod(0o755)
    table = Table([ONE], f"[['{ZONE}', ['web']]]", [f"{world.site.prod}/restart"])
    table.more = "skip_prod_copy = true"
    begin(world, web=table)
    assert world.certs_on("one") == set()
    assert (one.folder / "log").read_text() == "done\n"
    # From now on it is.
    table.more = ""
    world.site.configure()
    world.wait_certs("one", {f"{ZONE}/web"})


def test_deliver_restarts_only_what_it_has_changed(world: DeliveryWorld) -> None:
    one = world.add("one")
    (one.root / "restart").write_text(f"#!/bin/sh\necho done >> {one.folder}/log\n")
    (one.root / "restart").chmod(0o755)
    begin(world, web=Table([ONE], f"[['{ZONE}', ['web']]]", [f"{world.site.prod}/restart"]))
    site = world.site
    assert (one.folder / "log").read_text() == "done\n"
    assert "delivered: web on" in site.ctl("deliver").stdout
    assert (one.folder / "log").read_text() == "done\n"
    # A host that lost it gets it again, and is restarted.
    (world.curr("one", "web")).unlink()
    assert "delivered: web on" in site.ctl("deliver", "--to", ONE).stdout
    assert (one.folder / "log").read_text() == "done\n" * 2
    assert (world.curr("one", "web") / "privkey.pem").exists()
    assert "restarted: web on" in site.ctl("restart", "web").stdout
    assert (one.folder / "log").read_text() == "done\n" * 3
    assert "no server class" in site.ctl("deliver", "--to", "nobody", status=1).stderr
    assert "there is no server class" in site.ctl("restart", "nothing", status=1).stderr


def test_plan_lists_every_copy_and_command_before_it_happens(world: DeliveryWorld) -> None:
    world.add("one")
    site = world.site
    site.globals["min_roll_mins"] = "60"
    site.globals["post_copy_cmd"] = f"[['{ONE}', '/bin/echo done']]"
    web = Table([ONE, "localhost"], f"[['{ZONE}', ['web']]]", ["/bin/true 'a b'"])
    begin(world, imap=Table(["localhost"], f"[['{ZONE}', ['web']]]", ["/bin/echo imap"]), web=web)
    site.ctl("force-renew", f"{ZONE}:web")

    def planned() -> list[dict[str, str]]:
        jobs = site.ask("plan")[-1]["result"]["jobs"]
        return [row for row in jobs if row["cert"] == f"{ZONE}/web"]

    # What is on deck goes to production first.
    wait_until(lambda: planned()[0]["job"] == "roll", "a plan for the roll")
    jobs = planned()
    assert [(row["job"], row["state"]) for row in jobs] == [
        ("roll", "planned"),
        ("restart imap on localhost: /bin/echo imap", "planned"),
        ("restart web on localhost: /bin/true 'a b'", "planned"),
        (f"copy to {ONE}:{site.prod}", "planned"),
        (f"run here: /bin/echo done {ONE}", "planned"),
        (f"restart web on {ONE}: /bin/true 'a b'", "planned"),
    ]
    assert len({row["at"] for row in jobs}) == 1
    assert f"copy to {ONE}:{site.prod}" in site.ctl("plan").stdout

    world.hosts["one"].stop()
    site.ctl("roll", "--force", f"{ZONE}:web", status=1)
    (waits,) = [row for row in planned() if row["job"].startswith("copy to")]
    assert waits["state"] == "waiting"
    assert waits["at"]
    assert "Connection refused" in waits["reason"]


def test_a_machine_with_two_logins_is_one_machine(world: DeliveryWorld) -> None:
    """Neither takes away what the other brings, though both prune."""
    world.add("one")
    more = "prune = true"
    begin(
        world,
        imap=Table([f"root@{ONE}"], f"[['{ZONE}', ['mail']]]", more=more),
        web=Table([ONE], f"[['{ZONE}', ['web']]]", more=more),
    )
    both = {f"{ZONE}/web", f"{ZONE}/mail"}
    assert world.certs_on("one") == both
    world.renew("web", "mail")
    world.site.wait_settled()
    world.site.ctl("deliver")
    assert world.certs_on("one") == both
    assert "removed" not in "\n".join(world.site.lines)
