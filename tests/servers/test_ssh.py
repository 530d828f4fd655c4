"""Shells on other machines: with a real sshd, and with an `ssh` that does what none should do."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent, Transient
from sslmd.servers.ssh import LONGEST_LINE, address_of, shell_on
from tests.stand import sshd
from tests.stand.sshd import Sshd, ssh_on_path

HOST = "far.example.net"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where sockets are made, with a short path; nothing is left there."""
    with tempfile.TemporaryDirectory(prefix="sslmd-test-") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    if lacking := sshd.missing():
        pytest.skip(lacking)
    with Sshd(tmp_path / "sshd", [HOST]) as one:
        on_path(monkeypatch, one.bin_dir)
        yield one


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def files(folder: Path, **texts: str) -> Path:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


# --- a real one ---


async def test_a_visit(far: Sshd, tmp_path: Path, scratch: Path) -> None:
    prod = tmp_path / "it's a tree"
    source = files(tmp_path / "source", one="1", two="2")
    async with shell_on(HOST, str(prod)) as shell:
        incoming = (await shell.ask("begin")).first("in")
        assert incoming is not None
        await shell.send(str(source), incoming)
        assert {path.name for path in Path(incoming).iterdir()} == {"one", "two"}
        assert Path(incoming, "one").stat().st_mode & 0o777 == 0o600
        answer = await shell.ask("run", "5", "printf", "<%s> ", "a b", "'", "$HOME", "\n;x\n")
        assert (answer.first("status"), answer.said) == ("0", "<a b> <'> <$HOME> < ;x >")
        with pytest.raises(Transient, match=f"{HOST}: it did not arrive whole"):
            await shell.ask("put", "a", "b", "c", "5", "", "", "0600", "0")
        assert (await shell.ask("survey")).every("have") == []
    # One login for all of it.
    assert [command.split()[0] for command in far.commands()] == ["exec", "rsync"]
    assert sum("Accepted publickey" in line for line in far.lines()) == 1
    assert list(prod.iterdir()) == []
    assert list(scratch.iterdir()) == []


