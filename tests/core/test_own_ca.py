"""The site's own CAs: what is held, what is renewed, and with which key and name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sslmd.core.errors import Failure, Trouble
from sslmd.core.events import AskDropped, CertIssued, KeyMade, Rolled
from sslmd.core.jobs import Certify, MakeKey, Roll
from sslmd.core.lifecycle import advance
from sslmd.core.names import CertId
from sslmd.core.own_ca import Grip, hold_of, renews_how, signers_of, what_changes
from sslmd.core.plan import decide
from sslmd.core.reason import Reason, Why
from sslmd.core.renewal import Wanted
from sslmd.core.spec import (
    KeySpec,
    KeyType,
    OwnCa,
    Parts,
    SelfSigned,
    SetFacts,
    Subject,
    asks_for,
    parts_asked,
)
from sslmd.core.state import Ask, CertState, Delivered, Phase, Request, SetNote
from sslmd.core.view import CaAbove, Decision, View, due
from sslmd.core.words.sentence import say
from tests.reasons import because
from tests.stand.world import EC, START, days, facts, wanted

NOW = START + days(400)
ROOT_ID, INT_ID = CertId("ca", "root"), CertId("ca", "int")
ROOT = wanted("ca:root", signer=SelfSigned(), life=3650)
INT = wanted("ca:int", signer=OwnCa(ROOT_ID), life=1825)
NOTE = SetNote(0.0, NOW - days(10), "self")
FORCED = Ask(Request.RENEW, NOW, force=True)
NEW_KEY = replace(FORCED, new_key=True)


def ca_set(
    want: Wanted,
    made: float,
    life: float,
    *,
    key: str = "key 1",
    name: str = "",
    parts: Parts = (),
    signer: str = "",
) -> SetFacts:
    """A whole set of a CA, made so many days ago; key and name make its identity."""
    start = NOW - days(made)
    plain = facts(want, start, cert=(start, start + days(life)))
    assert plain.cert is not None
    identity = f"{name or want.spec.id.service}: {key}"
    cert = replace(
        plain.cert, identity=identity, key_id=key, parts=parts or parts_asked(want.spec.subject)
    )
    return replace(plain, cert=cert, key_id=key, signer=signer or identity)


GOOD = ca_set(ROOT, 10, 3650)
GOOD_INT = ca_set(INT, 10, 3650, signer="root: key 1")


def settled(curr: SetFacts | None, next_: SetFacts | None = None, **more: object) -> CertState:
    name = curr.name if curr else None
    phase = Phase.SETTLED
    if next_ is not None:
        phase = Phase.ISSUED if next_.cert else Phase.KEYED
    whole = next_ is not None and next_.complete
    delivered = Delivered(name, next_.name if whole and next_ else None)
    state = CertState(phase, curr, next_, curr_note=NOTE, next_note=SetNote(0.0) if next_ else None)
    return replace(state, deployed=name, settled=name, delivered=delivered, **more)  # type: ignore[arg-type]


def root(curr: SetFacts | None, next_: SetFacts | None = None, **more: object) -> View:
    return View(ROOT, settled(curr, next_, **more))


def below(view: View, curr: SetFacts | None = GOOD_INT, want: Wanted = INT) -> View:
    """The CA that the root signs."""
    return View(want, settled(curr), CaAbove(ROOT_ID, view.wanted, view.state))


def step(view: View) -> Decision:
    return decide(view, NOW)


def test_a_good_ca_is_left_alone() -> None:
    found = step(root(GOOD))
    assert (found.job, found.event, found.alarm) == (None, None, None)
    assert say(found.reason) == "valid"


OTHER_CN = replace(ROOT, spec=replace(ROOT.spec, subject=Subject("another root")))
MORE_PARTS = replace(ROOT, spec=replace(ROOT.spec, subject=Subject("root", unit="Keys")))
OTHER_KEY = replace(ROOT, spec=replace(ROOT.spec, key=KeySpec(KeyType.RSA, bits=4096)))
BROKEN = replace(GOOD, problem="privkey.pem does not match cert.pem", key_id="key 2")
LOST = replace(GOOD, problem="no privkey.pem", key="", key_id="")
NO_CERT = replace(GOOD, problem="cert.pem is not a certificate: it is damaged", cert=None)
BAD_CHAIN = replace(GOOD, problem="chain.pem: the certificate is damaged")


@pytest.mark.parametrize(
    ("curr", "want", "said"),
    [
        (BROKEN, ROOT, "privkey.pem does not match cert.pem"),
        (LOST, ROOT, "no privkey.pem"),
        (NO_CERT, ROOT, "cert.pem is not a certificate"),
        (BAD_CHAIN, ROOT, "chain.pem: the certificate is damaged"),
        (GOOD, OTHER_CN, "CN='another root', its certificate has CN='root'"),
        (GOOD, MORE_PARTS, "OU='Keys'"),
        (GOOD, OTHER_KEY, "asks for a key rsa 4096, it has ec secp384r1"),
    ],
    ids=["files", "key", "cert", "chain", "name", "parts", "kind"],
)
def test_what_would_make_another_root_is_held_with_an_alarm(
    curr: SetFacts, want: Wanted, said: str
) -> None:
    found = decide(replace(root(curr), wanted=want), NOW)
    assert found.job is None
    assert found.event is None
    assert said in say(found.alarm)
    # The way out.
    assert "sslmctl" in say(found.alarm)


@pytest.mark.parametrize("curr", [BROKEN, LOST, NO_CERT], ids=["files", "key", "cert"])
def test_without_its_key_it_is_not_renewed_but_with_another_one(curr: SetFacts) -> None:
    hold = hold_of(root(curr), NOW)
    assert hold is not None
    assert hold.grip is Grip.LOST
    assert "sslmctl renew --force --new-key ca:root" in say(hold.reason)
    dropped = step(root(curr, ask=FORCED))
    assert isinstance(dropped.event, AskDropped)
    made = step(root(curr, ask=NEW_KEY))
    assert made.job == MakeKey(ROOT_ID, made.reason, new_key=True)
    assert made.alarm


def test_with_its_key_an_admin_can_have_its_certificate_made_again() -> None:
    assert isinstance(step(root(BAD_CHAIN, ask=FORCED)).job, MakeKey)
    ahead = replace(GOOD.cert, not_before=NOW + days(1)) if GOOD.cert else None
    doubtful = replace(GOOD, cert=ahead)
    assert step(root(doubtful)).job is None
    assert "clock" in say(step(root(doubtful)).alarm)
    assert isinstance(step(root(doubtful, ask=FORCED)).job, MakeKey)


def test_near_its_end_it_is_renewed_with_its_key() -> None:
    for curr in (ca_set(ROOT, 3000, 3650), ca_set(ROOT, 3700, 3650)):
        found = step(root(curr))
        assert isinstance(found.job, MakeKey)
        assert found.job.reuse
        assert not found.job.new_key
        assert "its key and its name stay" in say(found.reason)
    # Also if the file asks for another key or name meanwhile: the alarm stands beside it.
    for want in (OTHER_CN, OTHER_KEY):
        found = decide(replace(root(ca_set(ROOT, 3000, 3650)), wanted=want), NOW)
        assert isinstance(found.job, MakeKey)
        assert found.job.reuse
        assert found.alarm


@pytest.mark.parametrize("ask", [FORCED, replace(FORCED, reuse=True)])
def test_a_forced_renewal_keeps_the_key_too(ask: Ask) -> None:
    found = step(root(GOOD, ask=ask))
    assert isinstance(found.job, MakeKey)
    assert found.job.reuse
    assert not found.job.new_key


def test_only_an_admin_gives_it_another_key() -> None:
    found = step(root(GOOD, ask=NEW_KEY))
    assert isinstance(found.job, MakeKey)
    assert found.job.new_key
    assert not found.job.reuse
    keyed = replace(ca_set(ROOT, 0, 3650, key="key 2"), cert=None, problem="no cert.pem")
    note = SetNote(0.0, new_key=True)
    state = advance(
        settled(GOOD, ask=NEW_KEY), KeyMade(NOW, keyed, note, because("an admin asked"), kept=False)
    )
    assert isinstance(step(View(ROOT, state)).job, Certify)
    whole = ca_set(ROOT, 0, 3650, key="key 2")
    state = advance(state, CertIssued(NOW, whole, replace(note, issued_at=NOW)))
    later = NOW + timedelta(hours=2)
    state = replace(state, ask=None, phase=Phase.ADVERTISED, advertised=whole.name)
    found = decide(View(ROOT, state), later)
    assert isinstance(found.job, Roll)
    rolled = advance(state, Rolled(later))
    assert rolled.former == {"root: key 1", "root: key 2"}


def test_a_ca_that_lost_its_curr_is_held() -> None:
    found = step(root(None, remains="set 20260101-00:00:00 in certs/ca/root/db"))
    assert found.job is None
    assert "there is set 20260101-00:00:00 in certs/ca/root/db" in say(found.alarm)
    fresh = step(root(None))
    assert fresh.job == MakeKey(ROOT_ID, Reason(Why.NO_CURR))
    asked = step(root(None, remains="a set", ask=NEW_KEY))
    assert isinstance(asked.job, MakeKey)
    assert asked.job.new_key


FOREIGN = ca_set(ROOT, 1, 3650, key="key 2")


def test_a_next_with_another_key_is_not_rolled_by_rule() -> None:
    for view in (root(GOOD, FOREIGN), root(None, FOREIGN, remains="a set"), root(NO_CERT, FOREIGN)):
        found = step(view)
        assert found.job is None
        assert found.event is None
        assert "has another key or name than the CA that was in use" in say(found.alarm)
    forced = Ask(Request.ROLL, NOW, force=True)
    assert isinstance(step(root(GOOD, FOREIGN, ask=forced)).job, Roll)
    ours = ca_set(ROOT, 1, 3650)
    assert isinstance(step(root(GOOD, ours)).job, Roll) or step(root(GOOD, ours)).advertised
    renamed = ca_set(ROOT, 1, 3650, name="root 2")
    assert step(root(GOOD, renamed)).alarm


def test_an_unfinished_next_with_another_key_is_not_finished_by_rule() -> None:
    near = ca_set(ROOT, 3000, 3650)
    other = replace(FOREIGN, cert=None, problem="no cert.pem")
    found = step(root(near, other))
    assert isinstance(found.job, MakeKey)
    assert found.job.reuse
    own = replace(ca_set(ROOT, 1, 3650), cert=None, problem="no cert.pem")
    assert isinstance(step(root(near, own)).job, Certify)


def test_a_leaf_is_finished_with_whatever_key_it_has() -> None:
    """Its `curr` may have lost its certificate: another key is no reason to begin again."""
    web = wanted("example.com:web", signer=OwnCa(INT_ID))
    curr = replace(facts(web, NOW - days(10)), key_id="key 1", problem="no cert.pem")
    next_ = replace(facts(web, NOW), key_id="key 2")
    above = CaAbove(INT_ID, INT, settled(GOOD_INT))
    assert isinstance(decide(View(web, settled(curr, next_), above), NOW).job, Certify)


def test_names_in_its_certificate_never_count() -> None:
    named = replace(GOOD, asked_names=frozenset({"acorn example root"}))
    found = step(root(named))
    assert (say(found.reason), found.alarm) == ("valid", None)


def test_who_signed_an_intermediate_is_decided_by_name_and_key() -> None:
    assert say(step(below(root(GOOD))).alarm) == ""
    other = ca_set(INT, 10, 3650, signer="root: key 0")
    found = step(below(root(GOOD), other))
    assert found.job is None
    assert "its certificate is from another one" in say(found.alarm)
    # An older generation of the same root.
    kept = step(below(root(GOOD, former=frozenset({"root: key 0"})), other))
    assert (say(kept.reason), kept.alarm) == ("valid", None)
    assert signers_of(below(root(GOOD)), None) == {"root: key 1"}
    as_root = replace(INT, spec=replace(INT.spec, signer=SelfSigned()))
    assert "signs itself" in say(step(View(as_root, settled(GOOD_INT))).alarm)


def test_a_leaf_stays_when_its_ca_gets_another_key() -> None:
    web = wanted("example.com:web", signer=OwnCa(INT_ID))
    made = facts(web, NOW - days(10), cert=(NOW - days(10), NOW + days(80)))
    leaf = replace(made, signer="int: key 1")
    servers = frozenset[tuple[str, str]]()
    for ca in (
        settled(GOOD_INT),
        settled(ca_set(INT, 1, 3650, key="key 2"), former=frozenset({"int: key 1"})),
    ):
        found = decide(View(web, settled(leaf), CaAbove(INT_ID, INT, ca), servers), NOW)
        assert (found.job, say(found.reason)) == (None, "valid")
    other = settled(ca_set(INT, 1, 3650, key="key 2"))
    found = decide(View(web, settled(leaf), CaAbove(INT_ID, INT, other), servers), NOW)
    assert isinstance(found.job, MakeKey)
    assert "asks for the CA int" in say(found.reason)


def test_a_generation_of_which_no_set_is_left_is_known_by_its_name_and_its_signer() -> None:
    web = wanted("example.com:web", signer=OwnCa(INT_ID))
    made = facts(web, NOW - days(10), cert=(NOW - days(10), NOW + days(80)))
    name = parts_asked(INT.spec.subject)
    servers = frozenset[tuple[str, str]]()
    ca = CaAbove(INT_ID, INT, settled(GOOD_INT), CaAbove(ROOT_ID, ROOT, settled(GOOD)))
    for above, parts, stays in (
        ("root: key 1", name, True),
        ("root: key 0", name, False),
        ("root: key 1", (("CN", "other"),), False),
    ):
        leaf = replace(made, signer="int: key 0", above=above, issuer_parts=parts)
        found = decide(View(web, settled(leaf), ca, servers), NOW)
        assert (found.job is None) is stays, say(found.reason)


def test_a_ca_is_due_before_what_it_signs_is_cut_short() -> None:
    assert GOOD_INT.cert is not None
    # What it signs lives 1825 days, a third of its own life is less.
    when = due(settled(GOOD_INT), INT)
    assert when == GOOD_INT.cert.not_after - days(3650) / 3
    short = replace(INT, spec=replace(INT.spec, ca=replace(INT.spec.ca, life=days(90))))  # type: ignore[type-var]
    assert due(settled(GOOD_INT), short) == GOOD_INT.cert.not_after - days(90)
    tiny = replace(INT, spec=replace(INT.spec, ca=replace(INT.spec.ca, life=days(7))))  # type: ignore[type-var]
    assert due(settled(GOOD_INT), tiny) == GOOD_INT.cert.not_after - days(30)


def test_the_lead_of_a_ca_is_never_drawn_shorter() -> None:
    spread = replace(INT, timing=replace(INT.timing, spread=days(20)))
    for draw in (-1.0, 0.0, 1.0):
        state = replace(settled(GOOD_INT), curr_note=SetNote(draw))
        when = due(state, spread)
        assert when is not None
        assert GOOD_INT.cert is not None
        assert GOOD_INT.cert.not_after - when >= days(3650) / 3


def test_a_root_is_renewed_before_what_it_signs() -> None:
    old, old_int = ca_set(ROOT, 2500, 3650), ca_set(INT, 2500, 3650, signer="root: key 1")
    waits = step(below(root(old), old_int))
    assert waits.job is None
    assert waits.waits_for_ca
    assert "ca/root" in say(waits.reason)
    # It is due some days later only, and would cut short what it signs now.
    later = root(ca_set(ROOT, 2400, 3650))
    waits = step(below(later, old_int))
    assert waits.job is None
    assert "is renewed first" in say(waits.reason)
    renewed = step(below(root(ca_set(ROOT, 0, 3650)), old_int))
    assert isinstance(renewed.job, MakeKey)
    # Nobody waits for a root that is not renewed.
    alone = replace(later, wanted=replace(ROOT, managed=False))
    assert isinstance(step(below(alone, old_int)).job, MakeKey)


def test_nobody_is_given_an_old_chain_while_its_ca_is_being_renewed() -> None:
    """After a long sleep everything is due or expired: root, then what it signs, then leaves."""
    web = wanted("example.com:web", signer=OwnCa(INT_ID))
    servers = frozenset[tuple[str, str]]()
    old, old_int = ca_set(ROOT, 2500, 3650), ca_set(INT, 2500, 3650, signer="root: key 1")
    leaf = facts(web, NOW - days(90), cert=(NOW - days(90), NOW - days(1)))

    def of(root_: SetFacts, int_: SetFacts, trouble: Trouble | None = None) -> Decision:
        above = CaAbove(ROOT_ID, ROOT, settled(root_))
        ca = CaAbove(INT_ID, INT, settled(int_, trouble=trouble), above)
        return decide(View(web, settled(leaf), ca, servers), NOW)

    assert "waits for its CA ca/int, which is being renewed" in say(of(old, old_int).reason)
    assert of(old, old_int).job is None
    # A CA that fails, or cannot be renewed, is not waited for.
    trouble = Trouble(1, Failure.TRANSIENT, "disk full", NOW, NOW + days(1), INT.fingerprint)
    assert isinstance(of(ca_set(ROOT, 0, 3650), old_int, trouble=trouble).job, MakeKey)
    assert isinstance(of(BROKEN, old_int).job, MakeKey)
    assert isinstance(of(GOOD, GOOD_INT).job, MakeKey)


def test_a_ca_that_stays_the_same_is_rolled_at_once() -> None:
    fresh = ca_set(ROOT, 0, 3650)
    state = settled(ca_set(ROOT, 2500, 3650), fresh, advertised=fresh.name)
    state = replace(state, phase=Phase.ADVERTISED, next_note=SetNote(0.0, NOW, at_end=True))
    assert isinstance(step(View(ROOT, state)).job, Roll)
    asked = replace(state, next_note=SetNote(0.0, NOW))
    assert step(View(ROOT, asked)).job is None


def test_a_certificate_is_due_before_a_ca_in_its_chain_ends() -> None:
    web = wanted("example.com:web", signer=OwnCa(INT_ID))
    leaf = facts(web, NOW - days(10), cert=(NOW - days(10), NOW + days(800)))
    assert due(settled(leaf), web) == NOW + days(770)
    cut = replace(leaf, chain_end=NOW + days(20))
    assert due(settled(cut), web) == NOW + days(10)
    assert step(View(web, settled(replace(cut, chain_end=NOW + days(5))))).job is not None


def test_how_it_is_renewed_is_said() -> None:
    text = renews_how(below(root(GOOD)))
    assert "its key and its name stay; 1216 d before its end" in say(text)
    assert "up to 1825 d" in say(text)
    assert "after its CA ca/root" in say(text)
    assert (
        say(renews_how(View(wanted("example.com:web", signer=OwnCa(INT_ID)), settled(GOOD)))) == ""
    )
    learn = what_changes(root(GOOD))
    assert "every client that trusts CN='root' has to get the new root" in say(learn)
    assert "at their next renewal" in say(what_changes(below(root(GOOD))))


def test_parts_that_a_service_file_cannot_ask_for_do_not_count() -> None:
    has: Parts = (("0.9.2342.19200300.100.1.25", "x"), ("CN", "root"), ("OU", "a"), ("OU", "b"))
    for unit, same in (("a", True), ("b", True), ("c", False), ("", False)):
        assert asks_for(Subject("root", unit=unit), has) is same
    assert not asks_for(Subject("root", unit="a", country="DE"), has)
    assert not asks_for(Subject("root 2", unit="a"), has)


def test_spaces_around_parts_do_not_count() -> None:
    """ssl-mgr signs them as they are written; a service file is read without them."""
    has: Parts = (("CN", " root"), ("L", "  "), ("O", "Acorn  Example "))
    assert asks_for(Subject("root", organization="Acorn  Example"), has)
    assert not asks_for(Subject("root", organization="Acorn Example"), has)
    assert not asks_for(Subject("root", organization="Acorn  Example", locality="Salem"), has)


def test_the_kind_of_key_of_a_new_ca_is_that_of_the_file() -> None:
    keyed = replace(facts(ROOT, NOW), key=str(EC), key_id="key 1")
    assert isinstance(step(root(None, keyed)).job, Certify)
    other = decide(replace(root(None, keyed), wanted=OTHER_KEY), NOW)
    assert isinstance(other.job, MakeKey)


def test_nobody_waits_for_a_ca_that_is_left_alone() -> None:
    """Its notes are of a later version: it is due, and will not be renewed."""
    web = wanted("example.com:web", signer=OwnCa(ROOT_ID))
    gone = facts(web, NOW - days(90), cert=(NOW - days(90), NOW - days(1)))
    near = facts(web, NOW - days(70), cert=(NOW - days(70), NOW + days(20)))
    old = settled(ca_set(ROOT, 2500, 3650))
    for leaf in (gone, near):
        view = View(web, settled(leaf), CaAbove(ROOT_ID, ROOT, old, hold=because("of version 99")))
        assert isinstance(step(view).job, MakeKey)
        waits = step(replace(view, ca=CaAbove(ROOT_ID, ROOT, old)))
        assert waits.waits_for_ca


def test_a_renewal_that_came_out_as_another_ca_is_not_made_again_and_again() -> None:
    near = ca_set(ROOT, 3000, 3650)
    odd = ca_set(ROOT, 0, 3650, key="key 1, written in another way")
    ours = replace(settled(near, odd), next_note=SetNote(0.0, NOW, "self", at_end=True))
    found = step(View(ROOT, ours))
    assert (found.job, found.event) == (None, None)
    assert "has another key or name" in say(found.alarm)
    # What others put there gives way to one with its own key.
    assert isinstance(step(root(near, odd)).job, MakeKey)
    asked = step(View(ROOT, replace(ours, ask=replace(FORCED, replaces=odd.name))))
    assert isinstance(asked.job, MakeKey)
    rolled = step(View(ROOT, replace(ours, ask=Ask(Request.ROLL, NOW, force=True))))
    assert isinstance(rolled.job, Roll)


@pytest.mark.parametrize("left", [timedelta(minutes=30), -days(50)])
def test_nothing_is_signed_below_a_ca_that_ends(left: timedelta) -> None:
    """A CA between it and the root: what is signed below would be due again at once."""
    web = wanted("example.com:web", signer=OwnCa(INT_ID))
    leaf = facts(web, NOW - days(70), cert=(NOW - days(70), NOW + days(20)))
    ca = settled(replace(GOOD_INT, chain_end=NOW + left))
    found = step(View(web, settled(leaf), CaAbove(INT_ID, INT, ca)))
    assert found.job is None
    assert found.waits_for_ca
    assert "a CA above it expire" in say(found.reason)
    good = settled(replace(GOOD_INT, chain_end=NOW + days(3000)))
    assert isinstance(step(View(web, settled(leaf), CaAbove(INT_ID, INT, good))).job, MakeKey)
