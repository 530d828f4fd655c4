"""The engine at a real CA, behind a network that fails at each request of an order in turn.

It comes to its certificate by later tries: with one order, one account, and one certificate.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from sslmd.acme import engine
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.net import acme as steps
from sslmd.workers.ari import renewal_id
from tests.stand.acme_order import Ordering, name_of_its_own
from tests.stand.pebble import Pebble, missing
from tests.stand.proxy import Answer, Proxy

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

# What an order asks for: how a path begins, and which request of that kind it is.
REQUESTS = (
    ("/dir", 1),
    ("/nonce-plz", 1),
    ("/sign-me-up", 1),
    ("/order-plz", 1),
    ("/authZ/", 1),  # what is to be shown
    ("/chalZ/", 1),
    ("/authZ/", 2),  # how it was judged
    ("/my-order/", 1),
    ("/finalize-order/", 1),
    ("/my-order/", 2),  # whether it is made
    ("/certZ/", 1),
)

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    settings = {"PEBBLE_VA_ALWAYS_VALID": "1"}
    with Pebble(tmp_path_factory.mktemp("ca"), settings=settings, retry_after=0) as pebble:
        yield pebble


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "FIRST_POLL", 0.02)
    monkeypatch.setattr(engine, "TAKING_UP", 1.0)


class Once:
    """Does harm to one request. `is_done`: the CA has it all the same."""

    def __init__(
        self, begins: str, number: int, harm: Callable[[str], Answer], *, is_done: bool
    ) -> None:
        self._begins, self._left = begins, number
        self._harm, self._is_done = harm, is_done
        self._lock = threading.Lock()
        self.at: datetime | None = None  # when it was

    def _is_it(self, path: str) -> bool:
        with self._lock:
            self._left -= path.startswith(self._begins)
            is_it = path.startswith(self._begins) and not self._left
        self.at = datetime.now(UTC) if is_it else self.at
        return is_it

    def ask(self, path: str, _: bytes) -> Answer | None:
        """In place of the CA."""
        return self._harm(path) if not self._is_done and self._is_it(path) else None

    def change(self, answer: Answer) -> Answer:
        """Of what the CA answers."""
        is_it = self._is_done and self._is_it(answer.path)
        return self._harm(answer.path) if is_it else answer


def _cut(path: str) -> Answer:
    return Answer(path, 200, cut=0)


def _half(path: str) -> Answer:
    return Answer(path, 200, {}, b'{"status": "valid", "finalize": "https://', cut=20)


def _page(path: str) -> Answer:
    return Answer(path, 500, {"Content-Type": "text/html"}, b"<h1>\x1b[31mno</h1>\n")


def _busy(path: str, after: str) -> Answer:
    body = {"type": "urn:ietf:params:acme:error:serverInternal", "detail": "busy"}
    return Answer(path, 503, {"Retry-After": after}, json.dumps(body).encode())


def _busy_seconds(path: str) -> Answer:
    return _busy(path, "3600")


def _busy_date(path: str) -> Answer:
    return _busy(path, format_datetime(datetime.now(UTC) + HOUR, usegmt=True))


def _garbage(path: str) -> Answer:
    return Answer(path, 200, {"Replay-Nonce": "x\t!", "Location": "::"}, b"\x00\xff{[" * 100)


def _empty(path: str) -> Answer:
    return Answer(path, 200, {}, b"{}")


def _elsewhere(path: str) -> Answer:
    there = "https://evil.test/x"
    names = ("newNonce", "newAccount", "newOrder", "finalize", "url")
    body: dict[str, object] = dict.fromkeys(names, there)
    body |= {"status": "pending", "authorizations": [there]}
    return Answer(path, 201, {"Location": there}, json.dumps(body).encode())


HARMS: Mapping[str, tuple[Callable[[str], Answer], bool]] = {
    "lost": (_cut, False),
    "cut": (_cut, True),
    "cut in the middle": (_half, True),
    "500": (_page, False),
    "503, seconds": (_busy_seconds, False),
    "503, a date": (_busy_date, False),
    "garbage": (_garbage, True),
    "empty": (_empty, True),
    "of another host": (_elsewhere, True),
}


@pytest.mark.parametrize("harm", HARMS)
async def test_at_every_request(ca: Pebble, tmp_path: Path, harm: str) -> None:
    does, is_done = HARMS[harm]
    issued, orders, accounts = ca.issued(), ca.orders(), _accounts(ca)
    with ExitStack() as stack:

        async def order(begins: str, number: int) -> None:
            once = Once(begins, number, does, is_done=is_done)
            proxy = stack.enter_context(Proxy(ca, once.change, once.ask))
            folder = tmp_path / f"{begins.strip('/')}-{number}"
            one = Ordering(folder, proxy.directory, ca.root_file, [name_of_its_own()])
            await one.finish(3)
            assert once.at is not None, (begins, number)
            _check(one, once.at, harm, begins)

        await asyncio.gather(*(order(*one) for one in REQUESTS))
    assert ca.issued() - issued == len(REQUESTS)
    assert ca.orders() - orders == len(REQUESTS)
    assert _accounts(ca) - accounts == len(REQUESTS)


def _accounts(ca: Pebble) -> int:
    return ca.log().count(" accounts in memory")


def _check(one: Ordering, at: datetime, harm: str, begins: str) -> None:
    """Look at what was told of one that came to its end."""
    assert len(one.failures) <= 1, (begins, one.failures)
    for err in one.failures:
        assert str(err).isprintable()
        assert "evil.test" not in str(err) or harm == "of another host"
        # What serves garbage in place of a directory may be no CA.
        assert isinstance(err, Transient) or (begins == "/dir" and isinstance(err, Permanent))
        if harm.startswith("503"):
            assert isinstance(err, Transient)
            assert err.retry_at is not None
            assert abs(err.retry_at - at - HOUR) < timedelta(minutes=1)
    if harm.startswith("503"):
        assert one.failures, begins


@pytest.mark.parametrize("percent", [15, 50])
async def test_nonces_that_are_refused(tmp_path: Path, percent: int) -> None:
    """Ten orders at one time with one account: none is given up, none is made twice."""
    settings = {"PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_WFE_NONCEREJECT": str(percent)}
    (tmp_path / "ca").mkdir()
    with Pebble(tmp_path / "ca", settings=settings, retry_after=0) as ca:
        first = Ordering(tmp_path / "0", ca.directory, ca.root_file, [name_of_its_own()])
        others = [
            Ordering(
                tmp_path / str(number), ca.directory, ca.root_file, [name_of_its_own()], of=first
            )
            for number in range(1, 10)
        ]
        await asyncio.gather(*(one.finish(3) for one in (first, *others)))
        # At 50 % one request in 500 is refused nine times.
        failures = [str(err) for one in (first, *others) for err in one.failures]
        assert len(failures) <= percent // 15, failures
        assert all("nonce" in text for text in failures)
        assert (ca.issued(), ca.orders(), _accounts(ca)) == (10, 10, 1)


async def test_answers_that_take_their_time(ca: Pebble, tmp_path: Path) -> None:
    def late(answer: Answer) -> Answer:
        threading.Event().wait(0.4)
        return answer

    with Proxy(ca, late) as proxy:
        one = Ordering(tmp_path, proxy.directory, ca.root_file, [name_of_its_own()])
        assert await one.attempt() is not None


async def test_what_was_replaced_already(ca: Pebble, tmp_path: Path) -> None:
    names = [name_of_its_own()]
    first = Ordering(tmp_path / "first", ca.directory, ca.root_file, names)
    issued = await first.finish(1)
    for number, told in enumerate(([], [Failed.REPLACES_REFUSED])):
        again = Ordering(tmp_path / str(number), ca.directory, ca.root_file, names, of=first)
        again.replaces = renewal_id(issued.cert_pem)
        assert await again.attempt() is not None
        assert [what.code for what in again.told] == told


class Ends:
    """Ends the CA before the first request of a kind, and starts it again."""

    def __init__(self, ca: Pebble, begins: str) -> None:
        self.ca, self.begins = ca, begins
        self.is_done = False

    def ask(self, path: str, _: bytes) -> None:
        """Do it."""
        if path.startswith(self.begins) and not self.is_done:
            self.is_done = True
            self.ca.kill()
            self.ca.start()


async def test_a_ca_that_comes_back_with_nothing(tmp_path: Path) -> None:
    """It was ended at each request, and knows neither accounts nor orders after it."""
    (tmp_path / "ca").mkdir()
    settings = {"PEBBLE_VA_ALWAYS_VALID": "1"}
    with Pebble(tmp_path / "ca", settings=settings, retry_after=0) as ca:
        for number, begins in enumerate(dict.fromkeys(path for path, _ in REQUESTS[3:])):
            ends = Ends(ca, begins)
            with Proxy(ca, lambda answer: answer, ends.ask) as proxy:
                folder = tmp_path / str(number)
                one = Ordering(folder, proxy.directory, ca.root_file, [name_of_its_own()])
                await one.finish(3)
                assert ends.is_done
                lost = [what for what in one.told if what.code is Failed.ACCOUNT_LOST]
                assert len(lost) == 1
