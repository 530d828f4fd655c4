"""`sslmctl renew`, `force-renew`, `roll`, `deliver` and `restart`: what sets the daemon to work.

Progress is shown while it is waited for, outcomes at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping

from sslmd.console.answers import Fields
from sslmd.console.args import (
    CERTS,
    NO_WAIT,
    Commands,
    arg,
    chosen,
    command,
    connect,
    count_arg,
    flag,
)
from sslmd.console.client import ANSWER_TIMEOUT
from sslmd.console.program import DONE, FAILED, USAGE, WAITING, CtlError, NoDaemon
from sslmd.console.text import complain, say
from sslmd.wire.messages import Method, Notice, Notification, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

_COLOURS = {Outcome.DONE: "green", Outcome.FAILED: "red", Outcome.WAITING: "yellow"}

# Who asked knows that he did; and the outcome says what became of it.
_KNOWN = frozenset({"asked", "ask-dropped"})

# What may be the end; it is shown as progress where something comes after it.
_ENDS = frozenset(
    {
        *("attempt-failed", "cert-issued", "copy-failed", "restart-failed", "settled"),
        *("trial-ended", "trial-failed"),
    }
)


# Arguments of both ways to renew.
_RENEWAL = (
    CERTS,
    flag("--all", "really every certificate (needed to force all)"),
    flag("--reuse", "keep the key of curr; a CA always does"),
    flag("--new-key", "give a CA another key, which its clients have to learn; needs --force"),
    NO_WAIT,
)


def add(commands: Commands) -> None:
    """Declare the commands."""
    command(
        commands,
        "renew",
        renew,
        "renew certificates that are due",
        "Goes past the wait after a failure, but not past a CA's limits.",
        flag("--force", "also what is not due; a next on deck is replaced"),
        *_RENEWAL,
        flag("--test", "ask the CA's test server"),
        flag("--dry-run", "only try whether the CA would; keep nothing"),
    )
    text, more = "renew certificates, due or not", "Replaces a next on deck."
    parser = command(commands, "force-renew", renew, text, more, *_RENEWAL)
    parser.set_defaults(force=True, test=False, dry_run=False)
    command(
        commands,
        "roll",
        roll,
        "make the next set the one in use",
        "Before its time, without --force, it is refused with the time when it happens by itself.",
        CERTS,
        flag(
            "--back",
            "make the set that was in use before the one in use again; CERT has to be named",
        ),
        flag("--force", "do not wait, not even for TLSA records to be seen"),
        arg(
            "--min-roll-mins",
            metavar="N",
            type=count_arg,
            help="roll what was issued N minutes ago, whatever min_roll_mins says; TLSA records "
            "and windows are waited for",
        ),
        NO_WAIT,
    )
    command(
        commands,
        "deliver",
        deliver,
        "bring servers the certificates that they should have",
        "Does not wait for the next try of a host that failed, and looks at everything again. What "
        "a server has and uses already is not restarted.",
        CERTS,
        arg("--to", metavar="HOST", default="", help="only to this host"),
        NO_WAIT,
    )
    command(
        commands,
        "restart",
        restart,
        "restart a server class, and see what it serves",
        "Runs its restart_cmd on each of its servers that has a certificate, whatever its "
        "restart_window says.",
        arg("kind", metavar="CLASS", help="smtp, imap, web, other or dns"),
        arg("--to", metavar="HOST", default="", help="only on this host"),
        NO_WAIT,
    )


def renew(args: argparse.Namespace) -> int:
    """Ask for new keys and certificates, and wait for the end."""
    for mistake, text in (
        (args.certs and args.all, "name certificates, or give --all, not both"),
        (
            args.new_key and not args.certs,
            "--new-key is for CAs that you name: sslmctl renew --force --new-key ca:NAME",
        ),
        (
            args.new_key and not args.force,
            "--new-key needs --force: clients have to learn the new CA",
        ),
        (
            args.new_key and args.reuse,
            "--new-key and --reuse exclude each other; give one of them",
        ),
        (
            args.force and not args.certs and not args.all,
            "this would renew every certificate, due or not; name certificates, or give --all if "
            "you mean it",
        ),
    ):
        if mistake:
            raise CtlError(text, USAGE)
    params = {
        "certs": chosen(args),
        "all": args.all,
        "force": args.force,
        "reuse": args.reuse,
        **({"new_key": True} if args.new_key else {}),
        "test": args.test,
        "dry_run": args.dry_run,
    }
    return work(args, Method.RENEW, params)


def roll(args: argparse.Namespace) -> int:
    """Ask for the roll and wait for its end."""
    if args.back and not args.certs:
        raise CtlError("name the certificates that are to go back", USAGE)
    if args.min_roll_mins is not None and (args.back or args.force):
        way = "--force" if args.force else "--back"
        raise CtlError(f"{way} does not wait for min_roll_mins: leave --min-roll-mins out", USAGE)
    params: dict[str, Json] = {"certs": chosen(args), "force": args.force}
    if args.back:
        params["back"] = True
    if args.min_roll_mins is not None:
        params["min_roll_mins"] = args.min_roll_mins
    return work(args, Method.ROLL, params)


def deliver(args: argparse.Namespace) -> int:
    """Ask for the delivery and wait for its end."""
    return work(args, Method.DELIVER, {"certs": chosen(args), "to": args.to})


def restart(args: argparse.Namespace) -> int:
    """Ask for the restart and wait for its end."""
    return work(args, Method.RESTART, {"class": args.kind, "to": args.to}, "servers")


def work(
    args: argparse.Namespace, method: Method, params: Mapping[str, Json], rows: str = "certs"
) -> int:
    """Ask for work, print how it goes and ends; return the exit status."""
    wait, progress = not args.no_wait, _Progress()
    with connect(args) as daemon:
        try:
            result = daemon.call(
                method,
                {**params, "wait": wait},
                on_notice=progress.show,
                timeout=None if wait else ANSWER_TIMEOUT,
            )
        except KeyboardInterrupt:
            progress.flush()
            named = params.get("certs") or []
            # What is under way on servers comes to its end: `cancel` is for renewals and rolls.
            ends = method in (Method.DELIVER, Method.RESTART)
            stop = "" if ends else f". To stop it: sslmctl cancel {' '.join(named) or 'CERT'}"
            complain(
                "\nno longer waiting; the daemon goes on with what it accepted. To see how far it "
                f"is: {' '.join(('sslmctl status', *named))}{stop}"
            )
            return WAITING
        except NoDaemon as err:
            progress.flush()
            text = f"{err.text}; what it accepted, it does when it runs again"
            raise NoDaemon(text) from None
    outcomes = Fields(result).subs(rows)
    for one in outcomes:
        place = one.text("cert") or f"{one.text('class')} on {one.text('host')}"
        word, text = one.text("outcome"), one.text("text")
        known = next((outcome for outcome in Outcome if outcome == word), None)
        if text and known is Outcome.UNNEEDED:
            word = ""
        say(": ".join(filter(None, (place, word, text))), _COLOURS.get(known, "") if known else "")
    if not outcomes:
        say("nothing to do")
    return exit_status(one.text("outcome") for one in outcomes)


def exit_status(outcomes: Iterable[str]) -> int:
    """Return the exit status of a command with these outcomes: a failure comes before a wait.

    What was only to be accepted (`--no-wait`) is done when it is.
    """
    found = set(outcomes)
    if not found <= {str(one) for one in Outcome} - {Outcome.FAILED}:
        return FAILED
    return WAITING if Outcome.WAITING in found else DONE


class _Progress:
    """Prints progress, except what the outcome repeats."""

    def __init__(self) -> None:
        self._held = ""

    def show(self, notice: Notification) -> None:
        fields = Fields(notice.params)
        event = fields.text("event")
        if notice.method != Notice.PROGRESS or event in _KNOWN:
            return
        self.flush()
        self._held = f"{fields.text('cert')}: {fields.text('text') or event}"
        if event not in _ENDS:
            self.flush()

    def flush(self) -> None:
        if self._held:
            complain(self._held)
        self._held = ""
