"""Stands between the daemon and `ssh` or `rsync`, counts what happens there, and kills the daemon.

    python -I -S between.py <folder> <real program> [argument ...]

It does what the real program does. Each thing that happens between the two is an event, noted in
the folder's `events`, a line each: a program starts or ends, a line was sent to a shell on
a server, an answer is about to be handed over. At the one with the number that is in
`when`, the daemon whose process id is in `pid` is killed with SIGKILL. What it had started goes on,
or is killed right after it if there is a file `die`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

_CALLED = b"; say end; }\n"
_ANSWERED = b" end\n"

# The first line, which changes nothing there, and what is answered to it.
_GREETING = b"say"


class Between:
    """One program that the daemon has started."""

    def __init__(self, folder: str, program: str, arguments: list[str]) -> None:
        self.folder = folder
        self.argv = [program, *arguments]
        self.name = os.path.basename(program)
        self._child: subprocess.Popen[bytes] | None = None
        self._called = False
        # Held until it is noted that a line was sent: its answer may be here before that.
        self._sending = threading.Lock()

    def event(self, name: str) -> None:
        """Note an event; kill the daemon if it is the one."""
        with open(f"{self.folder}/events", "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            number = len(file.readlines()) + 1
            file.write(f"{name}\n")
        with open(f"{self.folder}/when") as file:
            if number != int(file.read()):
                return
        with open(f"{self.folder}/pid") as file:
            os.kill(int(file.read()), signal.SIGKILL)
        if os.path.exists(f"{self.folder}/die"):
            if self._child:
                self._child.kill()
            os._exit(1)

    def main(self) -> None:
        """Be the program."""
        if "-G" in self.argv:
            os.execv(self.argv[0], self.argv)
        if self.argv[-1] == "exec /bin/sh -s":
            self.shell()
        elif self.name == "rsync":
            self.event("rsync starts")
            status = subprocess.run(self.argv, check=False).returncode
            self.event("rsync has ended")
            sys.exit(status)
        else:
            self.event("rsync logs in")
            os.execv(self.argv[0], self.argv)

    def shell(self) -> None:
        """Be the connection to a shell on a server."""
        self.event("ssh starts")
        self._child = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self.send, args=[self._child], daemon=True).start()
        assert self._child.stdout
        for line in self._child.stdout:
            if line.endswith(_ANSWERED):
                with self._sending:
                    if self._called:
                        self.event("answer comes")
            with suppress(OSError):  # there may be no daemon any more
                os.write(1, line)
        sys.exit(self._child.wait())

    def send(self, child: subprocess.Popen[bytes]) -> None:
        """Hand over what is written to the shell."""
        assert child.stdin
        with suppress(OSError):
            for line in sys.stdin.buffer:
                called = line.endswith(_CALLED) and line.split()[1] != _GREETING
                with self._sending:
                    child.stdin.write(line)
                    child.stdin.flush()
                    if called:
                        self.event(f"{line.split()[1].decode().strip(';')} was sent")
                    self._called |= called
        with suppress(OSError):
            child.stdin.close()


if __name__ == "__main__":
    Between(sys.argv[1], sys.argv[2], sys.argv[3:]).main()
