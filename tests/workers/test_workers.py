"""Each worker against a real tree: what it leaves on disk, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent, SslmError
from sslmd.core.events import (
    AskDropped,
    BackOnDeck,
    CertIssued,
    KeyMade,
    OffDeck,
    ProdUpdated,
    Rolled,
    ServerCopied,
    Settled,
)
from sslmd.core.jobs import Certify, Deliver, MakeKey, PutBack, Roll, Settle, TakeOff
from sslmd.core.names import CertId, SetName
from sslmd.core.spec import KeySpec, KeyType
from sslmd.core.state import NOT_YET, Delivered, Phase, ServerPhase
from sslmd.core.words.sentence import say
from sslmd.pki.keys import generate_key
from sslmd.store import sets
from sslmd.workers.deliver import as_configured
from sslmd.workers.settle import clean, clean_inactive
from tests.reasons import because
from tests.stand.attacker import GROUP, NOBODY
from tests.stand.tools import INT, MAIN, NOW, ROOT, WEB, Site, believe, leftovers

SERVED = (
    MAIN
    + """
[web]
    svc_depends = [['any', ['web']]]
    servers = ['localhost', 'far.example.com']
    restart_cmd = 'true'
"""
)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A site with its CAs, worked on in threads as by the daemon."""
    with ThreadPoolExecutor(2) as threads:
        yield await Site(tmp_path, SERVED, threads=threads).with_cas()


# --- somebody else in the working tree ------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_no_key_of_a_ca_in_the_place_of_another(site: Site) -> None:
    """Who may write among the sets of a certificate leads to nobody else's (I1)."""
    await site.renew()
    await site.deliver()
    live, db = site.live(WEB), site.folder(site.live(WEB)).parent
    os.chown(db, -1, GROUP)
    db.chmod(0o770)
    (db / str(live)).rename(db / "aside")
    (db / str(live)).symlink_to(site.folder(site.live(ROOT), ROOT))
    os.chown(db / str(live), NOBODY, -1, follow_symlinks=False)
    jobs: list[Callable[[], Awaitable[object]]] = [
        lambda: site.work(Deliver(WEB, live, None, because("a test"))),
        lambda: site.make_key(reuse=True),
        site.make_key,
    ]
    for job in jobs:
        with pytest.raises(Permanent, match=f"can be written by gid {GROUP}"):
            await job()
    # Closed to them: what they put there still leads nowhere.
    db.chmod(0o700)
    for job in jobs[:2]:
        with pytest.raises(Permanent, match=f"belongs to uid {NOBODY}"):
            await job()
    key = (site.in_prod() / "curr/privkey.pem").read_bytes()
    assert key == (db / "aside/privkey.pem").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_nothing_is_signed_or_rolled_where_others_write(site: Site) -> None:
    await site.make_key()
    for cert in (INT, WEB):
        group = site.folder(site.on_deck() if cert is WEB else site.live(INT), cert).parents[2]
        os.chown(group, -1, GROUP)
        group.chmod(0o770)
        with pytest.raises(Permanent, match=f"{group} can be written by gid {GROUP}"):
            await site.certify()
        group.chmod(0o750)
    await site.certify()
    db = site.folder(site.on_deck()).parent
    db.chmod(0o757)
    with pytest.raises(Permanent, match=f"{db} can be written by everybody"):
        await site.roll()


# --- make_key -------------------------------------------------------------------------------


async def test_make_key(site: Site) -> None:
    event = await site.do(MakeKey(WEB, because("it is due")))
    assert isinstance(event, KeyMade)
    assert (event.at, say(event.reason)) == (NOW, "it is due")
    assert event.facts.has_key
    assert event.facts.asked_names == {"example.com", "www.example.com"}
    assert -1 <= event.note.draw <= 1
    folder = site.folder(event.facts.name)
    assert sorted(os.listdir(folder)) == ["csr.pem", "privkey.pem"]
    assert os.readlink(site.place() / "next") == f"db/{event.facts.name}"
    # What a daemon that starts now reads is just what the event told.
    assert site.read(WEB).state.next == event.facts


async def test_make_key_again_takes_the_old_one_off_the_deck(site: Site) -> None:
    first = await site.make_key()
    second = await site.make_key()
    assert second > first
    assert sets.read_links(site.tree, WEB).next == second
    assert site.folder(first).is_dir()


