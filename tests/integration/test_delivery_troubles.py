"""Hosts in trouble: named with the reason, bounded in time, and none of them stops the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.delivery_site import DONE, ZONE, DeliveryWorld, Table, delivery_world
from tests.stand.server import wait_until

# What a host has to have.
_NEEDS = "a POSIX shell with coreutils or busybox, and rsync"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DeliveryWorld]:
    with delivery_world(tmp_path) as one:
        yield one


def fleet(world: DeliveryWorld, *names: str, restart: str = "", **globals_: str) -> None:
    """Have one certificate delivered to these hosts."""
    site = world.site
    site.services = {"web": ["www.example.com"]}
    hosts = [f"{name}.example.net" for name in names]
    site.tables = {"web": Table(hosts, f"[['{ZONE}', ['web']]]", [restart] if restart else [])}
    site.globals.update(globals_)
    site.write()


def test_four_in_trouble_do_not_hold_up_the_others_and_heal_by_themselves(
    world: DeliveryWorld,
) -> None:
    for name in ("well", "here2", "down", "failing", "hanging"):
        world.add(name)
    world.add("full", disk="256k")
    names = list(world.hosts)
    switch = world.top / "hosts" / "failing" / "broken"
    fleet(world, *names, restart=str(world.site.prod / "restart"))
    for name in names:
        script = world.root(name) / "restart"
        script.write_text(f'#!/bin/sh\n[ ! -e {switch} ] || {{ echo "no such module"; exit 3; }}\n')
        script.chmod(0o755)
    site = world.site
    site.begin(clock=True)
    site.wait_settled()

    world.hosts["down"].stop()
    world.hosts["full"].fill_disk()
    world.hosts["hanging"].freeze()
    switch.touch()
    serial = world.renew("web")[f"{ZONE}/web"]

    def told(servers: dict[str, dict[str, object]]) -> bool:
        bad = [servers[f"{name}.example.net"] for name in ("down", "failing", "hanging", "full")]
        return all(one["attempts"] for one in bad)

    # The others are done long before the one that hangs is given up.
    site.wait_servers(
        "web",
        lambda servers: (
            all(servers[f"{name}.example.net"]["state"] in DONE for name in ("well", "here2"))
            and not servers["hanging.example.net"]["attempts"]
        ),
        "the hosts that are well",
    )
    servers = site.wait_servers("web", told, "the four")
    reasons = {
        "down": ("pending", "Connection refused"),
        "full": ("pending", "space"),
        "failing": ("failed", "exited with 3: no such module"),
        "hanging": ("pending", "Connection timed out during banner exchange"),
    }
    shown = site.ctl("status").stdout
    for name, (state, text) in reasons.items():
        one = servers[f"{name}.example.net"]
        assert one["state"] == state
        assert f"{name}.example.net: " in one["error"]
        assert text in one["error"]
        assert one["next_try"]
        assert text in shown

    world.hosts["down"].start()
    world.hosts["full"].free_disk()
    world.hosts["hanging"].thaw()
    switch.unlink()
    site.later(2)
    site.wait_servers(
        "web",
        lambda servers: all(one["state"] in DONE for one in servers.values()),
        "all hosts",
    )
    assert site.serials()[f"{ZONE}/web"] == serial  # no other certificate was needed
    for name in names:
        assert (world.curr(name, "web") / "cert.pem").read_bytes() == (
            site.live(f"{ZONE}/web") / "cert.pem"
        ).read_bytes()


def test_what_admins_have_done_wrong_is_named(world: DeliveryWorld) -> None:
    """Each is told within seconds, with the way out; the one that is well gets its certificate."""
    for name in (
        *("well", "stranger", "locked", "chatty", "bare", "linked", "open"),
        *("nologin", "limited"),
    ):
        world.add(name)
    names = list(world.hosts)
    fleet(world, *names)
    world.site.tables["web"].servers.append("nonesuch.invalid")
    hosts = world.hosts
    hosts["stranger"].stop()
    hosts["stranger"].new_host_key()
    hosts["stranger"].start()
    hosts["locked"].want_password()
    hosts["chatty"].say_first("Welcome to chatty!\nHave a nice day.\n")
    hosts["bare"].hide("rsync")
    hosts["nologin"].force("/usr/sbin/nologin")
    hosts["limited"].force(f"rrsync {world.site.prod}")
    elsewhere = hosts["linked"].root / "elsewhere"
    elsewhere.mkdir()
    (hosts["linked"].root / ZONE).symlink_to(elsewhere)
    (hosts["open"].root / ZONE).mkdir()
    (hosts["open"].root / ZONE).chmod(0o777)
    site = world.site
    site.write()
    site.begin()
    rest = site.wait_rest(f"{ZONE}:web")
    servers = {server["host"]: server for server in rest["servers"]}
    assert servers["well.example.net"]["state"] in DONE
    told = {
        "nonesuch.invalid": ("Could not resolve hostname", "look at the name"),
        "stranger.example.net": ("Host key verification failed", "ssh-keygen -R"),
        "locked.example.net": ("Permission denied", "ssh-copy-id locked.example.net"),
        "chatty.example.net": ("rsync exited with", "prints text; silence"),
        "bare.example.net": ("rsync", "install it there"),
        "linked.example.net": (f"{ZONE} is a link to", "put a directory in its place"),
        "open.example.net": ("can be written by everybody", "chmod o-w"),
        "nologin.example.net": ("This account is currently not available", _NEEDS),
        "limited.example.net": ("is limited to rsync", _NEEDS),
    }
    for host, texts in told.items():
        assert servers[host]["state"] == "pending"
        for text in texts:
            assert text in servers[host]["error"], servers[host]
    assert list(elsewhere.iterdir()) == []
    for name in names:
        assert not list(world.root(name).glob(".sslmd*"))

    # Mended; an admin need not wait for the next try.
    hosts["stranger"].know_host_key()
    hosts["locked"].take_key()
    hosts["chatty"].say_first("")
    hosts["bare"].show_all()
    hosts["nologin"].force("")
    hosts["limited"].force("")
    (hosts["linked"].root / ZONE).unlink()
    (hosts["open"].root / ZONE).chmod(0o755)
    done = site.ctl("deliver", "--to", "locked.example.net", f"{ZONE}:web")
    assert "delivered: web on locked.example.net" in done.stdout
    done = site.ctl("deliver", f"{ZONE}:web", status=1)
    assert "Could not resolve hostname" in done.stdout
    servers = site.servers("web")
    assert {host for host, one in servers.items() if one["state"] not in DONE} == {
        "nonesuch.invalid"
    }


@pytest.mark.parametrize("where", ["far", "here"])
def test_restart_commands_that_misbehave(world: DeliveryWorld, where: str) -> None:
    far = world.add("far")
    host = "far.example.net" if where == "far" else "localhost"
    fleet(world, "far", cmd_timeout="2")
    site = world.site
    # Nothing else on the machine sleeps as long.
    pause = 10_000 + os.getpid() % 10_000 / 10_000
    tools = world.root("far") if where == "far" else site.prod
    tools.mkdir(exist_ok=True)
    for name, text in {
        "reader": "read -r line || { echo nothing to read; exit 4; }",
        "daemon": "sleep 300 & echo started",
        "hanging": f"sleep {pause} & wait",
        "refused": "echo Interactive authentication required.; exit 1",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    site.tables = {
        kind: Table([host], f"[['{ZONE}', ['web']]]", [f"{site.prod}/{command} 'a b'"])
        for kind, command in (
            *(("smtp", "reader"), ("imap", "nonesuch"), ("web", "daemon")),
            *(("other", "hanging"),),
        )
    }
    site.write()
    site.begin()
    status = site.wait_rest(f"{ZONE}:web")
    found = {one["class"]: one for one in status["servers"]}
    assert found["web"]["state"] in DONE
    assert "exited with 4: nothing to read" in found["smtp"]["error"]
    assert "cannot start" in found["imap"]["error"]
    assert "correct restart_cmd" in found["imap"]["error"]
    assert "was ended after 2 s" in found["other"]["error"]
    assert far.run(["sh", "-c", f"pgrep -x -f 'sleep {pause}' || true"]) == ""

    site.tables = {"web": Table([host], f"[['{ZONE}', ['web']]]", [f"{site.prod}/refused"])}
    site.configure()
    done = site.ctl("restart", "web", status=1)
    assert "allow it with a polkit rule" in done.stdout


def test_a_host_that_was_never_reached_holds_nothing(world: DeliveryWorld) -> None:
    """Nor does one that a note of an older version names, or what a certificate remembers."""
    for name in ("well", "never", "ghost"):
        world.add(name)
    fleet(world, "well", "never")
    hosts, site = world.hosts, world.site
    hosts["never"].stop()
    site.begin()
    site.wait_rest(f"{ZONE}:web")
    fleet(world, "well")
    site.ctl("reload")

    def is_well() -> None:
        assert "never.example.net" not in site.ctl("status").stdout
        # At a start it is still among what the certificate remembers, for a moment.
        wait_until(lambda: "ghost.example.net" not in site.ctl("status").stdout, "it is forgotten")
        assert "no longer in a server class" not in site.ctl("check", status=None).stdout
        assert set(site.servers("web")) == {"well.example.net"}

    is_well()
    site.stop()
    # As 0.1.0 left it of a host that never answered.
    note = site.top / "certs/.hosts/ghost.example.net.toml"
    note.write_text(f'version = 1\nholds = ["{ZONE}/web"]\nprod = "{site.prod}"\nattempts = 3\n')
    note.chmod(0o600)
    state = site.top / "certs" / ZONE / "web/state.toml"
    head, mark, servers = state.read_text().partition("[[servers]]")
    block = f"{mark}{servers}".replace("well.example.net", "ghost.example.net")
    block = "\n[[".join(block.split("\n[[")[:1])
    state.write_text(f"{head}{block}\n{mark}{servers}")
    hosts["never"].start()
    site.begin()
    is_well()
    told = site.ctl("forget", "ghost.example.net", status=None)
    assert "was copied" not in told.stdout + told.stderr
    world.renew("web")
    site.wait_rest(f"{ZONE}:web")
    is_well()
    assert hosts["never"].commands() == hosts["ghost"].commands() == []
