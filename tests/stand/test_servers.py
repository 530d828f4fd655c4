"""The test servers themselves: each starts, does what tests need of it, and is gone after."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import time
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update
import pytest
from cryptography import x509

from tests.stand import bind, nginx, pebble, sshd
from tests.stand.bind import Primary, Secondary, Zone, answer, query
from tests.stand.nginx import Nginx
from tests.stand.pebble import Pebble
from tests.stand.server import ROOT, Server, free_port, members
from tests.stand.sshd import Sshd, ssh_on_path

CHALLENGE = "_acme-challenge.example.com"


def need(missing: str) -> None:
    if missing:
        pytest.skip(missing)


# --- what all have in common ---


class Cat(Server):
    """Stands for a server: it says what it is told to say, and stays."""

    def __init__(self, folder: Path, script: str) -> None:
        super().__init__(folder, "cat")
        self.script = script

    def command(self) -> list[str]:
        return ["sh", "-c", self.script]

    def answers(self) -> bool:
        return "ready" in self.log()


def test_what_a_server_started_ends_with_it(tmp_path: Path) -> None:
    with Cat(tmp_path, "sleep 1000 & echo ready; wait") as server:
        pid = server.pid
        assert len(members(pid)) == 2
    assert not members(pid)
    assert server.pid == 0


def test_a_server_that_ignores_its_end_is_killed_with_its_test(tmp_path: Path) -> None:
    program = f"""
import pathlib
from tests.stand.test_servers import Cat
server = Cat(pathlib.Path({str(tmp_path)!r}), "trap '' TERM; echo ready; sleep 1000").start()
print(server.pid)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not members(int(done.stdout))


def test_a_server_that_fails_to_start_says_why_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"it has ended\n.*no such luck"):
        Cat(tmp_path, "echo no such luck >&2; exit 3").start()
    assert time.monotonic() - began < 5


def test_the_log_goes_on_over_starts(tmp_path: Path) -> None:
    server = Cat(tmp_path, "echo ready; exec sleep 1000")
    for count in (1, 2):
        server.start()
        assert server.wait_log("ready", count) == "ready"
        server.kill()
    assert server.lines() == ["ready", "ready"]


def test_free_ports_are_not_given_twice() -> None:
    assert len({free_port() for _ in range(50)}) == 50


# --- Pebble ---


def test_pebble_is_a_new_ca_at_every_start(tmp_path: Path) -> None:
    need(pebble.missing())
    with Pebble(tmp_path, settings={"PEBBLE_ALTERNATE_ROOTS": "1"}) as server:
        directory = json.loads(server.get(server.directory))
        assert directory["newOrder"].startswith(f"https://localhost:{server.port}/")
        assert directory["meta"]["externalAccountRequired"] is False
        roots = server.roots()
        assert len({x509.load_pem_x509_certificate(pem.encode()).subject for pem in roots}) == 2
        server.kill()
        server.start()
        assert set(roots).isdisjoint(server.roots())
        pid = server.pid
    assert not members(pid)
    assert (server.orders(), server.validations(), server.failures(), server.issued()) == (
        0, [], 0, 0,
    )  # fmt: skip
    assert server.requests("/dir") >= 3


def test_pebble_is_trusted_by_its_own_root_alone(tmp_path: Path) -> None:
    need(pebble.missing())
    with Pebble(tmp_path / "one") as one, Pebble(tmp_path / "two") as two:
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            one.get(two.directory)
        assert ssl.create_default_context(cafile=str(one.root_file)).get_ca_certs()


