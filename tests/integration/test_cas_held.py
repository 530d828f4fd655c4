"""The site's own CAs, on sites that ssl-mgr made: held with an alarm, never replaced by rule.

And years later: renewed with their key and their name, root first.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.stand.faketime import faked_from, needs_faketime
from tests.stand.site import Site
from tests.stand.ssl_mgr_site import MADE, VERSIONS, files, unpack

ROOTS = {"5.2.0": "acorn-root", "7.8.1": "birch-root"}
INTS = {"5.2.0": "acorn-int", "7.8.1": "birch-int"}


class OldSite(Site):
    """A site of ssl-mgr's, whose zones nobody serves."""

    def __init__(self, folder: Path, version: str) -> None:
        top = unpack(version, folder, port=1)
        super().__init__(top, example=None)
        self.socket = folder / "sock"
        self.root, self.sub = f"ca/{ROOTS[version]}", f"ca/{INTS[version]}"

    def at(self, when: str) -> dict[str, str]:
        return faked_from(datetime.fromisoformat(when))

    def begin(self, when: str = "") -> None:
        self.start(env=self.at(when or MADE.strftime("%Y-%m-%d %H:%M:%S")))

    def curr(self, cert: str) -> Path:
        return self.top / "certs" / cert / "curr"

    def service_file(self, cert: str) -> Path:
        return self.top / "conf.d" / cert

    def change(self, cert: str, old: str, new: str) -> None:
        path = self.service_file(cert)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def forget_dane(self) -> None:
        """Nobody serves the zones here, and a roll asks what caches may hold of their records."""
        for path in self.conf.glob("example.*/*"):
            kept = [one for one in path.read_text().splitlines() if "dane_tls" not in one]
            path.write_text("\n".join(kept))
        for path in [*self.top.glob("certs/*/tlsa.*"), *self.top.glob("zones/*/tlsa.*")]:
            path.unlink()

    def cas(self) -> dict[str, object]:
        return dict(files(self.top, "certs/ca"))


@pytest.fixture(params=VERSIONS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldSite]:
    one = OldSite(tmp_path, request.param)
    yield one
    one.end()


def empty_key(site: OldSite) -> None:
    (site.curr(site.root) / "privkey.pem").write_bytes(b"")


def encrypted_key(site: OldSite) -> None:
    key = site.curr(site.root) / "privkey.pem"
    command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:x"]
    command += ["-out", f"{key}.new"]
    subprocess.run(command, check=True)
    Path(f"{key}.new").rename(key)
    key.chmod(0o600)


def key_of_another(site: OldSite) -> None:
    key = site.curr(site.root) / "privkey.pem"
    shutil.copyfile(site.curr(site.sub) / "privkey.pem", key)


def no_curr(site: OldSite) -> None:
    site.curr(site.root).unlink()


def no_tree(site: OldSite) -> None:
    shutil.rmtree(site.top / "certs" / site.root)


def dangling(site: OldSite) -> None:
    (db,) = (site.top / "certs" / site.root / "db").iterdir()
    shutil.rmtree(db)
    shutil.rmtree(site.top / "prod-certs" / "ca")


def no_trace(site: OldSite) -> None:
    for folder in ("certs", "prod-certs"):
        shutil.rmtree(site.top / folder / "ca")


def other_name(site: OldSite) -> None:
    site.change(site.root, "\n    O = '", "\n    O = 'New ")


def other_key(site: OldSite) -> None:
    site.change(site.root, "ktype = 'ec'\n    ec_algo = 'secp384r1'", "ktype = 'rsa'")


def other_signer(site: OldSite) -> None:
    site.change(site.sub, f"signing_ca = '{site.root[3:]}'", "signing_ca = 'self'")


@needs_faketime
@pytest.mark.parametrize("site", ["5.2.0"], indirect=True)
@pytest.mark.parametrize(
    ("spoil", "held", "said"),
    [
        (empty_key, "root", "privkey.pem is not a usable private key"),
        (encrypted_key, "root", "protected by a password"),
        (key_of_another, "root", "privkey.pem does not match cert.pem"),
        (no_curr, "root", "in use before: there is set"),
        (no_tree, "root", "in use before: there is its certificate"),
        (dangling, "root", "and nothing where it leads to"),
        (no_trace, "sub", "there is what it signed, example.com/"),
        (other_name, "root", "the service file asks for the name"),
        (other_key, "root", "the service file asks for a key rsa"),
        (other_signer, "sub", "its certificate is from another CA"),
    ],
)
def test_what_would_make_another_ca_is_told_and_nothing_is_changed(
    site: OldSite, spoil: Callable[[OldSite], None], held: str, said: str
) -> None:
    spoil(site)
    before = site.cas()
    cert = site.root if held == "root" else site.sub
    for _ in range(2):
        site.begin()
        line = site.wait_line(f"{cert}: ")
        assert said in site.wait_line(said)
        status = site.status()
        assert said in status[cert]["last_error"]
        check = site.ctl("check", cert.replace("/", ":"), status=None)
        assert check.returncode in (1, 2), line
        assert said in check.stdout
        assert all(one["next"] is None for name, one in status.items() if name.startswith("ca/"))
        site.stop()
    after = {name: one for name, one in site.cas().items() if not name.endswith("state.toml")}
    assert after == before
    assert not any("key made" in line for line in site.lines)


