"""The table of certificates of a page, each with its line of time.

There may be ten thousand: a row has few elements, those that are not looked at are not laid out
(`content-visibility`), and without a script all are there. A row that is no table row for the
browser's layout says by `role` that it is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape

from sslmd.core.plain import local, minute, rfc3339, span
from sslmd.ctl.axis import Axis
from sslmd.ctl.report_facts import CertLine
from sslmd.ctl.shade import SIGNS, Shade

_TITLES = (
    ("Certificate", "name"),
    ("State", "state"),
    ("Valid until", "time"),
    ("Renews", "time"),
    ("Rolls", "time"),
)

_KEY = """\
<p class="key small"><svg width="34" height="16" aria-hidden="true"><rect class="b" y="5" width="34"
 height="7"/></svg> valid <svg width="34" height="16" aria-hidden="true"><rect class="l" y="5"
 width="34" height="7"/></svg> to be renewed <svg width="34" height="16" aria-hidden="true"><rect
 class="n" y="9" width="34" height="4"/></svg> the next one, on deck
<svg width="16" height="16" aria-hidden="true"><use href="#d" x="8"/></svg> renews
<svg width="16" height="16" aria-hidden="true"><use href="#o" x="8"/></svg> rolls
<svg width="16" height="16" aria-hidden="true"><use href="#e" x="8"/></svg> ends
<svg width="16" height="16" aria-hidden="true"><use href="#x" x="12"/></svg> goes on
<svg width="16" height="16" aria-hidden="true"><rect class="now" x="7" width="2"
 height="16"/></svg> now</p>"""


def state(shade: Shade) -> str:
    """Return a sign and a word."""
    sign = SIGNS[shade][0]
    return (
        f'<span class="s s{shade:d}"><span class="g" aria-hidden="true">{sign}</span> '
        f"{shade.word}</span>"
    )


def moment(when: datetime | None, now: datetime) -> str:
    """Return a time, for people and for the script that sorts."""
    if when is None:
        return "-"
    return f'<time datetime="{rfc3339(when)}">{escape(local(when, now))}</time>'


def cert_table(lines: Sequence[CertLine], axis: Axis) -> Iterator[str]:
    """Yield the part of the page."""
    yield '<section aria-labelledby="lines"><h2 id="lines">Time line</h2>'
    if not lines:
        yield "<p>There are no certificates.</p></section>"
        return
    yield from _controls(lines)
    yield _KEY
    yield '<table role="table" class="certs" aria-labelledby="lines"><thead role="rowgroup">'
    heads = "".join(
        f'<th scope="col" role="columnheader" data-k="{kind}">{title}</th>'
        for title, kind in _TITLES
    )
    yield (
        f'<tr role="row">{heads}<th scope="col" role="columnheader" class="t">'
        f'<span class="v">Line of time</span>{_marks(axis)}</th>'
        '<th scope="col" role="columnheader" class="v">Remarks</th></tr></thead>'
    )
    yield '<tbody role="rowgroup" id="certs">'
    for line in lines:
        yield _row(line, axis)
    yield "</tbody></table></section>"


def _controls(lines: Sequence[CertLine]) -> Iterator[str]:
    """Yield what only a script can work; it shows them."""
    yield (
        '<form id="filter" role="search" hidden><label>Filter '
        '<input id="words" type="search" autocomplete="off" placeholder="name, CA, error"></label>'
        "<fieldset><legend>State</legend>"
    )
    there = {line.shade for line in lines}
    for shade in Shade:
        if shade in there:
            yield (
                f'<label><input type="checkbox" value="s{shade:d}" checked> {state(shade)}</label>'
            )
    yield '</fieldset><output id="shown" aria-live="polite"></output></form>'


def _marks(axis: Axis) -> str:
    names = [
        f'<text x="{at * 100:.2f}%" dx="3" y="13">{escape(name)}</text>'
        for tick, name in axis.ticks(8)
        if (at := axis.at(tick)) < 0.92
    ]
    return f'<svg class="m" height="18" aria-hidden="true">{"".join(names)}</svg>'


def _row(line: CertLine, axis: Axis) -> str:
    cert, now = line.cert, axis.now
    end = cert.not_after
    left = "none" if end is None else span(end - now) if end > now else "expired"
    about = " · ".join(filter(None, (cert.text("signing_ca") or "self", cert.curr.text("key"))))
    notes = "".join(f"<li>{escape(note)}</li>" for note in line.notes)
    more = f'<td role="cell" class="w"><ul>{notes}</ul></td>' if notes else ""
    phase = escape(cert.text("phase"))
    until = f"{moment(end, now)} <small>{left}</small>" if end else left
    return (
        f'<tr role="row" class="s{line.shade:d}"><th scope="row" role="rowheader">'
        f"{escape(cert.name)} <small>{escape(about)}</small></th>"
        f'<td role="cell">{state(line.shade)} <small>{phase}</small></td>'
        f'<td role="cell">{until}</td>'
        f'<td role="cell">{moment(cert.time("renew_at"), now)}</td>'
        f'<td role="cell">{moment(cert.time("roll_at"), now)}</td>'
        f'<td role="cell" class="t">{_drawn(line, axis)}</td>{more}</tr>'
    )


def _drawn(line: CertLine, axis: Axis) -> str:
    """Return the line: as a picture, and in words for who does not see it."""
    cert, coming = line.cert, line.cert.sub("next")
    renew, roll = cert.time("renew_at"), cert.time("roll_at")
    words, shapes = [], []
    begin, end = cert.curr.time("not_before"), cert.not_after
    if begin is not None and end is not None:
        words.append(f"valid from {minute(begin)} to {minute(end)}")
        due = min(max(renew, begin), end) if renew is not None else end
        shapes += _bar("b", begin, due, axis, 4, 8) + _bar("l", due, end, axis, 4, 8)
        shapes += _ends(begin, end, axis)
    begin, end = coming.time("not_before"), coming.time("not_after")
    if begin is not None and end is not None:
        words.append(f"next from {minute(begin)} to {minute(end)}")
        shapes += _bar("n", begin, end, axis, 15, 4)
    for when, sign, word in ((renew, "d", "renews"), (roll, "o", "rolls")):
        if when is not None:
            words.append(f"{word} {minute(when)}")
            if axis.start <= when <= axis.end:
                shapes.append(f'<use href="#{sign}" x="{axis.at(when) * 100:.2f}%"/>')
    text = escape("; ".join(words) or "no certificate yet")
    return f'<svg role="img"><title>{text}</title>{"".join(shapes)}</svg>'


def _bar(kind: str, begin: datetime, end: datetime, axis: Axis, y: int, height: int) -> list[str]:
    if end <= axis.start or begin >= axis.end or end <= begin:
        return []
    first, last = axis.at(begin) * 100, axis.at(end) * 100
    # A hair is seen, too.
    width = max(last - first, 0.3)
    return [
        f'<rect class="{kind}" x="{first:.2f}%" y="{y}" width="{width:.2f}%" height="{height}"/>'
    ]


def _ends(begin: datetime, end: datetime, axis: Axis) -> list[str]:
    found = []
    if end > axis.end:
        found.append('<use href="#x" x="100%"/>')
    elif end < axis.start:
        found.append('<use href="#y" x="0"/>')
    else:
        found.append(f'<use href="#e" x="{axis.at(end) * 100:.2f}%"/>')
    if begin < axis.start < end:
        found.append('<use href="#y" x="0"/>')
    return found