async def test_one_connection_is_enough_however_long_the_path_of_its_socket(
    far: Sshd, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """unix(7) allows 107 bytes; it is named from the folder that it is in."""
    deep = scratch / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    source = files(tmp_path / "source", one="1")
    async with shell_on(HOST, str(tmp_path / "prod")) as shell:
        incoming = (await shell.ask("begin")).first("in")
        assert incoming is not None
        await shell.send(str(source), incoming)
        assert Path(incoming, "one").read_text() == "1"
    assert sum("Accepted publickey" in line for line in far.lines()) == 1
    assert list(deep.iterdir()) == []


async def test_two_hosts_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    if lacking := sshd.missing():
        pytest.skip(lacking)
    names = ["one.example.net", "two.example.net"]
    with Sshd(tmp_path / "a", names[:1]) as one, Sshd(tmp_path / "b", names[1:]) as two:
        on_path(monkeypatch, ssh_on_path(tmp_path / "bin", one, two))
        source = files(tmp_path / "source", one="1")
        both = asyncio.Barrier(2)

        async def visit(host: str) -> str:
            async with shell_on(host, str(tmp_path / f"prod-{host}")) as shell:
                incoming = (await shell.ask("begin")).first("in")
                assert incoming is not None
                async with asyncio.timeout(30):
                    await both.wait()
                await shell.send(str(source), incoming)
                assert Path(incoming, "one").exists()
                return incoming

        found = await asyncio.gather(*map(visit, names))
        assert [name in where for name, where in zip(names, found, strict=True)] == [True] * 2
    assert list(scratch.iterdir()) == []


async def test_rsync_that_fails_tells_why(far: Sshd, tmp_path: Path) -> None:
    source = files(tmp_path / "source", one="1")
    async with shell_on(HOST, str(tmp_path / "prod")) as shell:
        with pytest.raises(Transient, match=rf"{HOST}: rsync exited with \d+: .*No such file"):
            await shell.send(str(source), str(tmp_path / "no/such/folder"))
        # The shell is as well as before.
        assert (await shell.ask("survey")).lines == ()


async def test_a_shell_that_is_killed_there(far: Sshd, tmp_path: Path) -> None:
    with pytest.raises(Transient, match=f"{HOST}: .*; see whether it is up"):
        async with shell_on(HOST, str(tmp_path / "prod")) as shell:
            await shell.ask("kill", "-9", "0")
    assert not list(tmp_path.glob("prod/*"))


async def test_the_address_that_the_configuration_names(far: Sshd) -> None:
    assert await address_of(HOST) == far.address
    assert await address_of(f"somebody@{HOST}") == far.address
    assert await address_of("other.example.net") == "other.example.net"


# --- an `ssh` that is none ---

# What it does is said for each line that is called: `$n` is its number, the first is a greeting.
STUB = """\
#!/bin/sh
case " $*" in *' -G '*) {config}; exit;; esac
echo $$ >> {folder}/started
{first}
read -r head
mark=${{head#mark=}} mark=${{mark%% *}} n=0
answer() {{ printf '\\n%s %s\\n' "$mark" "$*"; }}
while read -r line; do
    case $line in *'; say end; }}')
        n=$((n + 1))
        {each}
    esac
done
"""
WELL = 'answer "hello"; answer end'


class Stub:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def does(self, *, first: str = ":", each: str = WELL, config: str = ":") -> None:
        script = self.folder / "ssh"
        script.write_text(STUB.format(folder=self.folder, first=first, each=each, config=config))
        script.chmod(0o755)

    def running(self) -> list[int]:
        """Return which of those that were started still run."""
        started = self.folder / "started"
        found = map(int, started.read_text().split()) if started.exists() else []
        return [pid for pid in found if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: Path) -> Iterator[Stub]:
    one = Stub(tmp_path / "bin")
    on_path(monkeypatch, one.folder)
    yield one
    assert one.running() == []
    assert list(scratch.iterdir()) == []


async def greeted() -> None:
    async with shell_on(HOST, "/prod"):
        pass


def fails(text: str, status: int = 255) -> str:
    return f"cat <<'END' >&2\n{text}\nEND\nexit {status}"


@pytest.mark.parametrize(
    ("said", "kind", "way_out"),
    [
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nsomebody could be "
            "eavesdropping\nHost key verification failed.",
            Permanent,
            f"differs from the known one: find out why, then: ssh-keygen -R {HOST}",
        ),
        (
            "Host key for far.example.net has changed and you have requested strict checking.",
            Permanent,
            "ssh-keygen -R",
        ),
        ("Host key verification failed.", Permanent, "add it to known_hosts"),
        (
            "No ED25519 host key is known for far.example.net and you have requested strict "
            "checking.\nHost key verification failed.",
            Permanent,
            "log in once as the daemon's user",
        ),
        ("root@far: Permission denied (publickey,password).", Transient, f"ssh-copy-id {HOST}"),
        (
            "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures",
            Transient,
            f"ssh-copy-id {HOST}",
        ),
        (
            "ssh: Could not resolve hostname far.example.net: Name or service not known",
            Transient,
            "look at the name",
        ),
        ("ssh: connect to host far port 22: Connection refused", Transient, "whether it is up"),
        ("ssh: connect to host far port 22: No route to host", Transient, "whether it is up"),
        ("Connection timed out during banner exchange", Transient, "whether it is up"),
        ("kex_exchange_identification: Connection closed by remote host", Transient, "is up"),
        ("", Transient, "the connection ended; see whether it is up"),
        ("\x1b[31mred\x07", Transient, r"\x1b[31mred\x07; see whether it is up"),
    ],
)
async def test_what_ssh_says_when_it_ends(
    stub: Stub, said: str, kind: type[Exception], way_out: str
) -> None:
    stub.does(first=fails(said))
    with pytest.raises(kind, match=re.escape(way_out)) as caught:
        await greeted()
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"{HOST}: ")
    last = said.splitlines()[-1] if said else "the connection ended"
    if last.isprintable():
        assert last in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("echo 'This account is currently not available.'; exit 1", "currently not available"),
        ("printf 'This service allows sftp connections only.'; exit 1", "sftp connections only"),
        ("echo; echo '  go away'; exit 0", "'go away'"),
        ("echo '/usr/bin/rrsync error: does not run rsync' >&2; exit 1", "is limited to rsync; "),
        ("exit 7", "ended at once with exit status 7"),
        # As git-shell has it.
        ("echo 'fatal: What do you think I am? A shell?' >&2; exit 128", "it says 'fatal: What do"),
    ],
)
async def test_the_last_words_of_a_host_are_reported(stub: Stub, words: str, said: str) -> None:
    stub.does(first=words)
    with pytest.raises(Transient, match=re.escape(said)) as caught:
        await greeted()
    assert "sslmd needs a POSIX shell with coreutils or busybox, and rsync" in str(caught.value)


