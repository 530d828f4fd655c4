"""Name constraints: what names the CAs above a certificate allow (RFC 5280 §4.2.1.10).

Host names, addresses, mail addresses, URIs and subjects are compared. What is constrained in a
form that is not known here is refused where the certificate has such a name, as §6.1.4 (g) has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from sslmd.core.errors import Permanent
from sslmd.core.names import shown
from sslmd.pki.chain import find, is_self_issued


def check_name_constraints(path: Sequence[x509.Certificate]) -> bool:
    """Check that every CA of a path, leaf first, allows the names of those below it.

    Return whether any of them constrains names. Raises `Permanent` that names the CA and the name.
    """
    constrained = False
    for number, issuer in enumerate(path):
        constraints = find(issuer, x509.NameConstraints) if number else None
        if constraints is None:
            continue
        constrained = True
        for position, cert in enumerate(path[:number]):
            if position and is_self_issued(cert):
                continue  # §6.1.3 (b): a CA that changes its own key
            for name in _names(cert):
                problem = _refused(name, constraints)
                if problem:
                    subject = shown(issuer.subject.rfc4514_string(), limit=120)
                    raise Permanent(f"the name constraints of {subject} {problem}")
    return constrained


def _names(cert: x509.Certificate) -> list[x509.GeneralName]:
    names = find(cert, x509.SubjectAlternativeName)
    subject = [x509.DirectoryName(cert.subject)] if cert.subject.rdns else []
    return [*(names or ()), *subject]


def _refused(name: x509.GeneralName, constraints: x509.NameConstraints) -> str:
    """Return why a name is not allowed, "" if it is."""
    kind = type(name)
    permitted = [one for one in constraints.permitted_subtrees or () if type(one) is kind]
    excluded = [one for one in constraints.excluded_subtrees or () if type(one) is kind]
    if not permitted and not excluded:
        return ""
    within = _WITHIN.get(kind)
    what = shown(_text(name), limit=120)
    if within is None:
        return f"cannot be compared with {what}: names of this kind are not known here"
    if any(within(name.value, one.value) for one in excluded):
        return f"exclude {what}"
    if permitted and not any(within(name.value, one.value) for one in permitted):
        return f"do not permit {what}"
    return ""


def _text(name: x509.GeneralName) -> str:
    value = name.value
    return value.rfc4514_string() if isinstance(value, x509.Name) else str(value)


def _host_within(host: str, allowed: str) -> bool:
    """Whether a host is the one allowed, or below it."""
    host, allowed = host.lower(), allowed.lower().removeprefix(".")
    return not allowed or host == allowed or host.endswith(f".{allowed}")


def _address_within(address: Any, allowed: Any) -> bool:
    network = ip_network(allowed)
    return bool(address.version == network.version and address in network)


def _mail_within(mail: str, allowed: str) -> bool:
    """§4.2.1.10: a mailbox, all of one host, or with a leading dot of all hosts below a domain."""
    local, _, host = mail.rpartition("@")
    if "@" in allowed:
        its_local, _, its_host = allowed.rpartition("@")
        return local == its_local and host.lower() == its_host.lower()
    if allowed.startswith("."):
        return host.lower().endswith(allowed.lower())
    return host.lower() == allowed.lower()


def _uri_within(uri: str, allowed: str) -> bool:
    """§4.2.1.10: of the host; with a leading dot, of the hosts below a domain."""
    try:
        host = urlsplit(uri).hostname or ""
    except ValueError:
        return False
    if allowed.startswith("."):
        return host.endswith(allowed.lower())
    return host == allowed.lower()


def _subject_within(subject: x509.Name, allowed: x509.Name) -> bool:
    """Whether a name begins with another (X.501), element by element."""
    return subject.rdns[: len(allowed.rdns)] == allowed.rdns


_WITHIN: dict[type[x509.GeneralName], Any] = {
    x509.DNSName: _host_within,
    x509.IPAddress: _address_within,
    x509.RFC822Name: _mail_within,
    x509.UniformResourceIdentifier: _uri_within,
    x509.DirectoryName: _subject_within,
}
