"""Which TLSA records DNS must show (RFC 6698, RFC 7671): promise I4.

What a set is certified by gives the data (`association`), the configuration the owners
(`hosts_of`), and `content_of` puts together what a whole zone has to serve, so that at every
instant each combination of usage, selector and matching type matches what is served now.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from sslmd.core.names import BadName, CertId, DomainName, SanName, ZoneName


class TlsaHosts(StrEnum):
    """Which hosts of a zone own a TLSA record, where the entry names none itself.

    `MX`: the apex and the MX hosts inside the zone, as ssl-mgr 5.7 and later has it; the default
    of port 25. `SANS`: the DNS names of the certificate inside the zone.
    """

    MX = "MX"
    SANS = "SANS"


@dataclass(frozen=True, slots=True, order=True)
class Combination:
    """Usage, selector and matching type: the numbers of RFC 6698 §2.1."""

    usage: int
    selector: int
    match: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the three numbers as `str` gives them; raise ValueError."""
        usage, selector, match = map(int, text.split())
        return cls(usage, selector, match)

    @property
    def wants_issuer(self) -> bool:
        """Whether the record is of the issuing CA (RFC 6698 §2.1.1: PKIX-TA and DANE-TA)."""
        return self.usage in (0, 2)

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.match}"


@dataclass(frozen=True, slots=True)
class DaneEntry:
    """One element of `dane_tls`: a port that serves the certificate, and its TLSA parameters.

    `usage`, `selector` and `match` are the numbers of RFC 6698 §2.1; `hosts` tells the owners.
    """

    port: int
    proto: str
    usage: int
    selector: int
    match: int
    hosts: TlsaHosts | tuple[DomainName, ...]

    @property
    def combination(self) -> Combination:
        """The three numbers."""
        return Combination(self.usage, self.selector, self.match)


@dataclass(frozen=True, slots=True, order=True)
class Tlsa:
    """The data of one TLSA record; `data` in lower-case hex."""

    usage: int
    selector: int
    match: int
    data: str

    @property
    def combination(self) -> Combination:
        """The three numbers."""
        return Combination(self.usage, self.selector, self.match)

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.match} {self.data}"


@dataclass(frozen=True, slots=True)
class TlsaSet:
    """All TLSA records of one owner, which have one TTL, in seconds (RFC 2181 §5.2)."""

    ttl: int
    records: frozenset[Tlsa]


# What a zone serves: by owner (`_25._tcp.mail.example.com`).
Content = Mapping[DomainName, TlsaSet]

# One record with its owner.
Owned = tuple[DomainName, Tlsa]


@dataclass(frozen=True, slots=True)
class Material:
    """What TLSA data of a set is made of: DER of certificates and public keys.

    `key` is the SubjectPublicKeyInfo, which is there before the certificate. `leaf` None: there
    is no certificate yet; `issuer`, `issuer_key` None: nor one of who signed it in the chain.
    """

    key: bytes
    leaf: bytes | None = None
    issuer: bytes | None = None
    issuer_key: bytes | None = None


def association(combination: Combination, material: Material) -> Tlsa | None:
    """Return the record of a set (RFC 6698 §2.1); None while what it is made of is not there."""
    if combination.wants_issuer:
        source = material.issuer if combination.selector == 0 else material.issuer_key
    else:
        # §2.1.2: selector 0 is the whole certificate, 1 the SubjectPublicKeyInfo.
        source = material.leaf if combination.selector == 0 else material.key
    if source is None:
        return None
    # §2.1.3: the matching type; 0 is the thing itself.
    match combination.match:
        case 0:
            data = source.hex()
        case 1:
            data = hashlib.sha256(source).hexdigest()
        case _:
            data = hashlib.sha512(source).hexdigest()
    return Tlsa(combination.usage, combination.selector, combination.match, data)


def owner_of(port: int, proto: str, host: DomainName) -> DomainName:
    """Return where the records of a port stand (RFC 6698 §3); raises `BadName` if too long."""
    return DomainName.parse(f"_{port}._{proto}.{host}")


