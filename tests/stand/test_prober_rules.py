"""The prober's judgement, and its independence."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.stand.pair import Pair
from tests.stand.prober_rules import Record, Served, chosen, fault, key_of
from tests.stand.server import ROOT

HOST = "mail.example.com"


def tlsa(text: str) -> Record:
    usage, selector, matching, data = text.split()
    return Record(int(usage), int(selector), int(matching), bytes.fromhex(data))


def test_only_the_strongest_digest_counts(tmp_path: Path) -> None:
    pair, other = Pair(tmp_path, "one"), Pair(tmp_path, "other")
    strong = hashlib.sha512(pair.spki).hexdigest()
    other_strong = hashlib.sha512(other.spki).hexdigest()
    served = Served((pair.der,))
    for records, good in (
        ([pair.record], True),
        ([other.record], False),
        ([other.record, pair.record], True),
        ([f"3 1 2 {strong}"], True),
        # Only the other key has the stronger one.
        ([pair.record, f"3 1 2 {other_strong}"], False),
        # Each selector is for itself, and so is the full data.
        ([pair.record, f"3 0 2 {'00' * 64}"], True),
        ([f"3 1 0 {pair.spki.hex()}", f"3 1 2 {other_strong}"], True),
        ([f"3 0 0 {pair.der.hex()}"], True),
        ([f"3 0 1 {hashlib.sha256(pair.der).hexdigest()}"], True),
        # Not for mail; of the wrong length; of a kind that nobody knows.
        ([f"1 1 1 {pair.digest}"], False),
        ([f"3 1 2 {pair.digest}"], False),
        ([f"3 1 3 {pair.digest}"], False),
        # A record that is of no use does not drive out one that is.
        ([pair.record, f"3 1 2 {pair.digest}", f"3 1 3 {pair.digest}"], True),
    ):
        assert (not fault(list(map(tlsa, records)), served, HOST)) is good, records
    assert chosen([tlsa(f"0 1 1 {pair.digest}")]) == []


def test_an_issuer_has_to_lead_to_the_host(tmp_path: Path) -> None:
    ca, stranger = Pair(tmp_path, "ca"), Pair(tmp_path, "stranger")
    leaf, other = Pair(tmp_path, "leaf", ca), Pair(tmp_path, "other", ca, "other.example.com")
    record = [tlsa(f"2 1 1 {ca.digest}")]
    assert fault(record, Served((leaf.der, ca.der)), HOST) == ""
    assert fault(record, Served((leaf.der,)), HOST) == "no record matches"
    assert "mismatch" in fault(record, Served((other.der, ca.der)), HOST)
    assert fault(record, Served((stranger.der, ca.der)), HOST) != ""


def test_the_key_is_read_as_it_stands(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "one")
    assert key_of(pair.der) == pair.spki


def test_it_shares_no_code_with_what_it_judges() -> None:
    program = "import sys, tests.stand.prober; sys.exit('sslmd' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
