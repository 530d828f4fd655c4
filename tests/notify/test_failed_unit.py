"""What is told when a unit failed, and to whom. (That it arrives: tests/integration.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from sslmd.core.plain import is_plain
from sslmd.notify import failed_unit


def test_the_message_says_what_where_and_what_to_do() -> None:
    subject, lines = failed_unit.told("sslmd.service", "mail\n\x1b[2J", ["● x", "last words"])
    assert subject.startswith("sslmd.service failed on mail")
    assert is_plain(subject)
    text = "\n".join(lines)
    assert "journalctl -u sslmd.service" in text
    assert "systemctl reset-failed sslmd.service" in text
    assert lines[-1] == "last words"


def test_addresses_of_the_unit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv(failed_unit.ENVIRONMENT, raising=False)
    assert failed_unit.addresses() == ["mailto:root"]
    monkeypatch.setenv(failed_unit.ENVIRONMENT, "mailto:a  ntfys://h/t")
    assert failed_unit.addresses() == ["mailto:a", "ntfys://h/t"]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert failed_unit.addresses() == ["mailto:a", "ntfys://h/t"]
    (tmp_path / failed_unit.CREDENTIAL).write_text("# phones\n\n slack://a/b/c \n")
    assert failed_unit.addresses() == ["slack://a/b/c"]


@pytest.mark.parametrize("unit", ["", "-h", "a b", "x;y", "a\n", "x" * 300, "../x"])
def test_what_is_no_unit(unit: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failed_unit.main(unit) == 2
    assert "no name of a unit" in capsys.readouterr().err
