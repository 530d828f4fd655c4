"""Which of the limits of `launch` a program met: what it died of, or said last.

The kernel ends who uses too much of the processor; who wants more memory, files or processes than
it may have gets an error, and ends by it (setrlimit(2)).
"""

from __future__ import annotations

import re
import signal

from sslmd.acme.launch import CPU_TIME, FILE_SIZE, MEMORY, OPEN_FILES, PROCESSES

_BY_SIGNAL: dict[int, str] = {
    signal.SIGXCPU: f"used more than {CPU_TIME} s of processor time",
    signal.SIGXFSZ: f"wrote more than {FILE_SIZE >> 20} MiB into a file",
}
# As Python says it, with the numbers of errno(3): at the beginning of a line, where no CA's words
# stand.
_SAID = (
    (
        # The last is what `logging` says that has no room for a message.
        r"MemoryError\b|(?:\S+: )?\[Errno 12\] |(?:\S+: )?\[SSL\] malloc failure"
        r"|Unable to print the message and arguments",
        f"needed more than {MEMORY >> 20} MiB of memory",
    ),
    (r"(?:\S+: )?\[Errno 27\] ", _BY_SIGNAL[signal.SIGXFSZ]),
    (r"(?:\S+: )?\[Errno 24\] ", f"opened more than {OPEN_FILES} files"),
    (
        r"(?:\S+: )?\[Errno 11\] |(?:\S+: )?can't start new thread",
        f"started a process when its user had {PROCESSES}",
    ),
)
_PATTERNS = tuple((re.compile(rf"^(?:{said})", re.MULTILINE), what) for said, what in _SAID)


def limit_met(status: int, words: str) -> str:
    """Return what a program did to meet its limit, "" if it met none.

    `status`: its exit status, negative for a signal; `words`: the end of what it said.
    """
    if what := _BY_SIGNAL.get(-status):
        return what
    return next((what for pattern, what in _PATTERNS if pattern.search(words)), "")
