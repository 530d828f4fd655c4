"""Accounts: one for each CA, made once, found again, never lost; certbot can use them."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sslmd.acme import account_changes, account_folders, account_homes
from sslmd.core.errors import Permanent, Transient
from sslmd.store.layout import Tree, account_home_note, accounts_dir
from tests.stand.acme_net import accounts_on, acme_server
from tests.stand.pebble import Pebble, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

NOW = datetime(2027, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with Pebble(tmp_path_factory.mktemp("ca")) as pebble:
        yield pebble


def _own(root: Path, name: str = "web") -> str:
    return str(root / "example.com" / name / "cb")


def _certbot(ca: Pebble, *words: str) -> str:
    """Run certbot, and return what it says."""
    program = Path(sys.executable).parent / "certbot"
    env = {"PATH": os.environ["PATH"], "REQUESTS_CA_BUNDLE": str(ca.root_file)}
    command = [str(program), *words, "--server", ca.directory, "-n"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _dirs(home: str, folder: Path) -> list[str]:
    return ["--config-dir", home, "--work-dir", f"{folder}/w", "--logs-dir", f"{folder}/l"]


async def test_a_hundred_ask_and_one_is_made(ca: Pebble, tmp_path: Path) -> None:
    server = acme_server(ca)
    async with accounts_on(tmp_path) as accounts:
        asked = [accounts.account_for(server, _own(tmp_path, f"s{one}")) for one in range(100)]
        made = await asyncio.gather(*asked)
        assert len({one.uri for one in made}) == 1
        assert made[0].home.path == str(tmp_path / ".accounts" / "pebble")
        known = await accounts.known(server, _own(tmp_path))
    assert known is not None
    assert known.uri == made[0].uri
    key = Path(made[0].folder.path, "private_key.json")
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


async def test_certbot_shows_it(ca: Pebble, tmp_path: Path) -> None:
    async with accounts_on(tmp_path) as accounts:
        server = replace(acme_server(ca), email="admin@example.com")
        made = await accounts.account_for(server, _own(tmp_path))
    said = _certbot(ca, "show_account", *_dirs(made.home.path, tmp_path))
    assert made.uri in said
    assert "admin@example.com" in said


async def test_certbot_changes_and_ends_it(ca: Pebble, tmp_path: Path) -> None:
    server = acme_server(ca)
    async with accounts_on(tmp_path) as accounts:
        made = await accounts.account_for(server, _own(tmp_path))
        dirs = _dirs(made.home.path, tmp_path)
        _certbot(ca, "update_account", *dirs, "-m", "new@example.com")
        told = await account_changes.look(accounts, made.home, server, made.folder)
        assert told.contact == ("mailto:new@example.com",)
        _certbot(ca, "unregister", *dirs)
        assert await accounts.known(server, _own(tmp_path)) is None
        again = await accounts.account_for(server, _own(tmp_path))
    assert again.home == made.home
    assert again.uri != made.uri


async def test_a_link_in_its_own_folder_is_enough_for_certbot(ca: Pebble, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    async with accounts_on(tree) as accounts:
        made = await accounts.account_for(acme_server(ca), _own(tree))
    own = _own(tree)
    os.makedirs(own, 0o700)
    for _ in range(2):
        account_folders.link(own, ca.directory, made.folder)
    assert made.uri in _certbot(ca, "show_account", *_dirs(own, tmp_path))
    assert account_folders.newest(own, ca.directory, linked=False) is None
    assert not account_homes.has_own(own, ca.directory)
    # The tree can be moved.
    moved = tree.rename(tmp_path / "moved")
    assert made.uri in _certbot(ca, "show_account", *_dirs(_own(moved), moved))


async def test_killed_before_the_answer_was_noted(ca: Pebble, tmp_path: Path) -> None:
    server = acme_server(ca)
    async with accounts_on(tmp_path) as accounts:
        made = await accounts.account_for(server, _own(tmp_path))
    os.unlink(f"{made.folder.path}/regr.json")
    async with accounts_on(tmp_path) as accounts:
        assert await accounts.known(server, _own(tmp_path)) is None
        again = await accounts.account_for(server, _own(tmp_path))
    assert (again.uri, again.ident) == (made.uri, made.ident)


async def test_found_by_server_and_key_whatever_its_table_is_called(
    ca: Pebble, tmp_path: Path
) -> None:
    server = acme_server(ca)
    async with accounts_on(tmp_path) as accounts:
        made = await accounts.account_for(server, _own(tmp_path))
        renamed = await accounts.account_for(replace(server, ca="le"), _own(tmp_path))
        assert renamed.home.path == made.home.path
    os.unlink(account_home_note(made.home.path))
    for name in ("pebble", "le"):
        found = account_homes.used(Tree(str(tmp_path)), replace(server, ca=name), _own(tmp_path))
        assert found is not None
        assert found.uri == made.uri


def test_names_of_homes(tmp_path: Path, ca: Pebble) -> None:
    tree, server = Tree(str(tmp_path)), acme_server(ca)
    first = account_homes.claimed(account_homes.shared_home(tree, server), server)
    bound = replace(server, eab_kid="kid")
    second = account_homes.claimed(account_homes.shared_home(tree, bound), bound)
    assert (Path(first.path).name, Path(second.path).name) == ("pebble", "pebble.2")
    assert account_homes.shared_home(tree, server).path == first.path
    assert account_homes.shared_home(tree, bound).path == second.path


async def test_what_has_an_account_goes_on_with_it(ca: Pebble, tmp_path: Path) -> None:
    own, server = _own(tmp_path), acme_server(ca)
    os.makedirs(own, 0o700)
    _certbot(ca, "register", *_dirs(own, tmp_path), "--agree-tos", "-m", "a@example.com")
    async with accounts_on(tmp_path) as accounts:
        imported = await accounts.account_for(server, own)
        assert not imported.home.is_shared
        shared = await accounts.account_for(server, _own(tmp_path, "mail"))
        assert shared.home.is_shared
        account_homes.share(shared.home, server, NOW)
        assert await accounts.account_for(server, own) == await accounts.known(
            server, _own(tmp_path, "mail")
        )
        # An order of before is finished by the account that began it.
        before = await accounts.of_uri(server, own, imported.uri)
        assert before is not None
        assert before.uri == imported.uri
        alone = await accounts.account_for(replace(server, own=True), own)
        assert alone.uri == imported.uri


async def test_an_account_for_each(ca: Pebble, tmp_path: Path) -> None:
    server = replace(acme_server(ca), own=True)
    async with accounts_on(tmp_path) as accounts:
        made = [await accounts.account_for(server, _own(tmp_path, one)) for one in "ab"]
    assert len({one.uri for one in made}) == 2
    assert [one.name for one in (tmp_path / ".accounts").iterdir()] == ["holds.toml"]
    assert made[0].folder.path.startswith(accounts_dir(_own(tmp_path, "a"), ca.directory))


async def test_bound_accounts(tmp_path: Path) -> None:
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    (tmp_path / "ca").mkdir()
    (tmp_path / "tree").mkdir()
    file = tmp_path / "eab"
    file.write_text(f"{key}\n")
    file.chmod(0o600)
    with Pebble(tmp_path / "ca", accounts={"kid-1": key}) as ca:
        server = acme_server(ca, eab_kid="kid-1", eab_hmac_key_file=file)
        async with accounts_on(tmp_path / "tree") as accounts:
            bare = replace(server, eab_kid="", eab_hmac_key_file=None)
            with pytest.raises(Permanent):
                await accounts.account_for(bare, _own(tmp_path))
            made = await accounts.account_for(server, _own(tmp_path))
            file.unlink()  # it is read at a registration alone
            assert await accounts.account_for(server, _own(tmp_path)) == made


async def test_a_ca_that_forgets_everything(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    with Pebble(tmp_path / "ca") as ca:
        server = acme_server(ca)
        async with accounts_on(tmp_path / "tree") as accounts:
            for _ in range(3):
                account = await accounts.account_for(server, _own(tmp_path))
                asides = await asyncio.gather(*(accounts.lost(account) for _ in range(3)))
                assert sum(map(bool, asides)) == 1
            account = await accounts.account_for(server, _own(tmp_path))
            with pytest.raises(Transient, match="has lost 3 accounts"):
                await accounts.lost(account)
    lost = accounts_dir(account.home.path, ca.directory, lost=True)
    assert len(os.listdir(lost)) == 3


async def test_a_ca_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    with Pebble(tmp_path / "ca") as ca:
        server = acme_server(ca)
    async with accounts_on(tmp_path / "tree") as accounts:
        asked = (accounts.account_for(server, _own(tmp_path, f"s{one}")) for one in range(20))
        failed = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(one) for one in failed} == {Transient}
        with ca:
            begun = accounts_dir(str(tmp_path / "tree/.accounts/pebble"), ca.directory)
            keys = os.listdir(begun)
            made = await accounts.account_for(server, _own(tmp_path))
            assert [made.ident] == keys
