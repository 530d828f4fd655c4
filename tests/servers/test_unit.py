"""What the unit allows: the packaged one as it is written, drop-ins, and what a site needs."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sslmd.config.load import load
from sslmd.config.model import Config
from sslmd.servers import unit as units
from sslmd.servers.unit import PACKAGED, Limit, limits, quoted, read_unit
from tests.stand.ssl_mgr_site import unpack

PACKAGED_FILE = Path(__file__).parents[2] / "systemd" / "sslmd.service"
HERE = frozenset({"localhost"})


# As a drop-in may have it.
NARROW = replace(PACKAGED, capabilities=frozenset({"CAP_CHOWN"}))


def installed(root: Path, *drop_ins: str) -> Path:
    folder = root / "usr/lib/systemd/system"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sslmd.service").write_text(PACKAGED_FILE.read_text())
    below = root / "etc/systemd/system/sslmd.service.d"
    below.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(drop_ins):
        (below / f"{number}.conf").write_text(text)
    return root


def site(folder: Path, *changes: tuple[str, str]) -> Config:
    """A site whose folders are not below /tmp, as far as the configuration says."""
    top = unpack("7.8.1", folder)
    path = top / "conf.d/ssl-mgr.conf"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return load(top / "conf.d")


def texts(config: Config, unit: units.Unit = PACKAGED) -> list[str]:
    return [one.text for one in limits(config, unit, HERE)]


def lines(config: Config, unit: units.Unit = PACKAGED) -> list[str]:
    return units.drop_in(list(limits(config, unit, HERE)))


# --- the unit ---------------------------------------------------------------------------


def test_what_is_known_of_the_packaged_unit_is_what_it_says(tmp_path: Path) -> None:
    read = read_unit(str(installed(tmp_path)))
    assert read.path.endswith("usr/lib/systemd/system/sslmd.service")
    assert read == units.Unit(path=read.path)
    assert read_unit(str(tmp_path / "nothing")) == PACKAGED
    assert not PACKAGED.path


def test_drop_ins_count(tmp_path: Path) -> None:
    root = installed(
        tmp_path,
        '[Service]\nReadWritePaths=/srv/certs "/srv/with blank"\n# ReadWritePaths=/no\n',
        "[Unit]\nPrivateTmp=no\n[Service]\nCapabilityBoundingSet=CAP_FOWNER \\\n CAP_MKNOD\n",
        "[Service]\nEnvironment=A=b SSL_MGR_TOPDIR=/srv/ssl-mgr\nPrivateTmp=no\n",
    )
    read = read_unit(str(root))
    assert read.writable == ("/etc/ssl-mgr", "/run/sslmd", "/srv/certs", "/srv/with blank")
    assert PACKAGED.capabilities is not None
    assert read.capabilities == PACKAGED.capabilities | {"CAP_FOWNER", "CAP_MKNOD"}
    assert read.top == "/srv/ssl-mgr"
    assert not read.private_tmp
    assert read.opens("/srv/certs/deep")
    assert not read.opens("/srv/certs-of-others")
    assert not read.opens("/etc/ssl-mgr/conf.d/x")


def test_a_drop_in_clears_and_widens(tmp_path: Path) -> None:
    text = "[Service]\nProtectSystem=no\nCapabilityBoundingSet=\nCapabilityBoundingSet=~CAP_KILL\n"
    read = read_unit(str(installed(tmp_path, f"{text}ReadWritePaths=\nUser=_sslmd\n")))
    assert read.writable is None
    assert read.opens("/anywhere")
    assert read.capabilities is None
    assert read.may("CAP_DAC_OVERRIDE")
    assert not read.root


# --- what a site needs ------------------------------------------------------------------


@pytest.fixture
def in_tmp() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def test_folders_elsewhere(in_tmp: Path) -> None:
    top = in_tmp / "ssl-mgr"
    config = site(
        in_tmp,
        (f"logdir = '{top}/logs'", "logdir = '/var/log/certs here'"),
        (f"{top}/zones/acme", "/srv/zones/acme"),
        (f"'{top}/zones/tlsa', ", "'/srv/zones/tlsa', "),
        (f"prod_cert_dir = '{top}/prod-certs'", "prod_cert_dir = '/srv/100%/prod'"),
    )
    found = lines(config)
    assert found[0] == "[Service]"
    assert f"Environment=SSL_MGR_TOPDIR={top}" in found
    assert 'ReadWritePaths="/var/log/certs here"' in found
    assert "ReadWritePaths=/srv/zones/acme" in found
    assert "ReadWritePaths=/srv/zones/tlsa" in found
    assert "ReadWritePaths=/srv/100%%/prod" in found
    said = "\n".join(texts(config))
    assert "acme_dir /srv/zones/acme (make it first)" in said
    assert "the unit has a /tmp of its own, so what lies there is not seen: certs_dir " in said


def test_what_was_pasted_is_not_asked_for_again(tmp_path: Path) -> None:
    config = site(tmp_path)
    roomy = units.Unit(private_tmp=False)
    found = [line for line in lines(config, roomy) if line]
    top = config.top
    assert f"ReadWritePaths={top}" in found
    assert f"ReadOnlyPaths={top}/conf.d" in found
    text = "\n".join([*found, "PrivateTmp=no"])
    again = read_unit(str(installed(tmp_path / "root", text)))
    assert lines(config, again) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_the_name_server(tmp_path: Path) -> None:
    config = site(tmp_path)
    folder = config.dns.tlsa_dirs[0]
    roomy = units.Unit(writable=(str(tmp_path),), private_tmp=False, top=str(config.top))
    assert not any("belongs to uid" in one for one in texts(config, roomy))
    os.chown(folder, 53, 53)
    (said,) = [one for one in texts(config, roomy) if "belongs to uid 53" in one]
    assert f"tlsa_dirs {folder} (belongs to uid 53, mode 0755)" in said
    assert "CapabilityBoundingSet=CAP_DAC_OVERRIDE" in lines(config, roomy)
    folder.chmod(0o777)
    assert not any("belongs to uid" in one for one in texts(config, roomy))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_the_web_server(tmp_path: Path) -> None:
    """It is written to as its owner, which is another right."""
    folder = tmp_path / "www"
    folder.mkdir()
    config = site(tmp_path, ("[web]", f"[web]\n    server_dir = '{folder}'"))
    roomy = replace(NARROW, writable=(str(tmp_path),), private_tmp=False, top=str(config.top))
    assert not any("act as the owner" in one for one in texts(config, roomy))
    os.chown(folder, 33, 33)
    (said,) = [one for one in texts(config, roomy) if "act as the owner" in one]
    assert f"server_dir of [web] {folder} (belongs to uid 33)" in said
    wanted = {"CapabilityBoundingSet=CAP_SETUID CAP_SETGID", "SystemCallFilter=@setuid"}
    assert wanted <= set(lines(config, roomy))
    assert "CapabilityBoundingSet=CAP_DAC_OVERRIDE" not in lines(config, roomy)


@pytest.mark.parametrize(
    ("command", "told", "line"),
    [
        ("postfix reload", "write systemctl reload postfix, or systemd-run", ""),
        ("/usr/sbin/nginx -s reload", "write systemctl reload nginx", ""),
        ("sudo rndc reload", "leave sudo out", ""),
        ("pkill -HUP dovecot", "signals processes", "CapabilityBoundingSet=CAP_KILL"),
        ("systemctl reload postfix", "", ""),
        ("ssh mx1 postfix reload", "", ""),
    ],
)
def test_commands(tmp_path: Path, command: str, told: str, line: str) -> None:
    top = tmp_path / "ssl-mgr"
    config = site(tmp_path, (f"['{top}/restarted.sh imap']", f"['{command}']"))
    # That of a class that is on this machine only.
    said = [one for one in texts(config, NARROW) if command in one]
    if told:
        assert len(said) == 1
        assert told in said[0]
        assert said[0].startswith("[imap] restart_cmd: ")
    else:
        assert said == []
    assert not line or line in lines(config, NARROW)
    elsewhere = [one.text for one in limits(config, PACKAGED, frozenset())]
    assert not any(one.startswith("[imap] restart_cmd: ") for one in elsewhere)


def test_scripts(tmp_path: Path) -> None:
    config = site(tmp_path)
    (said,) = [one for one in texts(config) if "these are scripts" in one]
    for name in ("resign.sh", "restarted.sh imap", "restarted.sh web", "restarted.sh proxy"):
        assert f"{config.top}/{name}" in said
    assert "systemd-run --quiet --wait --collect --pipe -p ProtectSystem=strict " in said


def test_values_for_unit_files() -> None:
    assert quoted("/srv/a") == "/srv/a"
    assert quoted("/srv/a b") == '"/srv/a b"'
    assert quoted('/srv/"a"') == '"/srv/\\"a\\""'
    assert quoted("/srv/50%") == "/srv/50%%"
    assert units.drop_in([Limit("nothing to paste")]) == []


def test_the_documentation_has_what_may_be_pasted() -> None:
    text = (PACKAGED_FILE.parents[1] / "docs/operations.md").read_text()
    for line in (
        "ReadWritePaths=/srv/certs",
        "Environment=SSL_MGR_TOPDIR=/srv/ssl-mgr",
        "CapabilityBoundingSet=CAP_KILL",
        "CapabilityBoundingSet=CAP_DAC_OVERRIDE",
        "CapabilityBoundingSet=CAP_SETUID CAP_SETGID",
        "SystemCallFilter=@setuid",
    ):
        assert line in text
    assert re.search(r"systemd-run --quiet --wait --collect .*postfix reload", text)
