"""No regular expression takes more than linear time, whatever it is given."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from sslmd.acme import certbot_log, problems
from sslmd.config import locate
from sslmd.config.model import TsigKey
from sslmd.core.errors import SslmError
from sslmd.dns import include, update
from sslmd.pki import describe, pem
from tests.patterns import TOP, Pattern, every_pattern, hard_texts, module_of, sources

SCRIPT: Any = module_of(TOP / "sslmd/config/tools/bind-reload")
BIND_PROBLEM: type[Exception] = SCRIPT.Problem

# Variables that stand for patterns, and where these are.
TABLES = {
    "pattern": [pattern for pattern, _ in problems._REASONS],
    "f'^(?:{said})'": [pattern.pattern for pattern, _ in problems._LIMITS],
}

# Patterns that are never given more than so many characters, by what is in them.
BOUNDED = {
    "ParseError": pem._MOST_LOOKED_AT,
    **dict.fromkeys(TABLES["pattern"], certbot_log.MOST_DETAIL),
}

# Characters: small steps where time may double with each, then up to the last. Seconds of CPU for
# each character: linear patterns take a hundredth of that, quadratic ones several times as much
# at the last size.
SIZES = (16, 20, 24, 28, 32, 48, 64, 96, 128, 256, 1024, 4096, 8192, 16384, 32768)
PER_CHARACTER = 3e-6
LEAST = 0.05  # seconds that a busy machine may take for nothing
# From here on, what takes so little that its square is within the bound is not tried any longer:
# what grows faster than by the square has shown it.
LONG = 4096

_USES_RE = re.compile(r"\bre\.\w+\(")
FILES = [str(path.relative_to(TOP)) for path in sources() if _USES_RE.search(path.read_text())]


@pytest.fixture(scope="module")
def patterns() -> list[Pattern]:
    return every_pattern(TABLES)


def slow(pattern: Pattern) -> str:
    """Return a text that takes too long, as an expression; "" if there is none."""
    regex: Any = pattern.regex
    most = next((most for text, most in BOUNDED.items() if text in _text(regex)), max(SIZES))
    tried = set()
    for (begin, part, end), method in product(hard_texts(regex), pattern.methods):
        for size in (one for one in SIZES if one <= most):
            text: Any = begin + part * (size // len(part)) + end
            if (text, method) in tried:
                continue
            tried.add((text, method))
            if isinstance(regex.pattern, bytes):
                text = text.encode("latin-1")
            bound = LEAST + PER_CHARACTER * len(text)
            # What is slow by chance, on a busy machine, is so only once.
            if all((taken := _taken(regex, method, text)) > bound for _ in range(3)):
                return f"{method} of {begin!r} + {part!r} * {size} + {end!r}: {taken:.2f} s"
            if size >= LONG and taken * (most / size) ** 2 < bound:
                break
    return ""


def _text(regex: Any) -> str:
    return regex.pattern if isinstance(regex.pattern, str) else regex.pattern.decode("latin-1")


def _taken(regex: Any, method: str, text: Any) -> float:
    more: list[Any] = [text]
    if method in ("sub", "subn"):
        more = [text[:0], text]
    before = time.thread_time()
    found = getattr(regex, method)(*more)
    if method == "finditer":
        for _ in found:
            pass
    return time.thread_time() - before


@pytest.mark.parametrize("file", FILES)
def test_no_text_takes_long(file: str, patterns: list[Pattern]) -> None:
    of_it = [one for one in patterns if one.where.startswith(f"{file}:")]
    assert [(one.where, text) for one in of_it if (text := slow(one))] == []


def test_all_of_them_were_found(patterns: list[Pattern]) -> None:
    assert len(patterns) > 100
    assert {one.where.partition(":")[0] for one in patterns} <= set(FILES)
    places = " ".join(one.where for one in patterns)
    for path in ("config/tools/bind-reload", "dns/include.py", "pki/pem.py", "servers/ssh.py"):
        assert path in places


@pytest.mark.parametrize(
    "text",
    [r"(?:[0-9]{1,10}[smhdw]?)+\Z", r"(\d+[smhdw]?)+x", r"(a|a)*b", r"^\s*x", r"a.*b", r"\s*\Z"],
)
def test_bad_ones_are_noticed(text: str) -> None:
    methods = frozenset({"search"})
    assert slow(Pattern("", re.compile(text, re.MULTILINE), methods)) != ""


# --- and what reads files of others without patterns ----------------------------------------

TSIG = TsigKey(Path("/tsig.key"), "", "")
READERS: dict[str, Callable[[str], object]] = {
    "challenges": lambda text: include.parse_challenges(text.encode()),
    "tlsa": lambda text: include.parse_tlsa(text.encode(), 60),
    "tsig": lambda text: update._parse(text, TSIG, "/tsig.key"),
    "certbot's log": certbot_log.read_log,
    "certbot's output": certbot_log.unvalidated_in_output,
    "bind-reload": lambda text: SCRIPT.find_serial(text, "/zone"),
    "a private key": lambda text: describe.describe(text.encode(), datetime.now(UTC)),
    "configuration": lambda text: locate.key_lines(text),
}

# Parts that are repeated; names of names, words, brackets, and what begins and never ends.
PARTS = [
    *(
        "1 ",
        "1s",
        "1h2",
        "0",
        "a. IN ",
        "a. 60 IN TXT x\n",
        "a. TXT ",
        "(",
        ")",
        "( a\n",
        '"',
        '"a"',
    ),
    *("\\", ";", "\n", " ", "\t\n", "/*", "/**/", "//", "#", "key a {", "key ", 'secret "', "{}"),
    *("a. TLSA 3 1 1 aa\n", "a. IN TLSA 3 1 1 (", "aa ", "a.TLSA ", "IN ", "SOA ", "$", "}{"),
    "@ SOA a b 1\n",
    "2026-11-30 12:00:00,000:DEBUG:acme.client:Sending GET request to https://a:\n",
    "2026-11-30 12:00:00,000:DEBUG:acme.client:Received response:\nHTTP 200\na: b\n\n{\n",
    "2026-11-30 12:00:00,000:ERROR:certbot._internal.log:Exiting abnormally:\n",
    *("  Domain: a\n  Type: b\n  Detail: c\n", "  Domain: a\n", "  Type: \n"),
    "-----BEGIN RSA PRIVATE KEY-----\n",
    "-----BEGIN A PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
    *("Proc-Type: 4,ENCRYPTED\n", "-----END RSA PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----"),
    *("[a]\n", "a = 1\n", "a = [", "a.b.", '"""', "'''", "[[a]]\n", "a = {"),
]


