"""Whatever answers at the socket, the user is told what it is and what to do."""

from __future__ import annotations

import grp
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sslmd.console.client import DaemonClient
from sslmd.console.program import (
    FAILED,
    NO_DAEMON,
    NOT_PERMITTED,
    CtlError,
    NoDaemon,
    RefusedByDaemon,
)
from sslmd.wire.messages import (
    ErrorCode,
    Method,
    Notification,
    Response,
    RpcRequest,
    WireError,
    encode,
    hello,
)
from tests.ctl.fake_daemon import FakeDaemon, Step, progress, refusal, result, steps


def failure(fake: FakeDaemon, timeout: float = 5.0) -> CtlError:
    with fake, pytest.raises(CtlError) as caught, DaemonClient(fake.path, timeout) as daemon:
        daemon.call(Method.STATUS)
    return caught.value


def test_call_hands_over_progress_and_returns_the_result() -> None:
    def script(request: RpcRequest) -> list[Step]:
        return [progress("a/b", "x", "one"), progress("a/b", "x", "two"), Response(request.id, 7)]

    seen: list[Notification] = []
    with FakeDaemon({Method.RENEW: script}) as fake, DaemonClient(fake.path) as daemon:
        assert daemon.call(Method.RENEW, {"wait": True}, on_notice=seen.append) == 7
        assert daemon.call(Method.RENEW) == 7
    assert [notice.params["text"] for notice in seen] == ["one", "two"]
    assert fake.requests[0].params == {"wait": True}
    assert fake.requests[0].id != fake.requests[1].id


def test_an_answer_of_many_megabytes_in_pieces() -> None:
    text = "x" * 5_000_000
    with FakeDaemon({Method.STATUS: result(text)}) as fake, DaemonClient(fake.path) as daemon:
        assert daemon.call(Method.STATUS) == text
        assert daemon.call_raw(Method.STATUS) == b'"' + text.encode() + b'"'


def test_raw_results_with_other_spacing_or_notices_before_them() -> None:
    def script(request: RpcRequest) -> list[Step]:
        return [
            progress("a/b", "x", "one"),
            b'{ "jsonrpc": "2.0", "id": %d, "result": {"a": 1} }\n' % int(request.id or 0),
        ]

    with FakeDaemon({Method.STATUS: script}) as fake, DaemonClient(fake.path) as daemon:
        raw = daemon.call_raw(Method.STATUS)
    assert raw == b'{"jsonrpc":"2.0","id":1,"result":{"a":1}}'


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(CtlError, match=r"no daemon answers at .*/none; start it") as caught:
        DaemonClient(str(tmp_path / "none"))
    assert caught.value.exit_status == NO_DAEMON


