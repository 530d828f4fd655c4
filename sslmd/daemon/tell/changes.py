"""What changes of a certificate is told and noted: in the journal, to clients, in its history.

Every change is one line that a person understands, made of a code and facts (I10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from sslmd.core.dane.sighting import Sighting
from sslmd.core.events import (
    Advertised,
    Advised,
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
    WasOrdered,
)
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Ended, Reason, Said
from sslmd.core.state import DONE, CertState, Request, Server, ServerPhase
from sslmd.core.told import Doing, Happened
from sslmd.core.view import told
from sslmd.core.words.sentence import say
from sslmd.daemon.registry import (
    Broken,
    CaLost,
    ClassesChanged,
    Compared,
    Decided,
    Entry,
    Forgiven,
    Gone,
    Noticed,
    Progressed,
    SetsRead,
    Taken,
    Unsaved,
)
from sslmd.daemon.tell.journal import DEBUG, ERROR, INFO, NOTICE, WARNING, Bus, Record
from sslmd.store.state import HistoryEntry

# What stands beside the state of a certificate, and in no file.
BESIDE = Decided | CaLost | Broken | Progressed | Unsaved | Compared


class Changes:
    """A listener of the registry. `note`: a certificate's page is to be written, with new lines."""

    def __init__(
        self,
        bus: Bus,
        now: Callable[[], datetime],
        note: Callable[[CertId, list[HistoryEntry]], None],
    ) -> None:
        self._bus = bus
        self._now = now
        self._note = note

    def hear(
        self, cert: CertId, event: Event | Noticed, before: Entry | None, after: Entry | None
    ) -> None:
        """Take in a change of the registry."""
        lines: list[HistoryEntry] = []
        match event:
            case Gone():
                return
            case Taken():
                for remark in event.remarks:
                    self._tell("tree-remark", remark, WARNING, cert)
                earlier = before.hold if before is not None else None
                self._tell_hold(cert, earlier, event.entry.hold)
                if not event.unsaved or event.entry.hold:
                    return
            case SetsRead() | Forgiven() | ClassesChanged():
                pass
            case Decided() | CaLost() | Broken() | Progressed() | Unsaved() | Compared():
                if before is not None:
                    self._tell_beside(cert, event, before)
                return
            case _:
                assert before is not None
                assert after is not None
                if story := of_event(event, before.state, after.state):
                    at, name = self._now(), story.set
                    record = Record(
                        at, story.event, story.line, story.priority, cert, story.job, name
                    )
                    self._bus.record(record)
                    if story.kept:
                        name_ = str(name) if name else ""
                        lines = [HistoryEntry(at, story.event, name_, record.text)]
        self._note(cert, lines)

    def _tell_beside(self, cert: CertId, event: BESIDE, before: Entry) -> None:
        match event:
            case Decided():
                self._tell_hold(cert, before.decision.alarm, event.decision.alarm)
            case Broken():
                self._bus.bug(self._now(), say(event.hold), event.error, cert)
            case Progressed(Reason() as how) if how.code is not Doing.WAITS_FOR_PLACE:
                self._tell("order-progress", how, INFO, cert)
            case Unsaved(Reason() as why):
                line = Reason(Happened.UNSAVED, said=why)
                self._tell("state-unsaved", line, WARNING, cert)
            case Compared():
                last = before.report.findings if before.report is not None else ()
                known = {(one.where, one.why) for one in last if one.wrong}
                wrong = [one for one in event.report.findings if one.wrong]
                for one in wrong:
                    if (one.where, one.why) not in known:
                        line = Reason(Happened.DANE_MISMATCH, where=one.where, said=one.why)
                        self._tell("dane-mismatch", line, ERROR, cert)
                if known and not wrong:
                    self._tell("dane-well", Reason(Happened.DANE_WELL), INFO, cert)

    def _tell_hold(self, cert: CertId, before: Reason | None, after: Reason | None) -> None:
        """Say once what only an admin can put right, and when it is."""
        if after and after != before:
            self._tell("held", after, ERROR, cert)
        elif before and not after:
            self._tell("released", Reason(Happened.RELEASED, why=before), NOTICE, cert)

    def _tell(self, event: str, line: Reason, priority: int, cert: CertId) -> None:
        self._bus.record(Record(self._now(), event, line, priority, cert))


# --- what happened, as a line ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Story:
    """A line for the journal; `kept`: in the certificate's history as well."""

    event: str
    line: Reason
    priority: int = INFO
    set: SetName | None = None
    job: str = ""
    kept: bool = True


