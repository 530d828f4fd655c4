"""Finding and reading the files of `conf.d`: what cannot be read is noted, with its line.

A configuration names commands that the daemon runs, often as root: files and folders that
somebody else could write are refused, as OpenSSH and sudo do. Tables may be in other places and
other spellings than ours, as ssl-mgr's files have them.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from collections.abc import Collection, Mapping
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType

import tomli

from sslmd.config.report import Report, Source
from sslmd.core.reason import Reason
from sslmd.core.told import Reported

MAIN_FILE = "ssl-mgr.conf"
CA_FILE = "ca-info.conf"
SIZE_LIMIT = 1 << 20  # bytes; the longest sensible file, with 10,000 groups, has about 700 kB

# What editors, packagers and version control leave beside the files they change.
_LEFT_OVER = re.compile(
    r"[.#].*|.*~|.*#|.*\.(bak|old|orig|rej|save|sw[a-p]|tmp|rpm(new|save|orig)"
    r"|(dpkg|ucf)-[a-z-]+)",
    re.DOTALL,
)


class Unusable(Exception):
    """A file or folder that cannot be used: `problem`, and the way out (`remedy`)."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class Missing(Unusable):
    """There is no such file or folder."""


def locate_conf_dir(arg: str | None, environ: Mapping[str, str]) -> Path:
    """Return the configuration directory, absolute; links in it are not resolved.

    `arg` (`--conf-dir`) counts first, then `$SSL_MGR_TOPDIR/conf.d`, then
    `/etc/ssl-mgr/conf.d`. The working directory is never looked into, though a relative
    `arg` starts there.
    """
    if arg:
        return Path(os.path.abspath(arg))
    if top := environ.get("SSL_MGR_TOPDIR"):
        return Path(os.path.abspath(os.path.join(top, "conf.d")))
    return Path("/etc/ssl-mgr/conf.d")


def is_left_over(name: str) -> bool:
    """Whether a file's name is that of a copy left by an editor or a package manager."""
    return _LEFT_OVER.fullmatch(name) is not None


def read_file(path: str) -> tuple[bytes, os.stat_result]:
    """Return the content and status of a regular file, links followed.

    Raises `Missing`, or `Unusable` for a folder, a device, a file too large or unreadable.
    """
    try:
        # Without O_NONBLOCK, a FIFO in place of the file would hang us for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as err:
        raise _unusable(err) from None
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise Unusable("it is a directory", "put a file in its place")
        if not stat.S_ISREG(status.st_mode):
            raise Unusable("it is not a regular file", "put a file in its place")
        if status.st_size > SIZE_LIMIT:
            raise Unusable(
                f"it has {status.st_size} bytes", f"a file here has at most {SIZE_LIMIT} bytes"
            )
        return os.read(handle, status.st_size), status
    except OSError as err:
        raise _unusable(err) from None
    finally:
        os.close(handle)


def list_files(folder: str) -> list[str]:
    """Return the sorted names of the files in `folder`, left-overs and sub-folders left out.

    Raises `Missing` or `Unusable`.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not is_left_over(e.name) and not e.is_dir())
    except OSError as err:
        raise _unusable(err) from None


def list_folders(folder: str) -> list[str]:
    """Return the sorted names of the folders in `folder`; raise `Missing` or `Unusable`."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as err:
        raise _unusable(err) from None


def folder_status(folder: str) -> os.stat_result:
    """Return the status of a folder; raise `Missing`, or `Unusable` if it is none."""
    try:
        status = os.stat(folder)
    except (OSError, ValueError) as err:
        raise _unusable(err) from None
    if not stat.S_ISDIR(status.st_mode):
        raise Unusable("it is not a directory", "put a directory in its place")
    return status


def risk_of(path: str, status: os.stat_result, owners: frozenset[int]) -> Unusable | None:
    """Say what is unsafe about the owner and mode of a file or folder, None if nothing is.

    Its ACL and the folders above are looked at when all is read, see `servers.folders`.
    """
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    if status.st_uid not in owners:
        return Unusable(
            f"it belongs to user {status.st_uid}, who so has power over the daemon",
            f"chown root {path}",
        )
    if status.st_mode & stat.S_IWOTH:
        return Unusable(
            f"everybody may write it ({mode}), and so has power over the daemon",
            f"chmod o-w {path}",
        )
    # The daemon's own group is nobody else, as a rule.
    if status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid()):
        return Unusable(
            f"group {status.st_gid} may write it ({mode}), and so has power over the daemon",
            f"chmod g-w {path}",
        )
    return None


