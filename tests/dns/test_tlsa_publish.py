"""TLSA records into DNS: by files or updates, never an instant without what has to stay."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import dns.message
import dns.name
import dns.rcode
import dns.update
import pytest

from sslmd.config.load import load
from sslmd.config.model import Argv
from sslmd.core.dane.tlsa import Content, Tlsa, TlsaSet
from sslmd.core.errors import Overdue, Permanent, Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.records import TxtRecord
from sslmd.core.words.sentence import say
from sslmd.dns import publish as challenges
from sslmd.dns.include import TLSA_FILES, parse_tlsa
from sslmd.dns.means import Means
from sslmd.dns.notes import Stage, read_note, write_note
from sslmd.dns.resolver import Resolver
from sslmd.dns.runs import Pace
from sslmd.dns.tlsa_publish import (
    TlsaPublished,
    confirm,
    differs,
    is_of_others,
    publish,
    published,
    put_back,
)
from sslmd.dns.zone_files import write_files
from sslmd.store.layout import Tree, tlsa_file
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder

P = ParamSpec("P")
T = TypeVar("T")

ZONE = ZoneName("example.com")
MAIL = DomainName("_25._tcp.mail.example.com")
WEB = DomainName("_443._tcp.example.com")
ONE = Tlsa(3, 1, 1, "ab" * 32)
TWO = Tlsa(3, 1, 1, "cd" * 32)

# Seconds. A bound for what would otherwise hang.
LONG = 20

QUICK = Pace(quiet=0.05, longest=1.0, along=0.1)


def of(*some: Tlsa, ttl: int = 60) -> TlsaSet:
    return TlsaSet(ttl, frozenset(some))


FIRST: Content = {MAIL: of(ONE), WEB: of(ONE)}
BOTH: Content = {MAIL: of(ONE, TWO), WEB: of(ONE)}
LAST: Content = {MAIL: of(TWO)}


class World:
    """A zone's folders, its command, and a primary that takes updates; what is done is noted."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.dirs = [top / "one", top / "two"]
        for folder in (*self.dirs, top / "conf.d", top / "acme"):
            folder.mkdir()
        self.calls: list[Argv] = []
        self.seen: list[Content | None] = []  # the note, whenever something is told to DNS
        self.command: Callable[[], None] = lambda: None
        self.served: dict[DomainName, set[str]] = {}
        self.refused: set[DomainName] = set()
        self.rcode = dns.rcode.NOERROR
        self.hold = asyncio.Event()
        self.hold.set()
        self.running = self.most = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Means]:
        async with Responder(self._answer) as self.responder:
            self.configure()
            self.means = Means(
                lambda: self.config, self._run, self._thread, Resolver(ASKER, []), pace=QUICK
            )
            yield self.means

    def configure(self, *dirs: Path, update: bool = False) -> None:
        """Publish into folders, or by update."""
        listed = [str(folder) for folder in dirs]
        port = self.responder.server.port
        (self.top / "conf.d" / "ssl-mgr.conf").write_text(
            f"[[dns_primary]]\ndomain = 'default'\nserver = '127.0.0.1'\nport = {port}\n"
            f"update = {'true' if update else 'false'}\n"
            f"[dns]\nacme_dir = 'acme'\ntlsa_dirs = {listed}\nrestart_cmd = '/reload'\n"
        )
        self.config = load(self.top / "conf.d")

    async def _thread(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return func(*args, **kwargs)

    async def _run(self, argv: Argv) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.calls.append(argv)
        self.seen.append(self.note)
        try:
            await self.hold.wait()
            self.command()
        finally:
            self.running -= 1

    def _answer(self, query: dns.message.Message, tcp: bool) -> Answer:
        assert isinstance(query, dns.update.UpdateMessage)
        made = dns.message.make_response(query)
        self.seen.append(self.note)
        names = {DomainName(rrset.name.to_text(omit_final_dot=True)) for rrset in query.update}
        made.set_rcode(dns.rcode.REFUSED if names & self.refused else self.rcode)
        if made.rcode() == dns.rcode.NOERROR:
            for rrset in query.update:
                there = self.served.setdefault(
                    DomainName(rrset.name.to_text(omit_final_dot=True)), set()
                )
                some = {rdata.to_text(chunksize=0) for rdata in rrset}
                if rrset.deleting is None:
                    there |= some
                else:
                    there -= some
        return made

    @property
    def note(self) -> Content | None:
        if not Path(self.note_file).exists():
            return None
        return read_note(self.tree, ZONE, TLSA_FILES).content

    @property
    def tree(self) -> Tree:
        return Tree(str(self.config.globals.certs_dir))

    @property
    def note_file(self) -> str:
        return self.tree.tlsa_note(ZONE)

    @property
    def copy(self) -> str:
        return tlsa_file(self.config.globals.prod_cert_dir / ZONE.text, ZONE)

    def file(self, folder: Path) -> Content | None:
        data = TLSA_FILES.data_of(tlsa_file(folder, ZONE))
        return None if data is None else parse_tlsa(data, 1)

    def serves(self) -> Content:
        content: dict[DomainName, TlsaSet] = {}
        for owner, some in self.served.items():
            if some:
                words = [text.split() for text in some]
                content[owner] = of(
                    *(Tlsa(int(u), int(s), int(m), data) for u, s, m, data in words)
                )
        return content


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# --- by files ---


async def test_into_every_folder_then_the_command(world: World) -> None:
    async with world.open() as means:
        world.configure(*world.dirs)
        assert differs(means, ZONE, FIRST)
        assert await publish(means, ZONE, FIRST) == TlsaPublished({})
        assert world.calls == [("/reload", "--serial_bump", ZONE.text)]
        for folder in world.dirs:
            assert world.file(folder) == FIRST
        assert TLSA_FILES.read(world.copy) == FIRST
        assert published(means, ZONE) == FIRST
        assert differs(means, ZONE, FIRST) is None
        result = await publish(means, ZONE, LAST)
        assert result == TlsaPublished(FIRST)
        assert world.seen[1] == {**BOTH}  # noted before it was told: old and new
        assert world.note == LAST


async def test_a_file_is_there_when_there_is_nothing_to_say(world: World) -> None:
    async with world.open() as means:
        world.configure(world.dirs[0])
        assert say(differs(means, ZONE, {})) == (f"{tlsa_file(world.dirs[0], ZONE)} is not there")
        await publish(means, ZONE, {})
        assert Path(tlsa_file(world.dirs[0], ZONE)).read_bytes() == TLSA_FILES.render(ZONE, {})
        assert differs(means, ZONE, {}) is None


@pytest.mark.parametrize("content", [{}, FIRST])
async def test_what_is_not_as_it_was_written(world: World, content: Content) -> None:
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, content)
        path = Path(tlsa_file(world.dirs[1], ZONE))
        path.write_text(path.read_text() + "x")
        assert say(differs(means, ZONE, content)) == f"{path} was changed by others"
        path.unlink()
        assert say(differs(means, ZONE, content)) == f"{path} is not there"
        path.mkdir()
        assert str(path) in say(differs(means, ZONE, content))
        path.rmdir()
        await publish(means, ZONE, content)
        copy = Path(world.copy)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(TLSA_FILES.render(ZONE, content) + b"x")
        assert world.copy in say(differs(means, ZONE, content))
        await publish(means, ZONE, content)
        assert differs(means, ZONE, content) is None


