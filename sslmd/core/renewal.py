"""Why and when to renew: an ordered list of checks; the first that answers is the reason.

Pure: handed the facts, what is wanted, and the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from sslmd.core.ari import BACKSTOP, pause
from sslmd.core.buckets import ANY_FAILED, Rate
from sslmd.core.errors import CLOCK_TOLERANCE
from sslmd.core.reason import Reason, Said, Why
from sslmd.core.spec import AcmeCa, CertFacts, CertSpec, SetFacts, Timing
from sslmd.core.state import CertState, SetNote, replaced_urgently
from sslmd.core.windows import Group


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration asks of a certificate now. `names`: of `spec.all_names`, as text.

    `fingerprint` changes when anything that the service's configuration asks changes;
    `dane`: TLSA records are wanted; `next_ahead`: the next key is made as soon as a roll is
    settled, so that its records are long seen when it is needed; `managed`: renewed by us, not
    only used to sign. `roll_windows`: open together when it may be rolled; `restart_windows`: for
    each class that uses it, those that are open together when it may be restarted. `failed_rate`:
    the limit of its CA for failed validations of a name.
    """

    spec: CertSpec
    timing: Timing
    names: frozenset[str]
    fingerprint: str
    dane: bool = False
    next_ahead: bool = False
    managed: bool = True
    roll_windows: tuple[Group, ...] = ()
    restart_windows: tuple[tuple[Group, ...], ...] = ()
    failed_rate: Rate | None = ANY_FAILED


# Why a set is renewed because its CA wants that.
CA_WISHES = (Why.CA_WINDOW, Why.CA_WANTS)

# Before anything happened.
NEVER = datetime.min.replace(tzinfo=UTC)

# A certificate that lives under ten days is renewed at half of its life, any other at a third
# (Let's Encrypt's advice for short-lived certificates): `renew_expire_days` can be no more.
SHORT_LIVED = timedelta(days=10)
SHARE_OF_SHORT_LIFE = 1 / 2
SHARE_OF_LIFE = 1 / 3

# The spread may take at most this share of the lead, so that no draw comes near the expiry.
SHARE_OF_LEAD = 3 / 4

# After `min_roll_mins` a roll still needs its servers restarted before the old one expires.
ROLL_MARGIN = timedelta(hours=1)


def renew_at(cert: CertFacts, timing: Timing, draw: float) -> datetime:
    """Return when a certificate is due: notAfter - (E + u).

    E is `renew_expire_days`, or what `[renew_info]` has for such a life, at most a share of the
    certificate's life; u is `draw` (-1 to 1) times the spread, which is scaled as E was. Their
    mean is E. docs/decisions/2026-11-23-lead-and-spread-are-capped.md.
    """
    lead, spread, least = _leads(cert.not_after - cert.not_before, timing)
    return cert.not_after - max(lead + spread * draw, least)


def when_due(curr: SetFacts, note: SetNote | None, wanted: Wanted) -> datetime | None:
    """Return when the set in use is due, None if it has no certificate.

    One that the site's own CA signed: before the first CA above it ends, too, since servers give
    that CA's certificate to clients. A CA: early enough that what it signs need not be cut short,
    but in the last third of its own life. One of an ACME CA: when that CA suggests it.
    """
    cert = curr.cert
    if cert is None:
        return None
    if (at := time_of_ca(curr, note, wanted)) is not None:
        return at
    if ends_first(curr, wanted):
        assert curr.chain_end is not None
        cert = replace(cert, not_after=max(curr.chain_end, cert.not_before))
    due = renew_at(cert, wanted.timing, note.draw if note else 0.0)
    if note is not None and _by_ca(note, wanted) and note.ari and note.ari.begin and note.ari.end:
        # The CA is silent. Of its last window at least the spread does not lead out.
        usual = renew_at(cert, wanted.timing, 0.0)
        begin, end = note.ari.begin, note.ari.end
        due = due if begin <= due <= end or not begin <= usual <= end else usual
    if wanted.spec.ca is None:
        return due
    lead = min(wanted.spec.ca.life, (cert.not_after - cert.not_before) * SHARE_OF_LIFE)
    return min(due, cert.not_after - lead)


def _by_ca(note: SetNote | None, wanted: Wanted) -> bool:
    """Whether what a CA suggests for a set is followed."""
    if note is None or note.ari is None or not wanted.timing.by_ca:
        return False
    return isinstance(wanted.spec.signer, AcmeCa)


