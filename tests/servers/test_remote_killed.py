"""A server's shell is killed at each step of what it does there: `curr` is whole, nothing is lost.

Every program that changes something is a step; the shell is killed right before the first, right
before the second, and so on, which leaves just what a kill right after the one before leaves. What
removes several files is also killed when one of them is gone.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stand.far_shell import (
    BUSYBOX,
    GROUP,
    NAMES,
    ONE,
    SECRET,
    SERVICE,
    THREE,
    TWO,
    Gone,
    Rights,
    Shell,
    contents,
    home,
    leftovers,
    made,
    sets,
)

# What changes something; the rest only looks.
STEPS = (
    *("chmod", "chown", "ln", "mkdir", "mktemp", "mv", "perl", "python3", "rm", "rmdir", "sync"),
)
# Programs that not every machine has.
FEW = ("perl", "python3")

UID, GID = 5101, 4242
OPENED = Rights(str(UID), str(GID), "0640", "1") if os.geteuid() == 0 else Rights()


class Killer:
    """Programs that take the place of others, and kill the shell when it is time.

    `arm(number)`: at the so-manieth call. `half`: when it has removed a file. `at()`: the call.
    `lacking`: programs that are not there.
    """

    def __init__(
        self, folder: Path, *, busybox: bool = False, lacking: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        folder.mkdir()
        self._left, self._at, self._half = (folder / f".{name}" for name in ("left", "at", "half"))
        for name in STEPS:
            program = str(shutil.which(name))
            if busybox and name not in FEW:
                program = f"{BUSYBOX} {name}"
            if name in lacking:
                program = "exit 127;"
            (folder / name).write_text(f"""\
