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
    from typing import Any, TypeAlias, TypeVar

    from sslmd.wire.messages import Json

    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
    Value = TypeVar("Value")
else:
    Commands = argparse._SubParsersAction

Run = Callable[[argparse.Namespace], int]


# Something for `command` to add.
Argument = Callable[[argparse.ArgumentParser], object]


def arg(*names: str, **how: Any) -> Argument:
    """Return an argument, declared as for argparse's `add_argument`."""
    return lambda parser: parser.add_argument(*names, **how)


def flag(name: str, text: str) -> Argument:
    """Return an option that is there or not."""
    return arg(name, action="store_true", help=text)


def bounded(read: Callable[[str], Value], fits: Callable[[Value], bool], what: str) -> Any:
    """Return for argparse's `type` what reads a value, and refuses one that is not `what`."""

    def parse(text: str) -> Value:
        with suppress(ValueError, OverflowError):
            value = read(text)
            if fits(value):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")

    return parse


count_arg = bounded(int, lambda number: number >= 0, "a whole number, 0 or more")

CERTS = arg(
    "certs",
    nargs="*",
    metavar="CERT",
    help="group:service, group:service,service, group:ALL or group; none: all certificates",
)
NO_WAIT = flag("--no-wait", "end as soon as the daemon has accepted it")


def command(
    commands: Commands, name: str, run: Run, text: str | None, more: str = "", *arguments: Argument
) -> argparse.ArgumentParser:
    """Add a command; `text` says in a line what it does (None: not shown), `more` how."""
    about: dict[str, Any] = {}
    if text is not None:
        about = {"help": text, "description": f"{text[0].upper()}{text[1:]}. {more}"}
    parser = commands.add_parser(name, allow_abbrev=False, formatter_class=Formatter, **about)
    parser.set_defaults(run=run, parser=parser)
    for add in (socket_arg(argparse.SUPPRESS), *arguments):
        add(parser)
    return parser


def socket_arg(default: str) -> Argument:
    """Return `--socket`, which may stand before and behind the command."""
    text = "socket of the daemon ($SSLMD_SOCKET)"
    return arg("--socket", metavar="PATH", default=default, help=text)


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


def ask_certs(
    args: argparse.Namespace, method: Method, timeout: float = ANSWER_TIMEOUT, **more: Json
) -> Json:
    """Ask about the certificates that are named, or all; `more` are other parameters."""
    return ask(args, method, {"certs": chosen(args), **more}, timeout)


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
