"""The daemon as a user of its own, and as root again: renewals, rolls, DANE, copies, restarts."""

from __future__ import annotations

import json
import re
from functools import partial

from sslmd.servers.own_user import DROP_IN
from tests.packaging.story import ARG, CERT, LIVE, LOOK, NAME_SERVER, Site
from tests.stand.server import wait_until

# Of `systemd-analyze security`, in tenths.
EXPOSURE = 15

INIT = ("sslmd", "init", "--user")
UNIT = "/etc/systemd/system/sslmd.service.d"
OTHER, OTHER_ARG = "example.net/web-ec", "example.net:web-ec"

NAMED = """\
key "updates" { algorithm hmac-sha256; secret "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"; };
zone "example.com" { type primary; file "/etc/bind/zones/example.com"; };
zone "example.net" {
    type primary; file "/var/lib/bind/example.net"; allow-update { key updates; };
};
"""
KEY = 'key "updates" { algorithm hmac-sha256; secret "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"; };\n'
ZONE = "$TTL 5\n@ SOA ns1 root 1 3600 600 86400 5\n@ NS ns1\nns1 A 127.0.0.1\n@ A 127.0.0.1\n"
# The files are included by one zone, the other takes updates.
DNS = """
[[groups]]
    active = true
    domain = 'example.net'
    services = ['web-ec']
[[dns_primary]]
    domain = 'default'
    server = '127.0.0.1'
    nameservers = ['127.0.0.1:53']
[[dns_primary]]
    domain = 'example.net'
    server = '127.0.0.1'
    nameservers = ['127.0.0.1:53']
    update = true
    tsig_key_file = '/etc/ssl-mgr/updates.key'
[dns]
    restart_cmd = 'rndc reload {zone}'
    tlsa_dirs = ['/etc/bind/tlsa']
"""
NGINX = """\
server {
    listen 127.0.0.1:443 ssl;
    server_name example.net;
    ssl_certificate /etc/ssl-mgr/prod-certs/example.net/web-ec/curr/fullchain.pem;
    ssl_certificate_key /etc/ssl-mgr/prod-certs/example.net/web-ec/curr/privkey.pem;
}
"""
PROBES = "probe = [[443, 'tls', 'example.com']"
DANE = "dane_tls = [[443, 'tcp', 3, 1, 1]]\ndane_tls_ttl = 5\n"


def as_its_own_user(site: Site) -> None:
    """From root to it, with all that the daemon does."""
    assert _doctor(site, "user") == ["odd"]
    _with_dns(site)
    _refused(site)
    site.run(*INIT, status=2)  # nobody is there to agree
    done = site.run(*INIT, "--yes", status=None)
    shown = done.stdout
    assert done.returncode == 0, done.stderr + site.run("journalctl", "-n", "60").stdout
    for told in ("User=_sslmd", '"nginx.service"', "m _sslmd bind", "/etc/ssl-mgr/updates.key",
                 "ssh-copy-id", "sslmd init --user root"):  # fmt: skip
        assert told in shown, shown
    _runs_as(site, "_sslmd")
    assert "ExecStartPre" not in site.machine.read(DROP_IN)
    _exposed_less(site)
    _let_in(site)
    _works(site)
    _may_no_more(site)


def asked_again(site: Site) -> None:
    """It changes nothing."""
    pid = site.main_pid()
    assert "nothing, it has all" in site.run(*INIT, "--yes").stdout
    site.wait_back(pid)


def cut_short(site: Site) -> None:
    """As if it had been killed after each of its steps: the unit starts, as that user."""
    trees = ("/etc/ssl-mgr/certs", "/etc/ssl-mgr/prod-certs", "/etc/bind/tlsa", "/run/sslmd")
    drop_in = site.machine.read(DROP_IN)
    give = (
        "ExecStartPre=+/usr/bin/sslmd init --user _sslmd --trees --conf-dir /etc/ssl-mgr/conf.d\n"
    )
    site.run("systemctl", "stop", "sslmd")
    site.machine.write(DROP_IN, drop_in + give)
    site.run("chown", "-R", "root:root", *trees)
    site.run(
        "chown", "-R", "_sslmd:_sslmd", "/etc/ssl-mgr/certs/ca", "/etc/ssl-mgr/certs/example.net"
    )
    _started(site)
    _runs_as(site, "_sslmd")
    site.wait_settled()
    assert _owners(site) == {"_sslmd"}
    # It holds its trees: nothing is given away meanwhile.
    said = site.run(*INIT, "--trees", "--yes", status=1).stderr
    assert "systemctl stop sslmd" in said
    site.run(*INIT, "--yes")
    assert site.machine.read(DROP_IN) == drop_in
    # On the way back, before anything was given.
    site.run("systemctl", "stop", "sslmd")
    site.machine.write(DROP_IN, f"[Service]\n{give.replace('--user _sslmd', '--user root')}")
    _started(site)
    _runs_as(site, "root")
    site.wait_settled()
    assert _owners(site) == {"root"}
    site.machine.write(DROP_IN, f"# Written by sslmd init --user\n{drop_in}")
    site.run("systemctl", "daemon-reload")
    site.run(*INIT, "--yes")
    _runs_as(site, "_sslmd")


