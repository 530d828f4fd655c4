"""`renew --test` and `--dry-run`: nothing of them comes near production (I7)."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.acme_site import ARG, CERT, ZONE, World, world
from tests.stand.pebble import Pebble

# What a daemon that runs writes anyway.
RUNNING = (".sslmd.lock", ".notices.toml", "localhost.toml", "state.toml", "acme-challenge.")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as one:
        yield one


def live(here: World) -> Pebble:
    """Start with a certificate that is live; return the CA."""
    primary = here.bind()
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write({CERT: [ZONE, f"*.{ZONE}"]})
    here.site.start()
    here.site.wait_settled()
    return ca


def test_a_dry_run_leaves_nothing_behind(here: World) -> None:
    ca = live(here)
    before, status = here.site.snapshot(*RUNNING), here.site.status()
    done = here.site.ctl("renew", "--dry-run", ARG)
    assert "nothing was kept" in done.stdout
    assert ca.issued() == 2
    assert here.site.snapshot(*RUNNING) == before
    assert here.site.status() == status
    assert not (here.site.top / "certs/.test").exists()


def test_a_test_certificate_lives_in_a_tree_of_its_own(here: World) -> None:
    ca = live(here)
    before, status = here.site.snapshot(*RUNNING), here.site.status()
    done = here.site.ctl("renew", "--test", ARG)
    folder = here.site.top / "certs/.test" / CERT
    assert str(folder) in done.stdout
    assert here.site.snapshot(*RUNNING, "/.test/") == before
    assert here.site.status() == status

    names = {"privkey.pem", "csr.pem", "cert.pem", "chain.pem", "fullchain.pem", "bundle.pem"}
    assert {path.name for path in folder.iterdir()} == names | {"cb"}
    for secret in ("privkey.pem", "bundle.pem"):
        assert stat.S_IMODE((folder / secret).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    key = (here.site.live(CERT) / "privkey.pem").read_bytes()
    assert (folder / "privkey.pem").read_bytes() != key

    # A second one takes its place, with the same account; nothing of it is ever rolled.
    homes = here.site.top / "certs/.accounts"
    accounts = list(homes.rglob("regr.json"))
    assert len(accounts) == 1
    here.site.ctl("renew", "--test", ARG)
    assert list(homes.rglob("regr.json")) == accounts
    assert ca.issued() == 3
    here.site.ctl("roll", "--force", ARG, status=1)
    here.site.stop()
    here.site.start()
    assert here.site.status() == status


def test_a_trial_that_fails_says_why_and_changes_nothing(here: World) -> None:
    ca = live(here)
    before = here.site.snapshot(*RUNNING)
    ca.kill()
    for word in ("--dry-run", "--test"):
        done = here.site.ctl("renew", word, ARG, status=1)
        assert ca.directory in done.stdout + done.stderr
        assert here.site.snapshot(*RUNNING) == before
    one = here.site.status()[CERT]
    assert one["attempts"] == 0
    assert one["last_error"] is None


def test_a_trial_that_was_accepted_is_done_after_a_crash(here: World) -> None:
    ca = live(here)
    before = here.site.snapshot(*RUNNING)
    here.site.ctl("renew", "--dry-run", "--no-wait", ARG)
    here.site.wait_line("dry-run: order at")
    assert here.site.process is not None
    os.kill(here.site.process.pid, signal.SIGKILL)
    here.site.wait()

    here.site.start()
    here.site.wait_line("nothing was kept")
    assert here.site.snapshot(*RUNNING) == before
    here.site.stop()
    here.site.start()  # and once is enough
    here.site.ctl("status")
    assert (
        "trial"
        not in (here.site.top / "certs" / CERT / "state.toml").read_text().split("[[history]]")[0]
    )
    assert ca.failures() == 0


def test_what_cannot_be_tried_is_refused(here: World) -> None:
    live(here)
    for words in (["--test", "--dry-run"], ["--test", "--reuse"]):
        here.site.ctl("renew", *words, ARG, status=1)
    done = here.site.ctl("renew", "--dry-run")  # all: there is but one
    assert "nothing was kept" in done.stdout
