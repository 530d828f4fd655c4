"""What a set on disk is worth: its files, read, compared and judged.

Nothing here raises for what a file contains: trouble becomes a phrase that a person
understands. Whether something is due (expiry) is judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from itertools import takewhile
from typing import Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from sslmd.core.errors import Permanent
from sslmd.core.names import SetName, san_or_none
from sslmd.core.spec import CertFacts, Parts, SetFacts
from sslmd.pki.chain import (
    bundle,
    cert_ders,
    check_chain,
    check_names,
    find,
    fullchain,
    is_self_issued,
    key_fits,
    load_cert,
    only_der,
    split_pem,
)
from sslmd.pki.csr import load_csr, names_asked, san_texts, says_ca
from sslmd.pki.identity import Issuer, describe_key, identity, issuer_of, key_id, parts_of
from sslmd.pki.keys import PublicKey, key_blocks, load_public, public_bytes_of
from sslmd.pki.pem import MALFORMED, blocks, damage

KEY = "privkey.pem"
CSR = "csr.pem"
CERT = "cert.pem"
CHAIN = "chain.pem"
FULLCHAIN = "fullchain.pem"
BUNDLE = "bundle.pem"

_T = TypeVar("_T")


def cert_facts(cert_pem: bytes) -> CertFacts:
    """Return what the one certificate in `cert_pem` says; raise `Permanent` if it is damaged."""
    return _load_leaf(cert_pem).facts


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A certificate that could be read through."""

    cert: x509.Certificate
    key: PublicKeyTypes
    facts: CertFacts
    issuer: Issuer
    is_self_issued: bool


def _load_leaf(pem: bytes) -> _Leaf:
    der = only_der(pem)
    try:
        cert = x509.load_der_x509_certificate(der)
        issuer = issuer_of(cert, der)
        constraints = find(cert, x509.BasicConstraints)
        is_ca = constraints is not None and constraints.ca
        is_self_issued = cert.subject == issuer.name
        # A root of X.509v1 does not say that it is one.
        known = is_ca or is_self_issued
        public = cert.public_key()
        # Not as encoded there: one key can be written in several ways.
        key = public_bytes_of(public) if known else b""
        facts = CertFacts(
            serial=f"{cert.serial_number:x}",
            not_before=cert.not_valid_before_utc,
            not_after=cert.not_valid_after_utc,
            names=san_texts(cert.extensions),
            subject=cert.subject.rfc4514_string() if known else "",
            issuer=issuer.text,
            key=describe_key(public),
            is_ca=is_ca,
            identity=identity(cert.subject, key) if known else "",
            parts=parts_of(cert.subject) if known else (),
            key_id=key_id(key) if known else "",
        )
    except MALFORMED as err:
        raise Permanent(f"the certificate is damaged: {damage(err)}") from None
    return _Leaf(cert, public, facts, issuer, is_self_issued)


@dataclass(frozen=True, slots=True)
class _Read(Generic[_T]):
    """What a file turned out to be, or why it is nothing."""

    value: _T | None
    trouble: str = ""


