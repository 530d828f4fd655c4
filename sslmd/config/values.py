"""The small languages inside the files' values: addresses, windows, commands, probes, modes.

Every function takes what TOML gave and returns the trusted value, or raises the error made by
`wrong`, which says what is wrong and what would be right.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from sslmd.config import shell
from sslmd.config.kinds import Argv, Probe, ServiceMatch, Unprobed
from sslmd.core.dane.tlsa import DaneEntry, TlsaHosts
from sslmd.core.dh import CHOICE, DhGroup
from sslmd.core.names import (
    BadName,
    DomainName,
    GroupName,
    SanName,
    parse_san,
    parse_service,
    shown,
)
from sslmd.core.spec import DIGESTS
from sslmd.core.starttls import STARTTLS_PORTS, ProbeWord
from sslmd.core.windows import Window

T = TypeVar("T")

EVERY_GROUP = ("any", "all", "*")
EVERY_SERVICE = ("ALL", "*")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

DEFAULT_DIGEST = "sha384"
# Hashes that ssl-mgr 5 knows, and that nobody signs certificates with.
_UNSIGNABLE = ("sha1", "sha512_224", "sha512_256", "shake128", "shake256", "md5", "sm3")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_OWNER = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\$?|[0-9]{1,9}", re.IGNORECASE)
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])-([01]?[0-9]|2[0-4]):([0-5][0-9])")


def wrong(problem: str, remedy: str) -> PydanticCustomError:
    """Return the error to raise for a value; `remedy` is what would be right."""
    return PydanticCustomError(
        "sslmd", "{problem}; {remedy}", {"problem": problem, "remedy": remedy}
    )


def seen(value: object) -> str:
    """Return a value as a message shows it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return shown(value)
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a table"
        case int() | float():
            # Thousands of digits are more than Python wants to print.
            return (
                str(value) if isinstance(value, float) or abs(value) < 10**20 else "a huge number"
            )
    return f"a {type(value).__name__}"


def text(value: Any) -> str:
    """Check a text: no control characters, which could forge log lines or commands."""
    if not isinstance(value, str):
        raise wrong(f"{seen(value)} is not a text", "write it in quotes")
    if not value.isprintable() and _CONTROL.search(value):
        raise wrong(f"{shown(value)} has control characters", "leave them out")
    return value


def label(value: Any) -> str:
    """Check a part of a distinguished name, without spaces around it."""
    return text(value).strip()


def named(parse: Callable[[str], T], remedy: str) -> Callable[[Any], T]:
    """Make a value function of one of `core.names`' parsers."""

    def value_of(value: Any) -> T:
        try:
            return parse(text(value))
        except BadName as err:
            raise wrong(str(err), remedy) from None

    return value_of


_SAN_REMEDY = "write a DNS name, a wildcard (*.example.com) or an IP address"
_any_name = named(parse_san, _SAN_REMEDY)


@lru_cache(maxsize=1024)  # the services of a group have many names in common
def _san(value: str) -> SanName:
    return _any_name(value)


def san(value: Any) -> SanName:
    """Parse one subject alternative name."""
    return _san(value) if isinstance(value, str) else _any_name(value)


def listed(value: Any) -> Any:
    """Take a single text as a list of one."""
    return [value] if isinstance(value, str) else value


def nested(value: Any) -> Any:
    """Refuse a list that should be a list of lists, once and not for every element."""
    if isinstance(value, list) and value and not any(isinstance(one, list) for one in value):
        raise wrong("it is one list, where a list of lists is expected", "write [[…], […]]")
    return value


def number(value: Any) -> Any:
    """Take a whole number in quotes for the number, as ssl-mgr does."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value


def quantity(value: Any) -> Any:
    """Take a number in quotes for the number; it may have a fraction."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", value.strip()):
        return float(value) if "." in value else int(value)
    return value


def digest(value: Any) -> str:
    """Parse the name of a hash: `SHA256`, `sha-256`, `sha3_256`, `SHA3-256`; "" is the default."""
    name = label(value).lower().replace("-", "_")
    known = {one: one for one in DIGESTS} | {one.replace("sha", "sha_"): one for one in DIGESTS}
    if not name:
        return DEFAULT_DIGEST
    if name not in known:
        remedy = "write 'sha384' or 'sha256'"
        if name in _UNSIGNABLE:
            remedy = "write 'sha256', which ssl-mgr 7 signs with in its place"
        raise wrong(f"{seen(value)} is no hash that certificates are signed with", remedy)
    return known[name]


def port_of(value: Any) -> int:
    """Check a TCP or UDP port."""
    value = number(value)
    if type(value) is not int or not 1 <= value <= 65535:
        raise wrong(f"{seen(value)} is not a port", "write a number from 1 to 65535")
    return value


