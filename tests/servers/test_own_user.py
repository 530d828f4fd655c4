"""What a daemon of its own user needs, for the configurations that there are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sslmd.config.load import load
from sslmd.config.model import Config
from sslmd.servers import own_user
from sslmd.servers.own_user import (
    USER,
    UserNeeds,
    drop_in,
    gifts,
    needs_of,
    polkit,
    sysusers,
    tmpfiles,
)
from sslmd.servers.unit import Unit, read_unit
from tests.stand.site import EXAMPLE

PACKAGED = EXAMPLE.parent / "systemd"
HERE = frozenset({"localhost"})


def configured(top: Path, classes: str, more: str = "") -> Config:
    """Return the example with other server classes."""
    conf = top / "conf.d"
    shutil.copytree(EXAMPLE, conf)
    main = conf / "ssl-mgr.conf"
    head = main.read_text().partition("\n[dns]")[0].partition("\n[smtp]")[0].partition("\n[web]")[0]
    main.write_text(f"{head}\n{more}\n{classes}\n")
    for path in (conf, *conf.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o022)
    return load(conf)


def web(restart: str, more: str = "") -> str:
    return (
        "[web]\nservers = ['localhost', 'web2.example.com']\nprobe = false\n"
        f"svc_depends = [['any', ['ALL']]]\nrestart_cmd = {restart}\n{more}"
    )


def names(config: Config) -> UserNeeds:
    return needs_of(config, HERE, lambda name: name.replace("alias", "real"))


@pytest.mark.parametrize(
    ("restart", "units"),
    [
        ("'systemctl reload nginx'", {"nginx.service": {"reload"}}),
        ("'/usr/bin/systemctl --no-block restart a.socket b'",
         {"a.socket": {"restart"}, "b.service": {"restart"}}),
        ("['systemctl reload nginx', 'systemctl try-reload-or-restart nginx.service']",
         {"nginx.service": {"reload", "reload-or-try-restart"}}),
        ("'systemctl start alias'", {"real.service": {"start"}}),
        ("'true'", {}),
    ],
)  # fmt: skip
def test_units_and_verbs(tmp_path: Path, restart: str, units: dict[str, set[str]]) -> None:
    assert names(configured(tmp_path, web(restart))).units == units


@pytest.mark.parametrize(
    ("restart", "told"),
    [
        ("'systemctl kill nginx'", "is let do only reload, restart, "),
        ("'systemctl daemon-reload'", "to units that are named"),
        ("'systemctl'", "to units that are named"),
        ("'systemd-run --wait postfix reload'", "write systemctl start UNIT"),
        ("'sudo -n systemctl reload nginx'", "write systemctl start UNIT"),
        ("'postfix reload'", "write systemctl reload postfix"),
        ("'nginx -s reload'", "write systemctl reload nginx"),
        ("'pkill -HUP nginx'", "signals processes of other users"),
    ],
)
def test_what_only_root_may_is_refused(tmp_path: Path, restart: str, told: str) -> None:
    refused = names(configured(tmp_path, web(restart))).refused
    assert any(told in text and "[web] restart_cmd" in text for text in refused), refused


def test_keys_that_cannot_be_given_away(tmp_path: Path) -> None:
    found = names(configured(tmp_path, web("'true'", "key_owner = 'nobody'\nkey_group = 'daemon'")))
    assert any("key_owner = 'nobody' of [web]" in text for text in found.refused)
    assert found.groups == {"daemon"}
    assert "m _sslmd daemon" in sysusers(found.groups).splitlines()


@pytest.mark.parametrize("tree", ["/etc/ssl", "/srv", "/var/lib"])
def test_a_tree_that_is_not_ours_alone_is_not_given(tmp_path: Path, tree: str) -> None:
    config = configured(tmp_path, web("'true'"))
    main = config.conf_dir / "ssl-mgr.conf"
    main.write_text(
        main.read_text().replace("[globals]", f"[globals]\nprod_cert_dir = '{tree}'", 1)
    )
    assert any(
        f"{tree} is not sslmd's alone" in text for text in names(load(config.conf_dir)).refused
    )


def test_other_machines_and_scripts_are_left_to_the_admin(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    remarks = "\n".join(names(configured(tmp_path, web(f"'{script}'"))).remarks)
    assert f"{script} is run as {USER}" in remarks
    assert "ssh-copy-id -i /var/lib/sslmd/.ssh/id_ed25519.pub root@web2.example.com" in remarks


def test_what_is_given_is_what_the_daemon_writes_and_its_keys(tmp_path: Path) -> None:
    key = tmp_path / "updates.key"
    key.write_text("")
    key.chmod(0o600)
    more = (
        f"[[dns_primary]]\ndomain = 'default'\nserver = '127.0.0.1'\nupdate = true\n"
        f"tsig_key_file = '{key}'\ntsig_name = 'a'\ntsig_algorithm = 'hmac-sha256'\n"
        f"[dns]\nrestart_cmd = 'true'\ntlsa_dirs = ['{tmp_path}/tlsa']\n"
    )
    addresses = tmp_path / "who"
    addresses.write_text("mailto:root\n")
    addresses.chmod(0o600)
    more += f"[[notify]]\nname = 'a'\nto_file = '{addresses}'\n"
    config = configured(tmp_path, web("'true'"), more)
    paths = [gift.path for gift in gifts(config)]
    own = [str(config.globals.certs_dir), str(config.globals.prod_cert_dir)]
    assert paths == [*own, f"{tmp_path}/tlsa", str(key), str(addresses), "/run/sslmd"]
    assert str(config.conf_dir) not in paths


def test_the_drop_in_is_read_as_it_is_meant(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/systemd/system"
    extra = tmp_path / "etc/systemd/system/sslmd.service.d"
    folder.mkdir(parents=True)
    extra.mkdir(parents=True)
    shutil.copy(PACKAGED / "sslmd.service", folder)
    (extra / "zz-user.conf").write_text(drop_in())
    unit = read_unit(str(tmp_path))
    assert not unit.root
    assert unit.capabilities == frozenset()
    (extra / "zz-user.conf").write_text(drop_in("/usr/bin/true", user=own_user.ROOT))
    unit = read_unit(str(tmp_path))
    assert unit.root
    assert unit.capabilities == Unit().capabilities


def test_it_is_exposed_less(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    text = (PACKAGED / "sslmd.service").read_text().replace("/usr/bin/sslm", "/bin/true #")
    unit = tmp_path / "sslmd.service"
    unit.write_text(text.replace("[Install]", drop_in().partition("\n")[2] + "[Install]"))
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15"]
    done = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)
    if "Overall exposure level" not in done.stdout:
        pytest.skip(f"this systemd-analyze cannot rate files: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout[-200:]


def test_the_folders_are_those_of_the_package_for_another_user() -> None:
    packaged = (PACKAGED / "tmpfiles.d/sslmd.conf").read_text()
    theirs = {line.split()[1] for line in packaged.splitlines() if line[:1] == "d"}
    ours = {
        line.split()[1]: line.split()[2:] for line in tmpfiles().splitlines() if line[:1] == "d"
    }
    assert theirs <= set(ours)
    assert ours["/run/sslmd"] == ["0750", USER, "sslmd"]
    assert ours["/etc/ssl-mgr/conf.d"] == [":0755", ":root", ":root"]


def test_the_rule_is_for_these_units_alone() -> None:
    rule = polkit({"nginx.service": {"reload"}})
    assert '"nginx.service": [' in rule
    assert "hasOwnProperty" in rule
