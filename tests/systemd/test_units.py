"""The files for systemd, looked at by systemd itself where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sslmd.acme import launch
from sslmd.daemon.loop import ORDERS
from sslmd.daemon.options import MAX_JOBS
from sslmd.net import sandbox
from sslmd.net.client import USER
from sslmd.notify import failed_unit
from sslmd.servers import unit as unit_of_servers
from sslmd.wire.messages import SOCKET_GROUP, SOCKET_PATH
from sslmd.wire.sending import NOTIFY_SOCKET, NOTIFY_USER, SECONDS
from tests.stand.server import ROOT

UNIT = ROOT / "systemd" / "sslmd.service"
USERS = ROOT / "systemd" / "sysusers.d" / "sslmd.conf"
FILES = ROOT / "systemd" / "tmpfiles.d" / "sslmd.conf"
SOCKET, MESSAGE, FAILED = SENDING = [
    ROOT / "systemd" / name
    for name in ("sslmd-notify.socket", "sslmd-notify@.service", "sslmd-failed@.service")
]

# Of `systemd-analyze security`, in tenths: 2.6 with systemd 252, of which 0.3 are for the user of
# the network process. More would be a door reopened.
EXPOSURE = 27


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian package systemd)")
    return path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A copy of the unit that starts a program which is there."""
    copy = tmp_path / "sslmd.service"
    text = UNIT.read_text()
    assert text.count("\nExecStart=/usr/bin/sslmd\n") == 1
    text = text.replace("ExecStart=/usr/bin/sslmd", "ExecStart=/bin/true")
    copy.write_text(text.replace("ExecReload=/usr/bin/sslmctl", "ExecReload=/bin/true"))
    for path in SENDING:
        text = path.read_text()
        (tmp_path / path.name).write_text(re.sub(r"/usr/lib/sslmd/bin/\S+", "/bin/true", text))
    return copy


def settings(unit: Path = UNIT) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    # Its man page is not installed here: --man=no.
    names = ["sslmd.service", "sslmd-notify.socket", "sslmd-notify@x.service"]
    names.append("sslmd-failed@sslmd.service.service")
    checked = run(
        *("env", f"SYSTEMD_UNIT_PATH={unit.parent}:", tool("systemd-analyze"), "verify"),
        *("--man=no", *(str(unit.parent / name) for name in names)),
    )
    if "Failed to" in checked.stderr and "sslmd.service" not in checked.stderr:
        pytest.skip(f"systemd-analyze cannot work here: {checked.stderr.strip()}")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_unit_is_as_narrow_as_it_was(unit: Path) -> None:
    checked = run(
        tool("systemd-analyze"),
        "security",
        "--offline=true",
        "--no-pager",
        f"--threshold={EXPOSURE}",
        str(unit),
    )
    if "Overall exposure level" not in checked.stdout:
        pytest.skip(f"this systemd-analyze cannot rate files: {checked.stderr.strip()}")
    assert checked.returncode == 0, checked.stdout[-200:]


def test_the_unit_speaks_of_what_the_daemon_does() -> None:
    have = settings()
    assert have["Type"] == ["notify"]
    assert have["NotifyAccess"] == ["main"]
    # Waits for the end, and fails when the configuration is refused.
    assert have["ExecReload"] == ["/usr/bin/sslmctl reload"]
    assert have["Restart"] == ["on-failure"]
    assert "WatchdogSec" in have
    assert have["UMask"] == ["0077"]
    # A core dump would hold keys (I2).
    assert have["LimitCORE"] == ["0"]
    assert str(Path(SOCKET_PATH).parent) in have["ReadWritePaths"][0].split()


def test_the_daemon_may_end_its_network_process_that_has_another_user() -> None:
    """One that is stopped, or was taken over, does not end by itself (capabilities(7))."""
    have = settings()
    capabilities = frozenset(" ".join(have["CapabilityBoundingSet"]).split())
    assert {"CAP_KILL", "CAP_SETUID", "CAP_SETGID"} <= capabilities
    assert unit_of_servers.PACKAGED.capabilities == capabilities


