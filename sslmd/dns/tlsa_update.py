"""TLSA records by dynamic update (RFC 2136): I4.

Each owner changes as a whole, in one message, which a primary does all of or nothing (§3.7): no
client sees an owner between two states, and no record that stays is ever away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TLSA

from sslmd.config.model import DnsPrimary
from sslmd.core.dane.tlsa import Content, Tlsa, TlsaSet
from sslmd.core.errors import SslmError
from sslmd.core.names import DomainName, ZoneName
from sslmd.dns.resolver import Resolver
from sslmd.dns.update import RefusedUpdate, message_for, send

# Bytes of a message, far below the 64 KiB that one has at most. An owner with more goes alone.
LARGE = 16_000

# Bytes of a record beside its owner and data: type, class, TTL, length (RFC 1035 §3.2.1), the
# three numbers (RFC 6698 §2.1), length of the first label and the root.
_AROUND = 15

# Messages at a time, where each owner has one of its own.
AT_ONCE = 8

_NOTHING = TlsaSet(0, frozenset())


async def replace_tlsa(
    zone: ZoneName, primary: DnsPrimary, before: Content, after: Content, resolver: Resolver
) -> Mapping[DomainName, SslmError]:
    """Add what is in `after`, and delete what of `before` is not; records of others stay.

    What is there already only gets the TTL of `after`. Returns the owners that were not changed,
    or perhaps were not (`Transient`), and why. An owner that is refused keeps out no other (I6).
    """
    owners = [owner for owner in sorted({*before, *after}) if _changes(owner, before, after)]
    failed: dict[DomainName, SslmError] = {}
    for some in _batches(owners, before, after):
        failed |= await _replace(zone, primary, some, before, after, resolver)
    return failed


async def _replace(
    zone: ZoneName,
    primary: DnsPrimary,
    owners: Sequence[DomainName],
    before: Content,
    after: Content,
    resolver: Resolver,
) -> Mapping[DomainName, SslmError]:
    try:
        message = await message_for(zone, primary)
        for owner in owners:
            name = dns.name.from_text(owner.text)
            ttl, added, deleted = _change(owner, before, after)
            # RFC 2136 §3.4.2: in this order. One that is there gets the new TTL (§3.4.2.2), and
            # the owner is never without records even where somebody looks in between.
            for record in added:
                message.add(name, ttl, _rdata(record))
            for record in deleted:
                message.delete(name, _rdata(record))
        await send(zone, primary, message, resolver)
    except RefusedUpdate as err:
        if len(owners) == 1:
            return {owners[0]: err}
    except SslmError as err:
        return dict.fromkeys(owners, err)
    else:
        return {}
    places = asyncio.Semaphore(AT_ONCE)

    async def alone(owner: DomainName) -> Mapping[DomainName, SslmError]:
        async with places:
            return await _replace(zone, primary, [owner], before, after, resolver)

    failed: dict[DomainName, SslmError] = {}
    for one in await asyncio.gather(*map(alone, owners)):
        failed |= one
    return failed


def _change(
    owner: DomainName, before: Content, after: Content
) -> tuple[int, list[Tlsa], list[Tlsa]]:
    """Return the TTL, what to add, and what to delete."""
    new = after.get(owner, _NOTHING)
    old = before.get(owner, _NOTHING)
    return new.ttl, sorted(new.records), sorted(old.records - new.records)


def _changes(owner: DomainName, before: Content, after: Content) -> bool:
    _, added, deleted = _change(owner, before, after)
    return bool(added or deleted)


def _batches(
    owners: Sequence[DomainName], before: Content, after: Content
) -> Iterator[list[DomainName]]:
    """Return owners that fit into one message together; none is split."""
    batch: list[DomainName] = []
    filled = 0
    for owner in owners:
        _, added, deleted = _change(owner, before, after)
        size = sum(
            _AROUND + len(owner.text) + len(record.data) // 2 for record in (*added, *deleted)
        )
        if batch and filled + size > LARGE:
            yield batch
            batch, filled = [], 0
        batch.append(owner)
        filled += size
    if batch:
        yield batch


def _rdata(record: Tlsa) -> dns.rdata.Rdata:
    return dns.rdtypes.ANY.TLSA.TLSA(  # type: ignore[no-untyped-call]
        dns.rdataclass.IN,
        dns.rdatatype.TLSA,
        record.usage,
        record.selector,
        record.match,
        bytes.fromhex(record.data),
    )
