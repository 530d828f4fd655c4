"""What the plan never does, whatever it finds: raise, spin, fall silent, change its mind."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from sslmd.core.dane.sighting import Instant, Sighting, Silence
from sslmd.core.dane.verdict import (
    CheckedPorts,
    Dane,
    Everywhere,
    HeldBack,
    NoRecords,
    Unknown,
    Withdrawn,
    counted,
)
from sslmd.core.errors import Failure, Trouble
from sslmd.core.events import (
    BackOnDeck,
    CertIssued,
    Event,
    KeyMade,
    Lost,
    OffDeck,
    ProdUpdated,
    Rolled,
    ServersProven,
    Settled,
)
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
from sslmd.core.lifecycle import advance, phase_of
from sslmd.core.names import CertId, SetName
from sslmd.core.plan import decide
from sslmd.core.reason import said
from sslmd.core.renewal import Wanted
from sslmd.core.spec import AcmeCa, KeySpec, KeyType, OwnCa, SelfSigned, SetFacts, Signer
from sslmd.core.state import (
    Ask,
    CertState,
    Delivered,
    Phase,
    Request,
    Server,
    ServerPhase,
    SetNote,
)
from sslmd.core.view import CaAbove, View
from sslmd.core.windows import Group, Window
from sslmd.core.words.sentence import say
from tests.reasons import because
from tests.stand.world import START, days, facts, wanted

NOW = START
SUB = OwnCa(CertId("ca", "sub"))
SERVERS = frozenset({("web", "localhost"), ("imap", "h2")})
RSA = KeySpec(KeyType.RSA, bits=2048)

SATURDAY = Window(frozenset({5}), 120, 300, ZoneInfo("Europe/Berlin"), "Sat")
NIGHTS = Window(frozenset(range(7)), 1320, 240, ZoneInfo("UTC"), "nights")
NOON = replace(NIGHTS, start=720, end=780)
WINDOWS: tuple[tuple[Group, ...], ...] = (
    (),
    ((SATURDAY,),),
    ((SATURDAY,), (NIGHTS,)),
    ((SATURDAY, NOON), (NOON,)),
    ((SATURDAY,), (NOON,)),  # never together
)

# Times of all sizes, on both sides of now, and exactly now.
offsets = st.one_of(
    st.sampled_from([timedelta(), timedelta(seconds=1), timedelta(minutes=-90)]),
    st.integers(-7200, 7200).map(lambda seconds: timedelta(seconds=seconds)),
    st.integers(-500, 500).map(days),
)
times = offsets.map(lambda offset: NOW + offset)


@st.composite
def wants(draw: st.DrawFn, cert: str = "example.com:web", *, ca: bool = False) -> Wanted:
    signers: list[Signer] = [SUB, SUB, SUB, AcmeCa("letsencrypt"), SelfSigned()]
    want = wanted(
        cert,
        signer=SelfSigned() if ca else draw(st.sampled_from(signers)),
        life=draw(st.sampled_from([6, 90, 397])) if ca else None,
        renew=draw(st.sampled_from([0, 30, 400])),
        spread=draw(st.sampled_from([0, 5, 500])),
        min_roll=draw(st.sampled_from([0, 90, 100_000])),
        dane=draw(st.booleans()) and not ca,
        fingerprint=draw(st.sampled_from(["one", "other"])),
    )
    windows = draw(st.sampled_from(WINDOWS))
    restarts = draw(st.sampled_from([(), (WINDOWS[1],), WINDOWS[1:]]))
    managed = draw(st.integers(0, 9)) > 0
    return replace(want, managed=managed, roll_windows=windows, restart_windows=restarts)


@st.composite
def sets(draw: st.DrawFn, want: Wanted, made: datetime) -> SetFacts:
    validity = None
    if draw(st.integers(0, 3)):
        start = made + draw(st.sampled_from([timedelta(), timedelta(hours=-1), timedelta(days=1)]))
        validity = (start, start + days(draw(st.sampled_from([0.1, 6, 90, 397]))))
    found = facts(want, made, cert=validity)
    if draw(st.integers(0, 4)) == 0:
        found = replace(found, problem="spoilt")
    if draw(st.integers(0, 4)) == 0:
        found = replace(found, asked_names=frozenset({"other.example"}))
    if draw(st.integers(0, 4)) == 0:
        found = replace(found, key=draw(st.sampled_from(["", str(RSA)])))
    return found


@st.composite
def troubles(draw: st.DrawFn) -> Trouble:
    at = draw(times)
    wait = draw(st.sampled_from([timedelta(minutes=1), timedelta(hours=6), days(1), days(7)]))
    return Trouble(
        draw(st.integers(1, 20)),
        draw(st.sampled_from(Failure)),
        "drawn",
        at,
        at + wait,
        draw(st.sampled_from(["one", "other"])),
        draw(st.booleans()),
    )


def sightings(names: list[SetName | None]) -> st.SearchStrategy[Sighting]:
    instants = st.none() | st.builds(Instant, st.sampled_from(["a", "b"]), st.floats(0, 1e6))
    silences = st.lists(st.builds(Silence, st.just("ns2"), st.just(Instant("a", 1.0))), max_size=1)
    return st.builds(
        Sighting,
        st.sampled_from(names),
        st.just(frozenset({"0f"})),
        st.sampled_from([0.0, 60.0, 7200.0]),
        st.none() | times,
        st.sampled_from([0.0, 61.0, 1e6]),
        instants,
        silences.map(tuple),
        st.sampled_from(["", "ns2 lacks it"]),
        st.none() | times,
    )


def danes(names: list[SetName | None]) -> st.SearchStrategy[Dane]:
    texts = st.sampled_from(["", "", "ns1 is down"])
    ttls = st.sampled_from([0, 60, 3600])
    ports = st.builds(CheckedPorts, st.just(("mail.example.com:25",)), ttls)
    return st.one_of(
        st.builds(Unknown, st.none() | ports, texts),
        st.just(NoRecords()),
        st.builds(Withdrawn, st.just("_25._tcp.mail.example.com"), st.none() | times),
        st.builds(HeldBack, ports, st.just("3 1 2 is new")),
        st.builds(counted, ports, st.none() | sightings(names), texts, texts),
        st.builds(Everywhere, ports),
    )


@st.composite
def states(draw: st.DrawFn, want: Wanted) -> CertState:
    """A state as the store would read it: the phase follows from the rest."""
    made = SetName.at(draw(times))
    curr = draw(st.none() | sets(want, made.time))
    later = draw(st.sampled_from([made, made.later(), SetName.at(NOW - timedelta(hours=1))]))
    next_ = draw(st.none() | sets(want, later.time))
    if curr is not None and next_ is not None and later == made:
        next_ = curr
    names = [None, made, later, SetName("20200101-00:00:00")]
    some = st.sampled_from(names)
    notes = st.builds(SetNote, st.floats(-1, 1), st.none() | times, st.sampled_from(["", "sub"]))
    places = draw(st.sampled_from([SERVERS, frozenset({("web", "localhost")})]))
    servers = tuple(
        Server(
            kind,
            host,
            draw(st.sampled_from(ServerPhase)),
            draw(some),
            next_try=draw(st.none() | times),
        )
        for kind, host in sorted(places)
    )
    asks = st.builds(
        Ask, st.sampled_from(Request), times, st.booleans(), st.booleans(), st.sampled_from(names)
    ) | st.builds(Ask, st.just(Request.ROLL), times, st.booleans(), back=st.sampled_from(names[1:]))
    state = CertState(
        curr=curr,
        next=next_,
        curr_note=draw(st.none() | notes) if curr else None,
        next_note=draw(st.none() | notes) if next_ else None,
        advertised=draw(some),
        deployed=draw(some),
        settled=draw(some),
        delivered=Delivered(draw(some), draw(some)),
        servers=servers,
        retired=tuple(draw(st.lists(st.just(SetName("20200101-00:00:00")), max_size=1))),
        sighting=draw(st.none() | sightings(names)),
        ask=draw(st.none() | asks),
        trouble=draw(st.none() | troubles()),
        delivery_trouble=draw(st.none() | troubles()),
        adopted=draw(st.booleans()),
        off_deck=draw(st.none() | some),
    )
    return replace(state, phase=read(state))


def read(state: CertState) -> Phase:
    return phase_of(
        state.curr,
        state.next,
        advertised=state.advertised,
        deployed=state.deployed,
        settled=state.settled,
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    want = draw(wants())
    above = None
    if isinstance(want.spec.signer, OwnCa) and draw(st.integers(0, 9)):
        ca_want = draw(wants("ca:sub", ca=True))
        above = CaAbove(SUB.cert, ca_want, draw(states(ca_want)))
    hold = because("a later version") if draw(st.integers(0, 19)) == 0 else None
    state = draw(states(want))
    names = [None, state.next.name if state.next else None, SetName("20200101-00:00:00")]
    dane, proves = draw(danes(names)), draw(st.booleans())
    behind = draw(st.sampled_from(["", "rndc failed"]))
    return View(want, state, above, SERVERS, hold, dane, said(behind), proves)


@given(views())
@settings(max_examples=100)
def test_whatever_it_finds(view: View) -> None:
    decision = decide(view, NOW)
    assert decide(view, NOW) == decision
    if decision.advertised is not None:
        # What was seen in DNS is noted, and the rest is what follows from it.
        view = replace(view, state=advance(view.state, decision.advertised))
        decision = replace(decision, advertised=None)
        assert decide(view, NOW) == decision
    assert decision.job is None or decision.event is None
    if decision.event is None:
        assert say(decision.reason)
    else:
        # What is said to have happened can happen.
        after = advance(view.state, decision.event)
        if view.state.next != view.state.curr or view.state.curr is None:
            assert after.phase == read(after)
        # And is not taken back at once.
        if isinstance(decision.event, Lost):
            then = decide(replace(view, state=after), NOW)
            assert then.advertised is None
            assert not isinstance(then.event, Lost)
    if decision.job is None and decision.event is None and decision.wake_at is not None:
        assert decision.wake_at > NOW
    if decision.stuck is not None and decision.job is None:
        assert decision.wake_at is not None or decision.waits_for_ca or decision.event is not None


@given(views())
@settings(max_examples=60)
def test_a_job_is_about_what_is_there(view: View) -> None:
    job = decide(view, NOW).job
    next_, curr = view.state.next, view.state.curr
    match job:
        case Certify(set=name) | Order(set=name):
            assert next_ is not None
            assert next_.name == name
            assert next_.cert is None
            assert view.state.phase is Phase.KEYED
        case Roll(set=name):
            assert next_ is not None
            assert next_.name == name
            assert next_.complete
            assert view.state.phase in (Phase.ISSUED, Phase.ADVERTISED)
            if view.wanted.dane and curr is not None and view.state.phase is Phase.ISSUED:
                assert job.blind
                assert "TLSA" in say(job.overrode)
        case PutBack(set=name):
            assert view.state.ask is not None
            assert view.state.ask.back == name
            assert name not in {found.name for found in (next_, curr) if found}
        case TakeOff(set=name):
            assert view.state.ask is None or view.state.ask.back is None
            assert next_ is not None
            assert next_.name == view.state.off_deck == name
        case Prove(set=name):
            assert curr is not None
            assert curr.name == name
            assert view.wanted.dane
        case Deliver(curr=name):
            assert curr is not None
            assert curr.name == name
            assert curr.complete
        case Settle():
            assert curr is not None
            assert view.state.deployed == curr.name
        case _:
            pass
    if job is not None:
        assert job.cert == view.wanted.spec.id
        assert job.reason


def work(view: View, job: CertJob, now: datetime) -> Event:
    """What a worker does with which nothing goes wrong."""
    state, want = view.state, view.wanted
    match job:
        case MakeKey():
            made = SetName.at(now)
            taken = {found.name for found in (state.curr, state.next) if found}
            while made in taken:
                made = made.later()
            return KeyMade(now, facts(want, made.time), SetNote(0.0), job.reason)
        case Certify() | Order():
            fresh = facts(want, job.set.time, cert=(now - timedelta(minutes=5), now + days(90)))
            return CertIssued(now, fresh, SetNote(0.0, now, str(want.spec.signer)))
        case Roll():
            return Rolled(now)
        case PutBack():
            old = facts(want, job.set.time, cert=(now - days(1), now + days(1)))
            return BackOnDeck(now, old, SetNote(0.0), job.reason)
        case TakeOff():
            return OffDeck(now)
        case Deliver():
            assert job.curr is not None
            told = tuple(
                Server(kind, host, ServerPhase.PROVEN, job.curr)
                for kind, host in sorted(view.servers)
            )
            return ProdUpdated(now, Delivered(job.curr, job.next), told)
        case Prove():
            return ServersProven(now)
        case Settle():
            return Settled(now, None)


@given(views())
@settings(max_examples=60)
def test_it_comes_to_rest(view: View) -> None:
    """Where all jobs succeed, nothing is wanted twice: from anywhere it is a few steps to rest.

    Two renewals are the most: one that was under way, and one that is forced.
    """
    now, kinds = NOW, []
    for _ in range(25):
        decision = decide(view, now)
        event = decision.advertised or decision.event
        if event is None and decision.job is not None:
            kinds.append(type(decision.job))
            event = work(view, decision.job, now)
        if event is None:
            break
        now += timedelta(seconds=2)
        view = replace(view, state=advance(view.state, event))
    else:
        raise AssertionError(f"no end: {[kind.__name__ for kind in kinds]}")
    assert kinds.count(Certify) + kinds.count(Order) <= 2
    assert kinds.count(MakeKey) <= 2
    assert kinds.count(Roll) <= 2
    ask = view.state.ask
    if ask is not None and decision.stuck is None and not view.hold and not decision.waits_for_ca:
        # Only what has to wait is still asked for.
        assert view.state.next is not None, f"{ask} is forgotten: {say(decision.reason)}"


@given(views())
@settings(max_examples=60)
def test_waking_when_told_is_enough(view: View) -> None:
    """Between now and `wake_at` nothing becomes due: nothing is slept through."""
    decision = decide(view, NOW)
    if decision.job or decision.event or decision.wake_at is None or decision.waits_for_ca:
        return
    for share in (0.25, 0.5, 0.99):
        between = NOW + (decision.wake_at - NOW) * share
        if between < decision.wake_at:
            found = decide(view, between)
            asleep = found.job is None and found.event is None
            assert asleep or unlucky(view, between), f"slept through {found}"


def unlucky(view: View, when: datetime) -> bool:
    """A clock that was set back comes to what was noted in its future: nobody can wait for that."""
    state = view.state
    past = NOW + timedelta(minutes=5)
    noted = [trouble.at for trouble in (state.trouble, state.delivery_trouble) if trouble]
    noted += [server.next_try for server in state.servers if server.next_try]
    noted += [
        note.issued_at for note in (state.curr_note, state.next_note) if note and note.issued_at
    ]
    for found in (state.curr, state.next, *above(view)):
        if found is not None:
            noted.append(found.name.time)
            if found.cert is not None:
                noted += [found.cert.not_before]
    return any(past < one for one in noted)


def above(view: View) -> list[SetFacts | None]:
    return [view.ca.state.curr, view.ca.state.next] if view.ca and view.ca.state else []


def test_advertised_is_never_said_where_records_are_wanted() -> None:
    want = wanted("example.com:web", signer=SelfSigned(), dane=True)
    old = facts(want, NOW - days(70), cert=(NOW - days(70), NOW + days(20)))
    new = facts(want, NOW - days(1), cert=(NOW - days(1), NOW + days(89)))
    state = CertState(Phase.ISSUED, old, new, deployed=old.name, settled=old.name)
    for hours in (0, 5, 500):
        decision = decide(View(want, state), NOW + timedelta(hours=hours))
        assert decision.advertised is None
