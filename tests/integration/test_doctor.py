"""sslmctl doctor: what is well is said to be, and what is broken is found, with the way out."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sslmd.config.load import load
from sslmd.core.names import CertId
from sslmd.doctor import sets as doctor_sets
from sslmd.doctor.symptoms import Checkup, Grade, TimeBox
from tests.stand.acme_site import ZONE as ACME_ZONE
from tests.stand.acme_site import world as acme_world
from tests.stand.bind import Primary
from tests.stand.dane_site import ZONE, dane_world
from tests.stand.delivery_site import Table, delivery_world
from tests.stand.server import ROOT
from tests.stand.site import Site

Found = list[tuple[str, str, str]]


def doctor(site: Site, status: int, wrapper: Sequence[str] = (), **env: str) -> Found:
    """Return what the doctor finds: where, how it is, what it says.

    `wrapper`: the words before its command line.
    """
    command = [sys.executable, "-m", "sslmd.ctl.main", "--socket", str(site.socket), "doctor"]
    done = subprocess.run(
        [*wrapper, *command, "--conf-dir", str(site.conf), "--json"],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    found = [(one["where"], one["level"], one["text"]) for one in json.loads(done.stdout)]
    assert done.returncode == status, "\n".join(map(str, found))
    return found


def told(found: Found, where: str, level: str) -> str:
    """Return what is said of a kind, in one text."""
    return "\n".join(text for place, how, text in found if (place, how) == (where, level))


def levels(found: Found, *places: str) -> set[str]:
    return {level for where, level, _ in found if where in places}


LOOKED_AT = ("configuration", "rights", "commands", "DNS", "include", "DNSSEC", "ports")


def test_dane_with_a_signed_zone(tmp_path: Path) -> None:
    with dane_world(tmp_path) as world:
        world.begin()
        primary, site = world.primary, world.site
        rndc = shlex.join(primary.rndc_command)
        site.dns = site.dns.rstrip().removesuffix('"') + f" --rndc '{rndc}'\"\n"
        site.write()
        site.ctl("reload")
        found = doctor(site, 0)
        assert levels(found, *LOOKED_AT) == {"ok"}, found
        assert f"zone {ZONE}: 3 name servers, all with serial" in told(found, "DNS", "ok")
        assert "rndc zonestatus" in told(found, "include", "ok")
        assert "is signed, and validates" in told(found, "DNSSEC", "ok")
        assert f"port {world.port} serves example.com/mail" in told(found, "ports", "ok")

        # A signer that has its own user for zones is no fault.
        if os.geteuid() == 0:
            for path in (primary.tlsa_dir, *primary.tlsa_dir.iterdir()):
                os.chown(path, 12345, 12345)
            found = doctor(site, 0)
            assert levels(found, *LOOKED_AT) == {"ok", "odd"}, found
            assert "belongs to uid 12345" in (said := told(found, "rights", "odd"))
            assert said.endswith(", unless that is meant")

        # Broken: the include line, a name server, the mail server, a key's mode, a program.
        assert world.mail is not None
        include = f'$INCLUDE "{primary.tlsa_dir}/tlsa.{ZONE}"\n'
        zone_file = primary.zone_file(ZONE)
        text = zone_file.read_text()
        assert include in text
        zone_file.write_text(text.replace(include, ""))
        primary.reload(ZONE)
        world.third.kill()
        world.mail.kill()
        key = site.top / "certs/example.com/mail/curr/privkey.pem"
        key.chmod(0o644)
        site.smtp += f"restart_cmd = '{site.top}/none'\n" if "restart_cmd" not in site.smtp else ""
        site.write()
        found = doctor(site, 1)
        assert include.strip() in told(found, "include", "wrong")
        assert world.third.address in told(found, "DNS", "wrong")
        assert f"port {world.port}" in told(found, "ports", "wrong")
        assert f"chmod 0600 {key.resolve()}" in told(found, "rights", "wrong")

        # Without rndc the zone file is read, if the command names it.
        site.dns = site.dns.replace(
            f"--rndc '{rndc}'", f"--zone-file '{zone_file.parent}/{{zone}}'"
        )
        site.write()
        found = doctor(site, 1)
        assert include.strip() in told(found, "include", "wrong")
        between = zone_file.with_name("more.inc")
        between.write_text(include)
        zone_file.write_text(f'{zone_file.read_text()}$INCLUDE "{between}"\n')
        assert str(zone_file) in told(doctor(site, 1), "include", "ok")

        # What cannot be asked ends no other look; the primary tells as well.
        pattern = f"--zone-file '{zone_file.parent}/{{zone}}'"
        assert pattern in site.dns
        site.dns = site.dns.replace(pattern, """--rndc \\"rndc 'a\\" """)
        site.write()
        primary.reload(ZONE)
        primary.wait_answer(world.owner, "TLSA", "3 1 1 ")
        found = doctor(site, 1)
        assert "has the TLSA records written for it" in told(found, "include", "ok")
        assert levels(found, "DNSSEC") == {"ok"}


def test_an_unsigned_zone_and_no_daemon(tmp_path: Path) -> None:
    with dane_world(tmp_path, signed=False) as world:
        world.begin()
        world.site.stop()
        found = doctor(world.site, 1)
        assert "systemctl start sslmd" in told(found, "daemon", "wrong")
        dnssec = [one for one in found if one[0] == "DNSSEC"]
        assert dnssec
        assert levels(found, "DNSSEC") <= {"unseen", "wrong"}


def test_an_acme_ca(tmp_path: Path) -> None:
    with acme_world(tmp_path) as here, ExitStack() as stack:
        primary = here.bind()
        ca = here.pebble(primary)
        here.site.use(ca)
        here.site.publish(primary)
        here.site.write()
        here.site.start()
        here.site.wait_settled()
        found = doctor(here.site, 0)
        assert f"{ca.directory} answers" in told(found, "CAs", "ok")
        assert "certbot" in told(found, "certbot", "ok")
        assert f"zone {ACME_ZONE}" in told(found, "DNS", "ok")
        assert f"acme-challenge.{ACME_ZONE}" in told(found, "include", "unseen")

        here.site.use(ca, more="ca_preferred_acme_profile = 'none-such'")
        here.site.globals["dns_xtra_ns"] = "['127.0.0.1:9']"
        here.site.write()
        found = doctor(here.site, 1)
        assert "no profile none-such" in told(found, "CAs", "wrong")
        assert "dns_xtra_ns" in told(found, "DNS", "wrong")
        elsewhere = stack.enter_context(Primary(tmp_path / "elsewhere", ["example.org"]))
        # A resolver that has never heard of the zone keeps orders from going on.
        here.site.globals["dns_xtra_ns"] = f"['{elsewhere.address}']"
        here.site.write()
        assert f"does not know zone {ACME_ZONE}" in told(doctor(here.site, 1), "DNS", "wrong")
        ca.kill()
        primary.kill()
        found = doctor(here.site, 1)
        assert ca.directory in told(found, "CAs", "wrong")
        assert primary.address.partition(":")[0] in told(found, "DNS", "wrong")


def test_servers_elsewhere(tmp_path: Path) -> None:
    with delivery_world(tmp_path) as world:
        for name in ("well", "down", "bare"):
            world.add(name)
        site = world.site
        site.services = {"web": ["www.example.com"]}
        hosts = [f"{name}.example.net" for name in ("well", "down", "bare", "strange")]
        site.tables = {"web": Table(hosts, f"[['{ZONE}', ['web']]]", ["true"])}
        site.write()
        world.hosts["down"].stop()
        path = f"{site.bin}:{os.environ['PATH']}"
        found = doctor(site, 1, PATH=path)
        assert "well.example.net lets us in" in told(found, "ssh", "ok")
        bad = told(found, "ssh", "wrong")
        assert "down.example.net" in bad
        assert "strange.example.net" in bad
        assert "well.example.net" not in bad


def test_what_hangs_holds_nothing_up_for_long(tmp_path: Path) -> None:
    """Thirty ports that take a connection and say nothing: they are looked at side by side."""
    with ExitStack() as stack:
        site = Site(tmp_path)
        ports = []
        for _ in range(30):
            silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports.append(silent.getsockname()[1])
        main = site.conf / "ssl-mgr.conf"
        probes = str([[port, "tls", "example.com"] for port in ports])
        text = main.read_text()
        main.write_text(
            text.replace("    probe = 'none'                      #", f"    probe = {probes}  #")
        )
        assert main.read_text() != text
        found = doctor(site, 1)
        bad = told(found, "ports", "wrong")
        assert all(f"port {port}" in bad for port in ports)


def test_a_configuration_with_mistakes(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (site.conf / "example.com/web-ec").write_text("signing_ca = 'none'\n")
    found = doctor(site, 1)
    assert "web-ec: group: it is missing" in told(found, "configuration", "wrong")
    (site.conf / "ssl-mgr.conf").unlink()
    assert "sslmd init" in told(doctor(site, 1), "configuration", "wrong")


def test_for_people(tmp_path: Path) -> None:
    site = Site(tmp_path)
    done = site.ctl("doctor", "--conf-dir", str(site.conf), status=1)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("configuration  ok ")
    assert "1 thing to be corrected" in lines[-1]
    assert "not looked at" in lines[-1]
    assert any(line.startswith("daemon         wrong   no daemon answers") for line in lines)


async def test_a_link_that_is_younger_than_the_daemons_word_says_nothing_of_it(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    site.start()
    site.wait_settled()
    site.stop()
    cert = CertId("example.com", "web-ec")
    case = Checkup(load(site.conf), TimeBox(60), os.geteuid())
    other = "20200101-00:00:00"
    (told,) = doctor_sets._of_cert(case, cert, other, 0.0, ())
    assert (told.level, "run sslmctl doctor again" in told.text) == (Grade.UNSEEN, True)
    (told,) = doctor_sets._of_cert(case, cert, other, time.time() + 60, ())
    assert told.level is Grade.WRONG
    assert f"the daemon takes {other} for the one in use" in told.text
