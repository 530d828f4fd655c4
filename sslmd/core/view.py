"""What a decision looks at, and what it is.

Whoever wants to know what comes next makes the same `View` of the same things: the daemon, and who
only tells what a daemon would do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from sslmd.core.dane.verdict import UNKNOWN, Dane
from sslmd.core.errors import Trouble
from sslmd.core.events import Advertised, Event
from sslmd.core.jobs import CertJob
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, Said, Why
from sslmd.core.renewal import Wanted, when_due
from sslmd.core.spec import OwnCa, asks_for
from sslmd.core.state import CertState, FailedValidation


@dataclass(frozen=True, slots=True)
class CaAbove:
    """One of the site's own CAs as those it signs see it. None: nothing is known of it.

    `above`: the CA that signs this one, None for a root. `hold`: why nothing may be done with it,
    see `View`.
    """

    id: CertId
    wanted: Wanted | None
    state: CertState | None
    above: CaAbove | None = None
    hold: Reason | None = None

    @property
    def renewed(self) -> bool:
        """Whether we look after it, and may."""
        return self.wanted is not None and self.wanted.managed and not self.hold


@dataclass(frozen=True, slots=True)
class View:
    """One certificate: what is wanted, how it stands, its CA, and the servers it touches.

    `dane`: what is known of its TLSA records; `behind`: why its zone does not serve just what it
    should, None if it does. `proves`: whether the ports that serve it are to be looked at before
    old records go.

    `hold`: why nothing may be done with it (None if all is well), such as a state file of a
    later version. `failed`: validations that failed for other certificates of its account.
    """

    wanted: Wanted
    state: CertState
    ca: CaAbove | None = None
    servers: frozenset[tuple[str, str]] = frozenset()
    hold: Reason | None = None
    dane: Dane = UNKNOWN
    behind: Reason | None = None
    proves: bool = True
    failed: tuple[FailedValidation, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes next: a job, an event that needs no work, or a wait.

    `event` is taken in, and then it is decided again. `advertised` is taken in as well, and the
    rest of the decision is what follows from it.
    `wake_at`: look again then at the latest. `waits_for_ca`: look again when that CA changed.
    `looks_again`: when a need that cannot be met is looked at again. `rolls_when`: the windows that
    make `roll_at` what it is. `stuck`: the failure that is being waited out. `alarm`: what only an
    admin can put right. `ca_is_made`: what it waits for at its CA is being done at this moment.
    """

    reason: Reason
    job: CertJob | None = None
    event: Event | None = None
    advertised: Advertised | None = None
    wake_at: datetime | None = None
    renew_at: datetime | None = None
    roll_at: datetime | None = None
    rolls_when: Reason | None = None
    waits_for_ca: bool = False
    looks_again: datetime | None = None
    stuck: Trouble | None = None
    alarm: Reason | None = None
    ca_is_made: bool = False


def due(state: CertState, wanted: Wanted) -> datetime | None:
    """Return when `curr` is to be renewed, None without one."""
    return when_due(state.curr, state.curr_note, wanted) if state.curr is not None else None


def blocking(trouble: Trouble | None, wanted: Wanted, now: datetime) -> Trouble | None:
    """Return the trouble that still has to be waited out at `now`, if there is one."""
    if trouble is None:
        return None
    return trouble if trouble.blocks(now, wanted.fingerprint, str(wanted.spec.signer)) else None


def told(trouble: Trouble) -> Reason:
    """Return what failed, how often, and when it is tried again."""
    why = Said(trouble.text)
    if trouble.rests:
        return Reason(Why.RESTS, why=why, at=trouble.next_try)
    return Reason(Why.STUCK, why=why, attempts=trouble.attempts, at=trouble.next_try)


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
    def hold(self) -> Reason | None:
        """Why nothing may be done with it."""

    @property
    def proves(self) -> bool:
        """Whether its ports are looked at."""


def view_of(
    known: Standing, every: Mapping[CertId, Standing], dane: Dane, behind: Reason | None = None
) -> View:
    """Return what a decision looks at. `every`: the certificates, its CAs among them."""
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


def _ca_of(known: Standing, every: Mapping[CertId, Standing]) -> CaAbove | None:
    """Return the own CA that signs a certificate, and those above it."""
    signer = known.wanted.spec.signer
    if not isinstance(signer, OwnCa):
        return None
    above = every.get(signer.cert)
    if above is None:
        return CaAbove(signer.cert, None, None)
    return CaAbove(signer.cert, above.wanted, above.state, _ca_of(above, every), above.hold)


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
