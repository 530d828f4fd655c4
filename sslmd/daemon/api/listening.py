"""Where clients find the daemon: a socket that is narrow from birth, and never another's."""

from __future__ import annotations

import grp
import os
import socket
import stat
from contextlib import suppress

from sslmd.core.errors import Permanent
from sslmd.store import files
from sslmd.wire.messages import SOCKET_GROUP

SOCKET_MODE = 0o660

# Bytes of the path: unix(7), sun_path without the NUL at its end.
MAX_PATH = 107


def listen(path: str, backlog: int) -> socket.socket:
    """Return a socket that listens, and does not block; raise `Permanent` if it cannot be had."""
    length = len(os.fsencode(path))
    if length > MAX_PATH:
        raise Permanent(
            f"cannot listen on {path}: it has {length} bytes, and the path of a socket "
            f"at most {MAX_PATH}; name a shorter one with --socket"
        )
    files.make_dirs(os.path.dirname(path))
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)  # narrow from birth; widened when its group is set
    try:
        listener.bind(path)
    except OSError as err:
        listener.close()
        raise Permanent(
            f"cannot listen on {path}: {err.strerror or err}; name another with --socket"
        ) from err
    finally:
        os.umask(before)
    with suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(SOCKET_GROUP).gr_gid)
    os.chmod(path, SOCKET_MODE)
    listener.settimeout(0)
    listener.listen(backlog)
    return listener


def _remove_stale(path: str) -> None:
    """Remove the socket of a daemon that was killed; refuse one that still answers."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as err:
        raise files.trouble(err, "listen on", path) from err
    if not stat.S_ISSOCK(mode):
        # Connecting to a file is refused as to a dead socket: it would be removed as one.
        raise Permanent(
            f"{path} is in the way and no socket; move it away, or name another with --socket"
        )
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
        return
    except OSError as err:
        raise Permanent(
            f"{path} is in the way: {err.strerror or err}; remove it, or name another with --socket"
        ) from err
    finally:
        probe.close()
    raise Permanent(
        f"another sslmd answers on {path}; stop that one, or name another socket with --socket"
    )
