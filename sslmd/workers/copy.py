"""One visit to a host: what it lacks is copied there, what is not meant for it is taken away (I1).

A set arrives complete beside the one in use, and is switched to by one rename (I3). One
certificate's trouble stops no other (I6). docs/decisions/2026-11-24-copies.md.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from sslmd.config.model import THIS_HOST, commands_of, is_meant, wanted_on
from sslmd.core.errors import Permanent, SslmError, Transient, together
from sslmd.core.failed import Failed
from sslmd.core.host.needs import Belonging, KeyAccess, Needs, is_kept, needs, would_change
from sslmd.core.jobs import Copy, Told
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, Said
from sslmd.processes import run_command
from sslmd.servers import around, production
from sslmd.servers.ssh import RemoteShell, shell_on
from sslmd.store import files
from sslmd.store.layout import Tree, is_incoming
from sslmd.workers.deliver import is_here
from sslmd.workers.tools import Delivering, Site, Telling, Threads

# Which names lead to one machine: connections to look at a time, for one visit; and bytes of
# randomness that are put there, so that nobody can say that they saw what they did not.
LOOKED_AT_ONCE = 8
_RANDOM = 16


@dataclass(slots=True)
class Visit:
    """How a visit went. `new`: whether a certificate is another than the host had in use.

    `here`: the host is this machine. `surplus`: what lies there that is neither meant for it nor
    ours to take away; `unlisted`: how much more it did not list. `left`: what is there in
    the end; None: nobody has looked. `taken`: the certificates that were taken away. `same`: other
    names of the machine. `older`: the folders, of those where production was before, that still
    hold keys; None as above. `kept`: those that only hold what is meant to stay there (`keep`).
    `trouble`: why something could not be taken away.
    """

    here: bool = False
    new: dict[CertId, bool] = field(default_factory=dict)
    errors: dict[CertId, Exception] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    taken: set[CertId] = field(default_factory=set)
    same: tuple[str, ...] = ()
    surplus: list[Belonging] = field(default_factory=list)
    left: set[CertId] | None = None
    older: tuple[str, ...] | None = None
    kept: tuple[str, ...] = ()
    trouble: Exception | None = None
    unlisted: int = 0

    def take_older(self, keys: Mapping[str, Collection[str]], keep: Collection[str]) -> None:
        """Take in which keys are in the folders where production was before."""
        holding = tuple(folder for folder, paths in keys.items() if paths)
        foreign = {one for one in holding if not all(is_kept(path, keep) for path in keys[one])}
        self.older = tuple(one for one in holding if one in foreign)
        self.kept = tuple(one for one in holding if one not in foreign)


class Machines(Protocol):
    """What is known of hosts."""

    def holds(self, host: str) -> Collection[CertId]:
        """Return what we once put there."""

    def older(self, host: str) -> Collection[str]:
        """Return where production was before."""

    def alike(self, host: str) -> Collection[str]:
        """Return the other hosts that say that they are the same machine: clones, or they lie."""

    async def met(self, host: str, machine: str) -> None:
        """Note which machine a host says that it is. Raises `SslmError`."""

    async def will_hold(self, job: Copy) -> None:
        """Note what is about to be put there, before a byte of it is sent. Raises `SslmError`."""


async def copy(job: Copy, delivering: Delivering, machines: Machines) -> Visit:
    """Do the job; raise what keeps the whole visit from happening."""
    visit = Visit()
    visit.here = await is_here(
        job.host, (one.cert for one in job.told), delivering.standings, delivering.locality
    )
    if visit.here:
        # Production is what servers on this machine read.
        visit.new = {one.cert: False for one in job.told}
        if job.host == THIS_HOST:
            older = machines.older(job.host)
            await delivering.threads.in_thread(_tidy_here, delivering.site, visit, older)
    else:
        await _visit(job, delivering, visit, machines)
    site = delivering.site
    for argv in commands_of(site.config).after_copy_to(job.host) if visit.new else ():
        await run_command(
            argv,
            timeout=site.config.globals.cmd_timeout,
            cwd=str(site.config.top),
            remedy=Failed.FIX_POST_COPY_CMD,
        )
    return visit


# --- on this machine ------------------------------------------------------------------------


def _tidy_here(site: Site, visit: Visit, older: Collection[str]) -> None:
    """Take out of production what is not in the configuration any more."""
    prod = str(site.config.globals.prod_cert_dir)
    keys = {one: around.keys_in(one, but=prod) for one in older}
    visit.take_older(keys, site.config.globals.keep)
    found = around.needs_here(site.config, site.now())
    for thing in found.to_go:
        if thing.cert is not None:
            production.drop(prod, thing.cert)
            visit.removed.append(str(thing))
    visit.surplus = found.surplus


# --- on another machine ---------------------------------------------------------------------


async def _visit(job: Copy, delivering: Delivering, visit: Visit, machines: Machines) -> None:
    site, threads = delivering.site, delivering.threads
    prod, older = str(site.config.globals.prod_cert_dir), machines.older(job.host)
    holds = {*machines.holds(job.host), *(one.cert for one in job.told)}
    async with shell_on(job.host, prod, site.scratch) as shell:
        # Production is not to be copied onto itself: a name may lead here by ssh's configuration.
        async with _outgoing(site, threads) as folder:
            await shell.ask("elsewhere", folder)
        unsent: SslmError | None = None
        if job.told:
            answer = await shell.ask("begin")
            incoming = answer.first("in") or ""
            # Before anything is put there: a visit by another name looks whether it is one machine.
            await machines.met(job.host, answer.first("machine") or "")
            # `begin` of remote.sh: a host's word is not gone by elsewhere.
            if not is_incoming(incoming, prod):
                raise Transient(Reason(Failed.HOST_NO_PLACE), about=job.host)
            async with _outgoing(site, threads) as folder:
                ready = await threads.in_thread(_pack, job, site, folder, visit)
                if ready:
                    # A host that was never reached holds nothing; from here on it may (I5).
                    await machines.will_hold(job)
                    unsent = await _unsent(shell, folder, incoming)
            if unsent is None:
                await _put(shell, ready, site, delivering.telling, visit)
            else:
                visit.errors |= {told.cert: unsent for told in ready}
        try:
            await _tidy(shell, site, threads, holds, visit, machines)
            if older:
                visit.take_older(await _older(shell, older), site.config.globals.keep)
        except SslmError as err:
            if unsent is not None:
                raise unsent from None
            visit.trouble = err  # which is no reason to restart nothing (I6)


async def _older(shell: RemoteShell, folders: Collection[str]) -> dict[str, list[str]]:
    """Return the keys in folders where production was before, by their paths below these."""
    keys = dict[str, list[str]]((one, []) for one in folders)
    numbered = {str(at): keys[one] for at, one in enumerate(folders, 1)}
    for text in (await shell.ask("older", *folders)).every("older"):
        number, _, path = text.partition(" ")
        numbered.get(number, []).append(path)
    return keys


async def _unsent(shell: RemoteShell, folder: str, incoming: str) -> SslmError | None:
    """Send what is in a folder; return why it did not get there.

    It is looked at all the same what the host has: it may hold nothing of what was to be sent.
    """
    try:
        await shell.send(folder, incoming)
    except SslmError as err:
        return err
    return None


@asynccontextmanager
async def _outgoing(site: Site, threads: Threads) -> AsyncIterator[str]:
    folder = f"{site.tree.outgoing_dir}/{secrets.token_hex(12)}"

    def make() -> None:
        files.make_dirs(os.path.dirname(folder), 0o700)
        files.make_dirs(folder, 0o700)

    try:
        await threads.in_thread(make)
        yield folder
    finally:
        await threads.in_thread(files.remove_tree, folder)


def forget_outgoing(tree: Tree) -> None:
    """Remove what a daemon that was killed was sending; blocks, for the start."""
    files.remove_tree(tree.outgoing_dir)


def _pack(job: Copy, site: Site, folder: str, visit: Visit) -> Mapping[Told, int]:
    """Put what is to be sent in a folder; return how many files each certificate has."""
    ready = {}
    for told in job.told:
        cert = told.cert
        try:
            # Asked again here, where a key would leave the machine (I1).
            if not is_meant(site.config, cert, job.host):
                raise Permanent(Reason(Failed.NOT_MEANT, cert=cert, host=job.host))
            is_ca = site.service(cert).spec.ca is not None
            found = production.contents(site.tree, cert, told.set, is_ca=is_ca)
            place = Tree(folder).cert_dir(cert)
            files.make_dirs(place, 0o700)
            for file, data in found.items():
                _write(f"{place}/{file}", data)
            ready[told] = len(found)
        except SslmError as err:
            visit.errors[cert] = err
        except OSError as err:
            visit.errors[cert] = files.trouble(err, "pack", str(err.filename or folder))
    return ready


def _write(path: str, data: bytes) -> None:
    """Write a file that nobody else sees, and that need not outlive a crash."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, files.KEY_MODE), "wb") as file:
        file.write(data)


