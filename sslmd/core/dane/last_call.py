"""A roll that waits for DNS, and the certificate in use that ends meanwhile (I4).

What does the least harm depends on who looks. A key without its records in DNS turns away clients
that check DANE. A certificate that has expired turns away all others; those that check DANE by
usage 3 do not mind (RFC 7671 §5.1). So:

- A set on deck is never rolled by itself while a name server that answers lacks its records.
- Shortly before the end, servers that do not answer are not waited for: they give nobody older
  records, as far as can be seen from here. Neither does a certificate without DANE wait for
  records that were withdrawn.
- Otherwise it is an alarm, in time for an admin to decide; at once where no certificate is in use
  yet, and the wait does not end by itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sslmd.core.dane.gate import harm_of
from sslmd.core.dane.verdict import Counting, HeldBack, NoRecords, Unknown, Withdrawn
from sslmd.core.reason import Held, Reason, Why
from sslmd.core.state import CertState
from sslmd.core.view import View

# Before the end: an admin is to have a week for it, and name servers that are silent until two days
# before. Shares of the life for those that live for days: the same as in `sslmctl check`, and less.
ALARM = timedelta(days=7)
ALARM_SHARE = 1 / 6
RESCUE = timedelta(days=2)
RESCUE_SHARE = 1 / 20


def curr_ends(state: CertState) -> datetime | None:
    """Return when the certificate in use expires, None without one."""
    cert = state.curr.cert if state.curr is not None else None
    return cert.not_after if cert is not None else None


def calls_of(state: CertState, end: datetime) -> tuple[datetime, datetime]:
    """Return when a roll that waits becomes an alarm, and when silent servers do not count."""
    assert state.curr is not None
    assert state.curr.cert is not None
    life = end - state.curr.cert.not_before
    return end - min(ALARM, life * ALARM_SHARE), end - min(RESCUE, life * RESCUE_SHARE)


def rescue(view: View, end: datetime, now: datetime) -> Reason | None:
    """Return why the set on deck is rolled although its gate is shut, None if it is not."""
    dane = view.dane
    if now < calls_of(view.state, end)[1]:
        return None
    if not view.wanted.dane and isinstance(dane, Withdrawn):
        return Reason(Why.CURR_ENDS, end=end, over=end <= now)
    if isinstance(dane, Counting) and dane.silent:
        return Reason(Why.CURR_ENDS, end=end, over=end <= now, silent=dane.silent)
    return None


def first_alarm(view: View, why: Reason, now: datetime) -> Reason | None:
    """Return why the first set of a certificate is not rolled, None if that ends without an admin.

    Its ports serve keys of others, whose TLSA records clients go by. `why`: what is waited for.
    """
    if not isinstance(view.dane, HeldBack):
        return None
    arg, harm = view.wanted.spec.id.arg, harm_of(view, now)
    return Reason(Held.ROLL_BLOCKED_FIRST, why=why, arg=arg, harm=harm)


def alarm_of(
    view: View, why: Reason, opens: datetime, end: datetime, now: datetime
) -> Reason | None:
    """Return what only an admin can put right, None while there is time.

    `why`: what is waited for; `opens`: when that is over if nothing goes wrong.
    """
    if now < calls_of(view.state, end)[0] or now < opens < end:
        return None
    match view.dane:
        case NoRecords() | Unknown(ports=None):
            usages = frozenset[int]()
        case Withdrawn(usages=usages):
            pass
        case dane:
            assert dane.ports is not None
            usages = dane.ports.usages
    return Reason(
        Held.ROLL_BLOCKED,
        end=end,
        over=end <= now,
        why=why,
        usage_3=usages == frozenset({3}),
        arg=view.wanted.spec.id.arg,
        harm=harm_of(view, now),
    )
