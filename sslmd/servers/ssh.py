"""Other machines, by the admin's own `ssh`: a shell on one, and `rsync` over the same connection.

What of it is up to the admin's configuration, `ssh_line` says; everything ends in time. What runs
there is `remote.sh`; it is called line by line, so that one login is enough for a whole visit.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import shown
from sslmd.core.plain import plain
from sslmd.core.reason import Reason, Said
from sslmd.processes import Output, end_group, environment, start
from sslmd.servers.ssh_line import look_up_line, rsync_line, shell_line
from sslmd.store.scratch import Scratch

# Seconds. To connect and log in, jump hosts and all; for a step there that only touches files;
# for all of a copy.
LOGIN = 45.0
STEP = 60.0
COPYING = 1800.0

# Seconds for a shell that was told to go.
GOING = 2.0

# Characters of a line without end that are kept, and of all that a call tells; and lines of it.
LONGEST_LINE = 1 << 16
LONGEST_ANSWER = 1 << 22
MOST_LINES = 1 << 15

_script = cache(Path(__file__).with_name("remote.sh").read_text)

# What ssh says; only host keys are certain to want a person.
_MEANINGS = (
    (
        re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for \S{1,255} has changed"),
        *(Permanent, Failed.HOST_KEY_CHANGED),
    ),
    (
        re.compile(r"Host key verification failed|No \S{1,60} host key is known"),
        *(Permanent, Failed.HOST_KEY_UNKNOWN),
    ),
    (
        re.compile(r"Permission denied \(|Too many authentication failures"),
        *(Transient, Failed.HOST_LOGIN),
    ),
    (re.compile(r"rrsync|does not run rsync"), Transient, Failed.HOST_ONLY_RSYNC),
    (re.compile(r"Could not resolve hostname"), Transient, Failed.HOST_UNRESOLVED),
)
# Ways out that name the host.
_NAMING = (Failed.HOST_KEY_CHANGED, Failed.HOST_LOGIN)
_STATUS = re.compile(r"[0-9]{1,3}")
_NOT_FOUND = 127
_SSH_FAILED = 255  # ssh(1); any other status is of what ran there
_IO_ERRORS = (11, 12)  # rsync(1); what the disk said can get lost
_NO_RSYNC = re.compile(r"rsync: (command )?not found|[Uu]nknown command[^\n]{0,200}rsync")


@dataclass(frozen=True, slots=True)
class ShellAnswer:
    """What a function of `remote.sh` told, word by word, and what else was printed meanwhile."""

    lines: tuple[tuple[str, str], ...]
    said: str

    def first(self, word: str) -> str | None:
        """Return what was told with a word, None if nothing was."""
        return next((text for one, text in self.lines if one == word), None)

    def every(self, word: str) -> list[str]:
        """Return everything that was told with a word."""
        return [text for one, text in self.lines if one == word]

    @property
    def status(self) -> str:
        """The exit status of what was run there; "unknown" where it tells none."""
        text = self.first("status") or ""
        return text if _STATUS.fullmatch(text) else "unknown"


class RemoteShell:
    """A shell on another machine that knows the functions of `remote.sh`; see `shell_on`."""

    def __init__(
        self, host: str, process: asyncio.subprocess.Process, errors: Output, folder: str
    ) -> None:
        self.host = host
        self._process = process
        self._errors = errors
        self._folder = folder
        self._mark = f"sslmd-{secrets.token_hex(12)}"
        self._buffer = b""
        self._broken: Transient | Permanent | None = None

    async def greet(self, prod: str) -> None:
        """Teach it the functions; raise what keeps us from logging in."""
        head = f"mark={self._mark} prod={shlex.quote(prod)}\n"
        self._write(head + _script())
        self._write(_line("say hello"))
        await self._answer(LOGIN, connecting=True)

    async def ask(self, *words: str, limit: float = STEP) -> ShellAnswer:
        """Call a function there with arguments; return what it told.

        Raises `Transient` for what it calls an error, and if it takes longer than `limit` seconds
        or the connection breaks: then the shell is of no use any more.
        """
        (found,) = await self.ask_each([words], limit=limit)
        if isinstance(found, Exception):
            raise found
        return found

    async def ask_each(
        self, calls: Sequence[Sequence[str]], *, limit: float = STEP
    ) -> list[ShellAnswer | Transient | Permanent]:
        """Call functions there one after the other, without a wait for the line in between.

        Return what each told, or why it failed; `limit` is for each.
        """
        if self._broken is None:
            self._write("".join(_line(shlex.join(words)) for words in calls))
        found: list[ShellAnswer | Transient | Permanent] = []
        for _ in calls:
            try:
                answer = await self._answer(limit)
            except (Transient, Permanent) as err:
                found.append(err)
                continue
            error = answer.first("error")
            found.append(answer if error is None else self._trouble(Failed.HOST_SAYS, said=error))
        return found

    def _trouble(self, code: Failed, *, said: str = "", **facts: str | float | None) -> Transient:
        told = Said(_shown(said)) if said else None
        return Transient(Reason(code, said=told, **facts), about=self.host)

    async def _answer(self, limit: float, *, connecting: bool = False) -> ShellAnswer:
        if self._broken is not None:
            raise self._broken
        lines: list[tuple[str, str]] = []
        said: list[str] = []
        size = 0
        try:
            async with asyncio.timeout(limit):
                while True:
                    text = await self._line()
                    if text is None:
                        last = self._buffer.decode("utf-8", "replace")
                        self._broken = await self._gone([*said, last], connecting=connecting)
                        raise self._broken
                    mark, _, rest = text.partition(" ")
                    if mark != self._mark:
                        said.append(text)
                        del said[:-20]
                        continue
                    word, _, told = rest.partition(" ")
                    if word == "end":
                        return ShellAnswer(tuple(lines), _shown(" ".join(said)))
                    size += len(rest)
                    if size > LONGEST_ANSWER or len(lines) >= MOST_LINES:
                        self._broken = self._trouble(
                            Failed.HOST_TOO_MUCH, characters=LONGEST_ANSWER, lines=MOST_LINES
                        )
                        raise self._broken
                    lines.append((word, told))
        except TimeoutError:
            code = Failed.HOST_CLOSED if connecting else Failed.HOST_SILENT
            heard = self._errors.said if self._errors.text else ""
            self._broken = self._trouble(code, seconds=float(limit), said=heard)
            raise self._broken from None

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())

    async def _line(self) -> str | None:
        assert self._process.stdout is not None
        await asyncio.sleep(0)  # others have their turn, however much there is to read
        while b"\n" not in self._buffer:
            data = await self._process.stdout.read(LONGEST_LINE)
            if not data:
                return None
            self._buffer = (self._buffer + data)[-2 * LONGEST_LINE :]
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    async def _gone(self, printed: list[str], *, connecting: bool) -> Transient | Permanent:
        """Return why the connection is no more; `printed` is what came last on stdout.

        There accounts without a shell say so: nologin, a forced command, `internal-sftp`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(GOING):
                await self._process.wait()
                await self._errors.ended.wait()
        # Of an ssh that was built without Kerberos, which says so at each call.
        lines = self._errors.text.splitlines()
        text = "\n".join(line for line in lines if "Unsupported option" not in line)
        for pattern, kind, code in _MEANINGS:
            if pattern.search(text):
                named = {"host": self.host} if code in _NAMING else {}
                return kind(Reason(code, said=Said(_last(text)), **named), about=self.host)
        words = _shown(" ".join(line for line in printed if not line.startswith(self._mark)))
        status = self._process.returncode
        # What refuses it there may say so on stderr as well, as git-shell does; ssh has let us in.
        is_in = status is not None and 0 <= status != _SSH_FAILED
        if connecting and is_in and not words:
            words, text = _last(text), ""
        if connecting and not words and not text and is_in:
            return self._trouble(Failed.HOST_SHELL_ENDED, status=status)
        code = Failed.HOST_NO_SHELL if words and connecting else Failed.HOST_GONE
        return self._trouble(code, said=_last(text), words=Said(shown(words)) if words else None)

    async def send(self, source: str, target: str) -> None:
        """Copy what is in the folder `source` into the folder `target` there, for us alone."""
        argv = rsync_line(self.host, source, target)
        program = await start(argv, cwd=self._folder, remedy=Failed.FIX_RSYNC)
        try:
            async with asyncio.timeout(COPYING):
                status = await program.wait()
            await program.rest_of_output()
        except TimeoutError:
            why = Reason(Failed.RSYNC_OVERDUE, seconds=COPYING, said=Said(program.said))
            raise Transient(why, about=self.host) from None
        finally:
            await program.end()
        if not status:
            return
        said = program.said
        if status == 2 or "is your shell clean" in said:
            code = Failed.FIX_PRINTS
        elif status == _NOT_FOUND or _NO_RSYNC.search(said):
            code = Failed.FIX_NO_RSYNC
        elif "No space left" in said or "quota" in said:
            code = Failed.FIX_SPACE
        elif status in _IO_ERRORS:
            code = Failed.FIX_DISK
        else:
            code = Failed.FIX_WAIT
        why = Reason(Failed.RSYNC_EXITED, status=status, said=Said(said), remedy=Reason(code))
        raise Transient(why, about=self.host)

    async def close(self) -> None:
        """Let it go, with everything that was begun there."""
        assert self._process.stdin is not None
        with suppress(TimeoutError, OSError):
            self._process.stdin.close()
            async with asyncio.timeout(GOING):
                await self._process.wait()


