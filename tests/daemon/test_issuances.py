"""Own issuances are counted, and told before the CA refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sslmd.acme.attempt import Attempt
from sslmd.acme.certbot import AcmeServer
from sslmd.config.model import LETS_ENCRYPT, CaInfo, CaKind, Validation
from sslmd.core.errors import Transient
from sslmd.core.limits import Issuances, names_mark
from sslmd.core.names import CertId, SetName
from sslmd.core.spec import AcmeCa, CertFacts, SetFacts
from sslmd.core.state import CertState, Issuance, SetNote
from sslmd.core.words.sentence import say
from sslmd.daemon.registry import Entry, Registry, Taken, entry_of
from sslmd.store.layout import OrderFolders
from sslmd.workers.may_order import check_issued
from sslmd.workers.tools import wanted_of
from tests.stand.tools import Tools, believe

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
PRIVATE = "https://acme.example.net/directory"
WEB, MAIL = CertId("example.com", "web-ec"), CertId("example.com", "mail-ec")
CAS = {
    name: CaInfo(name, CaKind.ACME, server=server, preferred_profile=profile)
    for name, server, profile in (
        ("le", LETS_ENCRYPT, ""),
        ("le-short", LETS_ENCRYPT, "shortlived"),
        ("private", PRIVATE, ""),
    )
}
NAMES = ("example.com", "www.example.com")


@pytest.fixture
def registry(tools: Tools) -> Registry:
    """Two certificates for the same names, by two tables of the same CA."""
    registry = Registry()
    for cert, ca in ((WEB, "le"), (MAIL, "le-short")):
        entry = entry_of(tools.site.config, tools.site.config.services[cert], CertState(), None)
        spec = replace(entry.wanted.spec, signer=AcmeCa(ca))
        wanted = replace(entry.wanted, spec=spec, names=frozenset(NAMES))
        registry.put(cert, Taken(replace(entry, wanted=wanted)))
    return registry


def issue(registry: Registry, cert: CertId, number: int, *, server: str = LETS_ENCRYPT) -> None:
    made = tuple(
        Issuance(f"{cert}{one}", server, names_mark(NAMES), NOW - timedelta(hours=1))
        for one in range(number)
    )
    state = registry[cert].state
    believe(registry, cert, state=replace(state, issued=(*state.issued, *made)))


def counted(registry: Registry) -> Issuances:
    servers = {name: ca.server for name, ca in CAS.items()}
    return Issuances(registry.entries.values(), lambda name: servers.get(name, ""), NOW)


def remark(registry: Registry, entry: Entry) -> str:
    return say(counted(registry).remark(entry.wanted))


def test_four_of_five_used_and_then_it_would_be_refused(registry: Registry) -> None:
    assert remark(registry, registry[WEB]) == ""
    issue(registry, WEB, 3)
    issue(registry, MAIL, 1)  # over all accounts
    assert remark(registry, registry[WEB]).startswith("4 of 5 used at Let's Encrypt: certificates")
    assert counted(registry).exhausted(registry[WEB].wanted) is None
    issue(registry, MAIL, 2)
    for cert in (WEB, MAIL):
        refused = counted(registry).exhausted(registry[cert].wanted)
        assert refused is not None
        text = say(refused[0])
        assert text.startswith("5 of 5 used: Let's Encrypt issues 5 certificates a week")
        assert text.endswith("it allows the next at 2026-06-02 20:36:00 UTC")
        assert refused[1] == datetime(2026, 6, 2, 20, 36, tzinfo=UTC)


def test_other_names_and_other_servers_do_not_count(registry: Registry) -> None:
    issue(registry, WEB, 5, server="https://acme-staging-v02.api.letsencrypt.org/directory")
    assert counted(registry).spent(registry[WEB].wanted) == counted(registry).spent(
        registry[MAIL].wanted
    )
    assert remark(registry, registry[WEB]) == ""
    issue(registry, WEB, 5)
    other = replace(registry[MAIL].wanted, names=frozenset({"example.com"}))
    believe(registry, MAIL, wanted=other)
    assert counted(registry).exhausted(registry[WEB].wanted) is not None
    assert counted(registry).exhausted(other) is None


def test_where_the_limit_is_not_known_nobody_is_kept_out(registry: Registry) -> None:
    wanted = registry[WEB].wanted
    wanted = replace(wanted, spec=replace(wanted.spec, signer=AcmeCa("private")))
    believe(registry, WEB, wanted=wanted)
    issue(registry, WEB, 3, server=PRIVATE)
    assert remark(registry, registry[WEB]) == ""
    believe(registry, WEB, state=CertState())
    issue(registry, WEB, 4, server=PRIVATE)
    assert remark(registry, registry[WEB]).startswith(
        "4 of 5 used, if this CA has the limit of Let's"
    )
    believe(registry, WEB, state=CertState())
    issue(registry, WEB, 9, server=PRIVATE)
    assert counted(registry).exhausted(wanted) is None
    assert counted(registry).known(wanted) is None, "nothing of a limit that nobody knows"


def test_sets_of_a_tree_without_notes_count(registry: Registry) -> None:
    """As they were left by an older version: each certificate once, and those of other CAs not."""
    state = registry[WEB].state

    def facts(serial: str, days: float) -> SetFacts:
        at = NOW - timedelta(days=days)
        key = "ec secp256r1"
        end = at + timedelta(days=90)
        cert = CertFacts(serial, at, end, NAMES, "", "CN=R1", key, is_ca=False)
        return SetFacts(SetName.at(at), key, frozenset(NAMES), cert, "")

    state = replace(state, curr=facts("a1", 0.2), next=facts("b2", 0.1))
    believe(registry, WEB, state=state)
    assert remark(registry, registry[WEB]).startswith("2 of 5 used")
    noted = Issuance("b2", LETS_ENCRYPT, names_mark(NAMES), NOW - timedelta(days=0.1))
    state = replace(state, issued=(noted,))
    believe(registry, WEB, state=state)
    assert remark(registry, registry[WEB]).startswith("2 of 5 used")
    state = replace(state, curr_note=SetNote(0.0, None, "my-int"))
    believe(registry, WEB, state=state)
    assert remark(registry, registry[WEB]).startswith("1 of 5 used")


def test_an_order_counts_the_certificates_of_the_same_names_too(
    registry: Registry, tools: Tools
) -> None:
    """The daemon's own orders keep to what `force-renew` is told."""
    tools.standings.every = registry.entries.values
    tools.site.now = lambda: NOW
    tools.site.config = replace(tools.site.config, cas={**tools.site.config.cas, **CAS})
    service = tools.site.config.services[WEB]
    spec = replace(service.spec, signer=AcmeCa("le"))
    service = replace(service, spec=spec)
    believe(registry, WEB, wanted=wanted_of(service, tools.site.config))
    made = names_mark(registry[WEB].wanted.names)
    issued = tuple(Issuance(f"{one}", LETS_ENCRYPT, made, NOW) for one in range(5))
    server = AcmeServer(LETS_ENCRYPT, None, Validation.DNS_01)
    attempt = Attempt(service, server, OrderFolders("", ""), b"")
    believe(registry, MAIL, state=replace(registry[MAIL].state, issued=issued[:4]))
    check_issued(attempt, tools.ordering)
    believe(registry, MAIL, state=replace(registry[MAIL].state, issued=issued))
    with pytest.raises(Transient, match="5 of 5 used: Let's Encrypt issues 5") as refused:
        check_issued(attempt, tools.ordering)
    assert refused.value.retry_at == NOW + timedelta(hours=33, minutes=36)
    check_issued(replace(attempt, trial="test"), tools.ordering)


def test_sets_of_an_own_ca_do_not_count(tools: Tools) -> None:
    """Its table in ca-info.conf has a server, which nobody asks."""
    config = replace(tools.site.config, cas=CAS | {"own": replace(CAS["le"], kind=CaKind.SELF)})
    assert config.acme_server("le") == LETS_ENCRYPT
    assert config.acme_server("own") == ""
