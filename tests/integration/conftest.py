from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The example configuration in a scratch directory."""
    one = Site(tmp_path)
    yield one
    one.end()


@pytest.fixture
def bare_site(tmp_path: Path) -> Iterator[Site]:
    """A scratch directory without a configuration."""
    one = Site(tmp_path, example=None)
    yield one
    one.end()
