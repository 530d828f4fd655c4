"""Messages handed over: who took one, what failed, and that no error has an address in it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.config.kinds import NotifyAddress
from sslmd.config.model import NotifyOptions
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.core.trouble import Severity
from sslmd.core.words.sentence import say
from sslmd.wire import sending
from sslmd.wire.sending import SendAnswer, SendFailure, ToSend
from sslmd.workers.notify import PLACES, PLACES_OF_ONE, Outgoing, Sender, failure_of, without
from tests.stand.server import ROOT
from tests.stand.tools import MAIN, NOW, Site

SECRET = "s3cr3t-p455"
FIRST, SECOND = f"ntfys://admin:{SECRET}@one.example.com/t", f"slack://{SECRET}/b/c"
WHAT = Outgoing("subject", ("line",), Severity.WARNING, {"alarms": [{"id": "dane-1"}]})

Answer = Callable[[ToSend], Awaitable[bytes]]


def configured(top: Path, table: str) -> tuple[Site, NotifyOptions]:
    site = Site(top, f"{MAIN}\n[[notify]]\nname = 'admins'\n{table}\n")
    (one,) = site.tools.site.config.notify
    return site, one


def sender(site: Site, socket: object = "/nowhere", script: str = "raise SystemExit(9)") -> Sender:
    command = (sys.executable, "-I", "-c", script)
    return Sender(site.tools.site, site.tools.threads, socket=str(socket), command=command)


@asynccontextmanager
async def listening(path: Path, answer: Answer) -> AsyncIterator[list[ToSend]]:
    """Stand for systemd's socket and the program behind it."""
    came: list[ToSend] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            message = ToSend.read(await reader.read())
            came.append(message)
            writer.write(await answer(message))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield came
    finally:
        server.close()


async def taken(_: ToSend) -> bytes:
    return SendAnswer().dump()


# --- by the socket ----------------------------------------------------------------------


async def test_each_address_has_a_message_of_its_own(tmp_path: Path) -> None:
    site, to = configured(tmp_path, f"to = ['{FIRST}', '{SECOND}']")
    async with listening(tmp_path / "s", taken) as came:
        done = await sender(site, tmp_path / "s").hand_over(WHAT, to)
    assert (done.took, done.failure) == ((0, 1), None)
    assert {one.address for one in came} == {FIRST, SECOND}
    assert {(one.subject, one.lines, one.severity) for one in came} == {
        ("subject", ("line",), Severity.WARNING)
    }


async def test_one_that_fails_is_tried_again_without_the_others(tmp_path: Path) -> None:
    site, to = configured(tmp_path, f"to = ['{FIRST}', '{SECOND}']")

    async def answer(message: ToSend) -> bytes:
        if message.address == SECOND:
            return SendAnswer(SendFailure.STATUS, 500).dump()
        return SendAnswer().dump()

    async with listening(tmp_path / "s", answer) as came:
        handing = sender(site, tmp_path / "s")
        done = await handing.hand_over(WHAT, to)
        assert done.took == (0,)
        assert isinstance(done.failure, Transient)
        assert str(done.failure).startswith("slack (2 of to): ")
        came.clear()
        with pytest.raises(Transient):
            await handing.hand_over(WHAT, to, (1,))
        assert [one.address for one in came] == [SECOND]


async def test_all_that_failed_is_one_failure(tmp_path: Path) -> None:
    site, to = configured(tmp_path, f"to = ['{FIRST}', '{SECOND}']")

    async def answer(message: ToSend) -> bytes:
        if message.address == SECOND:
            return SendAnswer(SendFailure.BAD_ADDRESS).dump()
        return SendAnswer(SendFailure.STATUS, 429, 120).dump()

    async with listening(tmp_path / "s", answer):
        with pytest.raises(Permanent) as err:
            await sender(site, tmp_path / "s").hand_over(WHAT, to)
    assert {one.code for one in err.value.reason.within()} >= {
        Failed.NOTIFY_STATUS,
        Failed.NOTIFY_ADDRESS,
    }
    assert SECRET not in str(err.value)


async def test_a_server_says_when_to_try_again(tmp_path: Path) -> None:
    site, to = configured(tmp_path, f"to = '{FIRST}'")

    async def answer(_: ToSend) -> bytes:
        return SendAnswer(SendFailure.STATUS, 429, 120).dump()

    async with listening(tmp_path / "s", answer):
        with pytest.raises(Transient) as err:
            await sender(site, tmp_path / "s").hand_over(WHAT, to)
    assert err.value.retry_at == NOW + timedelta(minutes=2)


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"{}", b"\xff" * 100, b"x" * 10_000_000, b'{"failure": "' + SECRET.encode() + b'"}'],
)
async def test_an_answer_that_is_none_is_a_failure(nonsense: bytes, tmp_path: Path) -> None:
    site, to = configured(tmp_path, f"to = '{FIRST}'")

    async def answer(_: ToSend) -> bytes:
        return nonsense

    async with listening(tmp_path / "s", answer):
        with pytest.raises(Transient) as err:
            await sender(site, tmp_path / "s").hand_over(WHAT, to)
    assert err.value.reason.code is Failed.SENDER_SILENT
    assert SECRET not in str(err.value)


