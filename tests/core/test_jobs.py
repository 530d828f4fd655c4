"""Whose turn it is where the places of orders are shared by CA."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.jobs import next_turn

PLACES = 4
HALF = 2


def test_alone_an_owner_has_all_places() -> None:
    for running in range(PLACES):
        assert next_turn(["one"], {"one": running}, PLACES) == "one"
    assert next_turn(["one"], {"one": PLACES}, PLACES) is None
    assert next_turn([], {}, PLACES) is None


def test_who_waits_longest_is_next() -> None:
    assert next_turn(["one", "other"], {}, PLACES) == "one"
    assert next_turn(["other", "one"], {}, PLACES) == "other"


def test_half_of_the_places_is_the_most_while_another_waits() -> None:
    assert next_turn(["silent", "other"], {"silent": HALF}, PLACES) == "other"
    assert next_turn(["silent", "other"], {"silent": HALF, "other": HALF}, PLACES) is None
    # It has its own half in any case.
    assert next_turn(["silent", "other"], {"silent": 1, "other": HALF}, PLACES) == "silent"


def test_who_had_all_places_keeps_nobody_waiting() -> None:
    running = {"silent": PLACES}
    for _ in range(HALF):
        assert next_turn(["silent", "other"], running, PLACES) == "other"
        running["other"] = running.get("other", 0) + 1
    assert next_turn(["silent", "other"], running, PLACES) is None


def test_two_silent_ones_do_not_keep_out_a_third() -> None:
    running = {"silent": PLACES, "dripping": HALF}
    assert next_turn(["silent", "dripping", "third"], running, PLACES) == "third"
    running["third"] = 1
    assert next_turn(["silent", "dripping", "third"], running, PLACES) is None


def test_one_place_alone_is_shared_in_turn() -> None:
    assert next_turn(["one"], {"one": 1}, 1) is None
    assert next_turn(["other"], {"one": 1}, 1) == "other"  # a second, for as long as that lasts
    assert next_turn(["third"], {"one": 1, "other": 1}, 1) is None


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=60),
    st.data(),
)
def test_whatever_comes_and_ends(
    places: int, story: list[tuple[str, bool]], data: st.DataObject
) -> None:
    """Jobs come, some end, some never; nobody waits whose rivals alone hold what is there."""
    waiting: list[str] = []
    running: Counter[str] = Counter()
    half = max(places // 2, 1)
    for owner, comes in story:
        if comes:
            waiting.append(owner)
        elif running:
            ended = data.draw(st.sampled_from(sorted(running)))
            running[ended] -= 1
            running = +running
        while (turn := next_turn(waiting, running, places)) is not None:
            rivals = set(waiting) - {turn}
            assert not (rivals and running[turn] >= half)
            waiting.remove(turn)
            running[turn] += 1
        assert max(running.values(), default=0) <= places
        assert running.total() <= max(2 * places, len(running))
        # Whoever waits has something running, unless very many others have, and nothing idles.
        for name in set(waiting):
            assert running[name] or running.total() >= 2 * places
            assert running.total() >= min(places, half)
