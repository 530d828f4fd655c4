"""What is found out before an order, at name servers and resolvers of every kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import dns.flags
import dns.message
import dns.rcode
import pytest

from sslmd.acme.directory import Directory
from sslmd.config.model import Validation
from sslmd.core.errors import Permanent, Transient
from sslmd.core.names import CertId, DomainName
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.resolver import Resolver
from sslmd.workers.preflight import Preflight
from tests.stand.asking import ASKER
from tests.stand.conf import MAIN, Tree
from tests.stand.responder import Answer, Responder, Zone
from tests.stand.server import free_port

NAMES = (DomainName("example.com"), DomainName("www.example.com"))
NAMED = Directory(new_order="https://ca.example/order", caa_identities=("ca.example",))
ACCOUNT = "https://ca.example/acct/1"


class Checks:
    """The checks of an order on a site whose zone has these name servers; `more`: other zones."""

    def __init__(
        self,
        top: Path,
        servers: Sequence[NameServer],
        validation: Validation = Validation.HTTP_01,
        more: Mapping[str, Sequence[NameServer]] = MappingProxyType({}),
    ) -> None:
        self.validation = validation
        self.warnings: list[str] = []
        self.made = 0
        tree = Tree(top)
        primaries = ""
        for zone, at in {"*": servers, **more}.items():
            listed = [f"{one.address}:{one.port}" for one in at]
            primaries += f"[[dns_primary]]\ndomain = '{zone}'\nserver = '127.0.0.1'\n"
            primaries += f"nameservers = {listed}\n"
        tree.write("ssl-mgr.conf", f"{MAIN}{primaries}")
        tree.change("example.com/web", "'my-int'", "'le-http'")
        self.config = tree.load()

    async def run(
        self, resolver: Resolver, directory: Directory = NAMED, account: str = ""
    ) -> Preflight:
        async def make() -> str:
            self.made += 1
            return ACCOUNT

        checks = Preflight(
            CertId("example.com", "web"),
            self.config,
            resolver,
            directory,
            self.validation,
            account,
            make,
            lambda why: self.warnings.append(say(why)),
        )
        await checks.run(NAMES)
        return checks


def caa(*values: str) -> Zone:
    zone = Zone()
    for value in values:
        zone.add("example.com", "CAA", f'0 issue "{value}"')
    return zone


def validating(query: dns.message.Message, tcp: bool) -> Answer:
    """Answer as a resolver that validates, to which example.com is bogus."""
    answer = dns.message.make_response(query)
    if query.question[0].name.to_text() == ".":
        answer.flags |= dns.flags.AD
    elif not query.flags & dns.flags.CD:
        answer.set_rcode(dns.rcode.SERVFAIL)
    return answer


def _folder(top: Path, name: str) -> Path:
    folder = top / name
    folder.mkdir()
    return folder


async def test_the_systems_resolver_finds_dnssec_that_is_broken(tmp_path: Path) -> None:
    """Nobody named a resolver for it, and no attempt at the CA is burnt."""
    async with Responder(caa()) as ns, Responder(validating, "") as resolver:
        checks = Checks(tmp_path, [ns.server])
        with pytest.raises(Transient, match="DNSSEC does not validate"):
            await checks.run(Resolver(ASKER, [resolver.server]))
        # One that is told nothing, and none at all.
        await checks.run(Resolver(ASKER, []), Directory())


async def test_dnssec_of_the_name_counts_where_its_challenge_is_elsewhere(tmp_path: Path) -> None:
    """The CA validates the CNAME and the CAA records, whatever zone the challenge is in."""
    zone = caa()
    zone.add("_acme-challenge.www.example.com", "CNAME", "www.acme.example.net.")
    async with (
        Responder(zone) as ns,
        Responder(Zone("example.net")) as other,
        Responder(validating, "") as resolver,
    ):
        more = {"example.net": [other.server]}
        checks = Checks(tmp_path, [ns.server], Validation.DNS_01, more)
        with pytest.raises(Transient, match=r"zone example\.com: its DNSSEC does not validate"):
            await checks.run(Resolver(ASKER, [resolver.server]))


async def test_an_account_is_made_where_a_record_names_one(tmp_path: Path) -> None:
    bound = "ca.example; accounturi="
    async with Responder(caa(f"{bound}{ACCOUNT}")) as ns, Responder(Zone("com"), "") as resolver:
        checks = Checks(tmp_path, [ns.server])
        done = await checks.run(Resolver(ASKER, [resolver.server]))
        assert (checks.made, done.account) == (1, ACCOUNT)
        with pytest.raises(Permanent, match=r"ours is https://ca\.example/acct/7"):
            await checks.run(
                Resolver(ASKER, [resolver.server]), account="https://ca.example/acct/7"
            )
        assert checks.made == 1
    async with Responder(caa("ca.example")) as ns, Responder(Zone("com"), "") as resolver:
        await Checks(_folder(tmp_path, "other"), [ns.server]).run(
            Resolver(ASKER, [resolver.server])
        )


async def test_what_forbids_every_ca_is_seen_at_one_that_does_not_name_itself(
    tmp_path: Path,
) -> None:
    async with Responder(caa(";")) as ns, Responder(Zone("com"), "") as resolver:
        with pytest.raises(Permanent, match="allow nobody"):
            await Checks(tmp_path, [ns.server]).run(Resolver(ASKER, [resolver.server]), Directory())


async def test_records_that_nobody_tells_are_warned_of(tmp_path: Path) -> None:
    nowhere = NameServer("127.0.0.1", free_port())
    checks = Checks(tmp_path, [nowhere])
    await checks.run(Resolver(ASKER, []))
    (warning,) = checks.warnings
    assert warning.startswith(
        "the CAA records of example.com, www.example.com, com cannot be looked up"
    )
    assert str(nowhere) in warning
    assert "the order goes on" in warning
    # A CA that does not name itself is not expected to look.
    checks.warnings.clear()
    await checks.run(Resolver(ASKER, []), Directory())
    assert checks.warnings == []
    # An error that is answered is another thing: the CA gets the same.
    broken = Zone()
    broken.rcode = dns.rcode.SERVFAIL
    async with Responder(broken) as ns:
        with pytest.raises(Transient, match="answers SERVFAIL"):
            await Checks(_folder(tmp_path, "broken"), [ns.server]).run(Resolver(ASKER, []))
