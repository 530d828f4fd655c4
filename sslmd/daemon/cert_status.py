"""How a certificate stands, in the terms by which it is judged: for `status`, alarms, the exit.

`core.trouble` says what of it is trouble.
"""

from __future__ import annotations

from datetime import datetime

from sslmd.core.errors import Trouble
from sslmd.core.jobs import (
    Certify,
    CertJob,
    Deliver,
    MakeKey,
    Order,
    Prove,
    PutBack,
    Roll,
    Settle,
    TakeOff,
)
from sslmd.core.reason import Held, Reason, Why, said
from sslmd.core.renewal import NEVER, Wanted, why_urgent
from sslmd.core.state import CertState, Server, ServerPhase, Unseen
from sslmd.core.told import Doing
from sslmd.core.trouble import CertStatus, ServerStatus
from sslmd.core.words.sentence import say
from sslmd.daemon.registry import Entry


def status_of(entry: Entry) -> CertStatus:
    """Return what is judged of a certificate: what `status` says of it, as values."""
    state, decision = entry.state, entry.decision
    trouble = trouble_of(entry)
    # While it waits for its CA, the failures are the CA's; `reason` tells of them.
    attempts = 0 if decision.waits_for_ca else trouble.attempts if trouble else 0
    failed = failed_server_of(state.servers)
    error, about, _ = last_error_of(entry, trouble, failed)
    cert, report = state.curr.cert if state.curr else None, entry.report
    return CertStatus(
        begins=cert.not_before if cert else None,
        ends=cert.not_after if cert else None,
        has_next=state.next is not None and state.next.cert is not None,
        is_made=doing_of(entry) is not None or decision.reason.code is Why.CA_PACED,
        unusable=say(entry.unusable),
        error=error,
        about=about,
        attempts=attempts or (failed.attempts if failed and not decision.waits_for_ca else 0),
        next_try=next_try_of(entry, trouble, failed),
        renew_at=decision.renew_at,
        roll_at=decision.roll_at,
        unused=entry.unused,
        replace_now=replace_now(state, entry.wanted),
        servers=[
            ServerStatus(
                server.kind,
                server.host,
                str(server.phase),
                error=server.error,
                attempts=server.attempts,
                since=server.since,
                unseen=say(why) if (why := _missed(server)) else None,
                why=why,
                ends=server.expires,
            )
            for server in state.servers
        ],
        dane=(report.wrong, report.warnings) if report and entry.wanted.dane else ((), ()),
    )


# What a job does, while it is at work or waits for its place.
_DOES: dict[type[CertJob], Doing] = {
    MakeKey: Doing.MAKES_KEY,
    Certify: Doing.MAKES_CERT,
    Order: Doing.ORDERS,
    Roll: Doing.ROLLS,
    PutBack: Doing.PUTS_BACK,
    TakeOff: Doing.TAKES_OFF,
    Deliver: Doing.DELIVERS,
    Prove: Doing.PROVES,
    Settle: Doing.CLEANS,
}


def doing_of(entry: Entry) -> Reason | None:
    """Return what is being done for a certificate at this moment, None if it waits or rests."""
    decision = entry.decision
    if decision.job is not None and entry.hold is None:
        return entry.progress or Reason(_DOES[type(decision.job)])
    return Reason(Doing.CA_IS_MADE) if decision.ca_is_made else None


def unseen_of(server: Server) -> Unseen | None:
    """Return why nobody saw what a server uses, None where that was seen, or nothing is used."""
    return server.unseen if server.phase is ServerPhase.RESTARTED else None


def _missed(server: Server) -> Reason | None:
    """Return why nobody saw it, None where nobody has to be warned of that."""
    unseen = unseen_of(server)
    return unseen.why if unseen is not None and not unseen.meant else None


def replace_now(state: CertState, wanted: Wanted) -> str:
    """Return that the CA wants a certificate replaced now, "" if it does not.

    As long as what is in use is to be replaced, or what is on deck. Until when it is left alone all
    the same is said as of the last look.
    """
    for facts, note in ((state.curr, state.curr_note), (state.next, state.next_note)):
        looked = note.ari.looked if note is not None and note.ari is not None else NEVER
        if why := why_urgent(facts, note, wanted, looked):
            return say(why)
    return ""


def next_try_of(entry: Entry, trouble: Trouble | None, failed: Server | None) -> datetime | None:
    """Return when what failed is tried, or what is held looked at, again; None where nothing is."""
    if entry.hold:
        return entry.looks_at
    if entry.decision.looks_again is not None:
        return entry.decision.looks_again
    if trouble is not None:
        return trouble.next_try
    if entry.decision.alarm:
        return entry.looks_at
    return failed.next_try if failed is not None else None


def trouble_of(entry: Entry) -> Trouble | None:
    """Return the failures that a certificate is told by, None where there are none."""
    state = entry.state
    return entry.decision.stuck or state.trouble or state.delivery_trouble


def failed_at_of(trouble: Trouble | None) -> datetime | None:
    """Return when something failed last, None where nothing did."""
    return trouble.at if trouble is not None and not trouble.rests else None


def last_error_of(
    entry: Entry, trouble: Trouble | None, failed: Server | None
) -> tuple[str, str, Reason | None]:
    """Return what failed last, what that is about (`CertStatus.about`), and its reason."""
    if entry.hold:
        return say(entry.hold), CertStatus.REASON, entry.hold
    if entry.unsaved:
        return say(entry.unsaved), "", entry.unsaved
    waits = entry.decision.waits_for_ca  # its CA says what failed
    if trouble is not None and not trouble.rests and not waits:
        return trouble.text, "", trouble.reason or said(trouble.text)
    if alarm := entry.decision.alarm:
        about = CertStatus.REASON if alarm in entry.decision.reason.within() else ""
        return say(alarm), CertStatus.SET if alarm.code is Held.CA_UNUSABLE else about, alarm
    if failed is not None and not waits:
        place = f"{failed.kind} on {failed.host}"
        return f"{place}: {failed.error}", place, said(failed.error)
    return "", "", None


def failed_server_of(servers: tuple[Server, ...]) -> Server | None:
    """Return the server that failed and is tried again first, None where none did."""
    failed = [server for server in servers if server.attempts and server.next_try]
    return min(failed, key=lambda server: str(server.next_try), default=None)
