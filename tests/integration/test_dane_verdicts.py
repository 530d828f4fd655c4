"""What others say of a site with DANE: Postfix, GnuTLS, `sslmctl dane` and `check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand import dane_tools
from tests.stand.dane_site import ARG, HOST, ZONE, DaneWorld, dane_world
from tests.stand.dane_tools import danetool_check, posttls_finger
from tests.stand.pair import Pair
from tests.stand.postfix import Postfix
from tests.stand.server import wait_until
from tests.stand.unbound import Cache, Unbound, cannot_listen

# Programs that read /etc/resolv.conf know port 53 alone.
RESOLVER = "127.53.0.1"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DaneWorld]:
    with dane_world(tmp_path, lagging=True) as one:
        one.begin()
        yield one


def test_others_agree_before_during_and_after_a_roll(world: DaneWorld) -> None:
    if lacking := dane_tools.missing() or cannot_listen(RESOLVER, 53):
        pytest.skip(lacking)
    folder = world.top / "unbound53"
    with Unbound(folder, [world.primary], address=RESOLVER, port=53, cache=Cache.NONE) as resolver:

        def agreed() -> None:
            for check in (posttls_finger, danetool_check):
                well, said = check(HOST, world.port, resolver)
                assert well, said

        agreed()
        old = world.served()
        before = world.renew()
        wait_until(lambda: len(world.records()) == 2, "both records")
        assert world.served() == old
        agreed()
        world.third.refresh(ZONE)
        world.wait_rolled(before)
        assert world.served() != old
        wait_until(lambda: world.records() == [world.served()], "the new record alone")
        agreed()


def test_dane_and_check_tell_what_does_not_fit(world: DaneWorld) -> None:
    site = world.site
    assert world.mail is not None
    well = site.ctl("dane", "--now")
    assert "all fits" in well.stdout
    for one in world.names:
        assert one.address in well.stdout
    again = site.ctl("dane").stdout
    assert "all fits (" in again
    assert "s ago)" in again
    site.ctl("check", status=0)

    # Somebody else's certificate.
    other = Pair(world.top, "other", host=HOST)
    folder = world.top / "other"
    folder.mkdir()
    world.mail.stop()
    stranger = Postfix(world.top / "postfix2", other.put(folder), host=HOST, port=world.port)
    with stranger:
        found = site.ctl("dane", "--now", ARG, status=1).stdout
        place = f"{HOST}:{world.port} (127.0.0.1)"
        assert f"{place}: serves" in found
        assert "which none of its TLSA records matches" in found
        assert "DANE" in site.ctl("check", status=2).stdout
        dane = site.cert()["dane"]
        assert not dane["ok"]
        assert place in str(dane["problems"])
        assert f"{HOST}:{world.port}" in site.ctl("status").stdout
        site.wait_line(f"{place} serves")
    world.mail.start()
    assert "all fits" in site.ctl("dane", "--now").stdout
    site.ctl("check", status=0)
    site.wait_line("DNS, ports and keys agree again")

    # A name server that lags behind.
    site.dane = world.entries((3, 1, 1), (3, 1, 2))
    site.write()
    site.ctl("reload")
    wait_until(lambda: len(world.records()) == 2, "the second record")
    found = site.ctl("dane", "--now", status=1).stdout
    lacks = f"name server {world.third.address}: does not show _{world.port}._tcp.{ZONE} TLSA 3 1 2"
    assert lacks in found
    assert f", {world.owner} TLSA 3 1 2" in found
    assert world.third.address in site.ctl("check", status=2).stdout
    world.third.refresh(ZONE)
    assert "all fits" in site.ctl("dane", "--now").stdout
    # One that is not there at all.
    world.third.kill()
    assert (
        f"name server {world.third.address}: cannot be asked"
        in site.ctl("dane", "--now", status=1).stdout
    )
