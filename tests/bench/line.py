"""A long line between two networks on one machine: what goes in comes out a while later.

The daemon is at the near end, the hosts are at the far one, each end a network namespace. Between
them are two TUN devices and a process that keeps every packet for a while, and lets each host have
only so many bytes a second, as netem(8) does in kernels that have it. TCP, ssh and rsync see
nothing but a slow network.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from tests.stand.server import PLACES

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
    """A line that takes `delay` seconds in each direction, to so many hosts.

    `rate`: bytes per second to each host, and from it; 0 for as many as there are.
    """

    def __init__(self, delay: float, hosts: int, rate: float = 0.0) -> None:
        command = [sys.executable, "-m", "tests.bench.line", str(delay), str(hosts), str(rate)]
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


class _Carrier:
    """Keeps packets until they are to come out, each host's in the order in which they went in."""

    def __init__(self, devices: tuple[int, int], delay: float, rate: float) -> None:
        self._near, self._away = devices
        self._delay, self._rate = delay, rate
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._free_at: dict[tuple[int, bytes], float] = {}
        self._taken = 0

    def carry(self) -> None:
        """Carry packets from one device to the other until stdin is closed."""
        stdin = sys.stdin.fileno()
        while True:
            wait = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None
            readable, _, _ = select.select([self._near, self._away, stdin], [], [], wait)
            if stdin in readable:
                return
            for device in readable:
                with suppress(BlockingIOError):
                    while True:
                        self._take(device, os.read(device, 2 * _MTU))
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                _, _, device, packet = heapq.heappop(self._under_way)
                with suppress(OSError):
                    os.write(device, packet)

    def _take(self, device: int, packet: bytes) -> None:
        """Note when a packet comes out at the other end."""
        other = self._away if device == self._near else self._near
        at = time.monotonic()
        if self._rate:
            # RFC 791 section 3.1: source and destination; the far one of them is the host.
            host = packet[16:20] if device == self._near else packet[12:16]
            at = max(at, self._free_at.get((device, host), 0.0)) + len(packet) / self._rate
            self._free_at[device, host] = at
        self._taken += 1
        heapq.heappush(self._under_way, (at + self._delay, self._taken, other, packet))


def main() -> None:
    """Make both ends, tell their handles, and carry packets."""
    delay, hosts, rate = float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    near, near_network = _new_end([NEAR], "10.77.1.0/24")
    away, far_network = _new_end([far(number + 1) for number in range(hosts)], "10.77.0.0/24")
    print(near_network, far_network, flush=True)
    _Carrier((near, away), delay, rate).carry()


if __name__ == "__main__":
    main()
