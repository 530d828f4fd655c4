"""From which buckets of its CA an order takes, and which limits these have (`core.buckets`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sslmd.config.model import CaAccount, CaInfo, Config
from sslmd.core.ari import is_within
from sslmd.core.buckets import CaLimit, Key, Rate, Rates, is_free
from sslmd.core.holds import name_key
from sslmd.core.limits import names_mark
from sslmd.core.names import CertId
from sslmd.core.spec import AcmeCa
from sslmd.daemon.registry import Entry
from sslmd.workers.tools import Site


def of_orders(server: str, account: str) -> Key:
    """Return the bucket of an account's orders."""
    return CaLimit.ORDERS, (server, account)


def of_accounts(server: str) -> Key:
    """Return the bucket of new accounts."""
    return CaLimit.ACCOUNTS, (server, "")


class CaKeys:
    """Tells it by the configuration of a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._zones_of: tuple[Config, frozenset[str]] | None = None
        self._rates_of: tuple[Config, dict[str, Rates]] | None = None

    def ca(self, entry: Entry) -> CaInfo | None:
        """Return the ACME CA that is to sign, None for others."""
        signer = entry.wanted.spec.signer
        return self._site.config.cas.get(signer.name) if isinstance(signer, AcmeCa) else None

    def account(self, cert: CertId, entry: Entry) -> str:
        """Return whose account an order is of, "" for the one that certificates share."""
        ca = self.ca(entry)
        if ca is not None and ca.account is CaAccount.OWN:
            return str(cert)
        return f"eab {ca.eab_kid}" if ca is not None and ca.eab_kid else ""

    def rates(self, server: str) -> Rates:
        """Return the limits at a directory; of several tables that name it, the tightest."""
        config = self._site.config
        if self._rates_of is None or self._rates_of[0] is not config:
            found: dict[str, Rates] = {}
            for ca in config.cas.values():
                for where, kept in ((ca.server, ca.kept), (ca.test_server, ca.test_kept)):
                    if not ca.is_own:
                        found[where] = _tightest(found.get(where, {}), kept)
            self._rates_of = config, found
        return self._rates_of[1].get(server, {})

    def of_order(
        self, cert: CertId, entry: Entry, server: str, *, replaces: bool | None = None
    ) -> Iterator[Key]:
        """Yield the buckets that an order takes from; `replaces`: as for `is_free`."""
        for key in self.every(cert, entry, server):
            limit = key[0]
            if limit is not CaLimit.FAILED and not self.is_free(
                entry, server, limit, replaces=replaces
            ):
                yield key

    def every(self, cert: CertId, entry: Entry, server: str) -> Iterator[Key]:
        """Yield all that a CA may speak of that refuses an order."""
        account = self.account(cert, entry)
        yield of_orders(server, account)
        yield CaLimit.NAMES, (server, names_mark(entry.wanted.names))
        for zone in self.zones(entry):
            yield CaLimit.DOMAIN, (server, zone)
        for name in entry.wanted.names:
            yield name_key(server, account, name)

    def zones(self, entry: Entry) -> Iterable[str]:
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

    def is_free(
        self, entry: Entry, server: str, limit: CaLimit, *, replaces: bool | None = None
    ) -> bool:
        """Whether an order is free of a limit.

        `replaces`: whether it says what it replaces; None before that is known. That counts within
        the CA's window alone (`workers/certify.py`).
        """
        curr, note = entry.state.curr, entry.state.curr_note
        renewal = (
            curr is not None
            and curr.cert is not None
            and curr.asked_names == entry.wanted.names
            and (note is None or not note.ca or self._site.config.acme_server(note.ca) == server)
        )
        if replaces is None:
            replaces = renewal and note is not None and bool(note.account)
        within = note is not None and is_within(note.ari, self._site.now())
        return is_free(server, limit, renewal=renewal, replaces=replaces and within)


def _tightest(first: Rates, second: Rates) -> Rates:
    found: dict[CaLimit, Rate] = dict(first)
    for limit, rate in second.items():
        known = found.get(limit)
        if known is None or known.refill < rate.refill:
            found[limit] = rate
    return found
