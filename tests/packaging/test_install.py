"""`make install` and `make uninstall`, into a folder and without the rights to."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from sslmd import __version__
from tests.stand.attacker import NOBODY, let_in
from tests.stand.server import ROOT
from tests.stand.wheels import PYTHON, at_hand

PREFIX = "/opt/certs"
COMMANDS = ["sslm-dhparm", "sslm-info", "sslm-mgr", "sslm-verify", "sslmctl", "sslmd"]


def make(
    *words: str, tree: Path = ROOT, user: int | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=tree,
        env={**os.environ, **(env or {})},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is needed for it: the real folder is in use by other tests."""
    folder = tmp_path_factory.mktemp("source & 'more'|")  # any name will do
    for name in ("Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"):
        subprocess.run(["cp", "-a", str(ROOT / name), str(folder)], check=True)
    for name in ("sslmd", "systemd", "conf.d-example", "docs", "packaging"):
        subprocess.run(["cp", "-a", str(ROOT / name), str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make install` puts below DESTDIR, in place of an older version."""
    dest = tmp_path_factory.mktemp("dest & 'more'|")
    old = dest / "opt/certs/lib/sslmd/lib/of-an-older-version"
    page = dest / "opt/certs/share/man/man1/of-an-older-version.1"
    for one in (old, page):
        one.parent.mkdir(parents=True)
        one.touch()
    listed = dest / "opt/certs/lib/sslmd/installed-files"
    listed.write_text("share/man/man1/of-an-older-version.1\n")
    done = make("install", f"DESTDIR={dest}", f"PREFIX={PREFIX}", tree=source, env=at_hand())
    assert done.returncode == 0, done.stderr
    assert not old.exists()
    assert not page.exists()
    return dest


def files(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("*") if not one.is_dir()}


def test_everything_is_there(installed: Path) -> None:
    top = installed / "opt/certs"
    assert sorted(one.name for one in (top / "bin").iterdir()) == COMMANDS
    for command in COMMANDS:
        assert (top / "bin" / command).readlink() == Path("../lib/sslmd/bin") / command
        first = (top / "lib/sslmd/bin" / command).read_text().splitlines()[0]
        assert first == f"#!{PREFIX}/lib/sslmd/bin/python"
    assert (top / "lib/sslmd/bin/sslm-auth-hook").exists()
    assert (top / "lib/sslmd/bin/certbot").exists()
    assert (top / "lib/sslmd/bin/sslmd-notify").exists()
    found = files(top)
    assert {f"share/man/man1/{page.name}" for page in (ROOT / "docs/man").glob("*.1")} <= found
    assert {f"share/man/man8/{page.name}" for page in (ROOT / "docs/man").glob("*.8")} <= found
    assert {
        "share/bash-completion/completions/sslmctl.bash",
        "share/zsh/site-functions/_sslmctl",
        "lib/sysusers.d/sslmd.conf",
        "lib/tmpfiles.d/sslmd.conf",
    } <= found
    unit = (top / "lib/systemd/system/sslmd.service").read_text()
    assert f"\nExecStart={PREFIX}/bin/sslmd\n" in unit
    assert f"\nExecReload={PREFIX}/bin/sslmctl reload\n" in unit
    units = {one.name for one in (top / "lib/systemd/system").iterdir()}
    assert units == {one.name for one in (ROOT / "systemd").glob("sslmd*")}
    for name in ("sslmd-notify@.service", "sslmd-failed@.service"):
        text = (top / "lib/systemd/system" / name).read_text()
        assert f"\nExecStart={PREFIX}/lib/sslmd/bin/sslmd-notify" in text
        assert "/usr/lib/sslmd" not in text
    example = top / "share/doc/sslmd/examples/conf.d"
    assert files(example) == files(ROOT / "conf.d-example")
    for tool in ("bind-reload", "note-restart"):
        assert os.access(example / "tools" / tool, os.X_OK)


def test_it_runs_where_it_lies(installed: Path) -> None:
    """The environment knows its packages, compiled ahead, and finds nothing of this checkout."""
    program = installed / "opt/certs/lib/sslmd/bin/python"
    script = "import sslmd, certbot, sys; print(sslmd.__file__); print(sslmd.__version__)"
    done = subprocess.run(
        [program, "-I", "-c", script], capture_output=True, text=True, check=True, cwd="/"
    )
    where, version = done.stdout.splitlines()
    assert Path(where).is_relative_to(installed)
    assert version == __version__
    package = Path(where).parent
    sources = {one.stem for one in package.glob("core/*.py")}
    compiled = {one.name.split(".")[0] for one in package.glob("core/__pycache__/*.pyc")}
    assert sources == compiled


def test_no_path_of_the_machine_that_built_it(installed: Path, source: Path) -> None:
    for folder in (str(installed), str(source)):
        found = subprocess.run(
            ["grep", "-rlF", folder, str(installed)], capture_output=True, text=True, check=False
        )
        assert found.stdout == ""


def test_nothing_is_open_to_others(installed: Path) -> None:
    for one in installed.rglob("*"):
        info = one.lstat()
        assert stat.S_ISLNK(info.st_mode) or info.st_mode & 0o022 == 0, one
        assert info.st_uid == os.getuid()


@pytest.fixture(scope="module")
def arch(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """What makepkg(8) does with the PKGBUILD, where there is no makepkg: and what it says."""
    package = tmp_path_factory.mktemp("arch")
    environment = {
        **os.environ,
        **at_hand(),
        "startdir": str(source / "packaging/arch"),
        "pkgdir": str(package),
    }
    script = (
        'cd "$startdir" && . ./PKGBUILD && echo "$(pkgver) $install" && package '
        '&& printf "%s " "${depends[@]}"'
    )
    done = subprocess.run(
        ["bash", "-euc", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return package, done.stdout.splitlines()


def test_arch_gets_the_same(installed: Path, source: Path, arch: tuple[Path, list[str]]) -> None:
    package, (first, depends) = arch
    version, script_of_it = first.split()
    assert version == __version__
    (bound,) = (package / "usr/lib/sslmd/lib").glob("python3.*")
    minor = int(bound.name.removeprefix("python3."))
    assert {f"python>=3.{minor}", f"python<3.{minor + 1}"} <= set(depends.split())
    assert (source / "packaging/arch" / script_of_it).exists()
    extra = {"lib/sslmd/installed-files", "share/licenses/sslmd/LICENSE"}
    there = {one for one in files(package / "usr") if "site-packages" not in one}
    ours = {one for one in files(installed / "opt/certs") if "site-packages" not in one}
    assert there ^ ours == extra


def test_two_builds_have_the_same_content(
    source: Path, arch: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """One of them is that for Arch, which adds its licence."""
    python = os.path.realpath(PYTHON)
    done = subprocess.run(
        [source / "packaging/stage", tmp_path / "other", "/usr"],
        env={**os.environ, **at_hand(), "PYTHON": python, "PIP_NO_CACHE_DIR": "off"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, other = contents(arch[0]), contents(tmp_path / "other")
    for path in ("usr/share/licenses/sslmd/LICENSE", "usr/share/licenses/sslmd"):
        del one[path]
    one.pop("usr/share/licenses", None)
    assert {path for path in one if one[path] != other.get(path)} == set()
    assert one.keys() == other.keys()
    assert any(path.endswith(".pyc") for path in one)


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    """Return mode and content of everything below a folder."""
    found = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if path.is_symlink():
            what = os.readlink(path)
        else:
            what = "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = mode, what
    return found


def test_arch_has_it_or_ssl_mgr(tmp_path: Path) -> None:
    """Both have the same commands. It comes in place of ssl-mgr only when an admin says so."""
    names = "conflicts replaces provides"
    script = (
        f'. "{ROOT}/packaging/arch/PKGBUILD"; for one in {names}; do declare -p $one || :; done'
    )
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'declare -a conflicts=([0]="ssl-mgr")\n'


def test_debian_has_no_package_of_that_name_to_conflict_with() -> None:
    control = (ROOT / "packaging/deb/control").read_text()
    fields = [line.partition(":")[0] for line in control.splitlines()]
    assert not {"Conflicts", "Breaks", "Replaces", "Provides"} & set(fields)


@pytest.mark.parametrize("found", [False, True])
def test_packages_say_what_comes_first(found: bool, tmp_path: Path) -> None:
    """Where a configuration of ssl-mgr is there, that is to look at it."""
    etc = "mount -t tmpfs none /etc && mkdir -p /etc/ssl-mgr/conf.d"
    if found:
        etc += " && touch /etc/ssl-mgr/conf.d/ssl-mgr.conf"
    debian = (
        f'systemctl() {{ echo disabled; }}; set -- configure ""; . "{ROOT}/packaging/deb/postinst"'
    )
    arch = f'. "{ROOT}/packaging/arch/sslmd.install" && post_install 1'
    for script in (debian, arch):
        done = with_systemctl(f"{etc} && {script}", tmp_path, booted=False, mistakes=False)
        assert ("sslmctl import --check" in done.stdout) is found
        assert ("a first configuration: sslmd init" in done.stdout.lower()) is not found


def test_taking_it_away_leaves_what_is_not_of_it(installed: Path, source: Path) -> None:
    mine = installed / "opt/certs/bin/mine"
    mine.touch()
    done = make("uninstall", f"DESTDIR={installed}", f"PREFIX={PREFIX}", tree=source)
    assert done.returncode == 0, done.stderr
    assert "/etc/ssl-mgr" in done.stderr
    assert files(installed) == {"opt/certs/bin/mine"}
    again = make("uninstall", f"DESTDIR={installed}", f"PREFIX={PREFIX}", tree=source)
    assert again.returncode != 0
    assert "no sslmd" in again.stderr


@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_without_rights_nothing_changes(target: str, source: Path, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("running as another user needs root")
    (tmp_path / "usr/lib/sslmd").mkdir(parents=True)
    (tmp_path / "usr/lib/sslmd/installed-files").write_text("bin/sslmd\n")
    let_in(tmp_path)
    let_in(source)
    before, there = files(source), files(tmp_path)
    done = make(target, f"DESTDIR={tmp_path}", "PREFIX=/usr", tree=source, user=NOBODY)
    assert done.returncode != 0
    assert f"may not write to {tmp_path}/usr" in done.stderr
    assert "nothing was changed" in done.stderr
    assert files(tmp_path) == there
    assert files(source) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["PREFIX=relative"], "PREFIX has to be a whole path"),
        (["PYTHON=/bin/false"], "not Python 3.11 or later"),
        (["PREFIX=/opt/my certs"], "PREFIX may have letters"),
        (["PREFIX=/opt/certs|p;s&x"], "PREFIX may have letters"),
        (["PREFIX=/opt\n/certs"], "PREFIX may have letters"),
        (["PREFIX=/opt/../certs"], "PREFIX may have letters"),
    ],
)
def test_what_cannot_be(words: Sequence[str], message: str, source: Path, tmp_path: Path) -> None:
    done = make("install", f"DESTDIR={tmp_path}/dest", *words, tree=source)
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / "dest").exists()


def test_a_destdir_of_two_lines_is_refused(source: Path, tmp_path: Path) -> None:
    done = make("install", f"DESTDIR={tmp_path}/de\nst", tree=source)
    assert done.returncode != 0
    assert "DESTDIR has a line break" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_what_a_debian_package_has_put_is_left_to_it(
    target: str, source: Path, tmp_path: Path
) -> None:
    if shutil.which("dpkg-query") is None:
        pytest.skip("dpkg-query is not installed (Debian package dpkg)")
    database = tmp_path / "var/lib/dpkg"
    (database / "info").mkdir(parents=True)
    (database / "info/sslmd.list").write_text("/usr/lib/sslmd/bin/sslmd\n")
    (database / "status").write_text(
        "Package: sslmd\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"
        "Maintainer: none\nDescription: none\n"
    )
    before = files(tmp_path)
    done = make(target, f"DESTDIR={tmp_path}", "PREFIX=/usr/", tree=source)
    assert done.returncode != 0
    assert "Debian package sslmd" in done.stderr
    assert "apt remove sslmd" in done.stderr
    assert files(tmp_path) == before


def with_systemctl(
    script: str, folder: Path, *, booted: bool, mistakes: bool
) -> subprocess.CompletedProcess[str]:
    """Run what a package runs, where systemd, or nothing, tells of a unit with its own command."""
    if os.getuid() != 0:
        pytest.skip("another /run needs root")
    command = f"{folder}/sslmd --conf-dir /srv/conf"
    programs = {
        "systemctl": (
            'case "$*" in\n'
            '"show -p Environment "*) echo A=b SSL_MGR_TOPDIR=/srv/x ;;\n'
            # As systemd 252 prints it.
            f'"show -p ExecStart "*) echo "{{ path={folder}/sslmd ; argv[]={command} ; '
            'ignore_errors=no ; start_time=[n/a] ; pid=0 ; status=0/0 }" ;;\n'
            "show*) ;;\n"
            '*) echo systemctl "$@" ;;\n'
            "esac"
        ),
        **dict.fromkeys(("systemd-sysusers", "systemd-tmpfiles"), "true"),
        "deb-systemd-invoke": 'echo systemctl "$@"',
        "sslmd": (
            '[ "$SSL_MGR_TOPDIR $*" = "/srv/x --conf-dir /srv/conf --check-config" ] || exit 9\n'
            f"exit {int(mistakes)}"
        ),
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    run = f"mount -t tmpfs none /run && {'mkdir -p /run/systemd/system' if booted else ':'}"
    done = subprocess.run(
        ["unshare", "-m", "bash", "-euc", f"{run} && {script}"],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("mistakes", [False, True])
def test_debian_looks_at_the_configuration_that_the_unit_reads(
    mistakes: bool, tmp_path: Path
) -> None:
    upgrade = f"sh {ROOT}/packaging/deb/postinst configure 1"
    done = with_systemctl(upgrade, tmp_path, booted=True, mistakes=mistakes)
    assert ("systemctl try-restart sslmd.service" in done.stdout) is not mistakes
    told = f"sslmd:     {tmp_path}/sslmd --conf-dir /srv/conf --check-config"
    assert (told in done.stderr) is mistakes


@pytest.mark.parametrize(
    ("booted", "mistakes"), [(True, False), (True, True), (False, False), (False, True)]
)
def test_arch_asks_systemd_only_where_it_runs(booted: bool, mistakes: bool, tmp_path: Path) -> None:
    """And restarts the daemon only if the new one would start."""
    arch = f'. "{ROOT}/packaging/arch/sslmd.install" && post_install 1 && post_upgrade 2 1 && '
    done = with_systemctl(
        f"{arch} pre_remove 2 && post_remove 2", tmp_path, booted=booted, mistakes=mistakes
    )
    asked = [line for line in done.stdout.splitlines() if line.startswith("systemctl")]
    if booted:
        assert ("systemctl try-restart sslmd.service" in asked) is not mistakes
        assert ("the version before runs on" in done.stdout) is mistakes
        assert "systemctl disable --quiet --now sslmd.service" in asked
    else:
        assert asked == ["systemctl disable --quiet sslmd.service"]
