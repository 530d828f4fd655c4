"""The page of `sslmctl report` in a real browser: Chromium shows it, and has nothing to say."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sslmd.ctl.report_facts import gather
from sslmd.ctl.report_page import page
from tests.ctl.report_samples import ALARMS, METRICS, PLAN, many, site
from tests.ctl.samples import failing, one_set, status
from tests.ctl.test_report import contrast
from tests.stand import chromium
from tests.stand.chromium import Browser, colours

# Every text in it: its colour, and that of what lies behind it.
SEEN = """
[...document.querySelectorAll("h1,h2,h3,p,li,th,td,time,small,summary,a,button,output,label")]
.filter((one) => one.checkVisibility() && one.innerText.trim())
.map((one) => {
  let behind = one;
  while (behind.parentElement && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)")
    behind = behind.parentElement;
  return [getComputedStyle(one).color, getComputedStyle(behind).backgroundColor, one.tagName];
})
"""
NAMES = "[...document.querySelectorAll('#certs tbody tr')].filter((row) => !row.hidden)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if lacking := chromium.missing():
        pytest.skip(lacking)
    with Browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Browser:
    show(browser, tmp_path, site())
    return browser


def show(browser: Browser, folder: Path, value: Any) -> None:
    file = folder / "report.html"
    file.write_text(page(gather(value, PLAN, ALARMS, METRICS, datetime.now(UTC))))
    browser.complaints.clear()
    browser.requests.clear()
    browser.size(1280)
    browser.media("light")
    browser.show(file.as_uri())


def hexed(colour: str) -> str:
    red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_and_nothing_is_complained_about(shown: Browser, scheme: str) -> None:
    shown.media(scheme)
    assert colours(shown.picture()) > 50
    # A policy that is broken, a script that fails, a file that is asked for: all would be here.
    assert shown.complaints == []
    asked = [url for url in shown.requests if not url.startswith(("file:", "data:"))]
    assert asked == []
    assert len([url for url in shown.requests if url.startswith("file:")]) == 1
    # The script ran, and nothing of others did.
    assert shown.run("document.getElementById('filter').checkVisibility()")
    assert shown.run("document.scripts.length") == 1


@pytest.mark.parametrize(("scheme", "medium"), [("light", ""), ("dark", ""), ("dark", "print")])
def test_every_text_can_be_read(shown: Browser, scheme: str, medium: str) -> None:
    shown.media(scheme, medium)
    seen = shown.run(SEEN)
    assert len(seen) > 100
    for colour, behind, tag in seen:
        on = "#ffffff" if behind == "rgba(0, 0, 0, 0)" else hexed(behind)
        assert contrast(hexed(colour), on) >= 4.5, (tag, colour, behind)


@pytest.mark.parametrize("width", [320, 390, 700, 1024, 1280, 1920])
def test_no_screen_scrolls_sideways(shown: Browser, width: int) -> None:
    shown.size(width)
    # WCAG 2.2 §1.4.10: 320 pixels.
    assert shown.run("document.documentElement.scrollWidth") <= width
    line = "document.querySelector('#certs tbody svg').getBoundingClientRect().width"
    assert shown.run(line) > min(width, 700) / 4
    assert colours(shown.picture()) > 50


def test_it_is_printed_whole(shown: Browser) -> None:
    made = shown.ask("Page.printToPDF", printBackground=False)
    assert len(made["data"]) > 10_000
    shown.media("light", "print")
    rows = shown.run(f"{NAMES}.every((row) => row.checkVisibility())")
    assert rows
    assert not shown.run("document.getElementById('filter').checkVisibility()")


def test_readers_of_the_screen_get_a_table(shown: Browser) -> None:
    shown.ask("Accessibility.enable")
    nodes = shown.ask("Accessibility.getFullAXTree")["nodes"]
    roles = [node.get("role", {}).get("value") for node in nodes]
    named = {
        node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "table"
    }
    assert {"Time line", "What failed", "Servers and what they serve", "DANE"} <= named
    assert roles.count("rowheader") >= len(site()["certs"])
    for role in ("main", "columnheader", "navigation", "search"):
        assert role in roles, role
    pictures = [node["name"]["value"] for node in nodes if node["role"]["value"] == "image"]
    assert len([text for text in pictures if text.startswith("valid from")]) >= 10


def wait_for(browser: Browser, script: str, value: object) -> None:
    until = time.monotonic() + chromium.PATIENCE
    while browser.run(script) != value:
        assert time.monotonic() < until, (script, browser.run(script), value)


def type_in(browser: Browser, text: str) -> None:
    browser.run("document.getElementById('words').focus()")
    browser.run("document.getElementById('words').select()")
    browser.ask("Input.insertText", text=text)


def test_filter_and_sort(shown: Browser) -> None:
    number = len(site()["certs"])
    said = "document.getElementById('shown').textContent"
    assert shown.run(said) == f"{number} of {number} shown"
    type_in(shown, "MAIL example.com")
    wait_for(shown, said, f"2 of {number} shown")
    shown.run("document.querySelector('#filter input[value=s0]').click()")
    wait_for(shown, f"{NAMES}.length", 1)
    shown.run("document.querySelector('#filter input[value=s0]').click()")
    type_in(shown, "svc")
    wait_for(shown, f"{NAMES}.length", 6)
    for column in range(5):
        head = f"document.querySelectorAll('th[data-k]')[{column}]"
        keys = f"{NAMES}.map((row) => row.cells[{column}].textContent)"
        shown.run(f"{head}.querySelector('button').click()")
        assert shown.run(f"{head}.ariaSort") == "ascending"
        up = shown.run(keys)
        shown.run(f"{head}.querySelector('button').click()")
        assert shown.run(f"{head}.ariaSort") == "descending"
        assert sorted(shown.run(keys)) == sorted(up)
        assert shown.run("document.querySelectorAll('[aria-sort]').length") == 1
    names = f"{NAMES}.map((row) => row.cells[0].firstChild.data.trim())"
    shown.run("document.querySelectorAll('th[data-k] button')[0].click()")
    # By its numbers, as people count: svc2 before svc10.
    assert shown.run(names) == sorted(shown.run(names))
    assert shown.complaints == []


def test_ten_thousand_certificates_scroll(browser: Browser, tmp_path: Path) -> None:
    value = status(*many(9_990), *[failing(f"bad{at}", curr=one_set(4)) for at in range(10)])
    show(browser, tmp_path, value)
    assert browser.run("document.querySelectorAll('#certs tbody tr').length") == 10_000
    # Frames while it scrolls through all of it: the slowest, and the middle one, in milliseconds.
    frames = browser.run(
        """new Promise((done) => {
          const took = [], high = document.documentElement.scrollHeight;
          let last = performance.now(), at = 0;
          const step = (now) => {
            took.push(now - last); last = now; at += 1;
            if (at > 30) { done(took.slice(1).sort((a, b) => a - b)); return; }
            scrollTo(0, high * at / 30); requestAnimationFrame(step);
          };
          requestAnimationFrame(step);
        })"""
    )
    assert frames[len(frames) // 2] < 500
    # Where all of it were laid out, the first would take seconds.
    skipped = "[...document.querySelectorAll('#certs tbody tr th')].filter((one) => "
    skipped += "!one.checkVisibility({contentVisibilityAuto: true})).length"
    assert browser.run(skipped) > 9_000
    assert colours(browser.picture()) > 20
    type_in(browser, "bad")
    wait_for(browser, "document.getElementById('shown').textContent", "10 of 10000 shown")
    browser.run("scrollTo(0, 0)")
    assert colours(browser.picture()) > 50
    assert browser.complaints == []
