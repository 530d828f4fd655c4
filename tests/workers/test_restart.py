"""Restarts: the right commands, in order, once for a whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslmd.config.model import class_order, places
from sslmd.core.errors import Permanent, Transient
from sslmd.core.host.commands import with_zones
from sslmd.core.jobs import Restart, Told
from sslmd.core.names import CertId, SetName
from sslmd.core.state import ServerPhase
from sslmd.workers.restart import restart
from tests.reasons import because
from tests.stand.hosts_decided import restarts
from tests.stand.tools import GLOBALS, GROUPS, NOW, WEB, Site

NET = CertId("example.net", "web")
MAIL = CertId("example.com", "mail")
SET = SetName.at(NOW)

# Each command notes its arguments, one line for each call.
NOTE = "tools/note"
MAIN = (
    GLOBALS
    + GROUPS
    + f"""
[[groups]]
    active = true
    domain = 'example.net'
    services = ['web']

[dns]
    restart_cmd = '{NOTE} dns'
    depends = ['cert']

[imap]
    servers = ['localhost']
    svc_depends = [['any', ['mail']]]
    restart_cmd = ['{NOTE} imap-1', "{NOTE} 'imap 2' $HOME"]

[web]
    servers = ['localhost']
    svc_depends = [['any', ['ALL']]]
    restart_cmd = '{NOTE} web'
"""
)


def service(group: str, name: str) -> str:
    return f"""\
name = 'Test'
group = '{group}'
service = '{name}'
signing_ca = 'my-int'

[X509]
    CN = '{name}.{group}'
"""


FILES = {
    "example.com/mail": service("example.com", "mail"),
    "example.net/web": service("example.net", "web"),
}


def make(top: Path, main: str = MAIN, tool: str = 'echo "$#:$*" >> log') -> Site:
    path = top / NOTE
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{tool}\n")
    path.chmod(0o755)
    return Site(top, main, files=FILES)


def noted(site: Site) -> list[str]:
    path = site.top / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def told(*certs: CertId) -> tuple[Told, ...]:
    return tuple(Told(cert, SET) for cert in certs)


async def test_everything_that_depends_is_restarted_once_for_a_batch(tmp_path: Path) -> None:
    site = await make(tmp_path).with_cas()
    assert class_order(site.tools.site.config) == ("imap", "web", "dns")
    for cert in (WEB, MAIL, NET):
        await site.renew(cert)
        await site.deliver(cert)
    await site.rest()
    # The classes in the order of the file, DNS last, with the zones.
    assert noted(site) == [
        *("1:imap-1", "2:imap 2 $HOME", "1:web", "4:dns --serial_bump example.com example.net")
    ]
    await site.rest()
    assert noted(site) == []
    for cert in (WEB, MAIL, NET):
        phases = {server.phase for server in site.state(cert).servers}
        assert phases == {ServerPhase.PROVEN}


async def test_only_what_depends_is_restarted(tmp_path: Path) -> None:
    site = await make(tmp_path).with_cas()
    config = site.tools.site.config
    assert places(config, NET) == {("web", "localhost"), ("dns", "localhost")}
    assert places(config, MAIL) == {*places(config, NET), ("imap", "localhost")}
    await site.renew(NET)
    await site.rest(NET)
    assert noted(site) == ["1:web", "3:dns --serial_bump example.net"]


async def test_the_plan_makes_one_job_for_each_host(tmp_path: Path) -> None:
    site = await make(tmp_path).with_cas()
    for cert in (WEB, MAIL):
        await site.renew(cert)
        await site.deliver(cert)
    states = [(cert, site.state(cert)) for cert in (MAIL, WEB)]
    (job,) = restarts(states, class_order(site.tools.site.config), site.now)
    assert job.host == "localhost"
    assert [kind for kind, _ in job.told] == ["imap", "web", "dns"]
    assert {one.cert for one in dict(job.told)["web"]} == {MAIL, WEB}


@pytest.mark.parametrize(
    ("more", "command", "called"),
    [
        ("", "dns", "4:dns --serial_bump example.com example.net"),
        ("pass_zones = false", "dns", "1:dns"),
        ("", "dns {zones} end", "4:dns example.com example.net end"),
        ("", "dns {zones}", "3:dns example.com example.net"),
    ],
)
async def test_how_dns_is_told_the_zones(
    tmp_path: Path, more: str, command: str, called: str
) -> None:
    main = MAIN.replace(f"'{NOTE} dns'", f"'{NOTE} {command}'\n    {more}")
    site = make(tmp_path, main)
    job = Restart(
        "localhost", (("dns", told(NET, WEB, MAIL, CertId("ca", "my-int"))),), because("")
    )
    (outcome,) = await restart(job, site.tools.delivering)
    assert outcome.error is None
    assert noted(site) == [called]


def test_zones() -> None:
    def run(*argv: str, zones: list[str], pass_zones: bool = True) -> list[str]:
        return list(with_zones(argv, zones, pass_zones=pass_zones))

    assert run("a", zones=[]) == ["a"]
    assert run("a", "{zones}", "b", zones=[]) == ["a", "b"]
    assert run("a", zones=["x"], pass_zones=False) == ["a"]
    assert run("a", "{zones}", zones=["x", "y"], pass_zones=False) == ["a", "x", "y"]
    # Only a word of its own is meant.
    assert run("a{zones}", zones=["x"]) == ["a{zones}", "--serial_bump", "x"]


async def test_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    tool = 'echo "$1" >> log; case $1 in imap-1) echo no such unit; exit 5;; esac'
    site = make(tmp_path, tool=tool)
    job = Restart("localhost", (("imap", told(MAIL)), ("web", told(MAIL, WEB))), because(""))
    imap, web = await restart(job, site.tools.delivering)
    assert isinstance(imap.error, Transient)
    assert str(imap.error) == f"{tmp_path}/{NOTE} imap-1 exited with 5: no such unit"
    assert (imap.kind, imap.host, imap.told) == ("imap", "localhost", told(MAIL))
    assert (web.error, web.told) == (None, told(MAIL, WEB))
    # The second command of a class is not run after the first failed.
    assert noted(site) == ["imap-1", "web"]


async def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    main = MAIN.replace("[globals]", "[globals]\n    cmd_timeout = 1")
    site = make(tmp_path, main, tool="tail -f /dev/null")
    job = Restart("localhost", (("web", told(WEB)),), because(""))
    (outcome,) = await restart(job, site.tools.delivering)
    assert isinstance(outcome.error, Transient)
    assert "was ended after 1 s" in str(outcome.error)


async def test_one_that_cannot_be_started(tmp_path: Path) -> None:
    site = make(tmp_path)
    (tmp_path / NOTE).unlink()
    (outcome,) = await restart(
        Restart("localhost", (("web", told(WEB)),), because("")), site.tools.delivering
    )
    assert isinstance(outcome.error, Permanent)
    assert f"cannot start {tmp_path}/{NOTE} web: No such file" in str(outcome.error)


async def test_a_class_without_a_command(tmp_path: Path) -> None:
    site = make(tmp_path, MAIN.replace(f"restart_cmd = '{NOTE} web'", ""))
    job = Restart("localhost", (("web", told(WEB)), ("gone", told(WEB))), because(""))
    assert [one.error for one in await restart(job, site.tools.delivering)] == [None, None]
    assert noted(site) == []
