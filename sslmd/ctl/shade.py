"""How a certificate stands, in one of four words, each with a sign: no colour stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum

from sslmd.console.answers import Cert
from sslmd.core.trouble import Severity, troubles

_LAST = datetime.max.replace(tzinfo=UTC)


class Shade(IntEnum):
    """How it stands, the worst first."""

    CRITICAL = 0
    WARNING = 1
    COMING = 2
    WELL = 3

    @property
    def word(self) -> str:
        """What a person reads."""
        return _WORDS[self]


_WORDS = {
    Shade.CRITICAL: "critical",
    Shade.WARNING: "warning",
    Shade.COMING: "being made",
    Shade.WELL: "well",
}

# Where it can be shown, and in ASCII.
SIGNS = {
    Shade.CRITICAL: ("✖", "X"),
    Shade.WARNING: ("▲", "!"),
    Shade.COMING: ("○", "o"),
    Shade.WELL: ("●", "*"),
}


def shade_of(cert: Cert, now: datetime) -> Shade:
    """Judge it, as `check` does."""
    status = cert.status
    found = troubles(status, now)
    if found:
        return Shade.CRITICAL if found[0].severity is Severity.CRITICAL else Shade.WARNING
    return Shade.COMING if status.is_coming else Shade.WELL


def worst_first(certs: Sequence[tuple[Shade, Cert]]) -> list[tuple[Shade, Cert]]:
    """Return them with the worst first, of those that what ends first."""
    return sorted(certs, key=lambda one: (one[0], one[1].not_after or _LAST, one[1].name))