def time_of_ca(facts: SetFacts, note: SetNote | None, wanted: Wanted) -> datetime | None:
    """Return when a set is due by what its CA suggests, None where it suggests nothing.

    It is the set's own place in the window. No later than a sixth of its life before its end; and
    not soon after it was issued because its CA wanted another replaced (`_not_before`).
    """
    if note is None or note.ari is None or facts.cert is None or not _by_ca(note, wanted):
        return None
    at = note.ari.urgent_since or (None if note.ari.is_silent else note.ari.at(note.draw))
    if at is None:
        return None
    cert, life = facts.cert, facts.cert.not_after - facts.cert.not_before
    lead = least_lead_of_ca(life, wanted.timing)
    return max(min(at, cert.not_after - lead), _not_before(facts, note))


def _not_before(facts: SetFacts, note: SetNote) -> datetime:
    """Return when a set may be renewed because its CA wants that: never a loop of orders."""
    if note.wished is None or facts.cert is None:
        return NEVER
    life = facts.cert.not_after - facts.cert.not_before
    # One of the future, by a clock that was set back, does not go past the backstop.
    return min(note.wished + pause(life), facts.cert.not_after - life * BACKSTOP)


def urgent_since(facts: SetFacts | None, note: SetNote | None, wanted: Wanted) -> datetime | None:
    """Return since when a CA wants a set replaced at once, None if it does not."""
    if facts is None or facts.cert is None or note is None or note.ari is None:
        return None
    return note.ari.urgent_since if _by_ca(note, wanted) else None


def hurry_since(state: CertState, wanted: Wanted) -> datetime | None:
    """Return since when something of a certificate is to be replaced at once, None if nothing is.

    What is in use, or on deck, or what servers may still use of before. What an admin says is
    revoked comes before all that a CA wants.
    """
    if state.shows_revoked or (state.ask is not None and state.ask.revoked):
        return NEVER
    found = [
        urgent_since(state.curr, state.curr_note, wanted),
        urgent_since(state.next, state.next_note, wanted),
    ]
    if wanted.timing.by_ca:
        found.append(replaced_urgently(state))
    return min((one for one in found if one is not None), default=None)


def why_urgent(
    facts: SetFacts | None, note: SetNote | None, wanted: Wanted, now: datetime
) -> Reason | None:
    """Return that a CA wants a set replaced at once, and when that can be done if not now."""
    since = urgent_since(facts, note, wanted)
    if since is None or facts is None or note is None or note.ari is None:
        return None
    again = _not_before(facts, note)
    return Reason(
        Why.CA_WANTS,
        set=facts.name,
        ca=note.ca or str(wanted.spec.signer),
        since=since,
        url=Said(note.ari.explanation) if note.ari.explanation else None,
        again=again if again > now else None,
    )


def ends_first(curr: SetFacts, wanted: Wanted) -> bool:
    """Whether a CA in the chain ends before the certificate, which one of our own CAs signed.

    ssl-mgr's CAs sign beyond their own end. Of public CAs another certificate has the same chain.
    """
    if isinstance(wanted.spec.signer, AcmeCa) or curr.cert is None or curr.chain_end is None:
        return False
    return curr.chain_end < curr.cert.not_after


def signs_until(ca: SetFacts) -> datetime | None:
    """Return when what a CA signs ends at the latest, None without a certificate.

    It ends with the CA, or before: with the first CA above it.
    """
    if ca.cert is None or ca.chain_end is None:
        return ca.cert.not_after if ca.cert is not None else None
    return min(ca.cert.not_after, ca.chain_end)


def least_lead(life: timedelta, timing: Timing) -> timedelta:
    """Return how long before its expiry a certificate is due with the unluckiest draw."""
    lead, spread, least = _leads(life, timing)
    return max(lead - spread, least)


def least_lead_of_ca(life: timedelta, timing: Timing) -> timedelta:
    """Return how long before its expiry a certificate is due, however late its CA suggests it."""
    return max(life * BACKSTOP, _leads(life, timing)[2])


def usual_lead(life: timedelta, timing: Timing) -> timedelta:
    """Return how long before its expiry a certificate is due on average."""
    lead, _, least = _leads(life, timing)
    return max(lead, least)


@lru_cache(maxsize=64)  # the certificates of a CA live equally long
def _leads(life: timedelta, timing: Timing) -> tuple[timedelta, timedelta, timedelta]:
    """Return E, its spread, and the least time before the expiry."""
    share = SHARE_OF_SHORT_LIFE if life < SHORT_LIVED else SHARE_OF_LIFE
    asked, asked_spread = timing.asked(life)
    lead, spread = min(asked, life * share), timedelta()
    if asked:
        spread = min(asked_spread * (lead / asked), lead * SHARE_OF_LEAD)
    # However late an admin wants it: time to roll before the old one is gone.
    return lead, spread, min(timing.min_roll + ROLL_MARGIN, life * SHARE_OF_SHORT_LIFE)


