"""A site whose certificates come from Pebble, with zones in BIND: real parts, on loopback."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

import dns.message
import dns.query
import pytest
from dns.exception import DNSException

from tests.stand import bind, pebble
from tests.stand.bind import Named, Primary, Secondary, Zone, answer
from tests.stand.pebble import Pebble
from tests.stand.site import Site, first_tables

CERT = "example.test/web"
ARG = "example.test:web"
ZONE = "example.test"
ENGINES = ("engine", "certbot")


class AcmeSite(Site):
    """A site without a configuration; `write` makes one."""

    def __init__(self, top: Path, engine: str = "engine") -> None:
        super().__init__(top, example=None)
        self.engine = engine
        self.globals = {
            "min_roll_mins": "0",
            "dns_check_delay": "0",
            "dns_check_timeout": "60",
            "dns_xtra_ns": "[]",
        }
        self.ca = ""
        self.primaries: dict[str, str] = {}
        self.dns = ""
        self.web = ""

    def use(self, ca: Pebble, *, validation: str = "dns-01", more: str = "") -> None:
        """Have the certificates come from this CA, and trials too."""
        self.ca = ca_table(ca, self.engine, validation=validation, more=more)

    def publish(self, primary: Primary, watched: Sequence[Named | str] = ()) -> None:
        """Publish by include files of a primary, watching these name servers (itself too)."""
        self.primaries["default"] = _primary(primary, watched)
        self.dns = f"acme_dir = '{primary.acme_dir}'\nrestart_cmd = \"{primary.restart_cmd}\"\n"

    def update(self, primary: Primary, zone: str, watched: Sequence[Named] = ()) -> None:
        """Publish by dynamic update."""
        more = f"update = true\ntsig_key_file = '{primary.key_file}'"
        self.primaries[zone] = f"{_primary(primary, watched)}{more}\n"

    def write(self, services: Mapping[str, Sequence[str]] | None = None) -> None:
        """Write the configuration: `group/service` -> names."""
        services = services or {CERT: [ZONE]}
        groups = dict.fromkeys(name.split("/")[0] for name in services)
        text = first_tables(self.globals, groups)
        for zone, body in self.primaries.items():
            text += f"[[dns_primary]]\ndomain = '{zone}'\n{body}"
        text += f"[dns]\n{self.dns}\n{self.web}"
        self.put("ssl-mgr.conf", text)
        self.put("ca-info.conf", self.ca)
        for name, names in services.items():
            self.write_service(name, names)

    def write_service(self, name: str, names: Sequence[str], more: str = "") -> None:
        """Write a service file."""
        used_by = "" if "svc_depends" in self.web else "used_by = 'none'\n"
        email = f"admin@{name.partition('/')[0]}"
        self.put_service(name, "pebble", names, more=f"{used_by}{more}", email=email)

    # --- looking ---

    def records(self, primary: Primary, zone: str = ZONE) -> str:
        """Return what the zone's include file says, comments left out."""
        text = (primary.acme_dir / f"acme-challenge.{zone}").read_text()
        return "".join(line for line in text.splitlines(True) if not line.startswith(";"))

    def snapshot(self, *but: str) -> dict[str, bytes]:
        """Return every file and link below the working and the production tree."""
        found = {}
        for base in ("certs", "prod-certs"):
            for path in sorted((self.top / base).rglob("*")):
                name = str(path.relative_to(self.top))
                if any(word in name for word in but):
                    continue
                if path.is_symlink():
                    found[name] = str(path.readlink()).encode()
                elif path.is_file():
                    found[name] = path.read_bytes()
        return found


class Resolver(Named):
    """A resolver for the zones of a primary, which follows CNAMEs from one to the other."""

    def __init__(self, folder: Path, primary: Primary, anchors: str = "") -> None:
        super().__init__(folder, primary.zones)
        self._primary = primary
        self._anchors = anchors

    def zone_statements(self) -> str:
        port = self._primary.port
        return "".join(
            f'zone "{zone}" {{ type forward; forward only; '
            f"forwarders {{ 127.0.0.1 port {port}; }}; }};\n"
            for zone in self.zones
        )

    def write_config(self) -> None:
        super().write_config()
        config = self.folder / "named.conf"
        text = config.read_text().replace("recursion no", "recursion yes")
        if self._anchors:
            text = text.replace("dnssec-validation no", "dnssec-validation yes") + self._anchors
        config.write_text(text)

    def answers(self) -> bool:
        return all(_serves(self, zone) for zone in self.zones)


