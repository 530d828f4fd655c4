"""What is wrong with a certificate, and how badly: for `check`, `status` and `show`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from enum import IntEnum

from sslmd.console.answers import Cert, Fields
from sslmd.console.text import local, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json


class Level(IntEnum):
    """How bad it is; the numbers are the exit statuses of a Nagios plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


Problem = tuple[Level, str]

# Shares of a certificate's life that may be left, so that one of 6 days and one of 90 days are
# judged alike. Renewal is due at a third (half, under 10 days): both are far beyond it.
WARN_SHARE = 1 / 6
CRIT_SHARE = 1 / 10

# What is due is done within minutes, or fails and counts as an attempt.
OVERDUE = timedelta(days=1)

# Ports with TLSA records, and name servers, are compared every day: what is older says little.
STALE = timedelta(days=2)

# A server that nobody has seen using its certificate for so long is warned of: until then who sets
# it up has time to point it there.
UNSEEN = timedelta(days=1)

NO_SERVER = "no server uses it"

_PUT_BACK = "put its files back from a copy (seen within a minute), or have it renewed"

_LOOK = "sslmctl doctor looks at its ports; name the right ones in probe, or write probe = 'none'"


class Limits:
    """When an expiry is near: shares of the life, or days where the user named them."""

    __slots__ = ("crit", "warn")

    def __init__(self, warn: timedelta | None = None, crit: timedelta | None = None) -> None:
        self.warn = warn
        self.crit = crit

    def level(self, cert: Cert, now: datetime) -> Level:
        """Judge by the time that is left."""
        begin, end = cert.curr.time("not_before"), cert.not_after
        if end is None and is_coming(cert):
            return Level.OK
        if end is None or end <= now:
            return Level.CRITICAL
        life = end - begin if begin else timedelta(0)
        left = end - now
        if left < (life * CRIT_SHARE if self.crit is None else self.crit):
            return Level.CRITICAL
        if left < (life * WARN_SHARE if self.warn is None else self.warn):
            return Level.WARNING
        return Level.OK


def problems(cert: Cert, now: datetime, limits: Limits) -> list[Problem]:
    """Return what is wrong with `cert`, the worst first."""
    return sorted(_problems(cert, now, limits), key=lambda problem: -problem[0])


def _problems(cert: Cert, now: datetime, limits: Limits) -> Iterator[Problem]:
    end = cert.not_after
    level = limits.level(cert, now)
    unusable = cert.text("unusable")
    if unusable and unusable not in cert.text("last_error"):
        yield max(level, Level.WARNING), f"{unusable}; {_PUT_BACK}"
    if end is None and unusable:
        pass
    elif end is None and level:
        yield level, "there is no certificate yet"
    elif end is None:
        pass
    elif level:
        tense = "expires" if end > now else "expired"
        yield level, f"{tense} {_distance(end, now)} ({local(end, now)})"
    overdue = ("roll_at", "roll") if cert.sub("next") else ("renew_at", "renewal")
    due = cert.time(overdue[0])
    if due and now - due > OVERDUE:
        yield Level.WARNING, f"its {overdue[1]} is overdue since {local(due, now)}"
    if attempts := cert.number("attempts"):
        times = "once" if attempts == 1 else "twice" if attempts == 2 else f"{attempts} times"
        again = cert.time("next_try")
        more = f"; tries again {local(again, now)}" if again else ""
        yield Level.WARNING, f"failed {times}: {cert.text('last_error') or 'no reason given'}{more}"
    elif held := cert.text("last_error"):
        # It is left alone, so nobody renews it; or the failure is a server's.
        again = cert.time("next_try")
        more = f"; looks again {local(again, now)}" if again else ""
        yield Level.WARNING, f"{held}{more}"
    if cert.flag("unused"):
        way_out = "name it in svc_depends of a class, or write used_by = 'none' in its file"
        yield Level.WARNING, f"{NO_SERVER}, so its renewal reaches nobody; {way_out}"
    for text in _unseen(cert, lambda since: since is not None and now - since > UNSEEN):
        yield Level.WARNING, f"{text}; {_LOOK}"
    for mismatch in cert.sub("dane").texts("problems"):
        yield Level.CRITICAL, f"DANE: {mismatch}"
    for warning in cert.sub("dane").texts("warnings"):
        yield Level.WARNING, f"DANE: {warning}"
    for server in cert.subs("servers"):
        if failed(server):
            text = f"{server.text('class')} on {server.text('host')}: {server.text('error')}"
            if text not in cert.text("last_error"):
                yield Level.WARNING, text.removesuffix(": ")


