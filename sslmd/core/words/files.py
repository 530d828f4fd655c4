"""Words for `NotUsable`: files that the system refuses, and keys and sets that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping

from sslmd.core.unusable import NotUsable

_RIGHTS = "let the daemon's user read and write there"
_UNMOUNT = "unmount what is mounted there"

FILES: Mapping[NotUsable, str] = {
    NotUsable.FILE_TROUBLE: "cannot {doing} {path}: {said}; {remedy}",
    NotUsable.FIX_FILE: "find out why; it is tried again",
    NotUsable.FIX_FULL: "free some space on that file system",
    NotUsable.FIX_QUOTA: "raise the quota or free some space",
    NotUsable.FIX_FILE_SIZE: "raise the limit on the size of files",
    NotUsable.FIX_READ_ONLY: "mount it for writing, or name it in ReadWritePaths= of sslmd.service",
    NotUsable.FIX_RIGHTS: _RIGHTS,
    NotUsable.FIX_IMMUTABLE: f"{_RIGHTS}; lsattr shows immutable files",
    NotUsable.FIX_MOUNT: _UNMOUNT,
    NotUsable.FIX_FILE_SYSTEM: "move it away; it is written again with the next try",
    NotUsable.FIX_NO_DIRECTORY: "move away the file that stands where a directory should be",
    NotUsable.FIX_DIRECTORY: "move away the directory that stands where a file should be",
    NotUsable.FIX_LINKS: "replace the link by what it should be",
    # --- keys and sets
    NotUsable.CA_WAS_IN_USE: (
        "{cert} was in use before: there is {remains}. No new key is made for it; see: sslmctl "
        "show {arg}"
    ),
    NotUsable.NOT_AS_ASKED: "key and CSR are not as its service file asks",
    NotUsable.NO_KEY_AGAIN: (
        "{cert} has no key to use again; renew it without --reuse, or: sslmctl force-renew"
    ),
    NotUsable.KEY_OF_OTHER_KIND: (
        "{cert} has a key {has}, its service file asks for {asked}; renew it without --reuse"
    ),
    NotUsable.NOT_ACME_NOW: "{cert} is not from an ACME CA any more",
    NotUsable.KEY_LOST: "set {set} of {cert} lost its privkey.pem; run: sslmctl force-renew {arg}",
    NotUsable.CERT_USELESS: "what {ca} signed cannot be used: {why}",
    NotUsable.NO_SIGNING_CA: (
        "{cert} is to be signed by {ca}, which is no CA of this configuration; correct signing_ca"
    ),
    NotUsable.CA_NO_CERT: (
        "the CA {ca} has no certificate to sign with; list it in an active group of ssl-mgr.conf, "
        "or put its set in place"
    ),
    NotUsable.CA_BROKEN: "the CA {ca} cannot sign, its set {set} is broken: {problem}",
}
