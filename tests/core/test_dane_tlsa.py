"""Which records a zone has to serve: combinations, owners, and what comes first."""

from __future__ import annotations

import hashlib

import pytest

from sslmd.core.dane.tlsa import (
    Combination,
    DaneEntry,
    Known,
    Material,
    Owned,
    Part,
    Tlsa,
    TlsaHosts,
    ZoneContent,
    association,
    combinations_of,
    content_of,
    endpoint_of,
    heeded,
    hosts_of,
    owner_of,
    wants_of,
)
from sslmd.core.names import BadName, CertId, DomainName, ZoneName, parse_san

ZONE = ZoneName("example.com")
MAIL = DomainName("mail.example.com")
OWNER = DomainName("_25._tcp.mail.example.com")
EC, RSA = CertId("example.com", "mail-ec"), CertId("example.com", "mail-rsa")
C311, C312, C301, C211 = (Combination(*map(int, text)) for text in ("311", "312", "301", "211"))


def material(name: str, *, certified: bool = True, issuer: bool = True) -> Material:
    leaf = f"leaf {name}".encode() if certified else None
    above = issuer and certified
    return Material(
        f"key {name}".encode(), leaf, b"ca" if above else None, b"ca key" if above else None
    )


A, B, R = material("a"), material("b"), material("r")


def part(
    *serving: Material,
    coming: Material | None = None,
    wants: frozenset[Combination] = frozenset({C311}),
    cert: CertId = EC,
    ttl: int = 600,
    proven: bool = True,
    kept: frozenset[Owned] = frozenset(),
) -> Part:
    return Part(cert, {OWNER: wants}, ttl, serving, coming, proven, kept)


def known(*combinations: Combination) -> Known:
    return frozenset((OWNER, one) for one in combinations)


def shown(content: ZoneContent) -> set[str]:
    records = content.records[OWNER].records if OWNER in content.records else frozenset()
    return {_told(record) for record in records}


def _told(record: Tlsa) -> str:
    for name in "abr":
        for combination in (C311, C312, C301, C211):
            if association(combination, material(name)) == record:
                return f"{name} {combination}"
    return str(record)


# --- records ---


@pytest.mark.parametrize("usage", range(4))
@pytest.mark.parametrize("selector", range(2))
@pytest.mark.parametrize("match", range(3))
def test_every_combination(usage: int, selector: int, match: int) -> None:
    source = {
        (False, 0): b"leaf a",
        (False, 1): b"key a",
        (True, 0): b"ca",
        (True, 1): b"ca key",
    }[usage in (0, 2), selector]
    data = [source.hex(), hashlib.sha256(source).hexdigest(), hashlib.sha512(source).hexdigest()]
    combination = Combination(usage, selector, match)
    assert association(combination, A) == Tlsa(usage, selector, match, data[match])


def test_what_there_is_nothing_to_make_of() -> None:
    keyed = material("a", certified=False)
    assert association(C311, keyed) is not None
    assert association(C301, keyed) is None
    assert association(C211, keyed) is None
    assert association(C211, material("a", issuer=False)) is None


def test_what_clients_go_by() -> None:
    """RFC 7671 §9: the strongest digest of each usage and selector; type 0 is never put aside."""
    records = {
        text: Tlsa(int(text[0]), int(text[1]), int(text[2]), text[3:])
        for text in ("311aa", "312bb", "312cc", "310dd", "301ee", "211ff")
    }
    heard = {text for text, record in records.items() if record in heeded(records.values())}
    assert heard == set(records) - {"311aa"}
    assert heeded([]) == frozenset()


# --- owners ---


def test_owners() -> None:
    assert owner_of(25, "tcp", MAIL) == OWNER
    assert endpoint_of(OWNER) == (25, "tcp", MAIL)
    for bad in ("mail.example.com", "_x._tcp.example.com", "25._tcp.example.com"):
        with pytest.raises(BadName):
            endpoint_of(DomainName(bad))
    with pytest.raises(BadName):
        owner_of(25, "tcp", DomainName(".".join(["a" * 62] * 4)))


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        (TlsaHosts.MX, ["example.com", "mx1.example.com", "mx2.example.com"]),
        (TlsaHosts.SANS, ["example.com", "www.example.com", "xn--mller-kva.example.com"]),
        (
            (DomainName("b.example.com"), DomainName("a.example.com")),
            ["a.example.com", "b.example.com"],
        ),
    ],
)
def test_hosts(hosts: TlsaHosts | tuple[DomainName, ...], found: list[str]) -> None:
    """Wildcards and addresses have no records, nor do names that are in another's zone."""
    names = [
        parse_san(text)
        for text in (
            "www.example.com",
            "example.com",
            "*.example.com",
            "192.0.2.1",
            "2001:db8::1",
            "example.net",
            "müller.example.com",
            "notexample.com",
        )
    ]
    mx = [DomainName(text) for text in ("mx2.example.com", "mx1.example.com", "mx.example.net")]
    entry = DaneEntry(25, "tcp", 3, 1, 1, hosts)
    assert [host.text for host in hosts_of(entry, ZONE, names, mx)] == found


