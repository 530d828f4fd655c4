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
    CA_WANTS = "ca-wants-it-replaced"
    CA_WITHDRAWS = "ca-withdraws"
    CA_SUGGESTS = "ca-suggests"
    CA_SILENT = "ca-silent"
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


class Doing(Code):
    """What is being done for a certificate at this moment, and how far that is."""

    MAKES_KEY = "makes-key"
    MAKES_CERT = "makes-cert"
    ORDERS = "orders"
    ROLLS = "rolls"
    PUTS_BACK = "puts-back"
    TAKES_OFF = "takes-off"
    DELIVERS = "delivers"
    PROVES = "proves"
    CLEANS = "cleans"
    CA_IS_MADE = "ca-is-made"
    # an order
    WAITS_FOR_PLACE = "waits-for-place"
    MAKES_ACCOUNT = "makes-account"
    ORDER_AT = "order-at"
    TAKES_UP = "takes-up"
    FINDS_ORDER = "finds-order"
    SAME_NAMES = "same-names"
    PUTS_CHALLENGES = "puts-challenges"
    NOT_SHOWN_YET = "not-shown-yet"
    ALL_SHOW_IT = "all-show-it"
    CA_VALIDATES = "ca-validates"
    # a trial, beside everything else
    OF_TRIAL = "of-trial"
    TRIAL_WAITS = "trial-waits"
    TRIAL_RUNS = "trial-under-way"


class Odd(Code):
    """What is odd in the files of a certificate."""

    LINK_ELSEWHERE = "link-elsewhere"
    LINK_ASTRAY = "link-astray"
    STATE_ASIDE = "state-set-aside"
    ALARMS_ASIDE = "alarms-set-aside"
    KEY_WAS_WIDE = "key-was-wide"
    CA_KEYS_IN_PRODUCTION = "ca-keys-in-production"


class Would(Code):
    """What a first start would do, and what is in its way (`sslmctl import --check`)."""

    # a certificate
    RENEWED = "would-be-renewed"
    NEW_ROOT = "would-be-new-root"
    NOT_YET = "would-wait"
    ROLLED = "would-be-rolled"
    ROLLS_AT = "would-roll-at"
    STAYS_FOR_NOW = "would-stay-for-now"
    RENEWS = "would-renew"
    SIGNS_ONLY = "would-sign-only"
    DROPS_ASK = "would-drop-ask"
    # its files
    REMOVE_NEXT = "would-remove-next"
    SET_ASIDE = "would-set-aside"
    CLOSE_KEY = "would-close-key"
    CLEAN = "would-clean"
    # production
    PUT_CURR = "would-put-curr"
    LINK_CURR = "would-link-curr"
    WRITE_CURR = "would-write-curr"
    REMOVE_PROD_NEXT = "would-remove-prod-next"
    LINK_NEXT = "would-link-next"
    REMOVE_SURPLUS = "would-remove-surplus"
    LEAVE_SURPLUS = "would-leave-surplus"
    WRITE_DH = "would-write-dh"
    # what is run
    VISIT = "would-visit"
    POST_COPY = "would-post-copy"
    RESTART = "would-restart"
    RELOAD_DNS = "would-reload-dns"
    # a zone
    OF_ZONE = "would-of-zone"
    TAKE_BACK = "would-take-back"
    WRITE_FILE = "would-write-file"
    WRITE_EMPTY = "would-write-empty"
    ADD_RECORD = "would-add-record"
    REMOVE_RECORD = "would-remove-record"
    MORE_RECORDS = "would-more-records"
    NOT_PUBLISH = "would-not-publish"
    NOTHING_YET = "would-give-nothing"
    ZONE_SLOW = "would-zone-slow"
    MX_OF_FILE = "would-mx-of-file"
    # what is odd, and what has to be fixed first
    WAS_HERE = "would-was-here"
    NEXT_UNFINISHED = "would-next-unfinished"
    NEXT_OLDER = "would-next-older"
    FAILED_BEFORE = "would-failed-before"
    ADMIN_DECIDES = "would-admin-decides"
    NOT_RENEWED = "would-not-renew"
    PRODUCTION_HAS_MORE = "would-production-has-more"
    SSL_MGR_WORKS = "would-ssl-mgr-works"
    READ_ONLY = "would-read-only"
    OF_CERT = "would-of-cert"


