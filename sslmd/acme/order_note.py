"""What is noted of an order as soon as the CA has it: whoever is killed goes on with it (I5).

    cb/order/<set>/order        its URL, the account's URL, when it was made, its profile; JSON

It counts for the request and the server that lie beside it.
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
    """An order at a CA. `made`: an RFC 3339 time."""

    url: str
    account: str
    made: str
    profile: str = ""


def begin(place: OrderFolders, csr: bytes, server: AcmeServer, made: NotedOrder) -> None:
    """Note an order, in place of one before; blocks."""
    files.check_dir(place.home)
    files.remove_tree(place.order)
    files.make_dirs(place.order, 0o700)
    files.write_file(place.server_note, server.url.encode())
    files.write_file(f"{place.order}/{CSR}", csr)
    files.write_file(place.order_note, json.dumps(asdict(made)).encode())


def noted(
    place: OrderFolders, csr: bytes, server: AcmeServer, profile: str, now: datetime
) -> NotedOrder | None:
    """Return the order to go on with, None without one: what cannot be read is none. Blocks."""
    try:
        if not is_of(place, csr, server):
            return None
        found = NotedOrder(**json.loads(files.read_file(place.order_note)))
        age = now - datetime.fromisoformat(found.made)
    except (OSError, ValueError, TypeError, RecursionError, Permanent):
        return None
    texts = all(isinstance(one, str) for one in (found.url, found.account))
    is_young = age < TAKEN_UP  # one of the future: the clock was set back
    return found if texts and is_young and found.profile == profile else None
