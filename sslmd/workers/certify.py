"""A new set: its key and CSR, put on deck; then its certificate, from a CA of the site or by ACME.

Links come last, and `cert.pem`, which makes the set whole: before them nothing of it counts. The
set of an own CA is read once, through its link, so a CA that is rolled meanwhile signs with one
generation or the other, never with a mixture: chains stay right while both are in use.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from sslmd.acme import certbot
from sslmd.acme.accounts import account_used
from sslmd.acme.attempt import Attempt
from sslmd.acme.certbot import server_of
from sslmd.acme.wishes import unmet_wishes
from sslmd.config.model import ServiceConfig
from sslmd.core.errors import Permanent, SslmError
from sslmd.core.events import CertIssued, KeyMade
from sslmd.core.jobs import Certify, MakeKey, Order, lane
from sslmd.core.limits import names_mark
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Reason, Said
from sslmd.core.renew_track import can_finish
from sslmd.core.renewal import CA_WISHES, Wanted, why_useless
from sslmd.core.spec import AcmeCa, CertSpec, OwnCa, SetFacts
from sslmd.core.state import Issuance, SetNote
from sslmd.core.unusable import NotUsable
from sslmd.core.words.sentence import say
from sslmd.pki.chain import arranged, bundle, fullchain, serial_of
from sslmd.pki.csr import make_csr
from sslmd.pki.identity import describe_key
from sslmd.pki.inspect import set_facts
from sslmd.pki.keys import generate_key, load_key
from sslmd.pki.local_ca import Issued, Known, SelfSigning, SigningCa, known_as, sign
from sslmd.store import certs, files, sets
from sslmd.store.layout import BUNDLE, CERT, CHAIN, CSR, FULLCHAIN, PRIVKEY, Tree
from sslmd.workers import tlsa_rr
from sslmd.workers.acme import obtain
from sslmd.workers.ari import id_of_set
from sslmd.workers.tools import Ordering, Site, Standings, Threads, wanted_of


async def make_key(job: MakeKey, site: Site, threads: Threads) -> KeyMade:
    """Do the job. The link comes last: before it, nothing of the new set counts."""
    return await threads.in_thread(_make_key, job, site)


def _make_key(job: MakeKey, site: Site) -> KeyMade:
    service = site.service(job.cert)
    spec = service.spec
    tree, cert, now = site.tree, job.cert, site.now()
    sets.check_folders(tree, cert)
    sets.sweep(tree, cert)
    # A CA that was ever in use gets another key only if an admin asked for that (I12).
    fresh = spec.ca is not None and not (job.reuse or job.new_key)
    if fresh and (remains := certs.remains_of_ca(tree, cert)):
        left = Said(remains)
        raise Permanent(Reason(NotUsable.CA_WAS_IN_USE, cert=cert, remains=left, arg=cert.arg))
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
        raise Permanent(Reason(NotUsable.NOT_AS_ASKED), about=cert)
    name = sets.new_set(tree, cert, now)
    try:
        sets.write_set_files(tree, cert, name, {PRIVKEY: key, CSR: csr})
        sets.put_on_deck(tree, cert, name)
    except SslmError:
        with suppress(SslmError):  # half a set is of no use; one more try makes another
            files.remove_tree(tree.set_dir(cert, name))
            sets.finish(tree, cert, name)
        raise
    facts = replace(facts, name=name)
    note = SetNote(
        site.draw(),
        new_key=job.new_key,
        at_end=job.at_end,
        wished=now if job.reason.code in CA_WISHES else None,
    )
    return KeyMade(now, facts, note, job.reason, job.keep)


def _key_of(tree: Tree, cert: CertId, spec: CertSpec, name: SetName | None) -> bytes:
    """Return the key of a set, for another one."""
    contents = {}
    if name is not None:
        sets.check_folders(tree, cert, name)
        contents = sets.read_files(tree.set_dir(cert, name), (PRIVKEY,))
    if PRIVKEY not in contents:
        raise Permanent(Reason(NotUsable.NO_KEY_AGAIN, cert=cert))
    key = contents[PRIVKEY]
    kind = describe_key(load_key(key).public_key())
    if spec.ca is None and kind != str(spec.key):
        asked = str(spec.key)
        raise Permanent(Reason(NotUsable.KEY_OF_OTHER_KIND, cert=cert, has=kind, asked=asked))
    return key


async def certify(job: Certify, site: Site, threads: Threads, standings: Standings) -> CertIssued:
    """Have the site's own CA sign. Raises `Permanent` if it cannot, or signs something else."""
    return await threads.in_thread(_certify, job, site, standings)


