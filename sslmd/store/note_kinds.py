"""What is remembered of hosts and zones, beside what each certificate notes of itself.

    certs/.hosts/<host>.toml     lost, what a host should not have any more is reported, and stays
    certs/<zone>/.dane.toml      lost, it costs a wait
    certs/.accounts/holds.toml   lost, a CA is asked once more than it wants, or for more accounts
    certs/.notices.toml          lost, what is raised is told once more
    certs/.accounts/<ca>/sslmd.toml   lost, the folder's name and its accounts tell whose it is

Notes, not the truth: docs/on-disk.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter

from sslmd.core.dane.content import ZoneNotes
from sslmd.core.errors import Trouble
from sslmd.core.holds import AccountMade, CaHold
from sslmd.core.host.needs import Belonging
from sslmd.core.names import BadName, CertId, DomainName, GroupName, parse_service
from sslmd.core.notice_book import AlarmBook
from sslmd.store.layout import Tree, host_of
from sslmd.store.notes import (
    Codec,
    Nonsense,
    NoteKind,
    Shape,
    codec_of,
    lines,
    listed,
    parsed,
    whole,
)
from sslmd.store.reasons import TROUBLE

# What is noted of what a host says, so that its note can be read again, whatever it says: surplus
# entries, bytes of a name (NAME_MAX), characters of an error.
MOST_SURPLUS = 100
LONGEST_NAME = 255
LONGEST_ERROR = 2000


@dataclass(frozen=True, slots=True)
class HostNote:
    """`holds`: what we put there, below `prod`. `surplus`: what lay there besides at the last
    visit; `more`: how many of these are not listed. `machine`: which one it said that it is;
    `same`: the other names under which that was seen. `older`: where `prod` was before, as long as
    keys are there; `kept`: the same, where all of them are meant to stay.

    The rest is of visits that only have to tidy up: how many failed in a row, why, and when the
    next is.
    """

    holds: frozenset[CertId] = frozenset()
    surplus: tuple[Belonging, ...] = ()
    visited: datetime | None = None
    prod: str = ""
    attempts: int = 0
    error: str = ""
    next_try: datetime | None = None
    machine: str = ""
    older: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    more: int = 0

    def with_surplus(self, things: Sequence[Belonging], unlisted: int = 0) -> HostNote:
        """Return the note with what lies there besides, as much as is noted of it."""
        some = tuple(Belonging.noted(shortened(one.noted_as)) for one in things[:MOST_SURPLUS])
        return replace(self, surplus=some, more=len(things) - len(some) + unlisted)

    @property
    def places(self) -> tuple[str, ...]:
        """Return the folders there in which keys may be that we put there."""
        return tuple(dict.fromkeys(filter(None, (self.prod, *self.older, *self.kept))))


def shortened(name: str) -> str:
    """Return a name that a host told, `LONGEST_NAME` bytes of it at most."""
    data = name.encode("utf-8", "replace")
    if len(data) <= LONGEST_NAME:
        return name
    return data[: LONGEST_NAME - len("…".encode())].decode("utf-8", "ignore") + "…"


def noted_hosts(tree: Tree) -> list[str]:
    """Return the hosts that there is a note of; blocks."""
    try:
        names = sorted(os.listdir(tree.hosts_dir))
    except OSError:
        return []
    return [host for host in map(host_of, names) if host is not None]


def parse_cert(text: str) -> CertId:
    """Return the certificate that `group/service` names; raises ValueError."""
    group, slash, service = text.partition("/")
    if not slash:
        raise BadName(f"{text!r} is not group/service")
    return CertId(GroupName.parse(group).text, parse_service(service))


def _reached(note: HostNote) -> HostNote:
    """Older versions noted what was to be sent before anybody had answered."""
    return note if note.visited or note.machine else replace(note, holds=frozenset())


def _cut(shorter: Callable[[str], str]) -> Codec:
    return replace(codec_of(str), dump=shorter)


_COUNT = whole(0, 1 << 62)
HOST_NOTE = NoteKind(
    HostNote,
    Nonsense.ANEW,
    {
        HostNote: Shape(
            {"more": "surplus_more"},
            {
                "holds": listed(parsed(parse_cert), frozenset),
                "surplus": listed(
                    replace(parsed(Belonging.noted), dump=attrgetter("noted_as")), tuple
                ),
                "machine": _cut(shortened),
                "error": _cut(lambda text: text[:LONGEST_ERROR]),
                "attempts": _COUNT,
                "more": _COUNT,
            },
            upgrade=_reached,
        ),
    },
)

_OWNER, _TTL = parsed(DomainName.parse), whole(0, 1 << 31)
ZONE_NOTE = NoteKind(
    ZoneNotes,
    Nonsense.ANEW,
    {
        ZoneNotes: Shape(
            codecs={
                "ttl": _TTL,
                "longest": lines(_OWNER, parsed(lambda text: _TTL.load(int(text)))),
                "moved": lines(_OWNER, _OWNER),
            }
        )
    },
)


@dataclass(frozen=True, slots=True)
class HomeNote:
    """Whose accounts are in a folder of `certs/.accounts`: a CA's directory, and its EAB key.

    `identities`: how CAA records name the CA. `shared_at`: since when certificates that have an
    account of their own go by this one all the same.
    """

    server: str = ""
    eab_kid: str = ""
    identities: tuple[str, ...] = ()
    shared_at: datetime | None = None


HOME_NOTE = NoteKind(HomeNote, Nonsense.ANEW)


@dataclass(frozen=True, slots=True)
class HoldsNote:
    """What CAs asked to be left alone with, and the accounts that they made lately."""

    hold: tuple[CaHold, ...] = ()
    made: tuple[AccountMade, ...] = ()


HOLDS_NOTE = NoteKind(HoldsNote, Nonsense.ANEW)


# What is raised, what was told to whom, silences. Nonsense costs a message sent before, and
# the silences.
ALARM_BOOK_NOTE = NoteKind(
    AlarmBook,
    Nonsense.SET_ASIDE,
    {Trouble: TROUBLE},
    # Each of thousands of certificates may stand there, once for each kind of alarm.
    most=16 << 20,
)
