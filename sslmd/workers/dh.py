"""Diffie-Hellman groups beside the certificates in production: `[dh]` of ssl-mgr.conf.

First everything that is there in an instant, for all groups; then what takes openssl minutes, one
after another, at the lowest priority. What it has generated comes through a pipe, so that a file is
there whole or not at all (I5), and nothing is left to do it when the daemon ends.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from datetime import timedelta

from sslmd.acme.launch import tied
from sslmd.config.model import DhOptions
from sslmd.core.dh import DhGroup
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.core.told import Reported
from sslmd.pki.dhparam import dhparam, group_in
from sslmd.processes import ended_badly, start
from sslmd.store import dh, files
from sslmd.store.layout import Tree
from sslmd.workers.tools import Site, Telling, Threads

# For one group: 8192 bits take hours on a slow processor. What takes longer hangs.
LIMIT = timedelta(days=1)

# What openssl shows of its progress.
_PROGRESS = re.compile(r"[.+*?]{3,}\s*")


def rehearse(site: Site) -> list[str]:
    """Return the files that the job would write, and write nothing; blocks."""
    options, prod = site.config.dh, str(site.config.globals.prod_cert_dir)
    return [
        f"{Tree(prod).dh_dir(name)}/{group.file}"
        for name in options.groups
        for group in options.params
        if not dh.is_there(Tree(prod).dh_dir(name), group, options.max_age, site.now())
    ]


async def write_dh(site: Site, threads: Threads, telling: Telling) -> list[Exception]:
    """Have every folder of `[dh]` hold what it should; tell what was written.

    Return what failed: a folder in trouble keeps out no other (I6).
    """
    options, prod = site.config.dh, str(site.config.globals.prod_cert_dir)
    failed: list[Exception] = []
    old: list[tuple[str, DhGroup]] = []
    for name in options.groups:
        try:
            lacking, changes = await threads.in_thread(_put, prod, name, options, site)
        except Exception as err:
            failed.append(err)
            continue
        folder = Tree(prod).dh_dir(name)
        old += [(folder, group) for group in lacking]
        _tell(telling, folder, changes)
    if not old:
        return failed
    program = shutil.which("openssl")
    if program is None:
        return [*failed, Permanent(Reason(Failed.NO_OPENSSL))]
    for folder, group in old:
        try:
            pem = await _generate(program, group.bits)
            await threads.in_thread(dh.write, folder, group, pem)
            points = await threads.in_thread(_point, folder, options)
            changes = [Reason(Reported.DH_MADE, file=group.file), *points]
        except Exception as err:
            failed.append(err)
        else:
            _tell(telling, folder, changes)
    return failed


def _tell(telling: Telling, folder: str, changes: list[Reason]) -> None:
    if changes:
        what = Reason(Reported.DH_CHANGED, folder=folder, changes=tuple(changes))
        telling.tell("dh-written", what, None)


def _put(
    prod: str, name: str, options: DhOptions, site: Site
) -> tuple[list[DhGroup], list[Reason]]:
    """Write the groups of RFC 7919 that a folder lacks; return those to generate, what was done."""
    place = Tree(prod)
    folder = place.dh_dir(name)
    # Servers take what lies there: nobody else may be able to put it there.
    above = place.group_dir(name)
    for path in (prod, above, folder):
        files.check_dir(path)
    files.make_dirs(above)
    files.make_dirs(folder, dh.DIR_MODE)
    files.remove_leftovers(folder)
    lacking: list[DhGroup] = []
    changes: list[Reason] = []
    for group in options.params:
        if dh.is_there(folder, group, options.max_age, site.now()):
            dh.check_owner(folder, group)
        elif group.own:
            lacking.append(group)
        else:
            dh.write(folder, group, dhparam(group.bits))
            changes.append(Reason(Reported.DH_WRITTEN, file=group.file))
    return lacking, [*changes, *_point(folder, options)]


def _point(folder: str, options: DhOptions) -> list[Reason]:
    """Keep the link right, once what it leads to is there."""
    first = options.params[0]
    if dh.exists(folder, first) and dh.point(folder, first):
        return [Reason(Reported.DH_LINK, link=dh.LINK, file=first.file)]
    return []


async def _generate(program: str, bits: int) -> bytes:
    """Have openssl generate a group; raise `Transient` or `Permanent` if it does not."""
    shown = f"openssl dhparam {bits}"
    nice = shutil.which("nice")
    gently = (nice, "-n", "19") if nice else ()
    argv = [*tied(), *gently, program, "dhparam", str(bits)]
    running = await start(argv, cwd="/", remedy=Failed.FIX_OPENSSL)
    try:
        async with asyncio.timeout(LIMIT.total_seconds()):
            status = await running.wait()
        await running.rest_of_output()
    except TimeoutError:
        hours = round(LIMIT.total_seconds() / 3600)
        raise Transient(Reason(Failed.DH_OVERDUE, command=shown, hours=hours)) from None
    finally:
        await running.end()
    if status != 0:
        said = _PROGRESS.sub("", running.said)
        raise Transient(ended_badly(shown, status, said))
    return group_in(running.text.encode(), bits)
