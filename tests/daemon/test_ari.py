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

from sslmd.core.ari import SILENT
from sslmd.core.events import Advised
from sslmd.core.jobs import AskCa
from sslmd.core.names import CertId
from sslmd.core.reason import Code
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, SetNote
from sslmd.core.told import Happened
from sslmd.core.view import Decision, due
from sslmd.daemon.ari import AT_ONCE, EVERY, RenewalLooks
from sslmd.daemon.loop import Loop
from sslmd.daemon.registry import Entry, Registry, Taken
from sslmd.daemon.tell.changes import of_event
from sslmd.net.acme_messages import AcmeProblem, OfCertificate
from sslmd.net.acme_messages import RenewalInfo as Said
from sslmd.net.link import Operation
from tests.reasons import because
from tests.stand.tools import Tools
from tests.stand.world import days, facts, wanted

NOW = datetime(2126, 6, 1, 12, tzinfo=UTC)  # no timer fires by itself

# Of every certificate here.
END = NOW + days(80)


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
    breaks: bool = False
    asked: list[str] = field(default_factory=list)

    async def call(self, operation: Operation[Any, Any], asked: Any) -> Any:
        assert isinstance(asked, OfCertificate)
        assert operation.name == "acme.renewal-info"
        self.asked.append(asked.server.url)
        assert not self.breaks
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
        self.said, self.ca = answer, Ca(answer)
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

    def due(self, cert: CertId) -> datetime:
        """Return when a certificate is due."""
        entry = self.registry[cert]
        at = due(entry.state, entry.wanted)
        assert at is not None
        return at

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


def job_of(here: World, ca: str) -> AskCa:
    """Return what is to be asked of a CA now."""
    (job,) = here.looks.step(ca).jobs
    assert isinstance(job, AskCa)
    return job


async def asked(here: World) -> int:
    """Have the CA `one` asked about all whose turn it is; return how many questions that took."""
    before, stuck = len(here.ca.asked), 0
    while here.looks.step("one").jobs:
        had = len(here.ca.asked)
        await here.looks.do(job_of(here, "one"))
        here.now += EVERY
        stuck = stuck + 1 if len(here.ca.asked) == had else 0
        assert stuck < 3, "it asks nothing, and would for ever"
    return len(here.ca.asked) - before


async def test_a_ca_that_wants_to_be_asked_later_is_not_asked_about_others(here: World) -> None:
    certs = here.add(3 * AT_ONCE, "one")
    here.ca.answer = AcmeProblem("http", status=429, retry_after="7200")
    assert await asked(here) == AT_ONCE
    assert here.said_of(certs) == AT_ONCE
    here.now += timedelta(hours=2) - EVERY - timedelta(seconds=1)
    assert await asked(here) == 0
    here.ca.answer = here.said
    here.now += timedelta(minutes=20)
    assert await asked(here) == 3 * AT_ONCE


async def test_days_count_two_days_after_the_last_answer_and_that_is_told_once(
    here: World,
) -> None:
    (cert,) = here.add(1, "one")
    told = list[Code]()

    def hear(_: CertId, event: object, before: Entry | None, after: Entry | None) -> None:
        if isinstance(event, Advised) and before is not None and after is not None:
            story = of_event(event, before.state, after.state)
            told.extend([story.line.code] if story is not None else [])

    here.registry.listen(hear)
    assert await asked(here) == 1
    by_ca = here.due(cert)
    assert NOW + days(40) <= by_ca <= NOW + days(41)
    here.ca.answer = AcmeProblem("unreachable")
    began, here.now = here.now, here.now + timedelta(hours=6)
    first = here.now
    while here.due(cert) == by_ca:
        assert here.now < began + 2 * SILENT
        await asked(here)
        here.now += timedelta(minutes=30)
    assert SILENT <= here.now - first < SILENT + timedelta(hours=8)
    assert here.due(cert) == END - days(30)
    here.now += days(1)
    await asked(here)
    # And when it is back, it counts again.
    here.ca.answer = here.said
    here.now += days(1)
    assert await asked(here) == 1
    assert here.due(cert) == by_ca
    assert told.count(Happened.CA_SILENT) == 1


@pytest.mark.parametrize("gone", ["offer", "roots"])
async def test_a_ca_that_does_not_offer_it_any_more_counts_as_silent(
    here: World, gone: str
) -> None:
    certs = here.add(2 * AT_ONCE + 3, "one")
    await asked(here)
    assert {here.due(cert) for cert in certs} == {here.due(certs[0])}
    assert here.due(certs[0]) > NOW + days(40) > END - days(45)
    if gone == "offer":
        here.ca.answer = AcmeProblem("nonsense", type="no-renewal-info")
    else:
        one = replace(here.site.config.cas["one"], server_root=Path("/nonexistent/roots.pem"))
        here.site.config = replace(here.site.config, cas={"one": one})
    for _ in range(12):
        here.now += timedelta(hours=7)
        assert await asked(here) <= AT_ONCE  # the next ones are spared the question
    assert {here.due(cert) for cert in certs} == {END - days(30)}
    # Of whom it never said anything, nothing is noted.
    (fresh,) = here.add(1, "two")
    here.ca.answer = AcmeProblem("nonsense", type="no-renewal-info")
    await here.looks.do(job_of(here, "two"))
    assert here.said_of([fresh]) == 0
    assert here.looks.step("two").jobs == ()


async def test_who_was_to_be_asked_about_is_not_lost_with_a_question_that_met_a_bug(
    here: World,
) -> None:
    certs = here.add(2, "one")
    job = job_of(here, "one")
    here.ca.breaks = True
    with pytest.raises(AssertionError):
        await here.looks.do(job)
    here.ca.breaks = False
    here.now += EVERY
    await asked(here)
    assert here.said_of(certs) == 2
