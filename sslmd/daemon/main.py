"""sslmd: the story of a run.

    arguments, configuration, lock, log -> tree -> socket -> first plan -> READY
    ... reload on SIGHUP, end on SIGTERM ... -> STOPPING -> jobs stopped, notes written

Fatal, with exit status 1 before READY: a configuration with mistakes, a tree that another
daemon has, a socket that cannot be had. After READY nothing but a signal ends the daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import logging
import os
import random
import resource
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from sslmd import __version__
from sslmd.acme.signing import Signer
from sslmd.config.load import load, locate_conf_dir
from sslmd.config.model import Config
from sslmd.core.errors import ConfigError, Permanent, SslmError
from sslmd.core.events import Counted
from sslmd.core.names import CertId
from sslmd.core.plain import plain
from sslmd.core.reason import Reason, Said
from sslmd.core.told import Reported
from sslmd.daemon.api.methods import Methods
from sslmd.daemon.api.server import SocketServer
from sslmd.daemon.api.status_document import in_trouble, summary
from sslmd.daemon.hub import Hub
from sslmd.daemon.loop import ORDERS
from sslmd.daemon.options import read_arguments
from sslmd.daemon.reload import Reload
from sslmd.daemon.systemd import Notifier, Watchdog, watchdog_seconds
from sslmd.daemon.tell import journal
from sslmd.daemon.tell.events import EVENTS
from sslmd.daemon.tell.journal import NOTICE, WARNING, Bus, Record
from sslmd.memory import give_back, keep_private
from sslmd.net.client import Net
from sslmd.servers import folders
from sslmd.store.layout import Tree
from sslmd.store.lock import TreeLock
from sslmd.store.reading import read_all
from sslmd.store.scratch import Scratch
from sslmd.store.ssl_mgr import at_work
from sslmd.workers import http
from sslmd.workers.tools import Site, Standings, Telling, Threads

# Seconds that jobs have to come to their end when the daemon stops.
GRACE = 1.0

# Threads beside those of jobs: reading commands answer while orders wait for a CA (I9).
READERS = 2

# Seconds that --once waits for challenges to be taken off web servers.
FLUSH = 60.0


def main() -> None:
    """Run `sslmd` as its command line says; see docs/man/sslmd.8."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a sign gets its number, never a traceback. A daemon may also
        # be started with nothing to write to.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.argv[1:2] == ["init"]:
        # A room of its own, for the first minute of a site and not for every start.
        sys.exit(import_module("sslmd.setup.init").run(sys.argv[2:]))
    keep_private()
    arguments = read_arguments()
    os.umask(0o077)
    try:
        conf_dir = locate_conf_dir(arguments.conf_dir, os.environ)
        arguments.socket = os.path.abspath(arguments.socket)
    except FileNotFoundError:
        sys.exit("sslmd: the working directory is gone; start it elsewhere, or name whole paths")
    if arguments.check_config:
        sys.exit(_check_config(conf_dir, arguments.socket))
    journal.set_up(verbose=arguments.verb)
    journal.catch_crashes()
    try:
        status = asyncio.run(_run(arguments, conf_dir))
    except ConfigError as err:
        _last_status(f"the configuration is refused: {err.mistakes[0]}")
        sys.exit("\n".join(map(plain, err.lines())))
    except SslmError as err:
        _last_status(str(err))
        sys.exit(plain(f"sslmd: {err}"))
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _last_status(text: str) -> None:
    """Leave for `systemctl status` why it could not start."""
    Notifier().status(f"cannot start: {text}")


def _check_config(conf_dir: Path, socket: str) -> int:
    try:
        config = load(conf_dir)
        found = folders.look(config, socket)
        if refused := [one.as_mistake for one in found if one.refused]:
            raise ConfigError(refused, config.warnings)
    except ConfigError as err:
        sys.stderr.write("".join(f"{plain(line)}\n" for line in err.lines()))
        return 1
    for warning in (*config.warnings, *(one.as_mistake for one in found)):
        sys.stderr.write(f"{plain(f'warning: {warning}')}\n")
    services = sum(service.managed for service in config.services.values())
    sys.stdout.write(f"{plain(str(conf_dir))}: {services} services, no mistakes\n")
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


