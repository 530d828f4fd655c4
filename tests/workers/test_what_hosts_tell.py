"""What a host tells is bounded: its note can be read again, and nothing of it goes on raw."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sslmd.core.errors import SslmError, Transient
from sslmd.core.host.needs import Belonging
from sslmd.core.jobs import Copy, Told
from sslmd.core.names import CertId
from sslmd.core.words.sentence import say, written
from sslmd.daemon.hosts import Hosts
from sslmd.store import files
from sslmd.store.layout import Tree
from sslmd.store.note_kinds import (
    HOST_NOTE,
    LONGEST_ERROR,
    LONGEST_NAME,
    MOST_SURPLUS,
    HostNote,
    shortened,
)
from sslmd.workers.tools import Threads
from tests.daemon.test_hosts import hosts_of
from tests.reasons import because
from tests.stand.far import EVERYTHING, FAR, server_class
from tests.stand.tools import GLOBALS, GROUPS, INT, ROOT, WEB, Site
from tests.workers.test_restart import MAIL
from tests.workers.test_restart import service as service_text

# A host's shell that answers what a function of the test says, whatever it is asked. `mark` is
# what its lines begin with, `call` what was called.
LIAR = """\
#!{python}
import base64, os, sys
told = {told!r}
text, mark = "", ""
while not text.endswith("\\n\\n"):  # never: it reads until it is told to go
    line = sys.stdin.readline()
    if not line:
        break
    if line.startswith("mark="):
        mark = line.split()[0][len("mark="):]
    if line.startswith("{{ ") and line.rstrip().endswith("; say end; }}"):
        call = line[2:].split()[0].rstrip(";")
        data = told.get(call, told.get("*", b""))
        sys.stdout.buffer.write(data.replace(b"@", mark.encode()))
        sys.stdout.buffer.write(b"\\n" + mark.encode() + b" end\\n")
        sys.stdout.buffer.flush()
