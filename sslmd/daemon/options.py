"""The command line of `sslmd`; see docs/man/sslmd.8."""

from __future__ import annotations

import argparse
import os

from sslmd import __version__
from sslmd.wire.messages import SOCKET_ENV, SOCKET_PATH

# Jobs at a time, unless --jobs says otherwise. Most of a job is waiting for the disk or a
# network; keys take a core each.
JOBS = 8
MAX_JOBS = 64


def read_arguments() -> argparse.Namespace:
    """Return what the command line says; exits with 2 for a mistake in it."""
    parser = argparse.ArgumentParser(
        prog="sslmd",
        description="Keeps every certificate of a site fresh, safe and live.",
        epilog="sslmd init writes a first configuration; sslmd init --help has its options.",
    )
    parser.add_argument(
        "--conf-dir",
        metavar="DIR",
        help="the configuration; default $SSL_MGR_TOPDIR/conf.d, else /etc/ssl-mgr/conf.d",
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=os.environ.get(SOCKET_ENV) or SOCKET_PATH,
        help=f"where sslmctl finds it; default ${SOCKET_ENV}, else {SOCKET_PATH}",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="do what is due, wait for it, and exit: 0 if all went well, else 1",
    )
    parser.add_argument(
        "--check-config", action="store_true", help="only look for mistakes; exit 0 or 1"
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        default=JOBS,
        help=f"do up to N jobs at a time, 1 to {MAX_JOBS}; default {JOBS}",
    )
    parser.add_argument("-v", "--verb", action="store_true", help="more detail in the log")
    parser.add_argument("--version", action="version", version=f"sslmd {__version__}")
    return parser.parse_args()


def _jobs(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= MAX_JOBS:
        return int(text)
    raise argparse.ArgumentTypeError(f"a number from 1 to {MAX_JOBS}, not {text!r}")
