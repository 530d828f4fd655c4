"""BIND: primaries and secondaries on loopback, each with zones, keys and rndc of its own."""

from __future__ import annotations

import base64
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from tests.stand.server import LOOPBACK, PLACES, ROOT, Server, free_port

BIND_RELOAD = ROOT / "conf.d-example" / "tools" / "bind-reload"
PROGRAMS = ("named", "rndc", "named-checkzone")

# Seconds. Answers are forgotten at once, lost notifications and transfers soon made good. A
# secondary that is not notified does not come to look by itself.
TTL = 2
RETRY = 1
REFRESH = 86400


def missing() -> str:
    """Return which programs are missing, or nothing."""
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=PLACES)]
    return f"{', '.join(lacking)} (bind9, bind9-utils) missing" if lacking else ""


@dataclass(frozen=True)
class Zone:
    """A zone that a primary serves, with an SOA, `ns1` as name server, and `records`.

    - `records`: more records, as in a zone file; names without a last dot are the zone's.
    - `signed`: BIND makes keys for it and signs it.
    - `dynamic`: it is changed by updates (RFC 2136) in place of include files and reloads.
    - `update_policy`: what the key may change; `{zone}` stands for the zone.
    - `ns1`: the address of its name server, for those who go by NS records.
    """

    name: str
    records: str = ""
    signed: bool = False
    dynamic: bool = False
    update_policy: str = "grant sslmd zonesub TXT TLSA;"
    ns1: str = LOOPBACK


