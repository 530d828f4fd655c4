"""Production as ssl-mgr left it: directories in place of links, taken over without a change.

A directory `curr` that holds the set in use stays as it is, and so does all that lies beside it,
until there is something to deliver: no file is written and no server restarted by a take-over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.names import CertId, GroupName, SetName
from sslmd.core.reason import Reason
from sslmd.core.state import Delivered
from sslmd.core.told import Odd
from sslmd.servers.around import keys_of
from sslmd.servers.production import linked
from sslmd.store import certs, files, owners, sets
from sslmd.store.layout import (
    BUNDLE,
    CERT,
    CHAIN,
    CURR,
    FULLCHAIN,
    NEXT,
    PRIVKEY,
    Tree,
)

# What servers read. The rest (csr.pem, tlsa.rr, info) is for people: it makes no set another one.
_SERVED_OF_CA = (CERT, CHAIN, FULLCHAIN)
_SERVED = (PRIVKEY, BUNDLE, *_SERVED_OF_CA)


def holds(tree: Tree, prod: str, cert: CertId, name: SetName, *, is_ca: bool) -> bool:
    """Whether production's `curr` is the set `name`: by its link, or by its files.

    Of a directory every file is compared that servers read, with the working tree. Never raises.
    """
    if linked(prod, cert) == name:  # nearly always; a start asks this thousands of times
        return True
    try:
        return is_directory(prod, cert) and _has_files_of(tree, prod, cert, name, is_ca=is_ca)
    except Transient:
        return False


def compare(one: certs.Loaded, tree: Tree, prod: str, cert: CertId, *, is_ca: bool) -> None:
    """Correct what a certificate's own files say by what production shows; never raises."""
    noted = one.state.delivered.curr
    if noted is not None and not holds(tree, prod, cert, noted, is_ca=is_ca):
        # The note is not the truth: production was lost, moved or changed by hand.
        one.state = replace(one.state, delivered=Delivered())
    if cert.group == GroupName.CA and one.state.curr is None and not one.state.remains:
        one.state = replace(one.state, remains=remains(prod, cert))


def is_directory(prod: str, cert: CertId) -> bool:
    """Whether production's `curr` is a directory of its own, as ssl-mgr makes it."""
    path = _path(prod, cert)
    return not os.path.islink(path) and os.path.isdir(path)


def _path(prod: str, cert: CertId) -> str:
    return f"{Tree(prod).cert_dir(cert)}/{CURR}"


def _has_files_of(tree: Tree, prod: str, cert: CertId, name: SetName, *, is_ca: bool) -> bool:
    wanted = _SERVED_OF_CA if is_ca else _SERVED
    needed = {CERT, FULLCHAIN} if is_ca else {PRIVKEY, CERT, FULLCHAIN}
    try:
        ours = sets.read_files(tree.set_dir(cert, name), wanted)
        theirs = sets.read_files(_path(prod, cert), wanted)
    except Permanent:
        return False
    return needed <= ours.keys() and ours == theirs


def stays(tree: Tree, prod: str, cert: CertId, name: SetName, *, is_ca: bool) -> bool:
    """Whether `curr` is a directory with the set `name`, so that there is nothing to do.

    Raises `Transient` where that cannot be told now: nothing may be replaced because of that. And
    `Permanent` for a folder in which others could put files.
    """
    if not is_directory(prod, cert) or not _has_files_of(tree, prod, cert, name, is_ca=is_ca):
        return False
    place = Tree(prod)
    for folder in (prod, place.group_dir(cert.group), place.cert_dir(cert), _path(prod, cert)):
        files.check_dir(folder)
    return True


def close_keys(prod: str, cert: CertId) -> list[Reason]:
    """Make the keys of a certificate in such directories 0600; return remarks on wider ones.

    Raises `Transient` or `Permanent` if that cannot be done.
    """
    base = Tree(prod).cert_dir(cert)
    return _closed(
        one
        for one in _keys(prod, cert)
        if os.path.dirname(one) in (f"{base}/{CURR}", f"{base}/{NEXT}")
    )


def ca_keys(prod: str, cert: CertId, *, managed: bool) -> list[Reason]:
    """Make the keys of a CA that lie in production 0600 (I2); return remarks on them (I1).

    ssl-mgr puts them there. `managed`: the CA's group is active, so that it can be delivered. What
    cannot be looked at counts as not there. Never raises.
    """
    place = Tree(prod)
    found = _keys(prod, cert)
    remarks: list[Reason] = []
    if not found:
        return remarks
    try:
        for folder in (prod, place.group_dir(cert.group), place.cert_dir(cert), place.db_dir(cert)):
            files.check_dir(folder)
        for path in found:
            remarks += _closed([path])
    except SslmError as err:
        remarks.append(err.beside(cert))
    return [*remarks, *told_of_ca_keys(prod, cert, managed=managed)]


def told_of_ca_keys(prod: str, cert: CertId, *, managed: bool) -> list[Reason]:
    """Return the remark on the keys of a CA that lie in production, and change nothing."""
    found = _keys(prod, cert)
    if not found:
        return []
    arg = cert.arg if managed else None
    return [Reason(Odd.CA_KEYS_IN_PRODUCTION, keys=tuple(found), arg=arg)]


def _keys(prod: str, cert: CertId) -> list[str]:
    """Return the keys with a certificate in production, but not through links."""
    return [one for one in keys_of(prod, cert) if not os.path.islink(os.path.dirname(one))]


def _closed(paths: Iterable[str]) -> list[Reason]:
    remarks = []
    for path in paths:
        # Where others can write, what has this name may be a file that is none of ours.
        files.check_dir(os.path.dirname(path))
        if owners.tighten(path):
            remarks.append(Reason(Odd.KEY_WAS_WIDE, path=path))
    return remarks


def remains(prod: str, cert: CertId) -> str:
    """Return what production still has of a CA that the working tree lost; "" for nothing."""
    path = f"{_path(prod, cert)}/{CERT}"
    return f"its certificate {path}" if os.path.lexists(path) else ""
