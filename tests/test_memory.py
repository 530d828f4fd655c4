"""Nobody else looks into a process of ours, as whatever user it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslmd.acme import launch
from tests.stand.attacker import NOBODY, let_in
from tests.stand.server import ROOT
from tests.stand.site import Site

PATIENCE = 60.0

# What is known to the process itself: PR_GET_DUMPABLE of prctl(2), and the limit.
_TELL = """
import ctypes, json, resource
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
print(json.dumps([dumpable, resource.getrlimit(resource.RLIMIT_CORE)]))
"""
_CLOSED = [0, [0, 0]]

# Who changes the user is closed for that alone; who is started by a user is not.
_AS_NOBODY = f"""
import ctypes, os, sys
from sslmd.daemon import main
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
sys.argv = sys.argv[3:]
main.main()
"""
_LOOK = f"""
import ctypes, json, os, sys
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
pid, seen = sys.argv[1], []
for name in ("environ", "maps", "mem"):
    try:
        seen.append(open(f"/proc/{{pid}}/{{name}}", "rb").read(1) != b"")
    except OSError as err:
        seen.append(err.strerror)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
seen.append(libc.ptrace(16, int(pid), None, None) or True)  # PTRACE_ATTACH
print(json.dumps(seen))
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root can")


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*argv],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def last(said: str) -> object:
    return json.loads(said.splitlines()[-1])


@pytest.mark.parametrize(
    "call",
    [
        "import sslmd.daemon.main as m; sys.argv[1:] = ['--version']; m.main()",
        "import sslmd.offline.sslm_info as m; m.main(['--version'])",
        "import sslmd.offline.sslm_verify as m; m.main(['--version'])",
        "import sslmd.offline.sslm_dhparm as m; m.main(['--version'])",
        "import sslmd.ctl.main as m; m.main(['import', '--check', '/nowhere'])",
        "import sslmd.ctl.main as m; m.main(['--socket', '/no', 'doctor', '--conf-dir', '/no'])",
    ],
)
def test_what_reads_keys_is_closed(call: str) -> None:
    code = f"import sys\ntry:\n    {call}\nexcept SystemExit:\n    pass\n{_TELL}"
    done = run(sys.executable, "-c", code)
    assert last(done.stdout) == _CLOSED, done.stderr


def test_a_fork_stays_closed() -> None:
    code = "import os\nfrom sslmd.memory import keep_private\nkeep_private()\nif os.fork():\n"
    code += f"    os.wait(); os._exit(0)\n{_TELL}"
    assert last(run(sys.executable, "-c", code).stdout) == _CLOSED


@pytest.mark.parametrize("first", [f"#!{sys.executable}", "#!/usr/bin/python3"])
def test_a_tied_script_is_closed_and_gets_its_words(tmp_path: Path, first: str) -> None:
    if not os.access(first.removeprefix("#!"), os.X_OK):
        pytest.skip(f"there is no {first.removeprefix('#!')}")
    script = tmp_path / "certbot"
    text = "import sys\nassert __name__ == '__main__'\nprint(sys.argv[1:], *sys.path)\n"
    script.write_text(f"{first}\n{text}{_TELL}sys.exit(7)\n")
    script.chmod(0o755)
    done = run(*launch.tied(), str(script), "certonly", "--x=--closed")
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("['certonly', '--x=--closed'] ")
    assert "-packages" in done.stdout  # as its own first line would have it
    assert last(done.stdout) == _CLOSED


def test_what_takes_up_an_order_is_closed(tmp_path: Path) -> None:
    script = tmp_path / "resume.py"
    script.write_text(_TELL)
    assert last(run(*launch.tied(), *launch.closed(str(script))).stdout) == _CLOSED


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("#!/bin/sh\necho sh $1\n", "sh certonly"),
        ("#!/usr/bin/env python3\nimport sys; print('env', sys.argv[1])\n", "env certonly"),
    ],
)
def test_another_tied_program_is_run_as_it_is(tmp_path: Path, content: str, said: str) -> None:
    script = tmp_path / "certbot"
    script.write_text(content)
    script.chmod(0o755)
    assert run(*launch.tied(), str(script), "certonly").stdout == f"{said}\n"


def test_a_tied_program_that_cannot_be_run_says_so(tmp_path: Path) -> None:
    script = tmp_path / "certbot"
    for reason in ("No such file or directory", "Permission denied"):
        done = run(*launch.tied(), str(script))
        assert (done.returncode, done.stderr) == (127, f"cannot start {script}: {reason}\n")
        script.write_text(f"#!{sys.executable}\n")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    tmp_path.chmod(0o755)
    let_in(tmp_path)
    site = Site(tmp_path / "top")
    for path in (site.top, *site.top.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    try:
        yield site
    finally:
        site.end()


@needs_root
def test_no_process_of_the_same_user_looks_into_the_daemon(site: Site) -> None:
    site.start(wrapper=(sys.executable, "-c", _AS_NOBODY))
    assert site.process is not None
    done = run(sys.executable, "-c", _LOOK, str(site.process.pid))
    assert last(done.stdout) == [*["Permission denied"] * 3, -1], done.stderr
    limits = Path(f"/proc/{site.process.pid}/limits").read_text().splitlines()
    core = next(line.split() for line in limits if line.startswith("Max core file size"))
    assert core[4:6] == ["0", "0"]
    # And it works all the same, where /proc/self belongs to root now.
    assert "example.com" in site.ctl("status").stdout
