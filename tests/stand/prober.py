"""A sender of mail that never rests: does what is served match what DNS says, at every instant?

A program of its own, which shares no code with what it judges (see `prober_rules` too). Ten
times a second it connects to a mail server, does STARTTLS, and checks the certificate against
the TLSA records, as a DANE sender would (RFC 7671, RFC 7672). It does so on behalf of many
senders: each cache keeps a record set for its full TTL, and they were filled at different times,
so that at every instant there are senders who know only what DNS said a while ago. Signatures
are not its business.

    python -m tests.stand.prober --host mail.example.test --address 127.0.0.1 --port 25 \\
        --name-server 127.0.0.1:5353 --name-server 127.0.0.1:5354 --output probes

Until SIGTERM. One line of JSON for each failure, when it happens, and one at the end:

- `probes`: connections made; `checks`: how often a cache's records were compared with a key;
- `failures`: how many of them failed: as many lines are before this one;
- `no_tlsa`: a cache knew of no record, and had never known of one: no DANE, no failure;
- `unreachable`: no connection, so nothing to compare. A sender would come again;
- `unresolved`: a cache found no name server that answers. A sender would come again;
- `first_seen_keys`: how many different keys were served; `keys`: their digests (3 1 1);
- `longest_gap`: seconds between the begin of two probes, at the most.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from tests.stand.prober_rules import DANE_TA, OPENSSL_PATIENCE, Record, Served, chosen, fault

# Seconds. How long a name server and a mail server may take; how long a probe waits for name
# servers before it goes on with those caches that are full.
DNS_PATIENCE = 1.0
SMTP_PATIENCE = 3.0
LOOKUP_SHARE = 0.05


class Unreachable(Exception):
    """There was no connection, or it broke off."""


class NoTls(Exception):
    """There was a server, but no TLS with it; says why."""


class Unresolved(Exception):
    """No name server answered."""


# --- records and caches ---


@dataclass(frozen=True)
class Entry:
    """What a name server said, at `at`; true until `until` (both monotonic)."""

    records: tuple[Record, ...]
    at: float
    until: float


@dataclass
class Cache:
    """What one resolver of the world knows."""

    number: int
    # The share of the first answer's TTL for which that is kept: what makes caches differ in age.
    first_share: float
    entry: Entry | None = None
    asked: Future[Entry] | None = None
    seen: bool = False
    # An answer is used at least once, even if its TTL is 0.
    used: bool = True


def look_up(name: str, name_servers: Sequence[str]) -> Entry:
    """Ask name servers in random order, until one answers as it should."""
    for server in random.sample(name_servers, len(name_servers)):
        address, _, port = server.rpartition(":")
        message = dns.message.make_query(name, "TLSA")
        message.flags &= ~dns.flags.RD
        try:
            reply, _ = dns.query.udp_with_fallback(message, address, DNS_PATIENCE, int(port))
            at = time.monotonic()
            if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                continue
            # Follows CNAMEs, and takes the smallest TTL; for a "no" that of the SOA record or its
            # last field, whichever is less (RFC 2308 §5).
            assert isinstance(reply, dns.message.QueryMessage)
            found = reply.resolve_chaining()
        except (OSError, dns.exception.DNSException):
            continue
        if found.answer is None and not _denies(reply):
            continue
        records = tuple(
            Record(one.usage, one.selector, one.mtype, bytes(one.cert))
            for one in found.answer or ()
        )
        return Entry(records, at, at + found.minimum_ttl)
    raise Unresolved


def _denies(reply: dns.message.Message) -> bool:
    """Whether an empty answer is a "no", and no referral, nor that of a server without data."""
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in reply.authority)


# --- the mail server ---


def fetch(address: str, port: int, host: str, *, starttls: bool = True) -> Served:
    """Connect, do STARTTLS if so told, and return what was shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((address, port), SMTP_PATIENCE) as plain:
            if not starttls:
                with context.wrap_socket(plain, server_hostname=host) as tls:
                    return Served(_chain(tls))
            with plain.makefile("rb") as lines:
                _expect(lines, b"220")
                plain.sendall(b"EHLO prober.invalid\r\n")
                if b"STARTTLS" not in _expect(lines, b"250").upper().split():
                    raise NoTls("no STARTTLS offered")
                plain.sendall(b"STARTTLS\r\n")
                _expect(lines, b"220")
            with context.wrap_socket(plain, server_hostname=host) as tls:
                served = Served(_chain(tls))
                # Farewell; what is said to it makes sure that nothing is lost on the way.
                tls.sendall(b"QUIT\r\n")
                tls.recv(512)
                return served
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as problem:
        raise Unreachable(str(problem)) from None
    except ssl.SSLError as problem:
        raise NoTls(str(problem)) from None
    except OSError as problem:
        raise Unreachable(str(problem)) from None


