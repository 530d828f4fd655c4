"""Makes a tree as ssl-mgr leaves it: `python -m tests.ssl_mgr_tree FOLDER`.

Own CA with its faults (authority key identifiers that are a certificate's own, usages of CAs, an
intermediate that outlives its root), `curr`, `next` and `prev` in every state they are found in,
accounts of certbot, production as directories with the CA's keys, and keys that others can read.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

GROUP = "example.com"
EVERY_USAGE = [
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ExtendedKeyUsageOID.CODE_SIGNING,
    ExtendedKeyUsageOID.TIME_STAMPING,
]

MAIN = """\
[globals]
    verb = true
    sslm_auth_hook = '/usr/lib/ssl-mgr/sslm-auth-hook'
    prod_cert_dir = '{top}/prod-certs'
    clean_keep = 5
    min_roll_mins = 90
    renew_expire_days = 30
    renew_expire_days_spread = 2
    dns_check_delay = 240

[[groups]]
    active = true
    domain = 'ca'
    services = ['my-root', 'my-int']
[[groups]]
    active = true
    domain = 'example.com'
    services = ['web-ec', 'mail-ec', 'imap-ec', 'pub-ec']

[[dns_primary]]
    domain = 'default'
    server = '127.0.0.1'
    port = 5399

[dns]
    restart_cmd = '/bin/true'
    acme_dir = '{top}/dns/acme'
    tlsa_dirs = ['{top}/dns/tlsa']

[smtp]
    servers = ['localhost']
    svc_depends = [['example.com', ['web-ec']], ['example.com', ['mail-ec']]]
    restart_cmd = '{top}/restarted smtp'
[web]
    servers = ['localhost']
    svc_depends = [['example.com', ['web-ec']]]
    restart_cmd = '{top}/restarted web'
    server_dir = '{top}/www'
"""
# What version 7 has in place of the last lines of [globals]; and in other files.
LATER = """\
    dns_check_delay = 240
    preferred_acme_profile = 'tlsserver'

[renew_info]
    target_90 = 30.0
    rand_adj_90 = 2.0
    target_45 = 10.0
"""

CAS = """\
[my-root]
    ca_desc = 'Our root'
    ca_type = 'self'
[my-int]
    ca_desc = 'Our intermediate'
    ca_type = 'self'
[le]
    ca_desc = "Let's Encrypt"
    ca_type = 'certbot'
    ca_validation = 'dns-01'
"""
SERVICE = """\
name = '{service}'
group = '{group}'
service = '{service}'
signing_ca = '{signer}'
renew_expire_days = 30
dane_tls = []
[KeyOpts]
    ktype = 'ec'
    ec_algo = 'secp384r1'
[X509]
    CN = "{common}"
    O = "Example"
    OU = ''
    L = ''
    ST = ''
    C = "US"
    email = 'hostmaster@example.com'
    sans = {names}
