"""The short form of `make fuzz`: what was found before, the seeds, and a few hundred changes."""

from __future__ import annotations

import time
from itertools import islice
from random import Random

import pytest

from tests.fuzz.mutate import mutations
from tests.fuzz.run import FOUND
from tests.fuzz.target import LONGEST, Fault, Target
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_reader_of_bytes_of_others(name: str) -> None:
    target = TARGETS[name]
    kept = [file.read_bytes() for file in sorted((FOUND / name).glob("*"))]
    seeds = target.seeds()
    assert seeds
    changed = islice(mutations(Random(name), seeds, target.tokens, target.most), target.changes)
    for data in (*kept, *seeds, *changed):
        target.attempt(data)


def _slow(data: bytes) -> list[str]:
    end = time.process_time() + 2 * LONGEST
    while data == b"slow" and time.process_time() < end:
        pass
    return [data.decode("latin-1")]


@pytest.mark.parametrize(("data", "told"), [(b"slow", "of CPU for 4"), (b"\x1b", "not printable")])
def test_faults_are_found(data: bytes, told: str) -> None:
    target = Target("any", _slow, lambda: [b""])
    target.attempt(b"printable")
    with pytest.raises(Fault, match=told):
        target.attempt(data)
