"""conf.d-example/tools/bind-reload, which plain BIND sites use as the command of [dns]."""

from __future__ import annotations

import datetime
import fcntl
import os
import runpy
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.stand import bind
from tests.stand.bind import BIND_RELOAD, Primary, Secondary, Zone
from tests.stand.server import PLACES, as_written

ZONE = "$TTL 300\n@ SOA ns1 host 7 1 1 1 1\n@ NS ns1\nns1 A 192.0.2.1\n"


class Site:
    """A folder of zone files, an rndc that notes what it is told, and a check that says yes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zones = folder / "zones"
        self.zones.mkdir()
        self.told = folder / "told"
        self.rndc = self.program("rndc", f'echo "$*" >> {self.told}')
        self.checkzone = shutil.which("true") or "true"

    def program(self, name: str, script: str) -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def zone(self, name: str, text: str = ZONE) -> Path:
        path = self.zones / name
        path.write_bytes(text.encode())
        return path

    def command(self, *words: str) -> list[str]:
        options = ["--zone-file", f"{self.zones}/{{zone}}", "--rndc", f"{self.rndc} -c my.conf"]
        return [str(BIND_RELOAD), *options, "--checkzone", self.checkzone, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=60, check=False
        )

    def reloads(self) -> list[str]:
        return self.told.read_text().splitlines() if self.told.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def checking(site: Site) -> Site:
    """A site whose zones are really checked."""
    program = shutil.which("named-checkzone", path=PLACES)
    if not program:
        pytest.skip("named-checkzone (bind9-utils) is missing")
    site.checkzone = program
    return site


def names(site: Site) -> list[str]:
    return sorted(path.name for path in site.zones.iterdir())


# --- what it is for ---


def test_each_zone_gets_a_serial_and_a_reload(site: Site) -> None:
    one, two = site.zone("example.com"), site.zone("example.net")
    done = site.run("--serial_bump", "example.com", "Example.NET.")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert one.read_text() == two.read_text() == ZONE.replace(" 7 ", " 8 ")
    assert site.reloads() == ["-c my.conf reload example.com", "-c my.conf reload example.net"]
    assert names(site) == ["example.com", "example.net"]


def test_what_is_included_reaches_the_secondary(tmp_path: Path) -> None:
    if bind.missing():
        pytest.skip(bind.missing())
    zone = "example.com"
    with (
        Primary(tmp_path / "primary", [zone, Zone("example.net", signed=True)]) as primary,
        Secondary(tmp_path / "secondary", primary) as secondary,
    ):
        # Runs that follow closely: none of the reloads is lost.
        with ThreadPoolExecutor(6) as at_once:
            list(at_once.map(lambda _: primary.reload(zone, "example.net"), range(6)))
        assert " 7 " in primary.zone_file(zone).read_text()
        secondary.wait_serial(zone, 7)
        # A fragment that breaks the zone never gets as far as BIND.
        include = primary.acme_dir / f"acme-challenge.{zone}"
        include.write_text("_acme-challenge.example.com. 60 IN TXT\n")
        with pytest.raises(AssertionError, match="named-checkzone failed"):
            primary.reload(zone)
        assert (primary.serial(zone), secondary.serial(zone)) == (7, 7)
        include.write_text('_acme-challenge.example.com. 60 IN TXT "here"\n')
        primary.reload(zone)
        secondary.wait_answer("_acme-challenge.example.com", "TXT", "here")


# --- serials ---


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (0, 1),
        (41, 42),
        (1_790_000_000, 1_790_000_001),  # seconds since 1970
        (1999_12_31_05, 2026_05_17_01),
        (2026_05_16_99, 2026_05_17_01),
        (2026_05_17_00, 2026_05_17_01),
        (2026_05_17_01, 2026_05_17_02),
        (2026_05_17_99, 2026_05_18_00),
        (2026_05_18_00, 2026_05_18_01),  # the day before brought a hundred changes
        (2031_01_01_00, 2031_01_01_01),
        (2**32 - 2, 2**32 - 1),
    ],
)
def test_the_serial_grows(old: int, new: int) -> None:
    next_serial = runpy.run_path(str(BIND_RELOAD))["next_serial"]
    assert next_serial(old, datetime.date(2026, 5, 17)) == new


def test_a_serial_that_cannot_grow_is_left_alone(site: Site) -> None:
    text = ZONE.replace(" 7 ", f" {2**32 - 1} ")
    path = site.zone("example.com", text)
    done = site.run("example.com")
    assert done.returncode == 1
    assert "'example.com': its serial 4294967295 cannot grow" in done.stderr
    assert path.read_text() == text
    assert site.reloads() == []


# --- finding it ---


@pytest.mark.parametrize(
    "text",
    [
        "@ IN SOA ns host (7 1 1 1 1)",
        "@ 3600 IN SOA ns host 7 1 1 1 1",
        "@ IN 1h30m SOA ns host 7 1 1 1 1",
        "@ soa ns host 7 1 1 1 1",
        "\texample.com. soa ns host 7 1 1 1 1".lstrip(),
        "$ORIGIN com.\n$TTL 5 ; SOA a b 1 (\n\n  ; (\nexample IN SOA ns host 7 1 1 1 1",
        "@ IN SOA ns host ( ; SOA in 1 2 (\n  7 ; serial )\n  1 1\n  1 1 ) ; 9\n",
        "@ IN (\n SOA\n ns\n host\n\n 7\n 1 1 1 1\n)",
        "@ IN SOA ns host\\.master.example 7 1 1 1 1",
        '@ IN SOA "n;s(" host 7 1 1 1 1',
        "@ IN SOA ns host\\( 7 1 1 1 1",
        "@ IN SOA ns host 7 1 1 1 1\r\n@ IN NS ns\r\n",
        '@ IN SOA ns host 7 1 1 1 1\n@ TXT "; SOA ( \' é"\n@ IN SOA ns host 70 1 1 1 1\n',
        "@ IN SOA ns host(7)1 1 1 1;)",
        "\n\n  IN SOA ns host 7 1 1 1 1",
    ],
)
def test_only_the_serial_changes(site: Site, text: str) -> None:
    path = site.zone("example.com", text)
    done = site.run("example.com")
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == text.replace("7", "8", 1).encode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no SOA record"),
        ("; @ SOA ns host 7 1 1 1 1\n@ TXT SOA\nsoa A 192.0.2.1\n", "there is no SOA record"),
        ("$INCLUDE /etc/bind/soa\n", "there is no SOA record"),
        ("@ SOA ns host\n 7 1 1 1 1\n", "the SOA record ends before its serial"),
        ("@ SOA ns host @SERIAL@ 1 1 1 1\n", "the serial is '@SERIAL@', not a number"),
        ("@ SOA ns host +7 1 1 1 1\n", "the serial is '+7', not a number"),
    ],
)
def test_a_file_without_a_serial_is_left_alone(site: Site, text: str, why: str) -> None:
    path = site.zone("example.com", text)
    done = site.run("example.com")
    assert done.returncode == 1
    assert why in done.stderr
    assert path.read_text() == text
    assert site.reloads() == []


# --- what may go wrong ---


def test_a_zone_that_fails_its_check_stays_as_it_was(checking: Site) -> None:
    text = f"{ZONE}$INCLUDE {checking.folder}/include\n"
    path = checking.zone("example.com", text)
    before = as_written(path)
    for content in (
        None,
        "_acme-challenge 60 IN TXT\n",
        "elsewhere.test. A 192.0.2.1\nns1 CNAME x\n",
    ):
        if content:
            (checking.folder / "include").write_text(content)
        done = checking.run("example.com")
        assert done.returncode == 1
        assert "zone 'example.com': " in done.stderr
        assert "failed (1), nothing is changed:\n" in done.stderr
        assert f"{checking.folder}/include" in done.stderr or "ns1.example.com" in done.stderr
    assert path.read_text() == text
    assert as_written(path) == before
    assert names(checking) == ["example.com"]
    assert checking.reloads() == []
    (checking.folder / "include").write_text("_acme-challenge 60 IN TXT x\n")
    assert checking.run("example.com").returncode == 0


def test_relative_includes_start_where_named_says(checking: Site) -> None:
    checking.zone("example.com", f"{ZONE}$INCLUDE include/tlsa\n")
    include = checking.folder / "named" / "include" / "tlsa"
    include.parent.mkdir(parents=True)
    include.write_text("; nothing\n")
    assert checking.run("example.com").returncode == 1
    done = checking.run("--directory", str(checking.folder / "named"), "example.com")
    assert done.returncode == 0, done.stderr


def test_one_zone_that_fails_stops_no_other(site: Site) -> None:
    site.zone("broken.example", "no such thing")
    good = site.zone("example.com")
    done = site.run("--serial_bump", "broken.example", "missing.example", "example.com")
    assert done.returncode == 1
    assert "zone 'broken.example': " in done.stderr
    assert "zone 'missing.example': " in done.stderr
    assert "example.com" not in done.stderr
    assert " 8 " in good.read_text()
    assert site.reloads() == ["-c my.conf reload example.com"]


def test_an_rndc_that_fails_is_reported(site: Site) -> None:
    path = site.zone("example.com")
    site.program("rndc", "echo connection refused >&2; exit 1")
    done = site.run("example.com")
    assert done.returncode == 1
    assert "failed (1), the file is new, but not reloaded:\nconnection refused" in done.stderr
    assert " 8 " in path.read_text()


@pytest.mark.parametrize("which", ["rndc", "checkzone"])
def test_programs_that_are_not_there_are_named(site: Site, which: str) -> None:
    site.zone("example.com")
    setattr(site, which, "/no/such/program")
    done = site.run("example.com")
    assert done.returncode == 1
    assert "/no/such/program" in done.stderr
    assert names(site) == ["example.com"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../example.com",
        "example.com/../x",
        "/etc/passwd",
        "example..com",
        "-x.example",
        "example.com\n",
        "example com",
        "example.com;id",
        "$(id).example",
        "*.example.com",
        f"{'x' * 64}.example",
        ".".join(["x" * 60] * 5),
        "exämple.com",
    ],
)
def test_what_is_no_zone_name_is_refused(site: Site, name: str) -> None:
    good = site.zone("example.com")
    done = site.run("--serial_bump", "example.com", "--", name)
    assert done.returncode == 1
    assert f"zone {name!r}: that is not the name of a zone" in done.stderr
    assert " 8 " in good.read_text()
    assert site.reloads() == ["-c my.conf reload example.com"]


@pytest.mark.parametrize(
    "words", [[], ["--serial_bump"], ["--zone-file", "/etc/zone", "x.example"], ["--no", "x"]]
)
def test_a_wrong_command_line_is_2(site: Site, words: list[str]) -> None:
    done = site.run(*words)
    assert done.returncode == 2
    assert "usage: " in done.stderr


# --- the file ---


def test_mode_and_owner_stay(site: Site) -> None:
    path = site.zone("example.com")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    before = path.stat()
    assert site.run("example.com").returncode == 0
    after = path.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_a_link_stays_a_link(site: Site) -> None:
    real = site.folder / "elsewhere"
    real.write_text(ZONE)
    (site.zones / "example.com").symlink_to("../elsewhere")
    assert site.run("example.com").returncode == 0
    assert (site.zones / "example.com").is_symlink()
    assert " 8 " in real.read_text()


def test_runs_for_one_zone_take_turns(site: Site) -> None:
    path = site.zone("example.com")
    busy = site.folder / "busy"
    site.program("rndc", f"mkdir {busy} && sleep 0.05 && rmdir {busy} && echo x >> {site.told}")
    with ThreadPoolExecutor(6) as at_once:
        done = list(at_once.map(lambda _: site.run("example.com"), range(6)))
    assert [one.returncode for one in done] == [0] * 6, done
    assert " 13 " in path.read_text()
    assert len(site.reloads()) == 6


def test_zones_do_not_wait_for_each_other(site: Site) -> None:
    held = site.zone("example.com")
    site.zone("example.net")
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = subprocess.Popen(site.command("example.com"))
        try:
            assert site.run("example.net").returncode == 0
            assert waiting.poll() is None
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
            assert waiting.wait(30) == 0
    assert " 8 " in held.read_text()
