"""What is on deck, and its roll: an older set put back, `next` becomes `curr`, ports seen (I3, I4).

Each changes one link at one instant (I5). Whatever is taken off the deck stays in `db/` until it is
cleaned up.
"""

from __future__ import annotations

from sslmd.core.errors import Permanent
from sslmd.core.events import AskDropped, BackOnDeck, Lost, OffDeck, Rolled, ServersProven
from sslmd.core.failed import Failed
from sslmd.core.jobs import Prove, PutBack, Roll, TakeOff
from sslmd.core.reason import Reason, Why
from sslmd.core.renew_track import why_not_back
from sslmd.core.state import SetNote
from sslmd.pki.inspect import repairs
from sslmd.store import sets
from sslmd.workers.tools import RollGate, Site, Standings, Threads


async def put_back(
    job: PutBack, site: Site, threads: Threads, standings: Standings
) -> BackOnDeck | AskDropped:
    """Put an older set on deck again, before it is rolled.

    A set that cannot be used any more ends the request: no retry would fix it.
    """
    return await threads.in_thread(_put_back, job, site, standings)


def _put_back(job: PutBack, site: Site, standings: Standings) -> BackOnDeck | AskDropped:
    now, state = site.now(), standings.state_of(job.cert)
    sets.check_folders(site.tree, job.cert, job.set)
    sets.tighten_keys(site.tree, job.cert, job.set)
    facts = sets.read_set(site.tree, job.cert, job.set)
    if problem := why_not_back(facts, now):
        return AskDropped(now, problem)
    assert facts.cert is not None
    # What is noted of it stays: its place in the spread of renewals is drawn once.
    if state.next is not None and state.next.name == job.set:
        note = state.next_note
    else:
        note = state.prev_note if state.prev == job.set else None
    if note is None:
        note = SetNote(site.draw(), facts.cert.not_before)
    sets.put_on_deck(site.tree, job.cert, job.set)
    return BackOnDeck(now, facts, note, job.reason)


async def take_off(job: TakeOff, site: Site, threads: Threads) -> OffDeck:
    """Take a set off the deck. Raises `Permanent` if another is on it."""
    await threads.in_thread(sets.take_off_deck, site.tree, job.cert, job.set)
    return OffDeck(site.now())


async def roll(job: Roll, site: Site, threads: Threads, gate: RollGate) -> Rolled | Lost:
    """Make `next` the new `curr`, after it was read again from disk and found complete.

    Raises `Permanent` if what is on deck is not what was decided on.

    Unless an admin set that aside, DNS is looked at once more (I4): if it does not show what
    it should, nothing is rolled and the wait begins again.
    """
    if not job.blind and (problem := await gate.may_roll(job.cert, job.set)):
        return Lost(site.now(), Reason(Why.LAST_LOOK, why=problem))
    return await threads.in_thread(_roll, job, site)


def _roll(job: Roll, site: Site) -> Rolled:
    tree, cert = site.tree, job.cert
    links = sets.read_links(tree, cert)
    if links.next != job.set:
        raise Permanent(Reason(Failed.NOT_ON_DECK, set=job.set), about=cert)
    sets.check_folders(tree, cert, job.set)
    contents = sets.read_files(tree.set_dir(cert, job.set))
    repaired = repairs(contents)
    sets.write_set_files(tree, cert, job.set, repaired)
    facts = sets.read_set(tree, cert, job.set)
    if not facts.complete:
        why = Reason(Failed.CHANGED_ON_DISK, set=job.set, problem=facts.problem, arg=cert.arg)
        raise Permanent(why, about=cert)
    now = site.now()
    sets.roll(tree, cert, job.set, now)
    return Rolled(now, job.overrode)


async def prove(job: Prove, site: Site, gate: RollGate) -> ServersProven:
    """See ports with TLSA records serve the new key, before old records go.

    Raises `Transient` while one still serves an older key.
    """
    await gate.prove_ports(job.cert, job.set)
    return ServersProven(site.now())
