"""One attempt at a certificate of an ACME CA, and what both engines have in common.

`engine.Engine` speaks to the CA through the network process, `certbot_run.Certbot` has certbot do
it. Which one is the choice of the CA's table (`ca_engine`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sslmd.acme.certbot import AcmeServer
from sslmd.acme.directory import Directory
from sslmd.acme.orders import Challenge
from sslmd.config.model import ServiceConfig, Validation
from sslmd.core.names import CertId
from sslmd.core.reason import Reason
from sslmd.core.told import Doing
from sslmd.pki.local_ca import Issued
from sslmd.store.layout import OrderFolders

# Returns when the whole world can see the challenges.
Prove = Callable[[Sequence[Challenge]], Awaitable[None]]


class AccountLostError(Exception):
    """The CA does not know our account any more: `why`, in its words."""

    def __init__(self, why: Reason) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Attempt:
    """What to order, where, and in which folders. `trial`: of which kind it is one, "" for none.

    `lane`: of the job that it is part of. `replaces`: the certificate that it is to replace, as RFC
    9773 §4.1 names it, "" for none.
    """

    service: ServiceConfig
    server: AcmeServer
    place: OrderFolders
    csr: bytes
    trial: str = ""
    lane: str = ""
    replaces: str = ""

    @property
    def cert(self) -> CertId:
        """The certificate's name."""
        return self.service.id

    def told(self, what: Reason) -> Reason:
        """Return what happens to it as it is told: of a trial, that it is one."""
        return Reason(Doing.OF_TRIAL, kind=self.trial, what=what) if self.trial else what

    @property
    def is_http(self) -> bool:
        """Whether names are validated by files on web servers."""
        return self.server.validation is Validation.HTTP_01


class CaEngine(Protocol):
    """What a worker asks for the certificate of one attempt.

    Whatever becomes of `issue`: nothing is offered to the CA before `prove` has returned (I8).
    """

    @property
    def takes_place(self) -> bool:
        """Whether an order that only waits has a place of the pool: a process of its own."""

    def progress(self, how: Reason | None) -> None:
        """Say what is done; None for nothing."""

    async def account_uri(self) -> str:
        """Return the URL of the account at the CA, "" as long as there is none."""

    async def make_account(self) -> str:
        """Make an account before anything is ordered; return its URL.

        Raises `Transient` or `Permanent` in the CA's own words.
        """

    async def lose_account(self) -> None:
        """Set the account aside, which the CA does not know any more; it is told."""

    async def take_up(self, served: Directory) -> Issued | None:
        """Return the certificate of an order that was cut short, None if none is to be had now.

        Raises `Transient` where it may be there later.
        """

    async def issue(self, served: Directory, prove: Prove) -> Issued:
        """Order the certificate, or go on with an order that waits for its challenges; return it.

        Raises what `prove` raises, `Transient`, `ValidationFailed` or `Permanent` in the CA's own
        words, or `AccountLostError`.
        """