def _unusable(err: OSError | ValueError) -> Unusable:
    if isinstance(err, FileNotFoundError):
        return Missing("there is no such file or directory", "create it, or correct its name")
    if isinstance(err, PermissionError):
        return Unusable(
            f"it cannot be read: {err.strerror}",
            f"it must be readable for the user of the daemon (uid {os.geteuid()}), and the "
            "folders above it searchable",
        )
    text = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
    return Unusable(f"it cannot be read: {text}", "see to it that it can")


# --- reading --------------------------------------------------------------------------------


Tables = dict[str, object]

# What the files say, key by key, so that a reload can tell what changed in them: hashes of values,
# to be compared. A command or an address may hold a password.
Keys = Mapping[str, str]
Written = Mapping[str, Keys]


class Reader:
    """Reads the files of one configuration directory and collects `notes` about them.

    `owners` are the users who may own files and folders. `digests`: SHA-256 of every file that was
    read, by its path, so that it can be told whether a file is another one by now.
    """

    def __init__(self, conf_dir: Path, owners: Collection[int]) -> None:
        self.conf_dir = conf_dir
        self.report = Report()
        self.digests: dict[str, str] = {}
        self._owners = frozenset(owners)

    def apart(self) -> Reader:
        """Return another one, that notes what it finds for itself."""
        return Reader(self.conf_dir, self._owners)

    def take(self, source: Source, digest: str | None) -> None:
        """Note what another one has found in a file, and what is said of it later."""
        self.report.mistakes.extend(source.report.mistakes)
        self.report.warnings.extend(source.report.warnings)
        source.report = self.report
        if digest is not None:
            self.digests[source.path] = digest

    def path(self, *names: str) -> str:
        """Return the path of a file below the configuration directory."""
        return os.path.join(self.conf_dir, *names)

    def source(self, path: str) -> Source:
        """Return a file to say something of."""
        return Source(path, self.report)

    def check_risk(self, path: str, status: os.stat_result) -> None:
        """Note it if others may write a file or folder: that is a mistake."""
        if risk := risk_of(path, status, self._owners):
            self.source(path).mistake((), risk.problem, risk.remedy)

    def content(self, path: str) -> bytes | None:
        """Return a file's bytes; None after a mistake (noted). Raises `Missing`."""
        try:
            content, status = read_file(path)
        except Unusable as err:
            if isinstance(err, Missing):
                raise
            self.source(path).mistake((), err.problem, err.remedy)
            return None
        self.check_risk(path, status)
        self.digests[path] = hashlib.sha256(content).hexdigest()
        return content

    def parse(self, path: str, content: bytes) -> tuple[Source, Tables] | None:
        """Parse a file's bytes; None after a mistake (noted)."""
        source = self.source(path)
        try:
            source.text = content.removeprefix(codecs.BOM_UTF8).decode()
            return source, tomli.loads(source.text)
        except UnicodeDecodeError as err:
            source.mistake_at(
                content.count(b"\n", 0, err.start) + 1,
                f"byte 0x{content[err.start]:02x} is not UTF-8",
                "save the file as UTF-8 text",
            )
        except tomli.TOMLDecodeError as err:
            # A text without its closing quote is found out at the start of the next line.
            unclosed = err.colno == 1 and err.msg.startswith("Expected")
            source.mistake_at(
                max(err.lineno - unclosed, 1),
                f"this is not TOML: {err.msg} (column {err.colno})",
                "correct what stands here or before it",
            )
        except (ValueError, RecursionError):
            # Numbers of thousands of digits, thousands of brackets.
            source.mistake_at(0, "a value in it is beyond all measure", "make it shorter")
        return None

    def toml(self, path: str) -> tuple[Source, Tables] | None:
        """Read and parse a file; None after a mistake (noted). Raises `Missing`."""
        content = self.content(path)
        return None if content is None else self.parse(path, content)