"""
CA_TABLE = "[CA]\n    sign_end_days = {days}\n    digest = 'sha384'\n"


@dataclass
class Signed:
    """A key and its certificate, with what is above it, nearest first."""

    key: ec.EllipticCurvePrivateKey
    cert: x509.Certificate
    above: list[x509.Certificate]

    @property
    def serial(self) -> str:
        return f"{self.cert.serial_number:x}"


class SslMgrTree:
    """The tree, made; `certs`: what each set of each certificate holds, by `group/service/link`."""

    def __init__(self, top: Path, now: datetime, *, later: bool = False) -> None:
        self.top = top
        self._later = later
        self.now = now.replace(microsecond=0)
        self.certs: dict[str, Signed] = {}
        self._configuration()
        self._ca()
        self._services()
        self._production()
        self._around()

    # --- configuration ---

    def _write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def _configuration(self) -> None:
        main, cas, renewed = MAIN.format(top=self.top), CAS, "renew_expire_days = 30\n"
        if self._later:
            start = main.index("    renew_expire_days = 30")
            main = main[:start] + LATER + main[main.index("\n[[groups]]", start) :]
            cas = cas.replace(
                "intermediate'\n    ca_type = 'self'", "intermediate'\n    ca_type = 'local'"
            )
            renewed = "dane_tls_ttl = 3600\n"
        self._write("conf.d/ssl-mgr.conf", main)
        self._write("conf.d/ca-info.conf", cas)
        for path, signer, names in (
            ("ca/my-root", "", []),
            ("ca/my-int", "my-root", []),
            ("example.com/web-ec", "my-int", ["example.com", "*.example.com"]),
            ("example.com/mail-ec", "my-int", ["mail.example.com"]),
            ("example.com/imap-ec", "my-int", ["imap.example.com"]),
            ("example.com/pub-ec", "le", ["www.example.com"]),
        ):
            group, service = path.split("/")
            if self._later and not signer:
                signer = "self"
            text = SERVICE.replace("renew_expire_days = 30\n", renewed).format(
                group=group,
                service=service,
                signer=signer,
                common=names[0] if names else service,
                names=names,
            )
            days = 3650 if service == "my-root" else 90
            self._write(f"conf.d/{path}", text + (CA_TABLE.format(days=days) if not names else ""))

    # --- certificates ---

    def _sign(
        self,
        common: str,
        names: list[str],
        since: float,
        until: float,
        ca: Signed | None = None,
        *,
        is_ca: bool = False,
        public: bool = False,
    ) -> Signed:
        """Make one, valid from so many days ago for so many days to come."""
        key = ec.generate_private_key(ec.SECP384R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
        if not public:
            subject += [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
                x509.NameAttribute(NameOID.EMAIL_ADDRESS, "hostmaster@example.com"),
            ]
        name = x509.Name(subject)
        usages = EVERY_USAGE if is_ca and not public else EVERY_USAGE[:2]
        # ssl-mgr names its own key in both; a public CA does it right.
        names_key = ca.key if public and ca is not None else key
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca.cert.subject if ca else name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - timedelta(days=since))
            .not_valid_after(self.now + timedelta(days=until))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=is_ca)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(names_key.public_key()), False
            )
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=is_ca,
                    crl_sign=is_ca,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )
        if names:
            sans = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
            builder = builder.add_extension(sans, critical=False)
        cert = builder.sign(ca.key if ca else key, SHA384())
        return Signed(key, cert, [ca.cert, *ca.above] if ca else [])

    def _ca(self) -> None:
        self._root = self._sign("my-root", [], 300, 3000, is_ca=True)
        self._put("ca/my-root", "curr", self._root, 300)
        # It outlives its root.
        self._int = self._sign("my-int", [], 299, 3100, self._root, is_ca=True)
        self._put("ca/my-int", "curr", self._int, 299)

    def _services(self) -> None:
        def leaf(names: list[str], since: float) -> Signed:
            return self._sign(names[0], names, since, 90 - since, self._int)

        web = ["example.com", "*.example.com"]
        self._put("example.com/web-ec", "prev", leaf(web, 110), 110)
        self._put("example.com/web-ec", "curr", leaf(web, 50), 50)
        # Issued ten minutes ago: it may be rolled in eighty.
        self._put("example.com/web-ec", "next", leaf(web, 10 / 1440), 10 / 1440)
        self._put("example.com/mail-ec", "curr", leaf(["mail.example.com"], 20), 20)
        self._link("example.com/mail-ec", "next", self._name(20))
        self._put("example.com/imap-ec", "curr", leaf(["imap.example.com"], 30), 30)
        half = leaf(["imap.example.com"], 5)
        self._put("example.com/imap-ec", "next", half, 5, files=("privkey.pem", "csr.pem"))
        public_root = self._sign("Public Root", [], 900, 3000, is_ca=True, public=True)
        public = self._sign("Public E1", [], 800, 900, public_root, is_ca=True, public=True)
        names = ["www.example.com"]
        self._put(
            "example.com/pub-ec", "curr",
            self._sign(names[0], names, 20, 70, public, public=True), 20,
        )  # fmt: skip

    def _name(self, days_ago: float) -> str:
        return (self.now - timedelta(days=days_ago)).strftime("%Y%m%d-%H:%M:%S")

    def _put(
        self,
        cert: str,
        link: str,
        signed: Signed,
        days_ago: float,
        files: tuple[str, ...] = (),
    ) -> None:
        """Write a set as ssl-mgr does: keys that everybody can read, among others."""
        name = self._name(days_ago)
        folder = self.top / "certs" / cert / "db" / name
        folder.mkdir(parents=True)
        key = signed.key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        ).decode()
        names = signed.cert.extensions
        request = x509.CertificateSigningRequestBuilder().subject_name(signed.cert.subject)
        for extension in names:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                request = request.add_extension(extension.value, critical=False)
        csr = request.sign(signed.key, SHA384()).public_bytes(Encoding.PEM).decode()
        pem = signed.cert.public_bytes(Encoding.PEM).decode()
        chain = "".join(one.public_bytes(Encoding.PEM).decode() for one in signed.above)
        contents = {
            "privkey.pem": key,
            "csr.pem": csr,
            "cert.pem": pem,
            "chain.pem": chain,
            "fullchain.pem": pem + chain,
            "bundle.pem": key + pem + chain,
            "info": f"rolled : {name}\n",
        }
        for file, text in contents.items():
            if not files or file in files:
                (folder / file).write_text(text)
                (folder / file).chmod(0o640 if file == "bundle.pem" else 0o644)
        at = (self.now - timedelta(days=days_ago)).timestamp()
        for one in (*folder.iterdir(), folder):
            os.utime(one, (at, at))
        self._link(cert, link, name)
        self.certs[f"{cert}/{link}"] = signed

    def _link(self, cert: str, link: str, name: str) -> None:
        (self.top / "certs" / cert / link).symlink_to(f"db/{name}")

    # --- production, and around it ---

    def _production(self) -> None:
        """Copies without links, as rsync -aL leaves them: the CA's keys as well."""
        for folder in sorted((self.top / "certs").glob("*/*")):
            for link in ("curr", "next"):
                if (folder / link).is_dir():
                    target = self.top / "prod-certs" / folder.relative_to(self.top / "certs") / link
                    shutil.copytree(folder / link, target)
        self._write("prod-certs/example.com/dh/dhparam.pem", "; the admin's own\n")
        self._write("prod-certs/example.com/old-ec/curr/cert.pem", "of a service that is gone\n")

    def _around(self) -> None:
        self._write("certs/example.com/tlsa.example.com", "")
        self._write(
            "dns/tlsa/tlsa.example.com",
            f"_25._tcp.old.mail.example.com. IN TLSA 3 1 1 {'ab' * 32}\n",
        )
        self._write(
            "dns/acme/acme-challenge.example.com",
            f'_acme-challenge.example.com. 60 IN TXT "{"x" * 43}"\n',
        )
        server = "acme-v02.api.letsencrypt.org"
        account = "certs/example.com/pub-ec/cb/accounts/" + server + "/directory/0123456789abcdef"
        self._write(f"{account}/regr.json", "{}")
        self._write(f"{account}/private_key.json", "{}", 0o400)
        self._write("restarted", '#!/bin/sh\necho "$1" >> "$(dirname "$0")/restarts"\n', 0o755)


def make(top: Path, now: datetime | None = None, *, later: bool = False) -> SslMgrTree:
    """Make a tree below `top`, an empty folder; times count from `now`.

    As version 5.2 to 6 leave it, or with `later` version 7.
    """
    return SslMgrTree(top, now or datetime.now(UTC), later=later)


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
