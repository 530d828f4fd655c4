"""What a reload leaves as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sslmd.config.load import load
from sslmd.core.dane.report import DaneReport, Finding
from sslmd.daemon.planner import Planner
from sslmd.daemon.tell.journal import Bus
from tests.stand.tools import Tools, believe


async def test_an_alarm_about_tlsa_records_stands(tools: Tools, tmp_path: Path) -> None:
    """Ports are not looked at by a reload, so it cannot tell that all is well."""
    path = tmp_path / "conf.d/example.com/mail-ec"
    path.write_text(path.read_text().replace("# dane_tls =", "dane_tls ="))
    tools.site.config = load(tmp_path / "conf.d")
    planner = Planner(tools.site, tools.threads, tools.standings, tools.telling, Bus(), 2)
    planner.load()
    cert = next(cert for cert in planner.registry if planner.registry[cert].wanted.dane)
    report = DaneReport(datetime.now(UTC), (Finding("mail:25", "serves another", wrong=True),))
    believe(planner.registry, cert, report=report)
    await planner.reconfigure(load(tmp_path / "conf.d"))
    assert planner.registry[cert].report == report
    await planner.stop(1.0)
