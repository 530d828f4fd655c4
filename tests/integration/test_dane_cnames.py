"""I4 where owners and hosts are CNAMEs: records by update, and no client that notices a roll."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stand import nginx
from tests.stand.bind import answer
from tests.stand.dane_site import ARG, CERT, HOST, ZONE, clean, dane_world
from tests.stand.nginx import Nginx
from tests.stand.pair import Pair
from tests.stand.server import free_port
from tests.stand.site import EC

pytestmark = pytest.mark.skipif(bool(nginx.missing()), reason=nginx.missing())

# One record for all ports of the mail server; another name of it that mail is sent to as well; and
# a web server there.
RECORDS = "_{port}._tcp.mail CNAME _dane.mail\n@ MX 20 alias\nalias CNAME mail\nwww CNAME mail\n"
ALIAS, WWW = f"alias.{ZONE}", f"www.{ZONE}"
WEB = f"{ZONE}/web"


def test_no_client_notices_a_roll(tmp_path: Path) -> None:
    with dane_world(tmp_path, dynamic=True, records=RECORDS) as world:
        site, port = world.site, free_port()
        site.services, site.names = {"mail": EC, "web": EC}, {"web": [WWW]}
        world.grants = "['mail']"
        world.begin(dane=False, files=site.key_files[:2])
        pair = (site.key_files[3], site.key_files[2])
        with Nginx(tmp_path / "nginx", {}, tls=[pair], tls_port=port) as web:
            site.smtp += (
                f"[web]\nservers = ['localhost']\nsvc_depends = [['{ZONE}', ['web']]]\n"
                f"restart_cmd = \"{web.restart_cmd}\"\nprobe = [[{port}, 'tls', '{WWW}']]\n"
            )
            site.danes = {"web": f"[[{port}, 'tcp', 3, 1, 1, ['{WWW}']]]"}
            world.switch_on()
            # Written at the end of the owner's CNAME, and nowhere beside one.
            at_end = f"_dane.{HOST}"
            assert len(answer(world.primary, at_end, "TLSA")) == 1
            assert answer(world.primary, world.owner, "CNAME") == [f"{at_end}."]
            world.wait_shown(1, f"_{port}._tcp.{WWW}")
            probers = [world.prober(), world.prober(ALIAS), world.prober(WWW, tls_port=port)]
            for one in probers:
                one.wait_probes(5)
            before = site.serials()
            site.ctl("force-renew", ARG, WEB.replace("/", ":"))
            world.wait_rolled(before[CERT])
            site.wait_settled()
            assert site.serials()[WEB] != before[WEB]
            world.wait_shown(1, at_end)
            for one in probers:
                assert clean(one).first_seen_keys == 2
            well = site.ctl("dane").stdout
            assert "all fits" in well
            assert f"its records are written at {at_end}" in well

        # The web server of somebody else, at the end of the CNAME.
        other = tmp_path / "other"
        other.mkdir()
        key, chain = Pair(tmp_path, "other", host=WWW).put(other)
        with Nginx(tmp_path / "stranger", {}, tls=[(chain, key)], tls_port=port):
            told = site.ctl("dane", "--now", WEB.replace("/", ":"), status=1).stdout
            assert f"{WWW}:{port} (127.0.0.1): serves" in told
            assert "which none of its TLSA records matches" in told
            assert "DANE" in site.ctl("check", status=2).stdout
