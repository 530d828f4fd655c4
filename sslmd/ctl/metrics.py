"""`sslmctl metrics`: how everything stands, in the text format of Prometheus.

Made of the answers to `status` and `metrics`. Times are timestamps and not what is left of them, so
that a rule compares them with `time()`: https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from sslmd.console.answers import Cert, Fields, certs_of
from sslmd.console.args import Commands, arg, command, connect, flag
from sslmd.console.program import DONE, FAILED, CtlError, NoDaemon
from sslmd.core.trouble import Severity, troubles
from sslmd.wire.messages import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prometheus_client.core import Metric

# Seconds: a scrape has ten by default.
_TIMEOUT = 9.0

# Seconds for a request to arrive, and for its answer to be read.
_PATIENCE = 5.0

# What serves a folder of files to Prometheus may be another user.
_MODE = 0o644


def add(commands: Commands) -> None:
    """Declare the command."""
    command(
        commands,
        "metrics",
        run,
        "print how everything stands in the text format of Prometheus",
        "Where no daemon answers it prints `sslmd_up 0` and ends with 3.",
        arg(
            "--output",
            metavar="FILE",
            help="write this file instead, as a whole (for node_exporter's textfile collector)",
        ),
        flag("--http", "answer one HTTP request on standard input (for a socket of systemd)"),
    )


def run(args: argparse.Namespace) -> int:
    """Print them, write them, or answer a request with them."""
    if args.http:
        return _serve(args)
    body, err = _scraped(args)
    if args.output:
        _write(args.output, body)
    else:
        sys.stdout.write(body.decode())
        sys.stdout.flush()
    if err is not None:
        raise err
    return DONE


def _scraped(args: argparse.Namespace) -> tuple[bytes, CtlError | None]:
    """Return the text; where no daemon answers, that there is none, and why."""
    from prometheus_client import CollectorRegistry, generate_latest

    found: list[Metric] = []
    failed: CtlError | None = None
    try:
        with connect(args) as daemon:
            result = daemon.call(Method.STATUS, {"certs": None}, timeout=_TIMEOUT)
            own = Fields(daemon.call(Method.METRICS, {}, timeout=_TIMEOUT))
        now = datetime.now(UTC)
        found = [*_of_certs(certs_of(result), now), *_of_daemon(own)]
    except NoDaemon as err:
        failed = err
    found.append(_gauge("up", "Whether the daemon answers.", [], [((), float(failed is None))]))

    class Collected:
        """What was collected already."""

        def collect(self) -> Iterator[Metric]:
            return iter(found)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected())
    return generate_latest(registry), failed


# --- what is told ------------------------------------------------------------------------

_Rows = list[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, labels: list[str], rows: _Rows) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"sslmd_{name}", text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _counter(name: str, text: str, labels: list[str], rows: _Rows) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"sslmd_{name}", text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _stamp(rows: _Rows, labels: tuple[str, ...], when: datetime | None) -> None:
    if when is not None:
        rows.append((labels, when.timestamp()))


def _of_certs(certs: list[Cert], now: datetime) -> Iterator[Metric]:
    """Yield what is known of certificates; a family at a time, as the format wants it."""
    begins, ends, windows, closes, looks = _Rows(), _Rows(), _Rows(), _Rows(), _Rows()
    renews, rolls, failures, failed, phases = _Rows(), _Rows(), _Rows(), _Rows(), _Rows()
    severities, replace, dane = _Rows(), _Rows(), _Rows()
    servers = Counter[tuple[str, str, str]]()
    for cert in certs:
        name = cert.name.replace("/", ":")
        for generation in ("curr", "next"):
            one, labels = cert.sub(generation), (name, generation)
            _stamp(begins, labels, one.time("not_before"))
            _stamp(ends, labels, one.time("not_after"))
            if advice := one.sub("renewal_info"):
                _stamp(windows, labels, advice.time("start"))
                _stamp(closes, labels, advice.time("end"))
                _stamp(looks, labels, advice.time("looked_at"))
        _stamp(renews, (name,), cert.time("renew_at"))
        _stamp(rolls, (name,), cert.time("roll_at"))
        _stamp(failed, (name,), cert.time("failed_at"))
        failures.append(((name,), float(cert.number("attempts"))))
        phases.append(((name, cert.text("phase")), 1.0))
        if cert.text("replace_now"):
            replace.append(((name,), 1.0))
        wrong = troubles(cert.status, now)  # the worst first
        severities.append(((name,), float(wrong[0].severity if wrong else Severity.OK)))
        if report := cert.sub("dane"):
            dane.append(((name,), float(report.flag("ok"))))
        for server in cert.subs("servers"):
            servers[server.text("class"), server.text("host"), server.text("state")] += 1
    cert_label, of_set = ["certificate"], ["certificate", "generation"]
    yield _gauge(
        "certificate_not_before_timestamp_seconds", "From when it is valid.", of_set, begins
    )
    yield _gauge("certificate_not_after_timestamp_seconds", "When it expires.", of_set, ends)
    yield _gauge(
        "certificate_renew_timestamp_seconds", "When its renewal begins.", cert_label, renews
    )
    yield _gauge(
        "certificate_roll_timestamp_seconds", "When what is on deck is rolled.", cert_label, rolls
    )
    yield _gauge("certificate_failures", "Failures in a row.", cert_label, failures)
    yield _gauge(
        "certificate_last_failure_timestamp_seconds",
        "When it failed last, while that is not made good.",
        cert_label,
        failed,
    )
    yield _gauge(
        "certificate_severity",
        "How bad it is: 0 well, 1 a warning, 2 critical, as in sslmctl check.",
        cert_label,
        severities,
    )
    yield _gauge(
        "certificate_phase", "1 for the phase that it is in.", ["certificate", "phase"], phases
    )
    yield _gauge(
        "certificate_replace_now", "1 where its CA wants it replaced now.", cert_label, replace
    )
    yield _gauge(
        "certificate_dane_ok",
        "Whether TLSA records, name servers and ports fitted when they were compared last.",
        cert_label,
        dane,
    )
    window = "certificate_renewal_window"
    text = "window in which its CA wants it renewed (RFC 9773)."
    yield _gauge(f"{window}_start_timestamp_seconds", f"Begin of the {text}", of_set, windows)
    yield _gauge(f"{window}_end_timestamp_seconds", f"End of the {text}", of_set, closes)
    yield _gauge(
        f"{window}_looked_timestamp_seconds", "When its CA was asked for that last.", of_set, looks
    )
    rows: _Rows = [(key, float(number)) for key, number in sorted(servers.items())]
    yield _gauge(
        "server_certificates",
        "Certificates of a server class on a host, by how far they are.",
        ["class", "host", "state"],
        rows,
    )


def _of_daemon(own: Fields) -> Iterator[Metric]:
    """Yield the daemon's own numbers."""
    from prometheus_client.core import SummaryMetricFamily

    yield _gauge("info", "The version that runs.", ["version"], [((own.text("version"),), 1.0)])
    for name, text, field in (
        ("start_time_seconds", "When the daemon started.", "started"),
        ("last_plan_timestamp_seconds", "When it last decided what comes next.", "planned_at"),
    ):
        rows = _Rows()
        _stamp(rows, (), own.time(field))
        yield _gauge(name, text, [], rows)
    yield _gauge(
        "loop_lag_seconds",
        "By how much a timer of the daemon was late, at most, in the last minutes.",
        [],
        [((), own.real("loop_lag"))],
    )
    yield _gauge(
        "config_refused",
        "Whether the configuration on disk was refused.",
        [],
        [((), float(own.flag("refused")))],
    )
    jobs = own.subs("jobs")
    waiting: _Rows = [
        ((job.text("kind"), state), float(job.number(state)))
        for job in jobs
        for state in ("queued", "running")
    ]
    yield _gauge("jobs", "Jobs that wait and that run.", ["kind", "state"], waiting)
    spent = SummaryMetricFamily(
        "sslmd_job_duration_seconds", "Jobs that have ended, however.", labels=["kind"]
    )
    for job in jobs:
        spent.add_metric((job.text("kind"),), job.number("ended"), job.real("seconds"))
    yield spent
    events: _Rows = [
        ((one.text("event"),), float(one.number("number"))) for one in own.subs("events")
    ]
    yield _counter("events", "Events, as in the journal.", ["event"], events)
    yield from _of_cas(own.subs("cas"))
    zones = own.subs("zones")
    for name, text, field in (
        ("zone_trouble", "Whether TLSA records cannot be published or looked at.", "trouble"),
        ("zone_changing", "Whether name servers do not show all changes yet.", "changed"),
    ):
        flags: _Rows = [((zone.text("zone"),), float(zone.flag(field))) for zone in zones]
        yield _gauge(name, text, ["zone"], flags)
    for name, text, field in (
        ("zone_late_certificates", "Sets on deck that wait too long for records.", "waiting"),
        ("zone_name_servers", "Name servers that were asked last.", "servers"),
        ("zone_name_servers_heard", "Of these, the ones that answered.", "heard"),
    ):
        counts: _Rows = [((zone.text("zone"),), float(zone.number(field))) for zone in zones]
        yield _gauge(name, text, ["zone"], counts)
    net = own.sub("network_process")
    yield _gauge(
        "network_process_up",
        "Whether the network process runs.",
        [],
        [((), float(net.flag("up")))],
    )
    yield _counter(
        "network_process_starts",
        "How often it was started.",
        [],
        [((), float(net.number("starts")))],
    )
    alarms: _Rows = [
        (
            (one.text("kind"), one.text("severity"), str(one.flag("silenced")).lower()),
            float(one.number("number")),
        )
        for one in own.subs("alarms")
    ]
    yield _gauge("alarms", "Alarms that are raised.", ["kind", "severity", "silenced"], alarms)


