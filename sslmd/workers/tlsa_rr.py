"""`tlsa.rr` of a set: the TLSA records of its key and certificate, as ssl-mgr keeps them there.

For people, and for going back to ssl-mgr: what DNS is given is computed for a whole zone, by
`workers.tlsa`. Once it is there it stays as it is. While the MX hosts are not known that its owners
depend on, there is none; it is written when they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from sslmd.config.model import ServiceConfig
from sslmd.core.dane.tlsa import Content, Material, TlsaHosts, TlsaSet, association, wants_of
from sslmd.core.errors import SslmError
from sslmd.core.names import CertId, DomainName, SetName, ZoneName
from sslmd.dns.include import TLSA_FILES
from sslmd.pki.tlsa import material
from sslmd.store import sets
from sslmd.store.layout import TLSA, Tree
from sslmd.store.note_kinds import ZONE_NOTE

# What is known of a zone's MX hosts; None: nothing.
Mx = tuple[DomainName, ...] | None


def records_of(service: ServiceConfig, made_of: Material, mx: Mx) -> Content | None:
    """Return the records that a set of a service has by itself, None while owners are not known.

    A combination that cannot be made of the set is left out.
    """
    if mx is None and any(one.hosts is TlsaHosts.MX for one in service.dane):
        return None
    found = {}
    zone = ZoneName(service.id.group)
    wants = wants_of(service.dane, zone, service.spec.all_names(), mx or ())
    for owner, combinations in wants.items():
        every = (association(one, made_of) for one in combinations)
        records = frozenset(one for one in every if one is not None)
        if records:
            found[owner] = TlsaSet(service.dane_ttl, records)
    return found


def of_new_set(
    tree: Tree, service: ServiceConfig, name: SetName, contents: Mapping[str, bytes]
) -> None:
    """Write the file of a set that just got its certificate; `contents` are its other files.

    Blocks. Never raises: no certificate waits for it.
    """
    with suppress(SslmError):
        made_of = material(contents) if service.dane else None
        if made_of is not None:
            cert = service.id
            mx = ZONE_NOTE.read(tree.zone_note(ZoneName(cert.group))).mx
            of_known_sets(tree, {cert: service}, {cert: {name: made_of}}, mx)


def of_known_sets(
    tree: Tree,
    services: Mapping[CertId, ServiceConfig],
    materials: Mapping[CertId, Mapping[SetName, Material]],
    mx: Mx,
) -> None:
    """Write the file of every set in use or on deck that has none, now that MX hosts are known.

    Blocks. Never raises.
    """
    for (cert, name), content in missing(tree, services, materials, mx).items():
        # As an include file, with a comment of its own.
        lines = TLSA_FILES.render(ZoneName(cert.group), content).splitlines(keepends=True)
        head = f"; TLSA records of {cert}, set {name}\n".encode()
        data = head + b"".join(line for line in lines if not line.startswith(b";"))
        with suppress(SslmError):
            sets.write_set_file(tree, cert, name, TLSA, data)


def missing(
    tree: Tree,
    services: Mapping[CertId, ServiceConfig],
    materials: Mapping[CertId, Mapping[SetName, Material]],
    mx: Mx,
) -> dict[tuple[CertId, SetName], Content]:
    """Return the sets whose file `of_known_sets` would write, and the records. Never raises."""
    found: dict[tuple[CertId, SetName], Content] = {}
    for cert, known in materials.items():
        for name, made_of in known.items():
            # One without a certificate gets it with that: records may be made of it.
            if (
                cert not in services
                or made_of.leaf is None
                or os.path.lexists(path_of(tree, cert, name))
            ):
                continue
            if content := records_of(services[cert], made_of, mx):
                found[cert, name] = content
    return found


def path_of(tree: Tree, cert: CertId, name: SetName) -> str:
    """Return where the file of a set lies."""
    return f"{tree.set_dir(cert, name)}/{TLSA}"
