"""Files that people name on a command line: whatever they are, they are read safely."""

from __future__ import annotations

import os
import sys

from sslmd.core.errors import Permanent
from sslmd.pki.pem import MAX_BYTES

STDIN = "-"


def read(path: str) -> bytes:
    """Return the content of a file, or of stdin; raise `Permanent` for what is no such file.

    No more is read than a PEM file may have: the file may be a disk.
    """
    try:
        if path == STDIN:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            # Opening a FIFO that nobody writes to would wait for ever; who writes is waited for.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.set_blocking(handle, True)
            with open(handle, "rb") as file:
                content = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise Permanent(f"cannot be read: {err.strerror}") from None
    if len(content) > MAX_BYTES:
        raise Permanent(f"it has more than {MAX_BYTES} bytes: no key or certificate is that large")
    return content
