"""http-01: challenges as files on web servers (RFC 8555 §8.3).

    <server_dir>/<apex>/.well-known/acme-challenge/<token>

Put on every host, here or by ssh, and taken away again; `http01_look` asks whether they show.
What comes from the CA is checked before it names a file, and below `server_dir` no link is
followed: those who may write to a web site could lead us out of it.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from sslmd.core.errors import Permanent, Transient, together
from sslmd.core.names import ZoneName, machine_of, shown
from sslmd.processes import run_command
from sslmd.servers.local import is_local
from sslmd.store import files

WELL_KNOWN = ".well-known"
ACME_CHALLENGE = "acme-challenge"

_DIR_MODE = 0o755  # web servers are other users
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

# For one host: to connect, and to write some small files.
SSH_CONNECT = 10  # seconds
SSH_LIMIT = timedelta(seconds=60)

# RFC 8555 §8.1: base64url, and the token of http-01 names a file. The thumbprint of the account's
# key (RFC 7638) is a SHA-256.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")

T = TypeVar("T")


class InThread(Protocol):
    """Runs what blocks beside the event loop."""

    def __call__(self, func: Callable[[], T], /) -> Awaitable[T]:
        """Return what `func` returns."""


async def put(
    hosts: Iterable[str],
    server_dir: Path,
    apex: str,
    contents: Mapping[str, str],
    in_thread: InThread,
) -> None:
    """Put challenges on every host; `contents` are key authorizations by token.

    Every host is tried, all at once; some may have them when this raises. Raises `Transient` or
    `Permanent` naming those that failed; ValueError, before anything is written, for what is no
    challenge.
    """
    for token, content in contents.items():
        check(apex, token, content)

    def script() -> str:
        return _put_script(server_dir, apex, len(contents))

    lines = "".join(f"{token} {content}\n" for token, content in contents.items()).encode()

    def put_here() -> None:
        _put_here(server_dir, apex, contents)

    await _on_each(hosts, put_here, script, lines, in_thread, "write challenges to")


async def remove(
    hosts: Iterable[str],
    server_dir: Path,
    apex: str,
    tokens: Iterable[str],
    in_thread: InThread,
) -> None:
    """Take challenges away again; those that are not there are fine. Directories stay.

    Raises as `put` does.
    """
    tokens = tuple(tokens)
    for token in tokens:
        check(apex, token)

    def remove_here() -> None:
        _remove_here(server_dir, apex, tokens)

    def script() -> str:
        return _remove_script(server_dir, apex, tokens)

    await _on_each(hosts, remove_here, script, b"", in_thread, "remove challenges from")


def check(apex: str, token: str, content: str | None = None) -> None:
    """Raise ValueError if one of them is not what it has to be."""
    if ZoneName.parse(apex).text != apex:
        raise ValueError(f"{shown(apex)} is no name of a folder")
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{shown(token)} is no token of a challenge (RFC 8555 §8.1)")
    if content is not None:
        head, dot, thumbprint = content.partition(".")
        if head != token or not dot or not _THUMBPRINT.fullmatch(thumbprint):
            raise ValueError(f"{shown(content)} is no key authorization (RFC 8555 §8.1)")


async def _on_each(
    hosts: Iterable[str],
    here: Callable[[], None],
    script: Callable[[], str],
    stdin: bytes,
    in_thread: InThread,
    doing: str,
) -> None:
    """Run `here` if one of the hosts is this machine, and a script of their own on the others.

    Hosts may share a file system: no two scripts are to use the same name for a file of theirs.
    """
    hosts = list(dict.fromkeys(hosts))

    def sort() -> list[bool]:
        return [is_local(machine_of(host)) for host in hosts]

    local = await in_thread(sort)
    works = [
        _ssh(host, script(), stdin, doing)
        for host, is_here in zip(hosts, local, strict=True)
        if not is_here
    ]
    if any(local):
        works.append(_here(here, in_thread))
    results = await asyncio.gather(*works, return_exceptions=True)
    if failures := [one for one in results if isinstance(one, BaseException)]:
        raise together(failures)


async def _here(work: Callable[[], None], in_thread: InThread) -> None:
    await in_thread(work)


# --- on this machine ------------------------------------------------------------------------


def _put_here(server_dir: Path, apex: str, contents: Mapping[str, str]) -> None:
    files.make_dirs(str(server_dir), _DIR_MODE)
    folder = f"{server_dir}/{apex}/{WELL_KNOWN}/{ACME_CHALLENGE}"
    handle = _open_dir(server_dir, apex, make=True)
    assert handle is not None
    try:
        for token, content in contents.items():
            # By the handle: what stands at the path may be a link by now.
            try:
                files.write_in(handle, token, content.encode("ascii"), files.FILE_MODE)
            except OSError as err:
                raise files.trouble(err, "write", f"{folder}/{token}") from err
    finally:
        os.close(handle)


def _remove_here(server_dir: Path, apex: str, tokens: Sequence[str]) -> None:
    handle = _open_dir(server_dir, apex, make=False)
    if handle is None:
        return
    try:
        for token in tokens:
            with suppress(FileNotFoundError):
                os.unlink(token, dir_fd=handle)
    except OSError as err:
        folder = f"{server_dir}/{apex}/{WELL_KNOWN}/{ACME_CHALLENGE}"
        raise files.trouble(err, "remove challenges from", folder) from err
    finally:
        os.close(handle)


def _open_dir(server_dir: Path, apex: str, *, make: bool) -> int | None:
    """Return a handle of the challenges' folder; None if it is not there and not to be made."""
    where = str(server_dir)
    try:
        # This one the admin has named: it may be a link.
        handle = os.open(where, _DIRECTORY)
        for part in (apex, WELL_KNOWN, ACME_CHALLENGE):
            where = f"{where}/{part}"
            above = handle
            try:
                handle = _open_below(above, part, make=make)
            finally:
                os.close(above)
    except OSError as err:
        if isinstance(err, FileNotFoundError) and not make:
            return None
        if os.path.islink(where):
            raise Permanent(f"{where} is a link; put a directory in its place") from err
        raise files.trouble(err, "open", where) from err
    return handle