def _of_cas(cas: list[Fields]) -> Iterator[Metric]:
    issued: _Rows = [((ca.text("ca"),), float(ca.number("issued"))) for ca in cas]
    yield _counter("ca_certificates", "Certificates that a CA issued.", ["ca"], issued)
    failed: _Rows = [((ca.text("ca"),), float(ca.number("failed_validations"))) for ca in cas]
    yield _gauge("ca_failed_validations", "Failed validations of the last hour.", ["ca"], failed)
    most, used = _Rows(), _Rows()
    for ca in cas:
        for one in ca.subs("limits"):
            labels = (ca.text("ca"), one.text("limit"))
            most.append((labels, float(one.number("most"))))
            used.append((labels, one.real("used")))
    yield _gauge("ca_limit_most", "How many a limit allows.", ["ca", "limit"], most)
    yield _gauge(
        "ca_limit_used_ratio",
        "How much of a limit is taken, 0 to 1: of an account, a name or a domain, the most.",
        ["ca", "limit"],
        used,
    )


# --- to a file, and to who asks ------------------------------------------------------------


def _write(path: str, body: bytes) -> None:
    """Replace a file as a whole; raises `CtlError`."""
    folder, scratch = os.path.dirname(os.path.abspath(path)), ""
    try:
        # node_exporter reads *.prom alone.
        handle, scratch = tempfile.mkstemp(prefix=".sslmd-", suffix=".tmp", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            os.fchmod(file.fileno(), _MODE)
        os.replace(scratch, path)
    except OSError as err:
        if scratch:
            with suppress(OSError):
                os.unlink(scratch)
        raise CtlError(f"{path}: cannot be written: {err.strerror}", FAILED) from None


def _serve(args: argparse.Namespace) -> int:
    """Answer one request on standard input; whoever asks has no more than that of us."""
    from http.server import BaseHTTPRequestHandler

    from prometheus_client import CONTENT_TYPE_LATEST

    class Scrape(BaseHTTPRequestHandler):
        """One request."""

        timeout = _PATIENCE
        server_version, sys_version = "sslmd", ""

        def do_GET(self) -> None:
            """Answer with the metrics."""
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, "see /metrics")
                return
            try:
                body, _ = _scraped(args)
            except CtlError:
                self.send_error(503, "the daemon could not be asked")
                return
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *words: object) -> None:  # noqa: A002
            """Say nothing: who asks is no news."""

    try:
        line = socket.socket(fileno=os.dup(0))
    except OSError:
        raise CtlError("standard input is no socket; --http is for a socket of systemd") from None
    with line, suppress(OSError):
        Scrape(line, ("", 0), None)  # type: ignore[arg-type]
    return DONE