def renamed(site: OldSite) -> None:
    """Give the root's service another name; its folder of sets keeps the old one."""
    old, new = site.root[3:], f"{site.root[3:]}-2"
    site.service_file(site.root).rename(site.service_file(f"{site.root}-2"))
    for path in site.conf.rglob("*"):
        if path.is_file():
            text = path.read_text()
            path.write_text(text.replace(f"'{old}'", f"'{new}'").replace(f"[{old}]", f"[{new}]"))


@needs_faketime
@pytest.mark.parametrize("lost", ["before", "by a reload"])
def test_a_reload_makes_no_other_root(site: OldSite, lost: str) -> None:
    """That what it signed is there is still known after the tree was read again."""
    if lost == "before":
        no_trace(site)
    site.begin()
    if lost != "before":
        renamed(site)
    before = files(site.top, "certs/ca")
    for _ in range(2):
        site.ctl("reload")
        cert = site.root if lost == "before" else f"{site.root}-2"
        assert "what it signed" in site.status()[cert]["last_error"]
    site.stop()
    now = files(site.top, "certs/ca")
    assert {name: one for name, one in now.items() if not name.endswith("state.toml")} == {
        name: one for name, one in before.items() if not name.endswith("state.toml")
    }
    assert not any("key made" in line for line in site.lines)


@needs_faketime
def test_a_lost_key_is_replaced_only_in_so_many_words(site: OldSite) -> None:
    empty_key(site)
    arg = site.root.replace("/", ":")
    site.begin()
    refused = site.ctl("force-renew", arg, status=1)
    assert "cannot be renewed with its key" in refused.stderr
    assert f"sslmctl renew --force --new-key {arg}" in refused.stderr
    assert "needs --force" in site.ctl("renew", "--new-key", arg, status=2).stderr
    assert "for CAs that you name" in site.ctl("renew", "--force", "--new-key", status=2).stderr
    both = site.ctl("renew", "--force", "--new-key", "--reuse", arg, status=2)
    assert "exclude each other" in both.stderr
    leaf = site.ctl("renew", "--force", "--new-key", "example.com:web-ec", status=1)
    assert "is not a CA" in leaf.stderr

    done = site.ctl("renew", "--force", "--new-key", arg)
    assert "every client that trusts" in done.stdout + done.stderr
    site.wait_line(f"{site.root}: no longer: ")
    status = site._wait_for(lambda now: None if now[site.root]["phase"] == "settled" else "not yet")
    assert status[site.root]["last_error"] is None
    # What it signed before stays as it is.
    assert all(one["next"] is None for name, one in status.items() if "mail" not in name)
    site.stop()
    site.begin()
    status = site.status()
    assert all(one["next"] is None for name, one in status.items() if "mail" not in name)
    assert not any("key made" in line for line in site.lines)


