"""Windows: those that cannot be kept, or not without a certificate expiring, are a mistake.

It is looked at for every certificate with what it has to wait for in the worst case. Where only its
CA may suggest a time that is too late (RFC 9773), that is a warning: windows are passed over then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sslmd.config.locate import KeyPath
from sslmd.config.model import Config, ServerClass, ServiceConfig, Trigger
from sslmd.config.renew import goes_by_ca, life_of
from sslmd.config.report import Source
from sslmd.core.dane.sighting import TTLS
from sslmd.core.names import CertId
from sslmd.core.plain import some_of
from sslmd.core.renewal import ROLL_MARGIN, least_lead, least_lead_of_ca, usual_lead
from sslmd.core.spec import Timing
from sslmd.core.windows import Group, listed, longest_wait

# Certificates that one message names.
_NAMED = 3

ROLL, RESTART = "roll_window", "restart_window"


# Which window, of which class (None: the certificate's own); what is wrong, and would be right;
# whether it is refused.
_Problem = tuple[str, ServerClass | None, str, str, bool]


def check_windows(
    config: Config, files: Mapping[CertId, Source], main: Source, now: datetime
) -> None:
    """Note windows that cannot be kept; warn about those without effect.

    `files`: those of the services; `main`: `ssl-mgr.conf`. `now` tells for which years the rules of
    time zones are looked at.
    """
    services = config.services.items()
    windowed = {
        cert: files[cert] for cert, one in services if one.roll_window or one.restart_window
    }
    _warn_unused(config, windowed, main)
    by_class = any(one.roll_window or one.restart_window for one in config.server_classes)
    if not by_class and not windowed:
        return
    found: dict[tuple[Source, KeyPath, str, str, bool], list[CertId]] = defaultdict(list)
    for cert, service in services:
        for word, one, problem, remedy, refused in _problems(config, service, now):
            own = service.roll_window if word == ROLL else service.restart_window
            place: tuple[Source, KeyPath] = (files[cert], (word,))
            if one is not None and not own:
                place = main, (one.kind.value, word)
            found[*place, problem, remedy, refused].append(cert)
    for (source, key, problem, remedy, refused), certs in found.items():
        tell = source.mistake if refused else source.warn
        tell(key, f"{some_of(certs, _NAMED)}: {problem}", remedy)


def _problems(config: Config, service: ServiceConfig, now: datetime) -> Iterator[_Problem]:
    if not service.managed:
        return
    cert, users = service.id, config.users_of(service.id)
    rolled = longest_wait(config.roll_windows(cert), now)
    first = next((one for one in users if one.roll_window), None)
    met, overlap = rolled is not None, "write windows that overlap"
    if rolled is None:
        owners = [(f"[{one.kind}]", one.roll_window) for one in users]
        text = _owned([("its own", service.roll_window), *owners])
        yield (
            ROLL,
            first,
            f"its roll_windows are never open at the same time: {text}",
            overlap,
            True,
        )
    worst, slowest = timedelta(), None
    for one in config.restarted_for(cert):
        wait = longest_wait(config.restart_windows(one.kind, cert), now)
        if wait is None:
            met = False
            owners = [("its own", service.restart_window), (f"[{one.kind}]", one.restart_window)]
            text = f"its restart_windows are never open at the same time: {_owned(owners)}"
            yield RESTART, one, text, overlap, True
        elif wait > worst and one in users:
            worst, slowest = wait, one
    if met and rolled is not None and (rolled or worst):
        which = (RESTART, slowest) if worst > rolled else (ROLL, first)
        needs, waits = _needs(service, rolled, worst, slowest)
        life = life_of(config, service)
        if life is None:
            return
        if late := _too_late(service, life, needs, waits):
            yield *which, *late, True
        elif passed := _passed_over(service, life, needs, waits):
            yield *which, *passed, False


def _needs(
    service: ServiceConfig, rolled: timedelta, restarted: timedelta, slowest: ServerClass | None
) -> tuple[timedelta, str]:
    """Return how long it may take from a renewal until servers use it, and what is waited for."""
    waits = [(rolled, "for its roll_window"), (service.timing.min_roll, "for min_roll_mins")]
    if service.dane:
        waits.append((timedelta(seconds=TTLS * service.dane_ttl), "for its TLSA records"))
    if slowest is not None:
        waits.append((restarted, f"for a restart of [{slowest.kind}]"))
    waits.append((ROLL_MARGIN, "for the work"))
    needs = sum((wait for wait, _ in waits), timedelta())
    return needs, ", ".join(f"{span(wait)} {why}" for wait, why in waits if wait)


def _too_late(
    service: ServiceConfig, life: timedelta, needs: timedelta, waits: str
) -> tuple[str, str] | None:
    """Say it if a certificate may expire before it is rolled and its servers restarted."""
    timing = service.timing
    lead = least_lead(life, timing)
    if needs < lead:
        return None
    remedy = "write windows that open more often"
    if needs < usual_lead(life, timing):
        smaller = "rand_adj in [renew_info]" if timing.by_life else "renew_expire_days_spread"
        remedy = f"{remedy}, or a smaller {smaller}"
    elif needs < least_lead(life, Timing(life, timedelta(), timing.min_roll)):
        larger = "target in [renew_info]" if timing.by_life else "renew_expire_days"
        remedy = f"{remedy}, or a larger {larger}"
    silent = " where its CA suggests no time" if goes_by_ca(service) else ""
    return (
        f"it could expire: from a renewal on, it may take {span(needs)} ({waits}), and with a "
        f"life of {span(life)} it may be renewed only {span(lead)} before its end{silent}",
        remedy,
    )


def _passed_over(
    service: ServiceConfig, life: timedelta, needs: timedelta, waits: str
) -> tuple[str, str] | None:
    """Say it if a CA may suggest a time that is too late for the windows (ARI)."""
    lead = least_lead_of_ca(life, service.timing)
    if needs < lead or not goes_by_ca(service):
        return None
    return (
        f"its CA may suggest renewing it only {span(lead)} before its end, with a life of "
        f"{span(life)}, and from then on it may take {span(needs)} ({waits}): where it would "
        "expire, windows are not waited for",
        "write windows that open more often, or renew_by = 'days'",
    )


def _warn_unused(config: Config, windowed: Mapping[CertId, Source], main: Source) -> None:
    managed = [cert for cert, service in config.services.items() if service.managed]
    for one in config.server_classes:
        used = any(map(one.receives, managed))
        for word, windows in ((ROLL, one.roll_window), (RESTART, one.restart_window)):
            key = (one.kind.value, word)
            if windows and not one.servers:
                main.warn(key, "a class without servers has no use for it", "remove it")
            elif windows and not used and not (word == RESTART and Trigger.CERT in one.depends):
                problem = "it has no effect: the class uses no certificate"
                main.warn(key, problem, "name some in svc_depends, or remove it")
    restarts_dns = bool(config.dns.restart) and Trigger.CERT in config.dns.depends
    for cert, source in windowed.items():
        service = config.services[cert]
        if not service.managed:
            source.warn(
                (ROLL if service.roll_window else RESTART,),
                "it has no effect: no active group lists this CA, so it is never rolled",
                f"add {cert.service!r} to the services of group ca, or remove it",
            )
        elif service.restart_window and not restarts_dns and not config.restarted_for(cert):
            problem = "it has no effect: no class with servers uses the certificate"
            source.warn((RESTART,), problem, "add it to svc_depends of a class, or remove it")


def _owned(owners: list[tuple[str, Group]]) -> str:
    return ", ".join(f"{owner} {listed([windows])}" for owner, windows in owners if windows)


def span(time: timedelta) -> str:
    """Return a length of time for people: days and hours, or hours and minutes, rounded up."""
    unit = timedelta(hours=1) if time >= timedelta(days=1) else timedelta(minutes=1)
    minutes = -(-time // unit) * (unit // timedelta(minutes=1))
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min")]
    return " ".join(f"{number} {word}" for number, word in parts if number) or "0 min"
