"""http-01 challenges on the web servers (RFC 8555 §8.3): put there, fetched back, removed.

The CA is told to look only when every address of every name shows its challenge (I8). Where an
address cannot be reached from here (NAT, split DNS), the web servers are asked in its place.
What lies on web servers is noted on disk first, so that nothing stays there for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sslmd.acme.orders import Challenge
from sslmd.config.model import Config, ServerKind, ServiceConfig, Validation
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.failed import Failed, nobody_asked
from sslmd.core.names import BadName, CertId, DomainName, machine_of
from sslmd.core.reason import Reason
from sslmd.core.spec import AcmeCa
from sslmd.core.told import Doing
from sslmd.dns.answers import addresses_in
from sslmd.net.probe_messages import NotShown
from sslmd.processes import InThread
from sslmd.servers import http01
from sslmd.servers.http01_look import LOOKS, MOST_OF_NAME, fetch_back
from sslmd.servers.local import Locality
from sslmd.store.layout import http_note
from sslmd.store.notes import read_lines, write_lines
from sslmd.store.scratch import Scratch
from sslmd.workers.preflight import Preflight
from sslmd.workers.tools import Ordering, Site, Threads

# RFC 8555 §8.3: the CA asks there.
PORT = 80

# Seconds between looks: web servers may share their folders by slow means, such as NFS.
PAUSES = (0.5, 1, 2, 4, 8, 15, 30)

# Problems that one reason tells.
MOST_TOLD = 5

# Names that redirects of one order lead to, and that are looked up at a time. Who has a web server
# chooses them, and how long their name servers take: others have to find the resolver free.
LOOKUPS = 2


@dataclass(frozen=True, slots=True)
class WebServers:
    """The web servers, and the folder on them where challenges are put."""

    hosts: tuple[str, ...]
    folder: Path
    is_checked: bool
    threads: Threads
    scratch: Scratch
    locality: Locality

    @property
    def _means(self) -> tuple[InThread, Scratch, http01.IsHere]:
        return self.threads.aside, self.scratch, self.locality.is_local

    async def put(self, group: str, contents: Mapping[str, str]) -> None:
        """Put files on all of them; raises as `http01.put` does."""
        where = self.hosts, self.folder, group
        await http01.put(*where, contents, *self._means)

    async def remove(self, group: str, tokens: Iterable[str]) -> None:
        """Take files away from all of them; raises as `http01.put` does."""
        where = self.hosts, self.folder, group
        await http01.remove(*where, tokens, *self._means)


def web_servers(
    config: Config, site: Site, threads: Threads, locality: Locality
) -> WebServers | None:
    """Return the web servers of a configuration, None where it names none, or no folder."""
    web = next((one for one in config.server_classes if one.kind is ServerKind.WEB), None)
    if web is None or web.server_dir is None:
        return None
    return WebServers(web.servers, web.server_dir, web.http_check, threads, site.scratch, locality)


def http_services(config: Config) -> Iterator[ServiceConfig]:
    """Yield the services whose names are proven by http-01."""
    for service in config.services.values():
        signer = service.spec.signer
        if not service.managed or not isinstance(signer, AcmeCa):
            continue
        if config.cas[signer.name].validation is Validation.HTTP_01:
            yield service


class FileChallenges:
    """The challenges of one order on the web servers; `home` is certbot's folder."""

    def __init__(
        self, cert: CertId, config: Config, ordering: Ordering, home: str, checks: Preflight
    ) -> None:
        self._cert = cert
        self._ordering = ordering
        self._note = http_note(home)
        self._checks = checks
        self._web = web_servers(config, ordering.site, ordering.threads, Locality(ordering.net))
        self._tokens: tuple[str, ...] = ()
        self._turn = asyncio.Semaphore(LOOKS)
        self._lookups = asyncio.Semaphore(LOOKUPS)

    async def show(
        self, challenges: Sequence[Challenge], progress: Callable[[Reason], None]
    ) -> None:
        """Put them on every web server; return when the CA will see them.

        Raises `Permanent` or `Transient`, naming the host or address, and what it shows instead.
        """
        web = self._web
        if web is None or not web.hosts:
            raise Permanent(Reason(Failed.NO_WEB))
        contents = {one.token: one.value for one in challenges}
        await self._ordering.threads.in_thread(_note, self._note, add=contents)
        self._tokens = tuple(contents)
        progress(Reason(Doing.PUTS_CHALLENGES, hosts=tuple(web.hosts)))
        await web.put(self._cert.group, contents)
        if not web.is_checked:
            return
        for pause in (*PAUSES, None):
            found = await asyncio.gather(*(self._look(web, one) for one in challenges))
            problems = tuple(dict.fromkeys(one for some in found for one in some))
            if not problems:
                return
            if pause is None:
                untried = all(one.code is Failed.HTTP_UNTRIED for one in problems)
                code = Failed.HTTP_NOBODY_LOOKED if untried else Failed.HTTP_NOT_SHOWN
                raise Transient(Reason(code, problems=problems[:MOST_TOLD]))
            progress(Reason(Doing.NOT_SHOWN_YET, problems=problems[:MOST_TOLD]))
            await asyncio.sleep(pause)

    async def remove(self) -> None:
        """Take them away again; what cannot be, is tried again with the next order."""
        if self._tokens:
            await _remove(self._cert, self._web, self._tokens, self._note, self._ordering)

    async def remove_left_behind(self) -> None:
        """Take away what an earlier order could not."""
        tokens = await self._ordering.threads.in_thread(_read_note, self._note)
        if tokens:
            await _remove(self._cert, self._web, tokens, self._note, self._ordering)

    async def _look(self, web: WebServers, challenge: Challenge) -> list[Reason]:
        """Return what is wrong with one challenge, as the CA will see it."""
        name = challenge.name
        try:
            addresses = await self._checks.addresses(name)
        except Transient as err:
            if nobody_asked(err.reason):
                return [Reason(Failed.HTTP_UNTRIED, name=name, why=err.reason)]
            # Nobody here can look it up: that may be so only from here, as with NAT.
            return await self._look_at_servers(web, challenge, err.reason)
        if not addresses:
            return [Reason(Failed.HTTP_NO_ADDRESS, name=name)]
        missing = await self._not_shown(name, addresses[:MOST_OF_NAME], challenge)
        wrong = [one for one in missing if not (one.out_of_reach or one.untried)]
        if wrong or not missing:
            return [Reason(Failed.HTTP_WRONG, name=name, said=one.told) for one in wrong]
        if untried := _untried(name, missing):
            return [untried]
        return await self._look_at_servers(web, challenge, missing[0].told)

    async def _look_at_servers(
        self, web: WebServers, challenge: Challenge, unseen: Reason
    ) -> list[Reason]:
        """The name's own addresses may be translated: ask the web servers themselves."""
        problems, name = [], challenge.name
        for server in web.hosts:
            host = machine_of(server)
            addresses = (await self._ordering.resolver.addresses(host))[:MOST_OF_NAME]
            missing = await self._not_shown(name, addresses, challenge)
            # A host of several addresses may listen on one alone.
            if not addresses or len(missing) == len(addresses):
                why = missing[0].told if missing else None
                problems.append(
                    _untried(name, missing)
                    or Reason(Failed.HTTP_UNSEEN, name=name, unseen=unseen, host=host, why=why)
                )
        return problems

    async def _not_shown(
        self, name: str, addresses: Sequence[str], challenge: Challenge
    ) -> list[NotShown]:
        return await fetch_back(
            self._ordering.net,
            name,
            addresses,
            PORT,
            challenge.token,
            challenge.value,
            resolve=self._resolve,
            turn=self._turn,
        )

    async def _resolve(self, name: str) -> list[str]:
        """Return the addresses that DNS gives, as it does to a CA; none for what is no name.

        Without threads: those of the system are held for as long as a name server likes.
        """
        try:
            host = DomainName.parse(name).text
        except BadName:
            return []
        async with self._lookups:
            found = await asyncio.gather(
                self._ordering.resolver.lookup(host, "A"),
                self._ordering.resolver.lookup(host, "AAAA"),
            )
        return [address for one in found for address in addresses_in(one)]


