"""The rules of DANE for mail, as the prober goes by them (RFC 6698, 7671, 7672).

Written for it alone: what is judged has rules of its own, and a fault of theirs is to be seen.
"""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Seconds.
OPENSSL_PATIENCE = 10.0

# Usages (RFC 7218 §2.1). The other two, which lean on public CAs, are not for SMTP (RFC 7672
# §3.1.3): senders treat them as unusable.
DANE_TA = 2
DANE_EE = 3

# Matching types, the length of their data; the greater one is the stronger (RFC 7671 §9).
FULL = 0
DIGESTS: dict[int, Callable[[bytes], bytes]] = {
    1: lambda data: hashlib.sha256(data).digest(),
    2: lambda data: hashlib.sha512(data).digest(),
}
LENGTHS = {1: 32, 2: 64}


@dataclass(frozen=True)
class Record:
    """A TLSA record (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"

    def usable(self) -> bool:
        """Whether a sender of mail can do something with it."""
        return (
            self.usage in (DANE_TA, DANE_EE)
            and self.selector in (0, 1)
            and (self.matching == FULL or LENGTHS.get(self.matching) == len(self.data))
        )

    def matches(self, certificate: bytes) -> bool:
        """Whether it means this certificate, or its key."""
        data = certificate if self.selector == 0 else key_of(certificate)
        return self.data == (data if self.matching == FULL else DIGESTS[self.matching](data))


@dataclass(frozen=True)
class Served:
    """The certificates that a server showed, its own first; only that if no more are wanted."""

    chain: tuple[bytes, ...]

    @property
    def key(self) -> str:
        """The digest of its key, as in a 3 1 1 record."""
        return hashlib.sha256(key_of(self.chain[0])).hexdigest()


def key_of(certificate: bytes) -> bytes:
    """Return the public key of a certificate, as it stands there (SubjectPublicKeyInfo)."""
    # RFC 5280 §4.1: Certificate and, in it, TBSCertificate are sequences; fields come in order.
    position = _inside(certificate, _inside(certificate, 0))
    if certificate[position] == 0xA0:  # the version, which may be left out
        position = _after(certificate, position)
    for _ in ("serial number", "signature", "issuer", "validity", "subject"):
        position = _after(certificate, position)
    return certificate[position : _after(certificate, position)]


def _inside(der: bytes, position: int) -> int:
    """Return where the content of the element at `position` begins (X.690 §8.1)."""
    length = der[position + 1]
    return position + 2 + (length & 0x7F if length & 0x80 else 0)


def _after(der: bytes, position: int) -> int:
    """Return where the element at `position` has ended."""
    begin = _inside(der, position)
    length = der[position + 1]
    return begin + (int.from_bytes(der[position + 2 : begin]) if length & 0x80 else length)


def chosen(records: Sequence[Record]) -> list[Record]:
    """Return the records that count: of each usage and selector, the strongest digest alone.

    Records with the full data count always (RFC 7671 §9).
    """
    usable = [one for one in records if one.usable()]
    strongest: dict[tuple[int, int], int] = {}
    for one in usable:
        kind = (one.usage, one.selector)
        strongest[kind] = max(strongest.get(kind, FULL), one.matching)
    return [one for one in usable if one.matching in (FULL, strongest[one.usage, one.selector])]


def fault(records: Sequence[Record], served: Served, host: str) -> str:
    """Return why a sender with these records would not send; nothing if it would."""
    counted = chosen(records)
    if not counted:
        return "no usable record"
    leaf = served.chain[0]
    # Names and dates do not count (RFC 7671 §5.1).
    if any(one.usage == DANE_EE and one.matches(leaf) for one in counted):
        return ""
    reasons = {"no record matches": None}
    for one in counted:
        if one.usage == DANE_TA:
            for issuer in served.chain[1:]:
                if one.matches(issuer):
                    problem = _path_fault(served.chain, issuer, host)
                    if not problem:
                        return ""
                    reasons[problem] = None
    return "; ".join(reasons)


_paths: dict[tuple[tuple[bytes, ...], bytes], str] = {}


def _path_fault(chain: tuple[bytes, ...], anchor: bytes, host: str) -> str:
    """Return why a chain does not lead from its first to `anchor`, for this host."""
    if (chain, anchor) not in _paths:
        with tempfile.TemporaryDirectory() as folder:
            files = {"leaf": chain[:1], "chain": chain[1:], "anchor": (anchor,)}
            for name, some in files.items():
                pem = "".join(map(ssl.DER_cert_to_PEM_cert, some))
                (Path(folder) / name).write_text(pem)
            command = ["openssl", "verify", "-partial_chain", "-no-CApath", "-no-CAfile"]
            command += ["-verify_hostname", host, "-trusted", "anchor", "-untrusted", "chain"]
            done = subprocess.run(
                [*command, "leaf"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=OPENSSL_PATIENCE,
                check=False,
            )
        _paths[chain, anchor] = "" if done.returncode == 0 else done.stderr.strip()
    return _paths[chain, anchor]
