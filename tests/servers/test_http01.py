"""Challenges of http-01: put on web servers, here and by ssh, and fetched as a CA does."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from sslmd.core.errors import Permanent, Transient
from sslmd.servers import http01
from sslmd.servers.http01 import put, remove
from tests.stand import sshd
from tests.stand.sshd import Sshd

P = ParamSpec("P")
T = TypeVar("T")
APEX = "example.com"
THUMB = "x" * 42 + "_"
HERE = ["localhost"]


def content_of(token: str) -> str:
    return f"{token}.{THUMB}"


def contents_of(*tokens: str) -> dict[str, str]:
    return {token: content_of(token) for token in tokens}


async def in_thread(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.to_thread(func, *args, **kwargs)


def folder_of(server_dir: Path) -> Path:
    return server_dir / APEX / ".well-known/acme-challenge"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat(follow_symlinks=False).st_mode)


@pytest.fixture
def www(tmp_path: Path) -> Path:
    made = tmp_path / "a server's dir"
    made.mkdir()
    return made


@pytest.fixture
def tight() -> Iterator[None]:
    old = os.umask(0o077)
    yield
    os.umask(old)


# --- here -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("tight")
async def test_put_and_remove_here(www: Path) -> None:
    await put(HERE, www, APEX, contents_of("token-1", "token_2"), in_thread)
    folder = folder_of(www)
    assert {path.name: path.read_text() for path in folder.iterdir()} == contents_of(
        "token-1", "token_2"
    )
    # Web servers are other users, and the daemon's umask is for keys.
    for path in (folder, folder.parent, folder.parent.parent):
        assert mode_of(path) == 0o755
    assert mode_of(folder / "token-1") == 0o644
    await remove(HERE, www, APEX, ["token-1", "never-there"], in_thread)
    assert [path.name for path in folder.iterdir()] == ["token_2"]
    await remove(HERE, www, APEX, ["token_2"], in_thread)
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("tight")
async def test_a_server_dir_that_is_not_there(tmp_path: Path) -> None:
    www = tmp_path / "srv/www"
    await remove(HERE, www, APEX, ["token"], in_thread)
    assert not www.exists()
    await put(HERE, www, APEX, contents_of("token"), in_thread)
    assert mode_of(www) == mode_of(www.parent) == 0o755


async def test_what_was_there_is_left_as_it_is(www: Path) -> None:
    site = www / APEX
    (site / ".well-known").mkdir(parents=True)
    site.chmod(0o2775)
    (site / "index.html").write_text("hello")
    folder = folder_of(www)
    folder.mkdir()
    (folder / "token").write_text("old")
    (folder / "token").chmod(0o600)
    (folder / "other").write_text("another client's")
    await put(HERE, www, APEX, contents_of("token"), in_thread)
    assert (folder / "token").read_text() == content_of("token")
    assert mode_of(folder / "token") == 0o644
    assert mode_of(site) == 0o2775
    await remove(HERE, www, APEX, ["token"], in_thread)
    assert [path.name for path in folder.iterdir()] == ["other"]
    assert (site / "index.html").read_text() == "hello"


async def test_no_link_is_followed_below_the_server_dir(www: Path, tmp_path: Path) -> None:
    """Whoever may write to a web site could have us write anywhere else."""
    elsewhere = tmp_path / "elsewhere"
    for part in (f"{APEX}", f"{APEX}/.well-known", f"{APEX}/.well-known/acme-challenge"):
        shutil.rmtree(www)
        shutil.rmtree(elsewhere, ignore_errors=True)
        elsewhere.mkdir()
        link = www / part
        link.parent.mkdir(parents=True)
        link.symlink_to(elsewhere)
        with pytest.raises(Permanent, match="is a link; put a directory in its place") as caught:
            await put(HERE, www, APEX, contents_of("token"), in_thread)
        assert str(link) in str(caught.value)
        assert list(elsewhere.iterdir()) == []


async def test_a_link_in_place_of_a_file_is_replaced(www: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = folder_of(www)
    folder.mkdir(parents=True)
    (folder / "token").symlink_to(victim)
    await put(HERE, www, APEX, contents_of("token"), in_thread)
    assert not (folder / "token").is_symlink()
    assert (folder / "token").read_text() == content_of("token")
    (folder / "token").unlink()
    (folder / "token").symlink_to(victim)
    await remove(HERE, www, APEX, ["token"], in_thread)
    assert victim.read_text() == "precious"
    assert list(folder.iterdir()) == []


async def test_the_server_dir_itself_may_be_a_link(www: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(www)
    await put(HERE, tmp_path / "link", APEX, contents_of("token"), in_thread)
    assert (folder_of(www) / "token").exists()


async def test_failures_name_the_place(www: Path) -> None:
    (www / APEX).write_text("a file")
    with pytest.raises(Permanent, match=r"cannot open .*/example\.com: Not a directory; move away"):
        await put(HERE, www, APEX, contents_of("token"), in_thread)
    (www / APEX).unlink()
    (folder_of(www) / "token").mkdir(parents=True)
    with pytest.raises(Permanent) as caught:
        await put(HERE, www, APEX, contents_of("token"), in_thread)
    assert f"cannot write {folder_of(www)}/token: " in str(caught.value)
    with pytest.raises(Permanent, match="cannot remove challenges from"):
        await remove(HERE, www, APEX, ["token"], in_thread)
    assert [path.name for path in folder_of(www).iterdir()] == ["token"]
    with pytest.raises(Permanent, match="File name too long"):
        await put(HERE, www, APEX, contents_of("t" * 256), in_thread)


HOSTILE_TOKENS = [
    "", ".", "..", "../../etc/x", "/etc/passwd", "a/b", "a b", "a\n", "a\0b", "a.b", "ä", "x" * 257,
    "$(id)", "`id`", "a;b", "a'b", "*", "~root", "+", "=",
]  # fmt: skip


@pytest.mark.parametrize("token", HOSTILE_TOKENS)
async def test_hostile_tokens(www: Path, token: str) -> None:
    # One that is right goes with it: not even that is written.
    for hosts in (HERE, ["far.example.net"]):
        with pytest.raises(ValueError, match="no token of a challenge"):
            await put(hosts, www, APEX, {**contents_of("good"), **contents_of(token)}, in_thread)
        with pytest.raises(ValueError, match="no token of a challenge"):
            await remove(hosts, www, APEX, ["good", token], in_thread)
    assert list(www.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    ["", "token", "token.", f"other.{THUMB}", f"token.{THUMB}x", f"token.{THUMB[1:]}",
     f"token.{THUMB}\n", f"token.{THUMB[1:]}=", f"token {THUMB}", "<script>", f"token..{THUMB}"],
)  # fmt: skip
async def test_hostile_contents(www: Path, content: str) -> None:
    with pytest.raises(ValueError, match="no key authorization"):
        await put(HERE, www, APEX, {"token": content}, in_thread)
    assert list(www.iterdir()) == []


@pytest.mark.parametrize(
    "apex", ["", ".", "..", "../x", "/", "a/b", "a b", "-x.example", "Example.com", "example.com.",
             "*.example.com", "192.0.2.1", "$(id)", "a\n"],
)  # fmt: skip
async def test_hostile_names(www: Path, apex: str) -> None:
    with pytest.raises(ValueError):
        await put(HERE, www, apex, contents_of("token"), in_thread)
    assert list(www.iterdir()) == []


# --- there ----------------------------------------------------------------------------------


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    if lacking := sshd.missing():
        pytest.skip(lacking)
    server = Sshd(tmp_path / "sshd", ["far.example.net", "farther.example.net"])
    monkeypatch.setenv("PATH", f"{server.bin_dir}{os.pathsep}{os.environ['PATH']}")
    with server:
        yield server


FAR = ["far.example.net"]


@pytest.mark.usefixtures("tight")
async def test_put_and_remove_there(www: Path, far: Sshd) -> None:
    www.rmdir()  # it is made there, too
    await put(FAR, www, APEX, contents_of("token-1", "-rf"), in_thread)
    folder = folder_of(www)
    names = {path.name: path.read_text() for path in folder.iterdir()}
    assert names == contents_of("token-1", "-rf")
    for path in (www, folder, folder.parent, folder.parent.parent):
        assert mode_of(path) == 0o755
    assert mode_of(folder / "token-1") == 0o644
    await remove(FAR, www, APEX, ["token-1", "-rf", "never-there"], in_thread)
    assert list(folder.iterdir()) == []
    # One connection each, however many challenges.
    assert len(far.commands()) == 2


async def test_a_place_with_odd_signs(tmp_path: Path, far: Sshd) -> None:
    www = tmp_path / 'it\'s $HOME; `id` "*" & \\ ä'
    await put(FAR, www, APEX, contents_of("token"), in_thread)
    assert (folder_of(www) / "token").read_text() == content_of("token")
    await remove(FAR, www, APEX, ["token"], in_thread)
    assert list(folder_of(www).iterdir()) == []
    assert len(far.commands()) == 2


@pytest.mark.usefixtures("far")
async def test_a_user_may_be_named(www: Path) -> None:
    await put([f"{getpass.getuser()}@far.example.net"], www, APEX, contents_of("t"), in_thread)
    assert (folder_of(www) / "t").exists()


@pytest.mark.usefixtures("far")
async def test_a_host_that_hangs(www: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http01, "LIMIT", 1.0)
    monkeypatch.setattr(http01, "_script", lambda: "exec sleep 300")
    with pytest.raises(Transient, match="it did not end within 1 s; find out what hangs there"):
        await put(FAR, www, APEX, contents_of("token"), in_thread)


@pytest.mark.usefixtures("far")
async def test_nothing_to_remove_there(www: Path) -> None:
    await remove(FAR, www, APEX, ["token"], in_thread)
    assert list(www.iterdir()) == []
    www.rmdir()
    await remove(FAR, www, APEX, ["token"], in_thread)
    assert not www.exists()


@pytest.mark.usefixtures("far")
async def test_no_link_is_followed_there(www: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for part in (APEX, f"{APEX}/.well-known", f"{APEX}/.well-known/acme-challenge"):
        shutil.rmtree(www)
        link = www / part
        link.parent.mkdir(parents=True)
        link.symlink_to(elsewhere)
        with pytest.raises(Transient, match="is a link; put a directory in its place") as caught:
            await put(FAR, www, APEX, contents_of("token"), in_thread)
        assert str(link) in str(caught.value)
        assert list(elsewhere.iterdir()) == []


@pytest.mark.usefixtures("far")
async def test_what_stands_in_place_of_a_file_there(www: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = folder_of(www)
    folder.mkdir(parents=True)
    (folder / "token").symlink_to(elsewhere)
    await put(FAR, www, APEX, contents_of("token"), in_thread)
    assert not (folder / "token").is_symlink()
    assert (folder / "token").read_text() == content_of("token")
    assert list(elsewhere.iterdir()) == []
    (folder / "dir").mkdir()
    with pytest.raises(Transient, match=r"cannot write .*/dir: .*overwrite directory"):
        await put(FAR, www, APEX, contents_of("dir"), in_thread)
    assert sorted(path.name for path in folder.iterdir()) == ["dir", "token"]


async def test_every_host_is_tried_and_the_failing_ones_are_named(
    www: Path, tmp_path: Path, far: Sshd
) -> None:
    down = Sshd(tmp_path / "down", ["down.example.net", "down-too.example.net"])
    sshd.ssh_on_path(far.bin_dir, far, down)
    hosts = ["down.example.net", *HERE, *FAR, "down-too.example.net"]
    with pytest.raises(Transient) as caught:
        await put(hosts, www, APEX, contents_of("token"), in_thread)
    assert (
        "cannot write challenges to down.example.net: down.example.net: ssh: connect to host "
        in (str(caught.value))
    )
    assert "Connection refused" in str(caught.value)
    assert "down-too.example.net" in str(caught.value)
    assert " far.example.net" not in str(caught.value)
    assert (folder_of(www) / "token").exists()
    assert len(far.commands()) == 1


async def test_without_ssh(www: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Permanent, match=r"challenges to far\.example\.net: .*install an ssh"):
        await put(FAR, www, APEX, contents_of("token"), in_thread)


@pytest.mark.usefixtures("far")
async def test_many_at_once(www: Path) -> None:
    hosts = ["far.example.net", "farther.example.net", *HERE]
    tokens = [[f"t{order}-{number}" for number in range(5)] for order in range(4)]
    # Both names lead to one machine, as two machines may share a file system.
    await asyncio.gather(*(put(hosts, www, APEX, contents_of(*t), in_thread) for t in tokens))
    found = {path.name: path.read_text() for path in folder_of(www).iterdir()}
    assert found == contents_of(*(token for order in tokens for token in order))
    await asyncio.gather(*(remove(hosts, www, APEX, t, in_thread) for t in tokens))
    assert list(folder_of(www).iterdir()) == []
