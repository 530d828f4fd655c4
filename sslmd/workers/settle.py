"""The end of a roll: what only the old generation needed goes, old sets are cleaned up."""

from __future__ import annotations

from sslmd.core.errors import SslmError, together
from sslmd.core.events import Settled
from sslmd.core.jobs import Settle
from sslmd.core.names import CertId, SetName
from sslmd.store import certs, files, sets
from sslmd.workers.tools import Site, Standings, Threads


async def settle(job: Settle, site: Site, threads: Threads, standings: Standings) -> Settled:
    """Do the job.

    Old sets of a tree that was taken over stay until the first roll: no set of ours is among them.
    What we began and never finished goes in any case.
    """
    if _cleans(job.cert, standings):
        await clean(job.cert, site, threads, standings)
    else:
        await threads.in_thread(sets.sweep, site.tree, job.cert)
    return Settled(site.now(), sets.read_links(site.tree, job.cert).prev)


async def clean(
    cert: CertId, site: Site, threads: Threads, standings: Standings, keep: int | None = None
) -> list[SetName]:
    """Remove old sets, all but `keep` (None: `clean_keep`) beside curr, next and prev.

    Return those that were removed.
    """

    def remove() -> list[SetName]:
        sets.sweep(site.tree, cert)
        most = site.config.globals.clean_keep if keep is None else keep
        return sets.clean(site.tree, cert, most, _used(cert, site, standings))

    return await threads.in_thread(remove)


async def clean_inactive(
    site: Site, threads: Threads, keep: int | None = None
) -> list[tuple[CertId, SetName]]:
    """The same for certificates in the tree whose group is inactive.

    One in trouble holds up no other; what came of it is raised in the end.
    """
    return await threads.in_thread(_clean_inactive, site, keep)


def _clean_inactive(site: Site, keep: int | None) -> list[tuple[CertId, SetName]]:
    tree = site.tree
    keep = site.config.globals.clean_keep if keep is None else keep
    removed = []
    failures: list[SslmError] = []
    for group in sorted(site.config.inactive):
        for cert in sets.list_certs(tree, group):
            if cert in site.config.services:
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


def _cleans(cert: CertId, standings: Standings) -> bool:
    """Whether old sets go: not those of a tree that was just taken over."""
    return standings.state_of(cert).rolled_at is not None


def rehearse(cert: CertId, site: Site, standings: Standings) -> list[SetName]:
    """Return the old sets that the job would remove, and remove nothing; blocks."""
    if not _cleans(cert, standings):
        return []
    return sets.superfluous(
        site.tree, cert, site.config.globals.clean_keep, _used(cert, site, standings)
    )


def _used(cert: CertId, site: Site, standings: Standings) -> tuple[SetName, ...]:
    """Return the sets whose TLSA records may be in use: the records are made of their files."""
    service = site.config.services.get(cert)
    if service is not None and service.spec.ca is not None:
        # What an older generation of a CA signed is known to be from it as long as its set stays.
        now, tree = site.now(), site.tree
        facts = [sets.read_set(tree, cert, one, deep=False) for one in sets.list_sets(tree, cert)]
        return tuple(one.name for one in facts if one.cert and one.cert.not_after > now)
    return standings.state_of(cert).retired if service is not None and service.dane else ()
