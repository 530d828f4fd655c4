"""nginx: a web server that shows each apex domain its own folder, as http-01 needs it."""

from __future__ import annotations

import http.client
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers.server import LOOPBACK, PLACES, Server, free_port


def missing() -> str:
    """Return which program is missing, or nothing."""
    return "" if shutil.which("nginx", path=PLACES) else "nginx (nginx-light) is missing"


class Nginx(Server):
    """A web server for `<server_dir>/<apex>`, chosen by the Host header.

    `sites`: apex domain -> its server names (nginx's `server_name`); none means the apex domain
    and all below it. Any other host gets 404, unlogged. `tls`: files with key and chain, one of
    each kind, served at `tls_port` to everybody.
    """

    def __init__(
        self,
        folder: Path,
        sites: Mapping[str, Sequence[str]],
        *,
        server_dir: Path | None = None,
        address: str = LOOPBACK,
        port: int = 0,
        tls: Sequence[Path] = (),
    ) -> None:
        super().__init__(folder, "nginx")
        self.server_dir = server_dir or folder / "www"
        self.host = address
        self.port = port or free_port()
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
        self.tls_port = free_port() if tls else 0
        if tls:
            pairs = "".join(
                f' ssl_certificate "{one}"; ssl_certificate_key "{one}";' for one in tls
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
        program = shutil.which("nginx", path=PLACES) or "nginx"
        return [program, "-p", str(self.folder), "-e", "stderr", "-c", str(self._config)]

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
