"""What comes next for a zone: publish, look, or compare; and when to ask again (I4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sslmd.core.dane.content import Wish
from sslmd.core.dane.events import FILES
from sslmd.core.dane.zone import KnownZone
from sslmd.core.jobs import Look, Publish, Watch, ZoneJob
from sslmd.core.reason import Reason, Why


@dataclass(frozen=True, slots=True)
class ZoneView:
    """A zone, and what its records depend on as it is now: `wish`.

    `edited`: whether an include file is not as it was left. `limit`: seconds that name servers may
    take for a change.
    """

    zone: KnownZone
    wish: Wish
    edited: Callable[[], bool]
    limit: float


@dataclass(frozen=True, slots=True)
class ZoneDecision:
    """A job, or when to ask again, in seconds of a clock that nobody sets."""

    job: ZoneJob | None = None
    again_at: float = 0.0


def decide_zone(view: ZoneView, now: float) -> ZoneDecision:
    """Decide what comes next. `now`: in seconds of a clock that nobody sets."""
    zone, wish = view.zone, view.wish
    if (why := _why_publish(view, now)) is not None:
        return ZoneDecision(Publish(zone.name, Reason(why)))
    # Looked at again then, whatever they hold.
    times = [zone.files_at if zone.files_at > now else now + FILES]
    if zone.places_at:
        times.append(zone.places_at)
    if zone.again:
        times.append(zone.retry_at)
    if wish.wants_mx:
        times.append(zone.mx_at)
    if zone.has_records:
        if now >= zone.look_at:
            return ZoneDecision(Look(zone.name, Reason(Why.ZONE_LOOK)))
        # Name servers may just be taking what was published lately.
        seen = zone.sighting is not None and zone.sighting.complete
        watch_at = zone.watch_at if seen else max(zone.watch_at, zone.changed_at + view.limit)
        if now >= watch_at:
            return ZoneDecision(Watch(zone.name, Reason(Why.ZONE_WATCH)))
        times += [zone.look_at, watch_at]
    return ZoneDecision(again_at=min(times))


def _why_publish(view: ZoneView, now: float) -> Why | None:
    zone, wish = view.zone, view.wish
    if wish != zone.wish and (wish != zone.tried or now >= zone.retry_at):
        return Why.ZONE_MAY_DIFFER
    if zone.again and now >= zone.retry_at:
        return Why.ZONE_COMPARED
    if wish.wants_mx and now >= zone.mx_at:
        return Why.ZONE_MX
    if zone.places_at and now >= zone.places_at:
        return Why.ZONE_OWNERS
    if now >= zone.files_at and view.edited():
        return Why.ZONE_BY_HAND
    return None
