"""Kinds of alarms, by name in `[[notify]] about`, `sslmctl silence` and metrics: never renamed.

Imports little: every `sslmctl` may load it.
"""

from __future__ import annotations

from enum import StrEnum


class AlarmKind(StrEnum):
    """What an alarm is about; where two are equally urgent, the first one here is told first."""

    REPLACE_NOW = "replace-now"  # its CA wants that, and will revoke it
    EXPIRY = "expiry"  # it does not renew, or its roll does not come
    NEVER_ISSUED = "never-issued"
    HELD = "held"  # left alone until its files are right or an admin decides
    KEYS = "keys"  # keys where they must not be
    DANE = "dane"
    NOT_SERVED = "not-served"
    HOST = "host"  # it is not reached
    NETWORK = "network"  # the network process
    ACCOUNT = "account"
    DISK = "disk"
    CLOCK = "clock"
    CONFIG = "config"  # a configuration was refused
    NOTES = "notes"  # they cannot be written
    NOTIFIER = "notifier"
    BLIND = "blind"  # what could not be looked at
    DH = "dh"
    UNUSED = "unused"  # no server uses the certificate
