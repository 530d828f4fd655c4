"""When Diffie-Hellman groups are looked at: at the start, after a reload, and every day.

What is to be there stands in `[dh]`; `workers.dh` sees to it. Trouble is told and tried again at
the next look; it concerns no certificate (I6).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sslmd.config.model import Config
from sslmd.core.errors import SslmError, is_over, reason_of, text_of
from sslmd.core.jobs import Job, WriteDh, lane
from sslmd.core.reason import Reason, Why
from sslmd.core.told import Reported
from sslmd.daemon.loop import Due, Loop, OfItsJobs
from sslmd.daemon.tell.journal import WARNING, Tell
from sslmd.workers.dh import write_dh
from sslmd.workers.tools import Site, Telling, Threads

# Between looks. Groups are months old before they are made anew; a day late does no harm.
EVERY = timedelta(days=1)


class DhGroups(OfItsJobs):
    """The reconciler of all groups: they are one job.

    `failures` counts what failed since the start; `troubles` are those of the last look.
    """

    name = "dh"
    jobs = (WriteDh,)

    def __init__(
        self, site: Site, threads: Threads, telling: Telling, loop: Loop, tell: Tell
    ) -> None:
        self._site = site
        self._threads = threads
        self._telling = telling
        self._loop = loop
        self._tell = tell
        self._next: datetime | None = None
        self._reason = Why.DH_START
        self.failures = 0
        self.troubles: tuple[Reason, ...] = ()

    async def reconfigured(self, old: Config) -> None:
        """Look again; what is under way for something else ends first."""
        now = self._site.config
        same = (now.dh, now.globals.prod_cert_dir) == (old.dh, old.globals.prod_cert_dir)
        if not same:
            await self._loop.queue.cancel("dh")
        self._next, self._reason = None, Why.DH_RELOADED
        self._loop.touch(self.name)

    def step(self, ident: str) -> Due:
        """Look if it is time: a day has gone, or nobody knows, because the clock was set back."""
        del ident  # there is one
        if not self._site.config.dh.groups:
            self._next, self.troubles = None, ()
            return Due()
        now = self._site.now()
        jobs: tuple[Job, ...] = ()
        if is_over(self._next, now, EVERY):
            jobs = (WriteDh(Reason(self._reason)),)
            self._next, self._reason = now + EVERY, Why.DH_DAILY
        return Due(jobs, (("look", self._next),))

    async def do(self, job: WriteDh) -> None:
        """Do the job; what fails is told, and tried again at the next look."""
        told: set[Reason] = set()
        errors = await write_dh(self._site, self._threads, self._telling)
        self.troubles = tuple(dict.fromkeys(map(reason_of, errors)))
        for err in errors:
            self.failures += 1
            if not isinstance(err, SslmError):
                self._telling.bug(f"{lane(job)}: {text_of(err)}", err)
            elif err.reason not in told:
                told.add(err.reason)
                self._tell("dh-trouble", Reason(Reported.DH_AGAIN, why=err.reason), WARNING, None)
