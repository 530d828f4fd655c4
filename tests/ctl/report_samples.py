"""A site for reports: all states, a server that is down, a zone that waits, words of others."""

from __future__ import annotations

from typing import Any

from sslmd.wire.messages import Method
from tests.ctl.fake_daemon import Script, result
from tests.ctl.samples import cert, failing, one_set, rfc3339, status

HOSTILE = (
    "</style></script><script>alert(1)</script><img src=x onerror='a' \"\x1b[31m\u202e&amp;\r\n"
)


def server(host: str = "www1", state: str = "proven", **more: Any) -> Any:
    return {"class": "web", "host": host, "state": state, "error": None, "attempts": 0, **more}


def compared(**more: Any) -> Any:
    well = {"at": rfc3339(-0.3), "ok": True, "fits": True}
    return {**well, "problems": [], "warnings": [], "unseen": [], **more}


def many(number: int) -> list[Any]:
    """Certificates that are well; a third of them has the next on deck."""
    found = []
    for at in range(number):
        left = 31 + at * 7 % 59
        fields = {
            "group": f"g{at % 97}.example",
            "curr": one_set(left),
            "renew_at": rfc3339(left - 30),
            "servers": [server(f"www{at % 4}"), server(f"mx{at % 2}")],
        }
        if at % 3 == 0:
            coming = {"next": one_set(89), "renew_at": None, "roll_at": rfc3339(at % 9 + 0.5)}
            fields |= coming | {"phase": "issued", "reason": "next is on deck"}
        found.append(cert(f"svc{at}-ec", **fields))
    return found


def site() -> Any:
    """The answer to `status`."""
    wait = "waits for its TLSA records in DNS: ns2 does not show them"
    down = "ssh: connect to host mx2.example.net port 22: No route to host"
    certs = [
        *many(6),
        failing(curr=one_set(12), renew_at=rfc3339(-18), failed_at=rfc3339(-0.1)),
        failing("mail2", curr=one_set(4), renew_at=rfc3339(-26), failed_at=rfc3339(-0.2)),
        cert("root", group="ca", signing_ca="", curr=one_set(3000, 3650), renew_at=rfc3339(2500)),
        cert("new", curr=None, renew_at=None, phase="keyed", doing="asks the CA"),
        cert("x", servers=[server("mx2", "failed", error=down, attempts=4)]),
        cert("dane", group="example.net", dane_wanted=True, dane=compared()),
        cert(
            "smtp",
            group="example.org",
            dane_wanted=True,
            dane=compared(ok=False, problems=["port 25 serves another key"]),
            next=one_set(89),
            phase="issued",
            reason=wait,
        ),
        cert(
            HOSTILE,
            group=HOSTILE,
            signing_ca=HOSTILE,
            attempts=3,
            last_error=HOSTILE,
            servers=[server(HOSTILE, "failed", error=HOSTILE)],
            dane_wanted=True,
            dane=compared(problems=[HOSTILE], warnings=[HOSTILE]),
        ),
    ]
    found = status(*certs)
    found["zones"] = [{"zone": "example.com", "error": HOSTILE, "told_by": []}]
    found["hosts"] = [{"host": HOSTILE, "text": HOSTILE, "error": HOSTILE}]
    found["daemon"]["text"] = HOSTILE
    return found


PLAN: Any = {
    "jobs": [
        {"cert": "", "job": "copy to www1", "at": None, "state": "running", "reason": HOSTILE},
        {"cert": "a.example/x", "job": "renew", "at": rfc3339(3), "reason": "due"},
        {"cert": "a.example/y", "job": "renew", "at": rfc3339(3), "reason": "due"},
        {"cert": "a.example/z", "job": HOSTILE, "at": rfc3339(29), "reason": HOSTILE},
        {"cert": "a.example/far", "job": "renew", "at": rfc3339(31), "reason": "due"},
        {"cert": "a.example/idle", "job": "wait", "at": None, "reason": "nothing to do"},
    ]
}
ALARMS: Any = {
    "alarms": [
        {
            "kind": "expiry",
            "severity": "critical",
            "title": "2 certificates are not renewed",
            "text": HOSTILE,
            "subjects": [f"example.com:{HOSTILE}", "example.com:mail2"],
            "since": rfc3339(-5),
            "ends": rfc3339(4),
            "advice": HOSTILE,
        },
        {"kind": "host", "severity": "warning", "title": HOSTILE, "text": "x", "subjects": ["h"]},
    ]
}
METRICS: Any = {
    "zones": [{"zone": "example.net", "changed": True, "servers": 3, "heard": 2, "waiting": 0}]
}


def answers(value: Any = None) -> dict[Method, Script]:
    return {
        Method.STATUS: result(site() if value is None else value),
        Method.PLAN: result(PLAN),
        Method.ALARMS: result(ALARMS),
        Method.METRICS: result(METRICS),
    }


def odd_dates() -> list[Any]:
    """Certificates whose times no calendar has, or that stand in no order."""
    ends = {**one_set(), "not_before": "0001-01-01T00:00:00Z", "not_after": "9999-12-31T23:59:59Z"}
    odd = {**one_set(), "not_before": "tomorrow", "not_after": None}
    turned = {**one_set(), "not_before": rfc3339(60), "not_after": rfc3339(-60)}
    last = "9999-12-31T23:59:59Z"
    return [
        cert("a", curr=ends, renew_at=last, roll_at="0001-01-01T00:00:00Z"),
        cert("b", curr=odd, renew_at="x"),
        cert("c", curr=turned, next=ends),
    ]