def _serves(server: Named, zone: str) -> bool:
    """Whether it answers at all: what it does not believe it answers with SERVFAIL."""
    with suppress(OSError, DNSException):
        dns.query.udp(dns.message.make_query(zone, "NS"), "127.0.0.1", 1.0, server.port)
        return True
    return False


def _primary(primary: Primary, watched: Sequence[Named | str]) -> str:
    host, _, port = primary.address.partition(":")
    servers = [one if isinstance(one, str) else one.address for one in (primary, *watched)]
    return f"server = '{host}'\nport = {port}\nnameservers = {servers}\n"


class World:
    """The servers of one test, and the site; ended in the opposite order."""

    def __init__(self, top: Path, stack: ExitStack, engine: str = "engine") -> None:
        self.top = top
        self._stack = stack
        self.site = AcmeSite(top / "site", engine)
        (top / "site").mkdir()
        stack.callback(self.site.end)

    def bind(self, *zones: Zone | str) -> Primary:
        """Start a primary."""
        return self._stack.enter_context(Primary(self.top / "primary", zones or (ZONE,)))

    def secondary(
        self, name: str, primary: Primary | None, zones: Sequence[str] = (), *, notify: bool = True
    ) -> Secondary:
        """Start a secondary."""
        one = Secondary(self.top / name, primary, zones, notify=notify)
        return self._stack.enter_context(one)

    def bind_other(self) -> Primary:
        """Start a primary for the same zone that knows nothing of what sslmd publishes."""
        return self._stack.enter_context(Primary(self.top / "other", [ZONE]))

    def lagging(self, names: Sequence[str] = (ZONE,)) -> tuple[Primary, Secondary, Pebble]:
        """Start with an order that waits in its last hook for a secondary, until `refresh`."""
        primary = self.bind()
        late = self.secondary("late", primary, notify=False)
        ca = self.pebble(primary)
        self.site.use(ca)
        self.site.publish(primary, [late])
        self.site.write({CERT: names})
        self.site.start()
        self.site.wait_line(f"{late.address} does not show _acme-challenge.{ZONE}")
        return primary, late, ca

    def resolver(self, primary: Primary) -> Resolver:
        """Start a resolver for the primary's zones."""
        return self._stack.enter_context(Resolver(self.top / "resolver", primary))

    def validator(self, primary: Primary, key: str = "") -> Resolver:
        """Start a resolver that validates the first zone, by its own key or by another."""
        zone = primary.zones[0]
        keys = [one.split() for one in answer(primary, zone, "DNSKEY")]
        words = next(one for one in keys if one[0] == "257")
        anchor = f'{zone} static-key 257 3 {words[2]} "{key or "".join(words[3:])}";'
        anchors = f"trust-anchors {{ {anchor} }};\n"
        return self._stack.enter_context(Resolver(self.top / "validator", primary, anchors))

    def twin(self, primary: Primary) -> Primary:
        """Start another primary, with serials of its own, that includes the same files."""
        zones = [Zone(zone) for zone in primary.zones]
        other = Primary(self.top / "twin", zones, acme_dir=primary.acme_dir)
        return self._stack.enter_context(other)

    def pebble_other(self, dns: Named) -> Pebble:
        """Start another CA."""
        return self._stack.enter_context(Pebble(self.top / "pebble-other", dns=dns.address))

    def pebble_behind(self) -> Pebble:
        """Start a CA that is asked through another server, and validates nothing."""
        return self._stack.enter_context(Pebble(self.top / "pebble-behind"))

    def pebble(self, dns: Named | None = None, **options: object) -> Pebble:
        """Start a CA that asks this name server."""
        address = dns.address if dns else ""
        ca = Pebble(self.top / "pebble", dns=address, **options)  # type: ignore[arg-type]
        return self._stack.enter_context(ca)


