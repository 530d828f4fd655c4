"""What others say of a mail server: Postfix's posttls-finger and GnuTLS's danetool.

Both read /etc/resolv.conf, which names no port: the resolver must be at port 53. They are shown
another file in its place, in a mount namespace of their own; nothing of the machine changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.stand.server import PLACES
from tests.stand.unbound import Unbound

PATIENCE = 30.0

# Where GnuTLS looks for the key of the root, as Debian builds it (package dns-root-data).
ROOT_KEY = Path("/usr/share/dns/root.key")


def missing() -> str:
    """Return which programs or rights are missing, or nothing."""
    programs = {"posttls-finger": "postfix", "danetool": "gnutls-bin", "unshare": "util-linux"}
    for program, package in programs.items():
        if not shutil.which(program, path=PLACES):
            return f"{program} ({package}) is missing"
    if not ROOT_KEY.exists():
        return f"{ROOT_KEY} (dns-root-data) is missing"
    done = _run(["unshare", "--mount", "true"])
    return f"no right to a mount namespace: {done.stdout}" if done.returncode else ""


def posttls_finger(host: str, port: int, resolver: Unbound) -> tuple[bool, str]:
    """Return whether Postfix, as a client, finds the server of a host verified, and what it says.

    It trusts the AD bit of the resolver.
    """
    command = ["posttls-finger", "-c", "-l", "dane", "-L", "summary,certmatch"]
    done = _with_resolver([*command, f"[{host}]:{port}"], resolver, {})
    # Its exit status tells only whether there was a connection. And without usable records it
    # goes on by names and public CAs, which is not meant here.
    verified = "Matched DANE" in done.stdout and "Verified TLS connection" in done.stdout
    return verified, done.stdout


def danetool_check(host: str, port: int, resolver: Unbound) -> tuple[bool, str]:
    """Return whether GnuTLS finds that the server of a host matches, and what it says.

    It validates by itself, with libunbound: what the resolver trusts stands for the root's key.
    libunbound knows, by itself too, that there is nothing in `test.` (RFC 6761 §6.2).
    """
    assert not host.rstrip(".").endswith(".test"), f"{host}: libunbound asks nobody about it"
    command = ["danetool", "--check", host, "--port", str(port), "--starttls-proto", "smtp"]
    anchors = "".join(f"{anchor}\n" for anchor in resolver.trust_anchors())
    done = _with_resolver([*command, "--local-dns"], resolver, {ROOT_KEY: anchors})
    return done.returncode == 0, done.stdout


def _with_resolver(
    command: list[str], resolver: Unbound, files: Mapping[Path, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command that finds this resolver in /etc/resolv.conf, and `files` in their places."""
    assert resolver.port == 53, f"{resolver.address}: resolv.conf knows port 53 alone"
    # resolv.conf(5): the C library hands on the AD bit only of servers that it is told to trust.
    config = f"nameserver {resolver.host}\noptions trust-ad\n"
    mounts = ""
    with tempfile.TemporaryDirectory() as folder:
        shown = {Path("/etc/resolv.conf"): config, **files}
        for number, (path, text) in enumerate(shown.items()):
            (Path(folder) / str(number)).write_text(text)
            mounts += f"mount --bind {folder}/{number} {path} && "
        # danetool leaves the certificate behind where it stands.
        in_namespace = ["unshare", "--mount", "sh", "-c", f'{mounts}exec "$@"', "sh"]
        return _run([*in_namespace, *command], folder)


def _run(command: list[str], folder: str = "/") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": PLACES, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
