"""Hosts that certificates are copied to: each an sshd with files of its own, and an nginx.

The certificates come from the site's own CA. Everything listens on loopback.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.stand import host, nginx
from tests.stand.client import TlsClient
from tests.stand.faketime import FAKETIME, faked
from tests.stand.host import Host
from tests.stand.nginx import Nginx
from tests.stand.server import free_port, wait_until
from tests.stand.site import Site, first_tables
from tests.stand.sshd import ssh_on_path

ZONE = "example.com"
# Of a server for which nothing is left to do: seen, or restarted where nobody looks.
DONE = ("proven", "restarted")
RELOAD = "reload"


@dataclass
class Table:
    """A server class of the configuration; `probe` and `more` as in the file."""

    servers: list[str]
    grants: str
    restart: list[str] = field(default_factory=list)
    probe: str = "false"
    more: str = ""


class DeliverySite(Site):
    """A site without a configuration; `write` makes one.

    `services`: those of the zone, each with its names; `tables`: the server classes.
    """

    def __init__(self, top: Path) -> None:
        top.mkdir()
        super().__init__(top, example=None)
        self.globals = {"min_roll_mins": "0", "cmd_timeout": "5"}
        self.services: dict[str, list[str]] = {}
        self.tables: dict[str, Table] = {}
        self.bin = top.parent / "bin"
        self._offset = top / "offset"
        self._minutes = 0

    @property
    def prod(self) -> Path:
        """The production tree, here as on every host."""
        return self.top / "prod-certs"

    def begin(self, *options: str, clock: bool = False) -> None:
        """Start the daemon with the hosts' ssh; `clock`: with one that `later` sets."""
        env = {"PATH": f"{self.bin}:{os.environ['PATH']}"}
        if clock:
            if not FAKETIME:
                pytest.skip("libfaketime is missing")
            self._offset.write_text(f"+{self._minutes}m")
            env |= faked(self._offset)
        self.start(*options, env=env)

    def later(self, minutes: int) -> None:
        """Set the daemon's clock ahead, and wait until it has seen that."""
        seen = sum("the clock was set by" in line for line in self.lines)
        self._minutes += minutes
        self._offset.write_text(f"+{self._minutes}m")
        self.wait_line("the clock was set by", seen + 1)

    def write(self) -> None:
        """Write the configuration."""
        text = first_tables(self.globals, ("ca", ZONE))
        for name, table in self.tables.items():
            text += (
                f"[{name}]\nservers = {table.servers}\nrestart_cmd = {table.restart}\n"
                f"probe = {table.probe}\nprobe_timeout = 5\n{table.more}\n"
            )
            if table.grants:
                text += f"svc_depends = {table.grants}\n"
        self.put("ssl-mgr.conf", text)
        self.put_own_cas()
        for service, names in self.services.items():
            self.put_service(f"{ZONE}/{service}", "my-int", names)

    def configure(self) -> None:
        """Write the configuration and have it loaded."""
        self.write()
        self.ctl("reload")

    def servers(self, service: str) -> dict[str, dict[str, Any]]:
        """Return how a certificate stands on each host."""
        status = self.status(f"{ZONE}:{service}")[f"{ZONE}/{service}"]
        return {server["host"]: server for server in status["servers"]}

    def wait_rest(self, cert: str) -> dict[str, Any]:
        """Return how a certificate stands when each of its servers is done, or has failed."""
        name = cert.replace(":", "/")
        found: dict[str, Any] = {}

        def rests() -> bool:
            found.clear()
            found.update(self.status(cert)[name])
            servers, curr = found["servers"], found["curr"]
            return (
                curr is not None
                and servers
                and all(
                    one["attempts"] or (one["state"] in DONE and one["set"] == curr["set"])
                    for one in servers
                )
            )

        wait_until(rests, f"an end with every server of {cert}")
        return found

    def wait_servers(
        self, service: str, check: Callable[[dict[str, dict[str, Any]]], object], what: str
    ) -> dict[str, dict[str, Any]]:
        """Return how a certificate stands on each host when it is as `check` says."""
        found: dict[str, dict[str, Any]] = {}

        def looked() -> bool:
            found.clear()
            found.update(self.servers(service))
            return bool(check(found))

        try:
            wait_until(looked, what)
        except AssertionError as err:
            tail = "\n".join(self.lines[-60:])
            raise AssertionError(f"{err}: {found}\n{tail}") from None
        return found


