"""The network process as a fork of whoever starts it: its modules are the most of its start.

For daemons of tests that are about something else. It is told the same, takes the same limits and
has no file but those that it is given; only what is in its memory is more.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sslmd.net import child
from sslmd.net.client import COMMAND

_PR_SET_DUMPABLE = 4  # prctl(2); starting a program sets it


class _Loop(asyncio.SelectorEventLoop):
    """Forks where the network process would be started."""

    async def subprocess_exec(
        self, protocol_factory: Any, *args: Any, **kwargs: Any
    ) -> tuple[asyncio.SubprocessTransport, Any]:
        if args[: len(COMMAND)] == COMMAND:
            words = args[len(COMMAND) :]
            files = kwargs["pass_fds"]
            # It is called with everything as the program would find it, and never returns.
            kwargs["preexec_fn"] = partial(_live, words, files, kwargs["env"])
        return await super().subprocess_exec(protocol_factory, *args, **kwargs)


class ForkingPolicy(asyncio.DefaultEventLoopPolicy):
    """Has such loops made."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _Loop()


def prepare() -> None:
    """Make what would be made in each of them."""
    child.load()


def _live(words: Sequence[str], files: Sequence[int], env: Mapping[str, str]) -> None:
    status = 1
    try:
        _begin(files, env)
        child.main(list(words))
        status = 0
    except SystemExit as end:
        print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _begin(files: Sequence[int], env: Mapping[str, str]) -> None:
    """Be as a program that was just started."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as Python itself does when it starts
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    first = 3
    for file in sorted(files):
        os.closerange(first, file)
        first = file + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(env)
    faulthandler.disable()
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
