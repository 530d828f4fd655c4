"""SIGKILL at any instant: after a restart everything gets where it was going (I5)."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sslmd.core.names import SetName
from sslmd.pki.inspect import set_facts
from tests.stand.site import Site

WEB = "example.com/web-ec"
LEAVES = ("example.com/web-ec", "example.com/mail-ec", "example.net/web-ec")

STRACE = shutil.which("strace")


def can_trace() -> bool:
    if STRACE is None:
        return False
    done = subprocess.run([STRACE, "-o", "/dev/null", "true"], capture_output=True, check=False)
    return done.returncode == 0


def check_tree(site: Site, broken: Path | None = None) -> None:
    """Whatever was killed: each `curr` there is one complete, matching set (I3).

    `broken`: the set that the test itself broke, for the daemon to make another.
    """
    for link in site.top.glob("*certs/*/*/curr"):
        if link.resolve() == broken:
            continue
        contents = {file.name: file.read_bytes() for file in link.iterdir()}
        facts = set_facts(SetName.parse(link.resolve().name), contents)
        without_key = "prod-certs/ca/" in str(link)
        assert facts.problem == ("no privkey.pem" if without_key else ""), link


def no_leftovers(site: Site) -> list[Path]:
    return list((site.top / "prod-certs").rglob("*.new"))


def test_thirty_kills_at_random_instants(site: Site) -> None:
    rng = random.Random(30)
    # From an empty tree, killed again and again while everything is made.
    for _ in range(15):
        site.start(ready=False)
        time.sleep(rng.uniform(0.3, 1.2))  # any instant will do: that is what is tested
        site.kill()
        check_tree(site)
    site.start()
    site.wait_settled()
    check_tree(site)
    # Renewed and rolled by force: what was accepted is done, over kills too.
    for round_ in range(15):
        cert = LEAVES[round_ % len(LEAVES)]
        before = site.status(cert)[cert]
        asked = "roll" if before["next"] else "renew"
        site.ctl(asked, "--force", "--no-wait", cert)
        time.sleep(rng.uniform(0, 0.15))
        site.kill()
        check_tree(site)
        site.start()
        if asked == "renew":
            after = site.wait_on_deck(cert)[cert]
            assert after["curr"] == before["curr"]
        else:
            after = site.wait_settled(*(other for other in site.status() if other != cert))[cert]
            assert after["curr"]["serial"] == before["next"]["serial"]
    check_tree(site)


# Every step between key and settled changes the tree by one of these.
STEPS = "rename,renameat,renameat2,unlink,rmdir,mkdir,symlink"


@pytest.mark.skipif(not can_trace(), reason="strace is missing or may not trace here")
def test_a_kill_at_each_step(site: Site) -> None:
    """The n-th change of the tree is never made: n = 1, 2, … until a whole life got through."""
    assert STRACE is not None
    site.start()
    site.wait_settled()
    site.stop()
    conf = site.conf / "ssl-mgr.conf"
    text = conf.read_text()
    assert "min_roll_mins = 90" in text
    conf.write_text(text.replace("min_roll_mins = 90", "min_roll_mins = 0"))
    first = site.live(WEB).resolve()
    lives = 0
    for number in range(1, 200):
        before = site.live(WEB).resolve()
        trace = [STRACE, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={STEPS}"]
        inject = ["-e", f"inject={STEPS}:signal=SIGKILL:when={number}"]
        _spoil(before)
        # strace counts in each thread by itself: one thread does it all.
        site.start("--once", "--jobs", "1", wrapper=[*trace, *inject], ready=False)
        through = site.wait() == 0
        check_links(site)
        site.start("--once", ready=False)
        assert site.wait() == 0, "\n".join(site.lines)
        check_tree(site)
        assert site.live(WEB).resolve() != before
        assert (site.top / "prod-certs" / WEB / "curr/cert.pem").read_bytes() == (
            site.live(WEB) / "cert.pem"
        ).read_bytes()
        assert no_leftovers(site) == []
        if through:
            lives = number
            break
    assert lives > 12, "the whole life of a certificate has more steps than that"
    assert site.live(WEB).resolve() != first


def _spoil(folder: Path) -> None:
    """Make `curr` need a renewal: its certificate is gone."""
    (folder / "cert.pem").unlink()


def check_links(site: Site) -> None:
    """After a kill `curr` still points at a set."""
    assert site.live(WEB).is_dir()