#!/bin/sh
read -r left < {self._left}
left=$((left - 1))
echo $left > {self._left}
if [ $left = 0 ]; then
    echo {name} "$@" > {self._at}
    if [ -e {self._half} ]; then
        for file in "$4"/*; do [ ! -f "$file" ] || {{ rm "$file"; break; }}; done
    fi
    kill -9 "$FAR_SHELL"
    exit 1
fi
{"exec " if name not in lacking else ""}{program} "$@"
""")
            (folder / name).chmod(0o755)
        if "exchange" in lacking:
            text = (folder / "mv").read_text()
            text = text.replace("exec ", '[ "$1" != --exchange ] || exit 1\nexec ')
            (folder / "mv").write_text(text)

    def arm(self, number: int, *, half: bool = False) -> None:
        self._left.write_text(f"{number}\n")
        self._at.write_text("")
        if half:
            self._half.touch()
        else:
            self._half.unlink(missing_ok=True)

    def at(self) -> str:
        return self._at.read_text().strip()


@dataclass(frozen=True)
class Left:
    """What a kill left: of the tree in `prod`, and before which call it came."""

    prod: Path
    at: str


Act = Callable[[Shell], object]


def killed_everywhere(
    tmp_path: Path, base: Path, act: Act, killer: Killer, argv: list[str]
) -> Iterator[Left]:
    """Yield what each kill of `act` leaves of `base`, those that look alike once."""
    prod = tmp_path / "prod"
    seen: set[str] = set()
    number, half = 1, False
    while True:
        shutil.rmtree(prod, ignore_errors=True)
        if base.exists():
            subprocess.run(["cp", "-a", base, prod], check=True)
        killer.arm(number, half=half)
        one = Shell(prod, argv, killer.folder)
        try:
            act(one)
            one.close()
        except Gone:
            one.wait_gone()
        at = killer.at()
        if not at:
            break
        look = looks(prod)
        if look not in seen:
            seen.add(look)
            yield Left(prod, f"killed before call {number}: {at}{' (half done)' if half else ''}")
        # What has one folder to remove does not do that at once.
        half = not half and at.startswith("rm -rf -- ")
        number += not half
    assert number > 3
    assert len(seen) > 1


def looks(prod: Path) -> str:
    found = []
    for path in sorted(prod.rglob("*")):
        info = path.lstat()
        name = re.sub(r"\.sslmd-in\.[^/]*", ".sslmd-in", str(path))
        target = os.readlink(path) if path.is_symlink() else ""
        found.append(f"{name} {info.st_mode:o} {info.st_uid} {info.st_gid} {target}")
        if path.is_file():
            found.append(path.read_text())
    return "\n".join(found)


def check_keys(left: Left, rights: Rights) -> None:
    """No key is open to others than those that it is for, or lies where others come to."""
    for path in left.prod.rglob("*"):
        if path.name not in SECRET or path.is_symlink():
            continue
        info = path.stat()
        allowed = 0o600
        if rights.group and info.st_gid == int(rights.group):
            allowed = int(rights.mode, 8)
        assert stat.S_IMODE(info.st_mode) & ~allowed == 0, f"{left.at}: {path}"
        if ".sslmd-in." in str(path):
            folder = left.prod / path.relative_to(left.prod).parts[0]
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def check_converged(prod: Path, name: str, letter: str, rights: Rights, at: str) -> None:
    assert contents(home(prod) / "curr") == made(letter), at
    assert os.readlink(home(prod) / "curr") == f"db/{name}", at
    assert leftovers(prod) == [], at
    assert len(sets(prod)) <= 2, at
    assert set(os.listdir(home(prod))) == {"curr", "db"}, at
    for file in NAMES:
        info = (home(prod) / "curr" / file).stat()
        wanted = int(rights.mode, 8) if file in SECRET else 0o644
        assert stat.S_IMODE(info.st_mode) == wanted, at
        if file in SECRET and rights.owner:
            assert (info.st_uid, info.st_gid) == (int(rights.owner), int(rights.group)), at
    passing = 0o001 if rights.opens == "1" else 0
    for folder in (prod / GROUP, home(prod), home(prod) / "db", home(prod) / "curr"):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o007 == passing, f"{at}: {folder}"


# --- what there was before ---


def nothing(_: Path) -> None:
    """There is not even a tree."""


def two_sets(base: Path) -> None:
    with Shell(base, ["/bin/sh"]) as one:
        one.put(ONE, made("a"))
        one.put(TWO, made("b"))
    (home(base) / "next").symlink_to(f"db/{ONE}")
    (home(base) / "prev").mkdir()
    (home(base) / "prev" / "privkey.pem").touch(0o600)


def the_set_itself(base: Path) -> None:
    """The same set, with other files."""
    with Shell(base, ["/bin/sh"]) as one:
        one.put(THREE, made("b"))


def directories(base: Path) -> None:
    """As ssl-mgr left it."""
    for name in ("curr", "next"):
        folder = home(base) / name
        folder.mkdir(parents=True)
        for file, text in made("b").items():
            (folder / file).touch(0o600)
            (folder / file).write_text(text)
    for folder in (base / GROUP, home(base)):
        folder.chmod(0o750)


def curr_of(prod: Path) -> dict[str, str] | None:
    curr = home(prod) / "curr"
    return contents(curr) if curr.is_symlink() or curr.exists() else None


BEFORE = (nothing, two_sets, the_set_itself, directories)


@pytest.mark.parametrize("before", BEFORE)
def test_killed_while_a_set_is_put_in_its_place(
    tmp_path: Path, before: Callable[[Path], None]
) -> None:
    put_under_kills(tmp_path, before, Killer(tmp_path / "tools"), ["/bin/sh"], OPENED)


@pytest.mark.skipif(BUSYBOX is None, reason="busybox is missing")
@pytest.mark.parametrize("before", [two_sets, directories])
def test_killed_with_busybox(tmp_path: Path, before: Callable[[Path], None]) -> None:
    killer = Killer(tmp_path / "tools", busybox=True)
    put_under_kills(tmp_path, before, killer, [str(BUSYBOX), "sh"], Rights())


def test_killed_where_nothing_can_exchange_two_names(tmp_path: Path) -> None:
    """A link takes the place of a link all the same."""
    killer = Killer(tmp_path / "tools", lacking=("perl", "python3", "exchange"))
    put_under_kills(tmp_path, two_sets, killer, ["/bin/sh"], Rights())


def put_under_kills(
    tmp_path: Path,
    before: Callable[[Path], None],
    killer: Killer,
    argv: list[str],
    rights: Rights,
) -> None:
    base = tmp_path / "base"
    before(base)
    old = curr_of(base)
    seen = []

    def act(shell: Shell) -> None:
        assert shell.put(THREE, made("c"), rights) == ["put new"]

    for left in killed_everywhere(tmp_path, base, act, killer, argv):
        curr = curr_of(left.prod)
        assert curr in (old, made("c")), left.at
        seen.append(curr)
        check_keys(left, rights)
        # Another run, by a shell that nobody kills.
        with Shell(left.prod, argv) as again:
            (told,) = again.put(THREE, made("c"), rights)
            assert told in ("put new", "put same"), left.at
        check_converged(left.prod, THREE, "c", rights, left.at)
    assert old in seen
    assert made("c") in seen


def test_killed_while_a_certificate_is_taken_away(tmp_path: Path) -> None:
    base = tmp_path / "base"
    two_sets(base)

    def act(shell: Shell) -> None:
        assert shell.ask("drop", GROUP, SERVICE) == []

    for left in killed_everywhere(tmp_path, base, act, Killer(tmp_path / "tools"), ["/bin/sh"]):
        with Shell(left.prod, ["/bin/sh"]) as again:
            # Unless it has gone, it is seen that there is something left.
            there = home(left.prod).exists() and os.listdir(home(left.prod)) != []
            assert (again.ask("survey") != []) is there, left.at
            assert again.ask("drop", GROUP, SERVICE) == []
            assert again.ask("survey") == []
        assert list(left.prod.iterdir()) == [] or not home(left.prod).exists(), left.at
