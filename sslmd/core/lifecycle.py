"""The life of a certificate: phases, events, and the one table of transitions.

    SETTLED -> KEYED -> ISSUED -> ADVERTISED -> ROLLED -> DEPLOYED -> SETTLED

`advance` is the only place where a phase changes. A phase is never stored: `phase_of` reads
it from the links on disk and the notes beside them, so a daemon that was killed anywhere
finds itself where it was (I5). Failure is not a phase; it stands beside it as `Trouble`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sslmd.core.facts import SetFacts
from sslmd.core.names import SetName
from sslmd.core.sighting import Sighting
from sslmd.core.state import (
    COUNTED,
    Ask,
    CertState,
    Delivered,
    FailedValidation,
    Phase,
    Request,
    Server,
    SetNote,
    Track,
    TrialAsk,
    Trouble,
)

# --- events ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyMade:
    """A new set with key and CSR is the `next`; an older `next` is off the deck.

    `kept`: it has the key of that one, whose TLSA records were seen.
    """

    at: datetime
    facts: SetFacts
    note: SetNote
    reason: str
    kept: bool = False


@dataclass(frozen=True, slots=True)
class CertIssued:
    """The certificate of `next` is there, complete and verified."""

    at: datetime
    facts: SetFacts
    note: SetNote


@dataclass(frozen=True, slots=True)
class Advertised:
    """The TLSA records of `next` were seen on every server for long enough, or need not be."""

    at: datetime
    text: str = "no TLSA records are wanted"


@dataclass(frozen=True, slots=True)
class Lost:
    """The TLSA records of `next` are not everywhere any more: the wait begins anew."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class TlsaLooked:
    """Every name server was asked for the TLSA records of `next`."""

    at: datetime
    sighting: Sighting | None


@dataclass(frozen=True, slots=True)
class Rolled:
    """`next` is the new `curr`. `overrode` says which waits an admin set aside."""

    at: datetime
    overrode: str = ""


@dataclass(frozen=True, slots=True)
class ProdUpdated:
    """The production tree holds these sets; `servers` is what now has to be told."""

    at: datetime
    delivered: Delivered
    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class ServerTold:
    """One server was restarted (proven), or that failed."""

    at: datetime
    server: Server


@dataclass(frozen=True, slots=True)
class ServersProven:
    """Every server uses `curr`, or there is none to use it."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """The TLSA records of old keys are gone, old sets are cleaned up."""

    at: datetime
    prev: SetName | None


@dataclass(frozen=True, slots=True)
class Asked:
    """An admin's request was accepted."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class AskDropped:
    """An admin's request was cancelled, or turned out to need nothing."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A job failed; nothing else changed. `failed`: names that a CA could not validate."""

    track: Track
    trouble: Trouble
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """A CA may have failed to validate these names; nobody was there to hear of it."""

    at: datetime
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrialAsked:
    """An admin's request for a trial was accepted."""

    ask: TrialAsk


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """A trial is over: `text` tells how it went, `error` why it failed, "" if it did not.

    `after`: the CA's test server wants no other before.
    """

    at: datetime
    ask: TrialAsk
    text: str
    error: str = ""
    after: datetime | None = None


Event = (
    KeyMade
    | CertIssued
    | Advertised
    | Lost
    | TlsaLooked
    | Rolled
    | ProdUpdated
    | ServerTold
    | ServersProven
    | Settled
    | Asked
    | AskDropped
    | AttemptFailed
    | Counted
    | TrialAsked
    | TrialEnded
)

# --- the table ---------------------------------------------------------------------------

_RESTING = (Phase.SETTLED, Phase.ROLLED, Phase.DEPLOYED)
_ON_DECK = (Phase.KEYED, Phase.ISSUED, Phase.ADVERTISED)

