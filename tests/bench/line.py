"""A long line between two networks on one machine: what goes in comes out a while later.

The daemon is at the near end, the hosts are at the far one, each end a network namespace. Between
them are two TUN devices and a process that keeps every packet for a while, as netem(8) does in
kernels that have it. TCP, ssh and rsync see nothing but a slow network.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from tests.servers.server import PLACES

NEAR = "10.77.0.1"

# linux/if_tun.h, linux/sched.h
_TUNSETIFF = 0x400454CA
_TUN_NO_INFO = 0x1001
_NEW_NETWORK = 0x40000000

# Bytes of a packet, and packets of a burst: none is to be lost.
_MTU = 1500
_BURST = 10_000

_libc = ctypes.CDLL(None, use_errno=True)


def far(number: int) -> str:
    """Return the address of a host at the far end."""
    return f"10.77.1.{number}"


def missing() -> str:
    """Return what keeps us from having a line, or nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip", path=PLACES):
        return "ip (iproute2) is missing"
    return "" if os.path.exists("/dev/net/tun") else "this kernel has no TUN devices"


class Line:
    """A line that takes `delay` seconds in each direction, to so many hosts."""

    def __init__(self, delay: float, hosts: int) -> None:
        command = [sys.executable, "-m", "tests.bench.line", str(delay), str(hosts)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        near, _, away = self._process.stdout.readline().strip().partition(" ")
        if not away:
            self._process.wait()
            raise OSError("there is no line; see what was said above")
        self._near, self._far = (self._open(number) for number in (near, away))

    def _open(self, number: str) -> int:
        return os.open(f"/proc/{self._process.pid}/fd/{number}", os.O_RDONLY)

    @contextmanager
    def near_end(self) -> Iterator[None]:
        """Be at the near end, with what is started meanwhile from this thread."""
        with _in_network(self._near):
            yield

    @contextmanager
    def far_end(self) -> Iterator[None]:
        """Be at the far end."""
        with _in_network(self._far):
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        os.close(self._near)
        os.close(self._far)


@contextmanager
def _in_network(handle: int) -> Iterator[None]:
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.setns(handle, _NEW_NETWORK))
        yield
    finally:
        _check(_libc.setns(before, _NEW_NETWORK))
        os.close(before)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# --- the process between the ends ---


def _new_end(own: list[str], others: str) -> tuple[int, int]:
    """Move to a new network with addresses of its own; return handles of its device and of it."""
    _check(_libc.unshare(_NEW_NETWORK))
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"line", _TUN_NO_INFO))
    lines = [
        "link set lo up",
        f"link set line mtu {_MTU} txqueuelen {_BURST} up",
        *(f"addr add {address}/32 dev lo" for address in own),
        f"route add {others} dev line src {own[0]}",
    ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    return device, os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _carry(devices: tuple[int, int], delay: float) -> None:
    """Carry packets from one device to the other until stdin is closed."""
    others = dict(zip(devices, reversed(devices), strict=True))
    under_way: deque[tuple[float, int, bytes]] = deque()
    stdin = sys.stdin.fileno()
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select([*devices, stdin], [], [], wait)
        if stdin in readable:
            return
        for device in readable:
            with suppress(BlockingIOError):
                while True:
                    packet = os.read(device, 2 * _MTU)
                    under_way.append((time.monotonic() + delay, others[device], packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _, device, packet = under_way.popleft()
            with suppress(OSError):
                os.write(device, packet)


def main() -> None:
    """Make both ends, tell their handles, and carry packets."""
    delay, hosts = float(sys.argv[1]), int(sys.argv[2])
    near, near_network = _new_end([NEAR], "10.77.1.0/24")
    away, far_network = _new_end([far(number + 1) for number in range(hosts)], "10.77.0.0/24")
    print(near_network, far_network, flush=True)
    _carry((near, away), delay)


if __name__ == "__main__":
    main()
