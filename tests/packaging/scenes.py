"""What the documents take for granted where their commands are run: a machine, set by set.

`prepared` is before everything; `BEFORE` has, by document and heading, what has happened meanwhile
that no command of the document does: another machine is there, somebody wrote a drop-in.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.packaging.documents import DOCS, blocks
from tests.packaging.story import CERT, CERTS, Site
from tests.stand.machine import Machine
from tests.stand.server import wait_until

MAIL = "example.com/mail-ec"
HOME = "/root/sslmd"  # the checkout

# What a person does at a prompt, and what nobody needs.
APT = 'APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\n'
PACKAGES = (
    "bind9", "bind9-dnsutils", "ca-certificates", "jq", "libnss3-tools", "nginx-light",
    "openssh-client", "openssh-server", "polkitd", "python3", "rsync", "socat", "sudo",
)  # fmt: skip

NGINX = """\
server {
    listen 127.0.0.1:443 ssl;
    server_name example.com;
    ssl_certificate /etc/ssl-mgr/prod-certs/example.com/web-ec/curr/fullchain.pem;
    ssl_certificate_key /etc/ssl-mgr/prod-certs/example.com/web-ec/curr/privkey.pem;
}
"""
# Other machines: by the port, sshd gives whoever logs in another /etc/ssl-mgr.
OTHERS = {"web1.example.com": 2222, "new.example.com": 2223}
_INSIDE = """\
Match LocalPort {port}
    ForceCommand exec unshare -m sh -c 'mount --bind /srv/{host} /etc/ssl-mgr && \
exec sh -c "$SSH_ORIGINAL_COMMAND"'
"""


def prepared(machine: Machine, deb: Path) -> None:
    """Put into a machine that is not booted what there is before the documents begin."""
    checkout = machine.root / HOME.lstrip("/")
    (checkout / "build").mkdir(parents=True)
    subprocess.run(["cp", str(deb), str(checkout / "build")], check=True)
    machine.write("/etc/apt/apt.conf.d/99-answers", APT)
    machine.write("/etc/hostname", "www.example.com\n")
    machine.apt(*PACKAGES)


def anew(site: Site) -> None:
    """Another document tells it from the beginning."""
    site.run("systemctl", "disable", "--now", "sslmd")
    site.run("rm", "-r", "/etc/ssl-mgr")


def a_web_server(site: Site) -> None:
    """It was removed, just to show how; nginx serves a certificate, which is proved from now on."""
    assert not (site.machine.root / "usr/bin/sslmctl").exists()
    assert (site.machine.root / "etc/ssl-mgr/certs/example.com/web-ec/curr").is_symlink()
    site.run("sh", "-c", f"apt-get install {HOME}/build/sslmd_*.deb")
    site.run("systemctl", "enable", "--now", "sslmd")
    assert list(site.wait_settled()) == [*CERTS, MAIL]
    site.machine.write("/etc/nginx/conf.d/example.conf", NGINX)
    site.run("systemctl", "reload", "nginx")
    conf = "/etc/ssl-mgr/conf.d/ssl-mgr.conf"
    site.machine.write(conf, site.machine.read(conf).replace("\n    probe = false\n", "\n"))
    site.run("sslmctl", "reload")


def another_user_was_it(site: Site) -> None:
    """What the document told holds: the daemon is not root, and nginx takes a certificate."""
    assert site.run("ps", "-o", "user=", "-p", str(site.main_pid())).stdout.strip() == "_sslmd"
    _roll(site)
    site.run("sslmd", "init", "--user", "root", "--yes")
    assert site.run("ps", "-o", "user=", "-p", str(site.main_pid())).stdout.strip() == "root"


def other_machines(site: Site) -> None:
    """web1 uses a certificate, and root may log in with a key of his own, which the agent has."""
    machine = site.machine
    ports = "".join(f"Port {port}\n" for port in OTHERS.values())
    inside = "".join(_INSIDE.format(host=host, port=port) for host, port in OTHERS.items())
    machine.write(
        "/etc/ssh/sshd_config.d/others.conf",
        f"ListenAddress 127.0.0.1\n{ports}PermitRootLogin yes\n{inside}",
    )
    host_key = machine.read("/etc/ssh/ssh_host_ed25519_key.pub")
    known = "".join(f"[127.0.0.1]:{port} {host_key}" for port in OTHERS.values())
    machine.write("/root/.ssh/known_hosts", known)
    config = "".join(
        f"Host {host}\n  HostName 127.0.0.1\n  Port {port}\n" for host, port in OTHERS.items()
    )
    machine.write("/root/.ssh/config", config)
    site.run("mkdir", "-p", *(f"/srv/{host}" for host in OTHERS))
    site.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/admin")
    site.run("cp", "/root/admin.pub", "/root/.ssh/authorized_keys")
    site.run("systemd-run", "--unit=agent", "ssh-agent", "-D", "-a", AGENT)
    wait_until(lambda: (machine.root / AGENT.lstrip("/")).exists, "the agent")
    site.run("env", f"SSH_AUTH_SOCK={AGENT}", "ssh-add", "-q", "/root/admin")
    site.run("rm", "/root/admin")
    site.run("systemctl", "restart", "ssh")
    conf = "/etc/ssl-mgr/conf.d/ssl-mgr.conf"
    text = machine.read(conf)
    assert text.count("servers = ['localhost']") == 3  # two of them in comments
    before, web, after = text.partition("[web]\n    servers = ['localhost'")
    machine.write(conf, f"{before}{web}, 'web1.example.com'{after}")
    site.run("sslmctl", "reload")


AGENT = "/run/agent"


def a_user_there(site: Site) -> None:
    """The daemon was let in; a user on a server may reload nginx, by either way."""
    live = "curr/fullchain.pem"
    site.run(
        "cmp",
        f"/etc/ssl-mgr/prod-certs/{CERT}/{live}",
        f"/srv/web1.example.com/prod-certs/{CERT}/{live}",
    )
    site.run("useradd", "--system", "certs")
    reload = ["systemctl", "reload", "nginx"]
    as_certs = ["runuser", "-u", "certs", "--"]
    site.run(*as_certs, *reload, status=1)
    rule, sudoers = "/etc/polkit-1/rules.d/50-sslmd.rules", "/etc/sudoers.d/sslmd"
    site.machine.write(rule, _shown("As another user there", "javascript"))
    site.run("systemctl", "restart", "polkit")
    site.run(*as_certs, *reload)
    site.machine.write(sudoers, _shown("As another user there", "sudoers"), 0o440)
    site.run(*as_certs, "sudo", "-n", *reload)
    site.run("rm", rule, sudoers)


def a_zone(site: Site) -> None:
    """BIND has the zone, and what the document shows; the daemon sends it updates."""
    zone = "$TTL 60\n@ SOA ns1 root 1 3600 600 86400 60\n@ NS ns1\nns1 A 127.0.0.1\n@ A 127.0.0.1\n"
    site.machine.write("/etc/bind/zones/example.com", zone)
    site.machine.write("/etc/bind/named.conf.local", _shown("dns-01 with dynamic update", "named"))
    site.run("chown", "bind", "/etc/bind/zones", "/etc/bind/zones/example.com")  # and its journal
    site.run("rndc", "reconfig")
    conf = "/etc/ssl-mgr/conf.d/ssl-mgr.conf"
    table = _shown("dns-01 with dynamic update", "toml").replace("192.0.2.53", "127.0.0.1")
    site.machine.write(conf, site.machine.read(conf) + table)
    site.run("sslmctl", "reload")


def it_has_moved(site: Site) -> None:
    """What is on the other machine now, this one has as well: and it is as it was before."""
    site.run("diff", "-r", "/etc/ssl-mgr/certs/ca", "/srv/new.example.com/certs/ca")
    assert list(site.wait_settled()) == [*CERTS, MAIL]


def _roll(site: Site) -> None:
    site.run("sslmctl", "force-renew", CERT)
    site.run("sslmctl", "roll", "--force", CERT)
    servers = site.wait_settled()[CERT]["servers"]
    assert {one["state"] for one in servers} == {"proven"}


def _shown(heading: str, kind: str) -> str:
    """Return the block of that kind below a heading of operations.md."""
    (found,) = [
        block.text
        for block in blocks()
        if block.path == DOCS / "operations.md"
        and block.heading == heading
        and block.kind.startswith(kind)
    ]
    return found


BEFORE: dict[tuple[str, str], Callable[[Site], None]] = {
    ("operations.md", "Installing"): anew,
    ("operations.md", "As another user"): a_web_server,
    ("operations.md", "When something is wrong"): another_user_was_it,
    ("operations.md", "Letting the daemon in"): other_machines,
    ("operations.md", "As another user there"): a_user_there,
    ("operations.md", "The TSIG key"): a_zone,
    ("moving-from-ssl-mgr.md", "Stop ssl-mgr"): it_has_moved,
}
