"""The track of renewing: from a reason to renew to a `next` that is rolled into `curr`.

Keeps I6 (each certificate is decided alone) and, with the CA's state at hand, the rule that a
CA comes before what it signs.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sslmd.core.dane.gate import lost_sight
from sslmd.core.errors import CLOCK_TOLERANCE
from sslmd.core.events import AskDropped, Lost
from sslmd.core.jobs import Certify, MakeKey, Order, PutBack, Rolling, TakeOff
from sslmd.core.limits import failed_too_often
from sslmd.core.names import SetName
from sslmd.core.own_ca import Grip, Hold, hold_of, is_another, is_known, signers_of
from sslmd.core.reason import Ended, Reason, Said, Why
from sslmd.core.renewal import (
    ROLL_MARGIN,
    Question,
    Wanted,
    signs_until,
    why_renew,
    why_unusable,
    why_urgent,
    why_useless,
)
from sslmd.core.roll_wait import rolling
from sslmd.core.spec import AcmeCa, OwnCa, SelfSigned, SetFacts
from sslmd.core.state import Ask, CertState, Phase, Request
from sslmd.core.view import CaAbove, Decision, View, blocking, due, told

# An admin asked for it, and for nothing that has to be waited for.
FORCED = frozenset({Why.FORCED, Why.ANOTHER})

# A CA this close to its end signs nothing: what it signed would be gone before it is rolled.
MIN_CA_LIFE = timedelta(hours=1)

# A leaf waits for a CA that is being replaced, rather than be cut short by the old one, while
# it has this share of the time between its renewal and its expiry left.
PATIENCE = 1 / 2


def renewing(view: View, now: datetime) -> Decision:
    """Return the next step towards a new `curr`."""
    hold, state, next_ = hold_of(view, now), view.state, view.state.next
    renew_time = due(state, view.wanted)
    if state.phase is Phase.ADVERTISED and (lost := lost_sight(view)):
        alarm = hold.reason if hold is not None else None
        return Decision(lost, event=Lost(now, lost), renew_at=renew_time, alarm=alarm)
    back = state.ask.back if state.ask is not None else None
    if back is not None:
        step = _going_back(view, back, now)
    elif next_ is not None and next_.name == state.off_deck:
        off = Reason(Why.OFF_DECK, set=next_.name)
        step = Decision(off, job=TakeOff(view.wanted.spec.id, next_.name, off))
    elif next_ is not None and next_.complete:
        step = _on_deck(view, hold, now)
    else:
        step = _making(view, hold, now)
    alarm = step.alarm or (hold.reason if hold is not None else None)
    step = replace(step, renew_at=renew_time, alarm=alarm)
    stuck = blocking(state.trouble, view.wanted, now)
    if stuck is not None and stuck.binding and isinstance(step.job, Rolling):
        stuck = None  # what a CA asked for: it is not asked
    if stuck is None or step.job is None:
        return step
    wake_at = stuck.next_try
    if next_ is not None and next_.cert is not None and now < next_.cert.not_after < wake_at:
        wake_at = next_.cert.not_after  # then it is of no use any more
    return replace(step, reason=told(stuck), job=None, wake_at=wake_at, stuck=stuck)


# One for thousands of certificates.
_VALID = Reason(Why.VALID)


def _dropped(now: datetime, why: Reason) -> Decision:
    """What an admin asked for is not done."""
    return Decision(why, event=AskDropped(now, why))


def _making(
    view: View, hold: Hold | None, now: datetime, useless: Reason | None = None
) -> Decision:
    """Nothing usable is on deck: is it time to make it, and can its CA sign?

    `useless`: why what is on deck will never go live.
    """
    state, wanted, ask = view.state, view.wanted, view.state.ask
    if ask is not None and ask.what is Request.ROLL:
        return _dropped(now, useless or Reason(Ended.NOTHING_ON_DECK))
    forced = ask is not None and ask.force
    # That a CA is renewed all the same takes an admin who says so.
    may = ask is not None and ask.new_key
    if hold is not None and hold.grip is not Grip.LOST:
        may = hold.grip is not Grip.DOUBTFUL or forced
    if hold is not None and not may:
        if ask is not None:
            return _dropped(now, hold.reason)
        return Decision(Reason(Why.LEFT, why=hold.reason), alarm=hold.reason)
    reason = why_renew(
        Question(state.curr, state.curr_note, wanted, signers_of(view, state.curr), forced, now)
    )
    if reason is None:
        if ask is not None:
            return _dropped(now, Reason(Ended.NOT_DUE, until=due(state, wanted)))
        settled = state.curr is not None and state.settled == state.curr.name
        if wanted.next_ahead and state.next is None and settled:
            ahead = Reason(Why.AHEAD)
            return Decision(ahead, job=MakeKey(wanted.spec.id, ahead))
        left = useless
        if wanted.next_ahead and state.next is not None:
            left = _ahead(view)
        elif left is None and state.next is not None:
            left = Reason(Why.UNFINISHED_NEXT)
        return Decision(_VALID.also(left), wake_at=due(state, wanted))
    if state.next is None or _replaces(ask, state) or not _finishes(view, state.next):
        return _new_set(view, now, reason.also(useless))
    if wait := _ca_wait(view, now, reason):
        return wait
    get = Order if isinstance(wanted.spec.signer, AcmeCa) else Certify
    return Decision(reason, job=get(wanted.spec.id, state.next.name, reason))


def _finishes(view: View, next_: SetFacts) -> bool:
    """Whether the unfinished set on deck is what is wanted, and of a CA, that CA."""
    if not can_finish(next_, view.wanted):
        return False
    if view.wanted.spec.ca is None:
        return True
    if view.state.curr is None:
        return next_.key == str(view.wanted.spec.key)
    return not is_another(view.state, next_)


def _new_set(view: View, now: datetime, why: Reason) -> Decision:
    curr, ask = view.state.curr, view.state.ask
    if is_known(view):
        # A CA that was in use keeps its key, unless an admin asked for another.
        new_key = ask is not None and ask.new_key
        at_end = why.code not in FORCED and not new_key
        told_so = why.also(Reason(Why.CA_NEW_KEY if new_key else Why.CA_KEEPS_KEY))
        job = MakeKey(view.wanted.spec.id, told_so, not new_key, new_key=new_key, at_end=at_end)
        return _ca_wait(view, now, why) or Decision(told_so, job=job)
    reuse = ask is not None and ask.reuse
    keep = not reuse and _keeps(view)
    if reuse and (curr is None or curr.key != str(view.wanted.spec.key)):
        return _dropped(now, Reason(Ended.NO_KEY_TO_REUSE, key=str(view.wanted.spec.key)))
    if wait := _ca_wait(view, now, why):
        return wait
    if view.wanted.dane and (reuse or keep):
        why = why.also(Reason(Why.KEEPS_CURR_KEY if reuse else Why.KEEPS_AHEAD_KEY))
    return Decision(why, job=MakeKey(view.wanted.spec.id, why, reuse, keep))


def _keeps(view: View) -> bool:
    """Whether the key on deck was made ahead, for another request than what is wanted now."""
    next_, wanted = view.state.next, view.wanted
    return (
        wanted.next_ahead
        and next_ is not None
        and next_.cert is None
        and next_.key == str(wanted.spec.key)
        and not _replaces(view.state.ask, view.state)
    )


def _ahead(view: View) -> Reason:
    """Return how far the records of a key are that was made ahead."""
    sighting = view.state.sighting
    if sighting is None or view.state.next is None or sighting.set != view.state.next.name:
        return Reason(Why.AHEAD_PUBLISHING)
    if sighting.complete:
        return Reason(Why.AHEAD_SEEN)
    if sighting.since is None:
        return Reason(Why.AHEAD_MISSING, missing=sighting.missing)
    return Reason(Why.AHEAD_SINCE, since=sighting.since)


def can_finish(facts: SetFacts, wanted: Wanted) -> bool:
    """Whether an unfinished set has a key and a CSR that fit what is wanted.

    Whoever makes one looks here before he puts it on deck: the plan makes another in place of
    one that does not fit, at once.
    """
    if wanted.spec.ca is not None:
        # A CA has the key that it had, and is known by no other name than its subject.
        return facts.cert is None and facts.has_key
    if facts.cert is not None or facts.key != str(wanted.spec.key):
        return False
    return facts.asked_names == wanted.names


def _on_deck(view: View, hold: Hold | None, now: datetime) -> Decision:
    """A complete `next` is on deck: roll it, wait, or replace it."""
    state, wanted, ask = view.state, view.wanted, view.state.ask
    next_ = state.next
    assert next_ is not None
    assert next_.cert is not None
    if _replaces(ask, state):
        return _new_set(view, now, Reason(Why.ANOTHER))
    useless = why_useless(next_, state.next_note, wanted, signers_of(view, next_), now)
    soon = now + max(wanted.timing.min_roll, ROLL_MARGIN)
    if useless and (useless.code is not Why.NOT_YET_VALID or next_.cert.not_before > soon):
        # It never goes live. Its successor is made when there is something to renew for.
        return _making(view, hold, now, Reason(Why.NEXT_USELESS, why=useless))
    if odd := _odd_next(view):
        if is_another(state, next_) and _is_ours(state) and ask is None:
            # With its key and its name, and yet another one: so would be the next.
            return Decision(odd, alarm=odd)
        return replace(_making(view, hold, now, odd), alarm=odd)
    urgent = why_urgent(next_, state.next_note, wanted, now)
    asked_roll = ask is not None and ask.what is Request.ROLL and ask.force
    # Servers without a certificate are worse off than with one that will be revoked.
    waits = asked_roll or why_unusable(state.curr, now) is not None
    if urgent and urgent.get("again") is None and not waits:
        return _new_set(view, now, urgent)
    if ask is not None and ask.what is Request.RENEW:
        return _dropped(now, Reason(Ended.ALREADY_ON_DECK, set=next_.name))
    if useless:
        # The CA's clock is ahead of ours: another one would be no better.
        wake_at = next_.cert.not_before - CLOCK_TOLERANCE
        return Decision(Reason(Why.ON_DECK).also(useless), wake_at=wake_at)
    return rolling(view, now)


def _odd_next(view: View) -> Reason | None:
    """Return why a complete `next` that was found on deck is not rolled by rule, None if it is.

    An admin can roll it all the same.
    """
    state, ask = view.state, view.state.ask
    curr, next_ = state.curr, state.next
    if ask is not None and ask.what is Request.ROLL and ask.force:
        return None
    if next_ is None or next_.cert is None:
        return None
    arg = view.wanted.spec.id.arg
    if is_another(state, next_):
        root = isinstance(view.wanted.spec.signer, SelfSigned)
        return Reason(Why.ANOTHER_CA_ON_DECK, set=next_.name, root=root, arg=arg)
    if curr is None or curr.cert is None:
        return None
    if (
        not _is_ours(state)
        and next_.cert.not_before < curr.cert.not_before
        and next_.name < curr.name
    ):
        return Reason(Why.OLDER_ON_DECK, set=next_.name, curr=curr.name, arg=arg)
    return None


def _is_ours(state: CertState) -> bool:
    """Whether the set on deck got its certificate from us."""
    return state.next_note is not None and bool(state.next_note.ca)


def _going_back(view: View, back: SetName, now: datetime) -> Decision:
    """An admin wants an older set to be in use again, whatever the service file asks for now.

    It is rolled as any other: its TLSA records are published and waited for.
    """
    state, cert = view.state, view.wanted.spec.id
    if state.curr is not None and state.curr.name == back:
        return _dropped(now, Reason(Ended.IN_USE, set=back))
    if state.next is None or state.next.name != back:
        goes = Reason(Why.GOES_BACK, set=back)
        return Decision(goes, job=PutBack(cert, back, goes))
    if problem := why_not_back(state.next, now):
        return _dropped(now, problem)
    return rolling(view, now)


def why_not_back(back: SetFacts, now: datetime) -> Reason | None:
    """Return why a set cannot be gone back to, None if it can be.

    Only what keeps it from being served: what the service file asks for now is no reason.
    """
    useless = why_unusable(back, now)
    return Reason(Ended.NOT_BACK, set=back.name, why=useless) if useless is not None else None


def why_again(view: View, back: SetFacts, now: datetime) -> Reason | None:
    """Return why an older set is renewed as soon as it is in use again, None if it is not."""
    note = view.state.prev_note if back.name == view.state.prev else None
    return why_renew(
        Question(back, note, view.wanted, signers_of(view, back), forced=False, now=now)
    )


def _replaces(ask: Ask | None, state: CertState) -> bool:
    """Whether an admin asked for another `next` in place of just this one."""
    return (
        ask is not None
        and ask.what is Request.RENEW
        and ask.force
        and state.next is not None
        and ask.replaces == state.next.name
    )


# --- its CA ------------------------------------------------------------------------------


def _ca_wait(view: View, now: datetime, why: Reason) -> Decision | None:
    """Return what has to be waited for before the CA can sign, None if it can.

    Only what is merely due is patient with a CA that is being renewed: another reason is the
    admin's wish, and may not wait for weeks if that CA's renewal fails.
    """
    signer = view.wanted.spec.signer
    if isinstance(signer, AcmeCa):
        # Keep clear of the failures that a CA counts: not even an admin goes past this.
        rate, failed = view.wanted.failed_rate, (*view.state.failed, *view.failed)
        worst = failed_too_often(failed, view.wanted.names, now, rate)
        if worst is None or rate is None:
            return None
        name, again = worst
        limit = Reason(
            Why.CA_LIMIT,
            until=again,
            ca=signer.name,
            name=name,
            times=max(rate.most - 1, 1),
            every=rate.every,
        )
        return Decision(limit, wake_at=again, looks_again=again, stuck=view.state.trouble)
    ca = view.ca
    if not isinstance(signer, OwnCa) or ca is None or ca.wanted is None or ca.state is None:
        return None  # a root signs itself; what is unknown is for the issuer to complain of
    curr = ca.state.curr
    unusable = why_unusable(curr, now)
    end = signs_until(curr) if curr is not None else None
    if unusable is None and curr is not None and curr.cert is not None and end is not None:
        if end - now >= MIN_CA_LIFE:
            if why.code in FORCED:
                return None
            patience = _patience(view, ca, now) if why.code is Why.DUE else None
            if patience or not _progresses(ca, now):
                return patience
            # That takes seconds. After a long sleep all are due at once, and what it signs is to
            # have its new certificate.
            made_now = Reason(Why.CA_RENEWED_NOW, ca=ca.id)
            return Decision(made_now, waits_for_ca=True, ca_is_made=True)
        above = end != curr.cert.not_after
        trouble: Reason = Reason(Why.CA_ENDS, above=above, over=end <= now, at=end)
    elif unusable is not None:
        trouble = unusable
    else:
        trouble = Reason(Why.NO_CERTIFICATE, set=curr.name if curr is not None else "")
    if not ca.wanted.managed:
        return None  # nobody will fix it: let the attempt fail and be reported
    stuck = blocking(ca.state.trouble, ca.wanted, now)
    if stuck is not None:
        trouble = Reason(Why.CA_STUCK, why=stuck.reason or Said(stuck.text), at=stuck.next_try)
    made = stuck is None and _progresses(ca, now)
    waits = Reason(Why.CA_WAITS, ca=ca.id, why=trouble)
    return Decision(waits, waits_for_ca=True, stuck=stuck, ca_is_made=made)


def _progresses(ca: CaAbove, now: datetime) -> bool:
    """Whether a CA, or the one that it waits for, has something to do that needs no waiting."""
    if ca.wanted is None or ca.state is None or not ca.renewed:
        return False
    step = renewing(View(ca.wanted, ca.state, ca.above), now)
    if step.job or step.event or step.advertised:
        return True
    return step.waits_for_ca and ca.above is not None and _progresses(ca.above, now)


def _patience(view: View, ca: CaAbove, now: datetime) -> Decision | None:
    """Wait for a CA that is about to be replaced, if being cut short can be avoided."""
    assert ca.wanted is not None
    assert ca.state is not None
    curr, ca_curr = view.state.curr, ca.state.curr
    ca_due = due(ca.state, ca.wanted)
    end = signs_until(ca_curr) if ca_curr is not None else None
    if curr is None or curr.cert is None or end is None:
        return None
    if ca.wanted.spec.ca is None or ca_due is None or why_unusable(curr, now):
        return None
    if not ca.renewed or end >= now + ca.wanted.spec.ca.life:
        return None  # nobody will give it a longer life, or nothing would be cut short
    renewing = ca_due <= now or ca.state.phase in (Phase.KEYED, Phase.ISSUED, Phase.ADVERTISED)
    my_due = due(view.state, view.wanted)
    assert my_due is not None
    lead = max(curr.cert.not_after - my_due, timedelta())
    give_up = curr.cert.not_after - lead * PATIENCE
    soon = ca_due <= give_up
    if now >= give_up or not (renewing or soon):
        return None
    waits = Reason(Why.CA_RENEWED_FIRST, ca=ca.id, at=ca_due, until=give_up)
    if renewing:
        waits = Reason(Why.CA_RENEWED_NOW, ca=ca.id, until=give_up)
    return Decision(waits, wake_at=give_up, waits_for_ca=True)
