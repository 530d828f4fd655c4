"""Renewals and rolls that an admin asks for: accepted or refused at once, then waited for.

What was accepted stands in state.toml and is done, over crashes too; the client that asked may
go away meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sslmd.core.gate import harm_of
from sslmd.core.names import CertId
from sslmd.core.plan import decide
from sslmd.core.spec import AcmeCa
from sslmd.core.state import Ask, CertState, Phase, ServerPhase, TrialAsk, TrialKind
from sslmd.core.state import Request as What
from sslmd.core.view import clock
from sslmd.daemon import stories
from sslmd.daemon.asking import Asking
from sslmd.daemon.book import Entry
from sslmd.daemon.following import Following
from sslmd.daemon.journal import DEBUG, Record
from sslmd.daemon.planner import Planner
from sslmd.daemon.server import Client
from sslmd.wire.messages import Code, Notice, Outcome, WireError
from sslmd.wire.params import Params

# Seconds after which a waiting client's certificates are looked at without an event.
LOOK = 1.0

_TRIALS = {"test": TrialKind.TEST, "dry_run": TrialKind.DRY_RUN}

Result = tuple[Outcome, str]


class Requests:
    """Carries the methods `renew` and `roll`."""

    def __init__(self, planner: Planner, asking: Asking) -> None:
        self._planner = planner
        self._asking = asking

    async def renew(self, client: Client, params: Params) -> dict[str, Any]:
        """Renew what is due; with `force` whatever is named, in place of a `next` on deck."""
        names, force, reuse = params.certs(), params.flag("force"), params.flag("reuse")
        if kind := _trial_kind(params):
            return await self._try_out(client, params, kind)
        if force and names is None and not params.flag("all"):
            raise WireError(Code.INVALID_PARAMS, "a forced renewal of everything wants all = true")

        def ask(cert: CertId, entry: Entry) -> Ask | Result:  # noqa: ARG001
            next_ = entry.state.next
            # A key that was made ahead is there to be used by just this renewal.
            ahead = entry.wanted.next_ahead and not reuse and next_ and next_.cert is None
            replaces = next_.name if force and next_ and not ahead else None
            return Ask(What.RENEW, self._planner.tools.now(), force, reuse, replaces)

        return await self._carry(client, params, ask)

    async def _try_out(self, client: Client, params: Params, kind: TrialKind) -> dict[str, Any]:
        names = params.certs()

        def ask(cert: CertId, entry: Entry) -> TrialAsk | Result:
            signer = entry.wanted.spec.signer
            now = self._planner.tools.now()
            if isinstance(signer, AcmeCa):
                if problem := _why_no_trial(cert, entry, now):
                    if names is None:
                        return (Outcome.WAITING, problem)
                    raise WireError(Code.REFUSED, problem)
                return TrialAsk(kind, now)
            text = f"{cert} is not from an ACME CA: there is no test server to ask"
            if names is None:
                return (Outcome.UNNEEDED, text)
            raise WireError(Code.REFUSED, text)

        return await self._carry(client, params, ask)

    async def roll(self, client: Client, params: Params) -> dict[str, Any]:
        """Roll what is on deck; too early it is refused, unless with `force`."""
        names, force = params.certs(), params.flag("force")
        warnings: dict[CertId, str] = {}

        def ask(cert: CertId, entry: Entry) -> Ask | Result:
            problem = self._why_not_roll(cert, entry, force=force)
            if problem is None:
                view = self._planner.book.view(cert)
                if force and (harm := harm_of(view, self._planner.tools.now())):
                    warnings[cert] = f"before the wait for its TLSA records is over: {harm}"
                return Ask(What.ROLL, self._planner.tools.now(), force)
            if names is None:
                return (Outcome.UNNEEDED, problem)
            raise WireError(Code.REFUSED, problem)

        return await self._carry(client, params, ask, warnings)

    def _why_not_roll(self, cert: CertId, entry: Entry, *, force: bool) -> str | None:
        next_ = entry.state.next
        if next_ is None or not next_.complete:
            return f"{cert} has nothing on deck to roll; sslmctl force-renew {cert.arg} makes it"
        ask = entry.state.ask
        if ask is not None and ask.what is What.RENEW and ask.force:
            return f"{cert} is being renewed as an admin asked; roll it when that is done"
        if force:
            return None
        now = self._planner.tools.now()
        ahead = decide(self._planner.book.view(cert), now)
        if ahead.roll_at is not None and ahead.roll_at > now:
            why = "when min_roll_mins is over"
            if "TLSA" in ahead.text:
                why = f"({ahead.text.partition('; rolls at')[0]})"
            return f"{cert} rolls by itself at {clock(ahead.roll_at)}, {why}; --force rolls it now"
        if ahead.job is None and ahead.event is None and ahead.stuck is None:
            return f"{cert}: {ahead.text}"
        return None

    async def _carry(
        self,
        client: Client,
        params: Params,
        make: Callable[[CertId, Entry], Ask | TrialAsk | Result],
        warnings: Mapping[CertId, str] | None = None,
    ) -> dict[str, Any]:
        """Accept for all or refuse for all; then wait for the ends, telling of progress."""
        book = self._planner.book
        which = book.select(params.certs())
        held = next((book[cert].hold for cert in which if book[cert].hold), "")
        if held and params.certs() is not None:
            raise WireError(Code.REFUSED, held)
        asks: dict[CertId, Ask | TrialAsk] = {}
        results: dict[CertId, Result] = {}
        for cert in which:
            entry = book[cert]
            made = (Outcome.FAILED, entry.hold) if entry.hold else make(cert, entry)
            if isinstance(made, Ask | TrialAsk):
                asks[cert] = made
            else:
                results[cert] = made
        for cert, text in (warnings or {}).items():
            told = {"cert": str(cert), "event": "warning", "text": text}
            await client.notify(Notice.PROGRESS, told)
        with Following(self._planner.bus, lambda record: record.cert in asks) as following:
            for cert, ask in asks.items():
                if isinstance(ask, TrialAsk):
                    await self._asking.try_out(cert, ask)
                else:
                    await self._asking.ask(cert, ask)
            if params.flag("wait", default=True):
                results.update(await self._wait(client, asks, following))
            else:
                results.update(dict.fromkeys(asks, (Outcome.ACCEPTED, "it will be done")))
        rows = [(cert, *results[cert]) for cert in which]
        return {"certs": [{"cert": str(c), "outcome": str(o), "text": t} for c, o, t in rows]}

    async def _wait(
        self, client: Client, asks: dict[CertId, Ask | TrialAsk], following: Following
    ) -> dict[CertId, Result]:
        results: dict[CertId, Result] = {}
        while len(results) < len(asks):
            record = await following.next_within(LOOK)
            if record is None:
                for waiting in asks.keys() - results.keys():
                    if resting := self._at_rest(waiting, asks[waiting]):
                        results[waiting] = resting
                continue
            cert = record.cert
            if cert is None or cert in results:
                continue
            if record.priority < DEBUG:
                told = {"cert": str(cert), "event": record.event, "text": record.text}
                await client.notify(Notice.PROGRESS, told)
            if ended := self._ended(cert, asks[cert], record):
                results[cert] = ended
        return results

    def _ended(self, cert: CertId, ask: Ask | TrialAsk, record: Record) -> Result | None:
        """Return how the request ended, if this record is its end."""
        if isinstance(ask, TrialAsk):
            ends = {"trial-ended": Outcome.DONE, "trial-failed": Outcome.FAILED}
            return (ends[record.event], record.text) if record.event in ends else None
        match ask.what, record.event:
            case _, "attempt-failed":
                return (Outcome.FAILED, record.text)
            case _, "ask-dropped":
                return (Outcome.UNNEEDED, record.text.removeprefix(stories.DROPPED))
            case What.RENEW, "cert-issued":
                entry = self._planner.book.entries.get(cert)
                on_deck = entry is not None and entry.state.next is not None
                return (Outcome.DONE, f"{record.text}{'; it is on deck' if on_deck else ''}")
            case What.ROLL, "settled":
                return (Outcome.DONE, "rolled and deployed")
            case What.ROLL, "restart-failed":
                return (Outcome.FAILED, f"rolled, but {record.text}")
        return None

    def _at_rest(self, cert: CertId, ask: Ask | TrialAsk) -> Result | None:
        """Return how it stands when nothing is under way for it: what it waits for."""
        entry = self._planner.book.entries.get(cert)
        if entry is None:
            return (Outcome.FAILED, "it is not in the configuration any more")
        if isinstance(ask, TrialAsk):
            if entry.state.trial == ask:
                return None
            return (Outcome.FAILED, "it was replaced by another one")
        if self._planner.queue.busy(f"cert {cert}") or entry.decision.job is not None:
            return None
        if entry.state.ask is not None:
            return (Outcome.WAITING, entry.decision.text)
        if ask.what is What.RENEW:
            return (Outcome.DONE, entry.decision.text)
        return _rolled(entry.state, entry.decision.text)


def _why_no_trial(cert: CertId, entry: Entry, now: datetime) -> str:
    standing, after = entry.state.trial, entry.state.trial_after
    if standing is not None:
        return f"{cert}: a {standing.kind} is under way; ask again when it has ended"
    if after is not None and now < after:
        return f"{cert}: its CA's test server asks to wait until {clock(after)}"
    return ""


def _trial_kind(params: Params) -> TrialKind | None:
    """Return what kind of trial is asked for; None for the real thing."""
    chosen = [kind for word, kind in _TRIALS.items() if params.flag(word)]
    if not chosen:
        return None
    if len(chosen) > 1:
        raise WireError(Code.INVALID_PARAMS, "test and dry_run are two things; ask for one")
    if params.flag("reuse"):
        text = "a trial makes a key of its own; leave reuse out"
        raise WireError(Code.INVALID_PARAMS, text)
    return chosen[0]


def _rolled(state: CertState, text: str) -> Result | None:
    """A roll is done here; how are the servers?"""
    phases = {server.phase for server in state.servers}
    if ServerPhase.DELIVERED in phases:
        return None  # about to be restarted
    if ServerPhase.FAILED in phases:
        return (Outcome.FAILED, f"rolled, but it {text}")
    if state.phase is Phase.SETTLED:
        return (Outcome.DONE, "rolled and deployed")
    return (Outcome.DONE, f"rolled; it {text}")
