"""What a path of certificates is worth: who signed whom, the dates, the rules, the names.

`sslm-verify` shows it. The daemon does not ask: what it keeps and renews by itself is judged by
`chain`, so that a CA that older tools made stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509

from sslmd.core.errors import Permanent
from sslmd.pki.name_constraints import check_name_constraints
from sslmd.pki.parsed import Parsed
from sslmd.pki.paths import Search, why_not_named, why_not_signed
from sslmd.pki.profile import Use, alone, in_path

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
    return [
        *(Flaw(CHAIN, text) for text in _chain(path, trusted=trusted)),
        *(Flaw(DATES, text) for text in _dates(path, terms)),
        *(Flaw(RULES, text) for text in _rules(path, terms.use)),
        *(Flaw(CONSTRAINTS, text) for text in _constraints(path)),
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
    """RFC 5280 §6.1.4 (k) to (n)."""
    if not issuer.is_ca:
        return "is not the certificate of a CA"
    usage, constraints = issuer.find(x509.KeyUsage), issuer.find(x509.BasicConstraints)
    if usage is not None and not usage.key_cert_sign:
        return "may not sign certificates (its keyUsage)"
    allowed = constraints.path_length if constraints is not None else None
    if allowed is not None and between > allowed:
        return (
            f"allows {allowed} levels of CAs below itself, here are {between} "
            "(its pathLenConstraint)"
        )
    return ""


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


def _constraints(path: Sequence[Parsed]) -> Iterator[str]:
    try:
        check_name_constraints(path)
    except Permanent as err:
        yield str(err)


def constrains_names(path: Sequence[Parsed]) -> bool:
    """Whether a CA above the leaf limits the names."""
    return any(one.find(x509.NameConstraints) is not None for one in path[1:])
