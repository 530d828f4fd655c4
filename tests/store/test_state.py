"""state.toml: what is written is read back; nonsense is recognized and never believed."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslmd.core.dane.sighting import Instant, Sighting, Silence
from sslmd.core.errors import Failure, Transient, Trouble
from sslmd.core.failed import Failed
from sslmd.core.names import SetName
from sslmd.core.reason import Reason, said
from sslmd.core.seen import InDns
from sslmd.core.state import (
    Ask,
    CertState,
    Delivered,
    Issuance,
    Request,
    Server,
    ServerPhase,
    SetNote,
    Unseen,
)
from sslmd.store.notes import BadNoteError, LaterVersionError
from sslmd.store.state import (
    HISTORY_KEPT,
    HistoryEntry,
    Notes,
    parse,
    parse_history,
    render,
    split,
)

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
SET = SetName.at(NOW)

# Any text at all: it is what servers and commands say. No file can hold lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80) | st.sampled_from(
    [
        "\n[[history]]\n",
        "[[history]]\n",
        '"""',
        "'''",
        "\\u0041",
        "a = 1",
        "\x00\x7f\x1b[0m",
        "\r\n",
    ]
)
times = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001
    max_value=datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
names = times.map(SetName.at)
counts = st.integers(0, 10**6)
asks = st.builds(
    Ask,
    st.sampled_from(Request),
    times,
    st.booleans(),
    st.booleans(),
    names,
    st.none() | names,
    min_roll=st.none() | st.integers(0, 525_600).map(lambda minutes: timedelta(minutes=minutes)),
)
troubles = st.builds(
    Trouble, counts, st.sampled_from(Failure), texts, times, times, texts, st.booleans()
)
seconds = st.floats(0, 1e9).map(lambda number: round(number, 3))
lines = texts.filter(bool)
spans = seconds.map(lambda number: timedelta(seconds=number))


def lacking(server: str, wait: float, tcp: bool | None) -> Reason:
    """A reason with others in it."""
    why = Reason(Failed.NS_SILENT, seconds=wait, tcp=tcp)
    return Reason(InDns.NOT_AT_ALL, servers=(Reason(Failed.NAME_SERVER, server=server, why=why),))


reasons = st.one_of(
    st.builds(said, lines),
    st.builds(lacking, texts, seconds, st.none() | st.just(True)),
    st.builds(lambda at: Reason(InDns.SIGNATURES_OVER, owner="a", until=at), times),
    st.builds(
        lambda text, wait: Reason(InDns.TRIED_AGAIN, why=said(text), wait=wait), lines, spans
    ),
)
servers = st.builds(
    Server,
    texts,
    texts,
    st.sampled_from(ServerPhase),
    st.none() | names,
    texts,
    counts,
    st.none() | times,
    unseen=st.none() | st.builds(Unseen, reasons, st.booleans()),
)
set_notes = st.builds(
    SetNote,
    st.floats(-1, 1),
    st.none() | times,
    texts,
    unmet=st.lists(texts, max_size=2).map(tuple),
)
instants = st.builds(Instant, texts, seconds)
sightings = st.builds(
    Sighting,
    st.none() | names,
    st.frozensets(texts, max_size=3),
    seconds,
    st.none() | times,
    seconds,
    st.none() | instants,
    st.lists(st.builds(Silence, texts, instants), max_size=2).map(tuple),
    st.none() | reasons,
    st.none() | times,
)
states = st.builds(
    CertState,
    rolled_at=st.none() | times,
    advertised=st.none() | names,
    deployed=st.none() | names,
    settled=st.none() | names,
    retired=st.lists(names, max_size=2).map(tuple),
    sighting=st.none() | sightings,
    delivered=st.builds(Delivered, st.none() | names, st.none() | names),
    servers=st.lists(servers, max_size=3).map(tuple),
    ask=st.none() | asks,
    trouble=st.none() | troubles,
    delivery_trouble=st.none() | troubles,
    issued=st.lists(st.builds(Issuance, texts, texts, texts, times), max_size=2).map(tuple),
    off_deck=st.none() | names,
)
notes = st.builds(
    Notes,
    sets=st.dictionaries(names, set_notes, max_size=2),
    state=states,
)
entries = st.builds(
    HistoryEntry, times.map(lambda at: at.replace(microsecond=0)), texts, names.map(str), texts
)
unhurried = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@unhurried
@given(notes, st.lists(entries, max_size=4), st.lists(entries, max_size=4))
def test_round_trip(written: Notes, old: list[HistoryEntry], new: list[HistoryEntry]) -> None:
    before = render(Notes(), {}, None, old)
    content = render(written, {"renew_at": NOW, "roll_at": None}, before, new)
    assert parse(content) == written
    assert parse_history(content) == old + new
    whole = tomli.loads(content.decode())  # so other programs can read all of it
    assert whole["version"] == 1
    assert whole["renew_at"] == NOW
    assert len(whole.get("history", [])) == len(old + new)
    # Written again without news, it stays as it is, byte for byte.
    assert render(written, {"renew_at": NOW}, content, []) == content


