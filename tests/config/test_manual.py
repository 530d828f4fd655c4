"""Configurations with every table and key that ssl-mgr's manuals and examples show.

In words of our own, in the shape of 5.2 and of 7.8: no mistake, and no warning but those that say
what is really different here.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.config.model import Trigger, Validation
from sslmd.core.dane.tlsa import TlsaHosts
from sslmd.core.names import CertId
from sslmd.core.spec import AcmeCa, OwnCa, SelfSigned
from tests.stand.conf import Tree

HOSTS = "['mx1.lan.example.com', 'mx2.lan.example.com']"
GLOBALS = """\
[globals]
    verb = true
    sslm_auth_hook = '/usr/lib/ssl-mgr/sslm-auth-hook'
    prod_cert_dir = '/srv/tls/prod-certs'
    logdir = '/srv/tls/logs'
    clean_keep = 8
    min_roll_mins = 60
    dns_check_delay = 200
    dns_xtra_ns = ['192.0.2.8', '192.0.2.9']
    post_copy_cmd = [['mail.example.com', '/opt/tools/grant'],
                     ['pbx.example.com', '/opt/tools/look']
                    ]
"""
OLD_RENEWAL = "    renew_expire_days = 30\n    renew_expire_days_spread = 4\n"
NEW_RENEWAL = "    preferred_acme_profile = 'tlsserver'\n[renew_info]\n" + "".join(
    f"    {word}_{life} = {value}\n"
    for word, values in (
        ("target", {90: 30.0, 60: 20.0, 45: 10.0, 10: 5.0, 6: 2.0, 2: 1.0, 1: 0.5}),
        ("rand_adj", {90: 4.0, 60: 0.0, 45: 0.0, 10: 0.0, 6: 0.0, 2: 0.0, 1: 0.0}),
    )
    for life, value in values.items()
)
REST = f"""
[[groups]]
    active=true
    domain='example.net'
    services=['web-ec']
[[groups]]
    active=true
    domain = 'example.com'
    services = ['mail-ec', 'mail-rsa', 'web-ec']
[[groups]]
    active=true
    domain = 'ca'
    services = ['our-root', 'our-sub']
[[dns_primary]]
    domain = 'default'
    server = '192.0.2.3'
    port = 10053
[[dns_primary]]
    domain = 'example.com'
    server = '192.0.2.3'
    port = 10053
[dns]
    restart_cmd = '/opt/zones/sign.sh'
    acme_dir = '/opt/zones/acme'
    tlsa_dirs = ['/opt/zones/inside/tlsa',
                '/opt/zones/outside/tlsa',
                ]
    depends = ['dns']
[smtp]
    servers = {HOSTS}
    restart_cmd = ['/usr/bin/postmap -F lmdb:/etc/postfix/sni', '/usr/bin/postfix reload']
    svc_depends = [['example.com', ['mail-rsa', 'mail-ec']]]
    depends = ['dns']
[imap]
    servers = ['imap.lan.example.com']
    restart_cmd = '/usr/bin/systemctl restart dovecot'
    svc_depends = [['example.com', ['mail-rsa', 'mail-ec']]]
[web]
    servers = ['web.lan.example.com']
    restart_cmd = '/usr/bin/systemctl reload nginx'
    server_dir = '/srv/sites'
    skip_prod_copy = false
    svc_depends = [['any', ['web-ec']]]
[other]
    servers = ['backup.lan.example.com', 'pbx.lan.example.com']
    restart_cmd = ''
"""
CAS = """\
[le-dns]
    ca_desc = 'A public CA, by DNS'
    ca_type = 'certbot'
    ca_validation = 'dns-01'
    ca_preferred_chain = 'ISRG Root X2'
[le-http]
    ca_desc = 'A public CA, by HTTP'
    ca_type = 'certbot'
    ca_validation = 'http-01'
[our-root]
    ca_desc = 'It signs our-sub'
    ca_type = 'self'
[our-sub]
    ca_desc = 'It signs the rest'
    ca_type = '{kind}'
"""
SERVICE = """\
name = 'Title of {service}'
group = '{group}'
service = '{service}'
signing_ca = '{signer}'
renew_expire_days = 30
dane_tls = {dane}
[KeyOpts]
    {key}
[X509]
    CN = "{cn}"
    O = "A Company"
    OU = 'Some Unit'
    L = ''
    ST = ''
    C = "US"
    email = 'hostmaster@example.com'
    sans = [{sans}]
