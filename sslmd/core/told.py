"""Codes of what is told: what happened to a certificate, and what the socket answers to an admin.

As all codes (`core.reason`) they are added, and never renamed.
"""

from __future__ import annotations

from sslmd.core.reason import Code


class Happened(Code):
    """What happened to a certificate."""

    KEY_MADE = "key-made"
    KEY_KEPT = "key-kept"
    NEW_ROOT = "new-root"
    NEW_CHAIN = "new-chain"
    CERT_ISSUED = "cert-issued"
    TLSA_SEEN = "tlsa-seen"
    TLSA_GONE = "tlsa-gone"
    TLSA_WAITS = "tlsa-waits"
    # the deck
    ROLLED = "set-rolled"
    PUT_BACK = "put-back"
    TAKEN_OFF = "taken-off"
    # servers
    PLACE = "place"
    DELIVERED = "in-production"
    RESTARTED = "restarted"
    RESTART_FAILED = "restart-failed"
    NOT_PROVEN = "not-proven"
    SERVER_SEEN = "server-seen"
    COPIED = "copied"
    COPIED_USED = "copied-and-used"
    COPY_FAILED = "copy-failed"
    RESTART_DUE = "restart-due"
    NO_SERVER_LEFT = "live-no-server-left"
    NO_SERVER = "live-no-server"
    SETTLED = "settled"
    # an admin's requests
    RENEW_ASKED = "renew-asked"
    ROLL_ASKED = "roll-asked"
    BACK_ASKED = "back-asked"
    DELIVERY_ASKED = "delivery-asked"
    RESTART_ASKED = "restart-asked"
    TRIAL_ASKED = "trial-asked"
    DROPPED = "ask-dropped"
    TRIAL_CANCELLED = "trial-cancelled"
    TRIAL_FAILED = "trial-failed"
    TRIAL_ENDED = "trial-ended"
    # beside its state
    COUNTED = "counted-as-failed"
    UNSAVED = "state-unsaved"
    RELEASED = "released"
    DANE_MISMATCH = "dane-mismatch"
    DANE_WELL = "dane-well"