def test_history_survives_and_is_bounded() -> None:
    content: bytes | None = None
    for number in range(HISTORY_KEPT + 20):
        entry = HistoryEntry(NOW + timedelta(days=number), "rolled", str(SET), f"number {number}")
        content = render(Notes(state=CertState(rolled_at=NOW)), {}, content, [entry])
    assert content is not None
    kept = parse_history(content)
    assert [entry.text for entry in kept] == [
        f"number {number}" for number in range(20, HISTORY_KEPT + 20)
    ]
    many = [HistoryEntry(NOW, "e", "", str(number)) for number in range(3 * HISTORY_KEPT)]
    assert len(parse_history(render(Notes(), {}, None, many))) == HISTORY_KEPT


def test_history_is_not_parsed_at_start() -> None:
    good = render(
        Notes(state=CertState(rolled_at=NOW)), {}, None, [HistoryEntry(NOW, "e", "", "x")]
    )
    broken = good + b"\n[[history]]\nthis is = = not TOML\n"
    assert parse(broken).state.rolled_at == NOW
    # One bad entry costs only itself, and is not thrown away either.
    later = render(parse(broken), {}, broken, [HistoryEntry(NOW, "e", "", "y")])
    assert [entry.text for entry in parse_history(later)] == ["x", "y"]
    assert b"this is = = not TOML" in later


def test_split() -> None:
    assert split(b"a = 1\n") == ("a = 1\n\n", "")
    assert split(b"[[history]]\nx = 1\n") == ("", "[[history]]\nx = 1\n")
    head, tail = split(b"a = 1\n\n[[history]]\nb = 2\n")
    assert (head.strip(), tail) == ("a = 1", "[[history]]\nb = 2\n")


def test_text_that_utf8_cannot_hold_is_written_all_the_same() -> None:
    trouble = Trouble(1, Failure.BUG, "file \udcff", NOW, NOW, "")
    content = render(
        Notes(state=CertState(trouble=trouble)), {}, None, [HistoryEntry(NOW, "e", "", "\udcff")]
    )
    read = parse(content).state.trouble
    assert read is not None
    assert read.text == "file ?"


def test_a_later_version_is_not_ours() -> None:
    for content in (b"version = 2\n", b'version = 99\n[sets]\n"odd" = []\n'):
        with pytest.raises(LaterVersionError, match="this sslmd knows 1"):
            parse(content)


TIME = "2026-01-01T00:00:00Z"
_TROUBLE = f'[trouble]\nfailure = "bug"\nat = {TIME}\nnext_try = {TIME}\nattempts = '
NONSENSE = [
    "",
    "version",
    "version = 0",
    "version = -5",
    "version = '1'",
    "version = []",
    "version = true\nversion = 1",
    "version = 1\nversion = 1",
    "version = 1\n\x00",
    "version = 1\nx = " + "[" * 100_000,
    "version = 1\nx = " + "9" * 5000,
    "version = " + "9" * 5000,
    "version = 1\nrolled_at = 1",
    "version = 1\nrolled_at = 2026-13-01T00:00:00Z",
    "version = 1\nrolled_at = 2026-01-01T00:00:00",
    "version = 1\nrolled_at = 0001-01-01T00:00:00+23:59",
    "version = 1\nrolled_at = 9999-12-31T23:59:59-23:59",
    "version = 1\nsettled = '../../etc'",
    "version = 1\nsettled = 20260101",
    "version = 1\ndelivered = 'x'",
    "version = 1\ndelivered = {curr = []}",
    "version = 1\nsets = []",
    "version = 1\n[sets.'../x']\ndraw = 0",
    f"version = 1\n[sets.'{SET}']",
    f"version = 1\n[sets.'{SET}']\ndraw = 1.5",
    f"version = 1\n[sets.'{SET}']\ndraw = nan",
    f"version = 1\n[sets.'{SET}']\ndraw = -inf",
    f"version = 1\n[sets.'{SET}']\ndraw = true",
    f"version = 1\n[sets.'{SET}']\ndraw = 1" + "0" * 400,
    "version = 1\nservers = {}",
    "version = 1\nservers = [1]",
    "version = 1\n[[servers]]\nclass = 'web'\nhost = 'a'\nstate = 'flying'",
    "version = 1\n[[servers]]\nclass = 1\nhost = 'a'\nstate = 'proven'",
    "version = 1\n[ask]\nwhat = 'dance'\nat = " + TIME,
    "version = 1\n[ask]\nwhat = 'renew'",
    "version = 1\n[ask]\nwhat = 'renew'\nforce = 'yes'\nat = " + TIME,
    "version = 1\n[ask]\nwhat = 'roll'\nmin_roll_mins = -1\nat = " + TIME,
    "version = 1\n[ask]\nwhat = 'roll'\nmin_roll_mins = 1e300\nat = " + TIME,
    "version = 1\n[ask]\nwhat = 'roll'\nmin_roll_mins = nan\nat = " + TIME,
    "version = 1\n[ask]\nwhat = 'roll'\nmin_roll_mins = '5'\nat = " + TIME,
    "version = 1\n" + _TROUBLE + "inf",
    "version = 1\n" + _TROUBLE + "nan",
    "version = 1\n" + _TROUBLE + "'many'",
    "version = 1\n[trouble]\nattempts = 1",
    "version = 1\nretired = 'x'",
    "version = 1\nretired = ['../x']",
    "version = 1\nsighting = 1",
    "version = 1\n[sighting]\nrecords = []",
    "version = 1\n[sighting]\nrecords = [1]\nneed = 1\nwaited = 1",
    "version = 1\n[sighting]\nneed = nan\nwaited = 1",
    "version = 1\n[sighting]\nneed = 1\nwaited = -1",
    "version = 1\n[sighting]\nneed = 1\nwaited = inf",
    "version = 1\n[sighting]\nneed = 1\nwaited = 1\nat = {boot = 1, seconds = 1}",
]


