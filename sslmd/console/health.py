"""What the answer to `status` says is wrong, in sentences: for `check`, `status`, `show`, `doctor`.

`core.trouble` decides what is wrong with a certificate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sslmd.console.answers import Cert, Fields
from sslmd.console.text import local, span
from sslmd.core.trouble import (
    BY_LIFE,
    STALE,
    CertTrouble,
    Limits,
    ServerStatus,
    TroubleKind,
    troubles,
    unseen_servers,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

NO_SERVER = "no server uses it"

_LOOK = "sslmctl doctor looks at its ports; name the right ones in probe, or write probe = 'none'"

Problem = tuple[CertTrouble, str]


def problems(cert: Cert, now: datetime, limits: Limits = BY_LIFE) -> list[Problem]:
    """Return what is wrong with `cert`, the worst first, each with its sentence."""
    found = troubles(cert.status, now, limits)
    return [(trouble, text) for trouble in found for text in _sentences(trouble, now)]


def _sentences(trouble: CertTrouble, now: datetime) -> Sequence[str]:
    text, at = trouble.text, trouble.at
    match trouble.kind:
        case TroubleKind.UNUSABLE:
            way_out = "put its files back from a copy (seen within a minute), or have it renewed"
            return [f"{text}; {way_out}"]
        case TroubleKind.NO_CERT:
            return ["there is no certificate yet"]
        case TroubleKind.EXPIRY:
            assert at is not None
            ago = f"expires in {span(at - now)}" if at > now else f"expired {span(now - at)} ago"
            return [f"{ago} ({local(at, now)})"]
        case TroubleKind.LATE_RENEWAL:
            return [f"its renewal is overdue since {local(at, now)}"]
        case TroubleKind.LATE_ROLL:
            return [f"its roll is overdue since {local(at, now)}"]
        case TroubleKind.FAILED:
            times = {1: "once", 2: "twice"}.get(trouble.times, f"{trouble.times} times")
            again = f"; tries again {local(at, now)}" if at else ""
            return [f"failed {times}: {text or 'no reason given'}{again}"]
        case TroubleKind.HELD:
            return [f"{text}; looks again {local(at, now)}" if at else text]
        case TroubleKind.NO_SERVER:
            way_out = "name it in svc_depends of a class, or write used_by = 'none' in its file"
            return [f"{NO_SERVER}, so its renewal reaches nobody; {way_out}"]
        case TroubleKind.NOT_SEEN:
            return [f"{one}; {_LOOK}" for one in _not_seen(trouble.servers)]
        case TroubleKind.DANE | TroubleKind.DANE_WARNING:
            return [f"DANE: {text}"]
        case TroubleKind.SERVER:
            return [": ".join(filter(None, (trouble.servers[0].place, text)))]


def remarks(cert: Cert, now: datetime) -> list[str]:
    """Return what is to be known of a certificate and is not wrong, or not yet.

    All of it could not be looked at, or was not yet: of that nobody knows whether it is well.
    """
    return _not_seen(unseen_servers(cert.status, now, long=False)) + dane_unseen(cert, now)


def dane_unseen(cert: Cert, now: datetime) -> list[str]:
    """Return what of TLSA records, name servers and ports was not looked at."""
    dane = cert.sub("dane")
    found = []
    if not dane and cert.flag("dane_wanted") and cert.curr:
        found.append("name servers and ports were not compared yet")
    at = dane.time("at")
    if at is not None and now - at > STALE:
        found.append(f"name servers and ports were not compared since {local(at, now)}")
    return [f"DANE: {text}" for text in (*found, *dane.texts("unseen"))]


def _not_seen(servers: Sequence[ServerStatus]) -> list[str]:
    """Return why nobody saw servers using it, those with the same reason together."""
    places: dict[str, list[str]] = {}
    for server in servers:
        places.setdefault(server.unseen or "not seen", []).append(server.place)
    return [f"{', '.join(some)} restarted, but {reason}" for reason, some in places.items()]


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
        f"TLSA records of {zone.text('zone')}: {error}"
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
            again = host.time("next_try") if now else None
            more = f"; next try at {local(again, now)}" if now and again else ""
            found.append(
                f"{host.text('host')}: what it should not have is still there: {error}{more}"
            )
    return found


def dh_problems(result: Json | Fields) -> list[str]:
    """Return what failed when Diffie-Hellman groups were last looked at."""
    groups = Fields(result).subs("dh")
    return [f"Diffie-Hellman groups: {text}" for one in groups if (text := one.text("error"))]


def refusal(result: Json | Fields, now: datetime) -> tuple[str, list[str]]:
    """Return that a configuration was refused, and the mistakes in it; "" if none was."""
    refused = Fields(result).sub("daemon").sub("refused")
    if not refused:
        return "", []
    text = (
        f"the configuration was refused at {local(refused.time('at'), now)}, "
        f"{refused.text('consequence') or 'the one before stays in force'}"
    )
    return text, refused.texts("mistakes")


def refusal_line(result: Json | Fields, now: datetime) -> str:
    """Return that a configuration was refused, with its first mistake; "" if none was."""
    text, mistakes = refusal(result, now)
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return text and f"{text}: {mistakes[0] if mistakes else 'see its log'}{more}"


def why(cert: Cert) -> str:
    """Return the daemon's reason without what `problems` or the time of the roll say already."""
    reason, code, status = cert.text("reason"), cert.text("reason_code"), cert.status
    if status.error and (code in ("stuck", "left") or status.about in (status.SET, status.REASON)):
        reason = ""
    elif code == "servers-wait" and any(server.failed for server in status.servers):
        reason = "waits for its servers"
    elif code == "roll-waits" and status.roll_at and not cert.sub("reason_facts").text("back"):
        reason = "on deck"
    doing = "" if cert.text("progress") else cert.text("doing")
    return "; ".join(filter(None, (reason, doing)))
