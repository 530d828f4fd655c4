"""Messages to people: handed to the program that sends them, or to the admin's command.

Each address has a process of its own, which knows this address alone (`sslmd.notify`): systemd
starts it as another user by its socket, and where there is none, the daemon does. What it answers
is looked at as bytes of others are, and addresses are in no error.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from sslmd.config.notify import AddressFileError, NotifyAddress, NotifyOptions, read_addresses
from sslmd.core.errors import Permanent, SslmError, Transient, together
from sslmd.core.failed import Failed
from sslmd.core.plain import plain, plain_values
from sslmd.core.reason import Code, Reason, Said
from sslmd.core.trouble import Severity
from sslmd.net.client import PASSED
from sslmd.processes import run_command, start
from sslmd.wire.sending import (
    MOST_ANSWERED,
    NOTIFY_SOCKET,
    SECONDS,
    OddMessageError,
    SendAnswer,
    SendFailure,
    ToSend,
)
from sslmd.workers.tools import Site, Threads

# Messages under way at a time, each a process of 60 MB; and of one notifier: where its addresses
# hang, others have theirs.
PLACES, PLACES_OF_ONE = 4, 2

# Seconds beside those that the program has: its start, on a machine under load.
PATIENCE = 20.0

# The same package as this one, wherever it is; nothing of the environment or the working directory.
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PROGRAM = f"""
import sys
sys.path.insert(0, {_ROOT!r})
from sslmd.notify.main import main
main([])
"""
COMMAND = (sys.executable, "-I", "-c", _PROGRAM)

# Parts of an address that a message may not have; shorter ones are in every text.
_PARTS = re.compile(r"[^A-Za-z0-9._~!$*+-]+")
_SHORTEST_PART = 4

# Why there is no answer, of which the program speaks by these codes alone.
_REASONS: Mapping[str, Failed] = {
    str(code): code
    for code in (
        *(Failed.NOT_TRUSTED, Failed.TLS_FAILED, Failed.NOT_IN_TIME, Failed.UNRESOLVED),
        *(Failed.NOT_ANSWERED, Failed.NOT_CONNECTED, Failed.NOT_HTTP),
    )
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message: `document` is what a command gets on stdin, beside the texts."""

    subject: str
    lines: tuple[str, ...]
    severity: Severity
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Who took a message: places in the list of addresses; (0,) for a command.

    `failure`: what the others failed with, None if all took it.
    """

    took: tuple[int, ...]
    failure: Exception | None = None


class Sender:
    """Hands over messages. `socket`: where systemd starts the program, `command` is the program."""

    def __init__(
        self,
        site: Site,
        threads: Threads,
        *,
        socket: str = NOTIFY_SOCKET,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._site = site
        self._threads = threads
        self._socket = socket
        self._command = tuple(command)
        self._places = asyncio.Semaphore(PLACES)
        self._places_of: dict[str, asyncio.Semaphore] = {}

    async def marks(self, to: NotifyOptions) -> tuple[str, ...]:
        """Return a mark for everybody whom a notifier names, which shows nothing of the address.

        Raises `Permanent` where a file of addresses cannot be used.
        """
        if to.command:
            return marks_of((repr(to.command),))
        return marks_of(one.text for one in await self._addresses(to))

    async def hand_over(
        self, what: Outgoing, to: NotifyOptions, only: Collection[int] | None = None
    ) -> HandedOver:
        """Hand a message to everybody whom a notifier names, or to some of them (`only`).

        Raises `Transient` or `Permanent` where nobody took it.
        """
        if to.command:
            await self._run(what, to.command)
            return HandedOver((0,))
        addresses = await self._addresses(to)
        wanted = [at for at in range(len(addresses)) if only is None or at in only]
        if not wanted:  # the file was changed meanwhile
            raise Transient(Reason(Failed.NOTIFY_NOBODY, file=str(to.to_file)))
        labels = _labels(addresses, "to_file" if to.to_file else "to")
        places = self._places_of.setdefault(to.name, asyncio.Semaphore(PLACES_OF_ONE))
        ends = await asyncio.gather(
            *(self._send(what, addresses[at], labels[at], places) for at in wanted),
            return_exceptions=True,
        )
        took = tuple(at for at, end in zip(wanted, ends, strict=True) if end is None)
        failures = [end for end in ends if end is not None]
        if not failures:
            return HandedOver(took)
        failure = together(failures)
        if not isinstance(failure, Exception):
            raise failure  # the daemon stops
        if not took:
            raise failure
        return HandedOver(took, failure)

    async def _addresses(self, to: NotifyOptions) -> tuple[NotifyAddress, ...]:
        if to.to_file is None:
            return to.to
        path = str(to.to_file)
        try:
            found = await self._threads.aside(read_addresses, path)
        except AddressFileError as err:
            why = Reason(
                Failed.NOTIFY_FILE, file=path, problem=Said(err.problem), remedy=Said(err.remedy)
            )
            raise Permanent(why) from None
        if not found:
            raise Permanent(Reason(Failed.NOTIFY_NOBODY, file=path))
        return found

    async def _run(self, what: Outgoing, argv: Sequence[str]) -> None:
        """Give a command the whole as one JSON object."""
        document = {
            **what.document,
            "subject": plain(what.subject),
            "lines": [plain(line) for line in what.lines],
            "severity": what.severity.name.lower(),
        }
        own = self._site.config
        await run_command(
            argv,
            timeout=own.globals.cmd_timeout,
            cwd=str(own.top),
            stdin=json.dumps(plain_values(document)).encode() + b"\n",
            remedy=Failed.FIX_NOTIFY_COMMAND,
        )

    async def _send(
        self, what: Outgoing, address: NotifyAddress, label: str, places: asyncio.Semaphore
    ) -> None:
        message = ToSend(address.text, what.subject, what.lines, what.severity)
        async with places, self._places:
            answer = await self._ask(message.dump(), label)
        if answer.failure is not None:
            raise failure_of(answer, label, address.text, self._site.now())

    async def _ask(self, request: bytes, label: str) -> SendAnswer:
        try:
            async with asyncio.timeout(SECONDS + PATIENCE):
                try:
                    data = await self._by_socket(request)
                except (FileNotFoundError, PermissionError, ConnectionRefusedError):
                    data = await self._by_program(request)
        except TimeoutError:
            return SendAnswer(SendFailure.OVERDUE)
        except OSError:
            data = b""
        try:
            return SendAnswer.read(data)
        except OddMessageError:
            raise Transient(Reason(Failed.SENDER_SILENT, to=label)) from None

    async def _by_socket(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(request)
            writer.write_eof()
            data = bytearray()
            while len(data) <= MOST_ANSWERED and (piece := await reader.read(MOST_ANSWERED)):
                data += piece
            return bytes(data)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _by_program(self, request: bytes) -> bytes:
        env = {name: os.environ[name] for name in (*PASSED, "PATH") if name in os.environ}
        program = await start(self._command, cwd="/", stdin=request, env=env)
        try:
            await program.wait()
            await program.rest_of_output()
        finally:
            await program.end()
        # Before its last line there is what Python says when it does not even start.
        return program.text.strip().rpartition("\n")[2].encode()


def marks_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return of each text a mark that shows nothing of it."""
    return tuple(sha256(one.encode("utf-8", "replace")).hexdigest()[:16] for one in texts)