def _read(
    files: Mapping[str, bytes], name: str, what: str, parse: Callable[[bytes], _T]
) -> _Read[_T]:
    if name not in files:
        return _Read(None, f"no {name}")
    try:
        return _Read(parse(files[name]))
    except Permanent as err:
        return _Read(None, f"{name} is not {what}: {err}")


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that could be read through, with what set_facts says of it."""

    itself: x509.CertificateSigningRequest
    names: frozenset[str]


def set_facts(name: SetName, files: Mapping[str, bytes], *, deep: bool = True) -> SetFacts:
    """Return what the files of a set say; `files` has the content of those that exist.

    `problem` names the first thing that keeps the set from being used. `deep=False` is for
    looking through many sets: it compares the names in the chain without checking the signatures
    (0.1 to 0.6 ms each), and believes an EC key what it says of its public half. Never raises for
    what a file contains. A missing bundle.pem is no problem: see `repairs`.
    """
    cert = _read(files, CERT, "a certificate", _load_leaf)
    leaf = cert.value
    expected = None if deep or leaf is None else leaf.key
    key = _read(files, KEY, "a usable private key", partial(load_public, expected=expected))
    if leaf is None:
        request = _read(files, CSR, "a certificate request", _load_request)
        names = request.value.names if request.value else frozenset()
    else:
        # What was asked for and got; the request has done its work.
        request = _Read(None)
        names = _names_of(leaf)
    above = _signer_of(leaf, files.get(CHAIN, b"")) if leaf else _Above()
    # Nobody asks for the id of another key, and it takes time with thousands of certificates.
    needs_id = key.value is not None and (leaf is None or leaf.facts.key_id)
    return SetFacts(
        name=name,
        key=describe_key(key.value) if key.value else "",
        asked_names=names,
        cert=leaf.facts if leaf else None,
        problem=next(_problems(files, key, cert, request, deep=deep), ""),
        key_id=key_id(public_bytes_of(key.value)) if key.value and needs_id else "",
        signer=above.signer,
        chain_end=above.end,
        issuer_parts=above.parts,
        above=above.above,
    )


def _signer_of(leaf: _Leaf, chain_pem: bytes) -> _Above:
    """Return who signed it: the first issuer of its chain, or itself."""
    if not leaf.is_self_issued:
        return _above(leaf.issuer, chain_pem)
    try:
        issuers = _issuers(chain_pem)
    except Permanent:
        issuers = ()
    if not issuers or issuers[0] == leaf.cert:  # the chain names no other issuer
        return _Above(leaf.facts.identity, None, leaf.facts.parts)
    return replace(_above(leaf.issuer, chain_pem), end=None)


def _identity_of(cert: x509.Certificate) -> str:
    return identity(cert.subject, public_bytes_of(cert.public_key()))


@dataclass(frozen=True, slots=True)
class _Above:
    """What a chain says of the CAs above a certificate; see `SetFacts`."""

    signer: str = ""
    end: datetime | None = None
    parts: Parts = ()
    above: str = ""


@lru_cache(maxsize=64)
def _above(issuer: Issuer, chain_pem: bytes) -> _Above:
    """Found out once for all the certificates of a CA."""
    try:
        issuers = _issuers(chain_pem)
        if not issuers or issuers[0].subject != issuer.name:
            return _Above()
        signer = _identity_of(issuers[0])
        above = _identity_of(issuers[1]) if len(issuers) > 1 else ""
        # What follows the root is for clients that trust another one.
        below = takewhile(lambda one: not is_self_issued(one), issuers)
        ends = [one.not_valid_after_utc for one in below]
        return _Above(signer, min(ends, default=None), parts_of(issuer.name), above)
    except (Permanent, *MALFORMED):
        return _Above()


def _load_request(pem: bytes) -> _Request:
    request = load_csr(pem)
    return _Request(request, names_asked(request, is_ca=says_ca(request)))


def _names_of(leaf: _Leaf) -> frozenset[str]:
    """Return the names of a certificate, as `names_asked` would have told them beforehand."""
    names = leaf.facts.names
    if leaf.facts.is_ca:
        return frozenset(names)
    titles = leaf.cert.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    common = str(titles[0].value) if titles else ""
    host = None if not common or common in names else san_or_none(common)
    return frozenset(names) if host is None else frozenset((*names, str(host)))


def _problems(
    files: Mapping[str, bytes],
    key: _Read[PublicKey],
    cert: _Read[_Leaf],
    request: _Read[_Request],
    *,
    deep: bool,
) -> Iterator[str]:
    """Yield what is wrong, worst first; only what is asked for is looked for."""
    if key.trouble:
        yield key.trouble
    if cert.value is None:
        # The request is needed only to get a certificate; afterwards a broken one does no harm.
        if CSR in files and request.trouble:
            yield request.trouble
        if key.value and request.value and not key_fits(key.value, request.value.itself):
            yield f"{CSR} does not match {KEY}"
        yield cert.trouble
        return
    if key.value and key.value != cert.value.key:
        yield f"{KEY} does not match {CERT}"
    yield from _chain_problems(files, cert.value, deep=deep)
    if cert.value.facts.is_ca:
        return  # nothing serves a CA's, and it signs without the copies
    # What is derived from other files is compared by content: armour and text may differ.
    if FULLCHAIN not in files:
        yield f"no {FULLCHAIN}"
    elif not _fullchain_right(files):
        yield f"{FULLCHAIN} is not {CERT} followed by {CHAIN}"
    # Trees of older tools have another order in the bundle.
    if BUNDLE in files and not _bundle_right(
        files, key.value, lambda ours, wanted: sorted(ours) == sorted(wanted)
    ):
        yield f"{BUNDLE} is not {KEY} followed by {FULLCHAIN}"


@lru_cache(maxsize=64)
def _issuers(chain_pem: bytes) -> tuple[x509.Certificate, ...]:
    """Parse a chain; the certificates of a CA have the same one, thousands of times."""
    return tuple(split_pem(chain_pem))


@lru_cache(maxsize=64)
def _names_trouble(issuer: Issuer, chain_pem: bytes) -> str:
    """Say whose names do not fit; judged once for all the certificates of a CA."""
    try:
        check_names(issuer.name, _issuers(chain_pem))
    except Permanent as err:
        return str(err)
    return ""


def _chain_problems(files: Mapping[str, bytes], leaf: _Leaf, *, deep: bool) -> Iterator[str]:
    chain = files.get(CHAIN, b"")
    try:
        # A root may lack the file: it has no issuers to put in there.
        if CHAIN not in files and not leaf.is_self_issued:
            yield f"no {CHAIN}"
        if deep or not _issuers(chain):
            check_chain(leaf.cert, _issuers(chain), deep=deep)
        elif trouble := _names_trouble(leaf.issuer, chain):
            yield f"{CHAIN}: {trouble}"
    except Permanent as err:
        yield f"{CHAIN}: {err}"


def _fullchain_right(files: Mapping[str, bytes]) -> bool:
    cert, chain = files.get(CERT, b""), files.get(CHAIN, b"")
    # To compare the bytes is enough nearly always, and ten times faster.
    return files.get(FULLCHAIN) == fullchain(cert, chain) or (
        _once(_ders(files, FULLCHAIN)) == _whole(files)
    )


def _whole(files: Mapping[str, bytes]) -> list[bytes]:
    """Return certificate and issuers. A root that stands in its own chain is there once."""
    return _once(_ders(files, CERT) + _ders(files, CHAIN))


def _once(ders: list[bytes]) -> list[bytes]:
    """Drop the repeats of the first certificate: the issuer of a root is itself."""
    return [der for number, der in enumerate(ders) if not number or der != ders[0]]


def _bundle_right(
    files: Mapping[str, bytes],
    key: PublicKey | None,
    fits: Callable[[list[bytes], list[bytes]], bool],
) -> bool:
    cert, chain = files.get(CERT, b""), files.get(CHAIN, b"")
    return files.get(BUNDLE) == bundle(files.get(KEY, b""), cert, chain) or (
        fits(_once(_ders(files, BUNDLE)), _whole(files)) and _bundles_key(files, key)
    )


def _ders(files: Mapping[str, bytes], name: str) -> list[bytes]:
    """Return the DER of the certificates in a file; of one that is damaged, none."""
    try:
        return cert_ders(blocks(files.get(name, b"")))
    except Permanent:
        return []


def _bundles_key(files: Mapping[str, bytes], key: PublicKey | None) -> bool:
    """Whether the bundle's key is that of the set, be it written in another form."""
    try:
        theirs, ours = (key_blocks(blocks(files.get(name, b""))) for name in (BUNDLE, KEY))
        if theirs == ours:
            return True
        return key is not None and load_public(files[BUNDLE]) == key
    except Permanent:
        return False


def repairs(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return right contents for fullchain.pem and bundle.pem where they are missing or wrong.

    Only what certain files vouch for: certificate and chain must fit (names and signatures), and
    for the bundle the key too. Files that differ in their armour alone are left as they are.
    Never raises for what a file contains. The bundle holds the private key.
    """
    whole = _fullchain_right(files)
    if whole and _bundle_right(files, None, list.__eq__):
        return {}
    cert, chain = files.get(CERT, b""), files.get(CHAIN, b"")
    try:
        leaf = load_cert(cert)
        check_chain(leaf, _issuers(chain))
    except Permanent:
        return {}
    if is_self_issued(leaf) and _whole(files) == _ders(files, CERT):
        chain = b""  # a root in its own chain
    right = {} if whole else {FULLCHAIN: fullchain(cert, chain)}
    try:
        key = load_public(files.get(KEY, b""))
    except Permanent:
        return right
    if key_fits(key, leaf) and not _bundle_right(files, key, list.__eq__):
        right[BUNDLE] = bundle(files[KEY], cert, chain)
    return right
