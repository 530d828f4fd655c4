"""Deliveries and restarts that an admin asks for: written down at once, then waited for.

Like all that was accepted they are done over crashes too; who asked may go away meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

from sslmd.config.model import THIS_HOST, class_order, hosts_of
from sslmd.core.errors import Trouble
from sslmd.core.events import RestartAsked, ServersWanting
from sslmd.core.host.commands import DNS
from sslmd.core.names import CertId
from sslmd.core.reason import Ended, Reason, Said, Why, on_wire
from sslmd.core.state import DONE, Server, ServerPhase
from sslmd.core.told import Answered, Denied
from sslmd.core.view import blocking, told
from sslmd.core.words.sentence import say
from sslmd.daemon.api.asking import Following, Result, outcome_row
from sslmd.daemon.api.server import Client
from sslmd.daemon.api.users import denied
from sslmd.daemon.hub import Hub
from sslmd.daemon.registry import Entry
from sslmd.daemon.tell.journal import DEBUG
from sslmd.wire.messages import ErrorCode, Notice, Outcome, quoted
from sslmd.wire.params import Params

# Seconds after which it is looked how far things are, without an event.
LOOK = 0.5

# One server as one certificate sees it.
Part = tuple[CertId, Server]


class Deliveries:
    """Carries the methods `deliver` and `restart`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def deliver(self, client: Client, params: Params) -> dict[str, Any]:
        """Give servers what they should have, past any wait and whatever is known of them."""
        hosts = self._hosts(params.text("to"))
        which = self._hub.registry.select(params.certs())
        rows: dict[CertId, Result] = {}
        asked: list[CertId] = []
        for cert in which:
            entry = self._hub.registry[cert]
            if entry.hold:
                rows[cert] = (Outcome.FAILED, entry.hold)
            elif entry.state.curr is None or not entry.state.curr.complete:
                why = entry.unusable or Reason(Why.NO_CURR)
                nothing = Reason(Denied.NOTHING_TO_DELIVER, cert=cert, why=why)
                rows[cert] = (Outcome.UNNEEDED, nothing)
            elif params.text("to") and not any(host in hosts for _, host in entry.servers):
                not_for = Reason(Denied.NOT_FOR_HOST, cert=cert, host=Said(params.text("to")))
                rows[cert] = (Outcome.UNNEEDED, not_for)
            else:
                asked.append(cert)
        now = self._hub.site.now()

        def ours(cert: CertId, server: Server) -> bool:
            return cert in asked and server.host in hosts

        event = ServersWanting(now, frozenset(hosts))
        parts = await self._carry(client, params, asked, event, ours)
        for cert in asked:
            of_it = [server for one, server in parts if one == cert]
            rows[cert] = self._outcome(cert, of_it, params)
        return {"certs": [outcome_row(cert, *rows[cert]) for cert in which]}

    async def restart(self, client: Client, params: Params) -> dict[str, Any]:
        """Restart a server class on its hosts, and prove what it serves."""
        kind = self._kind(params.text("class"))
        hosts = self._hosts(params.text("to"))
        registry, now = self._hub.registry, self._hub.site.now()
        using = [
            cert
            for cert, entry in registry.entries.items()
            if any(_restartable(one, kind, hosts) for one in entry.state.servers)
        ]
        # Nothing is done for what is held; its class is restarted for the others all the same.
        asked = [cert for cert in using if registry[cert].hold is None]
        held = registry[using[0]].hold if using else None
        if held is not None and not asked:
            raise denied(held)

        def ours(_: CertId, server: Server) -> bool:
            return server.kind == kind and server.host in hosts

        event = RestartAsked(now, kind, frozenset(hosts))
        parts = await self._carry(client, params, asked, event, ours)
        rows = []
        for host in dict.fromkeys(server.host for _, server in parts):
            there = [server for _, server in parts if server.host == host]
            outcome, why = _together(there, params, Answered.RESTARTED)
            row = {"class": kind, "host": host, "outcome": str(outcome), "text": say(why)}
            rows.append({**row, **on_wire(why)})
        return {"servers": rows}

    # --- what is named ---

    def _hosts(self, named: str) -> set[str]:
        """Return the hosts that are meant, all for ""; a name may stand without its user."""
        known = set(hosts_of(self._hub.site.config))
        if not named:
            return known | {THIS_HOST}
        word = named.lower()
        found = {one for one in known if word in (one.lower(), one.rpartition("@")[2].lower())}
        if not found:
            why = Reason(Denied.NO_HOST, named=quoted(named), there=tuple(sorted(known)))
            raise denied(why, ErrorCode.INVALID_PARAMS)
        return found

    def _kind(self, named: str) -> str:
        kinds = class_order(self._hub.site.config)
        if named in kinds:
            return named
        there = tuple(kind for kind in kinds if kind != DNS)
        why = Reason(Denied.NO_CLASS, named=quoted(named), there=there)
        raise denied(why, ErrorCode.INVALID_PARAMS)

    # --- doing it ---

    async def _carry(
        self,
        client: Client,
        params: Params,
        asked: Collection[CertId],
        event: ServersWanting | RestartAsked,
        ours: Callable[[CertId, Server], bool],
    ) -> list[Part]:
        """Have it done, and wait for the end if that is wanted; return the servers."""
        hub = self._hub
        hosts = {server.host for _, server in self._parts(asked, ours)}
        with Following(hub.bus, lambda record: record.cert in asked) as following:
            with hub.loop.held_back("cert", *asked), hub.loop.held_back("hosts", *hosts):
                for cert in asked:
                    hub.registry.put(cert, event)
                for cert in asked:
                    await hub.ledger.written(cert)
            while params.flag("wait", default=True) and self._under_way(asked, ours):
                record = await following.next_within(LOOK)
                if record is not None and record.priority < DEBUG and record.event != "asked":
                    await client.notify(Notice.PROGRESS, record.as_json())
        return self._parts(asked, ours)

    def _parts(self, asked: Iterable[CertId], ours: Callable[[CertId, Server], bool]) -> list[Part]:
        registry = self._hub.registry
        return [
            (cert, server)
            for cert in asked
            if cert in registry
            for server in registry[cert].state.servers
            if ours(cert, server)
        ]

    def _under_way(self, asked: Iterable[CertId], ours: Callable[[CertId, Server], bool]) -> bool:
        """Whether something is still to come that does not wait for a time."""
        now = self._hub.site.now()
        for cert in asked:
            entry = self._hub.registry.entries.get(cert)
            if entry is None or entry.hold or _stuck(entry, now) is not None:
                continue
            curr = entry.state.curr
            if curr is not None and entry.state.delivered.curr != curr.name:
                return True
        hosts = self._hub.hosts
        return any(hosts.is_coming(cert, one, now) for cert, one in self._parts(asked, ours))

    def _outcome(self, cert: CertId, servers: list[Server], params: Params) -> Result:
        entry = self._hub.registry.entries.get(cert)
        if entry is None:
            return (Outcome.FAILED, Reason(Ended.NOT_CONFIGURED))
        if entry.hold:
            return (Outcome.FAILED, entry.hold)
        stuck = _stuck(entry, self._hub.site.now())
        if stuck is not None:
            return (Outcome.FAILED, told(stuck))
        return _together(servers, params, Answered.DELIVERED)


