"""What is noted of an order before the CA is asked for it: whoever is killed goes on with it (I5).

    cb/order/<set>/order        its URL, the account's URL, when it was asked for, its profile; JSON

The URL is "" until the CA's answer is there: then the CA may have the order, or never have heard of
it. It counts for the request and the server that lie beside it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sslmd.acme.certbot import AcmeServer, is_of
from sslmd.core.errors import Permanent
from sslmd.store import files
from sslmd.store.layout import CSR, OrderFolders

# Let's Encrypt's orders live for a week; a CA that does not know one any more says so.
TAKEN_UP = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class NotedOrder:
    """An order at a CA. `made`: when it was asked for, an RFC 3339 time."""

    url: str
    account: str
    made: str
    profile: str = ""

    @property
    def at(self) -> datetime:
        """When it was asked for; raises ValueError where that is no time."""
        return datetime.fromisoformat(self.made)


def begin(place: OrderFolders, csr: bytes, server: AcmeServer, asked: NotedOrder) -> None:
    """Note an order, in place of one before; blocks."""
    files.check_dir(place.home)
    files.remove_tree(place.order)
    files.make_dirs(place.order, 0o700)
    files.write_file(place.server_note, server.url.encode())
    files.write_file(f"{place.order}/{CSR}", csr)
    note(place, asked)


def note(place: OrderFolders, made: NotedOrder) -> None:
    """Note what is known of the order whose files are there; blocks."""
    files.write_file(place.order_note, json.dumps(asdict(made)).encode())


def noted(place: OrderFolders, csr: bytes, server: AcmeServer, now: datetime) -> NotedOrder | None:
    """Return the order to go on with, None without one: what cannot be read is none. Blocks."""
    try:
        if not is_of(place, csr, server):
            return None
        found = NotedOrder(**json.loads(files.read_file(place.order_note)))
        age = now - found.at
    except (OSError, ValueError, TypeError, RecursionError, Permanent):
        return None
    texts = all(isinstance(one, str) for one in (found.url, found.account, found.profile))
    is_young = age < TAKEN_UP  # one of the future: the clock was set back
    return found if texts and is_young else None
