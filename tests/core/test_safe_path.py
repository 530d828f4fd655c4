"""Who else has power over what lies at a path: the rule alone."""

from __future__ import annotations

import stat

import pytest

from sslmd.core.safe_path import Named, PathEntry, danger, leads_away, readable, trust_of

ROOT = trust_of(0, 0)
OWN = trust_of(500, 600)


def folder(mode: int, uid: int = 0, gid: int = 0, acl: Named | None = None) -> PathEntry:
    return PathEntry("/x", uid, gid, stat.S_IFDIR | mode, acl)


def link(uid: int) -> PathEntry:
    return PathEntry("/x/l", uid, 0, stat.S_IFLNK | 0o777)


@pytest.mark.parametrize(
    "entry",
    [
        folder(0o755),
        folder(0o777 & ~0o022),
        folder(0o775),  # of root's group
        folder(0o775, gid=0, acl=Named(frozenset({0}))),
        folder(0o755, uid=0, gid=50),
        link(0),
    ],
)
def test_what_nobody_else_writes_is_safe(entry: PathEntry) -> None:
    assert danger(entry, ROOT) is None
    assert danger(entry, OWN) is None


def test_the_daemons_own_user_and_group_are_nobody_else() -> None:
    assert danger(folder(0o775, 500, 600), OWN) is None
    assert danger(folder(0o775, 500, 600), ROOT) is not None


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (
            folder(0o755, uid=1000, gid=50),
            "/x belongs to uid 1000, not to the daemon's user or root (uid 1000, gid 50, mode "
            "0755); look at how it got there, then run: chown root /x",
        ),
        (
            folder(0o757),
            "/x can be written by everybody (uid 0, gid 0, mode 0757); run: chmod o-w /x",
        ),
        (
            folder(0o1777),
            "/x can be written by everybody (uid 0, gid 0, mode 1777); run: chmod o-w /x",
        ),
        (
            folder(0o2775, gid=50),
            "/x can be written by gid 50 (uid 0, gid 50, mode 2775); run: chmod g-w /x",
        ),
        (
            folder(0o775, gid=50, acl=Named(own_group=True)),
            "/x can be written by gid 50 (uid 0, gid 50, mode 0775); run: chmod g-w /x",
        ),
        (
            folder(0o775, gid=50, acl=Named(frozenset({7, 0}), frozenset({8}), own_group=False)),
            "/x can be written by u:7, g:8 of its ACL (uid 0, gid 50, mode 0775); run: "
            "setfacl -x u:7,g:8 /x",
        ),
        (
            link(1000),
            "/x/l belongs to uid 1000, not to the daemon's user or root (uid 1000, gid 0, mode "
            "0777); look at how it got there, then run: chown -h root /x/l",
        ),
    ],
)
def test_who_writes_is_named_with_the_way_out(entry: PathEntry, text: str) -> None:
    assert str(danger(entry, ROOT)) == text


def test_a_user_of_its_own_is_named_in_the_way_out() -> None:
    assert str(danger(folder(0o755, uid=7), OWN)).endswith("run: chown 500 /x")


def test_the_mask_of_an_acl_counts() -> None:
    """Without the bits of the group nobody whom the ACL names may write."""
    assert danger(folder(0o755, acl=Named(frozenset({7}))), ROOT) is None


def test_a_group_that_is_meant() -> None:
    shared = folder(0o770, gid=50)
    assert danger(shared, ROOT) is not None
    assert danger(shared, ROOT.with_groups({50})) is None


def test_a_sticky_folder_of_roots_may_be_passed_and_is_no_place_to_work() -> None:
    tmp = folder(0o1777)
    assert danger(tmp, ROOT, sticky=True) is None
    assert danger(folder(0o1777, uid=7), ROOT, sticky=True) is not None
    assert danger(folder(0o777), ROOT, sticky=True) is not None


def test_a_link_counts_where_nobody_else_can_have_put_it() -> None:
    assert not leads_away(link(0), [folder(0o755)], ROOT)
    assert not leads_away(link(7), [folder(0o755)], ROOT)  # root moved it there
    assert not leads_away(link(0), [folder(0o1777)], ROOT)
    assert leads_away(link(7), [folder(0o1777)], ROOT)
    assert leads_away(link(0), [folder(0o775, gid=50)], ROOT)
    # Who writes above can have moved the folder of the link there.
    assert leads_away(link(0), [folder(0o777), folder(0o755)], ROOT)


@pytest.mark.parametrize(
    ("mode", "gid", "by_group", "chmod"),
    [
        (0o600, 50, False, ""),
        (0o400, 50, False, ""),
        (0o640, 50, True, ""),
        (0o640, 0, False, ""),
        (0o640, 50, False, "0600"),
        (0o644, 0, False, "0600"),
        (0o644, 50, True, "0640"),
        (0o644, 0, True, "0600"),
        (0o660, 50, True, ""),  # who writes is another question
    ],
)
def test_who_reads_a_secret(mode: int, gid: int, by_group: bool, chmod: str) -> None:
    found = readable(PathEntry("/k", 0, gid, stat.S_IFREG | mode), ROOT, by_group=by_group)
    if not chmod:
        assert found is None
    else:
        assert found is not None
        assert found.remedy == f"run: chmod {chmod} /k, and think of a new secret"


@pytest.mark.parametrize("by_group", [False, True])
def test_whom_an_acl_lets_read_a_secret_is_named(*, by_group: bool) -> None:
    acl = Named(frozenset({0, 7}), frozenset({8}), own_group=False)
    shared = PathEntry("/k", 0, 0, stat.S_IFREG | 0o640, readers=acl)
    assert readable(shared, ROOT, by_group=True) is None
    assert str(readable(shared, ROOT, by_group=False)) == (
        "/k can be read by u:7, g:8 of its ACL (uid 0, gid 0, mode 0640); run: "
        "setfacl -x u:7,g:8 /k, and think of a new secret"
    )
    masked = PathEntry("/k", 0, 0, stat.S_IFREG | 0o600, readers=acl)
    assert readable(masked, ROOT, by_group=by_group) is None
    open_to_all = PathEntry("/k", 0, 0, stat.S_IFREG | 0o644, readers=acl)
    kept = "0640" if by_group else "0600"
    assert f"run: chmod {kept} /k" in str(readable(open_to_all, ROOT, by_group=by_group))