def command(value: Any, several: str = "a list of commands: ['…', '…']") -> Argv:
    """Split a command line into its words as a shell would; an empty one gives no words.

    `several`: how to write two commands.
    """
    line = text(value)
    try:
        words = tuple(shlex.split(line))
    except ValueError as err:
        problem = str(err)[:1].lower() + str(err)[1:]
        raise wrong(f"{shown(line)}: {problem}", "close the quotes") from None
    if found := shell.operator(line):
        remedy = "write sh -c '…' around the whole, or quotes around a word that holds it"
        if found in shell.SEPARATORS:
            remedy = f"write {several}, or sh -c '…' around the whole"
        raise wrong(
            f"{shown(line)} has {shown(found)}, and no shell runs it: the program would get it as "
            "a word",
            remedy,
        )
    return words


def service_match(value: Any) -> ServiceMatch:
    """Parse one `[group, [services]]` of `svc_depends`."""
    if not isinstance(value, list) or len(value) != 2:
        raise wrong(f"{seen(value)} is not a pair", "write ['group', ['service', …]]")
    group: str | None = text(value[0])
    if text(group).lower() in EVERY_GROUP:
        group = None
    else:
        group = named(GroupName.parse, "write a domain, 'ca' or 'any'")(group).text
    names = listed(value[1])
    if not isinstance(names, list):
        raise wrong(f"{seen(names)} is not a list", "write ['group', ['service', …]]")
    if any(name in EVERY_SERVICE for name in names):
        return ServiceMatch(group, None)
    parse = named(parse_service, "write the name of a service file, or 'ALL'")
    return ServiceMatch(group, frozenset(map(parse, names)))


def probe(value: Any) -> Probe:
    """Parse one `[port, word, name]`; word and name may be left out."""
    parts = value if isinstance(value, list) else [value]
    if not 1 <= len(parts) <= 3:
        raise wrong(f"{seen(value)} is not a probe", "write [port, 'word', 'name']")
    port = port_of(parts[0])
    word = STARTTLS_PORTS.get(port, ProbeWord.TLS)
    if len(parts) > 1:
        if parts[1] not in list(ProbeWord):
            raise wrong(f"{seen(parts[1])} is not a probe's word", one_of(ProbeWord))
        word = ProbeWord(parts[1])
    name = ""
    if len(parts) > 2 and parts[2] != "":
        name = named(DomainName.parse, "write the host name to ask for")(parts[2]).text
    return Probe(port, word, name)


def unprobed(value: Any) -> Unprobed | None:
    """Return what `false` and `'none'` say of probes; None for anything that names ports."""
    if isinstance(value, bool):
        return None if value else Unprobed.FALSE
    if isinstance(value, str):
        if value.lower() != Unprobed.NONE:
            remedy = "write false, 'none', or a list such as [[443, 'tls', 'www.example.com']]"
            raise wrong(f"{seen(value)} is not known here", remedy)
        return Unprobed.NONE
    return Unprobed.FALSE if value == [] else None


def kept(value: Any) -> str:
    """Check a path below the production tree, of a file or a folder."""
    path = text(value).strip()
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or not parts or ".." in parts:
        remedy = "write it as it is below prod_cert_dir, such as 'example.com/old'"
        raise wrong(f"{shown(path)} is not a path inside the production tree", remedy)
    return "/".join(parts)


def dh_group(value: Any) -> DhGroup:
    """Parse the name of a Diffie-Hellman group, or the size of one: a number or text."""
    try:
        return DhGroup.parse(value if isinstance(value, str) else seen(value))
    except BadName:
        problem = f"{seen(value)} is no Diffie-Hellman group"
        raise wrong(problem, f"write one of {CHOICE}") from None


def dh_groups(value: Any) -> Any:
    """Take a single name or size as a list of one; refuse an empty list."""
    if value == []:
        raise wrong("no Diffie-Hellman group is named", "leave it out, or write ['ffdhe8192']")
    return value if isinstance(value, list) else [value]


def one_of(words: Sequence[str] | type[Any]) -> str:
    """Say which words are right."""
    *rest, last = (repr(str(word)) for word in words)
    return f"write {', '.join(rest)} or {last}" if rest else f"write {last}"