def _untried(name: str, missing: Sequence[NotShown]) -> Reason | None:
    """Return that nobody could look at an address, which perhaps shows it; None: all were seen."""
    untried = (
        Reason(Failed.HTTP_UNTRIED, name=name, why=one.told) for one in missing if one.untried
    )
    return next(untried, None)


FilesLeft = tuple[CertId, str, tuple[str, ...]]


def left_behind(site: Site) -> list[FilesLeft]:
    """Return what earlier runs left on web servers; blocks. For the start, before any order."""
    notes = [
        (one.id, http_note(site.tree.certbot_dir(one.id))) for one in http_services(site.config)
    ]
    return [(cert, note, tokens) for cert, note in notes if (tokens := _read_note(note))]


async def remove_left_behind(found: Sequence[FilesLeft], ordering: Ordering) -> None:
    """Take away what `left_behind` found."""
    for cert, note, tokens in found:
        web = web_servers(
            ordering.site.config, ordering.site, ordering.threads, Locality(ordering.net)
        )
        await _remove(cert, web, tokens, note, ordering)


async def _remove(
    cert: CertId, web: WebServers | None, tokens: tuple[str, ...], note: str, ordering: Ordering
) -> None:
    """Remove challenges from the web servers, then their note; told if it cannot be done."""
    if web is None:
        return
    try:
        await web.remove(cert.group, tokens)
        await ordering.threads.in_thread(_note, note, drop=tokens)
    except SslmError as err:
        why = Reason(Failed.HTTP_LEFT, why=err.reason)
        ordering.telling.tell("order-trouble", why, cert)


# --- the note ----------------------------------------------------------------------------


def _note(path: str, *, add: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
    write_lines(path, {*_read_note(path), *add} - {*drop})


def _read_note(path: str) -> tuple[str, ...]:
    found = []
    with suppress(SslmError):
        for line in read_lines(path):
            with suppress(ValueError):  # what is no token names no file of ours
                http01.check("example.com", line)
                found.append(line)
    return tuple(found)
