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
from sslmd.workers.tools import Tools


async def put_back(job: PutBack, tools: Tools) -> BackOnDeck | AskDropped:
    """Do the job. A set that cannot be used any more ends the request: no retry would mend it."""
    return await tools.in_thread(_put_back, job, tools)


def _put_back(job: PutBack, tools: Tools) -> BackOnDeck | AskDropped:
    now = tools.now()
    sets.check_folders(tools.tree, job.cert, job.set)
    sets.tighten_keys(tools.tree, job.cert, job.set)
    facts = sets.read_set(tools.tree, job.cert, job.set)
    if problem := why_not_back(facts, now):
        return AskDropped(now, problem)
    assert facts.cert is not None
    note = _noted(tools.standings.state_of(job.cert), job.set)
    if note is None:
        note = SetNote(tools.draw(), facts.cert.not_before)
    sets.put_on_deck(tools.tree, job.cert, job.set)
    return BackOnDeck(now, facts, note, job.reason)


def _noted(state: CertState, name: SetName) -> SetNote | None:
    """Return what is noted of a set, so that its place in the spread stays what was drawn once."""
    if state.next is not None and state.next.name == name:
        return state.next_note
    return state.prev_note if state.prev == name else None


async def take_off(job: TakeOff, tools: Tools) -> OffDeck:
    """Do the job. Raises `Permanent` if another set is on deck."""
    return await tools.in_thread(_take_off, job.cert, job.set, tools)


def _take_off(cert: CertId, name: SetName, tools: Tools) -> OffDeck:
    sets.take_off_deck(tools.tree, cert, name)
    return OffDeck(tools.now())
