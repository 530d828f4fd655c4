"""What the site's own CA signs: how long it lives, and for whose mail it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stand.conf import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


APPLE = (
    "days, example.com/web for one: Apple's devices refuse a server's certificate of more than 825 "
    "(https://support.apple.com/HT210176)"
)


def _life(tree: Tree, ca: str, days: int) -> None:
    path = tree.path(f"ca/{ca}")
    tree.write(f"ca/{ca}", path.read_text() + f"[CA]\n    sign_end_days = {days}\n")


def test_a_life_that_apples_devices_refuse(tree: Tree) -> None:
    _life(tree, "my-int", 826)
    assert tree.warnings() == [
        f"ca/my-int:9: CA.sign_end_days: what my-int signs lives 826 {APPLE}; "
        "write 825 or less; they are renewed in time"
    ]


@pytest.mark.parametrize(("ours", "above"), [(825, 3650), (3650, 825), (90, 90)])
def test_nothing_outlives_its_signer(tree: Tree, ours: int, above: int) -> None:
    _life(tree, "my-int", ours)
    _life(tree, "my-root", above)
    assert tree.warnings() == []


def test_a_root_that_signs_servers_lives_long_itself(tree: Tree) -> None:
    tree.change("example.com/web", "my-int", "my-root")
    assert tree.warnings() == [
        f"ca/my-root: CA.sign_end_days: what my-root signs lives 3650 {APPLE}; "
        "sign servers' certificates by a CA below it, which has a sign_end_days of 825 or less"
    ]


@pytest.mark.parametrize(
    ("usages", "warned"),
    [("", True), ("'serverAuth'", True), ("'clientAuth'", False), ("'emailProtection'", False)],
)
def test_only_certificates_for_servers_are_meant(tree: Tree, usages: str, warned: bool) -> None:
    _life(tree, "my-int", 900)
    tree.change("example.com/web", "    sans", f"    ext_key_usage = [{usages}]\n    sans")
    assert bool(tree.warnings()) == warned


def test_an_address_that_nobody_would_find(tree: Tree) -> None:
    tree.change("example.com/web", "    sans", "    email = 'me@example.com'\n    sans")
    assert tree.warnings() == [
        "example.com/web:8: X509.email: 'me@example.com' is only put into the subject, where mail "
        "programs do not look; add 'emailProtection' to ext_key_usage if the certificate is for "
        "mail, so that it is in the subjectAltName too; otherwise remove it"
    ]
    tree.change(
        "example.com/web", "    email", "    ext_key_usage = ['emailProtection']\n    email"
    )
    assert tree.warnings() == []
    tree.change("example.com/web", "    ext_key_usage = ['emailProtection']\n", "")
    tree.change("example.com/web", "my-int", "le-dns")  # the contact for its CA
    assert tree.warnings() == []


@pytest.mark.parametrize(
    ("email", "said"),
    [
        ("me", "'me' is not a mail address; write one address, such as 'somebody@example.com'"),
        ("me@", "is not a mail address"),
        ("Me <me@example.com>", "is not a mail address"),
        ("me@example.com, you@example.com", "is not a mail address"),
        ("me@exam_ple.com", "is not a mail address"),
        ("me@-a.example", "is not a mail address"),
        ("me@bücher.example", "write 'me@xn--bcher-kva.example', which is the same address"),
        ("jürgen@example.com", "characters that a certificate cannot hold; write an ASCII address"),
        ("a.b+c@mail.example.com", ""),
        ("root@localhost", ""),
    ],
)
def test_addresses_for_mail(tree: Tree, email: str, said: str) -> None:
    more = f"    ext_key_usage = ['emailProtection']\n    email = '{email}'\n    sans"
    tree.change("example.com/web", "    sans", more)
    if not said:
        assert tree.warnings() == []
        return
    (mistake,) = tree.mistakes()
    assert mistake.startswith("example.com/web:9: X509.email: ")
    assert said in mistake