async def test_the_options_of_an_admin_that_leave_no_shell_are_overridden(far: Sshd) -> None:
    config = far.bin_dir / "ssh_config"
    lines = "SessionType none", "StdinNull yes", "ForkAfterAuthentication yes", "RequestTTY force"
    more = "".join(f"    {line}\n" for line in (*lines, "RemoteCommand true", "LogLevel DEBUG3"))
    config.write_text(f"{config.read_text()}{more}")
    async with shell_on(HOST, "/nonexistent/prod") as shell:
        assert (await shell.ask("survey")).lines == ()


async def test_ssh_that_does_not_read_what_it_is_sent(stub: Stub) -> None:
    stub.does(first=f"exec <&-; sleep 0.2; {fails('Connection closed')}")
    with pytest.raises(Transient, match="Connection closed; see whether it is up"):
        await greeted()


async def test_the_connection_breaks_in_the_middle_of_an_answer(stub: Stub) -> None:
    broken = f"answer put; printf '%s en' $mark; {fails('Broken pipe')}"
    stub.does(each=f"[ $n = 1 ] || {{ {broken}; }}\n{WELL}")
    with pytest.raises(Transient, match=f"{HOST}: Broken pipe; see whether it is up"):
        async with shell_on(HOST, "/prod") as shell:
            await shell.ask("survey")


async def test_it_hangs(stub: Stub) -> None:
    stub.does(each=f"[ $n = 1 ] || {{ echo 'a hint' >&2; sleep 300 & wait; }}\n{WELL}")
    began = time.monotonic()
    with pytest.raises(Transient, match=rf"{HOST}: it did not answer within 0.5 s \(a hint\)"):
        async with shell_on(HOST, "/prod") as shell:
            await shell.ask("survey", limit=0.5)
    assert time.monotonic() - began < 10


async def test_it_hangs_before_it_lets_anybody_in_and_is_not_waited_for(stub: Stub) -> None:
    stub.does(first="trap '' TERM HUP; sleep 300 & wait")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await greeted()
    assert stub.running() == []


async def test_a_shell_that_does_not_go(stub: Stub) -> None:
    stub.does(each=f"trap '' HUP TERM; {WELL}; while :; do sleep 0.1; done")
    began = time.monotonic()
    await greeted()
    assert time.monotonic() - began < 10


async def test_garbage_does_no_harm(stub: Stub) -> None:
    garbage = "head -c 300000 /dev/urandom; echo; echo 'sslmd-0123 status 0'; echo \"x$mark end\""
    stub.does(first=garbage, each=f'{garbage}; printf "no line"; answer status 7; {WELL}')
    async with shell_on(HOST, "/prod") as shell:
        answer = await shell.ask("run", "5", "true")
    assert answer.every("status") == ["7"]
    assert answer.said.isprintable()
    assert len(answer.said) <= 500
    assert answer.said.endswith("no line")


async def test_lines_without_end_are_not_kept(stub: Stub) -> None:
    stub.does(each=f"[ $n = 1 ] || head -c {LONGEST_LINE * 50} /dev/zero | tr '\\0' x\n{WELL}")
    async with shell_on(HOST, "/prod") as shell:
        answer = await shell.ask("survey")
        assert answer.said == "x" * 500
    # And one that comes to no end at all.
    stub.does(each=f"[ $n = 1 ] || exec cat /dev/zero\n{WELL}")
    with pytest.raises(Transient, match="did not answer within 1 s"):
        async with shell_on(HOST, "/prod") as shell:
            await shell.ask("survey", limit=1)


