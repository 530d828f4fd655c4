"""Files in the shape of ssl-mgr's load as they are."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.config.load import load
from sslmd.config.model import (
    DnsPrimary,
    Endpoint,
    PostCopy,
    ServerKind,
    ServiceMatch,
    Trigger,
)
from sslmd.core.dane.tlsa import DaneEntry, TlsaHosts, wants_of
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.spec import AcmeCa, KeySpec, KeyType, Timing
from tests.stand.conf import Tree, is_unused
from tests.stand.ssl_mgr_site import VERSIONS, unpack

# The shape of a configuration of ssl-mgr 5 to 7: every key that its files use.
OLD_MAIN = """
[globals]
    verb = true
    sslm_auth_hook = './libexec/sslm-auth-hook'
    prod_cert_dir = '/srv/prod-certs'
    logdir = '/var/log/certs'
    clean_keep = 10
    min_roll_mins = 0
    renew_expire_days = 25
    renew_expire_days_spread = 2
    dns_check_delay = 120
    dns_xtra_ns = ['192.0.2.53', '198.51.100.53']
    post_copy_cmd = [['example.net', '/opt/tools/fix-permissions'],
                     ['pbx.example.net', '/opt/tools/reload-pbx now']
                    ]
[[groups]]
    active=true
    domain='example.net'
    services=['web-ec', 'mail-rsa']
[[groups]]
    active = false
    domain = 'example.org'
    services = ['ALL']
[[groups]]
    active=true
    domain = 'ca'
    services = ['root', 'sub']
[[dns_primary]]
    domain = 'default'
    server = '192.0.2.1'
    port = 10053
[[dns_primary]]
    domain = 'example.net'
    server = '192.0.2.2'
    port = 53
[dns]
    restart_cmd = '/opt/dns/resign'
    acme_dir = '/opt/dns/acme'
    tlsa_dirs = ['/opt/dns/tlsa-inside',
                 '/opt/dns/tlsa-outside',
                ]
    depends = ['dns']
[smtp]
    servers = ['mx1.example.net', 'mx2.example.net']
    svc_depends = [['example.net', ['mail-rsa']]]
    restart_cmd = ['/usr/bin/postmap -F hash:/etc/postfix/sni', '/usr/bin/postfix reload']
    depends = ['dns']
[imap]
    servers = ['imap.example.net']
    restart_cmd = '/usr/bin/doveadm reload'
    svc_depends = [['example.net', ['mail-rsa']]]
[web]
    servers = []
    skip_prod_copy = true
    server_dir = '/srv/www'
    svc_depends = [['any', ['web-ec']]]
[other]
    servers = ['backup.example.net']
    restart_cmd = ''
"""
OLD_CAS = """
[root]
    ca_desc = 'Our root'
    ca_type = 'self'
[sub]
    ca_desc = 'Our sub'
    ca_type = 'local'
[le]
    ca_desc = 'Public'
    ca_type = 'certbot'
    ca_validation = 'dns-01'
    ca_preferred_chain = 'ISRG Root X2'
    ca_preferred_acme_profile = 'tlsserver'
"""
OLD_SERVICE = """
name = 'Title of {service}'
group = '{group}'
service = '{service}'
signing_ca = '{signer}'
renew_expire_days = 20
dane_tls = {dane}
[KeyOpts]
    {key}
[X509]
    CN = "{cn}"
    O = "A Company"
    OU = ''
    L = ''
    ST = ''
    C = "US"
    email = 'hostmaster@example.net'
    sans = [{sans}]
