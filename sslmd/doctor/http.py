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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sslmd.config.model import Config, ServerClass, ServerKind, Validation
from sslmd.console.program import CtlError
from sslmd.console.text import count
from sslmd.core.errors import SslmError
from sslmd.core.names import DomainName, machine_of
from sslmd.core.plain import some_of
from sslmd.core.words.doctor import Diagnosis
from sslmd.core.words.sentence import say
from sslmd.doctor.daemon import Running, files_in_place
from sslmd.doctor.dns import addresses_of
from sslmd.doctor.symptoms import Checkup, Symptom, Symptoms, acme_ca, alike, unseen, well, wrong
from sslmd.net.probe_messages import NotShown
from sslmd.servers.http01_look import MOST_OF_NAME, fetch_back, same_for_any

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
    problem: Diagnosis | str = ""


async def look_at_http(case: Checkup, running: Running) -> Symptoms:
    """Whether every name that is proven by http-01 shows at all its addresses what is put there."""
    names = _names(case.config)
    if not names:
        return
    web = next((one for one in case.config.server_classes if one.kind is ServerKind.WEB), None)
    if web is None or not web.server_dir or not web.servers:
        yield wrong("http-01", Diagnosis.HTTP_NO_SERVER)
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
        why = err.text if isinstance(err, CtlError) else ""
        yield unseen("http-01", Diagnosis.HTTP_NO_FILE, why=why, late=not why)
        async for finding in case.watch.findings(
            "port 80", names, lambda name: _reach(case, name), "name", fine=Diagnosis.PORT_WELL
        ):
            yield finding
    for problem in left:
        yield wrong("http-01", Diagnosis.HTTP_LEFT, problem=problem)


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
    for problem, some in alike((name.text, one.problem) for name, one in done).items():
        yield wrong("http-01", problem).of(some_of(some, _SHOWN))
    async for finding in _Judge(case, web, files, seen).run():
        yield finding
    if good := sum(not one.missing and not one.problem for one in seen.values()):
        yield well("http-01", Diagnosis.HTTP_WELL, names=count(good, "name"))


async def _see(case: Checkup, name: _TestedName, file: _File | None) -> _FetchedFile:
    if file is None:
        return _FetchedFile(problem=Diagnosis.HTTP_NOT_PUT)
    try:
        addresses = (await _addresses(case, name.text))[:MOST_OF_NAME]
    except SslmError as err:
        return _FetchedFile(problem=str(err))
    if not addresses:
        return _FetchedFile(problem=Diagnosis.HTTP_NO_ADDRESS)
    missing = await fetch_back(case.net, name.text, addresses, PORT, file.token, file.value)
    lacking = {one.address for one in missing}
    return _FetchedFile(tuple(one for one in addresses if one not in lacking), tuple(missing))


async def _addresses(case: Checkup, name: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(name)),)
    except ValueError:
        return await addresses_of(case, DomainName.parse(name))


@dataclass(frozen=True)
class _Judge:
    """Says what is behind what was not shown, once for all names of the same kind."""

    case: Checkup
    web: ServerClass
    files: Mapping[str, _File]
    seen: Mapping[_TestedName, _FetchedFile]

    async def run(self) -> Symptoms:
        # Where other names show theirs: the same web server is set up well for those.
        fine = {
            (name.group, address): name.text
            for name, one in self.seen.items()
            for address in one.shown
        }

        async def judge(pair: tuple[_TestedName, NotShown]) -> Symptom:
            name, missing = pair
            if missing.untried:
                return unseen("http-01", say(missing.told))
            if missing.out_of_reach and not missing.led:
                return await self._unreached(name, missing)
            return await self._unfit(name, missing, fine.get((name.group, missing.address)))

        pairs = [(name, one) for name, seen in self.seen.items() for one in seen.missing]
        done, late = await self.case.watch.each("http-01", pairs, judge, "name")
        for finding in late:
            yield finding
        for finding, names in alike((name.text, judged) for (name, _), judged in done).items():
            yield finding.of(some_of(list(dict.fromkeys(names)), _SHOWN))

    async def _unfit(self, name: _TestedName, missing: NotShown, other: str | None) -> Symptom:
        """Something answers, and does not show the file. `other`: a name for which it does."""
        folder = f"{self.web.server_dir}/{name.group}"
        facts = {"said": say(missing.told), "folder": folder, "paste": _paste(folder)}
        if missing.led:
            return wrong("http-01", Diagnosis.HTTP_LED, **facts)
        if missing.status == _FORBIDDEN:
            return wrong("http-01", Diagnosis.HTTP_FORBIDDEN, **facts)
        if other:
            return wrong("http-01", Diagnosis.HTTP_OTHER_HOST, **facts, other=other)
        stranger = f"{secrets.token_hex(8)}.invalid"
        return wrong(
            "http-01",
            Diagnosis.HTTP_NOT_SHOWN,
            **facts,
            default=await same_for_any(self.case.net, name.text, missing.address, PORT, stranger),
            elsewhere=missing.status in (0, _NOT_FOUND),
            answered=missing.status not in (0, _NOT_FOUND),
        )

    async def _unreached(self, name: _TestedName, missing: NotShown) -> Symptom:
        """Nobody answers at an address: is that so for everybody, or only from here?"""
        address, is_six = missing.address, ":" in missing.address
        if not _has_route(address):
            family = "IPv6" if is_six else "IPv4"
            return unseen("http-01", Diagnosis.HTTP_NO_ROUTE, address=address, family=family)
        if not is_six and await self._shown_by_server(name):
            facts = {"said": say(missing.told), "servers": ", ".join(self.web.servers)}
            return unseen("http-01", Diagnosis.HTTP_NAT, **facts, name=name.text)
        other = next(iter(self.seen[name].shown), "") if is_six else ""
        finding = wrong if is_six or self.web.http_check else unseen
        facts = {"said": say(missing.told), "other": other}
        return finding("http-01", Diagnosis.HTTP_SILENT, **facts, is_six=is_six)

    async def _shown_by_server(self, name: _TestedName) -> bool:
        """Whether a web server shows the file itself, asked at its own addresses."""
        file = self.files[name.group]
        for server in self.web.servers:
            try:
                addresses = await self.case.resolver.addresses(machine_of(server))
            except SslmError:
                continue
            missing = await fetch_back(
                self.case.net, name.text, addresses, PORT, file.token, file.value
            )
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


async def _reach(case: Checkup, name: _TestedName) -> Symptoms:
    """Whether port 80 of a name takes connections: all that can be seen without a file."""
    try:
        addresses = await _addresses(case, name.text)
    except SslmError as err:
        yield wrong("port 80", Diagnosis.ABOUT, what=name.text, why=err)
        return
    if not addresses:
        yield wrong("port 80", Diagnosis.PORT_NO_ADDRESS, name=name.text)
    for address in addresses:
        facts = {"name": name.text, "address": address}
        try:
            async with asyncio.timeout(10):
                _, writer = await asyncio.open_connection(address, PORT)
        except TimeoutError:
            yield wrong("port 80", Diagnosis.PORT_SILENT, **facts)
            return
        except OSError as err:
            yield wrong("port 80", Diagnosis.PORT_CLOSED, **facts, why=err.strerror or err)
            return
        writer.close()
