"""Which worker does which job of a certificate."""

from __future__ import annotations

from typing import assert_never
from urllib.parse import urlsplit

from sslmd.config.model import Config
from sslmd.core.events import Event
from sslmd.core.jobs import (
    Certify,
    CertJob,
    Deliver,
    Job,
    MakeKey,
    Order,
    Prove,
    PutBack,
    Roll,
    Settle,
    TakeOff,
    Trial,
)
from sslmd.core.spec import AcmeCa
from sslmd.workers.certify import certify, make_key, order
from sslmd.workers.deliver import deliver
from sslmd.workers.roll import prove, put_back, roll, take_off
from sslmd.workers.settle import settle
from sslmd.workers.tools import Delivering, Ordering, RollGate


async def work(job: CertJob, ordering: Ordering, delivering: Delivering, gate: RollGate) -> Event:
    """Do a job; return what happened. Raises what the worker raises."""
    site, threads, standings = ordering.site, ordering.threads, ordering.standings
    match job:
        case MakeKey():
            return await make_key(job, site, threads)
        case Certify():
            return await certify(job, site, threads, standings)
        case Order():
            return await order(job, ordering)
        case Roll():
            return await roll(job, site, threads, gate)
        case PutBack():
            return await put_back(job, site, threads, standings)
        case TakeOff():
            return await take_off(job, site, threads)
        case Deliver():
            return await deliver(job, delivering)
        case Prove():
            return await prove(job, site, gate)
        case Settle():
            return await settle(job, site, threads, standings)
        case _:
            assert_never(job)


def ca_asked(job: Job, config: Config) -> str:
    """Return the host of the ACME CA that a job waits for, "" for a job that waits for none.

    The host, because tables of `ca-info.conf` may name one CA for several profiles.
    """
    if not isinstance(job, Order | Trial) or (service := config.services.get(job.cert)) is None:
        return ""
    signer = service.spec.signer
    if not isinstance(signer, AcmeCa) or (ca := config.cas.get(signer.name)) is None:
        return ""
    return urlsplit(ca.test_server if isinstance(job, Trial) else ca.server).netloc.lower()
