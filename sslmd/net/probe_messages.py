"""Looks at ports, and at names, between the daemon and the network process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from sslmd.core.names import shown
from sslmd.core.plain import plain
from sslmd.core.reason import Reason, Said
from sslmd.core.seen import AtPort
from sslmd.core.spec import CertFacts
from sslmd.core.starttls import ProbeWord
from sslmd.net.link import Operation, message

# Seconds for one look at a port, with all its handshakes.
TIMEOUT = 10.0

# Characters of a phrase, and of a name that is asked for.
MOST_PHRASE = 1000


def _in_one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


# Words of others about what was seen: for people, and nobody reads them back.
Phrase = Annotated[str, StringConstraints(max_length=MOST_PHRASE), AfterValidator(_in_one_line)]


@message
@dataclass(frozen=True, slots=True)
class LookEnd:
    """What a look met: a code, and what of it is not in the code.

    `said`: words of others, or of the system; `number`: of seconds, bytes, bits, a port, a status,
    as the code says; `long`: there are more than so many.
    """

    code: AtPort
    said: Phrase = ""
    number: Annotated[int | float, Field(ge=0, le=1e12)] | None = None
    long: bool = False

    @property
    def reason(self) -> Reason:
        """It as a reason, which stands after the address."""
        said = Said(self.said) or None
        return Reason(self.code, said=said, number=self.number, long=self.long or None)


class Reach(StrEnum):
    """How far a connection came. No route: not from this machine, whatever is there.

    Not tried: nobody could look, which says nothing of what is there.
    """

    CONNECTED = "connected"
    REFUSED = "refused"
    NO_ROUTE = "no route"
    UNANSWERED = "unanswered"
    NOT_TRIED = "not tried"


@message
@dataclass(frozen=True, slots=True)
class LookAtPort:
    """Asks what is served at a port of an address, within `seconds` for all that it takes.

    `word` None: how TLS is begun is found out. `name` is sent as SNI (RFC 6066 §3), unless it is
    an address or "". `key_kind` as `describe_key` tells it: a certificate with a key of that kind
    is asked for first (by TLS 1.2 alone), and any if there is none.
    """

    address: str
    port: int
    word: ProbeWord | None
    name: str
    key_kind: str
    seconds: float


@message
@dataclass(frozen=True, slots=True)
class Served:
    """What was seen at one port of one address.

    `chain` is what the server sent, as DER, its own certificate first; () if there was none, and
    then `problem` is what was met instead. `keys` are the public keys in it
    (SubjectPublicKeyInfo), b"" of a damaged certificate, and `facts` what the first one says.
    `cut_short`: there was less time than a look may take, so that this says little.
    """

    address: str
    port: int
    chain: tuple[bytes, ...] = ()
    problem: LookEnd | None = None
    reach: Reach = Reach.CONNECTED
    cut_short: bool = False
    keys: tuple[bytes, ...] = ()
    facts: CertFacts | None = None

    def __post_init__(self) -> None:
        """Refuse keys of other certificates than those of the chain."""
        if len(self.keys) != len(self.chain):
            raise ValueError("a key for each certificate")

    @property
    def reached(self) -> bool:
        """Whether a connection was made."""
        return self.reach is Reach.CONNECTED

    @property
    def leaf(self) -> bytes | None:
        """The server's own certificate."""
        return self.chain[0] if self.chain else None

    @property
    def what(self) -> Reason:
        """What is served, or was met instead: it stands after the address."""
        if self.chain:
            return Reason(AtPort.SERVES, certificate=described(self.facts))
        return (self.problem or LookEnd(AtPort.SHOWS_NONE)).reason

    @property
    def told(self) -> Reason:
        """Where, and what."""
        return Reason(AtPort.AT, address=self.address, port=self.port, what=self.what)


def described(facts: CertFacts | None) -> Reason:
    """Return what a certificate is: serial, names, until when. None: it is damaged."""
    if facts is None:
        return Reason(AtPort.DAMAGED)
    names = Said(shown(", ".join(facts.names) or facts.subject, 100))
    serial = Said(plain(facts.serial, 100))
    return Reason(AtPort.CERTIFICATE, serial=serial, names=names, until=facts.not_after)


TLS_LOOK: Operation[LookAtPort, Served] = Operation("probe.tls", LookAtPort, Served)


# Bytes of a URL that a redirect leads to.
MOST_URL = 40 << 10

_Url = Annotated[str, StringConstraints(max_length=MOST_URL)]


@message
@dataclass(frozen=True, slots=True)
class LookAtChallenge:
    """Asks for a challenge of http-01 at one address of a host, as a CA does (RFC 8555 §8.3).

    `url`: where to begin; of a host that a redirect leads to, `led_to` are the addresses, () if it
    has none. `own`: all addresses of the host itself. `ports`: to which redirects may lead.
    `redirects`: those that were followed already. `seconds` in all, and `left` of them.
    """

    host: str
    address: str
    url: _Url
    content: str
    own: tuple[str, ...]
    ports: tuple[int, ...]
    seconds: float
    left: float
    redirects: int = 0
    led_to: tuple[str, ...] | None = None


@message
@dataclass(frozen=True, slots=True)
class Shown:
    """The challenge is there."""


@message
@dataclass(frozen=True, slots=True)
class NotShown:
    """An address that does not show a challenge, and what was met instead.

    `out_of_reach`: nothing answered at all. That may be so only from here: an address that is
    translated, for one. `untried`: nobody could look, which says nothing of the address. `status`:
    of the answer, 0 without one. `led`: the server that it was redirected to, "" if it was not.
    """

    address: str
    problem: LookEnd
    out_of_reach: bool = False
    untried: bool = False
    status: int = 0
    led: _Url = ""

    @property
    def told(self) -> Reason:
        """Where, and what."""
        led = Said(shown(self.led, 200)) if self.led else None
        what = self.problem.reason
        return Reason(AtPort.OF_ADDRESS, address=self.address, led=led, what=what)


@message
@dataclass(frozen=True, slots=True)
class LedTo:
    """A redirect leads to the host `name`, whose addresses are needed to go on at `url`.

    `led`: for what is told if that takes too long, as in `NotShown`.
    """

    name: _Url
    url: _Url
    redirects: int
    led: _Url


CHALLENGE_LOOK: Operation[LookAtChallenge, Shown | NotShown | LedTo] = Operation(
    "probe.challenge", LookAtChallenge, Shown | NotShown | LedTo
)


@message
@dataclass(frozen=True, slots=True)
class LookAtSite:
    """Asks whether an address answers all `urls` alike."""

    address: str
    urls: tuple[str, ...]
    seconds: float


@message
@dataclass(frozen=True, slots=True)
class SiteSeen:
    """False where that cannot be found out."""

    same: bool


SITE_LOOK: Operation[LookAtSite, SiteSeen] = Operation("probe.site", LookAtSite, SiteSeen)
