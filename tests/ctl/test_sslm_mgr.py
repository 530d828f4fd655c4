"""sslm-mgr: what it asks of the daemon, and its exit status."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sslmd.core.state import MAX_MIN_ROLL
from sslmd.ctl import sslm_mgr
from sslmd.ctl.sslm_mgr import MOST_MINUTES
from sslmd.wire.messages import ErrorCode, Method
from tests.ctl.fake_daemon import FakeDaemon, Script, environment, refusal, result
from tests.ctl.samples import cert, one_set, outcomes, rfc3339, status
from tests.stand.forked import run_forked

WEB, MAIL, OLD = "example.com/web-ec", "example.com/mail-ec", "example.com/old"
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
    Method.SHOW: result({"cert": cert()}),
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
        env = environment(SSLMD_SOCKET=fake.path)
        done = run_forked(sslm_mgr.main, ["sslm-mgr", *args], env=env)
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
        ("-roll -roll-mins 0", [("roll", {"min_roll_mins": 0})]),
        ("-roll -roll-mins 5 example.com", [("roll", {"min_roll_mins": 5, "certs": [WEB, MAIL]})]),
        ("-roll -roll-mins 90 example.com", [("roll", {"min_roll_mins": 90, "certs": [WEB]})]),
        ("-roll -roll-mins 120 example.com", []),
        # As with ssl-mgr: -f does not look at the age.
        ("-roll --min-roll-mins 120 -f", [("roll", {"force": True})]),
        ("-dns", [("dns_refresh", {})]),
        ("--dns-refresh a:b", [("dns_refresh", {"certs": ["a:b"]})]),
        ("-clean-keep 3 a:b", [("clean", {"keep": 3, "certs": ["a:b"]})]),
        ("-clean-all -clean-keep 0 a:b", [("clean", {"keep": 1, "inactive": True})]),
        ("-s", []),
        ("-d -f -renew -roll -dns", []),
        ("dev -keys -csr -cert a:b", [("renew", {"force": True, "certs": ["a:b"]})]),
        ("dev -keys -copy a:b", [("renew", {"force": True, "reuse": True, "certs": ["a:b"]})]),
        ("dev -copy -renew a:b", [("renew", {"reuse": True, "certs": ["a:b"]})]),
        ("dev -ntoc -certs-prod", [("roll", {"force": True}), ("deliver", {})]),
        ("dev -ntoc a:b", [("roll", {"force": True, "certs": ["a:b"]})]),
        ("dev -roll -ntoc -roll-mins 5", [("roll", {"force": True})]),
        ("dev --certs-to-prod", [("deliver", {})]),
        ("dev -d -ntoc -fsr -certs-prod -keys -dns -clean-all", []),
        ("-d", []),
        ("dev -d", []),
        ("dev -s -v", [("show", {"cert": WEB}), ("show", {"cert": MAIL}), ("show", {"cert": OLD})]),
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
    for minutes in ("9" * 14, str(MOST_MINUTES + 1)):
        done, told = run("-roll", "-roll-mins", minutes)
        assert (done.returncode, changes(told)) == (2, [])
        assert "-roll-mins can be 525600 at most (a year)" in done.stderr
    assert timedelta(minutes=MOST_MINUTES) == MAX_MIN_ROLL


def test_the_age_is_that_of_the_certificate_where_it_is_known() -> None:
    """The set may be old: its key was made ahead."""
    fresh = on_deck("web-ec", minutes=100, rolls_in_days=0.1)
    fresh["next"]["issued_at"] = rfc3339(-10 / 1440)
    answers = {**ANSWERS, Method.STATUS: result(status(fresh))}
    done, told = run("-roll", "-roll-mins", "20", "example.com", answers=answers)
    assert (done.stdout, changes(told)) == ("nothing to roll\n", [])
    done, told = run("-roll", "-roll-mins", "9", "example.com", answers=answers)
    assert changes(told) == [("roll", {"min_roll_mins": 9, "certs": [WEB]})]


@pytest.mark.parametrize("dev", [False, True])
def test_debug_shows_and_does_nothing(dev: bool) -> None:
    before = ["dev"] if dev else []
    done, told = run(*before, "-d", "-f", "-renew", "a:b")
    assert done.stdout == "would do: sslmctl renew --force a:b\nnothing to do\n"
    assert [method for method, _ in told] == ["plan"]
    # Alone: what the daemon is about to do.
    jobs = [{"cert": WEB, "job": "roll", "at": None, "state": "planned", "reason": "it is due"}]
    answers = {**ANSWERS, Method.PLAN: result({"jobs": jobs})}
    done, told = run(*before, "-d", "a:b", answers=answers)
    assert "it is due" in done.stdout
    assert told == [("plan", {"certs": ["a:b"]})]
    # With what only shows, that is shown.
    assert [method for method, _ in run(*before, "-d", "-s")[1]] == ["status"]


SERVERS = [
    {"class": kind, "host": host, "phase": "proven"}
    for kind, host in (("web", "www"), ("smtp", "mx"), ("web", "www2"), ("dns", "localhost"))
]


def test_every_class_is_restarted_and_dns() -> None:
    """The command of [dns] is run once: by refreshing the zones."""
    answers = {**ANSWERS, Method.STATUS: result(status(cert(servers=SERVERS)))}
    for words in ("dev -fsr", "dev --force-server-restarts -dns"):
        done, told = run(*words.split(), answers=answers)
        asked = [(method, params.get("class")) for method, params in told if method != "status"]
        assert asked == [("restart", "smtp"), ("restart", "web"), ("dns_refresh", None)]
        assert done.returncode == 0
    done, told = run("dev", "-d", "-fsr", "a:b", answers=answers)
    assert "would do: sslmctl restart smtp\nwould do: sslmctl restart web\n" in done.stdout
    assert "would do: sslmctl dns-refresh a:b\n" in done.stdout
    assert {method for method, _ in told} == {"status", "plan"}


def test_without_servers_there_is_none_to_restart() -> None:
    done, told = run("dev", "-fsr")
    assert changes(told) == [("dns_refresh", {})]
    assert "no server has a certificate: none to restart\n" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_a_zone_that_fails_is_told_beside_the_others() -> None:
    zones = [
        {"zone": "example.com", "outcome": "done", "text": "2 TLSA records given to DNS again"},
        {"zone": "example.net", "outcome": "failed", "text": "the command failed\x1b[2J"},
        {"zone": "example.org", "outcome": "unneeded", "text": "nothing to do"},
    ]
    answers = {**ANSWERS, Method.DNS_REFRESH: result({"zones": zones})}
    done, _ = run("-dns", answers=answers)
    assert done.returncode == 1
    assert done.stdout == (
        "example.com: 2 TLSA records given to DNS again\n"
        "example.net: failed: the command failed\\x1b[2J\n"
        "example.org: nothing to do\n"
    )
    fine = {**ANSWERS, Method.DNS_REFRESH: result({"zones": [zones[0], zones[2]]})}
    assert run("-dns", answers=fine)[0].returncode == 0


# An option alone, or with what it needs, by the name that argparse gives it.
ALONE = {
    "status": "{}", "renew": "{}", "roll": "{}", "roll_mins": "-roll {} 5", "force": "-renew {}",
    "reuse": "-renew {}", "debug": "{} -renew", "test": "{}", "dry_run": "{}", "dns_refresh": "{}",
    "clean_keep": "{} 3", "clean_all": "{}", "verb": "{} -s", "certs_prod": "{}",
    "new_keys": "{}", "new_csr": "{}", "new_cert": "{}", "copy_csr": "-keys {}",
    "next_to_curr": "{}", "force_server_restarts": "{}",
}  # fmt: skip
SPELLINGS = [
    (dev, action.dest, option)
    for dev in (False, True)
    for action in sslm_mgr.parser(dev=dev)._actions
    if action.dest not in ("help", "version", "socket")
    for option in action.option_strings
]


@pytest.mark.parametrize(
    ("option", "ours"),
    [
        # What the parsers of ssl-mgr 5.2.0 and 7.8.1 take.
        *(("-clean-all", 0), ("--clean-all", 0), ("-clean-keep", 0), ("--clean-keep", 0)),
        *(("-d", 0), ("--debug", 0), ("-dns", 0), ("--dns-refresh", 0), ("-f", 0)),
        *(("--force", 0), ("-n", 0), ("--dry-run", 0), ("-r", 0), ("--reuse", 0)),
        *(("-renew", 0), ("--renew", 0), ("-roll", 0), ("--roll", 0), ("-roll-mins", 0)),
        *(("--min-roll-mins", 0), ("-s", 0), ("--status", 0), ("-t", 0), ("--test", 0)),
        *(("-v", 0), ("--verb", 0)),
        *(("-cert", 1), ("--new-cert", 1), ("-csr", 1), ("--new-csr", 1), ("-copy", 1)),
        *(("--copy-csr", 1), ("-fsr", 1), ("--force-server-restarts", 1), ("-keys", 1)),
        *(("--new-keys", 1), ("-ntoc", 1), ("--next-to-curr", 1), ("-certs-prod", 1)),
        ("--certs-to-prod", 1),
    ],
)
def test_every_option_of_ssl_mgr_is_taken(option: str, ours: int) -> None:
    assert (bool(ours), option) in {(dev, spelt) for dev, _, spelt in SPELLINGS}
    assert (True, option) in {(dev, spelt) for dev, _, spelt in SPELLINGS}


@pytest.fixture(scope="module")
def usual() -> dict[tuple[bool, str], list[tuple[str, dict[str, Any]]]]:
    """What each option asks in its first spelling."""
    asked = {}
    for dev, dest, option in reversed(SPELLINGS):
        asked[dev, dest] = option
    return {(dev, dest): spelt(dev, dest, option)[1] for (dev, dest), option in asked.items()}


def spelt(
    dev: bool, dest: str, option: str
) -> tuple[subprocess.CompletedProcess[str], list[tuple[str, dict[str, Any]]]]:
    words = ALONE[dest].format(option).split()
    return run(*(["dev"] if dev else []), *words)


@pytest.mark.parametrize(("dev", "dest", "option"), SPELLINGS)
def test_every_option_in_every_spelling(
    dev: bool,
    dest: str,
    option: str,
    usual: dict[tuple[bool, str], list[tuple[str, dict[str, Any]]]],
) -> None:
    done, told = spelt(dev, dest, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert told == usual[dev, dest]
    assert told


def test_the_exit_status_tells_the_truth() -> None:
    failed = result(outcomes((WEB, "failed", "the CA says no")))
    done, told = run("-renew", "-roll", answers={**ANSWERS, Method.RENEW: failed})
    assert done.returncode == 1
    assert [method for method, _ in told] == ["renew", "roll"]
    denied = refusal(ErrorCode.NOT_PERMITTED, "only root may renew")
    assert run("-renew", answers={**ANSWERS, Method.RENEW: denied})[0].returncode == 4
    assert run("-s", "-v", "-socket", "/nonexistent")[0].returncode == 3
    unknown = refusal(ErrorCode.UNKNOWN_CERT, "there is no such certificate")
    assert run("-s", "-v", answers={**ANSWERS, Method.SHOW: unknown})[0].returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        *("", "a:b", "-t -n", "dev -copy", "-keys", "-roll-mins x", "-clean-keep -1", "-rene"),
        *("-roll -t", "dev -ntoc -n", "-ntoc", "-v", "-f"),
    ],
)
def test_mistakes_change_nothing(words: str) -> None:
    done, told = run(*words.split())
    assert (done.returncode, told) == (2, [])
    assert done.stderr
