"""Reasons are data: a code and facts. Only `core.words` makes sentences of them.

Each enumeration is closed; that of failures is in `failed`. Its codes go over the socket and into
notes on disk, so they are added, never renamed. No two enumerations have a code in common.

A fact is a time, a span, a number, a name, another reason, or several of these. What others said
(a command's output, a server's answer) is `Said`. No fact is a sentence of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sslmd.core.names import CertId, DomainName, GroupName, SetName, ZoneName
from sslmd.core.plain import rfc3339

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Fact: TypeAlias = "str | int | float | datetime | timedelta | Reason | tuple[Fact, ...]"
    Named = CertId | DomainName | GroupName | SetName | ZoneName


class Code(StrEnum):
    """What every enumeration of codes is."""


class Said(str):
    """Words of others, or of a part of the program that has no codes yet."""

    __slots__ = ()


# The facts that any reason can have: what is added to it, and the zone or certificate that an
# error is about.
ALSO, ABOUT = "also", "about"


@dataclass(frozen=True, slots=True, init=False)
class Reason:
    """A code and its facts, in order. Names are kept as text; a fact that is None is left out."""

    code: Code
    facts: tuple[tuple[str, Fact], ...]

    def __init__(self, code: Code, /, **facts: Fact | Named | None) -> None:
        object.__setattr__(self, "code", code)
        known = ((name, _fact(value)) for name, value in facts.items() if value is not None)
        object.__setattr__(self, "facts", tuple(known))

    def __getitem__(self, name: str) -> Fact:
        """Return a fact; raises KeyError for one that it does not have."""
        for known, value in self.facts:
            if known == name:
                return value
        raise KeyError(name)

    def get(self, name: str) -> Fact | None:
        """Return a fact, None for one that it does not have."""
        return dict(self.facts).get(name)

    def also(self, *others: Reason | None) -> Reason:
        """Return it with other reasons added; its code stays."""
        more = tuple(one for one in others if one is not None)
        if not more:
            return self
        known = dict(self.facts)
        before = known.pop(ALSO, ())
        assert isinstance(before, tuple)
        return Reason(self.code, **known, also=(*before, *more))

    def of(self, about: Named | str | None) -> Reason:
        """Return it as a reason about a zone or a certificate, or about none."""
        return Reason(self.code, **{**dict(self.facts), ABOUT: about})

    def within(self) -> Iterator[Reason]:
        """Yield it and every reason among its facts."""
        yield self
        for _, value in self.facts:
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, Reason):
                    yield from one.within()


def _fact(value: Fact | Named) -> Fact:
    if isinstance(value, StrEnum) or not isinstance(
        value, str | int | float | datetime | timedelta | Reason | tuple
    ):
        return str(value)
    return value


def noted(text: str) -> Reason:
    """Return a text that has no code as a reason."""
    return Reason(Held.NOTED, text=Said(text))


def said(text: str | None) -> Reason | None:
    """Return a text that has no code as a reason, None for an empty one."""
    return noted(text) if text else None


# --- the codes -----------------------------------------------------------------------------


class Why(Code):
    """Why a certificate's next step is what it is."""

    NOT_PLANNED = "not-planned"
    UNMANAGED = "unmanaged"
    VALID = "valid"
    LEFT = "left"
    # why it is renewed
    NO_CURR = "no-curr"
    UNUSABLE = "unusable"
    NO_CERTIFICATE = "no-certificate"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    NAMES = "names"
    KEY = "key"
    CA = "ca"
    DUE = "due"
    CA_WINDOW = "ca-window"
    CA_WANTS = "ca-wants"
    FORCED = "forced"
    ANOTHER = "another"
    # what is said of the key
    AHEAD = "ahead"
    KEEPS_CURR_KEY = "keeps-curr-key"
    KEEPS_AHEAD_KEY = "keeps-ahead-key"
    CA_KEEPS_KEY = "ca-keeps-key"
    CA_NEW_KEY = "ca-new-key"
    UNFINISHED_NEXT = "unfinished-next"
    AHEAD_PUBLISHING = "ahead-publishing"
    AHEAD_SEEN = "ahead-seen"
    AHEAD_MISSING = "ahead-missing"
    AHEAD_SINCE = "ahead-since"
    # what is on deck
    ON_DECK = "on-deck"
    GOES_BACK = "goes-back"
    OFF_DECK = "off-deck"
    NEXT_USELESS = "next-useless"
    ANOTHER_CA_ON_DECK = "another-ca-on-deck"
    OLDER_ON_DECK = "older-on-deck"
    # a roll
    ROLL_WAITS = "roll-waits"
    DNS_WAITS = "dns-waits"
    READY = "ready"
    ASKED_WAIT = "asked-wait"
    ROLL_FORCED = "roll-forced"
    SAME_RECORDS = "same-records"
    CURR_ENDS = "curr-ends"
    SET_ASIDE = "set-aside"
    FORCE = "force"
    MIN_ROLL = "min-roll"
    WINDOW = "window"
    WINDOW_AT = "window-at"
    WINDOWS_NEVER_MEET = "windows-never-meet"
    CA_PASSES_WINDOWS = "ca-passes-windows"
    ROLLED_ANYWAY = "rolled-anyway"
    WINDOW_TOO_LATE = "window-too-late"
    # DANE: the gate
    NO_RECORDS_WANTED = "no-records-wanted"
    PUBLISHING = "publishing"
    NOBODY_CHECKS = "nobody-checks"
    SAME_RECORDS_IN_DNS = "same-records-in-dns"
    RECORDS_MISSING = "records-missing"
    LOOKING = "looking"
    SEEN = "seen"
    SEEN_LONG_ENOUGH = "seen-long-enough"
    SEEN_BUT_SILENT = "seen-but-silent"
    WITHDRAWN = "withdrawn"
    LOST = "lost"
    OTHERS_WANTED = "others-wanted"
    LAST_LOOK = "last-look"
    ANOTHER_SET = "another-set"
    # what a roll would break
    HARM_WITHDRAWN = "harm-withdrawn"
    HARM_UNKNOWN = "harm-unknown"
    HARM_UNSEEN = "harm-unseen"
    HARM_LONG_CACHES = "harm-long-caches"
    HARM_UNTIL = "harm-until"
    # its CA
    CA_WAITS = "ca-waits"
    CA_ENDS = "ca-ends"
    CA_STUCK = "ca-stuck"
    CA_RENEWED_NOW = "ca-renewed-now"
    CA_RENEWED_FIRST = "ca-renewed-first"
    CA_LIMIT = "ca-limit"
    CA_PACED = "ca-paced"
    CA_HOLD = "ca-hold"
    CA_RENEWAL = "ca-renewal"
    CA_CHANGES = "ca-changes"
    # failures that are waited out
    STUCK = "stuck"
    RESTS = "rests"
    # delivery
    TO_PRODUCTION = "to-production"
    SHOWS_NEXT = "shows-next"
    OTHER_SERVERS = "other-servers"
    LIVE_NOT_EVERYWHERE = "live-not-everywhere"
    LIVE_PUBLISHING = "live-publishing"
    PROVE_PORTS = "prove-ports"
    NO_SERVER_LEFT = "no-server-left"
    SERVERS_WAIT = "servers-wait"
    OLD_RECORDS_GO = "old-records-go"
    BEING_GIVEN = "being-given"
    OLD_SETS_GO = "old-sets-go"
    DEPLOYED = "is-deployed"
    SERVER = "server"
    # jobs of hosts, zones, groups and trials
    ASKS_CA = "asks-ca"
    HOST_WITHOUT = "host-without"
    HOST_SURPLUS = "host-surplus"
    RESTARTS_FOR = "restarts-for"
    NOBODY_SAW = "nobody-saw"
    RECORDS_CHANGED = "records-changed"
    ZONE_MAY_DIFFER = "zone-may-differ"
    ZONE_COMPARED = "zone-compared"
    ZONE_MX = "zone-mx"
    ZONE_OWNERS = "zone-owners"
    ZONE_BY_HAND = "zone-by-hand"
    ZONE_LOOK = "zone-look"
    ZONE_WATCH = "zone-watch"
    CHALLENGES_DIFFER = "challenges-differ"
    DH_RELOADED = "dh-reloaded"
    DH_DAILY = "dh-daily"
    DH_START = "dh-start"
    HELD_AGAIN = "held-again"
    ALARMS_LOOK = "alarms-look"
    NOTICE_DUE = "notice-due"
    ALIVE_DUE = "alive-due"
    NOTES_AGAIN = "notes-again"
    TRIAL = "trial"
    AFTER_ROLL = "after-roll"
    AFTER_COPY = "after-copy"
    RECORDS_CHANGE = "records-change"
    USES_SET = "uses-set"


