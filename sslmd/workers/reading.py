"""One certificate as the daemon takes it in: its own files, and what production says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sslmd.config.model import Config
from sslmd.core.names import CertId, GroupName
from sslmd.core.state import Delivered
from sslmd.servers import as_found
from sslmd.store import certs
from sslmd.store.layout import Tree


def read_cert(
    config: Config,
    tree: Tree,
    cert: CertId,
    *,
    draw: Callable[[], float],
    now: datetime,
    repair: certs.Repair = certs.Repair.DONE,
) -> certs.Loaded:
    """Return a certificate as `certs.load` reads it; blocks, never raises."""
    one = certs.load(tree, cert, draw=draw, now=now, repair=repair)
    prod, service = str(config.globals.prod_cert_dir), config.services[cert]
    is_ca = service.spec.ca is not None
    noted = one.state.delivered.curr
    if noted is not None and not as_found.holds(tree, prod, cert, noted, is_ca=is_ca):
        # The note is not the truth: production was lost, moved or changed by hand.
        one.state = replace(one.state, delivered=Delivered())
    if cert.group == GroupName.CA and one.state.curr is None and not one.state.remains:
        one.state = replace(one.state, remains=as_found.remains(prod, cert))
    return one
