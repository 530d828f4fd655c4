"""Every kind of mistake, with the very text that the admin reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stand.conf import CAS, MAIN, Tree

GLOBAL = [
    ("verb = 'yes'", "verb: 'yes' is neither true nor false; expected: true or false"),
    (
        "clean_keep = 0",
        "clean_keep: 0 is too small; expected: number of sets, 1 to 100000",
    ),
    ("min_roll_mins = -1", "min_roll_mins: -1 is too small; expected: minutes, 0 to 525600"),
    (
        "renew_expire_days = 5000",
        "renew_expire_days: 5000 is too large; expected: days, 0 to 3650",
    ),
    (
        "renew_expire_days = true",
        "renew_expire_days: true is not a number; expected: days, 0 to 3650",
    ),
    (
        "cmd_timeout = nan",
        "cmd_timeout: nan is not a number that can be used; expected: seconds, 1 to 86400",
    ),
    (
        "dns_xtra_ns = ['1.1.1.1', 'a b']",
        "dns_xtra_ns: 'a b' is not the address of a name server; "
        "write it as 'host', 'ip', 'ip:port' or '[ip6]:port'",
    ),
    (
        "dns_validating_resolver = 'unbound'",
        "dns_validating_resolver: 'unbound' is not an IP address; write it as 'ip' or 'ip:port'",
    ),
    (
        "dane_next_key = 'now'",
        "dane_next_key: 'now' is not known here; write 'at-renew' or 'at-roll'",
    ),
    (
        "post_copy_cmd = ['h', 'cmd']",
        "post_copy_cmd: it is one list, where a list of lists is expected; write [[…], […]]",
    ),
    (
        "post_copy_cmd = [['h', \"it's\"]]",
        'post_copy_cmd: "it\'s": no closing quotation; close the quotes',
    ),
    (
        'certs_dir = "a\\u0007b"',
        "certs_dir: 'a\\x07b' has control characters; leave them out",
    ),
]
CLASS = [
    (
        "servers = ['-oProxyCommand=x']",
        "servers: '-oProxyCommand=x' is not a host; write a host name or an IP address",
    ),
    *(
        (
            f"servers = ['{server}']",
            f"servers: '{server}' has a port: servers are reached by ssh; write the host alone; "
            "its port goes into the ssh configuration of the daemon's user, as 'Port' below "
            "'Host'; a port that serves certificates goes into probe",
        )
        for server in (
            "web1.example.com:2222",
            "root@192.0.2.7:22",
            "[2001:db8::7]:22",
            "ssh://root@web1.example.com:22/",
        )
    ),
    ("servers = ['web1:x']", "servers: 'web1:x' is not a host; write a host name or an IP address"),
    (
        "probe = 'never'",
        "probe: 'never' is not known here; write false, 'none', or a list such as "
        "[[443, 'tls', 'www.example.com']]",
    ),
    ("restart_cmd = [1]", "restart_cmd: 1 is not a text; write it in quotes"),
    (
        "probe = [[443, 'tlss']]",
        "probe: 'tlss' is not a probe's word; write 'tls', 'smtp', 'imap' or 'pop3'",
    ),
    ("probe = [[70000]]", "probe: 70000 is not a port; write a number from 1 to 65535"),
    (
        "key_mode = 640",
        "key_mode: 640 is not a mode for private keys; write '0600' or '0640' (or 0o600, 0o640)",
    ),
    (
        "key_mode = '0644'",
        "key_mode: mode 0644 opens private keys to everybody; "
        "write '0600' or '0640' (or 0o600, 0o640)",
    ),
    (
        "key_owner = 'a b'",
        "key_owner: 'a b' is not a user or group; write its name or its number",
    ),
    (
        "roll_window = ['Sat 02:00-05:00 Europe/Berln']",
        "roll_window: 'Europe/Berln' is not a time zone of this machine; "
        "write one as in /usr/share/zoneinfo, such as Europe/Berlin or UTC",
    ),
    (
        "restart_window = ['Samstag 02:00-05:00']",
        "restart_window: 'samstag' is not a day or a range of days; "
        "write it as 'Sat 02:00-05:00 Europe/Berlin' or 'Mon-Fri,Sun 22:00-04:00 UTC'",
    ),
    ("depends = ['dsn']", "depends: 'dsn' is not known here; write 'dns', 'tlsa' or 'cert'"),
]
SERVICE = [
    (
        "signing_ca = 'my-itn'",
        "signing_ca: ca-info.conf has no table 'my-itn'; "
        "did you mean 'my-int'? Known are: le-dns, le-http, my-int, my-root, self",
    ),
    (
        "signing_ca = 'self'",
        "signing_ca: only CAs (group ca) sign themselves; "
        "write the name of a table of ca-info.conf",
    ),
    (
        "signing_ca = 'my-int'; dane_tls = [[25, 'tcp', 4, 1, 1]]",
        "dane_tls: 4 is not a TLSA usage; write a number from 0 to 3",
    ),
    (
        "signing_ca = 'my-int'; dane_tls = [25, 'tcp', 3, 1, 1]",
        "dane_tls: it is one list, where a list of lists is expected; write [[…], […]]",
    ),
    (
        "signing_ca = 'my-int'; dane_tls = [[25, 'tcp', 3, 1, 1, ['mx.example.org']]]",
        "dane_tls: mx.example.org is outside the zone example.com, whose records these are; "
        "write hosts of example.com",
    ),
    (
        "signing_ca = 'my-int'; KeyOpts.ktype = 'dsa'",
        "KeyOpts.ktype: 'dsa' is not known here; write 'ec' or 'rsa'",
    ),
    (
        "signing_ca = 'my-int'; KeyOpts.rsa_bits = 1024",
        "KeyOpts.rsa_bits: 1024 is not a length for an RSA key; write 2048, 3072 or 4096",
    ),
    (
        "signing_ca = 'my-int'; CA.digest = 'sha256'",
        "CA: only services of group ca sign certificates; "
        "remove the table, or move the file to conf.d/ca",
    ),
]
SANS = [
    ("'a..b'", "'a..b' has an empty label"),
    ("'10.0.0.300'", "'10.0.0.300' is neither an IP address nor a domain name"),
    ("'*.com'", "'*.com': a wildcard needs at least two labels after the star"),
    ("'" + "a" * 300 + "'", f"'{'a' * 60}…' has 300 characters; a domain name has at most 253"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_tree_of_these_tests_is_right(tree: Tree) -> None:
    assert tree.warnings() == []


@pytest.mark.parametrize(("line", "says"), GLOBAL)
def test_globals(tree: Tree, line: str, says: str) -> None:
    tree.change("ssl-mgr.conf", "verb = true", line)
    assert tree.mistakes() == [f"ssl-mgr.conf:2: globals.{says}"]


@pytest.mark.parametrize(("line", "says"), CLASS)
def test_server_classes(tree: Tree, line: str, says: str) -> None:
    tree.change("ssl-mgr.conf", "server_dir = 'sites'", line)
    assert tree.mistakes() == [f"ssl-mgr.conf:17: web.{says}"]


@pytest.mark.parametrize(("lines", "says"), SERVICE)
def test_service_files(tree: Tree, lines: str, says: str) -> None:
    text = lines.replace("; ", "\n")
    tree.change("example.com/web", "signing_ca = 'my-int'", text)
    assert tree.mistakes() == [f"example.com/web:{4 + text.count(chr(10))}: {says}"]


@pytest.mark.parametrize(("name", "says"), SANS)
def test_alternative_names(tree: Tree, name: str, says: str) -> None:
    tree.change("example.com/web", "'www.example.com'", name)
    remedy = "write a DNS name, a wildcard (*.example.com) or an IP address"
    assert tree.mistakes() == [f"example.com/web:8: X509.sans: {says}; {remedy}"]


def test_control_characters_in_a_name(tree: Tree) -> None:
    tree.change("example.com/web", "'www.example.com'", '"a\\nb"')
    assert tree.mistakes() == [
        "example.com/web:8: X509.sans: 'a\\nb' has control characters; leave them out"
    ]


def test_a_wildcard_needs_dns_01(tree: Tree) -> None:
    tree.change("example.com/web", "'my-int'", "'le-http'")
    tree.change("example.com/web", "'www.example.com'", "'*.example.com'")
    assert tree.mistakes() == [
        "example.com/web:8: X509.sans: *.example.com is a wildcard, which le-http cannot validate "
        "by http-01; take a CA with ca_validation = 'dns-01', or name the hosts"
    ]


def test_an_address_needs_http_01(tree: Tree) -> None:
    tree.change("example.com/web", "'my-int'", "'le-dns'")
    tree.change("example.com/web", "'www.example.com'", "\n'192.0.2.1'")
    assert tree.mistakes() == [
        "example.com/web:9: X509.sans: 192.0.2.1 is an IP address, which le-dns cannot validate "
        "by dns-01; take a CA with ca_validation = 'http-01', or leave the address out"
    ]


def test_an_acme_ca_signs_host_names_alone(tree: Tree) -> None:
    tree.change("example.com/web", "'my-int'", "'le-dns'")
    tree.change("example.com/web", "CN = 'example.com'", "CN = 'My shop'")
    assert tree.mistakes() == [
        "example.com/web:7: X509.CN: 'My shop' is no host name, and ACME CAs sign no other; "
        "write one of the sans, or CN = ''"
    ]


def test_no_name_at_all(tree: Tree) -> None:
    tree.change("example.com/web", "CN = 'example.com'", "CN = 'My shop'")
    tree.change("example.com/web", "'example.com', 'www.example.com'", "")
    assert tree.mistakes() == [
        "example.com/web:8: X509.sans: there is no name to certify; add sans = ['host.name']"
    ]


def test_the_subject_has_bounds(tree: Tree) -> None:
    tree.change("ca/my-root", "CN = 'Root'", "email = 'jürgen@example.com'")
    tree.change("ca/my-int", "CN = 'Intermediate'", f"CN = '{'x' * 65}'")
    tree.change("example.com/web", "CN = 'example.com'", "C = 'DEU'")
    assert tree.mistakes() == [
        "ca/my-root:6: X509.CN: a CA needs a name; write CN = 'My root', for example",
        "ca/my-root:7: X509.email: 'jürgen@example.com' has characters that a certificate cannot "
        "hold; write an ASCII address",
        f"ca/my-int:7: X509.CN: '{'x' * 60}…' has 65 characters; a certificate holds at most 64",
        "example.com/web:7: X509.C: 'DEU' is not a country code; "
        "write the two letters of ISO 3166, such as 'DE', or nothing",
    ]


def test_group_and_service_are_those_of_the_path(tree: Tree) -> None:
    tree.change("example.com/web", "group = 'example.com'", "group = 'example.net'")
    tree.change("example.com/web", "service = 'web'", "service = 'wbe'")
    assert tree.mistakes() == [
        "example.com/web:2: group: 'example.net' is not the name of the folder; "
        "write group = 'example.com'",
        "example.com/web:3: service: 'wbe' is not the name of the file; write service = 'web'",
    ]


def test_missing_keys(tree: Tree) -> None:
    tree.change("example.com/web", "group = 'example.com'\n", "")
    tree.change("ca-info.conf", "ca_type = 'local'", "")
    tree.change("ssl-mgr.conf", "    domain = 'example.com'\n", "")
    assert tree.mistakes() == [
        "ssl-mgr.conf:8: groups.domain: it is missing; add domain = … (domain or ca)",
        "ca-info.conf:4: my-int.ca_type: it is missing; add ca_type = … (self, local, certbot)",
    ]


def test_services_that_are_not_there(tree: Tree) -> None:
    tree.write("example.com/mail", "never read")
    listed = "services = ['web',\n'wbe',\n'shop',\n'../x']"
    tree.change("ssl-mgr.conf", "services = ['web']", listed)
    assert tree.mistakes() == [
        "ssl-mgr.conf:11: groups.services: there is no file example.com/wbe; "
        "did you mean 'web'? There are: mail, web",
        "ssl-mgr.conf:12: groups.services: there is no file example.com/shop; there are: mail, web",
        "ssl-mgr.conf:13: groups.services: '../x' cannot name a service: use 1 to 64 letters, "
        "digits, '.', '_', '+', '@' and '-', the first one a letter, a digit or '_'; "
        "write the name of a file in the group's folder",
    ]


def test_groups_that_are_not_there(tree: Tree) -> None:
    tree.change("ssl-mgr.conf", "domain = 'example.com'", "domain = 'exmaple.com'")
    assert tree.mistakes() == [
        "ssl-mgr.conf:9: groups.domain: there is no folder exmaple.com; did you mean 'example.com'?"
    ]
    tree.write("ssl-mgr.conf", MAIN.replace("'example.com'", "'../example.com'"))
    assert tree.mistakes() == [
        "ssl-mgr.conf:9: groups.domain: '../example.com' has an empty label; write a domain or 'ca'"
    ]


def test_groups_with_single_brackets(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", "[groups]\ndomain = 'ca'\n")
    assert tree.mistakes() == [
        "ssl-mgr.conf:1: groups: [groups] is one table, where any number may stand; "
        "write [[groups]], twice bracketed"
    ]


def test_ca_loops_are_named(tree: Tree) -> None:
    tree.change("ca/my-root", "'self'", "'my-int'")
    assert tree.mistakes() == [
        "ca/my-root:4: signing_ca: my-root is signed by my-int is signed by my-root: "
        "that is a loop; one of them has to be a root: signing_ca = 'self'"
    ]
    tree.change("ca/my-root", "'my-int'", "'my-root'")
    assert tree.mistakes() == [
        "ca/my-root:4: signing_ca: my-root is signed by my-root: "
        "that is a loop; one of them has to be a root: signing_ca = 'self'"
    ]


def test_an_acme_ca_signs_no_ca(tree: Tree) -> None:
    tree.change("ca/my-int", "'my-root'", "'le-dns'")
    assert tree.mistakes() == [
        "ca/my-int:4: signing_ca: 'le-dns' is an ACME CA, and those sign no CAs; "
        "write one of: my-int, my-root, self"
    ]


def test_an_own_ca_without_a_file(tree: Tree) -> None:
    tree.path("ca/my-int").unlink()
    tree.change("ssl-mgr.conf", "'my-root', 'my-int'", "'my-root'")
    assert tree.mistakes() == [
        "example.com/web:4: signing_ca: CA 'my-int' has no service file conf.d/ca/my-int; "
        "write that file (there are: my-root), or name another CA"
    ]


def test_ca_info(tree: Tree) -> None:
    text = CAS.replace("'local'", "'locl'")
    text = text.replace("[le-http]", "ca_server = 'acme.example.com'\n[le-http]\nca_eab_kid = 'k'")
    tree.write("ca-info.conf", text)
    assert tree.mistakes() == [
        "ca-info.conf:5: my-int.ca_type: 'locl' is not known here; "
        "write 'self', 'local' or 'certbot' (or 'letsencrypt', which is the same)",
        "ca-info.conf:11: le-dns.ca_server: 'acme.example.com' is not a URL; "
        "write https://host/path",
        "ca-info.conf:13: le-http.ca_eab_kid: it needs ca_eab_hmac_key_file beside it; "
        "add ca_eab_hmac_key_file = '…'",
    ]


def test_no_ca_info(tree: Tree) -> None:
    tree.path("ca-info.conf").unlink()
    assert tree.mistakes() == [
        "ca/my-int:4: signing_ca: ca-info.conf has no table 'my-root'; "
        "add a table [my-root] with ca_type = 'local' there",
        "example.com/web:4: signing_ca: ca-info.conf has no table 'my-int'; "
        "add a table [my-int] with ca_type = 'local' there",
    ]


def test_dns_primaries(tree: Tree) -> None:
    tree.write(
        "ssl-mgr.conf",
        MAIN + "[[dns_primary]]\ndomain = '*'\nserver = '192.0.2.1'\nport = 99999\n"
        "[[dns_primary]]\ndomain = 'example.com'\nserver = 'ns1'\ntsig_name = 'k'\n",
    )
    assert tree.mistakes() == [
        "ssl-mgr.conf:22: dns_primary.port: 99999 is not a port; write a number from 1 to 65535",
        "ssl-mgr.conf:26: dns_primary.tsig_name: there is no key to go with it; "
        "add tsig_key_file = 'path'",
    ]


def test_the_two_trees_are_apart(tree: Tree) -> None:
    tree.change("ssl-mgr.conf", "verb = true", "prod_cert_dir = 'certs/prod'")
    top = tree.top
    assert tree.mistakes() == [
        f"ssl-mgr.conf:2: globals.prod_cert_dir: {top}/certs/prod and certs_dir ({top}/certs) are "
        "the same folder, or one holds the other; write two separate folders"
    ]
