"""A report as one page of HTML: nothing is loaded from elsewhere, nothing of others is markup.

The page says so itself by its policy (CSP): the one style and the one script have their hashes
there, and all else is forbidden. No element has a style of its own, because a policy that lets
those in lets in those of others, too: what is drawn are attributes of SVG.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from html import escape
from importlib.resources import files

from sslmd.console.answers import Fields
from sslmd.console.text import count
from sslmd.core.plain import clock, local, rfc3339, some_of, span
from sslmd.ctl.axis import Axis, axis_of
from sslmd.ctl.report_facts import ReportFacts, ServerLine, ZoneLine
from sslmd.ctl.report_rows import MARKS, cert_table, moment, state
from sslmd.ctl.report_text import states, summary

# Names that stand in one place; who wants all of them asks `sslmctl`.
_MOST_NAMED = 500
# So many stand openly, more behind a line that opens.
_OPEN = 4

_DEFS = """\
<svg class="defs" width="0" height="0" aria-hidden="true" focusable="false"><defs>
<path id="d" d="M0 2.5 5.5 8 0 13.5-5.5 8Z"/><path id="o" d="M-4 2.5 6 8-4 13.5Z"/>
<path id="e" d="M-1.25 2h2.5v12h-2.5Z"/><path id="x" class="on" d="M-10 3-5 8-10 13M-6 3-1 8-6 13"/>
<path id="y" class="on" d="M10 3 5 8 10 13M6 3 1 8 6 13"/></defs></svg>"""


def page(facts: ReportFacts) -> str:
    """Return the page."""
    axis = axis_of([line.cert for line in facts.certs], facts.now)
    style = _asset("report.css") + _grid(axis)
    script = _asset("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">',
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">',
        f"<title>Certificates: {_t(summary(facts))}</title>",
        f"<style>{style}</style></head><body>",
        _DEFS,
        *_head(facts),
        '<main id="main">',
        *_alarms(facts),
        *cert_table(facts.certs, axis),
        *_coming(facts),
        *_failed(facts),
        *_servers(facts.servers),
        *_zones(facts.zones, facts.now),
        "</main>",
        f"<footer><p>{_t(_made(facts))}</p></footer>",
        f"<script>{script}</script></body></html>\n",
    ]
    return "\n".join(parts)


def _t(text: str) -> str:
    return escape(text)


def _asset(name: str) -> str:
    return (files("sslmd.ctl") / name).read_text()


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _grid(axis: Axis) -> str:
    """Return the rule that draws now, and the marks, behind every line."""

    def line(at: float, colour: str, width: str) -> str:
        return f"linear-gradient(var({colour}),var({colour})) {at * 100:.2f}% 0/{width} 100%"

    found = [line(axis.at(axis.now), "--now", "2px")]
    found += [line(axis.at(at), "--grid", "1px") for at, _ in axis.ticks(MARKS)]
    return f"\n.t{{background:{','.join(found)};background-repeat:no-repeat}}\n"


# --- the head ------------------------------------------------------------------------------


def _head(facts: ReportFacts) -> Iterator[str]:
    yield '<a class="skip" href="#main">To the report</a><header><h1>Certificates</h1>'
    at = f'<time datetime="{rfc3339(facts.now)}">{_t(clock(facts.now))}</time>'
    yield f"<p>{_t(count(len(facts.certs), 'certificate'))}, as of {at}</p>"
    yield '<ul class="sums">'
    for shade, number in facts.counted():
        yield f"<li>{state(shade)} <b>{number:,}</b></li>"
    yield "</ul>"
    titles = (
        ("wrong", "Wrong now", facts.alarms is not None),
        ("lines", "Time line", True),
        ("coming", "Next 30 days", True),
        ("failed", "Failed", True),
        ("servers", "Servers", True),
        ("dane", "DANE", True),
    )
    links = " ".join(f'<li><a href="#{one}">{title}</a></li>' for one, title, has in titles if has)
    yield f'<nav aria-label="Parts of the report"><ul>{links}</ul></nav></header>'


def _made(facts: ReportFacts) -> str:
    daemon = facts.daemon
    said = ": ".join(filter(None, (daemon.text("state"), daemon.text("text"))))
    began = local(daemon.time("started"), facts.now)
    return f"sslmd {daemon.text('version')}, since {began}; {said}"


# --- the parts -----------------------------------------------------------------------------


def _part(name: str, title: str, note: str = "") -> str:
    more = f"<p>{_t(note)}</p>" if note else ""
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{_t(title)}</h2>{more}'


def _table(name: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table of cells that are markup already; the first heads its row."""
    heads = "".join(f'<th scope="col" role="columnheader">{title}</th>' for title in titles)
    yield f'<table role="table" class="plain" aria-labelledby="{name}">'
    yield f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead><tbody role="rowgroup">'
    for first, *others in rows:
        cells = "".join(
            f'<td role="cell" data-t="{title}">{cell}</td>'
            for title, cell in zip(titles[1:], others, strict=True)
        )
        yield f'<tr role="row"><th scope="row" role="rowheader">{first}</th>{cells}</tr>'
    yield "</tbody></table>"


