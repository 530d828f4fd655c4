"""Reading many files on every core: helper processes for the start of the daemon.

Threads would take turns at the interpreter; docs/decisions/2026-11-23-start-reads-in-processes.md.
The certificates are dealt out in batches, and who is done with one takes the next. What a helper
does not deliver, for whatever reason, the daemon reads itself.

To be used before there are threads: a forked process has none but the one that forked.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any, NoReturn, TypeVar

# Certificates. Below, nobody waits for a start, and helpers would save nothing.
MANY = 2000
# Helpers, whatever the cores: what they deliver is unpacked by one process.
MOST = 3

_TICKET = 4  # bytes of the number of a batch
_TICKETS = 500  # of 4 bytes: they fit into any pipe, whose least size is a page of 4,096 bytes
_BATCH = 50  # certificates, at least: some 20 ms, which is what one may wait for another

K = TypeVar("K")
V = TypeVar("V")
Read = Callable[[Sequence[K]], dict[K, V]]


def read_all(read: Read[K, V], which: Sequence[K], helpers: int | None = None) -> dict[K, V]:
    """Return what `read` tells of every certificate, in their order.

    So many `helpers` read along; None: as many as are worth it.
    """
    if helpers is None:
        helpers = helpers_for(len(which))
    size = max(_BATCH, -(-len(which) // _TICKETS))
    batches = [which[at : at + size] for at in range(0, len(which), size)]
    found: dict[int, dict[K, V]] = {}
    with ExitStack() as closing:
        tickets, deal = os.pipe()
        closing.callback(os.close, tickets)
        with os.fdopen(deal, "wb") as dealt:
            dealt.writelines(number.to_bytes(_TICKET, "big") for number in range(len(batches)))
        started = _start(read, batches, tickets, helpers)
        for number in _take(tickets):
            found[number] = read(batches[number])
        for pid, results in started:
            for number, loaded in _results_of(pid, results).items():
                found[number] = dict(zip(batches[number], loaded, strict=True))
    every: dict[K, V] = {}
    for number, batch in enumerate(batches):
        every.update(found[number] if number in found else read(batch))
    return every


def helpers_for(count: int) -> int:
    """Return how many helpers are worth it for so many certificates on this machine."""
    return min(len(os.sched_getaffinity(0)) - 1, MOST) if count >= MANY else 0


def _take(tickets: int) -> Iterator[int]:
    """Yield batches that nobody else has; a pipe gives its bytes to one reader only."""
    while ticket := os.read(tickets, _TICKET):
        yield int.from_bytes(ticket, "big")


def _start(
    read: Read[K, V], batches: Sequence[Sequence[K]], tickets: int, helpers: int
) -> list[tuple[int, int]]:
    """Return the helpers that were started: their process, and the pipe with what they read."""
    started: list[tuple[int, int]] = []
    for _ in range(helpers):
        results, deliver = os.pipe()
        try:
            pid = os.fork()
        except OSError:  # no memory, or too many processes: then without
            os.close(results)
            os.close(deliver)
            break
        if pid == 0:
            _help(read, batches, tickets, deliver)
        os.close(deliver)
        started.append((pid, results))
    return started


def _help(read: Read[K, V], batches: Sequence[Sequence[K]], tickets: int, deliver: int) -> NoReturn:
    """Do what a helper does, and end: nothing of the daemon's own code may go on in it."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)  # the daemon's event loop listens at the other end
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # Without the names, which the daemon has: to pack and unpack is what helpers cost.
        found = {number: [*read(batches[number]).values()] for number in _take(tickets)}
        with os.fdopen(deliver, "wb") as stream:
            _Packer(stream, pickle.HIGHEST_PROTOCOL).dump(found)
        status = 0
    finally:
        os._exit(status)


class _Packer(pickle.Pickler):
    """Packs a dataclass as its fields alone: half the time of what Python does by itself."""

    def reducer_override(self, value: object) -> Any:
        """Return how to make the value again."""
        kind: Any = type(value)
        fields_of = _fields_of(kind)
        return NotImplemented if fields_of is None else (kind, fields_of(value))


@cache
def _fields_of(kind: Any) -> Callable[[object], tuple[Any, ...]] | None:
    """Return what reads the arguments that such a value is made of; None where it is not known."""
    if not is_dataclass(kind) or not kind.__dataclass_params__.init:  # type: ignore[union-attr]
        return None
    names = [one.name for one in fields(kind)]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _results_of(pid: int, results: int) -> dict[int, list[Any]]:
    """Return what a helper read; nothing if it did not come to its end."""
    with os.fdopen(results, "rb") as stream:
        content = stream.read()
    status = 1
    with suppress(ChildProcessError):  # somebody else waits for all children
        _, status = os.waitpid(pid, 0)
    if status != 0:
        return {}
    # It comes from our own code, through a pipe that nobody else has.
    found: dict[int, list[Any]] = pickle.loads(content)  # noqa: S301
    return found
