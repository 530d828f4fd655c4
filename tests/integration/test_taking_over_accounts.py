"""Certificates that ssl-mgr had from an ACME CA go on with their accounts, at the same CA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stand import bind, pebble
from tests.stand.bind import Primary
from tests.stand.pebble import Pebble
from tests.stand.server import wait_until
from tests.stand.site import Site
from tests.stand.ssl_mgr_tree import make

CERT, ARG = "example.com/pub-ec", "example.com:pub-ec"


@pytest.mark.parametrize("later", [False, True], ids=["5.2", "7.8"])
def test_an_imported_account_is_used_on_until_it_is_shared(tmp_path: Path, later: bool) -> None:
    if lacking := "; ".join(filter(None, (bind.missing(), pebble.missing()))):
        pytest.skip(lacking)
    top = tmp_path / "site"
    top.mkdir()
    site = Site(top, example=None)
    make(top, later=later)
    dirs = {"acme_dir": top / "dns/acme", "tlsa_dir": top / "dns/tlsa"}
    with Primary(tmp_path / "primary", ["example.com"], **dirs) as primary:
        with Pebble(tmp_path / "pebble", dns=primary.address) as ca:
            try:
                carry_on(site, primary, ca)
            finally:
                site.end()


def carry_on(site: Site, primary: Primary, ca: Pebble) -> None:
    configure(site.conf, primary, ca)
    home = site.top / "certs" / CERT / "cb"
    # As ssl-mgr calls it for each service.
    certbot(ca, home, "register", "--agree-tos", "-m", "hostmaster@example.com")
    (regr,) = (home / "accounts").glob("localhost*/dir/*/regr.json")
    uri = json.loads(regr.read_text())["uri"]

    site.start()
    first = renewed(site)
    assert (first["url"], first["shared"]) == (uri, False)
    assert first["at_ca_facts"]["status"] == "valid"
    assert made(ca) == 1

    site.ctl("account", "share", "le")
    second = renewed(site)
    assert second["shared"]
    assert second["url"] != uri
    assert made(ca) == 2

    # certbot works on both, and whatever it does there is seen by the CA.
    assert uri in certbot(ca, home, "show_account")
    common = site.top / "certs/.accounts/le"
    assert second["url"] in certbot(ca, common, "show_account")
    certbot(ca, common, "update_account", "-m", "new@example.com")
    wait_until(lambda: "mailto:new@example.com" in str(shown(site)["at_ca"]), "the new contact")
    certbot(ca, common, "unregister")
    assert shown(site)["url"] is None
    third = renewed(site)
    assert third["url"] not in (None, uri, second["url"])
    assert made(ca) == 3
    assert regr.exists()
    site.stop()


def configure(conf: Path, primary: Primary, ca: Pebble) -> None:
    """Have the tree's own configuration go by these servers, and wait for nothing."""
    host, _, port = primary.address.partition(":")
    main = (conf / "ssl-mgr.conf").read_text()
    for old, new in (
        ("min_roll_mins = 90", "min_roll_mins = 0\n    dns_xtra_ns = []"),
        ("dns_check_delay = 240", "dns_check_delay = 0"),
        (
            "server = '127.0.0.1'\n    port = 5399",
            f"server = '{host}'\n    port = {port}\n    nameservers = ['{primary.address}']",
        ),
        ("restart_cmd = '/bin/true'", f'restart_cmd = "{primary.restart_cmd}"'),
    ):
        assert old in main
        main = main.replace(old, new)
    (conf / "ssl-mgr.conf").write_text(main)
    cas = (conf / "ca-info.conf").read_text()
    servers = f"    ca_server = '{ca.directory}'\n    ca_server_root = '{ca.root_file}'\n"
    (conf / "ca-info.conf").write_text(f"{cas.rstrip()}\n{servers}")


def certbot(ca: Pebble, home: Path, *words: str) -> str:
    program = Path(sys.executable).parent / "certbot"
    env = {"PATH": os.environ["PATH"], "REQUESTS_CA_BUNDLE": str(ca.root_file)}
    dirs = f"--config-dir={home}", f"--work-dir={home}/work", f"--logs-dir={home}/logs"
    command = [str(program), *words, *dirs, "--server", ca.directory, "-n"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shown(site: Site) -> dict[str, Any]:
    (one,) = json.loads(site.ctl("account", "show", ARG, "--json").stdout)["accounts"]
    assert isinstance(one, dict)
    return one


def renewed(site: Site) -> dict[str, Any]:
    """Have it renewed and rolled; return its account."""
    before = site.status()[CERT]["curr"]["serial"]
    site.ctl("renew", "--force", ARG)
    wait_until(lambda: site.status()[CERT]["curr"]["serial"] != before, "another set in use")
    return shown(site)


def made(ca: Pebble) -> int:
    """Return how many accounts the CA has made."""
    return ca.log().count(" accounts in memory")
