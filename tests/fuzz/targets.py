"""Every reader of bytes that others can write, as a target of `make fuzz`."""

from __future__ import annotations

from tests.fuzz import files, network, process

TARGETS = {one.name: one for one in (*network.TARGETS, *files.TARGETS, *process.TARGETS)}
