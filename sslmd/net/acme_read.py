"""Reading what a CA answers (RFC 8555, RFC 7807, RFC 9773): whatever it is, an object or a problem.

Words of others are bounded, one line each, and without what moves a cursor.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from acme import messages as acme

from sslmd.net.acme_messages import Account, AcmeDirectory, AcmeProblem, Subproblem
from sslmd.net.web import Reply, UnreachedError

T = TypeVar("T")

# What others say, in characters; entries of a list.
MOST_TEXT = 1000
MOST_ENTRIES = 100
MOST_URL = 2000

# Bytes of a certificate with its chain: one of 100 names has 10,000.
MOST_CHAIN = 256 << 10
# One link of a header (RFC 8288 §3).
_LINK = re.compile(r'<([^<>]*)>\s*;\s*rel="?([A-Za-z0-9-]+)"?')

_PLAIN = re.compile(r"[\t\r\n -~]*")

_NEEDED = ("newNonce", "newAccount", "newOrder")
_ERROR = "urn:ietf:params:acme:error:"


class ProblemError(Exception):
    """A step ends here."""

    def __init__(self, problem: AcmeProblem) -> None:
        super().__init__(problem.type)
        self.problem = problem


def good(reply: Reply, *, new_account: bool = False) -> Reply:
    """Return an answer of 2xx; raises `ProblemError` for others."""
    if HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
        return reply
    document = _json(reply)
    if isinstance(document, dict) and (_code(document) or text_of(document.get("detail"))):
        raise ProblemError(problem_of(reply, document, new_account=new_account))
    raise ProblemError(
        AcmeProblem(
            "http",
            text_of(reply.url),
            reply.status,
            retry_after=reply.headers.get("retry-after", "")[:100],
            new_account=new_account,
        )
    )


def problem_of(
    reply: Reply, document: Mapping[str, Any], *, new_account: bool = False
) -> AcmeProblem:
    """Return a problem document (RFC 8555 §6.7)."""
    parts = document.get("subproblems")
    parts = [one for one in parts if isinstance(one, dict)] if isinstance(parts, list) else []
    terms = re.findall(r'<([^<>]*)>\s*;\s*rel="terms-of-service"', reply.headers.get("link", ""))
    return AcmeProblem(
        kind="acme",
        url=text_of(reply.url),
        status=reply.status,
        type=_code(document),
        title=text_of(document.get("title")),
        detail=text_of(document.get("detail")),
        instance=text_of(document.get("instance")),
        terms=tuple(map(text_of, terms[:2])),
        subproblems=tuple(
            Subproblem(_code(one), text_of(one.get("detail")), _name_in(one))
            for one in parts[:MOST_ENTRIES]
        ),
        retry_after=reply.headers.get("retry-after", "")[:100],
        new_account=new_account,
    )


def _code(document: Mapping[str, Any]) -> str:
    kind = text_of(document.get("type"))
    return kind.removeprefix(_ERROR) if kind.startswith(_ERROR) else ""


def _name_in(document: Mapping[str, Any]) -> str:
    identifier = document.get("identifier")
    return text_of(identifier.get("value")) if isinstance(identifier, dict) else ""


def unreached(url: str, err: UnreachedError) -> ProblemError:
    """Return what tells that there was no answer."""
    return ProblemError(
        AcmeProblem(
            kind="unreachable",
            url=text_of(url),
            type=err.code,
            detail=text_of(err.said),
            unknown_root=err.unknown_root,
        )
    )


def nonsense(reply: Reply, what: str, detail: str = "") -> ProblemError:
    """Return what tells that an answer is none; `what` is a word of ours."""
    problem = AcmeProblem(
        "nonsense", text_of(reply.url), reply.status, what, detail=text_of(detail)
    )
    return ProblemError(problem)


def json_of(reply: Reply, what: str = "not-json") -> dict[str, Any]:
    """Return an answer's JSON object; raises `ProblemError` (`what`) for anything else."""
    found = _json(reply)
    if not isinstance(found, dict):
        raise nonsense(reply, what)
    return found


