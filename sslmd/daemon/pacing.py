"""Orders keep to the limits of their CA (`ca_limits`): who has to wait for them, and until when.

What was ordered and issued is noted in state.toml, and which accounts were made beside them; the
buckets are made of that when they are first asked for, and again when certificates come or go. See
`core.buckets` and `core.turns`. What a CA asked to be left alone with: `core.holds`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sslmd.acme.account_homes import Home
from sslmd.config.model import CaInfo
from sslmd.core.buckets import CaLimit, Key, filled
from sslmd.core.errors import CLOCK_TOLERANCE, Paced, RateLimited
from sslmd.core.events import Event, WasIssued, WasOrdered
from sslmd.core.forecast import Forecast, Planned, forecast
from sslmd.core.holds import LONGEST, AccountMade, CaHold, Holds, hold_of
from sslmd.core.jobs import MakeKey, Order
from sslmd.core.limits import Issuances, names_mark
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, Why
from sslmd.core.renewal import hurry_since
from sslmd.core.state import CertState, FailedValidation, Issuance, OrderMade
from sslmd.core.turns import DUE, NOW, Limited, Turns, Urgency, paced
from sslmd.core.view import Decision
from sslmd.daemon.ca_keys import CaKeys, of_accounts, of_orders
from sslmd.daemon.order_work import work_of
from sslmd.daemon.registry import Entry, Gone, Noticed, Registry, Taken
from sslmd.workers.tools import Ordering, Site


def urgency_of(entry: Entry) -> Urgency:
    """Return how urgent an order is: what is revoked first, then what its CA wants replaced now.

    Of that what the CA wants for longest. Then what has no certificate, and what ends first.
    """
    since = hurry_since(entry.state, entry.wanted)
    if since is not None:
        return NOW, since.timestamp()
    cert = entry.state.curr.cert if entry.state.curr is not None else None
    return DUE, cert.not_after.timestamp() if cert is not None else 0.0


def _goes_on(state: CertState, server: str) -> bool:
    """Whether the order for the set on deck was made already, and did not fail: after a restart."""
    if state.next is None or state.next.cert is not None:
        return False
    made = max((one.at for one in state.ordered if one.server == server), default=None)
    if made is None or made < state.next.name.time:
        return False
    return state.trouble is None or state.trouble.at < made


@dataclass(frozen=True, slots=True)
class _SentBack:
    """An order that met a limit when it was about to be sent: it waits, and is no failure."""

    at: datetime
    until: datetime
    why: Reason
    wants_account: bool

    def waits(self, now: datetime) -> bool:
        """Whether it waits still: not if the clock was set back."""
        return self.at - CLOCK_TOLERANCE <= now < self.until <= now + LONGEST


@dataclass(slots=True)
class _Lines:
    """Who waits at the servers that certificates come from, or at those for trials."""

    turns: Turns = field(default_factory=Turns)
    sent_back: dict[CertId, _SentBack] = field(default_factory=dict)


class Pacing:
    """Whose order is next at each CA. `touch`: a certificate may be next now."""

    def __init__(
        self, site: Site, registry: Registry, touch: Callable[[CertId], None], holds: Holds
    ) -> None:
        self._site, self._registry, self._touch = site, registry, touch
        self._holds, self._keys = holds, CaKeys(site)
        self._real, self._trials = _Lines(), _Lines()
        # Certificates whose names a CA may have failed to validate lately.
        self._failing: set[CertId] = set()
        self._known = False
        registry.listen(self._hear)

    def serve(self, ordering: Ordering) -> None:
        """Have those who order ask here, and tell what they took."""
        ordering.standings.failed_beside, ordering.standings.held = self.failed, self.why_held
        ordering.telling.ordered, ordering.telling.count_issued = self.ordered, self.issued
        ordering.accounts.new.made = self.account_made

    # --- deciding ---

    def decide(self, cert: CertId, decision: Decision, now: datetime) -> Decision:
        """Return the decision, or one to wait where a limit does not let the order through."""
        entry, lines = self._registry[cert], self._real
        ca = self._keys.ca(entry)
        orders = isinstance(decision.job, MakeKey | Order) and decision.reason.code is not Why.AHEAD
        if ca is None or not orders:
            if not lines.turns.is_under_way(cert):
                self._leave(lines, cert)
            return decision
        if lines.turns.is_under_way(cert):
            return decision
        sent_back = self._sent_back(lines, cert, now)
        if sent_back is None and _goes_on(entry.state, ca.server):
            return decision
        if (held := self._held(cert, entry, ca.server, now)) is not None:
            self._leave(lines, cert)
            return _waiting(decision, held.reason(ca.name), held.until)
        limited = self._ask(cert, entry, ca, now)
        if limited is not None:
            return paced(decision, limited, ca.name)
        if sent_back is not None:
            return _waiting(decision, sent_back.why, sent_back.until)
        return decision

    def _sent_back(self, lines: _Lines, cert: CertId, now: datetime) -> _SentBack | None:
        found = lines.sent_back.get(cert)
        if found is not None and not found.waits(now):
            # It stays in its line, until it begins: another account may be what it needs.
            return None
        return found

    def _ask(self, cert: CertId, entry: Entry, ca: CaInfo, now: datetime) -> Limited | None:
        rates = self._keys.rates(ca.server)
        keys = [key for key in self._keys.of_order(cert, entry, ca.server) if key[0] in rates]
        keys += self._wanted_account(self._real, cert, ca.server)
        if not keys:
            self._leave(self._real, cert)
            return None
        self._look_up(now)
        return self._real.turns.ask(cert, urgency_of(entry), keys, rates, now)

    def _wanted_account(self, lines: _Lines, cert: CertId, server: str) -> list[Key]:
        """Return the bucket of new accounts for an order that was sent back for want of one."""
        found = lines.sent_back.get(cert)
        limited = CaLimit.ACCOUNTS in self._keys.rates(server)
        return [of_accounts(server)] if found and found.wants_account and limited else []

    def trial(self, cert: CertId, now: datetime) -> tuple[Reason, datetime] | None:
        """Return what a trial waits for at the CA's test server, and until when; None to begin."""
        entry, lines = self._registry[cert], self._trials
        ca, ask = self._keys.ca(entry), entry.state.trial
        if ca is None or ask is None or lines.turns.is_under_way(cert):
            return None
        server, rates = ca.test_server, self._keys.rates(ca.test_server)
        if (held := self._held(cert, entry, server, now)) is not None:
            self._leave(lines, cert)
            return held.reason(ca.name), held.until
        keys = [of_orders(server, "")] if CaLimit.ORDERS in rates else []
        keys += self._wanted_account(lines, cert, server)
        sent_back = self._sent_back(lines, cert, now)
        self._look_up(now)
        limited = lines.turns.ask(cert, (DUE, ask.at.timestamp()), keys, rates, now)
        if limited is not None:
            return limited.reason(ca.name), limited.until
        return None if sent_back is None else (sent_back.why, sent_back.until)

    def begin(self, cert: CertId, *, trial: bool = False) -> None:
        """An order, or a trial, begins."""
        lines = self._trials if trial else self._real
        lines.turns.begin(cert)
        lines.sent_back.pop(cert, None)

    def end(self, cert: CertId, *, trial: bool = False) -> None:
        """It has ended, however."""
        self._leave(self._trials if trial else self._real, cert)

    def sent_back(self, cert: CertId, err: Paced, *, trial: bool = False) -> None:
        """It met a limit when it was about to be sent."""
        lines, now = self._trials if trial else self._real, self._site.now()
        assert err.retry_at is not None
        # Never decided again in the same moment, whatever this limit makes of it.
        until = max(err.retry_at, now + timedelta(seconds=1))
        wants_account = err.limit == CaLimit.ACCOUNTS
        lines.sent_back[cert] = _SentBack(now, until, err.reason, wants_account)

    def _leave(self, lines: _Lines, cert: CertId) -> None:
        for other in lines.turns.leave(cert):
            self._touch(other)

    # --- what failed, and what a CA wants to be left alone with ---

    def failed(self, cert: CertId) -> tuple[FailedValidation, ...]:
        """Return the validations that failed for other certificates of the same account."""
        entry = self._registry.entries.get(cert)
        ca = self._keys.ca(entry) if entry is not None else None
        if entry is None or ca is None or not self._failing - {cert}:
            return ()
        account, found = self._keys.account(cert, entry), list[FailedValidation]()
        for other in sorted(self._failing - {cert}):
            known = self._registry.entries.get(other)
            at = self._keys.ca(known) if known is not None else None
            if known is None or at is None or at.server != ca.server:
                continue
            if self._keys.account(other, known) == account:
                found += known.state.failed
        return tuple(found)

    def held(self, cert: CertId, err: RateLimited, *, trial: bool = False) -> bool:
        """Take in that a CA wants to be left alone; return whether more than this one has to."""
        entry, now = self._registry.entries.get(cert), self._site.now()
        ca = self._keys.ca(entry) if entry is not None else None
        if entry is None or ca is None:
            return False
        server = ca.test_server if trial else ca.server
        mark, account = names_mark(entry.wanted.names), self._keys.account(cert, entry)
        hold = hold_of(err, server, account, mark, now)
        if hold is not None:
            self._holds.add(hold, now)
        return hold is not None

    def why_held(self, cert: CertId, server: str) -> tuple[Reason, CaHold] | None:
        """Return what keeps an order from being sent now to a directory, as a reason too."""
        entry = self._registry.entries.get(cert)
        ca = self._keys.ca(entry) if entry is not None else None
        if entry is None or ca is None:
            return None
        held = self._held(cert, entry, server, self._site.now())
        return None if held is None else (held.reason(ca.name), held)

    def _held(self, cert: CertId, entry: Entry, server: str, now: datetime) -> CaHold | None:
        return self._holds.of(server, self._keys.every(cert, entry, server), now)

    # --- what is taken ---

    def ordered(self, cert: CertId, made: OrderMade, replaces: str) -> None:
        """Take in that an order is about to be made, or was: one that is told twice counts once.

        `replaces`: as it is sent, "" for nothing.
        """
        entry, now = self._registry.entries.get(cert), self._site.now()
        ca = self._keys.ca(entry) if entry is not None else None
        if entry is None or ca is None:
            return
        if made.server == ca.test_server and made.server != ca.server:
            if rate := self._keys.rates(made.server).get(CaLimit.ORDERS):
                self._trials.turns.take(cert, of_orders(made.server, ""), rate, now)
        elif not self._keys.is_free(entry, made.server, CaLimit.ORDERS, replaces=bool(replaces)):
            self._registry.put(cert, WasOrdered(made))

    def issued(self, cert: CertId, issuance: Issuance) -> None:
        """Take in that a CA issued a certificate."""
        entry = self._registry.entries.get(cert)
        if entry is not None:
            free = self._keys.is_free(entry, issuance.server, CaLimit.DOMAIN)
            self._registry.put(cert, WasIssued(replace(issuance, free=free)))

    def account_made(self, made: AccountMade, home: Home) -> None:
        """Take in that a CA made an account; who can share it does not wait for one any more."""
        rate, now = self._keys.rates(made.server).get(CaLimit.ACCOUNTS), self._site.now()
        for lines in (self._real, self._trials):
            if rate is not None and self._known:
                lines.turns.take(None, of_accounts(made.server), rate, now)
            for cert, one in list(lines.sent_back.items()):
                if home.is_shared and one.wants_account:
                    del lines.sent_back[cert]
                    self._touch(cert)

    def _hear(
        self, cert: CertId, event: Event | Noticed, before: Entry | None, after: Entry | None
    ) -> None:
        if after is not None and after.state.failed:
            self._failing.add(cert)
        else:
            self._failing.discard(cert)
        if isinstance(event, Taken | Gone):
            self._known = False
            for lines in (self._real, self._trials):
                lines.sent_back.pop(cert, None)  # it may be for another CA
                if isinstance(event, Gone):
                    self._leave(lines, cert)
        elif before is not None and after is not None and before.state is not after.state:
            if isinstance(event, WasOrdered):
                account = self._keys.account(cert, before)
                self._take(cert, [of_orders(event.order.server, account)])
            elif isinstance(event, WasIssued):
                self._take(cert, self._of_issuance(before, event.issuance))

    def _of_issuance(self, entry: Entry, one: Issuance) -> Iterator[Key]:
        """Yield what a certificate takes from: its set of names, even if the order was free."""
        yield CaLimit.NAMES, (one.server, one.names)
        if not one.free:
            for zone in self._keys.zones(entry):
                yield CaLimit.DOMAIN, (one.server, zone)

    def _take(self, cert: CertId, keys: Iterable[Key]) -> None:
        for key in keys:
            rate = self._keys.rates(key[1][0]).get(key[0])
            if rate is not None and self._known:
                self._real.turns.take(cert, key, rate, self._site.now())

    def _look_up(self, now: datetime) -> None:
        """Make the buckets of what is noted."""
        if self._known:
            return
        self._known, config = True, self._site.config
        took: dict[Key, list[datetime]] = {}
        entries = self._registry.entries
        issuances = Issuances(entries.values(), config.acme_server, now)
        for cert, entry in entries.items():
            for made in entry.state.ordered:
                key = of_orders(made.server, self._keys.account(cert, entry))
                took.setdefault(key, []).append(made.at)
            for one in entry.state.issued:
                if not one.free:
                    for zone in self._keys.zones(entry):
                        took.setdefault((CaLimit.DOMAIN, (one.server, zone)), []).append(one.at)
        for server, mark, times in issuances.all():
            took[CaLimit.NAMES, (server, mark)] = times
        accounts = dict[Key, list[datetime]]()
        for account in self._holds.accounts_made():
            accounts.setdefault(of_accounts(account.server), []).append(account.at)
        self._real.turns.full = self._full({**took, **accounts}, now)
        self._trials.turns.full |= self._full(accounts, now)

    def _full(self, took: dict[Key, list[datetime]], now: datetime) -> dict[Key, datetime]:
        found: dict[Key, datetime] = {}
        for key, times in took.items():
            rate = self._keys.rates(key[1][0]).get(key[0])
            if rate is not None and (full := filled(times, rate, now)) is not None:
                found[key] = full
        return found

    def used(self, now: datetime) -> dict[tuple[str, CaLimit], float]:
        """Return how much is taken of the fullest bucket of each limit: 0 to 1, by CA and limit."""
        self._look_up(now)
        cas = {ca.server: ca for ca in self._site.config.cas.values() if not ca.is_own}
        found = {(ca.name, limit): 0.0 for ca in cas.values() for limit in ca.kept}
        for (limit, whose), full in self._real.turns.full.items():
            ca = cas.get(whose[0])
            if ca is not None and limit in ca.kept:
                share = min(max((full - now) / ca.kept[limit].every, 0.0), 1.0)
                found[ca.name, limit] = max(found[ca.name, limit], share)
        return found

    # --- telling ahead ---

    def forecast(
        self,
        ca: CaInfo,
        which: Collection[CertId],
        beside: Collection[CertId],
        now: datetime,
        *,
        trial: bool,
    ) -> Forecast:
        """Return how long it takes to order all of these. `beside`: what is ordered meanwhile.

        Of those, certificates of other tables with the same directory share its limits.
        """
        self._look_up(now)
        server, counts = (ca.test_server if trial else ca.server), frozenset(which)
        planned = list[tuple[Urgency, CertId, Planned]]()
        for cert in counts.union(beside):
            entry = self._registry.entries.get(cert)
            of = self._keys.ca(entry) if entry is not None else None
            if entry is None or of is None or server != (of.test_server if trial else of.server):
                continue
            keys = self._keys.of_order(cert, entry, server)
            taken = (of_orders(server, ""),) if trial else tuple(keys)
            held = self._held(cert, entry, server, now)
            after = held.until if held is not None else None
            planned.append((urgency_of(entry), cert, Planned(taken, after, cert in counts)))
        orders = [one for _, _, one in sorted(planned, key=lambda one: one[:2])]
        full = (self._trials if trial else self._real).turns.full
        work = work_of(ca, self._site.config.globals.dns_check_delay)
        return forecast(orders, full, self._keys.rates(server), now, *work)


def _waiting(decision: Decision, why: Reason, until: datetime) -> Decision:
    """Return the decision to wait, in place of one to order."""
    return replace(
        decision, reason=why.also(decision.reason), job=None, wake_at=until, looks_again=until
    )