async def _run(arguments: argparse.Namespace, conf_dir: Path) -> int:
    # What the start builds stays: looking through it for garbage again and again would take
    # longer than building it.
    gc.disable()
    bus = Bus()
    net, signer = _network(bus)
    await net.start()  # before a key is read; what it takes to start is done beside
    try:
        return await _with_network(arguments, conf_dir, bus, net, signer)
    finally:
        await net.stop()


def _network(bus: Bus) -> tuple[Net, Signer]:
    """Return the network process, and who signs for it."""

    def tells(text: str) -> None:
        bus.record(Record(_now(), "network-process", text, WARNING))

    def says(line: str) -> None:
        bus.record(Record(_now(), "network-trace", line, WARNING))

    def failed(err: BaseException) -> None:
        bus.bug(_now(), "what the network process asked met an error of sslmd's own", err)

    signer = Signer(tells)
    return Net(signer.handlers(), tells, failed, said=says), signer


async def _with_network(
    arguments: argparse.Namespace, conf_dir: Path, bus: Bus, net: Net, signer: Signer
) -> int:
    config = load(conf_dir, gather=read_all)
    if config.globals.verbose:
        journal.set_up(verbose=True)
    if other := at_work(conf_dir):
        raise Permanent(
            f"ssl-mgr works on {config.top} at this moment (process {other.pid}: {other.what}). "
            "Wait until it has ended, and stop what starts it: sslmctl import --check shows that"
        )
    config = replace(config, warnings=config.warnings + folders.check(config, arguments.socket))
    lock = TreeLock(Tree(str(config.globals.certs_dir)).lock_file)
    lock.take()
    try:
        return await Daemon(arguments, conf_dir, config, bus, net, signer).run()
    finally:
        lock.release()


