"""What admins ask for: written down first, so that it is done over crashes too; and taken back.

The journal says how it goes on, and which of its records is the end of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from sslmd.core.errors import reason_of
from sslmd.core.events import (
    AskDropped,
    Asked,
    TrialAsked,
    TrialEnded,
)
from sslmd.core.jobs import Certify, MakeKey, Order
from sslmd.core.names import CertId, SetName
from sslmd.core.plan import decide
from sslmd.core.reason import Ended, Reason, noted, on_wire
from sslmd.core.roll_wait import issued_at
from sslmd.core.spec import SetFacts
from sslmd.core.state import MAX_MIN_ROLL, Ask, CertState, Request, Track, TrialAsk
from sslmd.core.state import Request as What
from sslmd.core.told import Answered, Denied
from sslmd.core.words.sentence import say
from sslmd.daemon.api.users import denied
from sslmd.daemon.hub import Hub
from sslmd.daemon.registry import Entry
from sslmd.daemon.tell.journal import Bus, Record
from sslmd.wire.messages import ErrorCode, Outcome
from sslmd.wire.params import Params

Result = tuple[Outcome, Reason]


@dataclass(frozen=True, slots=True)
class Batch:
    """Certificates that are asked for together, at one time; see `Ask` for the rest.

    What cannot be done for one of them is told, and stops no other. What waits for a limit of its
    CA is waited for. `joins`: it is asked for once more while it is under way since `at`.
    """

    which: tuple[CertId, ...]
    at: datetime
    number: int
    revoked: bool
    joins: bool = False

    def done(self, state: CertState) -> SetFacts | None:
        """Return the set that it has made of a certificate already, None if that is to come."""
        if not self.joins or is_of_batch(state):
            return None
        return made_since(state, self.at)

    def ask(self, state: CertState, wish: Ask) -> Ask | Result:
        """Return what is asked for in place of `wish`, or why nothing is."""
        if self.joins and state.ask is not None and is_of_batch(state):
            # Not once more with another key: an order with this one may be under way.
            revoked = self.revoked or state.ask.revoked
            return replace(state.ask, at=self.at, revoked=revoked, batch=self.number)
        made = self.done(state)
        if made is None:
            return replace(wish, at=self.at, revoked=self.revoked, batch=self.number)
        on_deck, note = state.next is made, state.curr_note
        if self.revoked and on_deck and not (note is not None and note.revoked):
            # Only that what is in use is revoked: what is on deck waits for no window any more.
            other = state.ask or Ask(What.RENEW, self.at)
            return replace(other, revoked=True)
        return Outcome.UNNEEDED, Reason(Ended.MADE_SINCE, set=made.name, at=self.at)


def is_of_batch(state: CertState) -> bool:
    """Whether a certificate is still to be renewed as one of many."""
    ask = state.ask
    return ask is not None and ask.what is What.RENEW and ask.batch > 0


def made_since(state: CertState, at: datetime) -> SetFacts | None:
    """Return the set on deck, or in use, if it has got its certificate since then."""
    for facts, note in ((state.next, state.next_note), (state.curr, state.curr_note)):
        if facts is not None and facts.complete and issued_at(facts, note) >= at:
            return facts
    return None


def ended(entry: Entry | None, ask: Ask | TrialAsk, record: Record) -> Result | None:
    """Return how a request ended, if `record` is its end; `entry` is its certificate's now."""
    line = record.reason or noted(record.text)
    if record.event == "attempt-failed" and not _is_its_doing(entry, ask, record):
        return None
    if isinstance(ask, TrialAsk):
        ends = {"trial-ended": Outcome.DONE, "trial-failed": Outcome.FAILED}
        return (ends[record.event], line) if record.event in ends else None
    if ask.what is What.ROLL and _is_to_come(entry, ask) and _is_of_serving(record):
        return None
    if ask.back is not None and _is_before(entry, ask.back) and _is_of_serving(record):
        return None
    match ask.what, record.event:
        case _, "attempt-failed":
            return (Outcome.FAILED, line)
        case _, "ask-dropped":
            why = record.because or line
            failed = ask.back is not None and why.code is not Ended.CANCELLED
            return (Outcome.FAILED if failed else Outcome.UNNEEDED, why)
        case What.RENEW, "cert-issued":
            on_deck = entry is not None and entry.state.next is not None
            return (Outcome.DONE, Reason(Ended.ISSUED, what=line, on_deck=on_deck))
        case What.ROLL, "settled":
            return (Outcome.DONE, Reason(Ended.ROLLED))
        case What.ROLL, "restart-failed" | "copy-failed":
            return (Outcome.FAILED, Reason(Ended.ROLLED_BUT, why=line))
    return None


