"""`sslm-verify`: checks a certificate with its chain, names, dates and key. Needs no daemon.

Exit status: 0 everything is right, 1 something is not, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from cryptography import x509

from sslmd import __version__
from sslmd.console.args import Formatter
from sslmd.console.program import DONE, FAILED, run_tool
from sslmd.console.text import clock, complain, printable, say
from sslmd.core.errors import Permanent
from sslmd.core.names import BadName, DomainName, SanName, parse_san, shown
from sslmd.memory import keep_private
from sslmd.offline.sslm_info import STDIN, read
from sslmd.pki.chain import cert_ders
from sslmd.pki.describe import PRIVATE, describe, trusted_der
from sslmd.pki.inspect import CERT, KEY
from sslmd.pki.inspect import CHAIN as CHAIN_FILE
from sslmd.pki.judge import (
    CHAIN,
    CONSTRAINTS,
    DATES,
    RULES,
    Flaw,
    Terms,
    TooMuchWork,
    constrains_names,
    find_path,
    judge,
)
from sslmd.pki.parsed import Parsed, Use, parse_all
from sslmd.pki.pem import CERTIFICATE, Block, blocks

_DER_SEQUENCE = b"\x30"  # with which every certificate in DER begins
_WITHIN = "its names are within what the CAs above it may issue for"
_NONE_IN_IT = "no certificate is in it (-----BEGIN CERTIFICATE-----)"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sslm-verify",
        description="Checks that a certificate was signed by its chain, is in its dates and as "
        "clients want it, and, where asked, leads to a root, is for names, and fits a key.",
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
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        problem = f"{shown(text)} is no time; write it as 2026-12-24 or 2026-12-24T18:00"
        raise argparse.ArgumentTypeError(problem) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    keep_private()
    return run_tool("sslm-verify", lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    verified = _Verified(args.quiet)
    try:
        given = _collect(args)
        anchors, unread = _anchors(args.root) if args.root else (None, [])
        # A name is what a client asks a server for.
        use = Use.SERVER if args.name else Use.ANY
        terms = Terms(args.at or datetime.now(UTC), use, clock)
        found = _path(given, anchors, terms)
    except Permanent as err:
        complain(f"sslm-verify: {printable(str(err))}", "red")
        return FAILED
    path, findings = found.path, found.findings
    end = min(one.end for one in path)
    for check, right in (
        (CHAIN, lambda: _signers(path, given)),
        (DATES, lambda: f"valid until {clock(end)}, {(end - terms.now).days} days"),
        (RULES, str),
        (CONSTRAINTS, lambda: _WITHIN if constrains_names(path) else ""),
    ):
        wrong = [one.text for one in findings if one.check == check]
        verified.tell(check, wrong, right)
    if anchors is not None:
        wrong = ["; ".join([found.problem, *unread[:1]])] if found.problem else []
        root = path[-1].cert.subject.rfc4514_string()
        verified.tell("root", wrong, lambda: f"leads to {root}")
    for name in args.name:
        verified.check("name", partial(_named, given.leaf, name))
    if given.key_file:
        verified.check("key", lambda: _fits(given.leaf, given.key_file))
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
        except Permanent as err:
            self.tell(what, [str(err)], str)
        else:
            self.tell(what, [], lambda: found)

    def tell(self, what: str, wrong: Sequence[str], right: Callable[[], str]) -> None:
        """Say what is wrong, or where nothing is, what is right ("": nothing to tell)."""
        for text in wrong:
            self.failed = True
            sys.stdout.flush()
            complain(f"{what}: {printable(text)}", "red")
        found = "" if wrong or self._quiet else right()
        if found:
            say(f"{what}: {printable(found)}")


@dataclass(frozen=True, slots=True)
class _Given:
    """What is to be verified: a certificate, what came with it, and the file of its key ("")."""

    leaf: Parsed
    issuers: Sequence[Parsed]
    key_file: str


@dataclass(frozen=True, slots=True)
class _Found:
    """The path that is judged, and what is wrong with it. `problem`: why none leads to a root."""

    path: Sequence[Parsed]
    findings: Sequence[Flaw]
    problem: str = ""


def _collect(args: argparse.Namespace) -> _Given:
    file, chain, key_file = args.file, args.chain, args.key or ""
    if file != STDIN and os.path.isdir(file):
        folder, file = file, f"{file}/{CERT}"
        chain = chain or _beside(folder, CHAIN_FILE)
        # Who may not read the key can still have the rest checked.
        if not key_file and os.access(f"{folder}/{KEY}", os.R_OK):
            key_file = f"{folder}/{KEY}"
    certs = _certs(file)
    if not chain and len(certs) == 1 and file != STDIN and not certs[0].is_self_issued:
        chain = _beside(os.path.dirname(file) or ".", CHAIN_FILE)
        if chain and os.path.samefile(chain, file):
            chain = None
    if chain:
        certs = [certs[0], *(_certs(chain, empty=True))]
    return _Given(certs[0], certs[1:], key_file)


def _beside(folder: str, name: str) -> str | None:
    path = f"{folder}/{name}"
    return path if os.path.exists(path) else None


def _certs(file: str, *, empty: bool = False) -> list[Parsed]:
    """Return the certificates of a file, all of which have to be whole: a server gives them all."""
    try:
        certs, problems = parse_all(cert_ders(_blocks(file)))
        if problems:
            raise Permanent(problems[0])
        if not certs and not empty:
            raise Permanent(_NONE_IN_IT)
    except Permanent as err:
        raise Permanent(f"{file}: {err}") from None
    return certs


def _blocks(file: str) -> list[Block]:
    """Return the blocks of a PEM file; one in DER counts as a certificate."""
    data = read(file)
    if data[:1] == _DER_SEQUENCE and b"-----BEGIN " not in data:
        return [Block(CERTIFICATE, data)]
    return blocks(data)


def _anchors(file: str) -> tuple[list[Parsed], list[str]]:
    """Return what is to be trusted, `openssl x509 -trustout` included, and what cannot be read.

    One that cannot be read is nothing to trust; the others of a system's hundred still are.
    """
    try:
        found = [trusted_der(block) for block in _blocks(file)]
        certs, problems = parse_all([der for der in found if der])
        if not certs:
            raise Permanent(problems[0] if problems else _NONE_IN_IT)
    except Permanent as err:
        raise Permanent(f"{file}: {err}") from None
    return certs, problems


def _path(given: _Given, anchors: Sequence[Parsed] | None, terms: Terms) -> _Found:
    """Return what is looked at: the whole chain as it is, or the best path to a root."""
    whole = [given.leaf, *given.issuers]
    if anchors is None:
        return _Found(whole, judge(whole, terms))
    try:
        found = find_path(given.leaf, given.issuers, anchors, terms)
    except TooMuchWork as err:
        return _Found(whole, judge(whole, terms), f"no way to a certificate of that file: {err}")
    if found is not None:
        return _Found(*found)
    last = whole[-1]
    return _Found(
        whole,
        judge(whole, terms),
        f"it does not lead to a certificate of that file: the last of the chain, {last.name}, "
        f"was signed by {last.issuer_name}",
    )


# --- what is right: a sentence for each check; what is wrong is raised as Permanent ----------


def _signers(path: Sequence[Parsed], given: _Given) -> str:
    if len(path) == 1:
        return "signed by itself" if path[0].is_self_issued else "trusted as it is"
    text = "signed by " + ", by ".join(one.cert.subject.rfc4514_string() for one in path[1:])
    used = {one.der for one in path}
    unused = [one for one in given.issuers if one.der not in used]
    if unused:
        text += f"; not needed: {', '.join(one.cert.subject.rfc4514_string() for one in unused)}"
    return text


def _named(leaf: Parsed, name: str) -> str:
    try:
        wanted = parse_san(name)
    except BadName as err:
        raise Permanent(str(err)) from None
    presented = leaf.find(x509.SubjectAlternativeName) or ()
    if not any(_matches(one, wanted) for one in presented):
        kinds = x509.DNSName | x509.IPAddress
        names = [str(one.value) for one in presented if isinstance(one, kinds)]
        more = ""
        if not isinstance(wanted, DomainName) and x509.DNSName(str(wanted)) in presented:
            more = (
                f" ({wanted} is there as a host name; an address has to be an iPAddress, RFC 9525)"
            )
        raise Permanent(f"it is not for {wanted}; it is for {', '.join(names) or 'no name'}{more}")
    return f"it is for {wanted}"


def _matches(presented: x509.GeneralName, wanted: SanName) -> bool:
    """RFC 9525 §6.3, §6.5: a host is a dNSName, an address an iPAddress, and nothing else."""
    if not isinstance(wanted, DomainName):
        return isinstance(presented, x509.IPAddress) and presented.value == wanted
    if not isinstance(presented, x509.DNSName):
        return False
    host, name = presented.value.lower(), wanted.text
    if host.startswith("*.") and not wanted.is_wildcard:
        # One label, the leftmost; never all of a top-level domain.
        return name.partition(".")[2] == host[2:] and "." in host[2:]
    return name == host


def _fits(leaf: Parsed, key_file: str) -> str:
    try:
        found = describe(read(key_file), datetime.now(UTC))
    except Permanent as err:
        raise Permanent(f"{key_file}: {err}") from None
    keys = [one for one in found if one.kind == PRIVATE]
    if len(keys) != 1:
        raise Permanent(f"{key_file}: it holds {len(keys) or 'no'} private keys instead of one")
    if keys[0].error:
        raise Permanent(f"{key_file}: the private key is {keys[0].error}")
    if keys[0].spki != leaf.spki:
        raise Permanent(f"{key_file} does not match the certificate")
    return f"{key_file} matches"


if __name__ == "__main__":
    sys.exit(main())
