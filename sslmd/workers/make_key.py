"""A new set: key, CSR, and the `next` link that puts it on deck."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from sslmd.core.errors import Permanent, SslmError
from sslmd.core.events import KeyMade
from sslmd.core.jobs import MakeKey
from sslmd.core.names import CertId, SetName
from sslmd.core.renew_track import can_finish
from sslmd.core.spec import CertSpec
from sslmd.core.state import SetNote
from sslmd.pki.csr import make_csr
from sslmd.pki.identity import describe_key
from sslmd.pki.inspect import set_facts
from sslmd.pki.keys import generate_key, load_key
from sslmd.store import certs, files, sets
from sslmd.store.layout import CSR, PRIVKEY, Tree
from sslmd.workers.sign import known_of
from sslmd.workers.tools import Site, Threads, wanted_of


async def make_key(job: MakeKey, site: Site, threads: Threads) -> KeyMade:
    """Do the job. The link comes last: before it, nothing of the new set counts."""
    return await threads.in_thread(_make, job, site)


def _make(job: MakeKey, site: Site) -> KeyMade:
    service = site.service(job.cert)
    spec = service.spec
    tree, cert, now = site.tree, job.cert, site.now()
    sets.check_folders(tree, cert)
    sets.sweep(tree, cert)
    _check_ca(job, spec, tree)
    if job.reuse:
        key = _key_of(tree, cert, spec, sets.read_links(tree, cert).curr)
    elif job.keep:
        key = _key_of(tree, cert, spec, sets.read_links(tree, cert).next)
    else:
        key = generate_key(spec.key)
    known = known_of(tree, spec, key)
    csr = make_csr(key, spec, known.subject if known else None)
    facts = set_facts(SetName.at(now), {PRIVKEY: key, CSR: csr})
    if not can_finish(facts, wanted_of(service, site.config)):
        # On deck it would only be made again, at once and for ever.
        raise Permanent("key and CSR do not come out as its service file asks", about=cert)
    name = sets.new_set(tree, cert, now)
    try:
        sets.write_set_file(tree, cert, name, PRIVKEY, key)
        sets.write_set_file(tree, cert, name, CSR, csr)
        sets.put_on_deck(tree, cert, name)
    except SslmError:
        with suppress(SslmError):  # half a set is of no use; one more try makes another
            files.remove_tree(tree.set_dir(cert, name))
            sets.finish(tree, cert, name)
        raise
    facts = replace(facts, name=name)
    note = SetNote(site.draw(), new_key=job.new_key, at_end=job.at_end)
    return KeyMade(now, facts, note, job.reason, job.keep)


def _check_ca(job: MakeKey, spec: CertSpec, tree: Tree) -> None:
    """A CA that was ever in use gets another key only if an admin asked for that (I12)."""
    if spec.ca is None or job.reuse or job.new_key:
        return
    if remains := certs.remains_of_ca(tree, job.cert):
        raise Permanent(
            f"{job.cert} was in use before: there is {remains}. No new key is made for it; see: "
            f"sslmctl show {job.cert.arg}"
        )


def _key_of(tree: Tree, cert: CertId, spec: CertSpec, name: SetName | None) -> bytes:
    """Return the key of a set, for another one."""
    contents = {}
    if name is not None:
        sets.check_folders(tree, cert, name)
        contents = sets.read_files(tree.set_dir(cert, name), (PRIVKEY,))
    if PRIVKEY not in contents:
        raise Permanent(
            f"{cert} has no key to use again; renew it without --reuse, or: sslmctl force-renew"
        )
    key = contents[PRIVKEY]
    kind = describe_key(load_key(key).public_key())
    if spec.ca is None and kind != str(spec.key):
        raise Permanent(
            f"{cert} has a key {kind}, its service file asks for {spec.key}; renew it without "
            "--reuse"
        )
    return key
