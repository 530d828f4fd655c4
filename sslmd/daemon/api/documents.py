"""What `show`, `dane` and `config` answer (docs/socket-api.md).

`status_document` has `status`, `plan_document` `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import thread_time
from typing import Any

from sslmd.acme.accounts import account_used
from sslmd.acme.certbot import server_of
from sslmd.config.model import ServiceConfig
from sslmd.core.dane.tlsa import Share
from sslmd.core.errors import SslmError
from sslmd.core.limits import MOST_ISSUED
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import on_wire
from sslmd.core.spec import AcmeCa, SetFacts
from sslmd.core.state import SetNote
from sslmd.core.words.sentence import say
from sslmd.daemon.api.beside import time
from sslmd.daemon.api.set_row import set_row
from sslmd.daemon.api.status_document import status_entry
from sslmd.daemon.hub import Hub
from sslmd.store import certs, sets
from sslmd.store.state import HistoryEntry


def config(hub: Hub) -> dict[str, Any]:
    """Return which configuration is in force: its folder, what was read, what it is warned of."""
    loaded = hub.site.config
    return {
        "conf_dir": str(loaded.conf_dir),
        "certs_dir": str(loaded.globals.certs_dir),
        "files": dict(loaded.files),
        "warnings": [str(warning) for warning in loaded.warnings],
    }


def dane(hub: Hub, cert: CertId) -> dict[str, Any]:
    """Return everything about a certificate's TLSA records."""
    entry = hub.registry[cert]
    report = entry.report
    zone = hub.zones.zone_of(cert)
    share = zone.share(cert) if zone is not None else Share()
    content = zone.content if zone is not None else {}
    rows = [
        {
            "owner": str(owner),
            "ttl": content[owner].ttl if owner in content else None,
            "record": str(record),
            "of": of,
        }
        for of, records in (("serving", share.serving), ("next", share.coming - share.serving))
        for owner, record in sorted(records)
    ]
    return {
        "cert": str(cert),
        "at": time(report.at) if report else None,
        "age": max(0, round((hub.site.now() - report.at).total_seconds())) if report else None,
        "ok": report is not None and report.fits,
        "reason": say(entry.decision.reason),
        **on_wire(entry.decision.reason),
        "records": rows,
        "findings": [one.as_json() for one in (report.findings if report else ())],
    }


async def show(hub: Hub, cert: CertId, spend: Callable[[float], None]) -> dict[str, Any]:
    """Return everything about one certificate: reasons, sets, history, configuration.

    `spend` is told what reading the files takes of the CPU, in a thread of its own.
    """
    entry = hub.registry[cert]
    service = hub.site.config.services.get(cert)

    def read() -> tuple[list[dict[str, Any]], Sequence[HistoryEntry], str, float]:
        began = thread_time()
        account = _account(hub, service) if service else ""
        sets_, lines = _sets(hub, cert), certs.history(hub.site.tree, cert)
        return sets_, lines, account, thread_time() - began

    unwritten = hub.ledger.unwritten(cert)
    details, entries, account, seconds = await hub.threads.aside(read)
    entries = [*entries, *(one for one in unwritten if one not in entries)]
    spend(seconds)
    used = hub.standings.issuances(hub.site).known(entry.wanted)
    document = status_entry(cert, entry)
    history = [
        {"at": time(one.at), "event": one.event, "set": one.set, "text": one.text}
        for one in entries
    ]
    return {
        "cert": document,
        "decision": {
            "text": say(entry.decision.reason),
            "wake_at": time(entry.decision.wake_at),
            **on_wire(entry.decision.reason),
        },
        "sets": details,
        "history": history,
        "config": _config(service) if service else {},
        "account": account or None,
        "issuances": {"used": used.used, "most": MOST_ISSUED, "next_at": time(used.again)}
        if used is not None
        else None,
    }


def _account(hub: Hub, service: ServiceConfig) -> str:
    """Return the URL of a certificate's account at its ACME CA, "" without one; blocks."""
    signer = service.spec.signer
    if not isinstance(signer, AcmeCa):
        return ""
    server = server_of(hub.site.config.cas[signer.name], "")
    tree = hub.site.tree
    return account_used(tree, server, tree.certbot_dir(service.id))


def _sets(hub: Hub, cert: CertId) -> list[dict[str, Any]]:
    tree = hub.site.tree
    try:
        links = sets.read_links(tree, cert)
        names = sets.list_sets(tree, cert)
    except SslmError:
        return []
    roles = {links.prev: "prev", links.next: "next", links.curr: "curr"}
    state = hub.registry[cert].state
    notes = {"prev": state.prev_note, "next": state.next_note, "curr": state.curr_note}
    return [
        _one_set(hub, cert, name, role, notes.get(role))
        for name in reversed(names)
        for role in (roles.get(name, ""),)
    ]


def _one_set(
    hub: Hub, cert: CertId, name: SetName, role: str, note: SetNote | None
) -> dict[str, Any]:
    try:
        facts = sets.read_set(hub.site.tree, cert, name)
    except SslmError as err:
        facts = SetFacts(name, "", frozenset(), None, str(err))
    details = set_row(facts, note) or {
        "set": str(name),
        "serial": None,
        "not_before": None,
        "not_after": None,
        "issued_at": None,
        "names": sorted(facts.asked_names),
        "key": facts.key,
        "unmet": [],
        "renewal_info": None,
    }
    return {**details, "role": role, "problem": facts.problem}


def _config(service: ServiceConfig) -> dict[str, str]:
    spec, timing = service.spec, service.timing
    dane = {}
    if service.dane:
        ports = (f"{one.port}/{one.proto} {one.combination}" for one in service.dane)
        dane = {
            "dane_tls": ", ".join(ports),
            "dane_tls_ttl": f"{service.dane_ttl} s",
            "dane_next_key": str(service.dane_next_key),
        }
    by_life = {}
    if timing.by_life is not None:
        by_life = {
            "renew_info": "the lead follows from the life; renew_expire_days is that for 90 days"
        }
    if isinstance(spec.signer, AcmeCa):
        by_life["renew_by"] = "ca" if timing.by_ca else "days"
    windows = {"roll_window": service.roll_window, "restart_window": service.restart_window}
    return {
        **dane,
        **{word: ", ".join(map(str, some)) for word, some in windows.items() if some},
        "name": spec.title,
        "signing_ca": str(spec.signer),
        "key": str(spec.key),
        "common name": spec.subject.common_name,
        "names": " ".join(str(name) for name in spec.all_names()),
        "renew_expire_days": f"{timing.renew_before.total_seconds() / 86400:g}",
        "renew_expire_days_spread": f"{timing.spread.total_seconds() / 86400:g}",
        **by_life,
        "min_roll_mins": f"{timing.min_roll.total_seconds() / 60:g}",
    }
