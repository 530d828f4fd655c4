"""The order of the tests: files that take minutes begin first, so that none is left over alone."""

from __future__ import annotations

import os
import time

import pytest

# Texts for people have local times: what is expected of them is written for one zone.
os.environ["TZ"] = "UTC"
time.tzset()

# With what takes long in the beginning stands what has to wait for no package.
_FIRST = (
    "packaging/test_machine",
    "integration/test_delivery_kills",
    "integration/test_kills",
    "packaging/",
    "integration/",
)


def _place(item: pytest.Item) -> int:
    return next((at for at, part in enumerate(_FIRST) if part in item.nodeid), len(_FIRST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file; within one nothing changes."""
    items.sort(key=_place)