def why_incomplete(facts: SetFacts) -> Reason | None:
    """Return why the files of a set cannot serve at any time, None if they can."""
    if facts.problem:
        return Reason(Why.UNUSABLE, set=facts.name, problem=Said(facts.problem))
    return Reason(Why.NO_CERTIFICATE, set=facts.name) if facts.cert is None else None


def why_unusable(facts: SetFacts | None, now: datetime) -> Reason | None:
    """Return why a set cannot serve at `now`, or None if it can."""
    if facts is None:
        return Reason(Why.NO_CURR)
    if useless := why_incomplete(facts):
        return useless
    assert facts.cert is not None
    if facts.cert.not_after <= now:
        return Reason(Why.EXPIRED, at=facts.cert.not_after)
    if facts.cert.not_before > now + CLOCK_TOLERANCE:
        return Reason(Why.NOT_YET_VALID, at=facts.cert.not_before)
    return None


def why_unwanted(
    facts: SetFacts, note: SetNote | None, wanted: Wanted, signers: frozenset[str]
) -> Reason | None:
    """Return why a set is not what the service file asks for now: names, key or CA.

    `signers` are the identities that its CA has and had, none where they are not known. Of a CA
    nothing is asked here: see `own_ca`.
    """
    if wanted.spec.ca is not None:
        return None
    names = facts.asked_names or frozenset(facts.cert.names if facts.cert else ())
    if names != wanted.names:
        # ssl-mgr signs names as they are written, with a final dot as well.
        names = frozenset(name.removesuffix(".") for name in names)
    if names != wanted.names:
        changes = [f"+{name}" for name in sorted(wanted.names - names)]
        changes += [f"-{name}" for name in sorted(names - wanted.names)]
        return Reason(Why.NAMES, changes=tuple(changes))
    if facts.key and facts.key != str(wanted.spec.key):
        return Reason(Why.KEY, asked=str(wanted.spec.key), has=facts.key)
    if isinstance(wanted.spec.signer, AcmeCa) or not signers or not facts.signer:
        # The names and keys of public CAs change; without any at hand, what is noted counts.
        is_other = note is not None and note.ca not in ("", str(wanted.spec.signer))
    else:
        is_other = facts.signer not in signers
    if is_other:
        was = note.ca if note else ""
        if was in ("", str(wanted.spec.signer)):
            was = facts.cert.issuer if facts.cert else "?"
        return Reason(Why.CA, asked=str(wanted.spec.signer), has=was)
    return None


def why_useless(
    facts: SetFacts, note: SetNote | None, wanted: Wanted, signers: frozenset[str], now: datetime
) -> Reason | None:
    """Return why a complete set must not go live: not what is wanted, or not usable now.

    Whoever gets a certificate looks here before he calls it issued: the plan makes another in
    place of a useless one, at once.
    """
    return why_unwanted(facts, note, wanted, signers) or why_unusable(facts, now)


@dataclass(frozen=True, slots=True)
class Question:
    """What the checks look at."""

    curr: SetFacts | None
    note: SetNote | None
    wanted: Wanted
    signers: frozenset[str]
    forced: bool
    now: datetime


def why_renew(question: Question) -> Reason | None:
    """Return the first reason to renew, or None if there is none."""
    curr, now = question.curr, question.now
    if why := why_unusable(curr, now):
        return why
    assert curr is not None
    assert curr.cert is not None
    if why := why_unwanted(curr, question.note, question.wanted, question.signers):
        return why
    due = when_due(curr, question.note, question.wanted)
    if due is not None and due <= now:
        if why := why_urgent(curr, question.note, question.wanted, now):
            return why
        if time_of_ca(curr, question.note, question.wanted) is not None:
            return _in_window(question, due)
        end = curr.cert.not_after
        chain_end = curr.chain_end if ends_first(curr, question.wanted) else None
        return Reason(Why.DUE, left=end - now, lead=end - due, end=chain_end)
    return Reason(Why.FORCED) if question.forced else None


def _in_window(question: Question, due: datetime) -> Reason:
    """Return that a set is due by what its CA suggests."""
    curr, note = question.curr, question.note
    assert curr is not None
    assert curr.cert is not None
    assert note is not None
    assert note.ari is not None
    left = curr.cert.not_after - question.now
    return Reason(Why.CA_WINDOW, left=left, at=due, begin=note.ari.begin, end=note.ari.end)
