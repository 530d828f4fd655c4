"""Put the program, as `stage` has laid it out, below its prefix; or take it away again.

    files.py put STAGED PREFIX    in place of what is there
    files.py may-take PREFIX      only look whether it can be taken away
    files.py take PREFIX

PREFIX/lib/sslmd is switched as a whole. What lies outside of it is named in
PREFIX/lib/sslmd/installed-files, and so is every folder that was made for it, with "/" at its
end: that is how an upgrade finds what it leaves out, and `take` what there is to take.

Everything is looked at before anything is changed. A run that is cut short can be repeated:
the list names what is there, or more, at any moment. `install` runs this with the machine's
own Python, which has nothing but its standard library.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HOME = "lib/sslmd"
LIST = "installed-files"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # rename(2)


class Refused(Exception):
    """It cannot be done, and nothing was changed."""


@dataclass(frozen=True)
class Listed:
    """What lies outside of lib/sslmd, relative to the prefix."""

    folders: frozenset[str]
    files: frozenset[str]

    def __or__(self, other: Listed) -> Listed:
        return Listed(self.folders | other.folders, self.files | other.files)

    def write(self, home: Path) -> None:
        """Write the list into lib/sslmd, or what is to become it."""
        beside = home / f".{LIST}.new"
        lines = sorted([*(f"{one}/" for one in self.folders), *self.files])
        beside.write_text("".join(f"{line}\n" for line in lines))
        beside.replace(home / LIST)


# --- putting --------------------------------------------------------------------------


def put(staged: Path, prefix: Path) -> None:
    """Put what is in `staged` below `prefix`, and take away what only the one before had."""
    after, before = _laid_out(staged), _listed(prefix) or Listed(frozenset(), frozenset())
    left_out = before.files - after.files
    _look(prefix, after.folders, after.files, left_out)
    made = {one for one in after.folders if not (prefix / one).is_dir()}
    ours = Listed((before.folders & after.folders) | made, after.files)

    for one in sorted(after.folders):
        (prefix / one).mkdir(parents=True, exist_ok=True)
    _put_back(prefix)
    home = prefix / HOME
    new = home.with_name(".sslmd.new")
    _remove(new)
    try:
        _copy(staged / HOME, new)
        # Until all of it is done, what either of them has is ours.
        (ours | before).write(new)
        _switch(new, home)
    finally:
        _remove(new)
    for one in sorted(after.files):
        # By renaming: a link that somebody put there is replaced, and not written through.
        target = prefix / one
        beside = target.with_name(f".{target.name}.sslmd-new")
        _remove(beside)
        _copy(staged / one, beside)
        beside.replace(target)
    _take_files(prefix, left_out)
    _take_folders(prefix, (before.folders | _surely_ours(before)) - after.folders)
    ours.write(home)


def _switch(new: Path, home: Path) -> None:
    """Put `new` in the place of `home`.

    In one step where the file system can do that (ext4, XFS, Btrfs, tmpfs): whoever starts the
    program finds the old one or the new. Elsewhere by two, and for a moment there is none; if it
    ends in between, `_put_back` mends that.
    """
    if not os.path.lexists(home):
        new.rename(home)
        return
    if not _exchanged(new, home):
        old = home.with_name(".sslmd.old")
        home.rename(old)
        new.rename(home)
        _remove(old)
    _remove(new)  # exchanged: this is the old one now


def _exchanged(one: Path, other: Path) -> bool:
    try:
        # Python has no function for it, nor has mv(1) before coreutils 9.5 (Debian 12: 9.1).
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)


def _put_back(prefix: Path) -> None:
    """Mend an installation that ended between two renames; or take away what it left."""
    home = prefix / HOME
    old = home.with_name(".sslmd.old")
    if os.path.lexists(old) and not os.path.lexists(home):
        old.rename(home)
    _remove(old)


# --- taking ---------------------------------------------------------------------------


def may_take(prefix: Path) -> Listed:
    """Return what there is to take away; raise Refused if there is none or it cannot be."""
    listed = _listed(prefix)
    if listed is None:
        raise Refused(f"there is no sslmd in {prefix}")
    _look(prefix, frozenset(), frozenset(), listed.files)
    return listed


def take(prefix: Path) -> None:
    """Take away everything that `put` has put, and folders that it made if they are empty."""
    listed = may_take(prefix)
    _put_back(prefix)
    _take_files(prefix, listed.files)
    _remove(prefix / "lib/.sslmd.new")
    _remove(prefix / HOME)
    _take_folders(prefix, listed.folders | _surely_ours(listed))


def _take_files(prefix: Path, files: Iterable[str]) -> None:
    for one in files:
        with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            (prefix / one).unlink()


def _take_folders(prefix: Path, folders: Iterable[str]) -> None:
    for one in sorted(folders, reverse=True):  # what is in a folder comes before it
        with suppress(OSError):  # something is in it, which is not ours
            (prefix / one).rmdir()


def _surely_ours(listed: Listed) -> frozenset[str]:
    """Return folders such as share/doc/sslmd, whoever made them."""
    parents = {parent for one in listed.files for parent in Path(one).parents}
    return frozenset(str(one) for one in parents if "sslmd" in one.parts)


# --- looking --------------------------------------------------------------------------


def _look(
    prefix: Path, folders: frozenset[str], files: frozenset[str], gone: frozenset[str]
) -> None:
    """Raise Refused, with all that is in the way, if not all of it can be written."""
    wrong = [
        f"{prefix / one} is no folder, and one is wanted there"
        for one in sorted(folders)
        if os.path.lexists(prefix / one) and not (prefix / one).is_dir()
    ]
    wrong += [
        f"{prefix / one} is a folder, and a file is to lie there"
        for one in sorted(files)
        if (prefix / one).is_dir() and not (prefix / one).is_symlink()
    ]
    if wrong:
        raise Refused("; ".join(wrong) + "; nothing was changed. Move that away first.")

    written = {(prefix / one).parent for one in files}
    written |= {(prefix / one).parent for one in gone if os.path.lexists(prefix / one)}
    written |= {(prefix / one).parent for one in folders if not (prefix / one).is_dir()}
    written.add(prefix / "lib")
    for name in ("sslmd", ".sslmd.new", ".sslmd.old"):  # they are removed with all that is in them
        if not (prefix / "lib" / name).is_symlink():
            written |= {Path(top) for top, _, _ in os.walk(prefix / "lib" / name)}
    refusing = sorted({str(one) for one in map(_there, written) if not _lets_us(one)})
    if refusing:
        user = _user()
        more = f" and {len(refusing) - 4} more" if len(refusing) > 4 else ""
        raise Refused(
            f"{user} may not write to {', '.join(refusing[:4])}{more}; nothing was changed.\n"
            "Run it as root (with sudo), or elsewhere: make install PREFIX=$HOME/sslmd"
        )


def _there(path: Path) -> Path:
    """Return the folder, or the nearest above it that is there: it will be made in that."""
    while not os.path.lexists(path):
        path = path.parent
    return path


def _lets_us(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _listed(prefix: Path) -> Listed | None:
    """Return what the installed one has put; None if there is none."""
    for name in ("sslmd", ".sslmd.old"):
        try:
            lines = (prefix / "lib" / name / LIST).read_text().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            continue
        folders = frozenset(line.rstrip("/") for line in lines if line.endswith("/"))
        return Listed(folders, frozenset(lines) - {f"{one}/" for one in folders} - {""})
    return None


def _laid_out(staged: Path) -> Listed:
    """Return what is in `staged`, without what is in lib/sslmd."""
    folders, files = set(), set()
    for top, below, names in os.walk(staged):
        here = Path(top).relative_to(staged)
        folders.add(str(here))
        links = [one for one in below if Path(top, one).is_symlink()]
        files |= {str(here / one) for one in (*names, *links)}
        below[:] = [one for one in below if str(here / one) != HOME]
    return Listed(frozenset(folders), frozenset(files))


# --- files ----------------------------------------------------------------------------


def _copy(source: Path, target: Path) -> None:
    """Copy a file, a link or a folder. Owner and labels are those of whoever copies."""
    keep = "--preserve=mode,links,timestamps"  # compiled files go by the times of their sources
    subprocess.run(["cp", "-R", "-P", "-T", keep, "--", source, target], check=True)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def main() -> None:
    """Do as the command line says."""
    verb, *folders = sys.argv[1:]
    command = "make install" if verb == "put" else "make uninstall"
    do = {"put": put, "may-take": may_take, "take": take}[verb]
    try:
        do(*map(Path, folders))  # type: ignore[operator]
    except Refused as err:
        sys.exit(f"{command}: {err}")
    except (OSError, subprocess.CalledProcessError) as err:
        sys.exit(f"{command}: {err}\nIt is not complete: correct that, and run `{command}` again.")


if __name__ == "__main__":
    main()
