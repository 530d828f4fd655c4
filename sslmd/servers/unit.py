"""What the unit lets the daemon and its commands do, and the drop-in where a site needs more.

`PACKAGED` is systemd/sslmd.service, which a test compares. Where the unit is installed, it and its
drop-ins are read, so that what was pasted is not asked for again (systemd.exec(5)).
"""

from __future__ import annotations

import glob
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sslmd.config.model import Argv, Config
from sslmd.core.names import machine_of

NAME = "sslmd.service"
TOP = "/etc/ssl-mgr"

# Where systemd looks for units and drop-ins, the first counts (systemd.unit(5)).
_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)

# Those of which the unit has its own (PrivateTmp).
_PRIVATE = ("/tmp", "/var/tmp")  # noqa: S108 - nothing is written there

# The key of the folder of a web server.
_WEB = "server_dir"

# Bytes.
_MOST = 1 << 16

# What commands do that the unit does not allow, and what to write in their place.
_OUTSIDE = "systemd-run --quiet --wait --collect --pipe"
_DOES = {
    "postfix": f"changes its group and writes to /var/spool/postfix; write systemctl reload "
    f"postfix, or {_OUTSIDE} postfix reload",
    "nginx": "opens its log files; write systemctl reload nginx",
    "apachectl": "opens its log files; write systemctl reload apache2",
    "apache2ctl": "opens its log files; write systemctl reload apache2",
    "sudo": "changes its user; leave sudo out, because the daemon runs as root",
    "su": f"changes its user; write {_OUTSIDE} --uid=USER COMMAND",
    "runuser": f"changes its user; write {_OUTSIDE} --uid=USER COMMAND",
    "service": "starts servers as children of the daemon; write systemctl reload UNIT",
}
_SIGNALS = frozenset({"kill", "pkill", "killall"})
_HARMLESS = frozenset(
    {"systemctl", "systemd-run", "busctl", "ssh", "true", "false", "echo", "logger", "rndc"}
)


@dataclass(frozen=True, slots=True)
class Unit:
    """What the unit allows. `writable`: the folders it opens, None: all of the file system.

    `closed`: folders below those that are not. `top`: the top directory that its daemon reads,
    None where that is not told. `path`: the file, "" where none is installed.
    """

    writable: tuple[str, ...] | None = (TOP, "/run/sslmd")
    closed: tuple[str, ...] = (f"{TOP}/conf.d",)
    capabilities: frozenset[str] | None = frozenset(
        {"CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"}
    )
    private_tmp: bool = True
    root: bool = True
    top: str | None = TOP
    path: str = ""

    def opens(self, path: str) -> bool:
        """Whether the daemon may write below `path`."""
        if self.writable is None:
            return True
        real = Path(os.path.realpath(path))
        return _within(real, self.writable) and not _within(real, self.closed)

    @property
    def is_narrow(self) -> bool:
        """Whether it limits what commands do."""
        return self.writable is not None or self.capabilities is not None

    def may(self, capability: str) -> bool:
        """Whether root's right `capability` is left."""
        return not self.root or self.capabilities is None or capability in self.capabilities


PACKAGED = Unit()


def _within(path: Path, folders: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(os.path.realpath(one)) for one in folders)


@dataclass(slots=True)
class Limit:
    """One thing that the unit does not allow. `lines`: what to add to a drop-in for it."""

    text: str
    lines: tuple[str, ...] = ()


@dataclass(slots=True)
class _Settings:
    values: dict[str, list[str]] = field(default_factory=dict)

    def take(self, text: str) -> None:
        """Read a unit file: the last value counts, or all of them for lists; empty clears."""
        section = ""
        for line in text.replace("\\\n", " ").splitlines():
            line = line.strip()
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line[:1] not in ("", "#", ";") and "=" in line:
                key, _, value = line.partition("=")
                known = self.values.setdefault(key.strip(), [])
                if value.strip():
                    known.append(value.strip())
                else:
                    known.clear()

    def last(self, key: str) -> str:
        """Return the value of a setting."""
        return (self.values.get(key) or [""])[-1]

    def words(self, key: str) -> list[str]:
        """Return the words of a setting that is a list."""
        found: list[str] = []
        for value in self.values.get(key, []):
            with suppress(ValueError):  # a quote that is not closed: systemd ignores the line
                found += shlex.split(value)
        return found


