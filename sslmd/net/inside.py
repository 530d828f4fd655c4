"""The operations of the network process, done in this one: for tools in a shell, and for tests.

What is read is read with the rights of whoever runs it. The daemon has a process for it (`client`).
"""

from __future__ import annotations

from typing import TypeVar

from sslmd.net.acme_messages import AskSignature, Signature
from sslmd.net.link import Handlers, Operation

Q = TypeVar("Q")
A = TypeVar("A")


class Inside:
    """Has every operation done here; it has no account, and so nothing is signed."""

    async def call(self, operation: Operation[Q, A], asked: Q) -> A:
        """Return the answer."""
        from sslmd.net.acme import Engine  # what it imports takes 0.2 s

        engine = Engine(_no_signature, _no_key)
        handlers: Handlers = {**engine.handlers()}
        try:
            answer: A = await handlers[operation](asked)
        finally:
            engine.close()
        return answer


async def _no_signature(_: AskSignature) -> Signature:
    return Signature()


async def _no_key(_: str) -> str:
    return ""
