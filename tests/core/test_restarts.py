"""Restarts: one job for each host, every class of it once, in the order of the file."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.backoff import LONGEST_WAIT
from sslmd.core.deliver_track import next_restart, plan_restarts
from sslmd.core.jobs import Restart, Told
from sslmd.core.names import CertId, SetName
from sslmd.core.state import CertState, Server, ServerPhase
from tests.core.world import START, days

NOW = START
SET = SetName.at(NOW)
MAIL, WEB = CertId("example.com", "mail"), CertId("example.com", "web")
ORDER = ("smtp", "imap", "web", "dns")
MINUTE = timedelta(minutes=1)


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
    assert plan_restarts([(WEB, state(proven, pending, never))], ORDER, NOW) == []
    assert plan_restarts([], ORDER, NOW) == []


def test_one_restart_a_host_with_each_class_once_in_the_order_of_the_file() -> None:
    mail = state(server("imap"), server("smtp"), server("smtp", "h2"))
    web = state(server("web"), server("imap"))
    jobs = plan_restarts([(MAIL, mail), (WEB, web)], ORDER, NOW)
    assert jobs == [
        Restart(
            "h1",
            (
                ("smtp", (Told(MAIL, SET),)),
                ("imap", (Told(MAIL, SET), Told(WEB, SET))),
                ("web", (Told(WEB, SET),)),
            ),
            "example.com/mail, example.com/web rolled",
        ),
        Restart("h2", (("smtp", (Told(MAIL, SET),)),), "example.com/mail rolled"),
    ]


def test_what_is_proven_is_left_alone() -> None:
    both = state(server("smtp"), server("imap", phase=ServerPhase.PROVEN))
    (job,) = plan_restarts([(MAIL, both)], ORDER, NOW)
    assert [kind for kind, _ in job.told] == ["smtp"]


def test_a_failed_restart_waits_for_its_next_try() -> None:
    waiting = [(MAIL, state(failed("smtp", MINUTE)))]
    assert plan_restarts(waiting, ORDER, NOW) == []
    (job,) = plan_restarts(waiting, ORDER, NOW + MINUTE)
    assert job.told == (("smtp", (Told(MAIL, SET),)),)
    assert len(plan_restarts([(MAIL, state(failed("smtp", None)))], ORDER, NOW)) == 1


def test_a_failed_restart_rides_along_with_another_of_its_class() -> None:
    states = [(MAIL, state(failed("smtp", MINUTE))), (WEB, state(server("smtp")))]
    (job,) = plan_restarts(states, ORDER, NOW)
    assert job.told == (("smtp", (Told(MAIL, SET), Told(WEB, SET))),)


def test_a_failed_restart_of_another_class_does_not_ride_along() -> None:
    states = [(MAIL, state(failed("smtp", MINUTE), server("imap")))]
    (job,) = plan_restarts(states, ORDER, NOW)
    assert [kind for kind, _ in job.told] == ["imap"]


def test_a_wait_from_before_the_clock_was_set_back_is_forgotten() -> None:
    assert plan_restarts([(MAIL, state(failed("smtp", days(1))))], ORDER, NOW) == []
    assert len(plan_restarts([(MAIL, state(failed("smtp", days(300))))], ORDER, NOW)) == 1


def test_a_class_that_left_the_configuration_gives_no_empty_restart() -> None:
    assert plan_restarts([(MAIL, state(server("other")))], ORDER, NOW) == []
    (job,) = plan_restarts([(MAIL, state(server("other"), server("smtp")))], ORDER, NOW)
    assert [kind for kind, _ in job.told] == ["smtp"]


def test_when_the_next_failed_one_is_due() -> None:
    waits = state(failed("smtp", MINUTE * 5), failed("imap", MINUTE * 3), server("web"))
    assert next_restart([waits, state(failed("smtp", MINUTE * 9))]) == NOW + MINUTE * 3
    assert next_restart([state(server("web"), failed("smtp", None))]) is None
    # What never arrived there is not waited for here: delivery has its own next try.
    assert next_restart([state(replace(failed("smtp", MINUTE), set=None))]) is None


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
    jobs = plan_restarts([(MAIL, mail), (WEB, web)], ORDER, NOW)
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
