"""What lies in a production tree and is not meant to be there: one rule for every machine (I1).

What sslmd put there goes when nothing grants it any more. What others put there is never removed
by rule, only reported: until it is gone, `prune` takes it, or `keep` says that it is meant.
docs/decisions/2026-11-30-keys-that-stay-behind.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from sslmd.core.names import CertId


@dataclass(frozen=True, slots=True)
class Thing:
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
        return f"{shown} with its key" if self.has_key else shown


@dataclass(frozen=True, slots=True)
class Sorted:
    """What goes, and what is left and reported."""

    gone: list[Thing]
    left: list[Thing]


def sort_out(
    things: Iterable[Thing],
    *,
    has_to_go: Callable[[CertId], bool],
    prunes: bool,
    keep: Collection[str],
) -> Sorted:
    """Sort what was found in a production tree; keys of CAs come first.

    `has_to_go`: whether a certificate is meant to be there under no name of the machine.
    """
    found = Sorted([], [])
    for thing in sorted(things, key=lambda one: (not one.path.startswith("ca/"), one.path)):
        if is_kept(thing.path, keep):
            continue
        if thing.cert is None:
            found.left.append(thing)
        elif has_to_go(thing.cert):
            (found.gone if thing.is_ours or prunes else found.left).append(thing)
    return found


def is_kept(path: str, keep: Collection[str]) -> bool:
    """Whether a path, or a folder that it is in, is said to be meant."""
    return any(path == one or path.startswith(f"{one}/") for one in keep)
