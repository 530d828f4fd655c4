"""Helper processes for the start: the same result with them, without them, and when they die."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sslmd.core.errors import Failure, Trouble
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Reason, Why
from sslmd.core.spec import CertFacts, SetFacts
from sslmd.core.state import (
    CertState,
    Delivered,
    Phase,
    Server,
    ServerPhase,
    SetNote,
    Unseen,
)
from sslmd.store.certs import Loaded
from sslmd.store.reading import MANY, helpers_for, read_all
from tests.reasons import because

WHICH = [CertId("example.com", f"s{number}") for number in range(320)]
DAEMON = os.getpid()


def read(which: Sequence[CertId]) -> dict[CertId, Loaded]:
    return {cert: Loaded(CertState(), hold=because(str(cert))) for cert in which}


def read_unless_helper(which: Sequence[CertId]) -> dict[CertId, Loaded]:
    if os.getpid() != DAEMON:
        raise RuntimeError("a bug")
    return read(which)


def die_as_helper(which: Sequence[CertId]) -> dict[CertId, Loaded]:
    if os.getpid() != DAEMON:
        os.kill(os.getpid(), 9)
    return read(which)


@pytest.mark.parametrize("helpers", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 50, 51, 320])
def test_all_are_read_in_their_order(helpers: int, count: int) -> None:
    found = read_all(read, WHICH[:count], helpers)
    assert list(found) == WHICH[:count]
    assert all(one.hold == because(str(cert)) for cert, one in found.items())


@pytest.mark.parametrize("failing", [read_unless_helper, die_as_helper])
def test_what_a_helper_does_not_deliver_is_read_by_the_daemon(
    failing: Callable[[Sequence[CertId]], dict[CertId, Loaded]],
) -> None:
    found = read_all(failing, WHICH, 2)
    assert list(found) == WHICH
    assert all(one.hold == because(str(cert)) for cert, one in found.items())


def _children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_nothing_is_left_behind() -> None:
    before, children = len(os.listdir("/proc/self/fd")), _children()
    read_all(die_as_helper, WHICH, 2)
    read_all(read, WHICH, 2)
    assert len(os.listdir("/proc/self/fd")) == before
    assert _children() == children


def test_helpers_are_for_large_trees_on_several_cores() -> None:
    assert helpers_for(MANY - 1) == 0
    assert helpers_for(MANY) < len(os.sched_getaffinity(0))


def test_what_a_helper_packs_is_what_it_read() -> None:
    at = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    name = SetName.parse("20261130-12:00:00")
    facts = CertFacts("1f", at, at, ("example.com",), "", "CN=ca", "ec secp256r1", is_ca=False)
    reason = Reason(Why.VALID, names=("a", "b"))
    trouble = Trouble(3, Failure.TRANSIENT, "busy", at, at, reason=reason)
    state = CertState(
        phase=Phase.ROLLED,
        curr=SetFacts(name, "ec secp256r1", frozenset({"example.com"}), facts, ""),
        curr_note=SetNote(0.5, at, "my-ca"),
        deployed=name,
        delivered=Delivered(name),
        servers=(
            Server("web", "host", ServerPhase.DELIVERED, name, unseen=Unseen(because("why"))),
        ),
        trouble=trouble,
    )
    loaded = Loaded(state, remarks=[because("odd")], unsaved=True)
    every = read_all(lambda which: dict.fromkeys(which, loaded), WHICH, 1)
    assert all(one == loaded for one in every.values())
