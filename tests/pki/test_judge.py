"""What is wrong with a path of certificates; OpenSSL's strict mode is asked as well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import NameOID

from sslmd.core.errors import Permanent
from sslmd.pki.judge import CONSTRAINTS, MAX_LENGTH, RULES, Terms, find_path, judge
from sslmd.pki.name_constraints import SMTP_UTF8_MAILBOX
from sslmd.pki.parsed import Parsed, Use, parse
from tests.stand.odd_certs import (
    AKI,
    BC,
    EKU,
    KU,
    NC,
    SAN,
    SKI,
    Extensions,
    Made,
    key,
    make,
    name,
    strict,
    usage,
    weakly_signed,
)
from tests.stand.samples import NOW, needs_openssl, openssl

TERMS = Terms(NOW, Use.SERVER)
ROOT = make("Root", ca=True)
DNS, IP = x509.DNSName, x509.IPAddress
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\5\0")
POISON = x509.PrecertPoison()


def parsed(*certs: Made) -> list[Parsed]:
    return [parse(one.der) for one in certs]


def found(
    path: Sequence[Made], roots: Sequence[Made] = (ROOT,), terms: Terms = TERMS
) -> list[str] | None:
    """Return what is wrong with the best path to the roots, None if there is none."""
    leaf, *pool = parsed(*path)
    best = find_path(leaf, pool, parsed(*roots), terms)
    return None if best is None else [f"{one.check}: {one.text}" for one in best[1]]


def with_leaf(extensions: Extensions) -> list[Made]:
    return [make("www.example.com", ROOT, extensions)]


def with_ca(extensions: Extensions, subject: str = "Sub") -> list[Made]:
    sub = make(subject, ROOT, extensions, ca=True)
    return [make("www.example.com", sub), sub]


def with_root(extensions: Extensions) -> list[Made]:
    root = make("Odd", None, extensions, ca=True)
    return [make("www.example.com", root), root]


WRONG: list[tuple[str, list[Made], str]] = [
    ("unknown critical, leaf", with_leaf({type(UNKNOWN): (UNKNOWN, True)}),
     "rules: the certificate: it has the critical extension 1.3.6.1.4.1.55555.1, which is not"),
    ("unknown critical, CA", with_ca({type(UNKNOWN): (UNKNOWN, True)}),
     "rules: certificate 1, 'CN=Sub': it has the critical extension 1.3.6.1.4.1.55555.1"),
    ("unknown critical, root", with_root({type(UNKNOWN): (UNKNOWN, True)}),
     "rules: certificate 1, 'CN=Odd': it has the critical extension"),
    ("precertificate", with_leaf({type(POISON): (POISON, True)}), "it has the critical extension"),
    ("no key id of the issuer, leaf", with_leaf({AKI: None}), "no authorityKeyIdentifier"),
    ("no key id of the issuer, CA", with_ca({AKI: None}), "no authorityKeyIdentifier"),
    ("no key id, CA", with_ca({SKI: None}), "it has no subjectKeyIdentifier (RFC 5280 §4.2.1.2)"),
    ("no key id, root", with_root({SKI: None}), "it has no subjectKeyIdentifier"),
    ("critical AKI", with_leaf({AKI: (AKI.from_issuer_public_key(ROOT.key.public_key()), True)}),
     "its authorityKeyIdentifier is critical, which it must not be (RFC 5280 §4.2.1.1)"),
    ("critical SKI", with_ca({SKI: (SKI(b"1234"), True)}), "its subjectKeyIdentifier is critical"),
    ("empty name of a CA", with_ca({}, subject=""), "its subject is empty (RFC 5280 §4.1.2.6)"),
    ("basicConstraints not critical", with_ca({BC: (BC(True, None), False)}),
     "its basicConstraints are not critical (RFC 5280 §4.2.1.9)"),
    ("the same, root", with_root({BC: (BC(True, None), False)}), "not critical (RFC 5280 §4.2.1.9"),
    ("CA without keyUsage", with_ca({KU: None}), "it has no keyUsage (RFC 5280 §4.2.1.3)"),
    ("CA that may not sign", with_ca({KU: (usage("crl_sign"), True)}), "may not sign certificates"),
    ("no CA above", with_ca({BC: (BC(False, None), True)}), "is not the certificate of a CA"),
    ("nothing about CAs above", with_ca({BC: None}), "is not the certificate of a CA"),
    ("leaf that may sign", with_leaf({KU: (usage("digital_signature", "key_cert_sign"), True)}),
     "its keyUsage has keyCertSign, but it is no CA's"),
    ("no subject, names not critical",
     [make("", ROOT, {SAN: (SAN([DNS("www.example.com")]), False)})],
     "its subject is empty, but its subjectAltName is not critical (RFC 5280 §4.2.1.6)"),
    ("for clients", with_leaf({EKU: (EKU([Eku.CLIENT_AUTH]), False)}),
     "it is not for servers: its extendedKeyUsage is clientAuth (RFC 5280 §4.2.1.12)"),
    ("CA for mail", with_ca({EKU: (EKU([Eku.EMAIL_PROTECTION]), False)}),
     "it may not issue for servers: its extendedKeyUsage is emailProtection"),
    ("signs code by its keyUsage", with_leaf({KU: (usage("content_commitment"), True)}),
     "its keyUsage allows no use in TLS"),
    ("short RSA key", [make("www.example.com", ROOT, own=key("short", "rsa1024"))],
     "its RSA key has 1024 bits; at least 2048 are needed"),
    ("short EC key", [make("www.example.com", ROOT, own=key("short", "p192"))],
     "its EC key has 192 bits; at least 224 are needed"),
    ("expired", [make("www.example.com", ROOT, end=NOW - timedelta(seconds=1))], "expired on"),
    ("not yet", [make("www.example.com", ROOT, begin=NOW + timedelta(seconds=1))], "is not valid"),
]  # fmt: skip
STRICTER: list[tuple[str, list[Made], str]] = [
    ("a CA as a server", [make("www.example.com", ROOT, {
        SAN: (SAN([DNS("www.example.com")]), False),
        KU: (usage("digital_signature", "key_cert_sign"), True)}, ca=True)],
     "it is not for servers: it is the certificate of a CA"),
    ("limits of names in a leaf", with_leaf({NC: (NC([DNS("example.com")], None), True)}),
     "it has nameConstraints, but it is no CA's (RFC 5280 §4.2.1.10)"),
    ("DSA", [make("www.example.com", ROOT, own=key("old", "dsa"))], "of the kind DSA"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "said"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG]
)
@needs_openssl
def test_what_openssl_refuses_is_refused(path: list[Made], said: str, tmp_path: Path) -> None:
    roots = [path[-1]] if path[-1].subject == name("Odd") else [ROOT]
    problems = found(path, roots)
    assert problems is not None
    assert any(said in one for one in problems), problems
    assert strict(tmp_path, path, roots, "-purpose", "sslserver")


@pytest.mark.parametrize(
    ("path", "said"), [one[1:] for one in STRICTER], ids=[one[0] for one in STRICTER]
)
def test_what_the_manual_says_beyond_openssl(path: list[Made], said: str) -> None:
    problems = found(path)
    assert problems is not None
    assert any(said in one for one in problems), problems


RIGHT: list[tuple[str, list[Made]]] = [
    ("direct", with_leaf({})),
    ("below a CA", with_ca({})),
    ("unknown, not critical", with_leaf({type(UNKNOWN): (UNKNOWN, False)})),
    ("for servers and clients", with_leaf({EKU: (EKU([Eku.CLIENT_AUTH, Eku.SERVER_AUTH]), True)})),
    ("no usage said", with_leaf({EKU: None, KU: None, BC: None})),
    ("CA for servers", with_ca({EKU: (EKU([Eku.SERVER_AUTH]), False)})),
    ("root without the key id of its issuer", with_root({AKI: None})),
    ("no subject, names critical", [make("", ROOT)]),
]


@pytest.mark.parametrize("path", [one[1] for one in RIGHT], ids=[one[0] for one in RIGHT])
@needs_openssl
def test_what_openssl_takes_is_taken(path: list[Made], tmp_path: Path) -> None:
    roots = [path[-1]] if path[-1].subject == name("Odd") else [ROOT]
    assert found(path, roots) == []
    assert not strict(tmp_path, path, roots, "-purpose", "sslserver")


@needs_openssl
def test_signatures_that_can_be_forged(tmp_path: Path) -> None:
    root = make("Odd", ca=True, own=key("Odd", "rsa2048"))
    fine = make("www.example.com", root)
    assert found([fine], [root]) == []
    for digest in (hashes.SHA1(), hashes.MD5()):
        forged = weakly_signed(fine, root, digest)
        assert found([forged], [root]) != []
        assert strict(tmp_path, [forged], [root])
        # Nobody looks at the signature of what is trusted as it is.
        assert found([fine], [weakly_signed(root, root, digest)]) == []
    assert found([weakly_signed(fine, root, hashes.SHA1())], [root]) == [
        "rules: the certificate: its signature is made with SHA1, which can be forged"
    ]


def test_rules_for_servers_are_for_servers_alone() -> None:
    path = with_leaf({EKU: (EKU([Eku.CLIENT_AUTH]), False)})
    assert found(path, terms=Terms(NOW, Use.ANY)) == []
    assert judge(parsed(ROOT), Terms(NOW, Use.ANY)) == []


def test_a_certificate_alone_need_not_be_as_a_ca_makes_it() -> None:
    """RFC 6818 §2; but what no client can work with stays wrong."""
    bare = make("www.example.com", None, {AKI: None, SKI: None, BC: None})
    assert judge(parsed(bare), TERMS) == []
    odd = make("www.example.com", None, {type(UNKNOWN): (UNKNOWN, True)})
    assert [one.check for one in judge(parsed(odd), TERMS)] == [RULES]


def test_the_key_id_of_another_issuer_is_reported() -> None:
    """As ssl-mgr's CAs have it: their own key id in place of their issuer's."""
    other = AKI.from_issuer_public_key(key("other").public_key())
    sub = make("Sub", ROOT, {AKI: (other, False)}, ca=True)
    problems = found([make("www.example.com", sub), sub])
    assert problems is not None
    assert (
        "chain: certificate 2 did not sign certificate 1: the issuer has the key id" in problems[0]
    )


def test_a_serial_number_of_another_issuer_is_reported() -> None:
    issuer = [x509.DirectoryName(ROOT.subject)]
    own = SKI.from_public_key(ROOT.key.public_key()).digest
    for serial, right in ((ROOT.cert.serial_number, True), (4711, False)):
        leaf = make("www.example.com", ROOT, {AKI: (AKI(own, issuer, serial), False)})
        assert (found([leaf]) == []) == right


# --- paths --------------------------------------------------------------------------------------


def cross(one: Made, above: Made, **more: object) -> Made:
    """Return the certificate of a CA as another one signs it."""
    return make(one.subject, above, ca=True, own=one.key, **more)  # type: ignore[arg-type]


def test_an_expired_cross_signed_root_behind_a_trusted_one_does_no_harm(tmp_path: Path) -> None:
    old = make("Old", ca=True, end=NOW - timedelta(days=1))
    sub = make("Sub", ROOT, ca=True)
    chain = [make("www.example.com", sub), sub, cross(ROOT, old, end=NOW - timedelta(hours=1)), old]
    assert found(chain) == []
    assert found(chain, [old, ROOT]) == []
    problems = found(chain, [old])
    assert problems is not None
    assert any("expired on" in one for one in problems)


def test_all_ways_are_tried() -> None:
    """By what is in date, what may issue, and what limits allow; in whatever order."""
    sub = make("Sub", ROOT, ca=True)
    leaf = make("www.example.com", sub)
    strange = NC([DNS("other.example")], None)
    others = [
        cross(sub, ROOT, end=NOW - timedelta(hours=1)),
        make("Sub", ROOT, {BC: (BC(False, None), True)}, own=sub.key),
        make("Sub", ROOT, {NC: (strange, True)}, ca=True),
        make("Sub", ca=True),
        make("Sub", ROOT, ca=True, own=key("Sub of another")),
    ]
    for pool in ([*others, sub], [sub, *others]):
        assert found([leaf, *pool]) == []
    assert found([leaf, *others])


def test_cas_that_sign_each_other_in_circles() -> None:
    first, second = make("First", ca=True), make("Second", ca=True)
    circle = [cross(first, second), cross(second, first)]
    leaf = make("www.example.com", first)
    assert found([leaf, *circle]) is None
    assert found([leaf, *circle, cross(second, ROOT)]) == []


def test_the_work_is_bounded() -> None:
    """Forty namesakes that all signed each other: more ways than anybody can try."""
    keys = [key(f"namesake {number}") for number in range(40)]
    same = make("Namesake", ca=True, own=keys[0])
    pool = [
        make("Namesake", Made(same.subject, signer, same.cert), {AKI: None}, ca=True, own=own)
        for own in keys
        for signer in keys[:12]
    ]
    with pytest.raises(Permanent, match="more than"):
        found([make("www.example.com", pool[0], {AKI: None}), *pool])


def test_too_long_is_too_long() -> None:
    chain = [ROOT]
    for number in range(MAX_LENGTH):
        chain.append(make(f"Level {number}", chain[-1], ca=True, own=key("Level")))
    assert found([make("www.example.com", chain[1]), *chain]) == []
    assert found([make("www.example.com", chain[-1]), *reversed(chain)]) is None


def test_names_are_compared_without_case_and_blanks() -> None:
    """RFC 5280 §7.1."""
    loud = make(name("My  ROOT"), ca=True)
    leaf = make("www.example.com", loud, issuer=name(" my root"))
    assert found([leaf], [loud]) == []
    forged = make("www.example.com", issuer=name(" my root"))
    assert found([forged], [loud]) is None


def test_levels_of_cas() -> None:
    root = make("Odd", None, {BC: (BC(True, 0), True)}, ca=True)
    sub = make("Sub", root, ca=True)
    assert found([make("www.example.com", root)], [root]) == []
    problems = found([make("www.example.com", sub), sub], [root])
    assert problems is not None
    assert "allows 0 levels of CAs below itself, here are 1" in problems[0]
    # §6.1.4 (l): a CA that changes its own key is no level.
    renewed = make(root.subject, root, ca=True, own=key("renewed"))
    assert found([make("www.example.com", renewed), renewed], [root]) == []


def test_an_intermediate_can_be_what_is_trusted() -> None:
    sub = make("Sub", make("Nobody", ca=True), ca=True)
    assert found([make("www.example.com", sub)], [sub]) == []
    assert found([sub], [sub], Terms(NOW, Use.ANY)) == []


def test_the_last_second_counts() -> None:
    leaf = make("www.example.com", ROOT, end=NOW)
    for late, right in ((0, True), (0.9, True), (1, False)):
        terms = Terms(NOW + timedelta(seconds=late), Use.SERVER)
        assert (found([leaf], terms=terms) == []) == right


# --- names --------------------------------------------------------------------------------------

NET = IP(ip_network("192.0.2.0/25"))
MAIL = x509.RFC822Name
URI = x509.UniformResourceIdentifier


def mailbox(text: str) -> x509.OtherName:
    """Return an SmtpUTF8Mailbox (RFC 9598)."""
    encoded = text.encode()
    return x509.OtherName(SMTP_UTF8_MAILBOX, bytes((0x0C, len(encoded))) + encoded)


@pytest.mark.parametrize(
    ("limits", "names", "said"),
    [
        (NC(None, [DNS("secret.example.com")]), [DNS("*.example.com")],
         "exclude 'secret.example.com', which the wildcard '*.example.com' stands for too"),
        (NC(None, [DNS("example.com")]), [DNS("*.example.com")], "exclude '*.example.com'"),
        (NC(None, [DNS("a.b.example.com")]), [DNS("*.example.com")], ""),
        (NC(None, [DNS("b.a.example.com")]), [DNS("*.a.example.com")], "stands for too"),
        (NC([DNS("www.example.com")], None), [DNS("*.example.com")],
         "do not permit all the hosts that the wildcard '*.example.com' stands for"),
        (NC([DNS("example.com")], None), [DNS("*.example.com"), DNS("a.B.Example.com")], ""),
        (NC([DNS("example.com")], None), [DNS("notexample.com")], "do not permit"),
        (NC([DNS(".example.com")], None), [DNS("a.example.com")], ""),
        (NC([DNS(".example.com")], None), [DNS("example.com")], "do not permit 'example.com'"),
        (NC([DNS("a b.example.com")], None), [DNS("a.example.com")], "is no host name"),
        (NC([DNS("example.com")], None), [DNS("a..example.com")], "is no host name"),
        (NC([DNS("")], None), [DNS("a.example.com")], ""),
        (NC([NET], None), [IP(ip_address("192.0.2.1"))], ""),
        (NC([NET], None), [IP(ip_address("192.0.2.200"))], "do not permit '192.0.2.200'"),
        (NC([MAIL("example.com")], None), [MAIL("me@example.com")], ""),
        (NC([MAIL("example.com")], None), [MAIL("example.com")], "is no mail address"),
        (NC([MAIL("*@example.com")], None), [MAIL("me@example.com")], "do not permit"),
        (NC(None, [MAIL("example.com")]), [mailbox("jö@example.com")], "exclude 'jö@example.com'"),
        (NC([MAIL("xn--bcher-kva.example")], None), [mailbox("jö@bücher.example")], ""),
        (NC([MAIL("example.com")], None), [mailbox("jö")], "is no mail address"),
        (NC([URI("www.example.com")], None), [URI("https://192.0.2.1/")], "there is no host name"),
        (NC([x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))], None),
         [x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))], "names of this kind are not known"),
    ],
)  # fmt: skip
def test_name_constraints(
    limits: x509.NameConstraints, names: list[x509.GeneralName], said: str
) -> None:
    sub = make("Sub", ROOT, {NC: (limits, True)}, ca=True)
    path = [make("www.example.com", sub, {SAN: (SAN(names), False)}), sub, ROOT]
    problems = judge(parsed(*path), TERMS)
    assert [one.check for one in problems] == [CONSTRAINTS] * bool(said)
    assert not said or said in problems[0].text


def test_a_mail_address_in_the_subject_is_limited_too() -> None:
    sub = make("Sub", ROOT, {NC: (NC([MAIL("example.com")], None), True)}, ca=True)
    for address, right in (("me@example.com", True), ("me@example.net", False)):
        subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, address)])
        path = [make(subject, sub), sub, ROOT]
        assert (not judge(parsed(*path), TERMS)) == right


def test_subjects_are_limited_by_how_they_begin() -> None:
    ours, theirs = name("example"), name("other")
    sub = make("Sub", ROOT, {NC: (NC([x509.DirectoryName(ours)], None), True)}, ca=True)
    assert judge(parsed(make("EXAMPLE", sub), sub, ROOT), TERMS) == []
    assert judge(parsed(make(theirs, sub), sub, ROOT), TERMS)


def test_too_many_names_and_limits_are_not_compared() -> None:
    limits = NC([DNS(f"{number}.example.com") for number in range(600)], None)
    sub = make("Sub", ROOT, {NC: (limits, True)}, ca=True)
    names = SAN([DNS(f"{number}.example.com") for number in range(600)])
    problems = judge(parsed(make("www", sub, {SAN: (names, False)}), sub, ROOT), TERMS)
    assert "too many names" in problems[0].text


@needs_openssl
def test_a_curve_that_is_described_is_refused(tmp_path: Path) -> None:
    """RFC 5480 §2.1.1: implicit and explicit curves are not for certificates."""
    for how in ("explicit", "named_curve"):
        made = openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-pkeyopt", f"ec_param_enc:{how}", "-keyout", tmp_path / "key.pem", "-subj", "/CN=x",
        )  # fmt: skip
        der = x509.load_pem_x509_certificate(made).public_bytes(Encoding.DER)
        problems = judge([parse(der)], Terms(parse(der).begin, Use.ANY))
        assert ["describes a curve" in one.text for one in problems] == [True] * (how == "explicit")