class Named(Server):
    """One `named`. `address` is where it answers; `rndc` and `queries` are for tests.

    `options`: more lines for the options of named.conf, taken by `write_config`.
    """

    options = ""

    def __init__(self, folder: Path, zones: Sequence[str]) -> None:
        super().__init__(folder, "named")
        self.zones = list(zones)
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.rndc_command = [_path("rndc"), "-c", str(folder / "rndc.conf")]
        self.query_log = folder / "queries.log"
        # AppArmor's profile of Debian and others keeps named out of scratch folders. It goes by
        # the program's path: a copy is free.
        self._program = folder / "named"
        if not missing():
            shutil.copy2(_path("named"), self._program)
        self._rndc_port = free_port()
        self._rndc_key = key_statement("rndc")
        rndc_options = (
            f'options {{ default-key "rndc"; default-server {LOOPBACK};'
            f" default-port {self._rndc_port}; }};\n"
        )
        (folder / "rndc.conf").write_text(self._rndc_key + rndc_options)

    def command(self) -> list[str]:
        self.write_config()
        config = str(self.folder / "named.conf")
        # In the foreground, one thread.
        return [str(self._program), "-f", "-n", "1", "-c", config, "-L", str(self.log_file)]

    @abstractmethod
    def zone_statements(self) -> str:
        """Return what named.conf says about the zones."""

    def write_config(self) -> None:
        """Write named.conf."""
        config = f"""\
{self._rndc_key}
controls {{ inet {LOOPBACK} port {self._rndc_port} allow {{ {LOOPBACK}; }} keys {{ "rndc"; }}; }};
options {{
    directory "{self.folder}";
    listen-on port {self.port} {{ {LOOPBACK}; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    lock-file none;
    session-keyfile none;
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    allow-transfer {{ {LOOPBACK}; }};
    notify explicit;
    notify-delay 0;
    notify-rate 1000;
    startup-notify-rate 1000;
    serial-query-rate 1000;
    min-refresh-time 1;
    min-retry-time 1;
    querylog yes;
    {self.options}
}};
logging {{
    channel queries {{ file "{self.query_log}"; print-time iso8601-utc; }};
    category queries {{ queries; }};
}};
{self.zone_statements()}"""
        (self.folder / "named.conf").write_text(config)

    def rndc(self, *words: str) -> str:
        """Tell it something over its control channel; return what it says."""
        done = subprocess.run(
            [*self.rndc_command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, f"rndc {words}: {done.stdout}"
        return done.stdout

    def serial(self, zone: str) -> int:
        """Return the serial it serves for a zone, 0 if it has no data."""
        found = answer(self, zone, "SOA")
        return int(found[0].split()[2]) if found else 0

    def wait_serial(self, zone: str, serial: int) -> None:
        """Wait until it serves a zone with this serial or a later one."""
        self.wait_until(lambda: self.serial(zone) >= serial, f"{zone} with serial {serial}")

    def wait_answer(self, name: str, kind: str, text: str) -> None:
        """Wait until a record that it serves has this text in it."""

        def found() -> bool:
            return any(text in record for record in answer(self, name, kind))

        self.wait_until(found, f"{name} {kind} {text}")

    def queries(self, name: str = "", kind: str = "") -> list[Query]:
        """Return the queries it got, over all its starts; those for a name, of a type, if given."""
        text = self.query_log.read_text() if self.query_log.exists() else ""
        return [
            one
            for one in (
                Query(datetime.fromisoformat(at), asked.lower().rstrip("."), asked_kind)
                for at, asked, asked_kind in _QUERY.findall(text)
            )
            if name.lower().rstrip(".") in ("", one.name) and kind in ("", one.kind)
        ]


@dataclass(frozen=True)
class Query:
    """A line of the query log."""

    at: datetime
    name: str
    kind: str


_QUERY = re.compile(r"^(\S+) .*: query: (\S+) IN (\S+) ", re.MULTILINE)


class Primary(Named):
    """A primary, for zones that sslmd changes.

    - Zones are in `zone_file(zone)`; those not dynamic include `acme-challenge.<zone>` of
      `acme_dir` and `tlsa.<zone>` of `tlsa_dir`, each made empty if it is not there.
    - `restart_cmd` is for `[dns]`: conf.d-example/tools/bind-reload. Each call is noted, see
      `calls` and `reloads`.
    - `key_file` holds the key for updates of dynamic zones, named `sslmd`.
    """

    def __init__(
        self,
        folder: Path,
        zones: Sequence[Zone | str],
        *,
        acme_dir: Path | None = None,
        tlsa_dir: Path | None = None,
    ) -> None:
        self._zones = [Zone(zone) if isinstance(zone, str) else zone for zone in zones]
        super().__init__(folder, [zone.name for zone in self._zones])
        self.acme_dir = acme_dir or folder / "acme"
        self.tlsa_dir = tlsa_dir or folder / "tlsa"
        self.key_file = folder / "sslmd.key"
        self.key_file.touch(0o600)
        self.key_file.write_text(key_statement("sslmd"))
        self._calls = folder / "calls"
        self._notified: list[int] = []
        for zone in self._zones:
            self._write_zone(zone)
        self.restart_cmd = self._write_restart_cmd()

    # --- what it is made of ---

    def zone_file(self, zone: str) -> Path:
        """Return the file of a zone."""
        return self.folder / "zones" / zone

    def _write_zone(self, zone: Zone) -> None:
        file = self.zone_file(zone.name)
        file.parent.mkdir(exist_ok=True)
        includes = ""
        if not zone.dynamic:
            for name in (
                self.acme_dir / f"acme-challenge.{zone.name}",
                self.tlsa_dir / f"tlsa.{zone.name}",
            ):
                name.parent.mkdir(parents=True, exist_ok=True)
                if not name.exists():
                    name.write_text("; nothing\n")
                includes += f'$INCLUDE "{name}"\n'
        file.write_text(f"""\
$TTL {TTL}
@ IN SOA ns1 hostmaster (
        1           ; serial
        {REFRESH}       ; refresh
        {RETRY}           ; retry
        604800      ; expire
        {TTL}           ; how long "no" is true
        )
    NS  ns1
ns1 A   {zone.ns1}
{zone.records}
{includes}""")

    def _write_restart_cmd(self) -> str:
        command = [
            sys.executable,
            "-S",  # it needs nothing but Python
            str(BIND_RELOAD),
            "--zone-file",
            str(self.folder / "zones" / "{zone}"),
            "--rndc",
            shlex.join(self.rndc_command),
            "--checkzone",
            _path("named-checkzone"),
        ]
        script = self.folder / "restart-dns"
        script.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$*" >> {shlex.quote(str(self._calls))}\n'
            f'exec {shlex.join(command)} "$@"\n'
        )
        script.chmod(0o755)
        return shlex.quote(str(script))

    def zone_statements(self) -> str:
        notified = " ".join(f"{LOOPBACK} port {port};" for port in self._notified)
        return self.key_file.read_text() + "".join(
            f'zone "{zone.name}" {{\n    type primary;\n    file "{self.zone_file(zone.name)}";\n'
            f"    also-notify {{ {notified} }};\n{_how_kept(zone)}}};\n"
            for zone in self._zones
        )

    # --- what it does ---

    def answers(self) -> bool:
        return all(
            _has(self, zone.name, kind)
            for zone in self._zones
            for kind in (["SOA", "RRSIG"] if zone.signed else ["SOA"])
        )

    def notify(self, port: int) -> None:
        """Notify a secondary at this port, from now on, when a zone changes."""
        self._notified.append(port)
        if self._process is not None:
            self.write_config()
            self.rndc("reconfig")

    def reload(self, *zones: str) -> None:
        """Run `restart_cmd` for zones, as sslmd would."""
        command = [*shlex.split(self.restart_cmd), "--serial_bump", *zones]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr

    def calls(self) -> list[list[str]]:
        """Return the arguments of every call of `restart_cmd`."""
        text = self._calls.read_text() if self._calls.exists() else ""
        return [line.split() for line in text.splitlines()]

    def reloads(self, zone: str) -> int:
        """Return how many calls of `restart_cmd` named a zone."""
        return sum(zone in call for call in self.calls())


# So many looks for a zone that is not there yet until it is asked for once more.
ASK_AGAIN = 100


class Secondary(Named):
    """A secondary, which gets its zones from `primary`; start that first.

    With `notify=False` it keeps what it has until `refresh`, or until it is started again.
    Without a primary it asks one that is not there: it has no data, and answers SERVFAIL.
    """

    def __init__(
        self,
        folder: Path,
        primary: Primary | None,
        zones: Sequence[str] = (),
        *,
        notify: bool = True,
    ) -> None:
        super().__init__(folder, zones or (primary.zones if primary else ()))
        self._primary = primary
        self._primary_port = primary.port if primary else free_port()
        self._looks = 0
        self._options = "notify no;"
        if primary and notify:
            primary.notify(self.port)
            # BIND 9.18 now and then sends no NOTIFY for a reload that follows another at once.
            self._options += " max-refresh-time 5;"

    def zone_statements(self) -> str:
        return "".join(
            f'zone "{zone}" {{\n    type secondary;\n    file "{zone}";\n'
            f"    primaries {{ {LOOPBACK} port {self._primary_port}; }};\n"
            f"    {self._options}\n}};\n"
            for zone in self.zones
        )

    def answers(self) -> bool:
        if self._primary:
            lacking = [zone for zone in self.zones if not _has(self, zone, "SOA")]
            self._looks += 1
            if lacking and not self._looks % ASK_AGAIN:
                self._ask_primary(lacking)
            return not lacking
        return all(_rcode(self, zone, "SOA") == dns.rcode.SERVFAIL for zone in self.zones)

    def _ask_primary(self, zones: Sequence[str]) -> None:
        """Have zones fetched: after a first try that failed BIND waits for a minute."""
        for zone in zones:
            with suppress(AssertionError):  # its control channel is not open yet
                self.rndc("retransfer", zone)

    def refresh(self, zone: str) -> None:
        """Get a zone from the primary, and wait until it is here."""
        assert self._primary
        serial = self._primary.serial(zone)
        self.rndc("refresh", zone)
        self.wait_serial(zone, serial)


def query(
    server: Named | str, name: str, kind: str, *, dnssec: bool = False, timeout: float = 5.0
) -> dns.message.Message:
    """Ask a server (or `ip:port`), without recursion; return what it answers, whatever that is."""
    address, _, port = (server if isinstance(server, str) else server.address).rpartition(":")
    message = dns.message.make_query(name, kind, want_dnssec=dnssec)
    message.flags &= ~dns.flags.RD
    answer, _ = dns.query.udp_with_fallback(message, address, timeout, int(port))
    return answer


def answer(server: Named | str, name: str, kind: str) -> list[str]:
    """Return the records of a type that a server has at a name, as text, sorted."""
    wanted = dns.rdatatype.from_text(kind)
    found = query(server, name, kind).answer
    return sorted(one.to_text() for rrset in found if rrset.rdtype == wanted for one in rrset)


def key_statement(name: str) -> str:
    """Return a new key, in the form in which `tsig-keygen` writes one."""
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    return f'key "{name}" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n'


def _how_kept(zone: Zone) -> str:
    words = ""
    if zone.dynamic:
        policy = zone.update_policy.replace("{zone}", zone.name)
        words += f"    update-policy {{ {policy} }};\n"
    if zone.signed:
        inline = "no" if zone.dynamic else "yes"
        words += f"    dnssec-policy default;\n    inline-signing {inline};\n"
    return words


def _rcode(server: Named, name: str, kind: str) -> int | None:
    """Return how a server that may not be there yet answers; None if it does not."""
    try:
        return int(query(server, name, kind, timeout=0.2).rcode())
    except (OSError, dns.exception.Timeout):
        return None


def _has(server: Named, name: str, kind: str) -> bool:
    return _rcode(server, name, kind) == dns.rcode.NOERROR and bool(answer(server, name, kind))


def _path(program: str) -> str:
    return shutil.which(program, path=PLACES) or program
