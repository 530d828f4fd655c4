"""What a copy comes to for each of its certificates, and what is noted of the host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.core.errors import Refused, Transient
from sslmd.core.jobs import Copy, HostJob, Told
from sslmd.core.names import CertId
from sslmd.core.reason import Reason
from sslmd.core.seen import AtPort
from sslmd.core.state import Server, ServerPhase, Unseen
from sslmd.core.words.sentence import say, written
from sslmd.daemon.hosts import Hosts
from sslmd.servers.ssh import RemoteShell, ShellAnswer
from sslmd.store.note_kinds import HOST_NOTE, HostNote
from tests.daemon.test_hosts import hosts_of
from tests.reasons import because
from tests.stand.far import EVERYTHING, FAR, FarSite, far_site, server_class
from tests.stand.tools import INT, ROOT, WEB, believe
from tests.workers.test_restart import MAIL

OF_ZONE = "[['example.com', ['ALL']]]"
WEB_ALONE = "[['example.com', ['web']]]"


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarSite]:
    with far_site(tmp_path, monkeypatch, server_class("web", OF_ZONE)) as made:
        yield made


def server(one: FarSite, cert: CertId) -> Server:
    (found,) = one.site.state(cert).servers
    return found


def loaded(one: FarSite) -> Hosts:
    hosts = hosts_of(one.site)
    hosts.notes.load()
    for cert in (ROOT, INT, WEB, MAIL):
        hosts.note(cert)
    return hosts


def note(one: FarSite) -> HostNote:
    return HOST_NOTE.read(one.site.tree.host_note(FAR))


def surplus(one: FarSite) -> tuple[str, ...]:
    return tuple(map(str, note(one).surplus))


def prod_of(one: FarSite) -> str:
    return str(one.site.tools.site.config.globals.prod_cert_dir)


def due(hosts: Hosts, now: datetime) -> list[HostJob]:
    return [job for job in hosts.due(now) if job.host == FAR]


async def test_what_was_copied_is_to_be_restarted(one: FarSite) -> None:
    await one.made()
    hosts = loaded(one)
    (job,) = due(hosts, one.site.now)
    assert isinstance(job, Copy)
    assert {told.cert for told in job.told} == {WEB, MAIL}
    assert await hosts.run(job) == []
    for cert in (WEB, MAIL):
        found = server(one, cert)
        assert (found.phase, found.set) == (ServerPhase.DELIVERED, one.site.live(cert))
        assert (found.error, found.attempts, found.next_try) == ("", 0, None)
    assert replace(note(one), machine="") == HostNote(
        frozenset({WEB, MAIL}), (), one.site.now, prod_of(one)
    )
    (restart,) = due(hosts, one.site.now)
    assert not isinstance(restart, Copy)
    assert await hosts.run(restart) == []
    found = server(one, WEB)
    assert (found.phase, found.restarted) == (ServerPhase.RESTARTED, found.set)
    assert found.unseen == Unseen(Reason(AtPort.PROBE_FALSE))
    # What it has already, and was restarted with, is not restarted again.
    for cert in (WEB, MAIL):
        pending = replace(server(one, cert), phase=ServerPhase.PENDING)
        believe(one.site.registry, cert, state=replace(one.site.state(cert), servers=(pending,)))
    (one.curr(MAIL)).unlink()
    await hosts.run(job)
    assert server(one, WEB).phase is ServerPhase.RESTARTED
    assert server(one, MAIL).phase is ServerPhase.DELIVERED


async def test_all_that_failed_together_is_tried_again_together(one: FarSite) -> None:
    await one.made()
    hosts = loaded(one)
    often = replace(server(one, MAIL), attempts=4, since=one.site.now - timedelta(hours=1))
    believe(one.site.registry, MAIL, state=replace(one.site.state(MAIL), servers=(often,)))
    one.far.stop()
    (error,) = await hosts.run(one.job(WEB, MAIL))
    web, mail = server(one, WEB), server(one, MAIL)
    assert web.phase is mail.phase is ServerPhase.PENDING
    assert (web.attempts, mail.attempts) == (1, 5)
    assert web.error == mail.error == str(error)
    assert "Connection refused" in web.error
    assert web.next_try == mail.next_try
    assert web.next_try is not None
    assert timedelta(minutes=1) <= web.next_try - one.site.now <= timedelta(minutes=1.1)
    assert web.since == one.site.now
    assert mail.since == often.since
    # A host that was never reached holds nothing, and nothing is noted of it.
    assert not os.path.exists(one.site.tree.host_note(FAR))
    kept = hosts.notes.of(FAR)
    assert (kept.holds, kept.attempts, kept.error) == (frozenset(), 1, str(error))
    assert due(hosts, one.site.now) == []
    one.far.start()
    one.site.now = web.next_try
    (job,) = due(hosts, one.site.now)
    assert await hosts.run(job) == []
    assert server(one, WEB).error == ""
    assert replace(note(one), machine="") == HostNote(
        frozenset({WEB, MAIL}), (), one.site.now, prod_of(one)
    )


async def test_the_trouble_of_one_is_its_own(one: FarSite) -> None:
    await one.made()
    hosts = loaded(one)
    (one.site.folder(one.site.live(MAIL), MAIL) / "cert.pem").unlink()
    (error,) = await hosts.run(one.job(WEB, MAIL))
    assert server(one, WEB).phase is ServerPhase.DELIVERED
    mail = server(one, MAIL)
    assert (mail.phase, mail.error) == (ServerPhase.PENDING, str(error))
    assert mail.next_try is not None
    assert mail.next_try - one.site.now >= timedelta(days=1)  # only a person can mend that
    assert note(one).error == ""


async def test_what_was_rolled_meanwhile_is_still_to_be_copied(one: FarSite) -> None:
    await one.made()
    hosts = loaded(one)
    job = one.job(WEB)
    one.site.later(minutes=5)
    await one.made(WEB)
    assert await hosts.run(job) == []
    assert server(one, WEB).phase is ServerPhase.PENDING
    (again,) = due(hosts, one.site.now)
    assert isinstance(again, Copy)
    assert Told(WEB, one.site.live(WEB)) in again.told


async def test_what_is_withdrawn_goes_though_nothing_is_to_be_copied(one: FarSite) -> None:
    await one.made()
    hosts = loaded(one)
    await hosts.run(one.job(WEB, MAIL))
    for cert in (WEB, MAIL):
        one.site.save(cert)
    one.configure(server_class("web", WEB_ALONE))
    hosts.notes.reconfigured()
    assert FAR in hosts.notes.untidy()
    one.far.stop()
    (job,) = [job for job in due(hosts, one.site.now) if isinstance(job, Copy)]
    assert job.told == ()
    (error,) = await hosts.run(job)
    when = hosts.notes.untidy()[FAR]
    assert when is not None
    assert when > one.site.now
    assert [(host, why) for host, _, why in hosts.notes.told()] == [(FAR, None)]
    assert note(one).error == str(error)
    # A daemon that starts anew knows of it.
    assert FAR in loaded(one).notes.untidy()

    one.far.start()
    assert await hosts.run(job) == []
    assert one.there() == {str(WEB)}
    assert hosts.notes.untidy() == {}
    assert note(one).holds == {WEB}
    assert hosts.notes.told() == []


async def test_what_lies_there_besides_is_told_once(one: FarSite) -> None:
    await one.made()
    hosts = loaded(one)
    told: list[str] = []
    one.site.tools.telling.tell = lambda what, line, _cert: told.append(f"{what}: {written(line)}")
    (one.far.root / "ca/old/curr").mkdir(parents=True)
    (one.far.root / "ca/old/curr/privkey.pem").touch()
    for _ in range(2):
        await hosts.run(one.job(WEB))
    (line,) = told
    assert line.startswith("surplus: ")
    assert "ca/old with its key; prune = true in [web] removes it" in line
    assert surplus(one) == ("ca/old with its key",)
    assert FAR not in hosts.notes.untidy()
    # It is looked at again, and whoever removed it need not say so.
    assert hosts.notes.visits()[FAR] == one.site.now + timedelta(hours=1)
    one.configure(server_class("web", OF_ZONE, "prune = true"))
    hosts.notes.reconfigured()
    assert FAR in hosts.notes.untidy()
    await hosts.run(Copy(FAR, (), because("test")))
    assert told[1:] == [f"withdrawn: {FAR}: removed ca/old with its key"]
    assert surplus(one) == ()


async def test_what_is_to_be_pruned_is_tried_again_until_it_is_gone(
    one: FarSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one.made()
    hosts = loaded(one)
    assert await hosts.run(one.job(WEB, MAIL)) == []
    await hosts.run(due(hosts, one.site.now)[0])
    (one.far.root / "ca/old/curr").mkdir(parents=True)
    (one.far.root / "ca/old/curr/privkey.pem").touch()
    nothing = Copy(FAR, (), because("test"))
    assert await hosts.run(nothing) == []
    old = one.site.tools.site.config
    one.configure(server_class("web", OF_ZONE, "prune = true"))
    hosts.reconfigured(old)
    assert due(hosts, one.site.now) != []
    one.far.stop()
    assert len(await hosts.run(nothing)) == 1
    one.site.later(minutes=2)
    assert due(hosts, one.site.now) != []
    one.far.start()

    ask = RemoteShell.ask

    async def refusing(shell: RemoteShell, *words: str, limit: float = 60.0) -> ShellAnswer:
        if words[0] == "drop":
            raise Transient("the disk is full")
        return await ask(shell, *words, limit=limit)

    with monkeypatch.context() as while_full:
        while_full.setattr(RemoteShell, "ask", refusing)
        (error,) = await hosts.run(nothing)
    assert str(error) == "the disk is full"
    assert surplus(one) == ("ca/old with its key",)
    one.site.later(hours=1)
    (job,) = due(hosts, one.site.now)
    assert isinstance(job, Copy)
    assert await hosts.run(job) == []
    assert one.there() == {str(WEB), str(MAIL)}
    assert surplus(one) == ()


async def test_keys_that_no_rule_removes_are_told_and_the_host_is_not_visited_again_and_again(
    one: FarSite,
) -> None:
    """Also where everything that others put there is pruned: these are no certificates."""
    one.configure(server_class("web", EVERYTHING, "prune = true"))
    await one.made()
    hosts = loaded(one)
    (one.far.root / "example.com").mkdir(parents=True)
    (one.far.root / "example.com/old.key").write_text("a key")
    # A CA's certificate may be there, its key may not (I1); nor may what is left of an old one.
    (one.far.root / f"{ROOT}/prev").mkdir(parents=True)
    (one.far.root / f"{ROOT}/prev/privkey.pem").touch()
    (one.far.root / "example.com/gone/prev").mkdir(parents=True)
    (one.far.root / "example.com/gone/prev/privkey.pem").touch()
    await hosts.run(Copy(FAR, (), because("test")))
    assert surplus(one) == (f"{ROOT} with its key", "example.com/old.key")
    assert not (one.far.root / "example.com/gone").exists()
    assert FAR not in hosts.notes.untidy()
    assert hosts.notes.visits()[FAR] == one.site.now + timedelta(hours=1)
    # What is copied takes the place of such keys.
    await hosts.run(one.job(ROOT))
    assert surplus(one) == ("example.com/old.key",)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_note_that_is_not_ours_is_told(one: FarSite) -> None:
    await one.made()
    await loaded(one).run(one.job(WEB))
    os.chown(one.site.tree.host_note(FAR), 12345, -1)
    told: list[str] = []
    one.site.tools.telling.tell = lambda what, line, _cert: told.append(f"{what}: {written(line)}")
    hosts = loaded(one)
    (line,) = told
    assert line.startswith(f"host-trouble: what {FAR} holds is not known: ")
    assert hosts.notes.of(FAR) == HostNote()
    assert hosts.notes.untidy() == {}


async def test_a_ca_goes_there_as_any_other_without_its_key(one: FarSite) -> None:
    one.configure(server_class("web", EVERYTHING))
    await one.made()
    hosts = loaded(one)
    assert await hosts.run(one.job(ROOT, INT, WEB)) == []
    assert note(one).holds == {ROOT, INT, WEB}
    assert not [name for name in one.was_sent() if name.startswith("ca/") and "key" in name]


async def test_a_host_is_restarted_while_its_windows_are_open(one: FarSite) -> None:
    """NOW is a Monday, at noon."""
    window = "restart_window = ['Tue 02:00-05:00 UTC']"
    one.configure(server_class("web", OF_ZONE, window))
    await one.made()
    hosts = loaded(one)
    opening = datetime(2026, 6, 2, 2, tzinfo=UTC)
    assert await hosts.run(one.job(WEB, MAIL)) == []
    # A server that uses nothing of ours yet has nothing to be kept from.
    assert len(due(hosts, one.site.now)) == 1
    soon = one.site.now + timedelta(days=30)
    # Nor has one that waits beside it: it is the server that is restarted, whatever for.
    using = replace(server(one, MAIL), expires=soon)
    believe(one.site.registry, MAIL, state=replace(one.site.state(MAIL), servers=(using,)))
    assert due(hosts, one.site.now) == []
    assert hosts.restarts_at(WEB, server(one, WEB), one.site.now) == opening
    for cert in (WEB, MAIL):
        using = replace(server(one, cert), expires=soon)
        believe(one.site.registry, cert, state=replace(one.site.state(cert), servers=(using,)))
    assert due(hosts, one.site.now) == []
    assert not hosts.is_coming(WEB, server(one, WEB), one.site.now)
    assert hosts.restarts_at(WEB, server(one, WEB), one.site.now) == opening
    assert len(due(hosts, opening)) == 1
    # Before what it uses expires, it does not wait; the other is restarted along with it.
    expiring = replace(server(one, WEB), expires=opening + timedelta(minutes=1))
    believe(one.site.registry, WEB, state=replace(one.site.state(WEB), servers=(expiring,)))
    (job,) = due(hosts, one.site.now)
    assert not isinstance(job, Copy)
    assert {told.cert for _, group in job.told for told in group} == {WEB, MAIL}


async def test_a_host_is_forgotten_when_it_is_in_no_class(one: FarSite) -> None:
    await one.made()
    hosts = loaded(one)
    await hosts.run(one.job(WEB))
    path = one.site.tree.host_note(FAR)
    with pytest.raises(Refused, match=rf"{FAR} is in \[web\]: take it out of ssl-mgr.conf first"):
        await hosts.notes.forget(FAR, leaving=True)
    one.configure(server_class("web", OF_ZONE, hosts="other.example.net"))
    hosts.notes.reconfigured()
    ((host, _, why),) = hosts.notes.told()
    text = say(why)
    assert host == FAR
    assert f"example.com/web; remove it from {prod_of(one)} there, then run: " in text
    assert text.endswith(f"sslmctl forget {FAR} --yes")
    with pytest.raises(Refused, match=f"nothing is known of 'x'; known and in no class: {FAR}"):
        await hosts.notes.forget("x", leaving=True)
    # What is still there is said first.
    assert (await hosts.notes.forget(FAR, leaving=False)).holds == {WEB}
    assert os.path.exists(path)
    assert (await hosts.notes.forget(FAR, leaving=True)).holds == {WEB}
    assert not os.path.exists(path)
    assert hosts.notes.told() == []


async def test_what_is_meant_to_be_there_is_not_reported(one: FarSite) -> None:
    await one.made()
    for path in ("old/shop/curr/privkey.pem", "mine.key", "lib/x.pem"):
        (one.far.root / path).parent.mkdir(parents=True, exist_ok=True)
        (one.far.root / path).write_text("-----BEGIN PRIVATE KEY-----\n")
    hosts = loaded(one)
    await hosts.run(one.job(WEB))
    assert surplus(one) == ("lib/x.pem", "mine.key", "old/shop with its key")
    prunes = server_class("web", OF_ZONE, "prune = true")
    one.configure(prunes, globals_="keep = ['old', 'mine.key']\n")
    hosts.notes.reconfigured()
    await hosts.run(Copy(FAR, (), because("test")))
    assert surplus(one) == ("lib/x.pem",)
    assert (one.far.root / "old/shop/curr/privkey.pem").exists()
