"""`sslm-info`: shows what is in files of keys, requests and certificates. Needs no daemon.

Exit status: 0 all was shown, 1 something in them is damaged or cannot be read, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from sslmd import __version__
from sslmd.console.args import Formatter
from sslmd.console.program import DONE, FAILED, run_tool
from sslmd.console.text import clock, complain, printable, printable_json, say
from sslmd.core.errors import Permanent
from sslmd.memory import keep_private
from sslmd.pki.describe import KIND, Described, describe, same_key
from sslmd.pki.pem import MAX_BYTES

STDIN = "-"
_WIDTH = 16  # of the longest fact's name, and two blanks


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sslm-info",
        description="Shows keys, certificate requests and certificates, PEM or DER. Of private "
        "keys, only what is public.",
        epilog="Of a directory, the files of a set: privkey.pem, csr.pem, cert.pem and so on.",
        allow_abbrev=False,
        formatter_class=Formatter,
    )
    top.add_argument(
        "files", nargs="*", metavar="FILE", help="files or directories; none or -: stdin"
    )
    top.add_argument("--json", action="store_true", help="one JSON document")
    # ssl-mgr's: it called openssl for more. Everything is shown as it is.
    top.add_argument("-v", "--verb", "--verbose", action="store_true", help=argparse.SUPPRESS)
    top.add_argument("-s", dest="verb", action="store_true", help=argparse.SUPPRESS)
    top.add_argument("--version", action="version", version=f"sslm-info {__version__}")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    keep_private()
    return run_tool("sslm-info", lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    shown: list[tuple[str, list[Described], str]] = []
    for path in args.files or [STDIN]:
        for file in _files(path):
            try:
                shown.append((file, describe(read(file), now), ""))
            except Permanent as err:
                shown.append((file, [], str(err)))
    named = [
        (f"{one.kind} {_title(file)}" + (f" #{number}" if len(found) > 1 else ""), one)
        for file, found, _ in shown
        for number, one in enumerate(found, start=1)
    ]
    groups = list(same_key(named))
    if args.json:
        say(printable_json(json.dumps(_document(shown, groups), ensure_ascii=False)))
    else:
        _print(shown, groups)
    broken = any(error or any(one.error for one in found) for _, found, error in shown)
    return FAILED if broken else DONE


def _files(path: str) -> list[str]:
    """Return the files that an argument names: those of a set in a directory."""
    if path == STDIN or not os.path.isdir(path):
        return [path]
    from sslmd.store.layout import SET_FILES  # only for directories

    found = [f"{path}/{name}" for name in SET_FILES if os.path.lexists(f"{path}/{name}")]
    return found or [path]


def _title(file: str) -> str:
    return "stdin" if file == STDIN else file


def _document(
    shown: list[tuple[str, list[Described], str]], groups: list[list[str]]
) -> dict[str, object]:
    def known(one: Described) -> dict[str, object]:
        facts = {name.replace(" ", "_"): fact for name, fact in one.facts.items()}
        numbers = {"days_left": one.days_left, "life_days": one.life, "age_days": one.age}
        days = {name: number for name, number in numbers.items() if number is not None}
        return {**facts, **days, **({"error": one.error} if one.error else {})}

    files = [
        {
            "file": _title(file),
            "found": list(map(known, found)),
            **({"error": error} if error else {}),
        }
        for file, found, error in shown
    ]
    return {"files": files, "same_key": groups}


def _print(shown: list[tuple[str, list[Described], str]], groups: list[list[str]]) -> None:
    for position, (file, found, error) in enumerate(shown):
        if position:
            say()
        say(printable(_title(file)), "bold")
        if error:
            sys.stdout.flush()
            complain(f"  {printable(error)}", "red")
        for number, one in enumerate(found, start=1):
            say(f"  {printable(one.kind)}" + (f" #{number}" if len(found) > 1 else ""))
            for name, fact in one.facts.items():
                if name in one.times:
                    fact = clock(one.times[name])
                if name != KIND and fact:
                    say(f"    {name:<{_WIDTH}}{printable(fact)}")
            if one.error:
                sys.stdout.flush()
                complain(f"    {printable(one.error)}", "red")
    for number, group in enumerate(groups):
        if not number:
            say()
        say(f"one key: {printable(group)}")


def read(path: str) -> bytes:
    """Return the content of a file, or of stdin; raise `Permanent` for what is no such file.

    No more is read than a PEM file may have: the file may be a disk.
    """
    try:
        if path == STDIN:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            # Opening a FIFO that nobody writes to would wait for ever; who writes is waited for.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.set_blocking(handle, True)
            with open(handle, "rb") as file:
                content = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise Permanent(f"cannot be read: {err.strerror}") from None
    if len(content) > MAX_BYTES:
        raise Permanent(f"it has more than {MAX_BYTES} bytes: no key or certificate is that large")
    return content


if __name__ == "__main__":
    sys.exit(main())
