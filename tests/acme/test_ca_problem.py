"""What the network process tells of a CA's trouble: the error that is raised, and its sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sslmd.acme.ca_problem import ca_error, directory_error, unvalidated
from sslmd.acme.problems import to_error
from sslmd.core.errors import Permanent, Transient, ValidationFailed
from sslmd.core.failed import Failed
from sslmd.net.acme_messages import AcmeProblem, Authorization, Subproblem

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
CA = "https://ca.test:14000/dir"
ORDER = "https://ca.test:14000/order"


@pytest.mark.parametrize(
    ("problem", "kind", "said"),
    [
        (
            AcmeProblem("acme", ORDER, 400, "rejectedIdentifier", detail="not evil.test"),
            Permanent,
            "the CA ca.test:14000 says: not evil.test (rejectedIdentifier);",
        ),
        (
            AcmeProblem("acme", ORDER, 400, "invalidProfile", detail="no such profile"),
            Permanent,
            "no such profile (invalidProfile)",
        ),
        (
            AcmeProblem(
                "acme",
                ORDER,
                403,
                "compound",
                detail="several",
                subproblems=(Subproblem("caa", "CAA forbids", "a.test"),),
            ),
            Permanent,
            "a.test: CAA forbids",
        ),
        (
            # What step-ca answers where it is asked for another key of an account.
            AcmeProblem("acme", ORDER, 501, "rejectedIdentifier", detail="not implemented"),
            Permanent,
            "not implemented (rejectedIdentifier); this CA does not offer that",
        ),
        (AcmeProblem("acme", ORDER, 500, "serverInternal", detail="oops"), Transient, "oops"),
        (AcmeProblem("http", ORDER, 503), Transient, f"the CA at {ORDER} answers 503 Service"),
        (
            AcmeProblem("unreachable", CA, type="no-answer", detail="30"),
            Transient,
            f"the CA at {CA} cannot be reached: ",
        ),
        (
            AcmeProblem("unreachable", CA, type="system", detail="Connection refused"),
            Transient,
            "cannot be reached: Connection refused",
        ),
        (
            AcmeProblem("unreachable", CA, type="not-trusted", detail="expired"),
            Transient,
            "expired",
        ),
        (AcmeProblem("unreachable", CA, type="too-long"), Transient, "too-long"),
        (AcmeProblem("unreachable", CA, type="ca-root-unusable"), Permanent, "ca_server_root"),
        (AcmeProblem("nonsense", CA, type="no-directory"), Permanent, "is no ACME directory"),
        (
            AcmeProblem("nonsense", ORDER, type="other-host", detail="https://evil.test/\x1b[2J"),
            Transient,
            "(other-host: https://evil.test/",
        ),
        (AcmeProblem("late", ORDER), Transient, "did not look for all challenges in time"),
    ],
    ids=lambda one: one.type or one.kind if isinstance(one, AcmeProblem) else "",
)
def test_each_kind_is_told(problem: AcmeProblem, kind: type[Exception], said: str) -> None:
    err = ca_error(problem, CA, NOW)
    assert isinstance(err, kind)
    assert said in str(err)
    assert str(err).isprintable()


@pytest.mark.parametrize("wait", ["7200", "Mon, 30 Nov 2026 14:00:00 GMT"])
def test_a_limit_says_until_when(wait: str) -> None:
    limited = AcmeProblem("acme", ORDER, 429, "rateLimited", detail="too many", retry_after=wait)
    err = ca_error(limited, CA, NOW)
    assert isinstance(err, Transient)
    assert err.retry_at == NOW + timedelta(hours=2)


def test_a_directory_that_is_somewhere_else() -> None:
    gone = directory_error(AcmeProblem("http", CA, 404), CA, NOW)
    assert isinstance(gone, Permanent)
    assert "correct ca_server" in str(gone)
    assert isinstance(directory_error(AcmeProblem("http", CA, 302), CA, NOW), Transient)
    err = directory_error(AcmeProblem("acme", CA, 503, detail="busy", retry_after="120"), CA, NOW)
    assert isinstance(err, Transient)
    assert err.retry_at == NOW + timedelta(minutes=2)


def test_names_that_were_not_validated_are_counted() -> None:
    wrong = AcmeProblem("acme", ORDER, 200, "unauthorized", detail="No TXT record found")
    found = (
        Authorization("u1", "a.test", "invalid", wildcard=True, problem=wrong),
        Authorization("u2", "b.test", "valid"),
        Authorization("u3", "c.test", "invalid"),
    )
    err = to_error(unvalidated(found, CA), NOW)
    assert isinstance(err, ValidationFailed)
    assert err.names == ("*.a.test", "c.test")
    assert "No TXT record found (unauthorized)" in str(err)


@pytest.mark.parametrize("kind", ["acme", "http", "unreachable", "nonsense", "late"])
def test_whatever_the_network_process_says_has_a_sentence(kind: Any) -> None:
    """It reads bytes of others, and may be taken over by them."""
    for what in ("", *map(str, Failed)):
        for one in (AcmeProblem(kind, type=what), AcmeProblem(kind, "", -1, what, "\x1b", "\x1b")):
            assert str(ca_error(one, CA, NOW))
            assert str(directory_error(one, CA, NOW))