def _certify(job: Certify, site: Site, standings: Standings) -> CertIssued:
    spec = site.service(job.cert).spec
    asked = _asked(job.cert, job.set, site)
    ca = None
    if isinstance(spec.signer, OwnCa):
        ca_service = site.config.services.get(spec.signer.cert)
        ca = ca_service.spec if ca_service else None
    issued = issue(site.tree, spec, ca, asked.key, asked.csr, site.now())
    return _take_in(site.service(job.cert), job, asked, issued, site, standings)


async def order(job: Order, ordering: Ordering) -> CertIssued:
    """Get the certificate from an ACME CA; raises what `acme.obtain` does.

    Raises `Permanent` if the CA gives something else than what was asked for.
    """
    site, threads, telling = ordering.site, ordering.threads, ordering.telling
    service = site.service(job.cert)
    signer = service.spec.signer
    if not isinstance(signer, AcmeCa):
        raise Permanent(Reason(NotUsable.NOT_ACME_NOW, cert=job.cert))
    asked = await threads.in_thread(_asked, job.cert, job.set, site)
    place = site.tree.order(job.cert, job.set)
    server = server_of(site.config.cas[signer.name], service.spec.subject.email)
    account = await threads.in_thread(account_used, site.tree, server, place.home)
    attempt = Attempt(
        service=service,
        server=server,
        place=place,
        csr=asked.csr,
        lane=lane(job),
        replaces=await threads.in_thread(_replaced, job, ordering, account),
    )
    obtained = await obtain(attempt, ordering)
    issued = await threads.in_thread(in_order, asked.key, obtained.issued, site.now())
    account = await threads.in_thread(account_used, site.tree, server, place.home)
    names = names_mark(str(name) for name in service.spec.all_names())
    issuance = Issuance(serial_of(issued.cert_pem), attempt.server.url, names, site.now())
    telling.count_issued(job.cert, issuance)
    wishes = unmet_wishes(attempt.server, obtained.directory, issued)
    unmet = tuple(map(say, wishes))
    try:
        event = await threads.in_thread(
            _take_in, service, job, asked, issued, site, ordering.standings, unmet, account
        )
    except UselessError:
        await threads.in_thread(certbot.clear, attempt.place)
        raise
    # Only now: what could not be written, on a full disk, is taken by the next try.
    await threads.in_thread(certbot.clear, attempt.place)
    for wish in wishes:
        telling.tell("ca-remark", wish, job.cert)
    return event


def _replaced(job: Order, ordering: Ordering, account: str) -> str:
    """Return how the certificate in use is named in an order that replaces it (RFC 9773 §5).

    "" unless the same account of the same CA ordered it: another is refused.
    """
    state, site = ordering.standings.state_of(job.cert), ordering.site
    curr, note = state.curr, state.curr_note
    if curr is None or curr.cert is None or note is None or not account:
        return ""
    same = note.account == account and note.ca == str(site.service(job.cert).spec.signer)
    return id_of_set(site.tree, job.cert, curr.name) if same else ""


@dataclass(frozen=True, slots=True)
class KeyAndCsr:
    """The key and the request of a set, and what else is already there."""

    key: bytes
    csr: bytes
    contents: dict[str, bytes]


def _asked(cert: CertId, name: SetName, site: Site) -> KeyAndCsr:
    sets.check_folders(site.tree, cert, name)
    contents = sets.read_files(site.tree.set_dir(cert, name), (PRIVKEY, CSR))
    if PRIVKEY not in contents:
        raise Permanent(Reason(NotUsable.KEY_LOST, set=name, cert=cert, arg=cert.arg))
    key = contents[PRIVKEY]
    return KeyAndCsr(key, contents.get(CSR) or make_csr(key, site.service(cert).spec), contents)


def whole_set(key: bytes, csr: bytes, issued: Issued) -> dict[str, bytes]:
    """Return every file of a set but the key, `cert.pem` last."""
    return {
        CSR: csr,
        CHAIN: issued.chain_pem,
        FULLCHAIN: fullchain(issued.cert_pem, issued.chain_pem),
        BUNDLE: bundle(key, issued.cert_pem, issued.chain_pem),
        CERT: issued.cert_pem,
    }


