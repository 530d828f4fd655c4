"""Who else has power over what a configuration names, with real owners and groups."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sslmd.config.load import load
from sslmd.config.model import Config
from sslmd.core.errors import ConfigError, Permanent
from sslmd.servers import folders
from sslmd.store import files
from tests.stand.attacker import NOBODY, let_by_acl

GROUP = 4545

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

MAIN = """\
[globals]
    sslm_auth_hook = '{top}/hook/run'
    logdir = '{top}/log'
[[groups]]
    domain = 'ca'
    services = ['my-root']
    active = true
[[groups]]
    domain = 'example.com'
    services = ['web']
    active = true
[dh]
    params = 'ffdhe2048'
    groups = ['example.com']
[dns]
    acme_dir = '{top}/acme'
    tlsa_dirs = ['{top}/tlsa']
    restart_cmd = '{top}/signer/run'
[[dns_primary]]
    domain = 'example.com'
    server = '192.0.2.1'
    update = true
    tsig_key_file = '{top}/keys/tsig'
[[notify]]
    name = 'admins'
    to_file = '{top}/keys/who'
[[notify]]
    name = 'pager'
    command = '{top}/pager/run'
[web]
    servers = ['localhost']
    svc_depends = [['example.com', ['web']]]
    key_group = '{group}'
    key_mode = '0640'
    restart_cmd = ['tools/reload --all', 'true']
[xmpp]
    servers = ['far.example.com']
    svc_depends = [['example.com', ['web']]]
    restart_cmd = '{top}/far'
"""
CAS = """\
[my-root]
    ca_type = 'self'
[le]
    ca_type = 'certbot'
    ca_validation = 'dns-01'
    ca_server_root = '{top}/roots/one.pem'
    ca_test_server_root = '{top}/roots/two.pem'
    ca_eab_kid = 'k'
    ca_eab_hmac_key_file = '{top}/keys/eab'
"""
SERVICE = """\
name = '{name}'
group = '{group}'
service = '{name}'
signing_ca = '{signer}'
[X509]
    CN = '{common}'
    sans = {names}
"""


class Site:
    """A site with everything that a configuration can name."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.conf = top / "conf.d"
        for name in ("conf.d/ca", "conf.d/example.com", "certs", "prod-certs/example.com/dh"):
            (top / name).mkdir(parents=True)
        for name in (
            "hook",
            "log",
            "acme",
            "tlsa",
            "keys",
            "roots",
            "run",
            "signer",
            "tools",
            "pager",
        ):
            (top / name).mkdir()
        for name in ("hook/run", "keys/tsig", "keys/eab", "roots/one.pem", "roots/two.pem"):
            (top / name).touch(0o600)
        for name in ("signer/run", "tools/reload", "pager/run", "far"):
            (top / name).touch(0o700)
        (top / "keys/who").touch(0o600)
        (top / "keys/who").write_text("mailto:root\n")
        self.write("ssl-mgr.conf", MAIN.format(top=top, group=GROUP))
        self.write("ca-info.conf", CAS.format(top=top))
        root = {"name": "my-root", "group": "ca", "signer": "", "common": "Root", "names": []}
        web = {"name": "web", "group": "example.com", "signer": "my-root"}
        self.write("ca/my-root", SERVICE.format(**root) + "[CA]\n    sign_end_days = 90\n")
        names = ["www.example.com"]
        self.write("example.com/web", SERVICE.format(**web, common=names[0], names=names))

    def write(self, name: str, text: str) -> None:
        (self.conf / name).write_text(text)

    @property
    def socket(self) -> str:
        return str(self.top / "run/sock")

    def config(self) -> Config:
        return load(self.conf)

    def look(self) -> list[tuple[str, bool]]:
        return [(str(one), one.refused) for one in folders.look(self.config(), self.socket)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def give(path: Path) -> str:
    """Give a file or folder to somebody; return what is said of it."""
    os.chown(path, NOBODY, -1)
    return f"{path} belongs to uid {NOBODY}, not to the daemon's user or root"


def open_to_group(path: Path) -> str:
    os.chown(path, -1, GROUP + 1)
    path.chmod(path.stat().st_mode | 0o020)
    return f"{path} can be written by gid {GROUP + 1}"


def open_to_all(path: Path) -> str:
    path.chmod(path.stat().st_mode | 0o002)
    return f"{path} can be written by everybody"


Attack = Callable[[Path], str]
REPAIRS: dict[Attack, str] = {
    give: "chown root",
    open_to_group: "chmod g-w",
    open_to_all: "chmod o-w",
}
ATTACKS = [*REPAIRS]


def test_a_tree_of_ours_is_as_it_should_be(site: Site) -> None:
    assert site.look() == []
    assert folders.check(site.config(), site.socket) == ()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("certs_dir", "certs"),
        ("prod_cert_dir", "prod-certs"),
        ("[dh]", "prod-certs/example.com"),
        ("[dh]", "prod-certs/example.com/dh"),
        ("--socket", "run"),
        ("sslm_auth_hook", "hook"),
        ("sslm_auth_hook", "hook/run"),
        ("tsig_key_file", "keys/tsig"),
        ("tsig_key_file", "keys"),
        ("ca_eab_hmac_key_file", "keys/eab"),
        ("ca_server_root", "roots/one.pem"),
        ("ca_test_server_root", "roots/two.pem"),
    ],
)
def test_keys_and_what_is_run_are_refused(site: Site, key: str, path: str, attack: Attack) -> None:
    where = site.top / path
    said = attack(where)
    refused = [text for text, is_refused in site.look() if is_refused]
    assert refused[0].startswith(f"{key}: {said}")
    assert f"(uid {where.stat().st_uid}, gid {where.stat().st_gid}, mode " in refused[0]
    assert refused[0].endswith(f"run: {REPAIRS[attack]} {where}")
    with pytest.raises(ConfigError) as told:
        folders.check(site.config(), site.socket)
    assert str(told.value).startswith(f"{where}: {key}: ")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("logdir", "log"),
        ("acme_dir", "acme"),
        ("tlsa_dirs", "tlsa"),
        ("[dns] restart_cmd", "signer"),
        ("[dns] restart_cmd", "signer/run"),
        ("[web] restart_cmd", "tools"),
        ("[web] restart_cmd", "tools/reload"),
        ("[[notify]] command", "pager/run"),
    ],
)
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_public_or_an_admins_program_is_warned_of(
    site: Site, key: str, name: str, attack: Attack
) -> None:
    said = attack(site.top / name)
    ((text, is_refused),) = site.look()
    assert text.startswith(f"{key}: {said}")
    assert text.endswith(", unless that is meant")
    assert not is_refused
    (warning,) = folders.check(site.config(), site.socket)
    assert str(warning).startswith(f"{site.top / name}: {key}: ")


