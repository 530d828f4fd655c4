"""What `make install` and `make deb` take from others is named by the hashes of its files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.stand.server import ROOT
from tests.stand.wheels import at_hand

LOCKS = ROOT / "packaging/lock"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

_HASH = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}")


def locked(name: str) -> dict[str, tuple[Requirement, int]]:
    """Return the packages of a lock, each with the number of its files; it has nothing else."""
    found: dict[str, tuple[Requirement, int]] = {}
    last = ""
    for line in (LOCKS / name).read_text().splitlines():
        text = line.removesuffix(" \\")
        if _HASH.fullmatch(text):
            one, files = found[last]
            found[last] = one, files + 1
        elif not line.startswith("#"):
            one = Requirement(text)
            last = one.name
            assert last not in found
            found[last] = one, 0
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("name", "table", "key"),
    [("packages.txt", "project", "dependencies"), ("build.txt", "build-system", "requires")],
)
def test_a_lock_has_what_pyproject_asks_for(name: str, table: str, key: str) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())[table][key]
    found = locked(name)
    for text in wanted:
        asked = Requirement(text)
        one, _ = found[normal(asked.name)]
        (version,) = one.specifier
        assert version.operator == "=="
        assert asked.specifier.contains(version.version), f"{asked}: run make lock"
        for python in PYTHONS:
            env = {"python_version": python, "python_full_version": f"{python}.1"}
            assert one.marker is None or one.marker.evaluate(env), f"{one} on Python {python}"
    assert all(files for _, files in found.values())


def test_machines_of_other_kinds_have_their_files() -> None:
    """Those that have one file for each kind of machine and each Python."""
    found = locked("packages.txt")
    for name in ("cffi", "cryptography", "pydantic-core"):
        assert found[name][1] > 20


@pytest.mark.parametrize("name", ["packages.txt", "build.txt"])
def test_a_lock_names_no_place_to_fetch_from(name: str) -> None:
    text = (LOCKS / name).read_text()
    assert not re.search(r"https?:|file:|@|index|find-links|/(?!renew|lock)", text)


def test_developers_are_not_bound_by_it() -> None:
    text = (ROOT / "Makefile").read_text()
    setup = text[text.index("setup: $(READY)") : text.index("# --- running")]
    assert "lock" not in setup


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder)
    for name in ("sslmd", "systemd", "conf.d-example", "docs", "packaging"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def stage(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [source / "packaging/stage", folder, "/usr"],
        env={**os.environ, **at_hand(), "PIP_NO_CACHE_DIR": "off"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("name", ["packages.txt", "build.txt"])
def test_a_package_that_was_changed_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    """Its files have other hashes than those that the lock names."""
    folder = tmp_path / "source"
    shutil.copytree(source, folder, symlinks=True, ignore=shutil.ignore_patterns("build"))
    path = folder / "packaging/lock" / name
    text = path.read_text()
    start = text.index("idna==" if name == "packages.txt" else "setuptools==")
    block = re.match(r".*(?:\n {4}--hash.*)+", text[start:])
    assert block is not None
    forged = re.sub(r"sha256:(.)", lambda one: f"sha256:{'1' if one[1] == '0' else '0'}", block[0])
    path.write_text(text.replace(block[0], forged))
    done = stage(folder, tmp_path / "root")
    assert done.returncode == 1
    assert "HASHES" in done.stderr
    assert "somebody has changed a package" in done.stderr
    assert not (tmp_path / "root").exists()
