"""`sslmctl check`: the verdicts, the limits, and the line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sslmd.console.answers import Cert
from sslmd.console.health import remarks
from sslmd.core.trouble import Limits, Severity, troubles
from sslmd.wire.messages import ErrorCode, Method
from tests.ctl.fake_daemon import FakeDaemon, Script, refusal, result, sslmctl, steps
from tests.ctl.samples import cert, failing, one_set, rfc3339, status


def check(script: Script, *args: str) -> tuple[int, str]:
    with FakeDaemon({Method.STATUS: script}) as fake:
        done = sslmctl("check", "--socket", fake.path, *args)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, done.stdout.strip()


def test_ok() -> None:
    answer = result(status(cert(), cert("b", curr=one_set(41.5))))
    exit_status, line = check(answer, "example.com")
    text, data = line.split(" | ")
    assert exit_status == 0
    assert text == "SSLMD OK - 2 certificates, next expiry in 41 d (example.com/b)"
    values = dict(item.split("=") for item in data.split())
    assert values["certificates"] == "2;;;0"
    assert values["trouble"] == "0;;;0"
    assert 0 <= 41.5 * 86400 - int(values["next_expiry"].removesuffix("s")) < 60


def test_warning() -> None:
    exit_status, line = check(result(status(cert(), failing(last_error="a|b\nc"))))
    assert exit_status == 1
    assert line.startswith("SSLMD WARNING - example.com/mail-ec failed twice: a/b c; tries again")
    assert line.count("|") == 1
    assert " trouble=1;;;0" in line


def test_critical_comes_first_and_the_line_stays_short() -> None:
    entries = [failing(f"m{n}") for n in range(5)] + [cert("gone", curr=None)]
    exit_status, line = check(result(status(*entries)))
    assert exit_status == 2
    assert line.startswith("SSLMD CRITICAL - example.com/gone there is no certificate yet; exam")
    assert "; and 3 more | certificates=6;;;0 trouble=6;;;0" in line


def test_files_of_the_set_in_use_that_do_not_fit() -> None:
    text = "set 1 cannot be used: privkey.pem does not match cert.pem"
    exit_status, line = check(result(status(cert(unusable=text))))
    assert (exit_status, text in line) == (1, True)
    coming = cert("gone", curr=None, unusable=text, doing="its key is being made")
    exit_status, line = check(result(status(coming)))
    assert (exit_status, text in line, "no certificate" in line) == (2, True, False)


def test_nothing_to_check_is_no_good_news() -> None:
    assert check(result(status())) == (
        1,
        "SSLMD WARNING - the daemon has no certificates | certificates=0;;;0 trouble=0;;;0",
    )


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (refusal(ErrorCode.UNKNOWN_CERT, "no certificate x"), "no certificate x"),
        (refusal(ErrorCode.NOT_PERMITTED, "not you"), "not you"),
        (steps(None), "hung up"),
        (steps(b"garbage\n"), "cannot be read"),
    ],
)
def test_no_answer_is_critical(script: Script, text: str) -> None:
    exit_status, line = check(script)
    assert exit_status == 2
    assert line.startswith("SSLMD CRITICAL - ")
    assert text in line


def test_no_daemon_is_critical() -> None:
    done = sslmctl("check", "--socket", "/nonexistent")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("SSLMD CRITICAL - no daemon answers at /nonexistent;")


def test_limits_in_days() -> None:
    answer = result(status(cert()))  # 60.5 of 90 days are left
    assert check(answer, "-w", "60", "-c", "30")[0] == 0
    assert check(answer, "-w", "61", "-c", "30")[0] == 1
    assert check(answer, "--warning", "80", "--critical", "60.6")[0] == 2


def worst(entry: Any, limits: Limits | None = None) -> Severity:
    found = troubles(Cert(entry).status, datetime.now(UTC), limits or Limits())
    severities = [trouble.severity for trouble in found]
    assert severities == sorted(severities, reverse=True)
    return severities[0] if severities else Severity.OK


@pytest.mark.parametrize(
    ("left", "life", "level"),
    [
        (16, 90, Severity.OK),
        (14, 90, Severity.WARNING),
        (8, 90, Severity.CRITICAL),
        (1.2, 6.6, Severity.OK),
        (1.0, 6.6, Severity.WARNING),
        (0.6, 6.6, Severity.CRITICAL),
        (-0.1, 90, Severity.CRITICAL),
        (200, 90, Severity.OK),
    ],
)
def test_expiry_is_judged_by_the_share_of_the_life(
    left: float, life: float, level: Severity
) -> None:
    assert worst(cert(curr=one_set(left, life))) == level


def test_an_expired_certificate_is_critical_whatever_the_limits() -> None:
    none = Limits(timedelta(0), timedelta(0))
    assert worst(cert(curr=one_set(-0.1)), none) == Severity.CRITICAL
    assert worst(cert(curr=one_set(0.1)), none) == Severity.OK


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({"renew_at": rfc3339(-0.9)}, Severity.OK),
        ({"renew_at": rfc3339(-1.1)}, Severity.WARNING),
        # Renewed, and on deck until its window opens.
        ({"renew_at": rfc3339(-3), "next": one_set(), "roll_at": rfc3339(2)}, Severity.OK),
        ({"next": one_set(), "roll_at": rfc3339(-1.1)}, Severity.WARNING),
        ({"attempts": 1, "last_error": "x"}, Severity.WARNING),
        ({"servers": [{"class": "web", "host": "a", "state": "failed"}]}, Severity.WARNING),
        ({"servers": [{"class": "web", "host": "a", "state": "pending"}]}, Severity.OK),
        ({"last_error": "state.toml: odd"}, Severity.WARNING),
        ({"curr": None}, Severity.CRITICAL),
    ],
)
def test_what_is_trouble(fields: dict[str, Any], level: Severity) -> None:
    assert worst(cert(**fields)) == level


def web(**fields: Any) -> Any:
    """A server that was restarted two days ago and not seen since."""
    server = {
        "class": "web",
        "host": "web1",
        "set": "20261001-00:00:00",
        "state": "restarted",
        "unseen": "not looked at: probe = false",
        "meant": False,
        "since": rfc3339(-2),
    }
    return {**server, **fields}


def test_what_nobody_has_seen_for_a_day_is_warned_of() -> None:
    told = "web on web1 restarted, but not looked at: probe = false"
    exit_status, line = check(result(status(cert(servers=[web(), web(host="web2")]))))
    assert exit_status == 1
    assert line.startswith(
        "SSLMD WARNING - example.com/web-ec web on web1, web on web2 restarted, "
    )
    assert "but not looked at: probe = false; sslmctl doctor looks at its ports" in line
    assert line.endswith(" unproven=2;;;0 unseen=0;;;0")
    well = (web(since=rfc3339(-0.9)), web(meant=True), web(state="proven", unseen=None))
    for server in well:
        exit_status, line = check(result(status(cert(servers=[server]))))
        assert (exit_status, " unproven=0;;;0" in line) == (0, True)
        # What is young and was not seen is no trouble, and not said to be well.
        assert ("; not looked at: example.com/web-ec web on" in line) is (server is well[0])
    one = Cert(cert(servers=[web(since=rfc3339(-0.9))]))
    assert remarks(one, datetime.now(UTC)) == [told]


def test_dane_is_not_called_well_where_nobody_looked() -> None:
    """I11: a port that cannot be reached, before the first comparison, a zone in trouble."""
    port = "mail.example.com:25: not seen: 192.0.2.1 does not answer"
    looked = {"at": rfc3339(-0.1), "ok": True, "fits": False, "unseen": [port]}
    told = "; not looked at: example.com/web-ec DANE: "
    for dane, text in (
        (looked, port),
        (None, "name servers and ports were not compared yet"),
        ({**looked, "at": rfc3339(-5), "unseen": []}, "were not compared since"),
    ):
        answer = status(cert(dane=dane, dane_wanted=True))
        exit_status, line = check(result(answer))
        assert (exit_status, line.startswith("SSLMD OK - 1 certificate, next")) == (0, True)
        assert told in line
        assert text in line
        assert line.endswith(" unseen=1;;;0")
    answer["zones"] = [{"zone": "example.com", "error": "zone example.com: ns1 does not answer"}]
    exit_status, line = check(result(answer), "example.com:web-ec")
    assert exit_status == 1
    assert "TLSA records of example.com: zone example.com: ns1 does not answer" in line
    # Nobody else is held up by it.
    answer["certs"] = [cert()]
    assert check(result(answer), "example.com:web-ec")[0] == 0


def test_what_is_wrong_beside_certificates() -> None:
    answer = status(cert())
    answer["dh"] = [{"error": "openssl is not there"}]
    answer["hosts"] = [{"host": "www2", "error": "www2 lets nobody in", "text": ""}]
    exit_status, line = check(result(answer))
    assert exit_status == 1
    assert "Diffie-Hellman groups: openssl is not there" in line
    assert (
        "www2: certificates that do not belong there could not be removed: www2 lets nobody in"
        in line
    )
    # Who asks for one certificate hears of that alone.
    assert check(result(answer), "example.com:web-ec")[0] == 0


def test_a_certificate_without_a_server_and_foreign_keys() -> None:
    exit_status, line = check(result(status(cert(used_by=[], unused=True))))
    assert exit_status == 1
    assert "example.com/web-ec no server uses it, so its renewal reaches nobody; name it in" in line
    answer = status(cert(used_by=["web"], unused=False))
    answer["hosts"] = [{"host": "localhost", "text": "localhost: in /p, found certificates"}]
    exit_status, line = check(result(answer))
    assert exit_status == 1
    assert line.startswith("SSLMD WARNING - localhost: in /p, found certificates | ")
    # Of one certificate it is asked, not of hosts.
    assert check(result(answer), "example.com:web-ec")[0] == 0


_NOBODY = {"text": "the network process runs as nobody", "text_code": "net-nobody"}
_DOWN = {"text": "the network process does not run", "text_code": "net-down"}


def test_what_of_the_network_process_could_be_safer_is_a_note_and_no_alarm() -> None:
    answer = {**status(cert()), "net": [_NOBODY]}
    exit_status, line = check(result(answer))
    assert exit_status == 0
    assert line.count(_NOBODY["text"]) == 1
    assert line.index("next expiry") < line.index(_NOBODY["text"]) < line.index(" | ")
    exit_status, line = check(result({**answer, "net": [_NOBODY, _DOWN]}))
    assert exit_status == 1
    assert line.index(_DOWN["text"]) < line.index(_NOBODY["text"])
    # Who asks about some certificates has no use for it.
    exit_status, line = check(result(answer), "example.com")
    assert (exit_status, _NOBODY["text"] in line) == (0, False)


def test_nagios_is_handed_the_note_with_the_daemon() -> None:
    with FakeDaemon({Method.STATUS: result({**status(cert()), "net": [_NOBODY]})}) as fake:
        done = sslmctl("check", "--socket", fake.path, "--passive", "here")
    (line,) = [one for one in done.stdout.splitlines() if ";sslmd;" in one]
    assert ";sslmd;0;" in line
    assert _NOBODY["text"] in line


def test_what_is_wrong_with_the_daemon_itself() -> None:
    disk = {"title": "the disk is full: /d", "text": "/d has 0 MB left", "severity": "critical"}
    admins = {"title": "messages to admins fail", "text": "ntfy: 500", "severity": "warning"}
    answer = {**status(cert()), "own_alarms": [admins]}
    assert check(result(answer))[0] == 1
    answer["own_alarms"] = [admins, disk]
    exit_status, line = check(result(answer))
    assert exit_status == 2
    assert line.index("/d has 0 MB left") < line.index("ntfy: 500")
    assert check(result(answer), "example.com:web-ec")[0] == 0
    with FakeDaemon({Method.STATUS: result(answer)}) as fake:
        done = sslmctl("check", "--socket", fake.path, "--passive", "here")
    assert ";sslmd;2;" in done.stdout
