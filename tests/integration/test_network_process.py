"""The network process beside the real daemon: it is apart, and its end is no end of the daemon."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.stand.server import wait_until
from tests.stand.site import Site

# A daemon that is started as a program starts its network process so too.
AS_A_PROGRAM = ("env",)


def _children(pid: int) -> list[int]:
    """Every process that a process has started and that is the network process."""
    found = [
        child
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return [int(one) for one in found if Path(f"/proc/{one}/comm").read_text() == "sslmd-net\n"]


def _daemon(site: Site) -> dict[str, Any]:
    return dict(json.loads(site.ctl("status", "--json").stdout)["daemon"])


def _another(site: Site, *before: int) -> int:
    """Return the one that is there now, when it has its limits and has answered."""

    def there() -> bool:
        now = _daemon(site)
        told = now["network_process"]
        if not told or "no-new-privs" not in told["limits"] or told["pid"] in before:
            return False
        return _children(now["pid"]) == [told["pid"]]

    wait_until(there, "a network process")
    return _children(_daemon(site)["pid"])[0]


def test_it_is_started_with_the_daemon_and_ends_with_it(site: Site) -> None:
    site.start(wrapper=AS_A_PROGRAM)
    first = _another(site)
    if os.geteuid() == 0:
        files = [os.readlink(one) for one in Path(f"/proc/{first}/fd").iterdir()]
        assert not [name for name in files if str(site.top) in name]
        # Its link, and how its event loop wakes itself; not the daemon's listener.
        listening = Path("/proc/net/unix").read_text()
        (inode,) = [line.split()[6] for line in listening.splitlines() if str(site.socket) in line][
            :1
        ]
        assert f"socket:[{inode}]" not in files
    assert site.stop() == 0
    wait_until(lambda: not os.path.exists(f"/proc/{first}"), "its end")

    site.start()
    second = _another(site)
    site.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{second}"), "its end")


def test_its_end_is_told_once_and_another_one_is_started(site: Site) -> None:
    site.start(wrapper=AS_A_PROGRAM)
    site.wait_settled()
    gone = [_another(site)]
    for _ in range(4):
        os.kill(gone[-1], signal.SIGKILL)
        gone.append(_another(site, *gone))
    site.wait_line("the network process was killed by SIGKILL")
    assert sum("was killed by SIGKILL" in line for line in site.lines) == 1
    # So often is trouble, although one runs.
    wait_until(lambda: "ended 4 times within an hour" in site.ctl("status").stdout, "trouble")
    assert "network process" in site.ctl("check", status=1).stdout
    (told,) = [
        one
        for one in json.loads(site.ctl("status", "--json").stdout)["net"]
        if one["text_code"] == "net-ends"
    ]
    assert told["text_facts"]["times"] == 4
    site.ctl("force-renew", "example.com/web-ec")


def test_once_ends_with_it(site: Site) -> None:
    site.start("--once", wrapper=AS_A_PROGRAM, ready=False)
    assert site.wait() == 0
    assert not [line for line in site.lines if "network process was" in line]
