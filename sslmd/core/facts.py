"""What is known of the sets on disk, as read by `pki.inspect`; never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sslmd.core.names import SetName

# The parts of a distinguished name, sorted: key as in a service file (or OID in dots), and value.
Parts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CertFacts:
    """One X.509 certificate. `serial` is lower-case hex; `names` as in the certificate.

    `issuer` and `subject` are RFC 4514 strings, `subject` only that of a CA or self-signed
    certificate, else ""; `key` reads like a `KeySpec` ("ec secp384r1").
    Of a CA only: `identity`, a digest of its name and public key, `parts`, those of its name, and
    `key_id`, a digest of its public key.
    """

    serial: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    subject: str
    issuer: str
    key: str
    is_ca: bool
    identity: str = ""
    parts: Parts = ()
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class SetFacts:
    """One set. `problem` is empty when it is complete, matching and its chain verifies.

    `key` is "" without a readable key. `asked_names` are the names in the certificate, or in the
    CSR while there is none (a leaf's common name too, where that is a host name). `key_id` is a
    digest of the public key, of CAs and of sets without a certificate only. `signer` is the
    identity of the CA that signed it, "" where unknown. `chain_end`: when the first of the CAs
    between it and the root expires, None without any. `issuer_parts`: of the name of the CA that
    signed it; `above`: the identity of the CA that signed that one, "" where there is none.
    """

    name: SetName
    key: str
    asked_names: frozenset[str]
    cert: CertFacts | None
    problem: str
    key_id: str = ""
    signer: str = ""
    chain_end: datetime | None = None
    issuer_parts: Parts = ()
    above: str = ""

    @property
    def has_key(self) -> bool:
        """Whether a readable private key is there."""
        return bool(self.key)

    @property
    def complete(self) -> bool:
        """Whether it can be used: key, certificate and chain are there and fit."""
        return self.cert is not None and not self.problem
