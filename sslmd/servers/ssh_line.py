"""The one way in which ssh is called, and rsync over it: no other command line of either is made.

The admin's configuration says how a host is reached: names, ports, keys, jump hosts. What it
cannot change is here: nothing of ours is lent to a host (agent, forwards, X11, Kerberos), nobody
is there to answer a prompt, only host keys that are known are accepted, and nothing is written.
A jump host is reached by an ssh of ssh's own, which takes none of these options: it sees what is
encrypted for the host behind it, and no more.
"""

from __future__ import annotations

import shlex
from enum import Enum

# Seconds: to connect; for a copy to begin to move.
CONNECT = 20
STALLED = 60

# Seen from the folder that ssh runs in: its whole path may be too long for a socket (unix(7)).
_SOCKET = "./ssh"

_OPTIONS = (
    "BatchMode=yes",
    f"ConnectTimeout={CONNECT}",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    # Keys go to whoever answers: no key is taken on trust, and the list of known ones is the
    # admin's to write.
    "StrictHostKeyChecking=yes",
    "NoHostAuthenticationForLocalhost=no",
    "UpdateHostKeys=no",
    # What would let a host act with our rights.
    "ForwardAgent=no",
    "AddKeysToAgent=no",
    "ForwardX11=no",
    "ForwardX11Trusted=no",
    "ClearAllForwardings=yes",
    "GSSAPIDelegateCredentials=no",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    # What would leave us without a shell to speak to, or hear more than it says (OpenSSH 8.7).
    "RequestTTY=no",
    "SessionType=default",
    "StdinNull=no",
    "ForkAfterAuthentication=no",
    "EscapeChar=none",
    "VisualHostKey=no",
    "LogLevel=ERROR",
)


class Connection(Enum):
    """Whose connection is used, as values of ControlMaster and ControlPath.

    `OWN`: it is opened, for others to use. `SHARED`: one that is open. `NONE`: nothing is sent.
    """

    OWN = ("yes", _SOCKET)
    SHARED = ("no", _SOCKET)
    NONE = ("no", "none")


def ssh_line(connection: Connection, *rest: str) -> list[str]:
    """Return the command line of ssh; it has to run in a folder that is ours alone."""
    master, path = connection.value
    ours = (f"ControlMaster={master}", f"ControlPath={path}", "ControlPersist=no")
    return ["ssh", *(word for one in (*_OPTIONS, *ours) for word in ("-o", one)), *rest]


def shell_line(host: str) -> list[str]:
    """Return the command line that opens a connection, and a POSIX shell at its end."""
    # Whatever shell is at home there.
    return ssh_line(Connection.OWN, "-T", "--", host, "exec /bin/sh -s")


def look_up_line(host: str) -> list[str]:
    """Return the command line that tells what the configuration says of a host."""
    return ssh_line(Connection.NONE, "-G", "--", host)


def rsync_line(host: str, source: str, target: str) -> list[str]:
    """Return the command line that copies a folder's content over the connection that is open."""
    bare = host.rpartition("@")[2]
    far = f"[{bare}]" if ":" in bare else bare
    user = f"{host.rpartition('@')[0]}@" if "@" in host else ""
    rsh = shlex.join(ssh_line(Connection.SHARED))
    return [
        *("rsync", "--recursive", "--protect-args", "--chmod=D700,F600"),
        *(f"--timeout={STALLED}", f"--rsh={rsh}", "--", f"{source}/", f"{user}{far}:{target}/"),
    ]