def in_order(key: bytes, issued: Issued, now: datetime) -> Issued:
    """Return what an ACME CA sent as certificate and chain, whatever order it came in.

    What cannot be put in order stays as it is: `judged` says what is wrong with it.
    """
    try:
        found = arranged(load_key(key).public_key(), issued.cert_pem + issued.chain_pem, now)
    except Permanent:
        return issued
    return issued if found is None else Issued(*found)


class UselessError(Permanent):
    """What a CA signed is not what it was asked for."""


def judged(
    wanted: Wanted,
    name: SetName,
    key: bytes,
    whole: dict[str, bytes],
    note: SetNote,
    now: datetime,
) -> SetFacts:
    """Return what a set says; raise `UselessError` if it is not what is wanted.

    Checked before it counts: what the plan finds useless it would order again at once.
    """
    facts = set_facts(name, {PRIVKEY: key, **whole})
    useless = why_useless(facts, note, wanted, frozenset(), now)
    if useless is not None:
        why = Reason(NotUsable.CERT_USELESS, ca=note.ca, why=useless)
        raise UselessError(why, about=wanted.spec.id)
    return facts


def _take_in(
    service: ServiceConfig,
    job: Certify | Order,
    asked: KeyAndCsr,
    issued: Issued,
    site: Site,
    standings: Standings,
    unmet: tuple[str, ...] = (),
    account: str = "",
) -> CertIssued:
    """Write the set. `service` as it was when it was asked for: its CA is who signed (I7).

    `unmet`: the wishes that the CA did not meet; `account`: the URL of the account that ordered.
    """
    cert, name, now = service.id, job.set, site.now()
    whole = whole_set(asked.key, asked.csr, issued)
    made = standings.state_of(cert).next_note
    # Its place in the spread was drawn with its key, unless that note is lost.
    made = made or SetNote(site.draw())
    note = replace(
        made,
        issued_at=now,
        ca=str(service.spec.signer),
        unmet=unmet,
        account=account,
        wished=now if job.reason.code in CA_WISHES else made.wished,
        ari=None,
    )
    wanted = wanted_of(service, site.config)
    facts = judged(wanted, name, asked.key, whole, note, now)
    tlsa_rr.of_new_set(site.tree, service, name, {PRIVKEY: asked.key, **whole})
    new = {file: data for file, data in whole.items() if asked.contents.get(file) != data}
    sets.write_set_files(site.tree, cert, name, new)
    sets.finish(site.tree, cert, name)
    return CertIssued(now, facts, note)


def issue(
    tree: Tree, spec: CertSpec, ca: CertSpec | None, key: bytes, csr: bytes, now: datetime
) -> Issued:
    """Sign a CSR with the CA that `spec` names (`ca` is that CA's own spec), or with `key`.

    Raises `Permanent` if that CA has nothing usable to sign with.
    """
    known = known_of(tree, spec, key)
    if not isinstance(spec.signer, OwnCa):
        return sign(csr, spec, SelfSigning(key), now=now, known=known)
    if ca is None or ca.ca is None:
        raise Permanent(Reason(NotUsable.NO_SIGNING_CA, cert=spec.id, ca=spec.signer.cert))
    cert = spec.signer.cert
    name = sets.read_links(tree, cert).curr
    if name is None:
        raise Permanent(Reason(NotUsable.CA_NO_CERT, ca=cert))
    sets.check_folders(tree, cert, name)
    contents = sets.read_files(tree.set_dir(cert, name))
    facts = set_facts(name, contents)
    if facts.problem:
        problem = Said(facts.problem)
        raise Permanent(Reason(NotUsable.CA_BROKEN, ca=cert, set=name, problem=problem))
    signing = SigningCa(contents[PRIVKEY], contents[CERT], contents.get(CHAIN, b""), ca.ca)
    return sign(csr, spec, signing, now=now, known=known)


def known_of(tree: Tree, spec: CertSpec, key: bytes) -> Known | None:
    """Return what a CA's next certificate, with `key`, keeps of the one in use; None of others'.

    Raises `Permanent` if either cannot be read.
    """
    if spec.ca is None:
        return None
    name = sets.read_links(tree, spec.id).curr
    if name is None:
        return None
    cert = sets.read_files(tree.set_dir(spec.id, name), (CERT,)).get(CERT)
    return None if cert is None else known_as(spec, cert, load_key(key).public_key())
