"""Reading the files of the services, each by itself: so others can read some of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sslmd.config.cas import without_titles
from sslmd.config.cert_tables import SERVICE_TABLES, ServiceFile
from sslmd.config.files import Capitals, Missing, Reader, Tables, with_names
from sslmd.config.groups import GroupFiles, Groups
from sslmd.config.locate import KeyPath
from sslmd.config.model import ServiceConfig
from sslmd.config.report import Source, nearest
from sslmd.config.services import Builder
from sslmd.core.names import CertId, GroupName

K = TypeVar("K")
V = TypeVar("V")

# With `ALL`, a folder's other files (a README, notes) are told from services by their content.
_SERVICE_LIKE = re.compile(
    rb"^[ \t]*(?:(?:group|service|signing_ca)[ \t]*=|\[[ \t]*(?:X509|KeyOpts)[ \t]*\])",
    re.MULTILINE,
)


class Gather(Protocol):
    """Returns what `read` tells of each, in their order; it may have other processes help."""

    def __call__(self, read: Callable[[Sequence[K]], dict[K, V]], which: Sequence[K]) -> dict[K, V]:
        """Return it."""


def alone(read: Callable[[Sequence[K]], dict[K, V]], which: Sequence[K]) -> dict[K, V]:
    """Read them here, one after another."""
    return read(which)


@dataclass(frozen=True, slots=True)
class _ServiceRead:
    """A service file as it was read; `service` is None where it is none, or has mistakes.

    `source` has a report of its own. `digest`: of the content, None if it could not be read.
    """

    source: Source
    digest: str | None
    service: ServiceConfig | None


class Services:
    """Reads service files into `read`.

    `sources` keeps the files of the CAs, `files` those of all services.
    """

    def __init__(self, reader: Reader, builder: Builder, main: Source) -> None:
        self._reader = reader
        self._builder = builder
        self._main = main
        self.read: dict[CertId, ServiceConfig] = {}
        self.sources: dict[CertId, Source] = {}
        self.files: dict[CertId, Source] = {}

    def read_groups(self, groups: Mapping[str, GroupFiles], gather: Gather) -> None:
        """Read the services of active groups; what is wrong with them is noted."""
        places = {
            CertId(group, name): (os.path.join(one.folder, name), one.listed.get(name))
            for group, one in groups.items()
            for name in (*one.listed, *one.found)
        }

        def read(which: Sequence[CertId]) -> dict[CertId, _ServiceRead | None]:
            return {cert: self._file(cert, *places[cert]) for cert in which}

        for cert, one in gather(read, list(places)).items():
            path, place = places[cert]
            if one is not None:
                self._take(one)
            elif place is not None:
                self._note_missing(path, place)

    def read_unmanaged(self, name: str, group: GroupFiles, *, asleep: bool) -> None:
        """Read a CA that no active group lists; `asleep`: there is a group `ca`, not active."""
        cert, path = CertId(GroupName.CA, name), os.path.join(group.folder, name)
        one = self._file(cert, path, None, managed=False)
        if one is None:
            return
        self._take(one)
        if one.digest is not None:
            self._reader.source(path).warn(
                (),
                "no active group lists this CA: it signs with what it has and is not renewed",
                f"set active = true in [[groups]] for group ca in {self._main.path}"
                if asleep and not group.listed and not group.found
                else f"add {name!r} to the services of group ca in {self._main.path}",
            )

    def _file(
        self, cert: CertId, path: str, place: KeyPath | None, *, managed: bool = True
    ) -> _ServiceRead | None:
        """Read a file, perhaps in another process; None: it is listed, and not there.

        `place`: where `ssl-mgr.conf` lists it.
        """
        reader = self._reader.apart()
        read = reader.source(path)
        service = None
        try:
            content = reader.content(path)
        except Missing as err:
            if place is not None:
                return None
            # Removed this moment, or a link to nowhere.
            read.mistake((), err.problem, err.remedy)
            content = None
        if content is not None and managed and place is None and not _SERVICE_LIKE.search(content):
            read.warn((), "ALL leaves it out: it is no service file", "move it away")
        elif content is not None and (parsed := reader.parse(path, content)) is not None:
            read, service = parsed[0], self._build(cert, *parsed, managed=managed)
        return _ServiceRead(read, reader.digests.get(path), service)

    def _build(
        self, cert: CertId, source: Source, raw: Tables, *, managed: bool
    ) -> ServiceConfig | None:
        raw = with_names(source, raw, SERVICE_TABLES, Capitals.READ)
        if cert.group == GroupName.CA:
            raw = without_titles(raw, source)
        file = source.check((), raw, ServiceFile)
        if file is None:
            return None
        return self._builder.build(cert, raw, file, source, managed=managed)

    def _take(self, one: _ServiceRead) -> None:
        self._reader.take(one.source, one.digest)
        if one.service is None:
            return
        cert = one.service.id
        self.read[cert] = one.service
        self.files[cert] = one.source
        if cert.group == GroupName.CA:
            self.sources[cert] = one.source

    def _note_missing(self, path: str, place: KeyPath) -> None:
        there = Groups(self._reader, self._main).files(os.path.dirname(path))
        remedy = nearest(os.path.basename(path), there, "there are: ")
        if there and remedy.startswith("did you mean"):
            remedy += f" There are: {', '.join(there[:20])}"
        self._main.mistake(place, f"there is no file {path}", remedy)
