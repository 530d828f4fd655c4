"""Limits of a CA are kept to by waiting, and everything of a CA can be replaced within them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.stand.acme_site import ZONE, World, ca_table, world
from tests.stand.pebble import Pebble
from tests.stand.server import wait_until

# Of a zone that nobody serves.
BROKEN = "gone.test/x"

# What a drill leaves otherwise than it was: notes, and what is tried.
DRILL = (
    "state.toml",
    "/.test/",
    "/.accounts/",
    ".toml",
    "/.hosts/",
    "acme-challenge.",
    "gone.test",
)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as one:
        yield one


def limited(
    here: World, number: int, orders: str, more: Mapping[str, Sequence[str]] | None = None
) -> Pebble:
    """Make a site of so many certificates of a CA that takes so many orders."""
    primary = here.bind()
    ca = here.pebble(settings={"PEBBLE_VA_ALWAYS_VALID": "1"})
    here.site.use(ca, more=f"ca_limits = {{ orders = '{orders}' }}")
    here.site.publish(primary)
    services = {f"{ZONE}/s{n:02}": [f"s{n:02}.{ZONE}"] for n in range(number)}
    here.site.write({**services, **(more or {})})
    return ca


def test_orders_wait_for_the_limit_and_say_so(here: World) -> None:
    ca = limited(here, 4, "2/20s")
    here.site.start()
    waits = here.site.wait_reason(f"{ZONE}/s03", "ca-paced")
    assert "pebble allows 2 orders in 20 s" in waits["reason"]
    assert waits["attempts"] == 0
    assert waits["next_try"]
    row = here.site.ctl("plan", f"{ZONE}:s03").stdout
    assert "pebble allows 2 orders" in row
    # Whoever forces it is told as well.
    forced = here.site.ctl("force-renew", f"{ZONE}:s03", status=5)
    assert "pebble allows 2 orders in 20 s" in forced.stdout
    here.site.wait_line("s01: certificate issued")
    assert ca.orders() == 2
    # What was ordered is remembered.
    here.site.stop()
    here.site.start()
    waits = here.site.wait_reason(f"{ZONE}/s03", "ca-paced")
    here.site.wait_settled()
    assert ca.orders() == 4


def test_everything_of_a_ca_is_replaced_within_its_limits_and_over_a_restart(here: World) -> None:
    """Thirty certificates and one that fails, by tens, with a daemon that is killed amid."""
    ca = limited(here, 30, "60/15s", {BROKEN: ["x.gone.test"]})
    here.site.start()
    status = here.site.wait_settled(BROKEN)
    before = {cert: one["curr"]["serial"] for cert, one in status.items() if cert != BROKEN}
    # From here on few at a time.
    here.site.put("ca-info.conf", here.site.ca.replace("60/15s", "10/5s"))
    here.site.ctl("reload")
    # Without --yes nothing happens, and a forecast is told.
    refused = here.site.ctl("replace", "--ca", "pebble", status=2)
    assert "31 certificates of pebble: about" in refused.stdout
    assert "bounded by" in refused.stdout
    assert "give --yes" in refused.stderr
    assert "no CA called nobody" in here.site.ctl("replace", "--ca", "nobody", status=1).stderr
    made = ca.orders()
    accepted = here.site.ctl("replace", "--ca", "pebble", "--yes", "--no-wait")
    assert accepted.stdout.splitlines()[-1] == "31 accepted"
    here.site.wait_line("certificate issued", count=30 + 5)
    assert "replacing certificates of pebble: " in here.site.ctl("status").stdout
    here.site.kill()
    here.site.start()
    done = "replacing certificates of pebble: 30 of 31 done, 1 failed and are tried again, 0 wait"
    wait_until(lambda: done in here.site.ctl("status").stdout, done)
    after = here.site.wait_settled(BROKEN)
    assert all(after[cert]["curr"]["serial"] != serial for cert, serial in before.items())
    assert ca.orders() <= made + 30 + 8  # those under way when it was killed


def test_a_drill_and_a_replacement_that_is_waited_for(here: World) -> None:
    ca = limited(here, 3, "60/15s")
    here.site.start()
    here.site.wait_settled()
    drill = here.site.ctl("replace", "--ca", "pebble", "--dry-run")
    assert drill.stdout.splitlines()[-1] == "3 done"
    assert ca.orders() == 6
    here.site.put("ca-info.conf", here.site.ca.replace("60/15s", "1/3s"))
    here.site.ctl("reload")
    done = here.site.ctl("replace", "--all", "--revoked", "--yes")
    assert done.stdout.splitlines()[-1] == "3 done"
    assert ca.orders() == 9
    here.site.wait_settled()
    assert "replacing" not in here.site.ctl("status").stdout


def test_a_drill_asks_the_test_ca_alone_and_changes_nothing(here: World) -> None:
    """Everything is validated there, as it would be by the CA itself; who fails is named (I7)."""
    primary = here.bind()
    ca, other = here.pebble(primary), here.pebble_other(primary)
    here.site.use(ca)
    of_test = ca_table(other).partition("    ca_test_server")[2]
    here.site.ca = f"{here.site.ca.partition('    ca_test_server')[0]}    ca_test_server{of_test}"
    here.site.publish(primary)
    certs = [f"{ZONE}/{name}" for name in ("a", "b", "c")]
    services = {cert: [f"{cert[-1]}.{ZONE}", f"*.{cert[-1]}.{ZONE}"] for cert in certs}
    here.site.write(services)
    here.site.start()
    before = here.site.wait_settled()
    here.site.wait_line("challenge records were taken back")
    tree, made, looked = here.site.snapshot(*DRILL), ca.orders(), len(ca.validations())
    assert other.orders() == 0

    drill = here.site.ctl("replace", "--ca", "pebble", "--dry-run")
    assert "3 certificates of pebble" in drill.stdout
    assert drill.stdout.splitlines()[-1] == "3 done"
    assert (other.orders(), other.issued(), len(other.validations())) == (3, 3, 6)

    # What would fail then fails now, is named, and holds up nobody.
    here.site.write({**services, BROKEN: ["x.gone.test"]})
    here.site.ctl("reload")
    failed = here.site.ctl("replace", "--ca", "pebble", "--dry-run", status=1)
    assert f"{BROKEN}: failed: " in failed.stdout
    assert failed.stdout.splitlines()[-1] == "3 done, 1 failed"
    assert (other.orders(), other.issued()) == (6, 6)

    assert (ca.orders(), len(ca.validations())) == (made, looked)
    after = here.site.status()
    assert {cert: after[cert]["curr"]["serial"] for cert in certs} == {
        cert: before[cert]["curr"]["serial"] for cert in certs
    }
    assert all(after[cert]["next"] is None and not after[cert]["last_error"] for cert in certs)
    wait_until(lambda: here.site.records(primary) == "", "no records of challenges")
    assert here.site.stop() == 0
    assert here.site.snapshot(*DRILL) == tree
