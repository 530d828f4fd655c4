"""nginx: a web server that shows each apex domain its own folder, as http-01 needs it."""

from __future__ import annotations

import http.client
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.stand.host import Host
from tests.stand.server import LOOPBACK, PLACES, Server, free_port


def missing() -> str:
    """Return which program is missing, or nothing."""
    return "" if shutil.which("nginx", path=PLACES) else "nginx (nginx-light) is missing"


class Nginx(Server):
    """A web server for `<server_dir>/<apex>`, chosen by the Host header.

    `sites`: apex domain -> its server names (nginx's `server_name`); none means the apex domain
    and all below it. Any other host gets 404, unlogged. `tls`: files with key and chain, one of
    each kind of key, or pairs of a file with the chain and one with the key; served at `tls_port`
    to everybody. `within`: the host that it runs on, at whose address it listens, with its `folder`
    in that host's; `restart_cmd` is to be run there.
    """

    def __init__(
        self,
        folder: Path,
        sites: Mapping[str, Sequence[str]],
        *,
        server_dir: Path | None = None,
        address: str = "",
        port: int = 0,
        tls: Sequence[Path | tuple[Path, Path]] = (),
        tls_port: int = 0,
        within: Host | None = None,
    ) -> None:
        super().__init__(folder, "nginx")
        self._within = within
        assert within is None or folder.is_relative_to(within.folder), folder
        address = address or (within.address if within else LOOPBACK)
        self.server_dir = server_dir or folder / "www"
        self.host = address
        self.port = port or free_port(address)
        self.access_log = folder / "access.log"
        listen = f"listen {address}:{self.port}"
        servers = ""
        for apex, names in sites.items():
            root = self.server_dir / apex
            root.mkdir(parents=True, exist_ok=True)
            # A name with a dot before it means itself and all below.
            servers += (
                f"    server {{ {listen}; server_name {' '.join(names) or f'.{apex}'};"
                f' root "{root}"; }}\n'
            )
        self.tls_port = tls_port or (free_port(address) if tls else 0)
        if tls:
            files = [one if isinstance(one, tuple) else (one, one) for one in tls]
            pairs = "".join(
                f' ssl_certificate "{chain}"; ssl_certificate_key "{key}";' for chain, key in files
            )
            servers += f"    server {{ listen {address}:{self.tls_port} ssl;{pairs} }}\n"
        # Scratch folders are for their owner alone; nginx started by root would leave root.
        user = "user root;" if os.geteuid() == 0 else ""
        self._config = folder / "nginx.conf"
        self._config.write_text(f"""\
daemon off;
{user}
worker_processes 1;
error_log stderr info;
pid "{folder}/nginx.pid";
events {{ worker_connections 64; }}
http {{
    log_format asked "$host $request_uri $status";
    access_log "{self.access_log}" asked;
    default_type text/plain;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    scgi_temp_path "{folder}/scgi";
    uwsgi_temp_path "{folder}/uwsgi";
    server {{ {listen} default_server; access_log off; return 404; }}
{servers}}}
""")

    def command(self) -> list[str]:
        return self._within.command_in(self._words) if self._within else self._words

    @property
    def _words(self) -> list[str]:
        program = shutil.which("nginx", path=PLACES) or "nginx"
        return [program, "-p", str(self.folder), "-e", "stderr", "-c", str(self._config)]

    @property
    def restart_cmd(self) -> str:
        """Lets it read key and chain again; fails if it cannot."""
        return shlex.join([*self._words, "-s", "reload"])

    def answers(self) -> bool:
        try:
            return self.get("none.invalid", "/")[0] == http.HTTPStatus.NOT_FOUND
        except OSError:
            return False

    def get(self, host: str, path: str) -> tuple[int, bytes]:
        """Return status and content of a path of a host."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def requests(self) -> list[tuple[str, str, int]]:
        """Return host, path and status of every request to a site, over all its starts."""
        lines = self.access_log.read_text().splitlines() if self.access_log.exists() else []
        return [
            (host, path, int(status)) for host, path, status in (line.split(" ") for line in lines)
        ]
