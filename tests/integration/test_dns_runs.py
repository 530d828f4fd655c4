"""Eight zones behind a signer that takes a lock, is slow, and cannot do with a broken zone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stand import bind
from tests.stand.bind import BIND_RELOAD, Primary, Zone, answer
from tests.stand.server import PLACES, wait_until
from tests.stand.site import Site

ZONES = [f"zone{number}.test" for number in range(1, 9)]
BROKEN = ZONES[2]
DANE = "dane_tls = [[25, 'tcp', 3, 1, 1]]\ndane_tls_ttl = 2"

# Like dns_tools: one at a time (a second one fails), and seconds for all zones together. It makes
# nobody load anything if one of its zones is broken.
SIGNER = """\
#!/bin/sh
PATH={places}
exec 9>> {folder}/lock
flock {wait} 9 || {{ echo "another signer has the lock" >&2; echo busy >> {folder}/busy; exit 75; }}
echo "$*" >> {folder}/calls
sleep {seconds}
for zone; do
    case $zone in --*) continue ;; esac
    named-checkzone -q -i local "$zone" {zones}/"$zone" && continue
    echo "zone $zone is broken" >&2
    exit 1
done
exec {reload} "$@" > {folder}/said 2>&1 || exit 1
"""

# One that goes on, does what it can, and says that all is well.
EASY = """\
#!/bin/sh
echo "$*" >> {folder}/calls
sleep {seconds}
{reload} "$@" > {folder}/said 2>&1
exit 0
"""

needs_bind = pytest.mark.skipif(bool(bind.missing()), reason=bind.missing())


class World:
    """A site with a certificate with TLSA records in each zone, and BIND."""

    def __init__(self, top: Path, stack: ExitStack) -> None:
        self.top = top
        records = "@ MX 10 mail\nmail A 127.0.0.1\n"
        zones = [Zone(zone, records) for zone in ZONES]
        self.primary = stack.enter_context(Primary(top / "ns1", zones))
        self.site = Site(top / "site")
        stack.callback(self.site.end)
        for group in ("example.com", "example.net"):
            for path in (self.site.conf / group).glob("*"):
                path.unlink()
        for zone in ZONES:
            self.site.put_service(f"{zone}/mail", "my-int", [f"mail.{zone}"], more=DANE)

    def configure(self, signer: str = SIGNER, *, seconds: float = 3, wait: str = "-n") -> None:
        """Have zones signed by this script; it takes so many seconds. `wait`: for its lock."""
        script = self.top / "sign"
        reload = [
            *(sys.executable, str(BIND_RELOAD), "--zone-file"),
            *(f"{self.primary.zone_file('{zone}')}", "--rndc"),
            shlex.join(self.primary.rndc_command),
            *("--checkzone", bind._path("named-checkzone")),
        ]
        script.write_text(
            signer.format(
                places=PLACES,
                folder=self.top,
                zones=self.primary.zone_file("x").parent,
                seconds=seconds,
                wait=wait,
                reload=shlex.join(reload),
            )
        )
        script.chmod(0o755)
        address, _, port = self.primary.address.partition(":")
        groups = "".join(
            f"[[groups]]\ndomain = '{zone}'\nservices = ['ALL']\nactive = true\n" for zone in ZONES
        )
        (self.site.conf / "ssl-mgr.conf").write_text(
            "[globals]\nmin_roll_mins = 0\ndns_xtra_ns = []\n"
            "[[groups]]\ndomain = 'ca'\nservices = ['ALL']\nactive = true\n"
            f"{groups}"
            f"[[dns_primary]]\ndomain = 'default'\nserver = '{address}'\nport = {port}\n"
            f"nameservers = ['{self.primary.address}']\n"
            f"[dns]\nrestart_cmd = '{script}'\nacme_dir = '{self.primary.acme_dir}'\n"
            f"tlsa_dirs = ['{self.primary.tlsa_dir}']\n"
            # What proves the first certificates.
            "[other]\nservers = ['localhost']\nsvc_depends = [['any', ['mail']]]\nprobe = false\n"
        )

    def calls(self) -> list[list[str]]:
        """Return the zones of each run."""
        path = self.top / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        assert all(line.startswith("--serial_bump ") for line in lines)
        return [line.split()[1:] for line in lines]

    def was_busy(self) -> bool:
        """Whether a run met another one."""
        return (self.top / "busy").exists()

    def shown(self, zone: str) -> set[str]:
        return set(answer(self.primary, f"_25._tcp.mail.{zone}", "TLSA"))

    def wait_shown(self, *zones: str, count: int = 1) -> None:
        for zone in zones:
            wait_until(lambda zone=zone: len(self.shown(zone)) == count, f"records of {zone}")  # type: ignore[misc]

    def break_zone(self) -> None:
        """Make a mistake in the file of one zone."""
        path = self.primary.zone_file(BROKEN)
        path.write_text(path.read_text() + "oops A not.an.address\n")

    def mend_zone(self) -> None:
        path = self.primary.zone_file(BROKEN)
        path.write_text(path.read_text().replace("oops A not.an.address\n", ""))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


@needs_bind
def test_a_first_start_is_one_run(world: World) -> None:
    world.configure()
    world.site.start()
    world.wait_shown(*ZONES)
    world.site.wait_settled()
    assert world.calls() == [ZONES]
    # Both kinds of records of all zones at once.
    done = world.site.ctl("dns-refresh")
    assert all(zone in done.stdout for zone in ZONES)
    assert world.calls() == [ZONES, ZONES]
    # A start without anything new is no run.
    world.site.stop()
    world.site.start()
    wait_until(
        lambda: "name server" in world.site.ctl("dane", "--now", status=None).stdout, "a look"
    )
    assert world.calls() == [ZONES, ZONES]
    # New keys, on deck beside the old ones: what comes while it runs goes into the next run.
    world.site.ctl("force-renew", "--all", "--no-wait")
    world.wait_shown(*ZONES, count=2)
    more = world.calls()[2:]
    assert len(more) <= 2
    assert sorted({zone for call in more for zone in call}) == ZONES
    assert not world.was_busy()


@needs_bind
def test_a_broken_zone_holds_up_no_other(world: World) -> None:
    world.configure(seconds=0.2)
    world.break_zone()
    world.site.start()
    well = [zone for zone in ZONES if zone != BROKEN]
    world.wait_shown(*well)
    told = world.site.wait_line(f"zone {BROKEN} is broken")
    assert told.split(": ", 1)[0].endswith(f"zone {BROKEN}")
    assert f"--serial_bump {BROKEN} exited with 1" in told
    assert not world.was_busy()
    assert sum(call == ZONES for call in world.calls()) == 1
    # Put right, its turn comes with the next try.
    world.mend_zone()
    world.site.ctl("dns-refresh", f"{BROKEN}:ALL")
    world.wait_shown(BROKEN)
    assert world.site.wait_settled()[f"{BROKEN}/mail"]["last_error"] in (None, "")


@needs_bind
def test_a_signer_that_says_that_all_is_well(world: World) -> None:
    """What counts is what is served."""
    world.configure(EASY, seconds=0.2)
    world.break_zone()
    world.site.start()
    well = [zone for zone in ZONES if zone != BROKEN]
    world.wait_shown(*well)
    wait_until(
        lambda: (
            "does not show" in world.site.ctl("dane", "--now", f"{BROKEN}:ALL", status=None).stdout
        ),
        "a look",
    )
    assert world.shown(BROKEN) == set()
    assert world.calls() == [ZONES]
    for zone in well:
        assert (
            "does not show"
            not in world.site.ctl("dane", "--now", f"{zone}:ALL", status=None).stdout
        )


@needs_bind
def test_a_record_that_breaks_a_zone_is_taken_out_again(world: World) -> None:
    """One beside a CNAME: the zone would not be loaded at the next start of its name server."""
    world.configure(seconds=0.2)
    path = world.primary.zone_file(BROKEN)
    path.write_text(path.read_text() + "_25._tcp.mail CNAME elsewhere\n")
    world.site.start()
    world.wait_shown(*(zone for zone in ZONES if zone != BROKEN))
    world.site.wait_line("without its new records")
    include = world.primary.tlsa_dir / f"tlsa.{BROKEN}"
    assert "TLSA 3" not in include.read_text()
    world.primary.reload(BROKEN)  # as anybody may: it is whole


@needs_bind
def test_a_kill_while_it_runs_is_made_good(world: World) -> None:
    """The files are right, and nobody knows whether they were taken (I5)."""
    world.configure(seconds=3, wait="-w 30")
    world.site.start()
    wait_until(world.calls, "a run")
    world.site.kill()  # the signer goes on for a while, with its lock
    world.site.start()
    wait_until(lambda: len(world.calls()) == 2, "another run")
    assert world.calls() == [ZONES, ZONES]
    world.wait_shown(*ZONES)
    assert not world.was_busy()
