"""A benchmark run alone writes its part of the page, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import delivery, readers, starts
from tests.bench.page import put_into

PAGE = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()


@pytest.mark.parametrize("heading", [starts.HEADING, delivery.HEADING, readers.HEADING])
def test_a_part_is_put_where_it_was(heading: str) -> None:
    part = [heading, "", "| a | table |"]
    once = put_into(PAGE, part)
    assert once.count(heading) == 1
    assert once.partition(heading)[0] == PAGE.partition(heading)[0]
    after = once.partition(heading)[2].partition("\n## ")[2]
    assert after == PAGE.partition(heading)[2].partition("\n## ")[2]
    assert put_into(once, part) == once


def test_a_part_that_is_new_comes_last() -> None:
    once = put_into(PAGE, ["## New", "", "| a | table |"])
    assert once.startswith(PAGE.rstrip())
    assert once.rstrip().endswith("## New\n\n| a | table |")
    assert put_into("", ["## New"]).strip() == "## New"
