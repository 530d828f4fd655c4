"""How long a roll takes until every host has it, beside rsync doing the same.

Part of `make bench`; by itself, it writes its part of the page anew:

    python -m tests.bench.delivery docs/benchmarks.md
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sslmd.console.client import DaemonClient
from sslmd.wire.messages import Method, Notification
from tests.bench import line
from tests.bench.line import Line
from tests.bench.page import write_part
from tests.stand import host
from tests.stand.delivery_site import ZONE, DeliverySite, Table
from tests.stand.host import Host
from tests.stand.sshd import ssh_on_path

HEADING = "## Delivery"

# Hosts and services of each column.
SIZES = ((1, 25), (10, 25), (40, 1), (40, 25))

# Seconds in each direction of the line to the hosts.
DELAY = 0.02

# Bytes per second of each host's own line where it is slow. It is chosen so that this one machine
# could play forty hosts at that speed: then the line is what everything waits for.
SLOW = 64_000 / 8

AT_ONCE = 40

# A bound for what would otherwise hang.
PATIENCE = 600.0


@dataclass(frozen=True)
class Figures:
    """Seconds that a roll of all took, and what else is of interest.

    `logins`: those of ssh on one host; `own_cpu`: seconds of the daemon itself; `busy`: the part of
    the machine's processors that was in use, hosts and all.
    """

    seconds: float
    logins: float
    own_cpu: float
    busy: float


class _World:
    """Hosts at the far end of a line, and a site at its near end."""

    def __init__(self, top: Path, stack: ExitStack, hosts: int, services: int, rate: float):
        top.mkdir(parents=True)
        self.top = top
        self.site = DeliverySite(top / "site")
        self.line = stack.enter_context(Line(DELAY, hosts, rate))
        stack.callback(self.site.end)
        self.hosts: list[Host] = []
        with self.line.far_end():
            for number in range(1, hosts + 1):
                name = f"h{number:02}.example.net"
                where, address = top / "hosts" / name, line.far(number)
                where.parent.mkdir(exist_ok=True)
                one = Host(where, [name], self.site.prod, address=address, user="root")
                self.hosts.append(stack.enter_context(one))
        self.bin = ssh_on_path(self.site.bin, *self.hosts)
        self.site.globals["min_roll_mins"] = "90"
        self.site.services = {f"s{n:02}": [f"s{n:02}.{ZONE}"] for n in range(services)}
        self.tables(restart=[])

    @property
    def names(self) -> list[str]:
        return [one.names[0] for one in self.hosts]

    def tables(self, restart: Sequence[str]) -> None:
        """Have everything of the zone copied to every host, and a command run there."""
        grants = f"[['{ZONE}', ['ALL']]]"
        self.site.tables = {"web": Table(self.names, grants, list(restart))}
        self.site.write()

    def start(self) -> None:
        """Start the daemon, and wait until every host has everything."""
        with self.line.near_end():
            self.site.begin()
        self.site.wait_settled()

    def logins(self) -> int:
        """Return how many logins there were on all hosts."""
        return sum(one.log().count("Accepted publickey") for one in self.hosts)

    def own_cpu(self) -> float:
        """Return the CPU seconds of the daemon so far, without those of what it started."""
        assert self.site.process
        fields = Path(f"/proc/{self.site.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def roll(self) -> Figures:
        """Roll everything; measure from the first roll to the last server that is seen to."""
        everything = f"{ZONE}:ALL"
        self.site.ctl("force-renew", everything)
        fresh = {cert: one["next"]["set"] for cert, one in self.site.status(everything).items()}
        left = {(cert, name) for cert in fresh for name in self.names}
        times: list[float] = []
        logins, own_cpu, machine = self.logins(), self.own_cpu(), _machine()

        def look(notice: Notification) -> None:
            event = {key: str(value) for key, value in (notice.params or {}).items()}
            cert = event.get("cert", "")
            if event.get("set") != fresh.get(cert, ""):
                return
            if event["event"] == "rolled":
                times.append(time.monotonic())
            elif event["event"] == "restarted":  # also where nothing is run for that
                left.discard((cert, event["text"].split()[2]))
                if not left:
                    raise _DoneError

        with DaemonClient(str(self.site.socket)) as daemon:
            ctl = [sys.executable, "-m", "sslmd.ctl.main", "--socket", str(self.site.socket)]
            rolling = subprocess.Popen([*ctl, "roll", "--force", "--no-wait", everything])
            with suppress(_DoneError):
                daemon.call(Method.EVENTS, {"follow": True}, on_notice=look, timeout=PATIENCE)
        times.append(time.monotonic())
        rolling.wait()
        return Figures(
            times[-1] - times[0],
            (self.logins() - logins) / len(self.hosts),
            self.own_cpu() - own_cpu,
            _busy(machine, _machine()),
        )

    # --- the same by rsync ---

    def keep(self) -> None:
        """Remember what the hosts have."""
        subprocess.run(["cp", "-a", self.site.prod, self.top / "before"], check=True)

    def rsync(self, at_once: int) -> float:
        """Return the seconds that rsync takes to bring every host from what was kept to now."""
        for one in self.hosts:
            _copy(self.top / "before", one.root)
        script = f'rsync -a --delete "{self.site.prod}/" "$1:{self.site.prod}/"'
        each = ["xargs", "-P", str(at_once), "-I{}", "sh", "-c", script, "copy", "{}"]
        began = time.monotonic()
        with self.line.near_end():
            subprocess.run(
                each,
                input="\n".join(self.names),
                text=True,
                check=True,
                env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"},
            )
        return time.monotonic() - began


class _DoneError(Exception):
    """Every server was seen to."""


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["rsync", "-a", "--delete", f"{source}/", f"{target}/"], check=True)


def _machine() -> tuple[int, int]:
    """Return the ticks that all processors worked and idled so far (proc_stat(5))."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, idle