"""
CA = "[CA]\n    sign_end_days = 3650\n    digest = 'sha384'\n"
EC, RSA = (
    "ktype = 'ec'\n    ec_algo = 'secp384r1'",
    "ktype = 'rsa'\n    rsa_bits = 4096\n    bits = 4096",
)


def written(tree: Tree, main: str, root: str, kind: str, mail: str) -> None:
    for name in ("ca/my-root", "ca/my-int", "example.com/web"):
        tree.path(name).unlink()
    tree.write("ssl-mgr.conf", main)
    tree.write("ca-info.conf", CAS.format(kind=kind))
    com = "'example.com', 'smtp.example.com', 'imap.example.com', 'mail.example.com'"
    for path, signer, dane, key, cn, sans in (
        ("ca/our-root", root, "[]", EC, "Our root", ""),
        ("ca/our-sub", "our-root", "[]", EC, "Our sub", ""),
        ("example.net/web-ec", "our-sub", "[]", EC, "example.net", "'example.net'"),
        (
            "example.com/web-ec",
            "le-http",
            "[]",
            EC,
            "example.com",
            "'example.com', 'www.example.com'",
        ),
        ("example.com/mail-ec", "le-dns", mail, EC, "example.com", com),
        ("example.com/mail-rsa", "le-dns", "[[25, 'tcp', 3, 1, 1]]", RSA, "example.com", com),
    ):
        group, service = path.split("/")
        text = SERVICE.format(
            group=group, service=service, signer=signer, dane=dane, key=key, cn=cn, sans=sans
        )
        tree.write(path, text + (CA if group == "ca" else ""))


@pytest.mark.parametrize(
    ("renewal", "root", "kind", "mail"),
    [
        (OLD_RENEWAL, "", "self", "[[25, 'tcp', 3, 1, 1]]"),
        (NEW_RENEWAL, "self", "local", "[[25, 'tcp', 3, 1, 1, 'MX']]"),
    ],
    ids=["5.2", "7.8"],
)
def test_what_the_manuals_show(
    tmp_path: Path, renewal: str, root: str, kind: str, mail: str
) -> None:
    tree = Tree(tmp_path)
    written(tree, GLOBALS + renewal + REST, root, kind, mail)
    config = tree.load()
    # What is really different: the daemon has a hook of its own, runs a command only after a copy
    # to its host, and gives keys to who is granted them; `bits` never had an effect. ssl-mgr
    # did not say that nobody finds a mail address in the subject, or what Apple's devices refuse.
    assert [(tree.short(one.file), one.key) for one in config.warnings] == [
        ("ssl-mgr.conf", "globals.sslm_auth_hook"),
        ("ssl-mgr.conf", "globals.post_copy_cmd"),
        ("ssl-mgr.conf", "globals.post_copy_cmd"),
        ("ssl-mgr.conf", "other"),
        ("example.com/mail-rsa", "KeyOpts.bits"),
        ("example.net/web-ec", "X509.email"),
        ("ca/our-sub", "CA.sign_end_days"),
    ]
    assert all("did you mean" not in one.remedy for one in config.warnings)
    signers = {str(cert): one.spec.signer for cert, one in config.services.items()}
    assert signers == {
        "example.net/web-ec": OwnCa(CertId("ca", "our-sub")),
        "example.com/mail-ec": AcmeCa("le-dns"),
        "example.com/mail-rsa": AcmeCa("le-dns"),
        "example.com/web-ec": AcmeCa("le-http"),
        "ca/our-root": SelfSigned(),
        "ca/our-sub": OwnCa(CertId("ca", "our-root")),
    }
    for cert, one in config.services.items():
        assert one.timing.asked(timedelta(90)) == (timedelta(30), timedelta(4)), cert
        assert [entry.hosts for entry in one.dane] == (
            [TlsaHosts.MX] if cert.service.startswith("mail") else []
        )
    assert config.dns.depends == {Trigger.DNS}
    assert [one.kind.value for one in config.server_classes] == ["smtp", "imap", "web", "other"]


@pytest.mark.parametrize(
    ("word", "means"),
    [("", Validation.DNS_01), ("dns", Validation.DNS_01), ("HTTP", Validation.HTTP_01)],
)
def test_ways_of_validation_that_ssl_mgr_takes(
    tmp_path: Path, word: str, means: Validation
) -> None:
    tree = Tree(tmp_path)
    tree.change("ca-info.conf", "ca_validation = 'dns-01'", f"ca_validation = '{word}'")
    assert tree.load().cas["le-dns"].validation is means


def test_a_ttl_of_nothing_is_the_usual_one(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.change("example.com/web", "name = 'Web'", "dane_tls_ttl = 0")
    assert {one.dane_ttl for one in tree.load().services.values()} == {1800}


def test_titles_among_the_names_of_a_ca_are_left_out(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.change(
        "ca/my-root", "CN = 'Root'", "CN = 'Root'\n    sans = ['Root CA', 'ca.example.com']"
    )
    spec = tree.load().services[CertId("ca", "my-root")].spec
    assert [str(name) for name in spec.names] == ["ca.example.com"]
    (warning,) = [one for one in tree.warnings() if "sans" in one]
    assert "'Root CA' is no host name or address" in warning


def test_two_cas_of_one_name(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.change("ca/my-int", "CN = 'Intermediate'", "CN = 'Root'")
    (mistake,) = tree.mistakes()
    assert "ca/my-int has the same name as ca/my-root" in mistake
