"""What ssl-mgr's trees have that ours do not: in the sites that it made, and in made-up ones.

Each trait is looked for in both, so that the trees of `ssl_mgr_tree` cannot drift from the real.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from tests.stand.ssl_mgr_site import MADE, unpack
from tests.stand.ssl_mgr_tree import EVERY_USAGE, ZONES, make

KEYS = {"privkey.pem", "bundle.pem"}
WHOLE = {*KEYS, "csr.pem", "cert.pem", "chain.pem", "fullchain.pem"}
ORDER = [
    NameOID.COMMON_NAME,
    NameOID.COUNTRY_NAME,
    NameOID.STATE_OR_PROVINCE_NAME,
    NameOID.LOCALITY_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.EMAIL_ADDRESS,
]


@dataclass(frozen=True)
class Tree:
    """A tree to look at, as version 5 or (`later`) 7 leaves it."""

    top: Path
    later: bool

    def sets(self, *, ca: bool | None = None) -> Iterator[Path]:
        """Yield complete sets of the site's own CA; `ca`: only its own, or only what it signs."""
        for path in sorted(self.top.glob("certs/*/*/db/*/fullchain.pem")):
            issuer = cert_of(path.parent).issuer
            own = bool(issuer.get_attributes_for_oid(NameOID.EMAIL_ADDRESS))
            is_ca = "/certs/ca/" in str(path)
            if own and ca in (None, is_ca):
                yield path.parent

    @property
    def roots(self) -> list[Path]:
        """Return the sets of roots."""
        return [one for one in self.sets() if cert_of(one).issuer == cert_of(one).subject]


def cert_of(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())


@pytest.fixture(scope="module", params=["5.2.0", "7.8.1", "made, 5", "made, 7"])
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """One tree of each kind; nobody changes them."""
    folder = tmp_path_factory.mktemp("tree")
    which: str = request.param
    later = "7" in which
    if not which.startswith("made"):
        return Tree(unpack(which, folder), later)
    make(folder, MADE, later=later, dane=True)
    return Tree(folder, later)


# --- traits -------------------------------------------------------------------------------------


def a_root_is_its_own_chain(tree: Tree) -> None:
    assert tree.roots
    for folder in tree.roots:
        cert, chain, full, key, bundle = (
            (folder / name).read_bytes()
            for name in ("cert.pem", "chain.pem", "fullchain.pem", "privkey.pem", "bundle.pem")
        )
        assert cert == chain == full
        assert bundle == key + cert


def others_have_the_chain_up_to_the_root(tree: Tree) -> None:
    for folder in tree.sets():
        if folder in tree.roots:
            continue
        above = x509.load_pem_x509_certificates((folder / "chain.pem").read_bytes())
        full, chain = ((folder / name).read_bytes() for name in ("fullchain.pem", "chain.pem"))
        assert full == (folder / "cert.pem").read_bytes() + chain
        assert (folder / "bundle.pem").read_bytes() == (folder / "privkey.pem").read_bytes() + full
        assert above[-1].issuer == above[-1].subject


def a_ca_has_its_common_name_as_dns_name(tree: Tree) -> None:
    for folder in tree.sets(ca=True):
        cert = cert_of(folder)
        (common,) = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == [common.value]
        assert " " in str(common.value)  # it is not the name of a host


def every_usage_is_there(tree: Tree) -> None:
    for folder in tree.sets():
        for extensions in (cert_of(folder).extensions, request_of(folder).extensions):
            found = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
            assert list(found.value) == EVERY_USAGE
            assert not found.critical
            usage = extensions.get_extension_for_class(x509.KeyUsage)
            assert usage.value.key_agreement
            assert usage.value.key_encipherment
            assert not usage.critical


def request_of(folder: Path) -> x509.CertificateSigningRequest:
    return x509.load_pem_x509_csr((folder / "csr.pem").read_bytes())


def basic_constraints_are_critical_in_leaves_too(tree: Tree) -> None:
    for folder in tree.sets():
        found = cert_of(folder).extensions.get_extension_for_class(x509.BasicConstraints)
        assert found.critical
        assert found.value.ca is ("/certs/ca/" in str(folder))


def the_authority_key_identifier_is_its_own(tree: Tree) -> None:
    for folder in tree.sets():
        for extensions in (cert_of(folder).extensions, request_of(folder).extensions):
            named = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
            own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            assert named.key_identifier == own.digest


def names_begin_with_the_common_name_and_keep_empty_parts(tree: Tree) -> None:
    empty = 0
    for folder in tree.sets():
        subject = cert_of(folder).subject
        assert [one.oid for one in subject] == ORDER
        assert [len(one) for one in subject.rdns] == [1] * len(ORDER)
        for one in subject:
            wanted = {
                NameOID.COUNTRY_NAME: _ASN1Type.PrintableString,
                NameOID.EMAIL_ADDRESS: _ASN1Type.IA5String,
            }
            assert one._type is wanted.get(one.oid, _ASN1Type.UTF8String)
            empty += one.value == ""
    assert empty > len(list(tree.sets()))


def sets_have_names_in_local_time(tree: Tree) -> None:
    zone = ZoneInfo(ZONES[tree.later])
    for folder in tree.sets():
        named = datetime.strptime(folder.name, "%Y%m%d-%H:%M:%S").replace(tzinfo=zone)
        made = cert_of(folder).not_valid_before_utc
        assert abs(named - made) < timedelta(minutes=1)
        # It is not UTC by chance.
        assert named.utcoffset() != timedelta()


