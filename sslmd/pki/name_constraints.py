"""Name constraints: what names the CAs above a certificate allow (RFC 5280 §4.2.1.10).

Host names, addresses, mail addresses, URIs and subjects are compared. What is constrained in a
form that is not known here is refused where the certificate has such a name, as §6.1.4 (g) has it.
A wildcard is all the hosts that it stands for: none of them may be excluded, all must be permitted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from sslmd.core.errors import Permanent
from sslmd.core.names import shown
from sslmd.pki.parsed import CanonicalName, Parsed, canonical
from sslmd.pki.pem import content

# Comparisons of one name with one constraint; what needs more was made to keep somebody busy.
MAX_COMPARISONS = 250_000
# RFC 9598: a mail address with characters beyond ASCII, which limits on mail addresses are for too.
SMTP_UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")

_HOST = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9_.-]*(?<!\.)\Z")


def check_name_constraints(path: Sequence[Parsed]) -> None:
    """Check that every CA of a path, leaf first, allows the names of those below it.

    Raises `Permanent` that names the CA and the name.
    """
    comparisons = 0
    names = [list(_names(one)) for one in path]
    for number, issuer in enumerate(path):
        constraints = issuer.find(x509.NameConstraints) if number else None
        if constraints is None:
            continue
        limits = _Limits(constraints)
        for position, one in enumerate(path[:number]):
            if position and one.is_self_issued:
                continue  # §6.1.3 (b): a CA that changes its own key
            comparisons += len(names[position]) * limits.count
            if comparisons > MAX_COMPARISONS:
                raise Permanent("there are too many names and name constraints to compare them all")
            for name in names[position]:
                problem = limits.refuse(name)
                if problem:
                    raise Permanent(f"the name constraints of {issuer.name} {problem}")


@dataclass(frozen=True, slots=True)
class _AnyName:
    """A name of a certificate, of a kind of `GeneralName`; `text` is for messages."""

    kind: type[x509.GeneralName]
    value: Any
    text: str


def _names(one: Parsed) -> Iterator[_AnyName]:
    for name in one.find(x509.SubjectAlternativeName) or ():
        if isinstance(name, x509.DirectoryName):
            yield _AnyName(x509.DirectoryName, canonical(name.value), name.value.rfc4514_string())
        elif isinstance(name, x509.OtherName) and name.type_id == SMTP_UTF8_MAILBOX:
            mailbox = ""  # no mailbox, and within nothing
            with suppress(Permanent, UnicodeDecodeError):
                mailbox = content(name.value).decode()
            yield _AnyName(x509.RFC822Name, mailbox, mailbox)
        else:
            yield _AnyName(type(name), name.value, str(name.value))
    if one.subject:
        yield _AnyName(x509.DirectoryName, one.subject, one.cert.subject.rfc4514_string())
    # Mail addresses in the subject are of older certificates, and count all the same.
    for attribute in one.cert.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        yield _AnyName(x509.RFC822Name, str(attribute.value), str(attribute.value))


class _Limits:
    """The name constraints of one CA."""

    def __init__(self, constraints: x509.NameConstraints) -> None:
        self._permitted = _values(constraints.permitted_subtrees or ())
        self._excluded = _values(constraints.excluded_subtrees or ())
        self.count = sum(map(len, (*self._permitted.values(), *self._excluded.values())))

    def refuse(self, name: _AnyName) -> str:
        """Return why a name is not allowed, "" if it is."""
        permitted = self._permitted.get(name.kind, ())
        excluded = self._excluded.get(name.kind, ())
        if not permitted and not excluded:
            return ""
        what, compare = shown(name.text, limit=120), _COMPARE.get(name.kind)
        if compare is None:
            return f"cannot be compared with {what}: names of this kind are not known here"
        is_host, stands_for = name.kind is x509.DNSName, f"the wildcard {what} stands for"
        try:
            for one in excluded:
                if compare.meets(name.value, one):
                    partly = is_host and _star(name.value) and not _host_within(name.value, one)
                    if partly:
                        return f"exclude {shown(one)}, which {stands_for} too"
                    return f"exclude {what}"
            if permitted and not any(compare.within(name.value, one) for one in permitted):
                partly = is_host and any(_host_meets(name.value, one) for one in permitted)
                return f"do not permit {f'all the hosts that {stands_for}' if partly else what}"
        except ValueError as err:
            return f"cannot be compared with {what}: {err}"
        return ""


def _values(subtrees: Sequence[x509.GeneralName]) -> Mapping[type[x509.GeneralName], list[Any]]:
    found: dict[type[x509.GeneralName], list[Any]] = {}
    for one in subtrees:
        value = canonical(one.value) if isinstance(one, x509.DirectoryName) else one.value
        found.setdefault(type(one), []).append(value)
    return found


# --- host names -----------------------------------------------------------------------------


def _star(host: str) -> bool:
    return host.startswith("*.")


def _host_within(host: str, allowed: str) -> bool:
    """Whether all that a host name stands for is the host allowed, or below it.

    With a leading dot it has to be below, as OpenSSL and NSS have it; RFC 5280 knows no such form.
    """
    name, limit = _checked(host, wildcard=True).lower(), _limit(allowed)
    if limit.startswith("."):
        return name.endswith(limit)
    # A star is a label: what is below the limit with it, is so with every host.
    return not limit or name == limit or name.endswith(f".{limit}")


def _host_meets(host: str, allowed: str) -> bool:
    """Whether anything that a host name stands for is the host allowed, or below it."""
    if _host_within(host, allowed):
        return True
    # One label stands in place of the star: a limit one label deeper is met by one of the hosts.
    return _star(host) and _limit(allowed).partition(".")[2] == host[2:].lower()


def _limit(allowed: str) -> str:
    if allowed:
        _checked(allowed.removeprefix("."), wildcard=False)
    return allowed.lower()


def _checked(host: str, *, wildcard: bool) -> str:
    if not _HOST.match(host.removeprefix("*.") if wildcard else host):
        raise ValueError(f"{shown(host)} is no host name")
    return host


# --- the other kinds ------------------------------------------------------------------------


def _address_within(address: IPv4Address | IPv6Address, allowed: Any) -> bool:
    network = ip_network(allowed)
    return address.version == network.version and address in network


def _mail_within(mail: str, allowed: str) -> bool:
    """§4.2.1.10: a mailbox, all of one host, or with a leading dot of all hosts below a domain."""
    local, at, host = mail.rpartition("@")
    quoted = local.startswith('"') and local.endswith('"')
    if not (local and at and _HOST.match(_a_labels(host))) or ("@" in local and not quoted):
        raise ValueError(f"{shown(mail)} is no mail address")
    host = _a_labels(host)
    if "@" in allowed:
        its_local, _, its_host = allowed.rpartition("@")
        return local == its_local and host == its_host.lower()
    if allowed.startswith("."):
        return host.endswith(allowed.lower())
    return host == allowed.lower()


def _a_labels(host: str) -> str:
    """RFC 9598 §6: compared in A-labels."""
    if host.isascii():
        return host.lower()
    import idna  # only for the few names that need it: its tables are slow to load

    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise ValueError(f"{shown(host)} is no host name") from None


def _uri_within(uri: str, allowed: str) -> bool:
    """§4.2.1.10: of the host; with a leading dot, of the hosts below a domain."""
    host = urlsplit(uri).hostname or ""
    if not _HOST.match(host) or host.rpartition(".")[2].isdigit():
        raise ValueError("there is no host name in it")
    if allowed.startswith("."):
        return host.endswith(allowed.lower())
    return host == allowed.lower()


def _subject_within(subject: CanonicalName, allowed: CanonicalName) -> bool:
    """Whether a name begins with another (X.501), element by element."""
    return subject[: len(allowed)] == allowed


@dataclass(frozen=True, slots=True)
class _Compare:
    """How names of a kind are compared: wholly within what is permitted, partly excluded."""

    within: Callable[[Any, Any], bool]
    meets: Callable[[Any, Any], bool]


_COMPARE: Mapping[type[x509.GeneralName], _Compare] = {
    x509.DNSName: _Compare(_host_within, _host_meets),
    x509.IPAddress: _Compare(_address_within, _address_within),
    x509.RFC822Name: _Compare(_mail_within, _mail_within),
    x509.UniformResourceIdentifier: _Compare(_uri_within, _uri_within),
    x509.DirectoryName: _Compare(_subject_within, _subject_within),
}
