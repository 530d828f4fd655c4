"""What is trouble with a certificate, and what is well: decided here once.

`sslmctl status`, `check`, `show` and `doctor`, the daemon's line in `systemctl status` and the exit
of `sslmd --once` all ask `troubles`. It is given what the answer to `status` says, and returns
kinds and facts. Sentences come last, from who shows them. Plain classes: every `sslmctl` loads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

# For type checkers alone: every `sslmctl` loads this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.core.reason import Reason

# Shares of a certificate's life that may be left, so that one of 6 days and one of 90 days are
# judged alike. Renewal is due at a third (half, under 10 days): both are far beyond it.
WARN_SHARE = 1 / 6
CRIT_SHARE = 1 / 10

# What is due is done within minutes, or fails and counts as an attempt.
OVERDUE = timedelta(days=1)

# Ports with TLSA records, and name servers, are compared every day: what is older says little.
STALE = timedelta(days=2)

# A server that nobody has seen using its certificate for so long is warned of: until then who sets
# it up has time to point it there.
UNSEEN = timedelta(days=1)


class Severity(IntEnum):
    """How bad it is; the numbers are the exit statuses of a Nagios plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


class TroubleKind(StrEnum):
    """What is wrong with a certificate."""

    UNUSABLE = "unusable"  # the set in use
    NO_CERT = "no-cert"
    EXPIRY = "expiry"
    REPLACE_NOW = "replace-now"  # its CA wants that, and will revoke it
    LATE_RENEWAL = "late-renewal"
    LATE_ROLL = "late-roll"
    FAILED = "failed"
    HELD = "held"
    NO_SERVER = "no-server"
    NOT_SEEN = "not-seen"  # servers that were restarted
    DANE = "dane"
    DANE_WARNING = "dane-warning"
    SERVER = "server"


# What failed and is not yet made good: `sslmd --once` exits with 1. The rest may be meant, or is a
# matter of time: `status` and the daemon's line in `systemctl status` count it too.
FAILURES = frozenset(
    {
        TroubleKind.UNUSABLE,
        TroubleKind.FAILED,
        TroubleKind.HELD,
        TroubleKind.DANE,
        TroubleKind.SERVER,
    }
)


# The network process, by the codes of `Failed`. Others of its codes are remarks: it is less apart
# from the daemon than it could be, and kept from keys all the same.
NETWORK: dict[str, Severity] = dict.fromkeys(
    ("net-down", "net-ends", "net-faulty", "net-forges", "net-root-open", "net-open"),
    Severity.WARNING,
)


class ServerStatus:
    """How far one server is, as `status` says it.

    `since`: when it was last dealt with. `ends`: when the certificate expires that it uses, as far
    as that is known.
    """

    __slots__ = ("attempts", "ends", "error", "host", "kind", "since", "state", "unseen", "why")

    def __init__(
        self,
        kind: str,
        host: str,
        state: str,
        *,
        error: str = "",
        attempts: int = 0,
        since: datetime | None = None,
        unseen: str | None = None,
        ends: datetime | None = None,
        why: Reason | None = None,
    ) -> None:
        """`unseen`: why nobody saw it using its certificate; None if seen, or never to be seen.

        `why`: the same as a reason, where that is known.
        """
        self.kind, self.host, self.state = kind, host, state
        self.error, self.attempts, self.since, self.unseen = error, attempts, since, unseen
        self.ends, self.why = ends, why

    @property
    def place(self) -> str:
        """What it is called."""
        return f"{self.kind} on {self.host}"

    @property
    def failed(self) -> bool:
        """Whether something went wrong that is not yet made good."""
        return self.state == "failed" or self.attempts > 0


class CertStatus:
    """How one certificate stands, as `status` says it.

    `begins` and `ends` are of the set in use, None without a certificate. `about`: what `error` is
    of, so that it is not said twice: `SET` (`unusable` says it), `REASON` (the daemon's reason says
    it), or a server's `place`; "" for anything else.
    """

    SET = "set"
    REASON = "reason"

    __slots__ = (
        *("about", "attempts", "begins", "dane", "ends", "error", "has_next", "is_made"),
        *("next_try", "renew_at", "replace_now", "roll_at", "servers", "unusable", "unused"),
    )

    def __init__(
        self,
        *,
        begins: datetime | None = None,
        ends: datetime | None = None,
        has_next: bool = False,
        is_made: bool = False,
        unusable: str = "",
        error: str = "",
        about: str = "",
        attempts: int = 0,
        next_try: datetime | None = None,
        renew_at: datetime | None = None,
        roll_at: datetime | None = None,
        unused: bool = False,
        replace_now: str = "",
        servers: Sequence[ServerStatus] = (),
        dane: tuple[Sequence[str], Sequence[str]] = ((), ()),
    ) -> None:
        """`is_made`: something is done for it now. `dane`: what turns clients away; what warns.

        `replace_now`: its CA wants it replaced at once.
        """
        self.begins, self.ends, self.has_next, self.is_made = begins, ends, has_next, is_made
        self.unusable, self.error, self.about = unusable, error, about
        self.attempts, self.next_try = attempts, next_try
        self.renew_at, self.roll_at, self.unused = renew_at, roll_at, unused
        self.servers, self.dane, self.replace_now = servers, dane, replace_now

    @property
    def is_coming(self) -> bool:
        """Whether the first certificate is being made, or on deck, and nothing has failed."""
        if self.ends is not None or self.unusable or self.attempts or self.error:
            return False
        return self.is_made or self.has_next


