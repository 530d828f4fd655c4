"""Which worker does which job of a certificate."""

from __future__ import annotations

from typing import assert_never

from sslmd.core.events import Event
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
from sslmd.workers.certify import certify, order
from sslmd.workers.deliver import deliver
from sslmd.workers.going_back import put_back, take_off
from sslmd.workers.make_key import make_key
from sslmd.workers.prove import prove
from sslmd.workers.roll import roll
from sslmd.workers.settle import settle
from sslmd.workers.tools import Tools


async def work(job: CertJob, tools: Tools) -> Event:
    """Do a job; return what happened. Raises what the worker raises."""
    match job:
        case MakeKey():
            return await make_key(job, tools)
        case Certify():
            return await certify(job, tools)
        case Order():
            return await order(job, tools)
        case Roll():
            return await roll(job, tools)
        case PutBack():
            return await put_back(job, tools)
        case TakeOff():
            return await take_off(job, tools)
        case Deliver():
            return await deliver(job, tools)
        case Prove():
            return await prove(job, tools)
        case Settle():
            return await settle(job, tools)
        case _:
            assert_never(job)
