"""One zone with TLSA records: what it wishes for, and what it makes of what is seen (I4)."""

from __future__ import annotations

from dataclasses import replace

from sslmd.config.model import NextKey, ServiceConfig
from sslmd.core.dane.content import CertWish, Given, Wish, ZoneNotes, cert_wish, content_for
from sslmd.core.dane.judging import dane_of
from sslmd.core.dane.look import sight, take
from sslmd.core.dane.sighting import Instant, NameServersSeen, OwnerSeen, TlsaSeen
from sslmd.core.dane.tlsa import Content, DaneEntry, Material, TlsaSet, association
from sslmd.core.dane.verdict import Everywhere, HeldBack
from sslmd.core.dane.zone import KnownZone
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.spec import SelfSigned
from sslmd.core.state import CertState, Phase
from sslmd.core.view import Decision
from sslmd.core.words.sentence import say
from sslmd.daemon.registry import Entry
from tests.reasons import because
from tests.stand.world import START, days, facts, wanted

ZONE = ZoneName("example.com")
CERT = CertId("example.com", "mail")
MAIL = DomainName("mail.example.com")
OWNER = DomainName("_25._tcp.mail.example.com")
PLAIN = DaneEntry(25, "tcp", 3, 1, 1, (MAIL,))
WANTED = wanted(str(CERT), signer=SelfSigned(), dane=True)
SERVICE = ServiceConfig(WANTED.spec, WANTED.timing, "f", (PLAIN,), 600, NextKey.AT_RENEW)
CURR = facts(WANTED, START, cert=(START, START + days(90)))
NEXT = facts(WANTED, START + days(1), cert=(START, START + days(91)))


def material(name: object) -> Material:
    return Material(f"key {name}".encode(), f"leaf {name}".encode(), b"issuer", b"issuer key")


def wish_of(state: CertState) -> CertWish:
    entry = Entry(WANTED, frozenset(), state, None, Decision(because("test")))
    return cert_wish(entry, SERVICE.dane, SERVICE.dane_ttl)


def test_what_another_service_left_stays_until_the_new_one_is_proven() -> None:
    """A service was given another name: what its port serves is known to DNS alone."""
    old = association(PLAIN.combination, material("old"))
    assert old is not None
    content: Content = {OWNER: TlsaSet(600, frozenset({old}))}
    notes = ZoneNotes(known=frozenset({(OWNER, PLAIN.combination)}), ttl=600)
    fresh = CertState()
    on_deck = replace(fresh, next=NEXT)
    rolled = CertState(curr=NEXT)
    for state in (fresh, on_deck, rolled):
        wish = Wish(ZONE, (wish_of(state),))
        found, _, notes = content_for(wish, notes, content, lambda _, name: material(name))
        content = found.records
        assert old in content[OWNER].records
    proven = Wish(ZONE, (wish_of(replace(rolled, deployed=NEXT.name)),))
    found, _, _ = content_for(proven, notes, content, lambda _, name: material(name))
    assert found.records[OWNER].records == {association(PLAIN.combination, material(NEXT.name))}


def test_only_what_is_not_known_otherwise_is_kept() -> None:
    retired = (CURR.name,)
    assert not wish_of(CertState(curr=NEXT, retired=retired)).unsure
    assert not wish_of(CertState(curr=CURR, settled=CURR.name)).unsure
    assert wish_of(CertState(retired=retired)).unsure


# --- what is seen ---

STRONG = replace(PLAIN, match=2)
OTHER = DaneEntry(443, "tcp", 3, 1, 1, (MAIL,))
WEB_OWNER = DomainName("_443._tcp.mail.example.com")
BOTH = CertState(phase=Phase.ISSUED, curr=CURR, next=NEXT, deployed=CURR.name, settled=CURR.name)


def zone_with(service: ServiceConfig, notes: ZoneNotes) -> KnownZone:
    """A zone after it was published, with a set on deck."""
    wish = Wish(
        ZONE,
        (
            cert_wish(
                Entry(WANTED, frozenset(), BOTH, None, Decision(because(""))),
                service.dane,
                service.dane_ttl,
            ),
        ),
    )
    content, materials, notes = content_for(wish, notes, {}, lambda _, name: material(name))
    zone = KnownZone(ZONE, frozenset({CERT}), notes, wish, wish)
    return replace(zone, given=Given(content, materials, notes, {}, None, (), True, ()))


