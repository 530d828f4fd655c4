"""What is odd but does not refuse a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stand.conf import MAIN, Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_warnings_do_not_refuse(tree: Tree) -> None:
    text = MAIN.replace("verb = true", "clen_keep = 4\n    renew_expire_days_spread = 40")
    text = text.replace("['web']]", "['web', 'wbe']], ['example.net', ['x']]")
    text += "    clean_keep = 3\n[webb]\n[[groups]]\ndomain = 'EXAMPLE.com'\n"
    text += "services = ['web']\nactive = true\n"
    tree.write("ssl-mgr.conf", text)
    tree.change("ca-info.conf", "[le-dns]", "[le-dns]\nca_servr = 'https://x'")
    tree.change("example.com/web", "    CN =", "    renew_expire_days = 3\n    CN =")
    tree.path("ca").chmod(0o775)  # of a group that has nobody else in it
    assert tree.warnings() == [
        "ssl-mgr.conf:2: globals.clen_keep: this key is not known here and has no effect; "
        "did you mean 'clean_keep'?",
        "ssl-mgr.conf:3: globals.renew_expire_days_spread: 40 days are more than "
        "renew_expire_days, which is 30; 30 is used; write 30 or less",
        "ssl-mgr.conf:19: web.svc_depends: there is no active service wbe in any group; "
        "did you mean 'web'?",
        "ssl-mgr.conf:19: web.svc_depends: there is no active group example.net; "
        "there are: ca, example.com",
        "ssl-mgr.conf:20: web.clean_keep: this key is not known here and has no effect; "
        "it belongs in [globals]",
        "ssl-mgr.conf:21: webb: this key is not known here and has no effect; did you mean 'web'?",
        "ssl-mgr.conf:23: groups.domain: example.com has two tables; their services are taken "
        "together, where ssl-mgr takes those of the last; make one of them",
        "ssl-mgr.conf:24: groups.services: web is listed twice; remove one of them",
        "ca-info.conf:8: le-dns.ca_servr: this key is not known here and has no effect; "
        "did you mean 'ca_server'?",
        "example.com/web:7: X509.renew_expire_days: this key is not known here and has no effect; "
        "it belongs at the top of the file, before the first [table]",
    ]


def test_services_at_one_owner_are_told_of_each_other(tree: Tree) -> None:
    dane = "dane_tls = [[25, 'tcp', 3, 1, 1]]"
    tree.change("example.com/web", "'my-int'", f"'my-int'\n{dane}")
    web = tree.path("example.com/web").read_text()
    other = web.replace("'web'", "'mail'").replace("3, 1, 1]", "3, 1, 2]")
    tree.write("example.com/mail", other.replace(dane[:8], "dane_tls_ttl = 60\ndane_tls"))
    tree.change("ssl-mgr.conf", "services = ['web']", "services = ['web', 'mail']")
    assert tree.warnings() == [
        "ssl-mgr.conf: example.com/web, example.com/mail have records at _25._tcp.example.com "
        "with different combinations: clients go by the strongest digest, whatever key they are "
        "shown (RFC 7671, 8 and 9), so all of them get 3 1 1, 3 1 2; write the same dane_tls in "
        "both",
        "ssl-mgr.conf: example.com/web, example.com/mail have records at _25._tcp.example.com "
        "with different dane_tls_ttl: records of one owner have one TTL, 60 s is used; write the "
        "same dane_tls_ttl in both",
    ]


@pytest.mark.parametrize(
    ("entry", "signer", "text"),
    [
        ("25, 'tcp', 1, 1, 1", "my-int", "usage 1 is not for mail servers"),
        ("443, 'tcp', 3, 0, 0, 'SANS'", "my-int", "puts the whole certificate into DNS"),
        ("443, 'tcp', 2, 1, 1, 'SANS'", "le-dns", "a public CA changes it without warning"),
    ],
)
def test_entries_that_are_seldom_meant(tree: Tree, entry: str, signer: str, text: str) -> None:
    tree.change("example.com/web", "'my-int'", f"'{signer}'\ndane_tls = [[{entry}]]")
    (warning,) = tree.warnings()
    assert text in warning


NEWER = "keeps the records of ssl-mgr 5.7 and later, 'MX' those of versions before"


@pytest.mark.parametrize(
    ("entry", "sans", "said"),
    [
        ("25, 'tcp', 3, 1, 1", "'example.com'", ""),
        ("25, 'tcp', 3, 1, 1, 'MX'", "'example.com'", ""),
        ("443, 'tcp', 3, 1, 1, 'mx'", "'example.com'", ""),
        ("443, 'tcp', 3, 1, 1, 'SANS'", "'www.example.com'", ""),
        ("443, 'tcp', 3, 1, 1, ['www.example.com']", "'www.example.com'", ""),
        ("25, 'tcp', 3, 1, 1, ['www.example.com']", "'www.example.com'", ""),
        (
            "443, 'tcp', 3, 1, 1",
            "'www.example.com', 'example.com', '*.example.com', 'www.example.net'",
            "port 443 has records at the names of the certificate (example.com, www.example.com); "
            "ssl-mgr before 5.7 has them at example.com and its MX hosts; write a sixth element: "
            f"'SANS' {NEWER}",
        ),
        (
            "465, 'tcp', 3, 1, 1, ''",
            "'a.example.com', 'b.example.com'",
            "port 465 has records at the names of the certificate (a.example.com, b.example.com); "
            "ssl-mgr has them at example.com as well, and before 5.7 at example.com and its MX "
            "hosts; write a sixth element: ['example.com', 'a.example.com', 'b.example.com'] "
            f"{NEWER}, 'SANS' is what sslmd does now",
        ),
        (
            "443, 'tcp', 3, 1, 1",
            "'*.example.com'",
            "port 443 has records at no name at all; ssl-mgr has them at example.com as well, and "
            "before 5.7 at example.com and its MX hosts; write a sixth element: ['example.com'] "
            f"{NEWER}, 'SANS' is what sslmd does now",
        ),
        (
            "25, 'tcp', 3, 1, 1, 'SANS'",
            "'www.example.com'",
            "port 25 has records at the names of the certificate; ssl-mgr has them at example.com "
            "and its MX hosts whatever stands here; write 'MX' to keep those; or the names as a "
            "list, if they are meant",
        ),
    ],
)
def test_records_that_ssl_mgr_has_at_other_hosts(
    tree: Tree, entry: str, sans: str, said: str
) -> None:
    tree.change("example.com/web", "'my-int'", f"'my-int'\ndane_tls = [[], [{entry}]]")
    tree.change("example.com/web", "'example.com', 'www.example.com'", sans)
    tree.change("example.com/web", "    CN = 'example.com'\n", "")
    expected = [f"example.com/web:5: dane_tls: {said}"] if said else []
    assert tree.warnings() == expected


def test_no_way_to_publish_is_said(tree: Tree) -> None:
    tree.change("example.com/web", "'my-int'", "'le-dns'\ndane_tls = [[443, 'tcp', 3, 1, 1, 'MX']]")
    tree.change("ssl-mgr.conf", "[dns]\n    acme_dir = 'acme'\n    tlsa_dirs = ['tlsa']\n", "")
    assert tree.warnings() == [
        "ssl-mgr.conf: dns-01 challenges cannot be published: example.com/web; "
        "write acme_dir in [dns], or update = true in [[dns_primary]]",
        "ssl-mgr.conf: TLSA records cannot be published: example.com/web; "
        "write tlsa_dirs in [dns], or update = true in [[dns_primary]]",
    ]


@pytest.mark.parametrize(
    ("domain", "warned"),
    [
        ("default", False),
        ("example.com", False),
        ("example.net", True),
        # The challenges are zones of their own, or their CNAMEs may lead there.
        ("_acme-challenge.example.com", False),
        ("acme.example.org", False),
    ],
)
def test_zones_of_challenges_alone_are_a_way_to_publish(
    tree: Tree, domain: str, warned: bool
) -> None:
    tree.change("example.com/web", "'my-int'", "'le-dns'")
    tree.change("example.com/web", "'www.example.com'", "'*.example.com'")
    primary = f"[[dns_primary]]\ndomain = '{domain}'\nserver = '192.0.2.1'\nupdate = true\n"
    if domain == "example.net":
        primary = primary.replace("update = true\n", "")
    tree.change("ssl-mgr.conf", "[dns]\n    acme_dir = 'acme'\n    tlsa_dirs = ['tlsa']\n", primary)
    assert any("cannot be published" in one for one in tree.warnings()) == warned


def test_two_classes_with_other_rights_for_one_key_on_one_host(tree: Tree) -> None:
    def two(second: str, host: str = "h1") -> list[str]:
        text = (
            "\n[smtp]\nservers = ['h1']\nsvc_depends = [['any', ['ALL']]]\nkey_mode = '0640'\n"
            f"\n[imap]\nservers = ['{host}']\nsvc_depends = [['any', ['web']]]\n{second}\n"
        )
        tree.write("ssl-mgr.conf", MAIN + text)
        return [one for one in tree.warnings() if "rights" in one]

    (warning,) = two("key_group = 'mail'")
    assert "imap: on h1, [smtp] has other rights for the key of example.com/web" in warning
    assert "those of [smtp] count" in warning
    assert two("key_mode = '0640'") == two("") == two("key_group = 'mail'", "h2") == []


def test_probes_that_look_at_nothing_and_commands_that_never_run(tree: Tree) -> None:
    def warnings(probe: str, after: str) -> list[str]:
        web = (
            "\n[imap]\nservers = ['root@H1', 'h2']\nsvc_depends = [['any', ['ALL']]]\n"
            f"probe = [[443, 'tls', 'www.example.com'], [443, 'tls', '{probe}']]\n"
        )
        main = MAIN.replace("[globals]\n", f"[globals]\npost_copy_cmd = [['{after}', 'true']]\n")
        assert main != MAIN
        tree.write("ssl-mgr.conf", main + web)
        return [one for one in tree.warnings() if "nobody looks" in one or "never runs" in one]

    assert warnings("example.com", "h1") == warnings("example.com", "other@h1") == []
    (probe,) = warnings("www.exmaple.com", "H2")
    assert "no certificate of this class is for www.exmaple.com: nobody looks there" in probe
    (after,) = warnings("example.com", "h3")
    assert "nothing is copied to h3, so this never runs; " in after
    assert after.endswith("; there are: h1, h2")


# --- names that a public CA refuses ---------------------------------------------------------


def at_a_public_ca(tree: Tree, sans: list[str], *, ca: str = "le-dns", more: str = "") -> list[str]:
    """Return the warnings of a service with these names at that CA."""
    tree.change("example.com/web", "'my-int'", f"'{ca}'")
    tree.change("example.com/web", "['example.com', 'www.example.com']", str(sans))
    if more:
        tree.change("ca-info.conf", f"[{ca}]", f"[{ca}]\n{more}")
    return tree.warnings()


@pytest.mark.parametrize("more", ["", "ca_server = 'https://acme.example.net/dir'"])
def test_names_that_a_wildcard_beside_them_covers(tree: Tree, more: str) -> None:
    names = [
        "*.example.com",
        "example.com",
        "www.example.com",
        "a.b.example.com",
        "*.b.example.com",
    ]
    assert at_a_public_ca(tree, names, more=more) == [
        f"example.com/web:8: X509.sans: {name} is covered by {star}, which stands beside it, and "
        f"public CAs refuse such an order as a whole; leave out {name}, or {star}"
        for name, star in (
            ("www.example.com", "*.example.com"),
            ("a.b.example.com", "*.b.example.com"),
        )
    ]


def test_a_common_name_that_a_wildcard_covers(tree: Tree) -> None:
    tree.change("example.com/web", "CN = 'example.com'", "CN = 'www.example.com'")
    (warning,) = at_a_public_ca(tree, ["example.com", "*.example.com"])
    assert warning.startswith(
        "example.com/web:7: X509.CN: www.example.com is covered by *.example."
    )


def test_the_own_ca_takes_every_name(tree: Tree) -> None:
    names = ["example.com", "*.example.com", "www.example.com", "10.0.0.1", "nas.local"]
    many = [f"n{number}.example.com" for number in range(200)]
    assert at_a_public_ca(tree, names + many, ca="my-int") == []


@pytest.mark.parametrize(
    ("number", "more", "said"),
    [
        (99, "", ""),
        (100, "", "there are 101 names, and Let's Encrypt takes at most 100 in one certificate;"),
        (24, "ca_preferred_acme_profile = 'tlsserver'", ""),
        (25, "ca_preferred_acme_profile = 'tlsserver'", "26 names, and Let's Encrypt takes at mo"),
        (25, "ca_preferred_acme_profile = 'shortlived'", "25 in one certificate with the profile"),
        (99, "ca_preferred_acme_profile = 'classic'", ""),
        (100, "ca_server = 'https://acme.example.net/dir'", "101 names, and public CAs take at mo"),
    ],
)
def test_more_names_than_a_certificate_may_have(
    tree: Tree, number: int, more: str, said: str
) -> None:
    found = at_a_public_ca(tree, [f"n{one}.example.com" for one in range(number)], more=more)
    assert [warning.startswith("example.com/web:8: X509.sans: ") for warning in found] == [
        True
    ] * bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("9.9.9.9", "", "signs with the profile shortlived alone; write ca_preferred_acme_prof"),
        ("2620:fe::9", "ca_preferred_acme_profile = 'tlsserver'", "the profile shortlived alone"),
        ("9.9.9.9", "ca_preferred_acme_profile = 'shortlived'", ""),
        ("10.1.2.3", "ca_preferred_acme_profile = 'shortlived'", "is no public address"),
        ("9.9.9.9", "ca_server = 'https://acme.example.net/dir'", ""),
        ("nas", "", "nas is no public name, and Let's Encrypt signs no other"),
        ("nas.local", "", "no public name"),
        ("nas.home.arpa", "", "no public name"),
        ("nas.corp.internal", "", "no public name"),
        ("nas.internal.example.com", "", ""),
        ("nas.local", "ca_server = 'https://acme.example.net/dir'", ""),
    ],
)
def test_names_that_lets_encrypt_does_not_sign(tree: Tree, name: str, more: str, said: str) -> None:
    found = at_a_public_ca(tree, ["example.com", name], ca="le-http", more=more)
    assert len(found) == bool(said) + ("server_dir" in "".join(found))
    assert said in "".join(found)


def test_a_common_name_that_is_too_long(tree: Tree) -> None:
    """It is a good name all the same: the certificate has it, and no common name."""
    name = f"{'x' * 60}.example.com"
    tree.change("example.com/web", "CN = 'example.com'", f"CN = '{name}'")
    (warning,) = tree.warnings()
    assert warning.startswith(
        f"example.com/web:7: X509.CN: '{name[:60]}…' has 72 characters, and a"
    )
    assert "no common name; write a shorter name" in warning