def _labels(addresses: Sequence[NotifyAddress], key: str) -> list[str]:
    """Return how messages name addresses: without what may be a secret."""
    if len(addresses) == 1:
        return [str(addresses[0])]
    return [f"{one} ({at} of {key})" for at, one in enumerate(addresses, 1)]


def failure_of(answer: SendAnswer, to: str, address: str, now: datetime) -> SslmError:
    """Return the error for an answer; `to` is how the address is named, `address` stays out."""
    said = Said(without(answer.said, address))
    number = answer.number
    fixed: Mapping[SendFailure, Code] = {
        SendFailure.BAD_ADDRESS: Failed.NOTIFY_ADDRESS,
        SendFailure.NEEDS_PACKAGE: Failed.NOTIFY_PACKAGE,
        SendFailure.NO_SENDMAIL: Failed.NO_SENDMAIL,
    }
    match answer.failure:
        case SendFailure.BAD_ADDRESS | SendFailure.NEEDS_PACKAGE | SendFailure.NO_SENDMAIL:
            return Permanent(Reason(fixed[answer.failure], to=to))
        case SendFailure.UNREACHED:
            code = _REASONS.get(answer.why, Failed.NOT_ANSWERED)
            why = Reason(code, said=said or "it gives no reason")
            return Transient(Reason(Failed.NOTIFY_UNREACHED, to=to, why=why))
        case SendFailure.STATUS:
            wait = timedelta(seconds=answer.retry_after) or None
            status = Reason(Failed.NOTIFY_STATUS, to=to, status=number, wait=wait)
            return Transient(status, retry_at=now + wait if wait else None)
        case SendFailure.REDIRECTED:
            return Transient(Reason(Failed.NOTIFY_REDIRECTED, to=to, status=number))
        case SendFailure.REPLY:
            return Transient(Reason(Failed.NOTIFY_REPLY, to=to, status=number))
        case SendFailure.REFUSED:
            return Transient(Reason(Failed.NOTIFY_REFUSED, to=to))
        case SendFailure.OVERDUE:
            return Transient(Reason(Failed.NOTIFY_OVERDUE, to=to, seconds=round(SECONDS)))
        case SendFailure.SENDMAIL:
            return Transient(Reason(Failed.SENDMAIL_EXITED, to=to, status=number, said=said))
        case SendFailure.BARRED:
            return Transient(Reason(Failed.SENDMAIL_BARRED, to=to, status=number, said=said))
    return Permanent(Reason(Failed.SENDER_BUG, to=to, error=answer.why or "request"))


def without(said: str, address: str) -> str:
    """Return words of others, or "" where a part of the address stands in them."""
    if address.startswith("mailto:") and not address.startswith("mailto://"):
        return said  # a recipient is no secret
    for text in (address, unquote(address)):
        # The scheme is told anyway.
        parts = _PARTS.split(text.partition(":")[2])
        if any(part in said for part in parts if len(part) >= _SHORTEST_PART):
            return ""
    return said
