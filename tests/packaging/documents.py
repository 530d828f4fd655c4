"""What the documents show: fenced blocks by their kind, and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.stand.server import ROOT

DOCS = ROOT / "docs"
# In the order in which somebody new reads them.
MARKDOWN = [
    ROOT / "README.md",
    DOCS / "operations.md",
    *sorted(path for path in DOCS.glob("*.md") if path.name != "operations.md"),
]
MANUALS = sorted((DOCS / "man").iterdir())

_FENCE = re.compile(r"( *)```(.*)")


@dataclass(frozen=True)
class Block:
    """A fenced block, or the examples of a manual page."""

    path: Path
    line: int
    heading: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command as it stands, and what the document shows of its output (None: nothing)."""

    text: str
    shown: list[str] | None
    block: Block

    def __str__(self) -> str:
        return f"{self.block}: {self.text}"


def blocks() -> list[Block]:
    """Return every block of every document, in order."""
    found: list[Block] = []
    for path in MARKDOWN:
        found += _fenced(path)
    for path in MANUALS:
        found += _examples(path)
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands of a block: of `sh` every line, of `console` those at a prompt."""
    if block.kind == "sh":
        joined = re.sub(r"\\\n\s*", "", block.text)
        lines = [line.strip() for line in joined.splitlines()]
        lines = [re.sub(r"\s+# .*", "", line) for line in lines if not line.startswith("#")]
        return [Command(line, None, block) for line in lines if line]
    if block.kind != "console":
        return []
    assert block.text.startswith("$ "), f"{block}: begins with no `$ `"
    found = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        text, *shown = part.splitlines()
        found.append(Command(text, shown, block))
    return found


def _fenced(path: Path) -> Iterator[Block]:
    heading, begin, indent, kind = "", 0, "", ""
    inside: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if fence and begin:
            yield Block(path, begin, heading, kind, "\n".join(inside) + "\n")
            begin = 0
        elif fence:
            begin, indent, kind, inside = number, fence[1], fence[2], []
        elif begin:
            inside.append(line.removeprefix(indent))
        elif line.startswith("#"):
            heading = line.lstrip("# ")
        else:
            # Markdown takes it for code as well; a fence says of which kind.
            assert not line.startswith("    "), f"{path.name}:{number}: write a fence"
    assert not begin, f"{path.name}:{begin}: the fence is open"


def _examples(path: Path) -> Iterator[Block]:
    text = path.read_text()
    found = re.search(r"^\.SH EXAMPLES?\n(.*?)(?=^\.SH )", text, re.MULTILINE | re.DOTALL)
    if found is None:
        return
    for example in re.finditer(r"^\.nf\n(.*?)^\.fi$", found[1], re.MULTILINE | re.DOTALL):
        line = text[: found.start(1) + example.start(1)].count("\n")
        lines = [one for one in example[1].splitlines() if not re.match(r"\.[A-Z]", one)]
        plain = re.sub(r"\\(.)", r"\1", "\n".join(lines)).replace("\\e", "\\")
        yield Block(path, line, "EXAMPLES", "sh", plain + "\n")
