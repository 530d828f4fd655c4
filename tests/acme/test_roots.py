"""The file of roots that a CA is trusted by: a file, or links to one as in /etc/ssl/certs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sslmd.acme.accounts import address_of
from sslmd.acme.certbot import AcmeServer
from sslmd.acme.directory import MOST_ROOTS, roots_in
from sslmd.config.kinds import Validation
from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.net.acme_messages import CaAddress
from tests.stand.samples import make_root

URL = "https://ca.example/dir"


def failure(path: Path) -> str:
    """Return why a file of roots cannot be used."""
    with pytest.raises(Permanent) as caught:
        roots_in(path, URL)
    reason = caught.value.reason
    assert reason is not None
    assert reason.code is Failed.CA_ROOT_UNUSABLE
    assert reason["file"] == str(path)
    assert reason["url"] == URL
    return str(reason["said"])


@pytest.fixture
def pem(tmp_path: Path) -> str:
    """The text of `ca-certificates/extra/root.crt`."""
    text = make_root().cert_pem.decode()
    folder = tmp_path / "ca-certificates/extra"
    folder.mkdir(parents=True)
    (folder / "root.crt").write_text(text)
    return text.rstrip("\n")


def links(top: Path) -> list[Path]:
    """Make links to the file, by each way that there is."""
    certs = top / "certs"
    certs.mkdir()
    (certs / "absolute.pem").symlink_to(top / "ca-certificates/extra/root.crt")
    (certs / "relative.pem").symlink_to("../ca-certificates/extra/root.crt")
    # As c_rehash names them: a link to a link of the same folder.
    (certs / "4042bcee.0").symlink_to("relative.pem")
    (top / "roots").symlink_to("certs")
    (top / "extra").symlink_to("ca-certificates/extra")
    names = ("absolute.pem", "relative.pem", "4042bcee.0")
    by_folder = [top / "roots" / name for name in names]
    return [*(certs / name for name in names), *by_folder, top / "extra/root.crt"]


def test_a_link_is_as_good_as_what_it_leads_to(tmp_path: Path, pem: str) -> None:
    assert roots_in(tmp_path / "ca-certificates/extra/root.crt", URL).rstrip("\n") == pem
    for link in links(tmp_path):
        assert roots_in(link, URL).rstrip("\n") == pem, link
        server = AcmeServer(URL, link, Validation.DNS_01)
        assert address_of(server) == CaAddress(URL, roots_in(link, URL), server.requests)


def test_a_link_that_is_led_elsewhere_is_followed_there(tmp_path: Path, pem: str) -> None:
    """The next time that somebody asks: packages replace links, and files by renaming."""
    link = links(tmp_path)[1]
    assert roots_in(link, URL).rstrip("\n") == pem
    other = make_root().cert_pem.decode().rstrip("\n")
    assert other != pem
    (tmp_path / "other.crt").write_text(other)
    (tmp_path / "new").symlink_to("../other.crt")
    os.replace(tmp_path / "new", link)
    for found in (link, tmp_path / "certs/4042bcee.0", tmp_path / "roots/relative.pem"):
        assert roots_in(found, URL).rstrip("\n") == other
    (tmp_path / "newer.crt").write_text(pem)
    os.replace(tmp_path / "newer.crt", tmp_path / "other.crt")
    assert roots_in(link, URL).rstrip("\n") == pem


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "dangling.pem").symlink_to("gone.crt")
    (tmp_path / "one.pem").symlink_to("other.pem")
    (tmp_path / "other.pem").symlink_to("one.pem")
    (tmp_path / "through.pem").symlink_to("dangling.pem/x")
    assert failure(tmp_path / "dangling.pem") == os.strerror(2)
    assert failure(tmp_path / "one.pem") == os.strerror(40)
    assert failure(tmp_path / "through.pem") == os.strerror(2)


def test_what_is_no_file_is_none_by_a_link_either(tmp_path: Path) -> None:
    """Nobody writes to the pipe, and nobody waits for that."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("folder", "pipe"):
        (tmp_path / f"{name}.pem").symlink_to(name)
    for path in ("folder", "folder.pem", "pipe", "pipe.pem", "zero"):
        assert failure(tmp_path / path) in ("no regular file", os.strerror(21)), path


def test_what_has_no_certificate_is_none_by_a_link_either(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "long").write_bytes(b"x" * (MOST_ROOTS + 1))
    for name in ("empty", "long"):
        (tmp_path / f"{name}.pem").symlink_to(name)
        assert failure(tmp_path / f"{name}.pem") == "no certificate"
