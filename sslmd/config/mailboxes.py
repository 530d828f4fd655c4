"""Mail addresses in certificates of the site's own CA (RFC 5280 §4.1.2.6)."""

from __future__ import annotations

import re

from sslmd.config.report import Notes, Source
from sslmd.core.names import BadName, ZoneName, shown
from sslmd.core.spec import CertSpec

_KEY = ("X509", "email")

# RFC 5280 §4.2.1.6: a Mailbox of RFC 5321 §4.1.2, local part and host; no name, no brackets.
_MAILBOX = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?=.{1,253}\Z)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.|\Z))+(?<!\.)\Z"
)


def in_ascii(email: str) -> str:
    """Return what to write in place of an address with other characters than those of ASCII."""
    local, at, host = email.rpartition("@")
    try:
        host = str(ZoneName.parse(host))
    except BadName:
        host = ""
    if at and host and local.isascii():
        return f"write {local + at + host!r}, which is the same address"
    return "write an ASCII address"


class Mailboxes:
    """Checks the addresses of one service after another."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._unseen: list[tuple[Source, str]] = []

    def check(self, spec: CertSpec, source: Source) -> None:
        """Check the address of a leaf that the own CA signs; one beyond ASCII is noted already."""
        email = spec.subject.email
        if email and not spec.mailbox():
            self._unseen.append((source, email))
        elif email and email.isascii() and not _MAILBOX.match(email):
            self._notes.mistake(
                source,
                _KEY,
                f"{shown(email)} is not a mail address",
                "write one address, such as 'somebody@example.com'",
            )

    def warn(self) -> None:
        """Warn once of addresses that nobody finds: ssl-mgr's users have one in every file."""
        for source, email in self._unseen[:1]:
            others = len(self._unseen) - 1
            have = "service has" if others == 1 else "services have"
            more = f" ({others} other {have} one too)" if others else ""
            self._notes.warn(
                source,
                _KEY,
                f"{shown(email)} is only put into the subject, where mail programs do not look"
                + more,
                "add 'emailProtection' to ext_key_usage if the certificate is for mail, so that "
                "it is in the subjectAltName too; otherwise remove it",
            )
