"""A mail server with DANE: BIND signs the zone, two secondaries, Unbound validates, Postfix serves.

The certificates come from the site's own CA, or from Pebble. Everything listens on loopback, at
ports of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.stand import bind, host, postfix, unbound
from tests.stand.acme_site import ca_table
from tests.stand.bind import Primary, Secondary, Zone, answer
from tests.stand.host import Host
from tests.stand.pebble import Pebble
from tests.stand.postfix import KeyFiles, Postfix
from tests.stand.probing import Outcome, Prober
from tests.stand.server import free_port, wait_until
from tests.stand.site import EC, Site, first_tables
from tests.stand.unbound import Cache, Unbound

ZONE = "example.com"
HOST = f"mail.{ZONE}"
CERT = f"{ZONE}/mail"
ARG = f"{ZONE}:mail"

# Another machine for the mail server, if that is asked for.
FAR, FAR_ADDRESS = "mx1.example.net", "127.0.0.2"

# Seconds. The wait before a roll is twice this.
TTL = 1

RSA = "ktype = 'rsa'\nrsa_bits = 2048\n"


class DaneSite(Site):
    """A site without a configuration; `write` makes one.

    `services`: those of the zone, with their kind of key; `danes`: what one has for `dane_tls` in
    place of `dane`; `names`: what is in one's certificate in place of `HOST`. `signer` signs them,
    a CA of its own or of the table `ca`.
    """

    def __init__(self, top: Path) -> None:
        top.mkdir()
        super().__init__(top, example=None)
        self.globals = {"min_roll_mins": "0", "cmd_timeout": "20"}
        self.signer = "my-int"
        self.ca = ""
        self.primary = ""
        self.dns = ""
        self.smtp = ""
        self.dane = ""
        self.ttl = TTL
        self.more = ""
        self.services = {"mail": EC}
        self.danes: dict[str, str] = {}
        self.names: dict[str, list[str]] = {}

    def write(self) -> None:
        """Write the configuration."""
        text = first_tables(self.globals, ("ca", ZONE))
        text += f"{self.primary}\n[dns]\n{self.dns}\n{self.smtp}"
        self.put("ssl-mgr.conf", text)
        self.put_own_cas(self.ca)
        for service, key in self.services.items():
            dane = self.danes.get(service, self.dane)
            more = f"dane_tls = {dane}\ndane_tls_ttl = {self.ttl}\n{self.more}"
            names = self.names.get(service, [HOST])
            self.put_service(f"{ZONE}/{service}", self.signer, names, more=more, key=key)

    @property
    def curr(self) -> Path:
        """The certificate's folder in production."""
        return self.top / "prod-certs" / CERT / "curr"

    @property
    def key_files(self) -> list[Path]:
        """Keys and chains in production."""
        folders = [self.top / "prod-certs" / ZONE / name / "curr" for name in self.services]
        return [folder / file for folder in folders for file in ("privkey.pem", "fullchain.pem")]

    def cert(self) -> dict[str, Any]:
        """Return the certificate's part of the status."""
        return self.status()[CERT]

    def wait_cert(self, check: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Return the certificate's status when it is as `check` says."""
        found: dict[str, Any] = {}

        def looked() -> bool:
            found.clear()
            found.update(self.cert())
            return bool(check(found))

        try:
            wait_until(looked, what)
        except AssertionError as err:
            tail = "\n".join(self.lines[-60:])
            raise AssertionError(f"{err}: {found.get('reason')}\n{tail}") from None
        return found


class DaneWorld:
    """The servers of one test, and the site; ended in the opposite order.

    `signed`, `dynamic`: as in `bind.Zone`; `lagging`: the third name server keeps what it has until
    its `refresh`; `far`: Postfix is on a host that certificates are copied to; `records`: more of
    them, `{port}` in them is where Postfix will listen. `grants`: the services that it uses.
    """

    def __init__(
        self,
        top: Path,
        stack: ExitStack,
        *,
        signed: bool = True,
        dynamic: bool = False,
        lagging: bool = False,
        far: bool = False,
        records: str = "",
    ) -> None:
        self.top = top
        self.grants = "['ALL']"
        self._stack = stack
        self._dynamic = dynamic
        self.address = FAR_ADDRESS if far else "127.0.0.1"
        self._port = free_port(self.address)
        records = f"@ MX 10 {HOST}.\nmail A {self.address}\n" + records.format(port=self._port)
        self.zone = Zone(ZONE, records, signed=signed, dynamic=dynamic)
        self.primary = stack.enter_context(Primary(top / "ns1", [self.zone]))
        self.second = stack.enter_context(Secondary(top / "ns2", self.primary))
        third = Secondary(top / "ns3", self.primary, notify=not lagging)
        self.third = stack.enter_context(third)
        self._lagging = lagging
        self.names = [self.primary, self.second, self.third]
        self.resolver: Unbound | None = None
        if signed:
            self.resolver = stack.enter_context(
                Unbound(top / "unbound", [self.primary], cache=Cache.NONE)
            )
        self.site = DaneSite(top / "site")
        stack.callback(self.site.end)
        self.mail: Postfix | None = None
        self.host: Host | None = None
        if far:
            prod = self.site.top / "prod-certs"
            host = Host(top / "host", [FAR], prod, address=FAR_ADDRESS)
            self.host = stack.enter_context(host)

    @property
    def port(self) -> int:
        """Where Postfix listens."""
        return self._port

    @property
    def owner(self) -> str:
        """Where the TLSA records stand."""
        return f"_{self.port}._tcp.{HOST}"

    def use(self, ca: Pebble) -> None:
        """Have the certificates come from this CA, which asks the primary."""
        self.site.signer, self.site.ca = "pebble", ca_table(ca)
        self.site.globals |= {"dns_check_delay": "0", "dns_xtra_ns": "[]"}

    def begin(
        self,
        *,
        keys: KeyFiles = KeyFiles.COPIED,
        dane: bool = True,
        files: Sequence[Path] | None = None,
    ) -> None:
        """Get the first certificate, start Postfix with it, or `files`, then switch DANE on."""
        site = self.site
        servers = [one.address for one in self.names]
        address, _, port = self.primary.address.partition(":")
        site.primary = (
            f"[[dns_primary]]\ndomain = 'default'\nserver = '{address}'\nport = {port}\n"
            f"nameservers = {servers}\n"
        )
        if self._dynamic:
            site.primary += f"update = true\ntsig_key_file = '{self.primary.key_file}'\n"
        else:
            site.dns = f"acme_dir = '{self.primary.acme_dir}'\n" if site.ca else ""
            site.dns += (
                f"tlsa_dirs = ['{self.primary.tlsa_dir}']\n"
                f'restart_cmd = "{self.primary.restart_cmd}"\n'
            )
        if self.resolver is not None:
            site.globals["dns_validating_resolver"] = f"'{self.resolver.host}:{self.resolver.port}'"
        site.dane = "[]"
        server = f"[smtp]\nservers = ['{FAR if self.host else 'localhost'}']\n"
        server += f"svc_depends = [['{ZONE}', {self.grants}]]\n"
        site.smtp = f"{server}probe = false\n" if self.host else ""
        site.write()
        bin_dir = f"{self.host.bin_dir}:" if self.host else ""
        site.start(env={"PATH": f"{bin_dir}{os.environ['PATH']}"})
        site.wait_settled()
        folder = (self.host.folder if self.host else self.top) / "postfix"
        mail = Postfix(
            folder,
            files or site.key_files,
            host=HOST,
            port=self._port,
            keys=keys,
            within=self.host,
        )
        self.mail = self._stack.enter_context(mail)
        site.smtp = (
            f"{server}"
            f'restart_cmd = "{mail.restart_cmd}"\n'
            f"probe = [[{mail.port}, 'smtp', '{HOST}']]\nprobe_timeout = 10\n"
        )
        if dane:
            self.switch_on()

    def entries(self, *combinations: tuple[int, int, int]) -> str:
        """Return `dane_tls` with these usages, selectors and matching types at Postfix's port."""
        return str([[self.port, "tcp", *numbers, "MX"] for numbers in combinations])

    def switch_on(self, dane: str = "") -> None:
        """Switch DANE on, and wait until every server shows the key in use."""
        self.site.dane = dane or self.entries((3, 1, 1))
        self.site.write()
        self.site.ctl("reload")
        if self._lagging:
            self.primary.wait_answer(self.owner, "TLSA", "3 1 1 ")
            self.third.refresh(ZONE)
        for one in self.names:
            one.wait_answer(self.owner, "TLSA", "3 1 1 ")
        self.site.wait_settled()

    def prober(self, host: str = HOST, *, tls_port: int = 0) -> Prober:
        """Check DANE ten times a second, as senders with old caches would.

        `tls_port`: of a server that speaks TLS from the start, in place of Postfix.
        """
        one = Prober(
            self.top / f"prober-{host}",
            host,
            tls_port or self.port,
            self.names,
            address=self.address,
            starttls=not tls_port,
        )
        return self._stack.enter_context(one)

    def records(self, server: int = 0) -> list[str]:
        """Return the TLSA records that one of the name servers shows."""
        return answer(self.names[server], self.owner, "TLSA")

    def wait_shown(self, count: int, owner: str = "") -> set[str]:
        """Wait until every name server shows so many TLSA records, the same; return them."""

        def shown() -> list[set[str]]:
            return [set(answer(one, owner or self.owner, "TLSA")) for one in self.names]

        def agreed() -> bool:
            found = shown()
            return all(one == found[0] and len(one) == count for one in found)

        wait_until(agreed, f"{count} records on every name server")
        return shown()[0]

    def served(self) -> str:
        """Return the record, as in 3 1 1, of the key that Postfix serves."""
        assert self.mail is not None
        key = x509.load_der_x509_certificate(self.mail.served()).public_key()
        form = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"3 1 1 {hashlib.sha256(form).hexdigest()}"

    def renew(self) -> str:
        """Have the next set put on deck; return the serial that is served before."""
        before = str(self.site.cert()["curr"]["serial"])
        self.site.ctl("force-renew", ARG)
        return before

    def cycle(self) -> str:
        """Renew and roll once; return the serial that is served then."""
        return self.wait_rolled(self.renew())

    def wait_rolled(self, before: str) -> str:
        """Return the serial of what is served after `before`, when all is settled."""
        now = self.site.wait_cert(
            lambda one: one["phase"] == "settled" and one["curr"]["serial"] != before,
            "a roll that is settled",
        )
        return str(now["curr"]["serial"])


def clean(probes: Prober) -> Outcome:
    """End the prober after a while; check that no sender had anything to complain of."""
    probes.wait_probes(12)
    outcome = probes.outcome()
    assert outcome.failures == []
    assert outcome.no_tlsa == outcome.unreachable == 0
    return outcome


def missing() -> str:
    """Return what is missing for such a world, or nothing."""
    return "; ".join(filter(None, (bind.missing(), postfix.missing(), unbound.missing())))


@contextmanager
def dane_world(top: Path, **options: Any) -> Iterator[DaneWorld]:
    """Open a world in a scratch directory; skip where programs are missing."""
    if lacking := missing():
        pytest.skip(lacking)
    if options.get("far") and (lacking := host.missing()):
        pytest.skip(lacking)
    with ExitStack() as stack:
        yield DaneWorld(top, stack, **options)