async def test_make_key_with_the_key_of_curr(site: Site) -> None:
    await site.renew()
    name = await site.make_key(reuse=True)
    for one in (name, site.live()):
        assert (site.folder(one) / "privkey.pem").read_bytes() == (
            site.place() / "curr/privkey.pem"
        ).read_bytes()
    await site.certify()
    assert await site.roll() == name


async def test_a_key_that_cannot_be_used_again(site: Site) -> None:
    with pytest.raises(Permanent, match="has no key to use again; renew it without --reuse"):
        await site.make_key(reuse=True)
    await site.renew()
    (site.place() / "curr/privkey.pem").write_bytes(generate_key(KeySpec(KeyType.RSA, bits=2048)))
    with pytest.raises(Permanent, match="has a key rsa 2048, its service file asks for ec"):
        await site.make_key(reuse=True)
    assert sets.read_links(site.tree, WEB).next is None
    assert len(sets.list_sets(site.tree, WEB)) == 1


async def test_make_key_sweeps(site: Site) -> None:
    await site.renew()
    left = site.place() / ".state.toml.00112233445566778899aabb.new"
    left.touch()
    await site.make_key()
    assert leftovers(site.top) == []


# --- certify --------------------------------------------------------------------------------


async def test_certify(site: Site) -> None:
    name = await site.make_key()
    draw = site.state(WEB).next_note
    event = await site.do(Certify(WEB, name, because("it is due")))
    assert isinstance(event, CertIssued)
    assert event.facts.complete
    assert draw is not None
    assert (event.note.draw, event.note.ca, event.note.issued_at) == (draw.draw, "my-int", NOW)
    assert sorted(os.listdir(site.folder(name))) == [
        *("bundle.pem", "cert.pem", "chain.pem", "csr.pem", "fullchain.pem", "privkey.pem")
    ]
    assert site.read(WEB).state.next == sets.read_set(site.tree, WEB, name, deep=False)
    assert sets.read_set(site.tree, WEB, name) == event.facts


async def test_certify_makes_a_request_that_is_missing(site: Site) -> None:
    name = await site.make_key()
    (site.folder(name) / "csr.pem").unlink()
    await site.certify()
    assert sets.read_set(site.tree, WEB, name).complete


async def test_certify_without_its_key(site: Site) -> None:
    name = await site.make_key()
    (site.folder(name) / "privkey.pem").unlink()
    with pytest.raises(Permanent, match=r"lost its privkey.pem; run: sslmctl force-renew"):
        await site.certify()
    assert sorted(os.listdir(site.folder(name))) == ["csr.pem"]


async def test_certify_writes_nothing_that_cannot_be_used(site: Site) -> None:
    name = await site.make_key()
    (site.folder(name) / "privkey.pem").write_bytes(
        generate_key(site.tools.site.config.services[WEB].spec.key)
    )
    with pytest.raises(
        Permanent, match=r"my-int signed cannot be used: .*privkey.pem does not match"
    ):
        await site.certify()
    assert sorted(os.listdir(site.folder(name))) == ["csr.pem", "privkey.pem"]


async def test_a_certificate_that_is_gone_from_the_configuration(site: Site) -> None:
    gone = CertId("example.com", "gone")
    for job in (MakeKey(gone, because("")), Certify(gone, SetName.at(NOW), because(""))):
        with pytest.raises(
            Permanent, match=r"example\.com/gone: it is no longer in the configuration"
        ):
            await site.work(job)


# --- roll -----------------------------------------------------------------------------------


async def test_roll(site: Site) -> None:
    first = await site.renew()
    await site.make_key()
    name = await site.certify()
    event = await site.do(Roll(WEB, name, because("test"), overrode=because("min_roll_mins")))
    assert event == Rolled(NOW, because("min_roll_mins"))
    assert sets.read_links(site.tree, WEB) == sets.Links(curr=name, prev=first)


async def test_there_and_back(site: Site) -> None:
    old = await site.renew()
    site.later(minutes=5)
    new = await site.renew()
    drawn = site.state(WEB).prev_note
    assert drawn is not None
    site.later(minutes=5)
    other = await site.make_key()
    key = site.folder(old) / "privkey.pem"
    key.chmod(0o644)
    event = await site.do(PutBack(WEB, old, because("an admin asked")))
    assert isinstance(event, BackOnDeck)
    assert (event.facts.name, event.note) == (old, drawn)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sets.read_links(site.tree, WEB) == sets.Links(curr=new, next=old, prev=old)
    assert await site.roll() == old
    assert sets.read_links(site.tree, WEB) == sets.Links(curr=old, prev=new)
    # What was on deck stays until it is cleaned up.
    assert other in sets.list_sets(site.tree, WEB)


