"""Service files that helper processes read: the same configuration, mistakes and warnings."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sslmd.config.load import load_partly
from sslmd.store.reading import read_all
from tests.bench.site import write_site

SERVICES = 320


def test_helpers_make_no_difference(tmp_path: Path) -> None:
    conf = write_site(tmp_path, SERVICES)
    for number in range(0, SERVICES, 20):
        file = conf / (f"g{number // 100}.example" if number < 300 else "rest.example")
        file /= f"s{number % 100:02}"
        text = file.read_text()
        file.write_text(text.replace("'my-int'", "'nobody'") if number % 40 else f"odd = 1\n{text}")
    (conf / "g0.example/README").write_text("no service")
    main = conf / "ssl-mgr.conf"
    main.write_text(main.read_text().replace("['ALL']", "['ALL', 'gone']", 1))
    alone, mistakes = load_partly(conf)
    together = load_partly(conf, gather=partial(read_all, helpers=2))
    assert alone is not None
    assert len(mistakes) > SERVICES / 40
    assert len(alone.warnings) > SERVICES / 40
    assert together == (alone, mistakes)