def _busy(before: tuple[int, int], after: tuple[int, int]) -> float:
    worked, idled = (late - early for early, late in zip(before, after, strict=True))
    return worked / max(worked + idled, 1)


def missing() -> str:
    """Return what keeps us from measuring, or nothing."""
    return host.missing() or line.missing()


@dataclass(frozen=True)
class Measured:
    """The rolls of each size on one kind of line, and rsync to the most hosts: seconds by how many
    are copied to at once."""

    rolls: list[Figures]
    loops: Mapping[int, float]


def deliveries(scratch: Path) -> list[str]:
    """Return the lines of the page."""
    if lacking := missing():
        return [HEADING, "", f"Not measured: {lacking}."]
    fast = _measure(scratch / "fast", 0.0, (1, AT_ONCE))
    return _lines(fast, _measure(scratch / "slow", SLOW, (AT_ONCE,)))


def _measure(scratch: Path, rate: float, at_once: Sequence[int]) -> Measured:
    rolls = []
    loops = {}
    for hosts, services in SIZES:
        print(f"delivery: {services} services to {hosts} hosts, {rate:.0f} B/s", file=sys.stderr)
        with ExitStack() as stack:
            world = _World(scratch / f"{hosts}-{services}", stack, hosts, services, rate)
            world.start()
            world.keep()
            rolls.append(world.roll())
            if (hosts, services) == SIZES[-1]:
                world.site.stop()
                loops = {number: world.rsync(number) for number in at_once}
    return Measured(rolls, loops)


def _lines(fast: Measured, slow: Measured) -> list[str]:
    heads = [f"{hosts} x {services}" for hosts, services in SIZES]
    hosts, services = SIZES[-1]
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    rule = "| --- |" + " ---: |" * len(heads)
    return [
        HEADING,
        "",
        f"All certificates rolled at once, and copied to every host ({today}). Hosts are sshds",
        f"with files of their own on this machine, behind a line of {DELAY * 1000:.0f} ms in each",
        "direction; their work, and that of all ssh clients, is done by the same "
        f"{os.cpu_count()} cores.",
        f"Each host has {SLOW * 8 / 1000:.0f} kbit/s in each direction, so that the line decides:",
        "",
        "| hosts x services | " + " | ".join(heads) + " |",
        rule,
        *_rows(slow),
        "",
        f"`rsync -a --delete` of the same tree to the same {hosts} hosts ({services} services),",
        "which neither switches a set by one rename nor looks at anything: "
        f"{slow.loops[AT_ONCE]:.1f} s {AT_ONCE} at a time.",
        "",
        "With lines as wide as they come, what the cores have to do decides:",
        "",
        "| hosts x services | " + " | ".join(heads) + " |",
        rule,
        *_rows(fast),
        "",
        f"`rsync` then: {fast.loops[1]:.1f} s one after the other, "
        f"{fast.loops[AT_ONCE]:.1f} s {AT_ONCE} at a time.",
    ]


def _rows(measured: Measured) -> list[str]:
    rows = {
        "from the first roll to the last server seen to": "{0.seconds:.1f} s",
        "logins at each host (a copy, and what restarts need)": "{0.logins:.1f}",
        "CPU of the daemon itself": "{0.own_cpu:.1f} s",
        "the machine's processors, hosts and all": "{0.busy:.0%}",
    }
    return [
        f"| {name} | " + " | ".join(form.format(found) for found in measured.rolls) + " |"
        for name, form in rows.items()
    ]


if __name__ == "__main__":
    write_part(deliveries)
