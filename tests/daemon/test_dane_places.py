"""TLSA records where a zone is not as the configuration thinks: CNAMEs, cuts, wildcards (I4).

With BIND, and all that the daemon does for a zone; only time is the test's own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from sslmd.core.dane.report import findings_of
from sslmd.core.dane.tlsa import Material, association
from sslmd.core.dane.verdict import Counting
from sslmd.core.dane.zone import KnownZone
from sslmd.core.errors import Transient, Trouble
from sslmd.core.jobs import Look, Publish
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.state import Phase
from sslmd.core.words.sentence import say
from sslmd.daemon.api.documents import dane as document_of
from sslmd.daemon.zones import Zones
from sslmd.dns.include import TLSA_FILES
from sslmd.store.layout import tlsa_file
from tests.reasons import because, text
from tests.stand import bind
from tests.stand.bind import Primary
from tests.stand.bind import Zone as BindZone
from tests.stand.tools import MAIN, WEB, Site, StillLoop, believe, believe_zone
from tests.stand.world import START

pytestmark = pytest.mark.skipif(bool(bind.missing()), reason=bind.missing())

ZONE = ZoneName("example.com")
CHILD = "lab.example.com"

# A site as there are many: one record for all ports of the mail server, a host at a provider, a
# part of the zone that is a zone of its own, machines by a wildcard, and a host that is a CNAME.
RECORDS = """\
@               MX      10 mail
mail            A       127.0.0.1
*.mail          A       127.0.0.9
_25._tcp.mail   CNAME   _dane.mail
_465._tcp.mail  CNAME   _25._tcp.mail
_993._tcp.mail  CNAME   _dane.provider.test.
_1._tcp.mail    CNAME   _2._tcp.mail
_2._tcp.mail    CNAME   _1._tcp.mail
*._tcp.shop     CNAME   _dane.mail
shop            A       127.0.0.1
www             CNAME   mail
lab             NS      ns1
*.apps          A       127.0.0.1
*               A       127.0.0.8
"""
PROVIDER = "@ A 127.0.0.1\n"

# Owners, and where the records are that clients find for them; "" where none is written.
OWNERS = {
    "_25._tcp.mail.example.com": "_dane.mail.example.com",
    "_465._tcp.mail.example.com": "_dane.mail.example.com",
    "_443._tcp.shop.example.com": "_443._tcp.shop.example.com",
    "_443._tcp.www.example.com": "_443._tcp.www.example.com",
    "_25._tcp.example.com": "_25._tcp.example.com",
    "_993._tcp.mail.example.com": "",
    "_1._tcp.mail.example.com": "",
    "_443._tcp.a.lab.example.com": "",
    "_465._tcp.a.apps.example.com": "",
}


def _dane_tls() -> str:
    rows = []
    for owner in OWNERS:
        port, _, host = owner.split(".", 2)
        rows.append([int(port[1:]), "tcp", 3, 1, 1, [host]])
    return f"dane_tls = {rows}\ndane_tls_ttl = 60\n"


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Primary]:
    zones = [BindZone(ZONE.text, RECORDS), BindZone(CHILD, "a A 127.0.0.1\n")]
    zones.append(BindZone("provider.test", PROVIDER))
    with ExitStack() as stack:
        yield stack.enter_context(Primary(tmp_path_factory.mktemp("bind") / "ns1", zones))


def load(primary: Primary, text: str) -> None:
    """Have BIND serve another zone file; return when it does."""
    serial = primary.serial(ZONE.text)
    text = re.sub(r"\d+(?=\s+; serial)", str(serial), text)
    primary.zone_file(ZONE.text).write_text(text)
    primary.reload(ZONE.text)
    primary.wait_serial(ZONE.text, serial + 1)


class World:
    """A site whose zone is BIND's, with a certificate in use."""

    def __init__(self, top: Path, primary: Primary) -> None:
        self.primary = primary
        address, _, port = primary.address.partition(":")
        main = (
            f"{MAIN}[[dns_primary]]\ndomain = 'default'\nserver = '{address}'\nport = {port}\n"
            f"nameservers = ['{primary.address}']\n"
            f"[dns]\nrestart_cmd = \"{primary.restart_cmd}\"\ntlsa_dirs = ['{primary.tlsa_dir}']\n"
        )
        self.site = Site(top, main)
        web = (top / "conf.d/example.com/web").read_text()
        self.site.write("example.com/web", _dane_tls() + web)
        self.site.reload()
        self.told: list[str] = []

        self.loop = StillLoop(self.site.tools.site.now)
        tools, registry = self.site.tools, self.site.registry
        self.zones = Zones(
            tools.publishing,
            registry,
            self.loop,
            self._tell,
        )
        registry.listen(lambda cert, *_: self.zones.note(cert))
        self.site.registry.dane_of = self.zones.dane
        self.zones.note(WEB)

    def _tell(self, event: str, line: Reason | str, priority: int, cert: CertId | None) -> None:
        self.told.append(text(line))

    @property
    def zone(self) -> KnownZone:
        zone = self.zones.zone_of(WEB)
        assert zone is not None
        return zone

    async def live(self) -> None:
        await self.site.with_cas()
        await self.site.renew(WEB)
        self.prove()

    def prove(self) -> None:
        """Have every server use what is in use."""
        state = self.site.state(WEB)
        assert state.curr is not None
        name = state.curr.name
        state = replace(state, deployed=name, settled=name, phase=Phase.SETTLED)
        believe(self.site.registry, WEB, state=state)
        self.zones.note(WEB)

    async def publish(self) -> None:
        await self.zones.do(Publish(ZONE, because("test")))
        await self.zones.do(Look(ZONE, because("test")))

    def written(self) -> set[str]:
        content = TLSA_FILES.read(tlsa_file(self.primary.tlsa_dir, ZONE)) or {}
        return {owner.text for owner in content}

    def shown(self, owner: str) -> list[str]:
        return bind.answer(self.primary, owner, "TLSA")

    def record(self) -> str:
        """Return the record of the key in use, as BIND writes it."""
        state = self.site.state(WEB)
        assert state.curr is not None
        assert self.zone.given is not None
        made: Material = self.zone.given.materials[WEB][state.curr.name]
        record = association(self.site.tools.site.config.services[WEB].dane[0].combination, made)
        assert record is not None
        return f"3 1 1 {record.data}"

    def texts(self) -> str:
        now, limit = self.site.now, self.site.tools.site.config.globals.dns_check_timeout
        found = findings_of(self.zone, WEB, self.site.state(WEB), now, limit)
        return "\n".join(f"{one.where}: {one.text}" for one in found)


