"""What `status` answers beside certificates: hosts, zones, name servers, the network process."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sslmd.core.plain import plain, rfc3339
from sslmd.core.reason import on_wire
from sslmd.core.words.sentence import say
from sslmd.daemon.beside_standing import of_network
from sslmd.daemon.hub import Hub
from sslmd.dns.bounds import bounds
from sslmd.net.client import Net


def time(when: datetime | None) -> str | None:
    """Return `when` as RFC 3339 in UTC."""
    return rfc3339(when) if when is not None else None


def hosts(hub: Hub) -> list[dict[str, Any]]:
    """Return what there is to tell of hosts that no certificate tells."""
    notes = hub.hosts.notes
    return [
        {
            "host": host,
            "visited": time(entry.note.visited),
            "surplus": list(map(str, entry.note.surplus)),
            "surplus_more": entry.note.more,
            "text": say(why),
            **on_wire(why, "text"),
            "error": entry.note.error or None,
            **on_wire(entry.trouble, "error"),
            "next_try": time(entry.note.next_try),
        }
        for host, entry, why in notes.told()
    ]


def zones(hub: Hub) -> list[dict[str, Any]]:
    """Return the zones whose TLSA records cannot be published or looked at, and why.

    `told_by`: certificates whose last comparison says the same.
    """
    entries = hub.registry.entries
    return [
        {
            "zone": str(zone),
            "error": plain(say(why)),
            **on_wire(why, "error"),
            "told_by": [
                str(cert)
                for cert, entry in entries.items()
                if cert.group == str(zone) and entry.report
                if any(one.wrong and one.why == why for one in entry.report.findings)
            ],
        }
        for zone, why in hub.zones.troubled()
    ]


def dns() -> list[dict[str, Any]]:
    """Return what of name servers is not asked, or has to wait, because of the bounds."""
    return [{"text": say(one), **on_wire(one)} for one in bounds().remarks()]


def dh(hub: Hub) -> list[dict[str, Any]]:
    """Return what failed when Diffie-Hellman groups were looked at last."""
    return [{"error": plain(say(why)), **on_wire(why, "error")} for why in hub.dh.troubles]


def net(hub: Hub) -> list[dict[str, Any]]:
    """Return what is wrong with the network process, and what of it could be safer."""
    found = of_network(hub.net, hub.ordering.signer)
    return [{"text": say(one), **on_wire(one, "text")} for one in found]


def network_process(hub: Hub) -> dict[str, Any] | None:
    """Return the process as it is, None where there is none; `limits`: `net.messages.NetLimit`."""
    if not isinstance(hub.net, Net) or not hub.net.pid:
        return None
    return {"pid": hub.net.pid, "limits": list(map(str, hub.net.limits))}
