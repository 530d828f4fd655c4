"""Requests that set the daemon to work: progress while waiting, outcomes at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sslmd.console.answers import Fields
from sslmd.console.client import ANSWER_TIMEOUT, Daemon
from sslmd.console.errors import DONE, FAILED, WAITING, NoDaemon
from sslmd.console.text import complain, say
from sslmd.wire.messages import Method, Notice, Notification, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

_COLOURS = {Outcome.DONE: "green", Outcome.FAILED: "red", Outcome.WAITING: "yellow"}

# Who asked knows that he did; and the outcome tells what became of it.
_KNOWN = frozenset({"asked", "ask-dropped"})

# What may be the end; it is told as progress where something comes after it.
_ENDS = frozenset(
    {
        *("attempt-failed", "cert-issued", "copy-failed", "restart-failed", "settled"),
        *("trial-ended", "trial-failed"),
    }
)

# How texts begin that need no outcome in front, because they say it.
_SAYS_IT = {Outcome.UNNEEDED: "", Outcome.WAITING: "wait", Outcome.FAILED: "failed"}


def work(daemon: Daemon, method: Method, params: Mapping[str, Json]) -> int:
    """Ask for work, print how it goes and ends; return the exit status."""
    return _print_all(_ask(daemon, method, params), "certs")


def restart(daemon: Daemon, params: Mapping[str, Json]) -> int:
    """Ask for a restart, print how it goes and ends; return the exit status."""
    return _print_all(_ask(daemon, Method.RESTART, params), "servers")


def _ask(daemon: Daemon, method: Method, params: Mapping[str, Json]) -> Fields | None:
    """Return the answer; None when who asked does not want to wait for it any more."""
    wait = params["wait"]
    progress = _Progress()
    try:
        result = daemon.call(
            method, params, on_notice=progress.tell, timeout=None if wait else ANSWER_TIMEOUT
        )
    except KeyboardInterrupt:
        progress.flush()
        named = params.get("certs") or []
        certs = " ".join(named)
        # What is under way on servers comes to its end: `cancel` is for renewals and rolls.
        ends = method in (Method.DELIVER, Method.RESTART)
        stop = "" if ends else f". To stop it: sslmctl cancel {certs or 'CERT'}"
        complain(
            "\nno longer waiting; the daemon goes on with what it accepted. To see how far it is: "
            f"{' '.join(('sslmctl status', *named))}{stop}"
        )
        return None
    except NoDaemon as err:
        progress.flush()
        raise NoDaemon(f"{err.text}; what it accepted, it does when it runs again") from None
    return Fields(result)


def _print_all(answer: Fields | None, rows: str) -> int:
    if answer is None:
        return WAITING
    outcomes = answer.subs(rows)
    for one in outcomes:
        _print_outcome(one)
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

    def tell(self, notice: Notification) -> None:
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


def _print_outcome(one: Fields) -> None:
    cert, word, text = one.text("cert"), one.text("outcome"), one.text("text")
    if not cert:
        cert = f"{one.text('class')} on {one.text('host')}"
    outcome = next((known for known in Outcome if known == word), None)
    text = text.removeprefix("the request is dropped: ").removeprefix(f"{cert}: ")
    if text and outcome in _SAYS_IT and text.startswith(_SAYS_IT[outcome]):
        word = ""
    if text.startswith(f"{cert} "):
        cert = ""
    say(": ".join(filter(None, (cert, word, text))), _COLOURS.get(outcome, "") if outcome else "")
