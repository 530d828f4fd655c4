"""The site's own CA, through a real tree, with openssl as the judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.core.names import CertId
from sslmd.core.spec import CertSpec
from sslmd.pki.csr import make_csr
from sslmd.pki.inspect import cert_facts
from sslmd.pki.keys import generate_key
from sslmd.pki.local_ca import Issued
from sslmd.workers import certify
from tests.stand.samples import needs_openssl, verify
from tests.stand.tools import INT, ROOT, WEB, Site


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    return await Site(tmp_path).with_cas()


def spec_of(site: Site, cert: CertId) -> CertSpec:
    return site.tools.site.config.services[cert].spec


def issue(site: Site, cert: CertId = WEB) -> Issued:
    spec = spec_of(site, cert)
    key = generate_key(spec.key)
    ca = spec_of(site, INT if cert == WEB else ROOT)
    return certify.issue(site.tree, spec, ca, key, make_csr(key, spec), site.now)


def root_of(site: Site) -> bytes:
    return (site.place(ROOT) / "curr/cert.pem").read_bytes()


@needs_openssl
async def test_chain_and_fullchain_verify(site: Site) -> None:
    await site.renew()
    curr = site.place() / "curr"
    cert, chain, full = (
        (curr / f"{name}.pem").read_bytes() for name in ("cert", "chain", "fullchain")
    )
    assert full == cert + chain
    # The nearest issuer first, up to the root.
    intermediate = (site.place(INT) / "curr/cert.pem").read_bytes()
    assert chain == intermediate + root_of(site)
    names = ["-verify_hostname", "www.example.com", "-purpose", "sslserver"]
    for untrusted, first in ((chain, cert), (full, cert), (chain, full), (intermediate, cert)):
        verify(site.top, root_of(site), untrusted, first, *names, at=site.now)
    verify(site.top, root_of(site), b"", root_of(site), at=site.now)
    verify(site.top, root_of(site), b"", intermediate, at=site.now)
    assert (site.place(INT) / "curr/chain.pem").read_bytes() == root_of(site)
    assert (site.place(ROOT) / "curr/chain.pem").read_bytes() == b""


@needs_openssl
async def test_a_ca_rolled_between_two_issues(site: Site) -> None:
    """Both generations verify, each with either chain, and by the one root."""
    first = issue(site)
    await site.make_key(INT)
    await site.certify(INT)
    # While the new one is only on deck, the old one signs.
    meanwhile = issue(site)
    assert meanwhile.chain_pem == first.chain_pem
    site.later(hours=2)
    await site.roll(INT)
    second = issue(site)
    assert second.chain_pem != first.chain_pem
    for issued in (first, meanwhile, second):
        chain = issued.chain_pem
        verify(site.top, root_of(site), chain, issued.cert_pem, at=site.now)
    # The CA has kept its key and its name, so either chain serves for either.
    verify(site.top, root_of(site), first.chain_pem, second.cert_pem, at=site.now)
    verify(site.top, root_of(site), second.chain_pem, first.cert_pem, at=site.now)


@needs_openssl
async def test_a_root_rolled_between_two_issues(site: Site) -> None:
    first, old_root = issue(site), root_of(site)
    site.later(hours=2)
    await site.renew(ROOT)
    # What the old root signed stays with the old one, until the CA below is renewed too.
    second = issue(site)
    for issued in (first, second):
        assert issued.chain_pem.endswith(old_root)
        verify(site.top, old_root, issued.chain_pem, issued.cert_pem, at=site.now)
    await site.renew(INT)
    third = issue(site)
    assert third.chain_pem.endswith(root_of(site))
    verify(site.top, root_of(site), third.chain_pem, third.cert_pem, at=site.now)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("privkey.pem", None, "no privkey.pem"),
        ("privkey.pem", b"", "privkey.pem is not a usable private key: it holds no private keys"),
        ("privkey.pem", b"\x00garbage", "privkey.pem is not a usable private key"),
        ("privkey.pem", "other", "privkey.pem does not match cert.pem"),
        ("cert.pem", None, "no cert.pem"),
        ("cert.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        ("chain.pem", None, "no chain.pem"),
        ("chain.pem", b"", "chain.pem: the certificate of its issuer is missing"),
    ],
)
def test_a_ca_that_cannot_sign(
    site: Site, file: str, content: bytes | str | None, said: str
) -> None:
    path = site.place(INT) / "curr" / file
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_bytes(generate_key(spec_of(site, INT).key))
    with pytest.raises(Permanent) as caught:
        issue(site)
    text = str(caught.value)
    assert text.startswith(f"the CA ca/my-int cannot sign, its set {site.live(INT)} is broken: ")
    assert said in text
    assert "PRIVATE" not in text


def test_a_ca_without_a_certificate(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with pytest.raises(Permanent, match="the CA ca/my-int has no certificate to sign with; list"):
        issue(site)
    site.place(INT).mkdir(parents=True)
    (site.place(INT) / "curr").symlink_to("db/20260101-00:00:00")
    with pytest.raises(Permanent, match="has no certificate to sign with"):
        issue(site)


def test_a_signer_that_is_no_ca_of_this_configuration(site: Site) -> None:
    spec = spec_of(site, WEB)
    key = generate_key(spec.key)
    for ca in (None, spec):
        with pytest.raises(Permanent, match="ca/my-int, which is no CA of this configuration"):
            certify.issue(site.tree, spec, ca, key, make_csr(key, spec), site.now)


async def test_an_expired_ca_signs_nothing(site: Site) -> None:
    site.later(days=4000)
    with pytest.raises(Permanent, match=r"expired at .*; renew it first"):
        issue(site)


def test_a_leaf_does_not_outlive_its_ca(site: Site) -> None:
    facts = site.state(INT).curr
    assert facts is not None
    assert facts.cert is not None
    site.now = facts.cert.not_after
    site.later(hours=-5)
    assert cert_facts(issue(site).cert_pem).not_after == facts.cert.not_after
