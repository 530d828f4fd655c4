"""What would keep the first order waiting is found beforehand: `sslmd init` and `sslmctl doctor`
look at every address of every name server, and at the resolvers of dns_xtra_ns.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.test_doctor import doctor, told
from tests.stand import bind, system_resolver, unbound
from tests.stand.acme_site import ZONE, AcmeSite
from tests.stand.bind import Primary, Zone
from tests.stand.server import ROOT
from tests.stand.unbound import Unbound

RESOLVER = "127.53.0.5"
LACKING = bind.missing() or system_resolver.missing() or unbound.missing(RESOLVER, 53)

pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

# Beside the one that answers: one without an address, and one whose IPv6 is silent.
GONE = "ns2.elsewhere.invalid"
SILENT = "2a0e:4153::53"
RECORDS = f"@ NS {GONE}.\n@ NS ns3\nns3 AAAA {SILENT}\n"


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Primary]:
    with ExitStack() as stack:
        stack.enter_context(system_resolver.public_address(SILENT))
        silent = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        try:
            silent.bind((SILENT, 53))
        except OSError as err:
            pytest.skip(f"[{SILENT}]:53 cannot be silent: {err.strerror}")
        top = tmp_path_factory.mktemp("ns")
        one = stack.enter_context(Primary(top / "primary", [Zone(ZONE, RECORDS)]))
        stack.enter_context(Unbound(top / "unbound", [one], address=RESOLVER, port=53))
        yield one


def test_doctor(primary: Primary, tmp_path: Path) -> None:
    site = AcmeSite(tmp_path)
    site.ca = "[pebble]\nca_type = 'certbot'\nca_server = 'https://127.0.0.1:9/dir'\n"
    site.publish(primary)
    address, _, port = primary.address.partition(":")
    site.primaries["default"] = f"server = '{address}'\nport = {port}\n"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as firewall:
        firewall.bind((address, 0))
        cut_off = f"{address}:{firewall.getsockname()[1]}"
        site.globals["dns_xtra_ns"] = f"['{cut_off}']"
        site.write()
        found = doctor(site, 1, system_resolver.asking(tmp_path, RESOLVER))
    bad = told(found, "DNS", "wrong")
    (line,) = [one for one in bad.splitlines() if GONE in one]
    assert "no address" in line
    (line,) = [one for one in bad.splitlines() if "ns3." in one and SILENT in one]
    assert ZONE in line
    (line,) = [one for one in bad.splitlines() if cut_off in one]
    assert "dns_xtra_ns" in line


def test_init(primary: Primary, tmp_path: Path) -> None:
    words = ["--conf-dir", str(tmp_path / "conf.d"), "--domain", ZONE, "--yes"]
    command = [sys.executable, "-m", "sslmd.daemon.main", "init", *words, "--ca", "letsencrypt"]
    done = subprocess.run(
        [*system_resolver.asking(tmp_path, RESOLVER), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = " ".join(f"{done.stdout}{done.stderr}".split())
    assert done.returncode == 0, said
    assert f"the name server {GONE} of {ZONE} has no address" in said
    assert f"the name server ns3.{ZONE} ({SILENT}) of {ZONE} did not answer" in said