@pytest.mark.parametrize("name", READERS)
def test_reading_files_of_others_takes_linear_time(name: str) -> None:
    for part in PARTS:
        for begin in ("", "a. 60 IN TLSA 3 1 1 ", "a 1 SOA ", "key a {"):
            for size in (1 << 13, 1 << 16):
                text = begin + part * (size // len(part))
                bound, taken = 0.05 + size * 1e-5, [0.0]
                for _ in range(3):  # what is slow by chance, on a busy machine, is so only once
                    before = time.thread_time()
                    with suppress(SslmError, BIND_PROBLEM):
                        READERS[name](text)
                    taken.append(time.thread_time() - before)
                    if taken[-1] < bound:
                        break
                assert taken[-1] < bound, (part, begin, size, taken)
                if taken[-1] * 8**2 < bound:  # as above: eight times as long
                    break


def test_numbers_of_any_length_are_no_error() -> None:
    """Python refuses to read numbers of more than 4300 digits."""
    digits = "1" * 5000
    assert include.parse_tlsa(f"a.example. {digits} IN TLSA 3 1 1 aa\n".encode(), 60) == {}
    with pytest.raises(BIND_PROBLEM, match="not a number"):
        SCRIPT.with_next_serial(f"@ SOA a. b. {digits} 1 1 1 1\n", "/zone")


@pytest.mark.parametrize("ttl", ["60", "1h", "1H30m", "1w2d3h4m5s", "1h30"])
def test_lifetimes_in_words_are_still_read(ttl: str) -> None:
    assert include.parse_tlsa(f"a.example. {ttl} IN TLSA 3 1 1 aa\n".encode(), 7)
    text = f"@ {ttl} IN SOA a. b. 7 1 1 1 1\n"
    assert " 8 1 1" in SCRIPT.with_next_serial(text, "/zone")
