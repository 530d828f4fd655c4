"""A CA counts failed validations of a name over all certificates of an account."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from sslmd.config.model import CaAccount, CaInfo, CaKind
from sslmd.core.holds import Holds
from sslmd.core.names import CertId
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, FailedValidation
from sslmd.daemon.pacing import Pacing
from sslmd.daemon.registry import Registry, Taken, entry_of
from tests.stand.tools import Tools

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
WEB, MAIL = CertId("example.com", "web-ec"), CertId("example.com", "mail-ec")
FAILED = (FailedValidation("example.com", NOW),)


def test_failures_count_for_the_account(tools: Tools) -> None:
    registry = Registry()
    site = tools.site
    for account, counted in ((CaAccount.SHARED, FAILED), (CaAccount.OWN, ())):
        ca = CaInfo("le", CaKind.ACME, server="https://ca.example/dir", account=account)
        site.config = replace(site.config, cas={**site.config.cas, "le": ca})
        pacing = Pacing(site, registry, lambda _: None, Holds())
        for cert, failed in ((WEB, FAILED), (MAIL, ())):
            state = CertState(failed=failed)
            entry = entry_of(site.config, site.config.services[cert], state, None)
            spec = replace(entry.wanted.spec, signer=AcmeCa("le"))
            wanted = replace(entry.wanted, spec=spec)
            registry.put(cert, Taken(replace(entry, wanted=wanted)))
        assert pacing.failed(MAIL) == counted
        assert pacing.failed(WEB) == ()
    assert isinstance(registry[WEB].state.failed, tuple)
