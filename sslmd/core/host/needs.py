"""What a host needs: what it lacks, what has to go, what is restarted (I1).

This machine's production tree and another machine are the same here: only `HostWanted` says what
is meant to be there. What sslmd put there goes when nothing grants it any more. What others put
there is never removed by rule, only reported: until it is gone, `prune` takes it, or `keep` says
that it is meant. docs/decisions/2026-11-30-keys-that-stay-behind.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sslmd.core.errors import is_over
from sslmd.core.jobs import Told
from sslmd.core.names import BadName, CertId, GroupName, SetName, parse_service
from sslmd.core.reason import Held, Reason
from sslmd.core.state import DONE, Server, ServerPhase

KEY_MODE = 0o600

# Things that one message names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class KeyAccess:
    """Owner and group by name or number, "" for those of whoever puts it there; its mode.

    As text it is what is noted of a server, "" for a key that nobody else may read.
    """

    owner: str = ""
    group: str = ""
    mode: int = KEY_MODE

    @property
    def opens(self) -> bool:
        """Whether others than the owner of the folders are to get at the key."""
        return bool(self.owner or self.group or self.mode & 0o070)

    def __str__(self) -> str:
        if self == KeyAccess():
            return ""
        return f"{self.owner}:{self.group} {self.mode:04o}"


# When a server may be restarted for a certificate, from a time on: its `restart_window`.
Opens = Callable[[CertId, Server, datetime], datetime]

# When a server is looked at without a restart: None for one that need not be, or was seen.
Sights = Callable[[CertId, Server, datetime], datetime | None]


def never(_cert: CertId, _server: Server, _now: datetime) -> datetime | None:
    """Say that nothing is looked at."""
    return None


def at_any_time(_cert: CertId, _server: Server, now: datetime) -> datetime:
    """Say that there are no windows."""
    return now


@dataclass(frozen=True, slots=True)
class HostWanted:
    """What the configuration wants of one machine, under all its names.

    `certs`: what is meant to be there; `keys`: of these, what is meant to be there with its private
    key, which no CA's is. `left_alone`: groups that stay as they are. `prunes`: what others put
    there is removed as well. `keep`: paths below the production tree that are said to be meant.
    `classes`: the server classes for which it is copied there.
    """

    certs: Container[CertId]
    keys: Container[CertId]
    left_alone: Container[str] = frozenset()
    prunes: bool = False
    keep: Collection[str] = ()
    classes: tuple[str, ...] = ()


_WITH_KEY = " with its key"


@dataclass(frozen=True, slots=True)
class Belonging:
    """A certificate in a production tree, or a private key that is no certificate's (`cert` None).

    `path` is below the tree. `has_key`: it is a folder with private keys. `is_ours`: sslmd put it
    there.
    """

    path: str
    cert: CertId | None = None
    has_key: bool = False
    is_ours: bool = False

    def __str__(self) -> str:
        """As people read it."""
        shown = self.path if self.path.isprintable() else repr(self.path)
        return f"{shown}{_WITH_KEY}" if self.has_key else shown

    @property
    def noted_as(self) -> str:
        """As it is noted."""
        return f"{self.path}{_WITH_KEY}" if self.has_key else self.path

    @classmethod
    def noted(cls, text: str) -> Belonging:
        """Return what was noted; whose it is, is not."""
        path = text.removesuffix(_WITH_KEY)
        return cls(path, cert_named(path), has_key=path != text)


def cert_named(path: str) -> CertId | None:
    """Return the certificate that a folder of a production tree is for, by its path below it."""
    group, _, service = path.partition("/")
    try:
        cert = CertId(GroupName.parse(group).text, parse_service(service))
    except BadName:
        return None
    return cert if str(cert) == path else None


@dataclass(frozen=True, slots=True)
class Placement:
    """One certificate on one server class of a host. `curr`: its set in production, if it is."""

    cert: CertId
    server: Server
    curr: SetName | None


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a server class needs for one certificate, `at` a time or later."""

    kind: str
    told: Told
    at: datetime