# Their keys say by themselves whose table of the array it is.
_ARRAYS = {"groups": "domain", "dns_primary": "domain", "notify": "name"}


def written(main: Mapping[str, object], cas: Mapping[str, object]) -> Written:
    """Return the tables of `ssl-mgr.conf` and `ca-info.conf` by name, each as hashes by key."""
    tables: dict[str, Keys] = {}
    for name, value in main.items():
        if name in _ARRAYS:
            for one in value if isinstance(value, list) else []:
                which = one.get(_ARRAYS[name]) if isinstance(one, dict) else ""
                tables[f"[[{name}]] {which} of {MAIN_FILE}"] = _keys(one)
        else:
            tables[f"[{name}] of {MAIN_FILE}"] = _keys(value)
    tables.update({f"[{name}] of {CA_FILE}": _keys(value) for name, value in cas.items()})
    return MappingProxyType(tables)


def differences(old: Written, new: Written) -> tuple[Reason, ...]:
    """Return which tables changed, each with which of its keys."""
    found = []
    for name in dict.fromkeys((*new, *old)):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            how = Reported.TABLE_NEW if before is None else Reported.TABLE_GONE
            found.append(Reason(how, table=name))
        elif before != after:
            keys = dict.fromkeys((*after, *before))
            other = tuple(key for key in keys if before.get(key) != after.get(key))
            found.append(Reason(Reported.TABLE_KEYS, table=name, keys=other))
    if [name for name in old if name in new] != [name for name in new if name in old]:
        found.append(Reason(Reported.TABLES_ORDER, file=MAIN_FILE))
    return tuple(found)


def _keys(table: object) -> Keys:
    if not isinstance(table, dict):
        return {}
    return {
        str(key): hashlib.sha256(repr(value).encode(errors="replace")).hexdigest()
        for key, value in table.items()
    }


class Capitals(Enum):
    """What ssl-mgr makes of a table whose name is written with other capitals."""

    READ = auto()
    OVERLOOKED = auto()


def _is_table(value: object) -> bool:
    # An array of tables counts as one.
    parts = value if isinstance(value, list) else [value]
    return bool(parts) and all(isinstance(one, dict) for one in parts)


def with_names(source: Source, data: Tables, names: Collection[str], case: Capitals) -> Tables:
    """Return a file's content with its tables named as in `names`, whatever their capitals were.

    Two tables of one name are a mistake. Where ssl-mgr overlooks such a table, that is said: it
    may be a surprise that it counts now.
    """
    if all(key in names or not _is_table(value) for key, value in data.items()):
        return data
    known = {name.lower(): name for name in names}
    found: Tables = {}
    for key, value in data.items():
        name = known.get(key.lower(), key) if _is_table(value) else key
        if name == key:
            found[key] = value
            continue
        there = name if name in data else source.written.get((name,), ("",))[0]
        if there:
            source.mistake(
                (key,),
                f"[{there}] and [{key}] are two names of one table",
                f"put everything below one [{name}]",
            )
            continue
        found[name] = value
        source.written[name,] = (key,)
        if case is Capitals.OVERLOOKED:
            source.warn(
                (name,),
                f"ssl-mgr does not read [{key}]; here it counts as [{name}]",
                f"write [{name}], or remove it if it should not count",
            )
    return found


def with_globals(source: Source, data: Tables, table: str, keys: Collection[str]) -> Tables:
    """Return a file's content with `keys` that stand above its first table put into `table`.

    ssl-mgr reads them there as well; what `table` says itself counts more.
    """
    loose = [key for key in data if key in keys]
    inner = data.get(table, {})
    if not loose or not isinstance(inner, dict):
        return data
    merged = dict(inner)
    for key in loose:
        if key in inner:
            problem, remedy = f"it has no effect: [{table}] has it as well", "remove it here"
        else:
            merged[key] = data[key]
            source.written[table, key] = (key,)
            problem = f"it stands outside of every table and is taken for one of [{table}]"
            remedy = f"move it below [{table}]"
        source.warn((key,), problem, remedy)
    kept = {key: value for key, value in data.items() if key not in loose}
    return {table: merged} | kept | {table: merged}