"""
OLD_CA = "[CA]\n    sign_end_days = 1825\n    digest = 'sha384'\n"


def old_tree(top: Path) -> Tree:
    tree = Tree(top)
    for name in ("ca/my-root", "ca/my-int", "example.com/web"):
        tree.path(name).unlink()
    tree.write("ssl-mgr.conf", OLD_MAIN)
    tree.write("ca-info.conf", OLD_CAS)
    ec, rsa = "ktype = 'ec'\n    ec_algo = 'secp384r1'", "ktype = 'rsa'\n    bits = 2048"
    web, mail = "'example.net', '*.example.net'", "'example.net', 'smtp.example.net'"
    for path, signer, dane, key, cn, sans in (
        ("ca/root", "self", "[]", ec, "Our root", ""),
        ("ca/sub", "root", "[]", ec, "Our sub", ""),
        ("example.net/web-ec", "sub", "[]", ec, "example.net", web),
        ("example.net/mail-rsa", "le", "[[25, 'tcp', 3, 1, 1, 'MX']]", rsa, "example.net", mail),
    ):
        group, service = path.split("/")
        text = OLD_SERVICE.format(
            group=group, service=service, signer=signer, dane=dane, key=key, cn=cn, sans=sans
        )
        tree.write(path, text + (OLD_CA if group == "ca" else ""))
    return tree


def test_files_of_ssl_mgr_load_unchanged(tmp_path: Path) -> None:
    tree = old_tree(tmp_path)
    config = tree.load()
    always = "ssl-mgr runs it at every copy, whatever the host"
    hosts = "there are: backup.example.net, imap.example.net, mx1.example.net, mx2.example.net"
    assert [tree.short(str(warning)) for warning in config.warnings] == [
        f"ssl-mgr.conf:4: globals.sslm_auth_hook: {tmp_path}/libexec/sslm-auth-hook is taken for "
        "ssl-mgr's hook; the daemon's own is used; remove the key",
        "ssl-mgr.conf:13: globals.post_copy_cmd: nothing is copied to example.net, so this never "
        f"runs; {always}; {hosts}",
        "ssl-mgr.conf:14: globals.post_copy_cmd: nothing is copied to pbx.example.net, so this "
        f"never runs; {always}; {hosts}",
        "ssl-mgr.conf:57: other: without svc_depends, its servers get every certificate with its "
        "key; write svc_depends = [['any', ['ALL']]] if that is meant",
        "example.net/mail-rsa:10: KeyOpts.bits: it has no effect, as in ssl-mgr: rsa_bits is the "
        "length of an RSA key, 4096 where it is missing; remove it, or write rsa_bits if you want "
        "another length",
        "example.net/web-ec:18: X509.email: 'hostmaster@example.net' is only put into the subject, "
        "where mail programs do not look; add 'emailProtection' to ext_key_usage if the "
        "certificate is for mail, so that it is in the subjectAltName too; otherwise remove it",
        "ca/sub:21: CA.sign_end_days: what sub signs lives 1825 days, example.net/web-ec for one: "
        "Apple's devices refuse a server's certificate of more than 825 "
        "(https://support.apple.com/HT210176); write 825 or less; they are renewed in time",
    ]
    options = config.globals
    assert options.auth_hook is None
    assert (options.certs_dir, options.prod_cert_dir) == (
        tmp_path / "certs",
        Path("/srv/prod-certs"),
    )
    assert options.timing == Timing(timedelta(25), timedelta(2), timedelta(0))
    assert options.post_copy == (
        PostCopy("example.net", ("/opt/tools/fix-permissions",)),
        PostCopy("pbx.example.net", ("/opt/tools/reload-pbx", "now")),
    )
    assert [str(cert) for cert in config.services] == [
        "example.net/web-ec",
        "example.net/mail-rsa",
        "ca/root",
        "ca/sub",
    ]
    mail = config.services[CertId("example.net", "mail-rsa")]
    assert mail.spec.key == KeySpec(KeyType.RSA, bits=4096)
    assert mail.spec.signer == AcmeCa("le")
    assert mail.dane == (DaneEntry(25, "tcp", 3, 1, 1, TlsaHosts.MX),)
    assert mail.timing == Timing(timedelta(20), timedelta(2), timedelta(0))
    assert mail.spec.subject.unit == ""
    smtp, imap, web, other = config.server_classes
    assert smtp.restart == (
        ("/usr/bin/postmap", "-F", "hash:/etc/postfix/sni"),
        ("/usr/bin/postfix", "reload"),
    )
    assert smtp.depends == {Trigger.DNS}
    assert [c.kind for c in config.classes_for(mail.id)] == [
        ServerKind.SMTP,
        ServerKind.IMAP,
        ServerKind.OTHER,
    ]
    assert imap.receives(mail.id)
    assert web.svc_depends == (ServiceMatch(None, frozenset({"web-ec"})),)
    assert other.restart == ()
    assert config.cas["le"].preferred_profile == "tlsserver"
    assert config.primary_for(ZoneName("example.net")) == DnsPrimary(
        ZoneName("example.net"), Endpoint("192.0.2.2", 53)
    )
    assert config.primary_for(ZoneName("example.org")) == DnsPrimary(
        None, Endpoint("192.0.2.1", 10053)
    )


def test_later_keys_of_ssl_mgr(tmp_path: Path) -> None:
    tree = old_tree(tmp_path)
    renew = "[renew_info]\n    target_90 = 31.5\n    rand_adj_90 = 3.0\n    target_45 = 10.0\n"
    tree.write(
        "ssl-mgr.conf",
        OLD_MAIN.replace("verb = true", "preferred_acme_profile = 'shortlived'") + renew,
    )
    tree.change("ca-info.conf", "    ca_preferred_acme_profile = 'tlsserver'\n", "")
    tree.change("example.net/mail-rsa", "renew_expire_days = 20", "dane_tls_ttl = 3600")
    config = tree.load()
    mail = config.services[CertId("example.net", "mail-rsa")]
    assert mail.timing.asked(timedelta(90)) == (timedelta(31.5), timedelta(3))
    assert mail.timing.asked(timedelta(45)) == (timedelta(10), timedelta(0))
    assert mail.dane_ttl == 3600
    assert config.cas["le"].preferred_profile == "shortlived"


@pytest.mark.parametrize("version", VERSIONS)
def test_sites_that_ssl_mgr_made_load_and_keep_their_tlsa_owners(
    tmp_path: Path, version: str
) -> None:
    top = unpack(version, tmp_path)
    config = load(top / "conf.d", owners={0, os.getuid()})
    # What ssl-mgr did not say of these: a mail address that nobody finds, too long a life; and that
    # nothing is restarted for some of them.
    told = [one for one in config.warnings if not is_unused(one)]
    assert sorted(one.key for one in told) == ["CA.sign_end_days", "X509.email"]
    wanted: dict[str, set[str]] = {}
    for cert, service in config.services.items():
        zone = ZoneName(cert.group)
        mx = [DomainName(f"{host}.{zone}") for host in ("mail", "mx2")]
        found = wants_of(service.dane, zone, service.spec.all_names(), mx)
        wanted.setdefault(cert.group, set()).update(owner.text for owner in found)
    written = {
        path.name.removeprefix("tlsa."): {
            line.split()[0].rstrip(".") for line in path.read_text().splitlines() if line[:1] == "_"
        }
        for path in (top / "zones" / "tlsa").glob("tlsa.*")
    }
    assert written
    assert {zone: owners for zone, owners in wanted.items() if owners} == written
