"""A benchmark run alone writes its part of the page, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.bench import delivery, starts

PAGE = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()


def test_starts_are_put_where_they_were() -> None:
    once = starts.put_into(PAGE, [starts.HEADING, "", "| a | table |"])
    assert once.count(starts.HEADING) == 1
    assert once.index("# Benchmarks") < once.index(starts.HEADING) < once.index(delivery.HEADING)
    assert once.partition(delivery.HEADING)[2] == PAGE.partition(delivery.HEADING)[2]
    assert starts.put_into(once, [starts.HEADING, "", "| a | table |"]) == once


def test_starts_on_a_page_that_is_not_there_yet() -> None:
    assert starts.put_into("", [starts.HEADING]).strip() == starts.HEADING
