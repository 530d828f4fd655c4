"""The command of `[dns]` that makes the name servers take changed include files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sslmd.config.model import Argv, Config

# A word of the command that the zones, or the one zone, take the place of.
ZONES = "{zones}"
ZONE = "{zone}"


def with_zones(argv: Argv, zones: Iterable[str], *, pass_zones: bool) -> Argv:
    """Return the command of `[dns]` for one run that is for all these zones (design, section 8)."""
    named = tuple(zones)
    if ZONES in argv:
        at = argv.index(ZONES)
        return (*argv[:at], *named, *argv[at + 1 :])
    if ZONE in argv and len(named) == 1:
        return tuple(named[0] if word == ZONE else word for word in argv)
    if not pass_zones or not named:
        return argv
    return (*argv, "--serial_bump", *named)


def is_per_zone(argv: Argv, *, pass_zones: bool) -> bool:
    """Whether a command has a run for each zone.

    That is one with a word `{zone}`, which the zone takes the place of, or with a word that has it
    somewhere, such as the `--zone-file` of bind-reload, which is a pattern of its own.
    """
    if ZONES in argv:
        return False
    return ZONE in argv or (pass_zones and any(ZONE in word for word in argv))


def runs_for(
    argv: Argv, zones: Sequence[str], *, pass_zones: bool
) -> list[tuple[Argv, tuple[str, ...]]]:
    """Return the runs of a command for these zones: each with the zones that it is for."""
    if is_per_zone(argv, pass_zones=pass_zones):
        return [(with_zones(argv, [zone], pass_zones=pass_zones), (zone,)) for zone in zones]
    return [(with_zones(argv, zones, pass_zones=pass_zones), tuple(zones))]


def commands_for(config: Config, zones: Sequence[str]) -> tuple[Argv, ...]:
    """Return what is run for these zones, in order."""
    dns = config.dns
    return tuple(
        words
        for argv in dns.restart
        for words, _ in runs_for(argv, zones, pass_zones=dns.pass_zones)
    )
