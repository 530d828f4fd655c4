"""When the challenges of a zone are written (I8)."""

from __future__ import annotations

from dataclasses import replace

from sslmd.core.challenges import ChallengesView, Patience, publish_at

PATIENCE = Patience(gather=10.0, linger=5.0, longest=60.0)
QUIET = ChallengesView(None, False, False, False, left_at=0.0, not_before=0.0)
NOW = 1000.0


def test_what_is_handed_in_waits_for_orders_that_are_still_coming() -> None:
    offered = replace(QUIET, offered_at=NOW, differs=True)
    assert publish_at(offered, PATIENCE) == NOW
    assert publish_at(replace(offered, coming=True), PATIENCE) == NOW + 10.0
    # What failed to be taken back holds up no order.
    assert publish_at(replace(offered, not_before=NOW + 60.0), PATIENCE) == NOW


def test_what_nobody_needs_lingers() -> None:
    assert publish_at(QUIET, PATIENCE) is None
    left = replace(QUIET, differs=True, left_at=NOW)
    assert publish_at(left, PATIENCE) == NOW + 5.0
    assert publish_at(replace(left, coming=True), PATIENCE) == NOW + 60.0
    assert publish_at(replace(left, crowded=True), PATIENCE) == NOW + 60.0
    assert publish_at(replace(left, not_before=NOW + 90.0), PATIENCE) == NOW + 90.0