class Denied(Code):
    """Why the socket refuses a request, or does nothing for a certificate."""

    # the message
    BAD_MESSAGE = "bad-message"
    NOT_PERMITTED = "not-permitted"
    NOW_NOT_PERMITTED = "now-not-permitted"
    CONFIG_MISTAKES = "config-mistakes"
    INTERNAL = "internal-error"
    # what is named
    TOO_MANY_NAMES = "too-many-names"
    BAD_NAME = "bad-name"
    NOT_ACTIVE = "not-active"
    HOST_IN_CLASS = "host-in-class"
    HOST_IS_THIS = "host-is-this"
    HOST_NOT_KNOWN = "host-not-known"
    NO_CERT = "no-such-certificate"
    NO_GROUP = "no-such-group"
    NO_HOST = "no-such-host"
    NO_CLASS = "no-such-class"
    NO_CA = "no-such-ca"
    NO_ACCOUNT_THERE = "no-account-there"
    OWN_ACCOUNTS = "own-accounts"
    # parameters that do not go together
    ACCOUNT_OF_WHAT = "account-of-what"
    NOT_SURE = "not-sure"
    ONE_CERT = "one-certificate"
    ALL_WANTED = "all-wanted"
    NEW_KEY_WANTS = "new-key-wants"
    BACK_WANTS = "back-wants"
    TWO_TRIALS = "two-trials"
    TRIAL_REUSE = "trial-reuse"
    MIN_ROLL_WITH = "min-roll-with"
    MIN_ROLL_MOST = "min-roll-most"
    ACTION = "action"
    SILENCE_LENGTH = "silence-length"
    SILENCE_WHY = "silence-why"
    SILENCE_WHAT = "silence-what"
    NO_SILENCE = "no-silence"
    NO_NOTIFIER = "no-notifier"
    # renewing
    WEEK_USED = "week-used"
    GOING_BACK = "going-back"
    NOT_A_CA = "not-a-ca"
    CA_KEY_LOST = "ca-key-lost"
    TRIAL_RUNS = "trial-runs"
    TRIAL_LATER = "trial-later"
    NO_TEST_SERVER = "no-test-server"
    CA_OR_ALL = "ca-or-all"
    NOTHING_OF_CA = "nothing-of-ca"
    DRILL_REVOKED = "drill-revoked"
    # rolling
    NOTHING_ON_DECK = "nothing-to-roll"
    TOO_YOUNG = "too-young"
    NO_PREV = "no-prev"
    JUST_ROLLED = "just-rolled"
    CANNOT_GO_BACK = "cannot-go-back"
    ASKED_BEFORE = "asked-before"
    RENEWED_FIRST = "renewed-first"
    RENEWED_NOW = "renewed-now"
    ROLLED_NOW = "rolled-now"
    # delivering
    NOTHING_TO_DELIVER = "nothing-to-deliver"
    NOT_FOR_HOST = "not-for-host"
    # what a client may cost
    CLIENTS = "too-many-clients"
    CONNECTIONS = "too-many-connections"
    FOLLOWERS = "too-many-followers"
    INCOMING = "too-much-incoming"
    INCOMING_OF_OTHERS = "too-much-incoming-of-others"
    UNREAD = "too-much-unread"
    UNREAD_OF_OTHERS = "too-much-unread-of-others"
    TOO_SLOW = "too-slow"
    UNFINISHED = "unfinished"