async def _put(
    shell: RemoteShell, ready: Mapping[Told, int], site: Site, telling: Telling, visit: Visit
) -> None:
    calls, asking = {}, dict[tuple[str, str], CertId]()
    for told, count in ready.items():
        cert = told.cert
        # Asked once more: much may have happened while it was sent (I1).
        if not is_meant(site.config, cert, shell.host):
            why = Reason(Failed.NOT_MEANT, cert=cert, host=shell.host)
            visit.errors[cert] = Permanent(why)
            continue
        access = site.config.access(cert, (shell.host,))
        words = ("put", cert.group, cert.service, str(told.set), str(count))
        rights = (access.owner, access.group, f"{access.mode:04o}", str(int(access.opens)))
        calls[cert] = (*words, *rights)
        if access.opens:
            asking.setdefault((access.owner, access.group), cert)
    for cert, found in zip(calls, await shell.ask_each(list(calls.values())), strict=True):
        put = None if isinstance(found, Exception) else found.first("put")
        if isinstance(found, Exception):
            visit.errors[cert] = found
        elif put is None:
            # A shell that could not even say why: its disk is full, or the like.
            why = Reason(Failed.NOT_PUT, cert=cert, said=Said(found.said))
            visit.errors[cert] = Transient(why, about=shell.host)
        else:
            visit.new[cert] = put != "same"
    prod = site.config.globals.prod_cert_dir
    for (owner, group), cert in asking.items():
        answer = await shell.ask("above", owner, group)
        ways = answer.every("closed")
        if closed := [one for one in map(str, prod.parents) if one in ways]:
            why = around.closed(closed, KeyAccess(owner, group))
            telling.tell("host-trouble", why.of(shell.host), cert)