def read_unit(root: str = "/") -> Unit:
    """Return what the installed unit allows, `PACKAGED` where none is; blocks, never raises."""
    paths = [f"{root}/{folder}/{NAME}" for folder in _FOLDERS]
    path = next((one for one in paths if os.path.isfile(one)), None)
    if path is None:
        return PACKAGED
    drop_ins: dict[str, str] = {}
    for folder in reversed(_FOLDERS):
        for one in glob.glob(f"{glob.escape(f'{root}/{folder}/{NAME}')}.d/*.conf"):
            drop_ins[os.path.basename(one)] = one
    settings = _Settings()
    for one in (path, *(drop_ins[name] for name in sorted(drop_ins))):
        with suppress(OSError), open(one, encoding="utf-8", errors="replace") as file:
            settings.take(file.read(_MOST))
    writable = [word.lstrip("-+") for word in settings.words("ReadWritePaths")]
    strict = settings.last("ProtectSystem") == "strict"
    bounding = settings.words("CapabilityBoundingSet")
    limited = "CapabilityBoundingSet" in settings.values and "~" not in "".join(bounding)
    return Unit(
        tuple(writable) if strict else None,
        tuple(word.lstrip("-+") for word in settings.words("ReadOnlyPaths")),
        frozenset(bounding) if limited else None,
        settings.last("PrivateTmp") in ("yes", "true", "1", "on", "disconnected"),
        settings.last("User") in ("", "root", "0"),
        _top_of(settings),
        path,
    )


def _top_of(settings: _Settings) -> str | None:
    if "--conf-dir" in settings.last("ExecStart"):
        return None
    for word in settings.words("Environment"):
        name, _, value = word.partition("=")
        if name == "SSL_MGR_TOPDIR":
            return value
    return TOP


# --- what a site needs ------------------------------------------------------------------


def written(config: Config, here: frozenset[str] = frozenset()) -> dict[Path, str]:
    """Return the folders that the daemon writes to, each with its key in the configuration.

    `here`: the hosts that are this machine: a web server's folder counts only there.
    """
    own = config.globals
    found = {own.certs_dir: "certs_dir", own.prod_cert_dir: "prod_cert_dir"}
    if own.logdir is not None:
        found.setdefault(own.logdir, "logdir")
    for folder in config.dns.acme_dirs:
        found.setdefault(folder, "acme_dir")
    for folder in config.dns.tlsa_dirs:
        found.setdefault(folder, "tlsa_dirs")
    for one in config.server_classes:
        if one.server_dir is not None and here.intersection(one.servers):
            found.setdefault(one.server_dir, f"{_WEB} of [{one.kind}]")
    return found


def commands(config: Config, here: frozenset[str]) -> dict[Argv, str]:
    """Return the commands that are run on this machine, each with its key."""
    found = dict.fromkeys(config.dns.restart, "[dns] restart_cmd")
    for server_class in config.server_classes:
        if here.intersection(server_class.servers):
            for argv in server_class.restart:
                found.setdefault(argv, f"[{server_class.kind}] restart_cmd")
    for post in config.globals.post_copy:
        found.setdefault(post.argv, f"post_copy_cmd of {machine_of(post.host)}")
    for one in config.notify:
        if one.command:
            found.setdefault(one.command, f"command of [[notify]] {one.name}")
    if config.globals.alive_command:
        found.setdefault(config.globals.alive_command, "alive_command")
    return found


def limits(config: Config, unit: Unit, here: frozenset[str]) -> Iterator[Limit]:
    """Yield what the unit does not allow that the configuration asks for. Blocks."""
    if unit.top is not None and os.path.realpath(unit.top) != os.path.realpath(config.top):
        yield Limit(
            f"the daemon of the unit reads {unit.top}/conf.d, not {config.conf_dir}",
            (f"Environment={quoted(f'SSL_MGR_TOPDIR={config.top}')}",),
        )
    yield from _of_folders(config, unit, here)
    scripts: dict[str, None] = {}
    for argv, key in commands(config, here).items():
        name, shown = os.path.basename(argv[0]), shlex.join(argv)
        if not unit.is_narrow:
            continue
        if problem := _DOES.get(name):
            yield Limit(f"{key}: {shown} {problem}")
        elif name in _SIGNALS and not unit.may("CAP_KILL"):
            yield Limit(
                f"{key}: {shown} signals processes of other users",
                ("CapabilityBoundingSet=CAP_KILL",),
            )
        elif name not in _SIGNALS | _HARMLESS and _is_script(argv[0], config):
            scripts[shown] = None
    if scripts:
        yield _of_scripts(list(scripts), unit)


