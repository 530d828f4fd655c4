"""What a zone has to know of each certificate with TLSA records (I4)."""

from __future__ import annotations

from collections.abc import Collection

from sslmd.config.model import ServiceConfig
from sslmd.core.dane.tlsa import Share, endpoint_of
from sslmd.core.names import BadName, CertId, DomainName, ZoneName, covers
from sslmd.core.standing import Standing
from sslmd.core.state import CertState
from sslmd.store.zone_notes import Holders, ZoneNotes
from sslmd.workers.tlsa import CertWish


def cert_wish(entry: Standing, service: ServiceConfig) -> CertWish:
    """Return a certificate as its zone has to know it."""
    state = entry.state
    curr, next_ = state.curr, state.next
    served = curr is not None and curr.cert is not None
    serving = [curr.name] if curr is not None and served else []
    serving += [name for name in state.retired if name not in serving]
    coming, certified = None, False
    if next_ is not None and (curr is None or next_.name != curr.name):
        certified = next_.complete
        ahead = entry.wanted.next_ahead and next_.cert is None and next_.has_key
        coming = next_.name if certified or ahead else None
    proven = curr is not None and curr.name in (state.deployed, state.settled)
    return CertWish(
        cert=service.id,
        entries=service.dane,
        ttl=service.dane_ttl,
        names=service.spec.all_names(),
        serving=tuple(serving),
        coming=coming,
        certified=certified,
        proven=proven,
        # What servers use now, if anything, is told by DNS alone: also after the first roll, until
        # they are proven. The service may have had another name before, or lost its state.toml.
        unsure=not served or bool(entry.hold) or not (proven or state.retired),
        proves=entry.proves,
    )


def held_by(pairs: Holders, cert: CertId, entry: Standing) -> Holders:
    """Return which of the records are a certificate's, or of nobody known and may be its own."""
    return frozenset(
        (owner, whose)
        for owner, whose in pairs
        if (whose == str(cert) if whose else is_of(owner, entry.wanted.names))
    )


def is_of(owner: DomainName, names: Collection[str]) -> bool:
    """Whether the port of an owner may serve a certificate with these names."""
    try:
        host = endpoint_of(owner)[2].text
    except BadName:
        return False
    return covers(names, host)


def unsigned_text(zone: ZoneName) -> str:
    """Return what DANE needs that an unsigned zone lacks."""
    return (
        f"zone {zone} is not signed, so nobody heeds its TLSA records (RFC 7672 §2.1): DANE needs "
        "DNSSEC; sign the zone (BIND: dnssec-policy) and have its DS put into the zone above, or "
        "remove dane_tls"
    )


def is_coming(state: CertState, mine: CertWish) -> bool:
    """Whether the set on deck is still the one, and as complete, as DNS was told of."""
    next_ = state.next
    if next_ is None or mine.coming is None:
        return mine.coming is None and (next_ is None or next_.cert is None)
    return next_.name == mine.coming and (next_.cert is not None) == mine.certified


def held(share: Share, notes: ZoneNotes | None, *, serving: bool = True) -> str:
    """Return why some records of a set on deck are not published, "" if all are.

    `serving`: a set of the certificate is in use.
    """
    if share.lacking:
        owner, numbers = min(share.lacking)
        return (
            f"{owner} {numbers} cannot be made of a certificate in use (its chain has no issuer); "
            "correct dane_tls"
        )
    known = (notes.known if notes is not None else None) or frozenset()
    if unmade := share.held & known:
        owner, numbers = min(unmade)
        return (
            f"{owner} {numbers} cannot be made of the set on deck (it has no certificate yet, or "
            "its chain no issuer); correct dane_tls, or: sslmctl force-renew"
        )
    if share.held:
        owner, numbers = min(share.held)
        if not serving:
            return (
                f"{owner} has TLSA records, none of them is {numbers}, and they are not of a key "
                "of ours: clients might refuse what the port serves now; write the numbers that "
                "they have into dane_tls, or remove them"
            )
        return f"{owner} {numbers} is new there, and published for the key in use first"
    return ""
