"""What speaks with a CA runs under limits, and what it says at each of them is understood."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from sslmd.acme import launch
from sslmd.acme.certbot import AcmeServer, environment
from sslmd.acme.problems import limit_met, read_problem, to_error
from sslmd.acme.refusals import ProblemKind
from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.store.layout import OrderFolders
from tests.acme.test_certbot import SERVER

URL = "https://acme.example/directory"


def run(script: str, server: AcmeServer = SERVER) -> subprocess.CompletedProcess[str]:
    """Run a script as certbot is run."""
    place = OrderFolders("/nonexistent", "/nonexistent/order")
    command = [*launch.tied(), sys.executable, "-I", "-S", "-c", script]
    return subprocess.run(
        command, env=environment(server, place), capture_output=True, text=True, check=False
    )


def test_the_limits_are_there_before_it_is() -> None:
    done = run(
        "import os, resource\n"
        "for name in ('DATA', 'AS', 'FSIZE', 'NPROC', 'NOFILE', 'CPU'):\n"
        "    print(resource.getrlimit(getattr(resource, f'RLIMIT_{name}'))[0])\n"
        "print(open('/proc/self/oom_score_adj').read().strip())\n"
        "print('SSLM_LIMITS' in os.environ, 'SSLM_LIMITED' in os.environ)\n"
    )
    assert done.stderr == ""
    assert done.stdout.split() == [
        *(str(most) for _, most in launch.LIMITS), "1000", "False", "False",
    ]  # fmt: skip


def test_what_is_not_to_be_limited_is_not() -> None:
    """openssl may take hours for a Diffie-Hellman group."""
    command = [*launch.tied(), sys.executable, "-I", "-S", "-c"]
    script = "import resource; print(resource.getrlimit(resource.RLIMIT_CPU)[0])"
    done = subprocess.run([*command, script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == resource.getrlimit(resource.RLIMIT_CPU)[0]


def test_limits_that_are_narrower_already_stay() -> None:
    script = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    narrow = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99));"
        "os.environ.update(SSLM_LIMITED='1'); sys.argv[5] = str(os.getppid());"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [*launch.tied(), sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(
        [sys.executable, "-c", narrow, *command], capture_output=True, text=True, check=False
    )
    assert done.stdout == "99\n", done.stderr


# Each limit, met; and what is told of it. Processor time is cut short, and processes need another
# user than root: what they say is as Python says it.
MET = [
    ("data = bytearray(1 << 30)", "needed more than 256 MiB of memory"),
    (
        "import tempfile\n"
        "with tempfile.TemporaryFile() as file:\n"
        "    for _ in range(20):\n"
        "        file.write(bytes(1 << 20))",
        "wrote more than 16 MiB into a file",
    ),
    (
        "kept = []\nwhile True:\n    kept.append(open('/dev/null'))",
        "opened more than 256 files",
    ),
    (
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 20))\nwhile True:\n    pass",
        "used more than 120 s of processor time",
    ),
    (
        "raise BlockingIOError(11, 'Resource temporarily unavailable')",
        "started a process when its user had 4096",
    ),
]


@pytest.mark.parametrize(("script", "told"), MET)
def test_each_limit_is_told_as_what_it_is(script: str, told: str) -> None:
    done = run(script)
    problem = read_problem(done.returncode, done.stdout + done.stderr, "", datetime.now(UTC), URL)
    assert problem.kind is ProblemKind.TOO_MUCH
    assert problem.text.startswith(f"certbot {told}, and was ended: the CA acme.example may send")
    assert "cb/logs/letsencrypt.log" in problem.text
    assert type(to_error(problem, datetime.now(UTC))) is Transient


@pytest.mark.parametrize(
    ("status", "said"),
    [(1, ""), (1, "Detail: MemoryError"), (-9, "killed"), (0, " [Errno 12] "), (-64, "")],
)
def test_what_is_no_limit(status: int, said: str) -> None:
    assert limit_met(status, said) is None


def test_processes_of_another_user_are_limited() -> None:
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    script = (
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "os.fork()\n"
    )
    done = run(script)
    limit = limit_met(done.returncode, done.stderr)
    assert limit is not None, done.stderr
    assert limit.code is Failed.LIMIT_PROCESSES
