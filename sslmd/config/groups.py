"""Which services are asked for: `[[groups]]` and the folders of the groups."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sslmd.config.files import (
    MAIN_FILE,
    Missing,
    Reader,
    Unusable,
    folder_status,
    list_files,
    list_folders,
)
from sslmd.config.locate import KeyPath
from sslmd.config.model import Config
from sslmd.config.report import Source, nearest
from sslmd.config.tables import GroupTable
from sslmd.config.values import EVERY_GROUP, EVERY_SERVICE
from sslmd.core.names import BadName, GroupName, parse_service, shown


@dataclass
class GroupFiles:
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
        self._main = main
        self.inactive: frozenset[str] = frozenset()
        self._seen: set[str] = set()

    def active(self, tables: Iterable[tuple[int, GroupTable]]) -> dict[str, GroupFiles]:
        """Return the services of the active groups, in the order of the file."""
        wanted: dict[str, GroupFiles] = {}
        for index, table in tables:
            key: KeyPath = ("groups", index)
            if "active" not in table.model_fields_set:
                self._main.warn(
                    key,
                    f"group {shown(table.domain)} does not say active = true, so it is left alone, "
                    "as ssl-mgr does",
                    "add active = true; or active = false, if that is meant",
                )
            try:
                group = GroupName.parse(table.domain).text
            except BadName as err:
                if not table.active:
                    continue
                self._main.mistake((*key, "domain"), str(err), "write a domain or 'ca'")
                continue
            if not table.active:
                self.inactive |= {group}
                continue
            if group in self._seen:
                problem = (
                    f"{group} has two tables; their services are taken together, where ssl-mgr "
                    "takes those of the last"
                )
                self._main.warn((*key, "domain"), problem, "make one of them")
            self._seen.add(group)
            if group not in wanted:
                folder = self._folder(group, table.domain, (*key, "domain"))
                if folder is None:
                    continue
                wanted[group] = GroupFiles(folder)
            self._list(wanted[group], group, table, key)
        return wanted

    def named_in(self, key: KeyPath, names: Iterable[str], active: Collection[str]) -> list[str]:
        """Return those of the `active` groups that a list of groups names, each once; never `ca`.

        What it names beside them is noted at `key`, the place of the list.
        """
        found: dict[str, None] = {}
        usual = [name for name in active if name != GroupName.CA]
        names = list(names)
        if not names:
            remedy = "write groups = ['ALL'], or remove the table"
            self._main.warn(key, "no group is named, so nothing is done", remedy)
        for index, name in enumerate(names):
            place = (*key, index)
            if name.lower() in EVERY_GROUP:
                found.update(dict.fromkeys(usual))
                continue
            try:
                group = GroupName.parse(name).text
            except BadName as err:
                self._main.mistake(place, str(err), "write a domain or 'ALL'")
                continue
            if group == GroupName.CA:
                problem = "no server uses the certificates of group ca"
                self._main.mistake(place, problem, "leave it out")
            elif group in usual:
                found[group] = None
            elif group in self.inactive - self._seen:
                problem = f"group {group} is not active, and so left alone"
                self._main.warn(place, problem, "leave it out, or make it active")
            elif group not in self._seen:  # one whose folder is missing was told already
                problem = f"there is no group {group}"
                self._main.mistake(place, problem, nearest(group, usual, "there are: "))
        return list(found)

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
            self._main.mistake(key, f"there is no folder {folder}", remedy)
            return None
        except Unusable as err:
            self._main.mistake(key, f"{folder}: {err.problem}", err.remedy)
            return None
        return folder

    def _list(self, wanted: GroupFiles, group: str, table: GroupTable, key: KeyPath) -> None:
        if not table.services:
            problem = f"group {group} lists no services"
            remedy = "write services = ['ALL'], or active = false"
            self._main.warn((*key, "services"), problem, remedy)
        for index, name in enumerate(table.services):
            place = (*key, "services", index)
            if name in EVERY_SERVICE:
                wanted.found.update(dict.fromkeys(self.files(wanted.folder)))
                continue
            try:
                parse_service(name)
            except BadName as err:
                self._main.mistake(
                    place, str(err), "write the name of a file in the group's folder"
                )
                continue
            if name in wanted.listed:
                self._main.warn(place, f"{name} is listed twice", "remove one of them")
            wanted.listed.setdefault(name, place)

    def files(self, folder: str) -> list[str]:
        """Return the names in a group's folder that could be services."""
        try:
            names = list_files(folder)
        except Unusable as err:
            self._reader.source(folder).mistake((), err.problem, err.remedy)
            return []
        return [name for name in names if _is_service_name(name)]

    def every(self) -> dict[str, GroupFiles]:
        """Return every folder that could be a group, to check the files in it all the same."""
        wanted = {}
        for name in list_folders(str(self._reader.conf_dir)):
            if "." in name or name == GroupName.CA:
                try:
                    group = GroupName.parse(name).text
                except BadName:
                    continue
                folder = self._reader.path(name)
                wanted[group] = GroupFiles(folder, found=dict.fromkeys(self.files(folder)))
        return wanted


def _is_service_name(name: str) -> bool:
    try:
        parse_service(name)
    except BadName:
        return False
    return True


def why_absent(config: Config, group: str, service: str) -> str:
    """Return why the configuration leaves a service out; "" if it has no such service at all.

    `service` "" means the group as a whole. Both are names in the form of `core.names`.
    """
    main = config.conf_dir / MAIN_FILE
    if group in config.inactive:
        if not service or os.path.isfile(config.conf_dir / group / service):
            return f"its group is not active: set active = true in [[groups]] of {main}"
        return ""
    if not service or not os.path.isfile(config.conf_dir / group / service):
        return ""
    if group in config.groups:
        return f"its file is there, but `services` of its group in {main} does not list it"
    return f"its file is there, but no [[groups]] of {main} names its group"
