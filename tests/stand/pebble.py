"""Pebble, the ACME test CA of Let's Encrypt: a real CA that forgets everything when it ends.

Its own README describes the settings. It does not look at CAA records, and knows no rate limits.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.stand.server import LOOPBACK, PLACES, ROOT, Server, free_port


def _program() -> str | None:
    """Return the path of Pebble: the one that `make test-servers` builds, else the system's."""
    return shutil.which("pebble", path=f"{ROOT}/.venv/bin:{PLACES}")


def missing() -> str:
    """Return which program is missing, or nothing."""
    return "" if _program() else "pebble is missing (see tests/stand/install)"


class Pebble(Server):
    """An ACME CA at `directory`; trust `root_file` to talk to it.

    - `dns`: the name server that it asks, `ip:port` (by TCP); without one, the system's.
    - `http_port`: where it looks for http-01, whatever the name.
    - `profiles`: name -> days of life (90 when 0); without any, one called `default`.
    - `validity_seconds`: life of a certificate of the profile `default`.
    - `accounts`: for external account binding, key id -> key in base64url; then it is required.
    - `retry_after`: seconds that it asks clients to wait for a validation or an order; 0 sends no
      Retry-After at all. Half of them are sent as seconds, half as a date.
    - `settings`: its environment, by name, for example `{"PEBBLE_VA_SLEEPTIME": "2"}`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dns: str = "",
        http_port: int = 0,
        profiles: Mapping[str, int] | None = None,
        validity_seconds: int = 0,
        accounts: Mapping[str, str] | None = None,
        retry_after: int = 1,
        blocked: Sequence[str] = (),
        caa_identities: Sequence[str] = ("pebble.letsencrypt.org",),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, "pebble")
        self.dns = dns
        self.http_port = http_port or free_port()
        self.port = free_port()
        self.directory = f"https://localhost:{self.port}/dir"
        self.management = f"https://localhost:{free_port()}"
        self.root_file = folder / "https-root.pem"
        self.settings = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": "0",
            **(settings or {}),
        }
        if "PEBBLE_VA_SLEEPTIME" in self.settings:
            self.settings["PEBBLE_VA_NOSLEEP"] = "0"
        seconds = {name: days * 86400 for name, days in (profiles or {}).items()}
        if not profiles or validity_seconds:
            seconds["default"] = validity_seconds
        certificate, key = _https_certificate(folder, self.root_file)
        options: dict[str, Any] = {
            "listenAddress": f"{LOOPBACK}:{self.port}",
            "managementListenAddress": self.management.replace("https://localhost", LOOPBACK),
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": self.http_port,
            "tlsPort": free_port(),
            "keyAlgorithm": "ecdsa",
            "externalAccountBindingRequired": bool(accounts),
            "externalAccountMACKeys": dict(accounts or {}),
            "domainBlocklist": list(blocked),
            "caaIdentities": list(caa_identities),
            "retryAfter": {"authz": retry_after, "order": retry_after},
            "profiles": {
                name: {"description": f"The profile {name}", "validityPeriod": life}
                for name, life in seconds.items()
            },
        }
        self._config = folder / "pebble.json"
        self._config.write_text(json.dumps({"pebble": options}, indent=2))

    def command(self) -> list[str]:
        asks = ["-dnsserver", self.dns] if self.dns else []
        return [_program() or "pebble", "-config", str(self._config), *asks]

    def environment(self) -> Mapping[str, str]:
        return self.settings

    def answers(self) -> bool:
        try:
            self.get(self.directory)
            self.get(f"{self.management}/roots/0")
        except OSError:
            return False
        return True

    # --- what it offers ---

    def get(self, url: str, body: bytes | None = None) -> bytes:
        """Return what is at a URL of this server; with a body, post it there."""
        context = ssl.create_default_context(cafile=str(self.root_file))
        here = urllib.request.ProxyHandler({})
        opener = urllib.request.build_opener(here, urllib.request.HTTPSHandler(context=context))
        with opener.open(urllib.request.Request(url, body), timeout=10) as answer:
            content = answer.read()
        assert isinstance(content, bytes)
        return content

    def roots(self) -> list[str]:
        """Return the roots that certificates of this start lead to, PEM, alternates last."""
        others = int(self.settings.get("PEBBLE_ALTERNATE_ROOTS", "0"))
        urls = [f"{self.management}/roots/{number}" for number in range(1 + others)]
        return [self.get(url).decode() for url in urls]

    def status(self, serial: int) -> str:
        """Return `Valid` or `Revoked` for a certificate that it issued."""
        about = json.loads(self.get(f"{self.management}/cert-status-by-serial/{serial:x}"))
        return str(about["Status"])

    def set_renewal_info(self, certificate: str, answer: str) -> None:
        """Answer with this text when asked for a certificate's renewal time (RFC 9773)."""
        body = json.dumps({"Certificate": certificate, "ARIResponse": answer}).encode()
        self.get(f"{self.management}/set-renewal-info/", body)

    # --- what it was asked, over all its starts ---

    def requests(self, path: str) -> int:
        """Return how many requests there were for a path, `/order-plz` say, refused ones too."""
        return self.log().count(f" {path} -> calling handler()")

    def orders(self) -> int:
        """Return how many orders it took."""
        return self.log().count('Added order "')

    def issued(self) -> int:
        """Return how many certificates it issued."""
        return self.log().count("Issued certificate serial ")

    def validations(self) -> list[str]:
        """Return the name of every validation that it began, in order; a wildcard's without `*.`.

        One for each challenge that a client offered. It looks at each three times at once.
        """
        started = r'Pulled a task from the Tasks queue: .*?Value:"([^"]*)"'
        return re.findall(started, self.log())

    def failures(self) -> int:
        """Return how many validations failed."""
        return self.log().count(" set INVALID by completed challenge ")


def _https_certificate(folder: Path, root_file: Path) -> tuple[Path, Path]:
    """Make a CA for this server's own HTTPS, and a certificate by it; return it and its key."""
    now = datetime.now(UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "HTTPS of a test CA")])
    basic = (
        x509.CertificateBuilder()
        .issuer_name(root_name)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
    )
    root = (
        basic.subject_name(root_name)
        .public_key(root_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), False)
        .sign(root_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address(LOOPBACK))]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    leaf = (
        basic.subject_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(issuer, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    root_file.write_bytes(root.public_bytes(Encoding.PEM))
    certificate_file, key_file = folder / "https-cert.pem", folder / "https-key.pem"
    certificate_file.write_bytes(leaf.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file
