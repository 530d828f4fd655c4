"""Every reader of bytes that others can write, as a target of `make fuzz`."""

from __future__ import annotations

from tests.fuzz import acme, files, network

TARGETS = {one.name: one for one in (*network.TARGETS, acme.ACME, *files.TARGETS)}
