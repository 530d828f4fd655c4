"""The closed set of jobs: frozen values that say what to do and to which certificate.

Three different things: `lane` names what must not run at the same time, `key` what must not be
queued twice, `pool` what shares a number of places. An order waits for its CA, and a CA may be
silent, or send a byte in five seconds: `next_turn` shares the places for orders by CA, so that none
keeps out the certificates of another (I6).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sslmd.core.names import CertId, SetName, ZoneName, machine_of
from sslmd.core.reason import Reason
from sslmd.core.state import Track, TrialAsk


@dataclass(frozen=True, slots=True)
class MakeKey:
    """Make a new set with key and CSR and put it on deck.

    `reuse`: with the key of `curr`; `keep`: with that of the `next` on deck, whose TLSA records
    are in DNS already; `new_key`: a CA that was in use gets another key, as an admin asked;
    `at_end`: its end is near.
    """

    cert: CertId
    reason: Reason
    reuse: bool = False
    keep: bool = False
    new_key: bool = False
    at_end: bool = False


@dataclass(frozen=True, slots=True)
class Certify:
    """Have the site's own CA sign the `next` on deck, which is the set `set`."""

    cert: CertId
    set: SetName
    reason: Reason


@dataclass(frozen=True, slots=True)
class Order:
    """Get the certificate of the `next` on deck, the set `set`, from an ACME CA (RFC 8555)."""

    cert: CertId
    set: SetName
    reason: Reason


@dataclass(frozen=True, slots=True)
class Trial:
    """Get a certificate from the CA's test server, in a tree of its own (I7)."""

    cert: CertId
    ask: TrialAsk
    reason: Reason


@dataclass(frozen=True, slots=True)
class Roll:
    """Make `next`, which is the set `set`, the new `curr`. `overrode`: waits set aside.

    `blind`: the wait for its TLSA records is one of them, so DNS is not looked at once more.
    """

    cert: CertId
    set: SetName
    reason: Reason
    overrode: Reason | None = None
    blind: bool = False


@dataclass(frozen=True, slots=True)
class PutBack:
    """Put the older set `set` on deck, in place of what is there."""

    cert: CertId
    set: SetName
    reason: Reason


@dataclass(frozen=True, slots=True)
class TakeOff:
    """Take the set `set` off the deck: it was to be gone back to, and is not any more."""

    cert: CertId
    set: SetName
    reason: Reason


@dataclass(frozen=True, slots=True)
class Deliver:
    """Bring the production tree up to date, from which `Copy` brings it to other machines.

    `adopt`: what is already there needs no restart. `leave`: a `curr` that ssl-mgr put there stays
    as it is if it is the right one.
    """

    cert: CertId
    curr: SetName | None
    next: SetName | None
    reason: Reason
    adopt: bool = False
    leave: bool = False


@dataclass(frozen=True, slots=True)
class Settle:
    """Withdraw what only the old generation needed, and clean up old sets."""

    cert: CertId
    reason: Reason


@dataclass(frozen=True, slots=True)
class Prove:
    """See the ports with TLSA records serve the set `set`, before records of older ones go."""

    cert: CertId
    set: SetName
    reason: Reason


Rolling = Roll | PutBack | TakeOff
CertJob = MakeKey | Certify | Order | Rolling | Deliver | Prove | Settle


@dataclass(frozen=True, slots=True)
class Publish:
    """Have the TLSA records of a zone served as they should be."""

    zone: ZoneName
    reason: Reason


@dataclass(frozen=True, slots=True)
class Look:
    """Ask every name server of a zone what TLSA records it serves."""

    zone: ZoneName
    reason: Reason


@dataclass(frozen=True, slots=True)
class Watch:
    """Compare what DNS shows, what the ports of a zone serve, and what should be."""

    zone: ZoneName
    reason: Reason


ZoneJob = Publish | Look | Watch


@dataclass(frozen=True, slots=True)
class PublishChallenges:
    """Have the challenges served that orders want in a zone, and no others."""

    zone: ZoneName
    reason: Reason


@dataclass(frozen=True, slots=True)
class Told:
    """One certificate's part in a restart: the set that the server is made to use."""

    cert: CertId
    set: SetName


