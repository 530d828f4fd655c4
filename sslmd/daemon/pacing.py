"""Orders keep to the limits of their CA (`ca_limits`): who has to wait for them, and until when.

What was ordered and issued is noted in state.toml; the buckets are made of that when they are first
asked for, and again when certificates come or go. See `core.buckets` and `core.turns`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from sslmd.config.model import CaAccount, CaInfo, Config
from sslmd.core.buckets import NO_RATES, CaLimit, Forecast, Key, filled, forecast, is_free
from sslmd.core.errors import RateLimited
from sslmd.core.events import Event, WasIssued, WasOrdered
from sslmd.core.holds import Holds, hold_of
from sslmd.core.jobs import MakeKey, Order
from sslmd.core.limits import Issuances, names_mark
from sslmd.core.names import CertId
from sslmd.core.reason import Why
from sslmd.core.renewal import hurry_since
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, FailedValidation, Issuance, OrderMade
from sslmd.core.turns import DUE, NOW, Limited, Turns, Urgency, paced
from sslmd.core.view import Decision
from sslmd.daemon.registry import Entry, Gone, Noticed, Registry, Taken
from sslmd.workers.tools import Site

# How long an order takes beside `dns_check_delay`, for a forecast.
EACH = timedelta(seconds=5)


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


def _orders(server: str, account: str) -> Key:
    return CaLimit.ORDERS, (server, account)


class Pacing:
    """Whose order is next at each CA. `touch`: a certificate may be next now."""

    def __init__(
        self, site: Site, registry: Registry, touch: Callable[[CertId], None], holds: Holds
    ) -> None:
        self._site, self._registry, self._touch = site, registry, touch
        self._holds = holds
        self._real, self._trials = Turns(), Turns()
        # Certificates whose names a CA may have failed to validate lately.
        self._failing: set[CertId] = set()
        self._known = False
        self._zones_of: tuple[Config, frozenset[str]] | None = None
        registry.listen(self._hear)

    # --- deciding ---

    def decide(self, cert: CertId, decision: Decision, now: datetime) -> Decision:
        """Return the decision, or one to wait where a limit does not let the order through."""
        entry = self._registry[cert]
        ca = self._ca(entry)
        orders = isinstance(decision.job, MakeKey | Order) and decision.reason.code is not Why.AHEAD
        if ca is None or not orders:
            if not self._real.is_under_way(cert):
                self._leave(self._real, cert)
            return decision
        if self._real.is_under_way(cert) or _goes_on(entry.state, ca.server):
            return decision
        if (
            held := self._holds.of(ca.server, self._all_keys(cert, entry, ca.server), now)
        ) is not None:
            self._leave(self._real, cert)
            why = held.reason(ca.name).also(decision.reason)
            return replace(
                decision, reason=why, job=None, wake_at=held.until, looks_again=held.until
            )
        limited = self._ask(cert, entry, ca, now)
        return decision if limited is None else paced(decision, limited, ca.name)

    def _ask(self, cert: CertId, entry: Entry, ca: CaInfo, now: datetime) -> Limited | None:
        rates = ca.kept
        keys = [key for key in self._keys(cert, entry, ca.server) if key[0] in rates]
        if not keys:
            self._leave(self._real, cert)
            return None
        self._look_up(now)
        return self._real.ask(cert, urgency_of(entry), keys, rates, now)

    def trial(self, cert: CertId, now: datetime) -> Limited | None:
        """Return what a trial waits for at the CA's test server, None if it can begin."""
        entry = self._registry[cert]
        ca, ask = self._ca(entry), entry.state.trial
        if ca is None or ask is None or self._trials.is_under_way(cert):
            return None
        rates = ca.test_kept
        keys = [_orders(ca.test_server, "")] if CaLimit.ORDERS in rates else []
        return self._trials.ask(cert, (DUE, ask.at.timestamp()), keys, rates, now)

    def begin(self, cert: CertId, *, trial: bool = False) -> None:
        """An order, or a trial, begins."""
        (self._trials if trial else self._real).begin(cert)

    def end(self, cert: CertId, *, trial: bool = False) -> None:
        """It has ended, however."""
        self._leave(self._trials if trial else self._real, cert)

    def _leave(self, turns: Turns, cert: CertId) -> None:
        for other in turns.leave(cert):
            self._touch(other)

    def failed(self, cert: CertId) -> tuple[FailedValidation, ...]:
        """Return the validations that failed for other certificates of the same account."""
        entry = self._registry.entries.get(cert)
        ca = self._ca(entry) if entry is not None else None
        if entry is None or ca is None or not self._failing - {cert}:
            return ()
        account, found = self._account(cert, entry), list[FailedValidation]()
        for other in sorted(self._failing - {cert}):
            known = self._registry.entries.get(other)
            at = self._ca(known) if known is not None else None
            if known is None or at is None or at.server != ca.server:
                continue
            if at.eab_kid == ca.eab_kid and self._account(other, known) == account:
                found += known.state.failed
        return tuple(found)

    def held(self, cert: CertId, err: RateLimited) -> bool:
        """Take in that a CA wants to be left alone; return whether more than this one has to."""
        entry, now = self._registry.entries.get(cert), self._site.now()
        ca = self._ca(entry) if entry is not None else None
        if entry is None or ca is None:
            return False
        mark = names_mark(entry.wanted.names)
        hold = hold_of(err, ca.server, self._account(cert, entry), mark, now)
        if hold is not None:
            self._holds.add(hold, now)
        return hold is not None

    # --- what is taken ---

    def ordered(self, cert: CertId, server: str) -> None:
        """Take in that an order is about to be made."""
        entry, now = self._registry.entries.get(cert), self._site.now()
        ca = self._ca(entry) if entry is not None else None
        if entry is None or ca is None:
            return
        if server == ca.test_server and server != ca.server:
            key = _orders(server, "")
            if rate := ca.test_kept.get(CaLimit.ORDERS):
                self._trials.take(cert, key, rate, now)
        elif any(key[0] is CaLimit.ORDERS for key in self._keys(cert, entry, server)):
            self._registry.put(cert, WasOrdered(OrderMade(server, now)))

    def issued(self, cert: CertId, issuance: Issuance) -> None:
        """Take in that a CA issued a certificate."""
        entry = self._registry.entries.get(cert)
        if entry is not None:
            free = self._is_free(entry, issuance.server, CaLimit.DOMAIN)
            self._registry.put(cert, WasIssued(replace(issuance, free=free)))

    def _hear(
        self, cert: CertId, event: Event | Noticed, before: Entry | None, after: Entry | None
    ) -> None:
        if after is not None and after.state.failed:
            self._failing.add(cert)
        else:
            self._failing.discard(cert)
        if isinstance(event, Taken | Gone):
            self._known = False
            if isinstance(event, Gone):
                self._leave(self._real, cert)
                self._leave(self._trials, cert)
        elif isinstance(event, WasOrdered | WasIssued) and self._known and after is not None:
            ca = self._ca(after)
            if ca is None or before is None or before.state is after.state:
                return
            orders = isinstance(event, WasOrdered)
            for key in self._keys(cert, before, ca.server):
                if key[0] in ca.kept and (key[0] is CaLimit.ORDERS) is orders:
                    self._real.take(cert, key, ca.kept[key[0]], self._site.now())

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
                took.setdefault(_orders(made.server, self._account(cert, entry)), []).append(
                    made.at
                )
            for one in entry.state.issued:
                if not one.free:
                    for zone in self._zones(entry):
                        key = (CaLimit.DOMAIN, (one.server, zone))
                        took.setdefault(key, []).append(one.at)
        for server, mark, times in issuances.all():
            took[CaLimit.NAMES, (server, mark)] = times
        rates = {ca.server: ca.kept for ca in config.cas.values() if not ca.is_own}
        self._real.full = {}
        for (limit, whose), times in took.items():
            rate = rates.get(whose[0], NO_RATES).get(limit)
            if rate is not None and (full := filled(times, rate, now)) is not None:
                self._real.full[limit, whose] = full

    # --- which buckets ---

    def _ca(self, entry: Entry) -> CaInfo | None:
        signer = entry.wanted.spec.signer
        return self._site.config.cas.get(signer.name) if isinstance(signer, AcmeCa) else None

    def _account(self, cert: CertId, entry: Entry) -> str:
        ca = self._ca(entry)
        return str(cert) if ca is not None and ca.account is CaAccount.OWN else ""

    def _keys(self, cert: CertId, entry: Entry, server: str) -> Iterator[Key]:
        """Yield the buckets that an order takes from."""
        if not self._is_free(entry, server, CaLimit.ORDERS):
            yield _orders(server, self._account(cert, entry))
        if not self._is_free(entry, server, CaLimit.NAMES):
            yield CaLimit.NAMES, (server, names_mark(entry.wanted.names))
        if not self._is_free(entry, server, CaLimit.DOMAIN):
            for zone in self._zones(entry):
                yield CaLimit.DOMAIN, (server, zone)

    def _all_keys(self, cert: CertId, entry: Entry, server: str) -> Iterator[Key]:
        """Yield the buckets that it could take from: a CA that refuses knows of none free."""
        yield _orders(server, self._account(cert, entry))
        yield CaLimit.NAMES, (server, names_mark(entry.wanted.names))
        for zone in self._zones(entry):
            yield CaLimit.DOMAIN, (server, zone)

    def _zones(self, entry: Entry) -> Iterable[str]:
        """Return the zones of ours that the names are in: they stand for registered domains."""
        config = self._site.config
        if self._zones_of is None or self._zones_of[0] is not config:
            self._zones_of = (config, frozenset(zone.text for zone in config.zones()))
        zones = self._zones_of[1]
        found: dict[str, None] = {}
        for name in entry.wanted.names:
            labels = name.removeprefix("*.").split(".")
            above = (".".join(labels[index:]) for index in reversed(range(len(labels))))
            found |= dict.fromkeys([zone for zone in above if zone in zones][:1])
        return found

    def _is_free(self, entry: Entry, server: str, limit: CaLimit) -> bool:
        curr, note = entry.state.curr, entry.state.curr_note
        renewal = (
            curr is not None
            and curr.cert is not None
            and curr.asked_names == entry.wanted.names
            and (note is None or not note.ca or self._site.config.acme_server(note.ca) == server)
        )
        # It says what it replaces (`workers/certify.py`), and that counts within the window alone.
        said = note.ari if note is not None and note.account else None
        now = self._site.now()
        within = said is not None and said.begin is not None and said.end is not None
        replaces = within and said.begin <= now < said.end  # type: ignore[union-attr, operator]
        return is_free(server, limit, renewal=renewal, replaces=renewal and replaces)

    def used(self, now: datetime) -> dict[tuple[str, CaLimit], float]:
        """Return how much is taken of the fullest bucket of each limit: 0 to 1, by CA and limit."""
        self._look_up(now)
        cas = {ca.server: ca for ca in self._site.config.cas.values() if not ca.is_own}
        found = {(ca.name, limit): 0.0 for ca in cas.values() for limit in ca.kept}
        for (limit, whose), full in self._real.full.items():
            ca = cas.get(whose[0])
            if ca is not None and limit in ca.kept:
                share = min(max((full - now) / ca.kept[limit].every, 0.0), 1.0)
                found[ca.name, limit] = max(found[ca.name, limit], share)
        return found

    # --- telling ahead ---

    def forecast(
        self, ca: CaInfo, which: Iterable[CertId], now: datetime, places: int, *, trial: bool
    ) -> Forecast:
        """Return how long it takes to order all of these."""
        each = self._site.config.globals.dns_check_delay + EACH
        entries = self._registry.entries
        if trial:
            orders: list[list[Key]] = [[_orders(ca.test_server, "")] for _ in which]
            return forecast(orders, self._trials.full, ca.test_kept, now, each, places)
        self._look_up(now)
        urgent = sorted(which, key=lambda cert: (urgency_of(entries[cert]), cert))
        orders = [list(self._keys(cert, entries[cert], ca.server)) for cert in urgent]
        return forecast(orders, self._real.full, ca.kept, now, each, places)