def is_coming(cert: Cert) -> bool:
    """Whether the first certificate is being made, or on deck, and nothing has failed."""
    if cert.curr or cert.text("unusable"):
        return False
    if cert.number("attempts") or cert.text("last_error"):
        return False
    return bool(cert.text("doing") or cert.sub("next"))


def remarks(cert: Cert, now: datetime) -> list[str]:
    """Return what is to be known of a certificate and is not wrong, or not yet.

    All of it could not be looked at, or was not yet: of that nobody knows whether it is well.
    """
    servers = _unseen(cert, lambda since: since is None or now - since <= UNSEEN)
    return servers + dane_unseen(cert, now)


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


def unproven(cert: Cert, now: datetime) -> int:
    """Return how many servers were not seen using it for longer than `UNSEEN`."""
    stood = (server.time("since") for server in cert.subs("servers") if _is_unseen(server))
    return sum(since is not None and now - since > UNSEEN for since in stood)


def _is_unseen(server: Fields) -> bool:
    return server.text("state") == "restarted" and not server.flag("meant")


def _unseen(cert: Cert, chosen: Callable[[datetime | None], bool]) -> list[str]:
    """Return why nobody saw servers using it, those with the same reason together."""
    places: dict[str, list[str]] = {}
    for server in cert.subs("servers"):
        if _is_unseen(server) and chosen(server.time("since")):
            place = f"{server.text('class')} on {server.text('host')}"
            places.setdefault(server.text("unseen") or "not seen", []).append(place)
    return [f"{', '.join(some)} restarted, but {reason}" for reason, some in places.items()]


def zone_problems(result: Json, certs: Collection[Cert]) -> list[str]:
    """Return why TLSA records cannot be published or looked at, in zones of certificates with DANE.

    Without what a comparison has told of a certificate already.
    """
    zones = {cert.text("group") for cert in certs if cert.flag("dane_wanted")}
    told = " ".join(text for cert in certs for text in cert.sub("dane").texts("problems"))
    found = []
    for zone in Fields(result).subs("zones"):
        name, error = zone.text("zone"), zone.text("error")
        if name in zones and error and error not in told:
            found.append(f"zone {name}: TLSA records: {error.removeprefix(f'zone {name}: ')}")
    return found


def host_problems(result: Json) -> list[str]:
    """Return what is wrong on hosts beside their certificates: keys that do not belong there."""
    hosts = Fields(result).subs("hosts")
    return [text for one in hosts for text in filter(None, (one.text("text"), still_there(one)))]


def still_there(host: Fields) -> str:
    """Return why a host has what it should not have any more, "" if it does not."""
    error = host.text("error")
    return f"{host.text('host')}: what it should not have is still there: {error}" if error else ""


def dh_problems(result: Json | Fields) -> list[str]:
    """Return what failed when Diffie-Hellman groups were last looked at."""
    groups = Fields(result).subs("dh")
    return [f"Diffie-Hellman groups: {text}" for one in groups if (text := one.text("error"))]


def why(cert: Cert) -> str:
    """Return the daemon's reason without what `problems` or the time of the roll say already."""
    reason, last = cert.text("reason"), cert.text("last_error")
    if cert.time("roll_at") and reason.startswith("on deck; rolls at "):
        return "on deck"
    if (doing := cert.text("doing")) and doing not in reason:
        reason = f"{reason}; {doing}"
    errors = [last]
    for server in cert.subs("servers"):
        error = server.text("error")
        if failed(server) or error in last:
            errors.append(error)
    begins = [reason.index(error) for error in errors if error and error in reason]
    if not begins:
        return reason
    # "waits for its servers: web on www1 (down; next try at …)": as far as the first colon.
    return reason[: min(begins)].partition(": ")[0].rstrip(" :;(")


def failed(server: Fields) -> bool:
    """Whether something went wrong with a server that is not yet made good."""
    return server.text("state") == "failed" or server.number("attempts") > 0


def _distance(moment: datetime, now: datetime) -> str:
    return f"in {span(moment - now)}" if moment > now else f"{span(now - moment)} ago"
