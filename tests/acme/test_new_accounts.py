"""New accounts keep to the limit of their CA, over restarts, whoever makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.acme.account_homes import Home
from sslmd.acme.certbot import AcmeServer
from sslmd.acme.new_accounts import NewAccounts
from sslmd.config.model import Validation
from sslmd.core.buckets import Rate
from sslmd.core.errors import Paced, RateLimited
from sslmd.core.holds import AccountMade, Holds
from sslmd.core.reason import Why
from sslmd.store.note_kinds import HOLDS_NOTE, HoldsNote

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SERVER = AcmeServer(
    "https://ca.test/dir", None, Validation.DNS_01, ca="le", account_rate=Rate(2, HOUR)
)
OTHER = AcmeServer("https://other.test/dir", None, Validation.DNS_01, account_rate=Rate(1, HOUR))
OWN = Home("/certs/example.com/web/cb", is_shared=False)


class Case:
    def __init__(self, note: Path) -> None:
        self.note, self.now, self.holds = note, NOW, Holds()
        self.new = NewAccounts(self.holds, lambda: self.now, self._write)
        self.heard: list[AccountMade] = []
        self.new.made = lambda made, _: self.heard.append(made)
        for made in HOLDS_NOTE.read(str(note)).made:
            self.holds.account_made(made)
        for hold in HOLDS_NOTE.read(str(note)).hold:
            self.holds.add(hold, self.now)

    async def _write(self) -> None:
        note = HoldsNote(self.holds.noted(), tuple(self.holds.accounts_made()))
        HOLDS_NOTE.write(str(self.note), note)


async def test_so_many_and_then_one_after_the_other_over_restarts(tmp_path: Path) -> None:
    case = Case(tmp_path / "holds.toml")
    for _ in range(2):
        case.new.check(SERVER)
        await case.new.count(SERVER, OWN)
    assert len(case.heard) == 2
    case = Case(tmp_path / "holds.toml")
    case.new.check(OTHER)
    with pytest.raises(Paced) as paced:
        case.new.check(SERVER)
    assert paced.value.reason.code is Why.CA_PACED
    assert paced.value.reason["limit"] == paced.value.limit == "accounts"
    assert paced.value.retry_at is not None
    assert paced.value.retry_at - NOW == pytest.approx(HOUR / 2, abs=timedelta(seconds=1))
    case.now = paced.value.retry_at
    case.new.check(SERVER)


async def test_a_ca_without_a_limit_makes_as_many_as_it_wants(tmp_path: Path) -> None:
    case = Case(tmp_path / "holds.toml")
    unlimited = AcmeServer("https://any.test/dir", None, Validation.DNS_01)
    for _ in range(20):
        case.new.check(unlimited)
        await case.new.count(unlimited, OWN)


async def test_a_refusal_holds_the_next_ones_over_restarts_and_is_no_failure(
    tmp_path: Path,
) -> None:
    case = Case(tmp_path / "holds.toml")
    await case.new.refused(SERVER, RateLimited("no more", "accounts", retry_at=NOW + HOUR))
    case = Case(tmp_path / "holds.toml")
    with pytest.raises(Paced, match="no more") as paced:
        case.new.check(SERVER)
    assert paced.value.retry_at == NOW + HOUR
    case.now += HOUR
    case.new.check(SERVER)
