"""A year of 300 certificates on a virtual clock, with troubles: who hears of what, and how often.

The world is `tests/stand/alarm_world.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from sslmd.core.alarm import Level
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.notices import News, NoticeRule
from sslmd.core.trouble import WARN_SHARE, Severity
from tests.stand.alarm_world import DAY, RULES, AlarmWorld, SimCert

EXPIRY = AlarmKind.EXPIRY


@dataclass
class Year(AlarmWorld):
    """It is checked as it goes. `near`: certificates that came within a sixth of their lives."""

    near: int = 0
    silent: int = 0
    wrong: list[str] = field(default_factory=list)
    _checked: int = 0

    def after_tick(self) -> None:
        for cert in self.failing.values():
            left = cert.ends - self.now
            if cert.life * WARN_SHARE - 2 <= left < cert.life * WARN_SHARE:
                self.near += 1
                self.silent += self.is_silent(cert)
                for name in ("mail", "chat"):
                    if not self.has_heard(name, cert) and not self.is_silent(cert):
                        self.wrong.append(f"{name} was not told of {cert.name} by {self.now:.0f}")
        for name in self.sent:
            if self.sent[name] and self.sent[name][-1].at == self.now:
                self._check_ends(name)

    def has_heard(self, name: str, cert: SimCert) -> bool:
        """Whether a notifier was told that it is not renewed, since it is not."""
        since = cert.failing or 0.0
        return any(
            cert.name in item.alarm.subjects
            for sent in self.sent[name]
            if since <= sent.at
            for item in sent.message.items
            if item.alarm is not None and item.alarm.kind is EXPIRY
        )

    def is_silent(self, cert: SimCert) -> bool:
        names = (cert.name, cert.id.group, EXPIRY)
        return any(one.holds(self.wall()) and one.what in names for one in self.book.silences)

    def _check_ends(self, name: str) -> None:
        """See that nothing was said to be over that is not."""
        failing = {one.name for one in self.failing.values()}
        for item in self.sent[name][-1].message.items:
            some = failing & item.raised.everyone
            if item.news is News.OVER and item.raised.kind is EXPIRY and some:
                self.wrong.append(f"{name}: over for {sorted(some)} at {self.now:.0f}")


def told_too_often(year: Year, rule: NoticeRule) -> list[str]:
    """What was told twice within a day, and was not more urgent."""
    last: dict[str, tuple[float, Level]] = {}
    found = []
    for sent in year.sent[rule.name]:
        at = sent.at + sent.skew
        for item in sent.message.items:
            if item.alarm is None:
                continue
            before, level = last.get(item.id, (-DAY, (Severity.OK, 0)))
            is_soon = at - before < DAY - 1
            if is_soon and item.alarm.level <= level:
                found.append(f"{rule.name}: {item.id} at {before:.0f} and {at:.0f}")
            last[item.id] = at, max(level, item.alarm.level) if is_soon else item.alarm.level
    return found


def without_end(year: Year, rule: NoticeRule) -> list[str]:
    """What was told, and not that it is over."""
    told: dict[tuple[AlarmKind, str], str] = {}
    for sent in year.sent[rule.name]:
        for item in sent.message.items:
            if item.alarm is not None:
                told |= {(item.alarm.kind, name): item.id for name in item.alarm.subjects}
                continue
            ended = {(item.raised.kind, name) for name in item.raised.everyone}
            told = {key: ident for key, ident in told.items()
                    if key not in ended and ident != item.id}  # fmt: skip
    return [f"{rule.name}: {kind} of {name}" for kind, name in told]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_year(seed: int) -> None:
    year = Year(random.Random(seed))
    year.plan(365 * DAY)
    year.run(365 * DAY)
    year.broken.clear()
    year.refuses.clear()
    year.run(367 * DAY)
    assert year.near > 20
    assert year.restarts > 50
    assert year.wrong == []
    for rule in RULES:
        assert len(year.sent[rule.name]) > 100
        assert told_too_often(year, rule) == []
        assert without_end(year, rule) == []
        days = [int(one.at // DAY) for one in year.sent[rule.name]]
        assert max(days.count(day) for day in days) <= 30
    year.run(400 * DAY)
    assert year.book.raised == {}


def test_500_certificates_fail_at_once() -> None:
    """One message tells of all of them, and one that it is over."""
    year = Year(random.Random(0), number=500)
    for cert in year.certs:
        cert.ends = cert.lead
    year.dues = [(cert.due, cert.number) for cert in year.certs]
    year.broken = {("disk", 0)}
    year.run(DAY / 2)
    (sent,) = year.sent["mail"]
    disk, expiry = sent.message.items
    assert disk.raised.kind is AlarmKind.DISK
    assert expiry.alarm is not None
    assert len(expiry.alarm.subjects) == 500
    year.broken.clear()
    year.run(DAY)
    assert len(year.sent["mail"]) == 2
    assert {item.news for item in year.sent["mail"][1].message.items} == {News.OVER}
