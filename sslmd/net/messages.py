"""What the daemon and the network process ask each other: an operation a line, see `link`."""

from __future__ import annotations

from dataclasses import dataclass

from sslmd.net.link import Operation, message


@message
@dataclass(frozen=True, slots=True)
class Alive:
    """Whether the other side still turns; the answer says what it is allowed to do.

    `uid`: its user. `limits`: what holds it, a word each (`uid`, `capabilities`, `landlock`, …).
    """

    uid: int = -1
    limits: tuple[str, ...] = ()


PING: Operation[Alive, Alive] = Operation("alive", Alive, Alive)