async def _tidy(
    shell: RemoteShell,
    site: Site,
    threads: Threads,
    holds: Collection[CertId],
    visit: Visit,
    machines: Machines,
) -> None:
    """Take away what is not meant for a host any more, and see what else is there."""
    host = shell.host
    answer = await shell.ask("survey")
    await machines.met(host, answer.first("machine") or "")
    there = await threads.in_thread(around.found_there, answer, holds)
    visit.left = {thing.cert for thing in there if thing.cert is not None}
    found = await threads.in_thread(_sorted, site, (host,), there)
    names = [
        name for name in machines.alike(host) if would_change(found, wanted_on(site.config, name))
    ]
    if names:
        same = await _seen_as_one(shell, names, site)
        visit.same = tuple(name for name in names if name in same)
        found = await threads.in_thread(_sorted, site, (host, *visit.same), there)
    visit.surplus = found.surplus
    more = answer.first("more") or ""
    # A host's word: what is no number, or longer than any count, is none.
    visit.unlisted = int(more) if more.isascii() and more.isdecimal() and len(more) < 10 else 0
    failures: list[SslmError] = []
    for thing in found.to_go:
        gone = thing.cert
        # Asked again: much may have happened while others were taken away.
        if gone is None or not _sorted(site, (host, *visit.same), [thing]).to_go:
            continue
        try:
            await shell.ask("drop", gone.group, gone.service)
            visit.left.discard(gone)
            visit.removed.append(str(thing))
            visit.taken.add(gone)
        except SslmError as err:
            failures.append(err)
            if not thing.is_ours:  # what is ours is noted as such
                visit.surplus.append(thing)
    if failures:
        raise together(failures)


def _sorted(site: Site, names: tuple[str, ...], there: list[Belonging]) -> Needs:
    """Return what is to be done with what is on a machine that has these names."""
    return needs(wanted_on(site.config, *names), site.now(), there=there)


async def _seen_as_one(shell: RemoteShell, names: Collection[str], site: Site) -> frozenset[str]:
    """Return those names that lead to the production tree of an open shell.

    What is put there under one name is seen under the others. What a host says of itself (its
    machine-id, and the inode of its tree) only tells where to look: clones of a template all say
    the same, and a host may lie. docs/decisions/2026-11-30-one-machine.md.

    One that cannot be reached now does not. Raises `SslmError` where nothing can be put there.
    """
    prod, token = str(site.config.globals.prod_cert_dir), secrets.token_hex(_RANDOM)
    turn = asyncio.Semaphore(LOOKED_AT_ONCE)

    async def sees_it(name: str) -> bool:
        try:
            async with turn, shell_on(name, prod, site.scratch) as other:
                return token in (await other.ask("left")).every("left")
        except SslmError:
            return False

    await shell.ask("leave", token)
    try:
        found = await asyncio.gather(*map(sees_it, names))
    finally:
        with suppress(SslmError):
            await shell.ask("clear_away")
    return frozenset(name for name, sees in zip(names, found, strict=True) if sees)