async def test_what_is_to_change(world: World) -> None:
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)
        assert say(differs(means, ZONE, {**FIRST, MAIL: of(ONE, ttl=61)})) == (
            f"the TLSA records of {MAIL} get another TTL"
        )
        assert say(differs(means, ZONE, LAST)) == (f"the TLSA records of {MAIL}, {WEB} change")
        world.configure(world.dirs[0])
        assert say(differs(means, ZONE, FIRST)) == (
            f"TLSA records were published by {world.dirs[0]}, {world.dirs[1]}, "
            f"and now are by {world.dirs[0]}"
        )


async def test_a_folder_that_is_missing_keeps_out_no_other(world: World) -> None:
    gone = world.top / "gone"
    async with world.open() as means:
        world.configure(gone, *world.dirs)
        with pytest.raises(Permanent, match=rf"the directory {gone} is not there; make it"):
            await publish(means, ZONE, FIRST)
        assert [world.file(folder) for folder in world.dirs] == [FIRST, FIRST]
        assert len(world.calls) == 1
        assert f"the directory {gone} is not there" in say(differs(means, ZONE, FIRST))
        gone.mkdir()
        await publish(means, ZONE, FIRST)
        assert differs(means, ZONE, FIRST) is None


async def test_no_folder_no_command(world: World) -> None:
    async with world.open() as means:
        world.configure(world.top / "gone")
        assert differs(means, ZONE, {}) is None
        with pytest.raises(Permanent):
            await publish(means, ZONE, FIRST)
        assert world.calls == []


