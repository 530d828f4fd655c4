"""Where things are: the working tree, docs/on-disk.md.

Names are parsed before they come here, so no path leads out of the tree.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from sslmd.core.names import CertId, SetName

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

    def state_file(self, cert: CertId) -> str:
        """Return the path of state.toml."""
        return f"{self.cert_dir(cert)}/state.toml"

    @property
    def lock_file(self) -> str:
        """Return the file that a daemon holds locked while it runs on this tree."""
        return os.path.join(self.root, ".sslmd.lock")


def link_target(name: SetName) -> str:
    """Return what a link holds: relative, so that the tree can be moved."""
    return f"db/{name}"
