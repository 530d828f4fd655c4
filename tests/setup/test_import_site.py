"""What `sslmctl import --check` says of what is around a tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslmd.setup.import_site import timers

MGR = "/usr/bin/sslm-mgr -renew"


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "name",
    [
        "etc/crontab",
        "etc/cron.d/certs",
        "etc/cron.daily/certs",
        "var/spool/cron/root",
        "var/spool/cron/crontabs/certs",
    ],
)
def test_cron(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, f"# renews\n5 1 * * * root {MGR}\n")
    (said,) = timers(str(tmp_path))
    assert said.startswith(f"{tmp_path}/{name} starts sslm-mgr: not needed any more; take that out")


def test_what_is_off_and_what_is_needed_on(tmp_path: Path) -> None:
    put(tmp_path, "etc/cron.d/off", f"#5 1 * * * root {MGR}\n")
    put(tmp_path, "etc/cron.d/other", "5 1 * * * root /usr/bin/sslm-mgrx\n")
    put(tmp_path, "etc/cron.d/dh", "30 2 * * 2 root /usr/bin/sslm-dhparm -s /etc/ssl-mgr\n")
    (tmp_path / "etc/cron.d/folder").mkdir()
    (tmp_path / "etc/cron.d/gone").symlink_to("nowhere")
    (said,) = timers(str(tmp_path))
    assert said.startswith(f"{tmp_path}/etc/cron.d/dh starts sslm-dhparm: keep that")
    assert "[dh]" in said


def test_a_script_that_cron_starts(tmp_path: Path) -> None:
    put(tmp_path, "etc/crontab", "5 1 * * * root /root/bin/renew-certs >/dev/null\n")
    put(tmp_path, "root/bin/renew-certs", f"#!/bin/sh\n{MGR} && logger done\n")
    (said,) = timers(str(tmp_path))
    assert f"{tmp_path}/etc/crontab starts sslm-mgr (by /root/bin/renew-certs)" in said


def test_a_timer_of_systemd(tmp_path: Path) -> None:
    unit = f"[Service]\nType=oneshot\nExecStart={MGR}\n"
    put(tmp_path, "etc/systemd/system/certs.service", unit)
    put(tmp_path, "etc/systemd/system/certs.timer", "[Timer]\nOnCalendar=daily\n")
    put(tmp_path, "usr/lib/systemd/system/certs.service", unit)
    put(tmp_path, "etc/systemd/system/other.service", "[Service]\nExecStart=/bin/true\n")
    wants = tmp_path / "etc/systemd/system/timers.target.wants"
    wants.mkdir()
    (wants / "certs.timer").symlink_to("/etc/systemd/system/certs.timer")
    (said,) = timers(str(tmp_path))
    assert f"{tmp_path}/etc/systemd/system/certs.service starts sslm-mgr" in said
    assert "run: systemctl disable --now certs.timer certs.service" in said
    # As that leaves it.
    (wants / "certs.timer").unlink()
    (said,) = timers(str(tmp_path))
    assert "neither certs.timer nor certs.service is enabled" in said
    assert "disable" not in said


def test_words_of_others_are_not_believed_to_be_text(tmp_path: Path) -> None:
    put(tmp_path, "etc/cron.d/x", "")
    (tmp_path / "etc/cron.d/x").write_bytes(b"\xff\x00" * 100 + f"\n* * * * * {MGR}\n".encode())
    assert len(list(timers(str(tmp_path)))) == 1
