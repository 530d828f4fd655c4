"""What the planner looks at, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sslmd.core.dane.verdict import UNKNOWN, Dane
from sslmd.core.events import Event
from sslmd.core.jobs import CertJob
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, Said, Why
from sslmd.core.renewal import Wanted, when_due
from sslmd.core.retry import Trouble
from sslmd.core.state import CertState


@dataclass(frozen=True, slots=True)
class Ca:
    """One of the site's own CAs as those it signs see it. None: nothing is known of it.

    `above`: the CA that signs this one, None for a root. `hold`: why nothing may be done with it,
    see `View`.
    """

    id: CertId
    wanted: Wanted | None
    state: CertState | None
    above: Ca | None = None
    hold: str = ""

    @property
    def renewed(self) -> bool:
        """Whether we look after it, and may."""
        return self.wanted is not None and self.wanted.managed and not self.hold


@dataclass(frozen=True, slots=True)
class View:
    """One certificate: what is wanted, how it stands, its CA, and the servers it touches.

    `dane`: what is known of its TLSA records; `behind`: why its zone does not serve just what it
    should, "" if it does. `proves`: whether the ports that serve it are to be looked at before old
    records go.

    `hold`: why nothing may be done with it ("" if all is well), such as a state file of a
    later version.
    """

    wanted: Wanted
    state: CertState
    ca: Ca | None = None
    servers: frozenset[tuple[str, str]] = frozenset()
    hold: str = ""
    dane: Dane = UNKNOWN
    behind: str = ""
    proves: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes next: a job, an event that needs no work, or a wait.

    `wake_at`: look again then at the latest. `waits_for_ca`: look again when that CA changed.
    `looks_again`: when a need that cannot be met is looked at again. `rolls_when`: the windows that
    make `roll_at` what it is. `stuck`: the failure that is being waited out. `alarm`: what only an
    admin can put right. `ca_is_made`: what it waits for at its CA is being done at this moment.
    """

    reason: Reason
    job: CertJob | None = None
    event: Event | None = None
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
