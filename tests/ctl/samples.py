"""Answers as the daemon gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any


def rfc3339(days: float) -> str:
    """A time so many days from the moment of the call: a whole run of the tests takes long."""
    now = datetime.now(UTC).replace(microsecond=0)
    return (now + timedelta(days=days)).isoformat().replace("+00:00", "Z")


def one_set(left: float = 60.5, life: float = 90.0, name: str = "20261001-00:00:00") -> Any:
    return {
        "set": name,
        "serial": "0a1b",
        "not_before": rfc3339(left - life),
        "not_after": rfc3339(left),
        "names": ["example.com", "www.example.com"],
        "key": "ec secp384r1",
    }


def cert(service: str = "web-ec", **fields: Any) -> Any:
    entry = {
        "group": "example.com",
        "service": service,
        "phase": "settled",
        "reason": "nothing to do",
        "signing_ca": "le",
        "curr": one_set(),
        "next": None,
        "renew_at": rfc3339(30.5),
        "roll_at": None,
        "attempts": 0,
        "last_error": None,
        "next_try": None,
        "servers": [],
    }
    return {**entry, **fields}


def failing(service: str = "mail-ec", **fields: Any) -> Any:
    trouble = {
        "attempts": 2,
        "last_error": "zone example.com: ns2 (192.0.2.7) does not show _acme-challenge TXT",
        "next_try": rfc3339(0.1),
    }
    return cert(service, **{**trouble, **fields})


def status(*certs: Any) -> Any:
    return {
        "version": 1,
        "certs": list(certs),
        "daemon": {
            "version": "9.9.9",
            "pid": 123,
            "started": rfc3339(-10),
            "state": "ready",
            "text": "keeps 2 certificates",
        },
    }


def outcomes(*pairs: tuple[str, str, str]) -> Any:
    return {"certs": [{"cert": c, "outcome": o, "text": t} for c, o, t in pairs]}
