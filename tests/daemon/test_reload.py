"""What a reload leaves as it is, and a request that cannot be noted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sslmd.config.load import load
from sslmd.core.dane.report import DaneReport, Finding
from sslmd.core.names import CertId
from sslmd.core.state import Ask, Request
from sslmd.daemon.api.asking import Asking
from sslmd.daemon.hub import Hub
from sslmd.daemon.ledger import Ledger
from sslmd.daemon.tell.journal import Bus
from tests.reasons import because
from tests.stand.tools import Tools, believe


async def test_an_alarm_about_tlsa_records_stands(tools: Tools, tmp_path: Path) -> None:
    """Ports are not looked at by a reload, so it cannot tell that all is well."""
    path = tmp_path / "conf.d/example.com/mail-ec"
    path.write_text(path.read_text().replace("# dane_tls =", "dane_tls ="))
    tools.site.config = load(tmp_path / "conf.d")
    hub = Hub(tools.site, tools.threads, tools.standings, tools.telling, Bus(), 2)
    hub.load()
    cert = next(cert for cert in hub.registry if hub.registry[cert].wanted.dane)
    report = DaneReport(
        datetime.now(UTC), (Finding("mail:25", because("serves another"), wrong=True),)
    )
    believe(hub.registry, cert, report=report)
    await hub.reconfigure(load(tmp_path / "conf.d"))
    assert hub.registry[cert].report == report
    await hub.stop(1.0)


async def test_a_request_is_dropped_if_an_error_of_our_own_keeps_it_from_being_noted(
    tools: Tools,
) -> None:
    hub = Hub(tools.site, tools.threads, tools.standings, tools.telling, Bus(), 2)
    hub.load()
    cert = next(iter(hub.registry))

    class Broken(Ledger):
        async def written(self, cert: CertId) -> None:
            raise KeyError("a bug")

    hub.ledger = Broken(tools.site, lambda _: None, lambda *_: None)
    with pytest.raises(KeyError):
        await Asking(hub).ask(cert, Ask(Request.RENEW, datetime.now(UTC), force=True))
    assert hub.registry[cert].state.ask is None
