"""Codes of files, keys and sets that cannot be used.

Closed, as all of `core.reason`.
"""

from __future__ import annotations

from sslmd.core.reason import Code


class NotUsable(Code):
    """What files the system refuses, which keys and sets cannot be used, and the ways out."""

    # files that the system refuses, and the ways out
    FILE_TROUBLE = "file-trouble"
    FIX_FILE = "fix-file"
    FIX_FULL = "fix-full"
    FIX_QUOTA = "fix-quota"
    FIX_FILE_SIZE = "fix-file-size"
    FIX_READ_ONLY = "fix-read-only"
    FIX_RIGHTS = "fix-rights"
    FIX_IMMUTABLE = "fix-immutable"
    FIX_MOUNT = "fix-mount"
    FIX_FILE_SYSTEM = "fix-file-system"
    FIX_NO_DIRECTORY = "fix-no-directory"
    FIX_DIRECTORY = "fix-directory"
    FIX_LINKS = "fix-links"
    # keys and sets that cannot be used
    CA_WAS_IN_USE = "ca-was-in-use"
    NOT_AS_ASKED = "not-as-asked"
    NO_KEY_AGAIN = "no-key-again"
    KEY_OF_OTHER_KIND = "key-of-other-kind"
    NOT_ACME_NOW = "not-acme-now"
    KEY_LOST = "key-lost"
    CERT_USELESS = "cert-useless"
    NO_SIGNING_CA = "no-signing-ca"
    CA_NO_CERT = "ca-no-cert"
    CA_BROKEN = "ca-broken"
