"""`tlsa.rr` of a set: the TLSA records of its key and certificate, as ssl-mgr keeps them there.

For people, and for going back to ssl-mgr: what DNS is given is computed for a whole zone, by
`workers.tlsa`. Once it is there it stays as it is. While the MX hosts are not known that its owners
depend on, there is none; it is written when they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
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
        if made_of is None or os.path.lexists(_path(tree, service, name)):
            return
        mx = ZONE_NOTE.read(tree.zone_note(ZoneName(service.id.group))).mx
        content = records_of(service, made_of, mx)
        if content:
            _write(tree, service, name, content)


def of_known_sets(
    tree: Tree,
    services: Mapping[CertId, ServiceConfig],
    materials: Mapping[CertId, Mapping[SetName, Material]],
    mx: Mx,
) -> None:
    """Write the file of every set in use or on deck that has none, now that MX hosts are known.

    Blocks. Never raises.
    """
    for service, name, content in _missing(tree, services, materials, mx):
        with suppress(SslmError):
            _write(tree, service, name, content)


def missing(
    tree: Tree,
    services: Mapping[CertId, ServiceConfig],
    materials: Mapping[CertId, Mapping[SetName, Material]],
    mx: Mx,
) -> list[str]:
    """Return the files that `of_known_sets` would write. Blocks, never raises."""
    found = _missing(tree, services, materials, mx)
    return [_path(tree, service, name) for service, name, _ in found]


def _missing(
    tree: Tree,
    services: Mapping[CertId, ServiceConfig],
    materials: Mapping[CertId, Mapping[SetName, Material]],
    mx: Mx,
) -> Iterator[tuple[ServiceConfig, SetName, Content]]:
    for cert, known in materials.items():
        for name, made_of in known.items():
            # One without a certificate gets it with that: records may be made of it.
            if cert not in services or made_of.leaf is None:
                continue
            if not os.path.lexists(_path(tree, services[cert], name)):
                content = records_of(services[cert], made_of, mx)
                if content:
                    yield services[cert], name, content


def _path(tree: Tree, service: ServiceConfig, name: SetName) -> str:
    return f"{tree.set_dir(service.id, name)}/{TLSA}"


def _write(tree: Tree, service: ServiceConfig, name: SetName, content: Content) -> None:
    sets.write_set_file(tree, service.id, name, TLSA, _text(service.id, name, content))


def _text(cert: CertId, name: SetName, content: Content) -> bytes:
    """Return the file: lines as in an include file, with a comment of its own."""
    head = f"; TLSA records of {cert}, set {name}\n".encode()
    lines = TLSA_FILES.render(ZoneName(cert.group), content).splitlines(keepends=True)
    return head + b"".join(line for line in lines if not line.startswith(b";"))
