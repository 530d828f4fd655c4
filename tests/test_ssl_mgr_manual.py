"""Every statement of ssl-mgr's manual has a verdict; what is kept has a test that shows it."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from sslmd.core.jobs import Roll
from sslmd.core.names import CertId
from sslmd.core.spec import SelfSigned
from sslmd.ctl import sslm_mgr
from sslmd.pki.inspect import repairs
from tests.core import test_plan
from tests.ssl_mgr_manual.table import VERDICTS, VERSIONS, Statement, statements, written
from tests.stand.conf import Tree
from tests.stand.samples import set_files

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "moving-from-ssl-mgr.md"

EVERY = statements()


# --- the list -------------------------------------------------------------------------


def test_the_ids_are_unique() -> None:
    assert [name for name, times in Counter(one.id for one in EVERY).items() if times > 1] == []


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.id)
def test_a_statement_has_a_verdict_and_what_belongs_to_it(one: Statement) -> None:
    assert one.verdict in VERDICTS
    assert one.versions
    assert set(one.versions) <= set(VERSIONS)
    assert one.text.endswith(".")
    assert bool(one.how) == (one.verdict != "kept")
    assert not one.how or one.how.endswith(".")
    if one.test:
        path, _, name = one.test.partition("::")
        assert name in named_in(path), f"{one.id} names {one.test}"


@cache
def named_in(path: str) -> set[str]:
    """Return the names of the tests of a file; it is not imported."""
    tree = ast.parse((ROOT / path).read_text())
    every = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in every if node.name.startswith("test_")}


def test_what_is_kept_has_a_test() -> None:
    assert [one.id for one in EVERY if one.verdict == "kept" and not one.test] == []


def test_the_document_tells_of_all_that_is_not_kept() -> None:
    text = DOCUMENT.read_text()
    assert text == written(text), "run: make docs"


# --- what no other test shows ---------------------------------------------------------


def test_a_bundle_is_the_key_and_the_full_chain() -> None:
    files = set_files()
    files.pop("bundle.pem")
    made = repairs(files)["bundle.pem"]
    assert made == files["privkey.pem"] + files["cert.pem"] + files["chain.pem"]


def test_no_wait_before_a_roll_if_none_is_asked_for() -> None:
    at_once = replace(test_plan.WANTED.timing, min_roll=test_plan.HOUR * 0)
    want = replace(test_plan.WANTED, timing=at_once)
    just_now = test_plan.issued(test_plan.NOW)
    decision = test_plan.step(test_plan.advertised(test_plan.DUE, just_now), want)
    assert decision.job == Roll(test_plan.WEB, just_now.name, decision.reason)
    assert test_plan.step(test_plan.advertised(test_plan.DUE, just_now)).job is None


@pytest.mark.parametrize("verb", [True, False])
def test_verb_of_the_configuration(tmp_path: Path, verb: bool) -> None:
    tree = Tree(tmp_path)
    tree.change("ssl-mgr.conf", "verb = true", f"verb = {str(verb).lower()}")
    assert tree.load().globals.verbose is verb


@pytest.mark.parametrize("word", ["self", ""])
def test_two_ways_to_say_that_a_root_signs_itself(tmp_path: Path, word: str) -> None:
    tree = Tree(tmp_path)
    tree.change("ca/my-root", "signing_ca = 'self'", f"signing_ca = '{word}'")
    assert tree.load().services[CertId("ca", "my-root")].spec.signer == SelfSigned()


def test_help_of_both_modes() -> None:
    both = ("-renew", "-roll", "-roll-mins", "-s", "-f", "-r", "-d", "-t", "-n", "-dns", "-v",
            "-clean-keep", "-clean-all")  # fmt: skip
    single = ("-keys", "-csr", "-cert", "-copy", "-ntoc", "-certs-prod", "-fsr")
    usual, dev = (sslm_mgr.parser(dev=dev).format_help() for dev in (False, True))
    for option in both:
        assert f"[{option}" in usual
        assert f"[{option}" in dev
    for option in single:
        assert f" {option}," in dev
        assert f" {option}," not in usual
