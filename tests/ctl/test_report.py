"""`sslmctl report` and `status --timeline`: what they show, and what can do nothing in them."""

from __future__ import annotations

import os
import re
import time
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sslmd.ctl.report_facts import gather
from sslmd.ctl.report_page import page
from sslmd.ctl.shade import Shade
from sslmd.ctl.whole_file import write_whole
from sslmd.wire.messages import ErrorCode, Method
from tests.ctl.fake_daemon import FakeDaemon, refusal, sslmctl
from tests.ctl.report_samples import (
    ALARMS,
    METRICS,
    answers,
    compared,
    many,
    odd_dates,
    server,
    site,
)
from tests.ctl.samples import cert, one_set, rfc3339, status

_VOID = {"meta", "link", "input", "img", "br"}
_SHAPES = {"path", "rect", "use"}


class Read(HTMLParser):
    """A page: its elements, texts, and whether what opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _SHAPES
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]

    def text(self, *but: str) -> str:
        return " ".join(text for tag, text in self.texts if tag not in but)


def html(value: Any = None) -> str:
    with FakeDaemon(answers(value)) as fake:
        done = sslmctl("report", "--html", "-", "--socket", fake.path)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def made(*certs: Any) -> str:
    now = datetime.now(UTC)
    return page(gather(status(*certs), {"jobs": []}, None, None, now))


# --- the page ------------------------------------------------------------------------------


def test_it_has_a_place_for_everything() -> None:
    read = Read(html())
    assert not read.open
    titles = [text for tag, text in read.texts if tag == "h2"]
    assert titles == [
        *("Wrong now", "Time line", "In the next 30 days", "What failed"),
        *("Servers and what they serve", "DANE"),
    ]
    text = read.text("style", "script")
    for one in ("example.com/mail-ec", "2 certificates are not renewed", "No route to host"):
        assert one in text
    # The wait of DANE, and what its name servers say.
    assert "smtp: waits for its TLSA records in DNS: ns2 does not show them" in text
    assert "not all name servers show the last change yet" in text
    assert "1 of 3 name servers did not answer" in text
    # What comes: two renewals on one day are one row; 31 days are too far; who idles does not come.
    assert "a.example/x, a.example/y" in text
    assert "a.example/far" not in text
    assert "a.example/idle" not in text
    assert "expires, unless it is renewed" in text


def test_states_are_words_and_signs_beside_colours() -> None:
    read = Read(html())
    text = read.text("style", "script")
    for word in ("critical", "warning", "being made", "well"):
        assert word in text
    assert {"✖", "▲", "○", "●"} <= {text for tag, text in read.texts if tag == "span"}


def test_a_screen_reader_finds_its_way() -> None:
    read = Read(html())
    assert read.all("html")[0]["lang"] == "en"
    assert len(read.all("main")) == len(read.all("h1")) == 1
    ids = [attrs["id"] for _, attrs in read.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    for attrs in (*read.all("section"), *read.all("table")):
        assert attrs["aria-labelledby"] in ids
    assert {attrs["href"] for attrs in read.all("a")} <= {f"#{one}" for one in ids}
    for tag, role in (("table", "table"), ("tr", "row"), ("td", "cell")):
        assert {attrs.get("role") for attrs in read.all(tag)} == {role}
    assert {attrs.get("scope") for attrs in read.all("th")} == {"col", "row"}
    # A line of time is told as well, and what only decorates is not.
    drawn = [attrs for attrs in read.all("svg") if attrs.get("role") == "img"]
    assert len(drawn) == len(site()["certs"])
    assert len([tag for tag, _ in read.texts if tag == "title"]) == len(drawn) + 1
    others = [attrs for attrs in read.all("svg") if attrs.get("role") != "img"]
    assert all(attrs.get("aria-hidden") == "true" for attrs in others)


def test_nothing_comes_from_elsewhere_and_nothing_of_others_runs() -> None:
    text = html()
    read = Read(text)
    ((script,), (style,)) = (
        [content for tag, content in read.texts if tag == one] for one in ("script", "style")
    )
    (policy,) = (
        attrs["content"]
        for attrs in read.all("meta")
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for name, content in (("script-src", script), ("style-src", style)):
        assert rules[name] == f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
    assert "unsafe" not in policy
    assert "://" not in style + script
    assert "@import" not in style
    assert "url(" not in style
    assert not read.all("img")
    assert not read.all("iframe")
    for _, attrs in read.found:
        assert not [name for name in attrs if name.startswith("on") or name in ("style", "src")]
        target = attrs.get("href") or "#"
        assert target.startswith("#") or target == "data:,"


def test_words_of_others_are_words() -> None:
    text = html()
    read = Read(text)
    assert len(read.all("script")) == len(read.all("style")) == 1
    assert "<script>alert" not in text
    assert not set("\x1b\u202e\r") & set(text)
    # Everywhere that it stands it reads as it was, with what turns or hides text escaped.
    seen = read.text("style", "script")
    shown = (
        "</style></script><script>alert(1)</script><img src=x onerror='a' \"\\x1b[31m\\u202e&amp;"
    )
    assert seen.count(shown) > 10


def test_a_row_says_when_it_begins_renews_rolls_and_ends() -> None:
    one = cert(curr=one_set(30, 90), renew_at=rfc3339(10), next=one_set(89), roll_at=rfc3339(2))
    read = Read(made(one))
    (words,) = (text for tag, text in read.texts if tag == "title" and "valid from" in text)
    assert re.fullmatch(
        r"valid from [^;]+ to [^;]+; next from [^;]+ to [^;]+; renews [^;]+; rolls .+", words
    )
    marks = {attrs["href"] for attrs in read.all("use")}
    assert {"#d", "#o", "#e"} <= marks
    kinds = [attrs["class"] for attrs in read.all("rect")]
    assert {"b", "l", "n"} <= set(kinds)
    for attrs in read.all("rect"):
        if (width := attrs["width"] or "").endswith("%"):
            assert 0 <= float((attrs["x"] or "")[:-1]) + float(width[:-1]) <= 100.4


def test_what_is_longer_than_the_line_goes_on_at_its_end() -> None:
    root = cert("root", curr=one_set(3000, 3650))
    read = Read(made(*many(20), root))
    marks = [attrs["href"] for attrs in read.all("use")]
    # One stands in the key, too.
    assert marks.count("#x") == 2
    assert "#y" in marks


def test_without_certificates_it_says_so() -> None:
    read = Read(made())
    text = read.text("style", "script")
    for one in ("There are no certificates.", "No certificate has TLSA records.", "Nothing comes."):
        assert one in text
    assert len(read.all("h2")) == 5  # no alarms were asked for


def test_dates_that_no_calendar_has_break_nothing() -> None:
    certs = odd_dates()
    assert not Read(made(*certs)).open
    assert not Read(made(certs[0])).open


def test_ten_thousand_certificates() -> None:
    value, now = status(*many(10_000)), datetime.now(UTC)
    began = time.process_time()
    text = page(gather(value, {"jobs": []}, ALARMS, METRICS, now))
    spent = time.process_time() - began
    assert text.count('<tr role="row" class="s') == 10_000
    # 1.4 KB for each, with its names at servers; a browser reads that in an instant.
    assert len(text) < 14_000_000
    # Ten times what it takes: that it grows by the number and not by its square.
    assert spent < 30
    style = (Path(page.__code__.co_filename).parent / "report.css").read_text()
    assert "content-visibility:auto" in style


def test_what_nobody_saw_is_not_well() -> None:
    def facts(*certs: Any) -> Any:
        return gather(status(*certs), {"jobs": []}, None, None, datetime.now(UTC))

    def on(*states: Any) -> tuple[Shade, str]:
        (line,) = facts(cert(servers=list(states))).servers
        return line.shade, line.word

    assert on(server(), server()) == (Shade.WELL, "well")
    assert on(server(), server(state="restarted", unseen="not looked at"))[1] == "not seen"
    assert on(server(state="restarted", unseen="x", meant=True)) == (Shade.WELL, "well")
    assert on(server(), server(state="delivered")) == (Shade.COMING, "under way")
    assert on(server(), server(state="pending", attempts=1)) == (Shade.WARNING, "failed")
    assert on(server(), server(state="odd")) == (Shade.COMING, "not seen")

    def dane(value: Any) -> Shade:
        (line,) = facts(cert(dane_wanted=True, dane=value)).zones
        shade: Shade = line.shade
        return shade

    assert dane(compared()) is Shade.WELL
    assert dane(None) is Shade.COMING
    assert dane(compared(fits=False)) is Shade.COMING
    assert dane(compared(unseen=["port 25 could not be looked at"])) is Shade.WARNING
    assert dane(compared(problems=["x"])) is Shade.CRITICAL


# --- colours -------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return sum(one * share for one, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_can_be_read_in_light_dark_and_print() -> None:
    style = (Path(page.__code__.co_filename).parent / "report.css").read_text()
    palettes = [
        dict(re.findall(r"--(\w+):(#[0-9a-f]+)", rule))
        for rule in re.findall(r":root\{([^}]*)\}", style)
    ]
    assert len(palettes) == 3
    for colours in palettes:
        for name in ("fg", "soft", "s0", "s1", "s2", "s3", "link"):
            for behind in ("bg", "panel"):
                # WCAG 2.2 §1.4.3: text.
                assert contrast(colours[name], colours[behind]) >= 4.5, (name, behind)
        # §1.4.11: what is not text.
        assert contrast(colours["now"], colours["bg"]) >= 3


# --- where it goes -------------------------------------------------------------------------


def written(path: Path, *more: str) -> Any:
    with FakeDaemon(answers()) as fake:
        return sslmctl("report", "--html", str(path), "--socket", fake.path, *more)


def test_a_new_file_is_for_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    done = written(file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert not Read(file.read_text()).open
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    file.chmod(0o640)
    before = file.stat()
    written(file)
    after = file.stat()
    assert after.st_mode == before.st_mode
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino  # replaced, and never half written
    assert "<h1>" in file.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_file_of_somebody_else_stays_theirs(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    os.chown(file, 64_000, 64_001)
    written(file)
    assert (file.stat().st_uid, file.stat().st_gid) == (64_000, 64_001)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can give files to others")
def test_what_cannot_have_its_owner_is_for_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "x"
    write_whole(str(file), b"x", 0o644, (0, 0))
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_link_is_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("kept")
    link.symlink_to(target)
    for path in (link, tmp_path, Path("/dev/null")):
        done = written(path)
        assert (done.returncode, done.stdout) == (2, "")
        assert str(path) in done.stderr
    assert target.read_text() == "kept"
    assert link.is_symlink()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = written(tmp_path / "none" / "x.html")
    assert done.returncode == 1
    assert "No such file" in done.stderr


def test_what_fails_leaves_the_old_page(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    done = sslmctl("report", "--html", str(file), "--socket", str(tmp_path / "none"))
    assert done.returncode == 3
    assert file.read_text() == "old"


# --- in a terminal -------------------------------------------------------------------------


def test_without_a_page_it_is_text() -> None:
    with FakeDaemon(answers()) as fake:
        done = sslmctl("report", "--socket", fake.path, "example.com", "ca:root")
        asked = [request.params for request in fake.requests]
    assert (done.returncode, done.stderr) == (0, "")
    assert asked == [{"certs": ["example.com", "ca:root"]}] * 2 + [{}] * 2
    lines = done.stdout.splitlines()
    heads = [line for line in lines if line.isupper() and "  " not in line]
    assert heads == ["WRONG NOW", "FAILED", "IN THE NEXT 30 DAYS", "SERVERS", "DANE"]
    assert "<" not in heads
    assert not set("\x1b\u202e") & set(done.stdout)


def test_a_daemon_of_before_knows_no_alarms() -> None:
    unknown = refusal(ErrorCode.METHOD_NOT_FOUND, "no such method")
    known = {**answers(status(cert())), Method.ALARMS: unknown, Method.METRICS: unknown}
    with FakeDaemon(known) as fake:
        done = sslmctl("report", "--html", "-", "--socket", fake.path)
        text = sslmctl("report", "--socket", fake.path)
    assert (done.returncode, text.returncode) == (0, 0)
    assert "Wrong now" not in done.stdout
    assert "WRONG NOW" not in text.stdout


def test_what_the_daemon_refuses_is_no_report() -> None:
    known = {**answers(), Method.ALARMS: refusal(ErrorCode.LIMIT, "too busy")}
    with FakeDaemon(known) as fake:
        done = sslmctl("report", "--html", "-", "--socket", fake.path)
    assert (done.returncode, done.stdout) == (1, "")