def _expect(lines: IO[bytes], code: bytes) -> bytes:
    """Read a reply, of several lines perhaps (RFC 5321 §4.2.1)."""
    reply = b""
    while line := lines.readline(1024):
        reply += line.replace(b"-", b" ", 1)
        if line[3:4] != b"-":
            break
    if not reply or reply.startswith(b"421"):
        raise Unreachable(f"the server went away: {reply!r}")
    if not reply.startswith(code):
        raise NoTls(f"the server says {reply!r}")
    return reply


def _chain(tls: ssl.SSLSocket) -> tuple[bytes, ...]:
    get_chain: Callable[[], Sequence[bytes]] | None
    if get_chain := getattr(tls, "get_unverified_chain", None):  # Python 3.13
        return tuple(get_chain())
    leaf = tls.getpeercert(binary_form=True)
    if leaf is None:
        raise NoTls("no certificate")
    return (leaf,)


def chain_by_openssl(address: str, port: int, host: str) -> tuple[bytes, ...]:
    """Return the whole chain that a server shows, on a connection of its own."""
    command = ["openssl", "s_client", "-connect", f"{address}:{port}", "-starttls", "smtp"]
    done = subprocess.run(
        [*command, "-servername", host, "-showcerts"],
        input=b"QUIT\r\n",
        capture_output=True,
        timeout=OPENSSL_PATIENCE,
        check=False,
    )
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    # The server's own comes again at the end, by itself.
    text = done.stdout.decode(errors="replace").partition("Server certificate")[0]
    parts = text.split(begin)[1:]
    return tuple(ssl.PEM_cert_to_DER_cert(begin + part.split(end)[0] + end) for part in parts)


# --- the prober ---


