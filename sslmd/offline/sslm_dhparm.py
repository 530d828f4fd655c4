"""`sslm-dhparm`: Diffie-Hellman groups in files, for servers that offer DHE. Needs no daemon.

What it writes to DIR/dh is in `store.dh`; with `[dh]` in ssl-mgr.conf the daemon writes the same.

Exit status: 0 all is there, 1 something failed, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from sslmd import __version__
from sslmd.console.args import Formatter
from sslmd.console.program import DONE, FAILED, CtlError, run_tool
from sslmd.console.text import complain, printable, say
from sslmd.core.dh import CHOICE, NAMES, OWN_AGE, DhGroup
from sslmd.core.errors import SslmError
from sslmd.core.names import BadName
from sslmd.memory import keep_private
from sslmd.pki.dhparam import dhparam, group_in
from sslmd.store import dh, files
from sslmd.store.layout import DH

DEFAULT_KEYS = ",".join(NAMES)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sslm-dhparm",
        description=f"Writes Diffie-Hellman groups to DIR/{DH}, and keeps the link "
        f"{dh.LINK} there.",
        allow_abbrev=False,
        formatter_class=Formatter,
    )
    top.add_argument("dirs", nargs="+", metavar="DIR", help="where; with -s, whose subdirectories")
    top.add_argument(
        "-k", "--keys", metavar="LIST", type=_keys, default=DEFAULT_KEYS,
        help="names of RFC 7919, and sizes in bits to generate; the first is what the link leads "
        f"to (default: {DEFAULT_KEYS})",
    )  # fmt: skip
    top.add_argument(
        "-a", "--age-days", metavar="DAYS", type=_age, default=OWN_AGE,
        help=f"generated groups older than that are made again (default: {OWN_AGE.days})",
    )  # fmt: skip
    top.add_argument("-f", "--force", action="store_true", help="make all again")
    top.add_argument(
        "-s", "--subdirs", action="store_true", help="in every subdirectory of DIR but ca"
    )
    top.add_argument("--version", action="version", version=f"sslm-dhparm {__version__}")
    return top


def _keys(text: str) -> list[DhGroup]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        groups = [DhGroup.parse(word) for word in words]
    except BadName as err:
        raise argparse.ArgumentTypeError(f"{err}: choose of {CHOICE}") from None
    if not groups:
        raise argparse.ArgumentTypeError("no group is named")
    return groups


def _age(text: str) -> timedelta:
    days = float(text)
    if days < 0:
        raise ValueError
    try:
        return timedelta(days=days)
    except OverflowError:
        raise ValueError from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    keep_private()
    return run_tool("sslm-dhparm", lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    failed = False
    for top in args.dirs:
        try:
            for folder in _folders(top, subdirs=args.subdirs):
                _fill(f"{folder}/{DH}", args.keys, args.age_days, force=args.force)
        except (SslmError, CtlError) as err:
            sys.stdout.flush()
            complain(f"sslm-dhparm: {printable(str(err))}", "red")
            failed = True
    return FAILED if failed else DONE


def _folders(top: str, *, subdirs: bool) -> Iterator[str]:
    top = top.rstrip("/") or "/"
    if not os.path.isdir(top):
        raise CtlError(f"{top} is not a directory")
    if not subdirs:
        yield top
        return
    try:
        with os.scandir(top) as entries:
            names = sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))
    except OSError as err:
        raise files.trouble(err, "read", top) from err
    found = [name for name in names if name.lower() != "ca" and not name.startswith(".")]
    if not found:
        raise CtlError(f"{top} has no subdirectories; leave out -s to write to {top}/{DH}")
    yield from (f"{top}/{name}" for name in found)


def _fill(folder: str, groups: Sequence[DhGroup], age: timedelta, *, force: bool) -> None:
    files.make_dirs(folder, dh.DIR_MODE)
    for group in groups:
        if not force and dh.is_there(folder, group, age, datetime.now(UTC)):
            continue
        say(printable(f"{folder}/{group.file}: {'generating' if group.own else 'writing'}"))
        dh.write(folder, group, _generate(group.bits) if group.own else dhparam(group.bits))
    if dh.point(folder, groups[0]):
        say(printable(f"{folder}/{dh.LINK} leads to {groups[0].file}"))


def _generate(bits: int) -> bytes:
    program = shutil.which("openssl")
    if program is None:
        raise CtlError("openssl, which generates groups, is not installed; or use -k ffdhe4096")
    # It shows its progress on stderr: larger ones take minutes.
    done = subprocess.run(
        [program, "dhparam", str(bits)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise CtlError(f"openssl dhparam {bits} failed with {done.returncode}")
    return group_in(done.stdout, bits)


if __name__ == "__main__":
    sys.exit(main())
