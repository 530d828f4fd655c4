"""What `sslmctl doctor` hears from the daemon: its configuration, and what it has in trouble."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sslmd import __version__
from sslmd.config.model import Config
from sslmd.console.answers import Cert, Fields, certs_of
from sslmd.console.client import DaemonClient
from sslmd.console.health import (
    dane_unseen,
    dh_problems,
    host_problems,
    net_problems,
    net_remarks,
    own_problems,
    problems,
    refusal_line,
    zone_problems,
)
from sslmd.console.program import NOT_PERMITTED, CtlError, RefusedByDaemon
from sslmd.console.text import count, printable
from sslmd.core.trouble import TroubleKind
from sslmd.core.words.doctor import Diagnosis
from sslmd.doctor.symptoms import Checkup, Symptom, Symptoms, odd, output_of, unseen, well, wrong
from sslmd.wire.messages import SOCKET_GROUP, ErrorCode, Method, Notice, Notification

_SHOWN = 5  # changed files that one message names

# Seconds until files are gone from web servers again, by ssh where those are elsewhere.
_REMOVING = 90.0


@dataclass(frozen=True)
class Running:
    """What the daemon says of itself. `problem`: why it says nothing; None if it does.

    `uid` is its user, ours where it does not answer. `conf_dir` and `certs_dir` are "" where it
    does not say them, `files` then empty; `status` is its answer to that method. `asked`: when, in
    seconds of `time.time`: what is younger it could not tell.
    """

    socket: str
    uid: int
    problem: CtlError | None = None
    conf_dir: str = ""
    certs_dir: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    status: Fields = field(default_factory=lambda: Fields(None))
    certs: tuple[Cert, ...] = ()
    asked: float = 0.0

    @property
    def answers(self) -> bool:
        """Whether it was asked, and said how it is."""
        return self.problem is None

    @property
    def hosts_told(self) -> set[str]:
        """The hosts of which it says what does not belong there."""
        return {host.text("host") for host in self.status.subs("hosts") if host.text("text")}

    def reads(self, folder: Path) -> bool:
        """Whether `folder` is its configuration, or it does not say which it has."""
        return not self.conf_dir or os.path.realpath(self.conf_dir) == os.path.realpath(folder)


def ask_daemon(socket: str) -> Running:
    """Ask for its status and its configuration; blocks, never raises for what goes wrong."""
    uid, asked = os.geteuid(), time.time()
    try:
        with DaemonClient(socket) as daemon:
            uid = daemon.uid
            status = daemon.call(Method.STATUS)
            try:
                answer = daemon.call(Method.CONFIG)
            except RefusedByDaemon as err:
                if err.code != ErrorCode.METHOD_NOT_FOUND:
                    raise
                answer = {}  # it was made before this method was
    except CtlError as err:
        if err.exit_status == NOT_PERMITTED:
            with suppress(OSError):
                uid = os.stat(socket).st_uid
        return Running(socket, uid, err)
    said = answer if isinstance(answer, dict) else {}
    files = said.get("files")
    known = files if isinstance(files, dict) else {}
    return Running(
        socket,
        uid,
        None,
        str(said.get("conf_dir") or ""),
        str(said.get("certs_dir") or ""),
        {str(path): str(digest) for path, digest in known.items()},
        Fields(status),
        tuple(certs_of(status)),
        asked,
    )


def work_as(uid: int) -> str:
    """Go on as the daemon's user where that is not root; return what that user is called.

    What it may read, whom ssh lets in and whose files are trusted is then as for the daemon. ""
    where nothing was to be done. Raises OSError where it cannot be.
    """
    if os.geteuid() != 0 or uid == 0:
        return ""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        os.setgroups([])
        os.setresuid(uid, uid, uid)
        return f"uid {uid}"
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(uid, uid, uid)
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    return user.pw_name


async def look_at_daemon(
    running: Running, now: datetime | None = None, unused: Collection[str] = ()
) -> Symptoms:
    """Whether the daemon runs, will again after the next boot, and what it has in trouble.

    `unused`: certificates that are named already as ones that no server uses.
    """
    if running.problem is not None:
        finding = unseen if running.problem.exit_status == NOT_PERMITTED else wrong
        yield finding("daemon", running.problem.text)
    else:
        for trouble in (found := _troubles(running, now or datetime.now(UTC), unused)):
            yield trouble
        facts = {"socket": running.socket, "certs": count(len(running.certs), "certificate")}
        yield well("daemon", Diagnosis.DAEMON_ANSWERS, **facts, fine=not (found or unused))
        version = running.status.sub("daemon").text("version")
        if version != __version__:
            yield odd("daemon", Diagnosis.OTHER_VERSION, version=version, ours=__version__)
    try:
        grp.getgrnam(SOCKET_GROUP)
    except KeyError:
        yield odd("daemon", Diagnosis.NO_GROUP, group=SOCKET_GROUP)
    if not os.path.isdir("/run/systemd/system"):
        return
    status, said = await output_of(["systemctl", "is-enabled", "sslmd.service"])
    if status and said.split("\n")[-1] == "disabled":
        yield wrong("daemon", Diagnosis.NOT_ENABLED)


def _troubles(running: Running, now: datetime, unused: Collection[str]) -> list[Symptom]:
    """Return what the daemon has in trouble: a refusal, certificates, hosts, zones, DH groups."""
    refused = refusal_line(running.status, now)
    found = [wrong("daemon", refused)] if refused else []
    for cert in running.certs:
        for trouble, text in problems(cert, now):
            if cert.name in unused and trouble.kind is TroubleKind.NO_SERVER:
                continue
            finding = odd if trouble.kind is TroubleKind.DANE_WARNING else wrong
            arg = f"{cert.text('group')}:{cert.text('service')}"
            found.append(finding("daemon", Diagnosis.TROUBLE, cert=cert.name, why=text, arg=arg))
        found += [
            odd("daemon", Diagnosis.NOT_SEEN, cert=cert.name, what=text)
            for text in dane_unseen(cert, now)
        ]
    status = running.status
    zones = zone_problems(status, running.certs, every=True)
    beside = host_problems(status) + zones + dh_problems(status)
    beside += [text for _, text in own_problems(status)]
    apart = [odd("daemon", text) for text in net_problems(status) + net_remarks(status)]
    return found + [wrong("daemon", text) for text in beside] + apart


def refusals(running: Running, config: Config) -> Iterator[Symptom]:
    """Find what makes the daemon refuse a configuration without mistakes."""
    if running.certs_dir and running.certs_dir != str(config.globals.certs_dir):
        facts = {"folder": config.globals.certs_dir, "its": running.certs_dir}
        yield wrong("configuration", Diagnosis.OTHER_CERTS_DIR, **facts)
    left_out = {warning.file for warning in config.warnings}
    known = {str(one) for one in config.services}
    for cert in running.certs:
        path = str(config.conf_dir / cert.text("group") / cert.text("service"))
        if cert.name not in known and path in left_out:
            yield wrong("configuration", Diagnosis.NO_SERVICE_FILE, path=path)


def changed(loaded: Mapping[str, str], there: Mapping[str, str]) -> Symptom | None:
    """Compare the files that the daemon has loaded with those that are there now."""
    paths = sorted(
        path for path in loaded.keys() | there.keys() if loaded.get(path) != there.get(path)
    )
    if not loaded or not paths:
        return None
    told = []
    for path in paths[:_SHOWN]:
        how = "was changed" if path in loaded else "is new"
        told.append(f"{printable(path)} {how if path in there else 'was removed'}")
    files, more = ", ".join(told), max(len(paths) - _SHOWN, 0)
    return odd("configuration", Diagnosis.OTHER_FILES, files=files, more=more)


# --- its files on web servers ----------------------------------------------------------


@asynccontextmanager
async def files_in_place(case: Checkup, running: Running, left: list[str]) -> AsyncIterator[Fields]:
    """Have files put in place as long as this lasts; `left` gets what cannot be taken away.

    Raises `CtlError` or TimeoutError where there are none.
    """
    if running.problem is not None:
        raise running.problem
    loop = asyncio.get_running_loop()
    placed: asyncio.Future[Fields] = loop.create_future()
    # Connecting takes a moment at most; it has to be known here, so that it can be given up.
    daemon = DaemonClient(running.socket)

    def give(fields: Fields) -> None:
        if not placed.done():
            placed.set_result(fields)

    def heard(notice: Notification) -> None:
        if notice.method == Notice.PLACED:
            loop.call_soon_threadsafe(give, Fields(notice.params))

    def hold() -> Fields:
        with daemon:
            return Fields(daemon.call(Method.HTTP_TEST, on_notice=heard, timeout=None))

    holding = asyncio.ensure_future(asyncio.to_thread(hold))
    try:
        async with asyncio.timeout_at(case.watch.until):
            await asyncio.wait({placed, holding}, return_when=asyncio.FIRST_COMPLETED)
        if not placed.done():
            await holding  # raises why
        yield placed.result()
    finally:
        daemon.say_no_more()
        try:
            with suppress(TimeoutError, CtlError):
                async with asyncio.timeout(_REMOVING):
                    left += (await asyncio.shield(holding)).texts("problems")
        finally:
            daemon.hang_up()
            placed.cancel()