class Held(Code):
    """What is in trouble, and needs an admin or time."""

    NOTED = "noted"
    # a certificate is left alone: its files, an error of our own
    LATER_STATE = "later-state"
    LEFT_ALONE = "left-alone"
    BROKEN = "broken"
    # one of the site's own CAs is left as it is
    CA_NO_CURR = "ca-no-curr"
    CA_CLOCK = "ca-clock"
    CA_UNUSABLE = "ca-unusable"
    CA_OTHER_NAME = "ca-other-name"
    CA_OTHER_KEY = "ca-other-key"
    CA_OTHER_SIGNER = "ca-other-signer"
    CA_NOT_SELF_SIGNED = "ca-not-self-signed"
    # a roll that does not come in time
    ROLL_BLOCKED_FIRST = "roll-blocked-first"
    ROLL_BLOCKED = "roll-blocked"
    OWN_ERROR = "own-error"
    # a host, and what lies there
    SURPLUS = "surplus"
    OLDER_PRODUCTION = "older-production"
    LEFT_HOST = "left-host"
    KEYS_CLOSED = "keys-closed"


class Ended(Code):
    """What became of an admin's request, or why it is not carried out."""

    CANCELLED = "cancelled"
    NOT_NOTED = "not-noted"
    NOTHING_ON_DECK = "nothing-on-deck"
    NOT_DUE = "not-due"
    NO_KEY_TO_REUSE = "no-key-to-reuse"
    ALREADY_ON_DECK = "already-on-deck"
    IN_USE = "in-use"
    NOT_BACK = "not-back"
    TRIAL_WELL = "trial-well"
    TOO_EARLY = "too-early"
    TO_COME = "to-come"
    NOT_CONFIGURED = "not-configured"
    REPLACED = "replaced"
    ISSUED = "issued"
    ROLLED = "rolled-and-deployed"
    ROLLED_BUT = "rolled-but"
    ROLLED_WAITS = "rolled-waits"
    MADE_SINCE = "made-since"


# Why a set cannot serve: all but its dates, and those.
UNUSABLE = frozenset({Why.NO_CURR, Why.UNUSABLE, Why.NO_CERTIFICATE, Why.EXPIRED})


def facts_as_json(reason: Reason | None) -> dict[str, Any]:
    """Return the facts as JSON has them: RFC 3339 times in UTC, spans in seconds."""
    return {} if reason is None else {name: _as_json(value) for name, value in reason.facts}


def _as_json(value: Fact) -> Any:
    if isinstance(value, Reason):
        return {"code": str(value.code), "facts": facts_as_json(value)}
    if isinstance(value, tuple):
        return [_as_json(one) for one in value]
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    return value


def on_wire(reason: Reason | None, text: str = "reason") -> Mapping[str, Any]:
    """Return the two fields that stand beside a text: `reason_code` and `reason_facts`."""
    code = str(reason.code) if reason is not None else None
    return {f"{text}_code": code, f"{text}_facts": facts_as_json(reason)}
