"""Unbound: a validating resolver, which believes nothing of a zone but what its keys signed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

from tests.stand.bind import Named, answer
from tests.stand.server import LOOPBACK, PLACES, Server, free_port

# Which DNSKEY is a key-signing key, or both kinds in one (RFC 4034 §2.1.1).
KSK = "257"


class Cache(Enum):
    """How long answers are kept."""

    FULL = "for their TTL, as resolvers of the world do"
    NONE = "not at all"


def missing(address: str = LOOPBACK, port: int = 0) -> str:
    """Return which program, or which right to use an address and port, is missing, or nothing."""
    if not shutil.which("unbound", path=PLACES):
        return "unbound is missing"
    return cannot_listen(address, port)


def cannot_listen(address: str, port: int) -> str:
    """Return why nobody could serve at this address and port by TCP; nothing if one could."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind((address, port))
        except OSError as problem:
            return f"{address}:{port} cannot be served: {problem.strerror}"
    return ""


class Unbound(Server):
    """A resolver for the zones of `servers`, which must be running when it starts.

    - `address`, `port`: where it answers. Programs that read /etc/resolv.conf know port 53 alone.
    - `anchors`: zone -> the DNSKEY that is trusted for it, as text (`257 3 13 …`); where it says
      nothing, the zone's own, as the first of `servers` that has the zone gives it. A zone
      without a key is not signed.
    - `local`: what it answers by itself, whatever name servers say: `cname` lies, and `data` is
      given with authority, so that it can stand for a zone's name server.
    """

    def __init__(
        self,
        folder: Path,
        servers: Sequence[Named],
        *,
        address: str = LOOPBACK,
        port: int = 0,
        cache: Cache = Cache.FULL,
        anchors: Mapping[str, str] | None = None,
        local: str = "",
    ) -> None:
        super().__init__(folder, "unbound")
        self.host = address
        self.port = port or free_port()
        self.address = f"{address}:{self.port}"
        self.zones = list(dict.fromkeys(zone for server in servers for zone in server.zones))
        self._servers = list(servers)
        self._cache = cache
        self._anchors = dict(anchors or {})
        self._local = local
        # AppArmor's profile of Debian and others keeps unbound out of scratch folders. It goes by
        # the program's path: a copy is free.
        self._program = folder / "unbound"
        if program := shutil.which("unbound", path=PLACES):
            shutil.copy2(program, self._program)

    def command(self) -> list[str]:
        config = self.folder / "unbound.conf"
        config.write_text(self._config())
        # In the foreground, log to stderr, no file for the process id.
        return [str(self._program), "-d", "-d", "-p", "-c", str(config)]

    def _config(self) -> str:
        return f"""\
server:
    interface: {self.host}@{self.port}
    access-control: {self.host}/32 allow
    do-ip6: no
    num-threads: 1
    username: "{_user()}"
    chroot: ""
    directory: "{self.folder}"
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 1
    val-log-level: 2
    trust-anchor-signaling: no
    module-config: "validator iterator"
    do-not-query-localhost: no
    # What went wrong once is tried again at once: tests break things and put them right.
    val-bogus-ttl: 0
    infra-host-ttl: 1
    infra-keep-probing: yes
{_NO_CACHE if self._cache is Cache.NONE else ""}\
{"".join(f'    local-zone: "{zone}." transparent{chr(10)}' for zone in self.zones)}\
{"".join(f'    trust-anchor: "{anchor}"{chr(10)}' for anchor in self.trust_anchors())}\
{self._local}\
remote-control:
    control-enable: no
{"".join(self._stub(zone) for zone in self.zones)}"""

    def trust_anchors(self) -> list[str]:
        """Return the keys that are trusted, as records."""
        keys = {zone: self._key(zone) for zone in self.zones}
        return [f"{zone}. 60 IN DNSKEY {key}" for zone, key in keys.items() if key]

    def _key(self, zone: str) -> str:
        """Return the key that is trusted for a zone, or nothing."""
        if zone in self._anchors:
            return self._anchors[zone]
        first = next(server for server in self._servers if zone in server.zones)
        keys = (key.split() for key in answer(first, zone, "DNSKEY"))
        return next((" ".join(key) for key in keys if key[0] == KSK), "")

    def _stub(self, zone: str) -> str:
        lines = [
            f"    stub-addr: {server.address.replace(':', '@')}\n"
            for server in self._servers
            if zone in server.zones
        ]
        return f'stub-zone:\n    name: "{zone}."\n    stub-prime: no\n{"".join(lines)}'

    def answers(self) -> bool:
        """Whether it answers at all: what it does not believe it answers with SERVFAIL."""
        with suppress(OSError, dns.exception.DNSException):
            return all(self.ask(zone, "SOA", timeout=0.2) for zone in self.zones)
        return False

    def ask(self, name: str, kind: str, *, timeout: float = 5.0) -> dns.message.Message:
        """Ask it with the DO bit set, so that the AD bit tells what it has validated."""
        message = dns.message.make_query(name, kind, want_dnssec=True)
        reply, _ = dns.query.udp_with_fallback(message, self.host, timeout, self.port)
        return reply

    def validated(self, name: str, kind: str) -> bool:
        """Whether it gives a name's records, and vouches for them."""
        reply = self.ask(name, kind)
        return reply.rcode() == dns.rcode.NOERROR and bool(reply.flags & dns.flags.AD)

    def flush(self) -> None:
        """Forget all that it knows: it starts again, and reads the zones' keys again."""
        self.stop()
        self.start()


def cname(name: str, target: str) -> str:
    """Return what has a resolver say that `name` is a CNAME, for every type."""
    return f'    local-zone: "{name}." redirect\n    local-data: "{name}. 60 IN CNAME {target}."\n'


def data(zone: str, *records: str) -> str:
    """Return what has it serve a zone, with an SOA; names in `records` end with a dot."""
    soa = f"{zone}. 60 IN SOA ns.{zone}. admin.{zone}. 1 60 60 60 60"
    lines = "".join(f"    local-data: '{record}'\n" for record in (soa, *records))
    return f'    local-zone: "{zone}." static\n{lines}'


# Not even what denies a name may be used again, nor for another name (RFC 8198).
_NO_CACHE = """\
    cache-max-ttl: 0
    cache-max-negative-ttl: 0
    msg-cache-size: 0
    rrset-cache-size: 0
    aggressive-nsec: no
"""


def _user() -> str:
    """Return the user that it becomes, if root starts it; nothing means to stay who it is."""
    with suppress(KeyError):
        return pwd.getpwnam("unbound").pw_name if os.geteuid() == 0 else ""
    return ""
