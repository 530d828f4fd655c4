"""What a host needs: a table of plain values, and what holds whatever is wanted and found (I1)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.host.needs import (
    Belonging,
    HostWanted,
    Placement,
    is_kept,
    needs,
    would_change,
)
from sslmd.core.jobs import Told
from sslmd.core.names import CertId, SetName
from sslmd.core.state import Server, ServerPhase
from tests.stand.world import START, days

NOW = START
SET, OLD = SetName.at(NOW), SetName.at(NOW - days(60))
WEB, MAIL = CertId("example.com", "web"), CertId("example.com", "mail")
ROOT, OTHER = CertId("ca", "root"), CertId("example.net", "web")
WANTED = HostWanted(
    certs={WEB, ROOT}, keys={WEB}, left_alone={"example.net"}, keep=("example.com/kept",)
)


def there(cert: CertId, *, has_key: bool = True, is_ours: bool = True) -> Belonging:
    return Belonging(str(cert), cert, has_key=has_key, is_ours=is_ours)


# What is found in a tree, and where it ends: removed, or reported.
TABLE = [
    ("granted", there(WEB), ""),
    ("granted, put there by somebody else", there(WEB, is_ours=False), ""),
    ("not granted any more", there(MAIL), "to_go"),
    ("not granted, put there by somebody else", there(MAIL, is_ours=False), "surplus"),
    ("a CA's certificate", there(ROOT, has_key=False), ""),
    ("a CA's key", there(ROOT, is_ours=False), "surplus"),
    ("a CA's key that is noted as ours", there(ROOT), "surplus"),
    ("of an inactive group", there(OTHER), ""),
    ("a key that is no certificate's", Belonging("example.com/old.key"), "surplus"),
    ("a key that is meant", Belonging("example.com/kept/one.key"), ""),
    ("beside what is meant", Belonging("example.com/kept.key"), "surplus"),
]


@pytest.mark.parametrize(("thing", "ends"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_what_is_found_in_a_tree(thing: Belonging, ends: str) -> None:
    found = needs(WANTED, NOW, there=[thing])
    assert found.to_go == ([thing] if ends == "to_go" else [])
    assert found.surplus == ([thing] if ends == "surplus" else [])


def test_a_host_that_is_pruned_loses_what_others_put_there_but_no_granted_certificate() -> None:
    wanted = replace(WANTED, prunes=True)
    foreign, stray = there(MAIL, is_ours=False), Belonging("example.com/old.key")
    found = needs(wanted, NOW, there=[foreign, stray, there(ROOT), there(WEB)])
    assert found.to_go == [foreign]
    assert found.surplus == [there(ROOT), stray]  # keys of CAs first


SERVER = Server("web", "h1", ServerPhase.PENDING)


def placed(cert: CertId, server: Server, *, ready: bool = True) -> Placement:
    return Placement(cert, server, SET if ready else None)


def test_what_is_lacking_restarted_and_looked_at() -> None:
    delivered = replace(SERVER, phase=ServerPhase.DELIVERED, set=SET)
    failed = replace(delivered, kind="imap", phase=ServerPhase.FAILED, next_try=NOW + days(0.5))
    restarted = replace(delivered, kind="smtp", phase=ServerPhase.RESTARTED)
    some = [placed(WEB, one) for one in (SERVER, delivered, failed, restarted)]
    found = needs(WANTED, NOW, some, sights=lambda _cert, _server, now: now)
    told = Told(WEB, SET)
    assert [(one.kind, one.told, one.at) for one in found.lacking] == [("web", told, NOW)]
    assert [(one.kind, one.at) for one in found.restarts] == [
        ("web", NOW),
        ("imap", NOW + days(0.5)),
    ]
    assert [(one.kind, one.at) for one in found.unseen] == [("smtp", NOW)]
    assert needs(WANTED, NOW, some).unseen == []
    # Production comes first, and nobody gets what is not meant for them.
    assert needs(WANTED, NOW, [placed(WEB, SERVER, ready=False)]).lacking == []
    assert needs(WANTED, NOW, [placed(MAIL, SERVER)]).lacking == []


def test_another_name_of_the_machine_would_keep_something() -> None:
    found = needs(WANTED, NOW, there=[there(MAIL)])
    assert would_change(found, HostWanted({MAIL}, {MAIL}))
    assert not would_change(found, HostWanted({WEB}, {WEB}))
    pruned = needs(replace(WANTED, prunes=True), NOW, there=[there(MAIL, is_ours=False)])
    assert would_change(pruned, HostWanted(frozenset(), frozenset()))
    assert not would_change(pruned, HostWanted(frozenset(), frozenset(), prunes=True))


CERTS = st.sampled_from([WEB, MAIL, ROOT, OTHER])
WANTS = st.builds(
    HostWanted,
    st.frozensets(CERTS),
    st.frozensets(st.sampled_from([WEB, MAIL, OTHER])),
    st.frozensets(st.sampled_from(["example.com", "example.net", "ca"])),
    st.booleans(),
    st.lists(st.sampled_from(["example.com", "example.com/web", "ca", "lost"]), max_size=2),
)
THINGS = st.one_of(
    st.builds(there, CERTS, has_key=st.booleans(), is_ours=st.booleans()),
    st.sampled_from(["lost/a.key", "example.com/b.key", "ca/c.key"]).map(
        lambda path: Belonging(path, has_key=True)
    ),
)
SERVERS = st.builds(
    Server,
    st.sampled_from(["web", "smtp"]),
    st.just("h1"),
    st.sampled_from(ServerPhase),
    st.sampled_from([None, OLD, SET]),
    next_try=st.sampled_from([None, NOW - days(1), NOW + days(0.1), NOW + days(300)]),
)
PLACED = st.lists(st.builds(Placement, CERTS, SERVERS, st.sampled_from([None, SET])), max_size=5)


@given(WANTS, PLACED, st.lists(THINGS, max_size=6))
def test_whatever_is_wanted_and_found(
    wanted: HostWanted, placements: list[Placement], things: list[Belonging]
) -> None:
    found = needs(wanted, NOW, placements, things)
    # Nothing that is not granted is ever lacking.
    assert all(one.told.cert in wanted.certs for one in found.lacking)
    # What goes is granted by nothing, and others' goes only where everything of theirs does.
    for thing in found.to_go:
        assert thing.cert is not None
        assert thing.cert not in wanted.certs
        assert thing.is_ours or wanted.prunes
    # Every private key that is not granted is to go, or reported, unless an admin left it there.
    for thing in things:
        granted = thing.cert in wanted.certs and thing.cert in wanted.keys
        is_left = (
            thing.cert is not None
            and thing.cert not in wanted.certs
            and thing.cert.group in wanted.left_alone
        )
        if thing.has_key and not granted and not is_left and not is_kept(thing.path, wanted.keep):
            assert thing in found.to_go or thing in found.surplus


@given(THINGS)
def test_what_is_noted_is_read_again(thing: Belonging) -> None:
    again = Belonging.noted(str(thing))
    assert (again.path, again.has_key) == (thing.path, thing.has_key)
    if thing.cert is not None:
        assert again.cert == thing.cert