@pytest.fixture
async def world(tmp_path: Path, primary: Primary) -> World:
    world = World(tmp_path / "site", primary)
    await world.live()
    return world


async def test_records_go_where_clients_find_them_and_nowhere_else(world: World) -> None:
    primary = world.primary
    await world.publish()
    assert world.zone.trouble is None
    assert world.written() == {where for where in OWNERS.values() if where}
    for owner, where in OWNERS.items():
        shown = [one.replace(" ", "") for one in world.shown(owner)]
        assert (world.record().replace(" ", "") in shown) == bool(where), owner
    # The machine that a wildcard gives its address keeps it.
    assert bind.answer(primary, "a.apps.example.com", "A") == ["127.0.0.1"]
    told = "\n".join(world.told)
    assert "_993._tcp.mail.example.com is a CNAME to _dane.provider.test" in told
    assert "_443._tcp.a.lab.example.com is in zone lab.example.com" in told
    assert "list lab.example.com in [[groups]]" in told
    assert "_1._tcp.mail.example.com: no record is written: the CNAMEs of" in told
    assert "a.apps.example.com has its records from *.apps.example.com alone" in told
    texts = world.texts()
    assert "its records are written at _dane.mail.example.com" in texts
    assert "add _dane.provider.test TLSA 3 1 1" in texts or "not seen" in texts
    # What is there can be loaded: the next start of the name server serves the zone.
    primary.stop()
    primary.start()
    assert len(world.shown("_443._tcp.shop.example.com")) == 1
    assert document_of_ok(world) is False


def document_of_ok(world: World) -> object:
    class Hub:
        registry = world.site.registry
        zones = world.zones

    return document_of(Hub, WEB)["ok"]  # type: ignore[arg-type]


async def test_what_could_not_be_put_together_is_said_not_to_be_seen(world: World) -> None:
    """I11: with DNS out of reach from the start, `dane` and `check` say why they know nothing."""
    silent = Transient("ns1 does not answer")
    failed = Trouble.of(silent, 0, START, jitter=0)
    believe_zone(world.site.registry, ZONE, failed=failed)
    await world.zones.watch(ZONE)
    report = world.site.registry[WEB].report
    assert report is not None
    assert report.unseen == ["DNS: not seen: ns1 does not answer"]
    assert not report.fits


