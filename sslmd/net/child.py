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
import traceback

from sslmd.net import acme_messages, dns_exchange, dns_messages, messages, sandbox
from sslmd.net.acme import Engine
from sslmd.net.link import Handlers, Operation, link_on
from sslmd.net.messages import PING, Alive

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_NAME = 15


def main(argv: list[str]) -> None:
    """Serve the daemon until it is gone."""
    number, parent, user = argv
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
    for operation in [one for module in (messages, acme_messages, dns_messages) for one in vars(module).values()]:
        if isinstance(operation, Operation):
            _ = operation.asked, operation.answered


async def _serve(end: socket.socket, limits: tuple[str, ...]) -> None:
    async def alive(_: Alive) -> Alive:
        return Alive(os.geteuid(), limits)

    async def sign(asked: acme_messages.AskSignature) -> acme_messages.Signature:
        return await link.call(acme_messages.SIGN, asked)

    async def public_key(key: str) -> str:
        return (await link.call(acme_messages.PUBLIC_KEY, acme_messages.OfKey(key))).jwk

    handlers: Handlers = {
        PING: alive,
        **Engine(sign, public_key).handlers(),
        **dns_exchange.handlers(),
    }
    link = await link_on(end, handlers, _bug)
    await link.run()


def _bug(err: BaseException) -> None:
    """Leave the trace on stderr, which the daemon reads; the question alone fails."""
    traceback.print_exception(err)


if __name__ == "__main__":
    main(sys.argv[1:])