async def test_one_that_tells_for_ever_is_not_listened_to(stub: Stub) -> None:
    """Neither memory nor the other hosts' turn is spent on it."""
    stub.does(each=f'[ $n = 1 ] || yes "$mark have with $(printf %09999d)" \n{WELL}')
    with pytest.raises(Transient, match="it sent more than 4194304 characters"):
        async with shell_on(HOST, "/prod") as shell:
            await shell.ask("survey")
    stub.does(each=f'[ $n = 1 ] || answer "error $(printf %09999d) \033[31m" \n{WELL}')
    with pytest.raises(Transient) as caught:
        async with shell_on(HOST, "/prod") as shell:
            await shell.ask("survey")
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()
    # Empty lines without end: others have their turn all the same.
    stub.does(each=f"[ $n = 1 ] || exec yes ''\n{WELL}")
    longest, before = 0.0, time.monotonic()

    async def others() -> None:
        nonlocal longest, before
        while True:
            await asyncio.sleep(0)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()

    turns = asyncio.ensure_future(others())
    with pytest.raises(Transient, match="did not answer within 1 s"):
        async with shell_on(HOST, "/prod") as shell:
            await shell.ask("survey", limit=1)
    turns.cancel()
    assert longest < 0.9


async def test_lines_end_as_they_do_on_a_terminal(stub: Stub) -> None:
    stub.does(each='printf "\\r\\n%s have with a/b\\r\\n%s end\\r\\n" $mark $mark')
    async with shell_on(HOST, "/prod") as shell:
        assert (await shell.ask("survey")).every("have") == ["with a/b"]


async def test_without_an_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Permanent, match="install an ssh client"):
        await greeted()
    (tmp_path / "ssh").write_text("#!/bin/sh\n")
    with pytest.raises(Transient, match="cannot start ssh now"):
        await greeted()
    with pytest.raises(Transient, match="cannot start ssh now"):
        await address_of(HOST)


async def test_a_configuration_that_says_nothing(stub: Stub) -> None:
    stub.does(config="exit 255")
    assert await address_of(f"somebody@{HOST}") == HOST
    stub.does(config="echo user root; echo hostname 192.0.2.7; echo port 22")
    assert await address_of(HOST) == "192.0.2.7"


@pytest.mark.parametrize(
    ("said", "status", "way_out"),
    [
        ("protocol version mismatch -- is your shell clean?", 2, "silence its start-up files"),
        ("bash: line 1: rsync: command not found", 12, "install it there"),
        ("sh: 1: rsync: not found", 127, "install it there"),
        ("rsync: write failed: No space left on device (28)", 11, "free some space there"),
        ("rsync: Disk quota exceeded (122)", 11, "free some space there"),
        ("rsync error: error in file IO", 11, "see whether its disk is full"),
        ("rsync error: timeout in data send/receive", 30, "it is tried again"),
    ],
)
async def test_what_rsync_says_when_it_fails(
    stub: Stub, tmp_path: Path, said: str, status: int, way_out: str
) -> None:
    stub.does()
    (stub.folder / "rsync").write_text(f"#!/bin/sh\n{fails(said, status)}\n")
    (stub.folder / "rsync").chmod(0o755)
    async with shell_on(HOST, "/prod") as shell:
        with pytest.raises(Transient, match=re.escape(way_out)) as caught:
            await shell.send(str(tmp_path), "/incoming")
    assert str(caught.value).startswith(f"{HOST}: rsync exited with {status}: ")


@pytest.mark.parametrize(
    ("host", "target"),
    [
        (HOST, f"{HOST}:/in/"),
        (f"certs@{HOST}", f"certs@{HOST}:/in/"),
        ("2001:db8::7", "[2001:db8::7]:/in/"),
        ("certs@2001:db8::7", "certs@[2001:db8::7]:/in/"),
    ],
)
async def test_where_rsync_sends_it(stub: Stub, tmp_path: Path, host: str, target: str) -> None:
    stub.does()
    (stub.folder / "rsync").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > ${0%/*}/called\n')
    (stub.folder / "rsync").chmod(0o755)
    async with shell_on(host, "/prod") as shell:
        await shell.send("/some/folder", "/in")
    called = (stub.folder / "called").read_text().splitlines()
    assert called[-3:] == ["--", "/some/folder/", target]
    assert any("ControlPath=" in word for word in called)
