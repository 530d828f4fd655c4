"""Which services are asked for: `[[groups]]` and the folders of the groups."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from sslmd.config.files import Missing, Unusable, folder_status, list_files, list_folders
from sslmd.config.locate import KeyPath
from sslmd.config.reader import Reader
from sslmd.config.report import Source, nearest
from sslmd.config.schema import Group
from sslmd.config.values import EVERY_SERVICE
from sslmd.core.names import BadName, GroupName, parse_service


@dataclass
class Wanted:
    """The services of one group, and the folder that their files are in.

    `listed` has the place of every service named in `ssl-mgr.conf`; `found` those that `ALL`
    stands for, some of which may turn out to be no service files.
    """

    folder: str
    listed: dict[str, KeyPath] = field(default_factory=dict)
    found: dict[str, None] = field(default_factory=dict)


class Groups:
    """Finds the services of the groups; `main` is `ssl-mgr.conf`."""

    def __init__(self, reader: Reader, main: Source) -> None:
        self._reader = reader
        self._notes = reader.notes
        self._main = main

    def active(self, tables: Iterable[tuple[int, Group]]) -> dict[str, Wanted]:
        """Return the services of the active groups, in the order of the file."""
        wanted: dict[str, Wanted] = {}
        seen: set[str] = set()
        for index, table in tables:
            key: KeyPath = ("groups", index)
            if not table.active:
                continue
            try:
                group = GroupName.parse(table.domain).text
            except BadName as err:
                self._notes.mistake(
                    self._main, (*key, "domain"), str(err), "write a domain or 'ca'"
                )
                continue
            if group in seen:
                problem = f"{group} has two tables; their services are taken together"
                self._notes.warn(self._main, (*key, "domain"), problem, "make one of them")
            seen.add(group)
            if group not in wanted:
                folder = self._folder(group, table.domain, (*key, "domain"))
                if folder is None:
                    continue
                wanted[group] = Wanted(folder)
            self._list(wanted[group], group, table, key)
        return wanted

    def _folder(self, group: str, written: str, key: KeyPath) -> str | None:
        """Return the folder of a group; international names may be in either form on disk."""
        folder = self._reader.path(group)
        if (
            not os.path.isdir(folder)
            and "/" not in written
            and os.path.isdir(self._reader.path(written))
        ):
            folder = self._reader.path(written)
        try:
            self._reader.check_risk(folder, folder_status(folder))
        except Missing:
            folders = list_folders(str(self._reader.conf_dir))
            remedy = nearest(group, folders, "there are: ")
            self._notes.mistake(self._main, key, f"there is no folder {folder}", remedy)
            return None
        except Unusable as err:
            self._notes.mistake(self._main, key, f"{folder}: {err.problem}", err.remedy)
            return None
        return folder

    def _list(self, wanted: Wanted, group: str, table: Group, key: KeyPath) -> None:
        if not table.services:
            problem = f"group {group} lists no services"
            remedy = "write services = ['ALL'], or active = false"
            self._notes.warn(self._main, (*key, "services"), problem, remedy)
        for index, name in enumerate(table.services):
            place = (*key, "services", index)
            if name in EVERY_SERVICE:
                wanted.found.update(dict.fromkeys(self.files(wanted.folder)))
                continue
            try:
                parse_service(name)
            except BadName as err:
                self._notes.mistake(
                    self._main, place, str(err), "write the name of a file in the group's folder"
                )
                continue
            if name in wanted.listed:
                self._notes.warn(self._main, place, f"{name} is listed twice", "remove one of them")
            wanted.listed.setdefault(name, place)

    def files(self, folder: str) -> list[str]:
        """Return the names in a group's folder that could be services."""
        try:
            names = list_files(folder)
        except Unusable as err:
            self._notes.mistake(Source(folder), (), err.problem, err.remedy)
            return []
        return [name for name in names if _is_service_name(name)]

    def every(self) -> dict[str, Wanted]:
        """Return every folder that could be a group, to check the files in it all the same."""
        wanted = {}
        for name in list_folders(str(self._reader.conf_dir)):
            if "." in name or name == GroupName.CA:
                try:
                    group = GroupName.parse(name).text
                except BadName:
                    continue
                folder = self._reader.path(name)
                wanted[group] = Wanted(folder, found=dict.fromkeys(self.files(folder)))
        return wanted


def _is_service_name(name: str) -> bool:
    try:
        parse_service(name)
    except BadName:
        return False
    return True