@dataclass(frozen=True, slots=True)
class Restart:
    """Restart these server classes on one host, in this order.

    One job for a whole batch: every certificate of `told` that touches a class is served by
    one restart of it.
    """

    host: str
    told: tuple[tuple[str, tuple[Told, ...]], ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Copy:
    """Bring these sets to one host, and take away what is not meant for it any more.

    One job for a whole batch; without sets it only looks at what is there.
    """

    host: str
    told: tuple[Told, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class See:
    """Look at what server classes of one host serve, which nobody has seen yet."""

    host: str
    told: tuple[tuple[str, tuple[Told, ...]], ...]
    reason: Reason


HostJob = Copy | Restart | See


@dataclass(frozen=True, slots=True)
class WriteDh:
    """Put the Diffie-Hellman groups that are wanted beside the certificates in production.

    One job for all folders: generating takes a core for minutes or hours.
    """

    reason: Reason


@dataclass(frozen=True, slots=True)
class ReadHeld:
    """Read again what is held: its files may be right by now."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class WriteNotes:
    """Write again what could not be written of certificates' states."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class AskCa:
    """Ask an ACME CA, by the name of its table, when it wants certificates renewed (RFC 9773)."""

    ca: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class WatchAlarms:
    """Look for everything that is wrong, and remember since when."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell a notifier, by its name, what there is to tell."""

    name: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class SayAlive:
    """Tell those who watch the daemon that it works (`alive_url`, `alive_command`)."""

    reason: Reason


Job = (
    CertJob
    | Trial
    | HostJob
    | ZoneJob
    | PublishChallenges
    | WriteDh
    | ReadHeld
    | WriteNotes
    | AskCa
    | WatchAlarms
    | Notify
    | SayAlive
)


class Pool(StrEnum):
    """Jobs that share a number of places: those of one pool never keep out those of another.

    An order waits for name servers and a CA, for an hour if need be, and must not hold up what
    the disk and the processor do in an instant (I6). Nor must zones whose name servers are silent,
    hosts that are down, or Diffie-Hellman groups that are generated.
    """

    WORK = "work"
    ACME = "acme"
    DNS = "dns"
    CHALLENGES = "challenges"
    HOSTS = "hosts"
    DH = "dh"
    FILES = "files"
    CAS = "cas"
    ALARMS = "alarms"
    NOTICES = "notices"
    ALIVE = "alive"


def lane(job: Job) -> str:
    """Return the name of what must not run at the same time as `job`."""
    if isinstance(job, HostJob):
        return f"host {machine_of(job.host)}"
    if isinstance(job, ZoneJob):
        return f"zone {job.zone}"
    if isinstance(job, PublishChallenges):
        return f"challenges {job.zone}"
    if isinstance(job, WriteDh):
        return "dh"
    if isinstance(job, ReadHeld):
        return "held"
    if isinstance(job, WriteNotes):
        return "notes"
    if isinstance(job, AskCa):
        return f"ca {job.ca}"
    if isinstance(job, WatchAlarms):
        return "alarms"
    if isinstance(job, Notify):
        return f"notifier {job.name}"
    if isinstance(job, SayAlive):
        return "alive"
    return f"trial {job.cert}" if isinstance(job, Trial) else f"cert {job.cert}"


def pool(job: Job) -> Pool:
    """Return with what `job` shares its places."""
    if isinstance(job, ZoneJob):
        return Pool.DNS
    if isinstance(job, PublishChallenges):
        return Pool.CHALLENGES
    if isinstance(job, HostJob):
        return Pool.HOSTS
    if isinstance(job, WriteDh):
        return Pool.DH
    if isinstance(job, ReadHeld | WriteNotes):
        return Pool.FILES
    if isinstance(job, AskCa):
        return Pool.CAS
    if isinstance(job, WatchAlarms):
        return Pool.ALARMS
    if isinstance(job, Notify):
        return Pool.NOTICES
    if isinstance(job, SayAlive):
        return Pool.ALIVE
    return Pool.ACME if isinstance(job, Order | Trial) else Pool.WORK


def key(job: Job) -> str:
    """Return the name under which `job` is queued only once."""
    return f"{type(job).__name__} {lane(job)}"


def thing_of(job: Job) -> Hashable:
    """Return what `job` is about: a certificate, host, zone, CA or notifier; "" for what is one."""
    if isinstance(job, ZoneJob | PublishChallenges):
        return job.zone
    if isinstance(job, HostJob):
        return job.host
    if isinstance(job, AskCa):
        return job.ca
    if isinstance(job, Notify):
        return job.name
    return job.cert if isinstance(job, CertJob | Trial) else ""


def track(job: CertJob) -> Track:
    """Return which kind of trouble a failure of `job` is."""
    return Track.DELIVER if isinstance(job, Deliver | Prove | Settle) else Track.RENEW


def next_turn(waiting: Iterable[str], running: Mapping[str, int], places: int) -> str | None:
    """Return the owner whose job may begin now, None if all of them have to wait.

    `waiting`: the owners of what waits, who waits longest first; `running`: how many of each run.

    - Alone, an owner may have all places.
    - While something of another waits, nothing of an owner begins that has half of them already.
    - Who has more than half, from when it was alone, counts as if it had half: the other does not
      wait for its jobs to end. So more run than there are places, for as long as that lasts.
    - Who has none may begin one all the same, up to twice as many as there are places: two CAs that
      are silent do not keep out a third.
    """
    half = max(places // 2, 1)
    total = sum(running.values())
    owners = list(dict.fromkeys(waiting))
    for owner in owners:
        ours = running.get(owner, 0)
        if ours >= half and len(owners) > 1:
            continue
        others = sum(min(count, half) for name, count in running.items() if name != owner)
        if ours + others < places or (ours == 0 and total < 2 * places):
            return owner
    return None
