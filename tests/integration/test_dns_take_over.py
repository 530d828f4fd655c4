"""Sites that ssl-mgr made: their include files stay as they are, and no zone is signed again.

Three starts of a real daemon, with a name server that answers and with none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.stand.faketime import faked_from, needs_faketime
from tests.stand.responder import name_server_at
from tests.stand.server import free_port, wait_until
from tests.stand.site import Site
from tests.stand.ssl_mgr_site import MADE, VERSIONS, File, files, name_server, unpack

# Zones with DANE, in each site.
DANE = {"5.2.0": ("example.com", "example.net"), "7.8.1": ("example.com", "example.org")}


class OldSite(Site):
    """A site of ssl-mgr's."""

    def __init__(self, version: str, folder: Path, port: int, *, answers: bool) -> None:
        super().__init__(unpack(version, folder, port=port), example=None)
        if answers:
            self.change(f"port = {port}", f"port = {port}\n    nameservers = ['127.0.0.1:{port}']")
        self.version = version
        self.answers = answers
        self.calls_before = self.calls()

    @property
    def main(self) -> Path:
        return self.conf / "ssl-mgr.conf"

    def change(self, old: str, new: str) -> None:
        text = self.main.read_text()
        assert old in text
        self.main.write_text(text.replace(old, new))

    def calls(self) -> list[str]:
        """Return how the signer was called."""
        path = self.top / "resign.log"
        return path.read_text().splitlines() if path.exists() else []

    def new_calls(self) -> list[str]:
        return [line.split(" ", 1)[1] for line in self.calls()[len(self.calls_before) :]]

    def tlsa(self) -> dict[str, File]:
        """Return every include file and copy of one, as it is."""
        found = files(self.top, "certs", "prod-certs", "zones")
        return {name: one for name, one in found.items() if "/tlsa." in name and ".rr" not in name}

    def begin(self) -> None:
        """Start it half an hour after ssl-mgr ended; wait until it has seen to its zones."""
        self.start(env=faked_from(MADE))
        for zone in DANE[self.version]:
            if self.answers:
                wait_until(lambda zone=zone: "name server" in self.dane(zone), f"a look at {zone}")  # type: ignore[misc]
            else:
                self.wait_line(f"zone {zone}: its primary", 1)

    def dane(self, zone: str) -> str:
        return self.ctl("dane", "--now", f"{zone}:ALL", status=None).stdout


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["answers", "silent"])
def site(request: pytest.FixtureRequest, version: str, tmp_path: Path) -> Iterator[OldSite]:
    answers = request.param == "answers"
    with name_server_at(name_server) if answers else nullcontext(free_port()) as port:
        one = OldSite(version, tmp_path, port, answers=answers)
        yield one
        one.end()


@needs_faketime
def test_three_starts_change_no_record(site: OldSite) -> None:
    before = site.tlsa()
    assert len(before) >= 6
    for _ in range(3):
        site.begin()
        assert site.stop() == 0
        after = site.tlsa()
        assert {name: after.get(name) for name in before} == before
        assert site.new_calls() == []
    # What was not there is there now, and says nothing.
    for zone in DANE[site.version]:
        lines = (site.top / f"zones/acme/acme-challenge.{zone}").read_text().splitlines()
        assert all(line.startswith(";") for line in lines)


def of_another_user(site: OldSite) -> None:
    import os

    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    for folder in (site.top / "zones").iterdir():
        os.chown(folder, 12345, 12345)
        for path in folder.iterdir():
            os.chown(path, 12345, 12345)


def without_notes(site: OldSite) -> None:
    for zone in DANE[site.version]:
        (site.top / f"certs/{zone}/tlsa.{zone}").unlink()


def with_old_notes(site: OldSite) -> None:
    for zone in DANE[site.version]:
        path = site.top / f"certs/{zone}/tlsa.{zone}"
        path.write_text(path.read_text() + f"_25._tcp.{zone}. IN TLSA 3 1 1 {'ab' * 32}\n")


def without_copies(site: OldSite) -> None:
    for zone in DANE[site.version]:
        (site.top / f"prod-certs/{zone}/tlsa.{zone}").unlink()


def with_challenges(site: OldSite) -> None:
    text = ';; acme-challenge : x\n_acme-challenge.www.example.com. 60 IN TXT "old"\n'
    (site.top / "zones/acme/acme-challenge.example.com").write_text(text)


@needs_faketime
@pytest.mark.parametrize(
    "trait", [of_another_user, without_notes, with_old_notes, without_copies, with_challenges]
)
def test_nor_do_those_of_other_sites(
    version: str, trait: Callable[[OldSite], None], tmp_path: Path
) -> None:
    with name_server_at(name_server) as port:
        site = OldSite(version, tmp_path, port, answers=True)
        try:
            trait(site)
            before = files(site.top, "zones")
            for _ in range(2):
                site.begin()
                assert site.stop() == 0
                after = files(site.top, "zones")
                assert {name: after.get(name) for name in before} == before
                assert site.new_calls() == []
        finally:
            site.end()


@needs_faketime
def test_a_record_that_is_missing_is_added_with_one_run(version: str, tmp_path: Path) -> None:
    """In each folder that lacks it; what is right stays."""
    with name_server_at(name_server) as port:
        site = OldSite(version, tmp_path, port, answers=True)
        try:
            broken = site.top / "zones/tlsa/tlsa.example.com"
            text = broken.read_text()
            next_ = text[text.index(";; mail-ec next") :].split()[-1]
            broken.write_text("".join(one for one in text.splitlines(True) if next_ not in one))
            before = site.tlsa()
            site.begin()
            wait_until(site.new_calls, "a run")
            assert site.stop() == 0
            after = site.tlsa()
            changed = {name for name in before if after.get(name) != before[name]}
            assert {name for name in changed if name.startswith("zones/")} == {
                "zones/tlsa/tlsa.example.com"
            }
            assert broken.read_text().count(next_) == 3
            assert site.new_calls() == ["--serial_bump example.com"]
        finally:
            site.end()


@needs_faketime
def test_a_kill_at_the_take_over_loses_nothing(site: OldSite) -> None:
    before = site.tlsa()
    for _ in range(3):
        site.begin()
        site.kill()
    site.begin()
    assert site.stop() == 0
    after = site.tlsa()
    assert {name: after.get(name) for name in before} == before
    assert site.new_calls() == []
