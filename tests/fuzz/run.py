"""`make fuzz`: every target, for a while, with inputs that an engine looks for (atheris).

    python -m tests.fuzz.run [--seconds N] [TARGET ...]

What an engine finds is kept in `found/TARGET/` below this folder, and tried first by the tests
from then on. Exit status: 0 if nothing was found, 1 if something was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

FOUND = Path(__file__).with_name("found")

# Inputs that reached something new, to go on from the next time; not kept with the program.
CORPUS = Path(__file__).parents[2] / ".fuzz"

# Seconds for one target: what a release is tried with.
SECONDS = 300


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the readers of bytes of others.")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--one", action="store_true", help="run the one TARGET in this process")
    options = parser.parse_args()
    if options.one:
        return _fuzz(options.targets[0], options.seconds)
    from tests.fuzz.targets import TARGETS

    names = options.targets or sorted(TARGETS)
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"no target {', '.join(unknown)}; there are: {', '.join(sorted(TARGETS))}")
    print(f"{len(names)} targets, {options.seconds} s each, {_at_once()} at a time", flush=True)
    with ThreadPoolExecutor(_at_once()) as pool:
        return max(pool.map(lambda name: _child(name, options.seconds), names))


def _at_once() -> int:
    return len(os.sched_getaffinity(0))


def _child(name: str, seconds: int) -> int:
    command = [sys.executable, "-m", "tests.fuzz.run", "--one", "--seconds", str(seconds), name]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = [
        line
        for line in (run.stderr + run.stdout).splitlines()
        if not line.startswith(("#", "INFO", "WARNING", "stat::"))
    ]
    wanted = [line for line in lines if line.startswith(("inputs:", "Done "))]
    print(f"{name}: {'; '.join(wanted) or 'ended'}", flush=True)
    if run.returncode:
        print("\n".join(f"    {line!a}" for line in lines[-40:]), flush=True)
    return 1 if run.returncode else 0


def _fuzz(name: str, seconds: int) -> int:
    try:
        import atheris
    except ImportError:
        return _mutate(name, seconds)
    with atheris.instrument_imports(include=["sslmd"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    folder = FOUND / name
    folder.mkdir(parents=True, exist_ok=True)
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = corpus.with_suffix(".words")
    words.write_text("".join(f'"{_escaped(one)}"\n' for one in target.tokens))
    arguments = [
        *(sys.argv[0], f"-max_total_time={seconds}", f"-max_len={target.most}", "-timeout=10"),
        *(f"-artifact_prefix={folder}/", f"-dict={words}", "-print_final_stats=1"),
        *(str(corpus), str(folder)),
    ]
    atheris.Setup(arguments, target.attempt)
    atheris.Fuzz()
    return 0


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)


def _mutate(name: str, seconds: int) -> int:
    """Do what can be done without an engine."""
    from tests.fuzz.mutate import mutations
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    end = time.monotonic() + seconds
    count = 0
    for data in mutations(Random(), target.seeds(), target.tokens, target.most):
        try:
            target.attempt(data)
        except Exception:
            file = FOUND / name / hashlib.sha256(data).hexdigest()[:16]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            print(f"kept as {file}", file=sys.stderr)
            raise
        count += 1
        if time.monotonic() > end:
            break
    print(f"inputs: {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
