"""docs/operations.md, "Keys that others may know": what is told there, at a real CA."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.packaging.documents import DOCS, blocks, commands
from tests.stand.acme_site import ARG, CERT, ZONE, World, verify, world
from tests.stand.pebble import Pebble

INSTALLED = "/usr/lib/sslmd/bin/certbot"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, "certbot") as one:
        yield one


def shown(heading: str) -> str:
    """Return the commands with certbot below a heading, and the `cd` before them."""
    (found,) = [
        "\n".join(command.text for command in commands(block))
        for block in blocks()
        if (block.path, block.heading) == (DOCS / "operations.md", heading)
        and INSTALLED in block.text
    ]
    return found


def typed(script: str, here: World, ca: Pebble) -> str:
    """Run commands of the document on this tree, at this CA."""
    certbot = f"{Path(sys.executable).with_name('certbot')} --server {ca.directory}"
    script = script.replace(INSTALLED, certbot)
    script = script.replace(
        "/etc/ssl-mgr/certs/example.com/web-ec", f"{here.site.top}/certs/{CERT}"
    )
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(ca.root_file)}
    done = subprocess.run(
        ["bash", "-ec", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_certificate_is_revoked_and_an_account_ended(here: World) -> None:
    primary = here.bind()
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write({CERT: [ZONE]})
    here.site.start()
    here.site.wait_settled()
    here.site.ctl("force-renew", ARG)
    here.site.ctl("roll", "--force", ARG, status=None)  # unless it has come by itself
    here.site.wait_settled()
    folders = here.site.top / "certs/.accounts/pebble/accounts"
    (old,) = folders.rglob("private_key.json")

    prev = (here.site.top / "certs" / CERT / "prev/cert.pem").read_bytes()
    serial = x509.load_pem_x509_certificate(prev).serial_number
    assert ca.status(serial) == "Valid"
    typed(shown("The key of a certificate"), here, ca)
    assert ca.status(serial) == "Revoked"

    here.site.ctl("account", "deactivate", "pebble", "--yes")
    assert not old.exists()
    here.site.ctl("force-renew", ARG)
    here.site.ctl("roll", "--force", ARG, status=None)
    here.site.wait_settled()
    verify(here.site, ca)
    (new,) = folders.rglob("private_key.json")
    assert new != old
