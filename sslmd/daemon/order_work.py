"""How long an order takes, and how many are under way at a time: for forecasts.

What a CA and name servers need is not known before: there are two bounds.
"""

from __future__ import annotations

from datetime import timedelta

from sslmd.config.model import CaInfo, Engines, Validation
from sslmd.core.forecast import Work
from sslmd.core.jobs import Pool
from sslmd.daemon.loop import PLACES
from sslmd.workers.tools import ORDERS

# Beside `dns_check_delay`: name servers take in a challenge, and the CA looks from several places.
LEAST, MOST = timedelta(seconds=5), timedelta(seconds=60)

# Requests of an order of one or two names, and how long the CA takes to answer each.
REQUESTS = 10
QUICK, SLOW = timedelta(milliseconds=50), timedelta(milliseconds=500)


def places_of(ca: CaInfo) -> int:
    """Return how many orders of a CA are under way at a time."""
    return PLACES[Pool.ACME] if ca.engine is Engines.CERTBOT else ORDERS


def work_of(ca: CaInfo, delay: timedelta) -> tuple[Work, Work]:
    """Return how long orders take, at least and at most. `delay`: `dns_check_delay`."""
    wait = delay if ca.validation is Validation.DNS_01 else timedelta()
    return _work(ca, wait + LEAST, QUICK), _work(ca, wait + MOST, SLOW)


def _work(ca: CaInfo, each: timedelta, answer: timedelta) -> Work:
    """`answer`: how long a request takes. So many of the engine are answered at a time."""
    places = places_of(ca)
    if ca.engine is Engines.ENGINE:
        # As many as come to an end while one is under way.
        places = min(places, max(int(each / (answer * REQUESTS) * ca.requests), 1))
    return Work(each, places)