def as_root_again(site: Site) -> None:
    site.run(*INIT, "root", "--yes")
    _runs_as(site, "root")
    assert _owners(site) == {"root"}
    for path in (
        DROP_IN,
        "/etc/polkit-1/rules.d/50-sslmd-user.rules",
        "/etc/tmpfiles.d/sslmd.conf",
    ):
        site.run("test", "!", "-e", path)
    _rolls(site, ARG, CERT)


def asked_for_root_again(site: Site) -> None:
    site.run(*INIT, "root", "--yes")


def _with_dns(site: Site) -> None:
    machine = site.machine
    site.run("apt-get", "install", "--yes", "--no-install-recommends", *NAME_SERVER, "polkitd")
    site.run("mkdir", "-p", "/etc/bind/zones", "/etc/bind/tlsa")
    machine.write(
        "/etc/bind/zones/example.com", f'{ZONE}$INCLUDE "/etc/bind/tlsa/tlsa.example.com"\n'
    )
    machine.write("/etc/bind/tlsa/tlsa.example.com", "")
    machine.write("/var/lib/bind/example.net", ZONE)
    site.run("chown", "bind:bind", "/var/lib/bind/example.net")
    machine.write("/etc/bind/named.conf.local", NAMED)
    machine.write("/etc/ssl-mgr/updates.key", KEY, 0o600)
    site.run("systemctl", "restart", "named")
    config = "/etc/ssl-mgr/conf.d/ssl-mgr.conf"
    text = machine.read(config).replace("\n[web]\n", f"{DNS}\n[web]\n")
    text = text.replace("['example.com', ['web-ec']]", "['any', ['web-ec']]")
    machine.write(config, text.replace(PROBES, f"{PROBES}, [443, 'tls', 'example.net']"))
    service = machine.read(f"/etc/ssl-mgr/conf.d/{CERT}")
    head, _, rest = service.partition("[KeyOpts]")
    service = f"{head}{DANE}[KeyOpts]{rest}"
    machine.write(f"/etc/ssl-mgr/conf.d/{CERT}", service)
    machine.write(f"/etc/ssl-mgr/conf.d/{OTHER}", service.replace("example.com", "example.net"))
    # As root it may read the key of rndc, which is BIND's, only with this.
    may = "CapabilityBoundingSet=CAP_DAC_OVERRIDE"
    machine.write(f"{UNIT}/zones.conf", f"[Service]\nReadWritePaths=/etc/bind/tlsa\n{may}\n")
    _started(site)
    live = machine.root / LIVE.replace("example.com", "example.net").lstrip("/")
    wait_until(live.exists, "the other certificate")
    machine.write("/etc/nginx/conf.d/other.conf", NGINX)
    site.run("systemctl", "restart", "nginx")
    _started(site)  # it looks at the ports again
    _served(site)
    site.wait_settled()


def _started(site: Site) -> None:
    """Start it anew, however often that was done within ten minutes."""
    site.run("systemctl", "daemon-reload")
    site.run("systemctl", "reset-failed", "sslmd", status=None)
    done = site.run("systemctl", "restart", "sslmd", status=None)
    if "unavailable resources" in done.stderr:  # of a busy machine: systemd tries again
        wait_until(partial(_is_active, site), "sslmd is active")
        return
    assert done.returncode == 0, done.stderr + site.run("journalctl", "-n", "60").stdout


def _is_active(site: Site) -> bool:
    return site.run("systemctl", "is-active", "sslmd", status=None).stdout == "active\n"


def _served(site: Site) -> None:
    """Wait until both zones have TLSA records, of what is live there."""
    for zone in ("example.com", "example.net"):
        wait_until(partial(_tlsa, site, zone), f"TLSA records of {zone}", pause=LOOK)


def _tlsa(site: Site, zone: str) -> str:
    return site.run("dig", "+short", "@127.0.0.1", f"_443._tcp.{zone}", "TLSA").stdout.strip()


