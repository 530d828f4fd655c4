"""From the CSR on deck to a complete set. `cert.pem` is written last: it makes the set whole."""

from __future__ import annotations

from sslmd.core.errors import Permanent
from sslmd.core.jobs import Certify
from sslmd.core.lifecycle import CertIssued, SetNote
from sslmd.core.names import CertId
from sslmd.core.renewal import why_useless
from sslmd.core.spec import AcmeCa, OwnCa
from sslmd.issuers import local_ca
from sslmd.pki.chain import bundle, fullchain
from sslmd.pki.csr import make_csr
from sslmd.pki.inspect import set_facts
from sslmd.store import sets
from sslmd.store.layout import BUNDLE, CERT, CHAIN, CSR, FULLCHAIN, PRIVKEY
from sslmd.workers.tools import Tools, wanted_of


async def certify(job: Certify, tools: Tools) -> CertIssued:
    """Do the job. Raises `Permanent` for a CA that cannot sign, or signs something else."""
    return await tools.in_thread(_certify, job, tools)


def _certify(job: Certify, tools: Tools) -> CertIssued:
    service = tools.service(job.cert)
    spec, tree, cert, now = service.spec, tools.tree, job.cert, tools.now()
    if isinstance(spec.signer, AcmeCa):
        raise Permanent(f"{cert}: this version gets no certificates from ACME CAs")
    contents = sets.read_files(tree.set_dir(cert, job.set), (PRIVKEY, CSR))
    if PRIVKEY not in contents:
        raise Permanent(
            f"set {job.set} of {cert} lost its privkey.pem; run: sslmctl force-renew {cert.arg}"
        )
    key = contents[PRIVKEY]
    csr = contents.get(CSR) or make_csr(key, spec)
    ca = None
    if isinstance(spec.signer, OwnCa):
        ca_service = tools.config.services.get(spec.signer.cert)
        ca = ca_service.spec if ca_service else None
    issued = local_ca.issue(tree, spec, ca, key, csr, now)
    whole = {
        CSR: csr,
        CHAIN: issued.chain_pem,
        FULLCHAIN: fullchain(issued.cert_pem, issued.chain_pem),
        BUNDLE: bundle(key, issued.cert_pem, issued.chain_pem),
        CERT: issued.cert_pem,
    }
    facts = set_facts(job.set, {PRIVKEY: key, **whole})
    note = SetNote(_draw(tools, cert), now, str(spec.signer))
    # Checked before it counts: what the plan finds useless it would order again at once.
    useless = why_useless(facts, note, wanted_of(service), None, now)
    if useless is not None:
        raise Permanent(f"{cert}: what {spec.signer} signed cannot be used: {useless.text}")
    for file, data in whole.items():
        if contents.get(file) != data:
            sets.write_set_file(tree, cert, job.set, file, data)
    return CertIssued(now, facts, note)


def _draw(tools: Tools, cert: CertId) -> float:
    """Return the set's place in the spread: drawn with its key, unless that note is lost."""
    note = tools.state_of(cert).next_note
    return note.draw if note is not None else tools.draw()
