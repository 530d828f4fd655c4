"""A daemon that counts what it passes, from one signal to the next.

    python -m tests.shape.traced OUT python -m sslmd.daemon.main [option ...]

SIGUSR1 begins to count, SIGUSR2 writes what was passed since then to OUT, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from types import CodeType, FrameType
from typing import Any

import sslmd
from sslmd.daemon.main import main

_PACKAGE = os.path.dirname(sslmd.__file__) + "/"


class Passed:
    """Calls of the program's functions, by their code; and writes of `state.toml`."""

    def __init__(self, out: str) -> None:
        self._out = out
        self._calls: Counter[CodeType] = Counter()
        self._state_writes = 0
        self._counts = False

    def begin(self, *_: object) -> None:
        """Count from now on."""
        self._calls.clear()
        self._state_writes = 0
        self._counts = True

    def end(self, *_: object) -> None:
        """Write what was passed."""
        self._counts = False
        ours = {
            code: number
            for code, number in self._calls.items()
            if code.co_filename.startswith(_PACKAGE) and not code.co_name.startswith("<")
        }
        told = {
            "files": sorted({code.co_filename.removeprefix(_PACKAGE) for code in ours}),
            "functions": sorted(
                f"{code.co_filename.removeprefix(_PACKAGE)}:{code.co_qualname}" for code in ours
            ),
            "calls": sum(ours.values()),
            "decide": sum(
                number
                for code, number in ours.items()
                if code.co_name == "decide" and f"{_PACKAGE}core/" in code.co_filename
            ),
            "state_writes": self._state_writes,
        }
        with open(f"{self._out}.new", "w") as file:
            json.dump(told, file)
        os.replace(f"{self._out}.new", self._out)

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call (sys.setprofile)."""
        if self._counts and event == "call":
            self._calls[frame.f_code] += 1

    def audit(self, event: str, words: tuple[Any, ...]) -> None:
        """Note that a new `state.toml` takes the place of the old one (sys.addaudithook)."""
        if event == "os.rename" and self._counts and os.fsdecode(words[1]).endswith("state.toml"):
            self._state_writes += 1


if __name__ == "__main__":
    passed = Passed(sys.argv[1])
    signal.signal(signal.SIGUSR1, passed.begin)
    signal.signal(signal.SIGUSR2, passed.end)
    sys.addaudithook(passed.audit)
    threading.setprofile(passed.profile)
    sys.setprofile(passed.profile)
    del sys.argv[:5]
    sys.argv[0:0] = ["sslmd"]
    main()