@contextmanager
def world(top: Path, engine: str = "engine") -> Iterator[World]:
    """Open a scratch directory for servers and a site; skip where programs are missing.

    `engine`: what speaks to the CA, one of `ENGINES`.
    """
    if lacking := "; ".join(filter(None, (bind.missing(), pebble.missing()))):
        pytest.skip(lacking)
    with ExitStack() as stack:
        yield World(top, stack, engine)


def ca_table(
    ca: Pebble, engine: str = "engine", *, validation: str = "dns-01", more: str = ""
) -> str:
    """Return the table `[pebble]` of ca-info.conf: certificates come from this CA, trials too."""
    return f"""
[pebble]
    ca_type = 'certbot'
    ca_engine = '{engine}'
    ca_validation = '{validation}'
    ca_server = '{ca.directory}'
    ca_server_root = '{ca.root_file}'
    ca_test_server = '{ca.directory}'
    ca_test_server_root = '{ca.root_file}'
    {more}
"""


def renewal_window(begin: datetime, end: datetime, url: str = "") -> str:
    """Return what a CA answers to who asks when to renew (RFC 9773 §4.2)."""
    said = {"start": begin.isoformat(), "end": end.isoformat()}
    return json.dumps({"suggestedWindow": said, "explanationURL": url})


def forget_window(site: Site, cert: str) -> None:
    """Take away what the CA said of renewal, as in a tree that another version left."""
    note = site.top / "certs" / cert / "state.toml"
    text = re.sub(r'\[sets\."[^"]*"\.ari\]\n(?:\w+ = .*\n)*', "", note.read_text())
    note.write_text(text)


def accounts(site: Site, *, lost: bool = False) -> list[Path]:
    """Return the folders of all accounts at CAs, or of those that their CAs have lost."""
    folder = "accounts-lost" if lost else "accounts"
    found = (site.top / "certs").rglob("private_key.json")
    return [path.parent for path in found if folder in path.parts]


def processes(site: Site) -> list[str]:
    """Return the processes that have the site's folder on their command line, the daemon apart."""
    ps = ["ps", "-ww", "-eo", "pid,stat,args"]
    done = subprocess.run(ps, capture_output=True, text=True, check=True)
    return [
        line
        for line in done.stdout.splitlines()
        if str(site.top) in line and "sslmd.daemon.main" not in line and " Z" not in line
    ]


def hooks_of(site: Site) -> list[int]:
    """Return the auth hooks of this site's certbots, by the socket in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        program, _, rest = command.partition(b"\0")
        ours = f"SSLMD_SOCKET={site.socket}".encode() in words
        if ours and b"python" in program and rest.endswith(b"sslm-auth-hook\0auth\0"):
            found.append(int(folder.name))
    return found


def needs(ca: Pebble, word: str) -> None:
    """Skip the test if the CA's directory says nothing of `word`: Debian's Pebble is an old one."""
    if word not in json.loads(ca.get(ca.directory)).get("meta", {}):
        pytest.skip(f"this Pebble has no {word}; a newer one is built where Go is installed")


def verify(site: Site, ca: Pebble, cert: str = CERT, *, which: str = "curr") -> None:
    """Check with openssl that a certificate leads to one of the CA's roots."""
    folder = site.top / "certs" / cert / which
    roots = site.top / "pebble-roots.pem"
    roots.write_text("".join(ca.roots()))
    command = ["openssl", "verify", "-CAfile", str(roots), "-untrusted", str(folder / "chain.pem")]
    done = subprocess.run(
        [*command, str(folder / "cert.pem")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def names_of(site: Site, cert: str = CERT, *, which: str = "curr") -> set[str]:
    """Return the names in a certificate, as openssl reads them."""
    path = site.top / "certs" / cert / which / "cert.pem"
    command = ["openssl", "x509", "-in", str(path), "-noout", "-ext", "subjectAltName"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?:DNS|IP Address):([^,\s]+)", text))
