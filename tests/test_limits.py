"""docs/security.md has the limits of the program, each with a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.limits import LIMITS, Limit, table

TESTS = Path(__file__).parent


def test_the_table_is_that_of_the_program() -> None:
    text = (TESTS.parent / "docs/security.md").read_text()
    begin, end = "<!-- limits: begin -->\n", "<!-- limits: end -->"
    assert text.partition(begin)[2].partition(end)[0] == table(), "run: make docs"


@pytest.mark.parametrize("limit", LIMITS, ids=lambda one: f"{one.whose}: {one.what}")
def test_every_limit_has_its_test(limit: Limit) -> None:
    file, _, function = limit.test.partition("::")
    assert re.search(rf"^(async )?def {function}\(", (TESTS / file).read_text(), re.MULTILINE)
