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
from sslmd.core.names import CertId
from sslmd.core.plain import plain_values
from sslmd.core.reason import Reason, on_wire
from sslmd.core.told import Doing
from sslmd.core.trouble import NETWORK, failed, troubles
from sslmd.core.words.sentence import say
from sslmd.daemon.api import replacing
from sslmd.daemon.api.alarm_methods import own_alarms, silences_and_notifiers
from sslmd.daemon.api.beside import dh, dns, hosts, net, network_process, time, zones
from sslmd.daemon.api.set_row import set_row
from sslmd.daemon.api.users import gently
from sslmd.daemon.cert_status import (
    doing_of,
    failed_at_of,
    failed_server_of,
    last_error_of,
    status_of,
    trouble_of,
    unseen_of,
)
from sslmd.daemon.hub import Hub
from sslmd.daemon.registry import Entry
from sslmd.wire.messages import Id, Response, encode_plain

FORMAT = 1


def status_entry(cert: CertId, entry: Entry) -> dict[str, Any]:
    """Return one certificate of `status --json` (docs/socket-api.md, Status)."""
    state, status = entry.state, status_of(entry)
    doing = doing_of(entry)
    *_, why = last_error_of(entry, trouble_of(entry), failed_server_of(state.servers))
    return {
        "group": cert.group,
        "service": cert.service,
        "phase": str(state.phase),
        "reason": _reason(entry),
        **on_wire(entry.decision.reason),
        "doing": say(doing) or None,
        **on_wire(doing, "doing"),
        "progress": say(entry.progress) or None,
        **on_wire(entry.progress, "progress"),
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
        "failed_at": time(failed_at_of(trouble_of(entry))),
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
                "unseen": say(unseen.why) if (unseen := unseen_of(server)) else None,
                **on_wire(unseen.why if unseen else None, "unseen"),
                "meant": unseen.meant if unseen else False,
                "expires": time(server.expires),
            }
            for server in state.servers
        ],
        "dane": _dane(entry),
        "dane_wanted": entry.wanted.dane,
        "used_by": list(entry.used_by),
        "unused": entry.unused,
        "unusable": say(entry.unusable) or None,
        **on_wire(entry.unusable, "unusable"),
    }


def _reason(entry: Entry) -> str:
    how, trial = entry.progress, entry.state.trial
    if trial is not None and how is None and entry.hold is None:
        how = Reason(Doing.TRIAL_RUNS, kind=trial.kind)
    return say(entry.decision.reason.also(how))


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
        "findings": [one.as_json() for one in report.notable],
    }


class StatusDocument:
    """Makes the answers; one per daemon."""

    def __init__(self, hub: Hub, started: datetime, pid: int) -> None:
        self._hub = hub
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
        registry = self._hub.registry
        chosen = registry.managed() if which is None else which
        async for cert in gently(chosen, turn):
            if cert in registry:
                self._document(cert, registry[cert])
        # From here on without a pause: this is how things stand at one moment.
        chosen = registry.managed() if which is None else [one for one in chosen if one in registry]
        parts = [self._document(cert, registry[cert]) for cert in chosen]
        if which is not None:
            body, text = _list_of(parts), _certificates(self._hub)
        elif parts == self._parts and self._summary:  # quick: mostly they are the same objects
            body, text = self._list, self._summary
        else:
            body, text = _list_of(parts), _certificates(self._hub)
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
        hub = self._hub
        refused = hub.refused
        text = f"{text}{_at_work(hub)}"
        about = {
            "version": __version__,
            "pid": self._pid,
            "started": time(self._started),
            "state": "running",
            "text": f"{text}{_refused(hub)}",
            "summary": text,
            "conf_dir": str(hub.site.config.conf_dir),
            "refused": refused.as_json() if refused else None,
            "network_process": network_process(hub),
        }
        return {
            "version": FORMAT,
            "daemon": about,
            "replacing": replacing.rows(hub),
            "hosts": hosts(hub),
            "zones": zones(hub),
            "dns": dns(),
            "dh": dh(hub),
            "own_alarms": own_alarms(hub),
            **silences_and_notifiers(hub),
            "net": net(hub),
        }


def _list_of(parts: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"


# --- in one line ----------------------------------------------------------------------


def in_trouble(entry: Entry, now: datetime) -> bool:
    """Whether something about a certificate failed and is not yet made good."""
    return failed(status_of(entry), now)


def summary(hub: Hub) -> str:
    """Return one line on how everything stands, for `systemctl status` and clients."""
    wrong = [f"; {one['text']}" for one in net(hub) if one["text_code"] in NETWORK]
    return f"{_certificates(hub)}{_at_work(hub)}{_refused(hub)}{''.join(wrong)}"


def _certificates(hub: Hub) -> str:
    which, now = hub.registry.managed(), hub.site.now()
    live = troubled = 0
    for cert in which:
        entry = hub.registry[cert]
        live += entry.state.curr is not None and not entry.unusable
        troubled += bool(troubles(status_of(entry), now))  # as `sslmctl status` counts
    trouble = f", {troubled} in trouble" if troubled else ""
    return f"{len(which)} certificates, {live} live{trouble}"


def _at_work(hub: Hub) -> str:
    number = len(hub.queue)
    return f", {number} job{'s' if number > 1 else ''} at work" if number else ""


def _refused(hub: Hub) -> str:
    return f"; {hub.refused.text}" if hub.refused is not None else ""
