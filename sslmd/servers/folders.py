"""Who else has power over the folders and files that a configuration names: a start's first look.

Where keys and the configuration are, nobody else may: whoever can change a command, a link or a key
has what the daemon has, which is root's as a rule. What is public may be shared; that is told. The
rule itself is in `core.safe_path`, and `store.paths` goes there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from sslmd.config.model import Argv, CaKind, Config
from sslmd.core.errors import ConfigError, Mistake, SslmError
from sslmd.core.names import machine_of
from sslmd.core.safe_path import Danger, Trust, danger, named_readers, readable
from sslmd.servers.key_rights import let_in
from sslmd.servers.local import is_own_name
from sslmd.store import owners
from sslmd.store.paths import dangers, entry_of, own_trust, secret_entry_of


class Kind(Enum):
    """What lies at a path. `SECRET` has to be for the daemon alone, `SHARED` for one more group."""

    OURS = auto()  # keys, configuration, what is run
    PRODUCTION = auto()  # the same, and a `key_group` may write there
    RUN = auto()  # a folder for sockets: others may have theirs beside them
    SECRET = auto()  # a file with a key
    SHARED = auto()  # one that the name server has as well
    PUBLIC = auto()
    PROGRAM = auto()  # of a command of the admin's; a group such as Debian's staff may be meant


# What is warned of, and not refused.
_TOLD = (Kind.PUBLIC, Kind.PROGRAM)


@dataclass(frozen=True, slots=True)
class FolderFinding:
    """Who else has power over what a `key` of the configuration names."""

    key: str
    danger: Danger
    refused: bool

    @property
    def as_mistake(self) -> Mistake:
        """It, as a mistake of the configuration is told."""
        return Mistake(self.danger.path, 0, self.key, self.danger.problem, self._remedy)

    @property
    def _remedy(self) -> str:
        return self.danger.remedy if self.refused else f"{self.danger.remedy}, unless that is meant"

    def __str__(self) -> str:
        return f"{self.key}: {self.danger.path} {self.danger.problem}; {self._remedy}"


def places(config: Config, socket: str = "") -> Iterator[tuple[str, Path, Kind]]:
    """Yield what a configuration names: the key, the path, and what lies there."""
    own = config.globals
    yield "conf.d", config.conf_dir, Kind.OURS
    for path in sorted({os.path.dirname(path) for path in config.files} - {str(config.conf_dir)}):
        yield "conf.d", Path(path), Kind.OURS
    yield "certs_dir", own.certs_dir, Kind.OURS
    yield "prod_cert_dir", own.prod_cert_dir, Kind.PRODUCTION
    for group in config.dh.groups:
        yield "[dh]", own.prod_cert_dir / group / "dh", Kind.PRODUCTION
    if socket:
        yield "--socket", Path(socket).parent, Kind.RUN
    if own.auth_hook is not None:
        yield "sslm_auth_hook", own.auth_hook, Kind.OURS
    for primary in config.dns_primaries:
        if primary.tsig is not None:
            yield "tsig_key_file", primary.tsig.file, Kind.SHARED
    for ca in config.cas.values():
        if ca.kind is not CaKind.ACME:
            continue
        if ca.server_root is not None:
            yield "ca_server_root", ca.server_root, Kind.OURS
        if ca.test_server_root is not None:
            yield "ca_test_server_root", ca.test_server_root, Kind.OURS
        if ca.eab_hmac_key_file is not None:
            yield "ca_eab_hmac_key_file", ca.eab_hmac_key_file, Kind.SECRET
    for notifier in config.notify:
        if notifier.to_file is not None:
            yield "to_file", notifier.to_file, Kind.SECRET
    if own.logdir is not None:
        yield "logdir", own.logdir, Kind.PUBLIC
    for folder in config.dns.acme_dirs:
        yield "acme_dir", folder, Kind.PUBLIC
    for folder in config.dns.tlsa_dirs:
        yield "tlsa_dirs", folder, Kind.PUBLIC
    for key, argv in _commands(config):
        # Without a slash, PATH says where it is: the system's own folders.
        if "/" in argv[0]:
            yield key, config.top / argv[0], Kind.PROGRAM


def _commands(config: Config) -> Iterator[tuple[str, Argv]]:
    """Yield what is run on this machine, as the configuration tells without asking DNS."""
    for argv in config.dns.restart:
        yield "[dns] restart_cmd", argv
    for one in config.globals.post_copy:
        yield "post_copy_cmd", one.argv
    for notifier in config.notify:
        if notifier.command:
            yield "[[notify]] command", notifier.command
    if config.globals.alive_command:
        yield "alive_command", config.globals.alive_command
    for server_class in config.server_classes:
        if any(is_own_name(machine_of(host)) for host in server_class.servers):
            for argv in server_class.restart:
                yield f"[{server_class.kind}] restart_cmd", argv


def look(config: Config, socket: str = "") -> list[FolderFinding]:
    """Return who else has power over what a configuration names; blocks, and changes nothing.

    Each danger once. `socket`: where the daemon listens.
    """
    found: dict[Danger, FolderFinding] = {}
    for finding in _look(config, socket):
        known = found.get(finding.danger)
        if known is None or (finding.refused and not known.refused):
            found[finding.danger] = finding
    return sorted(found.values(), key=lambda one: not one.refused)


def _look(config: Config, socket: str) -> Iterator[FolderFinding]:
    trust = own_trust()
    groups = let_in(config)
    for key, path, kind in dict.fromkeys(places(config, socket)):
        whom = trust.with_groups(groups) if kind is Kind.PRODUCTION else trust
        try:
            for one in dangers(str(path), whom, sticky=kind is Kind.RUN):
                yield FolderFinding(key, one, refused=kind not in _TOLD)
            if kind in (Kind.SECRET, Kind.SHARED):
                yield from _of_secret(key, str(path), kind, trust)
        except OSError as err:
            yield _unseen(key, str(path), err, refused=kind not in _TOLD)
    yield from _of_files(config.files, trust)


def _of_secret(key: str, path: str, kind: Kind, trust: Trust) -> Iterator[FolderFinding]:
    try:
        entry = secret_entry_of(os.path.realpath(path), os.stat(path))
    except FileNotFoundError:
        return  # told by who wants to read it
    if one := readable(entry, trust, by_group=kind is Kind.SHARED):
        yield FolderFinding(key, one, refused=True)
    elif one := readable(entry, trust, by_group=False):
        yield FolderFinding(key, one, refused=False)


def _of_files(paths: Collection[str], trust: Trust) -> Iterator[FolderFinding]:
    """Look at the files of the configuration; their folders have been looked at."""
    for path in paths:
        try:
            info = os.lstat(path)
            if stat.S_ISLNK(info.st_mode):
                for one in dangers(path, trust):
                    yield FolderFinding("conf.d", one, refused=True)
            elif found := danger(entry_of(path, info), trust):
                yield FolderFinding("conf.d", found, refused=True)
        except OSError as err:
            yield _unseen("conf.d", path, err, refused=True)


def _unseen(key: str, path: str, err: OSError, *, refused: bool) -> FolderFinding:
    problem = f"cannot be looked at: {err.strerror or err}"
    remedy = "let the daemon's user search the folders above it, or name another path"
    return FolderFinding(key, Danger(path, problem, remedy), refused)


def check(config: Config, socket: str) -> tuple[Mistake, ...]:
    """Return what may be meant, and to be warned of; blocks.

    Files with secrets that are ours are made private first. Raises `ConfigError` with what is
    refused.
    """
    closed = _close_secrets(config)
    found = look(config, socket)
    if refused := [one.as_mistake for one in found if one.refused]:
        raise ConfigError(refused, (*config.warnings, *closed))
    return (*closed, *(one.as_mistake for one in found))


def _close_secrets(config: Config) -> list[Mistake]:
    """Take files with secrets that are ours from others who may read them; return which."""
    closed = []
    trust = own_trust()
    for key, where, kind in dict.fromkeys(places(config)):
        if kind not in (Kind.SECRET, Kind.SHARED):
            continue
        path, by_group = str(where), kind is Kind.SHARED
        try:
            info = os.stat(path, follow_symlinks=False)
            entry = secret_entry_of(path, info)
            # What others can write may be theirs by now: that is refused.
            if entry.uid != trust.user or danger(entry, trust):
                continue
            if not readable(entry, trust, by_group=by_group):
                continue
            shared = info.st_gid not in trust.groups or named_readers(entry, trust)
            mode = owners.narrow(path, keep_group=by_group and bool(shared))
        except (OSError, SslmError):
            continue  # `look` finds it as it is
        problem = f"could be read by others; it is {mode:04o} now"
        closed.append(Mistake(path, 0, key, problem, "think of a new secret"))
    return closed
