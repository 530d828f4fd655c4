"""How a request ends: which record of the journal is the end of what an admin asked for."""

from __future__ import annotations

from typing import Any

from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Ended, Reason, noted, on_wire
from sslmd.core.state import Ask, Track, TrialAsk
from sslmd.core.state import Request as What
from sslmd.core.words.sentence import say
from sslmd.daemon.registry import Entry
from sslmd.daemon.tell.journal import Record
from sslmd.wire.messages import ErrorCode, Outcome, WireError

Result = tuple[Outcome, Reason]


def denied(reason: Reason, code: ErrorCode = ErrorCode.REFUSED, **data: Any) -> WireError:
    """Return what refuses a request; `data`: what else the client is told (docs/socket-api.md)."""
    return WireError(code, say(reason), data={**data, **on_wire(reason)})


def ended(entry: Entry | None, ask: Ask | TrialAsk, record: Record) -> Result | None:
    """Return how a request ended, if `record` is its end; `entry` is its certificate's now."""
    line = record.reason or noted(record.text)
    if record.event == "attempt-failed" and not _is_its_doing(entry, ask, record):
        return None
    if isinstance(ask, TrialAsk):
        ends = {"trial-ended": Outcome.DONE, "trial-failed": Outcome.FAILED}
        return (ends[record.event], line) if record.event in ends else None
    if ask.what is What.ROLL and _is_to_come(entry, ask) and _is_of_serving(record):
        return None
    if ask.back is not None and _is_before(entry, ask.back) and _is_of_serving(record):
        return None
    match ask.what, record.event:
        case _, "attempt-failed":
            return (Outcome.FAILED, line)
        case _, "ask-dropped":
            why = record.because or line
            failed = ask.back is not None and why.code is not Ended.CANCELLED
            return (Outcome.FAILED if failed else Outcome.UNNEEDED, why)
        case What.RENEW, "cert-issued":
            on_deck = entry is not None and entry.state.next is not None
            return (Outcome.DONE, Reason(Ended.ISSUED, what=line, on_deck=on_deck))
        case What.ROLL, "settled":
            return (Outcome.DONE, Reason(Ended.ROLLED))
        case What.ROLL, "restart-failed" | "copy-failed":
            return (Outcome.FAILED, Reason(Ended.ROLLED_BUT, why=line))
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


def outcome_row(cert: CertId, outcome: Outcome, reason: Reason) -> dict[str, Any]:
    """Return the end of a request as it stands in an answer (docs/socket-api.md)."""
    row = {"cert": str(cert), "outcome": str(outcome), "text": say(reason)}
    return {**row, **on_wire(reason)}
