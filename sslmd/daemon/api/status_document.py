"""What `status` answers: made once, and the same bytes for everybody who asks meanwhile (I9).

A certificate's part is made when somebody asks, and kept until something changes. The list of all
of them is put together once for each state: 200 clients that ask again and again cost no more
memory than one, and no more time than it takes to send it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime

from sslmd import __version__
from sslmd.core.names import CertId
from sslmd.core.plain import plain_values
from sslmd.core.trouble import failed, troubles
from sslmd.daemon.api import documents
from sslmd.daemon.api.users import gently
from sslmd.daemon.planner import Planner
from sslmd.daemon.registry import Entry
from sslmd.wire.messages import Id, Response, encode_plain


class StatusDocument:
    """Makes the answers; one per daemon."""

    def __init__(self, planner: Planner, started: datetime, pid: int) -> None:
        self._planner = planner
        self._started = started
        self._pid = pid
        # The answer about all certificates, and the parts that it was made of.
        self._parts: list[bytes] = []
        # Each certificate's part, and what it was made of: good for as long as that is its entry.
        self._made: dict[CertId, tuple[Entry, bytes]] = {}
        self._list = b"[]"
        self._summary = ""

    async def answer(
        self, ident: Id, which: Sequence[CertId] | None, turn: Callable[[], Awaitable[None]]
    ) -> tuple[bytes, ...]:
        """Return a whole line, in pieces; about all certificates for None.

        `turn` returns when something may be done again for whom it is made.
        """
        registry = self._planner.registry
        chosen = registry.managed() if which is None else which
        async for cert in gently(chosen, turn):
            if cert in registry:
                self._document(cert, registry[cert])
        # From here on without a pause: this is how things stand at one moment.
        chosen = registry.managed() if which is None else [one for one in chosen if one in registry]
        parts = [self._document(cert, registry[cert]) for cert in chosen]
        if which is not None:
            body, text = _list_of(parts), _certificates(self._planner)
        elif parts == self._parts and self._summary:  # quick: mostly they are the same objects
            body, text = self._list, self._summary
        else:
            body, text = _list_of(parts), _certificates(self._planner)
            self._parts, self._list, self._summary = parts, body, text
        head = encode_plain(Response(ident, self._about(text))).removesuffix(b"}}\n")
        return (head + b',"certs":', body, b"}}\n")

    def _document(self, cert: CertId, entry: Entry) -> bytes:
        made = self._made.get(cert)
        if made is None or made[0] is not entry:
            value = plain_values(documents.status_entry(cert, entry))
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            made = self._made[cert] = (entry, text.encode("utf-8", "replace"))
        return made[1]

    def _about(self, text: str) -> dict[str, object]:
        planner = self._planner
        refused = planner.refused
        text = f"{text}{_at_work(planner)}"
        about = {
            "version": __version__,
            "pid": self._pid,
            "started": documents.time(self._started),
            "state": "running",
            "text": f"{text}{_refused(planner)}",
            "summary": text,
            "conf_dir": str(planner.site.config.conf_dir),
            "refused": refused.as_json() if refused else None,
        }
        return {
            "version": documents.FORMAT,
            "daemon": about,
            "hosts": documents.hosts(planner),
            "zones": documents.zones(planner),
            "dns": documents.dns(),
            "dh": documents.dh(planner),
        }


def _list_of(parts: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"


# --- in one line ----------------------------------------------------------------------


def in_trouble(entry: Entry, now: datetime) -> bool:
    """Whether something about a certificate failed and is not yet made good."""
    return failed(documents.status_of(entry), now)


def summary(planner: Planner) -> str:
    """Return one line on how everything stands, for `systemctl status` and clients."""
    return f"{_certificates(planner)}{_at_work(planner)}{_refused(planner)}"


def _certificates(planner: Planner) -> str:
    which, now = planner.registry.managed(), planner.site.now()
    live = troubled = 0
    for cert in which:
        entry = planner.registry[cert]
        live += entry.state.curr is not None and not entry.unusable
        troubled += bool(troubles(documents.status_of(entry), now))  # as `sslmctl status` counts
    trouble = f", {troubled} in trouble" if troubled else ""
    return f"{len(which)} certificates, {live} live{trouble}"


def _at_work(planner: Planner) -> str:
    number = len(planner.queue)
    return f", {number} job{'s' if number > 1 else ''} at work" if number else ""


def _refused(planner: Planner) -> str:
    return f"; {planner.refused.text}" if planner.refused is not None else ""
