"""What the configuration asks of one certificate, and what its sets are, in types for every room.

What is known of a set on disk is as `pki.inspect` read it, and never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sslmd.core.names import BadName, CertId, SanName, SetName, parse_san


class KeyType(StrEnum):
    """Kinds of private keys."""

    EC = "ec"
    RSA = "rsa"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A kind of key: an EC curve (`secp256r1`, `secp384r1`, `secp521r1`) or RSA bits."""

    kind: KeyType
    curve: str = ""
    bits: int = 0

    def __str__(self) -> str:
        return f"ec {self.curve}" if self.kind is KeyType.EC else f"rsa {self.bits}"


@dataclass(frozen=True, slots=True)
class Subject:
    """The distinguished name asked for; empty parts are left out."""

    common_name: str
    organization: str = ""
    unit: str = ""
    locality: str = ""
    state: str = ""
    country: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """The certificate signs itself: a root."""

    def __str__(self) -> str:
        return "self"


@dataclass(frozen=True, slots=True)
class OwnCa:
    """Signed by one of the site's own CAs: the `curr` of `cert`."""

    cert: CertId

    def __str__(self) -> str:
        return self.cert.service


@dataclass(frozen=True, slots=True)
class AcmeCa:
    """Signed by an ACME CA, described by this table of `ca-info.conf`."""

    name: str

    def __str__(self) -> str:
        return self.name


Signer = SelfSigned | OwnCa | AcmeCa


# What certificates can be signed with, with EC and RSA keys.
DIGESTS = (
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "sha3_224",
    "sha3_256",
    "sha3_384",
    "sha3_512",
)


@dataclass(frozen=True, slots=True)
class CaOptions:
    """`[CA]` of a CA service: how long what it signs lives, and the hash it signs with.

    `digest` is one of `DIGESTS`.

    `path_len` is the number of CA levels below it (RFC 5280 §4.2.1.9), None for a root: a
    trust anchor that is already installed everywhere should not have to change when a level
    is added.
    """

    life: timedelta
    digest: str
    path_len: int | None


# Apple's devices refuse a server's certificate that lives longer, be its CA trusted by an admin or
# not: https://support.apple.com/HT210176.
LONGEST_SERVER_LIFE = timedelta(days=825)

_SERVER, _MAIL = "serverAuth", "emailProtection"


@dataclass(frozen=True, slots=True)
class CertSpec:
    """What a certificate should be. `names` are unique and in the order of the file."""

    id: CertId
    title: str
    key: KeySpec
    subject: Subject
    names: tuple[SanName, ...]
    signer: Signer
    ext_key_usage: tuple[str, ...] = ("serverAuth", "clientAuth")
    ca: CaOptions | None = None

    def all_names(self) -> tuple[SanName, ...]:
        """Return the subject alternative names to ask for.

        The common name of a leaf is one of them if it is a host name: clients look at nothing
        else (RFC 6125 §6.4.4).
        """
        if self.ca is not None:
            return self.names
        title = self.subject.common_name
        if any(str(name) == title for name in self.names):  # nearly always, and soon found out
            return self.names
        try:
            common = parse_san(title)
        except BadName:
            return self.names
        return self.names if common in self.names else (common, *self.names)

    def is_for_servers(self) -> bool:
        """Whether it is a leaf that a server may use (RFC 5280 §4.2.1.12: without usages, all)."""
        return self.ca is None and (not self.ext_key_usage or _SERVER in self.ext_key_usage)

    def mailbox(self) -> str:
        """Return the mail address that is one of its names, "" if none is.

        RFC 5280 §4.1.2.6: an address in the subject is for old programs; the others look among the
        alternative names. Only what the site's own CA signs for mail has one there.
        """
        for_mail = self.ca is None and _MAIL in self.ext_key_usage
        return self.subject.email if for_mail and isinstance(self.signer, OwnCa) else ""


Points = tuple[tuple[float, float], ...]
"""Days for lives in days, rising by life; between two points there is a straight line."""


@dataclass(frozen=True, slots=True)
class ByLife:
    """When to renew by how long a certificate lives: `[renew_info]` of ssl-mgr 7.7.

    `targets`: days before expiry; `spreads`: days either way. Neither is empty.
    """

    targets: Points
    spreads: Points

    def asked(self, life: timedelta) -> tuple[timedelta, timedelta]:
        """Return days before expiry and spread for certificates that live `life`, at most that."""
        days = life / timedelta(days=1)
        lead, spread = (min(_at(one, days), days) for one in (self.targets, self.spreads))
        return timedelta(days=lead), timedelta(days=spread)


def _at(points: Points, days: float) -> float:
    """Return the value for a life; beyond the last point it stays the same share of the life."""
    life, value = points[0]
    if days <= life:
        return value
    for next_life, next_value in points[1:]:
        if days <= next_life:
            return value + (next_value - value) * (days - life) / (next_life - life)
        life, value = next_life, next_value
    return value * days / life if life else value


@dataclass(frozen=True, slots=True)
class Timing:
    """When to renew and to roll: `renew_expire_days`, its spread, and `min_roll_mins`.

    With `by_life` it takes the place of the first two, which then are those for 90 days. `by_ca`:
    in the window that the CA suggests, where it suggests one.
    """

    renew_before: timedelta
    spread: timedelta
    min_roll: timedelta
    by_life: ByLife | None = None
    by_ca: bool = True

    def asked(self, life: timedelta) -> tuple[timedelta, timedelta]:
        """Return how long before expiry to renew a certificate that lives `life`, and the spread.

        That is what the configuration asks; `renewal` puts limits to it.
        """
        if self.by_life is None:
            return self.renew_before, self.spread
        return self.by_life.asked(life)


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


# The parts of a name that a service file has keys for.
KEYS = ("CN", "O", "OU", "L", "ST", "C", "email")


def parts_asked(subject: Subject) -> Parts:
    """Return the parts of a name that a service file asks for, as `CertFacts.parts` has them."""
    parts = (
        ("CN", subject.common_name),
        ("O", subject.organization),
        ("OU", subject.unit),
        ("L", subject.locality),
        ("ST", subject.state),
        ("C", subject.country),
        ("email", subject.email),
    )
    return tuple(sorted((key, text) for key, text in parts if text))


def asks_for(subject: Subject, has: Parts) -> bool:
    """Whether a service file asks for the name that a certificate has.

    Order and empty parts do not count, nor spaces around a part, which the file is read without;
    nor parts that a service file has no key for: other attributes, and a second value of one.
    """
    values: dict[str, set[str]] = {}
    for key, text in has:
        if part := text.strip():
            values.setdefault(key, set()).add(part)
    asked = dict(parts_asked(subject))
    return all(asked.get(key) in values[key] if key in values else key not in asked for key in KEYS)
