"""Windows that cannot be kept, or not without a certificate expiring; and those without effect.

Looked at for every certificate with what it has to wait for in the worst case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sslmd.config.locate import KeyPath
from sslmd.config.model import Config, ServerClass, ServiceConfig, Trigger
from sslmd.config.report import Source
from sslmd.core.dane.sighting import TTLS
from sslmd.core.names import CertId
from sslmd.core.plain import some_of
from sslmd.core.renewal import ROLL_MARGIN, least_lead, usual_lead
from sslmd.core.spec import AcmeCa, OwnCa, Timing
from sslmd.core.windows import Group, listed, longest_wait

# How long certificates of an ACME CA live, by the profile asked for. It is not known before there
# is one, and a configuration that is right now should still be right when lives are shorter:
# Let's Encrypt has announced 45 days for every profile but `shortlived`, in steps until 2028
# (https://letsencrypt.org/2025/12/02/from-90-to-45), and public CAs may not go beyond 47 from 2029
# on.
ACME_LIVES = {
    "classic": timedelta(days=45),
    "tlsserver": timedelta(days=45),
    "shortlived": timedelta(hours=160),
}
ACME_LIFE = timedelta(days=45)

ROLL, RESTART = "roll_window", "restart_window"

# Certificates that one message names.
_NAMED = 3


# Which window, of which class (None: the certificate's own); what is wrong, and would be right.
_Problem = tuple[str, ServerClass | None, str, str]


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
    found: dict[tuple[Source, KeyPath, str, str], list[CertId]] = defaultdict(list)
    for cert, service in services:
        for word, one, problem, remedy in _problems(config, service, now):
            own = service.roll_window if word == ROLL else service.restart_window
            place: tuple[Source, KeyPath] = (files[cert], (word,))
            if one is not None and not own:
                place = main, (one.kind.value, word)
            found[*place, problem, remedy].append(cert)
    for (source, key, problem, remedy), certs in found.items():
        source.mistake(key, f"{some_of(certs, _NAMED)}: {problem}", remedy)


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
        yield ROLL, first, f"its roll_windows are never open at the same time: {text}", overlap
    worst, slowest = timedelta(), None
    for one in config.restarted_for(cert):
        wait = longest_wait(config.restart_windows(one.kind, cert), now)
        if wait is None:
            met = False
            owners = [("its own", service.restart_window), (f"[{one.kind}]", one.restart_window)]
            text = f"its restart_windows are never open at the same time: {_owned(owners)}"
            yield RESTART, one, text, overlap
        elif wait > worst and one in users:
            worst, slowest = wait, one
    if met and rolled is not None and (rolled or worst):
        which = (RESTART, slowest) if worst > rolled else (ROLL, first)
        if late := _too_late(config, service, rolled, worst, slowest):
            yield *which, *late


def _too_late(
    config: Config,
    service: ServiceConfig,
    rolled: timedelta,
    restarted: timedelta,
    slowest: ServerClass | None,
) -> tuple[str, str] | None:
    """Say it if a certificate may expire before it is rolled and its servers restarted."""
    life = life_of(config, service)
    if life is None:
        return None
    timing = service.timing
    waits = [(rolled, "for its roll_window"), (timing.min_roll, "for min_roll_mins")]
    if service.dane:
        waits.append((timedelta(seconds=TTLS * service.dane_ttl), "for its TLSA records"))
    if slowest is not None:
        waits.append((restarted, f"for a restart of [{slowest.kind}]"))
    waits.append((ROLL_MARGIN, "for the work"))
    needs = sum((wait for wait, _ in waits), timedelta())
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
    sum_of = ", ".join(f"{span(wait)} {why}" for wait, why in waits if wait)
    return (
        f"it could expire: from a renewal on, it may take {span(needs)} ({sum_of}), and with a "
        f"life of {span(life)} it may be renewed only {span(lead)} before its end",
        remedy,
    )


def life_of(config: Config, service: ServiceConfig) -> timedelta | None:
    """Return how long the certificate lives, at the least; None if nothing tells."""
    signer = service.spec.signer
    if isinstance(signer, AcmeCa):
        profile = config.cas[signer.name].preferred_profile.lower()
        return ACME_LIVES.get(profile, ACME_LIFE)
    above = config.services.get(signer.cert) if isinstance(signer, OwnCa) else service
    return above.spec.ca.life if above is not None and above.spec.ca is not None else None


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