def test_a_socket_left_behind(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
    with pytest.raises(CtlError, match="no daemon answers") as caught:
        DaemonClient(path)
    assert caught.value.exit_status == NO_DAEMON


def test_a_path_too_long_for_a_socket() -> None:
    with pytest.raises(CtlError, match=r"no daemon answers .*too long"):
        DaemonClient("/" + "x" * 200)


def test_a_daemon_that_does_not_greet() -> None:
    error = failure(FakeDaemon(greeting=()), timeout=0.05)
    assert "does not answer" in error.text
    assert error.exit_status == NO_DAEMON


def test_a_greeting_that_trickles_has_to_end_in_time() -> None:
    error = failure(FakeDaemon(greeting=(b'{"jsonrpc"', b":")), timeout=0.05)
    assert "does not answer" in error.text


def test_a_daemon_that_accepts_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(path)
        server.listen(0)
        first.connect(path)
        with pytest.raises(CtlError, match="does not answer") as caught:
            DaemonClient(path, 0.05)
    assert caught.value.exit_status == NO_DAEMON


@pytest.mark.parametrize(
    "greeting",
    [
        b"220 mail.example.com ESMTP\r\n",
        b"{}\n",
        b'{"jsonrpc":"2.0","method":"hello","params":{}}\n',
        b'{"jsonrpc":"2.0","method":"hi","params":{"daemon":"sslmd","api":1}}\n',
        b"\xff\x00\n",
    ],
)
def test_something_else_answers(greeting: bytes) -> None:
    error = failure(FakeDaemon(greeting=(greeting,)))
    assert "is not sslmd" in error.text
    assert error.exit_status == NO_DAEMON


def test_a_daemon_of_another_api() -> None:
    greeting = Notification("hello", {"daemon": "sslmd", "version": "7.0", "api": 2})
    error = failure(FakeDaemon(greeting=(greeting,)))
    assert "sslmd 7.0" in error.text
    assert "version 2" in error.text
    assert error.exit_status == FAILED


def test_a_daemon_that_is_too_busy_says_so_in_place_of_the_greeting() -> None:
    busy = Response(None, error=WireError(ErrorCode.LIMIT, "too many connections; try again later"))
    error = failure(FakeDaemon(greeting=(busy, None)))
    assert isinstance(error, RefusedByDaemon)
    assert error.text == "too many connections; try again later"


@pytest.mark.parametrize(
    ("script", "text", "exit_status"),
    [
        (steps(None), "hung up before it had answered", NO_DAEMON),
        (steps(b'{"jsonrpc":"2.0","id":1,"res', None), "hung up", NO_DAEMON),
        (steps(b"garbage\n"), "cannot be read", FAILED),
        (steps(b"\xff\xfe\n"), "cannot be read", FAILED),
        (steps(b"[" * 100_000 + b"\n"), "nested too deeply", FAILED),
        (steps(Response(99, "x")), "belongs to no question", FAILED),
        (steps(RpcRequest(1, "status")), "belongs to no question", FAILED),
        (steps(Response(None, error=WireError(-32005, "idle"))), "idle", FAILED),
        (refusal(ErrorCode.REFUSED, "not before noon"), "not before noon", 1),
        (refusal(ErrorCode.NOT_PERMITTED, "only root may"), "only root may", NOT_PERMITTED),
        (refusal(ErrorCode.UNKNOWN_CERT, "no such thing"), "no such thing", 2),
        (refusal(ErrorCode.CONFIG_REFUSED, "mistakes"), "mistakes", 1),
        (refusal(ErrorCode.LIMIT, "too busy"), "too busy", 1),
        (refusal(ErrorCode.STOPPING, "it stops"), "it stops", NO_DAEMON),
        (refusal(ErrorCode.INTERNAL_ERROR, "a bug"), "a bug", 1),
        (refusal(-1, "of another version"), "of another version", 1),
    ],
)
def test_what_goes_wrong_in_a_request(script: object, text: str, exit_status: int) -> None:
    error = failure(FakeDaemon({Method.STATUS: script}))  # type: ignore[dict-item]
    assert text in error.text
    assert error.exit_status == exit_status


def test_a_silent_daemon_is_not_waited_for_without_end() -> None:
    with FakeDaemon({Method.STATUS: steps()}) as fake, DaemonClient(fake.path) as daemon:
        with pytest.raises(CtlError, match="does not answer"):
            daemon.call(Method.STATUS, timeout=0.05)


def test_a_daemon_that_is_gone_when_it_is_asked() -> None:
    last_words = encode(Response(None, error=WireError(ErrorCode.LIMIT, "idle for too long")))
    with FakeDaemon(greeting=(hello("1"), last_words, None)) as fake:
        with DaemonClient(fake.path) as daemon, pytest.raises(CtlError, match="idle for too long"):
            daemon.call(Method.STATUS)


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user without rights, if we are root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("mode", "gid", "text"),
    [
        (0o755, 0, "that needs root"),
        (0o755, 1, "or the group {group}"),
        (0o700, 1, "that needs root"),
    ],
)
def test_not_permitted_says_which_group_to_join(mode: int, gid: int, text: str) -> None:
    if os.geteuid() != 0 and mode == 0o755:
        pytest.skip("giving a socket to another group needs root")
    with FakeDaemon() as fake:
        folder = Path(fake.path).parent
        if os.geteuid() == 0:
            os.chown(fake.path, 0, gid)
        Path(fake.path).chmod(0o610)  # no right to write: we keep our groups
        folder.chmod(mode if os.geteuid() == 0 else 0o600)
        try:
            with nobody(), pytest.raises(CtlError) as caught:
                DaemonClient(fake.path)
        finally:
            folder.chmod(0o700)
    assert text.format(group=grp.getgrgid(gid).gr_name) in caught.value.text
    assert caught.value.exit_status == NOT_PERMITTED


def test_a_path_that_is_no_socket(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "file"):
        if path != tmp_path:
            path.touch()
        with pytest.raises(NoDaemon, match=f"{path} is no socket; name"):
            DaemonClient(str(path))
