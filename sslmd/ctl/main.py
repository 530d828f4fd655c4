"""`sslmctl`: asks the daemon and tells it things, over its socket.

Exit status: 0 done, 1 it failed, 2 usage, 3 no daemon (`check`: 2), 4 not permitted, 5 accepted
and waiting; 141 where nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from sslmd import __version__
from sslmd.console.args import Formatter, socket_arg
from sslmd.console.program import run_tool
from sslmd.console.text import printable
from sslmd.wire.messages import SOCKET_ENV, SOCKET_PATH

# Each with the module that has it; only the one that is wanted is loaded. Those of other rooms,
# which need more than the daemon's answers, are no imports of this one.
_COMMANDS = {
    "status": "ctl.status",
    "show": "ctl.show",
    "plan": "ctl.listings",
    "events": "ctl.listings",
    "check": "ctl.check",
    "metrics": "ctl.metrics",
    "report": "ctl.report",
    "alarms": "ctl.alarms",
    "silence": "ctl.alarms",
    "notify": "ctl.alarms",
    "renew": "ctl.work",
    "force-renew": "ctl.work",
    "replace": "ctl.replace",
    "roll": "ctl.work",
    "deliver": "ctl.work",
    "restart": "ctl.work",
    "dane": "ctl.listings",
    "dns-refresh": "ctl.requests",
    "cancel": "ctl.requests",
    "forget": "ctl.requests",
    "clean": "ctl.requests",
    "reload": "ctl.requests",
    "account": "ctl.account",
    "import": "setup.import_check",
    "trust": "offline.trust",
    "doctor": "doctor.command",
    "completion": "ctl.completion",
    "_names": "ctl.completion",
}


def parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of the command line: of one command if it is known, else of all."""
    top = argparse.ArgumentParser(
        prog="sslmctl",
        description="Asks sslmd, the certificate daemon, and tells it things.",
        epilog="A CERT is group:service, group:service,service, group:ALL or group.",
        allow_abbrev=False,
        formatter_class=Formatter,
    )
    socket_arg(os.environ.get(SOCKET_ENV) or SOCKET_PATH)(top)
    top.add_argument("--version", action="version", version=f"sslmctl {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    modules = [_COMMANDS[command]] if command in _COMMANDS else dict.fromkeys(_COMMANDS.values())
    for module in modules:
        import_module(f"sslmd.{module}").add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""

    def work() -> int:
        args = _parse(sys.argv[1:] if argv is None else argv)
        exit_status: int = args.run(args)
        return exit_status

    return run_tool("sslmctl", work)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; a mistake ends the program with the usage of what it is in."""
    pairs = zip(["", *argv], argv, strict=False)
    # The first word that is neither an option nor an option's value.
    named = (one for before, one in pairs if before != "--socket" and not one.startswith("-"))
    word = next(named, "")
    if word and word not in _COMMANDS:
        import difflib  # only for mistakes

        known = [name for name in _COMMANDS if not name.startswith("_")]
        near = difflib.get_close_matches(word, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "see sslmctl --help"
        parser().error(f"there is no command {printable(word)}; {hint}")
    args, unknown = parser(word).parse_known_args(argv)
    if unknown:
        args.parser.error(f"unrecognized arguments: {printable(' '.join(unknown))}")
    return args


if __name__ == "__main__":
    sys.exit(main())