@asynccontextmanager
async def shell_on(
    host: str, prod: str, scratch: Scratch | None = None
) -> AsyncIterator[RemoteShell]:
    """Open a shell on `host` for the production tree `prod`.

    `scratch`: where the socket of the connection is, for us alone: who has it has the login. None:
    in a folder of its own, for tools that run without a daemon.

    Raises `Transient`, or `Permanent` where a person has to do something first.
    """
    with ExitStack() as stack:
        try:
            if scratch is None:
                scratch = stack.enter_context(closing(Scratch()))
                scratch.sweep()
            folder = stack.enter_context(scratch.folder())
        except OSError as err:
            why = Reason(Failed.SSH_NO_FOLDER, said=Said(err.strerror or err))
            raise Transient(why) from err
        process, errors = await _log_in(host, folder)
        shell = RemoteShell(host, process, errors, folder)
        try:
            await shell.greet(prod)
            yield shell
            await shell.close()
        finally:
            await asyncio.shield(_end(process))


async def _log_in(host: str, folder: str) -> tuple[asyncio.subprocess.Process, Output]:
    errors = Output()
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *shell_line(host),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors.writer,
            cwd=folder,
            env=environment(),
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting), errors
    except asyncio.CancelledError:
        with suppress(OSError):
            await _end(await starting)
        raise
    except FileNotFoundError:
        raise Permanent(Reason(Failed.SSH_MISSING)) from None
    except OSError as err:
        raise Transient(Reason(Failed.SSH_NOT_NOW, said=Said(err.strerror))) from err
    finally:
        os.close(errors.writer)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        await end_group(process)
    # What it still had to say is read: as long as it is not, its pipe stays open here.
    assert process.stdout is not None
    with suppress(TimeoutError):
        async with asyncio.timeout(GOING):
            while await process.stdout.read(LONGEST_LINE):
                pass


def _line(command: str) -> str:
    """Return a line for the shell there: of which, cut off anywhere, nothing is done."""
    return f"{{ {command}; say end; }}\n"


def _last(text: str) -> str:
    """Return the last line of what ssh said: there stands what it comes to."""
    lines = [line for line in text.splitlines() if line.strip()]
    return _shown(lines[-1]) if lines else ""


def _shown(text: str) -> str:
    """Return the end of a text in one line."""
    return plain(" ".join(text[-4096:].split()))[-500:]


async def address_of(host: str) -> str:
    """Return the address or name to which ssh connects for `host`, as its configuration says.

    Raises `Transient`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *look_up_line(host),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env=environment(),
            start_new_session=True,
        )
    except OSError as err:
        raise Transient(Reason(Failed.SSH_NOT_NOW, said=Said(err.strerror))) from err
    try:
        async with asyncio.timeout(STEP):
            text = (await process.communicate())[0].decode("utf-8", "replace")
    except TimeoutError:
        raise Transient(Reason(Failed.SSH_HANGS, host=host)) from None
    finally:
        await _end(process)
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        if word == "hostname":
            return value.strip()
    return host.rpartition("@")[2]
