"""What is known of one certificate, and what the planner sees of it and of its CA.

Whoever wants to know what comes next makes the same `View` of the same things: the daemon, and who
only tells what a daemon would do.
"""

from __future__ import annotations

from typing import Protocol

from sslmd.core.renewal import Wanted
from sslmd.core.spec import OwnCa
from sslmd.core.state import CertState
from sslmd.core.view import Ca, Dane, View


class Standing(Protocol):
    """One certificate: see `View` for what the parts mean."""

    @property
    def wanted(self) -> Wanted:
        """What the configuration asks."""

    @property
    def servers(self) -> frozenset[tuple[str, str]]:
        """The servers that it touches."""

    @property
    def state(self) -> CertState:
        """How it stands."""

    @property
    def hold(self) -> str:
        """Why nothing may be done with it."""

    @property
    def proves(self) -> bool:
        """Whether its ports are looked at."""


def view_of(known: Standing, above: Standing | None, dane: Dane | None) -> View:
    """Return what the planner looks at. `above` is its CA, if that is one of the site's own."""
    signer = known.wanted.spec.signer
    ca = None
    if isinstance(signer, OwnCa):
        ca = Ca(signer.cert, above.wanted if above else None, above.state if above else None)
    return View(known.wanted, known.state, ca, known.servers, known.hold, dane, known.proves)
