"""One job for each host: what it lacks, and its classes once, in the order of the file."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.errors import LONGEST_WAIT
from sslmd.core.host.plan import looks_again
from sslmd.core.jobs import Copy, Restart, See, Told
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Reason, Why
from sslmd.core.spec import CertFacts, SetFacts
from sslmd.core.state import CertState, Delivered, Server, ServerPhase
from tests.stand.hosts_decided import decided, next_look, restarts
from tests.stand.world import START, days

NOW = START
SET = SetName.at(NOW)
MAIL, WEB = CertId("example.com", "mail"), CertId("example.com", "web")
LIST = CertId("example.com", "list")
ORDER = ("smtp", "imap", "web", "dns")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def server(
    kind: str,
    host: str = "h1",
    phase: ServerPhase = ServerPhase.DELIVERED,
    *,
    wait: timedelta | None = None,
) -> Server:
    return Server(kind, host, phase, SET, next_try=None if wait is None else NOW + wait)


def failed(kind: str, wait: timedelta | None, host: str = "h1") -> Server:
    return server(kind, host, ServerPhase.FAILED, wait=wait)


def state(*servers: Server) -> CertState:
    return CertState(servers=servers)


def test_nothing_to_tell_is_nothing_to_do() -> None:
    proven = server("web", phase=ServerPhase.PROVEN)
    pending = server("web", "h2", ServerPhase.PENDING)
    never = replace(failed("web", -MINUTE), set=None)
    assert restarts([(WEB, state(proven, pending, never))], ORDER, NOW) == []
    assert restarts([], ORDER, NOW) == []


def test_one_restart_a_host_with_each_class_once_in_the_order_of_the_file() -> None:
    mail = state(server("imap"), server("smtp"), server("smtp", "h2"))
    web = state(server("web"), server("imap"))
    jobs = restarts([(MAIL, mail), (WEB, web)], ORDER, NOW)
    assert jobs == [
        Restart(
            "h1",
            (
                ("smtp", (Told(MAIL, SET),)),
                ("imap", (Told(MAIL, SET), Told(WEB, SET))),
                ("web", (Told(WEB, SET),)),
            ),
            Reason(
                Why.RESTARTS_FOR,
                certs=(
                    "example.com/mail",
                    "example.com/web",
                ),
            ),
        ),
        Restart(
            "h2",
            (("smtp", (Told(MAIL, SET),)),),
            Reason(Why.RESTARTS_FOR, certs=("example.com/mail",)),
        ),
    ]


def test_what_is_proven_is_left_alone() -> None:
    both = state(server("smtp"), server("imap", phase=ServerPhase.PROVEN))
    (job,) = restarts([(MAIL, both)], ORDER, NOW)
    assert [kind for kind, _ in job.told] == ["smtp"]


def test_a_failed_restart_waits_for_its_next_try() -> None:
    waiting = [(MAIL, state(failed("smtp", MINUTE)))]
    assert restarts(waiting, ORDER, NOW) == []
    (job,) = restarts(waiting, ORDER, NOW + MINUTE)
    assert job.told == (("smtp", (Told(MAIL, SET),)),)
    assert len(restarts([(MAIL, state(failed("smtp", None)))], ORDER, NOW)) == 1


def test_a_failed_restart_rides_along_with_another_of_its_class() -> None:
    states = [(MAIL, state(failed("smtp", MINUTE))), (WEB, state(server("smtp")))]
    (job,) = restarts(states, ORDER, NOW)
    assert job.told == (("smtp", (Told(MAIL, SET), Told(WEB, SET))),)


def test_a_failed_restart_of_another_class_does_not_ride_along() -> None:
    states = [(MAIL, state(failed("smtp", MINUTE), server("imap")))]
    (job,) = restarts(states, ORDER, NOW)
    assert [kind for kind, _ in job.told] == ["imap"]


def test_a_wait_from_before_the_clock_was_set_back_is_forgotten() -> None:
    assert restarts([(MAIL, state(failed("smtp", days(1))))], ORDER, NOW) == []
    assert len(restarts([(MAIL, state(failed("smtp", days(300))))], ORDER, NOW)) == 1


def test_a_class_that_left_the_configuration_gives_no_empty_restart() -> None:
    assert restarts([(MAIL, state(server("other")))], ORDER, NOW) == []
    (job,) = restarts([(MAIL, state(server("other"), server("smtp")))], ORDER, NOW)
    assert [kind for kind, _ in job.told] == ["smtp"]


def look(*states: CertState) -> datetime | None:
    return next_look(decided([(WEB, one) for one in states], ORDER, NOW))


def test_when_the_next_failed_one_is_due() -> None:
    waits = state(failed("smtp", MINUTE * 5), failed("imap", MINUTE * 3), server("web"))
    assert look(waits, state(failed("smtp", MINUTE * 9))) == NOW + MINUTE * 3
    assert look(state(server("web"), failed("smtp", None))) is None
    # What never arrived there is copied first.
    assert look(state(replace(failed("smtp", MINUTE), set=None))) is None


servers = st.builds(
    Server,
    st.sampled_from([*ORDER, "gone"]),
    st.sampled_from(["h1", "h2"]),
    st.sampled_from(ServerPhase),
    st.sampled_from([None, SET]),
    next_try=st.sampled_from([None, NOW - MINUTE, NOW + MINUTE, NOW + LONGEST_WAIT * 2]),
)
states = st.lists(servers, max_size=6, unique_by=lambda one: (one.kind, one.host)).map(
    lambda some: CertState(servers=tuple(some))
)


@given(states, states)
def test_whatever_the_states(mail: CertState, web: CertState) -> None:
    jobs = restarts([(MAIL, mail), (WEB, web)], ORDER, NOW)
    hosts = [job.host for job in jobs]
    assert hosts == sorted(set(hosts))
    for job in jobs:
        kinds = [kind for kind, _ in job.told]
        assert kinds
        assert kinds == [kind for kind in ORDER if kind in kinds]
        assert job.reason
        for kind, told in job.told:
            assert told
            assert len({one.cert for one in told}) == len(told)
            for one in told:
                owner = mail if one.cert == MAIL else web
                (found,) = (s for s in owner.servers if (s.kind, s.host) == (kind, job.host))
                assert found.set == one.set
                assert found.phase in (ServerPhase.DELIVERED, ServerPhase.FAILED)


# --- copies ---

CURR = SetFacts(
    SET,
    "ec secp256r1",
    frozenset(),
    CertFacts("1", NOW, NOW + days(60), (), "", "ca", "ec", is_ca=False),
    "",
)


def lacking(*hosts: str, wait: timedelta | None = None) -> CertState:
    servers = (server("web", host, ServerPhase.PENDING, wait=wait) for host in hosts)
    return CertState(curr=CURR, delivered=Delivered(SET), servers=tuple(servers))


def copies(
    *states: tuple[CertId, CertState], untidy: dict[str, datetime | None] | None = None
) -> list[tuple[str, tuple[Told, ...]]]:
    jobs = [one.job for one in decided(states, ORDER, NOW, visits=untidy).values()]
    return [(job.host, job.told) for job in jobs if isinstance(job, Copy)]


def test_one_copy_a_host_with_all_that_it_lacks() -> None:
    two, one = lacking("h1", "h2"), lacking("h2")
    web, mail = Told(WEB, SET), Told(MAIL, SET)
    assert copies((WEB, two), (MAIL, one)) == [("h1", (web,)), ("h2", (web, mail))]


def test_a_certificate_goes_once_to_a_host_with_two_classes() -> None:
    both = replace(lacking("h1"), servers=(server("web", "h1", ServerPhase.PENDING),) * 2)
    assert copies((WEB, both)) == [("h1", (Told(WEB, SET),))]


def test_what_production_does_not_have_is_not_copied() -> None:
    assert copies((WEB, replace(lacking("h1"), delivered=Delivered()))) == []
    assert copies((WEB, replace(lacking("h1"), curr=replace(CURR, problem="half")))) == []


def test_a_host_that_is_down_waits_for_its_next_try_and_keeps_nobody() -> None:
    down, up = lacking("h1", wait=MINUTE), lacking("h2")
    assert copies((WEB, down), (MAIL, up)) == [("h2", (Told(MAIL, SET),))]
    assert next_look(decided([(WEB, down), (MAIL, up)], ORDER, NOW)) == NOW + MINUTE
    # What comes new for it is reason enough to try the rest too.
    web, mail = Told(WEB, SET), Told(MAIL, SET)
    assert copies((WEB, down), (MAIL, lacking("h1"))) == [("h1", (web, mail))]


def test_a_host_with_what_it_should_not_have_is_visited() -> None:
    assert copies(untidy={"h1": None, "h2": NOW + MINUTE}) == [("h1", ())]
    assert (
        next_look(decided([], ORDER, NOW, visits={"h1": None, "h2": NOW + MINUTE})) == NOW + MINUTE
    )
    wait = lacking("h1", wait=MINUTE)
    assert copies((WEB, wait), untidy={"h1": None}) == [("h1", (Told(WEB, SET),))]


def test_hosts_that_are_being_copied_to_are_restarted_afterwards() -> None:
    states = [(WEB, state(server("web"), server("web", "h2"))), (MAIL, lacking("h1"))]
    found = decided(states, ORDER, NOW)
    assert isinstance(found["h1"].job, Copy)
    assert isinstance(found["h2"].job, Restart)


def test_a_class_is_restarted_when_its_window_opens() -> None:
    def opens(cert: CertId, server: Server, now: datetime) -> datetime:
        return now if (server.kind, cert) != ("web", WEB) else max(now, NOW + HOUR)

    def kinds(some: CertState, now: datetime) -> list[str]:
        job = decided([(WEB, some)], ORDER, now, opens=opens)["h1"].job
        return [kind for kind, _ in job.told] if isinstance(job, Restart) else []

    both = state(server("web"), server("smtp"))
    assert kinds(both, NOW) == ["smtp"]
    assert next_look(decided([(WEB, both)], ORDER, NOW, opens=opens)) == NOW + HOUR
    # An admin does not wait for it.
    assert kinds(state(replace(server("web"), next_try=NOW)), NOW) == ["web"]
    late = state(failed("web", MINUTE))
    assert kinds(late, NOW + MINUTE) == []
    assert next_look(decided([(WEB, late)], ORDER, NOW, opens=opens)) == NOW + HOUR
    assert kinds(both, NOW + HOUR) == ["smtp", "web"]


# --- looks at what nobody has seen ---


def test_looks_come_often_at_first_and_then_once_an_hour() -> None:
    since, last, waits = NOW, NOW, list[timedelta]()
    while len(waits) < 14:
        again = looks_again(since, last)
        waits.append(again - last)
        last = again
    assert waits[:4] == [timedelta(seconds=one) for one in (5, 5, 10, 20)]
    assert waits == sorted(waits)
    assert waits[-1] == HOUR


def test_one_look_for_all_that_nobody_has_seen_on_a_host() -> None:
    when = {"h1": NOW, "h2": NOW + MINUTE, "h3": NOW, "h4": None}

    def sights(_cert: CertId, server: Server, _now: datetime) -> datetime | None:
        return when[server.host]

    restarted = ServerPhase.RESTARTED
    web = state(*(server("web", host, restarted) for host in when))
    states = [(MAIL, state(server("imap", "h1", restarted))), (WEB, web)]
    found = decided([*states, (LIST, lacking("h3"))], ORDER, NOW, sights=sights)
    told = (("imap", (Told(MAIL, SET),)), ("web", (Told(WEB, SET),)))
    jobs = [one.job for one in found.values() if isinstance(one.job, See)]
    assert [(job.host, job.told) for job in jobs] == [("h1", told)]
    assert isinstance(found["h3"].job, Copy)  # what it brings is restarted and seen then
    assert restarts(states, ORDER, NOW) == []
    assert next_look(found) == NOW + MINUTE
