"""ssh is called in one way, whatever for; and a host gets nothing of what is ours by it."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest

import sslmd
from sslmd.core.errors import Permanent, SslmError
from sslmd.servers import http01
from sslmd.servers.ssh import address_of, shell_on
from sslmd.servers.ssh_line import Connection, ssh_line
from tests.stand import sshd
from tests.stand.sshd import Sshd

P = ParamSpec("P")
T = TypeVar("T")
HOST = "far.example.net"
PACKAGE = Path(sslmd.__file__).parent
PROGRAMS = {"ssh", "scp", "sftp", "rsync", "slogin", "ssh-keyscan", "sshfs", "autossh", "sshpass"}

# Where these words are said, and how often: in the one place that makes command lines, in headings
# of doctor's findings, in messages, and for a program that the shell of another machine has.
SAID = {
    "core/words/hosts.py": {"ssh": 1},
    "doctor/rounds.py": {"ssh": 1},
    "doctor/servers.py": {"ssh": 7, "rsync": 1},
    "servers/own_user.py": {"ssh": 1},
    "servers/ssh_line.py": {"ssh": 2, "rsync": 1},
    "servers/unit.py": {"ssh": 1},
}
# Where programs are started at all.
STARTS = {
    "offline/sslm_dhparm.py",
    "offline/other_user.py",
    "offline/trust.py",
    "setup/init_user.py",
    "acme/launch.py",
    "net/client.py",
    "notify/failed_unit.py",
    "notify/mail.py",
    "processes.py",
    "servers/ssh.py",
    "store/reading.py",
}
STARTERS = {"create_subprocess_exec", "create_subprocess_shell", "Popen", "run", "check_output",
            "check_call", "call", "system", "popen", "posix_spawn", "posix_spawnp", "fork",
            "forkpty"}  # fmt: skip


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def test_no_other_command_line_of_ssh_is_made() -> None:
    found: dict[str, dict[str, int]] = {}
    for name, tree in sources():
        words = Counter(
            os.path.basename(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and os.path.basename(node.value) in PROGRAMS
        )
        # Also as the first word of a command that is split.
        words += Counter(
            node.value.split()[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith(tuple(f"{one} -" for one in PROGRAMS))
        )
        if words:
            found[name] = dict(words)
    assert found == SAID


def test_programs_are_started_in_few_places() -> None:
    found = set()
    for name, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            of = node.value.id
            is_exec = of == "os" and node.attr.startswith(("exec", "spawn"))
            starts = node.attr in STARTERS and of in ("asyncio", "subprocess", "os", "pty")
            if is_exec or (starts and (of, node.attr) != ("asyncio", "run")):
                found.add(name)
    assert found == STARTS
    # Nor by a shell.
    for name, tree in sources():
        keywords = [node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)]
        assert "shell" not in keywords, name


def test_all_command_lines_have_the_same_options() -> None:
    lines = [ssh_line(one) for one in Connection]
    assert len({tuple(line[:-6]) for line in lines}) == 1
    # A socket that others may know is not used for any.
    assert {line[-3] for line in lines} == {"ControlPath=./ssh", "ControlPath=none"}


# --- with a real sshd, and a real agent ------------------------------------------------------

# All that an admin may have written for other uses of ssh.
LENDING = """\
    ForwardAgent yes
    AddKeysToAgent yes
    ForwardX11 yes
    ForwardX11Trusted yes
    GSSAPIDelegateCredentials yes
    StrictHostKeyChecking accept-new
    UpdateHostKeys yes
    NoHostAuthenticationForLocalhost yes
    PermitLocalCommand yes
    LocalCommand touch {folder}/local-command
    LocalForward {folder}/local.sock {folder}/nowhere.sock
    RemoteForward {folder}/remote.sock {folder}/nowhere.sock
    ControlMaster auto
    ControlPath {folder}/master
    ControlPersist 60
    RequestTTY force
    RemoteCommand touch {folder}/remote-command
    StdinNull yes
