"""The sites that ssl-mgr itself made (see `ssl_mgr_sites/README.md`), unpacked for a test."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from tests.stand.responder import Answer, Zone

SITES = Path(__file__).parent / "ssl_mgr_sites"
VERSIONS = ("5.2.0", "7.8.1")

# Half an hour after they were made: nothing on deck may be rolled yet.
MADE = datetime(2026, 11, 29, 19, 45, tzinfo=UTC)

_HOME = "/etc/ssl-mgr"
_PORT = "port = 10053"
ZONES = ("example.com", "example.net", "example.org")


@dataclass(frozen=True)
class File:
    """What is compared of a file or a link of the tree: where it leads, or content and mode."""

    link: str
    digest: str
    mode: int


def unpack(version: str, folder: Path, *, port: int | None = None) -> Path:
    """Put a site into `folder`; return its top directory, `folder/ssl-mgr`.

    Its configuration names that directory in place of /etc/ssl-mgr, and `port` for the name server.
    """
    with tarfile.open(SITES / f"{version}.tar.gz") as archive:
        archive.extractall(folder, filter="fully_trusted")  # our own; its modes are what is tested
    top = folder / "ssl-mgr"
    main = top / "conf.d" / "ssl-mgr.conf"
    text = main.read_text().replace(_HOME, str(top))
    assert _PORT in text
    if port is not None:
        text = text.replace(_PORT, f"port = {port}")
    main.write_text(text)
    return top


def files(top: Path, *folders: str) -> Mapping[str, File]:
    """Return every file and link below these folders of a site, by its path from `top`."""
    found = {}
    for folder in folders:
        for path in sorted((top / folder).rglob("*")):
            if path.name.startswith(".") and path.name.endswith(".new"):
                continue  # it is being written beside its target
            name = str(path.relative_to(top))
            if path.is_symlink():
                found[name] = File(os.readlink(path), "", 0)
            elif path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[name] = File("", digest, path.stat().st_mode & 0o7777)
    return found


def through_links(top: Path, name: str) -> File | None:
    """Return the file that `name` leads to now, whether folders on the way are links or not."""
    path = top / name
    if not path.is_file():
        return None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return File("", digest, path.stat().st_mode & 0o7777)


def name_server(query: dns.message.Message, tcp: bool) -> Answer:
    """Answer as the name server did while the sites were made: no TLSA, no TXT, nothing signed."""
    asked = query.question[0].name
    for name in ZONES:
        if asked.is_subdomain(dns.name.from_text(name)):
            return _zone(name, asked)(query, tcp)
    answer = dns.message.make_response(query)
    answer.set_rcode(dns.rcode.REFUSED)
    return answer


def _zone(name: str, asked: dns.name.Name) -> Zone:
    zone = Zone(name, serial=2026112901)
    zone.ttl = 300
    zone.add(name, "NS", f"ns1.{name}.")
    zone.add(name, "MX", f"10 mail.{name}.", f"20 mx2.{name}.")
    if not any(label.startswith(b"_") for label in asked.labels):
        zone.records[asked, dns.rdatatype.A] = ["127.0.0.1"]
    return zone
