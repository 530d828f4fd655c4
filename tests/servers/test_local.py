"""Which hosts are this machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys

import pytest

from sslmd.servers.local import is_local


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "localhost.localdomain", "127.0.0.1", "127.1.2.3", "::1"]
)
def test_local(host: str) -> None:
    assert is_local(host)


def test_its_own_name_and_address() -> None:
    assert is_local(socket.gethostname())
    assert is_local(socket.gethostname().upper() + ".")


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.7",
        "2001:db8::7",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "no-such-host.invalid",
        "a..b",
        "x" * 300,
        "",
    ],
)
def test_not_local(host: str) -> None:
    assert not is_local(host)


_IN_A_NET = """
set -e
ip link set lo up
ip addr add 192.0.2.10/32 dev lo
ip -6 addr add 2001:db8::10/128 dev lo
ip route add 198.51.100.0/24 dev lo
echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind
echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind
exec "$0" -c '
from sslmd.servers.local import is_local
hosts = "192.0.2.10 2001:db8::10 192.0.2.11 2001:db8::11 198.51.100.1 0.0.0.0 224.0.0.1"
print([is_local(host) for host in hosts.split()])
'
"""


def test_where_any_address_can_be_bound() -> None:
    """As keepalived's machines are set up: what can be bound proves nothing."""
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("ip") is None:
        pytest.skip("unshare or ip is not installed")
    command = [unshare, "--net", "sh", "-c", _IN_A_NET, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
    assert done.stdout.strip() == str([True, True, False, False, False, False, False])
