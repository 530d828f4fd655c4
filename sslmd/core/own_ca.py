"""The site's own CAs keep their key and their name until an admin says otherwise (I12).

What clients trust is a CA's key and name. So a CA that was ever in use gets a new certificate by
rule only when the one it has ends, and with the same key and name. Whatever else would lead to a
renewal is a `Hold`: the CA is left as it is, with the reason, the way out, and an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sslmd.core.names import shown
from sslmd.core.reason import Held, Reason, Said, Why
from sslmd.core.renewal import why_unusable
from sslmd.core.spec import OwnCa, Parts, SelfSigned, SetFacts, asks_for, parts_asked
from sslmd.core.state import CertState
from sslmd.core.view import View, due


class Grip(StrEnum):
    """How far a hold goes."""

    LOST = "lost"  # there is no key to renew it with: only another key helps
    DOUBTFUL = "doubtful"  # nothing is done unless an admin says so
    OTHER = "other"  # it is what clients trust, and is renewed as that when it ends


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a CA is left as it is."""

    reason: Reason
    grip: Grip


def is_known(view: View) -> bool:
    """Whether this is a CA that was in use before: clients may trust it."""
    state = view.state
    return view.wanted.spec.ca is not None and (state.curr is not None or bool(state.remains))


def hold_of(view: View, now: datetime) -> Hold | None:
    """Return what keeps a CA from being what its service file asks for, None if nothing does."""
    if not is_known(view):
        return None
    return _lost(view, now) or _other(view)


def _lost(view: View, now: datetime) -> Hold | None:
    """Return why it cannot sign, and cannot be renewed with its key."""
    cert, curr = view.wanted.spec.id, view.state.curr
    if curr is None:
        remains = Said(view.state.remains)
        return Hold(Reason(Held.CA_NO_CURR, remains=remains, arg=cert.arg), Grip.LOST)
    unusable = why_unusable(curr, now)
    if unusable is None or unusable.code is Why.EXPIRED:
        return None  # expired: it is renewed
    if unusable.code is Why.NOT_YET_VALID:
        return Hold(Reason(Held.CA_CLOCK, why=unusable, arg=cert.arg), Grip.DOUBTFUL)
    has_key = curr.cert is not None and bool(curr.key_id) and curr.key_id == curr.cert.key_id
    reason = Reason(
        Held.CA_UNUSABLE, why=unusable, cert=cert, set=curr.name, has_key=has_key, arg=cert.arg
    )
    return Hold(reason, Grip.DOUBTFUL if has_key else Grip.LOST)


def _other(view: View) -> Hold | None:
    """Return what the service file asks for that only another CA could have."""
    spec, curr = view.wanted.spec, view.state.curr
    assert curr is not None
    if curr.cert is None:
        return None
    has, arg = curr.cert.parts, spec.id.arg
    if has and not asks_for(spec.subject, has):
        asked = _named(parts_asked(spec.subject))
        reason = Reason(Held.CA_OTHER_NAME, asked=asked, has=_named(has), arg=arg)
        return Hold(reason, Grip.OTHER)
    if curr.key and curr.key != str(spec.key):
        reason = Reason(Held.CA_OTHER_KEY, asked=str(spec.key), has=curr.key, arg=arg)
        return Hold(reason, Grip.OTHER)
    if not curr.signer:
        return None
    if isinstance(spec.signer, SelfSigned):
        if curr.signer != curr.cert.identity:
            return Hold(Reason(Held.CA_NOT_SELF_SIGNED, arg=arg), Grip.OTHER)
        return None
    signers = signers_of(view, curr)
    if isinstance(spec.signer, OwnCa) and signers and curr.signer not in signers:
        reason = Reason(Held.CA_OTHER_SIGNER, asked=str(spec.signer), arg=arg)
        return Hold(reason, Grip.OTHER)
    return None


def _named(parts: Parts) -> tuple[str, ...]:
    return tuple(f"{key}={shown(text)}" for key, text in parts)


def is_another(state: CertState, next_: SetFacts) -> bool:
    """Whether a set on deck may make another CA of this one, though no admin asked for that.

    It has another key, or another name, or there is nothing left to compare it with.
    """
    curr, note = state.curr, state.next_note
    if note is not None and note.new_key:
        return False
    if curr is None:
        return bool(state.remains)
    if next_.cert is not None:
        before = curr.cert.identity if curr.cert is not None else ""
        return next_.cert.is_ca and bool(next_.cert.identity) and next_.cert.identity != before
    return bool(next_.key_id) and bool(curr.key_id) and next_.key_id != curr.key_id


def signers_of(view: View, facts: SetFacts | None) -> frozenset[str]:
    """Return the identities that its CA has and had, none where they are not known.

    What an older generation of a CA signed is from that CA all the same. One of which there is no
    set left is known by its name and by who signed it, as the chain of `facts` has it.
    """
    known = _identities(view.ca.state if view.ca is not None else None)
    if not known or facts is None or view.ca is None or view.ca.above is None:
        return known
    if facts.signer in known:
        return known
    wanted, above = view.ca.wanted, _identities(view.ca.above.state)
    if wanted is None or facts.above not in above:
        return known
    same = asks_for(wanted.spec.subject, facts.issuer_parts)
    return known | {facts.signer} if same and facts.signer else known


def _identities(ca: CertState | None) -> frozenset[str]:
    if ca is None:
        return frozenset()
    curr = ca.curr.cert.identity if ca.curr is not None and ca.curr.cert is not None else ""
    return ca.former | {curr} if curr else ca.former


def what_changes(view: View) -> Reason:
    """Return what clients have to learn when a CA gets another key or name, for the admin."""
    cert, curr = view.wanted.spec.id, view.state.curr
    name = _named(curr.cert.parts) if curr is not None and curr.cert is not None else (str(cert),)
    root = isinstance(view.wanted.spec.signer, SelfSigned)
    return Reason(Why.CA_CHANGES, cert=cert, name=name, root=root)


def renews_how(view: View) -> Reason | None:
    """Return how a CA that is in use will be renewed; None for other certificates."""
    curr, wanted = view.state.curr, view.wanted
    if wanted.spec.ca is None or curr is None or curr.cert is None:
        return None
    when = due(view.state, wanted)
    assert when is not None
    lead, life, above = curr.cert.not_after - when, wanted.spec.ca.life, view.ca
    first = None
    if above is not None and above.state is not None and above.wanted is not None:
        first = due(above.state, above.wanted)
    # It waits for half of its own lead at most, see `renew_track`.
    after = (
        above.id if above is not None and first is not None and first <= when + lead / 2 else None
    )
    return Reason(Why.CA_RENEWAL, lead=lead.days, life=life.days, after=after)
