"""`sslmctl account` against a daemon and a real CA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.acme_site import ARG, CERT, ZONE, World, world
from tests.stand.pebble import Pebble


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[World, Pebble]]:
    with world(tmp_path) as one:
        primary = one.bind()
        ca = one.pebble(primary, caa_identities=["ca.example"])
        one.site.use(ca)
        one.site.publish(primary)
        one.site.write({CERT: [ZONE]})
        yield one, ca


def test_from_the_first_account_to_its_end(here: tuple[World, Pebble]) -> None:
    site, ca = here[0].site, here[1]

    def ctl(*words: str, status: int = 0) -> str:
        done = site.ctl("account", *words, status=status)
        return done.stdout + done.stderr

    site.start()
    site.wait_settled()
    uses = json.loads(ctl("list", "--json"))["accounts"]
    assert [(one["ca"], one["count"], one["certs"]) for one in uses] == [("pebble", 1, [CERT])]

    said = ctl("share", "pebble")
    (one,) = json.loads(ctl("show", ARG, "--json"))["accounts"]
    assert one["shared"]
    line = f'{ZONE}. CAA 0 issue "ca.example; accounturi={one["url"]}; validationmethods=dns-01"'
    assert one["caa"] == [line]
    assert line in said
    assert line in ctl("show", "pebble")
    assert one["url"] in ctl()

    assert (one["at_ca_code"], one["at_ca_facts"]["status"]) == ("account-seen", "valid")
    assert "a@example.com" in ctl("contact", "pebble", "a@example.com")
    assert "mailto:a@example.com" in ctl("show", "pebble")
    assert "nobody" in ctl("contact", "pebble")

    folder = Path(one["folder"])
    said = ctl("rollover", "pebble")
    (after,) = json.loads(ctl("show", "pebble", "--json"))["accounts"]
    assert after["url"] == one["url"]
    assert after["folder"] in said
    assert not folder.exists()
    assert Path(after["folder"], "private_key.json").stat().st_mode & 0o777 == 0o400

    refused = ctl("deactivate", "pebble", status=1)
    assert "--yes" in refused
    assert "accounts-lost" in ctl("deactivate", "pebble", "--yes")
    (ended,) = json.loads(ctl("show", "pebble", "--json"))["accounts"]
    assert ended["url"] is None
    for words in (("rollover", "pebble"), ("contact", "pebble", "a@example.com")):
        assert "no account" in ctl(*words, status=1)
    assert "no ACME CA" in ctl("show", "nonsense", status=1)

    site.ctl("renew", "--force", ARG)
    site.wait_settled()

    ca.kill()
    (silent,) = json.loads(ctl("show", "pebble", "--json"))["accounts"]
    assert silent["at_ca_code"] == "account-unseen"
    assert silent["url"]
    assert silent["at_ca"] in ctl("show", "pebble")


@pytest.mark.parametrize("engine", ["engine", "certbot"])
def test_two_certificates_and_one_account(tmp_path: Path, engine: str) -> None:
    with world(tmp_path) as here:
        primary = here.bind()
        site, ca = here.site, here.pebble(primary)
        site.engine = engine
        site.use(ca)
        site.publish(primary)
        names = [CERT, f"{ZONE}/mail"]
        site.write({name: [f"{name.partition('/')[2]}.{ZONE}"] for name in names})
        site.start()
        site.wait_settled()
        (key,) = [
            one
            for one in (site.top / "certs").rglob("private_key.json")
            if not one.parent.is_symlink()
        ]
        assert ".accounts" in str(key)
        (used,) = json.loads(site.ctl("account", "--json").stdout)["accounts"]
        assert used["count"] == 2
        assert used["folder"] == str(key.parent)