def _names(names: Sequence[str], noun: str = "certificate", number: int = 0) -> str:
    """Return names, behind a line that opens where they are many."""
    if len(names) <= _OPEN:
        return _t(", ".join(names) or (count(number, noun) if number else "-"))
    title = f"{len(names):,} {noun}s"
    return f"<details><summary>{title}</summary>{_t(some_of(names, _MOST_NAMED))}</details>"


def _alarms(facts: ReportFacts) -> Iterator[str]:
    if facts.alarms is None:
        return
    yield _part("wrong", "Wrong now")
    if not facts.alarms:
        yield "<p>No alarm.</p>"
    for one in facts.alarms:
        yield from _alarm(one, facts.now)
    yield "</section>"


def _alarm(one: Fields, now: datetime) -> Iterator[str]:
    severity = one.text("severity")
    level = "s0" if severity == "critical" else "s1"
    sign = "✖" if severity == "critical" else "▲"
    title = f'<span class="g" aria-hidden="true">{sign}</span> {_t(severity)}'
    yield f'<article class="alarm {level}"><h3>{title}: {_t(one.text("title"))}</h3>'
    yield f"<p>{_t(one.text('text'))}</p>"
    facts = [one.text("kind")]
    if since := one.time("since"):
        facts.append(f"for {span(now - since)}")
    if ends := one.time("ends"):
        facts.append(f"valid until {local(ends, now)}")
    if one.flag("silenced"):
        facts.append("silenced")
    yield f'<p class="small">{_t(", ".join(filter(None, facts)))}</p>'
    if len(names := one.texts("subjects")) > 1:
        yield f"<p>{_names(names, 'name')}</p>"
    if advice := one.text("advice"):
        yield f"<p>To do: {_t(advice)}</p>"
    yield "</article>"


def _coming(facts: ReportFacts) -> Iterator[str]:
    yield _part("coming", "In the next 30 days")
    rows = []
    for line in facts.coming:
        reason = f'<p class="small">{_t(line.reason)}</p>' if line.reason else ""
        when = moment(line.at, facts.now) if line.at else "now"
        rows.append((when, f"{_t(line.what)}{reason}", _names(line.who, number=0)))
    if rows:
        yield from _table("coming", ("When", "What", "Certificates"), rows)
    else:
        yield "<p>Nothing comes.</p>"
    yield "</section>"


def _failed(facts: ReportFacts) -> Iterator[str]:
    yield _part("failed", "What failed")
    rows = [
        (
            _names(line.who),
            f'<span class="bad">{_t(line.text)}</span>',
            _t(str(line.times or "-")),
            moment(line.since, facts.now),
            moment(line.next_try, facts.now),
        )
        for line in facts.failed
    ]
    if rows:
        yield from _table("failed", ("What", "Why", "Times", "Last", "Next try"), rows)
    else:
        yield "<p>Nothing.</p>"
    yield "</section>"


def _servers(servers: Sequence[ServerLine]) -> Iterator[str]:
    yield _part("servers", "Servers and what they serve")
    rows = []
    for one in servers:
        errors = "".join(f'<p class="bad">{_t(error)}</p>' for error in one.errors)
        how = f"{state(one.shade, one.word)} <small>{_t(states(one.states))}</small>{errors}"
        rows.append((_t(f"{one.kind} on {one.host}"), how, _names(one.certs)))
    if rows:
        yield from _table("servers", ("Server", "State", "Certificates"), rows)
        yield '<p class="small">Proven: seen serving it. Restarted: nobody saw it serving that.</p>'
    else:
        yield "<p>No server uses a certificate.</p>"
    yield "</section>"


def _zones(zones: Sequence[ZoneLine], now: datetime) -> Iterator[str]:
    yield _part("dane", "DANE")
    rows = []
    for one in zones:
        notes = [f"<li>{_t(text)}</li>" for text in one.wrong[:_MOST_NAMED]]
        waits = [f"<li>{_t(f'{name}: {why}')}</li>" for name, why in one.waits[:_MOST_NAMED]]
        rows.append(
            (
                _t(one.zone),
                state(one.shade, one.word),
                f"{one.certs:,}",
                moment(one.looked_at, now),
                f"<ul>{''.join(waits)}</ul>" if waits else "nothing",
                f"<ul>{''.join(notes)}</ul>" if notes else "-",
            )
        )
    if rows:
        titles = ("Zone", "State", "Certificates", "Compared", "Waits for", "Notes")
        yield from _table("dane", titles, rows)
    else:
        yield "<p>No certificate has TLSA records.</p>"
    yield "</section>"
