"""How a certificate stands: everything that is known of one, and the notes beside its files.

A phase is never stored: `lifecycle.phase_of` reads it from the links on disk and the notes, so a
daemon that was killed anywhere finds itself where it was (I5). Failure is not a phase; it stands
beside it as `Trouble`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sslmd.core.ari import Advice
from sslmd.core.dane.sighting import Sighting
from sslmd.core.errors import Trouble
from sslmd.core.names import SetName
from sslmd.core.reason import Reason
from sslmd.core.seen import AtPort, InDns
from sslmd.core.spec import SetFacts

# The longest that `min_roll_mins` can be, in the configuration and asked for: a year.
MAX_MIN_ROLL = timedelta(days=365)

# How long failed validations are noted (Let's Encrypt counts them for an hour), and how many of a
# certificate: as many as its names, several times.
COUNTED = timedelta(days=7)
MOST_COUNTED = 500

# How long a CA counts a certificate against its exact set of names (Let's Encrypt: a week).
ISSUED_COUNTED = timedelta(days=7)

# Orders of one certificate that are noted: whatever fails so often has long waits.
MOST_ORDERED = 50


class Phase(StrEnum):
    """Where a certificate stands. The first, fifth and sixth rest on `curr` alone."""

    SETTLED = "settled"
    KEYED = "keyed"
    ISSUED = "issued"
    ADVERTISED = "advertised"
    ROLLED = "rolled"
    DEPLOYED = "deployed"


@dataclass(frozen=True, slots=True)
class SetNote:
    """What the files of a set do not say.

    `draw` is the set's place in the spread of renewals, -1 to 1, drawn once; `ca` the name of
    the CA that was asked, "" where unknown. `unmet`: the wishes that this CA did not meet, each
    in a sentence. Of a CA: `new_key`, an admin asked for another key; `at_end`, it takes the place
    of one that ends. Of an ACME CA: `account`, the URL of the account that ordered it; `ari`, when
    the CA wants it renewed; `wished`, when it was begun because the CA wanted another replaced.
    `revoked`: an admin said so, and had it replaced.
    """

    draw: float
    issued_at: datetime | None = None
    ca: str = ""
    new_key: bool = False
    at_end: bool = False
    unmet: tuple[str, ...] = ()
    revoked: bool = False
    account: str = ""
    wished: datetime | None = None
    ari: Advice | None = None


class Request(StrEnum):
    """What an admin can ask for."""

    RENEW = "renew"
    ROLL = "roll"


@dataclass(frozen=True, slots=True)
class Ask:
    """An admin's accepted request; it stands in state.toml until it is carried out.

    `force` sets the reasons and waits aside. `replaces` is the `next` that was on deck when a
    forced renewal was asked for: only that one is replaced, also after a crash. `back`: the older
    set that is to be rolled, in place of what is on deck. `new_key`: a CA is to get another key.
    `min_roll`: for this roll, in place of `min_roll_mins` of the configuration. `revoked`: the
    certificate in use is, so this goes before others and no window is waited for. `batch`: it
    is one of so many that were asked for together, at the same time.
    """

    what: Request
    at: datetime
    force: bool = False
    reuse: bool = False
    replaces: SetName | None = None
    back: SetName | None = None
    new_key: bool = False
    min_roll: timedelta | None = None
    revoked: bool = False
    batch: int = 0


class TrialKind(StrEnum):
    """What an admin can try at a CA's test server: keep the certificate to look at, or nothing."""

    TEST = "test"
    DRY_RUN = "dry-run"


@dataclass(frozen=True, slots=True)
class TrialAsk:
    """An admin's accepted trial; it stands in state.toml until it has ended, well or not."""

    kind: TrialKind
    at: datetime


class Track(StrEnum):
    """The two things that can be in trouble on their own: making a set, delivering one."""

    RENEW = "renew"
    DELIVER = "deliver"


