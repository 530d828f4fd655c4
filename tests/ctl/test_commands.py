"""Every other command: what it sends, prints, and exits with."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from sslmd.core.plain import local
from sslmd.wire.messages import ErrorCode, Method, Notification, Response, RpcRequest
from tests.ctl.fake_daemon import (
    FakeDaemon,
    Script,
    Step,
    command_line,
    environment,
    on_terminal,
    progress,
    refusal,
    result,
    sslmctl,
    steps,
)
from tests.ctl.samples import cert, failing, one_set, outcomes, rfc3339

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WEB = "example.com/web-ec"


def ask(method: Method, script: Script, *args: str) -> tuple[Any, dict[str, Any]]:
    """Run a command against one answer; return what it did and what it sent."""
    with FakeDaemon({method: script}) as fake:
        done = sslmctl("--socket", fake.path, *args)
    return done, fake.params


# --- dane ---------------------------------------------------------------------------------


def dane(*, ok: bool) -> dict[str, Any]:
    owner = "_25._tcp.mail.example.com"
    finding = {"where": "mail.example.com:25 (192.0.2.1)", "text": "serves set 1", "wrong": False}
    wrong = {
        "where": "name server ns2 (192.0.2.2)",
        "text": f"does not show {owner}",
        "wrong": True,
    }
    return {
        "cert": WEB,
        "at": "2026-11-23T12:00:00Z",
        "ok": ok,
        "reason": "valid",
        "records": [
            {"owner": owner, "ttl": 1800, "record": "3 1 1 0f", "of": "serving"},
            {"owner": owner, "ttl": 1800, "record": "3 1 1 1e", "of": "next"},
        ],
        "findings": [finding] if ok else [finding, wrong],
    }


@pytest.mark.parametrize(("ok", "status"), [(True, 0), (False, 1)])
def test_dane(ok: bool, status: int) -> None:
    done, params = ask(Method.DANE, result({"certs": [dane(ok=ok)]}), "dane", "example.com:web-ec")
    assert done.returncode == status
    assert params == {"certs": ["example.com:web-ec"]}
    lines = done.stdout.splitlines()
    assert lines[0] == f"{WEB}: {'all fits' if ok else 'NOT WELL'}"
    assert "  _25._tcp.mail.example.com. 1800 IN TLSA 3 1 1 0f" in lines
    assert "  _25._tcp.mail.example.com. 1800 IN TLSA 3 1 1 1e  ; of the next key" in lines
    assert "  ok mail.example.com:25 (192.0.2.1): serves set 1" in lines
    mark = "  !! name server ns2 (192.0.2.2): does not show _25._tcp.mail.example.com"
    assert (mark in lines) is not ok


def test_dane_that_was_not_seen_or_is_not_there() -> None:
    """I11: that is never "all fits"."""
    for where, flag, verdict in (
        ("mail.example.com:25", "unseen", "NOT ALL COULD BE LOOKED AT"),
        ("not published", "warning", "NOT PUBLISHED"),
    ):
        finding = {"where": where, "text": "x", "wrong": False, flag: True}
        answer = {**dane(ok=True), "ok": False, "findings": [finding]}
        done, _ = ask(Method.DANE, result({"certs": [answer]}), "dane")
        assert done.returncode == 1
        assert done.stdout.startswith(f"{WEB}: {verdict}\n")
        assert f"  ?? {where}: x" in done.stdout


def test_dane_of_less_than_a_minute_ago() -> None:
    answer = {**dane(ok=True), "at": "2026-11-23T12:00:00Z", "age": 42, "fresh": False}
    done, params = ask(Method.DANE, result({"certs": [answer]}), "dane")
    assert "now" not in params
    assert done.stdout.startswith(f"{WEB}: all fits (42 s ago)\n")
    assert done.stdout.endswith("an admin has it done again: sslmctl dane --now\n")
    done, params = ask(Method.DANE, result({"certs": [{**answer, "fresh": True}]}), "dane", "--now")
    assert params["now"] is True
    assert done.stdout.startswith(f"{WEB}: all fits\n")


def test_dane_of_nothing_and_as_json() -> None:
    done, _ = ask(Method.DANE, result({"certs": []}), "dane")
    assert (done.returncode, done.stdout) == (0, "none of the certificates has dane_tls\n")
    answer = {"certs": [dane(ok=False)]}
    done, _ = ask(Method.DANE, result(answer), "dane", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == answer


# --- show, plan ----------------------------------------------------------------------------


def test_show() -> None:
    answer = {
        "cert": failing(
            "web-ec",
            phase="rolled",
            servers=[
                {
                    "class": "web",
                    "host": "www1",
                    "set": "20261001-00:00:00",
                    "state": "proven",
                    "since": rfc3339(-1),
                },
                {
                    "class": "imap",
                    "host": "mx1",
                    "set": None,
                    "state": "failed",
                    "error": "down",
                    "attempts": 2,
                    "next_try": rfc3339(1),
                },
            ],
        ),
        "decision": {
            "text": "the old key's records stay until every server is proven",
            "reason_code": "old-records-go",
        },
        "sets": [
            {**one_set(), "role": "curr", "problem": ""},
            {**one_set(name="20260701-00:00:00"), "role": "", "problem": "no key"},
        ],
        "history": [
            {"at": rfc3339(-1), "event": "rolled", "set": "20261001-00:00:00", "text": "in use"}
        ],
        "config": {
            "names": ["example.com", "www.example.com"],
            "renew_expire_days_spread": "5",
        },
    }
    done, sent = ask(Method.SHOW, result(answer), "show", "example.com:web-ec")
    since = local(datetime.fromisoformat(rfc3339(-1)), datetime.now(UTC))
    assert (done.returncode, done.stderr, sent) == (0, "", {"cert": "example.com:web-ec"})
    for text in (
        f"{WEB}\n  phase        rolled\n",
        "because      nothing to do",
        "decision     the old key's records stay",
        "problem      failed twice: zone example.com: ns2",
        "problem      imap on mx1: down",
        "  CLASS  HOST  STATE   SET                SINCE                 REMARK\n",
        f"  web    www1  proven  20261001-00:00:00  {since}\n",
        "  imap   mx1   failed  -                  -                     attempt 2 failed,",
        "  20261001-00:00:00  curr\n    key",
        "    problem      no key",
        "  rolled  20261001-00:00:00  in use",
        "renew_expire_days_spread 5",
        "names                    example.com, www.example.com",
    ):
        assert text in done.stdout


def test_show_on_a_terminal() -> None:
    text = "certificate issued by ca/int, serial 0a1b, valid until the end of the next year"
    events = [("key-made", "20261001-00:00:00"), ("asked", None)]
    answer = {
        "cert": cert(),
        "decision": {"text": "nothing to do"},
        "sets": [],
        "history": [
            {"at": rfc3339(-1), "event": event, "set": name, "text": text} for event, name in events
        ],
        "config": {"names": " ".join(f"host{n}.example.com" for n in range(9))},
    }
    with FakeDaemon({Method.SHOW: result(answer)}) as fake:
        shown = on_terminal("show", WEB, "--socket", fake.path, columns=80, NO_COLOR="1")
    assert "decision" not in shown  # it is the reason
    lines = shown.splitlines()
    assert all(len(line) <= 80 for line in lines)
    names = next(n for n, line in enumerate(lines) if line.startswith("  names "))
    assert lines[names + 1].startswith(" " * 15 + "host")
    made, asked = (line for line in lines if "  key-made  " in line or "  asked  " in line)
    assert made.index("20261001") == asked.rindex("-")
    assert shown.count("valid until") == 2


def test_show_of_a_certificate_that_is_only_wanted() -> None:
    answer = {"cert": cert(curr=None), "decision": None, "sets": [], "history": [], "config": {}}
    done, _ = ask(Method.SHOW, result(answer), "show", WEB)
    assert done.returncode == 0
    assert "there is no certificate yet" in done.stdout
    assert "Sets" not in done.stdout


def test_plan() -> None:
    at = rfc3339(9)
    jobs = [
        {"cert": WEB, "job": "certify", "at": None, "state": "running", "reason": "20 d left"},
        {"cert": WEB, "job": "roll", "at": at, "state": "planned", "reason": "TLSA"},
    ]
    done, sent = ask(Method.PLAN, result({"jobs": jobs}), "plan", "example.com")
    assert (done.returncode, sent) == (0, {"certs": ["example.com"]})
    _, first, second = done.stdout.splitlines()
    assert first.split() == [WEB, "certify", "now", "running", "20", "d", "left"]
    assert second.split() == [WEB, "roll", at[:10], "planned", "TLSA"]


def test_an_empty_plan() -> None:
    done, sent = ask(Method.PLAN, result({"jobs": []}), "plan")
    assert (done.stdout, sent) == ("nothing to do\n", {"certs": None})


# --- renew, force-renew, roll --------------------------------------------------------------

PLAIN = {
    "certs": None,
    "all": False,
    "force": False,
    "reuse": False,
    "test": False,
    "dry_run": False,
    "wait": True,
}


@pytest.mark.parametrize(
    ("args", "sent"),
    [
        (["renew"], {}),
        (["renew", WEB, "x.de:a,b"], {"certs": [WEB, "x.de:a,b"]}),
        (["renew", "--reuse", "--test", WEB], {"certs": [WEB], "reuse": True, "test": True}),
        (["renew", "--dry-run", "--no-wait"], {"dry_run": True, "wait": False}),
        (["renew", "--force", WEB], {"certs": [WEB], "force": True}),
        (["renew", "--force", "--all"], {"all": True, "force": True}),
        (["force-renew", WEB], {"certs": [WEB], "force": True}),
        (["force-renew", "--all", "--reuse"], {"all": True, "force": True, "reuse": True}),
    ],
)
def test_what_renew_sends(args: list[str], sent: dict[str, Any]) -> None:
    done, params = ask(Method.RENEW, result(outcomes((WEB, "done", ""))), *args)
    assert (done.returncode, params) == (0, {**PLAIN, **sent})


@pytest.mark.parametrize(
    "args", [["force-renew"], ["renew", "--force"], ["force-renew", "--all", WEB]]
)
def test_forcing_all_has_to_be_meant(args: list[str]) -> None:
    done = sslmctl(*args, "--socket", "/nonexistent")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--all" in done.stderr


def test_progress_and_outcomes() -> None:
    def script(request: RpcRequest) -> list[Step]:
        end = outcomes((WEB, "done", "rolled"), ("x.de/a", "unneeded", ""))
        return [
            progress(WEB, "key-made", "key made (ec secp384r1), set 20261123-10:00:00"),
            Notification("heartbeat"),
            progress(WEB, "issued", ""),
            Response(request.id, end),
        ]

    done, _ = ask(Method.RENEW, script, "renew")
    assert done.returncode == 0
    assert done.stdout == f"{WEB}: done: rolled\nx.de/a: unneeded\n"
    assert done.stderr == (
        f"{WEB}: key made (ec secp384r1), set 20261123-10:00:00\n{WEB}: issued\n"
    )


def test_progress_does_not_repeat_the_outcome() -> None:
    issued = "certificate issued by ca/int"

    def script(request: RpcRequest) -> list[Step]:
        return [
            progress(WEB, "asked", "an admin asks to renew it"),
            progress("x.de/a", "ask-dropped", "the request is dropped: not due"),
            progress("x.de/b", "attempt-failed", "no answer"),
            progress(WEB, "cert-issued", issued),
            Response(request.id, outcomes((WEB, "done", issued))),
        ]

    done, _ = ask(Method.RENEW, script, "renew")
    assert done.stdout == f"{WEB}: done: {issued}\n"
    assert done.stderr == "x.de/b: no answer\n"


@pytest.mark.parametrize(
    ("outcome", "text", "line"),
    [
        ("unneeded", "not due until 2027-01-25", "{}: not due until 2027-01-25"),
        ("waiting", "on deck", "{}: waiting: on deck"),
        ("failed", "it is gone", "{}: failed: it is gone"),
        ("unneeded", "", "{}: unneeded"),
        ("done", "rolled", "{}: done: rolled"),
    ],
)
def test_an_outcome_is_a_line(outcome: str, text: str, line: str) -> None:
    done, _ = ask(Method.RENEW, result(outcomes((WEB, outcome, text))), "renew")
    assert done.stdout == line.format(WEB) + "\n"


@pytest.mark.parametrize(
    ("outcome", "exit_status"),
    [("done", 0), ("unneeded", 0), ("accepted", 0), ("waiting", 5), ("failed", 1), ("odd", 1)],
)
def test_one_failure_fails_the_command(outcome: str, exit_status: int) -> None:
    end = outcomes((WEB, "done", ""), ("x.de/a", outcome, "why"))
    done, _ = ask(Method.ROLL, result(end), "roll")
    assert done.returncode == exit_status
    shown = "" if outcome == "unneeded" else f"{outcome}: "
    assert f"x.de/a: {shown}why\n" in done.stdout


def test_roll() -> None:
    end = outcomes((WEB, "accepted", ""))
    done, sent = ask(Method.ROLL, result(end), "roll", WEB, "--force", "--no-wait")
    assert done.stdout == f"{WEB}: accepted\n"
    assert sent == {"certs": [WEB], "force": True, "wait": False}


def test_roll_back() -> None:
    end = outcomes((WEB, "done", "rolled and deployed"))
    _, sent = ask(Method.ROLL, result(end), "roll", "--back", WEB)
    assert sent == {"certs": [WEB], "force": False, "back": True, "wait": True}


def test_a_roll_before_its_time() -> None:
    text = f"{WEB}: rolls by itself on 2026-11-23 18:05"
    done, _ = ask(Method.ROLL, refusal(ErrorCode.REFUSED, text), "roll", WEB)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"sslmctl: {text}\n")


def test_a_failure_comes_before_a_wait() -> None:
    end = outcomes((WEB, "waiting", "for its CA"), ("x.de/a", "failed", "why"))
    done, _ = ask(Method.ROLL, result(end), "roll")
    assert done.returncode == 1


def test_nothing_to_renew() -> None:
    done, _ = ask(Method.RENEW, result(outcomes()), "renew")
    assert (done.returncode, done.stdout) == (0, "nothing to do\n")


@pytest.mark.parametrize(
    ("method", "stop"),
    # A delivery comes to its end: `cancel` would find nothing to stop.
    [(Method.RENEW, f". To stop it: sslmctl cancel {WEB}"), (Method.DELIVER, "")],
)
def test_ctrl_c_while_waiting_says_that_the_work_goes_on(method: Method, stop: str) -> None:
    with FakeDaemon({method: steps(progress(WEB, "key-made", "key made"))}) as fake:
        process = subprocess.Popen(
            command_line(str(method), WEB, "--socket", fake.path),
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        assert process.stderr.readline() == f"{WEB}: key made\n"
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "the daemon goes on" in rest
    assert f"see how far it is: sslmctl status {WEB}{stop}\n" in rest


def test_a_daemon_that_stops_amid_the_work() -> None:
    script = steps(progress(WEB, "key-made", "key made"), b'{"jsonrpc"', None)
    done, _ = ask(Method.RENEW, script, "renew")
    assert done.returncode == 3
    assert "hung up" in done.stderr
    assert "when it runs again" in done.stderr


# --- clean, cancel, reload, events ---------------------------------------------------------


def test_clean() -> None:
    end = {"removed": [{"cert": WEB, "set": "20250101-00:00:00"}]}
    done, sent = ask(Method.CLEAN, result(end), "clean", WEB)
    assert (done.stdout, sent) == (f"{WEB}: removed 20250101-00:00:00\n", {"certs": [WEB]})
    done, sent = ask(Method.CLEAN, result({"removed": []}), "clean")
    assert (done.stdout, sent) == ("nothing to remove\n", {"certs": None})
    _, sent = ask(Method.CLEAN, result({"removed": []}), "clean", "--keep", "0")
    assert sent == {"certs": None, "keep": 0}
    for number in ("-1", "some"):
        done = sslmctl("clean", f"--keep={number}")
        assert (done.returncode, "whole number" in done.stderr) == (2, True)


def test_cancel() -> None:
    end = {"cancelled": [{"cert": WEB, "text": "the renewal asked for is taken back"}]}
    done, sent = ask(Method.CANCEL, result(end), "cancel", WEB)
    assert done.stdout == f"{WEB}: the renewal asked for is taken back\n"
    assert sent == {"certs": [WEB]}
    done, sent = ask(Method.CANCEL, result({"cancelled": []}), "cancel")
    assert (done.stdout, sent) == ("nothing to cancel\n", {"certs": None})


def test_reload() -> None:
    end = {
        "text": "the configuration is in force",
        "added": [WEB],
        "removed": ["x.de/a"],
        "changed": ["y.de/b"],
        "warnings": ["ssl-mgr.conf:3: verbb: unknown; did you mean verb?"],
    }
    done, sent = ask(Method.RELOAD, result(end), "reload")
    assert (done.returncode, sent) == (0, {})
    assert done.stdout.splitlines() == [
        f"added    {WEB}",
        "changed  y.de/b",
        "removed  x.de/a",
        "configuration loaded: 1 added, 1 removed, 1 changed",
    ]
    assert done.stderr == "warning: ssl-mgr.conf:3: verbb: unknown; did you mean verb?\n"


def test_a_configuration_that_is_refused() -> None:
    mistakes = ["ssl-mgr.conf:3: verb: not a boolean; true or false", "ca-info.conf:9: \x1b[2J"]
    script = refusal(
        ErrorCode.CONFIG_REFUSED, "2 mistakes; the old one stays", {"mistakes": mistakes}
    )
    done, _ = ask(Method.RELOAD, script, "reload")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        mistakes[0],
        r"ca-info.conf:9: \x1b[2J",
        "sslmctl: 2 mistakes; the old one stays",
    ]


EVENT = {
    "at": NOW.isoformat(),
    "cert": WEB,
    "event": "rolled",
    "job": "roll",
    "set": "20261001-00:00:00",
    "text": "next is in use \x1b[5m",
    "priority": 6,
}


def with_events(request: RpcRequest) -> list[Step]:
    return [
        Notification("event", EVENT),
        Notification("event", {"text": "no time"}),
        Notification("other"),
        Response(request.id, {"count": 2}),
    ]


def test_events() -> None:
    done, sent = ask(Method.EVENTS, with_events, "events", WEB)
    assert (done.returncode, sent) == (0, {"certs": [WEB], "follow": False})
    assert done.stdout.splitlines() == [
        rf"{NOW:%Y-%m-%d %H:%M:%S} UTC  {WEB}  rolled  next is in use \x1b[5m",
        "-  no time",
    ]


def test_events_as_json() -> None:
    done, _ = ask(Method.EVENTS, with_events, "events", "--json")
    first, second = done.stdout.splitlines()
    assert json.loads(first) == EVENT
    assert json.loads(second) == {"text": "no time"}
    assert "\x1b" not in done.stdout


def test_events_are_followed_until_ctrl_c() -> None:
    with FakeDaemon({Method.EVENTS: steps(Notification("event", EVENT))}) as fake:
        process = subprocess.Popen(
            command_line("events", "--follow", "--socket", fake.path),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert WEB in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "", "")
    assert fake.params == {"certs": None, "follow": True}


# --- the command line ----------------------------------------------------------------------


def test_no_daemon() -> None:
    done = sslmctl("status", "--socket", "/nonexistent/s")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "sslmctl: no daemon answers at /nonexistent/s; start it (systemctl start sslmd) or name "
        "its socket with --socket\n"
    )


def test_not_permitted() -> None:
    done, _ = ask(Method.CLEAN, refusal(ErrorCode.NOT_PERMITTED, "only root may clean"), "clean")
    user = pwd.getpwuid(os.geteuid()).pw_name
    expected = f"sslmctl: only root may clean (the daemon runs as {user})\n"
    assert (done.returncode, done.stderr) == (4, expected)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["frobnicate"],
        ["--socket"],
        ["status", "--jsn"],
        ["status", "--json", "--watch"],
        ["show"],
        ["show", "a", "b"],
        ["reload", "x"],
        ["check", "-w", "soon"],
        ["check", "-w", "-1"],
        ["check", "-w", "3", "-c", "5"],
        ["completion", "fish"],
        ["restart"],
        ["deliver", "--to"],
        ["roll", "--back"],
    ],
)
def test_usage_errors(args: list[str]) -> None:
    done = sslmctl(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_a_mistyped_command() -> None:
    done = sslmctl("sttus")
    assert done.returncode == 2
    assert done.stderr.endswith("error: there is no command sttus; did you mean status?\n")
    for word in ("_nams", "xyzzy\x1b"):
        done = sslmctl(word)
        assert done.returncode == 2
        assert "_names" not in done.stderr
        assert "\x1b" not in done.stderr


def test_an_unknown_option_shows_the_usage_of_its_command() -> None:
    done = sslmctl("status", "--bogus")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sslmctl status ")
    assert "--bogus" in done.stderr


def test_help_names_every_command_but_the_hidden_one() -> None:
    done = sslmctl("--help")
    assert done.returncode == 0
    for name in ("status", "show", "plan", "events", "check", "renew", "force-renew", "roll"):
        assert f"\n    {name} " in done.stdout
    assert "_names" not in done.stdout


def test_version() -> None:
    done = sslmctl("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("sslmctl ")


def test_a_reader_that_has_enough_hears_no_complaint() -> None:
    read, write = os.pipe()
    os.close(read)
    with FakeDaemon({Method.EVENTS: with_events}) as fake:
        done = subprocess.run(
            command_line("events", "--socket", fake.path),
            env=environment(),
            stdout=write,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_full_disk_is_told() -> None:
    with FakeDaemon({Method.EVENTS: with_events}) as fake, open("/dev/full", "w") as full:
        done = subprocess.run(
            command_line("events", "--socket", fake.path),
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"sslmctl: cannot write the output: No space left")


def loaded(code: str, *args: str) -> set[str]:
    """The modules that an interpreter has loaded when it is done with `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(*sorted(sys.modules), file=sys.stderr)", *args],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stderr.split())


def test_nothing_heavy_is_loaded_for_a_pipe() -> None:
    bare = loaded("import sys")  # the finder of an editable installation has loaded some already
    code = "import sys; from sslmd.ctl.main import main; assert main(sys.argv[1:]) == 0"
    with FakeDaemon({Method.PLAN: result({"jobs": []})}) as fake:
        ours = loaded(code, "plan", "--socket", fake.path) - bare
    heavy = {"asyncio", "dataclasses", "inspect", "typing", "pydantic", "rich", "ipaddress"}
    assert "sslmd.ctl.listings" in ours
    assert not heavy & ours
