"""http-01: challenges as files on web servers (RFC 8555 §8.3).

    <server_dir>/<apex>/.well-known/acme-challenge/<token>

Put on every host, here or by ssh, and taken away again; `http01_look` asks whether they show.
What comes from the CA is checked before it names a file, and below `server_dir` no link is
followed: those who may write to a web site could lead us out of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from sslmd.core.errors import Permanent, Transient, naming, together
from sslmd.core.failed import Failed
from sslmd.core.names import ZoneName, machine_of, shown
from sslmd.core.reason import Reason, said
from sslmd.processes import InThread
from sslmd.servers.local import is_local
from sslmd.servers.ssh import shell_on
from sslmd.store import files
from sslmd.store.foreign import ForeignFolder, apart
from sslmd.store.scratch import Scratch

WELL_KNOWN = ".well-known"
ACME_CHALLENGE = "acme-challenge"

# Seconds for one host: to write some small files, and for the end of that to be told.
LIMIT = 45.0
ENDING = 15.0

_script = cache(Path(__file__).with_name("challenge.sh").read_text)

# RFC 8555 §8.1: base64url, and the token of http-01 names a file. The thumbprint of the account's
# key (RFC 7638) is a SHA-256.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")

T = TypeVar("T")

# Whether a host, without the user that may stand before it, is this machine; None: nobody knows.
IsHere = Callable[[str], Awaitable[bool | None]]


async def put(
    hosts: Iterable[str],
    server_dir: Path,
    apex: str,
    contents: Mapping[str, str],
    in_thread: InThread,
    scratch: Scratch | None = None,
    is_here: IsHere | None = None,
) -> None:
    """Put challenges on every host; `contents` are key authorizations by token.

    `scratch`: as for `shell_on`. `is_here` knows which hosts are this machine; without it the
    system is asked, in a thread. Every host is tried, all at once; some may have them when this
    raises. Raises `Transient` or `Permanent` naming those that failed; ValueError, before anything
    is written, for what is no challenge.
    """
    for token, content in contents.items():
        check(apex, token, content)

    words = ("put", *(word for pair in contents.items() for word in pair))

    def put_here() -> None:
        with _challenges(server_dir, apex, make=True) as folder:
            for token, content in contents.items():
                with naming("write", f"{folder.path}/{token}"):
                    folder.put(token, content.encode("ascii"))

    def put_there(host: str) -> Awaitable[None]:
        return _there(host, words, server_dir, apex, Failed.CHALLENGE_NOT_PUT, scratch)

    await _on_each(hosts, put_here, put_there, in_thread, is_here)


async def remove(
    hosts: Iterable[str],
    server_dir: Path,
    apex: str,
    tokens: Iterable[str],
    in_thread: InThread,
    scratch: Scratch | None = None,
    is_here: IsHere | None = None,
) -> None:
    """Take challenges away again; those that are not there are fine. Directories stay.

    Raises as `put` does.
    """
    tokens = tuple(tokens)
    for token in tokens:
        check(apex, token)

    def remove_here() -> None:
        with suppress(FileNotFoundError):
            with _challenges(server_dir, apex, make=False) as folder:
                with naming("remove challenges from", folder.path):
                    for token in tokens:
                        folder.remove(token)

    words = ("remove", *tokens)

    def remove_there(host: str) -> Awaitable[None]:
        return _there(host, words, server_dir, apex, Failed.CHALLENGE_NOT_REMOVED, scratch)

    await _on_each(hosts, remove_here, remove_there, in_thread, is_here)


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
    there: Callable[[str], Awaitable[None]],
    in_thread: InThread,
    is_here: IsHere | None,
) -> None:
    """Run `here` if one of the hosts is this machine, and `there` for each of the others."""
    hosts = list(dict.fromkeys(hosts))

    async def by_system(host: str) -> bool:
        return await in_thread(lambda: is_local(machine_of(host)))

    local = await asyncio.gather(*map(is_here or by_system, hosts))
    works = [there(host) for host, here_too in zip(hosts, local, strict=True) if not here_too]
    if any(local):
        works.append(in_thread(lambda: apart(here)))
    results = await asyncio.gather(*works, return_exceptions=True)
    if failures := [one for one in results if isinstance(one, BaseException)]:
        raise together(failures)


# --- on this machine ------------------------------------------------------------------------


@contextmanager
def _challenges(server_dir: Path, apex: str, *, make: bool) -> Iterator[ForeignFolder]:
    """Go to the challenges' folder. Raises FileNotFoundError if it is not there, and not made."""
    with ForeignFolder() as folder:
        try:
            # This one the admin has named: links may lead to it.
            folder.follow(str(server_dir), make=make)
            for part in (apex, WELL_KNOWN, ACME_CHALLENGE):
                folder.enter(part, make=make)
        except OSError as err:
            if isinstance(err, FileNotFoundError) and not make:
                raise
            raise files.trouble(err, "open", folder.path) from err
        yield folder


# --- on other machines ----------------------------------------------------------------------


async def _there(
    host: str,
    words: Sequence[str],
    server_dir: Path,
    apex: str,
    code: Failed,
    scratch: Scratch | None,
) -> None:
    """Do it on another host: `challenge.sh` with an action; `code`: what fails if it does."""
    below = f"{apex}/{WELL_KNOWN}/{ACME_CHALLENGE}/"
    action, *rest = words
    script = ("sh", "-c", 'eval "$1"', "sh", _script(), action, f"{server_dir}/", below, *rest)
    try:
        async with shell_on(host, "", scratch) as shell:
            answer = await shell.ask("run", f"{LIMIT:.0f}", *script, limit=LIMIT + ENDING)
    except (Transient, Permanent) as err:
        raise type(err)(Reason(code, host=host, why=err.reason)) from err
    if answer.status != "0":
        hangs = Reason(Failed.CHALLENGE_HANGS, seconds=round(LIMIT))
        raise Transient(Reason(code, host=host, why=said(answer.said) or hangs))
