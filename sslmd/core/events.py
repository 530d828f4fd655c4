"""What can happen to a certificate: frozen values that `lifecycle.advance` takes in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sslmd.core.ari import Advice
from sslmd.core.dane.sighting import Sighting
from sslmd.core.errors import Trouble
from sslmd.core.names import SetName
from sslmd.core.reason import Reason, Why
from sslmd.core.spec import SetFacts
from sslmd.core.state import (
    Ask,
    Delivered,
    Issuance,
    OrderMade,
    Server,
    SetNote,
    Track,
    TrialAsk,
)

NO_RECORDS = Reason(Why.NO_RECORDS_WANTED)


@dataclass(frozen=True, slots=True)
class KeyMade:
    """A new set with key and CSR is the `next`; an older `next` is off the deck.

    `kept`: it has the key of that one, whose TLSA records were seen.
    """

    at: datetime
    facts: SetFacts
    note: SetNote
    reason: Reason
    kept: bool = False


@dataclass(frozen=True, slots=True)
class CertIssued:
    """The certificate of `next` is there, complete and verified."""

    at: datetime
    facts: SetFacts
    note: SetNote


@dataclass(frozen=True, slots=True)
class Advertised:
    """The TLSA records of `next` were seen on every server for long enough, or need not be."""

    at: datetime
    reason: Reason = NO_RECORDS


@dataclass(frozen=True, slots=True)
class Lost:
    """The TLSA records of `next` are not everywhere any more: the wait begins again."""

    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class TlsaLooked:
    """Every name server was asked for the TLSA records of `next`."""

    at: datetime
    sighting: Sighting | None


@dataclass(frozen=True, slots=True)
class Rolled:
    """`next` is the new `curr`. `overrode` says which waits an admin set aside."""

    at: datetime
    overrode: Reason | None = None


@dataclass(frozen=True, slots=True)
class BackOnDeck:
    """An older set is the `next`, as an admin asked; another `next` is off the deck."""

    at: datetime
    facts: SetFacts
    note: SetNote
    reason: Reason


@dataclass(frozen=True, slots=True)
class OffDeck:
    """A set that was to be gone back to is `next` no more, and none takes its place."""

    at: datetime


@dataclass(frozen=True, slots=True)
class ProdUpdated:
    """The production tree holds these sets; `servers` is what now has to be told."""

    at: datetime
    delivered: Delivered
    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class ServerTold:
    """One server was restarted (proven), or that failed.

    `unproven`: it was restarted, and does not serve the set.
    """

    at: datetime
    server: Server
    unproven: bool = False


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """One server was looked at without a restart: it uses its set, or why that was not seen."""

    at: datetime
    server: Server


@dataclass(frozen=True, slots=True)
class ServerCopied:
    """One server has a set now, `server.set`, or copying it there failed.

    `before` is what it was known to have.
    """

    at: datetime
    server: Server
    before: SetName | None


@dataclass(frozen=True, slots=True)
class ServersWanting:
    """These servers are to be given `curr` again, whatever is known of them."""

    at: datetime
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """These hosts of a server class are to be restarted, though no certificate changed there.

    `because`: what did, None if an admin asks for it, who then waits for no window.
    """

    at: datetime
    kind: str
    hosts: frozenset[str]
    because: Reason | None = None


@dataclass(frozen=True, slots=True)
class ServersProven:
    """Every server uses `curr`, or there is none to use it."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """The TLSA records of old keys are gone, old sets are cleaned up."""

    at: datetime
    prev: SetName | None


@dataclass(frozen=True, slots=True)
class Asked:
    """An admin's request was accepted."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class AskDropped:
    """An admin's request was cancelled, or turned out to need nothing."""

    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A job failed; nothing else changed. `failed`: names that a CA could not validate."""

    track: Track
    trouble: Trouble
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """A CA may have failed to validate these names; nobody was there to hear of it."""

    at: datetime
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WasIssued:
    """A CA issued a certificate, and counts that; whether it can be used is seen later."""

    issuance: Issuance


@dataclass(frozen=True, slots=True)
class Advised:
    """A CA was asked when the set `set` is to be renewed (RFC 9773)."""

    at: datetime
    set: SetName
    advice: Advice


@dataclass(frozen=True, slots=True)
class WasOrdered:
    """An order is about to be made at a CA that counts it."""

    order: OrderMade


@dataclass(frozen=True, slots=True)
class TrialAsked:
    """An admin's request for a trial was accepted."""

    ask: TrialAsk


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """A trial is over: `reason` says how it went, or why it failed.

    `after`: the CA's test server wants no other before.
    """

    at: datetime
    ask: TrialAsk
    reason: Reason
    failed: bool = False
    after: datetime | None = None


Event = (
    KeyMade
    | CertIssued
    | Advertised
    | Lost
    | TlsaLooked
    | Rolled
    | BackOnDeck
    | OffDeck
    | ProdUpdated
    | ServerTold
    | ServerSeen
    | ServerCopied
    | ServersWanting
    | RestartAsked
    | ServersProven
    | Settled
    | Asked
    | AskDropped
    | AttemptFailed
    | Counted
    | WasIssued
    | Advised
    | WasOrdered
    | TrialAsked
    | TrialEnded
)
