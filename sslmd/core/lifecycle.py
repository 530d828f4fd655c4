"""The life of a certificate: phases, and the one table of transitions (`events`).

    SETTLED -> KEYED -> ISSUED -> ADVERTISED -> ROLLED -> DEPLOYED -> SETTLED

`advance` is the only place where a phase changes. A phase is never stored: `phase_of` reads
it from the links on disk and the notes beside them, so a daemon that was killed anywhere
finds itself where it was (I5). Failure is not a phase; it stands beside it as `Trouble`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from sslmd.core.errors import ImpossibleTransition, Trouble
from sslmd.core.events import (
    Advertised,
    Advised,
    AskDropped,
    Asked,
    AttemptFailed,
    BackOnDeck,
    CertIssued,
    Counted,
    Event,
    KeyMade,
    Lost,
    OffDeck,
    ProdUpdated,
    RestartAsked,
    Rolled,
    ServerCopied,
    ServerSeen,
    ServersProven,
    ServersWanting,
    ServerTold,
    Settled,
    TlsaLooked,
    TrialAsked,
    TrialEnded,
    WasIssued,
    WasOrdered,
)
from sslmd.core.host.server import asked, wanted, with_copied, with_told
from sslmd.core.names import SetName
from sslmd.core.reason import Ended
from sslmd.core.spec import SetFacts
from sslmd.core.state import (
    COUNTED,
    ISSUED_COUNTED,
    MOST_COUNTED,
    MOST_ORDERED,
    Ask,
    CertState,
    Delivered,
    FailedValidation,
    Phase,
    Request,
    SetNote,
    Track,
    after_roll,
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
    # Whatever goes on: an admin wants an older set back.
    **{(phase, BackOnDeck): Phase.ISSUED for phase in Phase},
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

# What is on deck leaves it: the phase is that of `curr` alone, whichever that is.
LEAVING = (OffDeck,)

_BESIDE = (
    TlsaLooked,
    ProdUpdated,
    ServerTold,
    ServerSeen,
    ServerCopied,
    ServersWanting,
    RestartAsked,
    Asked,
    AskDropped,
    AttemptFailed,
    Counted,
    WasIssued,
    Advised,
    WasOrdered,
    TrialAsked,
    TrialEnded,
)


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
        prev_note=found.prev_note,
        former=noted.former | found.former,
        remains=found.remains,
    )


def advance(state: CertState, event: Event) -> CertState:
    """Return the state after `event`; raise `ImpossibleTransition` for one out of place."""
    if isinstance(event, _BESIDE):
        return _apply(state, event)
    if isinstance(event, LEAVING) and state.phase in _ON_DECK:
        left = _apply(state, event)
        phase = phase_of(
            left.curr, None, advertised=None, deployed=left.deployed, settled=left.settled
        )
        return replace(left, phase=phase)
    try:
        phase = TABLE[state.phase, type(event)]
    except KeyError:
        raise ImpossibleTransition(f"{type(event).__name__} in phase {state.phase}") from None
    return replace(_apply(state, event), phase=phase)


def _apply(state: CertState, event: Event) -> CertState:
    match event:
        case KeyMade():
            seen, old = state.sighting, state.next
            goes_on = event.kept and seen and old is not None and seen.set == old.name
            return replace(
                state,
                next=event.facts,
                next_note=event.note,
                advertised=None,
                # What was seen is of the key, if that goes on in this set.
                sighting=replace(seen, set=event.facts.name) if seen and goes_on else None,
                trouble=None,
                off_deck=None,
            )
        case CertIssued():
            ask = state.ask
            is_roll = ask is not None and ask.what is Request.ROLL
            return replace(
                state,
                next=event.facts,
                next_note=event.note,
                advertised=None,
                # A renewal that was forced while just this one was being made wants another.
                ask=ask if ask and (is_roll or ask.replaces == event.facts.name) else None,
                trouble=None,
            )
        case Advertised():
            return replace(state, advertised=state.next.name if state.next else None)
        case Lost():
            return replace(state, advertised=None)
        case TlsaLooked():
            return replace(state, sighting=event.sighting)
        case Rolled():
            fresh = state.next.name if state.next else None
            ask = state.ask
            if ask is not None and ask.what is Request.ROLL and ask.back in (None, fresh):
                ask = None  # it is carried out
            prev, note = state.prev, state.prev_note
            if state.curr is not None:
                prev, note = state.curr.name, state.curr_note
            return replace(
                state,
                curr=state.next,
                curr_note=state.next_note,
                prev=prev if prev != fresh else None,
                prev_note=note if prev != fresh else None,
                next=None,
                next_note=None,
                rolled_at=event.at,
                advertised=None,
                retired=_retired(state, fresh),
                hurried=after_roll(state, fresh),
                former=state.former.union(
                    one.cert.identity
                    for one in (state.curr, state.next)
                    if one is not None and one.cert and one.cert.identity
                ),
                remains="",
                sighting=None,
                # An older set can be put on deck again by hand: it has its way before it.
                deployed=state.deployed if state.deployed != fresh else None,
                settled=state.settled if state.settled != fresh else None,
                ask=ask,
                trouble=_bound(state.trouble),
                delivery_trouble=None,
                adopted=False,
                off_deck=None,
            )
        case BackOnDeck():
            name = event.facts.name
            return replace(
                state,
                next=event.facts,
                next_note=event.note,
                advertised=None,
                sighting=None,
                # It has its way before it once more, also after a crash amid the roll.
                deployed=state.deployed if state.deployed != name else None,
                settled=state.settled if state.settled != name else None,
                trouble=_bound(state.trouble),
                off_deck=None,
            )
        case OffDeck():
            return replace(
                state, next=None, next_note=None, advertised=None, sighting=None, off_deck=None
            )
        case ProdUpdated():
            return replace(
                state,
                delivered=event.delivered,
                servers=event.servers,
                delivery_trouble=None,
                adopted=False,
                whole=False,
            )
        case ServerTold() | ServerSeen():
            return replace(state, servers=with_told(state.servers, event.server))
        case ServerCopied():
            return replace(state, servers=with_copied(state, event.server, event.before))
        case ServersWanting():
            wanting = (wanted(server, event.hosts) for server in state.servers)
            # Production is looked at again too: the copies are made of what is there.
            return replace(
                state,
                servers=tuple(wanting),
                delivered=Delivered(),
                delivery_trouble=None,
                whole=True,
            )
        case RestartAsked():
            restarting = (asked(server, event) for server in state.servers)
            return replace(state, servers=tuple(restarting))
        case ServersProven():
            fresh = state.curr.name if state.curr else None
            return replace(state, deployed=fresh, retired=(), hurried=())
        case Settled():
            settled = state.curr.name if state.curr else None
            note = state.prev_note if event.prev == state.prev else None
            return replace(
                state, settled=settled, prev=event.prev, prev_note=note, delivery_trouble=None
            )
        case Asked():
            # The newer request, but what was accepted with force is not lost to one without.
            stays = state.ask is not None and state.ask.force and not event.ask.force
            ask = state.ask if stays else event.ask
            return replace(
                state,
                ask=ask,
                curr_note=_revoked(state) if event.ask.revoked else state.curr_note,
                off_deck=_off_deck(state, ask),
                trouble=state.trouble and state.trouble.eased(event.ask.at),
                delivery_trouble=state.delivery_trouble
                and state.delivery_trouble.eased(event.ask.at),
                # What was asked for has its servers tried again as well.
                servers=tuple(
                    replace(one, next_try=event.ask.at) if one.next_try is not None else one
                    for one in state.servers
                ),
            )
        case AskDropped():
            off, note = _off_deck(state, None), state.curr_note
            if note is not None and note.revoked and event.reason.code is Ended.CANCELLED:
                note = replace(note, revoked=False)
            bound = _bound(state.trouble)
            return replace(state, ask=None, trouble=bound, off_deck=off, curr_note=note)
        case AttemptFailed(track=Track.RENEW):
            failed = counted(state.failed, event.failed, event.trouble.at)
            return replace(state, trouble=event.trouble, failed=failed)
        case AttemptFailed():
            return replace(state, delivery_trouble=event.trouble)
        case Counted():
            return replace(state, failed=counted(state.failed, event.failed, event.at))
        case WasIssued():
            new = event.issuance
            if any((one.serial, one.server) == (new.serial, new.server) for one in state.issued):
                return state  # what a killed daemon fetches again is one issuance, not two
            kept = (one for one in state.issued if abs(new.at - one.at) < ISSUED_COUNTED)
            return replace(state, issued=(*kept, new))
        case Advised():
            return _advised(state, event)
        case WasOrdered():
            made = event.order
            if made in state.ordered:
                return state  # told once more by a start after it was cut short
            kept_orders = [o for o in state.ordered if abs(made.at - o.at) < ISSUED_COUNTED]
            return replace(state, ordered=(*kept_orders, made)[-MOST_ORDERED:])
        case TrialAsked():
            return replace(state, trial=event.ask)
        case TrialEnded():
            left = None if state.trial == event.ask else state.trial
            return replace(state, trial=left, trial_after=event.after)


def _revoked(state: CertState) -> SetNote | None:
    """Return the note of the set in use, with that it is revoked."""
    if state.curr is None:
        return state.curr_note
    return replace(state.curr_note or SetNote(0.0), revoked=True)


def _advised(state: CertState, event: Advised) -> CertState:
    """Note it beside its set, if that is still in use or on deck."""
    curr, next_, name = state.curr_note, state.next_note, event.set
    if state.curr is not None and curr is not None and state.curr.name == name:
        return replace(state, curr_note=replace(curr, ari=event.advice))
    if state.next is not None and next_ is not None and state.next.name == name:
        return replace(state, next_note=replace(next_, ari=event.advice))
    return state


def counted(
    before: tuple[FailedValidation, ...], names: Iterable[str], now: datetime
) -> tuple[FailedValidation, ...]:
    """Return the failed validations that still count after `names` failed at `now`."""
    recent = [one for one in before if abs(now - one.at) < COUNTED]
    return (*recent, *(FailedValidation(name, now) for name in names))[-MOST_COUNTED:]


def _retired(state: CertState, fresh: SetName | None) -> tuple[SetName, ...]:
    """The sets that servers may still use with `fresh` as `curr`: all since the last proof."""
    before = (*state.retired, state.curr.name) if state.curr else state.retired
    return tuple(name for name in dict.fromkeys(before) if name != fresh)


def _off_deck(state: CertState, ask: Ask | None) -> SetName | None:
    """What is to leave the deck, now that `ask` takes the place of what was asked for.

    Noted at once: also if it gets there only in this moment, or the daemon is killed in the next.
    """
    back = ask.back if ask is not None else None
    gone = state.ask.back if state.ask is not None else None
    if gone is None or gone == back or (state.curr is not None and state.curr.name == gone):
        return state.off_deck if back is None or state.off_deck != back else None
    return gone


def _bound(trouble: Trouble | None) -> Trouble | None:
    """What is left of a trouble that is over: a CA is not asked before the time that it named."""
    return trouble if trouble is not None and trouble.binding else None
