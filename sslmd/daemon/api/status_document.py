"""What `status` answers: made once, and the same bytes for everybody who asks meanwhile (I9).

A certificate's part is made when somebody asks, and kept until something changes. The list of all
of them is put together once for each state: 200 clients that ask again and again cost no more
memory than one, and no more time than it takes to send it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from sslmd import __version__
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
from sslmd.core.names import CertId
from sslmd.core.plain import plain_values
from sslmd.core.reason import Held, Reason, Why, on_wire, said
from sslmd.core.state import Server, ServerPhase, Unseen
from sslmd.core.trouble import NETWORK, CertStatus, ServerStatus, failed, troubles
from sslmd.core.words.sentence import say
from sslmd.daemon.api import replacing
from sslmd.daemon.api.beside import dh, dns, hosts, net, network_process, time, zones
from sslmd.daemon.api.set_row import replace_now, set_row
from sslmd.daemon.api.users import gently
from sslmd.daemon.planner import Planner
from sslmd.daemon.registry import Entry
from sslmd.wire.messages import Id, Response, encode_plain

FORMAT = 1


def status_of(entry: Entry) -> CertStatus:
    """Return what is judged of a certificate: what `status` says of it, as values."""
    state, decision = entry.state, entry.decision
    trouble = _trouble(entry)
    # While it waits for its CA, the failures are the CA's; `reason` tells of them.
    attempts = 0 if decision.waits_for_ca else trouble.attempts if trouble else 0
    failed = _failed_server(state.servers)
    error, about, _ = _last_error(entry, trouble, failed)
    cert, report = state.curr.cert if state.curr else None, entry.report
    return CertStatus(
        begins=cert.not_before if cert else None,
        ends=cert.not_after if cert else None,
        has_next=state.next is not None and state.next.cert is not None,
        is_made=bool(_doing(entry)) or decision.reason.code is Why.CA_PACED,
        unusable=entry.unusable,
        error=error,
        about=about,
        attempts=attempts or (failed.attempts if failed else 0),
        next_try=_next_try(entry, trouble, failed),
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
                unseen=unseen.why if (unseen := _unseen(server)) and not unseen.meant else None,
                ends=server.expires,
            )
            for server in state.servers
        ],
        dane=(report.wrong, report.warnings) if report and entry.wanted.dane else ((), ()),
    )


def status_entry(cert: CertId, entry: Entry) -> dict[str, Any]:
    """Return one certificate of `status --json` (docs/socket-api.md, Status)."""
    state, status = entry.state, status_of(entry)
    *_, why = _last_error(entry, _trouble(entry), _failed_server(state.servers))
    return {
        "group": cert.group,
        "service": cert.service,
        "phase": str(state.phase),
        "reason": _reason(entry),
        **on_wire(entry.decision.reason),
        "doing": _doing(entry) or None,
        "progress": entry.progress or None,
        "signing_ca": str(entry.wanted.spec.signer),
        "curr": set_row(state.curr, state.curr_note),
        "next": set_row(state.next, state.next_note),
        "renew_at": time(status.renew_at),
        "roll_at": time(status.roll_at),
        "replace_now": status.replace_now or None,
        "attempts": status.attempts,
        "last_error": status.error or None,
        **on_wire(why, "error"),
        "error_about": status.about or None,
        "failed_at": time(_failed_at(_trouble(entry))),
        "next_try": time(status.next_try),
        "servers": [
            {
                "class": server.kind,
                "host": server.host,
                "set": str(server.set) if server.set else None,
                "state": str(server.phase),
                "error": server.error or None,
                "since": time(server.since),
                "attempts": server.attempts,
                "next_try": time(server.next_try) if server.attempts else None,
                "unseen": unseen.why if (unseen := _unseen(server)) else None,
                "meant": unseen.meant if unseen else False,
                "expires": time(server.expires),
            }
            for server in state.servers
        ],
        "dane": _dane(entry),
        "dane_wanted": entry.wanted.dane,
        "used_by": list(entry.used_by),
        "unused": entry.unused,
        "unusable": entry.unusable or None,
    }


# What a job does, for people, while it is at work or waits for its place.
_DOES: dict[type[CertJob], str] = {
    MakeKey: "its key is being made",
    Certify: "its certificate is being made",
    Order: "its certificate is being ordered",
    Roll: "it is being rolled",
    PutBack: "it is being put on deck",
    TakeOff: "it is being taken off the deck",
    Deliver: "it goes to production",
    Prove: "its ports are looked at",
    Settle: "old sets are cleaned up",
}


def _doing(entry: Entry) -> str:
    """Return what is being done for a certificate at this moment, "" if it waits or rests."""
    decision = entry.decision
    if decision.job is not None and not entry.hold:
        return entry.progress or _DOES[type(decision.job)]
    return "its CA is being made" if decision.ca_is_made else ""


def _reason(entry: Entry) -> str:
    parts, trial = [say(entry.decision.reason), entry.progress], entry.state.trial
    if trial is not None and not entry.progress and not entry.hold:
        parts.append(f"a {trial.kind} is under way")
    return "; ".join(filter(None, parts))


def _unseen(server: Server) -> Unseen | None:
    """Return why nobody saw what a server uses, None where that was seen, or nothing is used."""
    return server.unseen if server.phase is ServerPhase.RESTARTED else None


def _dane(entry: Entry) -> dict[str, Any] | None:
    """Return how the last comparison of DNS, ports and keys went, None without one."""
    report = entry.report
    if report is None or not entry.wanted.dane:
        return None
    return {
        "at": time(report.at),
        "ok": not report.wrong,
        "fits": report.fits,
        "problems": report.wrong,
        "warnings": report.warnings,
        "unseen": report.unseen,
    }


def _next_try(entry: Entry, trouble: Trouble | None, failed: Server | None) -> datetime | None:
    if entry.hold:
        return entry.looks_at
    if entry.decision.looks_again is not None:
        return entry.decision.looks_again
    if trouble is not None:
        return trouble.next_try
    if entry.decision.alarm:
        return entry.looks_at
    return failed.next_try if failed is not None else None


def _trouble(entry: Entry) -> Trouble | None:
    state = entry.state
    return entry.decision.stuck or state.trouble or state.delivery_trouble


def _failed_at(trouble: Trouble | None) -> datetime | None:
    return trouble.at if trouble is not None and not trouble.rests else None


def _last_error(
    entry: Entry, trouble: Trouble | None, failed: Server | None
) -> tuple[str, str, Reason | None]:
    """Return what failed last, what that is about (`CertStatus.about`), and its reason."""
    if entry.hold:
        return entry.hold, CertStatus.REASON, said(entry.hold)
    if entry.unsaved:
        return entry.unsaved, "", said(entry.unsaved)
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


def _failed_server(servers: tuple[Server, ...]) -> Server | None:
    failed = [server for server in servers if server.attempts and server.next_try]
    return min(failed, key=lambda server: str(server.next_try), default=None)


class StatusDocument:
    """Makes the answers; one per daemon."""

    def __init__(self, planner: Planner, started: datetime, pid: int) -> None:
        self._planner = planner
        self._started = started
        self._pid = pid
        # The answer about all certificates, and the parts that it was made of.
        self._parts: list[bytes] = []
        # Each certificate's part, and what it was made of: good for as long as that is its entry.
        self._made: dict[CertId, tuple[Entry, bytes]] = {}
        self._list = b"[]"
        self._summary = ""

    async def answer(
        self, ident: Id, which: Sequence[CertId] | None, turn: Callable[[], Awaitable[None]]
    ) -> tuple[bytes, ...]:
        """Return a whole line, in pieces; about all certificates for None.

        `turn` returns when something may be done again for whom it is made.
        """
        registry = self._planner.registry
        chosen = registry.managed() if which is None else which
        async for cert in gently(chosen, turn):
            if cert in registry:
                self._document(cert, registry[cert])
        # From here on without a pause: this is how things stand at one moment.
        chosen = registry.managed() if which is None else [one for one in chosen if one in registry]
        parts = [self._document(cert, registry[cert]) for cert in chosen]
        if which is not None:
            body, text = _list_of(parts), _certificates(self._planner)
        elif parts == self._parts and self._summary:  # quick: mostly they are the same objects
            body, text = self._list, self._summary
        else:
            body, text = _list_of(parts), _certificates(self._planner)
            self._parts, self._list, self._summary = parts, body, text
        head = encode_plain(Response(ident, self._about(text))).removesuffix(b"}}\n")
        return (head + b',"certs":', body, b"}}\n")

    def _document(self, cert: CertId, entry: Entry) -> bytes:
        made = self._made.get(cert)
        if made is None or made[0] is not entry:
            value = plain_values(status_entry(cert, entry))
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            made = self._made[cert] = (entry, text.encode("utf-8", "replace"))
        return made[1]

    def _about(self, text: str) -> dict[str, object]:
        planner = self._planner
        refused = planner.refused
        text = f"{text}{_at_work(planner)}"
        about = {
            "version": __version__,
            "pid": self._pid,
            "started": time(self._started),
            "state": "running",
            "text": f"{text}{_refused(planner)}",
            "summary": text,
            "conf_dir": str(planner.site.config.conf_dir),
            "refused": refused.as_json() if refused else None,
            "network_process": network_process(planner),
        }
        return {
            "version": FORMAT,
            "daemon": about,
            "replacing": replacing.rows(planner),
            "hosts": hosts(planner),
            "zones": zones(planner),
            "dns": dns(),
            "dh": dh(planner),
            "net": net(planner),
        }


def _list_of(parts: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"


# --- in one line ----------------------------------------------------------------------


def in_trouble(entry: Entry, now: datetime) -> bool:
    """Whether something about a certificate failed and is not yet made good."""
    return failed(status_of(entry), now)


def summary(planner: Planner) -> str:
    """Return one line on how everything stands, for `systemctl status` and clients."""
    wrong = [f"; {one['text']}" for one in net(planner) if one["text_code"] in NETWORK]
    return f"{_certificates(planner)}{_at_work(planner)}{_refused(planner)}{''.join(wrong)}"


def _certificates(planner: Planner) -> str:
    which, now = planner.registry.managed(), planner.site.now()
    live = troubled = 0
    for cert in which:
        entry = planner.registry[cert]
        live += entry.state.curr is not None and not entry.unusable
        troubled += bool(troubles(status_of(entry), now))  # as `sslmctl status` counts
    trouble = f", {troubled} in trouble" if troubled else ""
    return f"{len(which)} certificates, {live} live{trouble}"


def _at_work(planner: Planner) -> str:
    number = len(planner.queue)
    return f", {number} job{'s' if number > 1 else ''} at work" if number else ""


def _refused(planner: Planner) -> str:
    return f"; {planner.refused.text}" if planner.refused is not None else ""
