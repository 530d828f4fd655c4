"""Looks at ports, and at names, between the daemon and the network process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from sslmd.core.names import shown
from sslmd.core.plain import clock, plain
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


# Words about what was seen, some of them of others: for people, and nobody reads them back.
Phrase = Annotated[str, StringConstraints(max_length=MOST_PHRASE), AfterValidator(_in_one_line)]


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
    then `problem` says why, in a phrase that goes on after "it". `keys` are the public keys in it
    (SubjectPublicKeyInfo), b"" of a damaged certificate, and `facts` what the first one says.
    `cut_short`: there was less time than a look may take, so that this says little.
    """

    address: str
    port: int
    chain: tuple[bytes, ...] = ()
    problem: Phrase = ""
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
    def described(self) -> str:
        """The server's own certificate, in a phrase; "" if there is none."""
        return described(self.facts) if self.chain else ""

    def __str__(self) -> str:
        """Where, and what: for people."""
        what = f"serves {self.described}" if self.chain else self.problem
        return f"{self.address} port {self.port} {what}"


def described(facts: CertFacts | None) -> str:
    """Return a certificate in a phrase: serial, names, until when. None: it is damaged."""
    if facts is None:
        return "a damaged certificate"
    names = shown(", ".join(facts.names) or facts.subject, 100)
    return f"serial {plain(facts.serial, 100)} for {names}, valid until {clock(facts.not_after)}"


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
    """An address that does not show a challenge, in a phrase.

    `out_of_reach`: nothing answered at all. That may be so only from here: an address that is
    translated, for one. `untried`: nobody could look, which says nothing of the address. `status`:
    of the answer, 0 without one. `led`: the server that it was redirected to, "" if it was not.
    """

    address: str
    text: Phrase
    out_of_reach: bool = False
    untried: bool = False
    status: int = 0
    led: _Url = ""

    def __str__(self) -> str:
        return self.text


@message
@dataclass(frozen=True, slots=True)
class LedTo:
    """A redirect leads to the host `name`, whose addresses are needed to go on at `url`.

    `via`, `led`: for what is told if that takes too long, as in `NotShown`.
    """

    name: _Url
    url: _Url
    redirects: int
    via: Phrase
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