async def test_no_way_to_publish(world: World) -> None:
    async with world.open() as means:
        with pytest.raises(Permanent, match=r"no way to publish TLSA records: write tlsa_dirs"):
            await publish(means, ZONE, FIRST)
        assert await publish(means, ZONE, {}) == TlsaPublished({}, given=False)
        assert differs(means, ZONE, {}) is None
        with pytest.raises(ValueError):
            await publish(means, ZoneName("example.net"), FIRST)


async def test_a_command_that_fails(world: World) -> None:
    def fail() -> None:
        raise Transient("no")

    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)
        world.command = fail
        with pytest.raises(Transient, match="no"):
            await publish(means, ZONE, LAST)
        assert published(means, ZONE) == BOTH
        assert differs(means, ZONE, LAST)
        assert differs(means, ZONE, FIRST)
        world.command = lambda: None
        assert await publish(means, ZONE, LAST) == TlsaPublished(BOTH)
        assert differs(means, ZONE, LAST) is None


async def test_a_folder_that_is_used_no_more(world: World) -> None:
    one, two = world.dirs
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)
        world.configure(two)
        world.command = lambda: world.seen.append(world.file(one))
        await publish(means, ZONE, FIRST)
        assert world.seen[-1] == FIRST  # still there when the other began to serve
        assert world.file(one) == {}
        assert world.file(two) == FIRST
        link = world.top / "link"
        link.symlink_to(two)
        world.configure(link)
        await publish(means, ZONE, FIRST)
        assert world.file(two) == FIRST
        world.configure()
        with pytest.raises(Permanent, match="no way"):
            await publish(means, ZONE, FIRST)
        assert world.file(two) == FIRST
        assert differs(means, ZONE, {})
        await publish(means, ZONE, {})
        assert world.file(two) == {}
        assert len(world.calls) == 4
        assert differs(means, ZONE, {}) is None


async def test_what_ssl_mgr_left(world: World) -> None:
    one, two = world.dirs
    line = f"{MAIL}. IN TLSA {ONE}\n"
    left = {MAIL: of(ONE, ttl=1800)}
    async with world.open() as means:
        world.configure(one, two)
        Path(tlsa_file(two, ZONE)).write_text(line)
        assert published(means, ZONE) == left
        Path(world.note_file).parent.mkdir(parents=True)
        Path(world.note_file).write_text(line.replace(ONE.data, TWO.data))
        assert published(means, ZONE) == left  # name servers read the include files
        assert differs(means, ZONE, {MAIL: of(TWO, ttl=1800)})
        await publish(means, ZONE, left)
        assert differs(means, ZONE, left) is None


# --- by update ---


async def test_by_update(world: World) -> None:
    async with world.open() as means:
        world.configure(update=True)
        await publish(means, ZONE, FIRST)
        assert world.seen == [FIRST]
        assert world.serves() == FIRST
        assert differs(means, ZONE, FIRST) is None
        await publish(means, ZONE, LAST)
        assert world.seen[-1] == BOTH
        assert world.serves() == world.note == TLSA_FILES.read(world.copy) == LAST
        assert world.calls == []
        await publish(means, ZONE, {})
        assert world.serves() == {}
        assert differs(means, ZONE, {}) is None


async def test_an_owner_that_is_refused(world: World) -> None:
    async with world.open() as means:
        world.configure(update=True)
        await publish(means, ZONE, FIRST)
        world.refused = {WEB}
        with pytest.raises(Permanent, match=f"let the key change TLSA records of {WEB}"):
            await publish(means, ZONE, {MAIL: of(TWO), WEB: of(TWO)})
        assert world.serves() == {MAIL: of(TWO), WEB: of(ONE)}
        assert published(means, ZONE) == {MAIL: of(TWO), WEB: of(ONE)}
        world.refused = set()
        world.rcode = dns.rcode.SERVFAIL
        with pytest.raises(Transient):
            await publish(means, ZONE, FIRST)
        assert published(means, ZONE) == {MAIL: of(ONE, TWO), WEB: of(ONE)}
        world.rcode = dns.rcode.NOERROR
        await publish(means, ZONE, FIRST)
        assert world.serves() == FIRST