@dataclass(frozen=True, slots=True)
class Needs:
    """What one machine needs.

    `lacking`: sets that it does not have. `restarts`: sets that it has and is not known to use.
    `unseen`: sets that nobody has seen it using. `to_go`: what is removed. `surplus`: what does not
    belong there, and is only reported.
    """

    lacking: list[Need] = field(default_factory=list)
    restarts: list[Need] = field(default_factory=list)
    unseen: list[Need] = field(default_factory=list)
    to_go: list[Belonging] = field(default_factory=list)
    surplus: list[Belonging] = field(default_factory=list)


def needs(
    wanted: HostWanted,
    now: datetime,
    placements: Iterable[Placement] = (),
    there: Iterable[Belonging] = (),
    *,
    opens: Opens = at_any_time,
    sights: Sights = never,
) -> Needs:
    """Return what a machine needs.

    `placements`: what is known of its servers; `there`: what was found in its production tree.
    """
    found = Needs()
    for one in placements:
        cert, server = one.cert, one.server
        if server.phase is ServerPhase.PENDING:
            # Production comes first: copies are made of it.
            if one.curr is not None and cert in wanted.certs:
                told = Told(cert, one.curr)
                found.lacking.append(Need(server.kind, told, _ends(server.next_try, now)))
        elif server.set is not None:
            told = Told(cert, server.set)
            if server.phase not in DONE:
                at = restarts_at(cert, server, now, opens)
                found.restarts.append(Need(server.kind, told, at))
            elif (looks := sights(cert, server, now)) is not None:
                found.unseen.append(Need(server.kind, told, _ends(looks, now)))
    # Keys of CAs come first.
    for thing in sorted(there, key=lambda one: (not one.path.startswith("ca/"), one.path)):
        if is_kept(thing.path, wanted.keep):
            continue
        if thing.cert is None:
            found.surplus.append(thing)
        elif thing.cert in wanted.certs:
            if thing.has_key and thing.cert not in wanted.keys:
                found.surplus.append(thing)
        elif thing.cert.group not in wanted.left_alone:
            (found.to_go if thing.is_ours or wanted.prunes else found.surplus).append(thing)
    return found


def is_kept(path: str, keep: Collection[str]) -> bool:
    """Whether a path, or a folder that it is in, is said to be meant."""
    return any(path == one or path.startswith(f"{one}/") for one in keep)


def would_change(found: Needs, other: HostWanted) -> bool:
    """Whether something that is to go, or reported, would stay if the machine had another name."""
    things = (*found.to_go, *found.surplus)
    is_pruned = any(not one.is_ours for one in found.to_go)
    return (is_pruned and not other.prunes) or any(
        one.cert is not None and one.cert in other.certs for one in things
    )


def surplus_on(
    host: str,
    prod: str,
    wanted: HostWanted,
    things: Sequence[Belonging],
    now: datetime,
    more: int = 0,
) -> Reason:
    """Say what lies on a host that is not meant for it, and the way out; `more` is not listed."""
    pruned = needs(replace(wanted, prunes=True), now, there=things).to_go
    of_ca = (
        one.path.startswith("ca/") and one.cert is not None and one.cert in wanted.certs
        for one in things
    )
    is_prunable = len(pruned) == len(things)
    return Reason(
        Held.SURPLUS,
        prod=prod,
        things=tuple(map(str, things[:_NAMED])),
        more=len(things[_NAMED:]) + more,
        prune=tuple(f"[{one}]" for one in wanted.classes if is_prunable),
        deliver=any(of_ca),
    ).of(host)


def restarts_at(cert: CertId, server: Server, now: datetime, opens: Opens) -> datetime:
    """Return when a server that is to be restarted may be."""
    if server.phase is ServerPhase.DELIVERED:
        # With a time, it is an admin who asked, and they know what time it is.
        return now if server.next_try is not None else opens(cert, server, now)
    return opens(cert, server, _ends(server.next_try, now))


def _ends(when: datetime | None, now: datetime) -> datetime:
    """Return when a wait is over: now at the earliest."""
    return now if when is None or is_over(when, now) else when
