"""Keys and tables as ssl-mgr reads them: other capitals, other places, keys without effect."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sslmd.config.report import nearest
from sslmd.core.names import CertId
from sslmd.core.spec import KeySpec, KeyType
from tests.stand.conf import MAIN, Tree

WEB = CertId("example.com", "web")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


# --- capitals ----------------------------------------------------------------------------


def test_tables_of_a_service_file_in_any_capitals(tree: Tree) -> None:
    before = tree.load()
    tree.change("example.com/web", "[X509]", "[x509]")
    tree.change("ca/my-int", "[X509]", "[Ca]\nsign_end_days = 40\n[x509]")
    tree.change("ca/my-root", "[X509]", "[keyopts]\nktype = 'rsa'\n[X509]")
    config = tree.load()
    assert config.warnings == ()
    web, other = config.services[WEB], before.services[WEB]
    assert web.spec == other.spec
    assert web.fingerprint == other.fingerprint  # nothing is tried again for that
    root = config.services[CertId("ca", "my-root")].spec
    assert root.key == KeySpec(KeyType.RSA, bits=4096)
    intermediate = config.services[CertId("ca", "my-int")].spec
    assert intermediate.ca is not None
    assert intermediate.ca.life.days == 40


def test_lines_are_those_of_the_file_as_it_is_written(tree: Tree) -> None:
    tree.change("example.com/web", "[X509]", "[keyopts]\nktype = 'dsa'\n[x509]\nCN = 1")
    tree.change("example.com/web", "    CN = 'example.com'\n", "")
    assert tree.mistakes() == [
        "example.com/web:7: KeyOpts.ktype: 'dsa' is not known here; write 'ec' or 'rsa'",
        "example.com/web:9: X509.CN: 1 is not a text; write it in quotes",
    ]


def test_tables_that_ssl_mgr_overlooks_count_and_are_told(tree: Tree) -> None:
    text = MAIN.replace("[globals]", "[Globals]").replace("[dns]", "[DNS]")
    tree.write("ssl-mgr.conf", text.replace("[[groups]]", "[[GROUPS]]", 1).replace("[[g", "[[G"))
    text = tree.path("ssl-mgr.conf").read_text()
    tree.write("ssl-mgr.conf", text.replace("[[Groups]]", "[[GROUPS]]"))
    config = tree.load()
    assert WEB in config.services
    assert config.globals.verbose
    assert config.dns.acme_dirs == (tree.top / "acme",)
    said, drop = "ssl-mgr does not read", "or remove it if it should not count"
    assert [tree.short(str(one)) for one in config.warnings] == [
        f"ssl-mgr.conf:1: globals: {said} [Globals]; here it counts as [globals]; write [globals], "
        f"{drop}",
        f"ssl-mgr.conf:4: groups: {said} [GROUPS]; here it counts as [groups]; write [groups], "
        f"{drop}",
        f"ssl-mgr.conf:12: dns: {said} [DNS]; here it counts as [dns]; write [dns], {drop}",
    ]


@pytest.mark.parametrize(
    ("first", "second"), [("dns", "DNS"), ("DNS", "dns"), ("Dns", "DNS"), ("SMTP", "Smtp")]
)
def test_two_spellings_of_one_table(tree: Tree, first: str, second: str) -> None:
    name = first.lower()
    tree.write("ssl-mgr.conf", f"[{first}]\n[{second}]\n")
    told = [one for one in tree.mistakes() if "two names" in one]
    line = 1 if second == name else 2
    there, other = (second, first) if second == name else (first, second)
    assert told == [
        f"ssl-mgr.conf:{line}: {other}: [{there}] and [{other}] are two names of one table; put "
        f"everything below one [{name}]"
    ]


def test_two_spellings_in_a_service_file(tree: Tree) -> None:
    tree.change("example.com/web", "[X509]", "[x509]\nO = 'x'\n[X509]")
    assert tree.mistakes() == [
        "example.com/web:6: x509: [X509] and [x509] are two names of one table; put everything "
        "below one [X509]"
    ]


# --- places ------------------------------------------------------------------------------


def test_globals_above_the_first_table(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", "clean_keep = 3\nverb = false\n" + MAIN)
    config = tree.load()
    assert config.globals.clean_keep == 3
    assert config.globals.verbose
    assert [tree.short(str(one)) for one in config.warnings] == [
        "ssl-mgr.conf:1: clean_keep: it stands outside of every table and is taken for one of "
        "[globals]; move it below [globals]",
        "ssl-mgr.conf:2: verb: it has no effect: [globals] has it as well; remove it here",
    ]
    tree.write("ssl-mgr.conf", "clean_keep = 0\n" + MAIN)
    assert tree.mistakes() == [
        "ssl-mgr.conf:1: globals.clean_keep: 0 is too small; expected: number of sets, 1 to 100000"
    ]


def test_the_hook_of_ssl_mgr_wherever_it_is(tree: Tree) -> None:
    for path in ("/usr/lib/ssl-mgr/sslm-auth-hook", "/opt/x/sslm-auth-hook", "lib/sslm-auth-hook"):
        tree.write("ssl-mgr.conf", MAIN.replace("verb = true", f"sslm_auth_hook = '{path}'"))
        config = tree.load()
        assert config.globals.auth_hook is None
        (warning,) = config.warnings
        assert "is taken for ssl-mgr's hook; the daemon's own is used" in warning.problem
    ours = Path(sys.executable).parent / "sslm-auth-hook"
    link = tree.top / "sslm-auth-hook"
    link.symlink_to(ours)
    for path in map(str, (ours, link)):
        tree.write("ssl-mgr.conf", MAIN.replace("verb = true", f"sslm_auth_hook = '{path}'"))
        assert tree.warnings() == []
    tree.write("ssl-mgr.conf", MAIN.replace("verb = true", "sslm_auth_hook = '/opt/my-hook'"))
    assert tree.load().globals.auth_hook == Path("/opt/my-hook")


def test_acme_dir_may_be_several(tree: Tree) -> None:
    tree.change("ssl-mgr.conf", "acme_dir = 'acme'", "acme_dir = ['acme', '/srv/acme', '', 'acme']")
    dns = tree.load().dns
    assert dns.acme_dirs == (tree.top / "acme", Path("/srv/acme"))
    tree.change("ssl-mgr.conf", "['acme', '/srv/acme', '', 'acme']", "''")
    dns = tree.load().dns
    assert dns.acme_dirs == ()


def test_numbers_in_quotes_where_ssl_mgr_takes_them(tree: Tree) -> None:
    tree.change(
        "ssl-mgr.conf",
        "verb = true",
        "clean_keep = '7'\nmin_roll_mins = '30'\nrenew_expire_days = '20.5'",
    )
    options = tree.load().globals
    assert options.clean_keep == 7
    assert options.timing.min_roll.total_seconds() == 1800
    assert options.timing.renew_before.total_seconds() == 20.5 * 86400


@pytest.mark.parametrize("word", ["RSA", "Rsa"])
def test_a_kind_of_key_that_ssl_mgr_takes_for_another(tree: Tree, word: str) -> None:
    tree.change("example.com/web", "[X509]", f"[KeyOpts]\nktype = '{word}'\n[X509]")
    assert tree.mistakes() == [
        f"example.com/web:7: KeyOpts.ktype: ssl-mgr takes '{word}' for ec: it knows 'rsa' in small "
        "letters alone; write 'ec' or 'rsa', whichever the key in use is"
    ]


@pytest.mark.parametrize(
    ("kind", "digest", "whom"),
    [
        ("ec", "SHA3-384", "OpenSSL 3.0 and programs in Go"),
        ("rsa", "sha3_256", "programs in Go"),
        ("ec", "sha224", "programs in Go"),
        ("rsa", "SHA512", ""),
        ("ec", "sha-256", ""),
    ],
)
def test_digests_that_some_clients_do_not_verify(
    tree: Tree, kind: str, digest: str, whom: str
) -> None:
    more = f"[KeyOpts]\nktype = '{kind}'\n[CA]\ndigest = '{digest}'\n[X509]"
    tree.change("ca/my-int", "[X509]", more)
    name = digest.lower().replace("-", "_")
    expected = (
        f"ca/my-int:9: CA.digest: {whom} do not verify what a CA with {kind} keys signs with "
        f"{name}; write 'sha256' or 'sha384'"
    )
    assert tree.warnings() == ([expected] if whom else [])


# --- keys --------------------------------------------------------------------------------

# Every key that ssl-mgr 5.2 to 7.8 knows, in its files or as a thing that its files can set, and
# that does nothing here: with a word of the reason.
OPTIONS = (
    "debug test force force_server_restarts reuse reuse_keys dry_run status renew roll renew_cert "
    "renew_cert_now refresh_cert new_keys new_csr new_cert cert copy_csr next_to_curr "
    "certs_to_prod clean_all dns_refresh"
)
OWN = "okay root_privs grps_svcs conf_grps_svcs ca_infos called_from_certbot"
WITHOUT_EFFECT = {
    "globals": {
        **dict.fromkeys(OPTIONS.split(), "command line"),
        **dict.fromkeys(OWN.split(), "sets it by itself"),
        "top_dir": "conf.d",
        "conf_dir": "conf.d",
    },
    "dns": {"svc_depends": "changed records"},
    "smtp": {"server_dir": "only [web]"},
    "other": {"server_dir": "only [web]"},
}
UNDERSTOOD = {
    "globals": (
        "verb sslm_auth_hook prod_cert_dir logdir clean_keep min_roll_mins dns_check_delay "
        "renew_expire_days renew_expire_days_spread dns_xtra_ns post_copy_cmd "
        "preferred_acme_profile"
    ),
    "renew_info": " ".join(
        f"{word}_{life}"
        for word in ("target", "rand_adj")
        for life in (300, 120, 90, 60, 45, 10, 6, 2, 1)
    ),
    "dns": "restart_cmd acme_dir tlsa_dirs depends skip_prod_copy",
    "web": "servers depends svc_depends restart_cmd server_dir skip_prod_copy",
    "smtp": "servers depends svc_depends restart_cmd skip_prod_copy",
}


@pytest.mark.parametrize("table", WITHOUT_EFFECT)
def test_keys_of_ssl_mgr_without_effect_are_told_with_the_reason(tree: Tree, table: str) -> None:
    main = MAIN.replace("[globals]\n    verb = true\n", "").replace("    acme_dir = 'acme'\n", "")
    main = main.replace("[dns]\n    tlsa_dirs = ['tlsa']\n", "")
    for key, reason in WITHOUT_EFFECT[table].items():
        tree.write("ssl-mgr.conf", f"{main}[{table}]\n{key} = 'x'\n")
        (warning,) = (one for one in tree.load().warnings if one.key == f"{table}.{key}")
        assert reason in warning.problem
        assert "did you mean" not in warning.remedy


@pytest.mark.parametrize("table", UNDERSTOOD)
def test_keys_of_ssl_mgr_are_known(tree: Tree, table: str) -> None:
    """With whatever value: at worst that is a mistake, never the key."""
    lines = "".join(f"{key} = {{}}\n" for key in UNDERSTOOD[table].split())
    tree.write("ssl-mgr.conf", f"[{table}]\n{lines}")
    assert [one for one in tree.mistakes() if "not known" in one] == []
    tree.write("ssl-mgr.conf", MAIN.split("[dns]")[0] + f"[{table}x]\n")
    assert any("not known here" in one for one in tree.warnings())


@pytest.mark.parametrize(
    ("file", "table", "keys"),
    [
        ("example.com/web", "", "file debug okay opts ftime_ns"),
        ("example.com/web", "KeyOpts", "bits"),
        ("example.com/web", "X509", "file group service"),
        ("ca-info.conf", "le-dns", "ca_name"),
    ],
)
def test_keys_of_services_and_cas_without_effect(
    tree: Tree, file: str, table: str, keys: str
) -> None:
    before = tree.path(file).read_text()
    for key in keys.split():
        text = f"{key} = 'x'\n{before}"
        if table:
            head = f"[{table}]\n"
            text = before.replace(head, f"{head}{key} = 'x'\n")
            if head not in before:
                text = f"{before}{head}{key} = 'x'\n"
        tree.write(file, text)
        (warning,) = tree.warnings()
        assert f"{key}: " in warning
        assert "did you mean" not in warning


# --- the nearest key ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("clen_keep", ["clean_keep", "certs_dir"], "clean_keep"),
        ("tlsa_dir", ["acme_dir", "tlsa_dirs"], "tlsa_dirs"),
        ("server", ["servers", "server_dir"], "servers"),
        ("exmaple.com", ["example.com", "example.net"], "example.com"),
        ("WBE", ["web", "mail"], "web"),
        ("renew_expire_day_spread", ["renew_expire_days_spread"], "renew_expire_days_spread"),
    ],
)
def test_slips_of_the_pen(word: str, known: list[str], meant: str) -> None:
    assert nearest(word, known, "there are: ") == f"did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("example.net", ["example.com"]),
        ("mail1", ["mail2"]),
        ("mx1.example.com", ["mx2.example.com"]),
        ("example.com", ["mx.example.com", "www.example.com"]),
        ("mail-ec", ["mail-rsa", "web-ec"]),
        ("ldap", ["imap"]),
        ("http", ["smtp"]),
        ("db", ["dh"]),
        ("pop3", ["prod"]),
        ("port", ["probe"]),
        ("key_type", ["key_mode"]),
        ("sha512_256", ["sha512"]),
        ("user", ["server"]),
        ("", ["web"]),
    ],
)
def test_words_that_are_not_meant_for_others(word: str, known: list[str]) -> None:
    assert nearest(word, known, "there are: ") == f"there are: {', '.join(sorted(known))}"