def test_bounds_that_the_largest_site_fits_into() -> None:
    """10,000 services, and forty hosts at once; what one bad order takes ends nothing else."""
    have = settings()
    assert have["OOMPolicy"] == ["continue"]
    memory, tasks = have["MemoryMax"][0], int(have["TasksMax"][0])
    assert memory.endswith("G")
    most = int(memory[:-1]) << 30
    # docs/benchmarks.md; an ssh and an rsync of 20 MB in all, an order of 60 MB.
    benchmarks = (ROOT / "docs/benchmarks.md").read_text()
    found = re.findall(r"^\| resident memory.*\| (\d+) MB \|$", benchmarks, re.MULTILINE)
    daemon = max(map(int, found)) << 20
    orders, hosts = 2 * ORDERS, 40
    assert daemon + hosts * (20 << 20) + orders * (60 << 20) + sandbox.MEMORY < most
    # Half of the orders at their limit as well: those of one bad CA.
    assert daemon + hosts * (20 << 20) + ORDERS * launch.MEMORY <= most
    assert 64 * 5 + MAX_JOBS * 4 + orders * 4 + 120 < tasks


def test_a_daemon_that_cannot_start_is_given_up_and_one_that_dies_is_not() -> None:
    """Only then is the unit `failed` at last, and OnFailure= fires (systemd.unit(5))."""
    have = settings()
    pause, tries = int(have["RestartSec"][0]), int(have["StartLimitBurst"][0])
    within = int(have["StartLimitIntervalSec"][0].removesuffix("min")) * 60
    at_start, minute = 2, 60  # seconds until it fails at once, and after which it has worked
    assert (tries - 1) * (pause + at_start) < within
    assert (tries - 1) * (pause + minute) > within
    # A usage error (argparse): the options do not change by themselves.
    assert have["RestartPreventExitStatus"] == ["2"]


def test_every_relaxation_says_what_it_is_for() -> None:
    """Settings that open something stand below a comment that says RELAXED."""
    text = UNIT.read_text()
    hardening = text[text.index("# --- Hardening") :]
    blocks = re.findall(r"((?:^#.*\n)*)((?:^[A-Z]\w+=.*\n)+)", hardening, re.MULTILINE)
    explained = "".join(comment for comment, lines in blocks if "RELAXED" in comment)
    opening = ("ReadWritePaths", "ProtectHome", "CapabilityBoundingSet", "RestrictAddressFamilies")
    for key in opening:
        comment = next(comment for comment, lines in blocks if re.search(f"^{key}=", lines, re.M))
        assert "RELAXED" in comment, key
    for absent in ("User=", "ProtectProc=", "ProcSubset=", "IPAddressDeny="):
        assert f"\n{absent}" not in text
        assert absent in hardening, absent
    assert "@chown" in explained


# What makes systemd take new privileges from a unit with a User= (systemd.exec(5)).
_NO_NEW_PRIVILEGES = re.compile(
    "NoNewPrivileges|SystemCall|RestrictAddress|RestrictNamespaces|RestrictRealtime|RestrictSUID"
    "|PrivateDevices|ProtectKernel|ProtectClock|ProtectHostname|MemoryDeny|LockPersonality"
    "|DynamicUser|CapabilityBoundingSet|PrivateUsers"
)


@pytest.mark.parametrize("unit", [MESSAGE, FAILED], ids=lambda one: one.name)
def test_sendmail_works_in_what_sends(unit: Path) -> None:
    have = settings(unit)
    assert not [key for key in have if _NO_NEW_PRIVILEGES.match(key)]
    assert have["User"] == [NOTIFY_USER]
    # Mail servers write to /var, and deliver after the program has ended.
    assert have["ProtectSystem"] == ["full"]
    assert have["KillMode"] == ["process"]
    assert have["LimitCORE"] == ["0"]
    assert have["InaccessiblePaths"] == ["-/etc/ssl-mgr/certs"]
    assert have["CollectMode"] == ["inactive-or-failed"]


