"""What a path of certificates is worth: who signed whom, the dates, the rules, the names.

`sslm-verify` shows it. The daemon does not ask: what it keeps and renews by itself is judged by
`chain`, so that a CA that older tools made stays what it is.

Paths to a certificate that is trusted are searched as RFC 4158 has it. Who signed a certificate is
found by name (RFC 5280 §7.1), key identifier and signature. There may be several: CAs change their
keys and sign each other. All paths are tried, those that look best first, until one is good. The
work is bounded, whatever the files hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from sslmd.core.errors import Permanent
from sslmd.pki.chain import why_no_issuer
from sslmd.pki.name_constraints import check_name_constraints
from sslmd.pki.parsed import CanonicalName, Parsed, Use, alone, in_path
from sslmd.pki.pem import MALFORMED, damage, signature_algorithms

# Whole paths that are looked at before it is said why none is right.
_MAX_PATHS = 200

CHAIN, DATES, RULES, CONSTRAINTS = "chain", "dates", "rules", "constraints"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a path is judged for: a time (aware), and a use. `clock` writes times for people."""

    now: datetime
    use: Use
    clock: Callable[[datetime], str] = str


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a path: the check that found it (`CHAIN` and so on), and a sentence."""

    check: str
    text: str


def judge(path: Sequence[Parsed], terms: Terms, *, trusted: bool = False) -> list[Flaw]:
    """Return all that is wrong with a path, leaf first; its last may be a root or not.

    `trusted`: the last is trusted as it is, and nobody need have signed it.
    """
    try:
        check_name_constraints(path)
        limits: list[str] = []
    except Permanent as err:
        limits = [str(err)]
    return [
        *(Flaw(CHAIN, text) for text in _chain(path, trusted=trusted)),
        *(Flaw(DATES, text) for text in _dates(path, terms)),
        *(Flaw(RULES, text) for text in _rules(path, terms.use)),
        *(Flaw(CONSTRAINTS, text) for text in limits),
    ]


def find_path(
    leaf: Parsed, pool: Sequence[Parsed], anchors: Sequence[Parsed], terms: Terms
) -> tuple[list[Parsed], list[Flaw]] | None:
    """Return the first path to one of `anchors` in which nothing is wrong, and no findings.

    Else the path in which least is wrong, with that; None where no path leads there. Raises
    `Permanent` where that cannot be found out with reasonable work.
    """
    search = Search(pool, anchors)
    sound: dict[bytes, bool] = {}

    def usable(one: Parsed, issuer: Parsed) -> bool:
        if issuer.der not in sound:
            is_valid = issuer.begin <= _whole_seconds(terms.now) <= issuer.end
            sound[issuer.der] = (
                is_valid
                and not _why_no_issuer(issuer)
                and next(alone(issuer, terms.use, as_leaf=False), None) is None
            )
        return sound[issuer.der] and not why_not_named(one, issuer)

    for number, path in enumerate(search.paths(leaf, usable)):
        if not judge(path, terms, trusted=True):
            return path, []
        if number == _MAX_PATHS:
            break
    # None is right: look for one that explains it best.
    best: tuple[list[Parsed], list[Flaw]] | None = None
    for number, path in enumerate(search.paths(leaf, lambda _one, _issuer: True)):
        findings = judge(path, terms, trusted=True)
        if best is None or len(findings) < len(best[1]):
            best = path, findings
        if number == _MAX_PATHS:
            break
    return best


# --- the checks: each yields what is wrong --------------------------------------------------


def _label(path: Sequence[Parsed], number: int) -> str:
    return f"certificate {number}, {path[number].name}" if number else "the certificate"


def _chain(path: Sequence[Parsed], *, trusted: bool) -> Iterator[str]:
    leaf = path[0]
    if len(path) == 1 and not trusted:
        if not leaf.is_self_issued:
            yield f"the certificate of its issuer is missing: {leaf.issuer_name}"
        elif problem := why_not_signed(leaf, leaf):
            yield f"the certificate did not sign itself: {problem}"
    for number, (one, issuer) in enumerate(pairwise(path)):
        below = f"certificate {number}" if number else "the leaf"
        problem = why_not_named(one, issuer) or why_not_signed(one, issuer)
        if problem:
            yield f"certificate {number + 1} did not sign {below}: {problem}"
    between = 0  # CA certificates that count against a path length: RFC 5280 §4.2.1.9
    for number, issuer in enumerate(path[1:], start=1):
        problem = _why_no_issuer(issuer, between)
        if problem:
            yield f"{_label(path, number)}, {problem}"
        between += not issuer.is_self_issued


def _why_no_issuer(issuer: Parsed, between: int = 0) -> str:
    return why_no_issuer(issuer.find(x509.BasicConstraints), issuer.find(x509.KeyUsage), between)


def _whole_seconds(now: datetime) -> datetime:
    """RFC 5280 §4.1.2.5: valid through the last second."""
    return now.replace(microsecond=0)


def _dates(path: Sequence[Parsed], terms: Terms) -> Iterator[str]:
    """Yield the first, which is enough: the rest of an old path is old too."""
    moment = _whole_seconds(terms.now)
    for number, one in enumerate(path):
        if moment < one.begin:
            yield f"{_label(path, number)} is not valid before {terms.clock(one.begin)}"
            return
        if moment > one.end:
            yield f"{_label(path, number)} expired on {terms.clock(one.end)}"
            return


def _rules(path: Sequence[Parsed], use: Use) -> Iterator[str]:
    for number, one in enumerate(path):
        label, is_last = _label(path, number), number == len(path) - 1
        for text in alone(one, use, as_leaf=not number):
            yield f"{label}: {text}"
        for text in in_path(one, is_last=is_last) if len(path) > 1 else ():
            yield f"{label}: {text}"


def constrains_names(path: Sequence[Parsed]) -> bool:
    """Whether a CA above the leaf limits the names."""
    return any(one.find(x509.NameConstraints) is not None for one in path[1:])


# --- the search for paths --------------------------------------------------------------------


# Certificates in a path; public ones have up to four.
MAX_LENGTH = 32
# Signatures checked in search of a path (0.1 to 0.6 ms each), and certificates tried.
MAX_SIGNATURES = 1_000
MAX_STEPS = 20_000


class TooMuchWork(Permanent):
    """There are more ways than anybody can try."""


def why_not_signed(one: Parsed, issuer: Parsed) -> str:
    """Return why the key of `issuer` did not sign `one`; "" if it did."""
    same = one.cert.issuer.public_bytes() == issuer.cert.subject.public_bytes()
    try:
        if same and not one.is_forgeable:
            one.cert.verify_directly_issued_by(issuer.cert)
        else:
            # The same name written in another way, or a digest that is refused elsewhere.
            _check_signature(one, issuer)
    except InvalidSignature:
        return "the names fit, the signature does not"
    except MALFORMED as err:
        return f"the signature cannot be checked: {damage(err)}"
    return ""


def _check_signature(one: Parsed, issuer: Parsed) -> None:
    """Raise one of what `verify_directly_issued_by` does, but do not compare the names."""
    inside, outside = signature_algorithms(one.der)
    if inside != outside:
        raise ValueError("the certificate names two kinds of signature")
    cert, key = one.cert, issuer.key
    signature, signed = cert.signature, cert.tbs_certificate_bytes
    how, digest = cert.signature_algorithm_parameters, cert.signature_hash_algorithm
    if isinstance(key, rsa.RSAPublicKey) and isinstance(how, padding.AsymmetricPadding) and digest:
        key.verify(signature, signed, how, digest)
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(how, ec.ECDSA):
        key.verify(signature, signed, how)
    elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(signature, signed)
    else:
        raise UnsupportedAlgorithm("the key and the kind of the signature do not fit")


def why_not_named(one: Parsed, issuer: Parsed) -> str:
    """Return why `one` cannot have been issued by `issuer` by what it says of it; "" if it can."""
    if one.issuer != issuer.subject:
        return f"it is {issuer.name}, the issuer is {one.issuer_name}"
    said, own = one.find(x509.AuthorityKeyIdentifier), issuer.find(x509.SubjectKeyIdentifier)
    if said is None:
        return ""
    if said.key_identifier and own is not None and said.key_identifier != own.digest:
        return (
            f"the issuer has the key id {_hex(said.key_identifier)}, it has {_hex(own.digest)} "
            "(RFC 5280 §4.2.1.1)"
        )
    serial = said.authority_cert_serial_number
    if serial is not None and serial != issuer.cert.serial_number:
        return (
            f"the issuer has the serial number {serial:x}, it has {issuer.cert.serial_number:x} "
            "(RFC 5280 §4.2.1.1)"
        )
    return ""


def _hex(identifier: bytes) -> str:
    return identifier.hex(":").upper()[:60]


class Search:
    """Searches for paths among certificates that came with the first one (`pool`), up to `anchors`.

    Signatures that were checked are remembered.
    """

    def __init__(self, pool: Iterable[Parsed], anchors: Iterable[Parsed]) -> None:
        self._anchors = {one.der for one in anchors}
        self._by_subject: dict[CanonicalName, list[Parsed]] = {}
        for one in {one.der: one for one in (*anchors, *pool)}.values():
            self._by_subject.setdefault(one.subject, []).append(one)
        self._issuers: dict[bytes, list[Parsed]] = {}
        self._signed: dict[tuple[bytes, bytes], bool] = {}
        self._steps = 0
        self._has_longer = False

    def paths(
        self, leaf: Parsed, usable: Callable[[Parsed, Parsed], bool]
    ) -> Iterator[list[Parsed]]:
        """Yield paths from `leaf` to an anchor, which is the last in each.

        Only through issuers that are `usable` for what they signed (asked with both: certificate,
        issuer). Short paths come first: among CAs that all sign each other, one that began with the
        wrong issuer could go on for ever. Raises `TooMuchWork`.
        """
        self._steps = 0
        for length in range(1, MAX_LENGTH + 1):
            self._has_longer = False
            yield from self._extended([leaf], usable, length)
            if not self._has_longer:
                return

    def _extended(
        self, path: list[Parsed], usable: Callable[[Parsed, Parsed], bool], length: int
    ) -> Iterator[list[Parsed]]:
        """Yield the paths of that length that begin so."""
        last = path[-1]
        if len(path) == length:
            self._has_longer = True
            if last.der in self._anchors:
                yield path
            return
        for issuer in self._candidates(last):
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise TooMuchWork(f"more than {MAX_STEPS} ways would have to be tried")
            # RFC 4158 §2.4.2: no CA comes twice, with whatever certificate.
            if any(issuer.subject == one.subject and issuer.spki == one.spki for one in path):
                continue
            if usable(last, issuer) and self._has_signed(last, issuer):
                yield from self._extended([*path, issuer], usable, length)

    def _candidates(self, one: Parsed) -> list[Parsed]:
        """Return those that are called as its issuer, the likely ones first (RFC 4158 §3.5)."""
        known = self._issuers.get(one.der)
        if known is None:
            known = self._issuers[one.der] = sorted(
                self._by_subject.get(one.issuer, ()),
                key=lambda issuer: (
                    bool(why_not_named(one, issuer)),
                    issuer.der not in self._anchors,
                ),
            )
        return known

    def _has_signed(self, one: Parsed, issuer: Parsed) -> bool:
        # It is the key that signs, whatever certificate it is in.
        pair = one.der, issuer.spki or issuer.der
        known = self._signed.get(pair)
        if known is None:
            if len(self._signed) >= MAX_SIGNATURES:
                raise TooMuchWork(f"more than {MAX_SIGNATURES} signatures would have to be checked")
            known = self._signed[pair] = not why_not_signed(one, issuer)
        return known
