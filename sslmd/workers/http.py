"""http-01 challenges on the web servers (RFC 8555 §8.3): put there, fetched back, removed.

The CA is told to look only when every address of every name shows its challenge (I8). Where an
address cannot be reached from here (NAT, split DNS), the web servers are asked in its place.
What lies on web servers is noted on disk first, so that nothing stays there for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sslmd.acme.orders import Challenge
from sslmd.config.model import Config, ServerClass, ServerKind, Validation
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.names import BadName, CertId, DomainName, machine_of
from sslmd.core.spec import AcmeCa
from sslmd.servers import http01
from sslmd.servers.http01_look import LOOKS, MOST_OF_NAME, NotShown, fetch_back
from sslmd.store.layout import http_note
from sslmd.store.notes import read_lines, write_lines
from sslmd.workers.preflight import Preflight
from sslmd.workers.tools import Ordering, Site

# RFC 8555 §8.3: the CA asks there.
PORT = 80

# Seconds between looks: web servers may share their folders by slow means, such as NFS.
PAUSES = (0.5, 1, 2, 4, 8, 15, 30)

# Names that redirects of one order lead to, and that are looked up at a time. Who has a web server
# chooses them, and how long their name servers take: others have to find the resolver free.
LOOKUPS = 2


class FileChallenges:
    """The challenges of one order on the web servers; `home` is certbot's folder."""

    def __init__(
        self, cert: CertId, config: Config, ordering: Ordering, home: str, checks: Preflight
    ) -> None:
        self._cert = cert
        self._ordering = ordering
        self._note = http_note(home)
        self._checks = checks
        self._web = _web_of(config)
        self._tokens: tuple[str, ...] = ()
        self._turn = asyncio.Semaphore(LOOKS)
        self._lookups = asyncio.Semaphore(LOOKUPS)

    async def show(self, challenges: Sequence[Challenge], progress: Callable[[str], None]) -> None:
        """Put them on every web server; return when the CA will see them.

        Raises `Permanent` or `Transient`, naming the host or address, and what it shows instead.
        """
        web = self._web
        if web is None or web.server_dir is None or not web.servers:
            raise Permanent(
                "http-01 challenges cannot be put anywhere; write servers and server_dir in [web], "
                "or take a CA with ca_validation = 'dns-01'"
            )
        contents = {one.token: one.value for one in challenges}
        await self._ordering.threads.in_thread(_write_note, self._note, tuple(contents))
        self._tokens = tuple(contents)
        progress(f"puts challenges on {', '.join(web.servers)}")
        await http01.put(
            web.servers,
            web.server_dir,
            self._cert.group,
            contents,
            self._ordering.threads.aside,
            self._ordering.site.scratch,
        )
        if web.http_check:
            await self._fetch_back(web, challenges, progress)

    async def remove(self) -> None:
        """Take them away again; what cannot be, is tried again with the next order."""
        if self._tokens:
            await _remove(self._cert, self._web, self._tokens, self._note, self._ordering)

    async def remove_left_behind(self) -> None:
        """Take away what an earlier order could not."""
        tokens = await self._ordering.threads.in_thread(_read_note, self._note)
        if tokens:
            await _remove(self._cert, self._web, tokens, self._note, self._ordering)

    async def _fetch_back(
        self,
        web: ServerClass,
        challenges: Sequence[Challenge],
        progress: Callable[[str], None],
    ) -> None:
        for pause in (*PAUSES, None):
            found = await asyncio.gather(*(self._look(web, one) for one in challenges))
            problems = [text for texts in found for text in texts]
            if not problems:
                return
            text = "; ".join(dict.fromkeys(problems[:5]))
            if pause is None:
                raise Transient(
                    f"{text}; see to the web server (docs/operations.md), or write http_check = "
                    "false in [web] if the CA can see what we cannot"
                )
            progress(text)
            await asyncio.sleep(pause)

    async def _look(self, web: ServerClass, challenge: Challenge) -> list[str]:
        """Return what is wrong with one challenge, as the CA will see it."""
        name = challenge.name
        try:
            addresses = await self._checks.addresses(name)
        except Transient as err:
            # Nobody here can look it up: that may be so only from here, as with NAT.
            return await self._look_at_servers(web, challenge, [NotShown(name, str(err))])
        if not addresses:
            return [f"{name} has no address: the CA finds no server to ask"]
        missing = await self._not_shown(name, addresses[:MOST_OF_NAME], challenge)
        wrong = [f"{name}: {one}" for one in missing if not one.out_of_reach]
        unseen = [one for one in missing if one.out_of_reach]
        if wrong or not unseen:
            return wrong
        return await self._look_at_servers(web, challenge, unseen)

    async def _look_at_servers(
        self, web: ServerClass, challenge: Challenge, unseen: Sequence[NotShown]
    ) -> list[str]:
        """The name's own addresses may be translated: ask the web servers themselves."""
        problems = []
        for server in web.servers:
            host = machine_of(server)
            addresses = (await self._ordering.resolver.addresses(host))[:MOST_OF_NAME]
            missing = await self._not_shown(challenge.name, addresses, challenge)
            # A host of several addresses may listen on one alone.
            if not addresses or len(missing) == len(addresses):
                why = str(missing[0]) if missing else "it has no address"
                problems.append(f"{challenge.name}: {unseen[0]}; nor does {host} show it: {why}")
        return problems

    async def _not_shown(
        self, name: str, addresses: Sequence[str], challenge: Challenge
    ) -> list[NotShown]:
        return await fetch_back(
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
        return [rdata.address for rrset in found if rrset for rdata in rrset]


def left_behind(site: Site) -> list[FilesLeft]:
    """Return what earlier runs left on web servers; blocks. For the start, before any order."""
    found = []
    for service in site.config.services.values():
        signer = service.spec.signer
        if not isinstance(signer, AcmeCa) or not service.managed:
            continue
        if site.config.cas[signer.name].validation is not Validation.HTTP_01:
            continue
        note = http_note(site.tree.certbot_dir(service.id))
        if tokens := _read_note(note):
            found.append((service.id, note, tokens))
    return found


FilesLeft = tuple[CertId, str, tuple[str, ...]]


async def remove_left_behind(found: Sequence[FilesLeft], ordering: Ordering) -> None:
    """Take away what `left_behind` found."""
    for cert, note, tokens in found:
        await _remove(cert, _web_of(ordering.site.config), tokens, note, ordering)


def _web_of(config: Config) -> ServerClass | None:
    return next((one for one in config.server_classes if one.kind is ServerKind.WEB), None)


async def _remove(
    cert: CertId, web: ServerClass | None, tokens: tuple[str, ...], note: str, ordering: Ordering
) -> None:
    """Remove challenges from the web servers, then their note; told if it cannot be done."""
    if web is None or web.server_dir is None:
        return
    try:
        await http01.remove(
            web.servers,
            web.server_dir,
            cert.group,
            tokens,
            ordering.threads.aside,
            ordering.site.scratch,
        )
        await ordering.threads.in_thread(_drop_note, note, tokens)
    except SslmError as err:
        ordering.telling.tell(
            "order-trouble", f"{err}; it is tried again with the next order", cert
        )


# --- the note ----------------------------------------------------------------------------


def _write_note(path: str, tokens: tuple[str, ...]) -> None:
    write_lines(path, {*_read_note(path), *tokens})


def _read_note(path: str) -> tuple[str, ...]:
    try:
        return tuple(filter(_is_token, read_lines(path)))
    except SslmError:
        return ()


def _is_token(text: str) -> bool:
    try:
        http01.check("example.com", text)
    except ValueError:
        return False
    return True


def _drop_note(path: str, tokens: tuple[str, ...]) -> None:
    write_lines(path, {*_read_note(path)} - {*tokens})
