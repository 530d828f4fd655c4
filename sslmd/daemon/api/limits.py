"""What clients of the socket may cost: every limit, in one table (docs/socket-api.md shows it).

Root and the daemon's own user have places of their own and no share of the CPU to keep to: what
others use up, they do not miss. "Others" below are all other users together.
"""

from __future__ import annotations

from sslmd.wire.framing import MAX_MESSAGE

# --- connections ----------------------------------------------------------------------

# All together; each has a file handle and costs some 5 KB. Never more than a half of the handles
# that the process may have: keys, ssh and certbot need theirs.
CONNECTIONS = 1000
HANDLES = 0.5

# Of others, and of one of them. A monitoring system needs one or two.
CONNECTIONS_OF_OTHERS = 500
CONNECTIONS_OF_ONE = 64

# Connections taken in at a time, and seconds until the next ones while others have no CPU share
# left, or no file handle is free.
ACCEPTED = 64
ACCEPT_PAUSE = 0.01
ACCEPT_RETRY = 0.5

# --- requests -------------------------------------------------------------------------

# Requests under way: of one connection, and of one of the others (more wait for their turn).
PARALLEL = 8
PARALLEL_OF_ONE = 32

# Of these, `events` that follow (more are refused). Less, so that other requests have a place.
FOLLOWERS_OF_ONE = 16

# Long answers of others that are being made at a time: `show` reads files in threads, which orders
# need as well; `plan` and `dane` are lists of everything until they are sent.
MAKING = 2

# Characters of an `id`, or digits; arrays and objects in a request, nested or not.
ID = 200
BRACKETS = 100

# --- CPU ------------------------------------------------------------------------------

# Parts of a core that the work for others, and for one of them, gets in the long run, and seconds
# of work that may come at once. What is above that waits.
CPU_OF_OTHERS = 0.5
CPU_OF_ONE = 0.25
CPU_AT_ONCE = 0.5

# --- memory ---------------------------------------------------------------------------

# Bytes of requests that are not complete, or wait for their turn: of one of the others, of all.
INCOMING_OF_ONE = 4 * MAX_MESSAGE
INCOMING_OF_OTHERS = 16 * MAX_MESSAGE

# Bytes of answers that wait to be read; an answer that several clients get counts once. With what
# the kernel holds for 200 clients (`SOCKET_BUFFER`, which it doubles) below 64 MB.
WAITING_OF_ONE = 16 << 20
WAITING_OF_OTHERS = 24 << 20

# Bytes that the kernel takes of an answer in advance, for one of the others; it doubles that for
# itself. And bytes read or sent for a client before it is another one's turn.
SOCKET_BUFFER = 32 << 10
SLICE = 64 << 10

# --- time -----------------------------------------------------------------------------

# Seconds without a request; for a request from its first byte to its last; for an answer until it
# is read to its end. Then the connection is closed.
IDLE = 300.0
UNFINISHED = 60.0
STALLED = 60.0

# Seconds between looks whether a client that follows events is still there.
STILL_THERE = 5.0

# Seconds between two times that `dane` has the daemon ask name servers and ports of a zone.
ASKED_EVERY = 60.0


def rows() -> list[tuple[str, str, str, str]]:
    """Return the table: what, of one of the others, of all others, what happens beyond it."""
    refused, waits, closed = "refused (-32005)", "waits", "closed"
    return [
        (
            "connections",
            f"{CONNECTIONS_OF_ONE}",
            f"{CONNECTIONS_OF_OTHERS}, of all users {CONNECTIONS}; never more than "
            f"{HANDLES:.0%} of the file handles",
            f"{refused} and {closed}",
        ),
        (
            "requests under way",
            f"{PARALLEL_OF_ONE}, on one connection {PARALLEL}",
            "",
            waits,
        ),
        ("`events` with `follow`", f"{FOLLOWERS_OF_ONE}", "", refused),
        ("`show`, `plan`, `dane` being made at a time", "", f"{MAKING}", waits),
        (
            "CPU time of the daemon",
            f"{CPU_OF_ONE:.0%} of a core, {CPU_AT_ONCE:g} s at once",
            f"{CPU_OF_OTHERS:.0%}, {CPU_AT_ONCE:g} s at once",
            waits,
        ),
        (
            "bytes of requests that are not complete, or wait",
            _mib(INCOMING_OF_ONE),
            _mib(INCOMING_OF_OTHERS),
            f"{refused} and {closed}",
        ),
        (
            "bytes of answers that wait to be read (one that several get counts once)",
            _mib(WAITING_OF_ONE),
            _mib(WAITING_OF_OTHERS),
            refused,
        ),
        (
            "`dane`: name servers and ports of a zone are asked",
            "",
            f"every {ASKED_EVERY:g} s",
            "the last answer, with its age",
        ),
        ("a request", f"{_mib(MAX_MESSAGE)}, {BRACKETS} arrays and objects", "", refused),
        ("an `id`", f"{ID} printable characters or digits", "", refused),
        ("names in `certs`", "as many as there are certificates", "", refused),
        ("time without a request", f"{IDLE:g} s", "", closed),
        ("time from a request's first byte to its last", f"{UNFINISHED:g} s", "", closed),
        ("time until an answer is read to its end", f"{STALLED:g} s", "", closed),
    ]


def table() -> str:
    """Return the table as docs/socket-api.md has it."""
    head = ("what", "one user", "all users but root and the daemon's", "beyond it")
    lines = [head, ("---",) * 4, *rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _mib(number: int) -> str:
    return f"{number >> 20} MiB"