class CertTrouble:
    """One thing that is wrong. `text`: words of what failed; `at`: since or until when.

    `times`: failures in a row. `server`: where. `servers`: those that nobody saw.
    """

    __slots__ = ("at", "kind", "servers", "severity", "text", "times")

    def __init__(
        self,
        severity: Severity,
        kind: TroubleKind,
        text: str = "",
        *,
        at: datetime | None = None,
        times: int = 0,
        servers: Sequence[ServerStatus] = (),
    ) -> None:
        self.severity, self.kind, self.text = severity, kind, text
        self.at, self.times, self.servers = at, times, servers


class Limits:
    """When an expiry is near: shares of the life, or days where the user named them."""

    __slots__ = ("crit", "warn")

    def __init__(self, warn: timedelta | None = None, crit: timedelta | None = None) -> None:
        self.warn = warn
        self.crit = crit

    def severity(self, cert: CertStatus, now: datetime) -> Severity:
        """Judge by the time that is left."""
        if cert.ends is None:
            return Severity.OK if cert.is_coming else Severity.CRITICAL
        return self._at(cert.ends, cert, now)

    def at_server(self, server: ServerStatus, cert: CertStatus, now: datetime) -> Severity:
        """Judge a server that did not get a certificate by what is left of the one it uses."""
        ends = server.ends
        return Severity.OK if ends is None else self._at(ends, cert, now)

    def _at(self, ends: datetime, cert: CertStatus, now: datetime) -> Severity:
        if ends <= now:
            return Severity.CRITICAL
        life = cert.ends - cert.begins if cert.ends and cert.begins else timedelta(0)
        left = ends - now
        if left < (life * CRIT_SHARE if self.crit is None else self.crit):
            return Severity.CRITICAL
        if left < (life * WARN_SHARE if self.warn is None else self.warn):
            return Severity.WARNING
        return Severity.OK


BY_LIFE = Limits()


def troubles(cert: CertStatus, now: datetime, limits: Limits = BY_LIFE) -> list[CertTrouble]:
    """Return what is wrong with a certificate, the worst first; nothing where it is well."""
    return sorted(_troubles(cert, now, limits), key=lambda trouble: -trouble.severity)


def failed(cert: CertStatus, now: datetime) -> bool:
    """Whether something about a certificate failed and is not yet made good."""
    return any(trouble.kind in FAILURES for trouble in _troubles(cert, now, BY_LIFE))


def unseen_servers(cert: CertStatus, now: datetime, *, long: bool) -> list[ServerStatus]:
    """Return the servers that nobody saw using it: for longer than `UNSEEN`, or not so long."""
    return [
        server
        for server in cert.servers
        if server.unseen is not None
        and (server.since is not None and now - server.since > UNSEEN) is long
    ]


def _troubles(cert: CertStatus, now: datetime, limits: Limits) -> Iterator[CertTrouble]:
    warning = Severity.WARNING
    expiry = limits.severity(cert, now)
    if cert.unusable and cert.about != cert.SET:
        yield CertTrouble(max(expiry, warning), TroubleKind.UNUSABLE, cert.unusable)
    if cert.ends is not None and expiry:
        yield CertTrouble(expiry, TroubleKind.EXPIRY, at=cert.ends)
    elif cert.ends is None and expiry and not cert.unusable:
        yield CertTrouble(expiry, TroubleKind.NO_CERT)
    if cert.replace_now:
        yield CertTrouble(Severity.CRITICAL, TroubleKind.REPLACE_NOW, cert.replace_now)
    due, kind = cert.renew_at, TroubleKind.LATE_RENEWAL
    if cert.has_next:
        due, kind = cert.roll_at, TroubleKind.LATE_ROLL
    if due and now - due > OVERDUE:
        yield CertTrouble(warning, kind, at=due)
    if cert.attempts:
        times, text, at = cert.attempts, cert.error, cert.next_try
        failing = next((one for one in cert.servers if one.place == cert.about), None)
        severity = limits.at_server(failing, cert, now) if failing is not None else warning
        yield CertTrouble(max(severity, warning), TroubleKind.FAILED, text, at=at, times=times)
    elif cert.error:
        # It is left alone, so nobody renews it; or the failure is a server's.
        yield CertTrouble(warning, TroubleKind.HELD, cert.error, at=cert.next_try)
    if cert.unused:
        yield CertTrouble(warning, TroubleKind.NO_SERVER)
    if unseen := unseen_servers(cert, now, long=True):
        yield CertTrouble(warning, TroubleKind.NOT_SEEN, servers=unseen)
    wrong, warnings = cert.dane
    for text in wrong:
        yield CertTrouble(Severity.CRITICAL, TroubleKind.DANE, text)
    for text in warnings:
        yield CertTrouble(warning, TroubleKind.DANE_WARNING, text)
    for server in cert.servers:
        if server.failed and server.place != cert.about:
            severity = max(limits.at_server(server, cert, now), warning)
            yield CertTrouble(severity, TroubleKind.SERVER, server.error, servers=(server,))
