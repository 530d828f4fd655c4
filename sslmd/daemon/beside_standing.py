"""What is wrong with what is no certificate, as alarms are made of it: hosts, zones, the daemon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sslmd.acme.signing import Signer
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.alarms import BesideStanding
from sslmd.core.errors import Trouble
from sslmd.core.failed import Failed
from sslmd.core.notice_book import AlarmBook
from sslmd.core.reason import Reason, Said, noted
from sslmd.daemon.dh import DhGroups
from sslmd.daemon.heartbeat import Heartbeat
from sslmd.daemon.hosts import Hosts
from sslmd.daemon.refusal import Refusal
from sslmd.daemon.zones import Zones
from sslmd.net.client import Net
from sslmd.net.link import Asker


def beside(
    hosts: Hosts,
    zones: Zones,
    dh: DhGroups,
    net: Sequence[Reason],
    refused: Refusal | None,
    book: AlarmBook,
    heartbeat: Heartbeat,
) -> Iterator[BesideStanding]:
    """Yield it, each with its cause."""
    yield from _hosts(hosts)
    yield from _zones(zones)
    for why in net:
        yield BesideStanding(AlarmKind.NETWORK, "network process", why)
    for error in dh.troubles:
        yield BesideStanding(AlarmKind.DH, "dh", Reason(Failed.DH_FAILED, error=error))
    if refused is not None:
        cause = Reason(
            Failed.CONFIG_REFUSED,
            mistake=Said(refused.mistakes[0]),
            more=len(refused.mistakes) - 1 or None,
            consequence=refused.consequence,
        )
        yield BesideStanding(AlarmKind.CONFIG, "configuration", cause)
    for name, state in book.notifiers.items():
        if state.trouble is not None:
            yield BesideStanding(AlarmKind.NOTIFIER, name, _cause(state.trouble))
    if (trouble := heartbeat.trouble) is not None:
        yield BesideStanding(AlarmKind.NOTIFIER, "alive_url", _cause(trouble))


def of_network(net: Asker | None, signer: Signer) -> tuple[Reason, ...]:
    """Return what is wrong with the network process, and what of it could be safer."""
    if not isinstance(net, Net):
        return ()
    found = (net.trouble, signer.trouble, net.weakness)
    return tuple(one for one in found if one is not None)


def _cause(trouble: Trouble) -> Reason:
    return trouble.reason or noted(trouble.text)


def _hosts(hosts: Hosts) -> Iterator[BesideStanding]:
    for host, entry, why in hosts.notes.told():
        if why is not None:
            yield BesideStanding(AlarmKind.KEYS, host, why, (host,))
        if entry.note.error:
            cause = entry.trouble or noted(entry.note.error)
            yield BesideStanding(AlarmKind.HOST, host, cause, (host,))


def _zones(zones: Zones) -> Iterator[BesideStanding]:
    for zone, one in zones.known():
        places = (str(zone),)
        if one.trouble:
            yield BesideStanding(AlarmKind.DANE, str(zone), one.trouble, places)
        if one.look_trouble:
            yield BesideStanding(AlarmKind.BLIND, str(zone), one.look_trouble, places)
        if one.unsaved:
            yield BesideStanding(AlarmKind.NOTES, str(zone), one.unsaved, places)
