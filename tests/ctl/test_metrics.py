"""`sslmctl metrics`: what Prometheus reads, from a daemon, without one, to a file and by HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sslmd.wire.messages import ErrorCode, Method
from tests.ctl.fake_daemon import ROOT, FakeDaemon, refusal, result, sslmctl
from tests.ctl.samples import cert, failing, one_set, rfc3339, status
from tests.metric_table import table, written

OWN: dict[str, Any] = {
    "version": "9.9.9",
    "started": rfc3339(-10),
    "planned_at": rfc3339(0),
    "loop_lag": 0.012,
    "refused": True,
    "jobs": [{"kind": "order", "queued": 3, "running": 1, "ended": 7, "seconds": 4.5}],
    "events": [{"event": "cert-issued", "number": 12}],
    "cas": [
        {
            "ca": "le",
            "issued": 12,
            "failed_validations": 2,
            "limits": [{"limit": "orders", "most": 300, "seconds": 10800, "used": 0.25}],
        }
    ],
    "zones": [
        {"zone": "example.com", "trouble": True, "changed": False, "waiting": 1, "servers": 3,
         "heard": 2}
    ],
    "network_process": {"up": True, "starts": 2},
    "alarms": [{"kind": "dane", "severity": "critical", "silenced": False, "number": 4}],
}  # fmt: skip
SERVER = {"class": "web", "host": "h\\\n", "state": "proven", "error": None, "attempts": 0}
CERTS = [
    cert(next=one_set(80.0), roll_at=rfc3339(1), servers=[SERVER, SERVER]),
    failing(failed_at=rfc3339(-0.5), dane={"ok": False, "problems": ["x"]}),
    cert("short", curr=one_set(5.0) | {"renewal_info": {"start": rfc3339(1), "end": rfc3339(2)}}),
]


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the values by name and labels; the text is one that Prometheus can read."""
    return {
        (sample.name.removeprefix("sslmd_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def daemon() -> FakeDaemon:
    return FakeDaemon({Method.STATUS: result(status(*CERTS)), Method.METRICS: result(OWN)})


def scraped(*args: str) -> str:
    with daemon() as fake:
        done = sslmctl("metrics", "--socket", fake.path, *args)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_number_has_its_name_and_labels() -> None:
    found = samples(scraped())
    one, other, short = (f"example.com:{name}" for name in ("web-ec", "mail-ec", "short"))
    assert found["up", ()] == 1
    assert found["info", ("9.9.9",)] == 1
    ends = "certificate_not_after_timestamp_seconds"
    assert found[ends, (one, "curr")] < found[ends, (one, "next")]
    assert (ends, (other, "next")) not in found
    assert found["certificate_failures", (other,)] == 2
    assert ("certificate_last_failure_timestamp_seconds", (other,)) in found
    assert ("certificate_last_failure_timestamp_seconds", (one,)) not in found
    # A DANE fault is critical, and so is a tenth of the life; both as `check` has it.
    severity = "certificate_severity"
    assert [found[severity, (name,)] for name in (one, other, short)] == [0, 2, 2]
    assert found["certificate_phase", (one, "settled")] == 1
    assert found["certificate_dane_ok", (other,)] == 0
    start = "certificate_renewal_window_start_timestamp_seconds"
    assert ((start, (short, "curr")) in found, (start, (one, "curr")) in found) == (True, False)
    # A host is somebody else's text: on one line, whatever it is.
    assert found["server_certificates", ("web", "h\\", "proven")] == 2
    assert found["jobs", ("order", "queued")] == 3
    assert found["job_duration_seconds_sum", ("order",)] == 4.5
    assert found["job_duration_seconds_count", ("order",)] == 7
    assert found["events_total", ("cert-issued",)] == 12
    assert found["ca_certificates_total", ("le",)] == 12
    assert found["ca_failed_validations", ("le",)] == 2
    assert found["ca_limit_used_ratio", ("le", "orders")] == 0.25
    assert found["zone_trouble", ("example.com",)] == 1
    assert found["zone_name_servers_heard", ("example.com",)] == 2
    assert found["network_process_starts_total", ()] == 2
    assert found["config_refused", ()] == 1
    assert found["alarms", ("dane", "critical", "false")] == 4


def test_promtool_finds_nothing_to_say() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=scraped(), capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_without_a_daemon_it_is_down(tmp_path: Path) -> None:
    done = sslmctl("metrics", "--socket", str(tmp_path / "none"))
    assert done.returncode == 3
    assert samples(done.stdout) == {("up", ()): 0}
    assert "no daemon answers" in done.stderr


def test_what_the_daemon_refuses_is_no_metric() -> None:
    refuses = refusal(ErrorCode.LIMIT, "too busy")
    with FakeDaemon({Method.STATUS: refuses, Method.METRICS: result(OWN)}) as fake:
        done = sslmctl("metrics", "--socket", fake.path)
    assert done.returncode != 0
    assert done.stdout == ""


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "sslmd.prom"
    file.write_text("old")
    assert scraped("--output", str(file)) == ""
    assert samples(file.read_text())["up", ()] == 1
    assert file.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["sslmd.prom"]
    # Also where nobody answers: a file of yesterday would say that all is well.
    sslmctl("metrics", "--socket", str(tmp_path / "none"), "--output", str(file))
    assert samples(file.read_text()) == {("up", ()): 0}
    (tmp_path / "folder.prom").mkdir()
    with daemon() as fake:
        done = sslmctl("metrics", "--socket", fake.path, "--output", str(tmp_path / "folder.prom"))
    assert done.returncode == 1
    assert "folder.prom: cannot be written" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["folder.prom", "sslmd.prom"]


def asked(request: bytes, path: str) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "sslmd.ctl.main", "metrics", "--http", "--socket", path]
        with subprocess.Popen(
            command, stdin=theirs.fileno(), cwd=ROOT, stderr=subprocess.PIPE
        ) as process:
            theirs.close()
            ours.sendall(request)
            ours.shutdown(socket.SHUT_WR)
            answer = b""
            while part := ours.recv(65536):
                answer += part
            assert process.wait(30) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
    return answer


@pytest.mark.parametrize(
    ("request_line", "status_line"),
    [
        ("GET /metrics HTTP/1.1", "200 OK"),
        ("HEAD /metrics HTTP/1.1", "200 OK"),
        ("GET /metrics?x=1 HTTP/1.1", "200 OK"),
        ("GET / HTTP/1.1", "404 see /metrics"),
        ("POST /metrics HTTP/1.1", "501 Unsupported method ('POST')"),
        (f"GET /{'a' * 70_000} HTTP/1.1", "414 Request-URI Too Long"),
        ("nonsense", "400 Bad request syntax ('nonsense')"),
    ],
)
def test_one_request_by_http(request_line: str, status_line: str) -> None:
    with daemon() as fake:
        answer = asked(f"{request_line}\r\nHost: localhost\r\n\r\n".encode(), fake.path)
    head, _, body = answer.partition(b"\r\n\r\n")
    if request_line == "nonsense":  # HTTP/0.9 has no head
        assert status_line.split()[0].encode() in answer
        return
    assert head.startswith(f"HTTP/1.0 {status_line}\r\n".encode())
    if status_line == "200 OK" and not request_line.startswith("HEAD"):
        assert b"Content-Type: text/plain; version=" in head
        assert samples(body.decode())["up", ()] == 1


def test_standard_input_has_to_be_a_socket() -> None:
    with daemon() as fake:
        done = sslmctl("metrics", "--socket", fake.path, "--http")
    assert done.returncode != 0
    assert "no socket" in done.stderr


def test_the_page_names_every_metric() -> None:
    page = ROOT / "docs/monitoring/prometheus.md"
    assert written(page.read_text()) == page.read_text()


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    known = set(re.findall(r"`(sslmd_\w+)`", table()))
    assert known
    for name in ("alerts.yml", "alerts-test.yml", "dashboard.json"):
        text = (ROOT / "docs/monitoring" / name).read_text()
        asked = set(re.findall(r"\bsslmd_\w+", text))
        assert asked
        assert asked <= known, name
    json.loads((ROOT / "docs/monitoring/dashboard.json").read_text())


@pytest.mark.parametrize("words", [("check", "rules", "alerts.yml"),
                                   ("test", "rules", "alerts-test.yml")])  # fmt: skip
def test_the_alerts_do_what_their_tests_say(words: tuple[str, ...]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    command = ["promtool", *words]
    folder = ROOT / "docs/monitoring"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
