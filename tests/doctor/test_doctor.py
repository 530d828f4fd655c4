"""What the doctor makes of what was seen: findings, and the last line."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.config.grants import NAME_A_CLASS
from sslmd.config.load import load
from sslmd.console.answers import Fields, certs_of
from sslmd.console.program import NOT_PERMITTED, CtlError, NoDaemon
from sslmd.core.errors import Mistake
from sslmd.core.names import ZoneName
from sslmd.dns import nameservers
from sslmd.dns.ask import NameServer
from sslmd.dns.reach import Reached
from sslmd.dns.resolver import Resolver
from sslmd.doctor.command import _summary
from sslmd.doctor.daemon import Running, changed, look_at_daemon
from sslmd.doctor.dns import _is_part, _of_server, challenge_zones, look_at_zones
from sslmd.doctor.here import look_at_configuration, named_unused
from sslmd.doctor.symptoms import Checkup, Grade, Symptom, TimeBox, all_of, well
from tests.stand.asking import ASKER
from tests.stand.conf import MAIN, Tree
from tests.stand.responder import Responder, Zone

# Where nobody listens at port 53.
CLOSED = "127.99.0.53"

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def _cert(service: str, days: float, **more: object) -> dict[str, object]:
    times = {"not_before": NOW - timedelta(days=60), "not_after": NOW + timedelta(days=days)}
    curr = {"set": "x", **{name: one.isoformat() for name, one in times.items()}}
    return {"group": "example.com", "service": service, "curr": curr, **more}


def _told(status: dict[str, object]) -> list[Symptom]:
    running = Running(
        "/sock", 0, None, "/conf.d", "/certs", {}, Fields(status), tuple(certs_of(status))
    )
    return asyncio.run(_all(running))


async def _all(running: Running) -> list[Symptom]:
    return [one async for one in look_at_daemon(running, NOW)]


def test_everything_that_the_daemon_has_in_trouble() -> None:
    server = {"class": "web", "host": "www1", "state": "failed", "attempts": 1, "error": "it hung"}
    dane = {"problems": ["mail:25 serves another key"], "warnings": ["not signed"]}
    found = _told(
        {
            "certs": [
                _cert("well", 30),
                _cert("old", -1),
                _cert("held", 30, last_error="left alone: a key does not fit"),
                _cert("failed", 30, attempts=3, last_error="the CA says no"),
                _cert("server", 30, servers=[server]),
                _cert("dane", 30, dane=dane, dane_wanted=True),
            ],
            "hosts": [{"host": "www2", "error": "www2 lets nobody in", "surplus": [], "text": ""}],
            "zones": [
                {"zone": "example.com", "error": "zone example.com: the command failed"},
                # Where no certificate has records any more.
                {"zone": "example.net", "error": "zone example.net: old records stay"},
            ],
            "dh": [{"error": "openssl is not there"}],
            "daemon": {
                "version": "0",
                "refused": {
                    "at": NOW.isoformat(),
                    "mistakes": ["/c/ssl-mgr.conf:3: x: it is wrong; do it right", "another"],
                    "consequence": "the next start would fail",
                },
            },
        }
    )
    wrong = "\n".join(one.text for one in found if one.level is Grade.WRONG)
    for words in (
        "the configuration was refused at ",
        "the next start would fail: /c/ssl-mgr.conf:3: x: it is wrong; do it right (and 1 more)",
        "example.com/old: expired",
        "example.com/held: left alone: a key does not fit; see sslmctl show example.com:held",
        "example.com/failed: failed 3 times: the CA says no",
        "example.com/server: web on www1: it hung",
        "DANE: mail:25 serves another key",
        "www2 lets nobody in",
        "zone example.com: the command failed",
        "zone example.net: old records stay",
        "Diffie-Hellman groups: openssl is not there",
    ):
        assert words in wrong
    assert "example.com/well" not in wrong
    odd = "\n".join(one.text for one in found if one.level is Grade.ODD)
    assert "not signed" in odd
    assert "restart it" in odd
    (ok,) = (one.text for one in found if one.level is Grade.WELL)
    assert ok == "it answers at /sock: 6 certificates"


@pytest.mark.parametrize(
    ("problem", "level"),
    [
        (NoDaemon("nobody answers"), Grade.WRONG),
        (CtlError("that needs root", NOT_PERMITTED), Grade.UNSEEN),
    ],
)
def test_a_daemon_that_says_nothing(problem: CtlError, level: Grade) -> None:
    found = asyncio.run(_all(Running("/sock", 0, problem)))
    assert [one.level for one in found if one.text == problem.text] == [level]
    assert not any(one.level is Grade.WELL for one in found)


def test_mistakes_say_nothing_of_a_daemon_that_uses_another_configuration() -> None:
    running = Running("/sock", 0, None, "/conf.d", "/certs")
    mistake = Mistake("/other/ssl-mgr.conf", 3, "x", "it is wrong", "do it right")

    async def look(folder: str) -> list[str]:
        looks = look_at_configuration(running, Path(folder), None, [mistake])
        return [one.text async for one in looks if one.level == "wrong"]

    first, then = asyncio.run(look("/other"))
    assert first == str(mistake)
    assert then == "a daemon with this configuration cannot be started until that is corrected"
    assert "the next start fails" in asyncio.run(look("/conf.d"))[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_what_is_only_closed_to_another_user_is_not_wrong(tmp_path: Path) -> None:
    conf = tmp_path / "ssl-mgr.conf"
    conf.touch(0o600)
    running = Running("/sock", 0, None, str(tmp_path), "/certs")
    mistake = Mistake(str(conf), 0, "", "it cannot be read", "open it")

    async def look() -> list[Symptom]:
        return [one async for one in look_at_configuration(running, tmp_path, None, [mistake])]

    os.seteuid(65534)
    try:
        found = asyncio.run(look())
    finally:
        os.seteuid(0)
    assert {one.level for one in found} == {"unseen"}
    assert "is not open to you" in found[0].text


def test_a_certificate_that_no_server_uses_is_one_finding(tmp_path: Path) -> None:
    config = load(Tree(tmp_path).conf)
    (warning,) = (one for one in config.warnings if one.remedy == NAME_A_CLASS)
    status = {"certs": [_cert(one, 30, unused=True) for one in ("web", "later")]}
    folder = str(config.conf_dir)
    running = Running("/sock", 0, None, folder, "", {}, Fields(status), tuple(certs_of(status)))

    async def look() -> list[Symptom]:
        its = [one async for one in look_at_configuration(running, config.conf_dir, config, [])]
        unused = named_unused(config)
        return its + [one async for one in look_at_daemon(running, NOW, unused)]

    said = {one.text: one.level for one in asyncio.run(look()) if "no server uses it" in one.text}
    first, second = said
    assert first == str(warning)
    assert second.startswith("example.com/later: no server uses it")  # not loaded yet
    assert set(said.values()) == {Grade.WRONG}


def test_files_that_the_daemon_has_not_loaded() -> None:
    loaded = {"/c/a": "1", "/c/b": "2", "/c/c": "3"}
    assert changed(loaded, dict(loaded)) is None
    assert changed({}, loaded) is None  # it does not say what it has
    finding = changed(loaded, {"/c/a": "1", "/c/b": "9", "/c/d": "4"})
    assert finding is not None
    assert "/c/b was changed, /c/c was removed, /c/d is new; run: sslmctl reload" in finding.text
    many = changed(loaded, {f"/d/{number}": "" for number in range(20)})
    assert many is not None
    assert "and 18 more" in many.text


def test_zones_that_are_looked_at(tmp_path: Path) -> None:
    """Those of every name that is proven by dns-01, not of the group alone."""
    tree = Tree(tmp_path)
    tree.write("ssl-mgr.conf", f"{MAIN}[[dns_primary]]\ndomain = 'lab.example.com'\nserver = 'x'\n")
    tree.change("example.com/web", "'my-int'", "'le-dns'")
    tree.change("example.com/web", "'www.example.com'", "'*.a.lab.example.com'")
    config = tree.load()
    assert challenge_zones(config) == [ZoneName("example.com"), ZoneName("lab.example.com")]
    group, part = ZoneName("lab.example.com"), ZoneName("x.example.org")
    assert _is_part(config, group, "example.com") == []
    (finding,) = _is_part(config, part, "example.org")
    assert "make example.org the group" in finding.text


async def test_servers_that_stand_in_place_of_the_ns_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are looked at: the daemon watches those, and the world asks these."""
    # Addresses of this machine's own are all that a test has.
    monkeypatch.setattr(nameservers, "why_not_asked", lambda *_, **__: None)
    hidden, shown = Zone(serial=8), Zone(serial=7)
    shown.add("example.com", "NS", "ns1.example.net.", "ns2.example.com.")
    shown.add("ns1.example.net", "A", "127.0.0.1")
    shown.add("ns2.example.com", "A", CLOSED)
    async with Responder(hidden, "") as primary, Responder(shown, "") as world:
        tree = Tree(tmp_path)
        tree.write(
            "ssl-mgr.conf",
            MAIN.replace("[globals]", f"[globals]\ndns_xtra_ns = ['{world.server}']")
            + "[[dns_primary]]\ndomain = 'example.com'\nserver = '127.0.0.1'\n"
            f"nameservers = ['{primary.server}', '{world.server}']\n",
        )
        tree.change("example.com/web", "'my-int'", "'le-dns'")
        case = Checkup(
            tree.load(), TimeBox(60), os.geteuid(), resolver=Resolver(ASKER, [world.server])
        )
        found = [one async for one in look_at_zones(case)]
    odd = "\n".join(one.text for one in found if one.level is Grade.ODD)
    assert f"ns1.example.net (127.0.0.1), ns2.example.com ({CLOSED}) of its NS records" in odd
    assert "is not in nameservers of [[dns_primary]]" in odd
    assert f"{primary.server} (nameservers): 8, {world.server} (nameservers): 7" in odd
    bad = "\n".join(one.text for one in found if one.level is Grade.WRONG)
    assert f"zone example.com: ns2.example.com ({CLOSED}) (NS record) cannot be asked" in bad
    assert "(nameservers)" not in bad


