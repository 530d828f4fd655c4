"""Dynamic update (RFC 2136), signed by TSIG (RFC 8945)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import dns.exception
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TLSA
import dns.rdtypes.ANY.TSIG
import dns.rdtypes.ANY.TXT
import dns.tsig
import dns.update

from sslmd.config.model import DnsPrimary, TsigKey
from sslmd.core.dane.tlsa import Content, Tlsa, TlsaSet
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName, shown
from sslmd.core.reason import Reason, Said
from sslmd.core.records import TxtRecord
from sslmd.dns.ask import NameServer, Unanswered
from sslmd.dns.nameservers import primary_server
from sslmd.dns.resolver import Resolver
from sslmd.net.dns_messages import UpdateAnswer
from sslmd.store import files

# Bytes of a message, far below the 64 KiB that one has at most. An owner with more goes alone.
LARGE = 16_000

# Bytes of a record beside its owner and data: type, class, TTL, length (RFC 1035 §3.2.1), length of
# the first label and the root.
_AROUND = 12

# Messages at a time, where each owner has one of its own.
AT_ONCE = 8

# Seconds. A primary signs the zone before it answers.
TIMEOUT = 10.0

# A comment begins where a word can; `//` inside of a secret, quoted or not, is part of it.
_COMMENT = re.compile(r"""("[^"]*")|/\*.*?(?:\*/|\Z)|(?<![^\s;{}])(?://|\#)[^\n]*""", re.DOTALL)
_STATEMENT = re.compile(r"\bkey\s+\"?([^\s\"{;]+)\"?\s*\{([^{}]*)\}\s*;?", re.IGNORECASE)
_ALGORITHM = re.compile(r"\balgorithm\s+\"?([A-Za-z0-9.-]+)\"?\s*;", re.IGNORECASE)
_SECRET = re.compile(r"\bsecret\s+\"?([A-Za-z0-9+/=]+)\"?\s*;", re.IGNORECASE)
_MD5 = "hmac-md5"  # BIND's short name of HMAC-MD5.SIG-ALG.REG.INT (RFC 8945 §6)

# What to do about a refusal.
_REMEDIES = {
    dns.rcode.REFUSED: "let the key change {types} records of {names} (BIND: update-policy)",
    dns.rcode.NOTAUTH: (
        "server in [[dns_primary]] has to be the zone's primary, and know the key; what is a part "
        "of a zone takes no updates, the zone around it does: name that in [[dns_primary]]"
    ),
    dns.rcode.NOTZONE: "the name is in another zone there: correct [[dns_primary]]",
    dns.rcode.NOTIMP: "it takes no updates; publish by include files instead",
}

# Refusals that may be of some of the names in a message alone.
_OF_NAMES = (dns.rcode.REFUSED, dns.rcode.NOTZONE)


_NOTHING = TlsaSet(0, frozenset())


class RefusedUpdate(Permanent):
    """The primary does not let us change one of the names in the message."""


class FailedUpdate(Transient):
    """The primary answers that it could not do it: one of the names in the message may be why."""


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """What changes at one owner. `ttl`: of what is added, in seconds."""

    ttl: int = 0
    added: tuple[dns.rdata.Rdata, ...] = ()
    deleted: tuple[dns.rdata.Rdata, ...] = ()


Changes = Mapping[DomainName, OwnerChange]


def txt_changes(added: Collection[TxtRecord], deleted: Collection[TxtRecord], ttl: int) -> Changes:
    """Return what adds some TXT records, and deletes others."""
    owners = sorted({record.owner for record in (*added, *deleted)})

    def made(records: Collection[TxtRecord], owner: DomainName) -> tuple[dns.rdata.Rdata, ...]:
        values = sorted(record.value.encode() for record in records if record.owner == owner)
        return tuple(
            dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, [value])
            for value in values
        )

    return {owner: OwnerChange(ttl, made(added, owner), made(deleted, owner)) for owner in owners}


def tlsa_changes(before: Content, after: Content) -> Changes:
    """Return what adds what is in `after`, and deletes what of `before` is not.

    What is there already only gets the TTL of `after`; records of others stay.
    """
    found = {}
    for owner in sorted({*before, *after}):
        new, old = after.get(owner, _NOTHING), before.get(owner, _NOTHING)
        if new.records or old.records:
            gone = old.records - new.records
            found[owner] = OwnerChange(new.ttl, _tlsa(new.records), _tlsa(gone))
    return found


def _tlsa(records: Collection[Tlsa]) -> tuple[dns.rdata.Rdata, ...]:
    return tuple(
        dns.rdtypes.ANY.TLSA.TLSA(  # type: ignore[no-untyped-call]
            dns.rdataclass.IN,
            dns.rdatatype.TLSA,
            record.usage,
            record.selector,
            record.match,
            bytes.fromhex(record.data),
        )
        for record in sorted(records)
    )


