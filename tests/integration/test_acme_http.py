"""http-01 with Pebble and nginx: put on every web server, fetched back, taken away again."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stand import nginx, sshd
from tests.stand.acme_site import ARG, CERT, ENGINES, ZONE, World, names_of, verify, world
from tests.stand.bind import Zone
from tests.stand.nginx import Nginx
from tests.stand.server import free_port
from tests.stand.sshd import Sshd

# The CA asks port 80 of the names' own addresses; each test has an address to itself.
NAMES = [ZONE, f"www.{ZONE}", f"b.{ZONE}"]


def _may_use_port_80() -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.99", 80))
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(
    bool(nginx.missing()) or not _may_use_port_80(),
    reason=nginx.missing() or "port 80 is needed, which is for root",
)


class WebWorld:
    """Pebble, BIND, and a web server at an address of its own."""

    def __init__(self, here: World, stack: ExitStack, address: str) -> None:
        self.here, self.site, self.address = here, here.site, address
        self.primary = here.bind(
            Zone(ZONE, f"@ A {address}\nwww A {address}\nb CNAME www\nodd A 127.0.0.98\n")
        )
        self.web = stack.enter_context(
            Nginx(here.top / "nginx", {ZONE: [f".{ZONE}", address]}, address=address, port=80)
        )
        self.resolver = here.resolver(self.primary)
        self.ca = here.pebble(self.resolver, http_port=80)
        self.stack = stack

    def write(
        self, *, servers: str = "'localhost'", more: str = "", names: list[str] = NAMES
    ) -> None:
        self.site.use(self.ca, validation="http-01")
        self.site.publish(self.primary)
        self.site.web = (
            f"[web]\nservers = [{servers}]\nserver_dir = '{self.web.server_dir}'\n"
            f"svc_depends = []\n{more}\n"
        )
        self.site.write({CERT: names})

    def tokens(self) -> list[Path]:
        folder = self.web.server_dir / ZONE / ".well-known/acme-challenge"
        return list(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def web(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[WebWorld]:
    number = sum(request.node.name.encode()) % 90 + 2
    engine = getattr(request, "param", "engine")
    with world(tmp_path, engine) as here, ExitStack() as stack:
        yield WebWorld(here, stack, f"127.0.0.{number}")


@pytest.mark.parametrize("web", ENGINES, indirect=True)
def test_three_names(web: WebWorld) -> None:
    web.write()
    web.site.start()
    web.site.wait_settled()
    verify(web.site, web.ca)
    assert names_of(web.site) == set(NAMES)
    assert sorted(web.ca.validations()) == sorted(NAMES)
    assert web.ca.failures() == 0
    # Fetched by us before the CA did, and gone afterwards; DNS was left alone.
    assert {status for _, _, status in web.web.requests()} == {200}
    assert len(web.web.requests()) >= 6
    web.site.stop()
    assert web.tokens() == []
    assert web.primary.reloads(ZONE) <= 1


@pytest.mark.parametrize("web", ENGINES, indirect=True)
def test_an_address_is_a_name_too(web: WebWorld) -> None:
    """RFC 8738: validated at the address itself; certbot takes it as an alternative name alone."""
    web.write(names=[web.address])
    web.site.start()
    first = web.site.wait_settled()[CERT]["curr"]
    verify(web.site, web.ca)
    assert names_of(web.site) == {web.address}

    both = {web.address, ZONE}
    web.write(names=sorted(both))
    web.site.ctl("reload")
    web.site.ctl("renew", ARG)
    assert web.site.wait_settled()[CERT]["curr"]["serial"] != first["serial"]
    verify(web.site, web.ca)
    assert names_of(web.site) == both
    assert sorted(web.ca.validations()) == sorted([web.address, *both])
    assert web.ca.failures() == 0


def test_behind_a_firewall_that_closes_port_53(web: WebWorld) -> None:
    """The zone's name servers are silent from here; a resolver tells CAA and addresses."""
    web.write(names=[ZONE])
    silent = free_port()
    web.site.primaries["default"] = (
        f"server = '127.0.0.1'\nport = {silent}\nnameservers = ['127.0.0.1:{silent}']\n"
    )
    web.site.globals["dns_validating_resolver"] = f"'{web.resolver.address}'"
    web.site.write({CERT: [ZONE]})
    web.site.start()
    web.site.wait_settled()
    verify(web.site, web.ca)
    assert {status for _, _, status in web.web.requests()} == {200}