def test_pebble_issues_what_dns_and_web_prove(tmp_path: Path) -> None:
    """All servers together: certbot gets a certificate by dns-01, and one by http-01."""
    need(pebble.missing() or bind.missing() or nginx.missing())
    zone = Zone("example.com", records="www A 127.0.0.1")
    with (
        Primary(tmp_path / "dns", [zone]) as primary,
        Nginx(tmp_path / "web", {"example.com": []}) as web,
        Pebble(tmp_path / "ca", dns=primary.address, http_port=web.port) as ca,
    ):
        include = primary.acme_dir / "acme-challenge.example.com"
        hook = tmp_path / "hook"
        hook.write_text(
            f'#!/bin/sh\nset -eu\necho "_acme-challenge.$CERTBOT_DOMAIN. 60 IN TXT'
            f' \\"$CERTBOT_VALIDATION\\"" > {include}\n{primary.restart_cmd} example.com\n'
        )
        hook.chmod(0o755)
        command = [
            *(str(Path(sys.executable).with_name("certbot")), "certonly", "-n", "--agree-tos"),
            *("--register-unsafely-without-email", "--server", ca.directory),
            *("--config-dir", str(tmp_path / "c"), "--work-dir", str(tmp_path / "w")),
            *("--logs-dir", str(tmp_path / "l")),
        ]
        by_dns = ["--manual", "--preferred-challenges", "dns", "--manual-auth-hook", str(hook)]
        by_web = ["--webroot", "-w", str(web.server_dir / "example.com")]
        for how, name in ((by_dns, "example.com"), (by_web, "www.example.com")):
            done = subprocess.run(
                [*command, *how, "-d", name],
                env={**os.environ, "REQUESTS_CA_BUNDLE": str(ca.root_file)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr + ca.log()
        assert ca.validations() == ["example.com", "www.example.com"]
        assert (ca.orders(), ca.failures(), ca.issued()) == (2, 0, 2)
        # It looks three times at once.
        assert [host for host, _, status in web.requests() if status == 200] == [
            "www.example.com"
        ] * 3
        assert len(primary.queries(CHALLENGE, "TXT")) == 3
        assert primary.reloads("example.com") == 1
        pem = (tmp_path / "c/live/example.com/cert.pem").read_text()
        assert ca.status(x509.load_pem_x509_certificate(pem.encode()).serial_number) == "Valid"
        if "renewalInfo" in json.loads(ca.get(ca.directory)):
            ca.set_renewal_info(pem, "soon")


# --- BIND ---


def publish(primary: Primary, zone: str, text: str) -> None:
    """Write a challenge, and have it reloaded."""
    include = primary.acme_dir / f"acme-challenge.{zone}"
    include.write_text(f'_acme-challenge.{zone}. 60 IN TXT "{text}"\n')
    primary.reload(zone)


def test_bind_serves_includes_and_transfers_them(tmp_path: Path) -> None:
    need(bind.missing())
    zone = Zone("example.com", records='@ MX 10 mail\nmail A 192.0.2.25\n@ CAA 0 issue "ca.test"')
    with (
        Primary(tmp_path / "primary", [zone, "example.net"]) as primary,
        Secondary(tmp_path / "prompt", primary) as prompt,
        Secondary(tmp_path / "late", primary, ["example.com"], notify=False) as late,
    ):
        assert answer(late, "example.com", "MX") == ["10 mail.example.com."]
        assert answer(prompt, "example.net", "NS") == ["ns1.example.net."]
        publish(primary, "example.com", "here")
        prompt.wait_answer(CHALLENGE, "TXT", "here")
        assert answer(late, CHALLENGE, "TXT") == []
        assert (primary.serial("example.com"), late.serial("example.com")) == (2, 1)
        late.refresh("example.com")
        assert answer(late, CHALLENGE, "TXT") == ['"here"']
        # All keep their data, and are where they were.
        for server in (primary, prompt, late):
            server.stop()
        for server in (primary, prompt, late):
            server.start()
            assert answer(server, CHALLENGE, "TXT") == ['"here"']
        publish(primary, "example.com", "there")
        prompt.wait_answer(CHALLENGE, "TXT", "there")
        assert primary.calls() == [["--serial_bump", "example.com"]] * 2
        assert (primary.reloads("example.com"), primary.reloads("example.net")) == (2, 0)
        pids = [server.pid for server in (primary, prompt, late)]
    assert not any(members(pid) for pid in pids)


def test_a_secondary_without_its_primary_fails(tmp_path: Path) -> None:
    need(bind.missing())
    with Secondary(tmp_path, None, ["example.com"]) as server:
        assert query(server, CHALLENGE, "TXT").rcode() == dns.rcode.SERVFAIL
        assert server.serial("example.com") == 0


def test_bind_notes_what_it_was_asked(tmp_path: Path) -> None:
    need(bind.missing())
    with Primary(tmp_path, ["example.com"]) as server:
        for _ in range(2):
            assert query(server, CHALLENGE, "TXT").rcode() == dns.rcode.NXDOMAIN
        first, second = server.queries(CHALLENGE)
        assert (first.name, first.kind) == (CHALLENGE, "TXT")
        assert first.at <= second.at
        assert server.queries(CHALLENGE, "SOA") == []


def test_a_frozen_server_is_silent_until_it_thaws(tmp_path: Path) -> None:
    need(bind.missing())
    with Primary(tmp_path, ["example.com"]) as server:
        server.freeze()
        with pytest.raises(dns.exception.Timeout):
            query(server, "example.com", "SOA", timeout=0.2)
        server.thaw()
        assert server.serial("example.com") == 1


def test_signed_zones_by_include_and_by_update(tmp_path: Path) -> None:
    need(bind.missing())
    zones = [Zone("example.com", signed=True), Zone("example.net", signed=True, dynamic=True)]
    with (
        Primary(tmp_path / "primary", zones) as primary,
        Secondary(tmp_path / "secondary", primary) as secondary,
    ):
        publish(primary, "example.com", "here")
        match = re.search(r'secret "(.*)"', primary.key_file.read_text())
        assert match
        key = dns.tsig.Key("sslmd", match[1], dns.tsig.HMAC_SHA256)
        name = "_acme-challenge.www.example.net."
        update = dns.update.UpdateMessage("example.net")
        update.add(name, 60, "TXT", "there")
        assert send(primary, update).rcode() == dns.rcode.REFUSED
        update.use_tsig(key)
        assert send(primary, update).rcode() == dns.rcode.NOERROR
        # The key may not change everything.
        update = dns.update.UpdateMessage("example.net", keyring=key)
        update.add("www.example.net.", 60, "A", "192.0.2.1")
        assert send(primary, update).rcode() == dns.rcode.REFUSED
        for owner, text in ((CHALLENGE, "here"), (name, "there")):
            secondary.wait_answer(owner, "TXT", text)
            for server in (primary, secondary):
                reply = query(server, owner, "TXT", dnssec=True)
                assert {rrset.rdtype for rrset in reply.answer} == {
                    dns.rdatatype.TXT,
                    dns.rdatatype.RRSIG,
                }
        primary.stop()
        primary.start()
        assert answer(primary, name, "TXT") == ['"there"']


def send(server: Primary, update: dns.update.UpdateMessage) -> dns.message.Message:
    host, _, port = server.address.partition(":")
    return dns.query.tcp(update, host, timeout=5, port=int(port))


# --- nginx ---


def test_nginx_chooses_the_folder_by_host(tmp_path: Path) -> None:
    need(nginx.missing())
    with Nginx(tmp_path, {"example.com": [], "example.net": ["www.example.net"]}) as server:
        for apex in ("example.com", "example.net"):
            token = server.server_dir / apex / ".well-known" / "acme-challenge" / "token"
            token.parent.mkdir(parents=True)
            token.write_text(apex)
        path = "/.well-known/acme-challenge/token"
        assert server.get("example.com", path) == (200, b"example.com")
        assert server.get("deep.below.example.com", path) == (200, b"example.com")
        assert server.get("www.example.net", path) == (200, b"example.net")
        assert server.get("example.net", path)[0] == 404
        pid = server.pid
    assert not members(pid)
    assert server.requests() == [
        ("example.com", path, 200),
        ("deep.below.example.com", path, 200),
        ("www.example.net", path, 200),
    ]
    with server:
        assert server.get("example.com", path) == (200, b"example.com")


# --- sshd ---


def ssh(bin_dir: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    path = f"{bin_dir}:{os.environ['PATH']}"
    env = {**os.environ, sshd.OWN_CALL: "yes", "PATH": path}
    return subprocess.run(
        ["ssh", *words],
        env=env,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_sshd_runs_commands_for_who_has_the_key(tmp_path: Path) -> None:
    need(sshd.missing())
    with Sshd(tmp_path, ["far.example.net", "other.example.net"]) as server:
        done = ssh(server.bin_dir, "far.example.net", "tr a-z A-Z", text="hello")
        assert (done.returncode, done.stdout) == (0, "HELLO"), done.stderr + server.log()
        assert ssh(server.bin_dir, "other.example.net", "exit 7").returncode == 7
        assert server.commands() == ["tr a-z A-Z", "exit 7"]
        pid = server.pid
    assert not members(pid)
    assert ssh(server.bin_dir, "far.example.net", "true").returncode == 255
    with server:
        assert ssh(server.bin_dir, "far.example.net", "true").returncode == 0


def test_one_ssh_knows_many_servers(tmp_path: Path) -> None:
    need(sshd.missing())
    with (
        Sshd(tmp_path / "a", ["a.example.net"]) as first,
        Sshd(tmp_path / "b", ["b.example.net"]) as second,
    ):
        bin_dir = ssh_on_path(tmp_path / "bin", first, second)
        for name in ("a.example.net", "b.example.net"):
            assert ssh(bin_dir, name, f"echo {name}").stdout == f"{name}\n"
        assert (first.commands(), second.commands()) == (
            ["echo a.example.net"],
            ["echo b.example.net"],
        )


def test_a_server_with_another_host_key_is_refused(tmp_path: Path) -> None:
    need(sshd.missing())
    with Sshd(tmp_path) as server:
        known = tmp_path / "known_hosts"
        other = Sshd(tmp_path / "other")
        _, key = (tmp_path / "other" / "known_hosts").read_text().split(" ", 1)
        known.write_text(f"[127.0.0.1]:{server.port} {key}")
        done = ssh(server.bin_dir, "far.example.net", "true")
        assert done.returncode == 255
        assert "Host key verification failed" in done.stderr
        assert other.pid == 0


def test_commands_left_running_end_with_sshd(tmp_path: Path) -> None:
    need(sshd.missing())
    with Sshd(tmp_path) as server:
        done = ssh(
            server.bin_dir, "far.example.net", "trap '' HUP; sleep 1000 >&- 2>&- <&- & echo $!"
        )
        group = os.getpgid(int(done.stdout))
        assert members(group)
    assert not members(group)