class ServerPhase(StrEnum):
    """How far one server is with `Server.set`.

    Pending: it does not have `curr` yet, and is given it at its `next_try` (None: now);
    delivered: the files are there, it is to be restarted (with a `next_try`: an admin asked for it,
    so no window is waited for); restarted: that is done, and nobody saw it using them
    (`Server.unseen`); proven: it was seen using them (I11); failed: its restart failed, or it was
    seen using something else.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    RESTARTED = "restarted"
    PROVEN = "proven"
    FAILED = "failed"


# Nothing is left to do for a server in these, but to look (`Server.is_owed_a_look`).
DONE = (ServerPhase.RESTARTED, ServerPhase.PROVEN)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why nobody saw a server using a set.

    `meant`: there is nothing to see, or an admin said so, and nobody is warned. `owed`: there is,
    at ports that count, and nobody could look: the next look says how the restart went.
    """

    why: Reason
    meant: bool = False
    owed: bool = False

    @classmethod
    def at(cls, why: Reason) -> Unseen:
        """Return that it was not seen where it was looked for."""
        return cls(Reason(InDns.UNSEEN, why=why))


NOT_YET = Unseen(Reason(AtPort.UNLOOKED))


@dataclass(frozen=True, slots=True)
class Server:
    """One host of one server class, as one certificate sees it. `set` was delivered last.

    `since`: it is in its phase since then. `proven`: the set that it was last seen using, `seen`;
    `restarted`: the set that it was last made to use while nobody looked, because of `unseen`;
    `expires`: the end of the certificate of whichever came last. `ports`: the default ports that
    have served a certificate of this service there, and so count. `access`: who may read the key
    there, as text (`core.host.needs`). `here`: it is this machine.
    """

    kind: str
    host: str
    phase: ServerPhase
    set: SetName | None = None
    error: str = ""
    attempts: int = 0
    next_try: datetime | None = None
    since: datetime | None = None
    proven: SetName | None = None
    access: str = ""
    expires: datetime | None = None
    here: bool = False
    restarted: SetName | None = None
    unseen: Unseen | None = None
    ports: tuple[int, ...] = ()
    seen: datetime | None = None

    @property
    def is_owed_a_look(self) -> bool:
        """Whether it is not known how its restart went, because nobody could look."""
        is_unseen = self.phase is ServerPhase.RESTARTED and self.unseen is not None
        return is_unseen and self.unseen is not None and self.unseen.owed

    @property
    def uses_ours(self) -> bool:
        """Whether it is known to use, or have used, a set of this certificate."""
        return (self.proven or self.restarted or self.expires) is not None

    def phase_with(self, name: SetName | None) -> ServerPhase:
        """Return the phase that it is in once it has a set: it may be known to use it already.

        Not if it was given another meanwhile: it may have been restarted with that.
        """
        if self.set in (name, None):
            if self.proven == name:
                return ServerPhase.PROVEN
            if self.restarted == name:
                return ServerPhase.RESTARTED
        return ServerPhase.DELIVERED

    def failed(self, trouble: Trouble) -> Server:
        """Return it after it failed once more."""
        since = self.since if self.attempts else trouble.at
        return replace(
            self,
            error=trouble.text,
            attempts=trouble.attempts,
            next_try=trouble.next_try,
            since=since,
        )

    def without_trouble(self) -> Server:
        """Return it with its failures forgotten."""
        return replace(self, error="", attempts=0, next_try=None)

    def used(self) -> Server:
        """Return it with its set noted as the one that it uses, or was restarted with."""
        if self.phase is ServerPhase.PROVEN:
            return replace(self, proven=self.set or self.proven)
        return replace(self, restarted=self.set) if self.phase is ServerPhase.RESTARTED else self


@dataclass(frozen=True, slots=True)
class Delivered:
    """The sets that the production tree holds."""

    curr: SetName | None = None
    next: SetName | None = None


@dataclass(frozen=True, slots=True)
class FailedValidation:
    """A CA looked for a challenge of this name and did not find it; it counts such failures."""

    name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Issuance:
    """A certificate that an ACME CA issued; it counts whatever became of it.

    `server` is the CA's directory, `names` stands for the exact set of names (`names_mark`);
    `free`: it does not count against the limit of a registered domain.
    """

    serial: str
    server: str
    names: str
    at: datetime
    free: bool = False


