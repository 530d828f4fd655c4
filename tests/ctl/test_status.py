"""`sslmctl status`: in a pipe, on a terminal, as JSON, and watched."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest

from sslmd.ctl import status as status_command
from sslmd.wire.messages import ErrorCode, Method, Response
from tests.ctl.fake_daemon import (
    FakeDaemon,
    Script,
    on_terminal,
    refusal,
    result,
    sslmctl,
)
from tests.ctl.samples import cert, failing, one_set, rfc3339, status

TWO = status(cert(), failing())


def answering(value: object) -> dict[Method, Script]:
    return {Method.STATUS: result(value)}


def test_a_pipe_gets_a_line_for_each_certificate() -> None:
    with FakeDaemon(answering(TWO)) as fake:
        done = sslmctl("--socket", fake.path, "status")
    assert (done.returncode, done.stderr) == (0, "")
    header, web, mail, blank, summary, daemon = done.stdout.splitlines()
    assert header.split() == ["CERTIFICATE", "CA", "KEY", "LEFT", "RENEWS", "ROLLS", "STATE"]
    assert web.startswith("example.com/web-ec   le  ec secp384r1  60 d  ")
    assert web.endswith("settled: nothing to do")
    assert (
        "failed twice: zone example.com: ns2 (192.0.2.7) does not show _acme-challenge TXT" in mail
    )
    assert "; tries again " in mail
    assert blank == ""
    assert summary.startswith("2 certificates, 0 due, 1 in trouble; next: tries example.com/mail")
    assert daemon.startswith("sslmd 9.9.9, pid 123, since ")
    assert daemon.endswith("; ready: keeps 2 certificates")
    assert fake.params == {"certs": None}


def test_certificates_are_sent_as_typed() -> None:
    with FakeDaemon(answering(status())) as fake:
        done = sslmctl("status", "example.com:a,b", "x.de:ALL", "y.de", SSLMD_SOCKET=fake.path)
    assert fake.params == {"certs": ["example.com:a,b", "x.de:ALL", "y.de"]}
    assert done.stdout.startswith("0 certificates, 0 due, 0 in trouble\n")
    assert "; ready: in all keeps 2 certificates" in done.stdout  # the daemon speaks of all


def test_an_unknown_certificate_is_a_usage_error() -> None:
    with FakeDaemon({Method.STATUS: refusal(ErrorCode.UNKNOWN_CERT, "no certificate x")}) as fake:
        done = sslmctl("status", "x", "--socket", fake.path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "sslmctl: no certificate x\n")


def test_what_is_missing_or_strange() -> None:
    strange = {
        "group": "example.com",
        "service": "x\x1b]0;title\x07\n",
        "curr": None,
        "next": 7,
        "servers": ["?"],
        "attempts": "many",
        "renew_at": "soon",
    }
    entries = [strange, cert("gone", curr=one_set(left=-1.5)), "no object"]
    with FakeDaemon(answering(status(*entries))) as fake:
        done = sslmctl("status", "--socket", fake.path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert r"x\x1b]0;title\x07" in done.stdout
    assert "there is no certificate yet" in done.stdout
    assert "expired 36 h ago" in done.stdout


def test_json_is_the_answer_unchanged() -> None:
    value = status(cert(reason="grün \x9b …", unheard_of=1.5))
    with FakeDaemon(answering(value)) as fake:
        done = sslmctl("status", "--json", "--socket", fake.path)
    assert done.returncode == 0
    expected = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert done.stdout == expected + "\n"


def test_json_on_a_terminal_cannot_steer_it() -> None:
    value = status(cert(reason="\x9b2J"))
    with FakeDaemon(answering(value)) as fake:
        shown = on_terminal("status", "--json", "--socket", fake.path)
    assert "\x9b" not in shown
    assert json.loads(shown) == value
    assert shown.startswith('{\n  "version": 1,\n')


def test_a_terminal_has_colours() -> None:
    with FakeDaemon(answering(TWO)) as fake:
        shown = on_terminal("status", "--socket", fake.path)
    assert "\x1b[32m60 d" in shown
    assert "\x1b[31mfailed twice" in shown
    assert "\x1b[1mCERTIFICATE" in shown


def test_no_colours_where_they_are_not_wanted() -> None:
    with FakeDaemon(answering(TWO)) as fake:
        plain = on_terminal("status", "--socket", fake.path, NO_COLOR="1")
        dumb = on_terminal("status", "--socket", fake.path, TERM="dumb")
    assert "failed twice" in plain
    assert "\x1b" not in plain
    assert plain == dumb


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_a_narrow_terminal_is_not_overrun_and_nothing_is_cut(columns: int) -> None:
    entries = [
        cert(reason="valid"),
        cert("mail-ec-of-old", group="shop.example-domain.com", roll_at=rfc3339(1)),
        cert("mail-ec-of-new", group="shop.example-domain.com"),
        failing(),
    ]
    with FakeDaemon(answering(status(*entries))) as fake:
        shown = on_terminal("status", "--socket", fake.path, columns=columns, NO_COLOR="1")
    lines = shown.splitlines()
    assert all(len(line) <= columns for line in lines)
    assert "…" not in shown
    assert sum("shop.example-domain.com/mail-ec-of-" in line for line in lines) == 2
    assert rfc3339(30.5)[:10] in shown


def test_short_rows_are_one_line_on_narrow_terminals() -> None:
    with FakeDaemon(answering(status(cert(reason="valid")))) as fake:
        shown = on_terminal("status", "--socket", fake.path, columns=60, NO_COLOR="1")
        wide = on_terminal("status", "--socket", fake.path, columns=80, NO_COLOR="1")
    assert "KEY" not in shown
    assert shown.splitlines()[1].endswith("  settled: valid")
    assert wide.splitlines()[1].startswith("example.com/web-ec  le  ec secp384r1  60 d  ")
    assert wide.splitlines()[1].endswith("  settled: valid")
    entries = [cert(reason="valid"), cert("mail-ec", roll_at=rfc3339(1), reason="on deck")]
    with FakeDaemon(answering(status(*entries))) as fake:
        shown = on_terminal("status", "--socket", fake.path, columns=80, NO_COLOR="1")
    header, first, second, blank, *_ = shown.splitlines()
    assert header.split() == ["CERTIFICATE", "LEFT", "RENEWS", "ROLLS", "STATE"]
    assert first.endswith("  -                     settled: valid")
    assert second.endswith("  settled: on deck")
    assert blank == ""


def test_an_error_is_told_once_with_one_next_try() -> None:
    server = {"class": "web", "host": "www1", "state": "failed", "error": "connection refused"}
    entries = [
        failing(
            "a",
            reason="no answer; attempt 2 failed, the next is at 2026",
            reason_code="stuck",
            last_error="no answer",
        ),
        failing(
            "b",
            reason="waits for its servers: web on www1 (connection refused; next try at 2026)",
            reason_code="servers-wait",
            last_error="web on www1: connection refused",
            error_about="web on www1",
            servers=[server, {**server, "host": "www2"}],
        ),
        cert("c", reason="its state.toml is odd", reason_code="left", last_error="it is odd"),
    ]
    with FakeDaemon(answering(status(*entries))) as fake:
        done = sslmctl("status", "--socket", fake.path)
    a, b, c = done.stdout.splitlines()[1:4]
    assert "  settled; failed twice: no answer; tries again " in a
    assert "  settled: waits for its servers; failed twice: web on www1: connection refused; " in b
    assert b.endswith("; web on www2: connection refused")
    assert b.count("www1") == 1
    assert c.endswith("  settled; it is odd")
    assert "3 certificates, 0 due, 3 in trouble" in done.stdout


def test_what_is_on_deck_has_its_time_in_the_column_alone() -> None:
    text = "on deck; rolls at 2026-11-24 10:00:00 UTC"
    entries = [cert(reason=text, reason_code="roll-waits", next=one_set(), roll_at=rfc3339(9))]
    with FakeDaemon(answering(status(*entries))) as fake:
        done = sslmctl("status", "--socket", fake.path)
    assert done.stdout.splitlines()[1].endswith("  settled: on deck")


def test_what_the_bounds_cut_off_is_told() -> None:
    answer = status(cert())
    cut = "zone example.com: of its 40 name servers the first 16 by name are asked"
    answer["dns"] = [{"text": f"{cut} \x1b[2J"}]
    with FakeDaemon(answering(answer)) as fake:
        done = sslmctl("status", "--socket", fake.path)
    assert cut in " ".join(done.stdout.split())
    assert "\x1b" not in done.stdout


def test_watch_draws_on_a_terminal_and_ends_with_ctrl_c() -> None:
    with FakeDaemon(answering(TWO)) as fake:
        shown = on_terminal(
            "status", "--watch", "--socket", fake.path, interrupt_at=b"keeps 2 certificates"
        )
    assert "\x1b[H" in shown
    assert "example.com/web-ec" in shown


def test_watch_waits_for_a_daemon_that_restarts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "5")
    answers = iter([TWO, None, status(*(cert(f"s{n}") for n in range(20)))])
    pauses = 0

    def pause(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        assert seconds == status_command.WATCH_SECONDS
        if pauses == 3:
            raise KeyboardInterrupt

    def script(request: object) -> list[Response | None]:
        answer = next(answers)
        return [Response(1, answer) if answer else None]

    with FakeDaemon({Method.STATUS: script}) as fake:
        assert status_command.watch(Namespace(socket=fake.path, certs=[]), pause) == 0
    first, second, third, fourth = capsys.readouterr().out.split("\x1b[H")[1:]
    assert "example.com" not in first
    assert "failed twice" in second
    assert "hung up" in third
    assert "Trying again." in third
    assert len(fourth.strip().splitlines()) == 5
    assert "…" in fourth
    assert "sslmd 9.9.9" in fourth


def test_watch_needs_a_terminal() -> None:
    done = sslmctl("status", "--watch")
    assert (done.returncode, done.stdout) == (2, "")
    assert "terminal" in done.stderr


def test_next_and_trouble_in_the_summary() -> None:
    entries = [
        cert("a", curr=None, renew_at=None, roll_at=rfc3339(0.01), next=one_set()),
        cert("b", renew_at=rfc3339(-0.1), phase="keyed", reason="waits for the CA"),
    ]
    with FakeDaemon(answering(status(*entries))) as fake:
        done = sslmctl("status", "--socket", fake.path)
    assert "2 certificates, 2 due, 0 in trouble; next: rolls example.com/a on " in done.stdout
    assert "keyed: waits for the CA" in done.stdout


def test_a_first_order_under_way_is_no_trouble_and_one_that_failed_is() -> None:
    first = {"curr": None, "renew_at": None, "phase": "keyed", "reason": "no certificate yet"}
    doing = {**first, "doing": "its certificate is being ordered"}
    entries = [cert("a", **doing), failing("b", **first), cert("c", **first)]
    with FakeDaemon(answering(status(*entries))) as fake:
        done = sslmctl("status", "--socket", fake.path)
        checked = sslmctl("check", "example.com:a", "--socket", fake.path)
    assert "keyed: no certificate yet; its certificate is being ordered\n" in done.stdout
    assert "3 certificates, 3 due, 2 in trouble" in done.stdout
    assert checked.returncode == 2, "what waits with nothing under way is trouble"
    with FakeDaemon(answering(status(entries[0]))) as fake:
        checked = sslmctl("check", "--socket", fake.path)
    assert checked.returncode == 0
    assert checked.stdout.startswith(
        "SSLMD OK - 1 certificate, 1 of them on the way for the first time"
    )


def test_what_is_wrong_beside_certificates() -> None:
    answer = status(cert(dane_wanted=True))
    answer["dh"] = [{"error": "openssl is not there"}]
    answer["zones"] = [{"zone": "example.com", "error": "zone example.com: ns1 does not answer"}]
    with FakeDaemon(answering(answer)) as fake:
        shown = " ".join(sslmctl("status", "--socket", fake.path).stdout.split())
    assert "Diffie-Hellman groups: openssl is not there" in shown
    assert "TLSA records of example.com: zone example.com: ns1 does not answer" in shown


def test_alarms_of_the_daemon_and_silences() -> None:
    admins = {"title": "messages to admins fail", "text": "ntfy: 500", "severity": "warning"}
    silence = {"what": "www2", "text": "www2 is silent until tomorrow, by root: it moves"}
    answer = {**status(cert()), "own_alarms": [admins], "silences": [silence]}
    with FakeDaemon(answering(answer)) as fake:
        shown = " ".join(sslmctl("status", "--socket", fake.path).stdout.split())
    assert "messages to admins fail: ntfy: 500" in shown
    assert silence["text"] in shown
