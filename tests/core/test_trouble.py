"""What is trouble with a certificate: one rule, whoever asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sslmd.core.trouble import CertStatus, ServerStatus, Severity, TroubleKind, failed, troubles

NOW = datetime(2030, 1, 1, tzinfo=UTC)
BEGINS, ENDS = NOW - timedelta(30), NOW + timedelta(60)
WEB = ServerStatus("web", "www1", "failed", error="down", attempts=1)


def kinds(cert: CertStatus) -> list[TroubleKind]:
    return [trouble.kind for trouble in troubles(cert, NOW)]


def test_a_certificate_that_is_well() -> None:
    cert = CertStatus(begins=BEGINS, ends=ENDS, servers=[ServerStatus("web", "www1", "proven")])
    assert (kinds(cert), failed(cert, NOW)) == ([], False)


def test_what_is_told_once() -> None:
    """A failure that stands at its server, or that is the set's own, is no second trouble."""
    cert = CertStatus(
        begins=BEGINS, ends=ENDS, attempts=1, error="web on www1: down", about=WEB.place,
        servers=[WEB, ServerStatus("web", "www2", "failed", error="down")],
    )  # fmt: skip
    assert kinds(cert) == [TroubleKind.FAILED, TroubleKind.SERVER]
    cert = CertStatus(unusable="odd", error="odd: put it back", about=CertStatus.SET)
    assert kinds(cert) == [TroubleKind.HELD]


@pytest.mark.parametrize(
    ("cert", "kind", "is_failure"),
    [
        (CertStatus(begins=BEGINS, ends=NOW), TroubleKind.EXPIRY, False),
        (CertStatus(), TroubleKind.NO_CERT, False),
        (CertStatus(begins=BEGINS, ends=ENDS, unused=True), TroubleKind.NO_SERVER, False),
        (CertStatus(begins=BEGINS, ends=ENDS, dane=(["x"], [])), TroubleKind.DANE, True),
        (CertStatus(begins=BEGINS, ends=ENDS, dane=([], ["x"])), TroubleKind.DANE_WARNING, False),
        (CertStatus(begins=BEGINS, ends=ENDS, error="left alone"), TroubleKind.HELD, True),
    ],
)
def test_what_failed_and_what_is_a_matter_of_time(
    cert: CertStatus, kind: TroubleKind, is_failure: bool
) -> None:
    assert (kinds(cert), failed(cert, NOW)) == ([kind], is_failure)


def test_a_first_certificate_on_its_way_is_no_trouble() -> None:
    assert kinds(CertStatus(is_made=True)) == []
    (trouble,) = troubles(CertStatus(is_made=True, attempts=1, error="no"), NOW)[1:]
    assert (trouble.kind, trouble.severity) == (TroubleKind.FAILED, Severity.WARNING)


@pytest.mark.parametrize(("left", "severity"), [(30, 1), (14, 1), (8, 2), (-1, 2), (None, 1)])
@pytest.mark.parametrize("about", ["", WEB.place])
def test_a_server_with_an_old_certificate_grows_worse(
    left: int | None, severity: int, about: str
) -> None:
    ends = NOW + timedelta(left) if left is not None else None
    server = ServerStatus("web", "www1", "failed", error="down", attempts=1, ends=ends)
    attempts = 1 if about else 0
    cert = CertStatus(
        begins=BEGINS, ends=ENDS, servers=[server], attempts=attempts, error="down", about=about
    )
    assert troubles(cert, NOW)[0].severity == severity
