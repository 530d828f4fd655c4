"""What keeps an order from being sent: what the CA counts, or asked to be left alone with (I14).

Decisions go by the same (`daemon/pacing.py`). But between a decision and the moment in which an
order is sent lies what has to be looked up before, and a CA may have said no to others meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sslmd.acme import certbot
from sslmd.acme.attempt import Attempt
from sslmd.core.ari import is_within
from sslmd.core.buckets import CaLimit, is_free
from sslmd.core.errors import Paced, Transient
from sslmd.core.failed import Failed
from sslmd.core.limits import failed_too_often
from sslmd.core.reason import Reason
from sslmd.core.state import OrderMade
from sslmd.workers.tools import Ordering, wanted_of


@dataclass(frozen=True, slots=True)
class MayOrder:
    """Of one attempt; see `attempt.OrderPermit`."""

    attempt: Attempt
    ordering: Ordering

    def sends(self, replaces: str) -> datetime:
        """Count an order that is about to be sent; raises `Transient` where it may not be."""
        attempt, ordering = self.attempt, self.ordering
        server = attempt.server.url
        if (held := ordering.standings.held(attempt.cert, server)) is not None:
            why, hold = held
            raise Paced(why, hold.limit, retry_at=hold.until)
        check_issued(attempt, ordering, replaces)
        now = ordering.site.now()
        ordering.telling.ordered(attempt.cert, OrderMade(server, now), replaces)
        return now

    def was_sent(self, at: datetime) -> None:
        """Count one that was sent by a daemon, or a process, that was ended."""
        made = OrderMade(self.attempt.server.url, at)
        self.ordering.telling.ordered(self.attempt.cert, made, "")


def check_issued(attempt: Attempt, ordering: Ordering, replaces: str = "") -> None:
    """Raise `Transient` if Let's Encrypt has issued too many for exactly these names (I14).

    It happens where several certificates have the same names, and where what was issued was of no
    use here, again and again. An order that says what it `replaces`, within the window of that, is
    free of the limit.
    """
    if attempt.trial:
        return  # a test server's limits are not ours to keep
    site, server = ordering.site, attempt.server.url
    note = ordering.standings.state_of(attempt.cert).curr_note
    within = note is not None and is_within(note.ari, site.now())
    if is_free(server, CaLimit.NAMES, renewal=True, replaces=bool(replaces) and within):
        return
    wanted = wanted_of(attempt.service, site.config)
    if spent := ordering.standings.issuances(site).exhausted(wanted):
        why, again = spent
        raise Transient(why, retry_at=again)


async def count_offered(attempt: Attempt, ordering: Ordering) -> None:
    """Count the names of an order that was cut short after it was offered as failed.

    Nobody knows how it went; a daemon that is killed again and again may not run into the CA's
    limits. Raises `Transient` where a name has failed too often now: over all certificates of the
    account, because so the CA counts.
    """
    names = await ordering.threads.in_thread(certbot.offered, attempt.place)
    if not names:
        return
    await ordering.threads.in_thread(certbot.forget_offered, attempt.place)
    if attempt.trial:
        return  # a test server's limits are not ours to keep
    ordering.telling.count(attempt.cert, names)
    standings = ordering.standings
    own, others = standings.state_of(attempt.cert).failed, standings.failed_beside(attempt.cert)
    rate = wanted_of(attempt.service, ordering.site.config).failed_rate
    if worst := failed_too_often((*own, *others), names, ordering.site.now(), rate):
        name, again = worst
        raise Transient(Reason(Failed.ORDERS_CUT_SHORT, name=name), retry_at=again)