async def change_owners(
    zone: ZoneName, primary: DnsPrimary, changes: Changes, resolver: Resolver
) -> Mapping[DomainName, SslmError]:
    """Change each owner as a whole, in one message, of which a primary does all or nothing (§3.7).

    No client sees an owner between two states, and no record that stays is ever away. What is to be
    deleted and is not there is no failure (RFC 2136 §2.5.4). Return the owners that were not
    changed (`Permanent`), or perhaps were not (`Transient`), and why. An owner that is refused
    keeps out no other (I6).
    """
    failed: dict[DomainName, SslmError] = {}
    for some in _batches(changes):
        failed |= await _change(zone, primary, some, resolver)
    return failed


async def _change(
    zone: ZoneName, primary: DnsPrimary, changes: Changes, resolver: Resolver
) -> Mapping[DomainName, SslmError]:
    try:
        message = await message_for(zone, primary)
        for owner, change in changes.items():
            name = dns.name.from_text(owner.text)
            # RFC 2136 §3.4.2: in this order. One that is there gets the new TTL (§3.4.2.2), and
            # the owner is never without records even where somebody looks in between.
            for record in change.added:
                message.add(name, change.ttl, record)
            for record in change.deleted:
                message.delete(name, record)
        await send(zone, primary, message, resolver)
    except (RefusedUpdate, FailedUpdate) as err:
        if len(changes) == 1:
            return dict.fromkeys(changes, err)
    except SslmError as err:
        return dict.fromkeys(changes, err)
    else:
        return {}
    places = asyncio.Semaphore(AT_ONCE)

    async def alone(owner: DomainName) -> Mapping[DomainName, SslmError]:
        async with places:
            return await _change(zone, primary, {owner: changes[owner]}, resolver)

    failed: dict[DomainName, SslmError] = {}
    for one in await asyncio.gather(*map(alone, changes)):
        failed |= one
    return failed


def _batches(changes: Changes) -> Iterator[Changes]:
    """Return owners that fit into one message together; none is split."""
    batch: dict[DomainName, OwnerChange] = {}
    filled = 0
    for owner, change in changes.items():
        size = sum(
            _AROUND + len(owner.text) + len(record.to_wire() or b"")
            for record in (*change.added, *change.deleted)
        )
        if batch and filled + size > LARGE:
            yield batch
            batch, filled = {}, 0
        batch[owner] = change
        filled += size
    if batch:
        yield batch


def _what_to_do(remedy: str, message: dns.update.UpdateMessage) -> str:
    """Return a remedy with the names and the types that an update changes."""
    names = {rrset.name.to_text(omit_final_dot=True) for rrset in message.update}
    types = {dns.rdatatype.to_text(rrset.rdtype) for rrset in message.update}
    filled = remedy.replace("{types}", " and ".join(sorted(types)))
    return filled.replace("{names}", ", ".join(sorted(names)))


async def message_for(zone: ZoneName, primary: DnsPrimary) -> dns.update.UpdateMessage:
    """Return an update of a zone that changes nothing yet, to be signed with the primary's key.

    Raises `Permanent` if there should be a key and is none.
    """
    message = dns.update.UpdateMessage(dns.name.from_text(zone.text))
    if primary.tsig is not None:
        message.use_tsig(await asyncio.to_thread(load_key, primary.tsig))
    return message


async def send(
    zone: ZoneName,
    primary: DnsPrimary,
    message: dns.update.UpdateMessage,
    resolver: Resolver,
) -> None:
    """Send an update, and return when the primary has done it.

    Raises `RefusedUpdate` or another `Permanent` for what the admin has to mend: then nothing of
    it was done (RFC 2136 §3.7). Raises `Transient` for what may pass: then it may be done.
    """
    server = await primary_server(zone, primary, resolver)
    if server is None:
        raise Transient(
            Reason(Failed.PRIMARY_NO_ADDRESS, host=primary.server.host),
            about=f"zone {zone}",
        )
    try:
        answer = await resolver.asker.send_update(server, message.to_wire(), TIMEOUT)
        rcode = _rcode(message, answer)
    except Unanswered as err:
        raise Transient(
            Reason(Failed.UPDATE_UNANSWERED, said=Said(err)), about=f"zone {zone}"
        ) from None
    except (dns.tsig.BadTime, dns.tsig.PeerError) as err:
        raise _refused_key(zone, server, err) from None
    except dns.exception.DNSException as err:
        said = Said(" ".join(f"{err}".split()))
        raise Transient(
            Reason(Failed.UPDATE_NONSENSE, server=str(server), said=said), about=f"zone {zone}"
        ) from None
    if rcode is None:
        raise Transient(Reason(Failed.UPDATE_UNSIGNED, server=str(server)), about=f"zone {zone}")
    if rcode == dns.rcode.NOERROR:
        return
    remedy = _REMEDIES.get(rcode)
    place = f"zone {zone}"
    if remedy is not None:
        kind = RefusedUpdate if rcode in _OF_NAMES else Permanent
        text = f"the primary {server} answers {dns.rcode.to_text(rcode)} to the update"
        raise kind(f"{text}; {_what_to_do(remedy, message)}", about=place)
    why = Reason(Failed.UPDATE_FAILED, server=str(server), rcode=dns.rcode.to_text(rcode))
    raise FailedUpdate(why, about=place)


