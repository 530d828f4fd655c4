"""Why a service that somebody names is not looked after, though its file is there."""

from __future__ import annotations

import os

from sslmd.config.files import MAIN_FILE
from sslmd.config.model import Config


def why_absent(config: Config, group: str, service: str) -> str:
    """Return why the configuration leaves a service out; "" if it has no such service at all.

    `service` "" means the group as a whole. Both are names in the form of `core.names`.
    """
    main = config.conf_dir / MAIN_FILE
    if group in config.inactive:
        if not service or os.path.isfile(config.conf_dir / group / service):
            return f"its group is not active: set active = true in [[groups]] of {main}"
        return ""
    if not service or not os.path.isfile(config.conf_dir / group / service):
        return ""
    if group in config.groups:
        return f"its file is there, but `services` of its group in {main} does not list it"
    return f"its file is there, but no [[groups]] of {main} names its group"