@needs_faketime
def test_a_next_with_another_key_waits_for_an_admin(site: OldSite) -> None:
    """ssl-mgr's `-renew` of a root makes another key, which stays on deck."""
    db = site.top / "certs" / site.root / "db"
    (old,) = db.iterdir()
    fresh = db / "20261129-21:00:00"
    shutil.copytree(old, fresh)
    name = (
        subprocess.run(
            [
                "openssl",
                "x509",
                "-in",
                fresh / "cert.pem",
                "-noout",
                "-subject",
                "-nameopt",
                "compat",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        .stdout.removeprefix("subject=")
        .strip()
    )
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"]
    command += ["-nodes", "-keyout", f"{fresh}/privkey.pem", "-out", f"{fresh}/cert.pem"]
    command += ["-days", "3650", "-subj", f"/CN={name.rpartition('/CN=')[2]}"]
    subprocess.run(command, check=True, capture_output=True)
    for copy in ("chain.pem", "fullchain.pem"):
        shutil.copyfile(fresh / "cert.pem", fresh / copy)
    (fresh / "privkey.pem").chmod(0o600)
    (site.top / "certs" / site.root / "next").symlink_to(f"db/{fresh.name}")
    before = site.cas()
    site.begin("2026-12-24 00:00:00")
    assert "has another key or name than the CA" in site.wait_line("has another key or name")
    assert "has another key" in site.status()[site.root]["last_error"]
    site.stop()
    after = {name: one for name, one in site.cas().items() if not name.endswith("state.toml")}
    assert after == before


@needs_faketime
def test_two_cas_of_one_name_are_a_mistake(site: OldSite) -> None:
    folder = site.top / "conf.d"
    twin = f"{site.sub}-2"
    text = site.service_file(site.sub).read_text()
    (folder / twin).write_text(text.replace(site.sub[3:], twin[3:]))
    info = folder / "ca-info.conf"
    info.write_text(f"{info.read_text()}\n[{twin[3:]}]\n    ca_type = 'local'\n")
    main = folder / "ssl-mgr.conf"
    main.write_text(
        main.read_text().replace(f"'{site.sub[3:]}'", f"'{site.sub[3:]}', '{twin[3:]}'")
    )
    before = files(site.top, "certs", "prod-certs")
    site.start(env=site.at(f"{MADE:%Y-%m-%d %H:%M:%S}"), ready=False)
    assert site.wait() == 1
    assert any("has the same name as" in line for line in site.lines), site.lines
    assert files(site.top, "certs", "prod-certs") == before


def key_of(path: Path) -> bytes:
    command = ["openssl", "pkey", "-in", f"{path}/privkey.pem", "-pubout"]
    return subprocess.run(command, capture_output=True, check=True).stdout


@needs_faketime
@pytest.mark.parametrize("years", [7, 9])
def test_years_later_the_cas_are_renewed_with_their_keys_root_first(
    site: OldSite, years: int
) -> None:
    main = site.top / "conf.d" / "ssl-mgr.conf"
    text = main.read_text()
    for line in text.splitlines():
        if "min_roll_mins" in line:
            text = text.replace(line, "    min_roll_mins = 0")
    main.write_text(text)
    site.forget_dane()
    old = {name: site.curr(name).resolve() for name in (site.root, site.sub)}
    keys = {name: key_of(path) for name, path in old.items()}
    site.begin(f"{2026 + years}-11-01 12:00:00")
    site.wait_line(f"{site.sub}: set ")
    after = f"{2026 + years}-12-31"
    status = site._wait_for(
        lambda now: {
            name: one["reason"]
            for name, one in now.items()
            if one["curr"]["not_after"] < after or one["phase"] != "settled"
        }
    )
    issued = [line for line in site.lines if "certificate issued by" in line]
    cas = [line for line in issued if "ca/" in line]
    assert [name in line for name, line in zip((site.root, site.sub), cas, strict=True)] == [
        True
    ] * 2
    for name in (site.root, site.sub):
        assert site.curr(name).resolve() != old[name]
        assert key_of(site.curr(name)) == keys[name]
        assert status[name]["last_error"] is None
    for name in status:
        if name != site.root:
            at = ["-attime", _epoch(f"{2026 + years}-11-01 13:00:00")]
            for root in (site.curr(site.root), old[site.root]):
                _taken(site, site.curr(name), root / "cert.pem", at)
    # The plan says it.
    plan = site.ctl("plan").stdout
    assert "its key and its name stay" in " ".join(plan.split())


def _epoch(when: str) -> str:
    done = subprocess.run(
        ["date", "-u", "-d", when, "+%s"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _taken(site: Site, folder: Path, root: Path, at: list[str]) -> None:
    command = ["openssl", "verify", "-x509_strict", *at, "-no-CApath", "-no-CAstore"]
    command += ["-CAfile", str(root), "-untrusted", str(folder / "chain.pem")]
    done = subprocess.run(
        [*command, str(folder / "cert.pem")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{folder} under {root}: {done.stdout}{done.stderr}"


@needs_faketime
def test_the_cure_of_the_wrong_key_identifier_leaves_everything_valid(site: OldSite) -> None:
    """`--reuse` of root and intermediate, as the documents say; old and new verify crosswise."""
    site.forget_dane()
    site.begin()
    old_root = site.curr(site.root).resolve() / "cert.pem"
    for name in (site.root, site.sub):
        arg = name.replace("/", ":")
        site.ctl("renew", "--force", "--reuse", arg)
        site.ctl("roll", "--force", arg)
    site.ctl("force-renew", "example.com:web-ec")
    site.ctl("roll", "--force", "example.com:web-ec")
    at = ["-attime", _epoch("2026-11-29 20:30:00")]
    for root in (old_root, site.curr(site.root) / "cert.pem"):
        _taken(site, site.curr("example.com/web-ec"), root, at)
    status = site.status()
    assert all(one["next"] is None for name, one in status.items() if "mail" not in name), (
        "nothing else is renewed because of it"
    )
    site.stop()
    site.begin("2026-11-29 20:40:00")
    assert all(one["next"] is None for name, one in site.status().items() if "mail" not in name)
    assert not any("key made" in line for line in site.lines)
