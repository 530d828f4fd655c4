"""Somebody whose folder is written to by root, and who wants root to write elsewhere.

    python -m tests.stand.racer UID SITE OUTSIDE HOW

As user UID, who owns SITE: names below it are exchanged all the time (renameat2(2)) with links to
OUTSIDE, or with a folder of root's that lies in it; or what is made there is exchanged as soon as
it is there (inotify(7)). It says `ready`, and goes on until its stdin is closed.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

PARTS = ("www", "example.com", ".well-known", "acme-challenge")
# What names are exchanged: each part with a link out of the site, or with a folder of root's.
EXCHANGES = {
    "server-dir": "/".join(PARTS[:1]),
    "apex": "/".join(PARTS[:2]),
    "well-known": "/".join(PARTS[:3]),
    "challenges": "/".join(PARTS[:4]),
}
# A folder of root's in the folder of server_dir, with the names of the way in it.
PRECIOUS = "precious"
WATCHED = "created"
WAYS = (*EXCHANGES, PRECIOUS, WATCHED)

_AT_FDCWD, _EXCHANGE = -100, 2
_IN_CREATE, _IN_MOVED_TO = 0x100, 0x80
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: bytes, other: bytes) -> bool:
    """Let two names change places at one instant."""
    done = _libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE)
    return bool(done == 0)


def keep_exchanging(one: str, other: str) -> Iterator[None]:
    """Exchange two names for ever."""
    first, second = one.encode(), other.encode()
    while True:
        for _ in range(200):
            exchange(first, second)
            exchange(first, second)
        exchange(first, second)  # the other way round for the next while
        yield


def keep_replacing(folder: str, outside: str) -> Iterator[None]:
    """Exchange whatever comes into a folder for a link that leads out of it."""
    watch = _libc.inotify_init1(os.O_NONBLOCK)
    events = _IN_CREATE | _IN_MOVED_TO
    for place in (folder, *(f"{folder}/{'/'.join(PARTS[1:n])}" for n in range(2, 5))):
        _libc.inotify_add_watch(watch, place.encode(), events)
    targets = (f"{outside}/key", f"{outside}/{'/'.join(PARTS[1:])}")
    links = [f"{folder}/.link-{number}" for number in (0, 1)]
    deepest = f"{folder}/{'/'.join(PARTS[1:])}"
    while True:
        for link, target in zip(links, targets, strict=True):
            with suppress(OSError):
                os.symlink(target, link)
        select.select([watch], [], [], 0.02)
        with suppress(BlockingIOError):
            data = os.read(watch, 1 << 16)
            at = 0
            while at < len(data):
                *_, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                is_folder = os.path.isdir(deepest.encode() + b"/" + name)
                path = deepest.encode() + b"/" + name
                exchange(path, links[is_folder].encode())
                # And what this process owns, so that there are links again.
                for link in links:
                    with suppress(OSError):
                        os.unlink(link)
        yield


def main() -> None:
    uid, site, outside, how = int(sys.argv[1]), *sys.argv[2:]
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if how == WATCHED:
        work = keep_replacing(f"{site}/www", outside)
    elif how == PRECIOUS:
        work = keep_exchanging(f"{site}/www/example.com", f"{site}/www/{PRECIOUS}")
    else:
        part = EXCHANGES[how]
        link = f"{site}/.link"
        inside = part.partition("/")[2]
        os.symlink(f"{outside}/{inside}".rstrip("/"), link)
        work = keep_exchanging(f"{site}/{part}", link)
    print("ready", flush=True)
    while not select.select([0], [], [], 0)[0]:
        next(work)


if __name__ == "__main__":
    main()
