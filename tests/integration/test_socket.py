"""Bad clients cost nothing but their own connection (I9)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.stand.attacker import let_in
from tests.stand.server import ROOT
from tests.stand.site import PATIENCE, Site, ask

WEB = "example.com/web-ec"


def connect(site: Site) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(str(site.socket))
    return client


def lines_of(client: socket.socket) -> list[dict[str, Any]]:
    """Return everything that the daemon says until it hangs up."""
    data = b""
    while piece := _read(client):
        data += piece
    return [json.loads(line) for line in data.splitlines()]


def _read(client: socket.socket) -> bytes:
    try:
        return client.recv(1 << 16)
    except ConnectionResetError:
        return b""


GARBAGE = [
    b"\x00\xff\xfe garbage\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"[]\n",
    b'{"jsonrpc":"2.0","id":1}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"no-such"}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"status","params":{"nonsense":1}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"show","params":{"cert":"../../etc:passwd"}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"renew","params":{"certs":["example.com:no-such"]}}\n',
    b"[" * 100_000 + b"\n",
    b"{" * 500_000 + b"\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_gets_a_clear_error(site: Site, garbage: bytes) -> None:
    site.start()
    client = connect(site)
    client.sendall(garbage)
    client.shutdown(socket.SHUT_WR)
    hello, *answers = lines_of(client)
    assert hello["method"] == "hello"
    assert answers
    for answer in answers:
        assert answer["error"]["code"] < 0
        assert answer["error"]["message"]
    client.close()
    site.wait_settled()


def test_a_gigabyte_without_a_newline(site: Site) -> None:
    site.start()
    client = connect(site)
    piece = b"x" * (1 << 20)
    sent = 0
    with suppress(OSError):
        while sent < 1 << 30:
            client.sendall(piece)
            sent += len(piece)
    assert sent < 1 << 25, "the daemon hung up long before"
    client.close()
    site.wait_settled()


def test_half_a_message_and_silence_hold_up_nobody(site: Site) -> None:
    site.start()
    half, silent = connect(site), connect(site)
    half.sendall(b'{"jsonrpc":"2.0","id":1,"method":"sta')
    site.wait_settled()
    assert json.loads(half.makefile("rb").readline())["method"] == "hello"
    half.sendall(b'tus"}\n')
    assert json.loads(half.makefile("rb").readline())["id"] == 1
    half.close()
    silent.close()


def test_a_client_that_never_reads_holds_up_nobody(site: Site) -> None:
    site.start()
    site.wait_settled()
    deaf = connect(site)
    request = b'{"jsonrpc":"2.0","id":1,"method":"status","params":{}}\n'
    deaf.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            deaf.send(request)
    site.ctl("force-renew", WEB)
    deaf.close()
    assert site.status(WEB)[WEB]["next"]


async def test_five_hundred_clients_at_once(site: Site) -> None:
    site.start()
    site.wait_settled()

    async def one(number: int) -> int:
        reader, writer = await asyncio.open_unix_connection(str(site.socket))
        assert b"hello" in await reader.readline()
        request = {"jsonrpc": "2.0", "id": number, "method": "status", "params": {}}
        writer.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return len(answer["result"]["certs"])

    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(*(one(number) for number in range(500)))
    assert set(answers) == {len(site.status())}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_others_may_read_but_not_change(site: Site) -> None:
    """The socket is opened wide here, as the group of it would see it."""
    site.start()
    site.wait_settled()
    let_in(site.top)
    site.socket.chmod(site.socket.stat().st_mode | 0o006)
    code = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s.connect(sys.argv[1]); f = s.makefile('rwb'); f.readline()\n"
        "for line in sys.stdin.buffer:\n"
        "    f.write(line); f.flush(); sys.stdout.buffer.write(f.readline())\n"
    )
    requests = [
        {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        for method, params in (
            ("status", {}),
            ("renew", {"certs": [WEB], "force": True}),
            ("roll", {"certs": [WEB], "force": True}),
            ("clean", {}),
            ("reload", {}),
            ("cancel", {}),
            ("dane", {"now": True}),
        )
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, str(site.socket)],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        cwd=ROOT,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    assert "result" in answers[0]
    assert {answer["error"]["code"] for answer in answers[1:]} == {-32002}
    assert site.status(WEB)[WEB]["next"] is None


def test_the_socket_is_for_its_group_alone(site: Site) -> None:
    site.start()
    assert site.socket.stat().st_mode & 0o777 == 0o660


def test_a_second_daemon_does_not_take_the_socket(site: Site, tmp_path: Path) -> None:
    site.start()
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    other.socket = site.socket
    other.start(ready=False)
    assert other.wait() == 1
    assert "answers on" in other.lines[-1]
    assert site.status()


def test_a_stale_socket_is_replaced(site: Site) -> None:
    site.start()
    site.kill()
    assert site.socket.exists()
    site.start()
    assert site.status()
    site.stop()
    assert not site.socket.exists()


def test_a_request_is_answered_while_keys_are_made(site: Site) -> None:
    """RSA keys take seconds; asking takes none of them."""
    for name in ("web-rsa",):
        service = site.conf / "example.com" / name
        service.write_text(service.read_text().replace("rsa_bits = 2048", "rsa_bits = 4096"))
    site.start()
    site.wait_settled()
    answers = 0
    with connect(site) as client:
        client.makefile("rb").readline()
        ask(client, "renew", certs=["example.com:web-rsa"], force=True, wait=False)
        while True:
            one = ask(client, "status", certs=["example.com:web-rsa"])[-1]["result"]["certs"][0]
            answers += 1
            if one["next"] is not None:
                break
    assert answers > 1