def _is_its_doing(entry: Entry | None, ask: Ask | TrialAsk, record: Record) -> bool:
    """Whether a failed attempt is one of what was asked for.

    A renewal goes on beside a delivery that fails; a roll has ended when the next renewal begins.
    """
    if isinstance(ask, TrialAsk):
        return False
    if record.job != Track.RENEW:
        return ask.what is What.ROLL
    return ask.what is What.RENEW or _is_to_come(entry, ask)


def _is_to_come(entry: Entry | None, ask: Ask) -> bool:
    """Whether a request is not carried out yet."""
    return entry is not None and entry.state.ask == ask


def _is_before(entry: Entry | None, back: SetName) -> bool:
    """Whether the set that is to be gone back to is not in use yet."""
    if entry is None:
        return False
    return entry.state.curr is None or entry.state.curr.name != back


def _is_of_serving(record: Record) -> bool:
    """Whether a record is about how servers get on with `curr`: the set that is to go."""
    failed = record.event == "attempt-failed" and record.job != Track.RENEW
    return failed or record.event in ("settled", "copy-failed", "restart-failed")


def outcome_row(cert: CertId, outcome: Outcome, reason: Reason) -> dict[str, Any]:
    """Return the end of a request as it stands in an answer (docs/socket-api.md)."""
    row = {"cert": str(cert), "outcome": str(outcome), "text": say(reason)}
    return {**row, **on_wire(reason)}


# Records kept for a client that reads slowly; one that falls further behind is let go.
MAX_BEHIND = 10_000


