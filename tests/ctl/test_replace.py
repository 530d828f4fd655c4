"""`sslmctl replace`: what it asks, sends, shows, and exits with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from sslmd.wire.messages import ErrorCode, Message, Method, Outcome, Response, RpcRequest
from tests.ctl.fake_daemon import FakeDaemon, Script, progress, refusal, sslmctl

WEB, MAIL = "example.com/web-ec", "example.com/mail-ec"
AHEAD = {"ca": "le", "number": 2, "text": "2 certificates of le: about 7 h"}


def row(cert: str, outcome: str, text: str = "x") -> dict[str, str]:
    return {"cert": cert, "outcome": outcome, "text": text}


def daemon(rows: Sequence[dict[str, str]] = (), *told: Message) -> Script:
    """Tells how long it takes, then does it."""

    def answer(request: RpcRequest) -> Iterable[Message]:
        if request.params.get("forecast"):
            return [Response(request.id, {"forecast": [AHEAD], "certs": []})]
        return [*told, Response(request.id, {"forecast": [AHEAD], "certs": list(rows)})]

    return answer


def run(script: Script, *args: str) -> tuple[Any, list[dict[str, Any]]]:
    with FakeDaemon({Method.REPLACE: script}) as fake:
        done = sslmctl("--socket", fake.path, "replace", *args)
        return done, [request.params for request in fake.requests]


def test_it_tells_how_long_it_takes_and_does_it() -> None:
    rows = [row(WEB, Outcome.DONE), row(MAIL, Outcome.DONE)]
    done, (ahead, sent) = run(daemon(rows), "--ca", "le", "--yes")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [AHEAD["text"], "2 done"]
    wish = {"ca": "le", "all": False, "revoked": False, "dry_run": False}
    assert ahead == {**wish, "forecast": True}
    assert sent == {**wish, "wait": True}


@pytest.mark.parametrize(
    ("word", "status"),
    [
        (Outcome.DONE, 0),
        (Outcome.ACCEPTED, 0),
        (Outcome.UNNEEDED, 0),
        (Outcome.WAITING, 5),
        (Outcome.FAILED, 1),
    ],
)
def test_exit_statuses(word: str, status: int) -> None:
    rows = [row(WEB, Outcome.DONE), row(MAIL, word, "because of this")]
    done, _ = run(daemon(rows), "--all", "--yes")
    assert done.returncode == status
    # What went well needs no line of its own among a thousand.
    told = f"{MAIL}: {word}: because of this" in done.stdout
    assert told is (word not in (Outcome.DONE, Outcome.ACCEPTED))
    assert WEB not in done.stdout


def test_progress_of_the_whole_is_shown_and_that_of_each_is_not() -> None:
    told = (
        progress("", "replacing", "1 of 2 done"),
        progress(WEB, "cert-issued", "issued"),
        progress(MAIL, "attempt-failed", "no such zone"),
    )
    done, _ = run(daemon([row(WEB, Outcome.DONE)], *told), "--ca", "le", "--yes", "--revoked")
    assert done.stderr.splitlines() == ["1 of 2 done", f"{MAIL}: no such zone"]


def test_nobody_to_ask() -> None:
    done, sent = run(daemon(), "--ca", "le")
    assert done.returncode == 2
    assert AHEAD["text"] in done.stdout
    assert "--yes" in done.stderr
    assert [one.get("forecast") for one in sent] == [True]


@pytest.mark.parametrize("args", [(), ("--ca", "le", "--all"), ("--all", "--dry-run", "--revoked")])
def test_what_does_not_go_together(args: Sequence[str]) -> None:
    done, sent = run(daemon(), *args)
    assert (done.returncode, sent) == (2, [])


def test_a_drill_asks_nobody_and_says_so_to_the_daemon() -> None:
    done, (_, sent) = run(daemon([row(WEB, Outcome.DONE)]), "--all", "--dry-run", "--no-wait")
    assert done.returncode == 0
    assert sent == {"ca": "", "all": True, "revoked": False, "dry_run": True, "wait": False}


def test_a_ca_that_is_not_known() -> None:
    done, sent = run(refusal(ErrorCode.REFUSED, "no CA called nobody"), "--ca", "nobody", "--yes")
    assert done.returncode == 1
    assert "nobody" in done.stderr
    assert len(sent) == 1


def test_nothing_to_do() -> None:
    done, _ = run(daemon(), "--all", "--yes")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "nothing to do")
