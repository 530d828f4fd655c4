"""Reading `[[notify]]`: what its keys say together, and the files with addresses."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic_core import PydanticCustomError

from sslmd.config.files import Missing, Unusable, read_file, risk_of
from sslmd.config.kinds import NotifyAddress
from sslmd.config.locate import KeyPath
from sslmd.config.notify_address import holds_secret, notify_address
from sslmd.config.notify_tables import NotifyOptions
from sslmd.config.report import Source
from sslmd.config.table import made_of
from sslmd.core.notices import LONGEST_QUIET
from sslmd.core.plain import span
from sslmd.core.windows import longest_open

__all__ = ["AddressFileError", "NotifyAddress", "NotifyOptions", "notifiers", "read_addresses"]

# Addresses of one table: each message is a process for each of them.
MOST_ADDRESSES = 20

_WAYS = ("to", "to_file", "command")


class AddressFileError(Exception):
    """A file of addresses that cannot be used: what is wrong, and the way out.

    `line` counts from 1, 0 stands for the whole file. Neither text has anything of an address.
    """

    def __init__(self, problem: str, remedy: str, line: int = 0) -> None:
        super().__init__(problem)
        self.problem = f"line {line}: {problem}" if line else problem
        self.remedy = remedy


def notifiers(
    tables: Iterable[tuple[int, Any]], top: str, source: Source, now: datetime
) -> tuple[NotifyOptions, ...]:
    """Return the tables that can be used; note what is wrong with the others.

    `now` tells for which years the rules of time zones are looked at.
    """
    found: dict[str, NotifyOptions] = {}
    for index, table in tables:
        key: KeyPath = ("notify", index)
        one = made_of(NotifyOptions, table, top)
        if one.name.lower() in found:
            problem = f"there are two tables of the name {one.name}"
            source.mistake((*key, "name"), problem, "give each its own name")
            continue
        found[one.name.lower()] = one
        _check_ways(key, table, source)
        if len(one.to) > MOST_ADDRESSES:
            problem = f"it has {len(one.to)} addresses, and {MOST_ADDRESSES} at most are used"
            source.mistake((*key, "to"), problem, "write several tables")
        if longest_open(one.quiet, now) > LONGEST_QUIET:
            problem = f"together these hours last longer than {span(LONGEST_QUIET)} without a break"
            remedy = "leave some hours free, or write level = 'critical' to hear of nothing else"
            source.mistake((*key, "quiet"), problem, remedy)
        if one.to_file is not None:
            _check_file(str(one.to_file), (*key, "to_file"), source)
        if any(map(holds_secret, one.to)) and _is_open(source.path):
            source.warn(
                (*key, "to"),
                "others may read this file, and an address has a password or a token in it",
                "write the address into a file of mode 0600, and name that as to_file",
            )
    return tuple(found.values())


def _check_ways(key: KeyPath, table: Any, source: Source) -> None:
    named = [way for way in _WAYS if getattr(table, way)]
    if not named:
        there = [way for way in _WAYS if way in table.model_fields_set]
        problem = f"{there[0]} is empty" if there else "nobody is named to tell"
        source.mistake((*key, *there[:1]), problem, "add to = 'mailto:root', to_file or command")
    elif len(named) > 1:
        problem = f"{' and '.join(named)} stand in one table"
        source.mistake((*key, named[1]), problem, "write one of them; make two tables of it")


def _check_file(path: str, key: KeyPath, source: Source) -> None:
    try:
        if not read_addresses(path):
            source.mistake(key, f"{path} has no address", "write one on a line")
    except PermissionError:
        # Who looks at a configuration may be another user than the daemon.
        source.warn(
            key,
            f"{path} cannot be read by the user of this process (uid {os.geteuid()})",
            "see that the daemon's user is its owner",
        )
    except AddressFileError as err:
        source.mistake(key, f"{path}: {err.problem}", err.remedy)


def read_addresses(path: str) -> tuple[NotifyAddress, ...]:
    """Return the addresses in a file, each once; blocks.

    Raises `AddressFileError`, and `PermissionError` where it is not for this process. Who else may
    read it is a matter of `servers.folders`.
    """
    try:
        content, status = read_file(path)
    except Missing as err:
        raise AddressFileError(err.problem, err.remedy) from None
    except Unusable as err:
        if not os.access(path, os.R_OK):
            raise PermissionError(path) from None
        raise AddressFileError(err.problem, err.remedy) from None
    if risk := risk_of(path, status, frozenset({0, os.geteuid()})):
        raise AddressFileError(risk.problem, risk.remedy)
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise AddressFileError("it is not UTF-8", "save it as UTF-8 text") from None
    found: dict[NotifyAddress, None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found[notify_address(line)] = None
        except PydanticCustomError as err:
            context = err.context or {}
            raise AddressFileError(
                str(context["problem"]), str(context["remedy"]), number
            ) from None
    if len(found) > MOST_ADDRESSES:
        raise AddressFileError(
            f"it has {len(found)} addresses, and {MOST_ADDRESSES} at most are used",
            "make several files, and a table for each",
        )
    return tuple(found)


def _is_open(path: str) -> bool:
    """Whether others than root and the user of this process may read a file."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    group = status.st_mode & stat.S_IRGRP and status.st_gid not in (0, os.getegid())
    return bool(status.st_mode & stat.S_IROTH or group)
