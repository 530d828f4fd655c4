"""`sslmctl status --timeline`: lives as lines, and the axis that a page has, too."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sslmd.console.answers import Cert, certs_of
from sslmd.ctl.axis import axis_of
from sslmd.wire.messages import Method
from tests.ctl.fake_daemon import FakeDaemon, on_terminal, result, sslmctl
from tests.ctl.report_samples import HOSTILE, odd_dates
from tests.ctl.samples import cert, failing, one_set, rfc3339, status


def timeline_of(*certs: Any, columns: int = 0, encoding: str = "utf-8") -> list[str]:
    """Return the lines of the certificates."""
    with FakeDaemon({Method.STATUS: result(status(*certs))}) as fake:
        words = ("status", "--timeline", "--socket", fake.path)
        if columns:
            text = on_terminal(*words, columns=columns, NO_COLOR="1", PYTHONIOENCODING=encoding)
        else:
            done = sslmctl(*words)
            assert (done.returncode, done.stderr) == (0, "")
            text = done.stdout
    lines = text.splitlines()
    assert max(map(len, lines)) <= (columns or 80)
    return lines[1 : lines.index("", 1)]


def test_a_line_for_each_in_eighty_columns() -> None:
    long = cert("a-service-with-a-name-that-is-far-too-long-for-eighty-columns")
    well = cert(curr=one_set(60, 90), renew_at=rfc3339(30))
    bad, first, second, *rest = timeline_of(well, failing(curr=one_set(3)), long, cert(HOSTILE))
    assert bad.startswith("✖ example.com/mail-ec")
    assert re.search(r"━+│━*", bad)
    assert bad.endswith("2 d")
    assert all(line.startswith("●") for line in (first, second, *rest))
    assert len(rest) == 1
    (line,) = (line for line in (first, second, *rest) if "example.com/web-ec" in line)
    assert re.search(r" ━+│━+◆╌+ ", line)
    assert "…" in " ".join((first, second, *rest))


def test_the_next_one_and_its_roll() -> None:
    (line,) = timeline_of(
        cert(curr=one_set(30), renew_at=None, next=one_set(89), roll_at=rfc3339(9))
    )
    assert re.search(r"━+│━+▸━+─+", line)


def test_a_terminal_that_has_no_signs_gets_letters() -> None:
    (line,) = timeline_of(cert(), encoding="ascii", columns=80)
    assert line.isascii()
    assert re.search(r"\* example.com/web-ec +=+\|=+R-+ ", line)


def test_a_narrow_terminal() -> None:
    assert timeline_of(cert(), failing(), columns=44)


def test_times_that_no_calendar_has() -> None:
    assert len(timeline_of(*odd_dates())) == 3


def test_nothing_to_draw() -> None:
    with FakeDaemon({Method.STATUS: result(status())}) as fake:
        done = sslmctl("status", "--timeline", "--socket", fake.path)
    assert (done.returncode, done.stdout) == (0, "")


# --- the axis ------------------------------------------------------------------------------

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def living(begin: float, end: float) -> Cert:
    day = timedelta(days=1)
    times = {"not_before": NOW + begin * day, "not_after": NOW + end * day}
    return Cert({"curr": {name: at.isoformat() for name, at in times.items()}})


@pytest.mark.parametrize("days", [6, 90, 398, 3650])
def test_marks_are_as_far_apart_as_they_can_be_read(days: float) -> None:
    axis = axis_of([living(-days / 2, days / 2)] * 10, NOW)
    ticks = axis.ticks(8)
    assert 3 <= len(ticks) <= 8
    moments = [moment for moment, _ in ticks]
    assert moments == sorted(moments)
    assert axis.start <= moments[0]
    assert moments[-1] <= axis.end
    assert 0 < axis.at(NOW) < 1


def test_one_root_does_not_make_days_of_the_others() -> None:
    axis = axis_of([*[living(-30, 60)] * 20, living(-1000, 3000)], NOW)
    assert axis.end - NOW < timedelta(days=70)
    # Nor do a root and a CA below it in a small site.
    axis = axis_of([*[living(-1, 89)] * 4, *[living(-1, 3650)] * 2], NOW)
    assert axis.end - NOW < timedelta(days=200)
    assert axis_of(certs_of(None), NOW).end > NOW
