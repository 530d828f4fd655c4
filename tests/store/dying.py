"""Kills a process at every call that can change a file, one run for each call.

A scenario is a function of a top directory that reads it and returns what is to be done. A
child does it on a copy of the base, always in the same place, and kills itself with SIGKILL
right before the n-th call into the operating system, n = 1, 2, 3 … until it comes to its end. A
kill between two calls leaves just what one right before the second leaves, so every state there
can be is seen; those that look the same are seen once.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

_CHANGING = frozenset(
    {
        *("open", "write", "pwrite", "fsync", "truncate", "ftruncate", "utime"),
        *("rename", "replace", "symlink", "link", "unlink", "remove", "mkdir", "rmdir"),
        *("chmod", "fchmod", "chown"),
    }
)
_REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class Killed:
    """A copy of the base, as the kill before the call `at` left it."""

    top: Path
    step: int
    at: str


def killed_everywhere(scenario: str, base: Path, out: Path, *, least: int = 4) -> Iterator[Killed]:
    """Yield what each kill left of `base`; `scenario` is `module:function`.

    There are at `least` so many calls that could change a file.
    """
    command = [sys.executable, "-m", "tests.store.dying", scenario, str(base), str(out)]
    done = subprocess.run(command, cwd=_REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= least, f"only {lines} before it ended"
    for line in lines:
        step, at = line.split()
        yield Killed(out / step, int(step), at)


def _main(scenario: str, base: str, out: str) -> None:
    module, _, name = scenario.partition(":")
    top = Path(out) / "work"
    shutil.copytree(base, top, symlinks=True)
    act = getattr(importlib.import_module(module), name)(top)
    step, unchanged = 0, _look(top)
    before: Look = []
    while True:
        step += 1
        at = _one(act, step)
        if not at:
            return
        now = _look(top)
        if now != before:
            print(step, at, flush=True)
            top.rename(Path(out) / str(step))
        elif now != unchanged:
            shutil.rmtree(top)
        if not top.exists():
            shutil.copytree(base, top, symlinks=True)
        before = now


Look = list[tuple[str, int, int, str]]


def _look(top: Path) -> Look:
    """Return what a tree looks like; whatever is written changes names, modes or sizes."""
    look = []
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        name = re.sub(r"\.[0-9a-f]{24}\.new", ".new", str(path))
        target = os.readlink(path) if path.is_symlink() else ""
        size = 0 if path.is_dir() else info.st_size
        look.append((name.removeprefix(str(top)), info.st_mode, size, target))
    return look


def _one(act: Callable[[], Any], step: int) -> str:
    """Run it in a child; return the call before which it was killed, "" if it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _arm(step, writer)
            act()
            sys.setprofile(None)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    at = os.read(reader, 100).decode()
    os.close(reader)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return at
    if status != 0:
        raise SystemExit(f"step {step} failed")
    return ""


def _arm(step: int, writer: int) -> None:
    left = step

    def hook(_frame: FrameType, event: str, func: Any) -> None:
        nonlocal left
        if event != "c_call" or getattr(func, "__module__", "") != "posix":
            return
        if func.__name__ not in _CHANGING:
            return
        left -= 1
        if left == 0:
            os.write(writer, func.__name__.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(hook)


if __name__ == "__main__":
    _main(*sys.argv[1:])
