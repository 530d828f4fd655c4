"""Own issuances are counted, and told before the CA refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sslmd.acme.certbot import Place, Server
from sslmd.config.model import LETS_ENCRYPT, CaInfo, CaKind, Validation
from sslmd.core.errors import Transient
from sslmd.core.facts import CertFacts, SetFacts
from sslmd.core.issuances import Issuances
from sslmd.core.limits import names_mark
from sslmd.core.names import CertId, SetName
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, Issuance, SetNote
from sslmd.daemon.book import Book, Entry, entry_of
from sslmd.workers.acme_before import Attempt, check_issued
from sslmd.workers.tools import Tools, wanted_of

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
PRIVATE = "https://acme.example.net/directory"
WEB, MAIL = CertId("example.com", "web-ec"), CertId("example.com", "mail-ec")
CAS = {
    name: CaInfo(name, "", CaKind.ACME, Validation.DNS_01, server=server, preferred_profile=profile)
    for name, server, profile in (
        ("le", LETS_ENCRYPT, ""),
        ("le-short", LETS_ENCRYPT, "shortlived"),
        ("private", PRIVATE, ""),
    )
}
NAMES = ("example.com", "www.example.com")


@pytest.fixture
def book(tools: Tools) -> Book:
    """Two certificates for the same names, by two tables of the same CA."""
    book = Book()
    for cert, ca in ((WEB, "le"), (MAIL, "le-short")):
        entry = entry_of(tools.config, tools.config.services[cert], CertState(), "")
        spec = replace(entry.wanted.spec, signer=AcmeCa(ca))
        entry.wanted = replace(entry.wanted, spec=spec, names=frozenset(NAMES))
        book.entries[cert] = entry
    return book


def issue(book: Book, cert: CertId, number: int, *, server: str = LETS_ENCRYPT) -> None:
    made = tuple(
        Issuance(f"{cert}{one}", server, names_mark(NAMES), NOW - timedelta(hours=1))
        for one in range(number)
    )
    entry = book[cert]
    entry.state = replace(entry.state, issued=(*entry.state.issued, *made))


def counted(book: Book) -> Issuances:
    servers = {name: ca.server for name, ca in CAS.items()}
    return Issuances(book.entries.values(), lambda name: servers.get(name, ""), NOW)


def remark(book: Book, entry: Entry) -> str:
    return counted(book).remark(entry.wanted)


def test_four_of_five_used_and_then_it_would_be_refused(book: Book) -> None:
    assert remark(book, book[WEB]) == ""
    issue(book, WEB, 3)
    issue(book, MAIL, 1)  # over all accounts
    assert remark(book, book[WEB]).startswith("4 of 5 used at Let's Encrypt: certificates")
    assert counted(book).exhausted(book[WEB].wanted) is None
    issue(book, MAIL, 2)
    for cert in (WEB, MAIL):
        refused = counted(book).exhausted(book[cert].wanted)
        assert refused is not None
        assert refused[0].startswith("5 of 5 used: Let's Encrypt issues 5 certificates a week")
        assert refused[0].endswith("it allows the next at 2026-06-02 20:36:00 UTC")
        assert refused[1] == datetime(2026, 6, 2, 20, 36, tzinfo=UTC)


def test_other_names_and_other_servers_do_not_count(book: Book) -> None:
    issue(book, WEB, 5, server="https://acme-staging-v02.api.letsencrypt.org/directory")
    assert counted(book).spent(book[WEB].wanted) == counted(book).spent(book[MAIL].wanted)
    assert remark(book, book[WEB]) == ""
    issue(book, WEB, 5)
    entry = book[MAIL]
    entry.wanted = replace(entry.wanted, names=frozenset({"example.com"}))
    assert counted(book).exhausted(book[WEB].wanted) is not None
    assert counted(book).exhausted(entry.wanted) is None


def test_where_the_limit_is_not_known_nobody_is_kept_out(book: Book) -> None:
    entry = book[WEB]
    entry.wanted = replace(entry.wanted, spec=replace(entry.wanted.spec, signer=AcmeCa("private")))
    issue(book, WEB, 3, server=PRIVATE)
    assert remark(book, entry) == ""
    entry.state = CertState()
    issue(book, WEB, 4, server=PRIVATE)
    assert remark(book, entry).startswith("4 of 5 used, if this CA has the limit of Let's")
    entry.state = CertState()
    issue(book, WEB, 9, server=PRIVATE)
    assert counted(book).exhausted(entry.wanted) is None


def test_sets_of_a_tree_without_notes_count(book: Book) -> None:
    """As they were left by an older version: each certificate once, and those of other CAs not."""
    entry = book[WEB]

    def facts(serial: str, days: float) -> SetFacts:
        at = NOW - timedelta(days=days)
        key = "ec secp256r1"
        end = at + timedelta(days=90)
        cert = CertFacts(serial, at, end, NAMES, "", "CN=R1", key, is_ca=False)
        return SetFacts(SetName.at(at), key, frozenset(NAMES), cert, "")

    entry.state = replace(entry.state, curr=facts("a1", 0.2), next=facts("b2", 0.1))
    assert remark(book, entry).startswith("2 of 5 used")
    noted = Issuance("b2", LETS_ENCRYPT, names_mark(NAMES), NOW - timedelta(days=0.1))
    entry.state = replace(entry.state, issued=(noted,))
    assert remark(book, entry).startswith("2 of 5 used")
    entry.state = replace(entry.state, curr_note=SetNote(0.0, None, "my-int"))
    assert remark(book, entry).startswith("1 of 5 used")


def test_an_order_counts_the_certificates_of_the_same_names_too(book: Book, tools: Tools) -> None:
    """The daemon's own orders keep to what `force-renew` is told."""
    tools.every = book.entries.values
    tools.now = lambda: NOW
    tools.config = replace(tools.config, cas={**tools.config.cas, **CAS})
    service = tools.config.services[WEB]
    spec = replace(service.spec, signer=AcmeCa("le"))
    service = replace(service, spec=spec)
    book[WEB].wanted = wanted_of(service, tools.config)
    made = names_mark(book[WEB].wanted.names)
    issued = tuple(Issuance(f"{one}", LETS_ENCRYPT, made, NOW) for one in range(5))
    server = Server(LETS_ENCRYPT, None, Validation.DNS_01)
    attempt = Attempt(service, server, Place("", ""), b"")
    book[MAIL].state = replace(book[MAIL].state, issued=issued[:4])
    check_issued(attempt, tools)
    book[MAIL].state = replace(book[MAIL].state, issued=issued)
    with pytest.raises(Transient, match="5 of 5 used: Let's Encrypt issues 5") as refused:
        check_issued(attempt, tools)
    assert refused.value.retry_at == NOW + timedelta(hours=33, minutes=36)
    check_issued(replace(attempt, label="test: "), tools)


def test_sets_of_an_own_ca_do_not_count(tools: Tools) -> None:
    """Its table in ca-info.conf has a server, which nobody asks."""
    config = replace(tools.config, cas=CAS | {"own": replace(CAS["le"], kind=CaKind.SELF)})
    assert config.acme_server("le") == LETS_ENCRYPT
    assert config.acme_server("own") == ""