def endpoint_of(owner: DomainName) -> tuple[int, str, DomainName]:
    """Return port, protocol and host of an owner; raises `BadName` for another name."""
    parts = owner.text.split(".", 2)
    if len(parts) == 3 and parts[0][:1] == parts[1][:1] == "_" and parts[0][1:].isdecimal():
        return int(parts[0][1:]), parts[1][1:], DomainName.parse(parts[2])
    raise BadName(f"{owner} is not the owner of TLSA records (_port._proto.host)")


def port_of(owner: DomainName) -> str:
    """Return `mail.example.com:25` for the owner of TLSA records, "" for another name."""
    try:
        port, _, host = endpoint_of(owner)
    except BadName:
        return ""
    return f"{host}:{port}"


def hosts_of(
    entry: DaneEntry, zone: ZoneName, names: Iterable[SanName], mx: Collection[DomainName] | None
) -> tuple[DomainName, ...]:
    """Return the hosts whose records an entry asks for, sorted (docs/config-reference.md).

    `names` are those of the certificate, `mx` the zone's MX hosts; None: it takes no mail (the null
    MX, RFC 7505), so nobody connects to any. Those outside the zone are left out: their records are
    in somebody else's.
    """
    if isinstance(entry.hosts, tuple):
        hosts: Iterable[SanName] = entry.hosts
    elif entry.hosts is TlsaHosts.SANS:
        hosts = names
    else:
        hosts = () if mx is None else (DomainName(zone.text), *mx)
    # No client looks for the records of a star: RFC 4592 §2.1.1, it would not be leftmost.
    return tuple(
        sorted(
            {
                host
                for host in hosts
                if isinstance(host, DomainName) and not host.is_wildcard and host.is_within(zone)
            }
        )
    )


@dataclass(frozen=True, slots=True)
class Part:
    """What one certificate has to say in its zone.

    `wants`: the combinations at each owner. `serving`: the sets that servers use or may still
    use, `coming`: the one on deck. `proven`: servers were seen using what is in `serving`, or
    used it before there were records of it. `kept`: records of sets that are served and cannot be
    read any more: they stay.
    """

    cert: CertId
    wants: Mapping[DomainName, frozenset[Combination]]
    ttl: int
    serving: tuple[Material, ...] = ()
    coming: Material | None = None
    proven: bool = True
    kept: frozenset[Owned] = frozenset()


def wants_of(
    entries: Iterable[DaneEntry],
    zone: ZoneName,
    names: Sequence[SanName],
    mx: Collection[DomainName] | None,
) -> dict[DomainName, frozenset[Combination]]:
    """Return owners and combinations of a service's `dane_tls`; names too long are left out."""
    found: dict[DomainName, set[Combination]] = defaultdict(set)
    for entry in entries:
        for host in hosts_of(entry, zone, names, mx):
            try:
                owner = owner_of(entry.port, entry.proto, host)
            except BadName:
                continue
            found[owner].add(entry.combination)
    return {owner: frozenset(found[owner]) for owner in sorted(found)}


# Combinations at owners that every name server was seen serving.
Known = frozenset[tuple[DomainName, Combination]]

# Owners with records that are not ours, and the combinations of those that every server shows.
Others = Mapping[DomainName, frozenset[Combination]]
_NO_OTHERS: Others = {}


@dataclass(frozen=True, slots=True)
class Share:
    """What of a zone's content is one certificate's.

    `serving`, `coming`: the records that the sets need. `held`: the combinations that the set on
    deck still lacks, because they are published for the serving key first. `lacking`: those that
    cannot be made of a set that is served, and so are published for none.
    """

    serving: frozenset[Owned] = frozenset()
    coming: frozenset[Owned] = frozenset()
    held: frozenset[tuple[DomainName, Combination]] = frozenset()
    lacking: frozenset[tuple[DomainName, Combination]] = frozenset()

    @property
    def needed(self) -> frozenset[Owned]:
        """Everything that has to be seen before the set on deck may be served."""
        return self.serving | self.coming


@dataclass(frozen=True, slots=True)
class ZoneContent:
    """What a zone has to serve, and whose it is."""

    records: Content
    shares: Mapping[CertId, Share]


@dataclass(slots=True)
class _Owner:
    """One owner while it is put together."""

    ttls: list[int] = field(default_factory=list)
    combinations: set[Combination] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)


