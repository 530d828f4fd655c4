"""The network process, `sslmd-net`: what it does from its start to its end.

    python -I -m sslmd.net.child LINK PARENT USER

LINK: the number of the inherited socket. PARENT: the process id of the daemon, with which it dies.
USER: the system user to become, "" to stay. It takes its limits before it reads a byte of others.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
import threading
import traceback

from sslmd.net import (
    acme_messages,
    beat,
    dns_exchange,
    dns_messages,
    messages,
    probe,
    probe_messages,
    sandbox,
)
from sslmd.net.acme import AcmeSteps
from sslmd.net.link import A, Asker, Handlers, Operation, Q, link_on
from sslmd.net.messages import PING, Alive, NetLimit

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_NAME = 15

# Bytes of a thread's stack, which count as memory of its own (`sandbox.MEMORY`) from the start.
_STACK = 1 << 20

# Of the trace of a fault: frames, and characters.
_FRAMES, _TRACE = -30, 6000


def main(argv: list[str]) -> None:
    """Serve the daemon until it is gone."""
    number, parent, user = argv
    os.umask(0o077)
    threading.stack_size(_STACK)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, b"sslmd-net", 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end = socket.socket(fileno=int(number))
    end.settimeout(0)
    os.set_inheritable(end.fileno(), False)  # noqa: FBT003  (as the library has it)
    _load()
    limits = sandbox.enter(user)
    # Changing the user has forgotten it, if it was said before.
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit("cannot be tied to the daemon")
    if os.getppid() != int(parent):
        sys.exit("the daemon is gone")
    asyncio.run(_serve(end, limits))


def _load() -> None:
    """Make all that is made at first use: later there is no file to make it of."""
    kinds = (messages, acme_messages, dns_messages, probe_messages)
    for operation in [one for module in kinds for one in vars(module).values()]:
        if isinstance(operation, Operation):
            _ = operation.asked, operation.answered


async def _serve(end: socket.socket, limits: tuple[NetLimit, ...]) -> None:
    async def alive(_: Alive) -> Alive:
        return Alive(os.geteuid(), limits)

    class FromDaemon:
        """What the daemon does for us."""

        async def call(self, operation: Operation[Q, A], asked: Q) -> A:
            return await link.call(operation, asked)

    link = await link_on(end, {PING: alive, **handlers_of(FromDaemon())}, _bug)
    await link.run()


def handlers_of(daemon: Asker) -> Handlers:
    """Return what can be asked here; `daemon` is asked to sign."""

    async def sign(asked: acme_messages.AskSignature) -> acme_messages.Signature:
        return await daemon.call(acme_messages.SIGN, asked)

    async def public_key(key: str) -> str:
        return (await daemon.call(acme_messages.PUBLIC_KEY, acme_messages.OfKey(key))).jwk

    return {
        **AcmeSteps(sign, public_key).handlers(),
        **dns_exchange.handlers(),
        **probe.handlers(),
        **beat.handlers(),
    }


def _bug(err: BaseException) -> None:
    """Leave the trace on stderr, which the daemon reads; the question alone fails.

    What others sent may stand in it at any length: the beginning says where it was.
    """
    text = "".join(traceback.format_exception(err, limit=_FRAMES))
    sys.stderr.write(f"{text[:_TRACE].rstrip()}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
