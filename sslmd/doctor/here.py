"""What `sslmctl doctor` looks at on this machine: rights, unit, clock, commands, certbot."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sslmd.acme.certbot import find_certbot, find_hook
from sslmd.config.files import locate_conf_dir
from sslmd.config.grants import NAME_A_CLASS
from sslmd.config.model import Config
from sslmd.console.text import count
from sslmd.core.errors import Mistake, SslmError
from sslmd.core.words.doctor import Diagnosis
from sslmd.doctor.daemon import Running, changed, refusals
from sslmd.doctor.symptoms import (
    Checkup,
    Symptom,
    Symptoms,
    acme_ca,
    odd,
    output_of,
    unseen,
    well,
    which,
    wrong,
)
from sslmd.servers import folders
from sslmd.servers import unit as units
from sslmd.servers.local import hosts_here, is_local
from sslmd.store.sets import wide_keys

_SHOWN = 3

# What certbot reads beside its arguments. Debian's has only harmless lines in it.
CLI_INI = "/etc/letsencrypt/cli.ini"
_LEADING_AWAY = frozenset(
    {
        *("authenticator", "installer", "manual", "standalone", "webroot", "webroot-path"),
        *("nginx", "apache", "server", "domains", "csr", "preferred-challenges", "key-type"),
        *("pre-hook", "post-hook", "deploy-hook", "renew-hook", "no-verify-ssl"),
        *("staging", "test-cert", "dry-run", "config-dir", "work-dir", "logs-dir"),
    }
)


# Seconds that a file may be newer than now: file systems of other machines have their own clock.
_AHEAD = 120


async def look_at_configuration(
    running: Running, folder: Path, config: Config | None, mistakes: Sequence[Mistake]
) -> Symptoms:
    """What the configuration is warned about, and what would keep it from being loaded."""
    is_its = running.answers and running.reads(folder)
    faulty = False
    for mistake in mistakes:
        if _is_closed(running, mistake.file):
            yield unseen("configuration", Diagnosis.CONF_CLOSED, path=mistake.file)
        else:
            faulty = True
            yield wrong("configuration", str(mistake))
    if faulty:
        yield wrong("configuration", Diagnosis.CONF_FAULTY, ours=is_its, other=not is_its)
    if config is None:
        yield unseen("configuration", Diagnosis.CONF_NONE)
        return
    if mistakes:
        yield unseen("configuration", Diagnosis.CONF_PARTLY)
    for warning in config.warnings:
        # What is meant can be said of it: until then it is wrong, as `check` has it.
        yield (wrong if _is_unused(warning) else odd)("configuration", str(warning))
    if is_its and not mistakes:
        for refused in refusals(running, config):
            yield refused
        if finding := changed(running.files, config.files):
            yield finding
    if running.answers and not running.files:
        yield unseen("configuration", Diagnosis.CONF_NOT_SAID)
    if not config.warnings and not mistakes:
        services = count(sum(service.managed for service in config.services.values()), "service")
        yield well("configuration", Diagnosis.CONF_WELL, folder=config.conf_dir, services=services)


def _is_unused(warning: Mistake) -> bool:
    return warning.remedy == NAME_A_CLASS


def named_unused(config: Config | None) -> set[str]:
    """Return the certificates that no server uses, as the findings on the configuration say."""
    warnings = config.warnings if config is not None else ()
    return {"/".join(Path(one.file).parts[-2:]) for one in warnings if _is_unused(one)}


def _is_closed(running: Running, path: str) -> bool:
    """Whether a file is only closed to us: what the daemon may read, another user cannot say."""
    if os.geteuid() == 0 or (running.answers and os.geteuid() == running.uid):
        return False
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as err:
        return isinstance(err, PermissionError)
    return False


async def look_at_rights(case: Checkup, socket: str) -> Symptoms:
    """Whether nobody else has power over what the daemon uses, and keys are open to nobody."""
    config = case.config
    if stranger := case.stranger("rights"):
        yield stranger
        return
    found = await asyncio.to_thread(folders.look, config, socket)
    for one in found:
        yield (wrong if one.refused else odd)("rights", str(one))
    good = 0
    for folder in units.written(config):
        if not folder.exists():
            if folder in (*config.dns.acme_dirs, *config.dns.tlsa_dirs):
                yield wrong("rights", Diagnosis.NO_FOLDER, folder=folder)
        elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield unseen("rights", Diagnosis.CONF_CLOSED, path=folder)
        else:
            good += 1
    # In production, classes may ask for more.
    wide = await asyncio.to_thread(lambda: list(wide_keys(str(config.globals.certs_dir))))
    for path in wide[:_SHOWN]:
        yield wrong("rights", Diagnosis.WIDE_KEY, path=path)
    if len(wide) > _SHOWN:
        keys = count(len(wide) - _SHOWN, "other key")
        yield wrong("rights", Diagnosis.WIDE_KEYS_MORE, keys=keys)
    if good and not wide and not any(one.refused for one in found):
        yield well("rights", Diagnosis.RIGHTS_WELL, folders=count(good, "folder"))


async def look_at_unit(case: Checkup) -> Symptoms:
    """Whether the unit lets the daemon write where the configuration says."""
    config = case.config
    if not os.path.isdir("/run/systemd/system"):
        return
    names = "LoadState,ProtectSystem,ReadWritePaths,Environment,ExecStart"
    status, said = await output_of(["systemctl", "show", "-p", names, "sslmd.service"])
    shown = dict(line.partition("=")[::2] for line in said.splitlines())
    if status or shown.get("LoadState") != "loaded":
        yield odd("unit", Diagnosis.NO_UNIT)
        return
    read = _read_by_unit(shown)
    if read is not None and os.path.realpath(read) != os.path.realpath(config.conf_dir):
        facts = {"read": read, "folder": config.conf_dir, "top": config.top}
        yield wrong("unit", Diagnosis.UNIT_READS_OTHER, **facts)
    if shown.get("ProtectSystem") != "strict":
        return
    opened = [os.path.realpath(word.lstrip("-+")) for word in shown["ReadWritePaths"].split()]
    closed = [
        folder
        for folder in units.written(config, hosts_here(config))
        if not any(Path(os.path.realpath(folder)).is_relative_to(above) for above in opened)
    ]
    if closed:
        yield wrong("unit", Diagnosis.UNIT_CLOSES, paths=" ".join(map(units.quoted, closed)))
    else:
        yield well("unit", Diagnosis.UNIT_WELL)


async def look_at_user(case: Checkup, running: Running) -> Symptoms:
    """What is open to who breaks into the daemon: as root, nearly all."""
    if running.answers and os.path.isdir("/run/systemd/system"):
        yield user_found(case.uid, units.read_unit())


def user_found(uid: int, unit: units.Unit) -> Symptom:
    """Return what there is to say of a daemon of that user, in that unit."""
    if uid != 0:
        return well("user", Diagnosis.USER_WELL, uid=uid)
    writes = "any folder" if unit.writable is None else " ".join(sorted(unit.writable))
    return odd("user", Diagnosis.USER_ROOT, writes=writes)


def _read_by_unit(shown: Mapping[str, str]) -> str | None:
    """Return the configuration that the unit's daemon reads, None if that cannot be told."""
    if "--conf-dir" in shown.get("ExecStart", ""):
        return None
    for word in shown.get("Environment", "").split():
        name, _, value = word.partition("=")
        if name == "SSL_MGR_TOPDIR":
            return f"{value}/conf.d"
    return str(locate_conf_dir(None, {}))