async def test_what_may_pass_does_not_wait_because_of_an_owner_that_is_refused(
    world: World,
) -> None:
    """I6: what needs a person is tried again daily, and the other owner in minutes."""
    async with world.open() as means:
        world.configure(update=True)
        world.refused, world.rcode = {WEB}, dns.rcode.SERVFAIL
        with pytest.raises(Transient) as caught:
            await publish(means, ZONE, {MAIL: of(ONE), WEB: of(ONE)})
        text = str(caught.value)
        assert f"let the key change TLSA records of {WEB}" in text
        assert "SERVFAIL" in text
        assert text.count(f"zone {ZONE}") == 1


# --- from one to the other ---


async def test_from_update_to_files(world: World) -> None:
    async with world.open() as means:
        world.configure(update=True)
        await publish(means, ZONE, BOTH)
        world.configure(*world.dirs)
        assert "published by update, and now are by" in say(differs(means, ZONE, BOTH))
        world.command = lambda: world.seen.append(world.serves())
        assert await publish(means, ZONE, FIRST) == TlsaPublished(BOTH)
        assert world.seen[-2] == BOTH  # the command ran before anything was taken back
        # What stays is in the same zone, whoever put it there: it must not go.
        assert world.serves() == FIRST
        assert differs(means, ZONE, FIRST) is None


@pytest.mark.parametrize(
    ("rcode", "again"), [(dns.rcode.REFUSED, False), (dns.rcode.SERVFAIL, True)]
)
async def test_what_cannot_be_taken_back(
    world: World, rcode: dns.rcode.Rcode, *, again: bool
) -> None:
    async with world.open() as means:
        world.configure(update=True)
        await publish(means, ZONE, BOTH)
        world.configure(*world.dirs)
        world.rcode = rcode
        result = await publish(means, ZONE, FIRST)
        assert f"may still be in DNS, remove them there: {MAIL}" in say(result.left)
        assert bool(differs(means, ZONE, FIRST)) is again
        world.rcode = dns.rcode.NOERROR
        if again:
            assert await publish(means, ZONE, FIRST) == TlsaPublished(BOTH)
            assert world.serves() == FIRST
            assert differs(means, ZONE, FIRST) is None


async def test_nobody_to_take_it_back(world: World) -> None:
    async with world.open() as means:
        world.configure(update=True)
        await publish(means, ZONE, FIRST)
        world.configure(*world.dirs)
        world.config = replace(world.config, dns_primaries=())
        result = await publish(means, ZONE, LAST)
        assert say(result.left) == (
            f"old TLSA records may still be in DNS, remove them there: {MAIL}, {WEB}"
        )
        assert differs(means, ZONE, LAST) is None


async def test_from_files_to_update(world: World) -> None:
    one, two = world.dirs
    async with world.open() as means:
        world.configure(one, two)
        await publish(means, ZONE, FIRST)
        world.configure(two, update=True)
        assert differs(means, ZONE, FIRST)
        await publish(means, ZONE, LAST)
        assert world.serves() == LAST
        assert world.file(one) == {}
        assert world.file(two) == LAST  # the zone file may include it still
        assert differs(means, ZONE, LAST) is None
        Path(tlsa_file(two, ZONE)).unlink()
        assert differs(means, ZONE, LAST)
        await publish(means, ZONE, FIRST)
        assert world.file(two) == FIRST
        world.configure(update=True)
        await publish(means, ZONE, FIRST)
        assert world.file(two) == {}
        assert differs(means, ZONE, FIRST) is None


# --- with challenges ---


# --- what ssl-mgr, and others, have written ---

THEIRS = f""";;
;; TLSA example.com : phase = normal
;;
_25._tcp.mail.example.com. IN TLSA 3 1 1 {"ab" * 32}
_443._tcp.example.com. 7200  IN TLSA 3 1 1 {"AB" * 32}

"""


def left_by_ssl_mgr(world: World, *but: Path) -> list[Path]:
    """Return the files that it has left, in every place that it has."""
    world.configure(*world.dirs)
    note, copy = Path(world.note_file), Path(world.copy)
    paths = [Path(tlsa_file(folder, ZONE)) for folder in world.dirs] + [note, copy]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path not in but:
            path.write_text(THEIRS)
    return paths


