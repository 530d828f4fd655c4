"""Requests that set the daemon to work: progress while waiting, outcomes at the end."""

from __future__ import annotations

from collections.abc import Mapping

from sslmd.ctl.answers import Fields
from sslmd.ctl.client import ANSWER_TIMEOUT, Daemon
from sslmd.ctl.errors import DONE, FAILED, NoDaemon
from sslmd.ctl.text import complain, say
from sslmd.wire.messages import Method, Notice, Notification, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

_COLOURS = {Outcome.DONE: "green", Outcome.FAILED: "red", Outcome.WAITING: "yellow"}
_FINE = frozenset(Outcome) - {Outcome.FAILED}


def work(daemon: Daemon, method: Method, params: Mapping[str, Json]) -> int:
    """Ask for work, print how it goes and ends; return the exit status."""
    wait = params["wait"]
    try:
        result = daemon.call(
            method, params, on_notice=_progress, timeout=None if wait else ANSWER_TIMEOUT
        )
    except KeyboardInterrupt:
        complain(
            "\nno longer waiting; the daemon goes on with what it accepted. See how far it is "
            "with: sslmctl plan; stop it with: sslmctl cancel CERT"
        )
        return FAILED
    except NoDaemon as err:
        raise NoDaemon(f"{err.text}; what it accepted, it does when it runs again") from None
    outcomes = Fields(result).subs("certs")
    for one in outcomes:
        _print_outcome(one)
    if not outcomes:
        say("nothing to do")
    return DONE if all(one.text("outcome") in _FINE for one in outcomes) else FAILED


def _progress(notice: Notification) -> None:
    if notice.method == Notice.PROGRESS:
        fields = Fields(notice.params)
        complain(f"{fields.text('cert')}: {fields.text('text') or fields.text('event')}")


def _print_outcome(one: Fields) -> None:
    outcome = one.text("outcome")
    parts = (one.text("cert"), outcome, one.text("text"))
    say(": ".join(filter(None, parts)), next((c for o, c in _COLOURS.items() if o == outcome), ""))
