"""What a CA keeps when its certificate is made again, and who takes what after that.

The CAs are those of the sites that ssl-mgr made, and others as openssl and other tools encode
them. The judges are openssl, and Go's verifier where `go` is installed: it compares the bytes of
names, and takes the key identifiers that ssl-mgr wrote, which openssl does not.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from sslmd.config.load import load
from sslmd.core.errors import Permanent
from sslmd.core.names import CertId, SetName
from sslmd.core.spec import CertSpec, OwnCa, SelfSigned
from sslmd.pki.chain import find, load_cert
from sslmd.pki.csr import make_csr
from sslmd.pki.identity import identity, parts_of
from sslmd.pki.inspect import repairs, set_facts
from sslmd.pki.keys import PrivateKey, generate_key, load_key
from sslmd.pki.local_ca import Issued, SelfSigning, SigningCa, known_as, sign
from sslmd.pki.pem import issuer_der, subject_der
from sslmd.store.layout import Tree
from sslmd.store.sets import list_sets, read_files, read_links
from tests.stand.samples import (
    EC256,
    ca_spec,
    key_pem,
    make_leaf,
    make_root,
    make_sub,
    needs_openssl,
    with_life,
)
from tests.stand.ssl_mgr_site import VERSIONS, unpack

NOW = datetime(2031, 11, 1, tzinfo=UTC)  # five years after they were made; all are still valid


@dataclass
class Site:
    """The CAs of a site: specs, and the files of their sets in use."""

    root: CertSpec
    sub: CertSpec
    leaf: CertSpec
    files: dict[CertId, dict[str, bytes]]

    def key(self, spec: CertSpec) -> bytes:
        return self.files[spec.id]["privkey.pem"]

    def cert(self, spec: CertSpec) -> bytes:
        return self.files[spec.id]["cert.pem"]


@pytest.fixture(params=VERSIONS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    top = unpack(request.param, tmp_path)
    services = load(top / "conf.d").services
    tree = Tree(str(top / "certs"))
    specs = {cert: one.spec for cert, one in services.items()}
    (root,) = (one for one in specs.values() if isinstance(one.signer, SelfSigned))
    (sub,) = (one for one in specs.values() if one.ca and isinstance(one.signer, OwnCa))
    leaf = specs[CertId("example.com", "web-ec")]
    files = {}
    for cert in specs:
        name = read_links(tree, cert).curr
        assert name is not None
        files[cert] = read_files(tree.set_dir(cert, name))
        for other in list_sets(tree, cert):
            facts = set_facts(other, read_files(tree.set_dir(cert, other)))
            assert facts.problem == "", f"{cert} {other}"
            assert repairs(read_files(tree.set_dir(cert, other))) == {}
    return Site(root, sub, leaf, files)


def again(site: Site, spec: CertSpec, signer: SigningCa | SelfSigning, key: bytes) -> Issued:
    """Make the certificate of a CA again, as its renewal does."""
    known = known_as(spec, site.cert(spec), load_key(key).public_key())
    csr = make_csr(key, spec, known.subject if known else None)
    return sign(csr, spec, signer, now=NOW, known=known)


@dataclass
class Renewed:
    root: Issued
    sub: Issued
    leaf: Issued


def renewed(site: Site) -> Renewed:
    """Renew root, intermediate and leaf, each with the key that it has."""
    root = again(site, site.root, SelfSigning(site.key(site.root)), site.key(site.root))
    assert site.root.ca
    assert site.sub.ca
    above = SigningCa(site.key(site.root), root.cert_pem, b"", site.root.ca)
    sub = again(site, site.sub, above, site.key(site.sub))
    signer = SigningCa(site.key(site.sub), sub.cert_pem, sub.chain_pem, site.sub.ca)
    leaf = sign(make_csr(site.key(site.leaf), site.leaf), site.leaf, signer, now=NOW)
    return Renewed(root, sub, leaf)


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def test_the_name_and_the_key_identifier_stay_byte_for_byte(site: Site) -> None:
    new = renewed(site)
    for spec, issued in ((site.root, new.root), (site.sub, new.sub)):
        old, fresh = der(site.cert(spec)), der(issued.cert_pem)
        assert subject_der(old) == subject_der(fresh)
        both = [x509.load_der_x509_certificate(one) for one in (old, fresh)]
        assert find(both[0], x509.SubjectKeyIdentifier) == find(both[1], x509.SubjectKeyIdentifier)
        assert both[0].public_key() == both[1].public_key()
        assert both[0].serial_number != both[1].serial_number
    assert issuer_der(der(new.sub.cert_pem)) == subject_der(der(site.cert(site.root)))
    assert issuer_der(der(new.leaf.cert_pem)) == issuer_der(der(site.cert(site.leaf)))


def test_ssl_mgrs_faults_go_with_the_renewal(site: Site) -> None:
    cert = x509.load_pem_x509_certificate(renewed(site).sub.cert_pem)
    authority, own = find(cert, x509.AuthorityKeyIdentifier), find(cert, x509.SubjectKeyIdentifier)
    root = find(x509.load_pem_x509_certificate(site.cert(site.root)), x509.SubjectKeyIdentifier)
    assert authority is not None
    assert own is not None
    assert root is not None
    assert authority.key_identifier == root.digest != own.digest
    assert find(cert, x509.ExtendedKeyUsage) is None


def write(folder: Path, **pems: bytes) -> list[str]:
    for name, pem in pems.items():
        (folder / name).write_bytes(pem)
    return [str(folder / name) for name in pems]


def openssl(folder: Path, root: bytes, chain: bytes, leaf: bytes, *, strict: bool) -> str:
    """Return what openssl says against a leaf, "" if it takes it."""
    trusted, untrusted, cert = write(folder, root=root, chain=chain, leaf=leaf)
    options = ["-x509_strict"] if strict else []
    at = ["-attime", str(int(NOW.timestamp()) + 60)]
    command = ["openssl", "verify", *options, *at, "-no-CApath", "-no-CAstore"]
    command += ["-CAfile", trusted, *(["-untrusted", untrusted] if chain else []), cert]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@needs_openssl
def test_what_is_made_new_is_taken_by_openssl_with_its_strictest_checks(
    site: Site, tmp_path: Path
) -> None:
    new = renewed(site)
    chain = new.leaf.chain_pem
    for root in (new.root.cert_pem, site.cert(site.root)):
        assert openssl(tmp_path, root, chain, new.leaf.cert_pem, strict=True) == ""
    assert openssl(tmp_path, new.root.cert_pem, b"", new.sub.cert_pem, strict=True) == ""
    # The control: what ssl-mgr made is not.
    old = site.files[site.leaf.id]
    refused = openssl(
        tmp_path, site.cert(site.root), old["chain.pem"], old["cert.pem"], strict=False
    )
    assert "error" in refused


VERIFIER = Path(__file__).parent / "go_verify"


@pytest.fixture(scope="session")
def go_verify(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Go's verifier, as a program: ROOTS CHAIN LEAF UNIX-TIME."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed: its verifier, which compares names by byte, is not tried")
    program = tmp_path_factory.mktemp("go") / "verify"
    subprocess.run([go, "build", "-o", program, "."], cwd=VERIFIER, check=True, timeout=600)
    return str(program)


def test_with_gos_verifier_old_and_new_verify_under_old_and_new(
    site: Site, tmp_path: Path, go_verify: str
) -> None:
    new, old = renewed(site), site.files[site.leaf.id]
    when = str(int(NOW.timestamp()) + 30)
    roots = (site.cert(site.root), new.root.cert_pem)
    leaves = ((old["cert.pem"], old["chain.pem"]), (new.leaf.cert_pem, new.leaf.chain_pem))
    for root in roots:
        for leaf, chain in leaves:
            args = write(tmp_path, root=root, chain=chain, leaf=leaf)
            done = subprocess.run(
                [go_verify, *args, when], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    # The control: another root of the same name.
    other = again(site, site.root, SelfSigning(key_pem(EC256)), key_pem(EC256))
    args = write(tmp_path, root=other.cert_pem, chain=leaves[1][1], leaf=leaves[1][0])
    done = subprocess.run([go_verify, *args, when], capture_output=True, text=True, check=False)
    assert done.returncode == 1


def test_another_key_keeps_the_name_as_long_as_the_file_asks_for_the_same_parts(site: Site) -> None:
    other = generate_key(EC256)
    issued = again(site, site.root, SelfSigning(other), other)
    assert subject_der(der(issued.cert_pem)) == subject_der(der(site.cert(site.root)))
    renamed = replace(site.root, subject=replace(site.root.subject, unit="Other"))
    issued = again(site, renamed, SelfSigning(other), other)
    parts = dict(parts_of(x509.load_pem_x509_certificate(issued.cert_pem).subject))
    assert parts["OU"] == "Other"
    # With its key it stays what it is.
    issued = again(site, renamed, SelfSigning(site.key(site.root)), site.key(site.root))
    assert subject_der(der(issued.cert_pem)) == subject_der(der(site.cert(site.root)))


def test_identity_is_name_and_key(site: Site) -> None:
    found = {}
    for spec in (site.root, site.sub, site.leaf):
        files = site.files[spec.id]
        found[spec.id.service] = set_facts(SetName.parse("20261129-13:11:34"), files, deep=False)
    root, sub, leaf = found.values()
    assert root.cert
    assert sub.cert
    assert leaf.cert
    assert root.signer == root.cert.identity != ""
    assert sub.signer == root.cert.identity
    assert leaf.signer == sub.cert.identity
    assert leaf.cert.identity == ""
    assert leaf.chain_end == sub.cert.not_after
    assert sub.chain_end is None


CN, ORG, UNIT = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME
OTHERS = {
    "printable": [(CN, "Root", "PrintableString")],
    "bmp": [(CN, "Würzel", "BMPString")],
    "ia5": [(CN, "Root", "IA5String")],
    "universal": [(CN, "Wurzel", "UniversalString")],
    "order": [(CN, "Root", "UTF8String"), (ORG, "O", "UTF8String")],
    "foreign": [(CN, "Root", "UTF8String"), (NameOID.DOMAIN_COMPONENT, "x", "IA5String")],
    "twice": [(UNIT, "a", "UTF8String"), (UNIT, "b", "UTF8String")],
    "empty": [(CN, "Root", "UTF8String"), (NameOID.LOCALITY_NAME, "", "UTF8String")],
}


def foreign_root(
    subject: x509.Name, key: PrivateKey, levels: int | None = None
) -> x509.CertificateBuilder:
    """Return a root that another tool has made, without what is special about it."""
    start = NOW - timedelta(days=3000)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=levels), critical=True)
    )


@pytest.mark.parametrize("name", OTHERS)
def test_names_of_every_encoding_are_kept(name: str) -> None:
    subject = x509.Name(
        [x509.NameAttribute(oid, text, _ASN1Type[kind]) for oid, text, kind in OTHERS[name]]
    )
    key = key_pem(EC256)
    private = load_key(key)
    identifier = x509.SubjectKeyIdentifier(b"not the hash of the key")
    begun = foreign_root(subject, private).add_extension(identifier, critical=False)
    old = begun.sign(private, SHA256())
    pem = old.public_bytes(Encoding.PEM)
    spec = ca_spec()
    known = known_as(spec, pem, private.public_key())
    assert known is not None
    csr = make_csr(key, spec, known.subject)
    issued = sign(csr, spec, SelfSigning(key), now=NOW, known=known)
    fresh = x509.load_pem_x509_certificate(issued.cert_pem)
    assert (
        subject_der(der(issued.cert_pem))
        == subject_der(der(pem))
        == issuer_der(der(issued.cert_pem))
    )
    assert find(fresh, x509.SubjectKeyIdentifier) == x509.SubjectKeyIdentifier(
        b"not the hash of the key"
    )
    authority = find(fresh, x509.AuthorityKeyIdentifier)
    assert authority is not None
    assert authority.key_identifier == b"not the hash of the key"
    assert identity(fresh.subject, b"k") == identity(old.subject, b"k")


def test_limits_of_what_a_ca_may_sign_stay() -> None:
    key = key_pem(EC256)
    private = load_key(key)
    names = x509.NameConstraints([x509.DNSName("example.com")], None)
    subject = x509.Name([x509.NameAttribute(CN, "Root")])
    begun = foreign_root(subject, private, levels=3).add_extension(names, critical=True)
    old = begun.sign(private, SHA256())
    spec = ca_spec()
    known = known_as(spec, old.public_bytes(Encoding.PEM), private.public_key())
    assert known is not None
    issued = sign(make_csr(key, spec), spec, SelfSigning(key), now=NOW, known=known)
    fresh = x509.load_pem_x509_certificate(issued.cert_pem)
    found = fresh.extensions.get_extension_for_class(x509.NameConstraints)
    assert (found.value, found.critical) == (names, True)
    levels = find(fresh, x509.BasicConstraints)
    assert levels is not None
    assert levels.path_length == 3


def test_a_certificate_in_use_that_is_damaged_is_told() -> None:
    key = load_key(key_pem(EC256)).public_key()
    with pytest.raises(Permanent):
        known_as(ca_spec(), b"", key)


@needs_openssl
@pytest.mark.parametrize(
    "how",
    [
        ("ecparam", "-name", "prime256v1", "-param_enc", "explicit", "-genkey", "-noout"),
        ("ecparam", "-name", "secp384r1", "-conv_form", "compressed", "-genkey", "-noout"),
        ("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"),
    ],
    ids=["explicit curve", "compressed point", "RSA-PSS"],
)
@pytest.mark.parametrize("extension", ["basicConstraints=CA:TRUE", "subjectKeyIdentifier=hash"])
def test_a_key_that_is_written_in_another_way_is_the_same(
    tmp_path: Path, how: tuple[str, ...], extension: str
) -> None:
    """Else its renewal would seem to be another CA. Also of a root that does not say it is one."""
    key, conf = tmp_path / "key", tmp_path / "conf"
    subprocess.run(["openssl", *how, "-out", key], check=True, capture_output=True)
    conf.write_text(f"[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=Old\n[v3]\n{extension}\n")
    command = ["openssl", "req", "-x509", "-key", str(key), "-config", str(conf)]
    command += ["-extensions", "v3", "-out", str(tmp_path / "cert")]
    subprocess.run(command, check=True, capture_output=True)
    spec, files = ca_spec(), {"privkey.pem": key.read_bytes()}
    files["cert.pem"] = (tmp_path / "cert").read_bytes()
    known = known_as(spec, files["cert.pem"], load_key(files["privkey.pem"]).public_key())
    csr = make_csr(files["privkey.pem"], spec, known.subject if known else None)
    now = datetime.now(UTC)
    issued = sign(csr, spec, SelfSigning(files["privkey.pem"]), now=now, known=known)
    for deep in (True, False):
        old = set_facts(SetName.at(now), files, deep=deep)
        new = set_facts(SetName.at(now), {**files, "cert.pem": issued.cert_pem}, deep=deep)
        assert old.cert
        assert new.cert
        assert old.cert.identity == new.cert.identity == old.signer == new.signer
        assert old.key_id == old.cert.key_id == new.key_id == new.cert.key_id


def test_a_root_does_not_end_with_what_another_one_signed_for_it() -> None:
    """In its own chain, and below it; between them and the root, all count."""
    root, other = make_root(), make_root(ca_spec("other"))
    cross = make_sub(with_life(other, timedelta(days=100)), ca_spec(), key=root.key_pem)
    known = cross.cert_pem + other.cert_pem
    whole = {"privkey.pem": root.key_pem, "cert.pem": root.cert_pem, "chain.pem": known}
    facts = set_facts(SetName.at(NOW), whole)
    assert (facts.problem, facts.chain_end) == ("", None)
    assert facts.cert
    assert facts.signer == facts.cert.identity
    sub = make_sub(root)
    leaf = make_leaf(sub)
    ends = [load_cert(one.cert_pem).not_valid_after_utc for one in (sub, cross)]
    below = {"cert.pem": leaf.cert_pem, "chain.pem": leaf.chain_pem + known}
    assert set_facts(SetName.at(NOW), below).chain_end == ends[0]
    instead = {"cert.pem": leaf.cert_pem, "chain.pem": sub.cert_pem + known}
    assert set_facts(SetName.at(NOW), instead).chain_end == min(ends)
