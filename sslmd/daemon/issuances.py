"""How many certificates CAs issued for exactly the same names, and what they still allow.

A CA counts over all accounts, and so over all certificates here that have these names (an RSA key
beside an EC key, say). What was issued is noted in state.toml, so that it counts over restarts and
when the sets are cleaned away; the sets of older trees count by their own dates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime

from sslmd.config.model import LETS_ENCRYPT, CaInfo
from sslmd.core.limits import MOST_ISSUED, Spent, names_mark, spent
from sslmd.core.names import CertId
from sslmd.core.roll_wait import issued_at
from sslmd.core.spec import AcmeCa
from sslmd.core.state import ISSUED_COUNTED, CertState, Issuance
from sslmd.core.times import clock
from sslmd.daemon.book import Book, Entry

# At other CAs the limit is not known. From here on it is worth a word all the same.
_WORTH_TELLING = MOST_ISSUED - 1


class Issuances:
    """What was issued until now, over all certificates of the book."""

    def __init__(self, book: Book, cas: Mapping[str, CaInfo], now: datetime) -> None:
        self._cas = cas
        self._now = now
        found: dict[tuple[str, str], dict[str, datetime]] = defaultdict(dict)
        for entry in book.entries.values():
            for one in self._of(entry):
                found[one.server, one.names].setdefault(one.serial, one.at)
        self._found = found

    def spent(self, entry: Entry) -> Spent | None:
        """Return what is used of the limit for a certificate's names, None if no ACME CA signs."""
        server = self._server(entry)
        if not server:
            return None
        mark = names_mark(entry.wanted.names)
        return spent(self._found.get((server, mark), {}).values(), self._now)

    def exhausted(self, cert: CertId, entry: Entry) -> str:
        """Return why another certificate cannot be had now, "" if it can be."""
        used = self.spent(entry)
        if used is None or used.again is None or self._server(entry) != LETS_ENCRYPT:
            return ""
        return (
            f"{cert}: {used}: Let's Encrypt issues {MOST_ISSUED} certificates a week for exactly "
            f"the same names, over all accounts, and would refuse this one; it allows the next at "
            f"{clock(used.again)}"
        )

    def remark(self, entry: Entry) -> str:
        """Return what an admin should know who wants one more, "" if it is not worth a word."""
        used = self.spent(entry)
        if used is None or not used.used:
            return ""
        issued = "certificates that were issued for exactly these names, in 7 days"
        if self._server(entry) == LETS_ENCRYPT:
            return f"{used} at Let's Encrypt: {issued}"
        if used.used < _WORTH_TELLING:
            return ""
        return f"{used}, if this CA has the limit of Let's Encrypt: {issued}"

    def _server(self, entry: Entry) -> str:
        signer = entry.wanted.spec.signer
        ca = self._cas.get(signer.name) if isinstance(signer, AcmeCa) else None
        return ca.server if ca is not None else ""

    def _of(self, entry: Entry) -> Iterator[Issuance]:
        yield from entry.state.issued
        yield from self._of_sets(entry.state, self._server(entry))

    def _of_sets(self, state: CertState, server: str) -> Iterator[Issuance]:
        """Yield what the sets tell; one of an unknown CA is taken for the one of today."""
        for facts, note in ((state.curr, state.curr_note), (state.next, state.next_note)):
            if facts is None or facts.cert is None:
                continue
            at = issued_at(facts, note)
            if self._now - at >= ISSUED_COUNTED:
                continue  # nearly all of them
            ca = self._cas.get(note.ca) if note is not None and note.ca else None
            where = ca.server if ca is not None else "" if note is not None and note.ca else server
            if where:
                yield Issuance(facts.cert.serial, where, names_mark(facts.cert.names), at)
