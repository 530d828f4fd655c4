"""What the answer to `status` says is wrong: for `check`, `status`, `show`, `doctor`.

`core.trouble` decides what is wrong with a certificate, and `core.words.health` has the words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime

from sslmd.console.answers import Cert, Fields
from sslmd.core.plain import local
from sslmd.core.trouble import (
    BY_LIFE,
    NETWORK,
    STALE,
    CertTrouble,
    Limits,
    Severity,
    troubles,
    unseen_servers,
)
from sslmd.core.words.health import Health, of_trouble, of_unseen
from sslmd.core.words.pattern import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

Problem = tuple[CertTrouble, str]

# As answers name them; what a later daemon may say is a warning.
SEVERITIES = defaultdict(lambda: Severity.WARNING, critical=Severity.CRITICAL)


def problems(cert: Cert, now: datetime, limits: Limits = BY_LIFE) -> list[Problem]:
    """Return what is wrong with `cert`, the worst first, each with its sentence."""
    found = troubles(cert.status, now, limits)
    return [(trouble, text) for trouble in found for text in of_trouble(trouble, now)]


def remarks(cert: Cert, now: datetime) -> list[str]:
    """Return what is to be known of a certificate and is not wrong, or not yet.

    All of it could not be looked at, or was not yet: of that nobody knows whether it is well.
    """
    return of_unseen(unseen_servers(cert.status, now, long=False)) + dane_unseen(cert, now)


def dane_unseen(cert: Cert, now: datetime) -> list[str]:
    """Return what of TLSA records, name servers and ports was not looked at."""
    dane = cert.sub("dane")
    found = []
    if not dane and cert.flag("dane_wanted") and cert.curr:
        found.append(tell(Health.NOT_COMPARED))
    at = dane.time("at")
    if at is not None and now - at > STALE:
        found.append(tell(Health.NOT_COMPARED_SINCE, at=local(at, now)))
    return found + [tell(Health.DANE, text=text) for text in dane.texts("unseen")]


def zone_problems(
    result: Json | Fields, certs: Collection[Cert], *, every: bool = False
) -> list[str]:
    """Return why TLSA records cannot be published or looked at, in the zones of certificates.

    Without what one of them says already. `every`: also in zones where none has TLSA records, and
    old ones cannot be taken back, say.
    """
    groups = {cert.text("group") for cert in certs if cert.flag("dane_wanted")}
    names = {cert.name for cert in certs}
    return [
        tell(Health.ZONE, zone=zone.text("zone"), error=error)
        for zone in Fields(result).subs("zones")
        if every or zone.text("zone") in groups
        if names.isdisjoint(zone.texts("told_by"))
        if (error := zone.text("error"))
    ]


def host_problems(result: Json | Fields, now: datetime | None = None) -> list[str]:
    """Return what is wrong on hosts beside their certificates: keys that do not belong there.

    With `now` also when it is tried again.
    """
    found = []
    for host in Fields(result).subs("hosts"):
        if text := host.text("text"):
            found.append(text)
        if error := host.text("error"):
            again = host.time("next_try")
            at = local(again, now) if again and now else None
            found.append(tell(Health.HOST, host=host.text("host"), error=error, again=at))
    return found


def dh_problems(result: Json | Fields) -> list[str]:
    """Return what failed when Diffie-Hellman groups were last looked at."""
    errors = (one.text("error") for one in Fields(result).subs("dh"))
    return [tell(Health.DH, error=error) for error in errors if error]


def net_problems(result: Json | Fields) -> list[str]:
    """Return what is wrong with the network process."""
    found = Fields(result).subs("net")
    return [one.text("text") for one in found if one.text("text_code") in NETWORK]


def net_remarks(result: Json | Fields) -> list[str]:
    """Return what of the network process could be safer, and is no trouble."""
    found = Fields(result).subs("net")
    return [one.text("text") for one in found if one.text("text_code") not in NETWORK]


def own_problems(result: Json | Fields) -> list[tuple[Severity, str]]:
    """Return what is wrong with the daemon itself, its machine and accounts."""
    return [
        (SEVERITIES[one.text("severity")], tell(Health.OWN, title=one.text("title"), text=text))
        for one in Fields(result).subs("own_alarms")
        if (text := one.text("text"))
    ]


def refusal(result: Json | Fields, now: datetime) -> tuple[str, list[str]]:
    """Return that a configuration was refused, and the mistakes in it; "" if none was."""
    refused = Fields(result).sub("daemon").sub("refused")
    if not refused:
        return "", []
    at, then = local(refused.time("at"), now), refused.text("consequence")
    text = tell(Health.REFUSED, at=at, consequence=then, silent=not then)
    return text, refused.texts("mistakes")


def refusal_line(result: Json | Fields, now: datetime) -> str:
    """Return that a configuration was refused, with its first mistake; "" if none was."""
    text, mistakes = refusal(result, now)
    if not text:
        return ""
    first = mistakes[0] if mistakes else ""
    more = max(len(mistakes) - 1, 0)
    return tell(Health.REFUSED_FOR, refused=text, mistake=first, silent=not mistakes, more=more)


def why(cert: Cert) -> str:
    """Return the daemon's reason without what `problems` or the time of the roll say already."""
    reason, code, status = cert.text("reason"), cert.text("reason_code"), cert.status
    if status.error and (code in ("stuck", "left") or status.about in (status.SET, status.REASON)):
        reason = ""
    elif code == "servers-wait" and any(server.failed for server in status.servers):
        reason = Health.WAITS_FOR_SERVERS
    elif code == "roll-waits" and status.roll_at and not cert.sub("reason_facts").text("back"):
        reason = Health.ON_DECK
    doing = "" if cert.text("progress") else cert.text("doing")
    return "; ".join(filter(None, (reason, doing)))
