"""What `sslmctl doctor` looks at in zones: whether they have the include files in them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

from sslmd.config.model import Config
from sslmd.core.errors import SslmError
from sslmd.core.names import ZoneName
from sslmd.core.words.doctor import Diagnosis
from sslmd.core.words.pattern import tell
from sslmd.dns.answers import tlsa_in
from sslmd.dns.include import TLSA_FILES
from sslmd.dns.nameservers import primary_server
from sslmd.dns.resolver import Resolver
from sslmd.doctor.dns import challenge_zones, dane_zones, zones
from sslmd.doctor.symptoms import Checkup, Symptom, Symptoms, output_of, unseen, well, wrong
from sslmd.store.files import read_file
from sslmd.store.layout import challenge_file, tlsa_file

_INCLUDE = re.compile(r'^[ \t]*\$INCLUDE[ \t]+"?([^\s";]+)', re.IGNORECASE | re.MULTILINE)
_FILES = re.compile(r"^files: (.*)$", re.MULTILINE)

# Zones at a time: rndc is run for each.
_AT_ONCE = 8


def look_at_includes(case: Checkup) -> Symptoms:
    """Whether the zones that are served have the include files in them."""
    config = case.config
    return case.watch.findings(
        "include",
        zones(config),
        lambda zone: _of_zone(config, zone, case.resolver),
        "zone",
        _AT_ONCE,
    )


async def _of_zone(config: Config, zone: ZoneName, resolver: Resolver) -> Symptoms:
    primary = config.primary_for(zone)
    if primary is not None and primary.update:
        return
    challenges, tlsa = [], []
    if zone in challenge_zones(config):
        challenges = [challenge_file(folder, zone) for folder in config.dns.acme_dirs]
    if zone in dane_zones(config):
        tlsa = [tlsa_file(folder, zone) for folder in config.dns.tlsa_dirs]
    wanted = [*challenges, *tlsa]
    missing = [path for path in wanted if not os.path.exists(path)]
    for path in missing:
        yield wrong("include", Diagnosis.INCLUDE_MISSING, path=path)
    if not wanted:
        return
    included, told = await _included(config, zone)
    if included is None and (shown := await _shown(config, zone, resolver)):
        yield shown
        wanted = challenges
    if included is None and wanted:
        lines = ", ".join(f'$INCLUDE "{path}"' for path in wanted)
        yield unseen("include", Diagnosis.INCLUDES_UNKNOWN, zone=zone, why=told, lines=lines)
    if included is None:
        return
    # A folder for each name server: one of them is enough here.
    lacking = [path for path in wanted if not _is_one_of(path, included)]
    for some in (challenges, tlsa):
        if any(path not in lacking for path in some):
            lacking = [path for path in lacking if path not in some]
    for path in lacking:
        yield wrong("include", Diagnosis.NOT_INCLUDED, zone=zone, path=path)
    if not lacking and not missing:
        yield well("include", Diagnosis.INCLUDES_WELL, zone=zone, told=told)


async def _shown(config: Config, zone: ZoneName, resolver: Resolver) -> Symptom | None:
    """Look for the TLSA records that were written at the zone's primary; None if there are none."""
    primary = config.primary_for(zone)
    if primary is None or not config.dns.tlsa_dirs:
        return None
    path = tlsa_file(config.dns.tlsa_dirs[0], zone)
    owner, given = next(iter((TLSA_FILES.read(path) or {}).items()), (None, None))
    server = await primary_server(zone, primary, resolver)
    if given is None or not given.records or server is None:
        return None
    answer = await resolver.asker.ask(server, str(owner), "TLSA")
    shown, _ = tlsa_in(answer, str(owner))
    if given.records <= shown:
        return well("include", Diagnosis.TLSA_SHOWN, zone=zone, server=server)
    facts = {"zone": zone, "server": server, "owner": owner, "path": path}
    return wrong("include", Diagnosis.TLSA_NOT_SHOWN, **facts)


def _is_one_of(path: str, included: Sequence[str]) -> bool:
    """Whether a file is included; a relative path starts where the name server says."""
    real = os.path.realpath(path)
    return any(
        os.path.realpath(one) == real if one.startswith("/") else path.endswith(f"/{one}")
        for one in included
    )


async def _included(config: Config, zone: ZoneName) -> tuple[list[str] | None, str]:
    """Return the files that make up a zone, and who says so; None, and why nobody does."""
    options = dict(_options(config))
    try:
        rndc = shlex.split(options.get("--rndc", "rndc")) or ["rndc"]
    except ValueError as err:
        return None, tell(Diagnosis.NO_RNDC, why=err)
    status, said = await output_of([*rndc, "zonestatus", str(zone)])
    if status == 0 and (found := _FILES.search(said)):
        return [one.strip() for one in found[1].split(",")], "rndc zonestatus"
    pattern = options.get("--zone-file")
    if pattern is None:
        return None, Diagnosis.NO_FILES
    path = pattern.replace("{zone}", str(zone))
    try:
        return _includes_of(path), path
    except (SslmError, OSError) as err:
        why = getattr(err, "strerror", "") or err
        return None, tell(Diagnosis.ZONE_FILE_CLOSED, path=path, why=why)


def _includes_of(path: str) -> list[str]:
    """Return what a zone file includes, and what that includes in turn.

    Raises `SslmError` or `OSError` if the file itself cannot be read. Where a relative path
    starts is known to the name server alone: such files are named, and not looked into.
    """
    found = _INCLUDE.findall(read_file(path).decode("latin-1"))
    for one in found:  # it grows
        if one.startswith("/") and one != path:
            with suppress(SslmError, OSError):
                inner = _INCLUDE.findall(read_file(one).decode("latin-1"))
                found += [name for name in inner if name not in found]
    return found


def _options(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what `restart_cmd` hands over to bind-reload."""
    for argv in config.dns.restart:
        for word, value in pairwise(argv):
            if word in ("--rndc", "--zone-file"):
                yield word, value
            elif "=" in word and word.partition("=")[0] in ("--rndc", "--zone-file"):
                yield word.partition("=")[0], word.partition("=")[2]
