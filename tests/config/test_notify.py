"""`[[notify]]`, files of addresses, and the dead man's switch; no message has an address in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from sslmd.config.load import load
from sslmd.config.notify import MOST_ADDRESSES, AddressFileError, read_addresses
from sslmd.config.notify_address import (
    LOCAL_SCHEMES,
    PRIVATE_SCHEMES,
    SCHEMES,
    alive_url,
    holds_secret,
    notify_address,
)
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.trouble import Severity
from sslmd.core.words.sentence import say
from sslmd.notify import mail
from tests.stand.attacker import NOBODY, let_in
from tests.stand.conf import MAIN, Tree
from tests.stand.forked import run_forked
from tests.stand.server import ROOT

SECRET = "s3cr3t"
PRIVATE = f"mailtos://admin:{SECRET}@mail.example.com"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def table(text: str) -> str:
    return f"{MAIN}\n[[notify]]\n{text}\n"


def test_a_table_with_defaults(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", table("name = 'admins'\nto = 'mailto:root'"))
    (one,) = tree.load().notify
    assert tree.warnings() == []
    assert (one.name, [a.text for a in one.to], one.to_file, one.command) == (
        "admins",
        ["mailto:root"],
        None,
        (),
    )
    assert one.about == frozenset(AlarmKind)
    assert (one.level, one.quiet) == (Severity.WARNING, ())
    assert (one.after, one.repeat) == (timedelta(minutes=10), timedelta(days=1))


def test_a_table_with_everything(tree: Tree) -> None:
    tree.write(
        "ssl-mgr.conf",
        table(
            "name = 'night-1'\ncommand = ['tools/page', '--to', 'a b']\n"
            "about = ['dane', 'expiry']\n"
            "level = 'Critical'\nafter = '90s'\nrepeat = '3 d'\n"
            "quiet = ['22:00-07:00 Europe/Berlin', 'Sat,Sun 00:00-24:00']"
        ),
    )
    (one,) = tree.load().notify
    assert one.command == (str(tree.top / "tools/page"), "--to", "a b")
    assert one.about == {AlarmKind.DANE, AlarmKind.EXPIRY}
    assert one.level is Severity.CRITICAL
    assert (one.after, one.repeat) == (timedelta(seconds=90), timedelta(days=3))
    assert one.quiet[0].text == "22:00-07:00 Europe/Berlin"
    tree.change("ssl-mgr.conf", "['tools/page', '--to', 'a b']", "\"page 'a b'\"")
    assert tree.load().notify[0].command == ("page", "a b")


MISTAKES = [
    ("to = 'root'", "to: an address is not one of Apprise; write mailto:root, "),
    (f"to = '{SECRET}:x'", "to: an address is not one of Apprise; write mailto:root, "),
    ("to = 5", "to: 5 is not a list; expected: list of addresses"),
    ("to = [5]", "to: it is not a text; write mailto:root, "),
    (f"to = 'slak://{SECRET}/b/c'", "to: Apprise does not know the scheme 'slak'; did you mean "),
    (f"to = 'mailto:a@b?pass={SECRET}'", "to: mailto: is followed by something that is not a mail"),
    ("to = 'mailto:-oQ/tmp'", "to: mailto: is followed by something that is not a mail address"),
    (f"to = 'ntfys:{SECRET}'", "to: an address (ntfys) has no // and nothing after it"),
    ("to = 'ntfys://'", "to: an address (ntfys) has no // and nothing after it"),
    (f"to = 'ntfys://h/{SECRET} x'", "to: an address (ntfys) has spaces or control characters"),
    (f'to = "ntfys://h/{SECRET}\\u202e"', "to: an address (ntfys) has spaces or control"),
    (f"to = 'ntfys://{SECRET * 400}'", "to: an address (ntfys) has more than 2000 characters"),
    ("to = 'dbus://'", "to: dbus shows messages on this machine, where no one may sit"),
    ("to = []", "to: to is empty; add to = 'mailto:root', to_file or command"),
    ("", "nobody is named to tell; add to = 'mailto:root', to_file or command"),
    (
        "to = 'mailto:root'\ncommand = 'page'",
        "command: to and command stand in one table; write one of them; make two tables of it",
    ),
    (
        "to = 'mailto:root'\nabout = 'dan'",
        "about: 'dan' is no kind of alarm; write 'replace-now', ",
    ),
    ("to = 'mailto:root'\nlevel = 'ok'", "level: 'ok' is not known here; write 'warning' or 'crit"),
    (
        "to = 'mailto:root'\nafter = 10",
        "after: 10 is not a span of time; write a number and s, min",
    ),
    (
        "to = 'mailto:root'\nafter = '25 h'",
        "after: '25 h' is too long; write at most 24 h, such as '10 min'",
    ),
    (
        "to = 'mailto:root'\nrepeat = '5 min'",
        "repeat: '5 min' is too short; write at least 60 min, such as '1 d'",
    ),
    (
        "to = 'mailto:root'\nquiet = 'nights'",
        "quiet: 'nights' is not a day or a range of days; write it as ",
    ),
    (
        "to = 'mailto:root'\nquiet = ['Mon-Fri 00:00-24:00', 'Sat,Sun 00:00-23:00']",
        "quiet: together these hours last longer than 4 d without a break; leave some hours free",
    ),
    ('command = "it\'s"', 'command: "it\'s": no closing quotation; close the quotes'),
    ("command = 'page && true'", "command: 'page && true' has '&&', and no shell runs it"),
    ("to_file = 'gone'", "to_file: {top}/gone: there is no such file or directory; create it"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_mistakes(text: str, told: str, tree: Tree) -> None:
    tree.write("ssl-mgr.conf", table(f"name = 'a'\n{text}"))
    (mistake,) = tree.mistakes()
    assert mistake.startswith("ssl-mgr.conf:")
    assert told.format(top=tree.top) in mistake
    assert SECRET not in mistake


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "x" * 65])
def test_a_name_can_be_typed(name: str, tree: Tree) -> None:
    tree.write("ssl-mgr.conf", table(f"name = '{name}'\nto = 'mailto:root'"))
    (mistake,) = tree.mistakes()
    assert "is not a name; write letters, digits, and . _ -" in mistake


def test_two_of_one_name_and_a_single_table(tree: Tree) -> None:
    one = "name = 'a'\nto = 'mailto:root'\n"
    tree.write("ssl-mgr.conf", table(one + "[[notify]]\nname = 'A'\nto = 'mailto:root'"))
    (mistake,) = tree.mistakes()
    assert "there are two tables of the name A; give each its own name" in mistake
    tree.write("ssl-mgr.conf", f"{MAIN}\n[notify]\n{one}")
    (mistake,) = tree.mistakes()
    assert "write [[notify]], twice bracketed" in mistake


def test_more_addresses_than_anybody_needs(tree: Tree) -> None:
    many = [f"ntfys://h/{number}" for number in range(MOST_ADDRESSES + 1)]
    tree.write("ssl-mgr.conf", table(f"name = 'a'\nto = {many}"))
    (mistake,) = tree.mistakes()
    assert f"it has {MOST_ADDRESSES + 1} addresses" in mistake


# --- files with addresses ---------------------------------------------------------------


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_file_of_addresses(tree: Tree) -> None:
    private(tree.top / "who", f"# mail\n\n{PRIVATE}\n  ntfys://h/t  \n{PRIVATE}\n")
    tree.write("ssl-mgr.conf", table("name = 'a'\nto_file = 'who'"))
    config = tree.load()
    assert tree.warnings() == []
    (one,) = config.notify
    assert (one.to, one.to_file) == ((), tree.top / "who")
    assert [a.text for a in read_addresses(str(one.to_file))] == [PRIVATE, "ntfys://h/t"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"ntfys://h/t\nslak://{SECRET}\n", "line 2: Apprise does not know the scheme 'slak'"),
        ("# nobody\n", "has no address; write one on a line"),
        (
            "".join(f"ntfys://{SECRET}/{one}\n" for one in range(MOST_ADDRESSES + 1)),
            f"it has {MOST_ADDRESSES + 1} addresses",
        ),
    ],
)
def test_a_file_with_mistakes(text: str, told: str, tree: Tree) -> None:
    private(tree.top / "who", text)
    tree.write("ssl-mgr.conf", table("name = 'a'\nto_file = 'who'"))
    (mistake,) = tree.mistakes()
    assert f"to_file: {tree.top}/who" in mistake
    assert told in mistake
    assert SECRET not in mistake


def test_a_file_that_others_may_write(tree: Tree) -> None:
    private(tree.top / "who", PRIVATE).chmod(0o602)
    tree.write("ssl-mgr.conf", table("name = 'a'\nto_file = 'who'"))
    (mistake,) = tree.mistakes()
    assert "everybody may write it (mode 0602)" in mistake
    (tree.top / "who").write_bytes(b"\xff")
    (tree.top / "who").chmod(0o600)
    (mistake,) = tree.mistakes()
    assert "it is not UTF-8" in mistake


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's file needs root")
def test_a_file_that_is_another_user_s(tree: Tree) -> None:
    os.chown(private(tree.top / "who", PRIVATE), NOBODY, -1)
    with pytest.raises(AddressFileError) as err:
        read_addresses(str(tree.top / "who"))
    assert f"it belongs to user {NOBODY}" in err.value.problem


@pytest.mark.skipif(os.geteuid() != 0, reason="another user needs root")
def test_who_looks_at_a_configuration_need_not_see_the_secrets(tree: Tree) -> None:
    """`sslmd --check-config` by anybody, and by `sslmd init --user` before it gives the files."""
    private(tree.top / "who", PRIVATE)
    tree.write("ssl-mgr.conf", table("name = 'a'\nto_file = 'who'"))
    let_in(tree.top)

    def as_nobody() -> int:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        config = load(tree.conf, owners={0})
        print(*config.warnings, sep="\n")
        return len(config.notify) - 1

    done = run_forked(as_nobody, [])
    assert done.returncode == 0, done.stderr
    assert f"to_file: {tree.top}/who cannot be read by the user of this process" in done.stdout


# --- secrets ----------------------------------------------------------------------------


def test_an_address_with_a_secret_belongs_into_a_file(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", table(f"name = 'a'\nto = '{PRIVATE}'"))
    (warning,) = tree.warnings()
    assert "others may read this file, and an address has a password or a token in it" in warning
    assert SECRET not in warning
    tree.path("ssl-mgr.conf").chmod(0o600)
    assert tree.warnings() == []


@pytest.mark.parametrize(
    ("address", "secret"),
    [
        ("mailto:root", False),
        ("mailto:root@mail.example.com", False),
        ("ntfys://ntfy.example.com/topic", False),
        ("ntfys://user@ntfy.example.com/topic", False),
        ("ntfys://user:pass@ntfy.example.com/topic", True),
        ("ntfys://:tk_x@ntfy.example.com/topic", True),
        ("slack://a/b/c", True),
        ("https://hooks.slack.com/services/a/b/c", True),
    ],
)
def test_what_counts_as_a_secret(address: str, secret: bool) -> None:
    assert holds_secret(notify_address(address)) is secret


def test_a_configuration_does_not_show_addresses(tree: Tree) -> None:
    tree.write(
        "ssl-mgr.conf",
        table(f"name = 'a'\nto = ['{PRIVATE}', 'mailto:root']").replace(
            "verb = true", f"verb = true\nalive_url = 'https://hc.example.com/{SECRET}'"
        ),
    )
    config = tree.load()
    assert config.globals.alive_url is not None
    assert config.globals.alive_url.text.endswith(SECRET)
    assert SECRET not in repr(config)
    assert [str(one) for one in config.notify[0].to] == ["mailtos", "mailto:root"]
    assert str(config.globals.alive_url) == "hc.example.com"


def test_a_reload_tells_the_key_that_changed(tree: Tree) -> None:
    from sslmd.config.files import differences

    tree.write("ssl-mgr.conf", table(f"name = 'a'\nto = '{PRIVATE}'"))
    before = tree.load()
    tree.change("ssl-mgr.conf", SECRET, f"{SECRET}2")
    (told,) = differences(before.written, tree.load().written)
    assert say(told) == "[[notify]] a of ssl-mgr.conf: to"


def refused(check: Callable[[str], object], text: str) -> str:
    """Return what is said of a value that is refused, "" of one that is taken."""
    try:
        check(text)
    except PydanticCustomError as err:
        return str(err)
    return ""


@given(st.text(max_size=60), st.sampled_from(["", "ntfys://", "mailto:", "slak://", "mailto://"]))
def test_no_text_is_repeated(text: str, scheme: str) -> None:
    assert SECRET not in refused(notify_address, f"{scheme}{SECRET}{text}")
    assert SECRET not in refused(alive_url, f"https://{SECRET}:x@{text}")


# --- the dead man's switch --------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://hc-ping.com/0d7c9a6e-4b0e-4f4b-9a0e-1f0e5d3a7b11",
        "http://192.0.2.1:8000/ping?rid=1&x=%20",
        "https://[2001:db8::1]/p",
        "https://hc.example.com",
    ],
)
def test_urls(url: str) -> None:
    found = alive_url(url)
    assert found is not None
    assert found.text == url


@pytest.mark.parametrize(
    "url",
    [
        "hc.example.com/x",
        "ftp://h/x",
        "https://?x",
        "https://u:p@h/x",
        "https://h:99999/",
        "https://h/ü",
    ],
)
def test_what_is_no_url(url: str, tree: Tree) -> None:
    tree.write("ssl-mgr.conf", MAIN.replace("verb = true", f"alive_url = '{url}'"))
    (mistake,) = tree.mistakes()
    assert "globals.alive_url: it " in mistake
    assert url not in mistake


def test_none_and_a_command(tree: Tree) -> None:
    assert (tree.load().globals.alive_url, tree.load().globals.alive_command) == (None, ())
    more = "alive_url = ''\nalive_command = 'tools/alive $HOME'"
    tree.write("ssl-mgr.conf", MAIN.replace("verb = true", more))
    made = tree.load().globals
    assert (made.alive_url, made.alive_command) == (None, (f"{tree.top}/tools/alive", "$HOME"))
    (warning,) = tree.warnings()
    assert "globals.alive_command: no shell runs this" in warning


# --- what the documents show ------------------------------------------------------------


def test_tables_that_the_page_on_mail_shows(tree: Tree) -> None:
    text = (ROOT / "docs/monitoring/mail.md").read_text()
    found = re.findall(r"^ *```toml ssl-mgr\.conf\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == 4
    private(tree.top / "notify-phones", PRIVATE)
    tables, others = [one for one in found if "[[notify]]" in one], MAIN
    (switch,) = [one for one in found if "[globals]" in one]
    others = others.replace("[globals]", switch.strip())
    tree.write("ssl-mgr.conf", others + "\n".join(tables))
    config = tree.load()
    assert tree.warnings() == []
    assert [one.name for one in config.notify] == ["admins", "phones", "tickets"]
    assert config.globals.alive_url is not None


# --- Apprise ------------------------------------------------------------------------------


def test_the_schemes_are_those_of_the_apprise_that_is_installed() -> None:
    """Where this fails, Apprise has others now: write them into config/notify_address.py."""
    code = """
from sslmd.notify import services
from apprise.manager_plugins import NotificationManager
services.load()
for plugin in NotificationManager().plugins():
    tokens = plugin.template_tokens.values()
    secret = any(one.get("private") and one.get("required") for one in tokens)
    for names in (plugin.protocol, plugin.secure_protocol):
        for name in [names] if isinstance(names, str) else names or ():
            print(int(secret), name)
print(2, *services.HERE)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    known = {name: flag for flag, *names in rows for name in names}
    assert {name for name in known if known[name] == "2"} == LOCAL_SCHEMES
    assert {name for name in known if known[name] == "1"} == PRIVATE_SCHEMES
    assert set(known) == SCHEMES | LOCAL_SCHEMES


@given(st.text(max_size=40))
def test_recipients_are_the_same_here_and_where_mail_is_sent(text: str) -> None:
    from sslmd.config import notify_address as here

    assert bool(here._RECIPIENT.fullmatch(text)) is bool(mail.RECIPIENT.fullmatch(text))
    assert here._RECIPIENT.pattern == mail.RECIPIENT.pattern
