"""The network process beside the real daemon: it is apart, and its end is no end of the daemon."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.stand.server import wait_until
from tests.stand.site import Site


def _children(pid: int) -> list[int]:
    """Every process that a process has started and that is the network process."""
    found = [
        child
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return [int(one) for one in found if Path(f"/proc/{one}/comm").read_text() == "sslmd-net\n"]


def _pid(site: Site) -> int:
    return int(json.loads(site.ctl("status", "--json").stdout)["daemon"]["pid"])


def _another(site: Site, *before: int) -> int:
    def there() -> bool:
        found = _children(_pid(site))
        return len(found) == 1 and found[0] not in before

    wait_until(there, "a network process")
    return _children(_pid(site))[0]


def test_it_is_started_with_the_daemon_and_ends_with_it(site: Site) -> None:
    site.start()
    first = _another(site)

    def ready() -> bool:
        told = json.loads(site.ctl("status", "--json").stdout)["daemon"]["network_process"]
        return bool(told["pid"] == first and "no-new-privs" in told["limits"])

    wait_until(ready, "its limits")
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
    site.start()
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
    site.start("--once", ready=False)
    assert site.wait() == 0
    assert not [line for line in site.lines if "network process was" in line]
