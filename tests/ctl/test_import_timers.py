"""What `sslmctl import --check` says of that which starts ssl-mgr's programs by the clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslmd.ctl import import_tree


def test_what_is_needed_on_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {
        "mgr": "5 1 * * * root /usr/bin/sslm-mgr -renew\n",
        "dh": "30 2 * * 2 root /usr/bin/sslm-dhparm -s /etc/ssl-mgr/prod-certs\n",
        "off": "#5 1 * * * root /usr/bin/sslm-mgr -renew\n",
    }
    for name, line in lines.items():
        (tmp_path / name).write_text(line)
    monkeypatch.setattr(import_tree, "_TIMERS", (f"{tmp_path}/*",))
    dh, mgr = import_tree.timers()
    assert dh.startswith(f"{tmp_path}/dh starts sslm-dhparm: keep that")
    assert "[dh]" in dh
    assert mgr.startswith(f"{tmp_path}/mgr starts sslm-mgr: not needed any more")