def test_a_name_that_another_server_answers(web: WebWorld) -> None:
    other = Nginx(web.here.top / "other", {ZONE: []}, address="127.0.0.98", port=80)
    web.stack.enter_context(other)
    web.write(names=[ZONE, f"odd.{ZONE}"])
    web.site.start()
    # It is looked at again and again, and said what is wrong meanwhile.
    line = web.site.wait_line("answers 404")
    assert f"odd.{ZONE}" in line
    assert "127.0.0.98" in line
    assert web.ca.validations() == []
    os.symlink(web.web.server_dir / ZONE / ".well-known", other.server_dir / ZONE / ".well-known")
    web.site.wait_settled()
    assert web.ca.failures() == 0


@pytest.mark.parametrize("to", ["port", "address"])
def test_a_redirect_that_no_public_ca_follows(web: WebWorld, to: str) -> None:
    """It leads to the file, and Pebble follows it. Public CAs do not, and would fail the order."""
    port = free_port("127.0.0.98")
    places = {"port": f"odd.{ZONE}:{port}", "address": web.address}
    other = Nginx(web.here.top / "other", {ZONE: []}, address="127.0.0.98", port=80)
    config = web.here.top / "other/nginx.conf"
    moved = (
        f"server {{ listen 127.0.0.98:{port}; root {web.web.server_dir}/{ZONE}; }}\n"
        f"server {{ listen 127.0.0.98:80; server_name odd.{ZONE}; "
        f"return 301 http://{places[to]}$request_uri; }}\n"
    )
    config.write_text(config.read_text().replace("http {\n", f"http {{\n{moved}", 1))
    web.stack.enter_context(other)
    web.write(names=[f"odd.{ZONE}"])
    web.site.start()
    # It is looked at again and again, and said what is wrong meanwhile.
    line = web.site.wait_line("CAs follow redirects to")
    assert f"leads to port {port}" in line or "leads to an IP address" in line
    assert "below /.well-known/acme-challenge/" in line
    assert web.ca.validations() == []


def test_an_address_that_cannot_be_reached_from_here(web: WebWorld) -> None:
    """Nobody listens at 127.0.0.98, as with NAT: the [web] server itself is asked."""
    web.write(servers=f"'{web.address}'", names=[f"odd.{ZONE}"])
    web.site.start()
    web.site.wait_line("every challenge is in place")
    line = web.site.wait_line("attempt 1 failed")  # nor does Pebble reach it
    assert f"odd.{ZONE}" in line


def test_without_a_check_the_ca_looks_at_once(web: WebWorld) -> None:
    web.write(more="http_check = false", names=[f"odd.{ZONE}"])
    web.site.start()
    web.site.wait_line("attempt 1 failed")
    assert web.ca.validations() == [f"odd.{ZONE}"]
    assert web.web.requests() == []


def test_no_web_server_is_that_orders_trouble(web: WebWorld) -> None:
    web.write()
    web.site.web = ""
    web.site.write({CERT: NAMES})
    web.site.start()
    line = web.site.wait_line("attempt 1 failed")
    assert "server_dir in [web]" in line
    assert web.ca.validations() == []


def test_a_web_server_over_ssh(web: WebWorld) -> None:
    if sshd.missing():
        pytest.skip(sshd.missing())
    far = web.stack.enter_context(Sshd(web.here.top / "sshd"))
    web.write(servers="'far.example.net', 'localhost'")
    web.site.start(env={"PATH": f"{far.bin_dir}:{os.environ['PATH']}"})
    web.site.wait_settled()
    verify(web.site, web.ca)
    assert len(far.commands()) >= 1

    web.site.stop()


def test_what_a_killed_daemon_left_on_web_servers_is_removed(web: WebWorld) -> None:
    web.write(names=[ZONE, f"odd.{ZONE}"])
    other = Nginx(web.here.top / "other", {ZONE: []}, address="127.0.0.98", port=80)
    web.stack.enter_context(other)
    web.site.start()
    web.site.wait_line("answers 404")
    before = set(web.tokens())
    assert len(before) == 2
    web.site.kill()
    assert set(web.tokens()) == before

    os.symlink(web.web.server_dir / ZONE / ".well-known", other.server_dir / ZONE / ".well-known")
    web.site.start()
    web.site.wait_settled()
    web.site.stop()
    assert not before & set(web.tokens())


def test_a_wildcard_is_a_mistake_of_the_configuration(web: WebWorld) -> None:
    web.write(names=[ZONE, f"*.{ZONE}"])
    web.site.start(ready=False)
    assert web.site.wait() == 1
    assert "wildcard" in "\n".join(web.site.lines)
