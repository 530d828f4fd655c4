"""What is done on other machines, by their shells: dash's and busybox's."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.stand.far_shell import (
    GROUP,
    NAMES,
    ONE,
    SECRET,
    SERVICE,
    THREE,
    TWO,
    Rights,
    Shell,
    applets,
    contents,
    home,
    leftovers,
    made,
    sets,
)
from tests.stand.watch import Watch

Open = Callable[..., Shell]
UID, GID = 5101, 4242
OPENED = Rights(str(UID), str(GID), "0640", "1")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def prod(tmp_path: Path) -> Path:
    return tmp_path / "top" / "prod-certs"


@pytest.fixture(params=["sh", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path: Path, prod: Path) -> Open:
    """Open a shell, with other programs than the usual ones if it is told where these are."""
    if request.param == "busybox":
        usual = applets(tmp_path / "busybox")
        return lambda tools=usual, at=prod: Shell(at, ["busybox", "sh"], tools)
    return lambda tools=None, at=prod: Shell(at, ["/bin/sh"], tools)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def put(shell: Open, name: str, letter: str, rights: Rights = Rights()) -> list[str]:  # noqa: B008
    with shell() as one:
        return one.put(name, made(letter), rights)


@contextmanager
def a_server_reading(path: Path, *, by_path: bool = False) -> Iterator[None]:
    """Read key and certificate through `curr` all the time.

    By the folder, once opened, they are a pair. `by_path`: each is looked up anew, and is there.
    """
    stop, began = threading.Event(), threading.Event()
    wrong: set[str] = set()

    def read_at(name: str, folder: int | None) -> str:
        place = name if folder is not None else path / name
        with open(os.open(place, os.O_RDONLY, dir_fd=folder)) as file:
            return file.read().removeprefix(f"{name} of ")

    def look() -> None:
        folder = None if by_path else os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = [read_at(name, folder) for name in ("privkey.pem", "cert.pem")]
        except FileNotFoundError:
            # One that was held up for longer than the set before is kept has been overtaken.
            if folder is None or os.path.samestat(os.fstat(folder), os.stat(path)):
                raise
            return
        finally:
            if folder is not None:
                os.close(folder)
        if not by_path and found[0] != found[1]:
            wrong.add(f"no pair: {found}")

    def read() -> None:
        while not stop.is_set():
            try:
                look()
            except OSError as err:
                wrong.add(str(err))
            began.set()

    thread = threading.Thread(target=read)
    thread.start()
    began.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert wrong == set()


# --- put ---


def test_the_first_set(shell: Open, prod: Path) -> None:
    assert put(shell, ONE, "a") == ["put new"]
    place = home(prod)
    assert os.readlink(place / "curr") == f"db/{ONE}"
    assert contents(place / "curr") == made("a")
    for name in NAMES:
        assert mode(place / "curr" / name) == (0o600 if name in SECRET else 0o644)
    for folder in (prod / GROUP, place, place / "db", place / "curr"):
        assert mode(folder) == 0o750
    assert sorted(os.listdir(place)) == ["curr", "db"]
    assert leftovers(prod) == []


def test_the_same_again_touches_nothing(shell: Open, prod: Path) -> None:
    put(shell, ONE, "a")
    before = [path.stat() for path in (home(prod) / "curr").iterdir()]
    assert put(shell, ONE, "a") == ["put same"]
    after = [path.stat() for path in (home(prod) / "curr").iterdir()]
    assert [(one.st_ino, one.st_ctime_ns) for one in before] == [
        (one.st_ino, one.st_ctime_ns) for one in after
    ]
    # What a server reads is the same, though it is called otherwise.
    assert put(shell, TWO, "a") == ["put same"]
    assert os.readlink(home(prod) / "curr") == f"db/{TWO}"


def test_only_the_set_before_stays(shell: Open, prod: Path) -> None:
    for name, letter in ((ONE, "a"), (TWO, "b"), (THREE, "c")):
        assert put(shell, name, letter) == ["put new"]
        assert contents(home(prod) / "curr") == made(letter)
    assert sets(prod) == [TWO, THREE]
    # Also when it is put there once more, and when an older one comes back.
    put(shell, THREE, "c")
    assert sets(prod) == [TWO, THREE]
    assert put(shell, ONE, "a") == ["put new"]
    assert sets(prod) == [ONE, THREE]


def test_a_server_never_sees_a_gap(shell: Open, prod: Path) -> None:
    put(shell, ONE, "a")
    with a_server_reading(home(prod) / "curr"):
        for letter in "bcd":
            for name in (TWO, THREE):
                # The second time it is the same set with other files: two folders change places.
                assert put(shell, name, letter) == ["put new"]
                with shell() as one:
                    assert one.put(name, made(f"{letter}-mended")) == ["put new"]
    assert leftovers(prod) == []


def as_ssl_mgr_left_it(prod: Path, *names: str) -> None:
    for number, name in enumerate(names):
        folder = home(prod) / name
        folder.mkdir(parents=True)
        for file, text in made(f"old-{number}").items():
            (folder / file).write_text(text)


def test_a_directory_as_ssl_mgr_left_it_becomes_a_link(shell: Open, prod: Path) -> None:
    for letter in "ab":
        if home(prod).exists():
            shutil.rmtree(home(prod))
        as_ssl_mgr_left_it(prod, "curr", "next", "prev")
        (home(prod) / "README").write_text("mine")
        (prod / GROUP / "dh").mkdir(exist_ok=True)
        with a_server_reading(home(prod) / "curr", by_path=True):
            assert put(shell, ONE, letter) == ["put new"]
        assert sorted(os.listdir(home(prod))) == ["README", "curr", "db"]
        assert os.readlink(home(prod) / "curr") == f"db/{ONE}"
        assert contents(home(prod) / "curr") == made(letter)
    assert (prod / GROUP / "dh").is_dir()
    assert leftovers(prod) == []


def test_where_nothing_can_exchange_two_names(shell: Open, prod: Path, tmp_path: Path) -> None:
    """There would be a moment without `curr`: it is refused, naming what is missing."""
    usual = tmp_path / "busybox"
    tools = tmp_path / "poor"
    if usual.exists():
        shutil.copytree(usual, tools, symlinks=True)
    tools.mkdir(exist_ok=True)
    for name in ("perl", "python3"):
        (tools / name).write_text("#!/bin/sh\nexit 127\n")
        (tools / name).chmod(0o755)
    mv = shutil.which("mv")
    (tools / "mv").unlink(missing_ok=True)
    (tools / "mv").write_text(f'#!/bin/sh\n[ "$1" != --exchange ] || exit 1\nexec {mv} "$@"\n')
    (tools / "mv").chmod(0o755)
    as_ssl_mgr_left_it(prod, "curr")
    old = contents(home(prod) / "curr")
    for _ in range(2):
        with shell(tools) as one:
            (told,) = one.put(ONE, made("a"))
            assert "install perl, python3 or coreutils 9.5 there" in told
        assert contents(home(prod) / "curr") == old
    assert leftovers(prod) == []


@pytest.mark.parametrize("harm", ["fewer", "more", "no chain", "nothing"])
def test_what_did_not_arrive_whole_is_not_used(shell: Open, prod: Path, harm: str) -> None:
    put(shell, ONE, "a")
    files = made("b")
    count = len(files)
    match harm:
        case "fewer":
            del files["privkey.pem"]
        case "more":
            files["extra"] = "?"
        case "no chain":
            del files["fullchain.pem"]
            count -= 1
        case "nothing":
            files = {}
            count = 1
    with shell() as one:
        assert one.put(TWO, files, count=count) == ["error it did not arrive whole"]
    assert contents(home(prod) / "curr") == made("a")
    assert sets(prod) == [ONE]


# --- what could lead elsewhere ---

FOLDERS = ("prod", "group", "service", "db")


def tampered(prod: Path, which: str) -> Path:
    place = {"prod": prod, "group": prod / GROUP, "service": home(prod), "db": home(prod) / "db"}
    return place[which]


@pytest.mark.parametrize("which", FOLDERS)
def test_links_are_not_followed(shell: Open, prod: Path, tmp_path: Path, which: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = tampered(prod, which)
    path.parent.mkdir(parents=True)
    path.symlink_to(elsewhere)
    with shell() as one:
        if which == "prod":
            (told,) = one.ask("begin")
        else:
            (told,) = one.put(ONE, made("a"))
        assert told == f"error {path} is a link to {elsewhere}; put a directory in its place"
        if which in ("group", "service"):
            assert one.ask("survey") == []
            assert one.ask("drop", GROUP, SERVICE) == [
                f"error {path} is a link to {elsewhere}",
            ]
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("which", FOLDERS)
def test_where_everybody_can_write_nothing_is_put(shell: Open, prod: Path, which: str) -> None:
    path = tampered(prod, which)
    path.mkdir(parents=True)
    path.chmod(0o777)
    with shell() as one:
        told = one.ask("begin") if which == "prod" else one.put(ONE, made("a"))
    assert told == [f"error {path} can be written by everybody; run: chmod o-w {path}"]
    assert list(path.iterdir()) == []
    path.chmod(0o1755)
    assert put(shell, ONE, "a") == ["put new"]


@as_root
@pytest.mark.parametrize(
    ("uid", "mode", "told"),
    [
        (12345, 0o755, "belongs to uid 12345, neither to root nor to who logs in; chown it"),
        (0, 0o775, "can be written by gid 12345; run: chmod g-w {}"),
        (0, 0o777, "can be written by everybody; run: chmod o-w {}"),
        (0, 0o1777, ""),
        (0, 0o755, ""),
        (12345, 0o1755, "belongs to uid 12345, neither to root nor to who logs in; chown it"),
    ],
)
@pytest.mark.parametrize("is_there", [True, False])
def test_whose_folders_lead_to_the_tree(
    shell: Open, prod: Path, uid: int, mode: int, told: str, is_there: bool
) -> None:
    """Who owns one above, or can write to it, could have keys put elsewhere: at any moment."""
    above = prod.parent / "above"
    deep = above / "more" / "prod"
    (deep if is_there else above).mkdir(parents=True)
    os.chown(above, uid, 12345)
    above.chmod(mode)
    with shell(at=deep) as one:
        answer = one.ask("begin")
        if told:
            assert answer == [f"error {above} {told.format(above)}"]
            assert one.ask("survey") == answer
            assert [path.name for path in above.rglob("*")] == (
                ["more", "prod"] if is_there else []
            )
        else:
            assert answer[0].startswith(f"in {deep}/.sslmd-in.")


@as_root
def test_links_on_the_way_to_the_tree(shell: Open, prod: Path) -> None:
    top = prod.parent
    top.mkdir()
    (top / "real" / "below").mkdir(parents=True)
    (top / "srv").mkdir()
    (top / "srv" / "link").symlink_to("../real/./below")
    (top / "start").symlink_to(top / "srv" / "link")
    with shell(at=top / "start" / "prod") as one:
        assert one.ask("begin")[0].startswith(f"in {top}/start/prod/.sslmd-in.")
    # What they lead through counts as well.
    os.chown(top / "srv", 12345, -1)
    with shell(at=top / "start" / "prod") as one:
        assert one.ask("begin")[0].startswith(f"error {top}/srv belongs to uid 12345")
    os.chown(top / "srv", 0, -1)
    (top / "srv").chmod(0o1777)
    os.chown(top / "srv" / "link", 12345, -1, follow_symlinks=False)
    with shell(at=top / "start" / "prod") as one:
        (told,) = one.ask("begin")
    assert told.startswith(f"error {top}/srv/link is a link of somebody else's")
    (top / "round").symlink_to("round")
    with shell(at=top / "round" / "prod") as one:
        assert one.ask("begin") == [f"error {top}/round: too many links lead on from there"]


def test_what_was_left_is_seen_and_goes(shell: Open, prod: Path) -> None:
    prod.mkdir(parents=True)
    with shell() as one, shell() as other:
        assert other.ask("left") == []
        assert one.ask("leave", "0123456789") == []
        assert other.ask("left") == ["left 0123456789"]
        assert one.ask("clear_away") == []
        assert other.ask("left") == []
        assert one.ask("leave", "9876543210") == []
    assert leftovers(prod) == []
    prod.chmod(0o777)
    with shell() as one:
        assert one.ask("leave", "x") == [
            f"error {prod} can be written by everybody; run: chmod o-w {prod}"
        ]
    assert leftovers(prod) == []


@pytest.mark.parametrize("which", FOLDERS)
def test_a_file_in_the_way(shell: Open, prod: Path, which: str) -> None:
    path = tampered(prod, which)
    path.parent.mkdir(parents=True)
    path.touch()
    with shell() as one:
        told = one.ask("begin") if which == "prod" else one.put(ONE, made("a"))
    if which == "prod":
        assert len(told) == 1
        assert told[0].startswith("error ")
    else:
        assert told == [f"error {path} is not a directory; move it away"]


# --- rights ---


@as_root
def test_a_key_for_others(shell: Open, prod: Path, tmp_path: Path) -> None:
    prod.mkdir(parents=True, mode=0o700)

    def at_most(path: Path) -> int:
        return 0o640

    with Watch(tmp_path / "watch", prod, at_most) as watch:
        assert put(shell, ONE, "a", OPENED) == ["put new"]
        assert watch.too_wide() == []
        assert watch.looks() > 2
    for name in SECRET:
        info = (home(prod) / "curr" / name).stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (UID, GID, 0o640)
    for folder in (prod / GROUP, home(prod), home(prod) / "db", home(prod) / "curr"):
        assert mode(folder) == 0o751
    assert mode(prod) == 0o701
    seen = ["setpriv", "--reuid", "4343", "--regid", str(GID), "--clear-groups", "--", "cat"]
    key = f"{home(prod)}/curr/privkey.pem"
    for one in reversed(Path(key).parents):  # scratch folders are closed to others
        if not one.is_relative_to(prod) and not mode(one) & 0o001:
            one.chmod(mode(one) | 0o001)
    assert subprocess.run([*seen, key], capture_output=True, check=True).stdout
    listing = [*seen[:-1], "ls", f"{home(prod)}/curr"]
    assert subprocess.run(listing, capture_output=True, check=False).returncode != 0

    # Others again, of the same set: it is put there anew, and is the same to a server.
    assert put(shell, ONE, "a") == ["put same"]
    for name in SECRET:
        info = (home(prod) / "curr" / name).stat()
        assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (os.geteuid(), 0o600)
    assert mode(home(prod) / "curr") == 0o750


@as_root
@pytest.mark.parametrize(
    "rights", [Rights("nobody-there", "", "0640", "1"), Rights("", "nobody-there", "0640", "1")]
)
def test_nobody_of_that_name(shell: Open, prod: Path, rights: Rights) -> None:
    put(shell, ONE, "a")
    (told,) = put(shell, TWO, "b", rights)
    assert re.match(r"error .*nobody-there", told)
    assert contents(home(prod) / "curr") == made("a")
    assert sets(prod) == [ONE]
    assert mode(home(prod)) == 0o750


# --- runs that were cut short ---


def test_what_dead_runs_have_left_is_removed(shell: Open, prod: Path) -> None:
    prod.mkdir(parents=True)
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = prod / f".sslmd-in.{ended.pid}.abcdefghij"
    alive = prod / f".sslmd-in.{os.getpid()}.abcdefghij"
    for folder in (dead, alive):
        (folder / GROUP).mkdir(parents=True)
        (folder / GROUP / "privkey.pem").touch()
    with shell() as one:
        incoming = one.begin()
        assert mode(incoming) == 0o700
        assert sorted(leftovers(prod)) == sorted([incoming, alive])
        # Two may be at it at the same time.
        assert put(shell, ONE, "a") == ["put new"]
        assert sorted(leftovers(prod)) == sorted([incoming, alive])
    assert leftovers(prod) == [alive]


@pytest.mark.parametrize("how", ["closed", "HUP", "TERM", "PIPE"])
def test_a_connection_that_breaks_leaves_nothing(shell: Open, prod: Path, how: str) -> None:
    one = shell()
    one.send(one.begin(), made("a"))
    if how == "closed":
        one.close()
    else:
        one.kill(getattr(signal, f"SIG{how}"))
        # A shell that waits for a line takes note of a signal after it, if not at once.
        with suppress(BrokenPipeError):
            one.close()
    assert leftovers(prod) == []
    assert not (prod / GROUP).exists()


# --- looking round, taking away ---


def test_what_is_there_is_told(shell: Open, prod: Path) -> None:
    with shell() as one:
        assert one.ask("survey") == []
    put(shell, ONE, "a")
    for path in ("ca/root/curr/cert.pem", "example.net/web/next/bundle.pem"):
        (prod / path).parent.mkdir(parents=True)
        (prod / path).touch()
    for path in ("example.com/gone/db/x/privkey.pem", "example.com/dh/dhparam.pem", "notes/x/y"):
        (prod / path).parent.mkdir(parents=True)
        (prod / path).touch()
    (prod / "example.com/broken").mkdir()
    (prod / "example.com/broken/curr").symlink_to("db/nowhere")
    (prod / "example.com/link").symlink_to("web")
    (prod / "README").touch()
    for path in ("mine.key", "example.com/old.pem", "example.com/web/spare.pem"):
        (prod / path).write_text("of 2019\n-----BEGIN EC PRIVATE KEY-----\n")
    (prod / "example.com/link.key").symlink_to("old.pem")
    # As deep as it goes; what is being written and what is sent is nobody's yet.
    for path in ("a/b/c/d/e/deep.key", f"{GROUP}/{SERVICE}/curr/sub/x.key", ".sslmd-in.9/x.key"):
        (prod / path).parent.mkdir(parents=True)
        (prod / path).touch()
    (prod / "example.com/.y.key.0123.new").touch()
    with shell() as one:
        assert sorted(one.ask("survey")) == [
            "have with example.com/gone",
            "have with example.com/web",
            "have with example.net/web",
            "have without ca/root",
            "have without example.com/broken",
            "stray a/b/c/d/e/deep.key",
            "stray example.com/old.pem",
            f"stray {GROUP}/{SERVICE}/db/{ONE}/sub/x.key",
            "stray example.com/web/spare.pem",
            "stray mine.key",
        ]


def test_folders_above_that_let_nobody_through_are_named(shell: Open, prod: Path) -> None:
    prod.mkdir(parents=True, exist_ok=True)
    prod.parent.chmod(0o750)
    mine = str(prod.parent.stat().st_gid)
    with shell() as one:
        assert f"closed {prod.parent}" in one.ask("above", "", "4242")
        assert f"closed {prod.parent}" not in one.ask("above", "", mine)
        assert f"closed {prod.parent}" not in one.ask("above", str(os.getuid()), "4242")
        prod.parent.chmod(0o751)
        assert f"closed {prod.parent}" not in one.ask("above", "", "4242")


def test_folders_that_are_made_above_are_open(shell: Open, prod: Path) -> None:
    with shell() as one:
        assert one.ask("eval", "prod=$prod/new/er/prod") == []
        assert one.ask("begin")[-1].startswith("in ")
    assert (prod / "new/er").stat().st_mode & 0o777 == 0o755


def test_what_is_taken_away(shell: Open, prod: Path) -> None:
    put(shell, ONE, "a")
    put(shell, TWO, "b")
    (prod / GROUP / "mail").mkdir()
    (prod / GROUP / "mail/mine").touch()
    (prod / GROUP / "mail/curr").mkdir()
    with shell() as one:
        assert one.ask("drop", GROUP, "mail") == []
        assert one.ask("drop", GROUP, SERVICE) == []
        assert one.ask("drop", GROUP, "nonesuch") == []
        assert one.ask("survey") == []
    assert [str(path.relative_to(prod)) for path in sorted(prod.rglob("*"))] == [
        *(GROUP, f"{GROUP}/mail", f"{GROUP}/mail/mine")
    ]


def test_more_keys_than_are_listed(shell: Open, prod: Path) -> None:
    prod.mkdir(parents=True)
    for number in range(103):
        (prod / f"{number}.key").touch()
    with shell() as one:
        told = one.ask("survey")
    assert len([line for line in told if line.startswith("stray ")]) == 100
    assert told[-1] == "more 3"


# --- commands ---


def test_commands(shell: Open) -> None:
    with shell() as one:
        assert one.ask("run", "5", "sh", "-c", "echo well; echo so >&2") == ["status 0"]
        assert one.said == ["well", "so"]
        assert one.ask("run", "5", "sh", "-c", "printf 'no end'; exit 3") == ["status 3"]
        assert one.said == ["no end"]
        assert one.ask("run", "5", "/no/such/program", "x") == ["status 127"]
        assert "no/such/program" in " ".join(one.said)
        assert one.ask("run", "5", "/etc/passwd") == ["status 126"]
        assert one.ask("run", "5", "printf", "<%s>", "a b", "$HOME `id`") == ["status 0"]
        assert one.said == ["<a b><$HOME `id`>"]
        # It writes files for the servers that it serves; what we write is for keys.
        assert one.ask("run", "5", "sh", "-c", "umask") == ["status 0"]
        assert one.said == ["0022"]
        assert one.ask("eval", "say is $(umask)") == ["is 0077"]
        # What reads finds nothing, and not the next line of ours.
        assert one.ask("run", "5", "cat") == ["status 0"]
        assert one.ask("run", "5", "sh", "-c", "kill -9 $$")[0] == "status 137"
        assert one.ask("survey") == []


def test_a_command_that_hangs_is_ended(shell: Open) -> None:
    with shell() as one:
        began = time.monotonic()
        # The first is what timeout(1) of coreutils tells, the second what busybox's does.
        assert one.ask("run", "1", "sleep", "300") in (["status 124"], ["status 143"])
        assert time.monotonic() - began < 10
        assert one.ask("say", "well") == ["well"]


def test_a_command_that_hangs_is_ended_with_all_that_it_started(prod: Path) -> None:
    pause = 20_000 + os.getpid() % 10_000 / 10_000  # nothing else here sleeps as long
    with Shell(prod, ["/bin/sh"]) as one:
        assert one.ask("run", "1", "sh", "-c", f"sleep {pause} & wait") == ["status 124"]
    found = subprocess.run(["pgrep", "-f", f"sleep {pause}"], capture_output=True, check=False)
    assert found.stdout == b""


def test_a_command_that_leaves_a_server_behind_is_not_waited_for(shell: Open) -> None:
    pause = 30_000 + os.getpid() % 10_000 / 10_000
    one = shell()
    began = time.monotonic()
    assert one.ask("run", "20", "sh", "-c", f"sleep {pause} & echo $!") == ["status 0"]
    assert time.monotonic() - began < 10
    pid = int(one.said[0])
    os.kill(pid, 0)
    os.kill(pid, 9)
    one.close()


# --- what is missing there ---


def hiding(*paths: str) -> list[str]:
    """Return a shell on a machine that has no such programs."""
    hidden = " && ".join(f"mount --bind /dev/null {path}" for path in paths)
    return ["unshare", "--mount", "sh", "-c", f'{hidden} && exec /bin/sh "$@"', "sh"]


@as_root
@pytest.mark.parametrize("name", ["rsync", "mktemp"])
def test_a_program_that_is_missing_is_named(prod: Path, name: str) -> None:
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is missing here too")
    argv = hiding(os.path.realpath(path))
    if subprocess.run([*argv, "-c", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces")
    with Shell(prod, argv) as one:
        (told,) = one.ask("begin")
    assert told.startswith(f"error there is no {name}")
    assert not prod.exists()