class Daemon:
    """One run, from a locked tree to the end."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        conf_dir: Path,
        config: Config,
        bus: Bus,
        net: Net,
        signer: Signer,
    ) -> None:
        self._once: bool = arguments.once
        self._verbose: bool = arguments.verb
        self._bus, self._net = bus, net
        self._notifier = Notifier()
        self._threads = ThreadPoolExecutor(arguments.jobs, thread_name_prefix="sslmd")
        self._others = ThreadPoolExecutor(2 * ORDERS + READERS, thread_name_prefix="sslmd-others")
        scratch = Scratch(os.path.dirname(arguments.socket))
        tree = Tree(str(config.globals.certs_dir))
        self._hub = hub = Hub(
            Site(config, tree, _now, random.SystemRandom(), scratch),
            Threads(self._threads, self._others, self._bug),
            Standings(lambda cert: hub.state_of(cert), lambda: hub.registry.entries.values()),
            Telling(
                self._tell_of,
                self._bug,
                lambda cert, how: hub.progress(cert, how),
                lambda cert, names: hub.count(cert, Counted(_now(), names)),
            ),
            bus,
            arguments.jobs,
            arguments.socket,
            net,
            signer,
        )
        self._loading = Reload(self._hub, conf_dir, arguments.socket, self._tell, self._taken)
        self._methods = Methods(self._hub, self.reload, _now(), os.getpid())
        self._server = SocketServer(arguments.socket, self._methods.handle, self._bug)
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._reload_waits = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        """Run to the end; return the exit status."""
        self._catch_signals()
        _raise_file_limit()
        self._log_to_files()
        self._loading.warn(self._hub.site.config.warnings)
        self._hub.load()
        await self._server.start()
        hub = self._hub
        hub.site.scratch.sweep()
        left = await hub.threads.in_thread(http.left_behind, hub.site)
        self._hub.start()
        hub.threads.in_background(http.remove_left_behind(left, hub.ordering))
        hub.threads.in_background(self._methods.http_tests.remove_left())
        begun = hub.ordering.challenges.start(hub.site.config.zones())
        if self._once:
            await begun  # what it finds is taken back at the end
        else:
            hub.threads.in_background(begun)
        text = summary(self._hub)
        self._notifier.ready(text)
        line = Reason(Reported.STARTED, version=__version__, text=Said(text))
        self._tell("started", line, NOTICE)
        gc.collect()
        gc.freeze()
        gc.enable()
        give_back()
        watchdog = Watchdog(self._hub, self._server, self._notifier, watchdog_seconds())
        self._spawn(watchdog.run())
        status = await self._work()
        self._notifier.stopping()
        self._tell("stopping", Reason(Reported.STOPPING), NOTICE)
        for task in self._tasks:
            task.cancel()
        # Orders first: a hook that is let go would end its certbot as a failure of its own.
        ended = await self._hub.stop(GRACE)
        await self._server.stop()
        await self._hub.threads.background_done(GRACE)
        await self._hub.ordering.challenges.stop()
        await self._net.stop()
        self._hub.site.scratch.close()
        waiting = ("asyncio_", "sslmd-others", "sslmd-lookups")
        looking_up = any(thread.name.startswith(waiting) for thread in threading.enumerate())
        if not ended or looking_up:
            # A thread that makes a key, or waits for a resolver, cannot be stopped; the next start
            # takes up what was cut short (I5).
            logging.shutdown()
            os._exit(status)
        self._threads.shutdown()
        self._others.shutdown()
        return status

    async def _work(self) -> int:
        """Work until a signal comes or, with --once, until nothing is left that is due."""
        if not self._once:
            await self._stop.wait()
            return 0
        stopped = asyncio.ensure_future(self._stop.wait())
        while not stopped.done():
            idle = asyncio.ensure_future(self._hub.at_rest())
            await asyncio.wait({stopped, idle}, return_when=asyncio.FIRST_COMPLETED)
            if idle.done():
                break
            idle.cancel()
        if stopped.done():
            return 1
        stopped.cancel()
        await self._hub.ordering.challenges.flush()
        await self._hub.threads.background_done(FLUSH)
        hub = self._hub
        failed = hub.failures or hub.zones.troubles
        now, entries = hub.site.now(), hub.registry.entries.values()
        return 1 if failed or any(in_trouble(entry, now) for entry in entries) else 0

    # --- signals and reload ---

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_on_signal()))

    async def _reload_on_signal(self) -> None:
        if self._reload_waits:
            return  # the one that waits will see what this one came for
        self._reload_waits = True
        async with self._reloading:
            self._reload_waits = False
        try:
            await self.reload()
        except SslmError:
            pass  # told already, and the old configuration stays in force
        except Exception as err:
            self._bug("the reload met an error of sslmd's own", err)

    async def reload(self) -> dict[str, Any]:
        """Load the configuration anew, all or nothing; raises `ConfigError`."""
        async with self._reloading:
            self._notifier.reloading()
            try:
                return await self._loading.run()
            finally:
                self._notifier.ready(summary(self._hub))

    def _taken(self, config: Config) -> None:
        """Log as a configuration says that has just come into force."""
        journal.set_up(verbose=self._verbose or config.globals.verbose)
        self._log_to_files()

    # --- telling ---

    def _log_to_files(self) -> None:
        logdir = self._hub.site.config.globals.logdir
        if logdir is None:
            return
        try:
            journal.add_file(logdir)
        except (OSError, SslmError) as err:
            why = err.reason if isinstance(err, SslmError) else Said(err.strerror or err)
            line = Reason(Reported.NO_LOG, folder=str(logdir), said=why)
            self._tell("config-warning", line, WARNING)

    def _tell(self, event: str, line: Reason | str, priority: int) -> None:
        self._bus.record(Record(_now(), event, line, priority))

    def _tell_of(self, event: str, line: Reason | str, cert: CertId | None) -> None:
        kind = EVENTS[event]
        priority = max(kind.priorities[-1], WARNING)  # a remark beside a job is no error
        self._bus.record(Record(_now(), event, line, priority, cert))

    def _bug(self, text: str, err: BaseException) -> None:
        self._bus.bug(_now(), text, err)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _raise_file_limit() -> None:
    """Let hundreds of clients and jobs have their files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 8192) if hard != resource.RLIM_INFINITY else 8192
    if soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox may forbid it; we live with less
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
