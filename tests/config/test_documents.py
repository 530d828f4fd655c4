"""The reference and the example that are part of the project, and arbitrary files."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmd.config.load import load
from sslmd.config.reference import reference
from sslmd.core.errors import ConfigError
from tests.stand.conf import CAS, INTERMEDIATE, MAIN, ROOT, WEB, Tree

PROJECT = Path(__file__).parents[2]


def test_the_reference_is_up_to_date() -> None:
    written = (PROJECT / "docs/config-reference.md").read_text()
    assert written == reference(), (
        "run: python -m sslmd.config.reference > docs/config-reference.md"
    )


def test_the_reference_has_every_key_with_a_meaning() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    for row in rows:
        assert all(cell.strip() for cell in row.replace("\\|", "").strip("|").split("|")), row


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A top directory whose conf.d is a link to a copy of the example."""
    example = tmp_path / "conf.d-example"
    shutil.copytree(PROJECT / "conf.d-example", example)
    for path in (example, *example.rglob("*")):  # whatever the umask of the checkout was
        path.chmod(0o755 if path.is_dir() or path.parent.name == "tools" else 0o644)
    top = tmp_path / "run"
    top.mkdir()
    (top / "conf.d").symlink_to(example)
    return top


def test_the_example_has_nothing_to_complain_about(run: Path) -> None:
    config = load(run / "conf.d")
    assert config.warnings == ()
    assert sorted(map(str, config.services)) == [
        "ca/my-int",
        "ca/my-root",
        "example.com/mail-ec",
        "example.com/web-ec",
        "example.com/web-rsa",
        "example.net/web-ec",
    ]


def test_the_restart_of_the_example_leaves_a_note(run: Path) -> None:
    config = load(run / "conf.d")
    for one in config.server_classes:
        for argv in one.restart:
            subprocess.run(argv, check=True, cwd="/")
    report = [line.split()[1] for line in (run / "restarts.log").read_text().splitlines()]
    assert report == ["imap", "web"]


NAMES = ("ssl-mgr.conf", "ca-info.conf", "ca/my-int", "ca/my-root", "example.com/web")
TEXTS = (MAIN, CAS, INTERMEDIATE, ROOT, WEB)
WORDS = st.sampled_from(
    ["'", '"', "[", "]", "{", "}", "=", "\n", "0", "-1", "1e400", "true", "'x'", "[[1]]", "'../x'",
     "'self'", "[[[]]]", "''", "\x00", "'\\u0000'", "1979-05-27", "'ALL'", "'ca'", "'my-int'",
     "[['any', ['*']]]", "{a=1}", "groups", "domain", "[X509]", "[CA]", "é"]
)  # fmt: skip


def attempt(tree: Tree) -> None:
    with contextlib.suppress(ConfigError):
        for one in load(tree.conf).warnings:
            assert str(one).isprintable()
        return
    with pytest.raises(ConfigError) as caught:
        load(tree.conf)
    assert caught.value.mistakes
    for one in caught.value.mistakes:
        assert one.problem
        assert one.remedy
        assert str(one).isprintable()


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=200), min_size=1))
def test_arbitrary_bytes_are_mistakes_at_worst(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as top:
        tree = Tree(Path(top))
        for name, content in files.items():
            tree.write(name, content)
        attempt(tree)


@settings(max_examples=150)
@given(
    st.integers(0, 4), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), WORDS), max_size=4)
)
def test_damaged_files_are_mistakes_at_worst(
    which: int, damage: list[tuple[float, int, str]]
) -> None:
    text = TEXTS[which]
    for place, length, word in damage:
        at = int(place * len(text))
        text = text[:at] + word + text[at + length :]
    with tempfile.TemporaryDirectory() as top:
        tree = Tree(Path(top))
        tree.write(NAMES[which], text)
        attempt(tree)


VALUES = st.recursive(
    st.sampled_from(["1", "-5", "0.5", "true", "''", "'x'", "'any'", "'25'", "1979-05-27", "inf"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | inner.map(lambda value: f"{{a = {value}}}")
    ),
    max_leaves=6,
)
GLOBALS = ("post_copy_cmd", "dns_xtra_ns", "dns_validating_resolver", "dane_next_key")
CLASS = ("servers", "restart_cmd", "probe", "key_mode", "key_owner", "roll_window", "depends")
LINES = [
    *((n, line) for n, text in enumerate(TEXTS) for line in text.splitlines() if "=" in line),
    *((0, f"verb = true\n{key} = 1") for key in GLOBALS),
    *((0, f"server_dir = 'sites'\n{key} = 1") for key in CLASS),
    *((4, f"signing_ca = 'my-int'\n{key} = 1") for key in ("dane_tls", "KeyOpts", "CA")),
]


@settings(max_examples=200)
@given(st.sampled_from(LINES), VALUES)
def test_values_of_any_type_are_mistakes_at_worst(line: tuple[int, str], value: str) -> None:
    number, old = line
    first = old.split("\n")[0]
    with tempfile.TemporaryDirectory() as top:
        tree = Tree(Path(top))
        new = f"{old.rsplit('=', 1)[0]}= {value}"
        tree.write(NAMES[number], TEXTS[number].replace(first, new, 1))
        attempt(tree)


def test_nothing_is_written(run: Path) -> None:
    before = sorted(map(str, run.parent.rglob("*")))
    load(run / "conf.d")
    assert sorted(map(str, run.parent.rglob("*"))) == before
    assert os.listdir(run) == ["conf.d"]
