"""Everything of a CA anew: the method `replace`, its forecast, and how far it is.

Each certificate is asked for as `force-renew` asks for it, and noted with it: how many they are
(`Ask.batch`) is all that is known of the whole. The limits of the CA pace them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sslmd.core.buckets import Forecast
from sslmd.core.jobs import Pool
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, on_wire
from sslmd.core.spec import AcmeCa, OwnCa
from sslmd.core.told import Answered, Denied
from sslmd.core.words.sentence import say
from sslmd.daemon.api.asking import Batch
from sslmd.daemon.api.requests import Requests
from sslmd.daemon.api.server import Client
from sslmd.daemon.api.users import denied
from sslmd.daemon.hub import Hub
from sslmd.daemon.loop import PLACES
from sslmd.daemon.registry import Entry
from sslmd.daemon.tell.journal import Record
from sslmd.wire.messages import ErrorCode, Method, Notice, RpcRequest
from sslmd.wire.params import Params

# Seconds between two lines on how far it is.
TELLS = 5.0


def ca_of(entry: Entry) -> str:
    """Return the name of the CA that signs a certificate, "" for a root."""
    signer = entry.wanted.spec.signer
    if isinstance(signer, AcmeCa):
        return signer.name
    return signer.cert.service if isinstance(signer, OwnCa) else ""


@dataclass(frozen=True, slots=True)
class BatchStanding:
    """How far a replacement is. `failed` are tried again, and wait until then."""

    ca: str
    asked: datetime
    number: int
    waiting: int
    failed: int
    last: datetime

    @property
    def reason(self) -> Reason:
        """Return it as a reason."""
        return Reason(
            Answered.REPLACING,
            ca=self.ca,
            number=self.number,
            done=max(self.number - self.waiting - self.failed, 0),
            failed=self.failed or None,
            waiting=self.waiting,
            at=self.last if self.waiting else None,
        )


def standings(hub: Hub, now: datetime) -> list[BatchStanding]:
    """Return how far every replacement is that is not done."""
    found: dict[tuple[str, datetime], list[CertId]] = {}
    for cert, entry in hub.registry.entries.items():
        ask = entry.state.ask
        if ask is not None and ask.batch:
            found.setdefault((ca_of(entry), ask.at), []).append(cert)
    told = []
    for (ca, asked), which in found.items():
        entries = [hub.registry[cert] for cert in which]
        failed = {
            cert
            for cert, entry in zip(which, entries, strict=True)
            if entry.state.trouble is not None and entry.state.trouble.at >= asked
        }
        left = [cert for cert in which if cert not in failed]
        ask = entries[0].state.ask
        assert ask is not None
        last = _forecast(hub, ca, left, now, trial=False).last
        told.append(BatchStanding(ca, asked, ask.batch, len(left), len(failed), last))
    return told


def rows(hub: Hub) -> list[dict[str, Any]]:
    """Return what `status` says of replacements (docs/socket-api.md)."""
    return [
        {"text": say(one.reason), **on_wire(one.reason, "text")}
        for one in standings(hub, hub.site.now())
    ]


def _forecast(
    hub: Hub, name: str, which: Iterable[CertId], now: datetime, *, trial: bool
) -> Forecast:
    ca = hub.site.config.cas.get(name)
    if ca is None or ca.is_own:
        number = len(list(which))  # about a second for key and signature
        return Forecast(number, now + timedelta(seconds=number))
    places = PLACES[Pool.ACME]
    return hub.certs.pacing.forecast(ca, which, now, places, trial=trial)


class Replacing:
    """Carries the method `replace`."""

    def __init__(self, hub: Hub, requests: Requests) -> None:
        self._hub, self._requests = hub, requests

    async def replace(self, client: Client, params: Params) -> dict[str, Any]:
        """Tell how long it takes, and do it, unless only that was asked for (`forecast`)."""
        trial, revoked = params.flag("dry_run"), params.flag("revoked")
        if trial and revoked:
            raise denied(Reason(Denied.DRILL_REVOKED), ErrorCode.INVALID_PARAMS)
        acme = {ca for ca, one in self._hub.site.config.cas.items() if not one.is_own}
        chosen = self._chosen(params, acme if trial else None)
        now = self._hub.site.now()
        ahead = {
            ca: _forecast(self._hub, ca, which, now, trial=trial) for ca, which in chosen.items()
        }
        told = [
            {"ca": ca, "number": one.number, "text": say(why), **on_wire(why, "text")}
            for ca, one in ahead.items()
            for why in [_ahead(ca, one, now, acme=ca in acme)]
        ]
        if params.flag("forecast"):
            return {"forecast": told, "certs": []}
        batches = {
            ca: Batch(tuple(which), now, 0 if trial else len(which), revoked)
            for ca, which in chosen.items()
        }
        every = [cert for which in chosen.values() for cert in which]
        wanted = {
            "force": not trial,
            "all": True,
            "dry_run": trial,
            "wait": params.flag("wait", default=True),
        }
        asks = Params(RpcRequest(None, Method.RENEW, wanted))
        telling = asyncio.ensure_future(self._tell(client, every, trial=trial))
        try:
            results = await asyncio.gather(
                *(self._requests.renew(client, asks, batch) for batch in batches.values())
            )
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
        return {"forecast": told, "certs": [row for one in results for row in one["certs"]]}

    def _chosen(self, params: Params, only: Collection[str] | None) -> Mapping[str, list[CertId]]:
        """Return what is replaced, by its CA. `only`: of these CAs."""
        name, every = params.text("ca"), params.flag("all")
        if bool(name) == every:
            raise denied(Reason(Denied.CA_OR_ALL), ErrorCode.INVALID_PARAMS)
        registry, found = self._hub.registry, dict[str, list[CertId]]()
        for cert in registry.managed():
            entry = registry[cert]
            # Of the site's own CAs those that are named: a root is never replaced with all else.
            if every and entry.wanted.spec.ca is not None:
                continue
            if (ca := ca_of(entry)) and (every or ca == name):
                found.setdefault(ca, []).append(cert)
        if only is not None:
            found = {ca: which for ca, which in found.items() if ca in only}
        if not found:
            there = sorted({ca for entry in registry.entries.values() if (ca := ca_of(entry))})
            raise denied(Reason(Denied.NOTHING_OF_CA, named=name or None, there=tuple(there)))
        return found

    async def _tell(self, client: Client, which: Sequence[CertId], *, trial: bool) -> None:
        """Tell the client how far it is, again and again."""
        number, last = len(which), None
        while True:
            await asyncio.sleep(TELLS)
            if trial:
                left = sum(
                    cert in self._hub.registry and self._hub.registry[cert].state.trial is not None
                    for cert in which
                )
                lines = [Reason(Answered.DRILLING, done=number - left, number=number)]
            else:
                now = self._hub.site.now()
                lines = [one.reason for one in standings(self._hub, now)]
            line = lines[0].also(*lines[1:]) if lines else None
            if line is not None and line != last:
                told = Record(self._hub.site.now(), "replacing", line)
                await client.notify(Notice.PROGRESS, told.as_json())
            last = line


def _ahead(ca: str, one: Forecast, now: datetime, *, acme: bool) -> Reason:
    """Return a forecast as a reason."""
    return Reason(
        Answered.FORECAST,
        number=one.number,
        ca=ca,
        span=timedelta(seconds=round((one.last - now).total_seconds())),
        at=one.last,
        limit=str(one.bound) if one.bound is not None else None,
        most=one.rate.most if one.rate is not None else None,
        every=one.rate.every if one.rate is not None else None,
        places=PLACES[Pool.ACME] if one.number > PLACES[Pool.ACME] and acme else None,
    )
