"""Every certificate that the daemon knows: what is wanted of it and how it stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sslmd.config.hosts import places, proves
from sslmd.config.model import Config, ServiceConfig
from sslmd.core.dane.verdict import Dane, Unknown
from sslmd.core.errors import Refused
from sslmd.core.names import BadName, CertId, GroupName, parse_service, shown
from sslmd.core.reason import Reason, Why
from sslmd.core.renewal import Wanted
from sslmd.core.spec import OwnCa
from sslmd.core.standing import view_of, with_lost_ca
from sslmd.core.state import CertState
from sslmd.core.view import Decision, View
from sslmd.workers.dane import NOT_PUBLISHED, Finding
from sslmd.workers.tools import wanted_of

# Names in a message that says what there is.
_NAMED = 50


@dataclass(frozen=True, slots=True)
class DaneReport:
    """What the last comparison of DNS, ports and keys found, and when."""

    at: datetime
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> list[str]:
        """What clients that check DANE are turned away by."""
        return [f"{one.where} {one.text}" for one in self.findings if one.wrong]

    @property
    def warnings(self) -> list[str]:
        """What makes DANE useless, and turns nobody away."""
        return [f"{one.where}: {one.text}" for one in self.findings if one.warning]

    @property
    def unseen(self) -> list[str]:
        """What could not be looked at, so that nobody knows (I11)."""
        return [f"{one.where}: {one.text}" for one in self.findings if one.unseen]

    @property
    def missing(self) -> bool:
        """Whether something that is wanted is not published."""
        return any(one.where == NOT_PUBLISHED for one in self.findings)

    @property
    def fits(self) -> bool:
        """Whether everything was looked at, and is as it should be."""
        return not (self.wrong or self.unseen or self.missing)


@dataclass(slots=True)
class Entry:
    """One certificate. `document` is its part of the `status` answer, made when asked for.

    `proves`: ports with TLSA records are looked at after a roll; `report`: what was last found
    there and in DNS. `unsaved`: why its state.toml cannot be written, "" if it can. `progress`: how
    far the job is that runs, "" where it does not tell. `looks_at`: when what is held is looked at
    again. `bug`: it is held because of an error of our own. `used_by`: the classes with servers
    that use it; `unused`: there is none, and nobody said that this is meant.
    `astray`: its link leads to no set.
    """

    wanted: Wanted
    servers: frozenset[tuple[str, str]]
    state: CertState
    hold: str
    decision: Decision
    proves: bool = True
    document: bytes | None = None
    unsaved: str = ""
    progress: str = ""
    report: DaneReport | None = None
    looks_at: datetime | None = None
    bug: bool = False
    used_by: tuple[str, ...] = ()
    unused: bool = False
    astray: str = ""

    @property
    def unusable(self) -> str:
        """Why the set in use cannot be used, "" if it can, or where none was made yet."""
        curr = self.state.curr
        if curr is None:
            return self.astray
        if curr.complete:
            return ""
        return f"set {curr.name} cannot be used: {curr.problem or 'it has no certificate'}"


class UnknownCertError(Refused):
    """A request names a certificate that is not configured."""


class Registry:
    """The certificates, and who is signed by whom."""

    def __init__(self) -> None:
        self.entries: dict[CertId, Entry] = {}
        self._below: dict[CertId, list[CertId]] = {}
        self.dane_of: Callable[[CertId, Entry], tuple[Dane, str]] = lambda *_: (Unknown(), "")
        # Why the configuration leaves out a group, or a service of it ("": all of them).
        self.why_absent: Callable[[str, str], str] = lambda *_: ""

    def __contains__(self, cert: CertId) -> bool:
        return cert in self.entries

    def __getitem__(self, cert: CertId) -> Entry:
        return self.entries[cert]

    def __iter__(self) -> Iterator[CertId]:
        return iter(self.entries)

    def relate(self) -> None:
        """Find out anew who is signed by whom; to be called when entries came or went."""
        below: dict[CertId, list[CertId]] = defaultdict(list)
        for cert, entry in self.entries.items():
            signer = entry.wanted.spec.signer
            if isinstance(signer, OwnCa):
                below[signer.cert].append(cert)
        self._below = dict(below)

    def below(self, ca: CertId) -> list[CertId]:
        """Return what a CA signs."""
        return self._below.get(ca, [])

    def view(self, cert: CertId) -> View:
        """Return what the planner looks at."""
        entry = self.entries[cert]
        # Each time: a reload reads the tree again, and may have other certificates below a CA.
        entry.state = with_lost_ca(cert, self.entries, self.below)
        return view_of(entry, self.entries, *self.dane_of(cert, entry))

    def managed(self) -> list[CertId]:
        """Return the certificates that people asked for, in the order of the configuration."""
        return [cert for cert, entry in self.entries.items() if entry.wanted.managed]

    def select(self, names: Iterable[str] | None) -> list[CertId]:
        """Return the certificates that words such as `example.com:mail,web` name.

        None is all. Raises `UnknownCertError` for a word that names nothing, saying what there is.
        """
        if names is None:
            return self.managed()
        words = list(names)
        number = sum(1 + word.count(",") for word in words)
        # Each costs time, and who means all of them need not name one.
        if number > max(len(self.entries), 1):
            raise Refused(
                f"{number} names are more than the {len(self.entries)} certificates there are; "
                "name each once, or none for all"
            )
        groups: dict[str, dict[CertId, None]] = defaultdict(dict)
        for cert in self.managed():
            groups[cert.group][cert] = None
        found: dict[CertId, None] = {}
        whole: set[str] = set()
        for word in words:
            group, chosen = self._expand(word, groups)
            if chosen is None and group not in whole:
                whole.add(group)
                found.update(groups[group])
            found.update(dict.fromkeys(chosen or ()))
        return list(found)

    def _expand(
        self, word: str, groups: Mapping[str, Mapping[CertId, None]]
    ) -> tuple[str, list[CertId] | None]:
        """Return the group that a word names, and the certificates of it; None for all.

        `groups`: what there is in each group.
        """
        group_text, _, services = word.replace("/", ":", 1).partition(":")
        try:
            group = GroupName.parse(group_text).text
            wanted = [one.strip() for one in services.split(",") if one.strip()]
            every = not wanted or any(one in ("ALL", "*") for one in wanted)
            chosen = [] if every else [CertId(group, parse_service(one)) for one in wanted]
        except BadName as err:
            raise UnknownCertError(f"{shown(word)} is not group:service: {err}") from None
        there = groups.get(group, {})
        if every and there:
            return group, None
        for cert in chosen:
            if cert not in there:
                if why := self.why_absent(group, cert.service):
                    raise UnknownCertError(f"{cert.arg}: {why}")
                known = _some([one.service for one in there]) or "nothing"
                raise UnknownCertError(f"there is no {cert.arg}; {group} has {known}")
        if not chosen:
            if why := self.why_absent(group, ""):
                raise UnknownCertError(f"{group}: {why}")
            known = _some(sorted(groups)) or "none"
            raise UnknownCertError(f"there is no group {group}; there are {known}")
        return group, chosen


def _some(names: Sequence[str]) -> str:
    """Return names for a message: not thousands of them."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def entry_of(config: Config, service: ServiceConfig, state: CertState, hold: str) -> Entry:
    """Make an entry that is not decided on yet."""
    return Entry(
        wanted_of(service, config),
        places(config, service.id),
        state,
        hold,
        Decision(Reason(Why.NOT_PLANNED)),
        proves(config, service.id),
        used_by=tuple(map(str, config.kinds_using(service.id))),
        unused=config.is_unused(service.id),
    )