async def test_what_says_the_same_stays_as_it_is(world: World) -> None:
    """Comments, letters, blanks and lifetimes are ssl-mgr's."""
    async with world.open() as means:
        paths = left_by_ssl_mgr(world)
        assert differs(means, ZONE, FIRST) is None
        assert is_of_others(means, ZONE)
        assert await publish(means, ZONE, FIRST) == TlsaPublished(
            published(means, ZONE), given=False
        )
        assert [path.read_text() for path in paths] == [THEIRS] * 4
        assert world.calls == []
        # When records change, all of it becomes ours.
        assert await publish(means, ZONE, BOTH)
        assert [TLSA_FILES.read(str(path)) for path in paths] == [BOTH] * 4
        assert len(world.calls) == 1
        assert not is_of_others(means, ZONE)
        assert "another TTL" in say(differs(means, ZONE, {**BOTH, MAIL: of(ONE, TWO, ttl=61)}))


async def test_who_asks_for_it_gets_our_files(world: World) -> None:
    async with world.open() as means:
        paths = left_by_ssl_mgr(world)
        assert (await publish(means, ZONE, FIRST, again=True)).given
        assert [TLSA_FILES.read(str(path)) for path in paths] == [FIRST] * 4
        assert len(world.calls) == 1


@pytest.mark.parametrize("missing", [0, 1])
async def test_only_the_file_that_is_not_right_is_written(world: World, missing: int) -> None:
    async with world.open() as means:
        world.configure(*world.dirs)
        gone = Path(tlsa_file(world.dirs[missing], ZONE))
        paths = left_by_ssl_mgr(world, gone)
        assert say(differs(means, ZONE, FIRST)) == f"{gone} is not there"
        assert (await publish(means, ZONE, FIRST)).given
        assert TLSA_FILES.read(str(gone)) == FIRST
        assert {path.read_text() for path in paths[:2] if path != gone} == {THEIRS}
        assert len(world.calls) == 1
        assert differs(means, ZONE, FIRST) is None


async def test_a_copy_in_production_alone_is_no_reason_for_a_run(world: World) -> None:
    async with world.open() as means:
        world.configure(*world.dirs)
        copy = Path(world.copy)
        paths = left_by_ssl_mgr(world, copy)
        assert "is not there" in say(differs(means, ZONE, FIRST))
        assert not (await publish(means, ZONE, FIRST)).given
        assert TLSA_FILES.read(str(copy)) == FIRST
        assert [path.read_text() for path in paths[:3]] == [THEIRS] * 3
        assert world.calls == []
        assert differs(means, ZONE, FIRST) is None


async def test_an_old_note_of_theirs_is_no_reason_for_a_run(world: World) -> None:
    """Name servers read the include files."""
    async with world.open() as means:
        paths = left_by_ssl_mgr(world)
        Path(world.note_file).write_text(THEIRS.replace("ab" * 32, "ef" * 32))
        assert differs(means, ZONE, FIRST) is None
        assert not (await publish(means, ZONE, FIRST)).given
        assert [path.read_text() for path in (*paths[:2], paths[3])] == [THEIRS] * 3
        assert world.calls == []
        # Without any file it is all that tells what may be in DNS.
        for path in paths[:2]:
            path.unlink()
        assert published(means, ZONE)[MAIL].records == {Tlsa(3, 1, 1, "ef" * 32)}


async def test_nothing_to_say_and_nothing_there(world: World) -> None:
    """A zone that is in use includes no file that is not there; a new one may."""
    async with world.open() as means:
        world.configure(*world.dirs)
        means.established = lambda zone: zone == ZONE
        net = ZoneName("example.net")
        for zone in (ZONE, net):
            assert not (await publish(means, zone, {})).given
            for folder in world.dirs:
                assert TLSA_FILES.read(tlsa_file(folder, zone)) == {}
            assert differs(means, zone, {}) is None
        async with asyncio.timeout(LONG):
            while not world.calls:
                await asyncio.sleep(0.01)
        assert world.calls == [("/reload", "--serial_bump", "example.net")]
        # Without a file at all, nothing is wrong with one of others that says nothing.
        Path(tlsa_file(world.dirs[0], ZONE)).write_text("; nothing\n")
        assert differs(means, ZONE, {}) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_files_that_a_signer_owns_are_compared_by_what_they_hold(world: World) -> None:
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)
        paths = [Path(tlsa_file(folder, ZONE)) for folder in world.dirs]
        for path in (*paths, world.dirs[0]):
            os.chown(path, 12345, 12345)
        assert differs(means, ZONE, FIRST) is None
        before = [path.stat() for path in paths]
        await publish(means, ZONE, FIRST)
        assert [path.stat() for path in paths] == before
        assert len(world.calls) == 1
        # One that is to change can be read by the name server's user afterwards as well.
        await publish(means, ZONE, BOTH)
        assert [path.stat().st_mode & 0o777 for path in paths] == [0o644] * 2
        assert world.file(world.dirs[0]) == BOTH