class DeliveryWorld:
    """The hosts of one test, and the site; ended in the opposite order."""

    def __init__(self, top: Path, stack: ExitStack) -> None:
        self.top = top
        self.stack = stack
        self.site = DeliverySite(top / "site")
        stack.callback(self.site.end)
        self.hosts: dict[str, Host] = {}
        self.webs: dict[str, Nginx] = {}
        self.port = free_port()

    def add(self, name: str, **options: Any) -> Host:
        """Add a host, `<name>.example.net`, started."""
        where = self.top / "hosts" / name
        where.parent.mkdir(exist_ok=True)
        address = f"127.0.0.{len(self.hosts) + 2}"
        one = Host(where, [f"{name}.example.net"], self.site.prod, address=address, **options)
        self.hosts[name] = self.stack.enter_context(one)
        ssh_on_path(self.site.bin, *self.hosts.values())
        return one

    def serve(self, name: str, service: str) -> Nginx:
        """Start an nginx on a host, with a certificate that it has got, at `port`."""
        within = self.hosts.get(name)
        curr = self.site.prod / ZONE / service / "curr"
        folder = (within.folder if within else self.top) / f"nginx-{service}"
        one = Nginx(
            folder,
            {},
            tls=[(curr / "fullchain.pem", curr / "privkey.pem")],
            tls_port=self.port,
            within=within,
        )
        self.webs[name] = self.stack.enter_context(one)
        # One command for all hosts of a class: what it does, each knows for itself.
        reload = self.root(name) / RELOAD
        reload.write_text(f"#!/bin/sh\nexec {one.restart_cmd}\n")
        reload.chmod(0o755)
        return one

    def root(self, name: str) -> Path:
        """Return the production tree of a host, as seen from here."""
        return self.hosts[name].root if name in self.hosts else self.site.prod

    @property
    def reload(self) -> str:
        """The command that makes the nginx of any host read its certificate again."""
        return str(self.site.prod / RELOAD)

    def visit(self, name: str, server_name: str) -> TlsClient:
        """Connect to a host's nginx in a loop."""
        within = self.hosts.get(name)
        address = within.address if within else "127.0.0.1"
        root = self.site.live("ca/my-root") / "cert.pem"
        return TlsClient(self.top / f"client-{name}", address, self.port, server_name, root)

    def curr(self, name: str, service: str, group: str = ZONE) -> Path:
        """Return where a host has a certificate, as seen from here."""
        return self.root(name) / group / service / "curr"

    def certs_on(self, name: str) -> set[str]:
        """Return the certificates that a host has."""
        root = self.hosts[name].root
        return {f"{one.parent.parent.name}/{one.parent.name}" for one in root.glob("*/*/curr")}

    def wait_certs(self, name: str, certs: set[str]) -> None:
        """Wait until a host has these certificates and no others."""
        wait_until(lambda: self.certs_on(name) == certs, f"{name} to have {certs}")

    def renew(self, *services: str) -> dict[str, str]:
        """Renew and roll certificates; return the serial of each."""
        before = self.site.serials()
        args = [f"{ZONE}:{service}" for service in services]
        self.site.ctl("force-renew", *args)

        def rolled() -> Mapping[str, str]:
            serials = self.site.serials()
            names = [f"{ZONE}/{service}" for service in services]
            done = all(serials[name] != before[name] for name in names)
            return {name: serials[name] for name in names} if done else {}

        wait_until(rolled, f"a roll of {services}")
        return dict(rolled())


@contextmanager
def delivery_world(top: Path) -> Iterator[DeliveryWorld]:
    """Open a world in a scratch directory; skip where programs are missing."""
    if lacking := host.missing() or nginx.missing():
        pytest.skip(lacking)
    with ExitStack() as stack:
        yield DeliveryWorld(top, stack)