def test_wants_are_put_together_by_owner() -> None:
    entries = [
        DaneEntry(25, "tcp", 3, 1, 1, (MAIL,)),
        DaneEntry(25, "tcp", 3, 1, 2, (MAIL,)),
        DaneEntry(25, "tcp", 3, 1, 1, (MAIL,)),
        DaneEntry(
            465, "tcp", 3, 1, 1, (MAIL, DomainName(".".join(["a" * 60] * 3) + ".example.com"))
        ),
    ]
    wants = wants_of(entries, ZONE, [], [])
    assert wants[OWNER] == {C311, C312}
    assert wants[DomainName("_465._tcp.mail.example.com")] == {C311}


# --- what comes first ---


def test_first_use_begins_with_the_key_in_use() -> None:
    first = content_of([part(A, coming=B)], known())
    assert shown(first) == {"a 3 1 1"}
    assert first.shares[EC].held == {(OWNER, C311)}
    both = content_of([part(A, coming=B)], known(C311))
    assert shown(both) == {"a 3 1 1", "b 3 1 1"}
    assert both.shares[EC].held == frozenset()
    assert len(both.shares[EC].needed) == 2


def test_first_use_never_begins_with_a_key_on_deck_alone() -> None:
    alone = content_of([part(coming=B)], known())
    assert alone.records == {}


def test_a_first_key_goes_beside_records_of_others_with_their_numbers() -> None:
    """Whose key the port serves meanwhile is not known: they are what clients check (I4)."""
    beside = content_of([part(coming=B)], known(), {OWNER: frozenset({C311})})
    assert shown(beside) == {"b 3 1 1"}
    other = content_of([part(coming=B)], known(), {OWNER: frozenset()})
    assert shown(other) == set()
    assert other.shares[EC].held == {(OWNER, C311)}
    # With a set in use it is that one whose records come first.
    served = content_of([part(A, coming=B)], known(), {OWNER: frozenset({C311})})
    assert shown(served) == {"a 3 1 1"}


def test_first_use_waits_for_every_key_that_servers_were_given() -> None:
    unproven = [part(A), part(R, cert=RSA, proven=False)]
    assert content_of(unproven, known()).records == {}
    assert shown(content_of(unproven, known(C311))) == {"a 3 1 1", "r 3 1 1"}
    assert shown(content_of([part(A), part(R, cert=RSA)], known())) == {"a 3 1 1", "r 3 1 1"}


def test_a_new_combination_begins_with_the_key_in_use() -> None:
    wants = frozenset({C311, C312})
    first = content_of([part(A, coming=B, wants=wants)], known(C311))
    assert shown(first) == {"a 3 1 1", "a 3 1 2", "b 3 1 1"}
    assert first.shares[EC].held == {(OWNER, C312)}
    then = content_of([part(A, coming=B, wants=wants)], combinations_of(first.records))
    assert shown(then) == {"a 3 1 1", "a 3 1 2", "b 3 1 1", "b 3 1 2"}


def test_a_key_without_certificate_gives_what_is_of_the_key_alone() -> None:
    wants = frozenset({C311, C301})
    keyed = part(A, coming=material("b", certified=False), wants=wants)
    content = content_of([keyed], known(C311, C301))
    assert shown(content) == {"a 3 0 1", "a 3 1 1", "b 3 1 1"}
    assert content.shares[EC].held == {(OWNER, C301)}


def test_services_at_one_owner_all_give_every_combination() -> None:
    """RFC 7671 §9: with 3 1 2 for one key alone, clients would refuse the other."""
    parts = [
        part(A, wants=frozenset({C311}), ttl=900),
        part(R, wants=frozenset({C312}), cert=RSA, ttl=300),
    ]
    content = content_of(parts, known(C311))
    assert shown(content) == {"a 3 1 1", "a 3 1 2", "r 3 1 1", "r 3 1 2"}
    assert content.records[OWNER].ttl == 300


def test_every_set_that_may_be_served_has_its_records() -> None:
    assert shown(content_of([part(B, A)], known(C311))) == {"a 3 1 1", "b 3 1 1"}


def test_duplicates_are_there_once() -> None:
    content = content_of([part(A, coming=A), part(A, cert=RSA)], known(C311))
    assert len(content.records[OWNER].records) == 1
    assert content.shares[EC].coming <= content.shares[EC].serving


def test_what_cannot_be_made_of_a_key_in_use_is_published_for_none() -> None:
    """RFC 7671 §8: each combination that is there has to match what is served."""
    wants = frozenset({C311, C211})
    parts = [part(A, coming=B, wants=wants), part(material("r", issuer=False), cert=RSA)]
    content = content_of(parts, known(C311, C211))
    assert shown(content) == {"a 3 1 1", "b 3 1 1", "r 3 1 1"}
    assert content.shares[EC].lacking == {(OWNER, C211)}


def test_records_of_sets_that_cannot_be_read_stay() -> None:
    old = Tlsa(3, 1, 1, "0f")
    lost = part(kept=frozenset({(OWNER, old)}), coming=B)
    content = content_of([lost], known(C311))
    assert shown(content) == {"3 1 1 0f", "b 3 1 1"}
    assert content.shares[EC].serving == {(OWNER, old)}


def test_combinations_of_records_that_stay_are_there_for_every_key() -> None:
    """A client that goes by the strongest digest must not find that of the lost key alone."""
    old = frozenset({(OWNER, Tlsa(3, 1, 2, "0f"))})
    content = content_of([part(A, coming=B, kept=old)], known(C311, C312))
    assert {"a 3 1 2", "b 3 1 2", "3 1 2 0f"} <= shown(content)
    held = content_of([part(A, coming=B, kept=old)], known(C311))
    assert held.shares[EC].held == {(OWNER, C312)}
