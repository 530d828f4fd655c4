"""Reasons have words, and words use their facts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Ended, Held, Reason, Said, Why, facts_as_json, on_wire, said
from sslmd.core.words.pattern import fields, fill
from sslmd.core.words.sentence import STYLES, TABLES, say
from tests.reasons import KINDS, patterns, table, used

PROGRAM = Path(__file__).parents[2] / "sslmd"
WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@cache
def made() -> tuple[tuple[str, str, dict[str, ast.expr]], ...]:
    """Every reason that the program makes: where, its code, its facts."""
    return tuple(_made())


def _made() -> Iterator[tuple[str, str, dict[str, ast.expr]]]:
    kinds = {kind.__name__ for kind in KINDS}
    for path in sorted(PROGRAM.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id != "Reason" or not node.args:
                continue
            for code in ast.walk(node.args[0]):
                name = ast.unparse(code) if isinstance(code, ast.Attribute) else ""
                if name.partition(".")[0] in kinds:
                    facts = {one.arg: one.value for one in node.keywords if one.arg}
                    yield f"{path}:{node.lineno}", name, facts


def test_each_code_has_words_and_no_two_enumerations_share_one() -> None:
    assert set(TABLES) == set(KINDS)
    for kind in KINDS:
        assert set(TABLES[kind]) == set(kind), kind
    codes = [str(code) for kind in KINDS for code in kind]
    assert len(codes) == len(set(codes))


def test_every_reason_that_is_made_has_the_facts_that_its_words_use() -> None:
    known = {f"{kind.__name__}.{code.name}": code for kind in KINDS for code in kind}
    for where, name, facts in made():
        code = known[name]
        assert set(facts) - {"also", "about"} <= used(code), (
            f"{where}: {name} does not tell all facts"
        )
        for pattern in (
            patterns(type(code), code) if isinstance(TABLES[type(code)][code], str) else ()
        ):
            needed = set(fields(_without_brackets(pattern)))
            assert needed <= set(facts), f"{where}: {name} wants {needed}"


def _without_brackets(pattern: str) -> str:
    parts = pattern.replace("[[", "").replace("]]", "").split("[")
    return parts[0] + "".join(one.partition("]")[2] for one in parts[1:])


def test_every_code_is_used() -> None:
    named = {name for _, name, _ in made()}
    text = "\n".join(path.read_text() for path in PROGRAM.rglob("*.py"))
    for kind in KINDS:
        for code in kind:
            name = f"{kind.__name__}.{code.name}"
            assert name in named or text.count(name) > 1, name


def test_a_pattern_leaves_out_what_has_no_facts() -> None:
    assert fill("not due[ until {until:day}]; [[now]]", {}) == "not due; [now]"
    assert (
        fill("not due[ until {until:day}]", {"until": WHEN}, STYLES) == "not due until 2026-03-01"
    )
    assert fill("it says [{what}|nothing], [[a|b]]", {}) == "it says nothing, [a|b]"
    assert fill("it says [{what}|nothing at {at}]", {"what": "yes"}) == "it says yes"
    assert fill("[{flag:if}still |]there[|]", {"flag": True}) == "still there"
    with pytest.raises(KeyError):
        fill("{missing}", {})


def test_what_is_added_keeps_the_code() -> None:
    reason = Reason(Why.VALID).also(None, Reason(Why.UNFINISHED_NEXT))
    assert reason.code is Why.VALID
    assert say(reason) == "valid; an unfinished next waits for the renewal"
    more = reason.also(Reason(Why.ON_DECK))
    assert say(more) == "valid; an unfinished next waits for the renewal; on deck"
    assert [one.code for one in more.within()] == [Why.VALID, Why.UNFINISHED_NEXT, Why.ON_DECK]
    assert Reason(Why.VALID).also(None) == Reason(Why.VALID)


def test_facts_are_values_and_go_over_the_wire() -> None:
    set_ = SetName.parse("20260101-00:00:00")
    why = Reason(Why.NO_CERTIFICATE, set=set_)
    reason = Reason(Ended.NOT_BACK, set=set_, why=why)
    assert reason["set"] == "20260101-00:00:00"
    assert hash(reason) == hash(Reason(Ended.NOT_BACK, set=set_, why=why))
    with pytest.raises(KeyError):
        _ = reason["other"]
    facts = facts_as_json(Reason(Why.DUE, left=timedelta(minutes=2), lead=timedelta(1), end=WHEN))
    assert facts == {"left": 120.0, "lead": 86400.0, "end": "2026-03-01T12:00:00Z"}
    assert on_wire(reason) == {
        "reason_code": "not-back",
        "reason_facts": {
            "set": "20260101-00:00:00",
            "why": {"code": "no-certificate", "facts": {"set": "20260101-00:00:00"}},
        },
    }
    assert on_wire(None) == {"reason_code": None, "reason_facts": {}}
    assert Reason(Why.CA_WAITS, ca=CertId("ca", "my"), why=why)["ca"] == "ca/my"


def test_a_text_without_a_code_is_a_fact() -> None:
    assert said("") is None
    assert said("down") == Reason(Held.NOTED, text=Said("down"))
    assert say(said("a {brace} [and] more")) == "a {brace} [and] more"
    assert say(None) == ""


def test_the_list_of_codes_in_the_manual_is_that_of_the_program() -> None:
    text = (PROGRAM.parent / "docs/socket-api.md").read_text()
    begin, end = "<!-- codes: begin -->\n", "<!-- codes: end -->"
    assert text.partition(begin)[2].partition(end)[0] == table(), "run: make docs"
