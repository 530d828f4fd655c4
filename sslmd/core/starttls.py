"""How a probe speaks to a port before TLS begins. For the configuration and the network process."""

from __future__ import annotations

from enum import StrEnum


class ProbeWord(StrEnum):
    """How a probe speaks to a port before TLS: at once, or with STARTTLS."""

    TLS = "tls"
    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"


STARTTLS_PORTS = {25: ProbeWord.SMTP, 587: ProbeWord.SMTP, 110: ProbeWord.POP3, 143: ProbeWord.IMAP}
