"""What is wrong with what is no certificate, as alarms are made of it: hosts, zones, the daemon."""

from __future__ import annotations

from collections.abc import Iterator

from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.alarms import BesideStanding
from sslmd.core.errors import Trouble
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said, noted
from sslmd.daemon.planner import Planner
from sslmd.net.client import Net


def beside(planner: Planner) -> Iterator[BesideStanding]:
    """Yield it, each with its cause."""
    yield from _hosts(planner)
    yield from _zones(planner)
    if isinstance(planner.net, Net):
        for why in filter(None, (planner.net.trouble, planner.net.weakness)):
            yield BesideStanding(AlarmKind.NETWORK, "network process", why)
    for error in planner.dh.troubles:
        yield BesideStanding(AlarmKind.DH, "dh", Reason(Failed.DH_FAILED, error=Said(error)))
    if (refused := planner.refused) is not None:
        more = len(refused.mistakes) - 1
        cause = Reason(
            Failed.CONFIG_REFUSED,
            mistake=Said(refused.mistakes[0]),
            more=more or None,
            consequence=refused.consequence,
        )
        yield BesideStanding(AlarmKind.CONFIG, str(planner.site.config.conf_dir), cause)
    for name, state in planner.alarms.state.book.notifiers.items():
        if state.trouble is not None:
            yield BesideStanding(AlarmKind.NOTIFIER, name, _cause(state.trouble))
    if (trouble := planner.heartbeat.trouble) is not None:
        yield BesideStanding(AlarmKind.NOTIFIER, "alive_url", _cause(trouble))


def _cause(trouble: Trouble) -> Reason:
    return trouble.reason or noted(trouble.text)


def _hosts(planner: Planner) -> Iterator[BesideStanding]:
    for host, entry, why in planner.hosts.notes.told():
        if why is not None:
            yield BesideStanding(AlarmKind.KEYS, host, why, (host,))
        if entry.note.error:
            cause = entry.trouble or noted(entry.note.error)
            yield BesideStanding(AlarmKind.HOST, host, cause, (host,))


def _zones(planner: Planner) -> Iterator[BesideStanding]:
    for zone, one in planner.zones.known():
        if one.failed is not None and one.failed.text:
            cause = _cause(one.failed)
            yield BesideStanding(AlarmKind.DANE, str(zone), cause, (str(zone),))
        if one.look_trouble:
            yield BesideStanding(AlarmKind.BLIND, str(zone), noted(one.look_trouble), (str(zone),))
        if one.unsaved:
            yield BesideStanding(AlarmKind.NOTES, str(zone), noted(one.unsaved), (str(zone),))