async def test_back_to_a_set_of_which_nothing_is_noted(site: Site) -> None:
    old = await site.renew()
    await site.renew()
    site.save(WEB)
    (site.place() / "state.toml").unlink()
    site.load()
    event = await site.do(PutBack(WEB, old, because("an admin asked")))
    assert isinstance(event, BackOnDeck)
    assert event.facts.cert is not None
    assert event.note.issued_at == event.facts.cert.not_before


@pytest.mark.parametrize("harm", ["cert.pem", "privkey.pem", "expired", "gone"])
async def test_what_cannot_be_used_is_not_put_on_deck(site: Site, harm: str) -> None:
    old = await site.renew()
    new = await site.renew()
    if harm == "expired":
        site.later(days=400)
    elif harm == "gone":
        shutil.rmtree(site.folder(old))
    else:
        (site.folder(old) / harm).write_bytes((site.folder(new) / harm).read_bytes())
    event = await site.work(PutBack(WEB, old, because("an admin asked")))
    assert isinstance(event, AskDropped)
    assert f"set {old} cannot be rolled back to: " in say(event.reason)
    assert sets.read_links(site.tree, WEB).next is None


async def test_only_what_was_put_on_deck_is_taken_off(site: Site) -> None:
    old = await site.renew()
    await site.renew()
    other = await site.make_key()
    with pytest.raises(Permanent, match="is no longer on deck"):
        await site.work(TakeOff(WEB, old, because("cancelled")))
    assert sets.read_links(site.tree, WEB).next == other
    await site.do(PutBack(WEB, old, because("an admin asked")))
    await site.do(TakeOff(WEB, old, because("cancelled")))
    assert sets.read_links(site.tree, WEB).next is None
    # Killed before that was noted, it is done once more.
    assert isinstance(
        await site.work(TakeOff(WEB, old, because("cancelled"))),
        OffDeck,
    )


async def test_roll_looks_once_more(site: Site) -> None:
    live = await site.renew()
    await site.make_key()
    name = await site.certify()
    with pytest.raises(Permanent, match="is no longer on deck; somebody changed the links"):
        await site.work(Roll(WEB, live, because("test")))
    # What was only derived is put right; what was not is refused.
    (site.folder(name) / "bundle.pem").unlink()
    (site.folder(name) / "fullchain.pem").write_bytes(b"nonsense")
    good = (site.folder(name) / "cert.pem").read_bytes()
    (site.folder(name) / "cert.pem").write_bytes(good.replace(b"A", b"B", 1))
    with pytest.raises(Permanent, match=r"was changed on disk: .*; run: sslmctl force-renew"):
        await site.roll()
    assert sets.read_links(site.tree, WEB).curr == live
    (site.folder(name) / "cert.pem").write_bytes(good)
    await site.roll()
    assert sets.read_set(site.tree, WEB, name).complete
    assert (site.place() / "curr/bundle.pem").exists()


# --- deliver --------------------------------------------------------------------------------


async def test_deliver(site: Site) -> None:
    live = await site.renew()
    event = await site.do(Deliver(WEB, live, None, because("test")))
    assert isinstance(event, ProdUpdated)
    assert event.delivered == Delivered(live, None)
    far, here = event.servers
    assert (far.kind, far.host, far.phase, far.set) == (
        *("web", "far.example.com", ServerPhase.PENDING, None),
    )
    assert (far.error, far.next_try) == ("", None)
    assert (here.host, here.phase, here.set) == ("localhost", ServerPhase.DELIVERED, live)


async def test_deliver_restarts_nothing_that_is_up_to_date(site: Site) -> None:
    await site.renew()
    await site.rest(WEB)
    proven = site.state(WEB).servers
    assert [server.phase for server in proven] == [ServerPhase.PENDING, ServerPhase.PROVEN]
    await site.deliver()
    assert site.state(WEB).servers == proven
    await site.renew()
    await site.deliver()
    assert site.state(WEB).servers[1].phase is ServerPhase.DELIVERED


