"""Reading a whole configuration, with every mistake of every file at once.

The one entry is `load`. It goes on after a mistake as far as that makes sense, and raises at
the end; a configuration is taken as a whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from sslmd.config import build
from sslmd.config.cas import warn_of_long_lives, with_heights
from sslmd.config.files import (
    CA_FILE,
    MAIN_FILE,
    Capitals,
    Missing,
    Reader,
    Tables,
    Unusable,
    folder_status,
    locate_conf_dir,
    with_globals,
    with_names,
    written,
)
from sslmd.config.grants import check_together
from sslmd.config.groups import GroupFiles, Groups
from sslmd.config.locate import KeyPath
from sslmd.config.model import (
    CaInfo,
    Config,
    DhOptions,
    DnsOptions,
    DnsPrimary,
    GlobalOptions,
    ServerClass,
    ServerKind,
    ServiceConfig,
)
from sslmd.config.names import warn_of_mailboxes
from sslmd.config.notify import notifiers
from sslmd.config.notify_tables import NotifyOptions
from sslmd.config.renew import TABLE as RENEW_INFO
from sslmd.config.renew import Leads, leads_by_life
from sslmd.config.report import Source
from sslmd.config.server_tables import WEB_ALONE
from sslmd.config.service_files import Gather, Services, alone
from sslmd.config.services import Builder, CaTables
from sslmd.config.table import Table, made_of, table_of
from sslmd.config.tables import IN_GLOBALS, GroupTable, RenewInfo
from sslmd.core.errors import ConfigError, Mistake
from sslmd.core.names import CertId, GroupName

__all__ = ["load", "load_partly", "locate_conf_dir"]

AnyTable = TypeVar("AnyTable", bound=Table)

_CLASS_NAMES = tuple(map(str, ServerKind))
_TABLES = ("globals", RENEW_INFO, "groups", "dns_primary", "dns", "dh", "notify", *_CLASS_NAMES)


def load(
    conf_dir: Path, *, owners: Collection[int] | None = None, gather: Gather = alone
) -> Config:
    """Read the configuration in `conf_dir`; the top directory is its parent.

    `owners` are the users who may own its files: by default root and the user of this
    process. `gather` has service files read. Raises `ConfigError` with every mistake in every file.
    """
    config, mistakes = load_partly(conf_dir, owners=owners, gather=gather)
    if config is None or mistakes:
        raise ConfigError(mistakes, config.warnings if config is not None else ())
    return config


def load_partly(
    conf_dir: Path, *, owners: Collection[int] | None = None, gather: Gather = alone
) -> tuple[Config | None, tuple[Mistake, ...]]:
    """Return what can be used of a configuration, without the parts in which mistakes are.

    For looking at a site only: what is missing in it was perhaps only written wrongly. None where
    nothing can be used: there is no main file, or it cannot be read. `owners` and
    `gather` as in `load`.
    """
    conf_dir = Path(os.path.abspath(conf_dir))
    reader = Reader(conf_dir, {0, os.geteuid()} if owners is None else owners)
    try:
        reader.check_risk(str(conf_dir), folder_status(str(conf_dir)))
        return _Loader(reader, gather).run()
    except Unusable as err:
        return None, (Mistake(str(conf_dir), 0, "", err.problem, err.remedy),)


class _Loader:
    """One run of `load_partly`."""

    def __init__(self, reader: Reader, gather: Gather) -> None:
        self.reader = reader
        self.gather = gather
        self.report = reader.report
        self.top = str(reader.conf_dir.parent)
        self.main = reader.source(reader.path(MAIN_FILE))

    def run(self) -> tuple[Config | None, tuple[Mistake, ...]]:
        """Read everything; return it, and the mistakes."""
        found = self._main_file()
        data = found or {}
        options = self._globals(data)
        primaries = self._primaries(data)
        dns, classes = self._classes(data)
        build.check_commands(data, self.top, self.main)
        groups = Groups(self.reader, self.main)
        if found is None:
            wanted = groups.every()
        else:
            wanted = groups.active(list(self._array(data, "groups", GroupTable)))
            if not data.get("groups"):
                remedy = "add [[groups]] with domain and services"
                self.main.warn((), "there are no groups, and so nothing to do", remedy)
        cas, services, files = self._certificates(options, groups, wanted)
        config = Config(
            top=self.reader.conf_dir.parent,
            conf_dir=self.reader.conf_dir,
            globals=options,
            services=MappingProxyType(services),
            cas=MappingProxyType(dict(cas.infos)),
            server_classes=classes,
            dns=dns,
            dns_primaries=primaries,
            dh=self._dh(data, groups, wanted),
            notify=notifiers(
                self._array(data, "notify", table_of(NotifyOptions)),
                self.top,
                self.main,
                datetime.now(UTC),
            ),
            groups=frozenset(wanted),
            inactive=groups.inactive - wanted.keys(),
            files=MappingProxyType(self.reader.digests),
            written=written(data, cas.raw),
        )
        if not self.report.mistakes:  # half a configuration would bring wrong warnings
            check_together(config, files, self.main, datetime.now(UTC))
        whole = replace(config, warnings=_in_order(self.report.warnings))
        return (whole if found is not None else None), _in_order(self.report.mistakes)

    def _main_file(self) -> Tables | None:
        """Return the file's tables; None after a mistake, or where there is no file."""
        try:
            read = self.reader.toml(self.main.path)
        except Missing as err:
            remedy = "make a first one by `sslmd init`, or name another directory with --conf-dir"
            self.main.mistake((), err.problem, remedy)
            return None
        if read is None:
            return None
        self.main, data = read
        data = with_names(self.main, data, _TABLES, Capitals.OVERLOOKED)
        data = with_globals(self.main, data, "globals", IN_GLOBALS)
        for key in data:
            if key in table_of(GlobalOptions).without_effect:
                self.main.warn((key,), *table_of(GlobalOptions).without_effect[key])
            elif key not in _TABLES:
                self.main.unknown((key,), _TABLES, IN_GLOBALS)
        return data

    def _table(self, data: Tables, name: str, table: type[AnyTable]) -> AnyTable | None:
        return self.main.check((name,), data.get(name, {}), table)

    def _array(
        self, data: Tables, name: str, table: type[AnyTable]
    ) -> Iterator[tuple[int, AnyTable]]:
        """Yield the tables of `[[name]]` that are right, with their places."""
        tables = data.get(name, [])
        if not isinstance(tables, list):
            problem = f"[{name}] is one table, where any number may stand"
            self.main.mistake((name,), problem, f"write [[{name}]], twice bracketed")
            return
        for index, one in enumerate(tables):
            if checked := self.main.check((name, index), one, table):
                yield index, checked

    def _globals(self, data: Tables) -> GlobalOptions:
        tables = table_of(GlobalOptions)
        table = self._table(data, "globals", tables) or tables()
        info, written = data.get(RENEW_INFO), table.model_fields_set
        days, spread = table.renew_expire_days, table.renew_expire_days_spread
        leads = Leads(days, spread)
        if info is None:
            key: KeyPath = ("globals", "renew_expire_days_spread")
            build.check_spread(self.main, key, days, spread)
        elif isinstance(info, dict):
            leads = leads_by_life(
                self.main,
                info,
                days if "renew_expire_days" in written else None,
                spread if "renew_expire_days_spread" in written else None,
            )
        else:
            self.main.check((RENEW_INFO,), info, RenewInfo)
        return build.global_options(table, leads, self.top, self.main)

    def _primaries(self, data: Tables) -> tuple[DnsPrimary, ...]:
        primaries: dict[object, DnsPrimary] = {}
        for index, table in self._array(data, "dns_primary", table_of(DnsPrimary)):
            key: KeyPath = ("dns_primary", index)
            one = build.dns_primary(table, self.top, self.main, key)
            if one.domain in primaries:
                name = one.domain or "default"
                problem = f"{name} has two tables; this one has no effect"
                self.main.warn((*key, "domain"), problem, "remove one of them")
            primaries.setdefault(one.domain, one)
        return tuple(primaries.values())

    def _classes(self, data: Tables) -> tuple[DnsOptions, tuple[ServerClass, ...]]:
        table = self._table(data, "dns", table_of(DnsOptions))
        dns = made_of(DnsOptions, table, self.top) if table else DnsOptions()
        classes = []
        for name in data:  # in the order of the file: servers are restarted in that order
            if name in list(ServerKind):
                kind = ServerKind(name)
                without = () if kind is ServerKind.WEB else WEB_ALONE
                if table := self._table(data, name, table_of(ServerClass, without)):
                    one = build.server_class(kind, table, self.top, self.main)
                    classes.append(one)
        return dns, tuple(classes)

    def _dh(self, data: Tables, groups: Groups, wanted: dict[str, GroupFiles]) -> DhOptions:
        """Return `[dh]`; no table, no folders."""
        table = self._table(data, "dh", table_of(DhOptions)) if "dh" in data else None
        if table is None:
            return DhOptions(())
        named = groups.named_in(("dh", "groups"), table.groups, wanted)
        return made_of(DhOptions, table, self.top, groups=tuple(named))

    def _certificates(
        self, options: GlobalOptions, groups: Groups, wanted: dict[str, GroupFiles]
    ) -> tuple[CaTables, dict[CertId, ServiceConfig], dict[CertId, Source]]:
        """Return the CAs, the services, and their files."""
        ca_group = wanted.get(GroupName.CA) or GroupFiles(self.reader.path(GroupName.CA))
        ca_files = groups.files(ca_group.folder) if os.path.isdir(ca_group.folder) else []
        cas = self._ca_file(options.preferred_profile)
        builder = Builder(options, cas, frozenset(ca_files))
        services = Services(self.reader, builder, self.main)
        services.read_groups(wanted, self.gather)
        listed = {*ca_group.listed, *ca_group.found}
        for name in ca_files:
            if name not in listed and name in cas.own_names():
                services.read_unmanaged(name, ca_group, asleep=GroupName.CA in groups.inactive)
        if options.timing.by_life is not None:
            used = {str(one.spec.signer) for one in services.read.values()}
            for name in cas.infos.keys() & used:
                build.check_profile(cas.infos[name], cas.raw[name], cas.source)
        cas_read = {cert: services.read[cert] for cert in services.read if cert in services.sources}
        services.read.update(with_heights(cas_read, services.sources))
        warn_of_mailboxes((one.spec for one in services.read.values()), services.files)
        warn_of_long_lives(services.read, services.sources)
        return cas, services.read, services.files

    def _ca_file(self, profile: str) -> CaTables:
        source = self.reader.source(self.reader.path(CA_FILE))
        try:
            read = self.reader.toml(source.path)
        except Missing:
            # A mistake only if a service asks for a CA, which is told then.
            read = source, {}
        if read is None:
            return CaTables(source, {}, {}, None)
        source, raw = read
        infos: dict[str, CaInfo] = {}
        for name, data in raw.items():
            if table := source.check((name,), data, table_of(CaInfo)):
                infos[name] = build.ca_info(name, table, profile, self.top, source)
        return CaTables(source, raw, infos, frozenset(raw.keys() - infos.keys()))


def _in_order(notes: Iterable[Mistake]) -> tuple[Mistake, ...]:
    """Sort by line inside each file, the files as they were read; drop what is there twice."""
    unique = list(dict.fromkeys(notes))
    files = {name: number for number, name in enumerate(dict.fromkeys(n.file for n in unique))}
    return tuple(sorted(unique, key=lambda note: (files[note.file], note.line)))
