"""When certificates are renewed, by how long they live: `[renew_info]`.

`[renew_info]` is of ssl-mgr 7: when to renew, by how long a certificate lives. Where the table is
there, even empty, it counts for every certificate, with the defaults that ssl-mgr 7.7 has.
`renew_expire_days` is then what its manual makes of it: another name of `target_90`. The limits of
`core.renewal` hold all the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sslmd.config.locate import KeyPath
from sslmd.config.model import Config, ServiceConfig
from sslmd.config.report import Source
from sslmd.config.values import seen
from sslmd.core.names import CertId
from sslmd.core.plain import some_of
from sslmd.core.renewal import usual_lead
from sslmd.core.spec import AcmeCa, ByLife, OwnCa, Points

TABLE = "renew_info"
USUAL = 90.0  # days: the life that `renew_expire_days` is about

_KEY = re.compile(r"(target|rand_adj)_([0-9]{1,5}(?:\.[0-9]{1,3})?)")
_ELSEWHERE = {"renew_expire_days": "target_90", "renew_expire_days_spread": "rand_adj_90"}
_MOST = 3650  # days
# What ssl-mgr 7.7 and later go by where the table does not say: days before expiry, and spread.
_TARGETS: Points = (
    (0, 0.25),
    (1, 0.5),
    (2, 1),
    (5, 2),
    (10, 5),
    (45, 10),
    (60, 20),
    (90, 30),
    (120, 45),
    (300, 60),
)
_SPREADS: Points = tuple((life, 5 if life == 120 else 0) for life, _ in _TARGETS)

# ssl-mgr takes a life that is as near as this to a point, in days, for the same.
_SAME = 0.1

# A difference from ssl-mgr that a person would not notice.
_UNNOTICED = timedelta(hours=1)

# Certificates that one message names.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Leads:
    """What one file says about renewals: `days` before expiry and `spread`, by life if asked."""

    days: float
    spread: float
    by_life: ByLife | None = None


def leads_by_life(
    source: Source, data: Mapping[str, object], days: float | None, spread: float | None
) -> Leads:
    """Return what `[renew_info]` says; its mistakes are noted.

    `days` and `spread` are `renew_expire_days` and `renew_expire_days_spread` of `[globals]`, None
    where they are not written.
    """
    found: dict[str, dict[float, float]] = {"target": {}, "rand_adj": {}}
    for key, value in data.items():
        named = _KEY.fullmatch(key)
        if named is None:
            problem = "this key is not known here and has no effect"
            remedy = "write target_N or rand_adj_N; N is a life in days, such as target_90"
            if called := _ELSEWHERE.get(key):
                problem = f"here it is called {called}, and so it has no effect"
                remedy = f"write {called}"
            source.warn((TABLE, key), problem, remedy)
        elif _is_days(source, key, value):
            found[named[1]][float(named[2])] = float(value)  # type: ignore[arg-type]
    targets, spreads = found["target"], found["rand_adj"]
    written, usual = ("globals", "renew_expire_days"), dict(_TARGETS)[USUAL]
    if days is not None and USUAL not in targets:
        targets[USUAL] = days
        if days != usual:
            source.warn(
                written,
                f"it counts as target_90 of [{TABLE}], as ssl-mgr's manual has it; ssl-mgr 7 "
                f"itself does not read it beside that table, and renews at {usual:g} days",
                f"write target_90 = {days:g} or target_90 = {usual:g} in [{TABLE}], and remove it",
            )
    elif days is not None and days != targets[USUAL]:
        counts = f"target_90 of [{TABLE}] counts, which is {targets[USUAL]:g}"
        source.warn(written, f"it has no effect: {counts}", "remove it")
    if spread is not None:
        spreads.setdefault(USUAL, spread)
    by_life = ByLife(_with(_TARGETS, targets), _with(_SPREADS, spreads))
    for life, value in spreads.items():
        lead, _ = by_life.asked(timedelta(days=life))
        if value > lead / timedelta(days=1):
            key = f"rand_adj_{life:g}"
            place: KeyPath = (TABLE, key)
            if key not in data:
                place = ("globals", "renew_expire_days_spread")
            least = lead / timedelta(days=1)
            source.warn(
                place,
                f"{value:g} days are more than target_{life:g}, which is {least:g}",
                f"{least:g} is used; write {least:g} or less",
            )
    return of(by_life)


def of(by_life: ByLife) -> Leads:
    """Return the leads that a function of the life gives; days and spread are those for 90 days."""
    lead, spread = by_life.asked(timedelta(days=USUAL))
    return Leads(lead / timedelta(days=1), spread / timedelta(days=1), by_life)


def changed(by_life: ByLife, days: float | None, spread: float | None) -> ByLife:
    """Return what a service asks that has its own `renew_expire_days` or spread."""
    return ByLife(
        _with(by_life.targets, {} if days is None else {USUAL: days}),
        _with(by_life.spreads, {} if spread is None else {USUAL: spread}),
    )


def _with(points: Points, more: Mapping[float, float]) -> Points:
    """Return points with others put in, in place of those for the same life."""
    kept = [
        (life, value)
        for life, value in points
        if not any(abs(life - other) <= _SAME for other in more)
    ]
    return tuple(sorted([*kept, *more.items()]))


def _is_days(source: Source, key: str, value: object) -> bool:
    problem = ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        problem = f"{seen(value)} is not a number"
    elif not math.isfinite(value):
        problem = f"{seen(value)} is not a number that can be used"
    elif not 0 <= value <= _MOST:
        problem = f"{seen(value)} is too {'small' if value < 0 else 'large'}"
    if problem:
        source.mistake((TABLE, key), problem, f"expected: days, 0 to {_MOST}")
    return not problem


def warn_own_days(source: Source, days: float, by_life: ByLife) -> None:
    """Warn where a service's own `renew_expire_days` makes a difference to ssl-mgr 7."""
    usual = by_life.asked(timedelta(days=USUAL))[0] / timedelta(days=1)
    if days != usual:
        source.warn(
            ("renew_expire_days",),
            f"beside [{TABLE}] it counts as target_90 of this certificate, {days:g} in place of "
            f"{usual:g}; ssl-mgr 7 does not read it",
            f"remove it to renew as ssl-mgr 7 did, or write {usual:g}",
        )


