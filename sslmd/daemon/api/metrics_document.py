"""What `metrics` answers: the daemon's own numbers; those of certificates are in `status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sslmd import __version__
from sslmd.core.jobs import Job
from sslmd.core.spec import AcmeCa
from sslmd.daemon.api.alarm_methods import counted
from sslmd.daemon.api.beside import time
from sslmd.daemon.hub import Hub
from sslmd.daemon.meters import kind_of_job
from sslmd.net.client import Net

# For how long CAs count a failed validation.
_FAILED_WITHIN = timedelta(hours=1)


def metrics(hub: Hub, started: datetime) -> dict[str, Any]:
    """Return the numbers (docs/socket-api.md, metrics); quick, whatever the number of services."""
    meters, queue = hub.loop.meters, hub.queue
    net = hub.net if isinstance(hub.net, Net) else None
    return {
        "version": __version__,
        "started": time(started),
        "planned_at": time(meters.turned),
        "loop_lag": round(meters.lag, 3),
        "refused": hub.refused is not None,
        "jobs": _jobs(hub, queue.queued(), queue.running()),
        "events": [
            {"event": event, "number": number} for event, number in sorted(hub.bus.counts.items())
        ],
        "cas": _cas(hub),
        "zones": [
            {
                "zone": str(zone),
                "trouble": bool(one.trouble or one.look_trouble),
                "waiting": len(one.late),
                "changed": one.replaced is not None,
                "servers": len(one.shown),
                "heard": len(one.heard),
            }
            for zone, one in sorted(hub.zones.known())
            if one.has_records
        ],
        "alarms": counted(hub),
        "network_process": {"up": bool(net and net.pid), "starts": net.starts if net else 0},
    }


def _jobs(hub: Hub, queued: Iterable[Job], running: Iterable[Job]) -> list[dict[str, Any]]:
    waits = Counter(kind_of_job(type(job)) for job in queued)
    runs = Counter(kind_of_job(type(job)) for job in running)
    counts = hub.loop.meters.jobs
    return [
        {
            "kind": kind,
            "queued": waits[kind],
            "running": runs[kind],
            "ended": counts[kind].number if kind in counts else 0,
            "seconds": round(counts[kind].seconds, 3) if kind in counts else 0.0,
        }
        for kind in sorted({*waits, *runs, *counts})
    ]


def _cas(hub: Hub) -> list[dict[str, Any]]:
    now, config = hub.site.now(), hub.site.config
    used = hub.certs.pacing.used(now)
    failed = Counter[str]()
    for entry in hub.registry.entries.values():
        signer = entry.wanted.spec.signer
        if entry.state.failed and isinstance(signer, AcmeCa):
            failed[signer.name] += sum(
                timedelta(0) <= now - one.at < _FAILED_WITHIN for one in entry.state.failed
            )
    return [
        {
            "ca": ca.name,
            "issued": hub.loop.meters.issued[ca.server],
            "failed_validations": failed[ca.name],
            "limits": [
                {
                    "limit": str(limit),
                    "most": rate.most,
                    "seconds": int(rate.every.total_seconds()),
                    "used": round(used.get((ca.name, limit), 0.0), 4),
                }
                for limit, rate in sorted(ca.kept.items())
            ],
        }
        for ca in sorted(config.cas.values(), key=lambda ca: ca.name)
        if not ca.is_own
    ]
