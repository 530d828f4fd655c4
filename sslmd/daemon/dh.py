"""When Diffie-Hellman groups are looked at: at the start, after a reload, and every day.

What is to be there stands in `[dh]`; `workers.dh` sees to it. Trouble is told and tried again at
the next look; it concerns no certificate (I6).
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from sslmd.config.model import Config
from sslmd.core.errors import SslmError
from sslmd.core.jobs import WriteDh, lane
from sslmd.core.reason import Reason, Why
from sslmd.core.retry import text_of
from sslmd.daemon.tell.journal import WARNING
from sslmd.daemon.zone_work import Tell
from sslmd.workers.dh import write_dh
from sslmd.workers.queue import JobQueue
from sslmd.workers.tools import Tools

# Between looks. Groups are months old before they are made anew; a day late does no harm.
EVERY = timedelta(days=1)


class DhLooks:
    """Queues the one job when it is time. One per daemon.

    `failures` counts what failed since the start; `troubles` are those of the last look.
    """

    def __init__(self, tools: Tools, queue: JobQueue, tell: Tell) -> None:
        self._tools = tools
        self._queue = queue
        self._tell = tell
        self._timer: asyncio.TimerHandle | None = None
        self._next: datetime | None = None
        self._running = False
        self.failures = 0
        self.troubles: tuple[str, ...] = ()

    def start(self) -> None:
        """Take the first look."""
        self._running = True
        self._look(Why.DH_START)

    def stop(self) -> None:
        """Start nothing more."""
        self._running = False
        self._set_timer()

    async def reconfigured(self, old: Config) -> None:
        """Look again; what is under way for something else ends first."""
        now = self._tools.config
        same = (now.dh, now.globals.prod_cert_dir) == (old.dh, old.globals.prod_cert_dir)
        if not same:
            await self._queue.cancel("dh")
        self._look(Why.DH_RELOADED)

    def consider(self) -> None:
        """Look if it is time: a day has gone, or nobody knows, because the clock was set back."""
        if self._next is None:
            return
        left = self._next - self._tools.now()
        if timedelta() < left <= EVERY:
            self._set_timer()
        else:
            self._look(Why.DH_DAILY)

    def _look(self, why: Why) -> None:
        wanted = self._running and bool(self._tools.config.dh.groups)
        self._next = self._tools.now() + EVERY if wanted else None
        if not wanted:
            self.troubles = ()
        self._set_timer()
        if wanted:
            self._queue.submit(WriteDh(Reason(why)))

    def _set_timer(self) -> None:
        """Have `consider` called when it is time, and no sooner call beside it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._next is not None and self._running:
            left = max((self._next - self._tools.now()).total_seconds(), 1.0)
            self._timer = asyncio.get_running_loop().call_later(left, self.consider)

    async def run(self, job: WriteDh) -> None:
        """Do the job; what fails is told, and tried again at the next look."""
        told: set[str] = set()
        errors = await write_dh(self._tools.site, self._tools.threads, self._tools.telling)
        self.troubles = tuple(dict.fromkeys(map(text_of, errors)))
        for err in errors:
            self.failures += 1
            if not isinstance(err, SslmError):
                self._tools.bug(f"{lane(job)}: {text_of(err)}", err)
            elif str(err) not in told:
                told.add(str(err))
                self._tell("dh-trouble", f"{err}; it is tried again every day", WARNING, None)
