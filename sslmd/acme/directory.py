"""What an ACME server says of itself: its directory (RFC 8555 §7.1.1).

Read before an order is begun, so that a CA that cannot be reached costs nothing, and to know under
which names CAA records may allow it. The network process fetches it.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from sslmd.acme.ca_problem import directory_error
from sslmd.acme.certbot_log import MOST_DETAIL, one_line
from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.net.acme_messages import DIRECTORY, AcmeProblem, CaAddress, OfServer
from sslmd.net.link import Asker

# Seconds for all of it, redirects too; and for the network process to tell that they are over.
TIMEOUT = 20.0
LATE = 5.0

# Requests that may be under way at a CA at one time, where nobody says otherwise.
REQUESTS = 8

# What a directory tells in lists: so many entries of so many characters.
MOST_TEXTS = 100
MOST_TEXT = 253

# Bytes of a file of roots: those of a whole system have 220 kB.
MOST_ROOTS = 2 << 20


@dataclass(frozen=True, slots=True)
class Directory:
    """`caa_identities` are the domains by which CAA records name the CA, () if it tells none.

    `new_order` is the URL where orders begin, `renewal_info` that of RFC 9773, "" without one.
    """

    new_order: str = ""
    caa_identities: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    external_account_required: bool = False
    renewal_info: str = ""


async def fetch(
    url: str,
    root: Path | None,
    net: Asker,
    *,
    seconds: float = TIMEOUT,
    age: float = 0.0,
    requests: int = REQUESTS,
) -> Directory:
    """Return the directory at `url`; `root` is a PEM file of CAs to trust for its HTTPS.

    One that is no older than `age` seconds will do. `requests`: as for `CaAddress.most`.

    Raises `Transient` if it cannot be had now, `Permanent` if it is none.
    """
    roots = await asyncio.to_thread(roots_in, root, url)
    try:
        async with asyncio.timeout(seconds + LATE):
            found = await net.call(
                DIRECTORY, OfServer(CaAddress(url, roots, requests), seconds, age)
            )
    except TimeoutError:
        found = AcmeProblem("unreachable", url, type=Failed.NO_ANSWER, detail=f"{seconds:g}")
    if isinstance(found, AcmeProblem):
        if found.type == Failed.CA_ROOT_UNUSABLE and root is not None:
            raise Permanent(_unusable(root, url, found.detail))
        raise directory_error(found, url, datetime.now(UTC))
    return Directory(
        new_order=found.new_order,
        caa_identities=_texts(found.caa_identities),
        profiles=_texts(found.profiles),
        external_account_required=found.wants_binding,
        renewal_info=found.renewal_info,
    )


def roots_in(root: Path | None, url: str) -> str:
    """Return the certificates that are trusted for a CA alone, "" for those of the system.

    Links are followed, as in /etc/ssl/certs; a start asks who has power over them. Blocks. Raises
    `Permanent` for what is no file, cannot be read, or has none.
    """
    if root is None:
        return ""
    try:
        with open(root, "rb", opener=_without_wait) as file:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            text = file.read(MOST_ROOTS).decode("utf-8", "replace") if is_file else ""
    except OSError as err:
        raise Permanent(_unusable(root, url, err.strerror)) from None
    if not is_file:
        raise Permanent(_unusable(root, url, "no regular file"))
    if "-----BEGIN " not in text:
        raise Permanent(_unusable(root, url, "no certificate"))
    return "\n".join(line for line in text.splitlines() if line.isascii())


def _without_wait(path: str, flags: int) -> int:
    """Open a file; a pipe would keep whoever opens it until somebody writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def _unusable(root: Path, url: str, said: str | None) -> Reason:
    words = Said(one_line(said or "", MOST_DETAIL))
    return Reason(Failed.CA_ROOT_UNUSABLE, file=str(root), url=url, said=words)


def _texts(found: Sequence[str]) -> tuple[str, ...]:
    """Return those that a name could be."""
    names = (one for one in found if one.isprintable() and len(one) <= MOST_TEXT)
    return tuple(islice(names, MOST_TEXTS))
