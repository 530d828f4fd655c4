"""The site's own CAs over decades, with lives of all kinds: their keys stay, and all is in time."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta

import pytest

from sslmd.core.names import CertId
from sslmd.core.renewal import SHARE_OF_LEAD, SHARE_OF_LIFE, Wanted
from sslmd.core.spec import OwnCa, SelfSigned, Signer
from tests.stand.world import START, World, days, wanted

LIVES = (30, 90, 397, 1825, 3650, 9000)
YEARS = 20
HOUR = timedelta(hours=1)


def site(rng: random.Random) -> dict[CertId, Wanted]:
    """A root, CAs below it on one or two levels, and certificates of each of them."""
    found: dict[CertId, Wanted] = {}

    def add(name: str, above: str, life: float | None) -> None:
        renew, spread = rng.choice([0, 1, 30, 400]), rng.choice([0, 5, 100])
        signer = OwnCa(CertId("ca", above)) if above else SelfSigned()
        group = "example.com" if life is None else "ca"
        one = wanted(
            f"{group}:{name}",
            signer=signer,
            life=life,
            renew=renew,
            spread=spread,
            min_roll=rng.choice([0, 90]),
        )
        found[one.spec.id] = one

    add("root", "", rng.choice(LIVES[1:]))
    cas = ["root"]
    for number in range(rng.randint(1, 3)):
        add(f"int{number}", rng.choice(cas), rng.choice(LIVES))
        cas.append(f"int{number}")
    for number, above in enumerate(cas):
        add(f"s{number}", above, None)
    return found


@pytest.mark.parametrize("seed", [0, 1, 6, 9, 16, 18, 22])
def test_cas_keep_their_keys_and_are_renewed_from_the_root_downwards(seed: int) -> None:
    rng = random.Random(seed)
    wants = site(rng)
    world = World(wants, rng)
    end = START + days(YEARS * 365)
    while world.now < end:
        world.run_until(world.now + days(rng.choice([100, 700, 2000])))
        for cert, want in wants.items():
            if want.spec.ca is not None:
                assert len(world.states[cert].former) == 1, f"{cert} became another CA"

    assert world.expired == []
    for cert, want in wants.items():
        orders = world.orders[cert]
        for order in orders[1:]:
            assert order.due is not None
            assert order.at >= order.due, f"{cert} was made too early"
            if order.ca_due is not None and isinstance(root_of(wants, want), SelfSigned):
                assert order.ca_due > order.at, f"{cert} came before its root"
        lives = [one.until - one.at for one in orders]
        assert min(lives) >= least(wants, want) - HOUR, f"{cert} was cut short: {min(lives)}"
        for one, other in itertools.pairwise(orders):
            rest = (one.until - one.at) * (1 - SHARE_OF_LIFE * (1 + SHARE_OF_LEAD))
            assert other.at - one.at >= rest - HOUR, f"{cert} was made too often"


def root_of(wants: dict[CertId, Wanted], want: Wanted) -> Signer:
    """Who signed the CA that signs: a root waits for nobody."""
    signer = want.spec.signer
    assert isinstance(signer, OwnCa)
    return wants[signer.cert].spec.signer


def least(wants: dict[CertId, Wanted], want: Wanted) -> timedelta:
    """How long a certificate lives at least: what is left of a CA that falls due."""
    signer = want.spec.signer
    if not isinstance(signer, OwnCa):
        assert want.spec.ca is not None
        return want.spec.ca.life
    above = wants[signer.cert]
    assert above.spec.ca is not None
    return min(above.spec.ca.life, least(wants, above) * SHARE_OF_LIFE)
