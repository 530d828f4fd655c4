"""Killed at any instant: `curr` is whole, nothing is lost, and the rest is done by itself.

I3 and I5: every job is killed before each call that could change a file. Then a daemon that
starts looks at what is left, and carries on.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from sslmd.core.events import AskDropped, Asked
from sslmd.core.jobs import PutBack
from sslmd.core.names import SetName
from sslmd.core.state import Ask, Phase, Request
from sslmd.store import sets
from sslmd.store.layout import SECRET_FILES
from tests.reasons import because
from tests.stand.tools import INT, MAIN, NOW, WEB, Site, believe, leftovers
from tests.store.dying import Killed, killed_everywhere

_SERVED = f"""{MAIN}
[web]
    servers = ['localhost']
    svc_depends = [['any', ['web']]]
    restart_cmd = 'true'
"""


async def site_to_kill(top: Path) -> Site:
    """A site that is at rest, its first set in use."""
    site = await Site(top, _SERVED, now=NOW).with_cas()
    await site.rest()
    assert site.state(WEB).phase is Phase.SETTLED
    site.later(days=60)
    await site.rest(INT)  # so that the CA can sign for as long as it did
    return site


def check_curr(site: Site) -> SetName:
    """Check I2 and I3 on what stands on disk; return the set in use."""
    links = sets.read_links(site.tree, WEB)
    assert links.remarks == []
    assert links.curr is not None
    facts = sets.read_set(site.tree, WEB, links.curr)
    assert facts.complete, facts.problem
    curr = site.place() / "curr"
    assert os.readlink(curr) == f"db/{links.curr}"
    assert (curr / "fullchain.pem").exists()
    if site.in_prod().exists():
        live = {file.name for file in (site.in_prod() / "curr").iterdir()}
        assert live == {
            *("privkey.pem", "csr.pem", "cert.pem", "chain.pem"),
            *("fullchain.pem", "bundle.pem", "info"),
        }
    for folder in (site.place(), site.in_prod()):
        for path in folder.rglob("*"):
            # The temporary names of keys begin with a dot and hold the name.
            if any(name in path.name for name in SECRET_FILES) and not path.is_symlink():
                assert stat.S_IMODE(path.stat().st_mode) & 0o177 == 0, path
    return links.curr


async def carried_on(killed: Killed) -> Site:
    """Start again and work to the end."""
    site = Site(killed.top, now=NOW)
    site.later(days=60, hours=3)
    assert site.remarks == []
    assert site.registry[WEB].hold is None
    before = check_curr(site)
    await site.rest()
    after = check_curr(site)
    assert after > before or site.state(WEB).next is None
    state = site.state(WEB)
    assert state.phase is Phase.SETTLED
    assert state.next is None
    assert state.delivered.curr == state.settled == after
    assert os.readlink(site.in_prod() / "curr") == f"db/{after}"
    assert (site.in_prod() / "curr/privkey.pem").read_bytes() == (
        site.folder(after) / "privkey.pem"
    ).read_bytes()
    assert leftovers(site.in_prod()) == []
    return site


def at(killed: Killed) -> str:
    return f"killed before call {killed.step}, {killed.at}"


async def test_killed_while_a_key_is_made(tmp_path: Path) -> None:
    site = await site_to_kill(tmp_path / "base")
    old = site.live()
    for killed in killed_everywhere("tests.store.scenarios:make_key", site.top, tmp_path / "out"):
        again = await carried_on(killed)
        assert again.live() > old, at(killed)
        assert again.state(WEB).prev == old
        # What was begun and is in no link is gone, with its key.
        db = again.folder(old).parent
        assert all((path / "cert.pem").exists() for path in db.iterdir()), at(killed)


async def test_killed_while_a_certificate_is_made(tmp_path: Path) -> None:
    site = await site_to_kill(tmp_path / "base")
    on_deck = await site.make_key()
    key = (site.folder(on_deck) / "privkey.pem").read_bytes()
    site.save(WEB)
    for killed in killed_everywhere("tests.store.scenarios:certify", site.top, tmp_path / "out"):
        again = await carried_on(killed)
        assert again.live() == on_deck, at(killed)
        assert (again.folder(on_deck) / "privkey.pem").read_bytes() == key


async def test_killed_while_rolling(tmp_path: Path) -> None:
    site = await site_to_kill(tmp_path / "base")
    old = site.live()
    await site.make_key()
    on_deck = await site.certify()
    serial = (site.folder(on_deck) / "cert.pem").read_bytes()
    site.save(WEB)
    seen = set()
    for killed in killed_everywhere("tests.store.scenarios:roll", site.top, tmp_path / "out"):
        links = sets.read_links(site.tree.__class__(f"{killed.top}/certs"), WEB)
        seen.add((links.curr, links.next, links.prev))
        again = await carried_on(killed)
        assert again.live() == on_deck, at(killed)
        assert again.state(WEB).prev == old
        assert (again.folder(on_deck) / "cert.pem").read_bytes() == serial
    # Every stage was seen: nothing done, prev set, curr set; at the end next is gone.
    assert {(old, on_deck, None), (old, on_deck, old), (on_deck, on_deck, old)} <= seen


async def site_to_go_back(top: Path) -> Site:
    """The newer set is in use, another one on deck; an admin wants the older one."""
    site = await Site(top, _SERVED, now=NOW).with_cas()
    await site.rest()
    old = site.live()
    site.later(hours=1)
    await site.renew()
    await site.rest()
    site.later(hours=1)
    await site.make_key()
    await site.certify()
    site.apply(WEB, Asked(Ask(Request.ROLL, site.now, back=old)))
    site.save(WEB)
    return site


async def test_killed_while_an_older_set_is_put_on_deck(tmp_path: Path) -> None:
    site = await site_to_go_back(tmp_path / "base")
    old, new, other = site.state(WEB).prev, site.live(), site.on_deck()
    seen = set()
    scenario = "tests.store.scenarios:put_back"
    for killed in killed_everywhere(scenario, site.top, tmp_path / "out", least=3):
        links = sets.read_links(site.tree.__class__(f"{killed.top}/certs"), WEB)
        assert (links.curr, links.prev) == (new, old)
        seen.add(links.next)
        again = await gone_back(killed)
        assert (again.live(), again.state(WEB).prev) == (old, new), at(killed)
        assert other in sets.list_sets(again.tree, WEB)
    assert seen == {other, old}


async def test_killed_while_rolling_back(tmp_path: Path) -> None:
    """Also while the newer set is not settled: what servers use is what they were given last."""
    site = await site_to_go_back(tmp_path / "base")
    old, new = site.state(WEB).prev, site.live()
    assert old is not None
    await site.do(PutBack(WEB, old, because("test")))
    believe(site.registry, WEB, state=replace(site.state(WEB), deployed=old, settled=old))
    site.save(WEB)
    seen = set()
    for killed in killed_everywhere("tests.store.scenarios:roll", site.top, tmp_path / "out"):
        links = sets.read_links(site.tree.__class__(f"{killed.top}/certs"), WEB)
        seen.add((links.curr, links.next, links.prev))
        fresh = Site(killed.top, now=NOW).state(WEB)
        if links.curr == old:
            assert (fresh.phase, fresh.retired) == (Phase.ROLLED, (new,)), at(killed)
        again = await gone_back(killed)
        assert (again.live(), again.state(WEB).prev) == (old, new), at(killed)
    assert {(new, old, old), (new, old, new), (old, old, new)} <= seen


async def test_killed_while_it_is_taken_off_the_deck(tmp_path: Path) -> None:
    site = await site_to_go_back(tmp_path / "base")
    old, new = site.state(WEB).prev, site.live()
    assert old is not None
    await site.do(PutBack(WEB, old, because("test")))
    site.apply(WEB, AskDropped(NOW, because("cancelled")))
    site.save(WEB)
    scenario = "tests.store.scenarios:take_off"
    for killed in killed_everywhere(scenario, site.top, tmp_path / "out", least=2):
        again = await gone_back(killed)
        assert (again.live(), again.state(WEB).prev) == (new, old), at(killed)


async def gone_back(killed: Killed) -> Site:
    """Start again and work to the end."""
    site = Site(killed.top, now=NOW)
    site.later(hours=5)
    check_curr(site)
    await site.rest(WEB)
    state = site.state(WEB)
    assert state.phase is Phase.SETTLED
    assert (state.next, state.ask) == (None, None)
    assert state.delivered.curr == state.settled == check_curr(site)
    return site


async def test_killed_while_production_is_brought_up_to_date(tmp_path: Path) -> None:
    site = await site_to_kill(tmp_path / "base")
    await site.renew()
    site.later(hours=1)
    await site.make_key()
    on_deck = await site.certify()
    site.save(WEB)
    for killed in killed_everywhere("tests.store.scenarios:deliver", site.top, tmp_path / "out"):
        again = await carried_on(killed)
        assert again.live() == on_deck, at(killed)


async def test_killed_while_old_sets_are_removed(tmp_path: Path) -> None:
    site = await site_to_kill(tmp_path / "base")
    for _ in range(5):
        site.later(minutes=5)
        await site.renew()
    live = site.live()
    site.save(WEB)
    for killed in killed_everywhere("tests.store.scenarios:settle", site.top, tmp_path / "out"):
        again = await carried_on(killed)
        assert again.live() == live, at(killed)
        # curr, prev, and the two that clean_keep asks for
        assert len(sets.list_sets(again.tree, WEB)) == 4


@pytest.mark.parametrize("first", [False, True])
async def test_killed_while_the_state_is_saved(tmp_path: Path, first: bool) -> None:
    site = await site_to_kill(tmp_path / "base")
    if first:
        (site.place() / "state.toml").unlink()
    else:
        await site.make_key()
    for killed in killed_everywhere("tests.store.scenarios:save", site.top, tmp_path / "out"):
        await carried_on(killed)
