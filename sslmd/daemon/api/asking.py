"""What admins ask for: written down first, so that it is done over crashes too; and taken back."""

from __future__ import annotations

from sslmd.core.errors import SslmError
from sslmd.core.events import (
    AskDropped,
    Asked,
    TrialAsked,
    TrialEnded,
)
from sslmd.core.jobs import Certify, MakeKey, Order
from sslmd.core.names import CertId
from sslmd.core.plan import decide
from sslmd.core.reason import Ended, Reason, Said
from sslmd.core.state import Ask, Request, TrialAsk
from sslmd.core.told import Answered
from sslmd.daemon.planner import Planner

CANCELLED = Reason(Ended.CANCELLED)


class Asking:
    """Accepts and cancels requests; the planner carries them out."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner

    async def ask(self, cert: CertId, ask: Ask) -> None:
        """Accept a request: it is on disk when this returns, and so done over crashes too.

        Raises `Transient` or `Permanent` if it could not be written down; then it is dropped.
        """
        planner = self._planner
        with planner.loop.held_back("cert", cert):
            planner.registry.put(cert, Asked(ask))
            try:
                await planner.ledger.written(cert)
            except SslmError as err:
                if cert in planner.registry and planner.registry[cert].state.ask == ask:
                    why = Reason(Ended.NOT_NOTED, why=Said(err))
                    planner.registry.put(cert, AskDropped(planner.site.now(), why))
                raise

    async def try_out(self, cert: CertId, ask: TrialAsk) -> None:
        """Accept a trial: as `ask`, it is done over crashes too."""
        planner = self._planner
        with planner.loop.held_back("cert", cert):
            planner.registry.put(cert, TrialAsked(ask))
            try:
                await planner.ledger.written(cert)
            except SslmError as err:
                why = Reason(Ended.NOT_NOTED, why=Said(err))
                ended = TrialEnded(planner.site.now(), ask, why, failed=True)
                planner.registry.put(cert, ended)
                raise

    async def cancel(self, cert: CertId) -> Reason | None:
        """Drop an admin's request and stop the job that runs; return what was dropped.

        It is on disk when this returns: what was taken back does not come again after a crash.
        Raises `Transient` or `Permanent` if that could not be written down; then the request
        does come again when the daemon starts.
        """
        with self._planner.loop.held_back("cert", cert):
            dropped = await self._cancel(cert)
        if not dropped:
            return None
        await self._planner.ledger.written(cert)
        return dropped[0] if len(dropped) == 1 else Reason(Answered.TAKEN_BACK, what=dropped)

    async def _cancel(self, cert: CertId) -> tuple[Reason, ...]:
        told: list[Reason] = []
        attempt = self._planner.registry[cert].state.trial
        if attempt is not None:
            now = self._planner.site.now()
            self._planner.registry.put(cert, TrialEnded(now, attempt, CANCELLED))
            await self._planner.queue.cancel(f"trial {cert}")
            told.append(Reason(Answered.TRIAL_STOPPED, kind=attempt.kind))
            if cert not in self._planner.registry or self._planner.registry[cert].state.ask is None:
                # What goes on beside it by itself, nobody asked to stop.
                return tuple(told)
        ask = self._planner.registry[cert].state.ask if cert in self._planner.registry else None
        failed = False
        if ask is not None:
            # First, or the end of the job below would only bring the next one for it.
            is_roll = ask.what is Request.ROLL
            code = Answered.ROLL_DROPPED if is_roll else Answered.RENEW_DROPPED
            back = Reason(Answered.BACK_DROPPED, set=ask.back) if ask.back else None
            told.append(back or Reason(code))
            failed = self._planner.registry[cert].state.trouble is not None
            self._planner.registry.put(cert, AskDropped(self._planner.site.now(), CANCELLED))
        making = any(
            isinstance(job, MakeKey | Certify | Order)
            for job in self._planner.queue.in_lane(f"cert {cert}")
        )
        # What is due and failed waits for its next try, which the request would have brought on.
        if making or (failed and self._is_due(cert)):
            # First, too: what is due would begin again as soon as it is stopped.
            told.append(self._planner.certs.rest(cert))
        dropped = await self._planner.queue.cancel(f"cert {cert}")
        if dropped:
            # A thread may have come to its end after all: what it left on disk counts.
            await self._planner.certs.look_again(cert)
            if not making:
                told.append(Reason(Answered.STOPPED))
        if cert in self._planner.registry:  # a reload may have taken it away meanwhile
            self._planner.loop.touch("cert", cert)
        return tuple(told)

    def _is_due(self, cert: CertId) -> bool:
        """Whether it would be renewed at once, without being asked."""
        job = decide(self._planner.registry.view(cert), self._planner.site.now()).job
        return isinstance(job, MakeKey | Certify | Order)
