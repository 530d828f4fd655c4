"""What changes of a certificate is told and noted: in the journal, to clients, in its history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sslmd.core.events import Event
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, said
from sslmd.core.state import CertState
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
from sslmd.daemon.tell import stories
from sslmd.daemon.tell.journal import ERROR, INFO, NOTICE, WARNING, Bus, Record
from sslmd.store.state import HistoryEntry

# Part of `reason` in the status.
WAITS_FOR_PLACE = "waits for a place: others are ordered"

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
                earlier = said(before.hold) if before is not None else None
                self._tell_hold(cert, earlier, said(event.entry.hold))
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
                lines = self._story(cert, event, before.state, after.state)
        self._note(cert, lines)

    def _story(
        self, cert: CertId, event: Event, before: CertState, after: CertState
    ) -> list[HistoryEntry]:
        """Tell what happened; return what of it is kept in the history."""
        story = stories.of_event(event, before, after)
        if story is None:
            return []
        at = self._now()
        self._bus.record(
            Record(
                at,
                story.event,
                story.text,
                story.priority,
                cert,
                story.job,
                story.set,
                story.reason,
            )
        )
        name = str(story.set) if story.set else ""
        return [HistoryEntry(at, story.event, name, story.text)] if story.kept else []

    def _tell_beside(self, cert: CertId, event: BESIDE, before: Entry) -> None:
        match event:
            case Decided():
                self._tell_hold(cert, before.decision.alarm, event.decision.alarm)
            case Broken():
                self._bus.bug(self._now(), event.hold, event.error, cert)
            case Progressed() if event.text and event.text != WAITS_FOR_PLACE:
                self._tell("order-progress", event.text, INFO, cert)
            case Unsaved() if event.why:
                self._tell("state-unsaved", f"{event.why}; it is tried again", WARNING, cert)
            case Compared():
                last = before.report.findings if before.report is not None else ()
                known = {(one.where, one.text) for one in last if one.wrong}
                wrong = [one for one in event.report.findings if one.wrong]
                for one in wrong:
                    if (one.where, one.text) not in known:
                        self._tell("dane-mismatch", f"{one.where} {one.text}", ERROR, cert)
                if known and not wrong:
                    self._tell("dane-well", "DNS, ports and keys agree again", INFO, cert)

    def _tell_hold(self, cert: CertId, before: Reason | None, after: Reason | None) -> None:
        """Say once what only an admin can put right, and when it is."""
        if after and after != before:
            self._tell("held", say(after), ERROR, cert)
        elif before and not after:
            self._tell("released", f"no longer: {say(before)}", NOTICE, cert)

    def _tell(self, event: str, text: str, priority: int, cert: CertId) -> None:
        self._bus.record(Record(self._now(), event, text, priority, cert))
