"""Where things are: the working tree, docs/on-disk.md.

Names are parsed before they come here, so no path leads out of the tree.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

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

DH = "dh"

_HOST_NOTE = ".toml"

# What is just being sent to this machine, below its production tree (`servers/remote.sh`).
INCOMING = ".sslmd-in."
_INCOMING = re.compile(re.escape(INCOMING) + r"[0-9]{1,20}\.[A-Za-z0-9]{6,20}")


@dataclass(frozen=True, slots=True)
class OrderFolders:
    """certbot's folder of one certificate, `home`, and in it that of one order's files."""

    home: str
    order: str

    @property
    def work(self) -> str:
        """Where certbot works, and what it cannot log is left."""
        return f"{self.home}/work"

    @property
    def logs(self) -> str:
        """The folder of certbot's logs."""
        return f"{self.home}/logs"

    @property
    def log(self) -> str:
        """Where certbot writes what it does."""
        return f"{self.logs}/letsencrypt.log"

    @property
    def offered_note(self) -> str:
        """The note of the names that were offered to the CA, until it is known how that went."""
        return f"{self.home}/offered"

    @property
    def open_note(self) -> str:
        """The note of an order that the CA is at work on."""
        return f"{self.order}/open"

    @property
    def order_note(self) -> str:
        """The note of an order as the CA has it."""
        return f"{self.order}/order"

    @property
    def server_note(self) -> str:
        """The note of the server that is asked."""
        return f"{self.order}/server"

    @property
    def eab_file(self) -> str:
        """The file of options with the key of EAB."""
        return f"{self.order}/eab.ini"


def accounts_dir(home: str, url: str, *, lost: bool = False) -> str:
    """Return the folder of the accounts at a CA, as certbot names it below `home`.

    `lost`: of those that their CA does not know any more.
    """
    parts = urlsplit(url)
    return f"{home}/accounts{'-lost' * lost}/{parts.netloc}{parts.path}".rstrip("/")


# What an account's folder has, in certbot's layout; and the key that is to follow its own.
ACCOUNT_KEY = "private_key.json"
ACCOUNT_NEXT_KEY = "private_key.json.next"
ACCOUNT_URI = "regr.json"
ACCOUNT_META = "meta.json"


@dataclass(frozen=True, slots=True)
class Tree:
    """The working tree below `certs_dir`."""

    root: str

    def group_dir(self, group: str) -> str:
        """Return the folder of a group, which is the zone of the same name or `ca`."""
        return f"{self.root}/{group}"

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

    def order(self, cert: CertId, name: SetName) -> OrderFolders:
        """Return the folders of the order for a set."""
        return order_below(self.certbot_dir(cert), name)

    def link(self, cert: CertId, name: str) -> str:
        """Return the path of `curr`, `next` or `prev`."""
        return f"{self.cert_dir(cert)}/{name}"

    def certbot_dir(self, cert: CertId) -> str:
        """Return certbot's folder, with the accounts of this certificate."""
        return f"{self.cert_dir(cert)}/cb"

    @property
    def accounts_dir(self) -> str:
        """Return the folder of the accounts that certificates share, one for each CA."""
        return f"{self.root}/.accounts"

    def account_home(self, name: str) -> str:
        """Return certbot's folder of one of them."""
        return f"{self.accounts_dir}/{name}"

    @property
    def holds_note(self) -> str:
        """Return the note of what CAs asked to be left alone with, and until when."""
        return f"{self.accounts_dir}/holds.toml"

    def dh_dir(self, group: str) -> str:
        """Return the folder of a group's Diffie-Hellman groups; in production only."""
        return f"{self.root}/{group}/{DH}"

    def trial_dir(self, cert: CertId) -> str:
        """Return the folder for certificates of test servers, which no link can lead to (I7)."""
        return f"{self.root}/.test/{cert.group}/{cert.service}"

    def challenge_note(self, zone: ZoneName) -> str:
        """Return the note of which challenges may be in DNS."""
        return challenge_file(self.group_dir(zone.text), zone)

    def tlsa_note(self, zone: ZoneName) -> str:
        """Return the note of which TLSA records may be in DNS; ssl-mgr has it there as well."""
        return tlsa_file(self.group_dir(zone.text), zone)

    def before_note(self, zone: ZoneName) -> str:
        """Return the note of what include files held before they were written."""
        return f"{self.group_dir(zone.text)}/.tlsa-before.toml"

    def zone_note(self, zone: ZoneName) -> str:
        """Return the note of what is known of a zone beside its records."""
        return f"{self.group_dir(zone.text)}/.dane.toml"

    @property
    def hosts_dir(self) -> str:
        """Return the folder with the notes of hosts."""
        return f"{self.root}/.hosts"

    def host_note(self, host: str) -> str:
        """Return the note of a host; whatever its name, it leads out of no folder."""
        return f"{self.hosts_dir}/{quote(host, safe='@:')}{_HOST_NOTE}"

    @property
    def alarm_note(self) -> str:
        """Return the note on alarms: raised since when, told to whom, silences."""
        return f"{self.root}/.notices.toml"

    @property
    def outgoing_dir(self) -> str:
        """Return the folder of what is just being sent to other machines."""
        return f"{self.root}/.outgoing"

    @property
    def http_test_note(self) -> str:
        """Return the note of which files of `sslmctl doctor` are on web servers."""
        return f"{self.root}/.http-test.left"

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


def account_home_note(home: str) -> str:
    """Return the note of whose accounts are in a folder."""
    return f"{home}/sslmd.toml"


def order_below(home: str, name: SetName) -> OrderFolders:
    """Return the folders of the order for a set, in certbot's folder `home`."""
    return OrderFolders(home, f"{home}/order/{name}")


def http_note(certbot_dir: str) -> str:
    """Return the note of which http-01 challenges of an order are on web servers."""
    return f"{certbot_dir}/http-01.left"


def is_incoming(path: str, prod: str) -> bool:
    """Whether that is where a machine takes in copies, beside what is in its production tree."""
    return path.startswith(f"{prod}/") and bool(_INCOMING.fullmatch(path[len(prod) + 1 :]))


def challenge_file(folder: Path | str, zone: ZoneName) -> str:
    """Return the include file with a zone's challenges in a folder."""
    return f"{folder}/acme-challenge.{zone}"


def tlsa_file(folder: Path | str, zone: ZoneName) -> str:
    """Return the include file with a zone's TLSA records in a folder."""
    return f"{folder}/tlsa.{zone}"


def link_target(name: SetName) -> str:
    """Return what a link holds: relative, so that the tree can be moved."""
    return f"db/{name}"
