"""`[dh]`: which folders get which Diffie-Hellman groups, and every mistake in it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.config.model import DhOptions
from sslmd.core.dh import DhGroup
from tests.stand.conf import MAIN, WEB, Tree

CHOICE = "write one of ffdhe8192, ffdhe6144, ffdhe4096, ffdhe3072, ffdhe2048, or 2048 to 8192 bits"
LINE = MAIN.count("\n") + 2


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def with_dh(tree: Tree, *lines: str, before: str = "") -> Tree:
    tree.write("ssl-mgr.conf", f"{MAIN}{before}[dh]\n" + "".join(f"{line}\n" for line in lines))
    return tree


def test_without_the_table_nothing_is_asked_for(tree: Tree) -> None:
    assert tree.load().dh == DhOptions(())
    assert not tree.load().dh.groups


@pytest.mark.parametrize("every", ["'ALL'", "['*']", "['example.com', 'ALL']", "'EXAMPLE.com.'"])
def test_every_group_but_the_ca(tree: Tree, every: str) -> None:
    config = with_dh(tree, f"groups = {every}").load()
    assert config.dh == DhOptions(("example.com",), (DhGroup(8192),), timedelta(days=120))
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("params", "groups"),
    [
        ("'ffdhe2048'", (DhGroup(2048),)),
        ("4096", (DhGroup(4096, own=True),)),
        ("['4096', 'ffdhe4096', 4096]", (DhGroup(4096, own=True), DhGroup(4096))),
    ],
)
def test_names_and_sizes(tree: Tree, params: str, groups: tuple[DhGroup, ...]) -> None:
    with_dh(tree, "groups = 'ALL'", f"params = {params}", "max_age = 30.5")
    assert tree.load().dh == DhOptions(("example.com",), groups, timedelta(days=30.5))


MISTAKES = [
    ("groups = ['exmaple.com']", "there is no group exmaple.com; did you mean 'example.com'?"),
    ("groups = ['a..b']", "'a..b' has an empty label; write a domain or 'ALL'"),
    ("groups = ['ca']", "no server uses the certificates of group ca; leave it out"),
    ("groups = [1]", "1 is not a text; expected: list of groups, or 'ALL'"),
    ("groups = 1", "1 is not a list; expected: list of groups, or 'ALL'"),
    ("params = ['ffdhe1024']", f"'ffdhe1024' is no Diffie-Hellman group; {CHOICE}"),
    ("params = [1024]", f"1024 is no Diffie-Hellman group; {CHOICE}"),
    ("params = 16385", f"16385 is no Diffie-Hellman group; {CHOICE}"),
    ("params = ['2048', true]", f"true is no Diffie-Hellman group; {CHOICE}"),
    ("params = [4096.0]", f"4096.0 is no Diffie-Hellman group; {CHOICE}"),
    ("params = {a = 1}", f"a table is no Diffie-Hellman group; {CHOICE}"),
    ("params = []", "no Diffie-Hellman group is named; leave it out, or write ['ffdhe8192']"),
    ("max_age = '120'", "'120' is not a number; expected: days, 1 to 3650"),
    ("max_age = 0", "0 is too small; expected: days, 1 to 3650"),
]


@pytest.mark.parametrize(("line", "text"), MISTAKES)
def test_mistakes(tree: Tree, line: str, text: str) -> None:
    key = line.partition(" ")[0]
    groups = [] if key == "groups" else ["groups = 'ALL'"]
    with_dh(tree, line, *groups)
    assert tree.mistakes() == [f"ssl-mgr.conf:{LINE}: dh.{key}: {text}"]


def test_the_groups_have_to_be_named(tree: Tree) -> None:
    text = "it is missing; add groups = … (list of groups, or 'ALL')"
    assert with_dh(tree).mistakes() == [f"ssl-mgr.conf:{LINE - 1}: dh.groups: {text}"]
    assert with_dh(tree, "groups = []").warnings() == [
        f"ssl-mgr.conf:{LINE}: dh.groups: no group is named, so nothing is done; "
        "write groups = ['ALL'], or remove the table"
    ]


def test_one_table_and_no_other(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", f"{MAIN}[[dh]]\ngroups = ['ALL']\n")
    text = "a list is not a table; expected: a table"
    assert tree.mistakes() == [f"ssl-mgr.conf:{LINE - 1}: dh: {text}"]


def test_a_group_that_is_not_active_is_left_alone(tree: Tree) -> None:
    asleep = "[[groups]]\ndomain = 'example.net'\nservices = ['ALL']\nactive = false\n"
    with_dh(tree, "groups = ['example.net', 'example.com']", before=asleep)
    assert tree.load().dh.groups == ("example.com",)
    assert tree.warnings() == [
        f"ssl-mgr.conf:{LINE + 4}: dh.groups: group example.net is not active, and so left alone; "
        "leave it out, or make it active"
    ]


def test_a_group_without_a_folder_is_told_once(tree: Tree) -> None:
    lost = "[[groups]]\nactive = true\ndomain = 'example.net'\nservices = ['ALL']\n"
    with_dh(tree, "groups = ['example.net']", before=lost)
    (mistake,) = tree.mistakes()
    assert "groups.domain: there is no folder" in mistake


def test_keys_that_are_not_known(tree: Tree) -> None:
    assert with_dh(tree, "groups = 'ALL'", "param = ['ffdhe2048']").warnings() == [
        f"ssl-mgr.conf:{LINE + 1}: dh.param: this key is not known here and has no effect; "
        "did you mean 'params'?"
    ]


@pytest.mark.parametrize(
    ("name", "services"),
    [("dh", "['dh', 'web']"), ("dh", "['ALL']"), ("tlsa.example.com", "['ALL']")],
)
def test_no_service_has_the_name_of_what_stands_beside_it(
    tree: Tree, name: str, services: str
) -> None:
    """Whether there is `[dh]` or not: `sslm-dhparm` needs no configuration."""
    tree.write(f"example.com/{name}", WEB.replace("service = 'web'", f"service = '{name}'"))
    tree.write("ssl-mgr.conf", MAIN.replace("services = ['web']", f"services = {services}"))
    what = "folder of the group is for Diffie-Hellman groups"
    if name != "dh":
        what = "file of the group is for TLSA records"
    assert tree.mistakes() == [
        f"example.com/{name}:3: service: '{name}' cannot name a service: that {what}; "
        "give the file and the service another name"
    ]