def check_leads(config: Config, main: Source) -> None:
    """Warn where `[renew_info]` asks for more, or less, than the limits of a renewal allow."""
    found: dict[tuple[timedelta, timedelta, timedelta, bool], list[CertId]] = {}
    for service in config.services.values():
        life = life_of(config, service)
        # How early a CA is renewed depends on what it signs, too.
        by_life = service.timing.by_life is not None and service.managed
        if by_life and service.spec.ca is None and life is not None:
            asked, _ = service.timing.asked(life)
            real = usual_lead(life, service.timing)
            if abs(real - asked) > _UNNOTICED:
                key = (life, asked, real, goes_by_ca(service))
                found.setdefault(key, []).append(service.id)
    for (life, asked, real, by_ca), certs in found.items():
        when, why = "later", "a third of the life is the most (half of it, under 10 days)"
        if real > asked:
            when, why = "earlier", "min_roll_mins and a restart have to fit in"
        silent = ", where its CA suggests no time," if by_ca else ""
        main.warn(
            (TABLE,),
            f"{some_of(certs, _NAMED)}: with a life of {_days(life)} days it is{silent} renewed "
            f"{_days(real)} days before it expires, {when} than with ssl-mgr 7, which has "
            f"{_days(asked)}: {why}",
            f"write target_{_days(life)} = {_days(real)}, which says the same",
        )


def _days(time: timedelta) -> str:
    return f"{time / timedelta(days=1):.2f}".rstrip("0").rstrip(".")


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


def life_of(config: Config, service: ServiceConfig) -> timedelta | None:
    """Return how long the certificate lives, at the least; None if nothing tells."""
    signer = service.spec.signer
    if isinstance(signer, AcmeCa):
        profile = config.cas[signer.name].preferred_profile.lower()
        return ACME_LIVES.get(profile, ACME_LIFE)
    above = config.services.get(signer.cert) if isinstance(signer, OwnCa) else service
    return above.spec.ca.life if above is not None and above.spec.ca is not None else None


def goes_by_ca(service: ServiceConfig) -> bool:
    """Whether its CA is asked when a certificate is to be renewed."""
    return isinstance(service.spec.signer, AcmeCa) and service.timing.by_ca