async def test_a_file_that_breaks_the_zone_is_put_back(world: World) -> None:
    """The admin makes a CNAME where we are about to write, and nothing shows it yet."""
    primary = world.primary
    await world.publish()
    good = (primary.tlsa_dir / f"tlsa.{ZONE}").read_bytes()
    file = primary.zone_file(ZONE.text)
    before = file.read_text()
    service = world.site.top / "conf.d/example.com/web"
    entry = "[5, 'tcp', 3, 1, 1, ['mail.example.com']]"
    service.write_text(service.read_text().replace("dane_tls = [", f"dane_tls = [{entry}, ", 1))
    world.site.reload()
    world.prove()
    # In the file alone: BIND has not loaded it.
    file.write_text(f"{before}_5._tcp.mail CNAME mail\n")
    try:
        await world.publish()
        assert "without its new records the command succeeds" in say(world.zone.trouble)
        assert (primary.tlsa_dir / f"tlsa.{ZONE}").read_bytes() == good
        primary.stop()
        primary.start()
        assert len(world.shown("_443._tcp.shop.example.com")) == 1
        # Now it shows: the record goes to the end of the CNAME, if that can be.
        await world.publish()
        assert world.zone.trouble is None
        assert "mail.example.com" in world.written()
    finally:
        load(primary, before)


async def test_an_owner_becomes_a_cname_and_itself_again(world: World) -> None:
    primary = world.primary
    before = primary.zone_file(ZONE.text).read_text()
    include = primary.tlsa_dir / f"tlsa.{ZONE}"
    await world.publish()
    www = DomainName("_443._tcp.www.example.com")
    assert www.text in world.written()
    try:
        # By hand: out of the include file, and a CNAME in its place.
        lines = include.read_text().splitlines(keepends=True)
        include.write_text("".join(one for one in lines if www.text not in one))
        load(primary, f"{before}_443._tcp.www CNAME _dane.mail\n")
        await world.zones.do(Look(ZONE, because("test")))
        assert world.zone.again
        await world.publish()
        assert www.text not in world.written()
        assert world.zone.trouble is None
        load(primary, before)
        await world.zones.do(Look(ZONE, because("test")))
        assert world.zone.again
        await world.publish()
        assert www.text in world.written()
    finally:
        load(primary, before)


async def test_a_host_that_is_a_cname_is_checked_at_its_end_first(world: World) -> None:
    """RFC 7671 §7: `www` leads to `mail`, where somebody has a record of another key."""
    primary = world.primary
    before = primary.zone_file(ZONE.text).read_text()
    www, end = DomainName("_443._tcp.www.example.com"), DomainName("_443._tcp.mail.example.com")
    await world.publish()
    assert world.zone.ends[www] == end
    assert f"{www}: its host is a CNAME, so clients look at {end} first" in world.texts()
    assert "there are no TLSA records there, so those here count" in world.texts()
    assert end not in world.zone.kept_by_others(WEB)
    try:
        load(primary, f"{before}_443._tcp.mail 7200 TLSA 3 1 1 {'0f' * 32}\n")
        await world.zones.do(Look(ZONE, because("test")))
        wanted = world.record().replace("3 1 1 ", "TLSA 3 1 1 ")
        assert f"no TLSA record there is of the key in use; add {end} {wanted}" in world.texts()
        assert document_of_ok(world) is False
        shown = world.zone.shown_to_clients()[www]
        assert [one.data for one in shown] == ["0f" * 32]
        dane, _ = world.zones.dane(WEB, world.site.registry[WEB])
        assert isinstance(dane, Counting)
        assert dane.ports.ttl == 7200
        # Its port is looked at once, by the name that clients know.
        assert end not in world.zone.looked_at(WEB)
        assert www in world.zone.looked_at(WEB)
    finally:
        load(primary, before)


async def test_everything_at_once_stays_bounded(world: World) -> None:
    """A start with nothing to find out asks no more than it did."""
    await world.publish()
    asked = len(world.primary.queries(kind="CNAME"))
    async with asyncio.timeout(20):
        await world.publish()
    again = len(world.primary.queries(kind="CNAME")) - asked
    assert again <= 4 * len(OWNERS)
