"""The sites that ssl-mgr made, taken over: nothing is made, rewritten, moved or restarted."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from sslmd.dns.include import parse_tlsa
from tests.stand.faketime import faked_from, needs_faketime
from tests.stand.responder import Responder
from tests.stand.server import wait_until
from tests.stand.site import Site
from tests.stand.ssl_mgr_site import MADE, VERSIONS, File, files, name_server, unpack

pytestmark = needs_faketime

WEB = "example.com/web-ec"
# Nobody listens there: tcpmux.
SILENT = 1
CAS = {"5.2.0": ("acorn-root", "acorn-int"), "7.8.1": ("birch-root", "birch-int")}


class RealSite(Site):
    """A site of ssl-mgr's, at the time when it was made."""

    # Notes of ours.
    others = (
        *("state.toml", ".sslmd.lock", ".hosts/localhost.toml", ".dane.toml"),
        ".notices.toml",
    )

    def __init__(
        self, version: str, folder: Path, *, port: int = SILENT, with_ca: bool = False
    ) -> None:
        super().__init__(unpack(version, folder, port=port), example=None)
        self.version = version
        self.main = self.conf / "ssl-mgr.conf"
        if port != SILENT:  # it stands for every name server of the zones
            names = f"nameservers = ['127.0.0.1:{port}']"
            self.configure(f"port = {port}", f"port = {port}\n    {names}")
        if not with_ca:
            self._leave_cas_alone()
        self.before = self.there()
        self.commands = self.ran()

    def configure(self, old: str, new: str) -> None:
        """Change `ssl-mgr.conf`."""
        text = self.main.read_text()
        assert old in text
        self.main.write_text(text.replace(old, new))

    def _leave_cas_alone(self) -> None:
        text = self.main.read_text()
        start = text.rindex("[[groups]]", 0, text.index("domain = 'ca'"))
        end = text.index("[[", start + 2)
        table = text[start:end].replace("active = true", "active = false")
        self.main.write_text(text[:start] + table + text[end:])

    def without_dane(self) -> None:
        """Leave out the certificates of whose zones a name server would have to tell."""
        self.configure("'wild-ec', 'mail-ec'", "'wild-ec'")
        for name in ("example.com", "example.org"):
            (self.conf / name / "mail-ec").unlink()
        self.configure(
            "domain = 'example.org'\n    services = '*'\n    active = true",
            "domain = 'example.org'\n    services = []\n    active = false",
        )

    def renew_and_roll(self, cert: str) -> None:
        """Make a new set, roll it, and see it used."""
        self.ctl("renew", "--force", cert)
        self.ctl("roll", "--force", cert)
        self.rest()

    def start(
        self,
        *options: str,
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        ready: bool = True,
    ) -> RealSite:
        """Start the daemon as if the site had just been made."""
        # Times of files are those of the archive, and stay.
        clock = {**faked_from(MADE), "NO_FAKE_STAT": "1"}
        env = {**clock, **(env or {})}
        super().start(*options, env=env, wrapper=wrapper, ready=ready)
        return self

    def rest(self) -> None:
        """Wait until nothing is at work, and no server waits for anything."""

        def done() -> bool:
            try:
                text, certs = self.summary(), self.status()
            except AssertionError:
                return False  # on a busy machine its start may take longer than a client waits
            servers = [one for cert in certs.values() for one in cert["servers"]]
            return "at work" not in text and all(
                one["state"] in ("proven", "restarted") for one in servers
            )

        try:
            wait_until(done, "rest")
        except AssertionError as problem:
            raise AssertionError(f"{problem}\n" + "\n".join(self.lines)) from None

    def wait_settled_of(self, cert: str) -> bool:
        """Wait until one certificate is settled, whatever goes on with the others."""
        wait_until(lambda: self.status()[cert]["phase"] == "settled", f"{cert} settled")
        return True

    # --- looking ---

    def there(self) -> dict[str, File]:
        """Return what is in both trees, but for notes of ours and include files of DNS."""
        found = files(self.top, "certs", "prod-certs")
        return {name: one for name, one in found.items() if not name.endswith(self.others)}

    def ran(self) -> list[str]:
        """Return what ran: one line for each command, after its time."""
        log = self.top / "restarted.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line.partition(" ")[2] for line in lines]

    def changes(self) -> dict[str, str]:
        """Return what is otherwise than ssl-mgr had left it."""
        now = self.there()
        found = {}
        for name, was in self.before.items():
            if now.get(name) != was:
                found[name] = "changed" if name in now else "gone"
        return found | {name: "new" for name in now if name not in self.before}

    def in_prod(self, cert: str) -> Path:
        """Return the folder of a certificate in production."""
        return self.top / "prod-certs" / cert

    def untouched(self) -> None:
        """Check that nothing was changed and nothing was restarted."""
        assert self.changes() == {}
        assert self.ran() == self.commands
        log = "\n".join(self.lines)
        for word in ("key made", "certificate issued", "rolled", "restarted"):
            assert word not in log, log


