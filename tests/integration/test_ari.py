"""When a CA wants certificates renewed (RFC 9773), with Pebble: heard, noted, obeyed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.core.ari import Fault, Life, WindowAnswer, looked
from sslmd.net.acme_messages import CaAddress
from sslmd.net.inside import Inside
from sslmd.workers.ari import ask, renewal_id
from tests.stand.acme_site import (
    ARG,
    CERT,
    ZONE,
    World,
    forget_window,
    renewal_window,
    verify,
    world,
)
from tests.stand.bind import Primary
from tests.stand.pebble import Pebble
from tests.stand.proxy import Answer as OfCa
from tests.stand.proxy import Proxy
from tests.stand.server import wait_until

DAY = timedelta(days=1)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as one:
        yield one


def answered(primary: Primary, here: World, ca: Pebble, proxy: Proxy) -> None:
    """Have the site use a CA that is behind a proxy, which may change what it says."""
    here.site.use(ca)
    here.site.ca = here.site.ca.replace(ca.directory, proxy.directory)
    here.site.publish(primary)
    here.site.write()


async def test_what_pebble_answers(here: World) -> None:
    primary = here.bind()
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write()
    here.site.start()
    here.site.wait_settled()
    pem = (here.site.top / "certs" / CERT / "curr/cert.pem").read_text()
    ident, net, now = renewal_id(pem.encode()), Inside(), datetime.now(UTC)
    server = CaAddress(ca.directory, ca.root_file.read_text())

    async def answer(text: str | None = None, issued: datetime | None = None) -> object:
        if text is not None:
            ca.set_renewal_info(pem, text)
        return await ask(net, server, ident, issued, now)

    usual = await answer()
    assert isinstance(usual, WindowAnswer)
    assert usual.retry_after == timedelta(hours=6)
    moved = await answer(renewal_window(now + DAY, now + 2 * DAY, "https://ca.example/why"))
    assert isinstance(moved, WindowAnswer)
    assert moved.start == pytest.approx((now + DAY).timestamp(), abs=1)
    assert moved.explanation == "https://ca.example/why"
    past = await answer(renewal_window(now - 2 * DAY, now - DAY))
    assert isinstance(past, WindowAnswer)
    assert past.end < now.timestamp()
    assert await answer(renewal_window(now + 2 * DAY, now + DAY)) is Fault.LASTING
    assert await answer('{"suggestedWindow": 7}') is Fault.LASTING
    assert await answer("{") is Fault.LASTING
    for year in (1970, 9999):
        odd = await answer(
            renewal_window(datetime(year, 1, 1, tzinfo=UTC), datetime(year, 1, 2, tzinfo=UTC))
        )
        assert isinstance(odd, WindowAnswer)
        none = looked(None, odd, Life(now, now + 90 * DAY), now)
        assert (none.begin, none.urgent_since, none.failures) == (None, None, 1)
    other = f"{ident.partition('.')[0]}.AQ"
    assert await ask(net, server, other, now, now) is Fault.TEMPORARY
    assert await ask(net, server, other, now - DAY, now) is Fault.LASTING
    ca.freeze()
    assert await ask(net, server, ident, now, now, seconds=0.5) is Fault.TEMPORARY
    ca.thaw()
    ca.stop()
    assert await answer() is Fault.TEMPORARY


def test_what_it_wants_replaced_is_renewed_and_rolled_through_a_shut_window(here: World) -> None:
    primary = here.bind()
    ca = here.pebble(primary)
    replaced: list[str] = []

    def seen(answer: OfCa) -> OfCa:
        with suppress(ValueError):  # a certificate, or nothing
            found = json.loads(answer.body)
            if answer.path == "/order-plz":
                replaced.append(found.get("replaces", ""))
        return answer

    here.site.use(ca)
    with Proxy(ca, seen) as proxy:
        here.site.ca = here.site.ca.replace(ca.directory, proxy.directory)
        first = _replaced_now(here, primary, ca)
    assert replaced == ["", first]


def _replaced_now(here: World, primary: Primary, ca: Pebble) -> str:
    """Have a certificate issued, and replaced as the CA wants; return the name of the first."""
    here.site.publish(primary)
    here.site.write()
    shut = (datetime.now(UTC) + 3 * DAY).strftime("%a")
    more = f"roll_window = '{shut} 02:00-03:00 UTC'\nrestart_window = '{shut} 04:00-05:00 UTC'\n"
    here.site.write_service(CERT, [ZONE], more)
    here.site.start()
    first = here.site.wait_settled()[CERT]
    wait_until(lambda: _looked(here, CERT), "a look at the window")
    curr = here.site.status()[CERT]["curr"]
    assert curr["renewal_info"]["start"] < curr["renewal_info"]["end"]
    begin, end = (curr["renewal_info"][name] for name in ("start", "end"))
    assert begin <= here.site.status()[CERT]["renew_at"] <= end
    assert here.site.stop() == 0

    now = datetime.now(UTC)
    url = "https://ca.example/incident"
    pem = (here.site.top / "certs" / CERT / "curr/cert.pem").read_text()
    ca.set_renewal_info(pem, renewal_window(now - 2 * DAY, now - DAY / 2, url))
    forget_window(here.site, CERT)
    here.site.start()
    here.site.wait_line("wants set")
    here.site.wait_line("without waiting for windows")
    after = here.site.wait_settled()[CERT]
    assert after["curr"]["serial"] != first["curr"]["serial"]
    assert after["replace_now"] is None
    verify(here.site, ca)
    assert ca.orders() == 2
    shown = here.site.ctl("show", ARG).stdout
    assert url in shown
    assert "CA suggests" in shown
    assert here.site.stop() == 0
    return renewal_id(pem.encode())


def test_a_now_for_ever_is_one_order_and_windows_of_other_times_are_none(here: World) -> None:
    """What the CA has just issued it wants replaced as well, whatever is issued."""
    primary = here.bind()
    ca = here.pebble(primary)
    begin = datetime(9999, 1, 1, tzinfo=UTC)

    def changed(answer: OfCa) -> OfCa:
        if "renewal" in answer.path.lower():
            text = renewal_window(
                begin, begin + timedelta(minutes=30), "https://ca.example/for-ever"
            )
            return replace(answer, body=text.encode())
        return answer

    with Proxy(ca, changed) as proxy:
        answered(primary, here, ca, proxy)
        for year in (9999, 1970):
            begin = datetime(year, 1, 1, tzinfo=UTC)
            here.site.start()
            here.site.wait_settled()
            wait_until(lambda: _looked(here, CERT), "a look at the window")
            curr = here.site.status()[CERT]["curr"]
            assert curr["renewal_info"]["failures"] == 1
            assert curr["renewal_info"]["start"] is None
            assert here.site.status()[CERT]["replace_now"] is None
            here.site.stop()
            forget_window(here.site, CERT)
        assert ca.orders() == 1

        begin = datetime.now(UTC) - timedelta(hours=1)
        here.site.start()
        here.site.wait_line("replaced now: its window", 2)
        after = here.site.wait_settled()[CERT]
        for _ in range(2):
            assert ca.orders() == 2
            assert "is left until" in after["replace_now"]
            assert here.site.ctl("check", status=None).returncode == 2
            here.site.stop()
            forget_window(here.site, CERT)
            here.site.start()
            here.site.wait_line("replaced now: its window")
            after = here.site.wait_settled()[CERT]
        here.site.stop()


def _looked(here: World, cert: str) -> bool:
    curr = here.site.status()[cert]["curr"]
    return curr is not None and curr["renewal_info"] is not None
