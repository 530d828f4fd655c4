"""What a right configuration gives."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.config.files import is_left_over
from sslmd.config.groups import why_absent
from sslmd.config.load import load, locate_conf_dir
from sslmd.config.model import (
    LETS_ENCRYPT,
    LETS_ENCRYPT_STAGING,
    CaKind,
    DnsPrimary,
    Endpoint,
    NextKey,
    TsigKey,
    Validation,
)
from sslmd.core.errors import ConfigError
from sslmd.core.names import CertId, ZoneName
from sslmd.core.spec import KeySpec, KeyType, OwnCa, SelfSigned, Timing
from tests.stand.conf import CAS, MAIN, WEB, Tree

ROOT, INT, WEB_ID = CertId("ca", "my-root"), CertId("ca", "my-int"), CertId("example.com", "web")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_defaults(tree: Tree) -> None:
    config = tree.load()
    assert config.top == tree.top
    options = config.globals
    assert options.certs_dir == tree.top / "certs"
    assert options.prod_cert_dir == tree.top / "prod-certs"
    assert (options.auth_hook, options.logdir, options.dns_validating_resolver) == (None,) * 3
    assert options.timing == Timing(timedelta(30), timedelta(0), timedelta(minutes=90))
    assert [str(one) for one in options.dns_extra_servers] == [
        "1.1.1.1:53", "8.8.8.8:53", "9.9.9.9:53", "208.67.222.222:53",
    ]  # fmt: skip
    web = config.services[WEB_ID]
    assert web.spec.key == KeySpec(KeyType.EC, curve="secp384r1")
    assert web.spec.ext_key_usage == ("serverAuth", "clientAuth")
    assert web.timing is options.timing
    assert (web.dane, web.dane_ttl, web.dane_next_key) == ((), 1800, NextKey.AT_RENEW)
    acme = config.cas["le-http"]
    assert (acme.kind, acme.validation) == (CaKind.ACME, Validation.HTTP_01)
    assert (acme.server, acme.test_server) == (LETS_ENCRYPT, LETS_ENCRYPT_STAGING)


def test_own_cas_know_their_height(tree: Tree) -> None:
    services = tree.load().services
    assert services[ROOT].spec.signer == SelfSigned()
    assert services[INT].spec.signer == OwnCa(ROOT)
    assert services[WEB_ID].spec.signer == OwnCa(INT)
    root, sub = services[ROOT].spec.ca, services[INT].spec.ca
    assert root is not None
    assert sub is not None
    assert (root.path_len, root.life, root.digest) == (None, timedelta(3650), "sha384")
    assert (sub.path_len, sub.life) == (0, timedelta(90))
    tree.write("ca-info.conf", CAS + "[low]\nca_type = 'local'\n")
    tree.write("ca/low", "group = 'ca'\nservice = 'low'\nsigning_ca = 'my-int'\nX509.CN = 'Low'\n")
    tree.change("ssl-mgr.conf", "'my-int'", "'my-int', 'low'")
    services = tree.load().services
    sub, low = services[INT].spec.ca, services[CertId("ca", "low")].spec.ca
    assert sub is not None
    assert low is not None
    assert (sub.path_len, sub.life) == (1, timedelta(1825))
    assert (low.path_len, low.life) == (0, timedelta(90))


def test_a_ca_that_no_group_lists_is_not_managed(tree: Tree) -> None:
    tree.change("ssl-mgr.conf", "'my-root', 'my-int'", "'my-int'")
    config = tree.load()
    assert not config.services[ROOT].managed
    assert config.services[INT].managed
    assert [tree.short(str(one)) for one in config.warnings] == [
        "ca/my-root: no active group lists this CA: it signs with what it has and is not renewed; "
        "add 'my-root' to the services of group ca in ssl-mgr.conf"
    ]


def test_inactive_groups_are_not_read(tree: Tree) -> None:
    text = MAIN + "[[groups]]\ndomain = 'example.net'\nservices = ['x']\nactive = false\n"
    tree.write("ssl-mgr.conf", text)
    tree.write("example.net/x", "not read")
    assert tree.warnings() == []


def test_a_group_that_does_not_say_active_is_left_alone(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", MAIN.replace("    active = true\n", "\n"))
    config = tree.load()
    assert [cert.service for cert, one in config.services.items() if one.managed] == []
    assert config.inactive == {"ca", "example.com"}
    told = [tree.short(str(one)) for one in config.warnings]
    for line, group in ((4, "ca"), (8, "example.com")):
        assert (
            f"ssl-mgr.conf:{line}: groups: group {group!r} does not say active = true, so it is "
            "left alone, as ssl-mgr does; add active = true; or active = false, if that is meant"
        ) in told
    assert (
        "ca/my-int: no active group lists this CA: it signs with what it has and is not renewed; "
        "set active = true in [[groups]] for group ca in ssl-mgr.conf"
    ) in told


def test_a_group_that_is_left_alone_needs_no_services(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", MAIN + "[[groups]]\ndomain = 'example.net'\nactive = false\n")
    assert tree.warnings() == []
    tree.change("ssl-mgr.conf", "'example.net'\nactive = false", "'example.com'\nactive = true")
    assert "group example.com lists no services" in tree.warnings()[0]


def test_why_a_service_is_left_out(tree: Tree) -> None:
    asleep = "[[groups]]\ndomain = 'example.net'\nservices = ['web']\nactive = false\n"
    tree.write("ssl-mgr.conf", MAIN + asleep)
    for name in ("example.com/mail", "example.net/web", "example.org/web"):
        tree.write(name, WEB)
    config = tree.load()
    main = tree.path("ssl-mgr.conf")
    active = f"its group is not active: set active = true in [[groups]] of {main}"
    for group, service, why in (
        ("example.net", "web", active),
        ("example.net", "", active),
        ("example.net", "mail", ""),
        (
            "example.com",
            "mail",
            f"its file is there, but `services` of its group in {main} does not list it",
        ),
        ("example.org", "web", f"its file is there, but no [[groups]] of {main} names its group"),
        ("example.com", "ftp", ""),
        ("example.com", "", ""),
        ("example.edu", "web", ""),
    ):
        assert why_absent(config, group, service) == why


@pytest.mark.parametrize("word", ["'ALL'", "['*']", "['web', 'ALL']"])
def test_every_service_of_a_folder(tree: Tree, word: str) -> None:
    tree.change("ssl-mgr.conf", "services = ['web']", f"services = {word}")
    tree.write("example.com/mail", WEB.replace("'web'", "'mail'"))
    for name in (".mail.swp", "web~", "web.bak", "#web#", "web.dpkg-old", ".hidden"):
        tree.write(f"example.com/{name}", "left over")
    tree.path("example.com/old").mkdir()
    config = tree.load()
    assert {cert.service for cert in config.services if cert.group != "ca"} == {"web", "mail"}
    assert config.warnings == ()
    tree.write("example.com/NOTES", "a text")
    assert tree.warnings() == [
        "example.com/NOTES: ALL leaves it out: it is no service file; move it away"
    ]


def test_left_overs() -> None:
    for name in ("web~", ".web.swp", "web.bak", "#web#", "web.dpkg-dist", "web.rpmnew", ".git"):
        assert is_left_over(name)
    for name in ("web", "web-ec", "web.2", "mail@mx1"):
        assert not is_left_over(name)


def test_links_are_followed_but_the_top_is_where_the_link_is(tree: Tree, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "conf.d").symlink_to(tree.conf)
    tree.path("example.com/web").rename(tmp_path / "elsewhere")
    tree.path("example.com/web").symlink_to(tmp_path / "elsewhere")
    config = load(run / "conf.d")
    assert config.top == run
    assert config.conf_dir == run / "conf.d"
    assert config.globals.certs_dir == run / "certs"
    assert WEB_ID in config.services


def test_programs_and_paths_start_at_the_top(tree: Tree) -> None:
    tree.change(
        "ssl-mgr.conf",
        "server_dir = 'sites'",
        "restart_cmd = ['tools/x a/b', 'systemctl reload nginx', '', '/bin/true']",
    )
    config = tree.load()
    assert config.server_classes[0].restart == (
        (str(tree.top / "tools/x"), "a/b"),
        ("systemctl", "reload", "nginx"),
        ("/bin/true",),
    )
    assert config.dns.acme_dirs == (tree.top / "acme",)
    assert config.dns.tlsa_dirs == (tree.top / "tlsa",)


def test_dynamic_update(tree: Tree) -> None:
    tree.write(
        "ssl-mgr.conf",
        MAIN + "[[dns_primary]]\ndomain = 'default'\nserver = '::1'\nport = 5300\nupdate = true\n"
        "nameservers = ['127.0.0.1:5301', '[::1]:5302']\ntsig_key_file = 'tsig.key'\n",
    )
    primary = tree.load().primary_for(ZoneName("example.com"))
    assert primary == DnsPrimary(
        None,
        Endpoint("::1", 5300),
        (Endpoint("127.0.0.1", 5301), Endpoint("::1", 5302)),
        update=True,
        tsig=TsigKey(tree.top / "tsig.key"),
    )


def test_names_without_repeats_in_the_order_of_the_file(tree: Tree) -> None:
    tree.change(
        "example.com/web",
        "'example.com', 'www.example.com'",
        "'WWW.example.com', '2001:DB8:0::1', 'example.com', 'www.example.com.'",
    )
    config = tree.load()
    names = [str(name) for name in config.services[WEB_ID].spec.names]
    assert names == ["www.example.com", "2001:db8::1", "example.com"]
    assert [tree.short(str(one)) for one in config.warnings] == [
        "example.com/web:8: X509.sans: 'www.example.com' is there twice; remove one of them"
    ]


def test_the_order_of_the_classes_is_that_of_the_file(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", MAIN.replace("[web]", "[other]\n[web]") + "[imap]\n[smtp]\n")
    tree.change("ssl-mgr.conf", "    server_dir = 'sites'\n", "")
    kinds = [one.kind.value for one in tree.load().server_classes]
    assert kinds == ["other", "web", "imap", "smtp"]


def test_the_fingerprint_is_of_what_is_asked(tree: Tree) -> None:
    def fingerprint() -> str:
        return tree.load().services[WEB_ID].fingerprint

    first = fingerprint()
    tree.write("example.com/web", "# a comment\n" + WEB)
    tree.change("ssl-mgr.conf", "verb = true", "clean_keep = 9")
    tree.change("ca-info.conf", "'http-01'", "'dns-01'")
    assert fingerprint() == first
    tree.change("example.com/web", "'www.example.com'", "'shop.example.com'")
    second = fingerprint()
    tree.change("ca-info.conf", "ca_type = 'local'", "ca_type = 'local'\nca_desc = 'new'")
    assert len({first, second, fingerprint()}) == 3


def test_where_the_configuration_is() -> None:
    top = {"SSL_MGR_TOPDIR": "/srv/top"}
    assert locate_conf_dir("/x/conf.d", top) == Path("/x/conf.d")
    assert locate_conf_dir(None, top) == Path("/srv/top/conf.d")
    assert locate_conf_dir(None, {}) == Path("/etc/ssl-mgr/conf.d")
    assert locate_conf_dir("", {"SSL_MGR_TOPDIR": ""}) == Path("/etc/ssl-mgr/conf.d")
    assert locate_conf_dir("run/../conf", {}) == Path.cwd() / "conf"


def test_mistakes_leave_out_no_file(tree: Tree) -> None:
    for name in ("ssl-mgr.conf", "ca-info.conf", "ca/my-root", "ca/my-int", "example.com/web"):
        tree.write(name, tree.path(name).read_text() + "\nbroken\n")
    with pytest.raises(ConfigError) as caught:
        tree.load()
    assert len({mistake.file for mistake in caught.value.mistakes}) == 5
