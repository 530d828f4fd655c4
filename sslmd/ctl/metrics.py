"""`sslmctl metrics`: how everything stands, in the text format of Prometheus.

Made of the answers to `status` and `metrics`. Times are timestamps and not what is left of them, so
that a rule compares them with `time()`: https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from sslmd.console.answers import Fields, certs_of
from sslmd.console.args import Commands, arg, command, connect, flag
from sslmd.console.program import DONE, CtlError, NoDaemon
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
        from sslmd.ctl.whole_file import write_whole

        # node_exporter reads *.prom alone, so not what is not yet whole.
        write_whole(args.output, body, _MODE)
    else:
        sys.stdout.write(body.decode())
        sys.stdout.flush()
    if err is not None:
        raise err
    return DONE


def _scraped(args: argparse.Namespace) -> tuple[bytes, CtlError | None]:
    """Return the text; where no daemon answers, that there is none, and why."""
    # Here, because all of `sslmctl` would wait for the library.
    from prometheus_client import CollectorRegistry, generate_latest

    from sslmd.ctl.metric_families import gauge, of_certs, of_daemon

    found: list[Metric] = []
    failed: CtlError | None = None
    try:
        with connect(args) as daemon:
            result = daemon.call(Method.STATUS, {"certs": None}, timeout=_TIMEOUT)
            own = Fields(daemon.call(Method.METRICS, {}, timeout=_TIMEOUT))
        now = datetime.now(UTC)
        found = [*of_certs(certs_of(result), now), *of_daemon(own)]
    except NoDaemon as err:
        failed = err
    found.append(gauge("up", "Whether the daemon answers.", (), [((), float(failed is None))]))

    class Collected:
        """What was collected already."""

        def collect(self) -> Iterator[Metric]:
            return iter(found)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected())
    return generate_latest(registry), failed


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
