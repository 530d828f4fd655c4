"""What comes next on hosts, of the states of certificates, as the daemon asks it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sslmd.core.host.needs import HostWanted, Opens, Sights, at_any_time, never
from sslmd.core.host.plan import HostDecision, HostView, by_host, decide_host
from sslmd.core.jobs import Restart
from sslmd.core.names import CertId
from sslmd.core.state import CertState

States = Iterable[tuple[CertId, CertState]]


def decided(
    states: States,
    order: Sequence[str],
    now: datetime,
    *,
    visits: Mapping[str, datetime | None] | None = None,
    opens: Opens = at_any_time,
    sights: Sights = never,
) -> dict[str, HostDecision]:
    """Every host is meant to have every certificate; `visits`: hosts to visit, and when."""
    states, visits = list(states), visits or {}
    certs = {cert for cert, _ in states}
    wanted, placed = HostWanted(certs, certs), by_host(states)
    found = {}
    for host in sorted({*placed, *visits}):
        its = placed.get(host, ())
        at = (visits[host] or now) if host in visits else None
        view = HostView(host, its, wanted, order, at, opens, sights)
        found[host] = decide_host(view, now)
    return found


def restarts(states: States, order: Sequence[str], now: datetime) -> list[Restart]:
    """The restarts that are due."""
    jobs = (one.job for one in decided(states, order, now).values())
    return [job for job in jobs if isinstance(job, Restart)]


def next_look(found: Mapping[str, HostDecision]) -> datetime | None:
    """When the first host is looked at again that has to wait."""
    times = (one.wake_at for one in found.values())
    return min((when for when in times if when is not None), default=None)