@pytest.fixture(params=VERSIONS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealSite]:
    """A site, without a name server; its CAs sign and are not looked after."""
    one = RealSite(request.param, tmp_path)
    yield one
    one.end()


@pytest.fixture
def web_site(tmp_path: Path) -> Iterator[RealSite]:
    """The site with servers on this machine."""
    one = RealSite("7.8.1", tmp_path)
    yield one
    one.end()


def starts(site: RealSite, number: int) -> None:
    for _ in range(number):
        site.start()
        site.rest()
        assert site.stop() == 0
        site.untouched()


# --- nothing changes ---


@pytest.mark.parametrize("with_ca", [True, False])
@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
async def test_three_starts_change_nothing(
    version: str, answers: bool, with_ca: bool, tmp_path: Path
) -> None:
    async with Responder(name_server) as responder:
        port = responder.server.port if answers else SILENT
        site = RealSite(version, tmp_path, port=port, with_ca=with_ca)
        try:
            await asyncio.to_thread(starts, site, 3)
        finally:
            await asyncio.to_thread(site.end)
        assert not answers or responder.queries


def test_ten_starts_are_as_one(web_site: RealSite) -> None:
    starts(web_site, 10)


def test_a_reload_changes_nothing(web_site: RealSite) -> None:
    web_site.start()
    web_site.rest()
    for _ in range(3):
        web_site.ctl("reload")
        web_site.rest()
    web_site.stop()
    web_site.untouched()


def test_killed_in_the_first_moments(web_site: RealSite) -> None:
    """What was noted by then must not make it look as if servers needed a restart."""
    for _ in range(5):
        web_site.start()
        web_site.kill()
    starts(web_site, 2)


def test_old_sets_stay_until_a_roll(web_site: RealSite) -> None:
    web_site.configure("clean_keep = 4", "clean_keep = 1")
    older = web_site.top / "certs" / WEB / "db"
    for number in range(3):
        shutil.copytree(web_site.live(WEB), older / f"2026112{number}-10:00:00")
    web_site.before = web_site.there()
    starts(web_site, 2)
    web_site.without_dane()
    web_site.start()
    web_site.renew_and_roll("example.com:web-ec")
    wait_until(lambda: len(list(older.iterdir())) == 3, "curr, prev and one more are left")


def test_keys_that_others_could_read_are_closed(site: RealSite) -> None:
    wide = [*site.top.glob("prod-certs/*/*/*/privkey.pem")]
    wide += site.top.glob("certs/*/*/db/*/bundle.pem")
    assert len(wide) > 10
    for path in wide:
        path.chmod(0o644)
    starts(site, 1)
    assert len([line for line in site.lines if "could be read by others" in line]) == len(wide)


def test_keys_of_the_ca_in_production_are_reported_at_each_start(site: RealSite) -> None:
    for _ in range(2):
        site.start()
        for ca in CAS[site.version]:
            line = site.wait_line(f"ca/{ca}: keys of the CA are in production: ")
            assert line.startswith("<4>")
            assert f"{site.in_prod('ca')}/{ca}/curr/privkey.pem" in line
            assert "remove these files" in line  # the group is not active here
        site.rest()
        site.stop()


# --- what has to be delivered is ---


