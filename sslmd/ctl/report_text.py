"""A report in a terminal: what is wrong, what failed, what comes, servers and DANE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sslmd.console.table import Row, print_table, terminal_width, wrapped
from sslmd.console.text import count, say
from sslmd.core.plain import local, some_of
from sslmd.ctl.report_facts import ReportFacts
from sslmd.ctl.shade import Shade

# Names that a line shows.
_NAMED = 3

_COLOURS = {Shade.CRITICAL: "red", Shade.WARNING: "yellow", Shade.WELL: "green", Shade.COMING: ""}


def print_report(facts: ReportFacts) -> None:
    """Print it."""
    now = facts.now
    for line in wrapped(summary(facts), terminal_width()):
        say(line)
    if facts.alarms:
        rows = [
            Row([(one.text("severity"), ""), (one.text("kind"), "")], [(one.text("title"), "")])
            for one in facts.alarms
        ]
        _section("WRONG NOW", ("SEVERITY", "KIND", "WHAT"), rows)
    rows = [
        Row([(some_of(one.who, _NAMED), ""), (local(one.next_try, now), "")], [(one.text, "red")])
        for one in facts.failed
    ]
    _section("FAILED", ("WHAT", "NEXT TRY", "WHY"), rows)
    rows = [
        Row(
            [(local(one.at, now) if one.at else "now", ""), (one.what, "")],
            [(some_of(one.who, _NAMED), ""), (one.reason, "")],
        )
        for one in facts.coming
    ]
    _section("IN THE NEXT 30 DAYS", ("WHEN", "WHAT", "CERTIFICATES"), rows)
    rows = [
        Row(
            [(f"{one.kind} on {one.host}", _COLOURS[one.shade]), (one.word, "")],
            [(states(one.states), ""), *((error, "red") for error in one.errors)],
        )
        for one in facts.servers
    ]
    _section("SERVERS", ("SERVER", "STATE", "CERTIFICATES"), rows)
    rows = [
        Row(
            [(one.zone, _COLOURS[one.shade]), (one.word, ""), (local(one.looked_at, now), "")],
            [*((text, "yellow") for text in one.wrong), *_waits(one.waits)],
        )
        for one in facts.zones
    ]
    _section("DANE", ("ZONE", "STATE", "COMPARED", "NOTES"), rows)


def summary(facts: ReportFacts) -> str:
    """Return how many certificates there are, and how they stand."""
    parts = [f"{number:,} {shade.word}" for shade, number in facts.counted()]
    number = count(len(facts.certs), "certificate")
    return f"{number}: {', '.join(parts)}" if parts else number


def states(found: Sequence[tuple[str, int]]) -> str:
    """Return "2 failed, 12 proven"."""
    return ", ".join(f"{number} {state}" for state, number in found)


def _waits(waits: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, reason in waits[:_NAMED]:
        yield f"{name}: {reason}", ""
    if len(waits) > _NAMED:
        yield f"and {len(waits) - _NAMED} more", ""


def _section(title: str, header: Sequence[str], rows: Sequence[Row]) -> None:
    if rows:
        say()
        say(title, "bold")
        print_table(header, rows)