FOUR, SIX = NameServer("192.0.2.53", 53, "ns1"), NameServer("2001:db8::53", 53, "ns1")


@pytest.mark.parametrize(
    ("seen", "level", "words"),
    [
        (Reached(FOUR, 7), None, ""),
        (Reached(FOUR, 7, tcp="did not answer"), Grade.WRONG, "by UDP alone"),
        (Reached(FOUR, 7, udp="did not answer"), Grade.WRONG, "by TCP alone"),
        (Reached(FOUR, udp="is silent", tcp="is silent"), Grade.WRONG, "out of the NS records"),
        (Reached(SIX, udp="is silent", tcp="is silent"), Grade.WRONG, "a CA may choose"),
        (Reached(SIX, udp="is silent", tcp="is silent"), Grade.WRONG, "AAAA record"),
        (Reached(SIX, udp="is out of reach", no_route=True), Grade.UNSEEN, "from elsewhere"),
        (Reached(FOUR, fault="answers REFUSED"), Grade.WRONG, "answers REFUSED"),
    ],
)
def test_how_a_name_server_answers(seen: Reached, level: Grade | None, words: str) -> None:
    finding = _of_server(ZoneName("example.com"), seen)
    assert (finding.level if finding else None) == level
    if finding is not None:
        assert words in finding.text
        assert seen.server.address in finding.text


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        (["ok", "ok"], "all is well"),
        (["ok", "odd"], "nothing is wrong; 1 thing that may go wrong"),
        (["ok", "unseen"], "nothing is wrong in what was looked at; 1 thing not looked at"),
        (["wrong", "unseen", "odd"],
         "1 thing to be corrected; 1 thing that may go wrong; 1 thing not looked at"),
        (["wrong", "wrong"], "2 things to be corrected"),
    ],
)  # fmt: skip
def test_only_what_was_seen_is_called_well(levels: list[str], text: str) -> None:
    assert _summary(levels)[0] == text


def test_what_takes_too_long_is_named_and_not_called_well() -> None:
    """Many names, of which some never answer: the rest is there, and so is the number of those."""

    async def look() -> tuple[list[Symptom], int, str]:
        watch = TimeBox(0.2)
        most = running = 0

        async def one(number: int) -> int:
            nonlocal most, running
            running += 1
            most = max(most, running)
            try:
                if number % 5 == 0:
                    await asyncio.Event().wait()
                await asyncio.sleep(0)
                return number
            finally:
                running -= 1

        async def every() -> object:
            seen, late = await watch.each("names", range(20), one, "name", 5)
            yield well("names", f"{len(seen)} names")
            yield late[0]

        found = await all_of("names", every(), watch)  # type: ignore[arg-type]
        return found, most, watch.progress

    found, most, progress = asyncio.run(look())
    assert found[0].text == "16 names"
    assert "4 names not looked at" in found[1].text
    assert found[1].level is Grade.UNSEEN
    assert most <= 5
    assert progress == ""
