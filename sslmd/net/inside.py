"""What the network process does, done in this one: for programs in a shell, and for tests.

Who asks does not know which (`net.link.Asker`). The daemon never asks here: its keys are in memory.
"""

from __future__ import annotations

from sslmd.net import dns_exchange
from sslmd.net.link import A, Operation, Q


class Inside:
    """Does what is asked at once."""

    def __init__(self) -> None:
        self._here = dns_exchange.handlers()

    async def call(self, operation: Operation[Q, A], asked: Q) -> A:
        """Have it done; raises `NetBug` for a fault."""
        question = operation.asked.validate_json(operation.asked.dump_json(asked))
        answer = await self._here[operation](question)
        return operation.answered.validate_json(operation.answered.dump_json(answer))
