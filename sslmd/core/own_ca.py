"""The site's own CAs keep their key and their name until an admin says otherwise (I12).

What clients trust is a CA's key and name. So a CA that was ever in use gets a new certificate by
rule only when the one it has ends, and with the same key and name. Whatever else would lead to a
renewal is a `Hold`: the CA is left as it is, with the reason, the way out, and an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sslmd.core.facts import Parts, SetFacts
from sslmd.core.names import shown
from sslmd.core.renewal import Why, why_unusable
from sslmd.core.spec import OwnCa, SelfSigned, Subject
from sslmd.core.state import CertState
from sslmd.core.view import View, due


class Grip(StrEnum):
    """How far a hold goes."""

    LOST = "lost"  # there is no key to renew it with: only another key helps
    DOUBTFUL = "doubtful"  # nothing is done unless an admin says so
    OTHER = "other"  # it is what clients trust, and is renewed as that when it ends


# What an admin need not do: `daemon.held`.
_LOOKED_AT = "it is looked at again within a minute"

# The parts of a name that a service file has keys for.
KEYS = ("CN", "O", "OU", "L", "ST", "C", "email")


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a CA is left as it is, and the way out."""

    text: str
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
        text = (
            f"it has no curr, but it was in use before: there is {view.state.remains}. Put the "
            f"link curr back (it leads to db/<set>); {_LOOKED_AT}. {_new_key(view)}"
        )
        return Hold(text, Grip.LOST)
    unusable = why_unusable(curr, now)
    if unusable is None or (curr.complete and unusable.why is Why.UNUSABLE):
        return None  # expired: it is renewed
    if unusable.why is Why.NOT_YET_VALID:
        text = f"{unusable.text}. If the clock of this machine is right: {_again(view)}"
        return Hold(text, Grip.DOUBTFUL)
    text = (
        f"{unusable.text}. It signs nothing until its files are right: put them back from a copy "
        f"(certs/{cert}/db/{curr.name}); {_LOOKED_AT}."
    )
    if curr.cert is not None and curr.key_id and curr.key_id == curr.cert.key_id:
        text += f" To have its certificate made again: {_again(view)}"
        return Hold(text, Grip.DOUBTFUL)
    return Hold(f"{text} {_new_key(view)}", Grip.LOST)


def _other(view: View) -> Hold | None:
    """Return what the service file asks for that only another CA could have."""
    spec, curr = view.wanted.spec, view.state.curr
    assert curr is not None
    if curr.cert is None:
        return None
    has = curr.cert.parts
    if has and not asks_for(spec.subject, has):
        return Hold(
            f"the service file asks for the name {_named(parts_asked(spec.subject))}, its "
            f"certificate has {_named(has)}. {_unchanged(view)}",
            Grip.OTHER,
        )
    if curr.key and curr.key != str(spec.key):
        return Hold(
            f"the service file asks for a key {spec.key}, it has {curr.key}. {_unchanged(view)}",
            Grip.OTHER,
        )
    if text := _other_signer(view):
        return Hold(
            f"{text}. Correct signing_ca in its service file. If you want the "
            f"change: {_again(view)}",
            Grip.OTHER,
        )
    return None


def _other_signer(view: View) -> str:
    curr = view.state.curr
    if curr is None or curr.cert is None or not curr.signer:
        return ""
    signer = view.wanted.spec.signer
    if isinstance(signer, SelfSigned):
        if curr.signer == curr.cert.identity:
            return ""
        return "the service file says that it signs itself, its certificate is from another CA"
    signers = signers_of(view, curr)
    if not isinstance(signer, OwnCa) or not signers or curr.signer in signers:
        return ""
    return f"the service file asks for the CA {signer}, its certificate is from another one"


def _unchanged(view: View) -> str:
    return (
        "A CA keeps its key and its name, so it stays as it is. Write into the service file what "
        f"it has. {_new_key(view)}"
    )


def _new_key(view: View) -> str:
    arg = view.wanted.spec.id.arg
    return f"For a new CA, which every client has to learn: sslmctl renew --force --new-key {arg}"


def _again(view: View) -> str:
    return f"sslmctl renew --force {view.wanted.spec.id.arg} (its key and its name stay)"


def parts_asked(subject: Subject) -> Parts:
    """Return the parts of a name that a service file asks for, as `CertFacts.parts` has them."""
    parts = (
        ("CN", subject.common_name),
        ("O", subject.organization),
        ("OU", subject.unit),
        ("L", subject.locality),
        ("ST", subject.state),
        ("C", subject.country),
        ("email", subject.email),
    )
    return tuple(sorted((key, text) for key, text in parts if text))


def asks_for(subject: Subject, has: Parts) -> bool:
    """Whether a service file asks for the name that a certificate has.

    Order and empty parts do not count, nor spaces around a part, which the file is read without;
    nor parts that a service file has no key for: other attributes, and a second value of one.
    """
    values: dict[str, set[str]] = {}
    for key, text in has:
        if part := text.strip():
            values.setdefault(key, set()).add(part)
    asked = dict(parts_asked(subject))
    return all(asked.get(key) in values[key] if key in values else key not in asked for key in KEYS)


def _named(parts: Parts) -> str:
    return ", ".join(f"{key}={shown(text)}" for key, text in parts)


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


def what_changes(view: View) -> str:
    """Return what clients have to learn when a CA gets another key or name, for the admin."""
    cert, curr = view.wanted.spec.id, view.state.curr
    name = _named(curr.cert.parts) if curr is not None and curr.cert is not None else str(cert)
    if isinstance(view.wanted.spec.signer, SelfSigned):
        learn = (
            f"every client that trusts {name} has to get the new root, certs/{cert}/curr/cert.pem"
        )
    else:
        learn = f"certificates with {name} in their chain get the new one at their next renewal"
    return (
        f"this makes another CA of {cert}: {learn}. Certificates that it signed before stay valid "
        "under the old one, and are not renewed because of this. Clients that have only the old "
        "one refuse what it signs from now on. TLSA records with usage 0 or 2 change with it"
    )


def renews_how(view: View) -> str:
    """Return how a CA that is in use will be renewed, for people; "" for other certificates."""
    curr, wanted = view.state.curr, view.wanted
    if wanted.spec.ca is None or curr is None or curr.cert is None:
        return ""
    when = due(view.state, wanted)
    assert when is not None
    lead = (curr.cert.not_after - when).days
    text = (
        f"its key and its name stay; {lead} d before its end, because what it signs lives for up "
        f"to {wanted.spec.ca.life.days} d"
    )
    above = view.ca
    if above is None or above.state is None or above.wanted is None:
        return text
    first = due(above.state, above.wanted)
    # It waits for half of its own lead at most, see `renew_track`.
    soon = when + (curr.cert.not_after - when) / 2
    return f"{text}; after its CA {above.id}" if first is not None and first <= soon else text
