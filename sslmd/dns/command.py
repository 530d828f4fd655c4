"""The command of `[dns]` that makes the name servers take changed include files."""

from __future__ import annotations

from collections.abc import Iterable

from sslmd.config.model import Argv

ZONES = "{zones}"


def with_zones(argv: Argv, zones: Iterable[str], *, pass_zones: bool) -> Argv:
    """Return the command of `[dns]` for these zones (design, section 8)."""
    if ZONES in argv:
        at = argv.index(ZONES)
        return (*argv[:at], *zones, *argv[at + 1 :])
    named = tuple(zones)
    if not pass_zones or not named:
        return argv
    return (*argv, "--serial_bump", *named)