@dataclass(frozen=True, slots=True)
class OrderMade:
    """An order that the CA with the directory `server` counts; noted before it is made."""

    server: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Hurried:
    """A set that is to be replaced at once, and that servers may still use.

    `since`: its CA wants that since then; `revoked`: an admin said that it is.
    """

    set: SetName
    since: datetime | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class CertState:
    """Everything that is known of one certificate.

    `advertised`, `deployed`, `settled` name the set that last got there. `retired`: the sets before
    `curr` that some server may still use; `hurried`: the urgent ones of them. `sighting`: what
    was seen in DNS of `next`. `adopted`: there were sets but no state.toml, as in a tree of
    ssl-mgr's, and production was not looked at yet. `whole`: it is to be delivered whatever is
    there. `failed`, `issued`: see `core.limits`; `ordered`: see `core.buckets`.
    `trial_after`: the CA's test server wants no other trial before. `off_deck`: a set that may be
    on deck only because an admin wanted it back, and does no more. Of a CA only: `former`, the
    identities of all its sets, and `remains`, what is there of one that lost its `curr`.
    """

    phase: Phase = Phase.SETTLED
    curr: SetFacts | None = None
    next: SetFacts | None = None
    prev: SetName | None = None
    curr_note: SetNote | None = None
    next_note: SetNote | None = None
    prev_note: SetNote | None = None
    rolled_at: datetime | None = None
    advertised: SetName | None = None
    deployed: SetName | None = None
    settled: SetName | None = None
    retired: tuple[SetName, ...] = ()
    hurried: tuple[Hurried, ...] = ()
    sighting: Sighting | None = None
    delivered: Delivered = Delivered()
    servers: tuple[Server, ...] = ()
    ask: Ask | None = None
    trouble: Trouble | None = None
    delivery_trouble: Trouble | None = None
    failed: tuple[FailedValidation, ...] = ()
    issued: tuple[Issuance, ...] = ()
    ordered: tuple[OrderMade, ...] = ()
    trial: TrialAsk | None = None
    trial_after: datetime | None = None
    adopted: bool = False
    whole: bool = False
    off_deck: SetName | None = None
    former: frozenset[str] = frozenset()
    remains: str = ""

    @property
    def shows_revoked(self) -> bool:
        """Whether servers may still use a set that an admin said is revoked."""
        if self.curr_note is not None and self.curr_note.revoked:
            return True
        return any(one.revoked for one in before_curr(self))


def before_curr(state: CertState) -> tuple[Hurried, ...]:
    """Return the urgent sets before `curr` that servers may still use: until it is seen everywhere.

    What is noted beside `prev` counts too: a daemon may have been killed amid a roll.
    """
    if state.curr is None or state.deployed == state.curr.name:
        return ()
    last = _hurried(state.prev, state.prev_note)
    known = {state.curr.name, *(one.set for one in last)}
    return (*(one for one in state.hurried if one.set not in known), *last)


def after_roll(state: CertState, fresh: SetName | None) -> tuple[Hurried, ...]:
    """Return the urgent sets that servers may still use when `fresh` takes the place of `curr`."""
    curr = state.curr.name if state.curr is not None else None
    every = (*before_curr(state), *_hurried(curr, state.curr_note))
    return tuple(one for one in every if one.set != fresh)


def _hurried(name: SetName | None, note: SetNote | None) -> tuple[Hurried, ...]:
    if name is None or note is None:
        return ()
    since = note.ari.urgent_since if note.ari is not None else None
    return (Hurried(name, since, note.revoked),) if since or note.revoked else ()


def replaced_urgently(state: CertState) -> datetime | None:
    """Return since when a CA wants a set replaced that servers may still use, None if it does not.

    That is one before the set in use, however many came since.
    """
    return min((one.since for one in before_curr(state) if one.since), default=None)
