"""`sslm-auth-hook`: certbot's auth and clean-up hook of the orders that sslmd runs.

It hands the challenge to the daemon and waits for its word. certbot offers a challenge to the CA
whatever its hook says, so where the daemon is lost the hook ends certbot's whole process group:
nothing is validated that nobody has seen in place (I8). Imports little: it runs for every name.

certbot tells by its environment (https://eff-certbot.readthedocs.io, "Pre and Post Validation
Hooks"), sslmd by `SSLM_ORDER`, the order's secret name, and `SSLM_GROUP`, certbot's group.
"""

from __future__ import annotations

import os
import signal
import sys

from sslmd.console.client import DaemonClient
from sslmd.console.program import FAILED, USAGE, CtlError, NoDaemon
from sslmd.console.text import complain, printable
from sslmd.wire.messages import SOCKET_ENV, SOCKET_PATH, Method

ACTIONS = ("auth", "cleanup")

# Seconds for the daemon's greeting: one that loads 10,000 certificates anew is no lost one.
PATIENCE = 60.0


def main() -> int:
    """Hand over one challenge; return 0 when the CA may look for it."""
    action = sys.argv[1] if len(sys.argv) == 2 else ""
    order, name = os.environ.get("SSLM_ORDER", ""), os.environ.get("CERTBOT_IDENTIFIER", "")
    name = name or os.environ.get("CERTBOT_DOMAIN", "")
    if action not in ACTIONS or not order or not name:
        complain(
            "sslm-auth-hook is called by the certbot that sslmd runs, as `sslm-auth-hook auth` and "
            "`sslm-auth-hook cleanup`; there is nothing to do with it by hand"
        )
        return USAGE
    left = os.environ.get("CERTBOT_REMAINING_CHALLENGES", "")
    params = {
        "order": order,
        "action": action,
        "name": name,
        "value": os.environ.get("CERTBOT_VALIDATION", ""),
        "token": os.environ.get("CERTBOT_TOKEN", ""),
        "remaining": int(left) if left.isascii() and left.isdecimal() else 0,
    }
    try:
        with DaemonClient(os.environ.get(SOCKET_ENV) or SOCKET_PATH, PATIENCE) as daemon:
            daemon.call(Method.CHALLENGE, params, timeout=None)
    except CtlError as err:
        complain(f"sslm-auth-hook: {printable(err.text)}")
        # The group that we are in, if it is the one that sslmd started for the order.
        is_ours = os.environ.get("SSLM_GROUP", "") == str(os.getpgrp())
        if isinstance(err, NoDaemon) and action == "auth" and is_ours:
            os.killpg(os.getpgrp(), signal.SIGKILL)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