def _other_tlsa(site: Site, zone: str, records: str) -> bool:
    return _tlsa(site, zone) not in ("", records)


def _refused(site: Site) -> None:
    """What would not work as that user is said before anything is done."""
    config = "/etc/ssl-mgr/conf.d/ssl-mgr.conf"
    text = site.machine.read(config)
    bad = text.replace("'systemctl reload nginx'", "['nginx -s reload', 'systemctl kill nginx']")
    site.machine.write(config, bad)
    said = site.run(*INIT, "--yes", status=1).stderr
    assert "write systemctl reload nginx" in said
    assert "is let do only reload, restart" in said
    site.machine.write(config, text)
    assert site.run("id", "_sslmd", status=None).returncode != 0
    site.run("test", "!", "-e", DROP_IN)


def _runs_as(site: Site, user: str) -> None:
    assert site.run("systemctl", "is-active", "sslmd").stdout == "active\n"
    assert site.run("ps", "-o", "user=", "-p", str(site.main_pid())).stdout.strip() == user


def _owners(site: Site) -> set[str]:
    found = site.run(
        "find", "/etc/ssl-mgr/certs", "/etc/ssl-mgr/prod-certs", "/etc/bind/tlsa",
        "/etc/ssl-mgr/updates.key", "-printf", "%u\\n",
    ).stdout  # fmt: skip
    return set(found.split())


def _exposed_less(site: Site) -> None:
    shown = site.run("systemd-analyze", "security", "sslmd").stdout
    found = re.search(r"Overall exposure level for sslmd\.service: (\d+)\.(\d)", shown)
    assert found is not None, shown
    assert int(found[1] + found[2]) <= EXPOSURE, shown


def _let_in(site: Site) -> None:
    """It logs in to the other machine by a key of its own, as it was told to."""
    home = "/var/lib/sslmd/.ssh"
    site.run("runuser", "-u", "_sslmd", "--", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
             f"{home}/id_ed25519")  # fmt: skip
    site.run("sh", "-c", f"cat {home}/id_ed25519.pub >> /root/.ssh/authorized_keys")
    for name in ("config", "known_hosts"):
        site.run("install", "-o", "_sslmd", "-m", "600", f"/root/.ssh/{name}", f"{home}/{name}")
    text = site.machine.read(f"{home}/config")
    site.machine.write(f"{home}/config", f"{text}  User root\n", 0o600)
    site.run("chown", "_sslmd", f"{home}/config")


def _works(site: Site) -> None:
    assert _owners(site) == {"_sslmd"}
    before = {zone: _tlsa(site, zone) for zone in ("example.com", "example.net")}
    for arg, cert in ((ARG, CERT), (OTHER_ARG, OTHER)):
        _rolls(site, arg, cert)
    for zone, records in before.items():
        other = partial(_other_tlsa, site, zone, records)
        wait_until(other, f"other TLSA records of {zone}", pause=LOOK)
    cert = site.machine.read(LIVE)
    assert site.machine.read(LIVE.replace("/etc/ssl-mgr", "/srv/web2")) == cert
    keys = site.run("find", "/etc/ssl-mgr", "-name", "privkey.pem", "-perm", "/077").stdout
    assert keys == ""
    assert _doctor(site, "user") == ["ok"]


def _doctor(site: Site, where: str) -> list[str]:
    found = json.loads(site.run("sslmctl", "doctor", "--json", status=None).stdout)
    return [one["level"] for one in found if one["where"] == where]


def _rolls(site: Site, arg: str, cert: str) -> None:
    before = site.status()[cert]["curr"]["serial"]
    site.run("sslmctl", "force-renew", arg)
    site.run("sslmctl", "roll", "--force", arg)
    one = site.wait_settled()[cert]
    assert one["curr"]["serial"] != before
    states = {(each["host"], each["state"]) for each in one["servers"]}
    assert ("localhost", "proven") in states, one


def _may_no_more(site: Site) -> None:
    """polkit lets it do that verb to that unit, and nothing else."""
    as_it = ("runuser", "-u", "_sslmd", "--", "systemctl")
    site.run(*as_it, "reload", "nginx")
    for words in (("restart", "nginx"), ("stop", "nginx"), ("reload", "ssh"), ("restart", "sslmd")):
        assert site.run(*as_it, *words, status=None).returncode != 0, words
    assert site.run("runuser", "-u", "_sslmd", "--", "cat", "/etc/shadow", status=1).stdout == ""
