"""What the ledger writes of each certificate, and what becomes of what it could not write."""

from __future__ import annotations

from sslmd.core.errors import SslmError
from sslmd.core.names import CertId
from sslmd.core.reason import Held, Reason, Said
from sslmd.daemon.ledger import Page
from sslmd.daemon.registry import Registry, Unsaved
from sslmd.workers.tools import Telling


class Pages:
    """The ledger's side of the registry. `failures` counts what could not be written."""

    def __init__(self, registry: Registry, telling: Telling) -> None:
        self._registry, self._telling = registry, telling
        self.failures = 0

    def page_of(self, cert: CertId) -> Page | None:
        """Return what to write, None for what is gone, or is held and not to be touched."""
        if cert not in self._registry or self._registry[cert].hold:
            return None
        entry = self._registry[cert]
        times = {"renew_at": entry.decision.renew_at, "roll_at": entry.decision.roll_at}
        return Page(entry.state, times)

    def mended(self, cert: CertId) -> None:
        """It can be written again."""
        if cert in self._registry:
            self._registry.put(cert, Unsaved(None))

    def failed(self, cert: CertId, err: Exception) -> None:
        """It cannot be written any more."""
        self.failures += 1
        if isinstance(err, SslmError):
            why = err.beside(cert)
        else:
            why = Reason(Held.OWN_ERROR, error=Said(repr(err)))
            self._telling.bug(f"{cert}: state.toml cannot be written: {err!r}", err)
        if cert in self._registry:
            self._registry.put(cert, Unsaved(why))
