"""The methods of the socket (docs/socket-api.md): reading for all, changing for admins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, assert_never

from sslmd.acme.orders import Challenge
from sslmd.core.errors import ConfigError, SslmError
from sslmd.core.names import CertId, GroupName, SetName, ZoneName
from sslmd.core.reason import Held, Reason, Said, on_wire
from sslmd.core.told import Answered, Denied
from sslmd.core.words.sentence import say
from sslmd.daemon.api import documents, limits
from sslmd.daemon.api.accounts import AccountMethods
from sslmd.daemon.api.alarm_methods import AlarmMethods
from sslmd.daemon.api.asking import Asking, Following, Result
from sslmd.daemon.api.deliveries import Deliveries
from sslmd.daemon.api.http_tests import HttpTests
from sslmd.daemon.api.metrics_document import metrics
from sslmd.daemon.api.plan_document import plan
from sslmd.daemon.api.replacing import Replacing
from sslmd.daemon.api.requests import Requests
from sslmd.daemon.api.server import Client
from sslmd.daemon.api.status_document import StatusDocument
from sslmd.daemon.api.users import denied, gently
from sslmd.daemon.held import is_held
from sslmd.daemon.hub import Hub
from sslmd.daemon.registry import UnknownCertError
from sslmd.daemon.tell.journal import Record
from sslmd.wire.messages import (
    ErrorCode,
    Method,
    Notice,
    Notification,
    Outcome,
    Response,
    RpcRequest,
    encode_plain,
)
from sslmd.wire.params import Params
from sslmd.workers.settle import clean, clean_inactive

_CHANGING = frozenset(
    {
        Method.RENEW,
        Method.REPLACE,
        Method.ROLL,
        Method.DELIVER,
        Method.RESTART,
        Method.CLEAN,
        Method.RELOAD,
        Method.CANCEL,
        Method.FORGET,
        Method.CHALLENGE,
        Method.DNS_REFRESH,
        Method.HTTP_TEST,
        Method.ACCOUNT,
        Method.SILENCE,
        Method.NOTIFY,
    }
)
# What they are about is read again where it is held: its files may be right by now.
_FOR_CERTS = frozenset({Method.RENEW, Method.ROLL, Method.DELIVER, Method.CLEAN, Method.CANCEL})
# Certificates. For more, that are not named, nobody is made to wait.
_MOST_HELD = 200

Reload = Callable[[], Awaitable[dict[str, Any]]]


class Methods:
    """Answers requests. `reload` loads the configuration anew; it raises `ConfigError`."""

    def __init__(self, hub: Hub, reload: Reload, started: datetime, pid: int) -> None:
        self._hub = hub
        self._select = hub.registry.select
        self._asking = Asking(hub)
        self._requests = Requests(hub, self._asking)
        self._replacing = Replacing(hub, self._requests)
        self._deliveries = Deliveries(hub)
        self.http_tests = HttpTests(hub.site, hub.threads, hub.telling, hub.locality)
        self._accounts = AccountMethods(hub)
        self._alarms = AlarmMethods(hub)
        self._reload = reload
        self._started = started
        self._status = StatusDocument(hub, started, pid)

    async def handle(self, client: Client, request: RpcRequest) -> Sequence[bytes]:
        """Answer one request with a line, in pieces; raises `WireError` for what is refused."""
        params = Params(request)
        if params.method in _CHANGING and not client.may_change:
            why = Reason(Denied.NOT_PERMITTED, method=params.method, uid=client.uid)
            raise denied(why, ErrorCode.NOT_PERMITTED)
        try:
            if params.method in _FOR_CERTS:
                await self._look_at_held(params)
            return await self._dispatch(client, request, params)
        except UnknownCertError as err:
            raise denied(err.reason, ErrorCode.UNKNOWN_CERT) from None
        except ConfigError as err:
            then = self._hub.refused.consequence if self._hub.refused else None
            raise denied(
                Reason(Denied.CONFIG_MISTAKES, count=len(err.mistakes), then=then),
                ErrorCode.CONFIG_REFUSED,
                mistakes=[str(mistake) for mistake in err.mistakes],
                warnings=[str(warning) for warning in err.warnings],
            ) from None
        except SslmError as err:
            raise denied(err.reason) from None

    async def _dispatch(
        self, client: Client, request: RpcRequest, params: Params
    ) -> Sequence[bytes]:
        match params.method:
            case Method.STATUS:
                named = params.certs()
                which = None if named is None else self._select(named)
                return await self._status.answer(request.id, which, client.user.turn)
            case Method.SHOW:
                result: Any = await self._show(client, params)
            case Method.CONFIG:
                result = documents.config(self._hub)
            case Method.PLAN:
                some = self._select(params.certs())
                async with client.user.making():
                    result = {"jobs": await plan(self._hub, some, client.user.turn)}
            case Method.EVENTS:
                result = await self._events(client, params)
            case Method.RENEW:
                result = await self._requests.renew(client, params)
            case Method.REPLACE:
                result = await self._replacing.replace(client, params)
            case Method.ROLL:
                result = await self._requests.roll(client, params)
            case Method.DELIVER:
                result = await self._deliveries.deliver(client, params)
            case Method.RESTART:
                result = await self._deliveries.restart(client, params)
            case Method.CLEAN:
                result = await self._clean(params)
            case Method.CANCEL:
                result = await self._cancel(params)
            case Method.FORGET:
                result = await self._forget(params)
            case Method.RELOAD:
                result = await self._reload()
            case Method.CHALLENGE:
                result = await self._challenge(client, params)
            case Method.HTTP_TEST:
                result = await self.http_tests.run(client)
            case Method.ACCOUNTS:
                result = await self._accounts.listed(client, params)
            case Method.ACCOUNT:
                result = await self._accounts.change(params)
            case Method.DANE:
                result = await self._dane(client, params)
            case Method.DNS_REFRESH:
                result = await self._dns_refresh(params)
            case Method.ALARMS:
                result = self._alarms.listed()
            case Method.SILENCE:
                result = await self._alarms.silence(client, params)
            case Method.NOTIFY:
                result = await self._alarms.notify(params)
            case Method.METRICS:
                result = metrics(self._hub, self._started)
            case Method.PING:
                result = {}
            case _:
                assert_never(params.method)
        return (encode_plain(Response(request.id, result)),)

    async def _look_at_held(self, params: Params) -> None:
        which = self._select(params.certs())
        held = [cert for cert in which if is_held(self._hub.registry[cert])]
        if params.certs() is not None or len(held) <= _MOST_HELD:
            await self._hub.look_at_held(held)

    # --- reading ---

    async def _show(self, client: Client, params: Params) -> dict[str, Any]:
        which = self._select([params.cert()])
        if len(which) != 1:
            raise denied(Reason(Denied.ONE_CERT), ErrorCode.INVALID_PARAMS)
        async with client.user.making():
            return await documents.show(self._hub, which[0], client.user.spend)

    async def _events(self, client: Client, params: Params) -> dict[str, Any]:
        names = params.certs()
        chosen = None if names is None else set(self._select(names))

        def fits(record: Record) -> bool:
            return chosen is None or record.cert in chosen

        backlog = [record for record in self._hub.bus.recent() if fits(record)]
        if not params.flag("follow"):
            await client.send(b"".join(map(_event, backlog)))
            return {"count": len(backlog)}
        with client.user.following(), Following(self._hub.bus, fits) as following:
            await client.send(b"".join(map(_event, backlog)))
            while not client.gone:
                record = await following.next_within(limits.STILL_THERE)
                if record is not None:
                    await client.send(_event(record))
        return {"count": len(backlog)}

    async def _dane(self, client: Client, params: Params) -> dict[str, Any]:
        """Tell what a comparison of DNS, ports and keys finds: one of now, or a minute old.

        An admin may say `now`: after something was put right, that minute is long.
        """
        again = params.flag("now")
        if again and not client.may_change:
            why = Reason(Denied.NOW_NOT_PERMITTED, uid=client.uid, seconds=limits.ASKED_EVERY)
            raise denied(why, ErrorCode.NOT_PERMITTED)
        which = [cert for cert in self._select(params.certs()) if self._has_dane(cert)]
        zones = dict.fromkeys(ZoneName(cert.group) for cert in which)
        watch = self._hub.zones.watch
        fresh = await asyncio.gather(*(watch(zone, again=again) for zone in zones))
        asked = dict(zip(zones, fresh, strict=True))
        rows = []
        async with client.user.making():
            async for cert in gently(which, client.user.turn):
                if self._has_dane(cert):
                    row = documents.dane(self._hub, cert)
                    rows.append({**row, "fresh": asked[ZoneName(cert.group)]})
        return {"certs": rows}

    def _has_dane(self, cert: CertId) -> bool:
        return cert in self._hub.registry and self._hub.registry[cert].wanted.dane

    # --- changing ---

    async def _clean(self, params: Params) -> dict[str, Any]:
        removed: list[tuple[CertId, SetName]] = []
        keep = params.count_if_given("keep")
        for cert in self._select(params.certs()):
            if self._hub.queue.busy(f"cert {cert}"):
                continue  # its own job cleans up when it settles
            removed += [
                (cert, name)
                for name in await clean(
                    cert,
                    self._hub.site,
                    self._hub.threads,
                    self._hub.standings,
                    keep,
                )
            ]
        if params.flag("inactive"):
            removed += await clean_inactive(self._hub.site, self._hub.threads, keep)
        return {"removed": [{"cert": str(cert), "set": str(name)} for cert, name in removed]}

    async def _cancel(self, params: Params) -> dict[str, Any]:
        cancelled = [
            {"cert": str(cert), "text": say(what), **on_wire(what)}
            for cert in self._select(params.certs())
            if (what := await self._asking.cancel(cert))
        ]
        return {"cancelled": cancelled}

    async def _forget(self, params: Params) -> dict[str, Any]:
        """Forget a host that is in no class any more; says what it still has."""
        notes, leaving = self._hub.hosts.notes, params.flag("leaving", default=False)
        host = params.text("host")
        note = await notes.forget(host, leaving=leaving)
        return {
            "host": host,
            "forgotten": leaving or not (note.holds or note.older),
            "holds": sorted(map(str, note.holds)),
            "prod": " and ".join(note.places) or None,
        }

    async def _challenge(self, client: Client, params: Params) -> dict[str, Any]:
        """Take in what certbot's hook hands over; the last of an order waits for its proof."""
        order = self._hub.ordering.orders.find(params.text("order"))
        challenge = Challenge(params.text("name"), params.text("value"), params.text("token"))
        match params.text("action"):
            case "auth":
                remaining = params.count("remaining")
                order.check(challenge, remaining, client.pid)
                offer = asyncio.ensure_future(order.offer(challenge, remaining))
                gone = asyncio.ensure_future(client.hung_up.wait())
                try:
                    await asyncio.wait({offer, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if not offer.done():
                        order.lose()
                    await offer
                finally:
                    offer.cancel()
                    gone.cancel()
            case "cleanup":
                pass  # everything of an order is taken back at once, at its end
            case other:
                why = Reason(Denied.ACTION, named=repr(other))
                raise denied(why, ErrorCode.INVALID_PARAMS)
        return {}

    async def _dns_refresh(self, params: Params) -> dict[str, Any]:
        """Write the records of the named certificates' zones again, and have them served.

        All zones at a time, so that one in trouble delays no other (I6).
        """
        groups = dict.fromkeys(cert.group for cert in self._select(params.certs()))
        zones = [ZoneName(group) for group in groups if group != GroupName.CA]
        results = await asyncio.gather(*map(self._refreshed, zones))
        rows = zip(zones, results, strict=True)
        return {
            "zones": [
                {"zone": str(zone), "outcome": str(how), "text": say(why), **on_wire(why)}
                for zone, (how, why) in rows
            ]
        }

    async def _command_run(self, zone: ZoneName) -> Reason:
        await self._hub.means.runs.ask(zone)
        return Reason(Answered.COMMAND_RUN)

    async def _refreshed(self, zone: ZoneName) -> Result:
        """Give both kinds of records of a zone to DNS; return how that went."""
        hub = self._hub
        dns = hub.site.config.dns
        parts: list[Awaitable[Reason | None]] = [self._hub.zones.refresh(zone)]
        if dns.acme_dirs or hub.means.updated(zone):
            parts.append(hub.ordering.challenges.refresh(zone))
        elif dns.restart and not dns.tlsa_dirs:
            parts.append(self._command_run(zone))  # for a zone that has no file of ours
        done: list[Reason] = []
        failed: list[Reason] = []
        for result in await asyncio.gather(*parts, return_exceptions=True):
            if isinstance(result, SslmError):
                failed.append(result.reason.of(None))
            elif isinstance(result, BaseException):
                why = Reason(Held.OWN_ERROR, error=Said(repr(result)))
                hub.telling.bug(f"zone {zone}: {say(why)}", result)
                failed.append(why)
            elif result is not None:
                done.append(result)
        # One command serves both kinds, and fails for both with the same words.
        texts = tuple(dict.fromkeys((*failed, *done)))
        if not texts:
            return (Outcome.UNNEEDED, Reason(Answered.NOTHING_TO_REFRESH))
        how = Outcome.FAILED if failed else Outcome.DONE
        return (how, Reason(Answered.REFRESHED, texts=texts))


@lru_cache(maxsize=2000)  # of one record there is one line, however many clients follow
def _event(record: Record) -> bytes:
    return encode_plain(Notification(Notice.EVENT, record.as_json()))