def info_tells_when_it_was_rolled(tree: Tree) -> None:
    found = list(tree.top.glob("certs/*/*/db/*/info"))
    assert found
    for path in found:
        service = path.parts[-4]
        pattern = rf"# {service} rolled to curr : \d{{8}}-\d\d:\d\d:\d\d\n"
        assert re.fullmatch(pattern, path.read_text())
    for link in tree.top.glob("certs/*/*/next"):
        assert (
            os.readlink(link) == os.readlink(link.parent / "curr") or not (link / "info").exists()
        )


def keys_are_pkcs8(tree: Tree) -> None:
    for folder in tree.sets():
        text = (folder / "privkey.pem").read_bytes()
        assert text.startswith(b"-----BEGIN PRIVATE KEY-----\n")
        assert load_pem_private_key(text, None).public_key() == cert_of(folder).public_key()


def folders_of_certbot_are_there_and_empty(tree: Tree) -> None:
    own = {folder.parent.parent for folder in tree.sets()}
    assert own
    for folder in own:
        assert list((folder / "cb").iterdir()) == []


def production_is_made_of_folders(tree: Tree) -> None:
    found = list(tree.top.glob("prod-certs/*/*/curr"))
    assert found
    for curr in found:
        assert not curr.is_symlink()
        assert not (curr.parent / "db").exists()
        working = tree.top / "certs" / curr.relative_to(tree.top / "prod-certs")
        if working.exists():
            there, here = (
                {one.name: one.read_bytes() for one in folder.iterdir()}
                for folder in (curr, working)
            )
            assert there == here
            assert set(there) >= {*WHOLE, "info"}


def keys_of_cas_are_in_production(tree: Tree) -> None:
    found = {path.name for path in tree.top.glob("prod-certs/ca/*/curr/*")}
    assert found >= KEYS


def what_is_on_deck_in_production(tree: Tree) -> None:
    """Version 5 leaves there what was on deck before the roll; it has no `info`."""
    outdated = 0
    for next_ in tree.top.glob("prod-certs/*/*/next"):
        assert next_.is_dir()
        assert not next_.is_symlink()
        working = tree.top / "certs" / next_.relative_to(tree.top / "prod-certs")
        outdated += not working.exists()
    assert (outdated > 0) is not tree.later


def tlsa_rr_is_in_sets_with_dane_and_in_production(tree: Tree) -> None:
    ttl = r" \d+ " if tree.later else ""
    record = rf"_\d+\._tcp\.[a-z0-9.]+\.{ttl} IN TLSA 3 1 1 [0-9a-f]{{64}}\n"
    found = list(tree.top.glob("certs/*/*/db/*/tlsa.rr"))
    assert found
    for path in found:
        group, service, name = path.parts[-5], path.parts[-4], path.parts[-2]
        head = f";;\n;; tlsa {group} {service} {name}\n;;\n"
        assert re.fullmatch(f"{re.escape(head)}(?:{record})+", path.read_text())
    assert list(tree.top.glob("prod-certs/*/*/curr/tlsa.rr"))
    assert list(tree.top.glob("prod-certs/*/*/next/tlsa.rr"))


def records_of_a_zone_have_comments_and_those_on_deck(tree: Tree) -> None:
    path = tree.top / "certs/example.com/tlsa.example.com"
    text = path.read_text()
    assert text.startswith(";;\n;; TLSA example.com : phase = normal\n;;\n")
    (service,) = re.findall(r";;\n;; (\S+) next\n;;\n", text)
    assert f";;\n;; {service} curr\n;;\n" in text
    assert text.endswith("\n\n")
    ttls = re.findall(r"\. +(\d+) +IN TLSA", text)
    assert len(ttls) == (text.count(" IN TLSA ") if tree.later else 0)
    copies = [
        path.parents[2] / "prod-certs/example.com/tlsa.example.com",
        *(one for one in tree.top.rglob("tlsa/tlsa.example.com")),
    ]
    assert len(copies) == 2
    assert all(one.read_text() == text for one in copies)


def other_files_can_be_read_by_all(tree: Tree) -> None:
    for folder in tree.sets():
        for file in folder.iterdir():
            if file.name not in KEYS:
                assert stat.S_IMODE(file.stat().st_mode) == 0o644


TRAITS: tuple[Callable[[Tree], None], ...] = (
    a_root_is_its_own_chain,
    others_have_the_chain_up_to_the_root,
    a_ca_has_its_common_name_as_dns_name,
    every_usage_is_there,
    basic_constraints_are_critical_in_leaves_too,
    the_authority_key_identifier_is_its_own,
    names_begin_with_the_common_name_and_keep_empty_parts,
    sets_have_names_in_local_time,
    info_tells_when_it_was_rolled,
    keys_are_pkcs8,
    folders_of_certbot_are_there_and_empty,
    production_is_made_of_folders,
    keys_of_cas_are_in_production,
    what_is_on_deck_in_production,
    tlsa_rr_is_in_sets_with_dane_and_in_production,
    records_of_a_zone_have_comments_and_those_on_deck,
    other_files_can_be_read_by_all,
)


@pytest.mark.parametrize("trait", TRAITS, ids=lambda one: one.__name__)
def test_trait(tree: Tree, trait: Callable[[Tree], None]) -> None:
    trait(tree)
