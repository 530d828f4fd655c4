"""A tree of ssl-mgr's: looked at by `sslmctl import --check`, and taken over as it is."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.stand.server import wait_until
from tests.stand.site import Site
from tests.stand.ssl_mgr_tree import SslMgrTree, make

WEB = "example.com/web-ec"


class OldSite(Site):
    """A site that ssl-mgr has left."""

    def __init__(self, top: Path, now: datetime | None = None, *, later: bool = False) -> None:
        super().__init__(top, example=None)
        self.tree: SslMgrTree = make(top, now, later=later)

    @property
    def restarts(self) -> list[str]:
        file = self.top / "restarts"
        return file.read_text().split() if file.exists() else []

    def serial(self, which: str) -> str:
        return self.tree.certs[which].serial


@pytest.fixture
def site(tmp_path: Path) -> Iterator[OldSite]:
    one = OldSite(tmp_path)
    yield one
    one.end()


@pytest.fixture(params=["5.2", "7.8"])
def site_of_any(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldSite]:
    one = OldSite(tmp_path, later=request.param == "7.8")
    yield one
    one.end()


def snapshot(top: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        if path.is_symlink():
            data = os.readlink(path).encode()
        else:
            data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (info.st_mode, info.st_mtime_ns, data)
    return found


def test_the_check_tells_everything_and_changes_nothing(site_of_any: OldSite) -> None:
    site = site_of_any
    before = snapshot(site.top)
    done = site.ctl("import", "--check", str(site.top), status=1)
    assert snapshot(site.top) == before
    text = done.stdout
    for expected in (
        "6 services, no mistakes",
        "next leads to the same set as curr: removed",
        "next is not finished",
        "can be read by others: it becomes 0600",
        "think of new keys",
        "write key_group and key_mode = '0640' into its server class before the start",
        "the authority key identifier of ca/my-int, example.com/web-ec",
        "my-root, my-int carries extended key usages",
        "my-int is valid for longer than its root",
        "keys of the CA are in production",
        "example.com/old-ec is in production, but not in the configuration: left alone",
        "[smtp] restarts for example.com/web-ec as well: every entry counts",
        "zone example.com: 1 TLSA record in ",
        "example.com/pub-ec: 1 account at acme-v02.api.letsencrypt.org; it is used on",
        "the first start would not leave it as it is: ",
    ):
        assert expected in text, f"{expected!r} is not in:\n{text}"
    (line,) = [line for line in text.splitlines() if line.startswith(WEB)]
    rolls = datetime.strptime(f"{line.partition('rolls at ')[2][:19]}+0000", "%Y-%m-%d %H:%M:%S%z")
    assert abs(rolls - site.tree.rolls) < timedelta(minutes=1), line
    assert "AT ONCE" not in text


def test_what_keeps_it_from_being_taken_over(site: OldSite) -> None:
    db = site.top / "certs" / WEB / "db"
    db.chmod(0o777)
    done = site.ctl("import", "--check", str(site.top), status=1)
    assert f"chmod o-w {db}" in done.stdout
    assert "1 thing to be fixed first" in done.stdout
    (site.conf / WEB).write_text("signing_ca = 'my-int'\nktype = 1\n")
    done = site.ctl("import", "--check", str(site.top), status=1)
    assert "group: it is missing" in done.stdout
    assert "to be fixed first" in done.stderr
    done = site.ctl("import", "--check", str(site.top / "certs"), status=1)
    assert "there is no" in done.stderr
    done = site.ctl("import", str(site.top), status=2)
    assert "nothing to convert" in done.stderr


def then(text: str, cert: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(cert)]
    return line


def test_what_is_due_is_told_as_the_daemon_does_it(tmp_path: Path) -> None:
    """66 days later, and with other names and another CA in service files."""
    site = OldSite(tmp_path, now=datetime.now(UTC) - timedelta(days=66))
    mail = site.conf / "example.com/mail-ec"
    mail.write_text(mail.read_text().replace("'mail.example.com'", "'mx.example.com'"))
    pub = site.conf / "example.com/pub-ec"
    pub.write_text(pub.read_text().replace("signing_ca = 'le'", "signing_ca = 'my-int'"))
    text = site.ctl("import", "--check", str(site.top), status=1).stdout
    assert "RENEWED AT ONCE" in then(text, "example.com/mail-ec")
    assert "RENEWED AT ONCE" in then(text, "example.com/pub-ec")
    assert "RENEWED AT ONCE: it expired" in then(text, "example.com/imap-ec")
    assert "ROLLED AT ONCE: it expired" in then(text, WEB)
    assert "3 certificates renewed at once" in text
    site.start()
    site.wait_line("example.com/mail-ec: key made")
    site.wait_line("example.com/pub-ec: key made")
    site.wait_line("example.com/imap-ec: ")
    site.wait_line(f"{WEB}: set ")
    site.end()


def test_a_tree_that_is_not_there(site: OldSite) -> None:
    shutil.rmtree(site.top / "certs")
    text = site.ctl("import", "--check", str(site.top), status=1).stdout
    assert "production has ca/my-root, ca/my-int" in text
    assert "look at certs_dir" in text
    assert "no server is restarted" not in text
    shutil.rmtree(site.top / "prod-certs")
    (site.top / "prod-certs").write_text("")
    text = site.ctl("import", "--check", str(site.top), status=1).stdout
    assert "cannot look through" in text
    assert "things to be fixed first" in text


def test_damage(site: OldSite) -> None:
    root = site.top / "certs/ca/my-root/curr/cert.pem"
    content = bytearray(ssl.PEM_cert_to_DER_cert(root.read_text()))
    at = content.index(bytes.fromhex("0603551d25"))  # the extension of usages
    content[at + 7 : at + 9] = b"\xff\xff"
    root.write_text(ssl.DER_cert_to_PEM_cert(bytes(content)))
    (site.top / "certs/example.com/imap-ec/curr/cert.pem").write_bytes(os.urandom(500))
    done = site.ctl("import", "--check", str(site.top), status=None)
    assert "Traceback" not in done.stderr
    assert "ACME accounts" in done.stdout
    state = site.top / "certs/example.com/mail-ec/state.toml"
    state.write_text("version = 2\n")
    done = site.ctl("import", "--check", str(site.top), status=1)
    assert "it is of version 2" in then(done.stdout, "example.com/mail-ec")
    state.write_bytes(b"\0\1\2")
    done = site.ctl("import", "--check", str(site.top), status=None)
    assert "state.toml: it is not TOML" in done.stdout
    assert ": set aside, and made again" in done.stdout


def test_a_path_that_cannot_be_looked_at(site: OldSite) -> None:
    done = site.ctl("import", "--check", f"{site.top}/{'x' * 300}", status=1)
    assert "cannot write the output" not in done.stderr
    assert "/conf.d: File name too long" in done.stderr


def test_it_is_taken_over_and_nothing_is_issued_anew(site_of_any: OldSite) -> None:
    site = site_of_any
    site.start()
    certs = site.status()

    def adopted() -> bool:
        certs.update(site.status())
        return all(certs[name]["phase"] != "rolled" for name in certs)

    wait_until(adopted, "the tree is taken over")
    for name, one in certs.items():
        assert one["curr"]["serial"] == site.serial(f"{name}/curr"), name
        assert (one["next"] or {}).get("serial") == (
            site.serial(f"{WEB}/next") if name == WEB else None
        )
        lead = datetime.fromisoformat(one["curr"]["not_after"]) - datetime.fromisoformat(
            one["renew_at"]
        )
        # [renew_info] of ssl-mgr 7 has a fifth of a long life for the CAs.
        if not name.startswith("ca/"):
            assert timedelta(days=28) <= lead <= timedelta(days=32), name
    rolls = datetime.fromisoformat(certs[WEB]["roll_at"])
    assert abs(rolls - site.tree.rolls) < timedelta(minutes=1)
    log = "\n".join(site.lines)
    assert "key made" not in log
    assert "certificate issued" not in log
    assert site.restarts == []

    # Keys are for their owner alone; production is as it was.
    keys = [*site.top.glob("*certs/**/privkey.pem"), *site.top.glob("*certs/**/bundle.pem")]
    assert len(keys) > 20
    for key in keys:
        assert key.stat().st_mode & 0o777 == 0o600, key
    for name in certs:
        assert not (site.top / "prod-certs" / name / "curr").is_symlink()
    assert "keys of the CA are in production" in log

    # Until an admin asks for more.
    site.ctl("deliver")
    for name in certs:
        assert (site.top / "prod-certs" / name / "curr").is_symlink()
    assert not list((site.top / "prod-certs/ca").rglob("privkey.pem"))
    assert not list((site.top / "prod-certs/ca").rglob("bundle.pem"))
    assert site.restarts == []
    assert (site.top / "prod-certs/example.com/dh/dhparam.pem").exists()
    assert (site.top / "prod-certs/example.com/old-ec/curr").exists()
    account = site.top / "certs/example.com/pub-ec/cb/accounts"
    assert list(account.rglob("private_key.json"))


def test_keys_of_a_ca_leave_production_when_an_admin_asks(tmp_path: Path) -> None:
    site = Site(tmp_path)
    try:
        site.start()
        certs = [cert for cert in site.wait_settled() if cert.startswith("ca/")]
        site.stop()
        for cert in certs:
            shutil.rmtree(site.top / "prod-certs" / cert)
            shutil.copytree(site.live(cert), site.top / "prod-certs" / cert / "curr")
            (site.top / "certs" / cert / "state.toml").unlink()
        for _ in range(2):
            site.start()
            for cert in certs:
                site.wait_line(f"{cert}: keys of the CA are in production: ")
            site.wait_settled()
            assert all((site.top / "prod-certs" / cert / "curr").is_dir() for cert in certs)
            assert len(list(site.top.glob("prod-certs/ca/*/curr/privkey.pem"))) == len(certs)
            site.stop()
        site.start()
        site.ctl("deliver", "ca:ALL")
        assert not list((site.top / "prod-certs/ca").rglob("privkey.pem"))
        assert not list((site.top / "prod-certs/ca").rglob("bundle.pem"))
        assert all((site.top / "prod-certs" / cert / "curr").is_symlink() for cert in certs)
        site.stop()
        site.start()
        site.wait_settled()
        assert not any("keys of the CA" in line for line in site.lines)
    finally:
        site.end()


def test_the_next_roll_and_a_ca_put_right(site: OldSite) -> None:
    """`next` of ssl-mgr's is rolled as any is; then the CA is made again with its own keys."""
    main = site.conf / "ssl-mgr.conf"
    main.write_text(main.read_text().replace("min_roll_mins = 90", "min_roll_mins = 5"))
    site.start()

    def rolled() -> bool:
        one = site.status()[WEB]
        serial = site.serial(f"{WEB}/next")
        return bool(one["phase"] == "settled" and one["curr"]["serial"] == serial)

    wait_until(rolled, "the roll of what ssl-mgr had put on deck")
    assert sorted(site.restarts) == ["smtp", "web"]
    prod = site.top / "prod-certs"

    def verifies() -> bool:
        root, curr = prod / "ca/my-root/curr", prod / WEB / "curr"
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", root / "cert.pem", "-untrusted",
             curr / "chain.pem", curr / "cert.pem"],
            capture_output=True,
            check=False,
        )  # fmt: skip
        return done.returncode == 0

    assert not verifies()
    for ca in ("ca:my-root", "ca:my-int"):
        site.ctl("renew", "--force", "--reuse", ca)
        site.ctl("roll", "--force", ca)
    site.ctl("force-renew", "example.com:web-ec")
    site.ctl("roll", "--force", "example.com:web-ec")
    assert verifies()
    for ca in ("my-root", "my-int"):
        curr = site.top / "certs/ca" / ca / "curr/privkey.pem"
        old = next(iter(sorted((site.top / "certs/ca" / ca / "db").iterdir()))) / "privkey.pem"
        assert public(curr) == public(old)


def public(key: Path) -> str:
    return subprocess.run(
        ["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, text=True, check=True
    ).stdout