@dataclass
class Prober:
    """All that is known while it runs."""

    host: str
    address: str
    port: int
    name_servers: Sequence[str]
    output: IO[str]
    caches: Sequence[Cache]
    starttls: bool = True
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("probes", "checks", "failures", "no_tlsa", "unreachable", "unresolved"), 0
        )
    )
    keys: list[str] = field(default_factory=list)

    def probe(self, pool: ThreadPoolExecutor) -> None:
        """Look up what caches have not, connect once, and check for each cache."""
        began = time.monotonic()
        self._fill(pool, began)
        # Senders know the records before they connect; who is still asking comes next time.
        ready = [one for one in self.caches if one.entry and (not one.used or _fresh(one, began))]
        problem, served = "", None
        try:
            served = self._fetch(any(_wants_chain(one) for one in ready))
        except Unreachable:
            self.counts["unreachable"] += 1
        except NoTls as reason:
            problem = f"no TLS: {reason}"
        self.counts["probes"] += 1
        if served or problem:
            for cache in ready:
                self._check(cache, served, problem)

    def _fill(self, pool: ThreadPoolExecutor, now: float) -> None:
        name = f"_{self.port}._tcp.{self.host}."
        for cache in self.caches:
            if cache.asked is None and cache.used and not _fresh(cache, now):
                cache.asked = pool.submit(look_up, name, self.name_servers)
        wait([one.asked for one in self.caches if one.asked], LOOKUP_SHARE)
        for cache in self.caches:
            if cache.asked is None or not cache.asked.done():
                continue
            try:
                found = cache.asked.result()
            except Unresolved:
                self.counts["unresolved"] += 1
            else:
                until = found.at + (found.until - found.at) * cache.first_share
                cache.entry, cache.used = Entry(found.records, found.at, until), False
                cache.first_share = 1.0
            cache.asked = None

    def _fetch(self, with_chain: bool) -> Served:
        served = fetch(self.address, self.port, self.host, starttls=self.starttls)
        if served.key not in self.keys:
            self.keys.append(served.key)
        if with_chain and len(served.chain) == 1:
            chain = chain_by_openssl(self.address, self.port, self.host)
            served = Served(chain) if chain else served
        return served

    def _check(self, cache: Cache, served: Served | None, problem: str) -> None:
        assert cache.entry
        cache.used = True
        records = cache.entry.records
        if not records and not cache.seen:
            self.counts["no_tlsa"] += 1
            return
        cache.seen = True
        self.counts["checks"] += 1
        if not records:
            reason = "vanished"
        else:
            reason = problem or (fault(records, served, self.host) if served else "")
        if reason:
            self.counts["failures"] += 1
            self._write(
                time=time.time(),
                cache=cache.number,
                age=round(time.monotonic() - cache.entry.at, 3),
                records=list(map(str, records)),
                key=served.key if served else "",
                reason=reason,
            )

    def summary(self, longest_gap: float) -> None:
        """Write the last line."""
        gap = round(longest_gap, 3)
        self._write(**self.counts, first_seen_keys=len(self.keys), keys=self.keys, longest_gap=gap)

    def _write(self, **fields: Any) -> None:
        self.output.write(json.dumps(fields) + "\n")
        self.output.flush()


def _fresh(cache: Cache, now: float) -> bool:
    return cache.entry is not None and now < cache.entry.until


def _wants_chain(cache: Cache) -> bool:
    return cache.entry is not None and any(
        one.usage == DANE_TA for one in chosen(cache.entry.records)
    )


def run(prober: Prober, pause: float, stop: threading.Event) -> None:
    """Probe every `pause` seconds until told to stop; say on stdout how far it is."""
    pool = ThreadPoolExecutor(len(prober.caches))
    began, longest = time.monotonic(), 0.0
    while not stop.is_set():
        prober.probe(pool)
        counts = prober.counts
        print(f"probe {counts['probes']} failures {counts['failures']}", flush=True)
        stop.wait(began + pause - time.monotonic())
        if not stop.is_set():
            now = time.monotonic()
            longest, began = max(longest, now - began), now
    prober.summary(longest)
    pool.shutdown(cancel_futures=True)


def main() -> None:
    """Read the command line, and probe until SIGTERM."""
    parser = argparse.ArgumentParser(description="Probe a mail server as DANE senders would.")
    parser.add_argument("--host", required=True, help="the name that TLSA records stand below")
    parser.add_argument("--address", required=True, help="where to connect to")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name-server", action="append", required=True, metavar="IP:PORT")
    parser.add_argument("--output", type=Path, required=True, help="file, is written anew")
    parser.add_argument("--caches", type=int, default=5, help="5, if not given")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds; 0.1, if not given")
    parser.add_argument("--tls", action="store_true", help="TLS from the start, no STARTTLS")
    given = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    caches = [
        Cache(number, (number + random.random()) / given.caches) for number in range(given.caches)
    ]
    with given.output.open("w") as output:
        where = (given.host, given.address, given.port)
        prober = Prober(*where, given.name_server, output, caches, starttls=not given.tls)
        run(prober, given.pause, stop)


if __name__ == "__main__":
    main()
