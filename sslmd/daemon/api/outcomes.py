"""How a request ends: which record of the journal is the end of what an admin asked for."""

from __future__ import annotations

from sslmd.core.names import SetName
from sslmd.core.reason import Ended, Reason
from sslmd.core.state import Ask, Track, TrialAsk
from sslmd.core.state import Request as What
from sslmd.core.words import say
from sslmd.daemon.registry import Entry
from sslmd.daemon.tell import stories
from sslmd.daemon.tell.journal import Record
from sslmd.wire.messages import Outcome

Result = tuple[Outcome, str]

# Why a request is dropped that an admin took back.
CANCELLED = say(Reason(Ended.CANCELLED))


def ended(entry: Entry | None, ask: Ask | TrialAsk, record: Record) -> Result | None:
    """Return how a request ended, if `record` is its end; `entry` is its certificate's now."""
    if record.event == "attempt-failed" and not _is_its_doing(entry, ask, record):
        return None
    if isinstance(ask, TrialAsk):
        ends = {"trial-ended": Outcome.DONE, "trial-failed": Outcome.FAILED}
        return (ends[record.event], record.text) if record.event in ends else None
    if ask.what is What.ROLL and _is_to_come(entry, ask) and _is_of_serving(record):
        return None
    if ask.back is not None and _is_before(entry, ask.back) and _is_of_serving(record):
        return None
    match ask.what, record.event:
        case _, "attempt-failed":
            return (Outcome.FAILED, record.text)
        case _, "ask-dropped":
            text = record.text.removeprefix(stories.DROPPED)
            failed = ask.back is not None and text != CANCELLED
            return (Outcome.FAILED if failed else Outcome.UNNEEDED, text)
        case What.RENEW, "cert-issued":
            on_deck = entry is not None and entry.state.next is not None
            return (Outcome.DONE, f"{record.text}{'; it is on deck' if on_deck else ''}")
        case What.ROLL, "settled":
            return (Outcome.DONE, "rolled and deployed")
        case What.ROLL, "restart-failed" | "copy-failed":
            return (Outcome.FAILED, f"rolled, but {record.text}")
    return None


def _is_its_doing(entry: Entry | None, ask: Ask | TrialAsk, record: Record) -> bool:
    """Whether a failed attempt is one of what was asked for.

    A renewal goes on beside a delivery that fails; a roll has ended when the next renewal begins.
    """
    if isinstance(ask, TrialAsk):
        return False
    if record.job != Track.RENEW:
        return ask.what is What.ROLL
    return ask.what is What.RENEW or _is_to_come(entry, ask)


def _is_to_come(entry: Entry | None, ask: Ask) -> bool:
    """Whether a request is not carried out yet."""
    return entry is not None and entry.state.ask == ask


def _is_before(entry: Entry | None, back: SetName) -> bool:
    """Whether the set that is to be gone back to is not in use yet."""
    if entry is None:
        return False
    return entry.state.curr is None or entry.state.curr.name != back


def _is_of_serving(record: Record) -> bool:
    """Whether a record is about how servers get on with `curr`: the set that is to go."""
    failed = record.event == "attempt-failed" and record.job != Track.RENEW
    return failed or record.event in ("settled", "copy-failed", "restart-failed")
