"""What all tests share: what they inherit, how long each may take, and which begin first."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings

from tests.stand.virtual_time import VirtualLoop

ROOT = Path(__file__).parents[1]

# --- what they inherit --------------------------------------------------------------------

# Settings of whoever runs the tests that would change what programs do: Python's, those of
# shells, of the language, of systemd, and of sslmd itself.
_NOT_OURS = re.compile(
    r"PYTHON|LC_|LANGUAGE$|BASH_ENV$|ENV$|CDPATH$|SHELLOPTS$|BASHOPTS$|ZDOTDIR$|POSIXLY_CORRECT$"
    r"|NOTIFY_SOCKET$|WATCHDOG_|LISTEN_|JOURNAL_STREAM$|INVOCATION_ID$|SSLMD_|SSL_MGR_|SSH_|TMUX"
)


# Where fsync(2) costs nothing: it is most of the time of tests that write. What is there is memory.
_MEMORY, _ENOUGH = "/dev/shm", 2 << 30


def _scratch() -> str:
    """Return the folder for what tests write."""
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        info = os.statvfs(_MEMORY)
        if not info.f_flag & os.ST_NOEXEC and info.f_bavail * info.f_frsize >= _ENOUGH:
            return _MEMORY
    return tempfile.gettempdir()


def _begin_alike() -> None:
    """Give the tests, and all that they start, the same surroundings whoever runs them."""
    for name in [name for name in os.environ if _NOT_OURS.match(name)]:
        del os.environ[name]
    # Texts for people have local times: what is expected of them is written for one zone.
    os.environ.update(LANG="C.UTF-8", TZ="UTC", PYTHONPATH=str(ROOT))
    tempfile.tempdir = os.environ.setdefault("TMPDIR", _scratch())
    time.tzset()
    os.umask(0o022)
    # A signal that is ignored (by nohup, or a shell for what it runs behind) stays ignored in
    # every program that is started. One that is handled here is not ignored there.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


_begin_alike()

# --- how long each may take ---------------------------------------------------------------

# Seconds for the set-up, the test and what follows it, each; on a machine that is busy with
# others too. What installs packages or kills at every step takes longer.
_LIMIT = 240
_LONGER = {
    "packaging/": 1500,
    "integration/test_delivery_kills": 900,
    "integration/test_acme_engine_kills": 900,
    "integration/test_acme_kills": 900,
    "integration/test_kills": 900,
    "store/test_killed": 900,
    # These only calculate, for as long as others let them.
    "core/test_decade": 900,
    "core/test_alarm_year": 900,
    "daemon/test_dane_year": 900,
}
# Seconds more, after which a process that did not even notice its alarm is ended.
_GRACE = 60


class TooLong(Exception):
    """A test has reached its limit."""


def _limit(item: pytest.Item) -> int:
    return next((limit for part, limit in _LONGER.items() if part in item.nodeid), _LIMIT)


@contextmanager
def _limited(item: pytest.Item) -> Iterator[None]:
    limit = _limit(item)

    def alarm(_number: int, _frame: FrameType | None) -> None:
        raise TooLong(f"{item.nodeid}: not done after {limit} s")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, limit, 5)
    faulthandler.dump_traceback_later(limit + _GRACE, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with _limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with _limited(item):
        return (yield)


# --- examples that are drawn --------------------------------------------------------------

# The same examples in every run, without a limit on the time of one: machines that run tests are
# busy ones. New examples are `make fuzz`'s to look for.
settings.register_profile(
    "alike", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("alike")

# --- virtual time -------------------------------------------------------------------------


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests marked `virtual_time` in a loop that jumps where it would wait."""
    virtual = item.get_closest_marker("virtual_time")
    return {"loop": VirtualLoop if virtual else asyncio.new_event_loop}


# --- which of them, and in which order ----------------------------------------------------

# With what takes long in the beginning stands what has to wait for no package.
_FIRST = (
    "packaging/test_machine",
    "integration/test_delivery_kills",
    "integration/test_kills",
    "packaging/",
    "integration/",
    # The longest of those without servers: what begins last should be short.
    "core/test_decade",
    "servers/test_http01_races",
    "store/test_killed",
    "servers/test_remote_killed",
    "test_patterns",
)

# Rooms whose tests start servers, machines or daemons; in others, files that use them, and those
# that race with a process or kill one hundreds of times.
_RACES = {"servers/test_http01_races.py", "servers/test_remote_killed.py", "store/test_killed.py"}
_SLOW_ROOMS = {"integration", "stand", "packaging", "systemd", "bench", "fuzz"}
_USES_SERVERS = re.compile(
    r"^from tests\.stand(\.\w+)? import .*\b(bind|nginx|pebble|sshd|postfix|unbound|host|far_site"
    r"|Bind|Nginx|Pebble|Sshd|Host|Supervised)\b"
    r"|^from tests\.(integration|stand\.(site|bind|host|far|supervised|sshd|nginx|openssl))\b",
    re.MULTILINE,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only files without servers and races")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("--quick") or collection_path.suffix != ".py":
        return None
    place = collection_path.relative_to(ROOT / "tests")
    if place.parts[0] in _SLOW_ROOMS or str(place) in _RACES:
        return True
    return True if _USES_SERVERS.search(collection_path.read_text()) else None


def _place(item: pytest.Item) -> int:
    return next((at for at, part in enumerate(_FIRST) if part in item.nodeid), len(_FIRST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file; within one nothing changes."""
    items.sort(key=_place)
