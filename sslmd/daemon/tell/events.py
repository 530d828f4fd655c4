"""The kinds of events: how much each matters, and what it means.

Their MESSAGE_IDs follow from the names and so never change. `python -m sslmd.daemon.tell.events
FILE` writes the table of docs/operations.md again.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# syslog(3) priorities
ERROR = 3
WARNING = 4
NOTICE = 5
INFO = 6
DEBUG = 7

_MESSAGE_SPACE = uuid.UUID("5a6f2f0e-5b0c-4b43-9d0b-6c3f7f1d2a90")
_BEGIN, _END = "<!-- events: begin -->\n", "<!-- events: end -->"


@dataclass(frozen=True, slots=True)
class EventKind:
    """What a kind of event means, and its priority; `at_times`: another that some have."""

    priority: int
    meaning: str
    at_times: int | None = None

    @property
    def priorities(self) -> tuple[int, ...]:
        """Every priority that an event of this kind can have."""
        return (self.priority,) if self.at_times is None else (self.priority, self.at_times)


EVENTS: Mapping[str, EventKind] = {
    "started": EventKind(
        NOTICE,
        "the daemon is ready",
    ),
    "stopping": EventKind(
        NOTICE,
        "it ends, as it was asked to",
    ),
    "config-loaded": EventKind(
        NOTICE,
        "a reload was taken",
    ),
    "config-refused": EventKind(
        ERROR,
        "a reload was refused: a line for each mistake",
    ),
    "config-warning": EventKind(
        WARNING,
        "something in the configuration is odd, or `logdir` cannot be written",
    ),
    "notice-sent": EventKind(
        NOTICE,
        "a notifier took a message",
    ),
    "notice-failed": EventKind(
        WARNING,
        "a notifier did not; it is tried again",
    ),
    "alive-failed": EventKind(
        WARNING,
        "no sign of life could be given, the first time in a row (`alive_url`, `alive_command`)",
    ),
    "silence": EventKind(
        NOTICE,
        "an admin wants no messages about something",
    ),
    "silence-ended": EventKind(
        NOTICE,
        "an admin wants them again",
    ),
    "clock-jumped": EventKind(
        WARNING,
        "the clock was set, or the machine slept; everything is planned again",
    ),
    "tree-remark": EventKind(
        WARNING,
        (
            "something in the tree was not as it should be: a key that others could read, a "
            "link to nowhere, a bad `state.toml`"
        ),
    ),
    "held": EventKind(
        ERROR,
        ("a certificate is left alone, or a CA is not what its service file asks for, and why"),
    ),
    "released": EventKind(
        NOTICE,
        "what was said by `held` is over",
    ),
    "job-started": EventKind(
        DEBUG,
        "a job begins",
    ),
    "key-made": EventKind(
        INFO,
        "a new set has its key and request",
        at_times=WARNING,
    ),
    "cert-issued": EventKind(
        NOTICE,
        "a new set has its certificate",
    ),
    "ca-wants": EventKind(
        ERROR,
        (
            "a CA wants a set replaced now, which it will revoke: it is renewed and rolled at "
            "once; or it no longer wants that (then priority 5)"
        ),
        at_times=NOTICE,
    ),
    "ca-suggests": EventKind(
        INFO,
        (
            "a CA has not said for two days when to renew a set, which is renewed by days; or it "
            "says so for the first time, or another time (then priority 7)"
        ),
        at_times=DEBUG,
    ),
    "advertised": EventKind(
        INFO,
        (
            "a set on deck does not wait for TLSA records any more: they were seen for long "
            "enough, or none are wanted (then priority 7)"
        ),
        at_times=DEBUG,
    ),
    "put-back": EventKind(
        NOTICE,
        "an older set is on deck again, as an admin asked",
    ),
    "taken-off": EventKind(
        NOTICE,
        (
            "the set is off the deck again: the request was cancelled, or the set cannot be "
            "used any more"
        ),
    ),
    "rolled": EventKind(
        NOTICE,
        "a set is the new `curr`; says which waits an admin set aside",
    ),
    "delivered": EventKind(
        INFO,
        "the production tree is up to date",
    ),
    "copied": EventKind(
        INFO,
        "a server on another machine has the set now",
    ),
    "copy-failed": EventKind(
        WARNING,
        "it could not be copied: why, and the next try",
    ),
    "withdrawn": EventKind(
        INFO,
        "certificates that do not belong on a host any more were removed there",
    ),
    "surplus": EventKind(
        WARNING,
        ("files on a host that do not belong there, and that sslmd did not put there (`prune`)"),
    ),
    "forgotten": EventKind(
        INFO,
        "a host that is in no class any more is forgotten, as an admin asked",
    ),
    "host-trouble": EventKind(
        WARNING,
        "what a host holds cannot be noted, or a visit that was to tidy up failed",
    ),
    "restart-due": EventKind(
        INFO,
        "a server class is to be restarted because TLSA records changed (`depends`)",
    ),
    "restarted": EventKind(
        INFO,
        (
            "a server class was restarted, and its probes have seen the new certificate; or "
            "why nobody has"
        ),
    ),
    "restart-failed": EventKind(
        WARNING,
        ("the restart failed, or the server does not serve the certificate: why, and the next try"),
    ),
    "seen": EventKind(
        INFO,
        "a server that was restarted before is seen serving the certificate",
    ),
    "probe-left-out": EventKind(
        INFO,
        ("a default port serves another certificate of ours, and so does not count for this one"),
    ),
    "deployed": EventKind(
        INFO,
        "every server uses `curr`",
    ),
    "settled": EventKind(
        DEBUG,
        "a roll is over, old sets are cleaned up",
    ),
    "asked": EventKind(
        NOTICE,
        "an admin's request was accepted",
    ),
    "ask-dropped": EventKind(
        NOTICE,
        "a request needs nothing, or was cancelled",
    ),
    "attempt-failed": EventKind(
        ERROR,
        "a job failed: why, how often, the next try",
    ),
    "order-progress": EventKind(
        INFO,
        "how far an order is: which record is still missing on which name server",
    ),
    "trial-ended": EventKind(
        NOTICE,
        "`renew --test` or `--dry-run`: the test server issues it",
    ),
    "trial-failed": EventKind(
        WARNING,
        "the test server does not issue it, and why",
    ),
    "dns-published": EventKind(
        INFO,
        "a zone's challenge records were written, or taken away",
    ),
    "tlsa-published": EventKind(
        INFO,
        "a zone's TLSA records were given to DNS, and why",
    ),
    "tlsa-waits": EventKind(
        INFO,
        "a set on deck waits for its TLSA records: what is missing where",
    ),
    "tlsa-seen": EventKind(
        INFO,
        (
            "every name server shows the TLSA records of a set on deck: the wait before the "
            "roll begins"
        ),
    ),
    "tlsa-lost": EventKind(
        WARNING,
        "a name server does not show them any more: the wait begins again",
    ),
    "tlsa-gone": EventKind(
        INFO,
        "no cache holds the records any more that were withdrawn",
    ),
    "tlsa-trouble": EventKind(
        ERROR,
        "TLSA records cannot be published or looked at, or a zone is not fit for DANE",
        at_times=WARNING,
    ),
    "dane-mismatch": EventKind(
        ERROR,
        (
            "what DNS shows and what a port serves do not fit: clients that check DANE are "
            "turned away"
        ),
    ),
    "dane-well": EventKind(
        INFO,
        "DNS, ports and keys fit again",
    ),
    "account-made": EventKind(
        INFO,
        "an account was made at a CA: for all its certificates, or for one that has its own",
    ),
    "account-changed": EventKind(
        INFO,
        "an admin gave an account at a CA another key or contact, shared or ended it",
    ),
    "ca-remark": EventKind(
        WARNING,
        (
            "a CA did otherwise than asked: it does not have the profile or the chain that is "
            "preferred"
        ),
    ),
    "order-trouble": EventKind(
        WARNING,
        (
            "something beside an order: old challenges could not be taken away, an account "
            "was lost, a name loses what a wildcard gives it while its challenge is in DNS"
        ),
    ),
    "dh-written": EventKind(
        INFO,
        "Diffie-Hellman groups were written or generated, or their link led elsewhere",
    ),
    "dh-trouble": EventKind(
        WARNING,
        "Diffie-Hellman groups could not be written: why; it is tried again every day",
    ),
    "state-unsaved": EventKind(
        WARNING,
        "a `state.toml` could not be written; it is tried again",
    ),
    "network-process": EventKind(
        WARNING,
        "the network process ended, and how; it runs again; it is less apart than it could be",
    ),
    "network-trace": EventKind(
        WARNING,
        "a line of what the network process wrote, as a rule a trace of a fault of its own",
    ),
    "bug": EventKind(
        ERROR,
        "an error of sslmd's own, with its traceback; please report it",
    ),
}


def message_id(event: str) -> str:
    """Return the MESSAGE_ID of a kind of event, 32 hexadecimal digits (journald's form)."""
    return uuid.uuid5(_MESSAGE_SPACE, event).hex


def table() -> str:
    """Return the table of the manual."""
    lines = ["| event | MESSAGE_ID | priority | when |", "| --- | --- | --- | --- |"]
    for name, kind in EVENTS.items():
        priorities = ", ".join(map(str, kind.priorities))
        lines.append(f"| `{name}` | `{message_id(name)}` | {priorities} | {kind.meaning} |")
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Write the table into the file that is named."""
    path = Path(sys.argv[1])
    before, begin, rest = path.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    path.write_text(before + begin + table() + end + after)


if __name__ == "__main__":
    main()