@pytest.mark.parametrize("text", NONSENSE, ids=lambda text: repr(text[:40]))
def test_nonsense(text: str) -> None:
    with pytest.raises(BadNoteError) as caught:
        parse(text.encode())
    assert str(caught.value).startswith(("it is not TOML", "it makes no sense", "version must be"))
    assert parse_history(text.encode()) == []


@settings(unhurried, max_examples=200)
@given(st.binary(max_size=200) | texts.map(str.encode))
def test_whatever_is_in_the_file_is_read_or_refused(content: bytes) -> None:
    for data in (content, b"version = 1\n" + content, b"version = 1\n[[history]]\n" + content):
        with contextlib.suppress(BadNoteError, LaterVersionError):
            parse(data)
        parse_history(data)
        render(Notes(), {}, data, [])


@unhurried
@given(notes, st.data())
def test_a_damaged_file_is_read_or_refused(written: Notes, data: st.DataObject) -> None:
    content = bytearray(render(written, {}, None, [HistoryEntry(NOW, "e", "", "x")]))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadNoteError, LaterVersionError):
        parse(bytes(content))
    parse_history(bytes(content))


def test_times_are_in_utc_however_they_are_written() -> None:
    noted = parse(b"version = 1\nrolled_at = 2026-06-01T14:00:00+02:00\n")
    assert noted.state.rolled_at == NOW
    assert noted.state.rolled_at.tzinfo is UTC
    assert NOW.astimezone(timezone(timedelta(hours=2))) == noted.state.rolled_at


@pytest.mark.parametrize(
    "beside",
    [
        "missing_code = 'no-such-code'",
        "missing_code = 'still-shown'",  # without its fact
        "missing_code = 'still-shown'\nmissing_facts = [['owner', [{}]]]",
        "missing_code = 'still-shown'\nmissing_facts = [['owner']]",
        "missing_code = 'still-shown'\nmissing_facts = [[7, 'a']]",
        "missing_code = 'signatures-over'\nmissing_facts = [['owner', 'a']]",
        "missing_code = 7",
        "missing_code = 'still-shown'\nmissing_facts = 7",
    ],
)
def test_what_is_no_reason_is_the_text_that_stands_beside_it(beside: str) -> None:
    head = b"version = 1\n[sighting]\nneed = 1.0\nwaited = 0.0\nmissing = 'ns2 lacks it'\n"
    sighting = parse(head + beside.encode()).state.sighting
    assert sighting is not None
    assert sighting.missing == said("ns2 lacks it")


def test_the_reason_of_a_failure_is_kept() -> None:
    why = Reason(Failed.CA_UNREACHABLE, url="https://ca/dir", why=Reason(Failed.UNRESOLVED))
    trouble = Trouble.of(Transient(why), 0, NOW, jitter=0)
    noted = Notes({}, CertState(trouble=trouble))
    read = parse(render(noted, {}, None, [])).state.trouble
    assert read is not None
    assert (read, read.reason) == (trouble, why)
    # What says no more than the text is not written twice.
    plain = replace(trouble, reason=said(trouble.text))
    assert b"text_code" not in render(Notes({}, CertState(trouble=plain)), {}, None, [])
