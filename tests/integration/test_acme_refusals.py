"""What is in the way before an order, and hooks that nobody asked for: told, and nothing spent."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.acme_site import ARG, CERT, ZONE, World, needs, processes, verify, world
from tests.stand.attacker import let_in
from tests.stand.bind import Primary, Zone
from tests.stand.pebble import Pebble
from tests.stand.server import ROOT

HASH = "gfj9Xq-Rg85nM_gfj9Xq-Rg85nM_gfj9Xq-Rg85nM_1"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, "certbot") as one:
        yield one


def ready(here: World, *zones: Zone | str) -> tuple[Primary, Pebble]:
    primary = here.bind(*zones)
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write()
    return primary, ca


def refused(here: World, ca: Pebble, *texts: str) -> None:
    """Start; what fails says these texts, and the CA heard nothing of it."""
    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    for text in texts:
        assert text in line
    assert ca.orders() == 0
    assert ca.validations() == []
    assert processes(here.site) == []


# --- preflight -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "names", "told"),
    [
        ('@ CAA 0 issue "other.example"', [ZONE], "allow other.example"),
        ('@ CAA 0 issue ";"', [f"www.{ZONE}"], "allow nobody"),
        (
            '@ CAA 0 issue "pebble.letsencrypt.org"\n@ CAA 0 issuewild ";"',
            [ZONE, f"*.{ZONE}"],
            f"*.{ZONE}",
        ),
        (
            '@ CAA 0 issue "pebble.letsencrypt.org; validationmethods=http-01"',
            [ZONE],
            "only by http-01",
        ),
        (
            '@ CAA 0 issue "pebble.letsencrypt.org; accounturi=https://x.example/1"',
            [ZONE],
            "https://x.example/1, ours is https://localhost:",
        ),
        ('@ CAA 128 tbs "unknown"', [ZONE], "'tbs'"),
    ],
)
def test_caa_forbids_it(here: World, records: str, names: list[str], told: str) -> None:
    _, ca = ready(here, Zone(ZONE, records))
    needs(ca, "caaIdentities")
    here.site.write({CERT: names})
    refused(here, ca, "CAA records of", told)


def test_caa_allows_it(here: World) -> None:
    records = (
        '@ CAA 0 issue "pebble.letsencrypt.org; validationmethods=dns-01"\n'
        '@ CAA 0 issue "other.example"\nsub CAA 0 issue "pebble.letsencrypt.org"'
    )
    _, ca = ready(here, Zone(ZONE, records))
    here.site.write({CERT: [ZONE, f"*.{ZONE}", f"a.sub.{ZONE}"]})
    here.site.start()
    here.site.wait_settled()
    verify(here.site, ca)


def test_dnssec_that_does_not_hold(here: World) -> None:
    primary, ca = ready(here, Zone(ZONE, signed=True))
    bad = here.validator(primary, key="A" * 86 + "==")
    here.site.globals["dns_validating_resolver"] = f"'{bad.address}'"
    here.site.write()
    refused(here, ca, f"zone {ZONE}", "DNSSEC does not validate", bad.address)


def test_dnssec_that_holds(here: World) -> None:
    primary, ca = ready(here, Zone(ZONE, signed=True))
    good = here.validator(primary)
    here.site.globals["dns_validating_resolver"] = f"'{good.address}'"
    here.site.write()
    here.site.start()
    here.site.wait_settled()
    verify(here.site, ca)


def test_a_name_that_is_delegated_to_others(here: World) -> None:
    _, ca = ready(here, Zone(ZONE, "sub NS ns.elsewhere.example."))
    here.site.write({CERT: [ZONE, f"www.sub.{ZONE}"]})
    refused(here, ca, f"_acme-challenge.www.sub.{ZONE}", f"sub.{ZONE}", "delegates")


def test_an_alias_out_of_our_zones(here: World) -> None:
    _, ca = ready(here, Zone(ZONE, "_acme-challenge CNAME challenges.invalid."))
    refused(here, ca, "challenges.invalid")


def test_no_name_server_answers(here: World) -> None:
    primary, ca = ready(here)
    primary.stop()
    refused(here, ca, f"zone {ZONE}", primary.address)


# --- this machine ----------------------------------------------------------------------------


def test_no_certbot_on_the_machine(here: World) -> None:
    _, ca = ready(here)
    bare = here.top / "bare/bin"
    bare.mkdir(parents=True)
    os.symlink(sys.executable, bare / "python3")
    env = {**os.environ, "PATH": "/nowhere", "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    here.site.start(
        env=env, wrapper=[f"{sys.executable}", "-c", _EXEC, str(bare / "python3")], ready=False
    )
    line = here.site.wait_line("attempt 1 failed")
    assert "no program certbot; install it" in line
    assert ca.orders() == 0


# Runs what follows with another path as its own, so that nothing is installed beside it.
_EXEC = "import os, sys; os.execv(sys.argv[1], [sys.argv[1], *sys.argv[3:]])"


def test_an_acme_dir_that_is_not_there_is_that_orders_trouble(here: World) -> None:
    primary, ca = ready(here, ZONE, "other.test")
    here.site.dns = "acme_dir = '/nowhere/at/all'\n"
    here.site.primaries["other.test"] = here.site.primaries["default"]
    here.site.write()
    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert "/nowhere/at/all is not there" in line
    assert ca.validations() == []
    assert processes(here.site) == []
    # It is made, and an admin asks again.
    here.site.publish(primary)
    here.site.write()
    here.site.ctl("reload")
    here.site.ctl("renew", "--no-wait", ARG)
    here.site.wait_settled()


def test_an_acme_dir_that_cannot_be_written(here: World) -> None:
    _, ca = ready(here)
    blocked = here.top / "blocked"
    blocked.mkdir()
    (blocked / f"acme-challenge.{ZONE}").mkdir()
    here.site.dns = f"acme_dir = '{blocked}'\n"
    here.site.write()
    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert f"{blocked}/acme-challenge.{ZONE}" in line
    assert ca.validations() == []


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'zone has errors' >&2; exit 3", "exited with 3: zone has errors"),
        ("sleep 1000", "was ended after 1 s"),
        ("yes 'on and on'", "was ended after 1 s"),
    ],
)
def test_a_restart_cmd_that_fails(here: World, script: str, told: str) -> None:
    primary, ca = ready(here)
    command = here.top / "restart"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    here.site.dns = f"acme_dir = '{primary.acme_dir}'\nrestart_cmd = '{command}'\n"
    here.site.globals["cmd_timeout"] = "1"
    here.site.write()
    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert told in line
    assert str(command) in line
    assert len(line) < 4000
    assert ca.validations() == []
    one = here.site.status()[CERT]
    assert one["next_try"]
    # What was written is taken back as soon as that works.
    command.write_text(f'#!/bin/sh\nexec {primary.restart_cmd} "$@"\n')
    here.site.ctl("renew", "--no-wait", ARG)
    here.site.wait_settled()
    verify(here.site, ca)


# --- hooks that nobody asked for -------------------------------------------------------------


def hook(here: World, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the hook by hand."""
    return subprocess.run(
        [sys.executable, "-m", "sslmd.ctl.auth_hook", "auth"],
        cwd=ROOT,
        env={**os.environ, "SSLMD_SOCKET": str(here.site.socket), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_hook_called_by_hand(here: World) -> None:
    primary, _, _ = here.lagging()
    before = here.site.records(primary)
    secret = _order_of(here)
    done = hook(here)
    assert done.returncode == 2
    assert "nothing to do with it by hand" in done.stderr
    for order, name, value, token in (
        ("0" * 32, ZONE, HASH, ""),
        ("../../etc", ZONE, HASH, ""),
        (secret, ZONE, HASH, ""),  # even with the order's name: it is not of its process group
        (secret, "../../etc", HASH, ""),
        (secret, ZONE, "../../etc/passwd", "../../etc/passwd"),
        (secret, ZONE, '" ; $INCLUDE "/etc/shadow', ""),
    ):
        given = {"SSLM_ORDER": order, "CERTBOT_DOMAIN": name, "CERTBOT_VALIDATION": value}
        done = hook(here, CERTBOT_TOKEN=token, CERTBOT_REMAINING_CHALLENGES="0", **given)
        assert done.returncode == 1, done.stderr
        assert "order" in done.stderr
    assert here.site.records(primary) == before
    assert secret not in "\n".join(here.site.lines)
    assert len(processes(here.site)) >= 1  # the real one still waits


def _order_of(here: World) -> str:
    """Read the order's secret name where root can: in the environment of its certbot."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            env = dict(word.partition(b"=")[::2] for word in words)
            if env.get(b"SSLMD_SOCKET", b"").decode() == str(here.site.socket) and env.get(
                b"SSLM_ORDER"
            ):
                return env[b"SSLM_ORDER"].decode()
    raise AssertionError("no certbot is at work")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_hook_of_another_user(here: World) -> None:
    primary, _, _ = here.lagging()
    before = here.site.records(primary)
    let_in(here.site.top)
    here.site.socket.chmod(0o666)
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "challenge",
        "params": {"order": _order_of(here), "action": "auth", "name": ZONE, "value": HASH},
    }
    code = (
        "import os, socket, sys\nos.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile('rwb')\n"
        "f.readline(); f.write(sys.argv[2].encode() + b'\\n'); f.flush()\n"
        "print(f.readline().decode())"
    )
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("no python3 that another user can run")
    done = subprocess.run(
        [python, "-c", code, str(here.site.socket), json.dumps(request)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd="/",
    )
    assert json.loads(done.stdout)["error"]["code"] == -32002
    assert here.site.records(primary) == before


def test_a_hook_that_finds_no_daemon(here: World) -> None:
    env = {"SSLM_ORDER": "0" * 32, "CERTBOT_DOMAIN": ZONE}
    done = hook(here, **env)
    assert done.returncode == 1
    assert "no daemon answers" in done.stderr
    # Of a certbot's group it ends all.
    script = f"{sys.executable} -m sslmd.ctl.auth_hook auth; echo survived"
    done = subprocess.run(
        ["sh", "-c", f"export SSLM_GROUP=$$; {script}"],
        cwd=ROOT,
        env={**os.environ, "SSLMD_SOCKET": str(here.site.socket), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == -9
    assert "survived" not in done.stdout


def test_the_hook_imports_nothing_heavy() -> None:
    code = "import sys, sslmd.ctl.auth_hook; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    for heavy in ("cryptography", "pydantic", "dns", "asyncio", "argparse", "sslmd.core.names"):
        assert heavy not in loaded


def test_one_who_hangs_up_leaves_the_order_alone(here: World) -> None:
    """A connection that asks and goes away takes nothing with it."""
    primary, _, _ = here.lagging()
    before = here.site.records(primary)
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(here.site.socket))
            client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"challenge","params":{}}\n')
    assert here.site.records(primary) == before
    assert here.site.status()[CERT]["phase"] == "keyed"
