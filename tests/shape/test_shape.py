"""The bounds of the architecture on files, functions and names of classes.

What is beyond them today is named here. Take a line out when it is within them again; add none.
"""

from __future__ import annotations

import pytest

from tests.shape.measure import Shape, shape_of
from tests.stand.server import ROOT

# Over 60 lines: those, and flat tables.
LONG_FUNCTIONS = {"_apply", "_dispatch", "of_event", "add"}


@pytest.fixture(scope="module")
def shape() -> Shape:
    return shape_of(ROOT / "sslmd")


def test_no_file_is_long(shape: Shape) -> None:
    assert shape.long_files() == []


def test_no_other_function_is_long(shape: Shape) -> None:
    long = [place for place in shape.long_functions() if place.split()[1] not in LONG_FUNCTIONS]
    assert long == []


def test_a_class_has_a_name_of_its_own(shape: Shape) -> None:
    assert shape.shared_names() == {}