def _open_below(above: int, name: str, *, make: bool) -> int:
    is_new = False
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, _DIR_MODE, dir_fd=above)
            is_new = True
    handle = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    if is_new:
        try:
            os.fchmod(handle, _DIR_MODE)  # whatever the umask
        except OSError:
            os.close(handle)
            raise
    return handle


# --- on other machines ----------------------------------------------------------------------


async def _ssh(host: str, script: str, stdin: bytes, doing: str) -> None:
    """Run a script of the Bourne shell on another host, whatever shell is at home there."""
    argv = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={SSH_CONNECT}", "--", host]
    argv.append(f"exec sh -c {shlex.quote(script)}")
    try:
        await run_command(
            argv, timeout=SSH_LIMIT, cwd="/", stdin=stdin, remedy="install an ssh client",
            limit="the speed of the line",
        )  # fmt: skip
    except (Transient, Permanent) as err:
        # Not the whole script.
        said = str(err).replace(shlex.join(argv), f"ssh {host}")
        raise type(err)(f"cannot {doing} {host}: {said}") from None


def _put_script(server_dir: Path, apex: str, count: int) -> str:
    """Return a script that reads a token and its content from each line.

    A line that was cut off is not taken, and missed in the end.
    """
    new = f".{secrets.token_hex(12)}.new"
    return "; ".join(
        [
            "set -euC",
            "umask 022",
            f"mkdir -p -- {_quoted(server_dir)}",
            *_walk(server_dir, apex, '[ -d "$d" ] || mkdir -- "$d" || [ -d "$d" ]'),
            f"trap 'rm -f {new}' EXIT HUP TERM INT",
            "n=0",
            "while read -r token content",
            f'do printf %s "$content" > {new}',
            f"chmod 644 {new}",
            # mv would go into a directory, and where a link leads to one.
            '[ ! -h "./$token" ] || rm -f -- "./$token"',
            '[ ! -d "./$token" ] || { echo "$PWD/$token is a directory" >&2; exit 1; }',
            f'mv -f -- {new} "./$token"',
            "n=$((n + 1))",
            "done",
            f'[ "$n" -eq {count} ] || {{ echo "$n of {count} challenges came" >&2; exit 1; }}',
        ]
    )


def _remove_script(server_dir: Path, apex: str, tokens: Sequence[str]) -> str:
    names = " ".join(f"./{shlex.quote(token)}" for token in tokens)
    return "; ".join(
        [
            "set -eu",
            f"[ -d {_quoted(server_dir)} ] || exit 0",
            *_walk(server_dir, apex, '[ -d "$d" ] || exit 0'),
            f"rm -f -- {names}",
        ]
    )


def _walk(server_dir: Path, apex: str, otherwise: str) -> list[str]:
    """Return commands that go down into the challenges' folder, without following links."""
    is_link = 'echo "$PWD/$d is a link; put a directory in its place" >&2; exit 1'
    return [
        f"cd -- {_quoted(server_dir)}",
        f"for d in {shlex.quote(apex)} {WELL_KNOWN} {ACME_CHALLENGE}",
        f'do if [ -h "$d" ]; then {is_link}; fi',
        otherwise,
        'cd -- "./$d"',
        "done",
    ]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
