"""What a fuzz target is, and what is asked of every one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# Seconds of CPU for one input: longer, and the daemon's loop would be held up by it.
LONGEST = 0.2

# Bytes of one input, unless a target says otherwise.
MOST = 1 << 16

# Changed inputs in the suite.
CHANGES = 250


class Fault(AssertionError):
    """What a target must not do: take too long, or tell something that is not printable."""


@dataclass(frozen=True)
class Target:
    """A reader of bytes that others can write.

    `read` returns the texts that a person would be told; it may raise `refusals`, whose texts are
    told too. Everything else that it raises is a fault. `seeds` makes the inputs to begin with,
    `changes` is how many others the suite tries.
    """

    name: str
    read: Callable[[bytes], Iterable[str]]
    seeds: Callable[[], list[bytes]]
    refusals: tuple[type[Exception], ...] = ()
    tokens: tuple[bytes, ...] = ()
    most: int = MOST
    changes: int = CHANGES

    def attempt(self, data: bytes) -> None:
        """Read one input; raise what it did wrong."""
        took = 0.0
        for _ in range(3):  # what was slow by chance, a collection of garbage, is so only once
            before = time.process_time()
            try:
                texts = list(self.read(data))
            except self.refusals as err:
                texts = [str(err)]
            took = time.process_time() - before
            if took <= LONGEST:
                break
        else:
            raise Fault(f"{self.name}: {took:.2f} s of CPU for {len(data)} bytes")
        for text in texts:
            if not text.isprintable():
                raise Fault(f"{self.name}: not printable: {text!r}")
