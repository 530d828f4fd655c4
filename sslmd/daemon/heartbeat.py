"""A sign of life for who watches the daemon from elsewhere: a dead man's switch.

`alive_url` or `alive_command` is called every hour while all works. Where it is not, the switch
raises the alarm that the daemon itself cannot raise any more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sslmd.core.errors import SslmError, Transient, Trouble, is_over
from sslmd.core.failed import Failed
from sslmd.core.jobs import SayAlive
from sslmd.core.reason import Reason, Why
from sslmd.daemon.alarms import Alarms
from sslmd.daemon.loop import FULL_LOOK, Due, Loop, OfItsJobs
from sslmd.daemon.tell.journal import WARNING, Tell
from sslmd.net.link import Asker
from sslmd.net.messages import BEAT, Beat
from sslmd.workers.tools import Site

# Between two calls.
EVERY = timedelta(hours=1)

# From the start to the first call: with thousands of certificates the first look takes seconds.
FIRST = timedelta(minutes=1)

# So old may the last plan be: everything is planned again at least every `FULL_LOOK`.
YOUNG = FULL_LOOK + timedelta(hours=1)

# So old may the last look for alarms be, which is made every minute.
LOOKED = timedelta(minutes=15)


class Heartbeat(OfItsJobs):
    """The reconciler of the sign of life."""

    name = "alive"
    jobs = (SayAlive,)

    def __init__(
        self,
        site: Site,
        loop: Loop,
        net: Asker,
        alarms: Alarms,
        tell: Tell,
        bug: Callable[[str, BaseException], None],
    ) -> None:
        self._site, self._loop, self._net = site, loop, net
        self._alarms, self._tell, self._bug = alarms, tell, bug
        self._next: datetime | None = None
        # Why the last call failed, None if it did not.
        self.trouble: Trouble | None = None

    def reconfigured(self) -> None:
        """Another configuration is in force: another address is called at once."""
        self._next, self.trouble = None, None
        self._loop.touch(self.name)

    def step(self, ident: str) -> Due:
        """Call when it is time, if anybody wants to be called."""
        del ident  # there is one
        own = self._site.config.globals
        if own.alive_url is None and not own.alive_command:
            self._next, self.trouble = None, None
            return Due()
        now = self._site.now()
        if self._next is None and self._alarms.state.looked is None:
            self._next = now + FIRST
        if is_over(self._next, now, EVERY):
            return Due((SayAlive(Reason(Why.ALIVE_DUE)),))
        return Due(wakes=(("call", self._next),))

    async def do(self, job: SayAlive) -> None:
        """Call, if all works; what fails is told once, and tried again by the table."""
        del job  # there is one kind
        now = self._site.now()
        self._next = now + EVERY
        try:
            self._check(now)
            await self._call()
        except Exception as err:
            before = self.trouble
            attempts = before.attempts if before is not None else 0
            self.trouble = Trouble.of(err, attempts, now, jitter=self._site.rng.random())
            self._next = min(self.trouble.next_try, now + EVERY)
            if not isinstance(err, SslmError):
                self._bug(f"the sign of life met an error of sslmd's own: {err!r}", err)
            elif before is None:
                self._tell("alive-failed", err.reason, WARNING, None)
            return
        self.trouble = None

    def _check(self, now: datetime) -> None:
        """Raise `Transient` where something does not turn as it should."""
        planned, looked = self._loop.meters.turned, self._alarms.state.book.seen
        if planned is None or now - planned > YOUNG:
            raise Transient(Reason(Failed.NOT_ALIVE, why=Reason(Failed.PLAN_OLD)))
        if looked is None or now - looked > LOOKED:
            raise Transient(Reason(Failed.NOT_ALIVE, why=Reason(Failed.LOOK_OLD)))

    async def _call(self) -> None:
        own = self._site.config.globals
        if own.alive_command:
            await self._site.command(own.alive_command)
        if own.alive_url is None:
            return
        end = await self._net.call(BEAT, Beat(own.alive_url.text))
        # The address is a secret: its host is told, and nothing that it says.
        host = own.alive_url.host
        if not 200 <= end.status < 300:
            status = end.status or None
            raise Transient(Reason(Failed.ALIVE_REFUSED, host=host, status=status))