def _of_folders(config: Config, unit: Unit, here: frozenset[str]) -> Iterator[Limit]:
    own_tmp, closed, foreign, others = [], [], [], []
    lines: dict[str, None] = {}
    for path, key in written(config, here).items():
        if unit.private_tmp and any(path.is_relative_to(one) for one in _PRIVATE):
            own_tmp.append(f"{key} {path}")
            continue
        if not unit.opens(str(path)):
            closed.append(f"{key} {path}{'' if path.is_dir() else ' (make it first)'}")
            # What lies in the top directory is opened with it, as the unit does for its own.
            in_top = path.is_relative_to(config.top) and not path.is_relative_to(config.conf_dir)
            lines[f"ReadWritePaths={quoted(config.top if in_top else path)}"] = None
            if in_top:
                lines[f"ReadOnlyPaths={quoted(config.conf_dir)}"] = None
        if key.startswith(_WEB) and (owner := _not_roots(path)):
            if not unit.may("CAP_SETUID"):  # it is written to as its owner (store/foreign)
                others.append(f"{key} {path} ({owner})")
        elif not unit.may("CAP_DAC_OVERRIDE") and (owner := _closed_to_root(path)):
            foreign.append(f"{key} {path} ({owner})")
    if own_tmp:
        yield Limit(
            "the unit has a /tmp of its own, so what lies there is not seen: "
            f"{', '.join(own_tmp)}; move it elsewhere"
        )
    if closed:
        yield Limit(f"read-only for the daemon: {', '.join(closed)}", tuple(lines))
    if foreign:
        yield Limit(
            "the unit leaves root without the right to write to folders that their owner keeps for "
            f"themselves: {', '.join(foreign)}",
            ("CapabilityBoundingSet=CAP_DAC_OVERRIDE",),
        )
    if others:
        yield Limit(
            "the unit leaves root without the right to act as the owner of a folder, as it does "
            f"where challenges are put into somebody else's: {', '.join(others)}",
            ("CapabilityBoundingSet=CAP_SETUID CAP_SETGID", "SystemCallFilter=@setuid"),
        )


def _not_roots(path: Path) -> str:
    """Return which folder on the way to this one, itself included, is not root's, "" for none."""
    for one in (*reversed(path.parents), path):
        with suppress(OSError):
            if uid := one.stat().st_uid:
                return f"{'' if one == path else f'{one} '}belongs to uid {uid}"
    return ""


def _closed_to_root(path: Path) -> str:
    """Return what keeps root without CAP_DAC_OVERRIDE from writing to a folder, "" if nothing."""
    for one, bits in ((path, 0o3), *((above, 0o1) for above in path.parents)):
        try:
            info = one.stat()
        except OSError:
            continue
        shift = 6 if info.st_uid == 0 else 3 if info.st_gid == 0 else 0
        if stat.S_IMODE(info.st_mode) >> shift & bits != bits:
            where = "" if one == path else f"{one} "
            return f"{where}belongs to uid {info.st_uid}, mode {stat.S_IMODE(info.st_mode):04o}"
    return ""


def _of_scripts(scripts: list[str], unit: Unit) -> Limit:
    folders = unit.writable or ()
    paths = " ".join(f"-p ReadWritePaths={shlex.quote(one)}" for one in folders)
    strict = f"-p ProtectSystem=strict {paths} " if unit.writable is not None else ""
    caps = " ".join(sorted(unit.capabilities or ()))
    return Limit(
        f"these are scripts: {', '.join(scripts)}. They run within the unit: they write only below "
        f"{', '.join(folders) or 'any folder'}, and have a /tmp of their own. To see whether one "
        f"works there: {_OUTSIDE} {strict}-p PrivateTmp=yes "
        f"-p CapabilityBoundingSet={shlex.quote(caps)} {scripts[0]}. If it does not, have it run "
        f"outside: {_OUTSIDE} {scripts[0]}"
    )


def _is_script(program: str, config: Config) -> bool:
    path = str(config.top / program) if "/" in program else shutil.which(program) or ""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(handle).st_mode) and os.read(handle, 2) == b"#!"
    finally:
        os.close(handle)


def quoted(value: object) -> str:
    """Return a value as a unit file takes it (systemd.syntax(7)): `%` is doubled."""
    text = str(value).replace("%", "%%")
    if any(one in text for one in " \t\"'\\"):
        inner = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{inner}"'
    return text


def drop_in(found: list[Limit]) -> list[str]:
    """Return the lines of the drop-in that allows it, none if nothing is needed."""
    lines = dict.fromkeys(line for one in found for line in one.lines)
    return ["[Service]", *lines] if lines else []