# --- what was cut short, or failed ---


async def test_what_was_cut_short_before_the_command_is_taken_up(world: World) -> None:
    """The files are right already, and the note says what was wanted (I5)."""
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)
        world.hold.clear()
        cut = asyncio.ensure_future(publish(means, ZONE, BOTH))
        async with asyncio.timeout(LONG):
            while len(world.calls) < 2:
                await asyncio.sleep(0.01)
        await means.runs.stop()
        with pytest.raises(asyncio.CancelledError):
            await cut
        assert world.note == BOTH == world.file(world.dirs[0])
        world.hold.set()
        assert "may not have got" in say(differs(means, ZONE, BOTH))
        assert (await publish(means, ZONE, BOTH)).given
        assert len(world.calls) == 3
        assert differs(means, ZONE, BOTH) is None


async def test_a_command_that_failed_is_run_again(world: World) -> None:
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)
        world.command = _fail
        with pytest.raises(Transient, match="exited with 1"):
            await publish(means, ZONE, BOTH)
        assert world.file(world.dirs[0]) == BOTH  # without them it fails as well
        assert "may not have got" in say(differs(means, ZONE, BOTH))
        world.command = lambda: None
        world.calls.clear()
        await publish(means, ZONE, BOTH)
        assert len(world.calls) == 1
        assert differs(means, ZONE, BOTH) is None


async def test_files_that_made_it_fail_are_put_back(world: World) -> None:
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)

        def command() -> None:
            if TWO in (world.file(world.dirs[1]) or {})[MAIL].records:
                _fail()

        world.command = command
        with pytest.raises(Transient, match="without its new records the command succeeds"):
            await publish(means, ZONE, BOTH)
        assert [world.file(folder) for folder in world.dirs] == [FIRST, FIRST]
        assert world.note == BOTH  # clients may have seen them
        assert differs(means, ZONE, BOTH)


def _fail() -> None:
    raise Transient("/reload exited with 1")


async def test_records_and_challenges_of_zones_share_a_run(world: World) -> None:
    """What comes while it runs goes into the next one, together."""
    async with world.open() as means:
        world.configure(*world.dirs)
        world.hold.clear()
        record = TxtRecord(DomainName("_acme-challenge.example.com"), "v" * 43)
        net = ZoneName("example.net")
        mail = DomainName("_25._tcp.mail.example.net")
        turn = asyncio.Lock()

        async def in_turn(content: Content) -> None:
            async with turn:
                await publish(means, ZONE, content)

        async with asyncio.timeout(LONG), asyncio.TaskGroup() as group:
            group.create_task(in_turn(FIRST))
            group.create_task(challenges.publish(means, ZONE, frozenset({record})))
            group.create_task(publish(means, net, {mail: of(ONE)}))
            while not world.calls:
                await asyncio.sleep(0.01)
            group.create_task(in_turn(LAST))
            group.create_task(challenges.publish(means, net, frozenset()))
            await asyncio.sleep(2 * QUICK.quiet)
            assert world.calls == [("/reload", "--serial_bump", "example.com", "example.net")]
            world.hold.set()
        assert world.calls == [("/reload", "--serial_bump", "example.com", "example.net")] * 2
        assert world.most == 1
        assert world.note == LAST
        assert differs(means, ZONE, LAST) is None


BY_HAND = b"_25._tcp.mail.example.com. IN TLSA 3 1 1 " + b"ab" * 32 + b"\n"


