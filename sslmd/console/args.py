"""Arguments that commands share, and how their `--help` is laid out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

from sslmd.console.client import ANSWER_TIMEOUT, HELLO_TIMEOUT, DaemonClient
from sslmd.wire.messages import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from sslmd.wire.messages import Json

    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
else:
    Commands = argparse._SubParsersAction

Run = Callable[[argparse.Namespace], int]


def command(
    commands: Commands, name: str, run: Run, text: str | None, more: str = ""
) -> argparse.ArgumentParser:
    """Add a command; `text` says in a line what it does (None: not shown), `more` how."""
    if text is None:
        parser = commands.add_parser(name, allow_abbrev=False, formatter_class=Formatter)
    else:
        about = f"{text[0].upper()}{text[1:]}. {more}"
        parser = commands.add_parser(
            name, help=text, description=about, allow_abbrev=False, formatter_class=Formatter
        )
    parser.set_defaults(run=run, parser=parser)
    add_socket(parser, default=argparse.SUPPRESS)
    return parser


def add_socket(parser: argparse.ArgumentParser, default: str) -> None:
    """Add `--socket`, which may stand before and behind the command."""
    parser.add_argument(
        "--socket", metavar="PATH", default=default, help="socket of the daemon ($SSLMD_SOCKET)"
    )


def add_certs(parser: argparse.ArgumentParser) -> None:
    """Add the certificates; none mean all."""
    parser.add_argument(
        "certs",
        nargs="*",
        metavar="CERT",
        help="group:service, group:service,service, group:ALL or group; none: all certificates",
    )


def add_no_wait(parser: argparse.ArgumentParser) -> None:
    """Add `--no-wait`."""
    parser.add_argument(
        "--no-wait", action="store_true", help="end as soon as the daemon has accepted it"
    )


def count_arg(text: str) -> int:
    """Return a whole number, 0 or more, for argparse's `type`."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def chosen(args: argparse.Namespace) -> list[str] | None:
    """Return the certificates as the daemon wants them: None for all."""
    return args.certs or None


def connect(args: argparse.Namespace, timeout: float = HELLO_TIMEOUT) -> DaemonClient:
    """Connect to the daemon."""
    return DaemonClient(args.socket, timeout)


def ask(
    args: argparse.Namespace,
    method: Method,
    params: Mapping[str, Json] | None = None,
    timeout: float = ANSWER_TIMEOUT,
) -> Json:
    """Ask the daemon for one thing, over a connection of its own; return the result."""
    with connect(args, min(timeout, HELLO_TIMEOUT)) as daemon:
        return daemon.call(method, params, timeout=timeout)


class Formatter(argparse.HelpFormatter):
    """argparse's own, at the width that it would have.

    argparse makes one for every option that is declared, and to learn of the width loads `shutil`,
    with all that packs and unpacks: a seventh of the time that a small command takes.
    """

    def __init__(self, prog: str) -> None:
        # As shutil.get_terminal_size has it; 80 without a terminal.
        columns = 0
        with suppress(KeyError, ValueError):
            columns = int(os.environ["COLUMNS"])
        if columns <= 0:
            columns = 0
            with suppress(AttributeError, ValueError, OSError):
                columns = os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
        super().__init__(prog, width=(columns or 80) - 2)