class Answered(Code):
    """How far what an admin asked for has come, beside `Ended`."""

    PLACES = "places"
    SERVERS_FAILED = "servers-failed"
    SERVER_FAILED = "server-failed"
    WINDOW_OF = "window-of"
    DELIVERED = "delivered"
    RESTARTED = "class-restarted"
    NO_SERVER_HAS = "no-server-has"
    CONTACT_SET = "contact-set"
    ACCOUNT_SEEN = "account-seen"
    ACCOUNT_UNSEEN = "account-unseen"
    ACCOUNT_NOT_ASKED = "account-not-asked"
    ACCOUNT_CHANGING = "account-changing"
    KEY_CHANGED = "key-changed"
    DEACTIVATED = "deactivated"
    SHARED = "shared"
    REFRESHED = "refreshed"
    NOTHING_TO_REFRESH = "nothing-to-refresh"
    COMMAND_RUN = "command-run"
    # going back, and rolling before its time
    OFF_DECK = "goes-off-deck"
    RENEWED_AGAIN = "renewed-again"
    TOO_EARLY = "before-its-wait"
    ISSUED_BEFORE = "issued-before"
    # replacing
    FORECAST = "forecast"
    REPLACING = "replacing"
    DRILLING = "drilling"
    # taken back
    TRIAL_STOPPED = "trial-stopped"
    ROLL_DROPPED = "roll-dropped"
    RENEW_DROPPED = "renew-dropped"
    BACK_DROPPED = "back-dropped"
    RESTS_UNTIL = "rests-until"
    GONE = "stopped-and-gone"
    STOPPED = "stopped"
    TAKEN_BACK = "taken-back"


class Reported(Code):
    """What happened beside certificates: to the daemon, its configuration, hosts and groups."""

    # the daemon
    STARTED = "daemon-started"
    STOPPING = "daemon-stopping"
    CLOCK = "clock-was-set"
    NO_LOG = "no-log-file"
    # its configuration
    CONFIG_LOADED = "config-is-loaded"
    TABLE_NEW = "table-new"
    TABLE_GONE = "table-gone"
    TABLE_KEYS = "table-keys"
    TABLES_ORDER = "tables-order"
    CONFIG_STAYS = "config-stays"
    CONFIG_REFUSED = "config-refused-since"
    START_FAILS = "next-start-fails"
    GIVES_UP = "next-start-gives-up"
    NEEDS_START = "needs-restart"
    # messages
    NOTICE_SENT = "notice-is-sent"
    # hosts
    FORGOTTEN = "host-forgotten"
    REMOVED_THERE = "host-removed"
    NOT_REMOVED = "host-not-removed"
    HOLDS_UNKNOWN = "host-holds-unknown"
    HOLDS_UNNOTED = "host-holds-unnoted"
    # Diffie-Hellman groups
    DH_CHANGED = "dh-changed"
    DH_WRITTEN = "dh-file-written"
    DH_MADE = "dh-file-generated"
    DH_LINK = "dh-link"
    DH_AGAIN = "dh-tried-again"


class ToDo(Code):
    """What a row of the plan will do; beside the kinds of jobs of one certificate."""

    # of a certificate
    OF_KIND = "do-kind"
    ROLL = "do-roll"
    AGAIN = "do-again"
    RENEW = "do-renew"
    WAIT = "do-wait"
    # on hosts
    COPY = "do-copy"
    RESTART = "do-restart"
    SEE = "do-see"
    RUN_HERE = "do-run-here"
    REMOVE = "do-remove"
    # for zones
    PUBLISH = "do-publish"
    LOOK = "do-look"
    WATCH = "do-watch"
    CHALLENGES = "do-challenges"
    # for the daemon
    READ_HELD = "do-read-held"
    WRITE_NOTES = "do-write-notes"
    ASK_CA = "do-ask-ca"
    ALARMS = "do-alarms"
    NOTIFY = "do-notify"
    ALIVE = "do-alive"
    DH = "do-dh"
