"""sslm-mgr: what it asks of the daemon, and its exit status."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sslmd.wire.messages import Code, Method
from tests.ctl.fake_daemon import FakeDaemon, Script, environment, refusal, result
from tests.ctl.samples import cert, one_set, outcomes, rfc3339, status

WEB, MAIL = "example.com/web-ec", "example.com/mail-ec"
DONE = result(outcomes((WEB, "done", "")))


def on_deck(service: str, *, minutes: float, rolls_in_days: float) -> Any:
    begun = datetime.now(UTC) - timedelta(minutes=minutes)
    next_ = one_set(name=f"{begun:%Y%m%d-%H:%M:%S}")
    return cert(service, phase="issued", next=next_, roll_at=rfc3339(rolls_in_days))


ANSWERS: dict[Method, Script] = {
    Method.RENEW: DONE,
    Method.ROLL: DONE,
    Method.DELIVER: DONE,
    Method.PLAN: result({"jobs": []}),
    Method.CLEAN: result({"removed": []}),
    Method.DNS_REFRESH: result({"zones": []}),
    Method.RESTART: result({"servers": []}),
    Method.SHOW: refusal(Code.UNKNOWN_CERT, "there is no such certificate"),
}


def three_certs() -> Script:
    """web-ec may be rolled; mail-ec not yet; old has nothing on deck."""
    return result(
        status(
            on_deck("web-ec", minutes=100, rolls_in_days=-0.01),
            on_deck("mail-ec", minutes=10, rolls_in_days=0.1),
            cert("old"),
        )
    )


def run(
    *args: str, answers: dict[Method, Script] = ANSWERS
) -> tuple[subprocess.CompletedProcess[str], list[tuple[str, dict[str, Any]]]]:
    """Run it; return what it did, and what it asked, without what it asked for to know more."""
    # The ages are counted from now: the module may have been read long before.
    with FakeDaemon({Method.STATUS: three_certs(), **answers}) as fake:
        done = subprocess.run(
            [sys.executable, "-m", "sslmd.ctl.sslm_mgr", *args],
            env=environment(SSLMD_SOCKET=fake.path),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        told = [(str(request.method), dict(request.params)) for request in fake.requests]
    return done, told


def changes(asked: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Leave out what is as usual."""
    usual = {"wait": True, "force": False, "reuse": False, "all": False, "test": False,
             "dry_run": False, "certs": None, "to": ""}  # fmt: skip
    return [
        (method, {name: value for name, value in params.items() if usual.get(name, ...) != value})
        for method, params in asked
        if method not in (Method.STATUS, Method.PLAN)
    ]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("-renew", [("renew", {})]),
        ("--renew", [("renew", {})]),
        ("-f -renew", [("renew", {"force": True, "all": True})]),
        ("-rf -renew a:b", [("renew", {"force": True, "reuse": True, "certs": ["a:b"]})]),
        ("a:b -renew c:d", [("renew", {"certs": ["a:b", "c:d"]})]),
        ("-renew a:[b, c] d:[ALL]", [("renew", {"certs": ["a:b,c", "d:ALL"]})]),
        ("-t", [("renew", {"test": True})]),
        ("-test -renew a:b", [("renew", {"test": True, "certs": ["a:b"]})]),
        ("-n", [("renew", {"dry_run": True})]),
        ("-roll", [("roll", {})]),
        ("-roll -f", [("roll", {"force": True})]),
        ("-renew -roll", [("renew", {}), ("roll", {})]),
        ("-roll example.com", [("roll", {"certs": [WEB]})]),
        ("-roll -f example.com", [("roll", {"force": True, "certs": ["example.com"]})]),
        ("-roll -roll-mins 5", [("roll", {"certs": [WEB]})]),
        ("-roll --min-roll-mins 5 -f", [("roll", {"force": True, "certs": [WEB, MAIL]})]),
        ("-roll -roll-mins 90 -f", [("roll", {"force": True, "certs": [WEB]})]),
        ("-roll -roll-mins 120 -f", []),
        ("-dns", [("dns_refresh", {})]),
        ("--dns-refresh a:b", [("dns_refresh", {"certs": ["a:b"]})]),
        ("-clean-keep 3 a:b", [("clean", {"keep": 3, "certs": ["a:b"]})]),
        ("-clean-all -clean-keep 0 a:b", [("clean", {"keep": 0, "inactive": True})]),
        ("-s", []),
        ("-d -f -renew -roll -dns", []),
        ("dev -keys -csr -cert a:b", [("renew", {"force": True, "certs": ["a:b"]})]),
        ("dev -keys -copy a:b", [("renew", {"force": True, "reuse": True, "certs": ["a:b"]})]),
        ("dev -ntoc -certs-prod", [("roll", {}), ("deliver", {})]),
        ("dev --certs-to-prod", [("deliver", {})]),
        ("dev --next-to-curr", [("roll", {})]),
    ],
)
def test_what_it_asks(words: str, asked: list[tuple[str, dict[str, Any]]]) -> None:
    done, told = run(*words.split(" "))
    assert changes(told) == asked, done.stderr
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_rolled_yet_is_told_and_is_no_failure() -> None:
    done, _ = run("-roll", "-roll-mins", "120", "example.com")
    assert done.stdout == "nothing to roll\n"
    assert f"{WEB}: not before " in done.stderr
    assert "example.com/old: nothing on deck" in done.stderr
    done, _ = run("-roll", "example.com")
    assert f"{MAIL}: nothing to do; -f rolls it now\n" in done.stderr


def test_minutes_without_end_are_a_mistake() -> None:
    done, told = run("-roll", "-roll-mins", "9" * 14)
    assert (done.returncode, changes(told)) == (2, [])
    assert "-roll-mins: that is more than thousands of years" in done.stderr


def test_debug_shows_and_does_nothing() -> None:
    done, told = run("-d", "-f", "-renew", "a:b")
    assert done.stdout == "would do: sslmctl renew --force a:b\nnothing to do\n"
    assert [method for method, _ in told] == ["plan"]


def test_every_class_is_restarted() -> None:
    servers = [
        {"class": kind, "host": host, "phase": "proven"}
        for kind, host in (("web", "www"), ("smtp", "mx"), ("web", "www2"))
    ]
    answers = {**ANSWERS, Method.STATUS: result(status(cert(servers=servers)))}
    _, told = run("dev", "-fsr", answers=answers)
    assert [params["class"] for method, params in told if method == "restart"] == ["smtp", "web"]


def test_the_exit_status_tells_the_truth() -> None:
    failed = result(outcomes((WEB, "failed", "the CA says no")))
    done, told = run("-renew", "-roll", answers={**ANSWERS, Method.RENEW: failed})
    assert done.returncode == 1
    assert [method for method, _ in told] == ["renew", "roll"]
    denied = refusal(Code.NOT_PERMITTED, "only root may renew")
    assert run("-renew", answers={**ANSWERS, Method.RENEW: denied})[0].returncode == 4
    assert run("-s", "-v", "-socket", "/nonexistent")[0].returncode == 3
    assert run("-s", "-v")[0].returncode == 2


@pytest.mark.parametrize(
    "words", ["", "a:b", "-t -n", "dev -copy", "-keys", "-roll-mins x", "-clean-keep -1", "-rene"]
)
def test_mistakes_change_nothing(words: str) -> None:
    done, told = run(*words.split())
    assert (done.returncode, told) == (2, [])
    assert done.stderr
