"""Where things are: the working tree, docs/on-disk.md.

Names are parsed before they come here, so no path leads out of the tree.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from sslmd.core.names import CertId, SetName, ZoneName

PRIVKEY = "privkey.pem"
CSR = "csr.pem"
CERT = "cert.pem"
CHAIN = "chain.pem"
FULLCHAIN = "fullchain.pem"
BUNDLE = "bundle.pem"
INFO = "info"
TLSA = "tlsa.rr"

SECRET_FILES = (PRIVKEY, BUNDLE)
SET_FILES = (PRIVKEY, CSR, CERT, CHAIN, FULLCHAIN, BUNDLE)

# How the names of those files end that say that a set was begun by us.
UNFINISHED = ".unfinished"

CURR = "curr"
NEXT = "next"
PREV = "prev"

_HOST_NOTE = ".toml"


@dataclass(frozen=True, slots=True)
class Tree:
    """The working tree below `certs_dir`."""

    root: str

    def group_dir(self, cert: CertId) -> str:
        """Return the folder of its group."""
        return f"{self.root}/{cert.group}"

    def cert_dir(self, cert: CertId) -> str:
        """Return the folder of one certificate."""
        return f"{self.root}/{cert.group}/{cert.service}"

    def db_dir(self, cert: CertId) -> str:
        """Return the folder of its sets."""
        return f"{self.cert_dir(cert)}/db"

    def set_dir(self, cert: CertId, name: SetName) -> str:
        """Return the folder of one set."""
        return f"{self.cert_dir(cert)}/db/{name}"

    def unfinished(self, cert: CertId, name: SetName) -> str:
        """Return the file that says that a set is ours and has no certificate yet."""
        return f"{self.db_dir(cert)}/.{name}{UNFINISHED}"

    def order_dir(self, cert: CertId, name: SetName) -> str:
        """Return the folder of the order for a set."""
        return f"{self.certbot_dir(cert)}/order/{name}"

    def link(self, cert: CertId, name: str) -> str:
        """Return the path of `curr`, `next` or `prev`."""
        return f"{self.cert_dir(cert)}/{name}"

    def certbot_dir(self, cert: CertId) -> str:
        """Return certbot's folder, with the accounts of this certificate."""
        return f"{self.cert_dir(cert)}/cb"

    def dh_dir(self, group: str) -> str:
        """Return the folder of a group's Diffie-Hellman groups; in production only."""
        return f"{self.root}/{group}/dh"

    def trial_dir(self, cert: CertId) -> str:
        """Return the folder for certificates of test servers, which no link can lead to (I7)."""
        return f"{self.root}/.test/{cert.group}/{cert.service}"

    def zone_dir(self, zone: ZoneName) -> str:
        """Return the folder of a zone, which is the group of the same name."""
        return f"{self.root}/{zone}"

    def challenge_note(self, zone: ZoneName) -> str:
        """Return the note of which challenges may be in DNS."""
        return challenge_file(self.zone_dir(zone), zone)

    def tlsa_note(self, zone: ZoneName) -> str:
        """Return the note of which TLSA records may be in DNS; ssl-mgr has it there as well."""
        return tlsa_file(self.zone_dir(zone), zone)

    def before_note(self, zone: ZoneName) -> str:
        """Return the note of what include files held before they were written."""
        return f"{self.zone_dir(zone)}/.tlsa-before.toml"

    def zone_note(self, zone: ZoneName) -> str:
        """Return the note of what is known of a zone beside its records."""
        return f"{self.zone_dir(zone)}/.dane.toml"

    @property
    def hosts_dir(self) -> str:
        """Return the folder with the notes of hosts."""
        return f"{self.root}/.hosts"

    def host_note(self, host: str) -> str:
        """Return the note of a host; whatever its name, it leads out of no folder."""
        return f"{self.hosts_dir}/{quote(host, safe='@:')}{_HOST_NOTE}"

    @property
    def outgoing_dir(self) -> str:
        """Return the folder of what is just being sent to other machines."""
        return f"{self.root}/.outgoing"

    @property
    def http_test_note(self) -> str:
        """Return the note of which files of `sslmctl doctor` are on web servers."""
        return f"{self.root}/.http-test.left"

    def http_note(self, cert: CertId) -> str:
        """Return the note of which http-01 challenges of an order are on web servers."""
        return f"{self.certbot_dir(cert)}/http-01.left"

    def state_file(self, cert: CertId) -> str:
        """Return the path of state.toml."""
        return f"{self.cert_dir(cert)}/state.toml"

    @property
    def lock_file(self) -> str:
        """Return the file that a daemon holds locked while it runs on this tree."""
        return os.path.join(self.root, ".sslmd.lock")


def host_of(file: str) -> str | None:
    """Return the host that a file in `hosts_dir` is the note of; None for any other file."""
    return unquote(file.removesuffix(_HOST_NOTE)) if file.endswith(_HOST_NOTE) else None


def challenge_file(folder: Path | str, zone: ZoneName) -> str:
    """Return the include file with a zone's challenges in a folder."""
    return f"{folder}/acme-challenge.{zone}"


def tlsa_file(folder: Path | str, zone: ZoneName) -> str:
    """Return the include file with a zone's TLSA records in a folder."""
    return f"{folder}/tlsa.{zone}"


def link_target(name: SetName) -> str:
    """Return what a link holds: relative, so that the tree can be moved."""
    return f"db/{name}"
