"""From the CSR on deck to a complete set. `cert.pem` is written last: it makes the set whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sslmd.acme import certbot
from sslmd.acme.certbot import server_of
from sslmd.acme.certbot_run import Attempt
from sslmd.acme.wishes import unmet_wishes
from sslmd.config.model import ServiceConfig
from sslmd.core.errors import Permanent
from sslmd.core.events import CertIssued
from sslmd.core.jobs import Certify, Order
from sslmd.core.limits import names_mark
from sslmd.core.names import CertId, SetName
from sslmd.core.renewal import Wanted, why_useless
from sslmd.core.spec import AcmeCa, OwnCa, SetFacts
from sslmd.core.state import Issuance, SetNote
from sslmd.core.words.sentence import say
from sslmd.pki.chain import arranged, bundle, fullchain, serial_of
from sslmd.pki.csr import make_csr
from sslmd.pki.inspect import set_facts
from sslmd.pki.keys import load_key
from sslmd.pki.local_ca import Issued
from sslmd.store import sets
from sslmd.store.layout import BUNDLE, CERT, CHAIN, CSR, FULLCHAIN, PRIVKEY
from sslmd.workers import sign, tlsa_rr
from sslmd.workers.acme import obtain
from sslmd.workers.tools import Ordering, Site, Standings, Threads, wanted_of


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
    issued = sign.issue(site.tree, spec, ca, asked.key, asked.csr, site.now())
    return _take_in(site.service(job.cert), job.set, asked, issued, site, standings)


async def order(job: Order, ordering: Ordering) -> CertIssued:
    """Get the certificate from an ACME CA; raises what `acme.obtain` does.

    Raises `Permanent` if the CA gives something else than what was asked for.
    """
    site, threads, telling = ordering.site, ordering.threads, ordering.telling
    service = site.service(job.cert)
    signer = service.spec.signer
    if not isinstance(signer, AcmeCa):
        raise Permanent(f"{job.cert} is not to be from an ACME CA any more")
    asked = await threads.in_thread(_asked, job.cert, job.set, site)
    attempt = Attempt(
        service=service,
        server=server_of(site.config.cas[signer.name], service.spec.subject.email),
        place=site.tree.order(job.cert, job.set),
        csr=asked.csr,
    )
    obtained = await obtain(attempt, ordering)
    issued = await threads.in_thread(in_order, asked.key, obtained.issued, site.now())
    names = names_mark(str(name) for name in service.spec.all_names())
    issuance = Issuance(serial_of(issued.cert_pem), attempt.server.url, names, site.now())
    telling.count_issued(job.cert, issuance)
    unmet = unmet_wishes(attempt.server, obtained.directory, issued)
    try:
        event = await threads.in_thread(
            _take_in, service, job.set, asked, issued, site, ordering.standings, unmet
        )
    except UselessError:
        await threads.in_thread(certbot.clear, attempt.place)
        raise
    # Only now: what could not be written, on a full disk, is taken by the next try.
    await threads.in_thread(certbot.clear, attempt.place)
    for wish in unmet:
        telling.tell("ca-remark", wish, job.cert)
    return event


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
        raise Permanent(
            f"set {name} of {cert} lost its privkey.pem; run: sslmctl force-renew {cert.arg}"
        )
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
        raise UselessError(
            f"what {note.ca} signed cannot be used: {say(useless)}", about=wanted.spec.id
        )
    return facts


def _take_in(
    service: ServiceConfig,
    name: SetName,
    asked: KeyAndCsr,
    issued: Issued,
    site: Site,
    standings: Standings,
    unmet: tuple[str, ...] = (),
) -> CertIssued:
    """Write the set. `service` as it was when it was asked for: its CA is who signed (I7).

    `unmet`: the wishes that the CA did not meet.
    """
    cert, now = service.id, site.now()
    whole = whole_set(asked.key, asked.csr, issued)
    made = standings.state_of(cert).next_note
    # Its place in the spread was drawn with its key, unless that note is lost.
    made = made or SetNote(site.draw())
    note = replace(made, issued_at=now, ca=str(service.spec.signer), unmet=unmet)
    wanted = wanted_of(service, site.config)
    facts = judged(wanted, name, asked.key, whole, note, now)
    tlsa_rr.of_new_set(site.tree, service, name, {PRIVKEY: asked.key, **whole})
    for file, data in whole.items():
        if asked.contents.get(file) != data:
            sets.write_set_file(site.tree, cert, name, file, data)
    sets.finish(site.tree, cert, name)
    return CertIssued(now, facts, note)
