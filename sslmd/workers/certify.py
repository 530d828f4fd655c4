"""From the CSR on deck to a complete set. `cert.pem` is written last: it makes the set whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sslmd.acme import certbot
from sslmd.acme.certbot import Place, server_of
from sslmd.acme.wishes import unmet_wishes
from sslmd.config.model import ServiceConfig
from sslmd.core.errors import Permanent
from sslmd.core.events import CertIssued
from sslmd.core.facts import SetFacts
from sslmd.core.jobs import Certify, Order
from sslmd.core.limits import names_mark
from sslmd.core.names import CertId, SetName
from sslmd.core.renewal import Wanted, why_useless
from sslmd.core.spec import AcmeCa, OwnCa
from sslmd.core.state import Issuance, SetNote
from sslmd.core.words import say
from sslmd.pki.chain import arranged, bundle, fullchain, serial_of
from sslmd.pki.csr import make_csr
from sslmd.pki.inspect import set_facts
from sslmd.pki.keys import load_key
from sslmd.pki.local_ca import Issued
from sslmd.store import sets
from sslmd.store.layout import BUNDLE, CERT, CHAIN, CSR, FULLCHAIN, PRIVKEY
from sslmd.workers import sign, tlsa_rr
from sslmd.workers.acme import obtain
from sslmd.workers.acme_before import Attempt
from sslmd.workers.tools import Tools, wanted_of


async def certify(job: Certify, tools: Tools) -> CertIssued:
    """Have the site's own CA sign. Raises `Permanent` if it cannot, or signs something else."""
    return await tools.in_thread(_certify, job, tools)


def _certify(job: Certify, tools: Tools) -> CertIssued:
    spec = tools.service(job.cert).spec
    asked = _asked(job.cert, job.set, tools)
    ca = None
    if isinstance(spec.signer, OwnCa):
        ca_service = tools.config.services.get(spec.signer.cert)
        ca = ca_service.spec if ca_service else None
    issued = sign.issue(tools.tree, spec, ca, asked.key, asked.csr, tools.now())
    return _take_in(tools.service(job.cert), job.set, asked, issued, tools)


async def order(job: Order, tools: Tools) -> CertIssued:
    """Get the certificate from an ACME CA; raises what `acme.obtain` does.

    Raises `Permanent` if the CA gives something else than what was asked for.
    """
    service = tools.service(job.cert)
    signer = service.spec.signer
    if not isinstance(signer, AcmeCa):
        raise Permanent(f"{job.cert} is not to be from an ACME CA any more")
    asked = await tools.in_thread(_asked, job.cert, job.set, tools)
    home = tools.tree.certbot_dir(job.cert)
    attempt = Attempt(
        service=service,
        server=server_of(tools.config.cas[signer.name], service.spec.subject.email),
        place=Place(home, tools.tree.order_dir(job.cert, job.set)),
        csr=asked.csr,
    )
    obtained = await obtain(attempt, tools)
    issued = await tools.in_thread(in_order, asked.key, obtained.issued, tools.now())
    names = names_mark(str(name) for name in service.spec.all_names())
    issuance = Issuance(serial_of(issued.cert_pem), attempt.server.url, names, tools.now())
    tools.telling.count_issued(job.cert, issuance)
    unmet = unmet_wishes(attempt.server, obtained.directory, issued)
    try:
        event = await tools.in_thread(_take_in, service, job.set, asked, issued, tools, unmet)
    except UselessError:
        await tools.in_thread(certbot.clear, attempt.place)
        raise
    # Only now: what could not be written, on a full disk, is taken by the next try.
    await tools.in_thread(certbot.clear, attempt.place)
    for wish in unmet:
        tools.tell("ca-remark", wish, job.cert)
    return event


@dataclass(frozen=True, slots=True)
class Asked:
    """The key and the request of a set, and what else is already there."""

    key: bytes
    csr: bytes
    contents: dict[str, bytes]


def _asked(cert: CertId, name: SetName, tools: Tools) -> Asked:
    sets.check_folders(tools.tree, cert, name)
    contents = sets.read_files(tools.tree.set_dir(cert, name), (PRIVKEY, CSR))
    if PRIVKEY not in contents:
        raise Permanent(
            f"set {name} of {cert} lost its privkey.pem; run: sslmctl force-renew {cert.arg}"
        )
    key = contents[PRIVKEY]
    return Asked(key, contents.get(CSR) or make_csr(key, tools.service(cert).spec), contents)


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
    asked: Asked,
    issued: Issued,
    tools: Tools,
    unmet: tuple[str, ...] = (),
) -> CertIssued:
    """Write the set. `service` as it was when it was asked for: its CA is who signed (I7).

    `unmet`: the wishes that the CA did not meet.
    """
    cert, now = service.id, tools.now()
    whole = whole_set(asked.key, asked.csr, issued)
    made = tools.standings.state_of(cert).next_note
    # Its place in the spread was drawn with its key, unless that note is lost.
    made = made or SetNote(tools.draw())
    note = replace(made, issued_at=now, ca=str(service.spec.signer), unmet=unmet)
    wanted = wanted_of(service, tools.config)
    facts = judged(wanted, name, asked.key, whole, note, now)
    tlsa_rr.of_new_set(tools.tree, service, name, {PRIVKEY: asked.key, **whole})
    for file, data in whole.items():
        if asked.contents.get(file) != data:
            sets.write_set_file(tools.tree, cert, name, file, data)
    sets.finish(tools.tree, cert, name)
    return CertIssued(now, facts, note)