def _rcode(message: dns.update.UpdateMessage, answer: UpdateAnswer) -> dns.rcode.Rcode | None:
    """Return an answer's rcode, None if it should be signed and is not.

    RFC 8945 §5.3: the answer to a signed message is signed, or is somebody else's. The network
    process has taken it apart; here its signature is checked, and what that covers counts. Raises
    `DNSException` if it does not hold.
    """
    if message.keyring is None:
        return dns.rcode.Rcode(answer.rcode)
    tsig = answer.tsig
    if tsig is None:
        return None
    record = dns.rdtypes.ANY.TSIG.TSIG(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY,
        dns.rdatatype.TSIG,
        dns.name.from_text(tsig.algorithm),
        tsig.time_signed,
        tsig.fudge,
        tsig.mac,
        tsig.original_id,
        tsig.error,
        tsig.other,
    )
    dns.tsig.validate(  # type: ignore[no-untyped-call]
        answer.signed,
        message.keyring,
        dns.name.from_text(tsig.key),
        record,
        int(time.time()),
        message.mac,
        len(answer.signed),
    )
    return dns.rcode.Rcode(answer.signed[3] & 0x0F)  # RFC 1035 §4.1.1


def _refused_key(
    zone: ZoneName, server: NameServer, err: dns.exception.DNSException
) -> Permanent | Transient:
    if isinstance(err, dns.tsig.PeerBadTime | dns.tsig.BadTime):
        return Transient(Reason(Failed.UPDATE_CLOCKS, server=str(server)), about=f"zone {zone}")
    return Permanent(
        Reason(Failed.UPDATE_KEY, server=str(server), said=Said(err)), about=f"zone {zone}"
    )


def load_key(tsig: TsigKey) -> dns.tsig.Key:
    """Read a TSIG key: a key statement of BIND's, or the bare secret with name and algorithm.

    Of several statements the one that `tsig_name` names, else the first. Raises `Permanent`,
    without the secret, if there is none to be had.
    """
    path = str(tsig.file)
    try:
        text = files.read_secret(path, limit=64 << 10, by_group=True).decode("utf-8", "replace")
    except FileNotFoundError:
        raise Permanent(Reason(Failed.KEY_MISSING, file=path)) from None
    name, algorithm, secret = _parse(text, tsig, path)
    try:
        owner = dns.name.from_text(name)
    except dns.exception.DNSException:
        raise Permanent(Reason(Failed.KEY_BAD_NAME, file=path, name=shown(name))) from None
    try:
        decoded = base64.b64decode(secret, validate=True)
    except binascii.Error:
        raise Permanent(Reason(Failed.KEY_NOT_BASE64, file=path, name=name)) from None
    return dns.tsig.Key(owner, decoded, _algorithm(algorithm, path))


def _algorithm(text: str, path: str) -> dns.name.Name:
    plain = text.lower().rstrip(".")
    for known in dns.tsig.mac_sizes:
        if known == dns.tsig.GSS_TSIG:
            continue  # that is no shared secret
        if plain == known.to_text(omit_final_dot=True).lower():
            return known
    if plain == _MD5:
        return dns.tsig.HMAC_MD5
    raise Permanent(Reason(Failed.KEY_ALGORITHM, file=path, name=shown(text)))


def _parse(text: str, tsig: TsigKey, path: str) -> tuple[str, str, str]:
    plain = _COMMENT.sub(lambda found: found[1] or " ", text)
    statements = {name.lower().rstrip("."): body for name, body in _STATEMENT.findall(plain)}
    if not statements:
        for bare in (text, plain):  # with comments in it or not
            secret = "".join(bare.split())
            if tsig.name and re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", secret):
                return tsig.name, tsig.algorithm or "hmac-sha256", secret
        raise Permanent(Reason(Failed.KEY_NONE, file=path))
    name = tsig.name.lower().rstrip(".") or next(iter(statements))
    if name not in statements:
        raise Permanent(Reason(Failed.KEY_OTHERS, file=path, name=name, names=tuple(statements)))
    secret_match = _SECRET.search(statements[name])
    algorithm = _ALGORITHM.search(statements[name])
    if secret_match is None:
        raise Permanent(Reason(Failed.KEY_EMPTY, file=path, name=name))
    return name, algorithm[1] if algorithm else tsig.algorithm or "hmac-sha256", secret_match[1]
