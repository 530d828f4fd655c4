"""Windows that are refused or warned about, with the very text that the admin reads."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sslmd.config.renew import ACME_LIVES
from sslmd.config.windows import span
from sslmd.core.names import CertId
from sslmd.core.windows import Window
from sslmd.workers.tools import wanted_of
from tests.stand.conf import INTERMEDIATE, WEB, Tree

CERT = CertId("example.com", "web")
NIGHTS = "['02:00-05:00 Europe/Berlin']"
WEEKLY = "['Sat 02:00-05:00 Europe/Berlin']"
SUNDAYS = "['Sun 02:00-05:00 Europe/Berlin']"
SERVERS = "    server_dir = 'sites'\n    servers = ['www1']"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.change("ssl-mgr.conf", "    server_dir = 'sites'", SERVERS)
    return tree


def of_class(tree: Tree, *lines: str) -> None:
    """Lines 19 and on of ssl-mgr.conf, in [web]."""
    tree.change("ssl-mgr.conf", SERVERS, "\n    ".join((SERVERS, *lines)))


def of_service(tree: Tree, *lines: str, signer: str = "my-int") -> None:
    """Lines 5 and on of example.com/web."""
    tree.change("example.com/web", "'my-int'", "\n".join((f"'{signer}'", *lines)))


def with_imap(tree: Tree, *lines: str) -> None:
    text = tree.path("ssl-mgr.conf").read_text()
    more = ("[imap]", "servers = ['mx']", "svc_depends = [['any', ['web']]]", *lines)
    tree.write("ssl-mgr.conf", text + "\n".join(more) + "\n")


def test_windows_of_services_and_classes(tree: Tree) -> None:
    of_class(tree, f"roll_window = {WEEKLY}", f"restart_window = {NIGHTS}")
    of_service(tree, "roll_window = 'Fri-Sun 01:00-04:00'", "restart_window = '02:00-03:00 UTC'")
    with_imap(tree, f"restart_window = {NIGHTS}")
    config = tree.load()
    weekly = Window(frozenset({5}), 120, 300, ZoneInfo("Europe/Berlin"), WEEKLY[2:-2])
    nights = Window(frozenset(range(7)), 120, 300, ZoneInfo("Europe/Berlin"), NIGHTS[2:-2])
    service = config.services[CERT]
    assert list(map(str, service.roll_window)) == ["Fri-Sun 01:00-04:00"]
    assert list(map(str, service.restart_window)) == ["02:00-03:00 UTC"]
    assert config.roll_windows(CERT) == (service.roll_window, (weekly,))
    assert config.restart_windows("web", CERT) == ((nights,), service.restart_window)
    assert config.restart_windows("other", CERT) == (service.restart_window,)
    root = CertId("ca", "my-root")
    assert config.roll_windows(root) == ()
    assert config.restart_windows("web", root) == ((nights,),)
    wanted = wanted_of(service, config)
    assert wanted.roll_windows == config.roll_windows(CERT)
    assert wanted.restart_windows == (
        config.restart_windows("web", CERT),
        config.restart_windows("imap", CERT),
    )
    assert config.warnings == ()


def test_classes_without_servers_have_no_say(tree: Tree) -> None:
    tree.change("ssl-mgr.conf", SERVERS, f"roll_window = {WEEKLY}\nrestart_window = {WEEKLY}")
    config = tree.load()
    assert config.roll_windows(CERT) == ()
    assert wanted_of(config.services[CERT], config).restart_windows == ()
    assert tree.warnings() == [
        "ssl-mgr.conf:17: web.roll_window: a class without servers has no use for it; remove it",
        "ssl-mgr.conf:18: web.restart_window: a class without servers has no use for it; remove it",
    ]


def test_a_changed_window_changes_nothing_of_the_certificate(tree: Tree) -> None:
    before = tree.load().services[CERT]
    of_service(tree, f"roll_window = {WEEKLY}", f"restart_window = {NIGHTS}")
    after = tree.load().services[CERT]
    assert after.fingerprint == before.fingerprint
    assert after != before
    tree.change("example.com/web", "'Web'", "'Another'")
    assert tree.load().services[CERT].fingerprint != before.fingerprint


# --- never together ------------------------------------------------------------------------


def test_a_service_and_a_class_that_are_never_open_together(tree: Tree) -> None:
    of_class(tree, f"roll_window = {WEEKLY}", f"restart_window = {SUNDAYS}")
    of_service(tree, f"roll_window = {SUNDAYS}", f"restart_window = {WEEKLY}")
    assert tree.mistakes() == [
        "example.com/web:5: roll_window: example.com/web: its roll_windows are never open at the "
        "same time: its own Sun 02:00-05:00 Europe/Berlin, [web] Sat 02:00-05:00 Europe/Berlin; "
        "write windows that overlap",
        "example.com/web:6: restart_window: example.com/web: its restart_windows are never open at "
        "the same time: its own Sat 02:00-05:00 Europe/Berlin, [web] Sun 02:00-05:00 "
        "Europe/Berlin; write windows that overlap",
    ]


def test_classes_that_are_never_open_together(tree: Tree) -> None:
    """Every certificate is named at the first class; it is one mistake."""
    of_class(tree, f"roll_window = {WEEKLY}", f"restart_window = {WEEKLY}")
    with_imap(tree, f"roll_window = {SUNDAYS}", f"restart_window = {SUNDAYS}")
    text = tree.path("ssl-mgr.conf").read_text().replace("['web']]]", "['ALL']]]")
    tree.write("ssl-mgr.conf", text.replace("services = ['web']", "services = ['ALL']"))
    for name in ("a", "b"):
        tree.write(f"example.com/{name}", WEB.replace("'web'", f"'{name}'"))
    # Classes are restarted by themselves, so their restart_windows need not meet.
    assert tree.mistakes() == [
        "ssl-mgr.conf:19: web.roll_window: ca/my-root, ca/my-int, example.com/a and 2 more: its "
        "roll_windows are never open at the same time: [web] Sat 02:00-05:00 Europe/Berlin, "
        "[imap] Sun 02:00-05:00 Europe/Berlin; write windows that overlap"
    ]


def test_a_class_that_any_certificate_restarts_has_to_open_too(tree: Tree) -> None:
    of_service(tree, f"restart_window = {WEEKLY}")
    with_imap(tree, f"restart_window = {SUNDAYS}", "depends = ['cert']")
    text = tree.path("ssl-mgr.conf").read_text()
    head, _, tail = text.rpartition("['web']]]")
    tree.write("ssl-mgr.conf", f"{head}['mail']]]{tail}")
    (mistake,) = tree.mistakes()
    assert mistake.startswith("example.com/web:5: restart_window: example.com/web: its restart_win")


# --- too late ------------------------------------------------------------------------------


def test_what_would_let_a_certificate_expire(tree: Tree) -> None:
    of_class(tree, f"roll_window = {WEEKLY}", f"restart_window = {WEEKLY}")
    of_service(
        tree, "renew_expire_days = 14", "renew_expire_days_spread = 3", "dane_tls_ttl = 3600",
        "dane_tls = [[443, 'tcp', 3, 1, 1, 'SANS']]",
    )  # fmt: skip
    assert tree.mistakes() == [
        "ssl-mgr.conf:19: web.roll_window: example.com/web: it could expire: from a renewal on, it "
        "may take 14 d 1 h (6 d 22 h for its roll_window, 1 h 30 min for min_roll_mins, 2 h for "
        "its TLSA records, 6 d 22 h for a restart of [web], 1 h for the work), and with a life of "
        "90 d it may be renewed only 11 d before its end; write windows that open more often, or "
        "a larger renew_expire_days"
    ]
    tree.change("example.com/web", "= 14", "= 17")
    (mistake,) = tree.mistakes()
    assert mistake.endswith("more often, or a smaller renew_expire_days_spread")
    tree.change("example.com/web", "= 17", "= 18")
    assert tree.warnings() == []


def test_a_window_of_its_own_is_told_in_its_file(tree: Tree) -> None:
    of_class(tree, "restart_window = '02:00-05:00'")
    of_service(tree, f"restart_window = {WEEKLY}", "renew_expire_days = 7")
    (mistake,) = tree.mistakes()
    assert mistake.startswith("example.com/web:5: restart_window: example.com/web: it could expire")
    assert "for a restart of [web]" in mistake


@pytest.mark.parametrize(
    ("profile", "windows", "right"),
    [
        ("", WEEKLY, True),
        ("classic", WEEKLY, True),
        ("tlsserver", "['1:00-2:00 UTC']", True),
        ("shortlived", WEEKLY, False),
        ("shortlived", NIGHTS, True),
        ("ShortLived", "['Mon,Fri 02:00-05:00']", False),
    ],
)
def test_the_lives_of_an_acme_ca(tree: Tree, profile: str, windows: str, right: bool) -> None:
    tree.change("ca-info.conf", "[le-dns]", f"[le-dns]\nca_preferred_acme_profile = '{profile}'")
    of_class(tree, f"roll_window = {windows}")
    of_service(tree, signer="le-dns")
    if right:
        assert tree.warnings() == []
    else:
        (mistake,) = tree.mistakes()
        assert "with a life of 6 d 16 h it may be renewed only 3 d 8 h before" in mistake
        assert mistake.endswith("; write windows that open more often")


def test_two_weekly_waits_are_too_much_for_a_short_lead(tree: Tree) -> None:
    """Fifteen days of 45: a week for each is just about enough, less what comes with it."""
    of_class(tree, "roll_window = 'Sat 02:00-03:00'", "restart_window = 'Sun 02:00-02:01'")
    of_service(
        tree, "dane_tls = [[443, 'tcp', 3, 1, 1, 'SANS']]", "dane_tls_ttl = 43200", signer="le-dns"
    )
    (mistake,) = tree.mistakes()
    assert "24 h" not in mistake
    assert "1 d for its TLSA records" in mistake
    assert "with a life of 45 d it may be renewed only 15 d before its end" in mistake


def test_a_ca_may_suggest_a_time_that_is_too_late_for_windows(tree: Tree) -> None:
    """Days alone would be enough: fifteen of 45. A CA may leave a sixth."""
    of_class(tree, f"roll_window = {WEEKLY}", f"restart_window = {WEEKLY}")
    of_service(tree, signer="le-dns")
    assert tree.warnings() == [
        "ssl-mgr.conf:19: web.roll_window: example.com/web: its CA may suggest renewing it only "
        "7 d 12 h before its end, with a life of 45 d, and from then on it may take 13 d 23 h "
        "(6 d 22 h for its roll_window, 1 h 30 min for min_roll_mins, 6 d 22 h for a restart of "
        "[web], 1 h for the work): where it would expire, windows are not waited for; write "
        "windows that open more often, or renew_by = 'days'"
    ]
    tree.change("example.com/web", "'le-dns'", "'le-dns'\nrenew_by = 'days'")
    assert tree.warnings() == []
    tree.change("example.com/web", "renew_by = 'days'\n", "")
    tree.change("ssl-mgr.conf", "verb = true", "renew_by = 'days'")
    assert tree.warnings() == []
    # What days allow is refused all the same: the CA may suggest nothing.
    tree.change("ssl-mgr.conf", "renew_by = 'days'", "renew_expire_days = 10")
    (mistake,) = tree.mistakes()
    assert "it may be renewed only 10 d before its end where its CA suggests no time;" in mistake
    tree.change("ssl-mgr.conf", "renew_expire_days = 10", "verb = true")
    tree.change("ssl-mgr.conf", f"restart_window = {WEEKLY}", f"restart_window = {NIGHTS}")
    (warning,) = tree.warnings()
    assert "it may take 7 d " in warning
    tree.change("ssl-mgr.conf", f"roll_window = {WEEKLY}", f"roll_window = {NIGHTS}")
    assert tree.warnings() == []


def test_the_life_is_of_what_the_own_ca_signs(tree: Tree) -> None:
    of_class(tree, f"roll_window = {WEEKLY}")
    tree.write("ca/my-int", f"{INTERMEDIATE}\n[CA]\nsign_end_days = 20\n")
    (mistake,) = tree.mistakes()
    assert mistake.startswith("ssl-mgr.conf:19: web.roll_window: example.com/web: it could expire")
    assert "with a life of 20 d it may be renewed only 6 d 16 h before" in mistake
    tree.write("ca/my-int", f"{INTERMEDIATE}\n[CA]\nsign_end_days = 22\n")
    assert tree.warnings() == []


def test_a_ca_has_windows_of_its_own(tree: Tree) -> None:
    tree.change("ca/my-root", "'self'", f"'self'\nroll_window = {WEEKLY}\nrenew_expire_days = 6")
    (mistake,) = tree.mistakes()
    assert mistake.startswith("ca/my-root:5: roll_window: ca/my-root: it could expire")
    assert "with a life of 3650 d it may be renewed only 6 d before" in mistake


def test_without_windows_nothing_is_refused(tree: Tree) -> None:
    of_service(tree, "renew_expire_days = 0")
    tree.change("ssl-mgr.conf", "verb = true", "min_roll_mins = 500000")
    assert tree.warnings() == []


def test_a_window_that_summer_time_skips(tree: Tree) -> None:
    """A week's wait becomes a fortnight's, once a year."""
    of_class(tree, "roll_window = 'Sun 02:15-02:45 Europe/Berlin'")
    of_service(tree, "renew_expire_days = 13")
    (mistake,) = tree.mistakes()
    assert "13 d 23 h for its roll_window" in mistake


def test_windows_that_meet_in_winter_only(tree: Tree) -> None:
    of_class(tree, "restart_window = '02:00-05:00 Europe/Berlin'")
    of_service(tree, "restart_window = '03:00-04:00 UTC'")
    (mistake,) = tree.mistakes()
    assert " h for a restart of [web]" in mistake
    assert "it may take 218 d" in mistake


# --- without effect ------------------------------------------------------------------------


def test_windows_without_effect(tree: Tree) -> None:
    of_class(tree, f"roll_window = {WEEKLY}", f"restart_window = {NIGHTS}")
    tree.change("ssl-mgr.conf", "['any', ['web']]", "")
    tree.change("ssl-mgr.conf", "'my-root', 'my-int'", "'my-int'")
    of_service(tree, f"restart_window = {NIGHTS}")
    tree.change("ca/my-root", "'self'", f"'self'\nroll_window = {WEEKLY}")
    assert sorted(text for text in tree.warnings() if "_window" in text) == [
        "ca/my-root:5: roll_window: it has no effect: no active group lists this CA, so it is "
        "never rolled; add 'my-root' to the services of group ca, or remove it",
        "example.com/web:5: restart_window: it has no effect: no class with servers uses the "
        "certificate; add it to svc_depends of a class, or remove it",
        "ssl-mgr.conf:19: web.roll_window: it has no effect: the class uses no certificate; name "
        "some in svc_depends, or remove it",
        "ssl-mgr.conf:20: web.restart_window: it has no effect: the class uses no certificate; "
        "name some in svc_depends, or remove it",
    ]


def test_a_window_for_name_servers_has_effect(tree: Tree) -> None:
    tree.change("ssl-mgr.conf", "['any', ['web']]", "")
    tree.change("ssl-mgr.conf", "[dns]", "[dns]\ndepends = 'cert'\nrestart_cmd = 'rndc reload'")
    of_service(tree, f"restart_window = {NIGHTS}")
    assert tree.warnings() == []


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (timedelta(), "0 min"),
        (timedelta(seconds=61), "2 min"),
        (timedelta(hours=1, minutes=30), "1 h 30 min"),
        (timedelta(days=6, hours=22, minutes=1), "6 d 23 h"),
        (ACME_LIVES["shortlived"], "6 d 16 h"),
    ],
)
def test_lengths_of_time(time: timedelta, text: str) -> None:
    assert span(time) == text
