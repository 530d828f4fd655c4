"""What an event is told as: one line that a person understands, for journal and history."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sslmd.core.dane.sighting import Sighting
from sslmd.core.events import (
    Advertised,
    AskDropped,
    Asked,
    AttemptFailed,
    BackOnDeck,
    CertIssued,
    Counted,
    Event,
    KeyMade,
    Lost,
    OffDeck,
    ProdUpdated,
    RestartAsked,
    Rolled,
    ServerCopied,
    ServerSeen,
    ServersProven,
    ServersWanting,
    ServerTold,
    Settled,
    TlsaLooked,
    TrialAsked,
    TrialEnded,
    WasIssued,
)
from sslmd.core.names import SetName
from sslmd.core.plain import clock
from sslmd.core.reason import Ended, Reason
from sslmd.core.spec import SetFacts
from sslmd.core.state import DONE, CertState, Server, ServerPhase
from sslmd.core.view import told
from sslmd.core.words.sentence import say, written
from sslmd.daemon.tell.journal import DEBUG, ERROR, INFO, NOTICE, WARNING


@dataclass(frozen=True, slots=True)
class Story:
    """A line for the journal; `kept`: in the certificate's history as well."""

    event: str
    text: str
    priority: int = INFO
    set: SetName | None = None
    job: str = ""
    kept: bool = True
    reason: Reason | None = None


def of_event(event: Event, before: CertState, after: CertState) -> Story | None:
    """Return how `event` is told; None for what only the machine has to know."""
    story = _of_event(event, before, after)
    return replace(story, reason=_reason_of(event)) if story is not None else None


def _reason_of(event: Event) -> Reason | None:
    match event:
        case KeyMade() | Advertised() | Lost() | BackOnDeck() | AskDropped() | TrialEnded():
            return event.reason
        case Rolled():
            return event.overrode
        case RestartAsked():
            return event.because
        case AttemptFailed():
            return told(event.trouble)
        case _:
            return None


def _of_event(event: Event, before: CertState, after: CertState) -> Story | None:
    match event:
        case KeyMade():
            text = f"key made ({event.facts.key}): {say(event.reason)}"
            if _keeps_key(before, event.facts):
                text = f"renewal begun with its key ({event.facts.key}): {say(event.reason)}"
            if event.note.new_key:
                text += f"; {_learns(before)}"
                return Story("key-made", text, WARNING, event.facts.name, "MakeKey")
            return Story("key-made", text, set=event.facts.name, job="MakeKey")
        case CertIssued():
            assert event.facts.cert is not None
            text = (
                f"certificate issued by {event.note.ca}, serial {event.facts.cert.serial}, "
                f"valid until {clock(event.facts.cert.not_after)}"
            )
            return Story("cert-issued", text, NOTICE, event.facts.name, "Certify")
        case Advertised():
            name = after.next.name if after.next else None
            priority = INFO if after.sighting is not None else DEBUG
            return Story("advertised", say(event.reason), priority, name, kept=priority == INFO)
        case Lost():
            if before.advertised is None:
                return None  # told already
            name = after.next.name if after.next else None
            return Story("tlsa-lost", say(event.reason), WARNING, name)
        case TlsaLooked():
            return _looked(before.sighting, after)
        case Rolled():
            return _rolled(event, before, after)
        case BackOnDeck():
            name = event.facts.name
            text = f"set {name} is on deck again: {say(event.reason)}{_taken_off(before, name)}"
            return Story("put-back", text, NOTICE, name, "PutBack")
        case OffDeck():
            name = before.next.name if before.next else None
            text = f"set {name} is off the deck again; it stays in db/ until it is cleaned up"
            return Story("taken-off", text, NOTICE, name, "TakeOff")
        case ProdUpdated():
            name = event.delivered.curr
            restarts = [s for s in event.servers if s.phase is ServerPhase.DELIVERED]
            hosts = ", ".join(f"{s.kind} on {s.host}" for s in restarts)
            text = "in production" + (f"; to be restarted: {hosts}" if hosts else "")
            return Story("delivered", text, INFO, name, "Deliver")
        case ServerTold():
            return _server_told(event)
        case ServerSeen():
            return _server_seen(event)
        case ServerCopied():
            return _server_copied(event)
        case ServersWanting():
            hosts = ", ".join(sorted(event.hosts))
            return Story("asked", f"an admin asks to deliver it again to {hosts}", NOTICE)
        case RestartAsked():
            place = f"{event.kind} on {', '.join(sorted(event.hosts))}"
            if event.because:
                text = f"{place} is to be restarted: {say(event.because)}"
                return Story("restart-due", text, INFO, kept=False)
            return Story("asked", f"an admin asks to restart {place}", NOTICE)
        case ServersProven():
            name = after.curr.name if after.curr else None
            text = "no server is left to restart" if after.servers else "no server depends on it"
            return Story("deployed", f"live; {text}", INFO, name, kept=False)
        case Settled():
            name = after.curr.name if after.curr else None
            return Story("settled", "settled", DEBUG, name, "Settle", kept=False)
        case Asked():
            forced = ", forced" if event.ask.force else ""
            what = f"go back to set {event.ask.back}" if event.ask.back else f"{event.ask.what} it"
            wait = event.ask.min_roll
            when = "" if wait is None else f" {written(wait)} after it was issued"
            return Story("asked", f"an admin asks to {what}{when}{forced}", NOTICE)
        case AskDropped():
            return Story("ask-dropped", f"the request is dropped: {say(event.reason)}", NOTICE)
        case AttemptFailed() if event.trouble.rests:
            return Story("ask-dropped", say(told(event.trouble)), NOTICE, job=str(event.track))
        case AttemptFailed():
            return Story("attempt-failed", say(told(event.trouble)), ERROR, job=str(event.track))
        case Counted():
            names = ", ".join(event.failed)
            text = f"an order was cut short while the CA validated {names}: counted as failed"
            return Story("order-trouble", text, WARNING)
        case WasIssued():
            return None  # told with what is done with it
        case TrialAsked():
            return Story("asked", f"an admin asks for a {event.ask.kind}", NOTICE)
        case TrialEnded(failed=True):
            text = f"the {event.ask.kind} failed: {say(event.reason)}"
            return Story("trial-failed", text, WARNING, job="Trial")
        case TrialEnded() if event.reason.code is Ended.CANCELLED:
            return Story("trial-ended", f"the {event.ask.kind} was cancelled", NOTICE, job="Trial")
        case TrialEnded():
            text = f"{event.ask.kind}: {say(event.reason)}"
            return Story("trial-ended", text, NOTICE, job="Trial")