def _json(reply: Reply) -> object:
    """Return what an answer says, None for what is no JSON: that is UTF-8 (RFC 8259 §8.1).

    Python would guess at others, and may not read what it needs for them any more (`sandbox`).
    """
    try:
        return json.loads(reply.body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def directory_in(reply: Reply, asked: str) -> dict[str, Any]:
    """Return a directory (RFC 8555 §7.1.1); raises `ProblemError` for what is none.

    What it names is of the host that was `asked`, or of that to which it was redirected.
    """
    found = json_of(reply, "no-directory")
    if not all(url_in(found, name) for name in _NEEDED):
        raise nonsense(reply, "no-directory")
    theirs = origin_of(asked), origin_of(reply.url)
    for name in (*_NEEDED, "keyChange", "renewalInfo", "revokeCert"):
        url = url_in(found, name)
        if url and origin_of(url) not in theirs:
            raise nonsense(reply, "other-host", url)
    return found


def directory_of(found: Mapping[str, Any]) -> AcmeDirectory:
    """Return what a directory says."""
    meta = found.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    profiles = meta.get("profiles")
    return AcmeDirectory(
        new_order=url_in(found, "newOrder"),
        renewal_info=url_in(found, "renewalInfo"),
        key_change=url_in(found, "keyChange"),
        terms=url_in(meta, "termsOfService"),
        caa_identities=texts_of(meta.get("caaIdentities")),
        profiles=texts_of(list(profiles)) if isinstance(profiles, dict) else (),
        wants_binding=meta.get("externalAccountRequired") is True,
    )


def object_of(reply: Reply, read: Callable[[dict[str, Any]], T]) -> T:
    """Return what `read` makes of an answer; nonsense is whatever it does not take."""
    try:
        return read(json_of(reply))
    except ProblemError:
        raise
    except Exception:  # whatever it says of whatever was sent
        raise nonsense(reply, "not-acme") from None


def account_of(reply: Reply, uri: str) -> Account:
    """Read an account (RFC 8555 §7.1.2)."""
    found = json_of(reply)
    contact = found.get("contact")
    texts = texts_of(contact) if isinstance(contact, list) else ()
    return Account(uri, text_of(found.get("status")) or "valid", texts)


def location_of(reply: Reply) -> str:
    """Return the URL that an answer names as that of what was made."""
    url = joined(reply.url, reply.headers.get("location", ""))
    if not reply.headers.get("location") or not _is_url(url):
        raise nonsense(reply, "no-location")
    return url


def joined(url: str, other: str) -> str:
    """Return where a URL of others leads from here, "" for what is none."""
    try:
        return urljoin(url, other)
    except ValueError:
        return ""


def links_of(reply: Reply, kind: str) -> list[str]:
    """Return where an answer leads to, of the CA's own places alone.

    `kind`: `alternate`, other chains (§7.4.2), or `next`, more of a list (§7.1.2.1).
    """
    links = _LINK.findall(reply.headers.get("link", ""))
    found = [where for where, rel in links if rel == kind]
    urls = [joined(reply.url, one) for one in found]
    return [url for url in urls if origin_of(url) == origin_of(reply.url)]


def orders_of(reply: Reply) -> tuple[str, ...]:
    """Return what a list of orders names (§7.1.2.1), the last of too many.

    step-ca sends the list itself, without the object around it.
    """
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return ()
    found = found.get("orders") if isinstance(found, dict) else found
    return texts_of(found[-MOST_ENTRIES:]) if isinstance(found, list) else ()


def pem_of(reply: Reply) -> str:
    """Return a certificate with its chain (§9.1)."""
    if len(reply.body) > MOST_CHAIN:
        raise nonsense(reply, "too-long", str(MOST_CHAIN))
    text = reply.body.decode("ascii", "replace")
    if "-----BEGIN CERTIFICATE-----" not in text or not _PLAIN.fullmatch(text):
        raise nonsense(reply, "no-certificate")
    return text


def identifier_of(name: str) -> acme.Identifier:
    """Return how a name is written in an order (§7.1.3, RFC 8738 §3)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return acme.Identifier(typ=acme.IDENTIFIER_FQDN, value=name)
    return acme.Identifier(typ=acme.IDENTIFIER_IP, value=name)


def url_in(document: Mapping[str, Any], name: str) -> str:
    """Return the URL under a key, "" without one."""
    value = document.get(name)
    return value if isinstance(value, str) and _is_url(value) else ""


def _is_url(value: str) -> bool:
    if not value.isascii() or not value.isprintable() or " " in value or len(value) > MOST_URL:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port (RFC 6454 §4), None for what is no URL."""
    if not _is_url(url):
        return None
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def texts_of(value: Any) -> tuple[str, ...]:
    """Return the texts of a list, () for what is none."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    texts = (one for one in value if isinstance(one, str) and 0 < len(one) <= MOST_TEXT)
    return tuple(islice((one for one in texts if one.isprintable()), MOST_ENTRIES))


def text_of(value: Any) -> str:
    """Return words of others for a message: bounded, one line, nothing that moves a cursor."""
    if not isinstance(value, str):
        return ""
    text = value[:MOST_TEXT]
    return "".join(char if char.isprintable() else " " for char in text)


def b64(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def time_of(value: Any) -> float:
    """Return seconds since 1970 of a time of RFC 3339."""
    when = datetime.fromisoformat(value)
    if when.tzinfo is None:
        raise ValueError
    return when.timestamp()


def seconds_of(value: str) -> float | None:
    """Return the seconds that a Retry-After names (RFC 9110 §10.2.3), None without one."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(min(int(value[:9]), 10**7))
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
