"""What `sslmctl import --check` says of a tree beside what its first start would do.

Reads only: nothing here changes the tree. ssl-mgr 5.2 to 7.8 is meant;
docs/moving-from-ssl-mgr.md has what differs in words.
"""

from __future__ import annotations

import glob
import os
from collections import defaultdict
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sslmd.config.model import Config
from sslmd.console.text import count
from sslmd.core.errors import SslmError
from sslmd.core.names import CertId, GroupName, machine_of
from sslmd.core.spec import OwnCa
from sslmd.pki.chain import find, load_cert
from sslmd.servers import folders
from sslmd.servers.local import is_local
from sslmd.store import files
from sslmd.store.layout import CERT, CURR, Tree
from sslmd.workers.rehearsal import Rehearsal

_SHOWN = 5


def keys(config: Config, rehearsal: Rehearsal) -> Iterator[str]:
    """Report keys that others can read, and folders that they share.

    What to do for servers that read keys so.
    """
    yield from (str(one) for one in folders.look(config) if not one.refused)
    wide = [path for one in rehearsal.certs.values() for path in one.wide]
    for path in wide[:_SHOWN]:
        yield f"{path} can be read by others: it becomes 0600"
    if len(wide) > _SHOWN:
        yield f"and so do {len(wide) - _SHOWN} more"
    if wide:
        yield "whoever has read one has it: think of new keys (sslmctl force-renew)"
        yield (
            "a server that is not root's and reads one by its group cannot read it then: write "
            "key_group and key_mode = '0640' into its server class before the start"
        )


# --- the own CA -----------------------------------------------------------------------


def own_ca(config: Config) -> Iterator[str]:
    """Tell of identifiers and usages that ssl-mgr's CA got wrong."""
    tree = Tree(str(config.globals.certs_dir))
    misled, usages, outlives = [], [], []
    named: dict[bytes, dict[bytes, CertId]] = defaultdict(dict)
    for cert, service in config.services.items():
        signer = service.spec.signer
        own = cert_of(tree, cert)
        issuer = cert_of(tree, signer.cert) if isinstance(signer, OwnCa) else None
        if own is None:
            continue
        try:
            is_ca = cert.group == GroupName.CA
            if is_ca:
                form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                named[own.subject.public_bytes()][own.public_key().public_bytes(*form)] = cert
            if is_ca and find(own, x509.ExtendedKeyUsage) is not None:
                usages.append(cert.service)
            if issuer is None or own.issuer != issuer.subject:
                continue
            if _names_another(own, issuer):
                misled.append(str(cert))
            if is_ca and own.not_valid_after_utc > issuer.not_valid_after_utc:
                outlives.append(cert.service)
        except (SslmError, ValueError) as err:
            yield f"{cert}: its certificate is damaged: {err}"
    for those in (list(found.values()) for found in named.values() if len(found) > 1):
        one, *others = map(str, those)
        yield (
            f"{', '.join(others)} and {one} have the same name and different keys: who has a "
            "certificate of one cannot tell which of them signed it; give one of them another CN"
        )
    if misled:
        yield (
            f"the authority key identifier of {', '.join(misled)} is not that of the CA above, so "
            "openssl verify refuses it; what sslmd signs has the right one"
        )
    if usages:
        yield f"{', '.join(usages)} carries extended key usages, which a CA should not"
    if outlives:
        yield f"{', '.join(outlives)} is valid for longer than its root"
    if misled or usages or outlives:
        yield (
            "to put it right with the same CA keys, the root first: sslmctl renew --force --reuse "
            "ca:NAME && sslmctl roll --force ca:NAME; otherwise it happens when each is due"
        )


def cert_of(tree: Tree, cert: CertId) -> x509.Certificate | None:
    """Return the certificate in use; None where none can be read."""
    try:
        return load_cert(files.read_file(f"{tree.link(cert, CURR)}/{CERT}"))
    except (SslmError, OSError, ValueError):
        return None


def _names_another(own: x509.Certificate, issuer: x509.Certificate) -> bool:
    named = find(own, x509.AuthorityKeyIdentifier)
    right = find(issuer, x509.SubjectKeyIdentifier)
    return named is not None and right is not None and named.key_identifier != right.digest


# --- production, servers --------------------------------------------------------------


def production(rehearsal: Rehearsal) -> Iterator[str]:
    """Report what lies in production that should not, or that stays."""
    yield from rehearsal.remarks


def servers(config: Config) -> Iterator[str]:
    """Tell what servers get that ssl-mgr did not give, and the other way round."""
    for one in config.server_classes:
        if not one.servers:
            continue
        if len(one.svc_depends) > 1:
            last = one.svc_depends[-1]
            more = [str(cert) for cert in config.services if one.receives(cert)]
            more = [name for name in more if not last.matches(CertId.parse(name))]
            if more:
                yield f"[{one.kind}] restarts for {', '.join(more)} as well: every entry counts"
        if one.skip_prod_copy:
            continue
        for host in one.servers:
            if is_local(machine_of(host)):
                continue
            certs = [str(cert) for cert in config.services if one.receives(cert)]
            what = ", ".join(certs) or "nothing: no svc_depends grants it any"
            yield (
                f"[{one.kind}] {host} gets {what}; what else ssl-mgr has copied there is reported, "
                f"and {'removed' if one.prune else 'left (prune = true removes it)'}"
            )


# --- accounts -------------------------------------------------------------------------


def accounts(config: Config) -> Iterator[str]:
    """Tell which accounts at ACME CAs are used on."""
    tree = Tree(str(config.globals.certs_dir))
    for cert in config.services:
        pattern = f"{glob.escape(tree.certbot_dir(cert))}/accounts/*/directory/*"
        found = sorted(path for path in glob.glob(pattern) if os.path.isdir(path))
        by_server: dict[str, int] = {}
        for path in found:
            server = path.split("/")[-3]
            by_server[server] = by_server.get(server, 0) + 1
        for server, number in by_server.items():
            which = "it is" if number == 1 else "the newest is"
            yield f"{cert}: {count(number, 'account')} at {server}; {which} used on"
