"""What is known of one certificate, and what the planner sees of it and of its CA.

Whoever wants to know what comes next makes the same `View` of the same things: the daemon, and who
only tells what a daemon would do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from sslmd.core.dane.verdict import Dane
from sslmd.core.names import CertId
from sslmd.core.own_ca import asks_for
from sslmd.core.renewal import Wanted
from sslmd.core.spec import OwnCa
from sslmd.core.state import CertState
from sslmd.core.view import Ca, View


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


def view_of(
    known: Standing, every: Mapping[CertId, Standing], dane: Dane, behind: str = ""
) -> View:
    """Return what the planner looks at. `every`: the certificates, its CAs among them."""
    return View(
        known.wanted,
        known.state,
        _ca_of(known, every),
        known.servers,
        known.hold,
        dane,
        behind,
        known.proves,
    )


def _ca_of(known: Standing, every: Mapping[CertId, Standing]) -> Ca | None:
    """Return the own CA that signs a certificate, and those above it."""
    signer = known.wanted.spec.signer
    if not isinstance(signer, OwnCa):
        return None
    above = every.get(signer.cert)
    if above is None:
        return Ca(signer.cert, None, None)
    return Ca(signer.cert, above.wanted, above.state, _ca_of(above, every), above.hold)


def with_lost_ca(
    cert: CertId,
    every: Mapping[CertId, Standing],
    below: Callable[[CertId], Iterable[CertId]],
) -> CertState:
    """Return the state of a certificate; that of a CA of which nothing is left says what it signed.

    A tree that was put back without its CA must not lead to another one (I12). `below`: what a CA
    signs.
    """
    state, spec = every[cert].state, every[cert].wanted.spec
    if spec.ca is None or state.curr is not None or state.next is not None or state.remains:
        return state
    for child in below(cert):
        its = with_lost_ca(child, every, below)
        curr = its.curr
        if its.remains:
            return replace(state, remains=f"{child}, which it signs: {its.remains}")
        if curr is not None and curr.issuer_parts and asks_for(spec.subject, curr.issuer_parts):
            return replace(state, remains=f"what it signed, {child}")
    return state
