"""Makes a tree as ssl-mgr leaves it: `python -m tests.stand.ssl_mgr_tree FOLDER`.

For what the sites of `ssl_mgr_site` do not have: certificates of any age, `curr`, `next` and `prev`
in every state they are found in, an intermediate that outlives its root, accounts of certbot, keys
that others can read. What those sites have is here as well: `test_ssl_mgr_traits` looks for it in
both.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from zoneinfo import ZoneInfo

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
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
    services = {services}

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
dane_tls = {dane}
[KeyOpts]
    ktype = 'ec'
    ec_algo = 'secp384r1'
[X509]
    CN = '{common}'
    O = 'Example'
    OU = ''
    L = ''
    ST = ''
    C = 'US'
    email = 'hostmaster@example.com'
    sans = {names}
"""
# Common names that are no names of hosts, and that ssl-mgr makes DNS names of CAs all the same.
CA_NAMES = {"my-root": "Our Root", "my-int": "Our Servers"}
# Its sets have names in local time.
ZONES = {False: "America/Chicago", True: "Europe/Berlin"}
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

    def __init__(
        self, top: Path, now: datetime, *, later: bool = False, dane: bool = False
    ) -> None:
        self.top = top
        self._later = later
        self._dane = dane
        self._zone = ZoneInfo(ZONES[later])
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
        services = ["web-ec", "mail-ec", "imap-ec", "pub-ec", *["smtp-ec"] * self._dane]
        main = MAIN.format(top=self.top, services=services)
        cas, renewed = CAS, "renew_expire_days = 30\n"
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
            *[("example.com/smtp-ec", "my-int", ["smtp.example.com"])] * self._dane,
        ):
            group, service = path.split("/")
            if self._later and not signer:
                signer = "self"
            text = SERVICE.replace("renew_expire_days = 30\n", renewed).format(
                group=group,
                service=service,
                signer=signer,
                common=CA_NAMES.get(service) or names[0],
                names=names,
                dane=[[25, "tcp", 3, 1, 1]] if service == "smtp-ec" else [],
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
        own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        if public:
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
            signer = ca.key if ca is not None else key
            issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
            usages = EVERY_USAGE[:2]
        else:
            name = _name_of(common)
            # ssl-mgr names a certificate's own key in both, and gives every usage to all.
            issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
            usages = EVERY_USAGE
            names = names or [common]
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca.cert.subject if ca else name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - timedelta(days=since))
            .not_valid_after(self.now + timedelta(days=until))
        )
        for extension, critical in _extensions(names, usages, is_ca=is_ca, public=public):
            builder = builder.add_extension(extension, critical)
        builder = builder.add_extension(own_id, False).add_extension(issuer_id, False)
        cert = builder.sign(ca.key if ca else key, SHA384())
        return Signed(key, cert, [ca.cert, *ca.above] if ca else [])

    def _ca(self) -> None:
        self._root = self._sign(CA_NAMES["my-root"], [], 300, 3000, is_ca=True)
        self._put("ca/my-root", "curr", self._root, 300)
        # It outlives its root.
        self._int = self._sign(CA_NAMES["my-int"], [], 299, 3100, self._root, is_ca=True)
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
        if self._dane:
            mail = ["smtp.example.com"]
            self._put("example.com/smtp-ec", "curr", leaf(mail, 40), 40)
            self._put("example.com/smtp-ec", "next", leaf(mail, 10 / 1440), 10 / 1440)

    @property
    def rolls(self) -> datetime:
        """Return when its set on deck is rolled, within a minute, if it is looked at now.

        It was issued ten minutes ago. A name from a zone to the east says that this is to come:
        then the roll is late rather than early.
        """
        ahead = self.now.astimezone(self._zone).utcoffset() or timedelta(0)
        return self.now + timedelta(minutes=90 if ahead > timedelta(0) else 80)

    def _name(self, days_ago: float) -> str:
        at = (self.now - timedelta(days=days_ago)).astimezone(self._zone)
        return at.strftime("%Y%m%d-%H:%M:%S")

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
        key = signed.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        request = x509.CertificateSigningRequestBuilder().subject_name(signed.cert.subject)
        for extension in signed.cert.extensions:
            request = request.add_extension(extension.value, extension.critical)
        csr = request.sign(signed.key, SHA384()).public_bytes(Encoding.PEM).decode()
        pem = signed.cert.public_bytes(Encoding.PEM).decode()
        chain = "".join(one.public_bytes(Encoding.PEM).decode() for one in signed.above)
        if not signed.above:
            chain, whole = pem, pem  # a root is its own chain
        else:
            whole = pem + chain
        contents = {
            "privkey.pem": key,
            "csr.pem": csr,
            "cert.pem": pem,
            "chain.pem": chain,
            "fullchain.pem": whole,
            "bundle.pem": key + whole,
        }
        service = cert.rpartition("/")[2]
        if link != "next":
            contents["info"] = f"# {service} rolled to curr : {name}\n"
        if service == "smtp-ec":
            contents["tlsa.rr"] = self._tlsa_rr(service, name, signed)
        for file, text in contents.items():
            if not files or file in files:
                (folder / file).write_text(text)
                (folder / file).chmod(0o640 if file == "bundle.pem" else 0o644)
        (folder.parent.parent / "cb").mkdir(exist_ok=True)
        at = (self.now - timedelta(days=days_ago)).timestamp()
        for one in (*folder.iterdir(), folder):
            os.utime(one, (at, at))
        self._link(cert, link, name)
        self.certs[f"{cert}/{link}"] = signed

    def _tlsa_rr(self, service: str, name: str, signed: Signed) -> str:
        lines = "".join(f"{line}\n" for line in self._records(signed))
        return f";;\n;; tlsa {GROUP} {service} {name}\n;;\n{lines}"

    def _records(self, signed: Signed) -> list[str]:
        """Return records of the apex and the MX hosts; version 5 gives them no TTL."""
        key = signed.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ttl = " 3600 " if self._later else ""
        hosts = (GROUP, f"mail.{GROUP}", f"mx2.{GROUP}")
        digest = sha256(key).hexdigest()
        return [f"_25._tcp.{host}.{ttl} IN TLSA 3 1 1 {digest}" for host in hosts]

    def _link(self, cert: str, link: str, name: str) -> None:
        (self.top / "certs" / cert / link).symlink_to(f"db/{name}")

    # --- production, and around it ---

    def _production(self) -> None:
        """Copies without links, as rsync -aL leaves them: the CA's keys as well.

        Version 5 leaves what was on deck before the roll.
        """
        for folder in sorted((self.top / "certs").glob("*/*")):
            prod = self.top / "prod-certs" / folder.relative_to(self.top / "certs")
            for link in ("curr", "next"):
                if (folder / link).is_dir():
                    shutil.copytree(folder / link, prod / link)
            if not self._later and not (prod / "next").exists() and (prod / "curr").exists():
                shutil.copytree(prod / "curr", prod / "next", ignore=lambda *_: ["info"])
        self._write("prod-certs/example.com/dh/dhparam.pem", "; the admin's own\n")
        self._write("prod-certs/example.com/old-ec/curr/cert.pem", "of a service that is gone\n")

    def _around(self) -> None:
        text = f"_25._tcp.old.mail.example.com. IN TLSA 3 1 1 {'ab' * 32}\n"
        if self._dane:
            text = f";;\n;; TLSA {GROUP} : phase = normal\n;;\n"
            for link in ("curr", "next"):
                lines = "".join(
                    f"{line}\n" for line in self._records(self.certs[f"{GROUP}/smtp-ec/{link}"])
                )
                text += f";;\n;; smtp-ec {link}\n;;\n{lines}"
            text += "\n"
        self._write("certs/example.com/tlsa.example.com", text if self._dane else "")
        self._write("prod-certs/example.com/tlsa.example.com", text if self._dane else "")
        self._write("dns/tlsa/tlsa.example.com", text)
        self._write(
            "dns/acme/acme-challenge.example.com",
            f'_acme-challenge.example.com. 60 IN TXT "{"x" * 43}"\n',
        )
        server = "acme-v02.api.letsencrypt.org"
        account = "certs/example.com/pub-ec/cb/accounts/" + server + "/directory/0123456789abcdef"
        self._write(f"{account}/regr.json", "{}")
        self._write(f"{account}/private_key.json", "{}", 0o400)
        self._write("restarted", '#!/bin/sh\necho "$1" >> "$(dirname "$0")/restarts"\n', 0o755)


def make(
    top: Path, now: datetime | None = None, *, later: bool = False, dane: bool = False
) -> SslMgrTree:
    """Make a tree below `top`, an empty folder; times count from `now`.

    As version 5.2 to 6 leave it, or with `later` version 7. `dane`: with a service `smtp-ec` that
    has TLSA records, and one of its sets on deck.
    """
    return SslMgrTree(top, now or datetime.now(UTC), later=later, dane=dane)


def _name_of(common: str) -> x509.Name:
    """Return a name as ssl-mgr writes it: the common name first, empty parts as empty values."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, ""),
            x509.NameAttribute(NameOID.LOCALITY_NAME, ""),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ""),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "hostmaster@example.com"),
        ]
    )


def _extensions(
    names: list[str], usages: list[x509.ObjectIdentifier], *, is_ca: bool, public: bool
) -> Iterator[tuple[x509.ExtensionType, bool]]:
    """Yield extensions and whether they are critical, but for the identifiers of keys."""
    yield x509.BasicConstraints(ca=is_ca, path_length=None), is_ca or not public
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not public,
        data_encipherment=False,
        key_agreement=not public,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
    yield usage, public
    yield x509.ExtendedKeyUsage(usages), False
    if names:
        yield x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), False


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
