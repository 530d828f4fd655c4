from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sslmd.config.load import load
from sslmd.core.state import CertState
from sslmd.store.layout import Tree
from sslmd.workers.tools import Site, Standings, Telling, Threads
from tests.stand.tools import Tools

EXAMPLE = Path(__file__).parents[2] / "conf.d-example"


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Tools]:
    """What the daemon gives its workers, on the example configuration."""
    shutil.copytree(EXAMPLE, tmp_path / "conf.d")
    config = load(tmp_path / "conf.d")
    with ThreadPoolExecutor(2) as threads:
        yield Tools(
            Site(
                config,
                Tree(str(config.globals.certs_dir)),
                lambda: datetime.now(UTC),
                random.Random(1),
            ),
            Threads(threads),
            Standings(lambda _: CertState()),
            Telling(),
        )