async def test_adopting_restarts_only_what_is_not_there_yet(site: Site) -> None:
    live = await site.renew()
    # What it uses was not seen (I11).
    for expected in (ServerPhase.DELIVERED, ServerPhase.RESTARTED):
        job = Deliver(WEB, live, None, because("test"), adopt=True)
        event = await site.work(job)
        assert isinstance(event, ProdUpdated)
        phases = [server.phase for server in event.servers]
        assert phases == [ServerPhase.PENDING, expected]


async def test_a_ca_is_delivered_without_its_key(site: Site) -> None:
    for ca in (ROOT, INT):
        await site.deliver(ca)
        assert not (site.in_prod(ca) / "curr/privkey.pem").exists()
        assert (site.in_prod(ca) / "curr/cert.pem").exists()


async def test_what_is_not_copied_is_there_as_soon_as_production_is(site: Site) -> None:
    """Others copy it (`skip_prod_copy`), or nothing of it is meant for that host."""
    live = await site.renew()
    site.write("ssl-mgr.conf", f"{SERVED}    skip_prod_copy = true\n")
    site.reload()
    await site.deliver()
    assert [(one.phase, one.set) for one in site.state(WEB).servers] == [
        (ServerPhase.DELIVERED, live)
    ] * 2
    assert {one.access for one in site.state(WEB).servers} == {"not copied"}


async def test_one_who_is_not_copied_to_any_more_or_is_from_now_on(site: Site) -> None:
    live = await site.renew()
    await site.deliver()
    site.save(WEB)
    for text, phases in (
        ("    skip_prod_copy = true\n", [ServerPhase.DELIVERED, ServerPhase.DELIVERED]),
        ("", [ServerPhase.PENDING, ServerPhase.DELIVERED]),
    ):
        site.write("ssl-mgr.conf", f"{SERVED}{text}")
        site.reload()
        # What was noted is of the configuration before: production is looked at again.
        state = as_configured(site.tools.site.config, WEB, site.state(WEB))
        assert state.delivered == Delivered()
        await site.deliver()
        servers = site.state(WEB).servers
        assert [one.phase for one in servers] == phases
        assert servers[1].set == live
        state = site.state(WEB)
        assert as_configured(site.tools.site.config, WEB, state) is state
        site.save(WEB)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_access_that_changes_is_a_reason_to_restart(site: Site) -> None:
    live = await site.renew()
    await site.rest(WEB)
    proven = [
        replace(one, phase=ServerPhase.PROVEN, set=live, proven=live)
        for one in (site.state(WEB).servers)
    ]
    for one in proven:
        site.apply(WEB, ServerCopied(site.now, one, None))
    assert [one.phase for one in site.state(WEB).servers] == [ServerPhase.PROVEN] * 2
    site.save(WEB)
    site.write("ssl-mgr.conf", f"{SERVED}    key_group = '4242'\n    key_mode = '0640'\n")
    site.reload()
    assert as_configured(site.tools.site.config, WEB, site.state(WEB)).delivered == Delivered()
    await site.deliver()
    far, here = site.state(WEB).servers
    assert (far.phase, far.set, far.proven) == (ServerPhase.PENDING, live, None)
    assert (here.phase, here.set, here.proven) == (ServerPhase.DELIVERED, live, None)
    assert {far.access, here.access} == {":4242 0640"}
    info = (site.in_prod() / "curr/privkey.pem").stat()
    assert (info.st_mode & 0o777, info.st_gid) == (0o640, 4242)
    # On this machine only what servers on it are to read is opened.
    far_alone = SERVED.replace("'localhost', ", "") + "    key_group = '4242'\n"
    site.write("ssl-mgr.conf", far_alone)
    site.reload()
    await site.deliver()
    info = (site.in_prod() / "curr/privkey.pem").stat()
    assert (info.st_mode & 0o777, info.st_gid) == (0o600, os.getegid())


async def test_a_command_after_the_copy_to_this_machine_is_waited_for(site: Site) -> None:
    live = await site.renew()
    after = "clean_keep = 2\n    post_copy_cmd = [['localhost', 'true']]\n"
    site.write("ssl-mgr.conf", SERVED.replace("clean_keep = 2\n", after))
    site.reload()
    await site.deliver()
    assert [(one.host, one.phase) for one in site.state(WEB).servers] == [
        ("far.example.com", ServerPhase.PENDING),
        ("localhost", ServerPhase.PENDING),
    ]
    job = Deliver(WEB, live, None, because("test"), adopt=True)
    event = await site.work(job)
    assert isinstance(event, ProdUpdated)
    # What is taken over as it is was not copied here; what is elsewhere has to be asked for.
    assert [(one.host, one.phase) for one in event.servers] == [
        ("far.example.com", ServerPhase.PENDING),
        ("localhost", ServerPhase.DELIVERED),
    ]