def _breaks(world: World) -> Callable[[], None]:
    """A command that can do with no file that has the second record."""
    needle = TWO.data.encode()

    def command() -> None:
        paths = [Path(tlsa_file(folder, ZONE)) for folder in world.dirs] + [Path(world.copy)]
        if any(path.exists() and needle in path.read_bytes() for path in paths):
            _fail()

    return command


@pytest.mark.parametrize("how", ["all of them", "none was there", "of ssl-mgr", "per zone", "hung"])
async def test_every_file_is_put_back(world: World, how: str) -> None:
    """Also the first one, one that ssl-mgr wrote, and the copy, which some zones include."""
    async with world.open() as means:
        world.configure(*world.dirs)
        paths = [tlsa_file(folder, ZONE) for folder in world.dirs] + [world.copy]
        if how == "of ssl-mgr":
            for folder in world.dirs:
                Path(tlsa_file(folder, ZONE)).write_bytes(BY_HAND)
        elif how != "none was there":
            await publish(means, ZONE, FIRST)
        if how == "per zone":
            conf = world.top / "conf.d/ssl-mgr.conf"
            conf.write_text(conf.read_text().replace("'/reload'", "'/reload {zone}'"))
            world.config = load(world.top / "conf.d")
        before = [Path(path).read_bytes() if os.path.exists(path) else None for path in paths]
        if how == "hung":  # that says nothing; what comes after it does
            world.command = _hang
            with pytest.raises(Overdue):
                await publish(means, ZONE, BOTH)
        world.command = _breaks(world)
        with pytest.raises(Transient, match="without its new records"):
            await publish(means, ZONE, BOTH)
        nothing = TLSA_FILES.render(ZONE, {})
        assert [Path(path).read_bytes() for path in paths] == [one or nothing for one in before]
        world.command = lambda: None
        await publish(means, ZONE, BOTH)
        assert [world.file(folder) for folder in world.dirs] == [BOTH, BOTH]


@pytest.mark.parametrize("how", ["removed", "a link"])
async def test_a_file_that_was_taken_away_is_put_back_with_what_was_served(
    world: World, how: str
) -> None:
    """By hand, before a record came that the zone cannot be loaded with: the others stay (I4)."""
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)
        path = Path(tlsa_file(world.dirs[0], ZONE))
        if how == "a link":
            path.rename(world.top / "real")
            path.symlink_to(world.top / "real")
        else:
            path.unlink()
        world.command = _breaks(world)
        with pytest.raises(Transient, match="without its new records"):
            await publish(means, ZONE, BOTH)
        assert [world.file(folder) for folder in world.dirs] == [FIRST, FIRST]


def _hang() -> None:
    raise Overdue("/reload took longer than 120 s")


async def test_what_a_killed_daemon_wrote_is_put_back_too(world: World) -> None:
    """Killed between the writing and the command: the next one knows what files held (I5)."""
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)
        folders = list(map(str, world.dirs))
        good = [Path(tlsa_file(folder, ZONE)).read_bytes() for folder in folders]
        write_note(world.tree, ZONE, TLSA_FILES, BOTH, folders, Stage.BEFORE)
        await write_files(means, ZONE, TLSA_FILES, folders, BOTH, keep=True)
        world.command = _breaks(world)
        with pytest.raises(Transient, match="without its new records"):
            await publish(means, ZONE, BOTH)
        assert [Path(tlsa_file(folder, ZONE)).read_bytes() for folder in folders] == good


async def test_what_nobody_serves_is_put_back_though_the_command_succeeded(world: World) -> None:
    """`rndc reload` says that all is well when a zone cannot be loaded."""
    async with world.open() as means:
        world.configure(*world.dirs)
        await publish(means, ZONE, FIRST)
        await confirm(means, ZONE)
        await publish(means, ZONE, BOTH)
        changed = tlsa_file(world.dirs[1], ZONE)
        Path(changed).write_bytes(BY_HAND)  # by hand, meanwhile: that is left alone
        world.calls.clear()
        assert await put_back(means, ZONE) == sorted([tlsa_file(world.dirs[0], ZONE), world.copy])
        assert world.file(world.dirs[0]) == FIRST
        assert Path(changed).read_bytes() == BY_HAND
        assert len(world.calls) == 1
        assert differs(means, ZONE, BOTH)
        await publish(means, ZONE, BOTH)
        await confirm(means, ZONE)
        assert await put_back(means, ZONE) == []