@pytest.mark.virtual_time
async def test_one_that_hangs_is_given_up(tmp_path: Path) -> None:
    site, to = configured(tmp_path, f"to = '{FIRST}'")
    never = asyncio.Event()

    async def answer(_: ToSend) -> bytes:
        await never.wait()
        return b""

    async with listening(tmp_path / "s", answer):
        began = asyncio.get_running_loop().time()
        with pytest.raises(Transient) as err:
            await sender(site, tmp_path / "s").hand_over(WHAT, to)
        assert asyncio.get_running_loop().time() - began < 2 * sending.SECONDS
        never.set()
    assert err.value.reason.code is Failed.NOTIFY_OVERDUE


async def test_only_so_many_are_under_way(tmp_path: Path) -> None:
    """Of all, and of one notifier: others have their places when its addresses hang."""
    many = [f"ntfys://one.example.com/{number}" for number in range(12)]
    site, one = configured(tmp_path, f"to = {many}")
    other = replace(one, name="other", to=tuple(NotifyAddress(f"{to.text}/x") for to in one.to))
    now = Counter[bool]()
    most = Counter[bool | str]()

    async def answer(message: ToSend) -> bytes:
        whose = message.address.endswith("/x")
        now[whose] += 1
        most[whose] = max(most[whose], now[whose])
        most["all"] = max(most["all"], now.total())
        for _ in range(5):
            await asyncio.sleep(0)
        now[whose] -= 1
        return SendAnswer().dump()

    async with listening(tmp_path / "s", answer):
        handing = sender(site, tmp_path / "s")
        addresses = [handing.hand_over(WHAT, one, (at,)) for at in range(12)]
        done = await asyncio.gather(*addresses, *(handing.hand_over(WHAT, other) for _ in "ab"))
    assert sum(len(part.took) for part in done) == 36
    assert (most[False], most[True], most["all"]) == (PLACES_OF_ONE, PLACES_OF_ONE, PLACES)


# --- by a program of the daemon's own ---------------------------------------------------

# Notes what others could see of it, and answers.
_NOTES = """
import json, os, sys
request = json.loads(sys.stdin.read())
seen = [open("/proc/self/cmdline").read(), dict(os.environ), os.getcwd()]
print("something that Python says")
print(json.dumps({"failure": "sendmail", "number": 75, "retry_after": 0, "why": "",
                  "said": json.dumps([request["address"] in repr(seen), sorted(os.environ)])}))
"""


@pytest.mark.parametrize("there", ["nothing", "a file", "nobody listens"])
async def test_without_a_socket_the_daemon_starts_the_program(there: str, tmp_path: Path) -> None:
    site, to = configured(tmp_path, "to = 'mailto:root'")
    path = tmp_path / "s"
    if there == "a file":
        path.touch()
    elif there == "nobody listens":
        async with listening(path, taken):
            pass
    os.environ["SSLMD_SOMETHING"] = SECRET
    try:
        with pytest.raises(Transient) as err:
            await sender(site, path, _NOTES).hand_over(WHAT, to)
    finally:
        del os.environ["SSLMD_SOMETHING"]
    seen, names = json.loads(str(err.value.reason["said"]))
    assert not seen
    assert "SSLMD_SOMETHING" not in names
    assert str(err.value).startswith("mailto:root: sendmail exited with 75")


async def test_a_program_that_does_not_answer(tmp_path: Path) -> None:
    site, to = configured(tmp_path, f"to = '{FIRST}'")
    with pytest.raises(Transient) as err:
        await sender(site).hand_over(WHAT, to)
    assert err.value.reason.code is Failed.SENDER_SILENT
    script = f"import sys; sys.stdin.read(); raise ValueError({FIRST!r})"
    with pytest.raises(Transient) as err:
        await sender(site, script=script).hand_over(WHAT, to)
    assert SECRET not in str(err.value)


async def test_the_program_itself(tmp_path: Path) -> None:
    """The command of the daemon, with an address that reaches nobody."""
    site, _ = configured(tmp_path, "to = 'mailto:root'")
    (one,) = site.tools.site.config.notify
    (address,) = one.to
    bad = replace(one, to=(replace(address, text="mailto:-bad"),))
    handing = Sender(site.tools.site, site.tools.threads, socket="/nowhere")
    with pytest.raises(Permanent) as err:
        await handing.hand_over(WHAT, bad)
    assert err.value.reason.code is Failed.NOTIFY_ADDRESS