"""


async def in_thread(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.to_thread(func, *args, **kwargs)


class Lending:
    """A host, an agent, and what the host saw of each session."""

    def __init__(self, far: Sshd, agent: Path, folder: Path) -> None:
        self.far, self.agent, self.folder = far, agent, folder
        self.seen = folder / "environments"
        noting = far.folder / "note-and-run"
        text = noting.read_text()
        noting.write_text(text.replace("#!/bin/sh\n", f"#!/bin/sh\nenv >> '{self.seen}'\n", 1))

    def sessions(self) -> int:
        return self.seen.read_text().count("SSH_CONNECTION=") if self.seen.exists() else 0

    def check(self) -> None:
        """Nothing was lent in any session that there was."""
        text = self.seen.read_text()
        for name in ("SSH_AUTH_SOCK", "DISPLAY", "KRB5CCNAME", "SSH_TTY"):
            assert f"\n{name}=" not in f"\n{text}", text
        made = {path.name for path in self.folder.iterdir()}
        assert made <= {"agent.sock", "environments", "www", "prod", "source"}, made
        # The agent has what it had: nothing.
        done = subprocess.run(
            ["ssh-add", "-l"],
            env={**os.environ, "SSH_AUTH_SOCK": str(self.agent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "The agent has no identities.\n"


@pytest.fixture
def lending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lending]:
    if lacking := sshd.missing():
        pytest.skip(lacking)
    folder = tmp_path / "lent"
    folder.mkdir()
    agent = folder / "agent.sock"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(agent)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with Sshd(tmp_path / "sshd", [HOST]) as far:
            config = far.bin_dir / "ssh_config"
            # The first value counts: before those of the tests.
            host, _, rest = config.read_text().partition("\n")
            rest = rest.replace("    StrictHostKeyChecking yes\n", "")
            rest = rest.replace("    IdentityAgent none\n", "")
            config.write_text(f"{host}\n{LENDING.format(folder=folder)}{rest}")
            monkeypatch.setenv("PATH", f"{far.bin_dir}:{os.environ['PATH']}")
            monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
            yield Lending(far, agent, folder)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


async def a_delivery(one: Lending) -> None:
    source = one.folder / "source"
    source.mkdir(exist_ok=True)
    (source / "file").write_text("content")
    async with shell_on(HOST, str(one.folder / "prod")) as shell:
        incoming = (await shell.ask("begin")).first("in")
        assert incoming
        await shell.send(str(source), incoming)
        assert Path(incoming, "file").read_text() == "content"


async def a_challenge(one: Lending) -> None:
    token = "t" * 43
    place = one.folder / "www"
    await http01.put([HOST], place, "example.com", {token: f"{token}.{'x' * 43}"}, in_thread)
    assert list(place.rglob(token))
    await http01.remove([HOST], place, "example.com", [token], in_thread)
    assert not list(place.rglob(token))


async def a_command(_one: Lending) -> None:
    async with shell_on(HOST, "/nonexistent") as shell:
        assert (await shell.ask("run", "5", "true")).first("status") == "0"


USES = [a_delivery, a_challenge, a_command]


def test_the_admin_lends_it_by_hand(lending: Lending) -> None:
    """So that the next test shows something: this host takes what it gets."""
    env = {**os.environ, sshd.OWN_CALL: "yes"}
    argv = ["ssh", "-o", "RemoteCommand=none", "-o", "RequestTTY=no", HOST, "ssh-add -l"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    seen = lending.seen.read_text()
    assert "\nSSH_AUTH_SOCK=" in seen, done.stderr
    assert "(ED25519)" in done.stdout  # the agent, as it is used there
    subprocess.run(["ssh", "-O", "exit", HOST], env=env, capture_output=True, check=False)


@pytest.mark.parametrize("use", USES)
async def test_nothing_is_lent(lending: Lending, use: Callable[[Lending], Awaitable[None]]) -> None:
    await use(lending)
    assert lending.sessions() >= 1
    lending.check()


@pytest.mark.parametrize("use", USES)
async def test_a_host_key_that_is_not_known_is_refused(
    lending: Lending, use: Callable[[Lending], Awaitable[None]]
) -> None:
    """Whatever the admin's configuration takes from strangers."""
    known = lending.far.folder / "known_hosts"
    known.write_text("")
    with pytest.raises(Permanent, match="its host key is not known"):
        await use(lending)
    assert known.read_text() == ""
    assert lending.sessions() == 0
    lending.far.know_host_key()
    lending.far.new_host_key()
    lending.far.stop()
    lending.far.start()
    with pytest.raises(Permanent, match="its host key differs from the known one"):
        await use(lending)
    assert lending.sessions() == 0


async def test_whatever_is_done_by_ssh_is_called_in_the_one_way(
    lending: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen where Python starts programs, and where they arrive (`ssh_on_path` refuses others)."""
    started: list[list[str]] = []
    watching = True

    def spy(event: str, args: tuple[Any, ...]) -> None:
        if watching and event == "subprocess.Popen":
            started.append([os.fsdecode(word) for word in args[1]])

    sys.addaudithook(spy)
    for use in USES:
        await use(lending)
    assert await address_of(HOST) == lending.far.address
    watching = False
    common = ssh_line(Connection.NONE)[:-6]
    assert len(started) >= 5
    for line in started:
        if line[0] == "rsync":
            (rsh,) = [word for word in line if word.startswith("--rsh=")]
            line = rsh.removeprefix("--rsh=").split()
        assert line[: len(common)] == common
    monkeypatch.setenv("PATH", "/nonexistent")
    for use in USES:
        with pytest.raises(SslmError, match="install an ssh client"):
            await use(lending)