def _looked(before: Sighting | None, after: CertState) -> Story | None:
    """Tell only of what changed: seen everywhere for the first time, or no more."""
    now = after.sighting
    if now is None or after.next is None:
        return None
    was_seen = before is not None and before.set == now.set and before.since is not None
    if now.since is not None and not was_seen:
        when = f", the wait lasts until {clock(now.opens_at)}" if now.opens_at else ""
        text = f"its TLSA records are on every name server{when}"
        return Story("tlsa-seen", text, INFO, after.next.name)
    if now.since is None and was_seen:
        text = f"its TLSA records are not everywhere any more: {now.missing}"
        return Story("tlsa-lost", text, WARNING, after.next.name)
    if now.missing and (before is None or before.missing != now.missing):
        text = f"waits for its TLSA records in DNS: {now.missing}"
        return Story("tlsa-waits", text, INFO, after.next.name, kept=False)
    return None


def _keeps_key(before: CertState, facts: SetFacts) -> bool:
    """Whether a CA goes on with its key; of others it is not known here."""
    return before.curr is not None and bool(facts.key_id) and facts.key_id == before.curr.key_id


def _learns(before: CertState) -> str:
    """Return who has to learn another key of a CA."""
    curr = before.curr
    if curr is not None and curr.cert is not None and curr.signer != curr.cert.identity:
        return "what it signs from now on has another certificate in its chain"
    return "this makes another root, which every client has to learn"


def _taken_off(before: CertState, name: SetName) -> str:
    if before.next is None or before.next.name == name:
        return ""
    return f"; set {before.next.name} is off the deck, it stays in db/ until it is cleaned up"


def _rolled(event: Rolled, before: CertState, after: CertState) -> Story:
    name = after.curr.name if after.curr else None
    old = f" in place of {before.curr.name}" if before.curr else ""
    overrode = f"; {say(event.overrode)}" if event.overrode else ""
    return Story("rolled", f"set {name} is live{old}{overrode}", NOTICE, name, "Roll")


def _server_told(event: ServerTold) -> Story:
    server = event.server
    place = f"{server.kind} on {server.host}"
    if server.phase in DONE:
        text = f"{place} was restarted{_unseen(server)}"
        return Story("restarted", text, INFO, server.set, "Restart")
    again = f"; next try at {_when(server.next_try)}"
    text = f"{place}{' is not proven' if event.unproven else ''}: {server.error}{again}"
    return Story("restart-failed", text, WARNING, server.set, "Restart")


def _server_seen(event: ServerSeen) -> Story | None:
    server = event.server
    if server.phase is not ServerPhase.PROVEN:
        return None  # it stands in `status`, and changes whenever somebody looks
    text = f"{server.kind} on {server.host} is seen serving it"
    return Story("seen", text, INFO, server.set, "See")


def _unseen(server: Server) -> str:
    if server.phase is not ServerPhase.RESTARTED or server.unseen is None:
        return ""
    return f"; {server.unseen.why}"


def _server_copied(event: ServerCopied) -> Story:
    server = event.server
    place = f"{server.kind} on {server.host}"
    if server.error:
        text = f"not copied to {place}: {server.error}; next try at {_when(server.next_try)}"
        return Story("copy-failed", text, WARNING, server.set, "Copy")
    text = f"copied to {place}"
    if server.phase in DONE:
        text = f"{place} has it, and uses it already{_unseen(server)}"
    return Story("copied", text, INFO, server.set, "Copy")


def _when(when: datetime | None) -> str:
    return clock(when) if when else "the next roll"
