"""One certificate as the daemon takes it in: its own files, and what production says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from sslmd.config.model import Config
from sslmd.core.names import CertId
from sslmd.core.state import Delivered
from sslmd.servers import production
from sslmd.store import certs
from sslmd.store.layout import Tree


class Reads(Protocol):
    """`certs.load`, or `certs.look`, which changes nothing."""

    def __call__(
        self, tree: Tree, cert: CertId, *, draw: Callable[[], float], now: datetime
    ) -> certs.Loaded:
        """Read one certificate."""


def read_cert(
    reads: Reads,
    config: Config,
    tree: Tree,
    cert: CertId,
    *,
    draw: Callable[[], float],
    now: datetime,
) -> certs.Loaded:
    """Return a certificate as it is read by `reads`; blocks, never raises."""
    one = reads(tree, cert, draw=draw, now=now)
    noted = one.state.delivered.curr
    if noted is not None and production.linked(str(config.globals.prod_cert_dir), cert) != noted:
        # The note is not the truth: production was lost, moved or changed by hand.
        one.state = replace(one.state, delivered=Delivered())
    return one