# Events that are not named here for a phase cannot happen in it; those in `_BESIDE` never
# change a phase.
TABLE: Mapping[tuple[Phase, type[Event]], Phase] = {
    # A renewal starts from rest, or takes the place of a `next` that no longer serves. It
    # does not wait for a server that stays down (ROLLED): the old key's records stay.
    **{(phase, KeyMade): Phase.KEYED for phase in Phase},
    (Phase.KEYED, CertIssued): Phase.ISSUED,
    (Phase.ISSUED, Advertised): Phase.ADVERTISED,
    (Phase.ADVERTISED, Lost): Phase.ISSUED,
    # The last look before a roll may have told so already.
    (Phase.ISSUED, Lost): Phase.ISSUED,
    # Straight from ISSUED: there is no `curr` to protect, or an admin forced it.
    (Phase.ISSUED, Rolled): Phase.ROLLED,
    (Phase.ADVERTISED, Rolled): Phase.ROLLED,
    (Phase.ROLLED, ServersProven): Phase.DEPLOYED,
    (Phase.DEPLOYED, Settled): Phase.SETTLED,
    # Delivery of `curr` may end while a `next` is being made.
    **{(phase, ServersProven): phase for phase in _ON_DECK},
    **{(phase, Settled): phase for phase in _ON_DECK},
}

_BESIDE = (
    TlsaLooked,
    ProdUpdated,
    ServerTold,
    Asked,
    AskDropped,
    AttemptFailed,
    Counted,
    TrialAsked,
    TrialEnded,
)


class ImpossibleTransition(Exception):
    """An event that cannot happen in this phase: a bug, never a user's doing."""


def phase_of(
    curr: SetFacts | None,
    next_: SetFacts | None,
    *,
    advertised: SetName | None,
    deployed: SetName | None,
    settled: SetName | None,
) -> Phase:
    """Read the phase from what is on disk and noted. `next` equal to `curr` is no `next`."""
    if next_ is not None and (curr is None or next_.name != curr.name):
        if next_.cert is None:
            return Phase.KEYED
        return Phase.ADVERTISED if advertised == next_.name else Phase.ISSUED
    if curr is None or settled == curr.name:
        return Phase.SETTLED
    return Phase.DEPLOYED if deployed == curr.name else Phase.ROLLED


def with_sets(noted: CertState, found: CertState) -> CertState:
    """Return `noted` with the sets and links that were `found` on disk, and the phase they give.

    A `curr` that was exchanged or lost behind our back may still be served: it is retired.
    """
    before = noted.retired
    fresh = found.curr.name if found.curr else None
    if noted.curr is not None and noted.curr.name != fresh:
        before = _retired(noted, fresh)
    return replace(
        noted,
        retired=tuple(name for name in before if name != fresh),
        phase=phase_of(
            found.curr,
            found.next,
            advertised=noted.advertised,
            deployed=noted.deployed,
            settled=noted.settled,
        ),
        curr=found.curr,
        next=found.next,
        prev=found.prev,
        curr_note=found.curr_note,
        next_note=found.next_note,
    )


def advance(state: CertState, event: Event) -> CertState:
    """Return the state after `event`; raise `ImpossibleTransition` for one out of place."""
    if isinstance(event, _BESIDE):
        return _apply(state, event)
    try:
        phase = TABLE[state.phase, type(event)]
    except KeyError:
        raise ImpossibleTransition(f"{type(event).__name__} in phase {state.phase}") from None
    return replace(_apply(state, event), phase=phase)


