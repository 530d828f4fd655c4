"""What the first start would give to DNS: records of TLSA, and include files that are missing.

Compared as the daemon compares them, and nothing is changed. Where a zone's name servers do not
answer, its MX hosts are those of the include file: until they do, nothing is given to DNS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sslmd.core.dane.content import Given, LookedUp, Wish, cert_wish
from sslmd.core.dane.judging import dane_of
from sslmd.core.dane.look import take
from sslmd.core.dane.tlsa import Content, TlsaHosts, combinations_of, endpoint_of
from sslmd.core.dane.verdict import Dane
from sslmd.core.dane.zone import KnownZone
from sslmd.core.errors import SslmError, Transient, Trouble
from sslmd.core.names import BadName, CertId, DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.told import Would
from sslmd.core.view import Standing
from sslmd.dns import tlsa_publish
from sslmd.dns.include import CHALLENGE_FILES, TLSA_FILES
from sslmd.dns.notes import noted_tlsa_zones, noted_zones, union
from sslmd.dns.publish import left_behind
from sslmd.store.layout import challenge_file, tlsa_file
from sslmd.store.note_kinds import ZONE_NOTE
from sslmd.workers import tlsa_rr
from sslmd.workers.places import look_elsewhere
from sslmd.workers.tlsa import look, prepare
from sslmd.workers.tools import Publishing

# Seconds for the questions to one zone's name servers. All zones are asked at the same time.
PATIENCE = 20.0

# Records of a zone that are named.
_MOST_LINES = 12


@dataclass(slots=True)
class ZoneRehearsal:
    """One zone. `changes`: what would be written; `remarks`: what could not be asked.

    `before`: the records that are there, `noted` those that are said to be there; `content`: those
    that would be.
    """

    name: ZoneName
    zone: KnownZone
    publishing: Publishing
    before: Content = field(default_factory=dict)
    noted: Content = field(default_factory=dict)
    content: Content = field(default_factory=dict)
    changes: list[Reason] = field(default_factory=list)
    remarks: list[Reason] = field(default_factory=list)
    _wish: Wish | None = None

    @property
    def mx(self) -> tuple[DomainName, ...]:
        """The zone's MX hosts, as far as is known."""
        return self.zone.noted.mx or ()

    def dane_of(self, one: Standing) -> Dane:
        """Return what is known of a certificate's records."""
        return dane_of(self.zone, one.wanted.spec.id, one)

    async def begin(self, book: Mapping[CertId, Standing]) -> None:
        """Find out what the records of the certificates as they were read come to."""
        site, threads, means = self.publishing.site, self.publishing.threads, self.publishing.means
        wish = self._wish_of(book)
        self._know(tried=wish)
        left, missing = await threads.in_thread(left_behind, means, self.name)
        if left:
            self.changes.append(Reason(Would.TAKE_BACK, zone=self.name, number=len(left)))
        for folder in missing:
            path = challenge_file(folder, self.name)
            self._written(Reason(Would.WRITE_EMPTY, path=path))
        try:
            self.noted = await threads.in_thread(tlsa_publish.published, means, self.name)
            self.before = await threads.in_thread(self._there)
            path = site.tree.zone_note(self.name)
            self._know(notes=await threads.in_thread(ZONE_NOTE.read, path))
            given = await self._prepare(wish)
            there = await look_elsewhere(given.places, given.ends, site, means.resolver)
            self._know(elsewhere=there)
            files = await threads.in_thread(
                tlsa_rr.missing, site.tree, site.config.services, given.materials, given.notes.mx
            )
        except SslmError as err:
            self._know(failed=Trouble.of(err, 0, site.now(), jitter=0))
            self.remarks.append(Reason(Would.NOTHING_YET, why=err.reason))
            return
        paths = (tlsa_rr.path_of(site.tree, cert, name) for cert, name in files)
        self.remarks += [Reason(Would.WRITE_FILE, path=path) for path in paths]
        self._take(wish, given)

    def _know(self, **known: Any) -> None:
        self.zone = replace(self.zone, **known)

    def _written(self, what: Reason) -> None:
        """Take in a file that is written without records.

        In a zone that is in use nothing includes what was not there: no command is run for it.
        """
        if self.publishing.means.established(self.name):
            self.remarks.append(what)
        else:
            self.changes.append(what)

    def _there(self) -> Content:
        """Return the records that are noted, or in an include file; blocks."""
        found = self.noted
        for folder in self.publishing.site.config.dns.tlsa_dirs:
            found = union(found, TLSA_FILES.read(tlsa_file(folder, self.name)) or {})
        return found

    async def settle(self, book: Mapping[CertId, Standing]) -> None:
        """The same once everything is proven that would be."""
        wish = self._wish_of(book)
        if self.zone.given is None or wish == self._wish:
            return
        try:
            self._take(wish, await self._prepare(wish))
        except SslmError as err:
            self.remarks.append(err.reason)

    def _wish_of(self, book: Mapping[CertId, Standing]) -> Wish:
        services = self.publishing.site.config.services
        certs = sorted(self.zone.certs)
        return Wish(
            self.name,
            tuple(
                cert_wish(book[cert], services[cert].dane, services[cert].dane_ttl)
                for cert in certs
            ),
        )

    def _take(self, wish: Wish, given: Given) -> None:
        self._know(wish=wish, given=given, notes=given.notes)
        self._wish = wish
        self.content = given.content.records
        told = [Reason(Would.OF_ZONE, zone=self.name, what=one) for one in given.remarks]
        unfit = [Reason(Would.NOT_PUBLISH, what=why) for _, why in given.unfit.values()]
        self.remarks += [*told, *unfit]
        if (changed := given.changed) is None:
            return
        if not (self.content or self.before):
            self._written(changed)
            return
        found = [
            *self._lines(Would.ADD_RECORD, self.content, self.before),
            *self._lines(Would.REMOVE_RECORD, self.before, self.content),
        ]
        if (more := len(found) - _MOST_LINES) > 0:
            found[_MOST_LINES:] = [Reason(Would.MORE_RECORDS, number=more)]
        self.changes += [one for one in found or [changed] if one not in self.changes]

    def _lines(self, what: Would, one: Content, other: Content) -> Iterator[Reason]:
        """Yield which records of `one` the other does not have; how they are written is none."""
        for owner, some in one.items():
            fresh = some.records - (other[owner].records if owner in other else frozenset())
            for text in map(str, sorted(fresh)):
                short = text if len(text) <= 40 else f"{text[:36]}…"
                yield Reason(what, zone=self.name, owner=str(owner), record=short)

    async def _prepare(self, wish: Wish) -> Given:
        """Return what a wish comes to; raises `SslmError` where that cannot be told."""
        notes = self.zone.noted
        site, resolver = self.publishing.site, self.publishing.means.resolver
        prepared = partial(prepare, wish, publishing=self.publishing)
        try:
            async with asyncio.timeout(PATIENCE):
                given = await prepared(notes)
                if wish.certs and not (given.ours and all(one.serving for one in wish.certs)):
                    # What others publish decides whether anybody checks these ports.
                    self._know(wish=wish, given=given, notes=given.notes)
                    with suppress(SslmError):
                        seen, _ = await look(self.name, self.zone.owners(), site, resolver, ())
                        zone = self.zone = take(self.zone, seen)
                        if zone.others:
                            return await prepared(zone.noted, last=LookedUp(others=zone.others))
                        return replace(given, notes=zone.noted)
                return given
        except TimeoutError:
            problem = Reason(Would.ZONE_SLOW, zone=self.name, seconds=PATIENCE)
        except SslmError as err:
            if not wish.wants_mx:
                raise
            problem = err.reason
        self.remarks.append(Reason(Would.MX_OF_FILE, why=problem))
        notes = self.zone.noted
        known = notes.known if notes.known is not None else combinations_of(self.noted)
        mx = _hosts_in(self.before, wish, self.name)
        notes = replace(notes, known=known, mx=mx, mx_at=site.now())
        self._know(notes=notes)
        try:
            async with asyncio.timeout(PATIENCE):
                return await prepared(notes)
        except TimeoutError:
            raise Transient(Reason(Would.ZONE_SLOW, zone=self.name, seconds=PATIENCE)) from None


