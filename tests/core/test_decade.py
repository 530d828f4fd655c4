"""A decade on a virtual clock: hundreds of services, failures, sleeps and clock jumps."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta
from statistics import mean

from sslmd.core.names import CertId
from sslmd.core.renewal import Wanted
from sslmd.core.spec import OwnCa, SelfSigned
from sslmd.core.state import Phase
from tests.stand.world import START, World, days, wanted

ROOT = OwnCa(CertId("ca", "root"))


def certs_of(*wants: Wanted) -> dict[CertId, Wanted]:
    return {want.spec.id: want for want in wants}


def hierarchy() -> dict[CertId, Wanted]:
    """A root, and intermediates that sign for 90, 45, 6 and 397 days."""
    return certs_of(
        wanted("ca:root", signer=SelfSigned(), life=3650, renew=400, spread=20),
        *(
            wanted(f"ca:int{life}", signer=ROOT, life=life, renew=120, spread=10)
            for life in (90, 45, 6, 397)
        ),
    )


def leaves(
    ca_life: int, number: int, *, renew: float = 30, spread: float = 5
) -> dict[CertId, Wanted]:
    signer = OwnCa(CertId("ca", f"int{ca_life}"))
    return certs_of(
        *(
            wanted(f"example.com:s{ca_life}-{index}", signer=signer, renew=renew, spread=spread)
            for index in range(number)
        )
    )


def test_a_decade_of_everything() -> None:
    rng = random.Random(20260101)
    wants = {
        **hierarchy(),
        **leaves(90, 180),
        **leaves(45, 15),
        **leaves(6, 2),
        **leaves(397, 10),
    }
    world = World(wants, rng, trouble=0.05)
    end = START + days(3652)
    while world.now < end:
        world.run_until(world.now + days(rng.expovariate(1 / 20)))
        if rng.random() < 0.7:
            # Asleep, switched off, or the clock was set forward: what was due is late.
            world.now += timedelta(hours=rng.expovariate(1 / 6))
        else:
            world.now -= timedelta(hours=min(rng.expovariate(1 / 2), 12))
        world.replan()

    assert world.expired == []
    for cert, orders in world.orders.items():
        first, *later = orders
        assert first.due is None
        for order in later:
            assert order.due is not None
            old = order.replaced
            not_yet_valid = old is not None and old.not_before > order.at
            assert order.at >= order.due or not_yet_valid, f"{cert} was ordered too early"
    # Every renewal was wanted: a set for each time that one came due, and no more.
    for cert in leaves(90, 180):
        assert 3652 / 66 <= len(world.orders[cert]) <= 3652 / 54 + 2
    assert all(state.curr is not None for state in world.states.values())


def test_the_mean_renewal_point_is_renew_expire_days() -> None:
    world = World({**hierarchy(), **leaves(90, 100)}, random.Random(7))
    world.run_until(START + days(1200))

    leads = [
        (order.replaced.not_after - order.at) / days(1)
        for cert in leaves(90, 100)
        for order in world.orders[cert][1:]
        if order.replaced and order.replaced.not_after - order.replaced.not_before > days(89)
    ]

    assert len(leads) > 1500
    # 2.9 d is the standard deviation of ± 5 d, uniform; five standard errors are allowed for.
    assert abs(mean(leads) - 30) < 5 * 2.9 / len(leads) ** 0.5
    assert min(leads) >= 24.9
    assert max(leads) <= 35.1


def test_certificates_that_live_shorter_than_renew_expire_days_do_not_loop() -> None:
    for life, least, most in ((6, 2.5, 3.5), (45, 29, 31)):
        world = World({**hierarchy(), **leaves(life, 20, spread=0)}, random.Random(3))
        world.run_until(START + days(360))
        for cert in leaves(life, 20):
            times = [order.at for order in world.orders[cert]]
            gaps = [(b - a) / days(1) for a, b in itertools.pairwise(times)]
            assert gaps
            assert least <= min(gaps)
            assert max(gaps) <= most


def test_hundreds_of_services_rest_settled_and_silent() -> None:
    world = World({**hierarchy(), **leaves(90, 300)}, random.Random(5))
    world.run_until(START + days(1))

    assert {state.phase for state in world.states.values()} == {Phase.SETTLED}
    jobs = world.jobs
    world.run_until(START + days(40))
    assert world.jobs == jobs
