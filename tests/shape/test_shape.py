"""The bounds of the architecture on files, functions and names of classes.

What is beyond them today is named here. Take a line out when it is within them again; add none.
"""

from __future__ import annotations

import pytest

from tests.shape.measure import Shape, shape_of
from tests.stand.server import ROOT

# Over 400 lines.
LONG_FILES = {
    "daemon/hosts.py",
}

# Over 60 lines: those, and flat tables.
LONG_FUNCTIONS = {"_apply", "_dispatch", "of_event", "add"}

# Names of several classes.
SHARED_NAMES = {"Ca", "Entry", "Server", "Share"}


@pytest.fixture(scope="module")
def shape() -> Shape:
    return shape_of(ROOT / "sslmd")


def test_no_other_file_is_long(shape: Shape) -> None:
    assert set(shape.long_files()) - LONG_FILES == set()


def test_no_other_function_is_long(shape: Shape) -> None:
    long = [place for place in shape.long_functions() if place.split()[1] not in LONG_FUNCTIONS]
    assert long == []


def test_a_class_has_a_name_of_its_own(shape: Shape) -> None:
    shared = shape.shared_names()
    assert {name: shared[name] for name in shared.keys() - SHARED_NAMES} == {}
