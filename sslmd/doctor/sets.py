"""What `sslmctl doctor` looks at in the trees: every link, set, key and chain, and production."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from sslmd.console.text import printable
from sslmd.core.errors import SslmError
from sslmd.core.names import CertId, GroupName, SetName
from sslmd.core.plain import local, some_of
from sslmd.core.spec import SetFacts
from sslmd.core.words.doctor import Diagnosis
from sslmd.core.words.sentence import say
from sslmd.doctor.daemon import Running
from sslmd.doctor.symptoms import Checkup, Symptom, Symptoms, odd, unseen, wrong
from sslmd.servers import as_found, production
from sslmd.servers.local import hosts_here
from sslmd.store import sets
from sslmd.store.layout import CURR, SET_FILES, Tree

# Certificates that are read at a time; each in a thread.
_THREADS = 4

# Files that one message names.
_SHOWN = 3

# Seconds by which the times of files are behind the clock at most: a tick of the kernel.
_COARSE = 0.01


async def look_at_sets(case: Checkup, running: Running) -> Symptoms:
    """Whether the files of every certificate fit, have not expired, and belong to the daemon."""
    if stranger := case.stranger("sets"):
        yield stranger
        return
    # Which set the daemon takes for the one in use.
    known = {cert.name: cert.curr.text("set") for cert in running.certs}
    here = await asyncio.to_thread(hosts_here, case.config)

    async def one(cert: CertId) -> Symptoms:
        looks = _of_cert(case, cert, known.get(str(cert)), running.asked, here)
        for finding in await asyncio.to_thread(list, looks):
            yield finding

    async for finding in case.watch.findings(
        "sets", case.config.services, one, "certificate", _THREADS, Diagnosis.SETS_WELL
    ):
        yield finding


def _of_cert(
    case: Checkup, cert: CertId, known: str | None, asked: float, here: Collection[str]
) -> Iterator[Symptom]:
    """Look at all that one certificate has on disk; blocks.

    `known`: which set was in use when the daemon was `asked`; it may have rolled since.
    """
    tree = Tree(str(case.config.globals.certs_dir))
    try:
        links = sets.read_links(tree, cert)
        names = sets.list_sets(tree, cert)
    except (SslmError, OSError) as err:
        yield _unread(cert, err)
        return
    for remark in links.remarks:
        yield wrong("sets", Diagnosis.BAD_LINK, cert=cert, remark=printable(say(remark)))
    yield from _foreign(case, tree, cert, names)
    now = datetime.now(UTC)
    fits = True
    for name in reversed(names):
        try:
            facts = sets.read_set(tree, cert, name, deep=name in (links.curr, links.next))
        except (SslmError, OSError) as err:
            yield _unread(cert, err)
            continue
        fits = fits and not (facts.problem and name == links.curr)
        yield from _of_set(cert, facts, links, now)
    if links.curr is None:
        # Of those that it knows, the daemon says so itself.
        if known is None and case.config.services[cert].managed and not links.remarks:
            yield odd("sets", Diagnosis.NO_CERT_YET, cert=cert, arg=cert.arg)
        return
    if not fits:
        return  # nothing is made of it: production stays as it is, and so does what is known
    if known is not None and known != str(links.curr):
        if _is_younger(tree, cert, asked):
            yield unseen("sets", Diagnosis.JUST_ROLLED, cert=cert)
        else:
            told = {"cert": cert, "set": links.curr, "known": known or "none"}
            yield wrong("sets", Diagnosis.OTHER_CURR, **told)
    yield from _production(case, tree, cert, links.curr, here)


def _unread(cert: CertId, err: SslmError | OSError) -> Symptom:
    """Judge what cannot be read; what is only closed to us was not looked at."""
    if isinstance(err, SslmError):
        closed = isinstance(err.__cause__, PermissionError)
        return (unseen if closed else wrong)("sets", Diagnosis.ABOUT, what=cert, why=err)
    facts = {"cert": cert, "path": printable(err.filename or ""), "why": err.strerror}
    return unseen("sets", Diagnosis.SET_CLOSED, **facts)


def _of_set(cert: CertId, facts: SetFacts, links: sets.Links, now: datetime) -> Iterator[Symptom]:
    """Judge one set by its place."""
    is_curr, is_next = facts.name == links.curr, facts.name == links.next
    if facts.cert is None and is_next and facts.key:
        return  # it waits for its certificate
    place = "in use" if is_curr else "on deck" if is_next else "that was in use before"
    told = {"cert": cert, "set": facts.name, "place": place, "arg": cert.arg}
    if facts.problem and (is_curr or is_next):
        # A CA without its key can only become another CA: the daemon says how.
        other = "show" if cert.group == GroupName.CA else "force-renew"
        yield wrong("sets", Diagnosis.SET_BROKEN, **told, problem=facts.problem, other=other)
    elif facts.problem and facts.name == links.prev:
        yield odd("sets", Diagnosis.NO_WAY_BACK, **told, problem=facts.problem)
    elif facts.problem and facts.cert is None and facts.key:
        yield odd("sets", Diagnosis.SET_CUT_SHORT, **told)
    if facts.cert is None or not (is_curr or is_next):
        return
    end, chain_end = facts.cert.not_after, facts.chain_end
    if end <= now:
        yield wrong("sets", Diagnosis.SET_EXPIRED, **told, at=local(end, now))
    elif chain_end is not None and chain_end <= now:
        yield wrong("sets", Diagnosis.CHAIN_EXPIRED, **told, at=local(chain_end, now))
    if cert.group == GroupName.CA and not facts.cert.is_ca:
        yield wrong("sets", Diagnosis.NO_CA_CERT, **told)


def _is_younger(tree: Tree, cert: CertId, asked: float) -> bool:
    """Whether the link to the set in use was made after a time."""
    try:
        return os.lstat(tree.link(cert, CURR)).st_mtime > asked - _COARSE
    except OSError:
        return True  # it changes at this moment


def _foreign(case: Checkup, tree: Tree, cert: CertId, names: list[SetName]) -> Iterator[Symptom]:
    """Find what belongs to somebody else than the daemon's user: whoever owns it can change it."""
    folders = [tree.cert_dir(cert), tree.db_dir(cert), *(tree.set_dir(cert, one) for one in names)]
    paths = [*folders, *(f"{folder}/{file}" for folder in folders[2:] for file in SET_FILES)]
    theirs: dict[int, list[str]] = {}
    for path in paths:
        try:
            owner = os.lstat(path).st_uid
        except OSError:
            continue
        if owner not in (0, case.uid):
            theirs.setdefault(owner, []).append(path)
    for owner, some in theirs.items():
        facts = {"cert": cert, "paths": some_of(some, _SHOWN), "folder": tree.cert_dir(cert)}
        yield wrong("sets", Diagnosis.OTHER_OWNER, **facts, owner=_user(owner), us=_user(case.uid))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _production(
    case: Checkup, tree: Tree, cert: CertId, curr: SetName, here: Collection[str]
) -> Iterator[Symptom]:
    """Compare what servers on this machine read with the set in use."""
    config = case.config
    if not config.services[cert].managed:
        return
    prod = str(config.globals.prod_cert_dir)
    is_ca = config.services[cert].spec.ca is not None
    facts = {"cert": cert, "link": f"{Tree(prod).cert_dir(cert)}/curr", "arg": cert.arg}
    try:
        if as_found.holds(tree, prod, cert, curr, is_ca=is_ca):
            access = config.access(cert, here)
            if as_found.is_directory(prod, cert) or production.serves(
                tree, prod, cert, curr, is_ca=is_ca, access=access
            ):
                return
            yield wrong("sets", Diagnosis.PRODUCTION_DIFFERS, **facts)
        else:
            yield wrong("sets", Diagnosis.PRODUCTION_OLD, **facts, set=curr)
    except (SslmError, OSError) as err:
        yield _unread(cert, err)