"""


class Liar:
    """A site, and a host that tells what a test wants."""

    def __init__(self, top: Path) -> None:
        self.bin = top / "bin"
        self.bin.mkdir()
        self.site = Site(
            top / "site",
            f"{GLOBALS}{GROUPS}{server_class('web', EVERYTHING)}",
            files={"example.com/mail": service_text("example.com", "mail")},
        )
        (self.bin / "rsync").write_text("#!/bin/sh\nexit 0\n")
        (self.bin / "rsync").chmod(0o755)

    def tells(self, **told: bytes) -> None:
        """Have it tell this for each function; `any` for those that are not named."""
        table = {("*" if call == "any" else call): data for call, data in told.items()}
        script = self.bin / "ssh"
        script.write_text(LIAR.format(python=sys.executable, told=table))
        script.chmod(0o755)

    async def hosts(self) -> Hosts:
        for cert in (ROOT, INT, WEB, MAIL):
            await self.site.renew(cert)
            await self.site.deliver(cert)
            self.site.save(cert)
        made = hosts_of(self.site)
        made.notes.load()
        return made

    async def visit(self, hosts: Hosts, *certs: CertId) -> list[Exception]:
        told = tuple(Told(cert, self.site.live(cert)) for cert in certs)
        return await hosts.run(Copy(FAR, told, because("test")))

    @property
    def file(self) -> str:
        return self.site.tree.host_note(FAR)


@pytest.fixture
def liar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Liar]:
    made = Liar(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:/usr/bin:/bin")
    with tempfile.TemporaryDirectory(prefix="sslmd-test-") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield made


def lines(word: str, texts: list[str]) -> bytes:
    return b"".join(f"\n@ {word} {text}\n".encode() for text in texts)


async def test_surplus_without_end_is_a_hundred_entries_and_a_count(liar: Liar) -> None:
    names = [f"{number:05}/{'ä' * 600}.key" for number in range(5000)]
    liar.tells(survey=lines("stray", names) + lines("machine", ["m" * 9000]))
    hosts = await liar.hosts()
    assert await liar.visit(hosts) == []
    note = hosts.notes.of(FAR)
    assert (len(note.surplus), note.more) == (MOST_SURPLUS, 5000 - MOST_SURPLUS)
    assert all(
        len(name.encode()) <= LONGEST_NAME for name in (*map(str, note.surplus), note.machine)
    )
    assert Path(liar.file).stat().st_size < files.MAX_FILE / 4
    # It is read as it was written.
    assert HOST_NOTE.read(liar.file) == note
    ((_, _, why),) = hosts.notes.told()
    text = say(why)
    assert "and 4995 more" in text
    assert len(text) < 2500
    # And nothing that we put there is forgotten for it.
    again = hosts_of(liar.site)
    again.notes.load()
    assert again.notes.of(FAR) == note


async def test_an_answer_has_so_many_lines_and_no_more(liar: Liar) -> None:
    liar.tells(survey=lines("stray", ["x"] * 100_000))
    hosts = await liar.hosts()
    (error,) = await liar.visit(hosts)
    assert isinstance(error, Transient)
    assert "sent more than" in str(error)


async def test_where_copies_go_is_in_our_tree(liar: Liar) -> None:
    prod = liar.site.tools.site.config.globals.prod_cert_dir
    hosts = await liar.hosts()
    good = f"{prod}/.sslmd-in.123.abcdefghij"
    for place in (
        "", "/", "/etc", ":/module", f"{prod}", f"{prod}/..", f"{prod}/.sslmd-in.1.aaaaaaaa/../..",
        f"{prod}/.sslmd-in.x.aaaaaaaa", f"{good}\x1b[31m", f"{good} -e sh", f"../{good}",
    ):  # fmt: skip
        liar.tells(begin=lines("in", [place]))
        (error,) = await liar.visit(hosts, WEB)
        assert "it does not say where copies go" in str(error), place
    liar.tells(begin=lines("in", [good]), put=lines("put", ["new"]))
    assert await liar.visit(hosts, WEB) == []


async def test_folders_are_named_that_we_asked_for(liar: Liar) -> None:
    told: list[str] = []
    liar.site.tools.telling.tell = lambda _what, line, _cert: told.append(written(line))
    prod = liar.site.tools.site.config.globals.prod_cert_dir
    good = lines("in", [f"{prod}/.sslmd-in.123.abcdefghij"])
    opened = server_class("web", EVERYTHING, "key_mode = '0640'", "key_group = '0'")
    liar.site.write("ssl-mgr.conf", f"{GLOBALS}{GROUPS}{opened}")
    liar.site.reload()
    odd = ["/etc; rm -rf /", "/\x1b[2J", str(prod.parent)]
    liar.tells(begin=good, put=lines("put", ["new"]), above=lines("closed", odd))
    hosts = await liar.hosts()
    assert await liar.visit(hosts, WEB) == []
    (text,) = [one for one in told if "does not let" in one]
    assert f"chmod o+x {prod.parent}" in text
    assert "rm -rf" not in text
    assert text.isprintable()


def noise(rng: random.Random) -> bytes:
    """Return what nobody should say, a little like what they should."""
    words = [b"@", b" ", b"\n", b"have", b"with", b"stray", b"in", b"put", b"machine", b"left",
             b"end", b"error", b"closed", b"older", b"status", b"example.com/web", b"ca/x",
             b"\0", b"\xff", b"\xf0\x9f", b"\x1b[31m", b"\r", b"/", b"..", b"\xe2\x80\xae",
             b"\xed\xa0\x80", b"\xc2\x9b", b"x" * 300, bytes(range(32))]  # fmt: skip
    return b"".join(rng.choice(words) for _ in range(rng.randrange(200)))


async def test_whatever_a_host_says_is_borne(liar: Liar) -> None:
    """No bug, no stall, nothing raw, and a note that can be read."""
    hosts = await liar.hosts()
    told: list[str] = []
    liar.site.tools.telling.tell = lambda _what, line, _cert: told.append(written(line))
    prod = liar.site.tools.site.config.globals.prod_cert_dir
    place = lines("in", [f"{prod}/.sslmd-in.123.abcdefghij"])
    for seed in range(60):
        rng = random.Random(seed)
        # Its name for itself is noted only when it answers at all.
        liar.tells(
            begin=place + noise(rng).replace(b"@ end", b"@ x"),
            say=b"",
            any=noise(rng).replace(b"@ end", b"@ x"),
        )
        errors = await liar.visit(hosts, *rng.choice([(), (WEB,), (WEB, MAIL)]))
        assert all(isinstance(error, SslmError) for error in errors), (seed, errors)
        texts = [*told, *map(str, errors), hosts.notes.of(FAR).error]
        texts += [say(why) for _, _, why in hosts.notes.told()]
        for text in texts:
            assert text.isprintable(), (seed, text)
            assert len(text) < 5000
        note = HOST_NOTE.read(liar.file) if Path(liar.file).exists() else HostNote()
        assert note.holds == hosts.notes.of(FAR).holds
        told.clear()


class Busy(ThreadPoolExecutor):
    """Threads that tell how many seconds of a processor they took."""

    seconds = 0.0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def measured() -> Any:
            before = time.thread_time()
            try:
                return fn(*args, **kwargs)
            finally:
                self.seconds += time.thread_time() - before

        return super().submit(measured)


async def test_nobody_waits_while_it_is_sorted(liar: Liar) -> None:
    names = [f"with g{number}.example.com/s{number}" for number in range(30_000)]
    liar.tells(survey=lines("have", names))
    hosts = await liar.hosts()
    threads = Busy(1)
    liar.site.tools.threads = liar.site.tools.delivering.threads = Threads(threads)
    longest, before = 0.0, time.thread_time()

    async def others() -> None:
        nonlocal longest, before
        while True:
            await asyncio.sleep(0.001)
            longest, before = max(longest, time.thread_time() - before), time.thread_time()

    turns = asyncio.ensure_future(others())
    assert await liar.visit(hosts) == []
    turns.cancel()
    assert hosts.notes.of(FAR).more == 30_000 - MOST_SURPLUS
    threads.shutdown()
    # The event loop's own processor time beside that of the threads: a busy machine slows both.
    assert longest < threads.seconds / 2


def test_a_note_of_anything_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Also of what no version of ours would hand over."""
    path = Tree(str(tmp_path)).host_note(FAR)
    texts = ["\x00\x1b\x7f" * 9000, "\U0001f512" * 9000, "\ud800" * 9000, '"\\\n' * 9000]
    for text in texts:
        note = HostNote(holds=frozenset({WEB}), machine=text, error=text)
        note = note.with_surplus([Belonging.noted(text)] * 9000)
        HOST_NOTE.write(path, note)
        assert Path(path).stat().st_size <= files.MAX_FILE
        found = HOST_NOTE.read(path)
        assert found.holds == {WEB}
        assert (len(found.surplus), found.more) == (MOST_SURPLUS, 9000 - MOST_SURPLUS)
        assert len(found.error) <= LONGEST_ERROR
    assert shortened("a" * LONGEST_NAME) == "a" * LONGEST_NAME
    assert shortened("ä" * 200).encode() <= ("ä" * 126 + "…").encode()
