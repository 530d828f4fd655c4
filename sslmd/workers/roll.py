"""`next` becomes `curr`, after it was read again from disk and found complete (I3)."""

from __future__ import annotations

from sslmd.core.errors import Permanent
from sslmd.core.events import Lost, Rolled
from sslmd.core.jobs import Roll
from sslmd.core.reason import Reason, Why
from sslmd.pki.inspect import repairs
from sslmd.store import sets
from sslmd.workers.tools import RollGate, Site, Threads


async def roll(job: Roll, site: Site, threads: Threads, gate: RollGate) -> Rolled | Lost:
    """Do the job. Raises `Permanent` if what is on deck is not what was decided on.

    Unless an admin set that aside, DNS is looked at once more (I4): if it does not show what
    it should, nothing is rolled and the wait begins anew.
    """
    if not job.blind and (problem := await gate.may_roll(job.cert, job.set)):
        return Lost(site.now(), Reason(Why.LAST_LOOK, why=problem))
    return await threads.in_thread(_roll, job, site)


def _roll(job: Roll, site: Site) -> Rolled:
    tree, cert = site.tree, job.cert
    links = sets.read_links(tree, cert)
    if links.next != job.set:
        raise Permanent(
            f"set {job.set} is no longer on deck; somebody changed the links, run: sslmctl reload",
            about=cert,
        )
    sets.check_folders(tree, cert, job.set)
    contents = sets.read_files(tree.set_dir(cert, job.set))
    mended = repairs(contents)
    for file, data in mended.items():
        sets.write_set_file(tree, cert, job.set, file, data)
    facts = sets.read_set(tree, cert, job.set)
    if not facts.complete:
        raise Permanent(
            f"set {job.set} was changed on disk: {facts.problem}; "
            f"run: sslmctl force-renew {cert.arg}",
            about=cert,
        )
    now = site.now()
    sets.roll(tree, cert, job.set, now)
    return Rolled(now, job.overrode)
