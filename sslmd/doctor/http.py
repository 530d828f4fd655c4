"""What `sslmctl doctor` looks at for http-01: whether a file that the daemon puts there shows.

The daemon puts a file with a random name where challenges would be; it is fetched as a CA would
(RFC 8555 §8.3), from every address of every name, and taken away again.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sslmd.config.model import Config, ServerClass, ServerKind, Validation
from sslmd.console.program import CtlError
from sslmd.console.text import count
from sslmd.core.errors import SslmError
from sslmd.core.names import DomainName, machine_of
from sslmd.core.plain import some_of
from sslmd.doctor.daemon import Running, files_in_place
from sslmd.doctor.dns import addresses_of
from sslmd.doctor.symptoms import Checkup, Symptoms, acme_ca, unseen, well, wrong
from sslmd.servers.http01_look import MOST_OF_NAME, NotShown, fetch_back, same_for_any

PORT = 80  # RFC 8555 §8.3: the CA asks there

_SHOWN = 5  # names that one message tells
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL})

_NOT_FOUND, _FORBIDDEN = 404, 403


@dataclass(frozen=True)
class _TestedName:
    """A name to be proven by http-01, and the group that its challenges are put in."""

    text: str
    group: str


@dataclass(frozen=True)
class _File:
    token: str
    value: str


@dataclass(frozen=True)
class _FetchedFile:
    """What was seen of one name. `problem`: why there was nothing to look at."""

    shown: tuple[str, ...] = ()
    missing: tuple[NotShown, ...] = ()
    problem: str = ""


async def look_at_http(case: Checkup, running: Running) -> Symptoms:
    """Whether every name that is proven by http-01 shows at all its addresses what is put there."""
    names = _names(case.config)
    if not names:
        return
    web = next((one for one in case.config.server_classes if one.kind is ServerKind.WEB), None)
    if web is None or not web.server_dir or not web.servers:
        yield wrong("http-01", "http-01 needs servers and server_dir in [web] of ssl-mgr.conf")
        return
    left: list[str] = []
    try:
        async with files_in_place(case, running, left) as placed:
            for problem in placed.texts("problems"):
                yield wrong("http-01", problem)
            files = {
                one.text("group"): _File(one.text("token"), one.text("value"))
                for one in placed.subs("files")
            }
            async for finding in _look_for(case, web, names, files):
                yield finding
    except (CtlError, TimeoutError) as err:
        why = err.text if isinstance(err, CtlError) else "the daemon took too long"
        yield unseen("http-01", f"whether challenges show: no file could be put there ({why})")
        async for finding in _connections(case, names):
            yield finding
    for problem in left:
        yield wrong("http-01", f"{problem}; it is removed when the daemon starts again")


def _names(config: Config) -> list[_TestedName]:
    found: dict[_TestedName, None] = {}
    for cert, service in config.services.items():
        ca = acme_ca(config, service)
        if service.managed and ca is not None and ca.validation is Validation.HTTP_01:
            names = service.spec.all_names()
            found |= dict.fromkeys(_TestedName(str(name), cert.group) for name in names)
    return list(found)


# --- looking --------------------------------------------------------------------------


async def _look_for(
    case: Checkup, web: ServerClass, names: Sequence[_TestedName], files: Mapping[str, _File]
) -> Symptoms:
    done, late = await case.watch.each(
        "http-01", names, lambda name: _see(case, name, files.get(name.group)), "name"
    )
    for finding in late:
        yield finding
    seen = dict(done)
    by_problem: dict[str, list[str]] = {}
    for name, one in done:
        if one.problem:
            by_problem.setdefault(one.problem, []).append(name.text)
    for problem, some in by_problem.items():
        yield wrong("http-01", f"{some_of(some, _SHOWN)}: {problem}")
    async for finding in _Judge(case, web, files, seen).run():
        yield finding
    if good := sum(not one.missing and not one.problem for one in seen.values()):
        yield well("http-01", f"{count(good, 'name')}: a file that was put there shows")


async def _see(case: Checkup, name: _TestedName, file: _File | None) -> _FetchedFile:
    if file is None:
        return _FetchedFile(problem="the daemon has put no file for it; run: sslmctl reload")
    try:
        addresses = (await _addresses(case, name.text))[:MOST_OF_NAME]
    except SslmError as err:
        return _FetchedFile(problem=str(err))
    if not addresses:
        return _FetchedFile(problem="no address, so the CA finds no web server; correct the zone")
    missing = await fetch_back(name.text, addresses, PORT, file.token, file.value)
    lacking = {one.address for one in missing}
    return _FetchedFile(tuple(one for one in addresses if one not in lacking), tuple(missing))


async def _addresses(case: Checkup, name: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(name)),)
    except ValueError:
        return await addresses_of(case, DomainName.parse(name))


class _Judge:
    """Says what is behind what was not shown, once for all names of the same kind."""

    def __init__(
        self,
        case: Checkup,
        web: ServerClass,
        files: Mapping[str, _File],
        seen: Mapping[_TestedName, _FetchedFile],
    ) -> None:
        self._case = case
        self._web = web
        self._files = files
        self._seen = seen
        # Where other names show theirs: the same web server is set up well for those.
        self._well = {
            (name.group, address): name.text for name, one in seen.items() for address in one.shown
        }
        # By text, lines to paste, and whether it is sure.
        self._found: dict[tuple[str, tuple[str, ...], bool], list[str]] = {}

    async def run(self) -> Symptoms:
        pairs = [(name, one) for name, seen in self._seen.items() for one in seen.missing]

        async def one(pair: tuple[_TestedName, NotShown]) -> bool:
            await self._one(*pair)
            return True

        _, late = await self._case.watch.each("http-01", pairs, one, "name")
        for finding in late:
            yield finding
        for (text, paste, sure), names in self._found.items():
            told = f"{some_of(list(dict.fromkeys(names)), _SHOWN)}: {text}"
            yield wrong("http-01", told, paste) if sure else unseen("http-01", told)

    def _say(
        self, name: _TestedName, text: str, paste: Iterable[str] = (), *, sure: bool = True
    ) -> None:
        self._found.setdefault((text, tuple(paste), sure), []).append(name.text)

    async def _one(self, name: _TestedName, missing: NotShown) -> None:
        if missing.out_of_reach and not missing.led:
            await self._unreached(name, missing)
            return
        folder = f"{self._web.server_dir}/{name.group}"
        if missing.led:
            self._say(
                name,
                f"{missing.text}; leave /.well-known/acme-challenge/ out of the redirect, or have "
                f"the place where it leads show {folder}/.well-known/acme-challenge/. In nginx a "
                "return beside the location goes first: put it into location /",
                _paste(folder),
            )
            return
        if missing.status == _FORBIDDEN:
            self._say(
                name,
                f"{missing.text}: its user may not read {folder}/.well-known/acme-challenge/; open "
                f"the folders above it (namei -l {folder}), and allow access in its configuration",
                _paste(folder),
            )
            return
        if other := self._well.get((name.group, missing.address)):
            self._say(
                name,
                f"{missing.text}, while it shows the file for {other}: another virtual host "
                "answers, or the default one; add the name to server_name (nginx), ServerAlias "
                "(Apache), or have that host show the folder as well",
                _paste(folder),
            )
            return
        stranger = f"{secrets.token_hex(8)}.invalid"
        default = ""
        if await same_for_any(name.text, missing.address, PORT, stranger):
            default = " It answers this name as it answers any, so its default site may be at work."
        what = "its alias or root leads elsewhere"
        if missing.status not in (0, _NOT_FOUND):
            what = "something else answers for this path"
        self._say(
            name,
            f"{missing.text} for a file that is there: {what}.{default} It has to show "
            f"{folder}/.well-known/acme-challenge/ on port {PORT}",
            _paste(folder),
        )

    async def _unreached(self, name: _TestedName, missing: NotShown) -> None:
        """Nobody answers at an address: is that so for everybody, or only from here?"""
        address = missing.address
        if not _has_route(address):
            family = "IPv6" if ":" in address else "IPv4"
            self._say(
                name,
                f"{address} cannot be looked at: this machine has no {family}; a CA may choose "
                f"this address: look at it from elsewhere",
                sure=False,
            )
            return
        others = self._seen[name].shown
        if ":" in address or not await self._shown_by_server(name):
            also = ""
            if others and ":" in address:
                also = f", while {others[0]} shows the file; CAs prefer IPv6"
            way_out = ", or remove its AAAA record" if ":" in address else ""
            self._say(
                name,
                f"{missing.text} (port {PORT}){also}; start the web server there and let port "
                f"{PORT} in{way_out}",
                sure=":" in address or self._web.http_check,
            )
            return
        self._say(
            name,
            f"{missing.text} (port {PORT}) from here, while {', '.join(self._web.servers)} shows "
            "the file: with NAT this may be well. Try from elsewhere: curl -v "
            f"http://{name.text}/.well-known/acme-challenge/",
            sure=False,
        )

    async def _shown_by_server(self, name: _TestedName) -> bool:
        """Whether a web server shows the file itself, asked at its own addresses."""
        file = self._files[name.group]
        for server in self._web.servers:
            try:
                addresses = await self._case.resolver.addresses(machine_of(server))
            except SslmError:
                continue
            missing = await fetch_back(name.text, addresses, PORT, file.token, file.value)
            if len(missing) < len(addresses):
                return True
        return False


def _paste(folder: str) -> tuple[str, ...]:
    """Return lines for web servers that show the challenges of a group."""
    path = "/.well-known/acme-challenge/"
    return (
        "nginx, in the server block of port 80:",
        f"    location ^~ {path} {{ root {folder}; default_type text/plain; }}",
        "Apache, in the VirtualHost of port 80:",
        f"    Alias {path} {folder}{path}",
        f"    <Directory {folder}{path}>",
        "        Require all granted",
        "    </Directory>",
        f"    ProxyPass {path} !",
        "HAProxy, in the frontend of port 80; the server has to be one that shows the folder:",
        f"    use_backend acme if {{ path_beg {path} }}",
        "    backend acme",
        "        server web 127.0.0.1:8080",
    )


def _has_route(address: str) -> bool:
    """Whether the kernel knows a way to an address; nothing is sent (connect(2) of UDP)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, PORT))
    except OSError as err:
        return err.errno not in {*_NO_WAY, errno.EAFNOSUPPORT}
    return True


# --- without a file -------------------------------------------------------------------


async def _connections(case: Checkup, names: Sequence[_TestedName]) -> Symptoms:
    """Whether port 80 of every name takes connections: all that can be seen without a file."""

    done, late = await case.watch.each(
        "port 80", names, lambda name: _reaches(case, name.text), "name"
    )
    for name, problem in done:
        if problem:
            yield wrong("port 80", f"{name.text}: {problem}")
    for finding in late:
        yield finding
    if good := sum(not problem for _, problem in done):
        yield well("port 80", f"{count(good, 'name')} can be reached; no more was looked at")


async def _reaches(case: Checkup, name: str) -> str:
    try:
        addresses = await _addresses(case, name)
    except SslmError as err:
        return str(err)
    if not addresses:
        return "it has no address, and so the CA finds no web server; correct the zone"
    for address in addresses:
        try:
            async with asyncio.timeout(10):
                _, writer = await asyncio.open_connection(address, PORT)
        except TimeoutError:
            return f"{address} port {PORT} does not answer; open it, the CA comes this way"
        except OSError as err:
            why = err.strerror or str(err)
            return f"{address} port {PORT}: {why}; start the web server, the CA comes this way"
        writer.close()
    return ""
