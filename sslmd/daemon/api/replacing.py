"""Everything of a CA is replaced: the method `replace`, its forecast, and how far it is.

Each certificate is asked for as `force-renew` asks for it, and noted with it: how many they are
(`Ask.batch`) is all that is known of the whole. The limits of the CA pace them. One that is asked
for again while it is under way goes on as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sslmd.config.model import CaInfo, Engines
from sslmd.core.forecast import Forecast
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, on_wire
from sslmd.core.spec import AcmeCa, OwnCa
from sslmd.core.state import CertState
from sslmd.core.told import Answered, Denied
from sslmd.core.words.sentence import say
from sslmd.daemon.api.asking import Batch, is_of_batch, made_since
from sslmd.daemon.api.requests import Requests
from sslmd.daemon.api.server import Client
from sslmd.daemon.api.users import denied
from sslmd.daemon.hub import Hub
from sslmd.daemon.order_work import places_of
from sslmd.daemon.registry import Entry
from sslmd.daemon.tell.journal import Record
from sslmd.wire.messages import ErrorCode, Method, Notice, RpcRequest
from sslmd.wire.params import Params

# Seconds between two lines on how far it is.
TELLS = 5.0

# Bounds of a forecast that differ by no more are told as one.
ONE = 1.1


def ca_of(entry: Entry) -> str:
    """Return the name of the CA that signs a certificate, "" for a root."""
    signer = entry.wanted.spec.signer
    if isinstance(signer, AcmeCa):
        return signer.name
    return signer.cert.service if isinstance(signer, OwnCa) else ""


@dataclass(frozen=True, slots=True)
class BatchStanding:
    """How far a replacement is. `failed` are tried again, and wait until then.

    `refused`: what was not accepted, was dropped by the plan, or cancelled by an admin.
    """

    ca: str
    asked: datetime
    number: int
    done: int
    waiting: int
    failed: int
    refused: int
    last: datetime

    @property
    def reason(self) -> Reason:
        """Return it as a reason."""
        return Reason(
            Answered.REPLACING,
            ca=self.ca,
            number=self.number,
            done=self.done,
            failed=self.failed or None,
            refused=self.refused or None,
            waiting=self.waiting,
            at=self.last if self.waiting else None,
        )


def standings(hub: Hub, now: datetime) -> list[BatchStanding]:
    """Return how far every replacement is that is not done."""
    coming = _coming(hub)
    if not coming:
        return []
    every = [cert for which in coming.values() for cert in which]
    others: dict[str, list[CertState]] = {}
    for cert in set(hub.registry.managed()).difference(every):
        others.setdefault(ca_of(hub.registry[cert]), []).append(hub.registry[cert].state)
    told = []
    for (ca, asked), which in coming.items():
        states = {cert: hub.registry[cert].state for cert in which}
        left = [cert for cert in which if not _has_failed(states[cert], asked)]
        number = max(one.ask.batch for one in states.values() if one.ask is not None)
        ended = max(number - len(which), 0)
        done = min(sum(made_since(one, asked) is not None for one in others.get(ca, ())), ended)
        last = _forecast(hub, ca, left, every, now, trial=False).latest
        counts = number, done, len(left), len(which) - len(left), ended - done
        told.append(BatchStanding(ca, asked, *counts, last))
    return told


def _coming(hub: Hub) -> dict[tuple[str, datetime], list[CertId]]:
    """Return what is still to be renewed by replacements, by its CA and since when."""
    found: dict[tuple[str, datetime], list[CertId]] = {}
    for cert, entry in hub.registry.entries.items():
        if entry.state.ask is not None and is_of_batch(entry.state):
            found.setdefault((ca_of(entry), entry.state.ask.at), []).append(cert)
    return found


def _has_failed(state: CertState, since: datetime) -> bool:
    return state.trouble is not None and state.trouble.at >= since


def rows(hub: Hub) -> list[dict[str, Any]]:
    """Return what `status` says of replacements (docs/socket-api.md)."""
    return [
        {"text": say(one.reason), **on_wire(one.reason, "text")}
        for one in standings(hub, hub.site.now())
    ]


def _forecast(
    hub: Hub,
    name: str,
    which: Collection[CertId],
    beside: Collection[CertId],
    now: datetime,
    *,
    trial: bool,
) -> Forecast:
    """`beside`: what is ordered meanwhile, of whichever CA."""
    ca = hub.site.config.cas.get(name)
    if ca is None or ca.is_own:
        # About a second for key and signature.
        last = now + timedelta(seconds=len(which))
        return Forecast(len(which), last, last)
    return hub.certs.pacing.forecast(ca, which, beside, now, trial=trial)


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
        batches = self._batches(chosen, now, revoked=revoked, trial=trial)
        told = self._ahead(batches, now, trial=trial)
        if params.flag("forecast"):
            return {"forecast": told, "certs": []}
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

    def _batches(
        self, chosen: Mapping[str, list[CertId]], now: datetime, *, revoked: bool, trial: bool
    ) -> dict[str, Batch]:
        """Return what is asked for together, by its CA: with what is under way since before."""
        if trial:
            return {ca: Batch(tuple(which), now, 0, revoked) for ca, which in chosen.items()}
        began = dict(sorted(_coming(self._hub), reverse=True))  # the first of several
        return {
            ca: Batch(tuple(which), began.get(ca, now), len(which), revoked, ca in began)
            for ca, which in chosen.items()
        }

    def _ahead(
        self, batches: Mapping[str, Batch], now: datetime, *, trial: bool
    ) -> list[dict[str, Any]]:
        """Return the forecasts: of what is not done yet."""
        registry = self._hub.registry
        left = {
            ca: [cert for cert in one.which if one.done(registry[cert].state) is None]
            for ca, one in batches.items()
        }
        beside = {cert for which in left.values() for cert in which}
        if not trial:
            beside.update(*_coming(self._hub).values())
        told = []
        for ca, which in left.items():
            found = _forecast(self._hub, ca, which, beside, now, trial=trial)
            why = _forecast_told(ca, found, now, self._hub.site.config.cas.get(ca))
            row = {"ca": ca, "number": found.number, "text": say(why), **on_wire(why, "text")}
            told.append(row)
        return told

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


def _forecast_told(ca: str, one: Forecast, now: datetime, info: CaInfo | None) -> Reason:
    """Return a forecast as a reason. `info`: of its CA, None where that is not known."""
    least, most = (_whole(at - now) for at in (one.soonest, one.latest))
    crowded = info if one.crowded else None
    by_engine = crowded is not None and crowded.engine is Engines.ENGINE
    return Reason(
        Answered.FORECAST,
        number=one.number,
        ca=ca,
        least=least if most > least * ONE else None,
        span=most,
        at=one.latest,
        limit=str(one.bound) if one.bound is not None else None,
        most=one.rate.most if one.rate is not None else None,
        every=one.rate.every if one.rate is not None else None,
        places=places_of(crowded) if crowded is not None and not by_engine else None,
        requests=crowded.requests if crowded is not None and by_engine else None,
    )


def _whole(span: timedelta) -> timedelta:
    return timedelta(seconds=round(span.total_seconds()))