def of_event(event: Event, before: CertState, after: CertState) -> Story | None:
    """Return how `event` is told; None for what only the machine has to know."""
    curr = after.curr.name if after.curr else None
    next_ = after.next.name if after.next else None
    match event:
        case KeyMade():
            # Of a CA it is known whether it goes on with its key; of others not here.
            has = before.curr.key_id if before.curr is not None else ""
            kept = bool(has) and event.facts.key_id == has
            learns, priority = None, INFO
            if event.note.new_key:
                old, priority = before.curr, WARNING
                signed = old is not None and old.cert and old.signer != old.cert.identity
                learns = Reason(Happened.NEW_CHAIN if signed else Happened.NEW_ROOT)
            code = Happened.KEY_KEPT if kept else Happened.KEY_MADE
            line = Reason(code, key=event.facts.key, why=event.reason, learns=learns)
            return Story("key-made", line, priority, event.facts.name, "MakeKey")
        case CertIssued():
            cert = event.facts.cert
            assert cert is not None
            line = Reason(
                Happened.CERT_ISSUED, ca=event.note.ca, serial=cert.serial, until=cert.not_after
            )
            return Story("cert-issued", line, NOTICE, event.facts.name, "Certify")
        case Advertised():
            priority = INFO if after.sighting is not None else DEBUG
            return Story("advertised", event.reason, priority, next_, kept=priority == INFO)
        case Lost():
            if before.advertised is None:
                return None  # told already
            return Story("tlsa-lost", event.reason, WARNING, next_)
        case TlsaLooked():
            return _looked(before.sighting, after.sighting, next_)
        case Rolled():
            old_name = before.curr.name if before.curr else None
            line = Reason(Happened.ROLLED, set=curr, old=old_name, why=event.overrode)
            return Story("rolled", line, NOTICE, curr, "Roll")
        case BackOnDeck():
            name = event.facts.name
            other = before.next.name if before.next and before.next.name != name else None
            line = Reason(Happened.PUT_BACK, set=name, why=event.reason, other=other)
            return Story("put-back", line, NOTICE, name, "PutBack")
        case OffDeck():
            off = before.next.name if before.next else None
            return Story("taken-off", Reason(Happened.TAKEN_OFF, set=off), NOTICE, off, "TakeOff")
        case ProdUpdated():
            restarts = (s for s in event.servers if s.phase is ServerPhase.DELIVERED)
            line = Reason(
                Happened.DELIVERED, servers=tuple(_place(s.kind, [s.host]) for s in restarts)
            )
            return Story("delivered", line, INFO, event.delivered.curr, "Deliver")
        case ServerTold(server=server):
            if server.phase in DONE:
                return Story(
                    "restarted", _at(Happened.RESTARTED, server), INFO, server.set, "Restart"
                )
            line = _at(Happened.NOT_PROVEN if event.unproven else Happened.RESTART_FAILED, server)
            return Story("restart-failed", line, WARNING, server.set, "Restart")
        case ServerSeen(server=server):
            if server.phase is not ServerPhase.PROVEN:
                return None  # it stands in `status`, and changes whenever somebody looks
            return Story("seen", _at(Happened.SERVER_SEEN, server), INFO, server.set, "See")
        case ServerCopied(server=server):
            if server.error:
                line = _at(Happened.COPY_FAILED, server)
                return Story("copy-failed", line, WARNING, server.set, "Copy")
            line = _at(Happened.COPIED_USED if server.phase in DONE else Happened.COPIED, server)
            return Story("copied", line, INFO, server.set, "Copy")
        case ServersWanting():
            line = Reason(Happened.DELIVERY_ASKED, hosts=tuple(sorted(event.hosts)))
            return Story("asked", line, NOTICE)
        case RestartAsked():
            place = _place(event.kind, event.hosts)
            if event.because:
                line = Reason(Happened.RESTART_DUE, server=place, why=event.because)
                return Story("restart-due", line, INFO, kept=False)
            return Story("asked", Reason(Happened.RESTART_ASKED, server=place), NOTICE)
        case ServersProven():
            line = Reason(Happened.NO_SERVER_LEFT if after.servers else Happened.NO_SERVER)
            return Story("deployed", line, INFO, curr, kept=False)
        case Settled():
            return Story("settled", Reason(Happened.SETTLED), DEBUG, curr, "Settle", kept=False)
        case Asked(ask=ask):
            if ask.back:
                line = Reason(Happened.BACK_ASKED, set=ask.back, forced=ask.force)
            elif ask.what is Request.ROLL:
                line = Reason(Happened.ROLL_ASKED, wait=ask.min_roll, forced=ask.force)
            else:
                line = Reason(Happened.RENEW_ASKED, forced=ask.force)
            return Story("asked", line, NOTICE)
        case AskDropped():
            return Story("ask-dropped", Reason(Happened.DROPPED, why=event.reason), NOTICE)
        case AttemptFailed():
            rests = event.trouble.rests
            kind, priority = ("ask-dropped", NOTICE) if rests else ("attempt-failed", ERROR)
            return Story(kind, told(event.trouble), priority, job=str(event.track))
        case Counted():
            return Story("order-trouble", Reason(Happened.COUNTED, names=event.failed), WARNING)
        case Advised():
            return _advised(event, before)
        case WasIssued() | WasOrdered():
            return None  # told with what is done with it
        case TrialAsked():
            return Story("asked", Reason(Happened.TRIAL_ASKED, kind=event.ask.kind), NOTICE)
        case TrialEnded():
            line = Reason(Happened.TRIAL_ENDED, kind=event.ask.kind, why=event.reason)
            if event.failed:
                line = Reason(Happened.TRIAL_FAILED, kind=event.ask.kind, why=event.reason)
                return Story("trial-failed", line, WARNING, job="Trial")
            if event.reason.code is Ended.CANCELLED:
                line = Reason(Happened.TRIAL_CANCELLED, kind=event.ask.kind, why=event.reason)
            return Story("trial-ended", line, NOTICE, job="Trial")


