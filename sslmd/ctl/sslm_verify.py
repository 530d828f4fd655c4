"""`sslm-verify`: checks a certificate with its chain, names, dates and key. Needs no daemon.

Exit status: 0 everything is right, 1 something is not, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sslmd import __version__
from sslmd.core.errors import Permanent
from sslmd.core.names import BadName, parse_san
from sslmd.ctl.errors import DONE, FAILED
from sslmd.ctl.help import Formatter
from sslmd.ctl.reading import STDIN, read
from sslmd.ctl.text import clock, complain, printable, say
from sslmd.ctl.tool import run_tool
from sslmd.pki.chain import check_chain, is_self_issued, parse_certs, split_pem
from sslmd.pki.csr import san_texts
from sslmd.pki.describe import PRIVATE, describe, trusted_der
from sslmd.pki.inspect import CERT, CHAIN, KEY
from sslmd.pki.name_constraints import check_name_constraints
from sslmd.pki.pem import MALFORMED, blocks

_SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sslm-verify",
        description="Checks that a certificate was signed by its chain, is in its dates, and, "
        "where asked, leads to a root, is for names, and fits a key.",
        epilog="FILE is a directory with cert.pem, chain.pem and, maybe, privkey.pem; or a "
        "certificate with its chain in the same file, in --chain, or in chain.pem beside it.",
        allow_abbrev=False,
        formatter_class=Formatter,
    )
    top.add_argument("file", metavar="FILE", help="certificate or directory; -: stdin")
    top.add_argument("--chain", metavar="FILE", help="certificates of the issuers, nearest first")
    top.add_argument("--root", metavar="FILE", help="certificates to trust; it has to lead to one")
    top.add_argument("--key", metavar="FILE", help="private key that has to fit")
    top.add_argument(
        "--name", metavar="NAME", action="append", default=[],
        help="host name or address that it has to be for; may be repeated",
    )  # fmt: skip
    top.add_argument(
        "--at", metavar="TIME", type=_moment, help="check the dates at that time (ISO 8601)"
    )
    top.add_argument("-q", "--quiet", action="store_true", help="say only what is wrong")
    top.add_argument("--version", action="version", version=f"sslm-verify {__version__}")
    return top


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.astimezone()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_tool("sslm-verify", lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    verified = _Verified(args.quiet)
    try:
        certs, key_file = _collect(args)
    except Permanent as err:
        complain(f"sslm-verify: {printable(str(err))}", "red")
        return FAILED
    leaf, issuers = certs[0], certs[1:]
    now = args.at or datetime.now(UTC)
    try:
        path = _path(certs, _anchors(args.root)) if args.root else None
    except Permanent as err:
        complain(f"sslm-verify: {printable(str(err))}", "red")
        return FAILED
    # The root may be all that the chain lacks.
    verified.check("chain", lambda: _chain(leaf, issuers or (path or [leaf])[1:]))
    verified.check("dates", lambda: _dates(certs, now))
    verified.check("constraints", lambda: _allowed(path or certs))
    if args.root:
        verified.check("root", lambda: _rooted(certs, path, now))
    for name in args.name:
        verified.check("name", lambda name=name: _named(leaf, name))  # type: ignore[misc]
    if key_file:
        verified.check("key", lambda: _fits(leaf, key_file))
    if not args.quiet:
        say(printable(f"{args.file}: {'not ' if verified.failed else ''}verified"))
    return FAILED if verified.failed else DONE


class _Verified:
    """Runs checks and tells of each."""

    def __init__(self, quiet: bool) -> None:  # noqa: FBT001
        self._quiet = quiet
        self.failed = False

    def check(self, what: str, check: Callable[[], str]) -> None:
        """Run a check, which returns what it found ("": nothing to tell) or raises `Permanent`."""
        try:
            found = check()
        except (Permanent, *MALFORMED) as err:
            self.failed = True
            said = str(err) if isinstance(err, Permanent) else f"the certificate is damaged: {err}"
            sys.stdout.flush()
            complain(f"{what}: {printable(said)}", "red")
        else:
            if found and not self._quiet:
                say(f"{what}: {printable(found)}")


def _collect(args: argparse.Namespace) -> tuple[list[x509.Certificate], str]:
    """Return the certificates, leaf first, and the file of the key, if one is to be looked at."""
    file, chain, key_file = args.file, args.chain, args.key or ""
    if file != STDIN and os.path.isdir(file):
        folder, file = file, f"{file}/{CERT}"
        chain = chain or _beside(folder, CHAIN)
        # Who may not read the key can still have the rest checked.
        if not key_file and os.access(f"{folder}/{KEY}", os.R_OK):
            key_file = f"{folder}/{KEY}"
    certs = _certs(file)
    if not chain and len(certs) == 1 and file != STDIN and not is_self_issued(certs[0]):
        chain = _beside(os.path.dirname(file) or ".", CHAIN)
        if chain and os.path.samefile(chain, file):
            chain = None
    if chain:
        certs = [certs[0], *(_certs(chain, empty=True))]
    return certs, key_file


def _beside(folder: str, name: str) -> str | None:
    path = f"{folder}/{name}"
    return path if os.path.exists(path) else None


def _certs(file: str, *, empty: bool = False) -> list[x509.Certificate]:
    try:
        certs = split_pem(read(file))
        if not certs and not empty:
            raise Permanent("no certificate is in it (-----BEGIN CERTIFICATE-----)")
    except Permanent as err:
        raise Permanent(f"{file}: {err}") from None
    return certs


def _anchors(file: str) -> list[x509.Certificate]:
    """Return what is to be trusted, `openssl x509 -trustout` included."""
    try:
        found = [trusted_der(block) for block in blocks(read(file))]
        anchors = parse_certs([der for der in found if der])
        if not anchors:
            raise Permanent("no certificate is in it (-----BEGIN CERTIFICATE-----)")
    except Permanent as err:
        raise Permanent(f"{file}: {err}") from None
    return anchors


# --- the checks: each returns what it found, or raises Permanent ----------------------------


def _chain(leaf: x509.Certificate, issuers: Sequence[x509.Certificate]) -> str:
    check_chain(leaf, issuers)
    if not issuers:
        return "signed by itself"
    return "signed by " + ", by ".join(one.subject.rfc4514_string() for one in issuers)


def _dates(certs: Sequence[x509.Certificate], now: datetime) -> str:
    for number, cert in enumerate(certs):
        label = f"certificate {number} of the chain" if number else "the certificate"
        if now < cert.not_valid_before_utc:
            raise Permanent(f"{label} is not valid before {clock(cert.not_valid_before_utc)}")
        if now > cert.not_valid_after_utc:
            raise Permanent(f"{label} expired on {clock(cert.not_valid_after_utc)}")
    end = min(cert.not_valid_after_utc for cert in certs)
    return f"valid until {clock(end)}, {(end - now).days} days"


def _allowed(path: Sequence[x509.Certificate]) -> str:
    if not check_name_constraints(path):
        return ""
    return "its names are within what the CAs above it may issue for"


def _path(
    certs: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]
) -> list[x509.Certificate] | None:
    """Return the shortest path from the leaf to one of `anchors`, which it ends with.

    A chain may bring its root along, or lead on to another CA that has signed that root; only
    ours is trusted.
    """
    for number in range(1, len(certs) + 1):
        begin, last = certs[:number], certs[number - 1]
        for anchor in anchors:
            if anchor == last and _signed(begin):
                return list(begin)
            if anchor.subject == last.issuer and _signed([*begin, anchor]):
                return [*begin, anchor]
    return None


def _rooted(
    certs: Sequence[x509.Certificate], path: Sequence[x509.Certificate] | None, now: datetime
) -> str:
    if path is None:
        last = certs[-1]
        raise Permanent(
            f"it does not lead to a certificate of that file: the last of the chain, "
            f"{last.subject.rfc4514_string()}, was signed by {last.issuer.rfc4514_string()}"
        )
    root = path[-1]
    _dates([root], now)
    return f"leads to {root.subject.rfc4514_string()}"


def _signed(certs: Sequence[x509.Certificate]) -> bool:
    """Whether each was signed by the next. One alone is what somebody trusts as it is."""
    try:
        if len(certs) > 1:
            check_chain(certs[0], certs[1:])
    except Permanent:
        return False
    return True


def _named(leaf: x509.Certificate, name: str) -> str:
    try:
        wanted = str(parse_san(name))
    except BadName as err:
        raise Permanent(str(err)) from None
    names = san_texts(leaf.extensions)
    if not any(_matches(one, wanted) for one in names):
        raise Permanent(f"it is not for {wanted}; it is for {', '.join(names) or 'no name'}")
    return f"it is for {wanted}"


def _matches(presented: str, name: str) -> bool:
    """RFC 9525 §6.3: a wildcard stands for one label, the leftmost."""
    if presented.startswith("*.") and not name.startswith("*."):
        return name.partition(".")[2] == presented[2:]
    return name == presented


def _fits(leaf: x509.Certificate, key_file: str) -> str:
    try:
        found = describe(read(key_file), datetime.now(UTC))
    except Permanent as err:
        raise Permanent(f"{key_file}: {err}") from None
    keys = [one for one in found if one.kind == PRIVATE]
    if len(keys) != 1:
        raise Permanent(f"{key_file}: it holds {len(keys) or 'no'} private keys instead of one")
    if keys[0].error:
        raise Permanent(f"{key_file}: the private key is {keys[0].error}")
    if keys[0].spki != leaf.public_key().public_bytes(*_SPKI):
        raise Permanent(f"{key_file} does not match the certificate")
    return f"{key_file} matches"


if __name__ == "__main__":
    sys.exit(main())
