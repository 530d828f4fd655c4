"""Those who look on: a key that others could read is seen, and so is a bad certificate."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.stand import host, nginx
from tests.stand.client import TlsClient
from tests.stand.host import Host
from tests.stand.nginx import Nginx
from tests.stand.pair import Pair
from tests.stand.server import free_port
from tests.stand.watch import Sighting, Watch

NAME = "www.example.com"
KEY = "-----BEGIN PRIVATE KEY-----\nMIG\n"

# --- the watchman ---


def born(path: Path, mode: int, text: str = KEY) -> None:
    """Make a file that has this mode from the beginning."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.fchmod(handle, mode)
    os.write(handle, text.encode())
    os.close(handle)


def test_keys_that_are_closed_are_no_complaint(tmp_path: Path) -> None:
    root = tmp_path / "prod"
    root.mkdir()
    born(root / "privkey.pem", 0o600)
    with Watch(tmp_path / "watch", root) as watch:
        assert watch.sightings() == [Sighting(Path("privkey.pem"), 0o600)]
        before = watch.looks()
        assert before >= 1
        deep = root / "example.com" / "web" / "next"
        deep.mkdir(parents=True)
        born(deep / ".privkey.pem.Xy1", 0o600)
        os.replace(deep / ".privkey.pem.Xy1", deep / "privkey.pem")
        born(deep / "cert.pem", 0o644, "-----BEGIN CERTIFICATE-----\n")
        os.rename(deep, deep.with_name("curr"))
        born(deep.with_name("curr") / "bundle.pem", 0o400)
        found = {str(one) for one in watch.sightings()}
        assert found >= {
            "example.com/web/curr/privkey.pem 0600",
            "example.com/web/curr/bundle.pem 0400",
        }
        assert "cert" not in "".join(found)
        assert watch.looks() >= before + 3
        assert watch.too_wide() == []


@pytest.mark.parametrize(
    ("name", "text"),
    [("privkey.pem", ""), (".bundle.pem.a7", ""), ("other", KEY), ("other", "-" * 9999 + KEY)],
)
def test_a_wide_key_is_seen(tmp_path: Path, name: str, text: str) -> None:
    root = tmp_path / "prod"
    root.mkdir()
    with Watch(tmp_path / "watch", root) as watch:
        folder = root / "new" / "folder"
        folder.mkdir(parents=True)
        born(folder / name, 0o640, text)
        assert watch.too_wide() == [Sighting(Path("new/folder") / name, 0o640)]
        watch.allowed = lambda path: 0o640 if path.parts[0] == "new" else 0o600
        assert watch.too_wide() == []
        os.chmod(folder / name, 0o644)
        assert [one.mode for one in watch.too_wide()] == [0o644]


def test_a_key_that_is_wide_for_a_moment_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "prod"
    root.mkdir()
    moments = 20
    with Watch(tmp_path / "watch", root) as watch:
        for number in range(moments):
            path = root / f"{number}.pem"
            path.write_text(KEY)
            time.sleep(0.002)
            path.chmod(0o600)
        # All of them, if it is not kept waiting.
        assert len(watch.too_wide()) >= moments // 2


def test_much_at_once_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "prod"
    root.mkdir()
    with Watch(tmp_path / "watch", root) as watch:
        for number in range(300):
            folder = root / str(number)
            folder.mkdir()
            born(folder / "privkey.pem", 0o600 if number % 3 else 0o604)
            if number % 5 == 0:
                shutil.rmtree(folder)
        wide = {one.path for one in watch.too_wide()}
        assert wide >= {
            Path(str(number), "privkey.pem") for number in range(0, 300, 3) if number % 5
        }


@pytest.mark.parametrize("disk", ["", "256k"])
def test_a_host_is_watched_from_outside(tmp_path: Path, disk: str) -> None:
    if lacking := host.missing():
        pytest.skip(lacking)
    with Host(tmp_path / "web", [NAME], tmp_path / "site" / "certs", disk=disk) as web:
        with Watch(tmp_path / "watch", web.root) as watch:
            path = web.path / "a" / "privkey.pem"
            web.run(["install", "-D", "-m", "640", "/dev/null", str(path)])
            assert Sighting(Path("a/privkey.pem"), 0o640) in watch.too_wide()


# --- the client ---


def test_a_client_is_content_with_a_good_certificate(tmp_path: Path) -> None:
    if lacking := nginx.missing():
        pytest.skip(lacking)
    root = Pair(tmp_path, "root")
    files = Pair(tmp_path, "leaf", root, NAME).put(tmp_path)
    server = Nginx(tmp_path / "nginx", {}, tls=[(files[1], files[0])])
    client = TlsClient(
        tmp_path / "client", server.host, server.tls_port, NAME, root.cert_file, pause=0.05
    )
    with server, client:
        client.wait(5)
        outcome = client.outcome()
        assert outcome.connections >= 6
        assert outcome.failures == []
        assert len(outcome.serials) == 1
        assert 0.05 <= outcome.longest_gap < 2
        # A server that is down is a failure too.
        with client:
            server.kill()
            assert client.wait_failure("ConnectionRefusedError").time <= time.time()
        # The root may be another one the next time.
        server.start()
        with client:
            root.cert_file.write_bytes(Pair(tmp_path, "root2").cert_file.read_bytes())
            client.wait_failure("self-signed certificate in certificate chain")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("name", "Hostname mismatch"),
        ("expired", "certificate has expired"),
        ("early", "not yet valid"),
        ("issuer", "self-signed certificate in certificate chain"),
        ("plain", "WRONG_VERSION_NUMBER"),
    ],
)
def test_a_client_complains_of_a_bad_certificate(tmp_path: Path, what: str, reason: str) -> None:
    if lacking := nginx.missing():
        pytest.skip(lacking)
    root = Pair(tmp_path, "root")
    name = "other.example.com" if what == "name" else NAME
    days = {"expired": -3, "early": 3}.get(what, 0)
    leaf = Pair(tmp_path, "leaf", root, name, days=days)
    trusted = Pair(tmp_path, "root2") if what == "issuer" else root
    files = leaf.put(tmp_path)
    server = Nginx(tmp_path / "nginx", {}, tls=[(files[1], files[0])], tls_port=free_port())
    port = server.port if what == "plain" else server.tls_port
    client = TlsClient(tmp_path / "client", server.host, port, NAME, trusted.cert_file)
    with server, client:
        client.wait_failure(reason)
        assert client.outcome().serials == []
