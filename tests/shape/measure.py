"""`make shape`: how large the program is, and how much of it a renewal passes.

python -m tests.shape.measure [--no-flows]
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.stand.acme_site import world
from tests.stand.server import ROOT, wait_until
from tests.stand.site import Site

# Bounds that the architecture sets.
SHORT_FILE, LONG_FILE, LONG_FUNCTION = 60, 400, 60

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Shape:
    """What stands in the package's files; places are `FILE:LINE NAME`."""

    lines: dict[str, int] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)
    private: list[str] = field(default_factory=list)
    called_once: list[str] = field(default_factory=list)
    classes: dict[str, list[str]] = field(default_factory=dict)

    def short_files(self) -> list[str]:
        """Return files that are not worth one of their own."""
        return [name for name, lines in self.lines.items() if 0 < lines < SHORT_FILE]

    def long_files(self) -> list[str]:
        return [name for name, lines in self.lines.items() if lines > LONG_FILE]

    def long_functions(self) -> list[str]:
        return [name for name, lines in self.functions.items() if lines > LONG_FUNCTION]

    def shared_names(self) -> dict[str, list[str]]:
        """Return names that several classes have."""
        return {name: places for name, places in self.classes.items() if len(places) > 1}


def shape_of(package: Path) -> Shape:
    """Read every file of the package."""
    shape = Shape()
    for path in sorted(package.rglob("*")):
        if path.suffix not in (".py", ".sh"):
            continue
        name, text = str(path.relative_to(package)), path.read_text()
        shape.lines[name] = len(text.splitlines())
        if path.suffix == ".py":
            _read(shape, name, ast.parse(text))
    return shape


def _read(shape: Shape, name: str, tree: ast.Module) -> None:
    nodes = list(ast.walk(tree))
    used = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in nodes
        if isinstance(node, ast.Name | ast.Attribute)
    )
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            shape.classes.setdefault(node.name, []).append(f"{name}:{node.lineno}")
        if not isinstance(node, Function):
            continue
        place = f"{name}:{node.lineno} {node.name}"
        shape.functions[place] = (node.end_lineno or node.lineno) - node.lineno + 1
        if node.name.startswith("_") and node in tree.body:
            shape.private.append(place)
            if used[node.name] == 1:
                shape.called_once.append(place)


# --- what a renewal passes ----------------------------------------------------------------


@contextmanager
def counted(site: Site) -> Iterator[dict[str, Any]]:
    """Start the site's daemon; what it passes while the block lasts is in the dict after it."""
    out = site.top / "passed.json"
    site.start(wrapper=[sys.executable, "-m", "tests.shape.traced", str(out)])
    site.wait_settled()
    assert site.process is not None
    wait_until(lambda: _rests(site), "the daemon to rest")
    site.process.send_signal(signal.SIGUSR1)
    passed: dict[str, Any] = {}
    try:
        yield passed
        wait_until(lambda: _rests(site), "the daemon to rest")
        site.process.send_signal(signal.SIGUSR2)
        wait_until(out.exists, "what it passed")
        passed.update(json.loads(out.read_text()))
    finally:
        site.end()


def _rests(site: Site) -> bool:
    """Whether nothing is asked of the daemon's processor for a moment."""
    assert site.process is not None
    seen = {Path(f"/proc/{site.process.pid}/stat").read_text().split()[13] for _ in _moments()}
    return len(seen) == 1


def _moments() -> Iterator[None]:
    for _ in range(4):
        yield
        time.sleep(0.25)


def renewed(site: Site, cert: str) -> None:
    """Renew a certificate by force, and wait until it is in use, or on deck for a while."""
    place = site.live(cert)
    before = os.readlink(place)
    site.ctl("force-renew", "--no-wait", cert)
    wait_until(
        lambda: (place.with_name("next") / "cert.pem").exists() or os.readlink(place) != before,
        "the new certificate",
    )


def on_deck(top: Path) -> dict[str, Any]:
    """Renew a certificate of the example's own CA; it is not rolled yet."""
    site = Site(top)
    with counted(site) as passed:
        renewed(site, "example.com/web-ec")
    return passed


def own_ca(top: Path) -> dict[str, Any]:
    """The same, until its servers on this machine are restarted and all is settled."""
    site = Site(top)
    conf = site.conf / "ssl-mgr.conf"
    conf.write_text(re.sub(r"min_roll_mins = \d+", "min_roll_mins = 0", conf.read_text()))
    with counted(site) as passed:
        renewed(site, "example.com/web-ec")
    return passed


def acme(top: Path) -> dict[str, Any]:
    """Renew a certificate of Pebble's, by dns-01 with BIND."""
    with world(top) as here:
        primary = here.bind()
        here.site.use(here.pebble(primary))
        here.site.publish(primary)
        here.site.write()
        with counted(here.site) as passed:
            renewed(here.site, "example.test/web")
    return passed


# --- the report ---------------------------------------------------------------------------


def report(shape: Shape) -> str:
    """Return the figures of the files, each on a line."""
    sizes = Counter(name.split("/")[0] if "/" in name else "." for name in shape.lines)
    rooms = ", ".join(
        f"{room} {count} files {sum(n for f, n in shape.lines.items() if _room(f) == room)} lines"
        for room, count in sorted(sizes.items())
    )
    shared = shape.shared_names()
    return "\n".join(
        [
            f"files                        {len(shape.lines)}",
            f"lines                        {sum(shape.lines.values())}",
            f"functions                    {len(shape.functions)}",
            f"private functions            {len(shape.private)}, called once:"
            f" {len(shape.called_once)}",
            f"files under {SHORT_FILE} lines         {len(shape.short_files())}",
            f"files over {LONG_FILE} lines         {len(shape.long_files())}",
            f"functions over {LONG_FUNCTION} lines      {len(shape.long_functions())}",
            f"classes                      {sum(map(len, shape.classes.values()))},"
            f" names that several have: {len(shared)}",
            f"  {', '.join(sorted(shared))}",
            f"rooms: {rooms}",
        ]
    )


def _room(name: str) -> str:
    return name.split("/")[0] if "/" in name else "."


def main() -> None:
    print(report(shape_of(ROOT / "sslmd")))
    if "--no-flows" in sys.argv:
        return
    for title, flow in (
        ("own CA, until it is on deck", on_deck),
        ("own CA, until all is settled", own_ca),
        ("Pebble, until all is settled", acme),
    ):
        with tempfile.TemporaryDirectory(prefix="sslmd-") as top:
            passed = flow(Path(top))
        print(
            f"a forced renewal ({title}): {len(passed['files'])} files,"
            f" {len(passed['functions'])} functions, {passed['calls']} calls,"
            f" decide {passed['decide']} times, state.toml written {passed['state_writes']} times"
        )
        if "--list" in sys.argv:
            print("\n".join(f"    {name}" for name in passed["functions"]))


if __name__ == "__main__":
    main()
