"""What public CAs count, so that their limits are never reached.

Let's Encrypt takes five failed validations of a name per account and hour, then it refuses
the name (https://letsencrypt.org/docs/rate-limits/). So failures count over all certificates that
share an account. It issues five certificates a week for exactly
the same names, over all accounts. Everything else that a CA limits it tells itself, with the time
when to come again, which `Trouble.binding` keeps to.

What was issued is noted in state.toml, so that it counts over restarts and when the sets are
cleaned away; the sets of older trees count by their own dates. Requests, orders and what is shown
all ask here.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sslmd.core.buckets import ANY_FAILED, LETS_ENCRYPT, Rate
from sslmd.core.reason import Reason
from sslmd.core.renewal import Wanted
from sslmd.core.roll_wait import issued_at
from sslmd.core.spec import AcmeCa
from sslmd.core.state import ISSUED_COUNTED, CertState, FailedValidation, Issuance
from sslmd.core.told import Answered, Denied
from sslmd.core.view import Standing

# Certificates for exactly the same names in 7 days; one more every 7 d / 5 = 33 h 36 min.
MOST_ISSUED = 5
REFILL = ISSUED_COUNTED / MOST_ISSUED


def failed_too_often(
    failed: Iterable[FailedValidation],
    names: Iterable[str],
    now: datetime,
    rate: Rate | None = ANY_FAILED,
) -> tuple[str, datetime] | None:
    """Return a name that failed too often to be tried now, and when it can be; None if none.

    A wildcard counts with the name below its star: it is validated there (RFC 8555 §7.1.3).
    `rate`: the limit of the CA, of which one less is used; None: it has none.
    """
    if rate is None:
        return None
    most = max(rate.most - 1, 1)
    times: dict[str, list[datetime]] = defaultdict(list)
    for one in failed:
        # One of the future, by a clock that was set back since, counts as of now; not for ever.
        at = min(one.at, now)
        if now - at < rate.every and one.at - now < rate.every:
            times[one.name.removeprefix("*.")].append(at)
    worst: tuple[str, datetime] | None = None
    for name in sorted({name.removeprefix("*.") for name in names}):
        recent = sorted(times[name])
        if len(recent) >= most:
            again = recent[-most] + rate.every
            if worst is None or again > worst[1]:
                worst = (name, again)
    return worst


def names_mark(names: Iterable[str]) -> str:
    """Return a short text that is the same for the same set of names, and for no other."""
    text = "\n".join(sorted({name.lower().rstrip(".") for name in names}))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Spent:
    """How much of the limit for one set of names is used. `again`: when it allows the next one."""

    used: int
    again: datetime | None = None


def spent(issued: Iterable[datetime], now: datetime) -> Spent:
    """Return what is used at `now` of `MOST_ISSUED`, as a CA counts that refills it evenly.

    Issuances in the future (the clock was set back) count as of now.
    """
    full = None  # when the limit is full again
    for at in sorted(min(at, now) for at in issued):
        if now - at < ISSUED_COUNTED:
            full = (at if full is None else max(full, at)) + REFILL
    if full is None or full <= now:
        return Spent(0)
    used = min(math.ceil((full - now) / REFILL), MOST_ISSUED)
    again = full - REFILL * (MOST_ISSUED - 1)
    return Spent(used, again if again > now else None)


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

    def all(self) -> Iterator[tuple[str, str, list[datetime]]]:
        """Yield the directory, the set of names (`names_mark`), and when it was issued."""
        for (server, mark), found in self._found.items():
            yield server, mark, list(found.values())

    def spent(self, wanted: Wanted) -> Spent | None:
        """Return what is used of the limit for a certificate's names, None if no ACME CA signs."""
        server = self._server(wanted)
        if not server:
            return None
        mark = names_mark(wanted.names)
        return spent(self._found.get((server, mark), {}).values(), self._now)

    def exhausted(self, wanted: Wanted) -> tuple[Reason, datetime] | None:
        """Return why another certificate cannot be had now, and when it can; None if it can."""
        used = self.known(wanted)
        if used is None or used.again is None:
            return None
        why = Reason(Denied.WEEK_USED, used=used.used, most=MOST_ISSUED, at=used.again)
        return why, used.again

    def remark(self, wanted: Wanted) -> Reason | None:
        """Return what an admin should know who wants one more, None if it is not worth a word."""
        used, known = self.spent(wanted), self._is_known(wanted)
        if used is None or used.used < (1 if known else _WORTH_TELLING):
            return None
        return Reason(Answered.ISSUED_BEFORE, used=used.used, most=MOST_ISSUED, known=known)

    def known(self, wanted: Wanted) -> Spent | None:
        """Return what is used of the limit, None where nobody knows whether the CA has it."""
        return self.spent(wanted) if self._is_known(wanted) else None

    def _is_known(self, wanted: Wanted) -> bool:
        return self._server(wanted) == LETS_ENCRYPT

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
