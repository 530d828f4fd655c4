"""Running things as somebody who has no rights."""

from __future__ import annotations

import os
from pathlib import Path

NOBODY = 65534


def let_in(folder: Path) -> None:
    """Let others come to a scratch folder: those above it are for us alone."""
    for one in (folder, *folder.parents):
        if one.stat().st_uid == os.getuid() and one.stat().st_mode & 0o077 == 0:
            one.chmod(0o755)
