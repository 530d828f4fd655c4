"""Files that are there as a whole, or as they were before."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress

from sslmd.console.program import FAILED, CtlError

_GROUP_AND_OTHERS = 0o077


def write_whole(path: str, body: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replace a file at one instant; raises `CtlError`.

    `owner`: the user and group that it shall have. Where it cannot have them, `mode` gives nothing
    to another group and other users.
    """
    folder, scratch = os.path.dirname(os.path.abspath(path)), ""
    try:
        handle, scratch = tempfile.mkstemp(prefix=".sslmd-", suffix=".tmp", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            made = os.fstat(handle)
            if owner is not None and owner != (made.st_uid, made.st_gid):
                try:
                    os.fchown(handle, *owner)
                except PermissionError:
                    mode &= ~_GROUP_AND_OTHERS
            os.fchmod(handle, mode)
        os.replace(scratch, path)
    except OSError as err:
        if scratch:
            with suppress(OSError):
                os.unlink(scratch)
        raise CtlError(f"{path}: cannot be written: {err.strerror}", FAILED) from None