async def test_adopting_copies_all_the_same(site: Site) -> None:
    """A server that ssl-mgr has copied to is seen to have the set; then it is proven."""
    live = await site.renew()
    await site.deliver()
    event = await site.work(Deliver(WEB, live, None, because("test"), adopt=True))
    assert isinstance(event, ProdUpdated)
    believe(site.registry, WEB, state=replace(site.state(WEB), servers=()))
    event = await site.work(Deliver(WEB, live, None, because("test"), adopt=True))
    assert isinstance(event, ProdUpdated)
    far, here = event.servers
    assert (far.phase, far.set, far.restarted) == (ServerPhase.PENDING, None, live)
    assert (here.phase, here.set, here.restarted) == (ServerPhase.RESTARTED, live, live)
    assert (far.proven, here.proven, here.unseen) == (None, None, NOT_YET)


async def test_nothing_to_deliver(site: Site) -> None:
    with pytest.raises(Permanent, match="has nothing to deliver"):
        await site.work(Deliver(WEB, None, None, because("")))


# --- settle ---------------------------------------------------------------------------------


async def test_settle(site: Site) -> None:
    for _ in range(6):
        site.later(minutes=1)
        await site.renew()
    await site.deliver()
    event = await site.work(Settle(WEB, because("test")))
    links = sets.read_links(site.tree, WEB)
    assert event == Settled(site.now, links.prev)
    assert len(sets.list_sets(site.tree, WEB)) == 4  # curr, prev, and clean_keep
    assert await clean(WEB, site.tools.site, site.tools.threads, site.tools.standings) == []


async def test_old_sets_of_inactive_groups(site: Site) -> None:
    """Only for who asks for them; what servers may still use stays, and one in trouble alone."""
    for _ in range(7):
        site.later(minutes=1)
        await site.renew()
    await site.deliver()
    site.save(WEB)
    retired = sets.list_sets(site.tree, WEB)[1]
    notes = Path(site.tree.state_file(WEB))
    notes.write_text(f'version = 1\nretired = ["{retired}"]\n')
    before = sets.list_sets(site.tree, WEB)
    site.write(
        "ssl-mgr.conf",
        MAIN.replace("true\n    domain = 'example.com'", "false\n    domain = 'example.com'"),
    )
    site.reload()
    removed = await clean_inactive(site.tools.site, site.tools.threads, 1)
    left = sets.list_sets(site.tree, WEB)
    links = sets.read_links(site.tree, WEB)
    assert {links.curr, links.prev, retired} <= set(left)
    assert removed == [(WEB, name) for name in before if name not in left]
    assert removed
    notes.write_text("version = 99\n")
    with pytest.raises(SslmError, match="cannot be read"):
        await clean_inactive(site.tools.site, site.tools.threads, 1)
    assert sets.list_sets(site.tree, WEB) == left


async def test_the_whole_life(tmp_path: Path) -> None:
    site = await Site(tmp_path, SERVED.replace(", 'far.example.com'", "")).with_cas()
    await site.rest()
    first = site.live()
    assert site.state(WEB).phase is Phase.SETTLED
    site.later(days=61)
    await site.rest()
    assert site.live() > first
    assert site.state(WEB).prev == first
    assert site.state(WEB).phase is Phase.SETTLED
    assert os.readlink(site.in_prod() / "curr") == f"db/{site.live()}"
    again = Site(site.top, now=site.now)
    assert again.remarks == []
    assert {cert: again.state(cert) for cert in again.registry} == {
        cert: site.state(cert) for cert in site.registry
    }


# --- tools ----------------------------------------------------------------------------------


async def test_a_cancelled_job_waits_for_its_thread(site: Site) -> None:
    """However often it is told to stop."""
    began, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow() -> None:
        loop.call_soon_threadsafe(began.set)
        gate.wait()
        raise ValueError("nobody waits for this any more")

    task = asyncio.ensure_future(site.tools.threads.in_thread(slow))
    await began.wait()
    for _ in range(3):
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_in_thread_gives_results_and_errors(site: Site) -> None:
    assert await site.tools.threads.in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await site.tools.threads.in_thread(divmod, 7, 0)
