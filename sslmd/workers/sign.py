"""The site's own CA: it signs with the `curr` of a service of group `ca`.

The CA's set is read once, through its link, so a CA that is rolled meanwhile signs with one
generation or the other, never with a mixture: chains stay right while both are in use.
"""

from __future__ import annotations

from datetime import datetime

from sslmd.core.errors import Permanent
from sslmd.core.names import CertId
from sslmd.core.spec import CertSpec, OwnCa
from sslmd.pki.inspect import set_facts
from sslmd.pki.keys import load_key
from sslmd.pki.local_ca import Issued, Known, SelfSigning, SigningCa, known_as, sign
from sslmd.store import sets
from sslmd.store.layout import CERT, CHAIN, PRIVKEY, Tree


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
        raise Permanent(
            f"{spec.id} is to be signed by {spec.signer.cert}, which is no CA of this "
            "configuration; correct signing_ca"
        )
    return sign(csr, spec, _signing_ca(tree, spec.signer.cert, ca), now=now, known=known)


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


def _signing_ca(tree: Tree, cert: CertId, ca: CertSpec) -> SigningCa:
    name = sets.read_links(tree, cert).curr
    if name is None:
        raise Permanent(
            f"the CA {cert} has no certificate to sign with; list it in an active group of "
            "ssl-mgr.conf, or put its set in place"
        )
    sets.check_folders(tree, cert, name)
    files = sets.read_files(tree.set_dir(cert, name))
    facts = set_facts(name, files)
    if facts.problem:
        raise Permanent(f"the CA {cert} cannot sign, its set {name} is broken: {facts.problem}")
    assert ca.ca is not None
    return SigningCa(files[PRIVKEY], files[CERT], files.get(CHAIN, b""), ca.ca)
