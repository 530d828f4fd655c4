"""What the daemon and the network process ask each other: an operation a line, see `link`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sslmd.net.link import Operation, message


class NetLimit(StrEnum):
    """What holds the network process (`net.sandbox`)."""

    UID = "uid"  # it has a user of its own
    NOBODY = "nobody"  # it has a user that others may have too
    CAPABILITIES = "capabilities"
    NO_NEW_PRIVS = "no-new-privs"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"


@message
@dataclass(frozen=True, slots=True)
class Alive:
    """Whether the other side still turns; the answer has its user, and what holds it."""

    uid: int = -1
    limits: tuple[NetLimit, ...] = ()


@message
@dataclass(frozen=True, slots=True)
class Beat:
    """Tell by `url` that the daemon works: who knows the address can tell that too."""

    url: str = field(repr=False)


@message
@dataclass(frozen=True, slots=True)
class BeatEnd:
    """How that ended: the status of HTTP, or 0 and `why`, one of `core.failed.Failed`."""

    status: int = 0
    why: str = ""


BEAT: Operation[Beat, BeatEnd] = Operation("beat", Beat, BeatEnd)

PING: Operation[Alive, Alive] = Operation("alive", Alive, Alive)