def test_messages_are_taken_from_the_daemon_alone() -> None:
    have = settings(SOCKET)
    assert have["ListenStream"] == [NOTIFY_SOCKET]
    assert have["SocketMode"] == ["0600"]
    assert "SocketUser" not in have  # root's
    assert have["Accept"] == ["yes"]
    # It is there whenever the daemon is.
    assert settings()["Wants"] == [SOCKET.name]
    assert have["PartOf"] == have["Before"] == [UNIT.name]
    message = settings(MESSAGE)
    assert message["StandardInput"] == message["StandardOutput"] == ["socket"]
    assert int(message["RuntimeMaxSec"][0]) > SECONDS
    assert message["MemoryMax"] == [f"{sandbox.MEMORY >> 20}M"]


def test_a_daemon_that_is_given_up_is_told_of() -> None:
    assert settings()["OnFailure"] == ["sslmd-failed@%n.service"]
    have = settings(FAILED)
    assert have["ExecStart"] == ["/usr/lib/sslmd/bin/sslmd-notify --failed %i"]
    assert have["Environment"] == [f"{failed_unit.ENVIRONMENT}={failed_unit.DEFAULT}"]
    assert "OnFailure" not in have


def test_the_group_of_the_socket_is_made(tmp_path: Path) -> None:
    lines = [line for line in USERS.read_text().splitlines() if line[:1] not in ("#", "")]
    assert [line.split()[:3] for line in lines] == [
        ["g", SOCKET_GROUP, "-"],
        ["u", USER, "-"],
        ["u", NOTIFY_USER, "-"],
    ]
    (tmp_path / "etc").mkdir()
    command = [tool("systemd-sysusers"), "--dry-run", f"--root={tmp_path}"]
    made = run(*command, str(USERS))
    if "unrecognized option" in made.stderr:
        pytest.skip("this systemd-sysusers has no --dry-run")
    assert made.returncode == 0, made.stderr
    assert f"group '{SOCKET_GROUP}'" in made.stdout + made.stderr
    for user in (USER, NOTIFY_USER):
        assert f"user '{user}'" in made.stdout + made.stderr


def test_the_folders_are_made(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    # Numbers in place of names: this root has no users, and the tests need not be root's.
    me, mine = str(tmp_path.stat().st_uid), str(tmp_path.stat().st_gid)
    text = re.sub(r"root\s+sslmd$", f"{me} {mine}", FILES.read_text(), flags=re.MULTILINE)
    text = text.replace(":root :root", f":{me} :{mine}")
    copy = tmp_path / "sslmd.conf"
    copy.write_text(text)
    made = run(tool("systemd-tmpfiles"), "--create", f"--root={tmp_path}", str(copy))
    assert (made.returncode, made.stderr) == (0, "")
    modes = {
        "run/sslmd": 0o750,
        "etc/ssl-mgr": 0o755,
        "etc/ssl-mgr/conf.d": 0o755,
        "etc/ssl-mgr/certs": 0o750,
        "etc/ssl-mgr/prod-certs": 0o750,
    }
    assert {name: (tmp_path / name).stat().st_mode & 0o7777 for name in modes} == modes


def test_folders_that_are_there_keep_their_modes(tmp_path: Path) -> None:
    """A tree that others were let into on purpose must not be closed by an installation."""
    prod = tmp_path / "etc" / "ssl-mgr" / "prod-certs"
    prod.mkdir(parents=True)
    prod.chmod(0o755)
    me, mine = str(tmp_path.stat().st_uid), str(tmp_path.stat().st_gid)
    text = "\n".join(line for line in FILES.read_text().splitlines() if "prod-certs" in line)
    copy = tmp_path / "sslmd.conf"
    copy.write_text(text.replace(":root :root", f":{me} :{mine}") + "\n")
    made = run(tool("systemd-tmpfiles"), "--create", f"--root={tmp_path}", str(copy))
    assert (made.returncode, made.stderr) == (0, "")
    assert prod.stat().st_mode & 0o7777 == 0o755
