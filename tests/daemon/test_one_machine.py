"""Names of one machine: it is seen that they are, never believed. Clones and liars keep no key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sslmd.core.jobs import Copy, Told
from sslmd.core.names import CertId
from sslmd.core.state import ServerPhase
from sslmd.daemon.hosts import Hosts
from sslmd.store.note_kinds import HOST_NOTE, HostNote
from tests.daemon.test_hosts import hosts_of
from tests.reasons import because
from tests.stand.far import ALSO, FAR, FarSite, far_site, server_class
from tests.stand.host import Host
from tests.stand.sshd import ssh_on_path
from tests.stand.tools import INT, ROOT, WEB
from tests.workers.test_restart import MAIL

CLONE = "clone.example.net"
WEB_ALONE, MAIL_ALONE = "[['example.com', ['web']]]", "[['example.com', ['mail']]]"
BOTH = "[['example.com', ['web', 'mail']]]"


def note(one: FarSite, host: str) -> HostNote:
    return HOST_NOTE.read(one.site.tree.host_note(host))


def loaded(one: FarSite) -> Hosts:
    hosts = hosts_of(one.site)
    hosts.notes.load()
    for cert in (ROOT, INT, WEB, MAIL):
        hosts.note(cert)
    return hosts


async def visit(one: FarSite, hosts: Hosts, host: str, *certs: CertId) -> list[Exception]:
    told = tuple(Told(cert, one.site.live(cert)) for cert in certs)
    return await hosts.run(Copy(host, told, because("test")))


async def begin(one: FarSite, other: str) -> Hosts:
    """Put both certificates on the host, and that of mail on the other one; then withdraw it."""
    one.configure(server_class("web", BOTH) + server_class("imap", MAIL_ALONE, hosts=other))
    await one.made()
    hosts = loaded(one)
    assert await visit(one, hosts, FAR, WEB, MAIL) == []
    assert await visit(one, hosts, other, MAIL) == []
    for cert in (WEB, MAIL):
        one.site.save(cert)
    assert one.there() == {str(WEB), str(MAIL)}
    # They say that they are one machine.
    assert note(one, FAR).machine == note(one, other).machine != ""
    one.configure(server_class("web", WEB_ALONE) + server_class("imap", MAIL_ALONE, hosts=other))
    hosts.notes.reconfigured()
    return hosts


@contextmanager
def clone_of(one: FarSite, tmp_path: Path, disk: str = "") -> Iterator[Host]:
    path = tmp_path / "site" / "prod-certs"
    with Host(tmp_path / "clone", [CLONE], path, address="127.0.0.3", disk=disk) as made:
        ssh_on_path(tmp_path / "bin", one.far, made)
        yield made


async def test_a_clone_keeps_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made of one template: the same machine-id, and the same inode on a disk of the same kind."""
    with (
        far_site(tmp_path, monkeypatch, server_class("web", BOTH), disk="4m") as one,
        clone_of(one, tmp_path, disk="4m") as clone,
    ):
        hosts = await begin(one, CLONE)
        assert FAR in hosts.notes.untidy()
        assert await visit(one, hosts, FAR) == []
        assert one.there() == {str(WEB)}
        assert note(one, FAR).holds == {WEB}
        assert note(one, FAR).same == ()
        assert FAR not in hosts.notes.untidy()
        # The other one has its own.
        assert (clone.root / str(MAIL) / "curr/privkey.pem").exists()
        for root in (one.far.root, clone.root):
            assert list(root.glob(".sslmd*")) == []


async def test_a_host_that_lies_keeps_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what the other one says, and that it saw what is asked for, whatever that is."""
    with (
        far_site(tmp_path, monkeypatch, server_class("web", BOTH)) as one,
        clone_of(one, tmp_path) as clone,
    ):
        for host in (one.far, clone):
            host.hide("no such program")
            stat = host.folder / "programs" / "stat"
            stat.unlink()
            stat.write_text(
                '#!/bin/sh\ncase "$*" in "-c %i "*) echo 7 ;; *) exec /usr/bin/stat "$@"; esac\n'
            )
            stat.chmod(0o755)
        # Whatever it is asked, it has seen all that it ever heard of.
        for number in range(50):
            (one.far.root / f".sslmd-in.1.{number:032x}").mkdir()
        hosts = await begin(one, CLONE)
        assert await visit(one, hosts, FAR) == []
        assert one.there() == {str(WEB)}


async def test_one_machine_under_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with far_site(tmp_path, monkeypatch, server_class("web", BOTH)) as one:
        hosts = await begin(one, ALSO)
        assert await visit(one, hosts, FAR) == []
        assert one.there() == {str(WEB), str(MAIL)}
        assert note(one, FAR).surplus == ()
        assert note(one, FAR).same == (ALSO,)
        # It is looked at again, because names may lead elsewhere one day.
        assert FAR not in hosts.notes.untidy()
        assert FAR in hosts.notes.visits()
        # One that begins again looks at once.
        assert loaded(one).notes.visits()[FAR] == one.site.now
        # As the names part, so it goes.
        with clone_of(one, tmp_path) as clone:
            config = one.far.bin_dir.parent.parent / "bin" / "ssh_config"
            text = config.read_text().replace(f"{FAR} {ALSO}", FAR).replace(CLONE, ALSO)
            config.write_text(text)
            assert await visit(one, hosts, FAR) == []
            assert one.there() == {str(WEB)}
            assert list(clone.root.iterdir()) == []


async def test_a_name_that_is_not_reached_keeps_nothing_and_is_given_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be one machine, or two: that of the other name gets its own again, if it lost it."""
    with far_site(tmp_path, monkeypatch, server_class("web", BOTH)) as one:
        hosts = await begin(one, ALSO)
        config = tmp_path / "bin" / "ssh_config"
        kept = config.read_text()
        config.write_text(kept.replace(f"{FAR} {ALSO}", FAR))
        assert await visit(one, hosts, FAR) == []
        assert one.there() == {str(WEB)}
        phases = {server.host: server.phase for server in one.site.state(MAIL).servers}
        assert phases[ALSO] is ServerPhase.PENDING
        config.write_text(kept)
        assert await visit(one, hosts, ALSO, MAIL) == []
        assert one.there() == {str(WEB), str(MAIL)}
        # And now it is seen.
        assert await visit(one, hosts, FAR) == []
        assert one.there() == {str(WEB), str(MAIL)}
