"""`sslmctl replace`: everything of a CA anew, within its limits.

How long it takes is told first, and then asked for: the daemon does it also if nobody waits.
"""

from __future__ import annotations

import argparse
import sys

from sslmd.console.answers import Fields
from sslmd.console.args import NO_WAIT, Commands, arg, ask, command, connect, flag
from sslmd.console.client import ANSWER_TIMEOUT
from sslmd.console.program import DONE, USAGE, WAITING, CtlError, NoDaemon
from sslmd.console.text import complain, say
from sslmd.ctl.work import exit_status
from sslmd.wire.messages import Method, Notice, Notification, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

# What is told of each certificate meanwhile: a thousand have too much to tell.
_TOLD = frozenset({"replacing", "warning", "attempt-failed", "trial-failed"})


def add(commands: Commands) -> None:
    """Declare the command."""
    command(
        commands,
        "replace",
        replace,
        "replace every certificate of a CA, within its limits",
        "Tells how long it takes and asks before it begins. What was accepted is done over "
        "restarts; sslmctl status tells how far it is. --dry-run tries all of them at the CA's "
        "test server and changes nothing.",
        arg("--ca", metavar="NAME", default="", help="a table of ca-info.conf, or an own CA"),
        flag("--all", "of every CA; the site's own CAs themselves stay"),
        flag("--revoked", "they are revoked: before all others, and no roll_window is waited for"),
        flag("--dry-run", "only try, at the test server of the CA"),
        flag("--yes", "do not ask"),
        NO_WAIT,
    )


def replace(args: argparse.Namespace) -> int:
    """Tell how long it takes, ask, and have it done."""
    if bool(args.ca) == args.all:
        raise CtlError("name a CA with --ca, or give --all", USAGE)
    if args.dry_run and args.revoked:
        raise CtlError("a drill replaces nothing: leave --revoked out", USAGE)
    params: dict[str, Json] = {
        "ca": args.ca,
        "all": args.all,
        "revoked": args.revoked,
        "dry_run": args.dry_run,
    }
    ahead = Fields(ask(args, Method.REPLACE, {**params, "forecast": True}))
    for one in ahead.subs("forecast"):
        say(one.text("text"))
    if not args.yes and not args.dry_run:
        if not sys.stdin.isatty():
            raise CtlError("nothing was done: give --yes if you mean it", USAGE)
        complain("Replace them? [y/N] ")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            complain("nothing was done")
            return DONE
    return _carry(args, params)


def _carry(args: argparse.Namespace, params: dict[str, Json]) -> int:
    wait = not args.no_wait
    with connect(args) as daemon:
        try:
            result = daemon.call(
                Method.REPLACE,
                {**params, "wait": wait},
                on_notice=_show,
                timeout=None if wait else ANSWER_TIMEOUT,
            )
        except KeyboardInterrupt:
            complain(
                "\nno longer waiting; the daemon goes on. To see how far it is: sslmctl status. "
                "To stop it: sslmctl cancel"
            )
            return WAITING
        except NoDaemon as err:
            text = f"{err.text}; what it accepted, it does when it runs again"
            raise NoDaemon(text) from None
    outcomes = Fields(result).subs("certs")
    counts: dict[str, int] = {}
    for one in outcomes:
        word = one.text("outcome")
        counts[word] = counts.get(word, 0) + 1
        if word not in (Outcome.DONE, Outcome.ACCEPTED):
            say(f"{one.text('cert')}: {word}: {one.text('text')}")
    say(", ".join(f"{number} {word}" for word, number in counts.items()) or "nothing to do")
    return exit_status(counts)


def _show(notice: Notification) -> None:
    fields = Fields(notice.params)
    if notice.method == Notice.PROGRESS and fields.text("event") in _TOLD:
        complain(": ".join(filter(None, (fields.text("cert"), fields.text("text")))))
