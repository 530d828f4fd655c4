"""Commands that are written for a shell, where none runs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.config.shell import expansions, operator
from tests.stand.conf import Tree

OPERATORS = [
    ("postmap /etc/postfix/sni && postfix reload", "&&"),
    ("a&&b", "&&"),
    ("a || b", "||"),
    ("a ; b", ";"),
    ("systemctl reload nginx;", ";"),
    ("a;b", ";"),
    ("a '' ;", ";"),
    ("a | logger", "|"),
    ("a |& logger", "|&"),
    ("a &", "&"),
    ("a > /dev/null", ">"),
    ("a >/dev/null 2>&1", ">"),
    ("a 2>&1", "2>&1"),
    ("a 2> x", "2>"),
    ("a >> x", ">>"),
    ("a &> x", "&>"),
    ("a < x", "<"),
    ("a << END", "<<"),
    ("kill $(cat /run/x.pid)", "$("),
    ('kill "$(cat /run/x.pid)"', "$("),
    ("kill `cat /run/x.pid`", "`"),
    ("sh -c 'a' && b", "&&"),
    ("curl http://localhost/reload;", ";"),
    ("curl http://localhost/?a=1&b=2 && b", "&&"),
    ("curl http://localhost/&", "&"),
]


@pytest.mark.parametrize(("line", "found"), OPERATORS)
def test_operators(line: str, found: str) -> None:
    assert operator(line) == found


@pytest.mark.parametrize(
    "line",
    [
        "",
        "/usr/bin/systemctl reload nginx",
        "sh -c 'a && b > /dev/null'",
        'bash -lc "a; b $(c) | d"',
        "systemd-run --wait /bin/sh -c 'a && b'",
        "curl 'http://localhost/?a=1&b=2'",
        "curl http://localhost/?a=1&b=2",
        "curl http://localhost/a;v=1",
        r"find /srv -exec chmod 640 {} \;",
        "grep -E 'a|b' x",
        'logger "a > b; c & d"',
        "tool --zone-file '/etc/bind/{zone}' {zones}",
        "/usr/bin/postmap -F lmdb:/etc/postfix/sni_maps",
        "tool -x=$ 100%",
    ],
)
def test_what_is_no_operator(line: str) -> None:
    assert operator(line) == ""


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ls $HOME", ["$HOME"]),
        ('ls "$HOME" ${X}', ["$HOME", "${X}"]),
        ("ls '$HOME'", []),
        (r"ls \$HOME", []),
        ('sh -c "ls $HOME"', []),
        ("ls ~/x ~", ["~"]),
        ("ls a~", []),
        ("cat *.pem", ["*"]),
        ("cat '*.pem'", []),
        ("curl http://localhost/*", []),
        ("a # the rest", ["#"]),
        ("a#b", []),
        ("tool 100$ x", []),
        ("kill $$", ["$$"]),
        ("not 'closed", []),
    ],
)
def test_what_a_shell_would_expand(line: str, found: list[str]) -> None:
    assert expansions(line) == found


@given(st.text(st.sampled_from("ab $'\"\\;&|<>`(:/.")))
def test_any_line_that_can_be_split_can_be_looked_at(line: str) -> None:
    try:
        words = shlex.split(line)
    except ValueError:
        return
    found = operator(line)
    assert expansions(line) is not None
    if found:
        assert any(sign in line for sign in "&|;<>`$")
    # Quoted word by word nothing of it is left to a shell.
    assert operator(shlex.join(words)) == ""
    assert expansions(shlex.join(words)) == []


SEVERAL = "no shell runs it: the program would get it as a word; write a list of commands"


@pytest.mark.parametrize(
    ("table", "key"),
    [("web", "restart_cmd"), ("dns", "restart_cmd"), ("smtp", "restart_cmd")],
)
def test_operators_are_mistakes_in_every_table(tmp_path: Path, table: str, key: str) -> None:
    tree = Tree(tmp_path)
    tree.write("ssl-mgr.conf", f"[{table}]\n{key} = ['a b', 'postfix reload && x']\n")
    assert [one for one in tree.mistakes() if key in one] == [
        f"ssl-mgr.conf:2: {table}.{key}: 'postfix reload && x' has '&&', and {SEVERAL}: ['…', '…'],"
        " or sh -c '…' around the whole"
    ]


def test_a_command_after_the_copy(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.change("ssl-mgr.conf", "verb = true", "post_copy_cmd = [['h', 'a; b'], ['h', 'a | b']]")
    assert tree.mistakes() == [
        "ssl-mgr.conf:2: globals.post_copy_cmd: 'a; b' has ';', and no shell runs it: the program "
        "would get it as a word; write a pair for each command, or sh -c '…' around the whole",
        "ssl-mgr.conf:2: globals.post_copy_cmd: 'a | b' has '|', and no shell runs it: the program "
        "would get it as a word; write sh -c '…' around the whole, or quotes around a word that "
        "holds it",
    ]


def test_what_is_not_expanded_is_warned_of(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.change(
        "ssl-mgr.conf",
        "server_dir = 'sites'",
        "restart_cmd = ['a', 'touch ~/x $Y']\nprobe = false",
    )
    tree.change("ssl-mgr.conf", "acme_dir = 'acme'", "restart_cmd = 'tool *.zone'")
    said = "write sh -c '…' around the whole if a shell should see it, else quotes"
    assert tree.warnings() == [
        "ssl-mgr.conf:13: dns.restart_cmd: no shell runs this, so the program gets '*' as written; "
        f"{said}",
        "ssl-mgr.conf:17: web.restart_cmd: no shell runs this, so the program gets '~' '$Y' as "
        f"written; {said}",
    ]


def test_a_path_with_a_space(tmp_path: Path) -> None:
    """ssl-mgr takes the whole text for the program of `[dns]`, and after the copy."""
    tree = Tree(tmp_path)
    (tmp_path / "my tools").mkdir()
    (tmp_path / "my tools" / "resign").touch()
    tree.change("ssl-mgr.conf", "acme_dir = 'acme'", "restart_cmd = 'my tools/resign'")
    assert tree.warnings() == [
        "ssl-mgr.conf:13: dns.restart_cmd: 'my tools/resign' is a file with a space in its name, "
        "and is split there; write \"'my tools/resign'\", with both kinds of quotes"
    ]
    tree.change("ssl-mgr.conf", "'my tools/resign'", "\"'my tools/resign'\"")
    config = tree.load()
    assert config.warnings == ()
    assert config.dns.restart == ((str(tmp_path / "my tools/resign"),),)
