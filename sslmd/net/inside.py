"""What the network process does, done in this one: for programs in a shell, and for tests.

Who asks does not know which (`net.link.Asker`). The daemon never asks here: its keys are in memory.
"""

from __future__ import annotations

import traceback

from sslmd.net.child import handlers_of
from sslmd.net.link import A, Handlers, NetBug, Operation, Q


class Inside:
    """Does what is asked at once. `handlers` do what the network process asks of the daemon.

    Questions and answers go the way of the link: as JSON, checked where they arrive.
    """

    def __init__(self, handlers: Handlers | None = None) -> None:
        self._here = handlers_of(_Other(handlers or {}))

    async def call(self, operation: Operation[Q, A], asked: Q) -> A:
        """Have it done; raises `NetBug` for a fault, whose trace goes to stderr."""
        return await _Other(self._here).call(operation, asked)


class _Other:
    """The other end of a link that is none."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def call(self, operation: Operation[Q, A], asked: Q) -> A:
        question = operation.asked.validate_json(operation.asked.dump_json(asked))
        try:
            answer = await self._handlers[operation](question)
            return operation.answered.validate_json(operation.answered.dump_json(answer))
        except Exception as err:
            traceback.print_exception(err)
            raise NetBug(operation.name, type(err).__name__) from err
