"""An older set on deck again, and off it: what goes before a roll back (I3, I5).

Both change the `next` link alone, at one instant. Whatever is taken off the deck stays in `db/`
until it is cleaned up.
"""

from __future__ import annotations

from sslmd.core.events import AskDropped, BackOnDeck, OffDeck
from sslmd.core.jobs import PutBack, TakeOff
from sslmd.core.names import CertId, SetName
from sslmd.core.renew_track import why_not_back
from sslmd.core.state import CertState, SetNote
from sslmd.store import sets
from sslmd.workers.tools import Site, Standings, Threads


async def put_back(
    job: PutBack, site: Site, threads: Threads, standings: Standings
) -> BackOnDeck | AskDropped:
    """Do the job. A set that cannot be used any more ends the request: no retry would mend it."""
    return await threads.in_thread(_put_back, job, site, standings)


def _put_back(job: PutBack, site: Site, standings: Standings) -> BackOnDeck | AskDropped:
    now = site.now()
    sets.check_folders(site.tree, job.cert, job.set)
    sets.tighten_keys(site.tree, job.cert, job.set)
    facts = sets.read_set(site.tree, job.cert, job.set)
    if problem := why_not_back(facts, now):
        return AskDropped(now, problem)
    assert facts.cert is not None
    note = _noted(standings.state_of(job.cert), job.set)
    if note is None:
        note = SetNote(site.draw(), facts.cert.not_before)
    sets.put_on_deck(site.tree, job.cert, job.set)
    return BackOnDeck(now, facts, note, job.reason)


def _noted(state: CertState, name: SetName) -> SetNote | None:
    """Return what is noted of a set, so that its place in the spread stays what was drawn once."""
    if state.next is not None and state.next.name == name:
        return state.next_note
    return state.prev_note if state.prev == name else None


async def take_off(job: TakeOff, site: Site, threads: Threads) -> OffDeck:
    """Do the job. Raises `Permanent` if another set is on deck."""
    return await threads.in_thread(_take_off, job.cert, job.set, site)


def _take_off(cert: CertId, name: SetName, site: Site) -> OffDeck:
    sets.take_off_deck(site.tree, cert, name)
    return OffDeck(site.now())
