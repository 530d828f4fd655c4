"""Words for `Failed`: the network process, how it ended and what does not hold it."""

from __future__ import annotations

from collections.abc import Mapping

from sslmd.core.failed import Failed

_SAID = "[: {said}]"

_TAKEN = (
    " and did not get it; somebody that it asks may have taken it over: systemctl restart sslmd, "
    "and please report it with what the journal says"
)


_LET_IT = (
    "make its user by systemd-sysusers ({user}), and let the unit change to it, as the package's "
    "does: CapabilityBoundingSet=CAP_SETUID CAP_SETGID and SystemCallFilter=@setuid"
)

NET: Mapping[Failed, str] = {
    Failed.NET_GONE: (
        "the network process ended before it had an answer; the journal says why, and another one "
        "is started"
    ),
    Failed.NET_FAULT: (
        "the network process met a fault of its own ({fault} in {operation}); please report it "
        "with its trace in the journal[ ({more} more since this was last said)]"
    ),
    Failed.NET_FAULTY: "{times} times within an hour, {why}",
    Failed.NET_FORGED: (
        f"the network process asked for a signature that nothing under way needs ({{what}}){_TAKEN}"
        "[ ({more} more since this was last said)]"
    ),
    Failed.NET_FORGES: (
        "the network process asked {times} times within a day for signatures that nothing under "
        f"way needs (the last one: {{what}}){_TAKEN}"
    ),
    Failed.NET_DOWN: (
        "the network process does not run, so no name server, CA or port can be asked: it {why}"
    ),
    Failed.NET_ENDS: (
        "the network process ended {times} times within an hour; the last one {why}; please report "
        "it with what the journal says"
    ),
    Failed.NET_ENDED: (
        "the network process {why}; another one is started[ ({more} more ended since this was last "
        "said)]"
    ),
    Failed.NET_AGAIN: "the network process runs again",
    Failed.NET_NOT_STARTED: "cannot be started: {why}",
    Failed.NET_KILLED: f"was killed by {{signal}}{_SAID}",
    Failed.NET_EXITED: f"ended with status {{status}}{_SAID}",
    Failed.NET_SILENT: "did not answer for {seconds} s and was ended",
    Failed.NET_FILES: (
        "could not read a file of the resolver that was replaced (/etc/hosts, /etc/resolv.conf), "
        "and was ended"
    ),
    Failed.NET_NONSENSE: "sent what makes no sense ({said}) and was ended",
    Failed.NET_NOBODY: (
        "the network process has no user of its own and runs as nobody, which other programs may "
        "do too; make the user {user}: systemd-sysusers, then systemctl restart sslmd"
    ),
    Failed.NET_STAYS_ROOT: (
        "the network process runs as the daemon's own user, so only Landlock keeps it from keys; "
        f"{_LET_IT}"
    ),
    Failed.NET_ROOT_OPEN: (
        "the network process runs as the daemon's own user, and this kernel has no Landlock, so it "
        f"can read keys; {_LET_IT}"
    ),
    Failed.NET_OPEN: (
        "the network process can read what the daemon's user can, because this kernel has no "
        "Landlock (Linux 5.13 or later); run the daemon as root with the package's unit, which "
        "gives it another user"
    ),
}
