"""The end of a roll: what only the old generation needed goes, old sets are cleaned up."""

from __future__ import annotations

from sslmd.core.errors import SslmError, together
from sslmd.core.events import Settled
from sslmd.core.jobs import Settle
from sslmd.core.names import CertId, SetName
from sslmd.store import certs, files, sets
from sslmd.workers.tools import Tools


async def settle(job: Settle, tools: Tools) -> Settled:
    """Do the job.

    Old sets of a tree that was taken over stay until the first roll: no set of ours is among them.
    What we began and never finished goes in any case.
    """
    if _cleans(job.cert, tools):
        await clean(job.cert, tools)
    else:
        await tools.in_thread(sets.sweep, tools.tree, job.cert)
    return Settled(tools.now(), sets.read_links(tools.tree, job.cert).prev)


async def clean(cert: CertId, tools: Tools, keep: int | None = None) -> list[SetName]:
    """Remove old sets, all but `keep` (None: `clean_keep`) beside curr, next and prev.

    Return those that were removed.
    """
    return await tools.in_thread(_clean, cert, tools, keep)


async def clean_inactive(tools: Tools, keep: int | None = None) -> list[tuple[CertId, SetName]]:
    """The same for certificates in the tree whose group is inactive.

    One in trouble holds up no other; what came of it is raised in the end.
    """
    return await tools.in_thread(_clean_inactive, tools, keep)


def _clean_inactive(tools: Tools, keep: int | None) -> list[tuple[CertId, SetName]]:
    tree = tools.tree
    keep = tools.config.globals.clean_keep if keep is None else keep
    removed = []
    failures: list[SslmError] = []
    for group in sorted(tools.config.inactive):
        for cert in sets.list_certs(tree, group):
            if cert in tools.config.services:
                continue  # a CA that others need is looked after
            try:
                for folder in (tree.group_dir(cert.group), tree.cert_dir(cert), tree.db_dir(cert)):
                    files.check_dir(folder)
                names = sets.clean(tree, cert, keep, certs.in_use(tree, cert))
            except SslmError as err:
                failures.append(err)
                continue
            removed += [(cert, name) for name in names]
    if failures:
        raise together(failures)
    return removed


def _cleans(cert: CertId, tools: Tools) -> bool:
    """Whether old sets go: not those of a tree that was just taken over."""
    return tools.standings.state_of(cert).rolled_at is not None


def rehearse(cert: CertId, tools: Tools) -> list[SetName]:
    """Return the old sets that the job would remove, and remove nothing; blocks."""
    if not _cleans(cert, tools):
        return []
    return sets.superfluous(tools.tree, cert, tools.config.globals.clean_keep, _used(cert, tools))


def _clean(cert: CertId, tools: Tools, keep: int | None) -> list[SetName]:
    sets.sweep(tools.tree, cert)
    keep = tools.config.globals.clean_keep if keep is None else keep
    return sets.clean(tools.tree, cert, keep, _used(cert, tools))


def _used(cert: CertId, tools: Tools) -> tuple[SetName, ...]:
    """Return the sets whose TLSA records may be in use: the records are made of their files."""
    service = tools.config.services.get(cert)
    if service is not None and service.spec.ca is not None:
        # What an older generation of a CA signed is known to be from it as long as its set stays.
        return _valid(cert, tools)
    return tools.standings.state_of(cert).retired if service is not None and service.dane else ()


def _valid(cert: CertId, tools: Tools) -> tuple[SetName, ...]:
    """Return the sets whose certificate has not expired."""
    now, found = tools.now(), []
    for name in sets.list_sets(tools.tree, cert):
        facts = sets.read_set(tools.tree, cert, name, deep=False)
        if facts.cert is not None and facts.cert.not_after > now:
            found.append(name)
    return tuple(found)
