"""A visit to a host: what goes there, what is taken away there, and what never leaves."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from sslmd.config.model import is_meant
from sslmd.core.errors import Permanent, Transient
from sslmd.core.jobs import Copy, Told
from sslmd.core.names import CertId
from sslmd.servers import ssh
from sslmd.servers.around import needs_here
from sslmd.store.layout import Tree
from sslmd.workers.copy import Visit, copy, forget_outgoing
from tests.reasons import because
from tests.stand.far import ALSO, EVERYTHING, FAR, FarSite, far_site, server_class
from tests.stand.tools import INT, ROOT, WEB, Site
from tests.workers.test_restart import MAIL

PUBLIC = {"csr.pem", "cert.pem", "chain.pem", "fullchain.pem", "info"}
ALL = {*PUBLIC, "privkey.pem", "bundle.pem"}


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarSite]:
    """Everything is granted to the host."""
    with far_site(tmp_path, monkeypatch, server_class("web", EVERYTHING)) as made:
        yield made


class Machines:
    """Hosts that say that they are the one visited; `said`: what it said that it is."""

    def __init__(self, *names: str, held: Collection[CertId] = (), may_send: bool = True) -> None:
        self.names, self.held, self.may_send = names, held, may_send
        self.said: list[str] = []

    def holds(self, host: str) -> Collection[CertId]:
        return self.held

    def older(self, host: str) -> Collection[str]:
        return ()

    async def met(self, host: str, machine: str) -> None:
        assert host == FAR
        self.said.append(machine)

    async def will_hold(self, job: Copy) -> None:
        assert self.may_send

    def alike(self, host: str) -> Collection[str]:
        assert host == FAR
        return self.names


ALONE = Machines()
UNSENT = Machines(may_send=False)


async def visit(one: FarSite, *certs: CertId, holds: Collection[CertId] = ()) -> Visit:
    return await copy(one.job(*certs), one.site.tools.delivering, Machines(held=holds))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_a_first_visit_and_a_second(one: FarSite) -> None:
    await one.made()
    found = await visit(one, WEB, MAIL)
    assert found == Visit(new={WEB: True, MAIL: True}, left={WEB, MAIL})
    assert one.there() == {str(WEB), str(MAIL)}
    for cert in (WEB, MAIL):
        assert contents(one.curr(cert)) == contents(one.site.in_prod(cert) / "curr")
        assert stat.S_IMODE((one.curr(cert) / "privkey.pem").stat().st_mode) == 0o600
    assert one.waiting() == []
    assert await visit(one, WEB, MAIL) == Visit(new={WEB: False, MAIL: False}, left={WEB, MAIL})
    await one.made(WEB)
    assert (await visit(one, WEB, MAIL)).new == {WEB: True, MAIL: False}
    assert contents(one.curr(WEB)) == contents(one.site.in_prod(WEB) / "curr")


async def test_the_key_of_a_ca_never_is_in_what_is_sent(one: FarSite) -> None:
    await one.made()
    everything = (ROOT, INT, WEB, MAIL)
    assert all(is_meant(one.site.tools.site.config, cert, FAR) for cert in everything)
    # Whatever somebody has put into production.
    (one.site.in_prod(INT) / "curr/privkey.pem").write_bytes(
        (one.site.place(INT) / "curr/privkey.pem").read_bytes()
    )
    found = await visit(one, *everything)
    assert found.errors == {}
    assert one.was_sent() == {
        *(f"{cert}/{name}" for cert in (ROOT, INT) for name in PUBLIC),
        *(f"{cert}/{name}" for cert in (WEB, MAIL) for name in ALL),
    }
    sent = [path for path in one.sent.rglob("*") if path.is_file()]
    for ca in (ROOT, INT):
        key = (one.site.place(ca) / "curr/privkey.pem").read_bytes()
        assert set(contents(one.curr(ca))) == PUBLIC
        assert not any(key in path.read_bytes() for path in sent)
    assert not any(b"PRIVATE" in path.read_bytes() for path in (one.far.root / "ca").rglob("*.pem"))
    # One that another tool had put there goes.
    (one.curr(INT) / "privkey.pem").write_text("a key")
    await visit(one, INT)
    assert set(contents(one.curr(INT))) == PUBLIC


async def test_files_for_people_make_no_other_set(one: FarSite) -> None:
    """One that an earlier version copied has no csr.pem and no tlsa.rr: nothing is restarted."""
    await one.made()
    (one.site.place(WEB) / "curr/tlsa.rr").write_text("; TLSA records\n")
    await visit(one, WEB)
    for name in ("csr.pem", "tlsa.rr"):
        (one.curr(WEB) / name).unlink()
    assert (await visit(one, WEB)).new == {WEB: False}
    assert (one.curr(WEB) / "tlsa.rr").read_text() == "; TLSA records\n"
    assert set(contents(one.curr(WEB))) == {*ALL, "tlsa.rr"}
    assert stat.S_IMODE((one.curr(WEB) / "tlsa.rr").stat().st_mode) == 0o644


async def test_what_is_sent_is_for_us_alone(one: FarSite) -> None:
    await one.made(ROOT, INT, WEB)
    await visit(one, WEB)
    (folder,) = one.sent.iterdir()
    for path in (folder, folder / WEB.group, folder / WEB.group / WEB.service):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for name in ("privkey.pem", "bundle.pem"):
        path = folder / WEB.group / WEB.service / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_trouble_of_one_stops_no_other(one: FarSite) -> None:
    await one.made()
    (one.site.folder(one.site.live(MAIL), MAIL) / "cert.pem").unlink()
    (one.far.root / WEB.group).mkdir()
    (one.far.root / WEB.group / WEB.service).touch()
    found = await visit(one, WEB, MAIL, INT)
    assert found.new == {INT: True}
    assert isinstance(found.errors[MAIL], Permanent)
    assert "has no certificate to deliver" in str(found.errors[MAIL])
    assert isinstance(found.errors[WEB], Transient)
    assert str(found.errors[WEB]).startswith(f"{FAR}: ")
    assert "is not a directory; move it away" in str(found.errors[WEB])
    assert one.there() == {str(INT)}
    assert one.waiting() == []


async def test_what_is_not_granted_any_more_is_not_sent(one: FarSite) -> None:
    await one.made()
    job = one.job(WEB, MAIL)
    one.configure(server_class("web", "[['example.com', ['web']]]"))
    found = await copy(job, one.site.tools.delivering, Machines(held={MAIL}))
    assert str(found.errors[MAIL]) == f"{MAIL} is not meant for {FAR} any more"
    assert one.there() == {str(WEB)}
    assert not [name for name in one.was_sent() if str(MAIL) in name]
    # Nor with a class that has its servers filled by others.
    one.configure(server_class("web", EVERYTHING, "skip_prod_copy = true"))
    found = await copy(job, one.site.tools.delivering, ALONE)
    assert set(found.errors) == {WEB, MAIL}
    assert found.new == {}


async def test_what_is_taken_away_and_what_is_told(one: FarSite) -> None:
    await one.made()
    await visit(one, WEB, MAIL, INT)
    (one.far.root / "example.net/old/curr").mkdir(parents=True)
    (one.far.root / "Not A Name/x/curr").mkdir(parents=True)
    one.configure(server_class("web", "[['example.com', ['web']]]"))
    # A key counts, whatever the folders are called that it is in.
    odd = ["Example.NET/x", "Not A Name/x"]
    for name in odd:
        (one.far.root / name / "curr").mkdir(parents=True, exist_ok=True)
        (one.far.root / name / "curr/privkey.pem").touch()
    found = await visit(one)
    assert [name for name in map(str, found.surplus) if name.startswith(tuple(odd))] == [
        f"{name} with its key" for name in odd
    ]
    shutil.rmtree(one.far.root / "Example.NET")
    (one.far.root / "Not A Name/x/curr/privkey.pem").unlink()
    found = await visit(one, holds=[MAIL])
    assert found.removed == [f"{MAIL} with its key"]
    assert list(map(str, found.surplus)) == [str(INT), "example.net/old"]
    assert one.there() == {str(WEB), str(INT), "example.net/old", "Not A Name/x"}
    # It was said that what is not meant for it goes.
    one.configure(server_class("web", "[['example.com', ['web']]]", "prune = true"))
    found = await visit(one)
    assert (found.removed, found.surplus) == ([str(INT), "example.net/old"], [])
    assert one.there() == {str(WEB), "Not A Name/x"}
    # All classes that share it have to say so.
    (one.far.root / "example.net/old/curr").mkdir(parents=True)
    one.configure(
        server_class("web", "[['example.com', ['web']]]", "prune = true")
        + server_class("imap", "[['example.com', ['mail']]]")
    )
    found = await visit(one)
    assert (found.removed, list(map(str, found.surplus))) == ([], ["example.net/old"])


async def test_who_may_read_the_key_there(one: FarSite) -> None:
    await one.made()
    one.configure(
        server_class("web", "[['example.com', ['web']]]", "key_group = '4242'", "key_mode = '0640'")
        + server_class("imap", "[['example.com', ['mail']]]")
    )
    await visit(one, WEB, MAIL)
    for cert, wanted in ((WEB, (0o640, 4242)), (MAIL, (0o600, 0))):
        info = (one.curr(cert) / "privkey.pem").stat()
        assert (stat.S_IMODE(info.st_mode), info.st_gid) == wanted
    # Access that changes is no other certificate.
    one.configure(server_class("web", EVERYTHING))
    assert (await visit(one, WEB)).new == {WEB: False}
    assert stat.S_IMODE((one.curr(WEB) / "privkey.pem").stat().st_mode) == 0o600


async def test_what_a_host_will_hold_is_noted_before_anything_is_sent(one: FarSite) -> None:
    await one.made()

    class Full(Machines):
        async def will_hold(self, job: Copy) -> None:
            assert one.was_sent() == set()
            raise Transient("the disk is full")

    with pytest.raises(Transient, match="the disk is full"):
        await copy(one.job(WEB), one.site.tools.delivering, Full())
    assert one.was_sent() == set()
    # It was reached, and nothing was put there.
    assert one.far.commands() == ["exec /bin/sh -s"]
    assert one.there() == set()


async def test_a_host_that_nothing_gets_to_holds_nothing(one: FarSite) -> None:
    await one.made()
    one.far.hide("rsync")
    found = await visit(one, WEB)
    assert list(found.errors) == [WEB]
    assert "install it there" in str(found.errors[WEB])
    assert (found.left, found.trouble) == (set(), None)


async def test_a_host_that_is_down(one: FarSite) -> None:
    await one.made()
    one.far.stop()

    with pytest.raises(Transient, match=rf"{FAR}: .*Connection refused; see whether it is up"):
        await copy(one.job(WEB), one.site.tools.delivering, UNSENT)
    assert one.was_sent() == set()
    assert one.waiting() == []


async def test_a_command_that_runs_after_the_copy(one: FarSite) -> None:
    await one.made()
    log = one.site.top / "log"
    script = one.site.top / "after"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\n[ ! -e {log}.broken ]\n')
    script.chmod(0o755)
    one.configure(
        server_class("web", EVERYTHING),
        f"    post_copy_cmd = [['{FAR}', '{script} a'], ['other', '{script} b']]\n",
    )
    await visit(one)
    assert not log.exists()  # nothing was copied
    await visit(one, WEB)
    assert log.read_text() == f"a {FAR}\n"
    # Whoever logs in there, it is that host.
    one.configure(
        server_class("web", EVERYTHING),
        f"    post_copy_cmd = [['root@{FAR.upper()}', '{script} c']]\n",
    )
    await visit(one, WEB)
    assert log.read_text() == f"a {FAR}\nc {FAR}\n"
    log.with_name("log.broken").touch()
    with pytest.raises(Transient, match=r"after c far.example.net exited with 1"):
        await visit(one, WEB)


async def test_on_this_machine_production_is_what_servers_read(one: FarSite) -> None:
    await one.made()
    gone = one.site.prod / "example.net" / "gone"
    (gone / "db/20260101-00:00:00").mkdir(parents=True)
    (gone / "curr").symlink_to("db/20260101-00:00:00")
    # A daemon that was killed had begun to take this one away.
    torn = one.site.prod / "example.net" / "torn"
    (torn / "db/20260101-00:00:00").mkdir(parents=True)
    (torn / "db/20260101-00:00:00/privkey.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    # That they were brought here is noted, also when they left the configuration.
    for service in ("gone", "torn"):
        notes = one.site.tree.state_file(CertId("example.net", service))
        os.makedirs(os.path.dirname(notes))
        Path(notes).write_text("version = 1\n[delivered]\ncurr = '20260101-00:00:00'\n")
    linked = one.site.prod / "example.net" / "linked" / "curr"
    linked.parent.mkdir()
    linked.symlink_to("db/20260101-00:00:00")
    keys = (
        "mine.key",
        "example.com/web/spare.pem",
        "example.com/web/db/mine/privkey.pem",
        "Example.NET/x/curr/privkey.pem",
        ".mine/privkey.pem",
        f"ca/{INT.service}/db/{one.site.live(INT)}/privkey.pem",
    )
    for key in keys:
        (one.site.prod / key).parent.mkdir(parents=True, exist_ok=True)
        (one.site.prod / key).write_text("-----BEGIN RSA PRIVATE KEY-----\n")
    as_ssl_mgr_left_it = one.site.prod / "example.net" / "old" / "curr"
    as_ssl_mgr_left_it.mkdir(parents=True)
    job = Copy("localhost", (Told(WEB, one.site.live(WEB)),), because("test"))

    found = await copy(job, one.site.tools.delivering, UNSENT)
    assert found.new == {WEB: False}
    assert sorted(found.removed) == ["example.net/gone", "example.net/torn with its key"]
    foreign = ["example.net/linked", "example.net/old"]
    strays = sorted([*keys[:-1], *foreign])
    assert list(map(str, found.surplus)) == [f"{INT} with its key", *strays]
    assert linked.is_symlink()
    one.configure(server_class("web", EVERYTHING), globals_=f"keep = {[*keys[:-1], 'ca']}\n")
    found = await copy(job, one.site.tools.delivering, UNSENT)
    assert list(map(str, found.surplus)) == foreign
    assert not gone.exists()
    assert not torn.exists()
    assert as_ssl_mgr_left_it.exists()
    assert one.far.commands() == []


def test_what_a_killed_daemon_was_sending_is_removed(tmp_path: Path) -> None:
    forget_outgoing(Tree(str(tmp_path)))
    folder = tmp_path / ".outgoing" / "0123" / "example.com" / "web"
    folder.mkdir(parents=True)
    (folder / "privkey.pem").touch()
    forget_outgoing(Tree(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


async def test_a_machine_with_two_names_keeps_what_is_meant_for_the_other(one: FarSite) -> None:
    await one.made()
    await visit(one, WEB, MAIL)
    web = server_class("web", "[['example.com', ['web']]]", "prune = true")
    mail = server_class("smtp", "[['example.com', ['mail']]]", hosts=ALSO)
    one.configure(web + mail)
    both, job = Machines(ALSO, held={WEB, MAIL}), Copy(FAR, (), because("test"))
    found = await copy(job, one.site.tools.delivering, both)
    assert (found.removed, found.surplus, found.left) == ([], [], {WEB, MAIL})
    assert found.same == (ALSO,)
    assert list(one.far.root.glob(".sslmd*")) == []
    (machine,) = set(both.said)
    assert machine.endswith(f":{one.far.root.stat().st_ino}")
    # What is meant for neither is not pruned unless both say so.
    one.configure(web + mail.replace("['mail']", "['web']"))
    found = await copy(job, one.site.tools.delivering, Machines(ALSO))
    assert (found.removed, list(map(str, found.surplus))) == ([], [f"{MAIL} with its key"])
    found = await copy(job, one.site.tools.delivering, ALONE)
    assert found.removed == [f"{MAIL} with its key"]


async def test_a_host_that_says_nothing_has_got_nothing(
    one: FarSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shell had no room for a temporary file, and could not even say so."""
    await one.made()
    silent = ssh._script().replace('say put "$news"', ":")
    monkeypatch.setattr(ssh, "_script", lambda: silent)
    found = await visit(one, WEB)
    assert found.new == {}
    assert "does not say that example.com/web is in its place" in str(found.errors[WEB])


def test_a_key_of_a_ca_that_is_in_no_set_is_reported(tmp_path: Path) -> None:
    """There is nothing in production that it could be told with (I1)."""
    site = Site(tmp_path)
    folder = Path(site.prod) / "ca" / ROOT.service / "db" / "kept by somebody"
    folder.mkdir(parents=True)
    (folder / "privkey.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    found = needs_here(site.tools.site.config, site.now)
    assert [one.path for one in found.surplus] == [f"{ROOT}/db/kept by somebody/privkey.pem"]
