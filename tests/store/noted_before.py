"""What was noted on disk by the version before the notes had one codec, as values.

The files that hold it lie in `noted/`, written by that version; `test_noted_before.py` reads them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sslmd.core.dane.content import ZoneNotes
from sslmd.core.dane.sighting import Instant, Sighting, Silence
from sslmd.core.dane.tlsa import Combination
from sslmd.core.errors import Failure, Trouble
from sslmd.core.host.needs import Belonging
from sslmd.core.names import CertId, DomainName, SetName
from sslmd.core.state import (
    Ask,
    CertState,
    Delivered,
    FailedValidation,
    Issuance,
    Request,
    Server,
    ServerPhase,
    SetNote,
    TrialAsk,
    TrialKind,
    Unseen,
)
from sslmd.dns.before import Before
from sslmd.store.note_kinds import HostNote
from sslmd.store.state import HistoryEntry, Notes
from tests.reasons import because

AT = datetime(2026, 6, 1, 12, 30, 15, tzinfo=UTC)
LATER = datetime(2026, 6, 2, 1, 2, 3, 450067, tzinfo=UTC)
OLD, CURR, NEXT = (SetName(f"2026{month}01-00:00:0{month[1]}") for month in ("03", "04", "05"))
ODD = "“quoted” \"it\" 'is'\n[[history]]\n\ttab \\ \x1b[0m \x7f \x00 \r\n ü 猫 \u2028 end"
DIGESTS = frozenset({"00" * 10, "ab" * 10, "ff" * 10})

STATES = {
    "state-empty": Notes(),
    "state-settled": Notes(
        sets={
            CURR: SetNote(0.25, AT, "le-prod"),
            OLD: SetNote(-1.0),
        },
        state=CertState(
            rolled_at=LATER,
            advertised=CURR,
            deployed=CURR,
            settled=CURR,
            delivered=Delivered(CURR),
            servers=(
                Server(
                    "web",
                    "web1.example.net",
                    ServerPhase.PROVEN,
                    CURR,
                    since=AT,
                    proven=CURR,
                    access="0600 root root",
                    expires=LATER,
                    ports=(443, 8443),
                    seen=LATER,
                ),
                Server(
                    "smtp",
                    "localhost",
                    ServerPhase.RESTARTED,
                    CURR,
                    since=AT,
                    expires=LATER,
                    here=True,
                    restarted=CURR,
                    unseen=Unseen(because("no port of it is known"), meant=True),
                ),
                Server(
                    "other", "certs@far", ServerPhase.RESTARTED, CURR, unseen=Unseen(because(""))
                ),
            ),
        ),
    ),
    "state-busy": Notes(
        sets={
            CURR: SetNote(1.0, AT, "le-prod"),
            NEXT: SetNote(
                -0.123456789, LATER, ODD, new_key=True, at_end=True, unmet=("one wish", ODD, "")
            ),
        },
        state=CertState(
            advertised=OLD,
            deployed=CURR,
            settled=OLD,
            retired=(OLD, CURR),
            sighting=Sighting(
                NEXT,
                DIGESTS,
                7200.0,
                since=AT,
                waited=12.346,
                at=Instant("1b671a64-40d5-491e-99b0-da01ff1f3341", 1234567.891),
                silent=(
                    Silence("192.0.2.7 (ns1)", Instant("boot", 0.5)),
                    Silence(ODD, Instant("", 0)),
                ),
                missing=because("ns2 lacks it"),
                opens_at=LATER,
            ),
            delivered=Delivered(CURR, NEXT),
            servers=(
                Server("web", "a", ServerPhase.PENDING, error=ODD, attempts=7, next_try=LATER),
                Server("imap", "b", ServerPhase.DELIVERED, CURR, restarted=OLD),
                Server(
                    "web",
                    "c",
                    ServerPhase.FAILED,
                    NEXT,
                    "it serves another",
                    1,
                    AT,
                    AT,
                    CURR,
                    seen=AT,
                ),
            ),
            ask=Ask(Request.RENEW, LATER, force=True, reuse=True, replaces=NEXT, new_key=True),
            trouble=Trouble(3, Failure.TRANSIENT, ODD, AT, LATER, "0f" * 8, binding=True, ca="le"),
            delivery_trouble=Trouble(0, Failure.PERMANENT, "stopped", AT, AT, ""),
            failed=(
                FailedValidation("www.example.com", AT),
                FailedValidation("*.a.example", LATER),
            ),
            issued=(
                Issuance("0abc", "https://ca.example/dir", "17" * 8, AT),
                Issuance("", "", "", LATER),
            ),
            trial=TrialAsk(TrialKind.DRY_RUN, AT),
            trial_after=LATER,
            off_deck=OLD,
            adopted=True,
            whole=True,
        ),
    ),
    "state-asked": Notes(
        state=CertState(
            sighting=Sighting(None, frozenset(), 0.0),
            delivered=Delivered(None, NEXT),
            ask=Ask(Request.ROLL, AT, back=OLD, min_roll=timedelta(minutes=7, seconds=30)),
            trouble=Trouble(1, Failure.BUG, "KeyError: 'x'", AT, LATER, "f"),
            trial=TrialAsk(TrialKind.TEST, LATER),
        )
    ),
}
HISTORY = [
    HistoryEntry(AT, "rolled", str(CURR), "it is in use"),
    HistoryEntry(AT, "failed", "", ODD),
]

_MX1 = DomainName("_25._tcp.mx1.example.com")
_MX2 = DomainName("_465._tcp.mx2.example.com")
ZONES = {
    "zone-empty": ZoneNotes(),
    "zone-null": ZoneNotes(mx=(), mx_at=AT, known=frozenset(), null_mx=True),
    "zone-full": ZoneNotes(
        mx=(DomainName("mx1.example.com"), DomainName("mx.example.net")),
        mx_at=LATER,
        known=frozenset((_MX1, Combination(3, 1, match)) for match in (1, 2)),
        ttl=3600,
        signed=True,
        holders=frozenset({(_MX1, "example.com/mail"), (_MX2, "example.com/mail")}),
        fading=frozenset({(_MX1, "example.com/old"), (_MX2, "")}),
        longest={_MX1: 86_400, _MX2: 7},
        moved={_MX2: DomainName("_dane.example.com")},
    ),
}

HOSTS = {
    "host-empty": HostNote(),
    "host-full": HostNote(
        holds=frozenset({CertId("example.com", "web"), CertId("ca", "my-int")}),
        surplus=tuple(map(Belonging.noted, ("ca/my-root with its key", ODD))),
        visited=AT,
        prod="/etc/ssl-mgr/prod-certs",
        attempts=3,
        error=ODD,
        next_try=LATER,
        machine="0123456789abcdef:7",
        older=("/srv/old", "/srv/older"),
        kept=("/srv/kept",),
        same=("web1", "certs@web1.example.net"),
        more=17,
    ),
    "host-unvisited": HostNote(holds=frozenset({CertId("example.com", "web")}), machine="m"),
}

BEFORE = {
    "before-empty": {},
    "before-full": {
        "/etc/bind/tlsa.example.com": Before(bytes(range(256)), ("00" * 16, "ff" * 16), b""),
        "/srv/ü/tlsa.example.com": Before(None, ()),
        "/x": Before(b"; a\n", ("12" * 16,), b"_25._tcp.a. 60 IN TLSA 3 1 1 00\n"),
    },
}
