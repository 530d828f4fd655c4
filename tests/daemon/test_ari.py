"""When CAs are asked about renewals: a few at a time, one silent CA delays no other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from sslmd.core.names import CertId
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, SetNote
from sslmd.core.view import Decision
from sslmd.daemon.ari import AT_ONCE, EVERY, RenewalLooks
from sslmd.daemon.loop import Loop
from sslmd.daemon.registry import Entry, Registry, Taken
from sslmd.net.acme_messages import AcmeProblem, OfCertificate
from sslmd.net.acme_messages import RenewalInfo as Said
from sslmd.net.link import Operation
from tests.reasons import because
from tests.stand.tools import Tools
from tests.stand.world import days, facts, wanted

NOW = datetime(2126, 6, 1, 12, tzinfo=UTC)  # no timer fires by itself


def a_certificate() -> bytes:
    """A certificate that has an authority key identifier."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0x87654321)
        .not_valid_before(datetime(2126, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2127, 1, 1, tzinfo=UTC))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@dataclass
class Ca:
    """Answers in place of the network process; `silent`: servers that never do."""

    answer: Said | AcmeProblem
    silent: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def call(self, operation: Operation[Any, Any], asked: Any) -> Any:
        assert isinstance(asked, OfCertificate)
        assert operation.name == "acme.renewal-info"
        self.asked.append(asked.server.url)
        if asked.server.url in self.silent:
            await asyncio.Event().wait()
        return self.answer


class World:
    """Certificates of two CAs, the looks, and a clock that stands."""

    def __init__(self, tools: Tools, answer: Said | AcmeProblem) -> None:
        self.site = tools.site
        self.now = NOW
        self.site.now = lambda: self.now
        known = next(ca for ca in self.site.config.cas.values() if not ca.is_own)
        cas = {
            name: replace(known, name=name, server=f"https://{name}/dir") for name in ("one", "two")
        }
        self.site.config = replace(self.site.config, cas=cas)
        self.registry = Registry()
        self.loop = Loop(self.site.now, 1, lambda _: "", lambda _: None, tools.telling.bug)
        self.ca = Ca(answer)
        self.looks = RenewalLooks(self.ca, self.site, tools.threads, self.registry, self.loop)
        self.loop.add(self.looks)
        self.pem = a_certificate()

    def add(self, number: int, ca: str) -> list[CertId]:
        certs = []
        for index in range(number):
            want = wanted(f"{ca}{index}.example:web", signer=AcmeCa(ca))
            begin = self.now - days(10)
            curr = facts(want, begin, cert=(begin, begin + days(90)))
            cert = want.spec.id
            folder = Path(self.site.tree.set_dir(cert, curr.name))
            folder.mkdir(parents=True, mode=0o700)
            (folder / "cert.pem").write_bytes(self.pem)
            state = CertState(curr=curr, curr_note=SetNote(0.0, begin, ca))
            entry = Entry(want, frozenset(), state, None, Decision(because("")))
            self.registry.put(cert, Taken(entry))
            certs.append(cert)
        return certs

    def said_of(self, certs: list[CertId]) -> int:
        """Return of how many something is noted."""
        notes = [self.registry[cert].state.curr_note for cert in certs]
        return sum(note is not None and note.ari is not None for note in notes)

    async def turn(self, certs: list[CertId], number: int) -> None:
        """Wait until so much is noted."""
        async with asyncio.timeout(30):
            while self.said_of(certs) < number:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


@pytest.fixture
def here(tools: Tools) -> World:
    begin = (NOW + days(40)).timestamp()
    return World(tools, Said(begin, begin + 86_400, "", "21600"))


async def test_a_ca_is_asked_a_few_at_a_time(here: World) -> None:
    certs = here.add(2 * AT_ONCE + 5, "one")
    here.loop.start()
    for number in (AT_ONCE, 2 * AT_ONCE, len(certs)):
        await here.turn(certs, number)
        assert here.said_of(certs) == number
        here.now += EVERY
        here.loop.touch("ari", "one")
    assert len(here.ca.asked) == len(certs)
    # Not before it says.
    here.now += timedelta(hours=5)
    here.looks.touch_all()
    await asyncio.sleep(0.1)
    assert len(here.ca.asked) == len(certs)
    here.now += timedelta(hours=1)
    here.looks.touch_all()
    async with asyncio.timeout(30):
        while len(here.ca.asked) < len(certs) + AT_ONCE:
            await asyncio.sleep(0.01)
    await here.loop.stop(1)


async def test_one_that_is_silent_delays_no_other(here: World) -> None:
    here.ca.silent = {"https://one/dir"}
    here.add(3, "one")
    certs = here.add(3, "two")
    here.loop.start()
    await here.turn(certs, 3)
    await here.loop.stop(1)


async def test_one_that_offers_nothing_is_left_alone(here: World) -> None:
    here.ca.answer = AcmeProblem("nonsense", type="no-renewal-info")
    certs = here.add(50, "one")
    here.loop.start()
    async with asyncio.timeout(30):
        while not here.ca.asked:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    here.now += 10 * EVERY
    here.loop.touch("ari", "one")
    await asyncio.sleep(0.2)
    assert len(here.ca.asked) <= AT_ONCE
    assert here.said_of(certs) == 0
    await here.loop.stop(1)


async def test_what_is_not_to_be_asked_about(here: World) -> None:
    (cert,) = here.add(1, "one")
    entry = here.registry[cert]
    timing = replace(entry.wanted.timing, by_ca=False)
    by_days = replace(entry, wanted=replace(entry.wanted, timing=timing))
    curr = entry.state.curr
    assert curr is not None
    assert curr.cert is not None
    ended = replace(curr, cert=replace(curr.cert, not_after=NOW))
    for other in (
        by_days,
        replace(entry, hold=because("held")),
        replace(entry, state=replace(entry.state, curr=ended)),
        replace(entry, state=replace(entry.state, curr=None, curr_note=None)),
    ):
        here.registry.put(cert, Taken(other))
        assert here.looks.step("one").jobs == ()
    here.registry.put(cert, Taken(entry))
    assert here.looks.step("one").jobs
