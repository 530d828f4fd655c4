"""Renewals and rolls that an admin asks for: accepted or refused at once, then waited for.

What was accepted stands in state.toml and is done, over crashes too; the client that asked may
go away meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sslmd.core.dane.gate import harm_of
from sslmd.core.dane.verdict import of_another_set
from sslmd.core.events import BackOnDeck
from sslmd.core.holds import LONGEST
from sslmd.core.jobs import Certify, MakeKey, Order, Roll
from sslmd.core.lifecycle import advance
from sslmd.core.names import CertId, SetName
from sslmd.core.own_ca import Grip, hold_of, is_another, what_changes
from sslmd.core.plan import decide
from sslmd.core.reason import Ended, Reason, Why
from sslmd.core.renew_track import why_again, why_not_back
from sslmd.core.roll_wait import roll_at
from sslmd.core.spec import AcmeCa, SetFacts
from sslmd.core.state import (
    Ask,
    CertState,
    Phase,
    SetNote,
    TrialAsk,
    TrialKind,
)
from sslmd.core.state import Request as What
from sslmd.core.told import Answered, Denied
from sslmd.core.view import View
from sslmd.daemon.api.asking import (
    Asking,
    Batch,
    Following,
    Result,
    ended,
    min_roll_of,
    outcome_row,
)
from sslmd.daemon.api.server import Client
from sslmd.daemon.api.users import denied
from sslmd.daemon.hub import Hub
from sslmd.daemon.registry import Entry
from sslmd.daemon.tell.journal import DEBUG, WARNING, Record
from sslmd.store.sets import read_set
from sslmd.wire.messages import ErrorCode, Notice, Outcome
from sslmd.wire.params import Params

# Seconds after which a waiting client's certificates are looked at without an event.
LOOK = 1.0

_TRIALS = {"test": TrialKind.TEST, "dry_run": TrialKind.DRY_RUN}


class Requests:
    """Carries the methods `renew` and `roll`."""

    def __init__(self, hub: Hub, asking: Asking) -> None:
        self._hub = hub
        self._asking = asking

    async def renew(
        self, client: Client, params: Params, batch: Batch | None = None
    ) -> dict[str, Any]:
        """Renew what is due; with `force` whatever is named, in place of a `next` on deck."""
        names, force, reuse = params.certs(), params.flag("force"), params.flag("reuse")
        new_key = params.flag("new_key")
        if kind := _trial_kind(params):
            return await self._try_out(client, params, kind, batch)
        if force and names is None and not params.flag("all"):
            raise denied(Reason(Denied.ALL_WANTED), ErrorCode.INVALID_PARAMS)
        if new_key and (names is None or not force or reuse):
            raise denied(Reason(Denied.NEW_KEY_WANTS), ErrorCode.INVALID_PARAMS)
        warnings: dict[CertId, list[Reason]] = {}
        issuances = None  # a batch waits for its turn
        if force and batch is None:
            issuances = self._hub.standings.issuances(self._hub.site)

        def ask(cert: CertId, entry: Entry) -> Ask | Result:
            if issuances is not None:
                if spent := issuances.exhausted(entry.wanted):
                    return _not_now(params, Outcome.WAITING, spent[0].of(cert))
                if remark := issuances.remark(entry.wanted):
                    warnings[cert] = [remark]
            if back := _back(entry.state):
                why = Reason(Denied.GOING_BACK, cert=cert, set=back, arg=cert.arg)
                return _not_now(params, Outcome.WAITING, why)
            if new_key and entry.wanted.spec.ca is None:
                raise denied(Reason(Denied.NOT_A_CA, cert=cert))
            view, now = self._hub.registry.view(cert), self._hub.site.now()
            hold = hold_of(view, now)
            if names is not None and not new_key and hold is not None and hold.grip is Grip.LOST:
                raise denied(Reason(Denied.CA_KEY_LOST, cert=cert, why=hold.reason))
            if new_key:
                warnings[cert] = [*warnings.get(cert, ()), what_changes(view)]
            next_ = entry.state.next
            # A key that was made ahead is there to be used by just this renewal.
            ahead = entry.wanted.next_ahead and not reuse and next_ and next_.cert is None
            replaces = next_.name if force and next_ and not ahead else None
            wish = Ask(What.RENEW, now, force, reuse, replaces, new_key=new_key)
            return wish if batch is None else batch.ask(entry.state, wish)

        return await self._carry(client, params, ask, warnings, batch)

    async def _try_out(
        self, client: Client, params: Params, kind: TrialKind, batch: Batch | None
    ) -> dict[str, Any]:
        def ask(cert: CertId, entry: Entry) -> TrialAsk | Result:
            now, state = self._hub.site.now(), entry.state
            if not isinstance(entry.wanted.spec.signer, AcmeCa):
                return _not_now(params, Outcome.UNNEEDED, Reason(Denied.NO_TEST_SERVER, cert=cert))
            if state.trial is not None:
                why = Reason(Denied.TRIAL_RUNS, cert=cert, kind=state.trial.kind)
                return _not_now(params, Outcome.WAITING, why)
            after = state.trial_after
            if after is not None and now < after <= now + LONGEST:  # else the clock was set back
                why = Reason(Denied.TRIAL_LATER, cert=cert, at=after)
                return _not_now(params, Outcome.WAITING, why)
            return TrialAsk(kind, now)

        return await self._carry(client, params, ask, batch=batch)

    async def roll(self, client: Client, params: Params) -> dict[str, Any]:
        """Roll what is on deck; too early it is refused, unless with `force`.

        With `back` what was in use before. With `min_roll_mins` as soon as so many minutes, its
        TLSA records and windows let it be rolled: that stands until it is done.
        """
        min_roll = min_roll_of(params)
        if params.flag("back"):
            return await self._roll_back(client, params)
        force = params.flag("force")
        warnings: dict[CertId, list[Reason]] = {}

        def ask(cert: CertId, entry: Entry) -> Ask | Result:
            now, back = self._hub.site.now(), _back(entry.state)
            wish = Ask(What.ROLL, now, force, back=back, min_roll=min_roll)
            problem = self._why_not_roll(cert, entry, wish)
            if problem is None:
                view = self._hub.registry.view(cert)
                if force and (harm := harm_of(view, now)):
                    warnings[cert] = [Reason(Answered.TOO_EARLY, harm=harm)]
                if force and entry.state.next and is_another(entry.state, entry.state.next):
                    warnings[cert] = [what_changes(view)]
                return wish
            return _not_now(params, Outcome.UNNEEDED, problem)

        return await self._carry(client, params, ask, warnings)

    async def _roll_back(self, client: Client, params: Params) -> dict[str, Any]:
        names, force = params.certs(), params.flag("force")
        if names is None:
            raise denied(Reason(Denied.BACK_WANTS), ErrorCode.INVALID_PARAMS)
        hub, registry = self._hub, self._hub.registry
        # What is on disk, every signature of it, before anything is accepted.
        found: dict[CertId, SetFacts] = {}
        for cert in registry.select(names):
            prev = registry[cert].state.prev
            if prev is not None:
                found[cert] = await hub.threads.aside(read_set, hub.site.tree, cert, prev)
        remarks: dict[CertId, list[Reason]] = {}

        def ask(cert: CertId, entry: Entry) -> Ask | Result:
            facts = found.get(cert)
            if problem := self._why_not_back(cert, entry, facts):
                raise denied(problem)
            assert facts is not None
            remarks[cert] = self._remarks_on_going_back(cert, entry, facts, force=force)
            return Ask(What.ROLL, hub.site.now(), force, back=facts.name)

        return await self._carry(client, params, ask, remarks)

    def _why_not_back(self, cert: CertId, entry: Entry, facts: SetFacts | None) -> Reason | None:
        """Return why it cannot go back to what was in use before, None if it can."""
        now, state, arg = self._hub.site.now(), entry.state, cert.arg
        if state.prev is None or facts is None:
            return Reason(Denied.NO_PREV, cert=cert, arg=arg)
        if facts.name != state.prev:
            return Reason(Denied.JUST_ROLLED, cert=cert)
        if problem := why_not_back(facts, now):
            return Reason(Denied.CANNOT_GO_BACK, cert=cert, why=problem, arg=arg)
        if state.ask is not None and state.ask.back is None:
            return Reason(Denied.ASKED_BEFORE, cert=cert, what=state.ask.what, arg=arg)
        for job in self._hub.queue.in_lane(f"cert {cert}"):
            if isinstance(job, MakeKey | Certify | Order):
                return Reason(Denied.RENEWED_NOW, cert=cert, arg=arg)
            if isinstance(job, Roll) and _back(state) is None:
                return Reason(Denied.ROLLED_NOW, cert=cert)
        return None

    def _remarks_on_going_back(
        self, cert: CertId, entry: Entry, facts: SetFacts, *, force: bool
    ) -> list[Reason]:
        """Return what the admin should know: what it costs, and how long it lasts."""
        now, state = self._hub.site.now(), entry.state
        view = self._hub.registry.view(cert)
        told = []
        if state.next is not None and state.next.name != facts.name:
            told.append(Reason(Answered.OFF_DECK, set=state.next.name))
        if again := why_again(view, facts, now):
            wait, kept = entry.wanted.timing.min_roll, again.code is not Why.DUE
            told.append(
                Reason(Answered.RENEWED_AGAIN, set=facts.name, why=again, wait=wait, kept=kept)
            )
        if force and (harm := harm_of(_before_it_is_on_deck(view, facts), now)):
            told.append(Reason(Answered.TOO_EARLY, harm=harm))
        if entry.wanted.spec.ca is not None and is_another(replace(state, next_note=None), facts):
            told.append(what_changes(view))
        return told

    def _why_not_roll(self, cert: CertId, entry: Entry, wish: Ask) -> Reason | None:
        next_ = entry.state.next
        if next_ is None or not next_.complete:
            return Reason(Denied.NOTHING_ON_DECK, cert=cert, arg=cert.arg)
        ask = entry.state.ask
        if ask is not None and ask.what is What.RENEW and ask.force:
            return Reason(Denied.RENEWED_FIRST, cert=cert)
        if wish.force:
            return None
        if wish.min_roll is not None:
            return self._why_too_young(cert, wish)
        now = self._hub.site.now()
        ahead = decide(self._hub.registry.view(cert), now)
        if ahead.roll_at is not None and ahead.roll_at > now:
            by_rule = dict(ahead.reason.facts)
            gate, back = by_rule.get("gate"), by_rule.get("back")
            return Reason(
                Ended.TOO_EARLY,
                cert=cert,
                at=ahead.roll_at,
                gate=gate if ahead.reason.code is Why.DNS_WAITS else None,
                back=back,
                windows=ahead.rolls_when,
            )
        if ahead.job is None and ahead.event is None and ahead.stuck is None:
            return ahead.reason.of(cert)
        return None

    def _why_too_young(self, cert: CertId, wish: Ask) -> Reason | None:
        """Return why the set on deck is not rolled after so many minutes, None if it will be.

        DNS and windows are no reason: they are waited for. The plan drops what is of no use.
        """
        view, now = self._hub.registry.view(cert), wish.at
        ready = roll_at(replace(view.state, ask=wish), view.wanted, now)
        if ready <= now:
            return None
        assert wish.min_roll is not None
        by_rule = decide(view, now).roll_at
        return Reason(Denied.TOO_YOUNG, cert=cert, wait=wish.min_roll, at=ready, by_rule=by_rule)

    async def _carry(
        self,
        client: Client,
        params: Params,
        make: Callable[[CertId, Entry], Ask | TrialAsk | Result],
        warnings: Mapping[CertId, Sequence[Reason]] | None = None,
        batch: Batch | None = None,
    ) -> dict[str, Any]:
        """Accept for all or refuse for all; then wait for the ends, telling of progress."""
        registry = self._hub.registry
        which = registry.select(params.certs()) if batch is None else list(batch.which)
        held = next((registry[cert].hold for cert in which if registry[cert].hold), None)
        if held and params.certs() is not None:
            raise denied(held)
        asks: dict[CertId, Ask | TrialAsk] = {}
        results: dict[CertId, Result] = {}
        for cert in which:
            entry = registry[cert]
            made = (Outcome.FAILED, entry.hold) if entry.hold else make(cert, entry)
            if isinstance(made, Ask | TrialAsk):
                asks[cert] = made
            else:
                results[cert] = made
        now = self._hub.site.now()
        for cert, lines in (warnings or {}).items():
            for line in lines:
                told = Record(now, "warning", line, WARNING, cert)
                await client.notify(Notice.PROGRESS, told.as_json())
        with Following(self._hub.bus, lambda record: record.cert in asks) as following:
            for cert, ask in asks.items():
                if isinstance(ask, TrialAsk):
                    await self._asking.try_out(cert, ask)
                else:
                    await self._asking.ask(cert, ask)
            if params.flag("wait", default=True):
                results.update(await self._wait(client, asks, following, batch))
            else:
                results.update(dict.fromkeys(asks, (Outcome.ACCEPTED, Reason(Ended.TO_COME))))
        return {"certs": [outcome_row(cert, *results[cert]) for cert in which]}

    async def _wait(
        self,
        client: Client,
        asks: dict[CertId, Ask | TrialAsk],
        following: Following,
        batch: Batch | None,
    ) -> dict[CertId, Result]:
        results: dict[CertId, Result] = {}
        while len(results) < len(asks):
            record = await following.next_within(max(LOOK, len(asks) / 100))
            if record is None:
                for waiting in asks.keys() - results.keys():
                    resting = self._at_rest(waiting, asks[waiting])
                    waits = (Why.CA_PACED, Why.CA_HOLD)
                    paced = resting is not None and resting[1].code in waits
                    if resting and not (batch is not None and paced):
                        results[waiting] = resting
                continue
            cert = record.cert
            if cert is None or cert in results:
                continue
            if record.priority < DEBUG:
                await client.notify(Notice.PROGRESS, record.as_json())
            if end := ended(self._hub.registry.entries.get(cert), asks[cert], record):
                results[cert] = end
        return results

    def _at_rest(self, cert: CertId, ask: Ask | TrialAsk) -> Result | None:
        """Return how it stands when nothing is under way for it: what it waits for."""
        self._hub.loop.settle("cert", cert)
        entry = self._hub.registry.entries.get(cert)
        if entry is None:
            return (Outcome.FAILED, Reason(Ended.NOT_CONFIGURED))
        if isinstance(ask, TrialAsk):
            if entry.state.trial == ask:
                return None
            return (Outcome.FAILED, Reason(Ended.REPLACED))
        if self._hub.queue.busy(f"cert {cert}") or entry.decision.job is not None:
            return None
        if entry.state.ask is not None:
            return (Outcome.WAITING, entry.decision.reason)
        if ask.what is What.RENEW:
            return (Outcome.DONE, entry.decision.reason)
        return self._rolled(cert, entry)

    def _rolled(self, cert: CertId, entry: Entry) -> Result | None:
        """A roll is done here; how are the servers?"""
        state, why = entry.state, entry.decision.reason
        if any(server.attempts for server in state.servers):
            return (Outcome.FAILED, Reason(Ended.ROLLED_BUT, why=why))
        hosts, now = self._hub.hosts, self._hub.site.now()
        if any(hosts.is_coming(cert, server, now) for server in state.servers):
            return None
        if state.phase is Phase.SETTLED:
            return (Outcome.DONE, Reason(Ended.ROLLED))
        if state.phase is Phase.DEPLOYED and self._hub.queue.busy(f"zone {cert.group}"):
            return None  # the records of older keys are being withdrawn
        return (Outcome.WAITING, Reason(Ended.ROLLED_WAITS, why=why))


def _back(state: CertState) -> SetName | None:
    """Return the set that is being gone back to."""
    return state.ask.back if state.ask is not None else None


def _before_it_is_on_deck(view: View, facts: SetFacts) -> View:
    """Return how it will be when a set has just been put on deck."""
    why = Reason(Why.GOES_BACK, set=facts.name)
    state = advance(view.state, BackOnDeck(facts.name.time, facts, SetNote(0.0), why))
    return replace(view, state=state, dane=of_another_set(view.dane))


def _not_now(params: Params, outcome: Outcome, why: Reason) -> Result:
    """Return that nothing is done for one of all; raise that for one that was named."""
    if params.certs() is not None:
        raise denied(why)
    return (outcome, why)


def _trial_kind(params: Params) -> TrialKind | None:
    """Return what kind of trial is asked for; None for the real thing."""
    chosen = [kind for word, kind in _TRIALS.items() if params.flag(word)]
    if not chosen:
        return None
    if len(chosen) > 1:
        raise denied(Reason(Denied.TWO_TRIALS), ErrorCode.INVALID_PARAMS)
    if params.flag("reuse"):
        raise denied(Reason(Denied.TRIAL_REUSE), ErrorCode.INVALID_PARAMS)
    return chosen[0]