def seen(zone: KnownZone, content: Content) -> NameServersSeen:
    owners = {
        owner: OwnerSeen(content[owner].records, content[owner].ttl, START + days(400))
        if owner in content
        else OwnerSeen()
        for owner in zone.owners()
    }
    at = Instant("boot", 100.0)
    return NameServersSeen((TlsaSeen("192.0.2.1", owners),), at, at, START)


def test_a_key_that_was_rolled_by_force_is_not_known_for_being_retired() -> None:
    """There by force, back, and there again at once: caches never had its record."""
    notes = ZoneNotes(known=frozenset({(OWNER, PLAIN.combination)}), ttl=600)
    state = replace(BOTH, retired=(NEXT.name,), deployed=None, settled=None)
    entry = Entry(WANTED, frozenset(), state, None, Decision(because("")))
    wish = Wish(ZONE, (cert_wish(entry, SERVICE.dane, SERVICE.dane_ttl),))
    content, materials, notes = content_for(wish, notes, {}, lambda _, name: material(name))
    zone = KnownZone(ZONE, frozenset({CERT}), notes, wish, wish)
    zone = replace(zone, given=Given(content, materials, notes, {}, None, (), True, ()))

    def unchanged() -> bool:
        dane = dane_of(zone, CERT, entry)
        return isinstance(dane, Everywhere) and dane.since is None

    assert not unchanged()
    first = seen(zone, zone.content)
    zone = take(zone, first)
    assert not unchanged()
    later = Instant("boot", 100.0 + 1300.0)
    zone = take(zone, replace(first, began=later, ended=later))
    assert unchanged()  # for twice the TTL everybody has seen it
    one = zone.content[OWNER]
    zone = take(zone, seen(zone, {OWNER: replace(one, records=frozenset(list(one.records)[:1]))}))
    assert not unchanged()


def test_an_owner_that_is_refused_holds_up_no_other() -> None:
    """I6: an update-policy that knows one of two owners, say."""
    service = replace(SERVICE, dane=(PLAIN, OTHER))
    zone = zone_with(service, ZoneNotes(known=frozenset()))
    there = {owner: some for owner, some in zone.content.items() if owner == OWNER}
    zone = take(zone, seen(zone, there))
    assert zone.notes is not None
    assert zone.notes.known == frozenset({(OWNER, PLAIN.combination)})


def test_a_stronger_digest_that_is_still_shown_keeps_a_set_back() -> None:
    """RFC 7671 §9: clients would go by that one, which the set on deck does not have."""
    notes = ZoneNotes(known=frozenset({(OWNER, PLAIN.combination)}))
    zone = zone_with(SERVICE, notes)
    zone = take(zone, seen(zone, zone.content))
    well = sight(zone, CERT, BOTH)[0]
    assert well is not None
    assert well.since is not None
    stale = association(STRONG.combination, material(CURR.name))
    assert stale is not None
    some = zone.content[OWNER]
    zone = take(zone, seen(zone, {OWNER: replace(some, records=some.records | {stale})}))
    badly = sight(zone, CERT, BOTH)[0]
    assert badly is not None
    assert badly.since is None
    assert "stronger digest" in say(badly.missing)


def test_what_the_set_on_deck_has_no_record_of_is_told() -> None:
    """Not that it is published first for the key in use: that would never end."""
    issuer = replace(PLAIN, usage=2)
    notes = ZoneNotes(known=frozenset({(OWNER, issuer.combination)}))
    service = replace(SERVICE, dane=(issuer,))
    entry = Entry(WANTED, frozenset(), BOTH, None, Decision(because("")))
    wish = Wish(ZONE, (cert_wish(entry, service.dane, service.dane_ttl),))

    def of(_: CertId, name: object) -> Material:
        one = material(name)
        return replace(one, issuer=None, issuer_key=None) if name == NEXT.name else one

    content, materials, notes = content_for(wish, notes, {}, of)
    zone = KnownZone(ZONE, frozenset({CERT}), notes, wish, wish)
    zone = replace(zone, given=Given(content, materials, notes, {}, None, (), True, ()))
    dane = dane_of(zone, CERT, entry)
    assert isinstance(dane, HeldBack)
    assert "cannot be made of the set on deck" in say(dane.why)