@dataclass(slots=True)
class _Sharing:
    """A `Share` while it is put together."""

    serving: set[Owned] = field(default_factory=set)
    coming: set[Owned] = field(default_factory=set)
    held: set[tuple[DomainName, Combination]] = field(default_factory=set)
    lacking: set[tuple[DomainName, Combination]] = field(default_factory=set)

    def done(self) -> Share:
        return Share(
            frozenset(self.serving),
            frozenset(self.coming),
            frozenset(self.held),
            frozenset(self.lacking),
        )


def content_of(parts: Iterable[Part], known: Known, others: Others = _NO_OTHERS) -> ZoneContent:
    """Return what a zone has to serve.

    - Every service at an owner gives records of every combination that one of them asks for: a
      client goes by usage, selector and strongest digest, whatever key it is shown (RFC 7671 §8,
      §9).
    - A combination that is not `known` is published for the serving keys first, and never for a
      set on deck alone. Where nothing is known at an owner, nobody checks that port yet, and
      nothing is published before every key that servers were given there is proven.
    - Records of `others` at an owner of which no set was ever served are of keys that its port
      serves meanwhile: the first set goes beside them, with combinations that they have.
    - A combination that cannot be made of a key that is served is published for none.
    """
    owners: dict[DomainName, _Owner] = defaultdict(_Owner)
    for part in parts:
        for owner, combinations in part.wants.items():
            one = owners[owner]
            one.parts.append(part)
            one.ttls.append(part.ttl)
            one.combinations |= combinations
    records: dict[DomainName, TlsaSet] = {}
    shares: dict[CertId, _Sharing] = defaultdict(_Sharing)
    for owner in sorted(owners):
        found = _at_owner(owner, owners[owner], known, others.get(owner), shares)
        if found:
            records[owner] = TlsaSet(min(owners[owner].ttls), frozenset(found))
    return ZoneContent(records, {cert: share.done() for cert, share in shares.items()})


def _at_owner(
    owner: DomainName,
    one: _Owner,
    known: Known,
    others: frozenset[Combination] | None,
    shares: dict[CertId, _Sharing],
) -> set[Tlsa]:
    found: set[Tlsa] = set()
    for part in one.parts:
        kept = {(there, record) for there, record in part.kept if there == owner}
        found |= {record for _, record in kept}
        shares[part.cert].serving |= kept
    beside: frozenset[Combination] = frozenset()
    checked = any(there == owner for there, _ in known)
    if others is not None and not any(part.serving or part.kept for part in one.parts):
        checked, beside = True, others
    # The first record of an owner has every key that is served there checked.
    ready = checked or all(part.proven for part in one.parts if part.serving)
    # What stays of an older configuration has to match whatever is served as well.
    for combination in sorted(one.combinations | {record.combination for record in found}):
        serving = [
            (part.cert, association(combination, material))
            for part in one.parts
            if ready
            for material in part.serving
        ]
        lacking = any(record is None for _, record in serving)
        for cert, record in serving:
            if record is not None and not lacking:
                found.add(record)
                shares[cert].serving.add((owner, record))
        for part in one.parts:
            share = shares[part.cert]
            if lacking:
                share.lacking.add((owner, combination))
            if part.coming is None or not (checked or part.serving or part.kept):
                continue
            record = association(combination, part.coming)
            seen = combination in beside or (owner, combination) in known
            if record is None or lacking or not seen:
                share.held.add((owner, combination))
            else:
                found.add(record)
                share.coming.add((owner, record))
    return found


def owned(content: Content) -> frozenset[Owned]:
    """Return every record of a content, with its owner."""
    return frozenset((owner, record) for owner, one in content.items() for record in one.records)


def combinations_of(content: Content) -> Known:
    """Return the combinations that a content has at its owners."""
    return frozenset((owner, record.combination) for owner, record in owned(content))


def heeded(records: Collection[Tlsa]) -> frozenset[Tlsa]:
    """Return which records of one owner a client goes by (RFC 7671 §9).

    Of each usage and selector those with the strongest digest, and those of matching type 0, which
    is no digest and never put aside for one.
    """
    strongest: dict[tuple[int, int], int] = defaultdict(int)
    for record in records:
        kind = (record.usage, record.selector)
        strongest[kind] = max(strongest[kind], record.match)
    return frozenset(
        record
        for record in records
        if record.match in (0, strongest[record.usage, record.selector])
    )
