"""What is raised: one alarm for one cause, the most urgent first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sslmd.core.alarm import MOST_CAUSES, Alarm, sketch
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.alarms import (
    KINDS,
    BesideStanding,
    CertStanding,
    Overview,
    alarms_of,
    unknown_of,
)
from sslmd.core.names import CertId
from sslmd.core.reason import noted
from sslmd.core.trouble import CertStatus, ServerStatus, Severity, TroubleKind
from tests.reasons import because

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


def cert(zone: str = "example.com", service: str = "web-ec", *, left: float = 29, error: str = "",
         **more: object) -> CertStanding:  # fmt: skip
    """A certificate of 90 days, due at 30 days left."""
    ends = NOW + left * DAY
    status = CertStatus(
        begins=ends - 90 * DAY, ends=ends, renew_at=ends - 30 * DAY, error=error,
        attempts=1 if error else 0,
    )  # fmt: skip
    names = frozenset({zone, f"www.{zone}"})
    return CertStanding(CertId(zone, service), status, noted(error), names, **more)  # type: ignore[arg-type]


def raised(*certs: CertStanding, now: datetime = NOW) -> list[Alarm]:
    return alarms_of(Overview(certs), now)


def brief(alarms: list[Alarm]) -> list[tuple[AlarmKind, Severity, tuple[str, ...]]]:
    return [(one.kind, one.severity, one.subjects) for one in alarms]


def test_each_trouble_makes_an_alarm() -> None:
    assert set(KINDS) == set(TroubleKind)


def test_what_is_well_raises_nothing() -> None:
    assert raised(cert(left=31), cert(left=30)) == []


def test_who_fails_for_one_reason_shares_an_alarm() -> None:
    text = "zone {0}: ns2.{0} (192.0.2.{1}) lacks _acme-challenge.www.{0} TXT after {1} min"
    zones = [f"site{number}.example" for number in range(100)] + ["example.com"]
    some = [cert(zone, error=text.format(zone, number)) for number, zone in enumerate(zones)]
    (alarm,) = raised(*some)
    assert alarm.subjects == tuple(sorted(f"{zone}:web-ec" for zone in zones))
    # The same one, whoever of them it is, and after a restart.
    assert raised(some[7])[0].id == raised(some[100])[0].id == alarm.id
    other = cert("other.example", error="zone other.example: its primary is silent")
    assert raised(other)[0].id != alarm.id


def test_the_most_urgent_comes_first() -> None:
    alarms = raised(
        cert("a.example", left=20, error="down"),
        cert("b.example", left=3, error="no such account"),
        cert("c.example", left=14, error="refused"),
    )
    assert [one.subjects for one in alarms] == [
        ("b.example:web-ec",), ("c.example:web-ec",), ("a.example:web-ec",),
    ]  # fmt: skip
    assert [one.severity for one in alarms] == [CRITICAL, WARNING, WARNING]
    assert alarms[0].ends == NOW + 3 * DAY


@pytest.mark.parametrize(
    ("left", "step"), [(29, 0), (10.1, 0), (10, 1), (5.1, 1), (5, 2), (3, 3), (0.1, 3), (0, 4)]
)
def test_it_grows_louder_by_the_time_that_there_was(left: float, step: int) -> None:
    (alarm,) = raised(cert(left=left, error="down"))
    assert alarm.first.step == step
    assert alarm.id == raised(cert(left=29, error="down"))[0].id


def test_a_failure_of_a_server_is_about_its_host() -> None:
    status = CertStatus(
        begins=NOW - DAY, ends=NOW + 89 * DAY, attempts=2, error="web on www1: exited with 1",
        about="web on www1",
        servers=[
            ServerStatus("web", "www1", "failed", error="exited with 1", attempts=2),
            ServerStatus("web", "www2", "pending", error="no route", attempts=1),
        ],
    )  # fmt: skip
    some = [CertStanding(CertId(f"site{number}.example", "web"), status) for number in range(3)]
    served, host = raised(*some)
    assert (served.kind, len(served.subjects)) == (AlarmKind.NOT_SERVED, 3)
    assert served.affected[0].places == ("www1",)
    assert (host.kind, host.subjects) == (AlarmKind.HOST, ("www2",))


def test_a_first_certificate_that_does_not_come() -> None:
    status = CertStatus(attempts=3, error="refused")
    (alarm,) = raised(CertStanding(CertId("example.com", "web"), status, noted("refused")))
    assert brief([alarm]) == [(AlarmKind.NEVER_ISSUED, CRITICAL, ("example.com:web",))]


def test_what_stands_beside_certificates() -> None:
    beside = [
        BesideStanding(AlarmKind.HOST, "www1", noted("www1: timed out after 30 s")),
        BesideStanding(AlarmKind.DISK, "/var/lib/sslmd", noted("no space left")),
        BesideStanding(AlarmKind.DANE, "a.example", noted("zone a.example: rndc exited with 1")),
        BesideStanding(AlarmKind.DANE, "b.example", noted("zone b.example: rndc exited with 1")),
    ]
    assert brief(alarms_of(Overview((), beside), NOW)) == [
        (AlarmKind.DISK, CRITICAL, ("/var/lib/sslmd",)),
        (AlarmKind.DANE, WARNING, ("a.example", "b.example")),
        (AlarmKind.HOST, WARNING, ("www1",)),
    ]
    (again,) = alarms_of(
        Overview((), [BesideStanding(AlarmKind.HOST, "www1", noted("www1: refused"))]), NOW
    )
    assert again.id == alarms_of(Overview((), beside), NOW)[2].id


def test_what_was_not_looked_at_is_not_known() -> None:
    dane = cert(left=60, dane=True)
    seen = cert("b.example", left=60, dane=True, compared=NOW)
    part = cert("c.example", left=60, dane=True, compared=NOW, unseen=[because("ns1: not asked")])
    found = unknown_of(Overview([dane, seen, part]), NOW)
    assert (AlarmKind.DANE, "example.com:web-ec") in found
    assert (AlarmKind.DANE, "b.example:web-ec") not in found
    assert (AlarmKind.DANE, "c.example:web-ec") in found
    (blind,) = raised(part)
    assert blind.kind is AlarmKind.BLIND


def test_who_is_left_alone_is_not_known_to_renew() -> None:
    status = CertStatus(begins=NOW - DAY, ends=NOW + 89 * DAY, error="its state file is odd")
    held = CertStanding(CertId("example.com", "web"), status)
    assert (AlarmKind.EXPIRY, "example.com:web") in unknown_of(Overview([held]), NOW)
    assert brief(raised(held)) == [(AlarmKind.HELD, WARNING, ("example.com:web",))]


def test_what_was_not_compared_for_days_is_told() -> None:
    (alarm,) = raised(cert(left=60, dane=True, compared=NOW - 3 * DAY))
    assert alarm.kind is AlarmKind.BLIND


def test_notes_that_cannot_be_written() -> None:
    status = CertStatus(begins=NOW - DAY, ends=NOW + 89 * DAY, error="no space left")
    some = [
        CertStanding(CertId(f"site{n}.example", "web"), status, unsaved="no space left")
        for n in range(2)
    ]
    assert brief(raised(*some)) == [
        (AlarmKind.NOTES, WARNING, ("site0.example:web", "site1.example:web"))
    ]


def test_more_causes_than_anybody_reads_are_one() -> None:
    words = [f"{chr(97 + n // 26 % 26)}{chr(97 + n % 26)} fails" for n in range(500)]
    alarms = raised(
        *(cert(f"site{n}.example", error=text) for n, text in enumerate(words)),
        *(cert(f"many{n}.example", error="the CA is down") for n in range(5)),
    )
    assert len(alarms) == MOST_CAUSES
    assert sorted(len(one.subjects) for one in alarms)[-2:] == [5, 402]


def test_words_of_others_of_any_kind_have_a_sketch() -> None:
    names = frozenset({"example.com"})
    assert sketch("Mail.Example.COM: 3 of 4 said no", names) == "* # of # said no"
    assert sketch("/etc/ssl/example.com/web: gone", names) == "* gone"
    assert (
        sketch("notexample.com and example.com.org", names) == "notexample.com and example.com.org"
    )
    assert sketch("", names) == ""
    assert sketch("\u202e \n\r ;;; ...", names)
    assert len(sketch("x " * 100_000, names)) < 1000


def test_ten_thousand_certificates() -> None:
    """Many certificates, all in trouble, make few alarms."""
    certs = [cert(f"site{number}.example", error="the CA is down") for number in range(10_000)]
    (alarm,) = raised(*certs)
    assert len(alarm.subjects) == 10_000


def test_a_server_that_keeps_an_old_certificate_grows_louder() -> None:
    found = []
    for left in (20, 9, 4, 2, -1):
        server = ServerStatus("web", "www1", "pending", error="no route", ends=NOW + left * DAY)
        status = CertStatus(begins=NOW - DAY, ends=NOW + 89 * DAY, servers=[server])
        server.attempts = 1
        (alarm,) = raised(CertStanding(CertId("example.com", "web"), status))
        assert alarm.ends == NOW + left * DAY
        found.append(alarm.level)
    assert found == sorted(set(found))
    assert found[-1] == (CRITICAL, 4)