def window(value: Any) -> Window:
    """Parse `[days] HH:MM-HH:MM [zone]`, such as `Mon-Fri,Sun 22:00-04:00 Europe/Berlin`."""
    whole = text(value)
    remedy = "write it as 'Sat 02:00-05:00 Europe/Berlin' or 'Mon-Fri,Sun 22:00-04:00 UTC'"
    words = whole.split()
    days = frozenset(range(7))
    if words and not _CLOCK.fullmatch(words[0]):
        days = _days(words.pop(0), remedy)
    clock = _CLOCK.fullmatch(words.pop(0)) if words else None
    if not clock or len(words) > 1:
        raise wrong(f"{shown(whole)} is not a window", remedy)
    hour, minute, end_hour, end_minute = map(int, clock.groups())
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if start >= 1440 or end > 1440:
        raise wrong(f"{shown(whole)}: a day ends at 24:00", remedy)
    if start == end:
        raise wrong(f"{shown(whole)} has no length", "write 00:00-24:00 for a whole day")
    name = words[0] if words else "UTC"
    try:
        zone = ZoneInfo(name)
    # A folder of the database, or a file in it that is no zone, fails in other ways.
    except (ValueError, OSError, LookupError):
        problem = f"{shown(name)} is not a time zone of this machine"
        remedy = "write one as in /usr/share/zoneinfo, such as Europe/Berlin or UTC"
        raise wrong(problem, remedy) from None
    return Window(days, start, end, zone, " ".join(whole.split()))


def _days(word: str, remedy: str) -> frozenset[int]:
    known = {day.lower(): number for number, day in enumerate(DAYS)}
    days: set[int] = set()
    for part in word.lower().split(","):
        first, dash, last = part.partition("-")
        if first not in known or (dash and last not in known):
            raise wrong(f"{shown(part)} is not a day or a range of days", remedy)
        number = known[first]
        days.add(number)
        while dash and number != known[last]:
            number = (number + 1) % 7
            days.add(number)
    return frozenset(days)


def dane(value: Any) -> DaneEntry | None:
    """Parse one element of `dane_tls`; an empty one asks for nothing."""
    if value == []:
        return None
    if not isinstance(value, list) or not 5 <= len(value) <= 6:
        raise wrong(
            f"{seen(value)} is not a TLSA entry",
            "write [port, 'tcp', usage, selector, match], such as [25, 'tcp', 3, 1, 1]",
        )
    port, proto = port_of(value[0]), value[1]
    if isinstance(proto, str):
        proto = proto.lower()
    if proto not in ("tcp", "udp", "sctp"):
        raise wrong(f"{seen(proto)} is not a protocol", one_of(("tcp", "udp", "sctp")))
    numbers = []
    # RFC 6698 §2.1: usage 0 to 3, selector 0 or 1, matching type 0 to 2.
    kinds = (("usage", 3), ("selector", 1), ("matching type", 2))
    for (what, limit), part in zip(kinds, map(number, value[2:5]), strict=True):
        if type(part) is not int or not 0 <= part <= limit:
            raise wrong(f"{seen(part)} is not a TLSA {what}", f"write a number from 0 to {limit}")
        numbers.append(part)
    usage, selector, match = numbers
    hosts = _tlsa_hosts(value[5] if len(value) == 6 else "", port)
    return DaneEntry(port, proto, usage, selector, match, hosts)


def _tlsa_hosts(value: object, port: int) -> TlsaHosts | tuple[DomainName, ...]:
    remedy = "write 'MX', 'SANS' or a list of host names"
    if isinstance(value, list):
        hosts = tuple(map(named(DomainName.parse, remedy), value))
        if not hosts or any(host.is_wildcard for host in hosts):
            raise wrong("the hosts of a TLSA entry are plain host names", remedy)
        return hosts
    if value == "":
        return TlsaHosts.MX if port == 25 else TlsaHosts.SANS
    if isinstance(value, str) and value.upper() in ("MX", "SANS"):
        return TlsaHosts(value.upper())
    raise wrong(f"{seen(value)} does not tell whose record it is", remedy)


def key_mode(value: Any) -> int:
    """Parse the mode of a key file: `'0640'` or `0o640`."""
    remedy = "write '0600' or '0640' (or 0o600, 0o640)"
    mode = value
    if isinstance(value, str) and re.fullmatch("(?:0o?)?[0-7]{3}", value):
        mode = int(value.removeprefix("0o"), 8)
    if type(mode) is not int:
        raise wrong(f"{seen(value)} is not a file mode", remedy)
    if mode & 0o007 and mode <= 0o777:
        # I2: nothing secret is ever readable by others.
        raise wrong(f"mode {mode:04o} opens private keys to everybody", remedy)
    if mode & ~0o640 or not mode & 0o400:
        raise wrong(f"{seen(value)} is not a mode for private keys", remedy)
    return mode


def owner(value: Any) -> str:
    """Check the name or number of a user or group; they are looked up on the servers."""
    name = str(value) if type(value) is int else text(value)
    if name and not _OWNER.fullmatch(name):
        raise wrong(f"{shown(name)} is not a user or group", "write its name or its number")
    return name