def _advised(event: Advised, state: CertState) -> Story | None:
    """Tell only of what changed: what the CA suggests, that it is urgent, or silent."""
    notes = ((state.curr, state.curr_note), (state.next, state.next_note))
    known = [note.ari for facts, note in notes if facts and note and facts.name == event.set]
    before, now = known[0] if known else None, event.advice
    was = before is not None and before.urgent_since is not None
    url = Said(now.explanation) if now.explanation else None

    def line_of(code: Happened) -> Reason:
        return Reason(code, set=event.set, begin=now.begin, end=now.end, url=url)

    if now.urgent_since is not None and not was:
        line = line_of(Happened.CA_WANTS)
        return Story("ca-wants", line, ERROR, event.set)
    if was and now.urgent_since is None:
        return Story("ca-wants", line_of(Happened.CA_WITHDRAWS), NOTICE, event.set)
    if now.is_silent and not (before is not None and before.is_silent):
        line = Reason(Happened.CA_SILENT, set=event.set, since=now.silent_since)
        return Story("ca-suggests", line, INFO, event.set, kept=False)
    if was or now.begin is None:
        return None
    if before is not None and (before.begin, before.end) == (now.begin, now.end):
        return None
    line = line_of(Happened.CA_SUGGESTS)
    return Story("ca-suggests", line, DEBUG, event.set, kept=False)


def _looked(before: Sighting | None, now: Sighting | None, next_: SetName | None) -> Story | None:
    """Tell only of what changed: seen everywhere for the first time, or no more."""
    if now is None or next_ is None:
        return None
    was_seen = before is not None and before.set == now.set and before.since is not None
    if now.since is not None and not was_seen:
        return Story("tlsa-seen", Reason(Happened.TLSA_SEEN, until=now.opens_at), INFO, next_)
    missing = now.missing
    if now.since is None and was_seen:
        return Story("tlsa-lost", Reason(Happened.TLSA_GONE, missing=missing), WARNING, next_)
    if now.missing and (before is None or before.missing != now.missing):
        line = Reason(Happened.TLSA_WAITS, missing=missing)
        return Story("tlsa-waits", line, INFO, next_, kept=False)
    return None


def _place(kind: str, hosts: Iterable[str]) -> Reason:
    return Reason(Happened.PLACE, kind=kind, hosts=tuple(sorted(hosts)))


def _at(code: Happened, server: Server) -> Reason:
    """Return what happened at a server, with what of it the words of the code use."""
    place = _place(server.kind, [server.host])
    if code in (Happened.RESTARTED, Happened.COPIED_USED):
        restarted = server.phase is ServerPhase.RESTARTED and server.unseen is not None
        unseen = server.unseen.why if restarted and server.unseen else None
        return Reason(code, server=place, unseen=unseen)
    if code in (Happened.SERVER_SEEN, Happened.COPIED):
        return Reason(code, server=place)
    return Reason(code, server=place, error=Said(server.error), at=server.next_try)