async def look_at_clock(case: Checkup) -> Symptoms:
    """Whether the clock is kept right: certificates carry times."""
    config = case.config
    newest = await asyncio.to_thread(_newest, config)
    if newest - time.time() > _AHEAD:
        yield wrong("clock", Diagnosis.CLOCK_BEHIND, seconds=f"{newest - time.time():.0f}")
    status, said = await output_of(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    if status:
        yield unseen("clock", Diagnosis.CLOCK_UNKNOWN)
    elif said == "yes":
        yield well("clock", Diagnosis.CLOCK_WELL)
    else:
        yield odd("clock", Diagnosis.CLOCK_ALONE)


def _newest(config: Config) -> float:
    newest = 0.0
    for folder, _, files in os.walk(config.globals.certs_dir):
        if "state.toml" in files:
            with suppress(OSError):
                newest = max(newest, os.lstat(os.path.join(folder, "state.toml")).st_mtime)
    return newest


async def look_at_commands(case: Checkup) -> Symptoms:
    """Whether the programs that are run on this machine are there."""
    config = case.config
    commands = [("[dns] restart_cmd", argv) for argv in config.dns.restart]
    for one in config.server_classes:
        if any(map(is_local, one.servers)):
            commands += [(f"[{one.kind}] restart_cmd", argv) for argv in one.restart]
    commands += [("post_copy_cmd", post.argv) for post in config.globals.post_copy]
    missing = False
    for where, argv in dict.fromkeys(commands):
        program = argv[0] if "/" not in argv[0] else str(config.top / argv[0])
        if which(program) is None:
            missing = True
            yield wrong("commands", Diagnosis.NO_PROGRAM, where=where, program=argv[0])
    if commands and not missing:
        programs = count(len(set(commands)), "program")
        yield well("commands", Diagnosis.PROGRAMS_WELL, programs=programs)


async def look_at_certbot(case: Checkup) -> Symptoms:
    """Whether certbot can be run, if anything needs it."""
    config = case.config
    if not any(acme_ca(config, service) for service in config.services.values()):
        return
    try:
        certbot = find_certbot()
        find_hook(config.globals.auth_hook)
    except SslmError as err:
        yield wrong("certbot", str(err))
        return
    status, said = await output_of([certbot, "--version"])
    last = said.splitlines()[-1] if said else ""
    if status:
        yield wrong("certbot", Diagnosis.CERTBOT_FAILS, certbot=certbot, said=last)
    else:
        yield well("certbot", Diagnosis.CERTBOT_WELL, certbot=certbot, said=last)
    if named := _named_in_cli_ini():
        facts = {"file": CLI_INI, "words": ", ".join(named), "one": len(named) == 1}
        yield odd("certbot", Diagnosis.CERTBOT_LED_AWAY, **facts, several=len(named) > 1)


def _named_in_cli_ini() -> list[str]:
    """Return what that file says that could lead certbot away from what sslmd asks of it."""
    try:
        lines = Path(CLI_INI).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = (line.partition("=")[0].strip().lstrip("-") for line in lines)
    return [word for word in dict.fromkeys(words) if word in _LEADING_AWAY]
