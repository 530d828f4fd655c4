"""Words for what the answer to `status` has wrong: certificates, and what stands beside them.

For `status`, `show`, `check` and `doctor`. Imports little: every `sslmctl` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from sslmd.core.plain import local, span
from sslmd.core.trouble import CertTrouble, ServerStatus, TroubleKind
from sslmd.core.words.pattern import PLAIN, fill, tell


class Health(StrEnum):
    """What else there is to say, with its words; `silent` is for who gave none of their own."""

    NO_SERVER = "no server uses it"
    WAITS_FOR_SERVERS = "waits for its servers"
    ON_DECK = "on deck"
    DANE = "DANE: {text}"
    NOT_COMPARED = "DANE: name servers and ports were not compared yet"
    NOT_COMPARED_SINCE = "DANE: name servers and ports were not compared since {at}"
    RESTARTED = "{places} restarted, but [{why}][{silent:if}not seen]"
    ZONE = "TLSA records of {zone}: {error}"
    HOST = (
        "{host}: certificates that do not belong there could not be removed: {error}[; next try at "
        "{again}]"
    )
    OWN = "{title}: {text}"
    DH = "Diffie-Hellman groups: {error}"
    REFUSED = (
        "the configuration was refused at {at}, "
        "[{consequence}][{silent:if}the one before stays in force]"
    )
    REFUSED_FOR = "{refused}: [{mistake}][{silent:if}see its log][ (and {more} more)]"


TROUBLES: Mapping[TroubleKind, str] = {
    TroubleKind.UNUSABLE: (
        "{text}; put its files back from a copy (seen within a minute), or have it renewed"
    ),
    TroubleKind.NO_CERT: "there is no certificate yet",
    TroubleKind.EXPIRY: "[expires in {left}][expired {ago} ago] ({at})",
    TroubleKind.REPLACE_NOW: "{text}",
    TroubleKind.LATE_RENEWAL: "its renewal is overdue since {at}",
    TroubleKind.LATE_ROLL: "its roll is overdue since {at}",
    TroubleKind.FAILED: (
        "failed {times:times}: [{text}][{silent:if}no reason given][; tries again {at}]"
    ),
    TroubleKind.HELD: "{text}[; looks again {at}]",
    TroubleKind.NO_SERVER: (
        f"{Health.NO_SERVER}, so its renewal reaches nobody; name it in svc_depends of a class, or "
        "write used_by = 'none' in its file"
    ),
    TroubleKind.NOT_SEEN: (
        "{unseen}; sslmctl doctor looks at its ports; name the right ones in probe, or write "
        "probe = 'none'"
    ),
    TroubleKind.DANE: Health.DANE,
    TroubleKind.DANE_WARNING: Health.DANE,
    TroubleKind.SERVER: "{place}[: {text}]",
}

_STYLES = {**PLAIN, "times": lambda fact: {1: "once", 2: "twice"}.get(fact, f"{fact} times")}


def of_trouble(trouble: CertTrouble, now: datetime) -> list[str]:
    """Return the sentences of what is wrong with a certificate: one, but for unseen servers."""
    facts: dict[str, object] = {"text": trouble.text, "silent": not trouble.text}
    facts["times"] = trouble.times
    if at := trouble.at:
        facts |= {"at": local(at, now), "left" if at > now else "ago": span(at - now)}
    if trouble.kind is TroubleKind.NOT_SEEN:
        every = [facts | {"unseen": text} for text in of_unseen(trouble.servers)]
    else:
        every = [facts | {"place": one.place} for one in trouble.servers[:1]] or [facts]
    return [fill(TROUBLES[trouble.kind], some, _STYLES) for some in every]


def of_unseen(servers: Sequence[ServerStatus]) -> list[str]:
    """Return why nobody saw servers using it, those with the same reason together."""
    places: dict[str, list[str]] = {}
    for server in servers:
        places.setdefault(server.unseen or "", []).append(server.place)
    return [
        tell(Health.RESTARTED, places=", ".join(some), why=reason, silent=not reason)
        for reason, some in places.items()
    ]
