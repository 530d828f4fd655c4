"""What the manual of ssl-mgr says: `statements.toml`, and the table of it in the documents.

`python -m tests.ssl_mgr_manual.table docs/moving-from-ssl-mgr.md` writes the table there again.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

STATEMENTS = Path(__file__).with_name("statements.toml")
VERDICTS = ("kept", "differs", "not here")
VERSIONS = ("5.2", "7.8")

_PLACE = re.compile(r"(<!-- statements: begin -->\n).*(<!-- statements: end -->)", re.DOTALL)


@dataclass(frozen=True)
class Statement:
    """See the head of `statements.toml`. `how` and `test` are empty where there is none."""

    area: str
    id: str
    section: str
    versions: list[str]
    text: str
    verdict: str
    how: str = ""
    test: str = ""


def statements() -> list[Statement]:
    """Return all of them, in the order of the file."""
    areas = tomllib.loads(STATEMENTS.read_text())["area"]
    known = {field.name for field in fields(Statement)}
    found = []
    for area in areas:
        for one in area["statement"]:
            assert one.keys() <= known, f"{one['id']}: {one.keys() - known}"
            found.append(Statement(area["title"], **one))
    return found


def table() -> str:
    """Return the tables of all statements that are not kept, one for each area."""
    lines: list[str] = []
    area = ""
    for one in statements():
        if one.verdict == "kept":
            continue
        if one.area != area:
            area = one.area
            lines += ["", f"### {area}", "", "| ssl-mgr | version | sslmd |", "| --- | --- | --- |"]
        versions = "" if set(one.versions) == set(VERSIONS) else ", ".join(one.versions)
        here = one.how if one.verdict == "differs" else f"**Not here.** {one.how}"
        lines.append(f"| {_cell(one.text)} | {versions} | {_cell(here)} |")
    return "\n".join([*lines, "", ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def written(document: str) -> str:
    """Return the document with the table of today in its place."""
    new, places = _PLACE.subn(lambda found: found[1] + table() + found[2], document)
    assert places == 1, "the document has no place for the table"
    return new


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text()))
