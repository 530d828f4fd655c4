"""A wall clock that is set under the running daemon (libfaketime)."""

from __future__ import annotations

import pytest

from tests.stand.faketime import faked, needs_faketime
from tests.stand.site import Site


@needs_faketime
@pytest.mark.parametrize(("life", "days"), [(90, 70), (45, 40)])
def test_a_clock_set_forward_leads_to_renewals(site: Site, life: int, days: int) -> None:
    """They renew 30 days before their end, or when a third of their life is left."""
    intermediate = site.conf / "ca" / "my-int"
    text = intermediate.read_text()
    line = next(one for one in text.splitlines() if one.strip().startswith("sign_end_days"))
    intermediate.write_text(text.replace(line, f"    sign_end_days = {life}"))
    offset = site.top / "offset"
    offset.write_text("+0")
    site.start(env=faked(offset))
    before = site.wait_settled()

    offset.write_text(f"+{days}d")
    site.wait_line("the clock was set by")
    leaves = [cert for cert in before if not cert.startswith("ca/")]
    for number, _ in enumerate(leaves, start=1):
        site.wait_line("certificate issued", len(before) + number)
    status = site.status()
    for cert in leaves:
        assert status[cert]["next"] is not None, status[cert]["reason"]
        assert status[cert]["next"]["not_after"] > before[cert]["curr"]["not_after"]

    # And on, past min_roll_mins: they are rolled.
    offset.write_text(f"+{days * 24 + 2}h")
    after = site.wait_settled()
    assert all(after[cert]["curr"] == status[cert]["next"] for cert in leaves)


@needs_faketime
def test_a_clock_set_back_orders_nothing(site: Site) -> None:
    offset = site.top / "offset"
    offset.write_text("+0")
    site.start(env=faked(offset))
    before = {cert: (one["curr"], one["next"]) for cert, one in site.wait_settled().items()}
    offset.write_text("-240s")
    site.wait_line("the clock was set by")
    after = {cert: (one["curr"], one["next"]) for cert, one in site.wait_settled().items()}
    assert after == before
    assert sum("certificate issued" in line for line in site.lines) == len(before)