def _apply(state: CertState, event: Event) -> CertState:
    match event:
        case KeyMade():
            return replace(
                state,
                next=event.facts,
                next_note=event.note,
                advertised=None,
                sighting=_kept_sighting(state, event),
                trouble=None,
            )
        case CertIssued():
            return replace(
                state,
                next=event.facts,
                next_note=event.note,
                advertised=None,
                ask=_left(state.ask, event.facts.name),
                trouble=None,
            )
        case Advertised():
            return replace(state, advertised=state.next.name if state.next else None)
        case Lost():
            return replace(state, advertised=None)
        case TlsaLooked():
            return replace(state, sighting=event.sighting)
        case Rolled():
            ask = None if state.ask and state.ask.what is Request.ROLL else state.ask
            fresh = state.next.name if state.next else None
            return replace(
                state,
                curr=state.next,
                curr_note=state.next_note,
                prev=state.curr.name if state.curr else state.prev,
                next=None,
                next_note=None,
                rolled_at=event.at,
                advertised=None,
                retired=_retired(state, fresh),
                sighting=None,
                # An older set can be put on deck again by hand: it has its way before it.
                deployed=state.deployed if state.deployed != fresh else None,
                settled=state.settled if state.settled != fresh else None,
                ask=ask,
                trouble=None,
                delivery_trouble=None,
                adopted=False,
            )
        case ProdUpdated():
            return replace(
                state,
                delivered=event.delivered,
                servers=event.servers,
                delivery_trouble=None,
                adopted=False,
            )
        case ServerTold():
            return replace(state, servers=_replaced(state.servers, event.server))
        case ServersProven():
            return replace(state, deployed=state.curr.name if state.curr else None, retired=())
        case Settled():
            settled = state.curr.name if state.curr else None
            return replace(state, settled=settled, prev=event.prev, delivery_trouble=None)
        case Asked():
            return replace(
                state,
                ask=_stronger(state.ask, event.ask),
                trouble=_eased(state.trouble, event.ask),
                delivery_trouble=_eased(state.delivery_trouble, event.ask),
                servers=tuple(_tried_now(server, event.ask) for server in state.servers),
            )
        case AskDropped():
            kept = state.trouble if state.trouble and state.trouble.binding else None
            return replace(state, ask=None, trouble=kept)
        case AttemptFailed(track=Track.RENEW):
            failed = counted(state.failed, event.failed, event.trouble.at)
            return replace(state, trouble=event.trouble, failed=failed)
        case AttemptFailed():
            return replace(state, delivery_trouble=event.trouble)
        case Counted():
            return replace(state, failed=counted(state.failed, event.failed, event.at))
        case TrialAsked():
            return replace(state, trial=event.ask)
        case TrialEnded():
            left = None if state.trial == event.ask else state.trial
            return replace(state, trial=left, trial_after=event.after)


def counted(
    before: tuple[FailedValidation, ...], names: Iterable[str], now: datetime
) -> tuple[FailedValidation, ...]:
    """Return the failed validations that still count after `names` failed at `now`."""
    recent = (one for one in before if timedelta() <= now - one.at < COUNTED)
    return (*recent, *(FailedValidation(name, now) for name in names))


def _replaced(servers: tuple[Server, ...], told: Server) -> tuple[Server, ...]:
    """Put `told` in its place, unless a newer set went to that server in the meantime."""
    return tuple(
        told if (old.kind, old.host, old.set) == (told.kind, told.host, told.set) else old
        for old in servers
    )


def _kept_sighting(state: CertState, event: KeyMade) -> Sighting | None:
    """Return what was seen of a key that goes on in another set, None of another key."""
    seen, old = state.sighting, state.next
    if not event.kept or seen is None or old is None or seen.set != old.name:
        return None
    return replace(seen, set=event.facts.name)


def _retired(state: CertState, fresh: SetName | None) -> tuple[SetName, ...]:
    """The sets that servers may still use with `fresh` as `curr`: all since the last proof."""
    before = (*state.retired, state.curr.name) if state.curr else state.retired
    return tuple(name for name in dict.fromkeys(before) if name != fresh)


def _left(ask: Ask | None, issued: SetName) -> Ask | None:
    """What is still asked for once `issued` has its certificate.

    A renewal that was forced while just that one was being made wants another.
    """
    return ask if ask and (ask.what is Request.ROLL or ask.replaces == issued) else None


def _stronger(standing: Ask | None, new: Ask) -> Ask:
    """The newer request, but what was accepted with force is not lost to one without."""
    return standing if standing and standing.force and not new.force else new


def _tried_now(server: Server, ask: Ask) -> Server:
    """What was asked for has its servers tried again as well."""
    return replace(server, next_try=ask.at) if server.next_try is not None else server


def _eased(trouble: Trouble | None, ask: Ask) -> Trouble | None:
    """An admin's request goes past our own backoff, but not past what a CA asked for."""
    if trouble is None or trouble.binding:
        return trouble
    return replace(trouble, next_try=ask.at)