async def rehearse_zones(
    publishing: Publishing, book: Mapping[CertId, Standing]
) -> list[ZoneRehearsal]:
    """Return what would be given to DNS for every zone, and for those that were once ours."""
    tree, known = publishing.site.tree, publishing.site.config.zones()
    left = {
        *noted_tlsa_zones(tree, known),
        *noted_zones(tree, CHALLENGE_FILES),
    }
    found = []
    for name in sorted({*known, *left}):
        dane = (cert for cert, one in book.items() if one.wanted.dane)
        mine = frozenset(cert for cert in dane if cert.group == name.text)
        found.append(ZoneRehearsal(name, KnownZone(name, mine), publishing))
    await asyncio.gather(*(one.begin(book) for one in found))
    return found


def _hosts_in(before: Content, wish: Wish, zone: ZoneName) -> tuple[DomainName, ...]:
    """Return the hosts, but the apex, that have records for a port of the zone's mail."""
    ports = {
        (entry.port, entry.proto)
        for one in wish.certs
        for entry in one.entries
        if entry.hosts is TlsaHosts.MX
    }
    hosts = set()
    for owner in before:
        with suppress(BadName):
            port, proto, host = endpoint_of(owner)
            if (port, proto) in ports and host.text != zone.text:
                hosts.add(host)
    return tuple(sorted(hosts))