def test_a_program_of_another_machine_is_not_looked_for_here(site: Site) -> None:
    open_to_all(site.top / "far")
    assert site.look() == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_folder_above_all_counts_once(site: Site, attack: Attack) -> None:
    said = attack(site.top)
    ((text, is_refused),) = site.look()
    assert text.startswith(f"conf.d: {said}")
    assert is_refused


def test_a_file_of_the_configuration_that_is_a_link(site: Site) -> None:
    """The file is ours, and the folder in which it really lies is not."""
    elsewhere = site.top / "elsewhere"
    elsewhere.mkdir()
    (site.conf / "example.com/web").rename(elsewhere / "web")
    (site.conf / "example.com/web").symlink_to(elsewhere / "web")
    assert site.look() == []
    said = give(elsewhere)
    ((text, is_refused),) = site.look()
    assert text.startswith(f"conf.d: {said}")
    assert is_refused


def test_only_production_may_be_shared_and_only_with_key_group(site: Site) -> None:
    for name in ("prod-certs", "prod-certs/example.com", "prod-certs/example.com/dh"):
        os.chown(site.top / name, -1, GROUP)
        (site.top / name).chmod(0o770)
    assert site.look() == []
    os.chown(site.top / "certs", -1, GROUP)
    (site.top / "certs").chmod(0o770)
    ((text, is_refused),) = site.look()
    assert text.startswith(f"certs_dir: {site.top}/certs can be written by gid {GROUP}")
    assert is_refused


def test_a_socket_may_be_in_a_sticky_folder(site: Site) -> None:
    (site.top / "run").chmod(0o1777)
    assert site.look() == []
    os.chown(site.top / "run", NOBODY, -1)
    assert [is_refused for _, is_refused in site.look()] == [True]


def test_a_tree_may_not_be_a_sticky_folder(site: Site) -> None:
    (site.top / "certs").chmod(0o1777)
    assert [is_refused for _, is_refused in site.look()] == [True]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("key", ["tsig_key_file tsig", "ca_eab_hmac_key_file eab", "to_file who"])
def test_a_key_of_ours_that_others_read_is_made_private(site: Site, key: str) -> None:
    name, file = key.split()
    path = site.top / "keys" / file
    path.chmod(0o644)
    assert [is_refused for _, is_refused in site.look()] == [True]
    assert mode_of(path) == 0o644  # who looks changes nothing
    (warning,) = folders.check(site.config(), site.socket)
    assert str(warning) == (
        f"{path}: {name}: could be read by others; it is 0600 now; think of a new secret"
    )
    assert mode_of(path) == 0o600
    assert folders.check(site.config(), site.socket) == ()


def test_the_name_server_reads_its_key_on(site: Site) -> None:
    path = site.top / "keys/tsig"
    os.chown(path, -1, GROUP)
    path.chmod(0o644)
    closed, shared = folders.check(site.config(), site.socket)
    assert "it is 0640 now" in str(closed)
    assert "can be read by others" in str(shared)
    assert "unless that is meant" in str(shared)
    assert mode_of(path) == 0o640
    path = site.top / "keys/eab"
    os.chown(path, -1, GROUP)
    path.chmod(0o640)
    folders.check(site.config(), site.socket)
    assert mode_of(path) == 0o600  # nobody else has that one


def test_whom_an_acl_lets_read_a_key(site: Site) -> None:
    path = site.top / "keys/tsig"
    let_by_acl(path, 4)
    (told,) = folders.check(site.config(), site.socket)
    assert f"can be read by u:{NOBODY} of its ACL" in str(told)
    assert "unless that is meant" in str(told)  # the name server, perhaps
    path.chmod(0o664)
    folders.check(site.config(), site.socket)
    assert mode_of(path) == 0o640
    path = site.top / "keys/eab"
    let_by_acl(path, 4)
    closed, _ = folders.check(site.config(), site.socket)
    assert f"{path}" in str(closed)
    assert "it is 0600 now" in str(closed)
    assert mode_of(path) == 0o600  # which is what the ACL lets pass, too
    path.chmod(0o640)
    with pytest.raises(Permanent, match="of its ACL"):
        files.read_secret(str(path))


def test_a_key_by_two_names_or_by_a_link_is_left_as_it_is(site: Site) -> None:
    victim = site.top / "victim"
    victim.touch()
    victim.chmod(0o644)
    for place in (os.link, os.symlink):
        (site.top / "keys/tsig").unlink()
        place(victim, site.top / "keys/tsig")
        with pytest.raises(ConfigError, match="can be read by others"):
            folders.check(site.config(), site.socket)
        assert mode_of(victim) == 0o644