class Following:
    """Records that fit, from the start of the `with` block on."""

    def __init__(self, bus: Bus, fits: Callable[[Record], bool]) -> None:
        self._bus = bus
        self._fits = fits
        self._waiting: asyncio.Queue[Record] = asyncio.Queue()
        self._lost = False

    def __enter__(self) -> Self:
        self._end = self._bus.follow(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _take(self, record: Record) -> None:
        if self._waiting.qsize() >= MAX_BEHIND:
            self._lost = True
        elif self._fits(record):
            self._waiting.put_nowait(record)

    async def next(self) -> Record:
        """Return the next record; raise `WireError` when some were lost."""
        if self._lost:
            raise denied(Reason(Denied.TOO_SLOW), ErrorCode.LIMIT)
        return await self._waiting.get()

    async def next_within(self, seconds: float) -> Record | None:
        """Return the next record, None if there is none within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self.next()
        except TimeoutError:
            return None


CANCELLED = Reason(Ended.CANCELLED)


class Asking:
    """Accepts and cancels requests; the loop carries them out."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def ask(self, cert: CertId, ask: Ask) -> None:
        """Accept a request: it is on disk when this returns, and so done over crashes too.

        Raises `Transient` or `Permanent` if it could not be written down; then it is dropped.
        """
        hub = self._hub
        with hub.loop.held_back("cert", cert):
            hub.registry.put(cert, Asked(ask))
            try:
                await hub.ledger.written(cert)
            except Exception as err:
                if cert in hub.registry and hub.registry[cert].state.ask == ask:
                    why = Reason(Ended.NOT_NOTED, why=reason_of(err))
                    hub.registry.put(cert, AskDropped(hub.site.now(), why))
                raise

    async def try_out(self, cert: CertId, ask: TrialAsk) -> None:
        """Accept a trial: as `ask`, it is done over crashes too."""
        hub = self._hub
        with hub.loop.held_back("cert", cert):
            hub.registry.put(cert, TrialAsked(ask))
            try:
                await hub.ledger.written(cert)
            except Exception as err:
                why = Reason(Ended.NOT_NOTED, why=reason_of(err))
                ended = TrialEnded(hub.site.now(), ask, why, failed=True)
                hub.registry.put(cert, ended)
                raise

    async def cancel(self, cert: CertId) -> Reason | None:
        """Drop an admin's request and stop the job that runs; return what was dropped.

        It is on disk when this returns: what was taken back does not come again after a crash.
        Raises `Transient` or `Permanent` if that could not be written down; then the request
        does come again when the daemon starts.
        """
        with self._hub.loop.held_back("cert", cert):
            dropped = await self._cancel(cert)
        if not dropped:
            return None
        await self._hub.ledger.written(cert)
        return dropped[0] if len(dropped) == 1 else Reason(Answered.TAKEN_BACK, what=dropped)

    async def _cancel(self, cert: CertId) -> tuple[Reason, ...]:
        told: list[Reason] = []
        attempt = self._hub.registry[cert].state.trial
        if attempt is not None:
            now = self._hub.site.now()
            self._hub.registry.put(cert, TrialEnded(now, attempt, CANCELLED))
            await self._hub.queue.cancel(f"trial {cert}")
            told.append(Reason(Answered.TRIAL_STOPPED, kind=attempt.kind))
            if cert not in self._hub.registry or self._hub.registry[cert].state.ask is None:
                # What goes on beside it by itself, nobody asked to stop.
                return tuple(told)
        ask = self._hub.registry[cert].state.ask if cert in self._hub.registry else None
        failed = False
        if ask is not None:
            # First, or the end of the job below would only bring the next one for it.
            is_roll = ask.what is Request.ROLL
            code = Answered.ROLL_DROPPED if is_roll else Answered.RENEW_DROPPED
            back = Reason(Answered.BACK_DROPPED, set=ask.back) if ask.back else None
            told.append(back or Reason(code))
            failed = self._hub.registry[cert].state.trouble is not None
            self._hub.registry.put(cert, AskDropped(self._hub.site.now(), CANCELLED))
        making = any(
            isinstance(job, MakeKey | Certify | Order)
            for job in self._hub.queue.in_lane(f"cert {cert}")
        )
        # What is due and failed waits for its next try, which the request would have brought on.
        if making or (failed and self._is_due(cert)):
            # First, too: what is due would begin again as soon as it is stopped.
            told.append(self._hub.certs.rest(cert))
        dropped = await self._hub.queue.cancel(f"cert {cert}")
        if dropped:
            # A thread may have come to its end after all: what it left on disk counts.
            await self._hub.certs.look_again(cert)
            if not making:
                told.append(Reason(Answered.STOPPED))
        if cert in self._hub.registry:  # a reload may have taken it away meanwhile
            self._hub.loop.touch("cert", cert)
        return tuple(told)

    def _is_due(self, cert: CertId) -> bool:
        """Whether it would be renewed at once, without being asked."""
        job = decide(self._hub.registry.view(cert), self._hub.site.now()).job
        return isinstance(job, MakeKey | Certify | Order)


def min_roll_of(params: Params) -> timedelta | None:
    """Return the wait that is asked for in place of `min_roll_mins`, None for none."""
    minutes = params.count_if_given("min_roll_mins")
    if minutes is None:
        return None
    if params.flag("force") or params.flag("back"):
        way = "force" if params.flag("force") else "back"
        raise denied(Reason(Denied.MIN_ROLL_WITH, flag=way), ErrorCode.INVALID_PARAMS)
    most = MAX_MIN_ROLL // timedelta(minutes=1)
    if minutes > most:
        why = Reason(Denied.MIN_ROLL_MOST, most=most, minutes=minutes)
        raise denied(why, ErrorCode.INVALID_PARAMS)
    return timedelta(minutes=minutes)
