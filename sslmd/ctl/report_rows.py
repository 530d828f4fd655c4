"""The table of certificates of a page, each with its line of time.

There may be ten thousand: a row has few elements, those that are not looked at are not laid out
(`content-visibility`, of some dozens together, because the browser asks of each whether it is to be
seen), and without a script all are there. What is no part of a table for the browser's layout says
by `role` that it is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape

from sslmd.core.plain import local, minute, rfc3339
from sslmd.ctl.axis import Axis
from sslmd.ctl.report_facts import CertLine
from sslmd.ctl.shade import SIGNS, Shade

# Rows that are laid out together; report.css has their height.
TOGETHER = 40

# Marks of the line: so many names stand beside each other in its narrowest column.
MARKS = 6

_TITLES = (
    ("Certificate", "name"),
    ("State", "state"),
    ("Valid until", "time"),
    ("Renews", "time"),
    ("Rolls", "time"),
)

_SIGN = '<svg width="{}" height="16" aria-hidden="true">{}</svg>'
_KEY = (
    (_SIGN.format(34, '<rect class="b" y="5" width="34" height="7"/>'), "valid"),
    (_SIGN.format(34, '<rect class="l" x="1" y="5" width="32" height="7"/>'), "to be renewed"),
    (_SIGN.format(34, '<rect class="n" y="7" width="34" height="4"/>'), "the next one, on deck"),
    (_SIGN.format(16, '<use href="#d" x="8"/>'), "renews"),
    (_SIGN.format(16, '<use href="#o" x="8"/>'), "rolls"),
    (_SIGN.format(16, '<use href="#e" x="8"/>'), "ends"),
    (_SIGN.format(16, '<use href="#x" x="14"/>'), "goes on"),
    (_SIGN.format(16, '<rect class="now" x="7" width="2" height="16"/>'), "now"),
)


def state(shade: Shade, word: str = "") -> str:
    """Return a sign and a word, its own or a better one."""
    sign = SIGNS[shade][0]
    return (
        f'<span class="s s{shade:d}"><span class="g" aria-hidden="true">{sign}</span> '
        f"{word or shade.word}</span>"
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
    yield '<ul class="key small">'
    yield from (f"<li>{sign} {word}</li>" for sign, word in _KEY)
    yield "</ul>"
    yield '<table role="table" class="certs" id="certs" aria-labelledby="lines">'
    yield '<thead role="rowgroup">'
    heads = "".join(
        f'<th scope="col" role="columnheader" data-k="{kind}">{title}</th>'
        for title, kind in _TITLES
    )
    yield (
        f'<tr role="row">{heads}<th scope="col" role="columnheader" class="t">'
        f'<span class="v">Line of time</span>{_marks(axis)}</th>'
        '<th scope="col" role="columnheader" class="v">Remarks</th></tr></thead>'
    )
    for first in range(0, len(lines), TOGETHER):
        yield '<tbody role="rowgroup">'
        for line in lines[first : first + TOGETHER]:
            yield _row(line, axis)
        yield "</tbody>"
    yield "</table></section>"


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
        for tick, name in axis.ticks(MARKS)
        if (at := axis.at(tick)) < 0.92
    ]
    return f'<svg class="m" height="18" aria-hidden="true">{"".join(names)}</svg>'


def _row(line: CertLine, axis: Axis) -> str:
    cert, now = line.cert, axis.now
    end, left = cert.not_after, cert.left(now)
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