def _stuck(entry: Entry, now: datetime) -> Trouble | None:
    """Return the failure of the delivery that is waited out; a renewal is no part of it."""
    return blocking(entry.state.delivery_trouble, entry.wanted, now)


def _restartable(server: Server, kind: str, hosts: Collection[str]) -> bool:
    return (
        server.kind == kind
        and server.host in hosts
        and server.set is not None
        and server.phase is not ServerPhase.PENDING
    )


def _together(servers: list[Server], params: Params, done: Answered) -> Result:
    """Return how it stands with some servers, as one outcome."""
    if not params.flag("wait", default=True):
        return (Outcome.ACCEPTED, Reason(Ended.TO_COME))
    errors = dict.fromkeys(
        Reason(Answered.SERVER_FAILED, kind=one.kind, host=one.host, error=Said(one.error))
        for one in servers
        if one.attempts
    )
    if errors:
        return (Outcome.FAILED, Reason(Answered.SERVERS_FAILED, errors=tuple(errors)))
    if waiting := [one for one in servers if one.phase not in DONE]:
        places = tuple(Reason(Answered.PLACES, kind=one.kind, host=one.host) for one in waiting)
        return (Outcome.WAITING, Reason(Answered.WINDOW_OF, servers=places))
    at: dict[tuple[str, str], list[Server]] = {}
    for one in servers:
        at.setdefault((one.kind, one.host), []).append(one)
    if not at:
        return (Outcome.DONE, Reason(Answered.NO_SERVER_HAS))
    return (Outcome.DONE, Reason(done, servers=tuple(map(_seen, at.values()))))


def _seen(servers: list[Server]) -> Reason:
    """Return a place, and why it was not seen what it uses: how it stands with each certificate."""
    whys = [
        one.unseen.why
        for one in servers
        if one.phase is ServerPhase.RESTARTED and one.unseen is not None and not one.unseen.meant
    ]
    why = tuple(dict.fromkeys(whys))
    kind, host = servers[0].kind, servers[0].host
    if len(whys) == len(servers):
        return Reason(Answered.PLACES, kind=kind, host=host, every=why)
    some, of = len(whys) or None, len(servers)
    return Reason(Answered.PLACES, kind=kind, host=host, some=some, all=of, why=why)
