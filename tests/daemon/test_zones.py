"""The jobs of zones with TLSA records: what fails, and what that may not lead to (I4, I6)."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import pytest

from sslmd.config.load import load
from sslmd.core.dane.plan import ZoneView, decide_zone
from sslmd.core.dane.tlsa import TlsaHosts
from sslmd.core.dane.verdict import Counting, HeldBack, NoRecords, Unknown
from sslmd.core.dane.zone import KnownZone
from sslmd.core.errors import Permanent, Transient, Trouble
from sslmd.core.failed import Failed
from sslmd.core.jobs import Look, Publish, Watch
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.state import CertState, Phase
from sslmd.core.words.sentence import say
from sslmd.daemon.api import beside
from sslmd.daemon.api.status_document import status_entry
from sslmd.daemon.registry import Gone, Taken
from sslmd.daemon.tell.changes import Changes
from sslmd.daemon.tell.journal import Bus
from sslmd.daemon.zones import Zones
from sslmd.dns.bounds import bounds
from sslmd.dns.include import TLSA_FILES
from sslmd.store.layout import tlsa_file
from tests.reasons import because, text
from tests.stand.hostile_answers import many_records
from tests.stand.responder import Answer, Responder
from tests.stand.responder import Zone as Served
from tests.stand.stalls import LONGEST, watched
from tests.stand.tls import Reader, TlsPort, Writer, server
from tests.stand.tools import MAIN, ROOT, WEB, Site, StillLoop, believe, believe_zone
from tests.stand.world import START

ZONE = ZoneName("example.com")
OWNER = DomainName("_443._tcp.www.example.com")
DANE = "dane_tls = [[443, 'tcp', 3, 1, 1, ['www.example.com']]]\ndane_tls_ttl = 60\n"


class World:
    """A site at rest, whose zone has one name server; what is queued is noted, and not done."""

    def __init__(self, top: Path, server: Responder, served: Served) -> None:
        self.folder, self.served, self.server = top / "dns", served, server
        self.folder.mkdir()
        self.port = server.server.port
        self.site = Site(top, self._main("true"))
        web = (top / "conf.d/example.com/web").read_text()
        self.site.write("example.com/web", DANE + web)
        self.site.reload()
        self.told: list[str] = []
        self.bugs: list[str] = []
        self.site.tools.telling.bug = lambda text, _: self.bugs.append(text)

        self.loop = StillLoop(self.site.tools.site.now)
        tools, registry = self.site.tools, self.site.registry
        self.zones = Zones(
            tools.publishing,
            registry,
            self.loop,
            self._tell,
        )
        bus = Bus()
        bus.follow(lambda record: self.told.append(record.text))
        registry.listen(Changes(bus, tools.site.now, lambda *_: None).hear)
        registry.listen(lambda cert, *_: self.zones.note(cert))
        self.site.registry.dane_of = self.zones.dane
        self.zones.note(WEB)

    def _main(self, command: str) -> str:
        return (
            f"{MAIN}[[dns_primary]]\ndomain = 'default'\nserver = '127.0.0.1'\n"
            f"port = {self.port}\nnameservers = ['127.0.0.1:{self.port}']\n"
            f"[dns]\nrestart_cmd = '{command}'\ntlsa_dirs = ['{self.folder}']\n"
        )

    def command(self, command: str) -> None:
        """Have another restart_cmd."""
        self.site.write("ssl-mgr.conf", self._main(command))
        self.site.tools.site.config = load(self.site.top / "conf.d")

    def _tell(self, event: str, line: Reason | str, priority: int, cert: CertId | None) -> None:
        self.told.append(text(line))

    @property
    def zone(self) -> KnownZone:
        zone = self.zones.zone_of(WEB)
        assert zone is not None
        return zone

    async def live(self) -> CertState:
        """Have a certificate that every server is proven to use."""
        await self.site.with_cas()
        await self.site.renew(WEB)
        state = self.site.state(WEB)
        assert state.curr is not None
        name = state.curr.name
        self.become(replace(state, deployed=name, settled=name, phase=Phase.SETTLED))
        return self.site.state(WEB)

    async def checked(self) -> CertState:
        """Have one whose records every name server was seen serving."""
        state = await self.live()
        await self.publish()
        self.serve()
        await self.look()
        await self.publish()
        assert (self.zone.trouble, self.zone.again) == (None, False)
        return state

    def become(self, state: CertState) -> None:
        believe(self.site.registry, WEB, state=state)
        self.zones.note(WEB)

    def serve(self) -> None:
        """What a reload of the name server does."""
        content = TLSA_FILES.read(tlsa_file(self.folder, ZONE)) or {}
        key = (dns.name.from_text(OWNER.text), dns.rdatatype.TLSA)
        self.served.records.pop(key, None)
        if OWNER in content:
            self.served.add(OWNER.text, "TLSA", *map(str, content[OWNER].records))

    async def publish(self) -> None:
        await self.zones.do(Publish(ZONE, because("test")))

    async def look(self) -> None:
        await self.zones.do(Look(ZONE, because("test")))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    served = Served()
    served.add("www.example.com", "A", "127.0.0.99")
    async with Responder(served) as server:
        yield World(tmp_path, server, served)


async def test_nothing_is_proven_before_the_zone_is_known(world: World) -> None:
    """Just after a start, and while nobody tells its MX hosts: old records stay (I4)."""
    state = await world.live()
    assert state.curr is not None
    with pytest.raises(Transient, match="of older keys stay"):
        await world.zones.prove_ports(WEB, state.curr.name)


async def test_a_port_may_serve_the_old_key_for_a_moment_after_a_reload(world: World) -> None:
    """nginx starts new workers before the old ones leave: one look may meet either."""
    await world.checked()
    bundle = world.site.place(WEB) / "curr" / "bundle.pem"
    contexts = [_context(bundle)]
    await world.site.renew(WEB)
    await world.publish()
    contexts.append(_context(bundle))
    looks = 0

    async def serve(reader: Reader, writer: Writer) -> None:
        nonlocal looks
        looks += 1
        await TlsPort(contexts[looks > 2])(reader, writer)

    state = world.site.state(WEB)
    assert state.curr is not None
    try:
        async with server(serve, address="127.0.0.99", port=443):
            await world.zones.prove_ports(WEB, state.curr.name)
    except PermissionError as err:
        pytest.skip(f"127.0.0.99:443: {err.strerror}")
    assert looks > 2


def _context(bundle: Path) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(bundle)
    return found


async def test_what_could_not_be_given_is_tried_again_whatever_is_wanted_then(
    world: World,
) -> None:
    state = await world.checked()
    await world.site.make_key()
    await world.site.certify()
    on_deck = world.site.state(WEB)
    world.command("false")
    world.become(on_deck)
    await world.publish()
    assert world.zone.trouble
    # The set on deck is gone again: what is wanted is what was given last.
    world.become(state)
    world.command("true")
    believe_zone(world.site.registry, ZONE, retry_at=0.0)
    assert world.zones.step(ZONE).jobs
    await world.publish()
    assert say(world.zone.trouble) == ""
    assert not world.zone.again


async def test_records_are_not_given_again_while_nobody_tells_mx_hosts(world: World) -> None:
    """A name server that is down and has its zone changed may not load it (BIND's journal)."""
    service = (world.site.top / "conf.d/example.com/web").read_text()
    world.site.write(
        "example.com/web",
        service.replace(
            "[[443, 'tcp', 3, 1, 1, ['www.example.com']]]", "[[25, 'tcp', 3, 1, 1, 'MX']]"
        ),
    )
    world.site.reload()
    world.served.add("example.com", "MX", "10 www.example.com.")
    await world.live()
    await world.publish()
    include = tlsa_file(world.folder, ZONE)
    there = TLSA_FILES.read(include)
    assert there
    os.unlink(include)
    assert say(await world.zones.refresh(ZONE)) == "2 TLSA records given to DNS again"
    world.port = 9  # nobody answers there
    world.command("true")
    os.unlink(include)
    with pytest.raises(Transient, match="MX"):
        await world.zones.refresh(ZONE)
    assert TLSA_FILES.read(include) is None


async def test_an_include_file_that_is_a_link_stays_one(world: World) -> None:
    include = Path(tlsa_file(world.folder, ZONE))
    include.unlink(missing_ok=True)
    elsewhere = world.site.top / "elsewhere"
    elsewhere.mkdir()
    include.symlink_to(elsewhere / "records")
    await world.live()
    await world.publish()
    assert include.is_symlink()
    assert TLSA_FILES.read(str(elsewhere / "records"))
    # One that others could turn elsewhere is refused, with the way out.
    elsewhere.chmod(0o777)
    with pytest.raises(Permanent, match=r"is a link into a folder that is not safe: .*chmod o-w"):
        await world.zones.refresh(ZONE)
    assert include.is_symlink()


async def test_what_is_for_others_to_publish_is_not_said_to_be_given(world: World) -> None:
    text = (world.site.top / "conf.d/ssl-mgr.conf").read_text()
    world.site.write("ssl-mgr.conf", text.partition("[dns]")[0])
    world.site.tools.site.config = load(world.site.top / "conf.d")
    await world.live()
    told = await world.zones.refresh(ZONE)
    assert say(told) == "1 TLSA record for you to put into the zone, see sslmctl dane example.com"


async def test_what_is_seen_counts_though_publishing_fails(world: World) -> None:
    """A command that fails although it works, a refusal for another owner: I6."""
    await world.checked()
    await world.site.make_key()
    await world.site.certify()
    world.command("false")
    world.zones.note(WEB)
    await world.publish()
    assert world.zone.trouble is not None
    assert world.zones.troubles == [say(world.zone.trouble)]
    assert world.zones.troubled() == [(ZONE, world.zone.trouble)]
    world.serve()
    await world.look()
    sighting = world.site.state(WEB).sighting
    assert sighting is not None
    assert sighting.since is not None
    dane, behind = world.zones.dane(WEB, world.site.registry[WEB])
    assert behind == world.zone.trouble
    assert isinstance(dane, Counting)
    assert dane.sighting == sighting
    assert sighting.set == world.site.on_deck()


async def test_a_service_that_gets_another_name_takes_its_records_along(world: World) -> None:
    """A reload exchanges both at one instant (I4)."""
    await world.checked()
    include = tlsa_file(world.folder, ZONE)
    before = TLSA_FILES.read(include)
    assert before
    entry = world.site.registry[WEB]
    published = asyncio.ensure_future(world.publish())
    world.zones.forget(WEB)
    world.site.registry.put(WEB, Gone())
    # It comes back as another one would: nothing of its own is known.
    world.site.registry.put(WEB, Taken(replace(entry, state=CertState())))
    world.zones.note(WEB)
    await published
    assert TLSA_FILES.read(include) == before


async def test_notes_that_cannot_be_written_end_no_look(world: World) -> None:
    await world.live()
    await world.publish()
    world.serve()
    notes = world.site.place().parent / ".dane.toml"
    notes.unlink()
    notes.mkdir()
    await world.look()
    assert world.zone.unsaved
    assert world.zone.look_trouble is None
    assert world.zone.sighting is not None
    assert world.zone.sighting.since is not None
    notes.rmdir()
    await world.look()
    assert say(world.zone.unsaved) == ""
    assert notes.is_file()


async def test_an_alarm_is_looked_after(world: World) -> None:
    """Nothing is in DNS: it is looked at twice before it is told, and again before long."""
    await world.checked()
    world.served.records.pop((dns.name.from_text(OWNER.text), dns.rdatatype.TLSA))
    clock = asyncio.get_running_loop().time
    await world.zones.do(Watch(ZONE, because("test")))
    assert world.site.registry[WEB].report is None
    assert world.zone.watch_at - clock() <= 60.0
    await world.zones.do(Watch(ZONE, because("test")))
    report = world.site.registry[WEB].report
    assert report is not None
    assert report.wrong
    assert 60.0 < world.zone.watch_at - clock() <= 900.0


async def test_who_asks_is_told_at_once(world: World) -> None:
    await world.checked()
    world.served.records.pop((dns.name.from_text(OWNER.text), dns.rdatatype.TLSA))
    await world.zones.watch(ZONE)
    report = world.site.registry[WEB].report
    assert report is not None
    assert report.wrong


async def test_who_asks_again_within_a_minute_gets_the_last_answer(world: World) -> None:
    """Whoever may read cannot have name servers and ports asked without end."""
    await world.checked()
    before = len(world.server.queries)
    first = await asyncio.gather(*(world.zones.watch(ZONE) for _ in range(50)))
    once = len(world.server.queries) - before
    assert all(first)
    assert not any(await asyncio.gather(*(world.zones.watch(ZONE) for _ in range(50))))
    assert len(world.server.queries) - before == once
    assert await world.zones.watch(ZONE, again=True)
    assert len(world.server.queries) - before == 2 * once


async def test_records_that_nothing_is_noted_of_have_the_ttl_that_is_served(world: World) -> None:
    """ssl-mgr wrote none, so that theirs is the zone's: caches keep them for as long (I4)."""
    await world.live()
    record = f"{OWNER}. IN TLSA 3 1 1 {'ab' * 32}\n"
    (world.folder / f"tlsa.{ZONE}").write_text(record)
    world.served.ttl = 86_400
    world.served.add(OWNER.text, "TLSA", f"3 1 1 {'ab' * 32}")
    await world.publish()
    assert world.zone.notes is not None
    assert world.zone.notes.longest_ttl == 86_400


async def test_without_curr_a_port_is_not_taken_for_unchecked(world: World) -> None:
    """The link is lost, and after a start nobody tells the MX hosts: records may be there (I4)."""
    await world.checked()
    world.site.registry.zones._entries[ZONE] = KnownZone(ZONE, frozenset({WEB}))
    world.become(CertState())
    notes = world.site.place().parent / ".dane.toml"
    notes.unlink()
    notes.symlink_to(notes)  # cannot be read
    await world.publish()
    assert world.zone.given is None
    dane, _ = world.zones.dane(WEB, world.site.registry[WEB])
    assert isinstance(dane, Unknown)
    assert dane.ports is not None


def touched(world: World) -> int:
    """Return how often it was to be decided again what comes next for the certificate."""
    return world.loop.touched.count(("cert", WEB))


async def test_who_waits_for_the_turn_of_a_zone_is_told_when_it_is_free(world: World) -> None:
    await world.live()
    assert not world.zones.is_taken(WEB)
    async with world.zones.turn(WEB):
        assert world.zones.is_taken(WEB)
        published = asyncio.ensure_future(world.publish())
        await asyncio.sleep(0.05)
        assert not published.done()
        assert touched(world) == 0
    assert touched(world) == 1
    await published
    assert touched(world) == 2
    world.command("false")
    await world.publish()
    assert touched(world) == 3
    assert not world.zones.is_taken(ROOT)
    async with world.zones.turn(ROOT):
        assert not world.zones.is_taken(ROOT)


def without_dane(world: World) -> None:
    """Have no dane_tls any more."""
    path = world.site.top / "conf.d/example.com/web"
    path.write_text(path.read_text().removeprefix(DANE))
    world.site.tools.site.config = load(world.site.top / "conf.d")
    registry = world.site.registry
    believe(registry, WEB, wanted=replace(registry[WEB].wanted, dane=False))
    world.zones.note(WEB)


async def test_a_roll_runs_no_command_for_a_zone_that_never_had_records(world: World) -> None:
    """Just after a start nothing was given yet, and a command that hangs would hold it up (I6)."""
    without_dane(world)
    ran = world.site.top / "ran"
    world.command(f"mkdir -p {ran} --")
    await world.site.make_key()
    assert say(await world.zones.may_roll(WEB, world.site.on_deck())) == ""
    assert not ran.exists()


async def test_where_nobody_checks_no_resolver_has_to_show_records(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are for others to publish, and these have not: no roll waits for that (I6)."""
    main = world._main("true").replace(f"tlsa_dirs = ['{world.folder}']\n", "")
    world.site.write("ssl-mgr.conf", main)
    world.site.reload()
    await world.live()
    await world.site.make_key()
    await world.site.certify()
    await world.publish()
    await world.look()
    assert world.zones.dane(WEB, world.site.registry[WEB])[0] == NoRecords()
    asked: list[object] = []

    async def ask(_zone: ZoneName, needed: object, *_: object, signed: bool) -> None:
        asked.append(needed)

    monkeypatch.setattr("sslmd.daemon.zone_watch.ask_resolver", ask)
    assert await world.zones.may_roll(WEB, world.site.on_deck()) is None
    assert [one for one in asked if one] == []


async def test_records_of_a_host_that_no_name_tells_hold_back_a_roll_too(world: World) -> None:
    """DANE is switched off, and the records cannot be withdrawn: caches get them still (I4)."""
    await world.checked()
    without_dane(world)
    await world.site.make_key()
    registry = world.site.registry
    names = frozenset({"elsewhere.example.com"})
    believe(registry, WEB, wanted=replace(registry[WEB].wanted, names=names))
    world.command("false")
    held = await _why_held(world)
    assert "withdrawn" in held or "exit" in held, held


async def test_without_dane_nothing_of_the_zone_holds_up_a_roll(world: World) -> None:
    """I6: another certificate's records at a host that this one has too, and DNS out of reach."""
    await world.checked()
    await world.site.make_key()
    zone = world.zone
    assert zone.notes is not None
    other = frozenset({(OWNER, "example.com/mail")})
    notes = replace(zone.notes, holders=other, fading=frozenset())
    without_dane(world)
    believe_zone(world.site.registry, ZONE, notes=notes, wish=None)  # as after a start
    world.port = 9  # nobody answers there
    world.command("false")
    asked = len(world.server.queries)
    async with world.zones._work.turn(ZONE):  # somebody waits for name servers meanwhile
        assert not world.zones.is_taken(WEB)
        async with world.zones.turn(WEB), asyncio.timeout(5):
            assert say(await world.zones.may_roll(WEB, world.site.on_deck())) == ""
    assert len(world.server.queries) == asked


async def test_records_that_nobody_takes_are_put_back(world: World) -> None:
    """The command succeeds, and no name server ever shows the new records."""
    await world.checked()
    include = tlsa_file(world.folder, ZONE)
    before = TLSA_FILES.read(include)
    await world.site.make_key()
    await world.site.certify()
    world.become(world.site.state(WEB))
    await world.publish()
    assert TLSA_FILES.read(include) != before
    await world.look()
    assert TLSA_FILES.read(include) != before  # there is time
    believe_zone(world.site.registry, ZONE, changed_at=world.zone.changed_at - 3601)
    await world.look()
    assert TLSA_FILES.read(include) == before
    assert "are as they were before" in say(world.zone.trouble)


async def test_a_look_of_any_kind_shows_that_records_are_taken(world: World) -> None:
    """Else the next change that nobody takes would be put back to what was before both (I4)."""
    await world.checked()
    await world.site.make_key()
    await world.site.certify()
    world.become(world.site.state(WEB))
    await world.publish()
    note = world.site.tools.site.tree.before_note(ZONE)
    assert os.path.exists(note)
    world.serve()
    await world.zones.watch(ZONE)
    assert not os.path.exists(note)


async def test_nothing_is_put_back_that_was_given_while_the_turn_was_waited_for(
    world: World,
) -> None:
    await world.checked()
    include = tlsa_file(world.folder, ZONE)
    await world.site.make_key()
    await world.site.certify()
    world.become(world.site.state(WEB))
    await world.publish()
    written = TLSA_FILES.read(include)
    believe_zone(world.site.registry, ZONE, changed_at=world.zone.changed_at - 3601)
    async with world.zones.turn(WEB):
        looking = asyncio.ensure_future(world.look())
        await asyncio.sleep(0.3)
        assert not looking.done()
        believe_zone(world.site.registry, ZONE, changed_at=world.zone.changed_at + 3601)
    await looking
    assert TLSA_FILES.read(include) == written


async def test_where_mail_is_refused_no_record_is_wanted(world: World) -> None:
    """The null MX (RFC 7505)."""
    service = (world.site.top / "conf.d/example.com/web").read_text()
    entry = "[[443, 'tcp', 3, 1, 1, ['www.example.com']]]"
    world.site.write("example.com/web", service.replace(entry, "[[25, 'tcp', 3, 1, 1, 'MX']]"))
    world.site.reload()
    world.served.add("example.com", "MX", "0 .")
    await world.live()
    await world.publish()
    assert TLSA_FILES.read(tlsa_file(world.folder, ZONE)) == {}
    assert any("null MX" in one for one in world.told)
    world.served.records.pop((dns.name.from_text("example.com"), dns.rdatatype.MX))
    assert say(await world.zones.refresh(ZONE)) == "1 TLSA record given to DNS again"


async def test_an_owner_that_nobody_tells_of_gets_no_record_yet(world: World) -> None:
    """Looked at before it is written; and again before long."""
    await world.live()
    port, world.port = world.port, 9
    world.command("true")
    await world.publish()
    assert TLSA_FILES.read(tlsa_file(world.folder, ZONE)) == {}
    assert world.zone.again
    assert any("no record is written" in one for one in world.told)
    world.port = port
    world.command("true")
    await world.publish()
    assert OWNER in (TLSA_FILES.read(tlsa_file(world.folder, ZONE)) or {})


async def _why_held(world: World) -> str:
    try:
        return say(await world.zones.may_roll(WEB, world.site.on_deck()))
    except Transient as err:
        return str(err)


async def test_mx_hosts_that_are_not_wanted_any_more_wake_nobody(world: World) -> None:
    """While what is wanted now cannot be given: the timer went round and round."""
    await world.checked()
    zone = world.zone
    assert zone.wish is not None
    entry = replace(zone.wish.certs[0].entries[0], hosts=TlsaHosts.MX)
    wanted = zone.wish
    certs = (replace(zone.wish.certs[0], entries=(entry,)),)
    zone = replace(
        zone,
        wish=replace(zone.wish, certs=certs),
        tried=wanted,
        failed=Trouble.of(Transient("the disk is full"), 0, START, jitter=0),
        again=True,
        mx_at=99.0,
        retry_at=200.0,
        files_at=200.0,
        look_at=200.0,
        watch_at=200.0,
    )
    decision = decide_zone(ZoneView(zone, wanted, lambda: False, 3600.0), 100.0)
    assert decision.job is None
    assert decision.again_at == 200.0


async def test_a_name_server_that_answers_everything_with_64_kb(world: World) -> None:
    """Nothing stands still, and what is wrong is told of the certificate of that zone (I6)."""
    await world.checked()
    service = (world.site.top / "conf.d/example.com/web").read_text()
    ports = ", ".join(f"[{n}, 'tcp', 3, 1, 1, ['www.example.com']]" for n in range(443, 463))
    row = service.partition("\n")[0]
    world.site.write("example.com/web", service.replace(row, f"dane_tls = [{ports}]"))
    world.site.reload()
    world.zones.note(WEB)
    await world.publish()

    def answering(query: dns.message.Message, tcp: bool) -> Answer:
        if tcp:
            return many_records(query)
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.TC
        return cut

    world.server.answering = answering
    async with watched() as stalls:
        await world.zones.do(Watch(ZONE, because("test")))
        await world.zones.do(Watch(ZONE, because("test")))
    assert stalls.longest < LONGEST
    report = world.site.registry[WEB].report
    assert report is not None
    assert any("sends an answer of 3800 records" in text for text in report.wrong)
    assert "3800 records" in str(status_entry(WEB, world.site.registry.entries[WEB])["dane"])


async def test_status_has_what_is_cut_off() -> None:
    bounds().cut(ZONE, Reason(Failed.CUT_SERVERS, number=40, most=16))
    (told,) = beside.dns()
    assert told["text"].startswith("zone example.com: of its 40 name servers the first 16 by name")
    assert told["reason_code"] == "not-watched"


async def on_deck(world: World) -> CertState:
    """Have a first certificate on deck, and nothing in use."""
    await world.site.with_cas()
    await world.site.make_key()
    await world.site.certify()
    world.zones.note(WEB)
    await world.publish()
    return world.site.state(WEB)


@pytest.mark.parametrize("by_hand", ["", f"3 1 1 {'0f' * 32}", f"3 1 2 {'0f' * 64}"])
async def test_a_first_certificate_waits_for_records_that_somebody_wrote_by_hand(
    world: World, by_hand: str
) -> None:
    """Whose key its port serves is not known: at once only where nobody checks that (I4)."""
    if by_hand:
        world.served.add(OWNER.text, "TLSA", by_hand)
    state = await on_deck(world)
    assert state.next is not None
    assert isinstance(world.zones.dane(WEB, world.site.registry[WEB])[0], Unknown)
    await world.look()
    dane, _ = world.zones.dane(WEB, world.site.registry[WEB])
    refused = await world.zones.may_roll(WEB, state.next.name)
    if not by_hand:
        assert isinstance(dane, NoRecords)
        assert say(refused) == ""
    elif by_hand.startswith("3 1 2"):
        # Ours would be no stronger: the admin has to say which numbers are to be used.
        await world.publish()
        dane, _ = world.zones.dane(WEB, world.site.registry[WEB])
        assert isinstance(dane, HeldBack)
        assert "they are not of a key of ours" in say(dane.why)
        assert await world.zones.may_roll(WEB, state.next.name)
    else:
        assert refused
        assert world.zone.again
        await world.publish()
        assert TLSA_FILES.read(tlsa_file(world.folder, ZONE))
        content = TLSA_FILES.read(tlsa_file(world.folder, ZONE)) or {}
        world.served.add(OWNER.text, "TLSA", by_hand, *map(str, content[OWNER].records))
        await world.look()
        dane, _ = world.zones.dane(WEB, world.site.registry[WEB])
        assert isinstance(dane, Counting)
        assert dane.sighting is not None
        assert dane.sighting.since is not None
        assert await world.zones.may_roll(WEB, state.next.name)


async def test_a_first_certificate_waits_for_a_name_server_that_does_not_answer(
    world: World,
) -> None:
    state = await on_deck(world)
    assert state.next is not None
    world.port = 9  # nobody answers there
    world.command("true")
    await world.look()
    dane, _ = world.zones.dane(WEB, world.site.registry[WEB])
    assert isinstance(dane, Unknown)
    assert await world.zones.may_roll(WEB, state.next.name)