def test_a_roll_that_did_not_reach_production(web_site: RealSite) -> None:
    prod, old = web_site.in_prod(WEB), web_site.top / "certs" / WEB / "prev"
    shutil.rmtree(prod / "curr")
    shutil.copytree(old, prod / "curr")
    web_site.start()
    web_site.rest()
    assert web_site.ran() == [*web_site.commands, "web", "proxy"]
    assert (prod / "curr/cert.pem").read_bytes() == (web_site.live(WEB) / "cert.pem").read_bytes()
    assert (prod / "curr").is_symlink()
    assert {name for name in web_site.changes() if WEB not in name} == set()
    web_site.stop()
    there = web_site.there()
    web_site.start()
    web_site.rest()
    assert web_site.ran() == [*web_site.commands, "web", "proxy"]
    assert web_site.there() == there


def test_it_is_as_sslmd_has_it_from_the_next_roll_on(web_site: RealSite) -> None:
    web_site.without_dane()
    web_site.start()
    web_site.rest()
    web_site.renew_and_roll("example.com:web-ec")
    prod = web_site.in_prod(WEB)
    assert os.readlink(prod / "curr") == os.readlink(web_site.top / "certs" / WEB / "curr")
    assert not os.path.lexists(prod / "next")
    names = {path.name for path in (prod / "curr").iterdir()}
    assert names == {path.name for path in web_site.live(WEB).iterdir()}
    assert web_site.ran() == [*web_site.commands, "web", "proxy"]
    # The zone's file was written, and what it held before is kept: no name server can be asked.
    about_zone = ("/tlsa.", "/.tlsa-before.toml")
    changed = [name for name in web_site.changes() if WEB not in name]
    assert [name for name in changed if not any(word in name for word in about_zone)] == []


def test_an_admin_has_it_made_so_at_once(site: RealSite) -> None:
    site.start()
    site.rest()
    site.ctl("deliver", status=None)  # no name server: ports cannot be looked at
    for cert in site.status():
        curr = site.top / "certs" / cert / "curr"
        assert os.readlink(site.in_prod(cert) / "curr") == os.readlink(curr), cert
        for file in (*curr.glob("*.pem"), *curr.glob("tlsa.rr")):
            copy = site.in_prod(cert) / "curr" / file.name
            secret = file.name in ("privkey.pem", "bundle.pem")
            if cert.startswith("ca/") and secret:
                assert not copy.exists()
            else:
                assert copy.read_bytes() == file.read_bytes()
                assert copy.stat().st_mode & 0o777 == (0o600 if secret else 0o644)
    assert not os.path.lexists(site.in_prod(WEB) / "next")
    assert site.ran() == site.commands
    site.stop()
    after = site.there()
    site.start()
    site.rest()
    site.stop()
    assert site.there() == after
    assert site.ran() == site.commands


async def test_a_renewal_has_records_as_ssl_mgr_wrote_them(tmp_path: Path) -> None:
    """Those of ssl-mgr's sets stay byte for byte; a new set has its own, at the same owners."""
    async with Responder(name_server) as responder:
        site = RealSite("7.8.1", tmp_path, port=responder.server.port)
        try:
            await asyncio.to_thread(_renewed_with_records, site)
        finally:
            await asyncio.to_thread(site.end)


def _renewed_with_records(site: RealSite) -> None:
    home = site.top / "certs/example.com/mail-ec"
    before = {path: path.read_bytes() for path in home.glob("db/*/tlsa.rr")}
    assert len(before) == 2
    site.start()
    site.rest()
    site.ctl("renew", "--force", "example.com:mail-ec", status=None)
    new = home / "next/tlsa.rr"
    wait_until(lambda: new.resolve() not in before and new.exists(), "records of the new set")
    content = parse_tlsa(new.read_bytes(), 0)
    old = parse_tlsa((home / "curr/tlsa.rr").read_bytes(), 0)
    assert content.keys() == old.keys()
    assert {some.ttl for some in content.values()} == {some.ttl for some in old.values()} == {3600}
    assert not set().union(*(one.records for one in content.values())) & set().union(
        *(one.records for one in old.values())
    )
    for path, text in before.items():
        assert not path.exists() or path.read_bytes() == text
    assert home.joinpath("curr/tlsa.rr").read_bytes() in before.values()
    # Production shows what is on deck, from now on as ours.
    shown = site.in_prod("example.com/mail-ec") / "next/tlsa.rr"
    wait_until(shown.exists, "what is on deck in production")
    assert site.ran() == site.commands
