"""How many certificates CAs issued for exactly the same names, and what they still allow.

A CA counts over all accounts, and so over all certificates here that have these names (an RSA key
beside an EC key, say). What was issued is noted in state.toml, so that it counts over restarts and
when the sets are cleaned away; the sets of older trees count by their own dates. Requests, orders
and what is shown all ask here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from sslmd.core.limits import LETS_ENCRYPT, MOST_ISSUED, Spent, names_mark, spent
from sslmd.core.renewal import Wanted
from sslmd.core.roll_wait import issued_at
from sslmd.core.spec import AcmeCa
from sslmd.core.standing import Standing
from sslmd.core.state import ISSUED_COUNTED, CertState, Issuance
from sslmd.core.times import clock

# At other CAs the limit is not known. From here on it is worth a word all the same.
_WORTH_TELLING = MOST_ISSUED - 1


class Issuances:
    """What was issued until now for all certificates `every`.

    `server_of` gives the directory of the ACME CA of that name, "" if there is none.
    """

    def __init__(
        self, every: Iterable[Standing], server_of: Callable[[str], str], now: datetime
    ) -> None:
        self._server_of = server_of
        self._now = now
        found: dict[tuple[str, str], dict[str, datetime]] = defaultdict(dict)
        for known in every:
            for one in self._of(known):
                found[one.server, one.names].setdefault(one.serial, one.at)
        self._found = found

    def spent(self, wanted: Wanted) -> Spent | None:
        """Return what is used of the limit for a certificate's names, None if no ACME CA signs."""
        server = self._server(wanted)
        if not server:
            return None
        mark = names_mark(wanted.names)
        return spent(self._found.get((server, mark), {}).values(), self._now)

    def exhausted(self, wanted: Wanted) -> tuple[str, datetime] | None:
        """Return why another certificate cannot be had now, and when it can; None if it can."""
        used = self.spent(wanted)
        if used is None or used.again is None or self._server(wanted) != LETS_ENCRYPT:
            return None
        text = (
            f"{used}: Let's Encrypt issues {MOST_ISSUED} certificates a week for exactly the same "
            f"names, over all accounts, and would refuse this one; it allows the next at "
            f"{clock(used.again)}"
        )
        return text, used.again

    def remark(self, wanted: Wanted) -> str:
        """Return what an admin should know who wants one more, "" if it is not worth a word."""
        used = self.spent(wanted)
        if used is None or not used.used:
            return ""
        issued = "certificates that were issued for exactly these names, in 7 days"
        if self._server(wanted) == LETS_ENCRYPT:
            return f"{used} at Let's Encrypt: {issued}"
        if used.used < _WORTH_TELLING:
            return ""
        return f"{used}, if this CA has the limit of Let's Encrypt: {issued}"

    def _server(self, wanted: Wanted) -> str:
        signer = wanted.spec.signer
        return self._server_of(signer.name) if isinstance(signer, AcmeCa) else ""

    def _of(self, known: Standing) -> Iterator[Issuance]:
        yield from known.state.issued
        yield from self._of_sets(known.state, self._server(known.wanted))

    def _of_sets(self, state: CertState, server: str) -> Iterator[Issuance]:
        """Yield what the sets tell; one of an unknown CA is taken for the one of today."""
        for facts, note in ((state.curr, state.curr_note), (state.next, state.next_note)):
            if facts is None or facts.cert is None:
                continue
            at = issued_at(facts, note)
            if self._now - at >= ISSUED_COUNTED:
                continue  # nearly all of them
            where = self._server_of(note.ca) if note is not None and note.ca else server
            if where:
                yield Issuance(facts.cert.serial, where, names_mark(facts.cert.names), at)
