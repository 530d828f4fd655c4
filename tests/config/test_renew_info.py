"""`[renew_info]` of ssl-mgr 7: when to renew, by how long a certificate lives."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.config.model import Config
from sslmd.core.names import CertId
from sslmd.core.renewal import usual_lead
from sslmd.core.spec import Timing
from tests.stand.conf import MAIN, Tree

WEB = CertId("example.com", "web")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def with_info(tree: Tree, *lines: str, globals: str = "") -> None:  # noqa: A002
    main = MAIN.replace("    verb = true\n", f"    verb = true\n{globals}")
    tree.write("ssl-mgr.conf", f"{main}[renew_info]\n" + "".join(f"{one}\n" for one in lines))


def timing(config: Config) -> Timing:
    return config.services[WEB].timing


def asked(timing: Timing, life: float) -> tuple[float, float]:
    lead, spread = timing.asked(timedelta(days=life))
    return round(lead / timedelta(days=1), 3), round(spread / timedelta(days=1), 3)


# What ssl-mgr 7.8.1 itself answers for such lives.
@pytest.mark.parametrize(
    ("lines", "life", "lead", "spread"),
    [
        ([], 0.5, 0.375, 0),
        ([], 1, 0.5, 0),
        ([], 160 / 24, 3.0, 0),
        ([], 10, 5, 0),
        ([], 45, 10, 0),
        ([], 67.5, 22.5, 0),
        ([], 90, 30, 0),
        ([], 100, 35, 1.667),
        ([], 120, 45, 5),
        ([], 300, 60, 0),
        ([], 3650, 730, 0),
        (["target_90 = 20.0", "rand_adj_90 = 3"], 90, 20, 3),
        (["target_90 = 20.0", "rand_adj_90 = 3"], 75, 20, 1.5),
        (["target_90 = 20.0", "rand_adj_90 = 3"], 45, 10, 0),
        (["target_6 = 2.0"], 6, 2, 0),
        (["target_6 = 2.0"], 8, 3.5, 0),
        (["target_365 = 73", "rand_adj_365 = 7"], 730, 146, 14),
        (["'target_6.5' = 3"], 6.5, 3, 0),
        (["target_0 = 0.5"], 0.5, 0.5, 0),
    ],
)
def test_a_straight_line_between_the_points(
    tree: Tree, lines: list[str], life: float, lead: float, spread: float
) -> None:
    with_info(tree, *lines)
    assert asked(timing(tree.load()), life) == (lead, spread)


def test_without_the_table_one_number_counts_for_every_life(tree: Tree) -> None:
    assert asked(timing(tree.load()), 3650) == (30, 0)


def test_the_old_names_are_those_for_90_days(tree: Tree) -> None:
    old = "    renew_expire_days = 25\n    renew_expire_days_spread = 2\n"
    with_info(tree, "target_45 = 12", globals=old)
    config = tree.load()
    assert (asked(timing(config), 90), asked(timing(config), 45)) == ((25, 2), (12, 0))
    assert [tree.short(str(one)) for one in config.warnings] == [
        "ssl-mgr.conf:3: globals.renew_expire_days: it counts as target_90 of [renew_info], as "
        "ssl-mgr's manual has it; ssl-mgr 7 itself does not read it beside that table, and renews "
        "at 30 days; write target_90 = 25 or target_90 = 30 in [renew_info], and remove it"
    ]
    with_info(tree, "target_90 = 28", "rand_adj_90 = 1", globals=old)
    config = tree.load()
    assert asked(timing(config), 90) == (28, 1)
    (warning,) = config.warnings
    assert warning.key == "globals.renew_expire_days"
    assert warning.problem == "it has no effect: target_90 of [renew_info] counts, which is 28"


def test_a_service_may_have_its_own_days(tree: Tree) -> None:
    with_info(tree, "target_45 = 12")
    tree.change("example.com/web", "'my-int'", "'my-int'\nrenew_expire_days = 30")
    assert tree.warnings() == []
    tree.change("example.com/web", "= 30", "= 20")
    config = tree.load()
    assert (asked(timing(config), 90), asked(timing(config), 45)) == ((20, 0), (12, 0))
    assert [tree.short(str(one)) for one in config.warnings] == [
        "example.com/web:5: renew_expire_days: beside [renew_info] it counts as target_90 of this "
        "certificate, 20 in place of 30; ssl-mgr 7 does not read it; remove it to renew as ssl-mgr "
        "7 did, or write 30"
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("target_90 = '30'", "target_90: '30' is not a number; expected: days, 0 to 3650"),
        ("target_90 = true", "target_90: true is not a number; expected: days, 0 to 3650"),
        ("target_90 = -1", "target_90: -1 is too small; expected: days, 0 to 3650"),
        ("rand_adj_2 = 4000", "rand_adj_2: 4000 is too large; expected: days, 0 to 3650"),
        ("target_2 = nan", "target_2: nan is not a number that can be used; expected"),
        ("target_2 = [1]", "target_2: a list is not a number; expected"),
    ],
)
def test_values_that_cannot_be_used(tree: Tree, line: str, said: str) -> None:
    with_info(tree, line)
    (mistake,) = tree.mistakes()
    assert mistake.startswith(f"ssl-mgr.conf:{MAIN.count(chr(10)) + 2}: renew_info.{said}")


def test_keys_that_are_none_of_it(tree: Tree) -> None:
    with_info(tree, "target = 1", "target_x = 1", "target_N = 2", "renew_expire_days = 3")
    told = tree.warnings()
    assert len(told) == 4
    assert all("write target_" in one for one in told)
    assert "here it is called target_90, and so it has no effect; write target_90" in told[3]


def test_a_table_that_is_none(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", "renew_info = 5\n" + MAIN)
    assert tree.mistakes() == ["ssl-mgr.conf:1: renew_info: 5 is not a table; expected: a table"]


def test_a_spread_of_more_than_the_lead(tree: Tree) -> None:
    with_info(tree, "target_90 = 10", "rand_adj_90 = 12")
    assert tree.warnings() == [
        f"ssl-mgr.conf:{MAIN.count(chr(10)) + 3}: renew_info.rand_adj_90: 12 days are more than "
        "target_90, which is 10; 10 is used; write 10 or less"
    ]


def test_limits_that_make_a_difference_are_told(tree: Tree) -> None:
    """What is asked and what is done are as far apart as the message says."""
    with_info(tree)
    life = "[X509]\n    CN = 'Intermediate'\n[CA]\nsign_end_days = "
    tree.change("ca/my-int", "[X509]\n    CN = 'Intermediate'\n", f"{life}120\n")
    line = MAIN.count(chr(10)) + 1
    assert tree.warnings() == [
        f"ssl-mgr.conf:{line}: renew_info: example.com/web: with a life of 120 days it is renewed "
        "40 days before it expires, later than with ssl-mgr 7, which has 45: a third of the life "
        "is the most (half of it, under 10 days); write target_120 = 40, which says the same"
    ]
    assert usual_lead(timedelta(120), timing(tree.load())) == timedelta(40)
    with_info(tree, "target_120 = 40")
    assert tree.warnings() == []
    with_info(tree, "target_120 = 0")
    (warning,) = tree.warnings()
    assert (
        "renewed 0.1 days before it expires, earlier than with ssl-mgr 7, which has 0:" in warning
    )
    tree.change("ca/my-int", "= 120", "= 45")
    with_info(tree)
    assert tree.warnings() == []


def test_of_a_ca_that_is_asked_days_are_what_is_left(tree: Tree) -> None:
    with_info(tree, "target_45 = 20")
    tree.change("ca-info.conf", "'dns-01'", "'dns-01'\nca_preferred_acme_profile = ''")
    tree.change("example.com/web", "'my-int'", "'le-dns'")
    (warning,) = tree.warnings()
    assert "it is, where its CA suggests no time, renewed 15 days before it expires" in warning
    tree.change("example.com/web", "'le-dns'", "'le-dns'\nrenew_by = 'days'")
    (warning,) = tree.warnings()
    assert "it is renewed 15 days before it expires" in warning


def test_windows_speak_of_the_table(tree: Tree) -> None:
    with_info(tree, "target_90 = 3")
    tree.change("example.com/web", "'my-int'", "'my-int'\nroll_window = ['Sat 02:00-05:00 UTC']")
    (mistake,) = tree.mistakes()
    assert mistake.endswith("or a larger target in [renew_info]")


def test_a_public_ca_is_asked_for_what_ssl_mgr_asked(tree: Tree) -> None:
    with_info(tree)
    said = (
        "ssl-mgr 7 asks for the profile tlsserver where none is named; here the CA chooses; write "
        "ca_preferred_acme_profile = 'tlsserver' to keep that, or '' for the CA's choice"
    )
    assert [one for one in tree.warnings() if "profile" in one] == []  # nobody uses it
    tree.change("example.com/web", "'my-int'", "'le-dns'")
    assert tree.warnings() == [f"ca-info.conf:7: le-dns: {said}"]
    tree.change("ca-info.conf", "'dns-01'", "'dns-01'\nca_preferred_acme_profile = ''")
    assert tree.warnings() == []
