"""Which commands are run on hosts, and when: for a plan of it, and for the doing."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sslmd.core.names import CertId, GroupName, machine_of

Argv = tuple[str, ...]

# The class of the name servers.
DNS = "dns"

# A word of the command that the zones, or the one zone, take the place of.
ZONES = "{zones}"
ZONE = "{zone}"


def with_zones(argv: Argv, zones: Iterable[str], *, pass_zones: bool) -> Argv:
    """Return the command of `[dns]` for one run that is for all these zones.

    docs/decisions/2026-11-29-one-run-for-all-zones.md.
    """
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


@dataclass(frozen=True, slots=True)
class HostCommands:
    """What the configuration has run on hosts, and for them.

    `restarts`: what restarts each server class, in the order of the file; `after_copy`: what is run
    here after a copy to a machine, which it gets as its last argument; `dns`: what makes the name
    servers load their files.
    """

    restarts: Mapping[str, tuple[Argv, ...]]
    after_copy: tuple[tuple[str, Argv], ...] = ()
    dns: tuple[Argv, ...] = ()
    pass_zones: bool = True

    def after_copy_to(self, host: str) -> tuple[Argv, ...]:
        """Return what is run here after a copy to a host."""
        machine = machine_of(host)
        return tuple((*argv, host) for one, argv in self.after_copy if machine_of(one) == machine)

    def restarting(self, kind: str, certs: Iterable[CertId]) -> tuple[Argv, ...]:
        """Return what restarts a class because these certificates are others now, in order."""
        if kind == DNS:
            return self.reloading({one.group for one in certs} - {GroupName.CA})
        return self.restarts.get(kind, ())

    def reloading(self, zones: Iterable[str]) -> tuple[Argv, ...]:
        """Return what makes the name servers load the files of these zones, in order."""
        named = sorted(zones)
        return tuple(
            words
            for argv in self.dns
            for words, _ in runs_for(argv, named, pass_zones=self.pass_zones)
        )


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A command that follows a roll. `kind`: the class that it restarts, "" after a copy."""

    host: str
    kind: str
    argv: Argv


def following_roll(
    commands: HostCommands,
    cert: CertId,
    servers: Collection[tuple[str, str]],
    copied: Container[str],
) -> Iterator[FollowUp]:
    """Yield the commands that follow a roll of a certificate, in their order on each host.

    `servers`: the (class, host) pairs that depend on it; `copied`: the hosts that it is copied to.
    """
    for host in sorted({host for _, host in servers}):
        if host in copied:
            yield from (FollowUp(host, "", argv) for argv in commands.after_copy_to(host))
        for kind in (*commands.restarts, DNS):
            if (kind, host) in servers:
                its = commands.restarting(kind, [cert])
                yield from (FollowUp(host, kind, argv) for argv in its)