# --- files, and commands ----------------------------------------------------------------


async def test_a_file_of_addresses_is_read_for_each_message(tmp_path: Path) -> None:
    who = tmp_path / "who"
    who.write_text(f"{FIRST}\n")
    who.chmod(0o600)
    site, to = configured(tmp_path, f"to_file = '{who}'")
    async with listening(tmp_path / "s", taken) as came:
        handing = sender(site, tmp_path / "s")
        await handing.hand_over(WHAT, to)
        who.write_text(f"# {FIRST}\n{SECOND}\n")
        await handing.hand_over(WHAT, to)
        assert [one.address for one in came] == [FIRST, SECOND]
        for text, mode, code in (
            ("# nobody\n", 0o600, Failed.NOTIFY_NOBODY),
            (f"slak://{SECRET}\n", 0o600, Failed.NOTIFY_FILE),
            (FIRST, 0o622, Failed.NOTIFY_FILE),
        ):
            who.write_text(text)
            who.chmod(mode)
            with pytest.raises(Permanent) as err:
                await handing.hand_over(WHAT, to)
            assert err.value.reason.code is code
            assert SECRET not in str(err.value)
        who.unlink()
        with pytest.raises(Permanent):
            await handing.hand_over(WHAT, to)
        assert len(came) == 2


_KEEPS = """#!/bin/sh
echo "$@" >{top}/args
cat >{top}/given
exit {status}
"""


async def test_a_command_gets_the_whole_as_json(tmp_path: Path) -> None:
    command = tmp_path / "page"
    command.write_text(_KEEPS.format(top=tmp_path, status=0))
    command.chmod(0o755)
    site, to = configured(tmp_path, f"command = ['{command}', '--to', 'a b']")
    hostile = Outgoing("s\n\x1b[2J", ("a\r\nb", "\u202e"), Severity.CRITICAL, WHAT.document)
    done = await sender(site).hand_over(hostile, to)
    assert (done.took, done.failure) == ((0,), None)
    assert (tmp_path / "args").read_text() == "--to a b\n"
    given = (tmp_path / "given").read_text()
    assert given.endswith("\n")
    assert given.count("\n") == 1
    assert json.loads(given) == {
        "subject": "s \\x1b[2J",
        "lines": ["a b", "\\u202e"],
        "severity": "critical",
        "alarms": [{"id": "dane-1"}],
    }


async def test_a_command_that_fails(tmp_path: Path) -> None:
    command = tmp_path / "page"
    command.write_text(_KEEPS.format(top=tmp_path, status=3))
    command.chmod(0o755)
    site, to = configured(tmp_path, f"command = '{command}'")
    with pytest.raises(Transient) as err:
        await sender(site).hand_over(WHAT, to)
    assert (err.value.reason.code, err.value.reason["status"]) == (Failed.COMMAND_EXITED, 3)
    command.unlink()
    with pytest.raises(Permanent) as gone:
        await sender(site).hand_over(WHAT, to)
    remedy = gone.value.reason["remedy"]
    assert isinstance(remedy, Reason)
    assert remedy.code is Failed.FIX_NOTIFY_COMMAND


# --- errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("failure", SendFailure)
def test_every_failure_is_told_with_the_way_out(failure: SendFailure) -> None:
    answer = SendAnswer(failure, 429, 120, "not-trusted", "it said so")
    error = failure_of(answer, "ntfys", FIRST, NOW)
    assert isinstance(error, SslmError)
    assert str(error).startswith("ntfys: ")
    assert str(error) == say(error.reason)


def test_what_the_program_makes_up_is_no_code() -> None:
    """It may have been taken over by what it read."""
    error = failure_of(
        SendAnswer(SendFailure.UNREACHED, why="keys-closed", said="x"), "ntfys", FIRST, NOW
    )
    why = error.reason["why"]
    assert isinstance(why, Reason)
    assert why.code is Failed.NOT_ANSWERED


@pytest.mark.parametrize(
    "said",
    [
        f"cannot log in as admin with {SECRET}",
        "no host one.example.com",
        f"GET {FIRST}",
        "cannot find s3cr3t-p455 here",
    ],
)
def test_words_with_a_part_of_the_address_are_left_out(said: str) -> None:
    assert without(said, FIRST) == ""
    assert without(said, FIRST.replace("s3cr3t", "s3c%723t")) == ""
    assert without("certificate has expired", FIRST) == "certificate has expired"
    assert without("root: no such user", "mailto:root") == "root: no such user"


def test_neither_the_daemon_nor_its_client_loads_apprise() -> None:
    code = """
import sys
import sslmd.daemon.main, sslmd.workers.notify, sslmd.ctl.main, sslmd.ctl.status
assert "apprise" not in sys.modules and "requests" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
