"""Whose order is next where a CA's limits let only some through: the most urgent, then the others.

Everyone who wants to order stands in the line of each bucket that the order takes from. With k
before one in a line, one goes when the bucket has more than k left. Who goes moves to the front of
its lines, until it has taken what it came for: so never more are on the way than may be.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sslmd.core.buckets import CaLimit, Key, Rate, Rates, free_at, taken
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, Why
from sslmd.core.view import Decision

# How urgent an order is: lower is sooner, and of equal ones who ends first.
UNDER_WAY, NOW, DUE = 0, 1, 2

Urgency = tuple[int, float]
_Place = tuple[int, float, CertId]

# An order that a CA wants at once ends its wait; others are not asked again more often than this.
SHORTEST = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Limited:
    """What an order waits for, until when, and how many go before it."""

    key: Key
    rate: Rate
    until: datetime
    ahead: int

    def reason(self, ca: str) -> Reason:
        """Return it as a reason."""
        limit, whose = self.key
        zone = whose[1] if limit is CaLimit.DOMAIN else None
        return Reason(
            Why.CA_PACED,
            until=self.until,
            ca=ca,
            limit=str(limit),
            most=self.rate.most,
            every=self.rate.every,
            ahead=self.ahead or None,
            zone=zone,
        )


def paced(decision: Decision, limited: Limited, ca: str) -> Decision:
    """Return the decision to wait, in place of one to order."""
    why = limited.reason(ca).also(decision.reason)
    until = limited.until
    return replace(decision, reason=why, job=None, wake_at=until, looks_again=until)


class Turns:
    """The lines of all buckets, and how full these are."""

    def __init__(self) -> None:
        self._lines: dict[Key, list[_Place]] = {}
        self._stands: dict[CertId, tuple[Urgency, dict[Key, None]]] = {}
        self.full: dict[Key, datetime] = {}

    def ask(
        self, cert: CertId, urgency: Urgency, keys: Iterable[Key], rates: Rates, now: datetime
    ) -> Limited | None:
        """Take a place in the lines of `keys`; return what has to be waited for, None to go."""
        wanted = dict.fromkeys(keys)
        if self._stands.get(cert) != (urgency, wanted):
            self.leave(cert)
            self._stands[cert] = (urgency, wanted)
            for key in wanted:
                insort(self._lines.setdefault(key, []), (*urgency, cert))
        worst: Limited | None = None
        for key in wanted:
            rate = rates[key[0]]
            ahead = bisect_left(self._lines[key], (*urgency, cert))
            at = free_at(self.full.get(key), rate, now, ahead)
            if at > now and (worst is None or at > worst.until):
                worst = Limited(key, rate, max(at, now + SHORTEST), ahead)
        return worst

    def begin(self, cert: CertId) -> None:
        """Its order begins: it goes before all others from now on."""
        if cert in self._stands:
            urgency, keys = self._stands[cert]
            self.leave(cert)
            self._stands[cert] = ((UNDER_WAY, urgency[1]), keys)
            for key in keys:
                insort(self._lines.setdefault(key, []), (UNDER_WAY, urgency[1], cert))

    def is_under_way(self, cert: CertId) -> bool:
        """Whether its order has begun, and not ended."""
        return cert in self._stands and self._stands[cert][0][0] == UNDER_WAY

    def take(self, cert: CertId | None, key: Key, rate: Rate, now: datetime) -> None:
        """One more was taken from a bucket; `cert` has what it stood in that line for."""
        self.full[key] = taken(self.full.get(key), rate, now)
        if cert is not None and cert in self._stands:
            urgency, keys = self._stands[cert]
            if key in keys:
                self._step_out(key, (*urgency, cert))
                del keys[key]

    def leave(self, cert: CertId) -> list[CertId]:
        """It does not want to order any more; return who is the first to profit from that."""
        if cert not in self._stands:
            return []
        urgency, keys = self._stands.pop(cert)
        for key in keys:
            self._step_out(key, (*urgency, cert))
        first: dict[CertId, None] = {}
        for key in keys:
            line = self._lines.get(key, [])
            # Whoever is under way does not wait.
            first |= dict.fromkeys(place[2] for place in line[bisect_left(line, (NOW,)) :][:1])
        return list(first)

    def _step_out(self, key: Key, place: _Place) -> None:
        line = self._lines[key]
        del line[bisect_left(line, place)]
        if not line:
            del self._lines[key]
