"""Sets in the answers to `status` and `show`, and what their CA says of them."""

from __future__ import annotations

from typing import Any

from sslmd.core.ari import Advice
from sslmd.core.roll_wait import issued_at
from sslmd.core.spec import SetFacts
from sslmd.core.state import SetNote
from sslmd.daemon.api.beside import time


def set_row(facts: SetFacts | None, note: SetNote | None) -> dict[str, Any] | None:
    """Return one set, None without a certificate."""
    if facts is None or facts.cert is None:
        return None
    return {
        "set": str(facts.name),
        "serial": facts.cert.serial,
        "not_before": time(facts.cert.not_before),
        "not_after": time(facts.cert.not_after),
        "issued_at": time(issued_at(facts, note)),
        "names": list(facts.cert.names),
        "key": facts.cert.key,
        "unmet": list(note.unmet) if note is not None else [],
        "renewal_info": _renewal_info(note.ari) if note is not None else None,
    }


def _renewal_info(said: Advice | None) -> dict[str, Any] | None:
    """Return what a CA suggests for a set (RFC 9773), None where it was not asked."""
    if said is None:
        return None
    return {
        "start": time(said.begin),
        "end": time(said.end),
        "explanation": said.explanation or None,
        "looked_at": time(said.looked),
        "next_look": time(said.next_look),
        "failures": said.failures,
        "urgent_since": time(said.urgent_since),
    }
