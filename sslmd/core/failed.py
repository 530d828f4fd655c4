"""Codes of failures: what CAs, certbot, name servers and resolvers did not do, and the ways out.

Closed, as all of `core.reason`.
"""

from __future__ import annotations

from sslmd.core.reason import Code


class Failed(Code):
    """What failed, of a CA, certbot or DNS; some ways out have codes of their own."""

    # an ACME CA
    CA_SAYS = "ca-says"
    CA_ANSWERS = "ca-answers"
    CA_REDIRECTS = "ca-redirects"
    CA_NO_SUCH_PLACE = "ca-no-such-place"
    CA_UNREACHABLE = "ca-unreachable"
    NO_DIRECTORY = "no-directory"
    CA_ROOT_UNUSABLE = "ca-root-unusable"
    NOT_VALIDATED = "not-validated"
    NAMES_NOT_VALIDATED = "names-not-validated"
    STILL_PROCESSING = "still-processing"
    NOT_ISSUED_IN_TIME = "not-issued-in-time"
    NOT_LOOKED_IN_TIME = "not-looked-in-time"
    EAB_WANTED = "eab-wanted"
    VALIDATION_NOT_OFFERED = "validation-not-offered"
    CA_ROOT_MISSING = "ca-root-missing"
    # certbot
    CERTBOT_USAGE = "certbot-usage"
    CERTBOT_ANOTHER = "certbot-another"
    CERTBOT_TOO_MUCH = "certbot-too-much"
    CERTBOT_EXITED = "certbot-exited"
    CERTBOT_DIED = "certbot-died"
    LIMIT_CPU = "limit-cpu"
    LIMIT_FILE_SIZE = "limit-file-size"
    LIMIT_MEMORY = "limit-memory"
    LIMIT_FILES = "limit-files"
    LIMIT_PROCESSES = "limit-processes"
    # a zone's name servers, and resolvers
    NO_ADDRESSES = "no-addresses"
    NO_ADDRESS = "no-address"
    PRIMARY_SILENT = "primary-silent"
    PRIMARY_NO_NS = "primary-no-ns"
    CNAMES_LONG = "cnames-long"
    CNAME_NO_HOST = "cname-no-host"
    NOBODY_TELLS = "nobody-tells"
    CAA_UNKNOWN = "caa-unknown"
    CAA_CNAMES_LONG = "caa-cnames-long"
    # publishing challenges
    NO_WAY_TO_PUBLISH = "no-way-to-publish"
    NO_ACME_DIR = "no-acme-dir"
    # dynamic update
    PRIMARY_NO_ADDRESS = "primary-no-address"
    UPDATE_UNANSWERED = "update-unanswered"
    UPDATE_NONSENSE = "update-nonsense"
    UPDATE_UNSIGNED = "update-unsigned"
    UPDATE_CLOCKS = "update-clocks"
    UPDATE_KEY = "update-key"
    UPDATE_FAILED = "update-failed"
    KEY_MISSING = "key-missing"
    KEY_BAD_NAME = "key-bad-name"
    KEY_NOT_BASE64 = "key-not-base64"
    KEY_ALGORITHM = "key-algorithm"
    KEY_NONE = "key-none"
    KEY_OTHERS = "key-others"
    KEY_EMPTY = "key-empty"
    # the network process
    NET_GONE = "net-gone"
    # why a CA cannot be reached
    NOT_TRUSTED = "not-trusted"
    TLS_FAILED = "tls-failed"
    NO_ANSWER = "no-answer"
    UNRESOLVED = "unresolved"
    CUT_SHORT = "cut-short"
    NOT_ANSWERED = "not-answered"
    NOT_HTTP = "not-http"
    BY_PROXY = "by-proxy"
    # the way out of what a CA refuses
    FIX_ACCOUNT = "fix-account"
    FIX_AGREE = "fix-agree"
    FIX_CAA = "fix-caa"
    FIX_CSR = "fix-csr"
    FIX_DEAD_ACCOUNT = "fix-dead-account"
    FIX_EAB = "fix-eab"
    FIX_EAB_ACCOUNT = "fix-eab-account"
    FIX_EMAIL = "fix-email"
    FIX_KEY = "fix-key"
    FIX_NAMES = "fix-names"
    FIX_NAMES_ONION = "fix-names-onion"
    FIX_NAMES_PROFILE = "fix-names-profile"
    FIX_NO_DELEGATION = "fix-no-delegation"
    FIX_PROFILE = "fix-profile"
    FIX_REQUEST = "fix-request"
    FIX_REVOKED = "fix-revoked"
    FIX_REVOCATION = "fix-revocation"
    MANY_ACCOUNTS = "many-accounts"
