"""Whose turn it is where jobs of several owners share a number of places.

An order waits for its CA, and a CA may be silent, or send a byte in five seconds. So the places
for orders are shared by CA: none keeps out the certificates of another (I6). Jobs that have no
owner are all of one, and come in their turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def next_turn(waiting: Iterable[str], running: Mapping[str, int], places: int) -> str | None:
    """Return the owner whose job may begin now, None if all of them have to wait.

    `waiting`: the owners of what waits, who waits longest first; `running`: how many of each run.

    - Alone, an owner may have all places.
    - While something of another waits, nothing of an owner begins that has half of them already.
    - Who has more than half, from when it was alone, counts as if it had half: the other does not
      wait for its jobs to end. So more run than there are places, for as long as that lasts.
    - Who has none may begin one all the same, up to twice as many as there are places: two CAs that
      are silent do not keep out a third.
    """
    half = max(places // 2, 1)
    total = sum(running.values())
    owners = list(dict.fromkeys(waiting))
    for owner in owners:
        ours = running.get(owner, 0)
        if ours >= half and len(owners) > 1:
            continue
        others = sum(min(count, half) for name, count in running.items() if name != owner)
        if ours + others < places or (ours == 0 and total < 2 * places):
            return owner
    return None
