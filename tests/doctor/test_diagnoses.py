"""Findings of the doctor have words, and are given the facts that these use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sslmd.console.program import NoDaemon
from sslmd.core.words.doctor import Diagnosis
from sslmd.core.words.pattern import fields
from sslmd.doctor.symptoms import alike, wrong

DOCTOR = Path(__file__).parents[2] / "sslmd/doctor"


def made() -> Iterator[tuple[str, Diagnosis, set[Any], set[str]]]:
    """Every finding that is made: where, its words, the facts given, those given by name here."""
    for path in sorted(DOCTOR.glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            shared = {
                node.targets[0].id: {
                    key.value for key in node.value.keys if isinstance(key, ast.Constant)
                }
                for node in ast.walk(function)
                if isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and isinstance(node.value, ast.Dict)
            }
            for node in ast.walk(function):
                if not isinstance(node, ast.Call) or len(node.args) < 2:
                    continue
                for code in ast.walk(node.args[1]):
                    if not isinstance(code, ast.Attribute) or not isinstance(code.value, ast.Name):
                        continue
                    if code.value.id == "Diagnosis":
                        named = {one.arg for one in node.keywords if one.arg}
                        both = named.union(
                            *(
                                shared[one.value.id]
                                for one in node.keywords
                                if one.arg is None and isinstance(one.value, ast.Name)
                            )
                        )
                        yield f"{path}:{node.lineno}", Diagnosis[code.attr], both, named


def test_every_finding_has_the_facts_that_its_words_use() -> None:
    for where, code, given, named in made():
        needed = re.sub(r"(?<!\[)\[(?!\[)[^]]*\]", "", code.replace("[[", "").replace("]]", ""))
        assert set(fields(needed)) <= given, f"{where}: {code.name}"
        assert named - {"paste"} <= set(fields(code)), f"{where}: {code.name}"


def test_every_diagnosis_is_made_somewhere() -> None:
    text = "\n".join(path.read_text() for path in DOCTOR.glob("*.py"))
    assert not [one.name for one in Diagnosis if f"Diagnosis.{one.name}" not in text]


def test_a_finding_is_told_of_what_it_is_about() -> None:
    text = str(NoDaemon("{it} [hung]"))
    finding = wrong("DNS", Diagnosis.ABOUT_ZONE, zone="example.com", why=text).of("a, b")
    assert finding.text == "a, b: zone example.com: {it} [hung]"
    assert wrong("DNS", text).text == text


def test_what_is_found_of_several_is_said_once() -> None:
    found = [("a", "hangs"), ("b", ""), ("c", "is gone"), ("d", "hangs")]
    assert alike(found) == {"hangs": ["a", "d"], "is gone": ["c"]}
