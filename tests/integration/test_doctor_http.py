"""sslmctl doctor and http-01: a real file, fetched from every address of every name."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_doctor import doctor, told
from tests.stand import bind, nginx
from tests.stand.acme_site import AcmeSite
from tests.stand.bind import Primary, Zone
from tests.stand.nginx import Nginx
from tests.stand.server import wait_until
from tests.stand.site import Site

ZONE = "example.test"
# One that no other test listens at.
ADDRESS = "127.0.0.97"


def _may_use_port_80() -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.99", 80))
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(
    bool(nginx.missing() or bind.missing()) or not _may_use_port_80(),
    reason=nginx.missing() or bind.missing() or "port 80 is needed, which is for root",
)

# How a web server answers for names below the zone, beside the one that is as it should be.
SITES = {
    "elsewhere": 'return 301 "https://none.invalid/";',
    "closed": "location / { deny all; }",
    "other": 'return 200 "a page";',
}


class Web:
    """A zone, a web server, and a daemon whose certificates would be proven there."""

    def __init__(self, top: Path, stack: ExitStack) -> None:
        lines = "".join(f"{name} A {ADDRESS}\n" for name in ("www", "strange", *SITES))
        zone = Zone(ZONE, f"@ A {ADDRESS}\n{lines}six A {ADDRESS}\nsix AAAA ::1\ndead TXT none\n")
        self.primary = stack.enter_context(Primary(top / "primary", [zone]))
        self.web = Nginx(
            top / "nginx",
            {ZONE: [ZONE, f"www.{ZONE}", f"six.{ZONE}"]},
            address=ADDRESS,
            port=80,
        )
        config = top / "nginx/nginx.conf"
        blocks = "".join(
            f"server {{ listen {ADDRESS}:80; server_name {name}.{ZONE}; {body} }}\n"
            for name, body in SITES.items()
        )
        config.write_text(config.read_text().rstrip().removesuffix("}") + blocks + "}\n")
        stack.enter_context(self.web)
        self.site = AcmeSite(top / "site")
        (top / "site").mkdir()
        stack.callback(self.site.end)
        self.site.publish(self.primary)
        self.site.ca = (
            "[pebble]\nca_type = 'certbot'\nca_validation = 'http-01'\n"
            "ca_server = 'https://127.0.0.1:9/dir'\n"
        )
        self.site.web = (
            f"[web]\nservers = ['localhost']\nserver_dir = '{self.web.server_dir}'\n"
            "svc_depends = [['any', ['ALL']]]\nprobe = false\n"
        )

    def write(self, *names: str) -> None:
        self.site.write({f"{ZONE}/web": [ZONE, *(f"{name}.{ZONE}" for name in names)]})

    def files(self) -> list[Path]:
        folder = self.web.server_dir / ZONE / ".well-known/acme-challenge"
        return list(folder.iterdir()) if folder.exists() else []


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with ExitStack() as stack:
        one = Web(tmp_path_factory.mktemp("web"), stack)
        one.write("www")
        one.site.start()
        yield one


def test_what_shows_and_what_does_not(web: Web) -> None:
    found = doctor(web.site, 1)
    assert "2 names: a file that was put there shows" in told(found, "http-01", "ok")
    assert told(found, "http-01", "wrong") == ""
    assert web.files() == []

    web.write("www", "strange", "six", "dead", *SITES)
    found = doctor(web.site, 1)
    # They are looked at although the daemon knows nothing of them yet.
    assert f"{ZONE}/web was changed; run: sslmctl reload" in told(found, "configuration", "odd")
    bad = told(found, "http-01", "wrong").splitlines()

    def about(name: str) -> str:
        (line,) = [line for line in bad if line.startswith(f"{name}.{ZONE}")]
        return line

    assert "another virtual host answers" in about("strange")
    assert "server_name (nginx)" in about("strange")
    assert "https://none.invalid/" in about("elsewhere")
    assert "out of the redirect" in about("elsewhere")
    assert "namei -l" in about("closed")
    assert "6 bytes that are no key authorization" in about("other")
    assert "::1" in about("six")
    assert f"while {ADDRESS} shows the file" in about("six")
    assert "no address" in about("dead")
    assert "2 names" in told(found, "http-01", "ok")
    assert web.files() == []
    web.site.ctl("reload")


def test_lines_to_paste_and_a_default_site(web: Web) -> None:
    """Lines for each web server are printed once for a group, not for each of its names."""
    web.write("strange", "other")
    text = web.site.ctl("doctor", status=1).stdout
    folder = f"{web.web.server_dir}/{ZONE}"
    assert text.count(f"location ^~ /.well-known/acme-challenge/ {{ root {folder};") == 1
    assert f"Alias /.well-known/acme-challenge/ {folder}/.well-known/acme-challenge/" in text
    assert "use_backend acme if { path_beg /.well-known/acme-challenge/ }" in text
    # It is the configuration of the daemon that answers, though nobody has named it.
    assert str(web.site.conf) in text


class Client:
    """Asks for files and holds them, as the doctor does."""

    def __init__(self, site: Site) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(site.socket))
        self._lines = self._socket.makefile("rb")
        assert b"hello" in self._lines.readline()
        request = {"jsonrpc": "2.0", "id": 1, "method": "http_test", "params": {}}
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def line(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._lines.readline())
        return found

    def end(self) -> None:
        self._lines.close()
        self._socket.close()


def test_files_go_whoever_is_killed(web: Web) -> None:
    client = Client(web.site)
    placed = client.line()
    assert placed["method"] == "placed"
    (one,) = placed["params"]["files"]
    assert [path.name for path in web.files()] == [one["token"]]
    assert web.files()[0].read_text() == one["value"]
    assert web.web.get(ZONE, f"/.well-known/acme-challenge/{one['token']}")[0] == 200
    client.end()
    wait_until(lambda: web.files() == [], "the files of a client that is gone")

    client = Client(web.site)
    client.line()
    assert len(web.files()) == 1
    web.site.stop(signal.SIGKILL)
    client.end()
    assert len(web.files()) == 1
    web.site.start()
    wait_until(lambda: web.files() == [], "what a killed daemon has left")
    note = web.site.top / "certs/.http-test.left"
    wait_until(lambda: not note.exists(), "the note of it to go, too")
