"""What certbot's failures mean, told from logs of real runs.

The logs in certbot_logs/ are of certbot 5.8 against Pebble 2.10, and against a small server that
answers what Pebble does not (limits, terms, CAA, broken proxies). Stack frames are taken out,
names made neutral, and whatever was signed is replaced by one text that must not come out again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmd.acme.certbot_log import MOST, MOST_DETAIL, read_log
from sslmd.acme.problems import StillProcessing, read_problem, to_error
from sslmd.acme.refusals import MOST_TEXT, Problem, ProblemKind, judged, limited
from sslmd.core.errors import Permanent, RateLimited, SslmError, Transient, ValidationFailed
from sslmd.core.failed import Failed
from sslmd.net.acme_messages import AcmeProblem

LOGS = Path(__file__).with_name("certbot_logs")
NAMES = sorted(path.stem for path in LOGS.glob("*.log"))
URL = "https://acme.example.test/dir"
NOW = datetime(2026, 11, 24, 12, 33, tzinfo=UTC)
SECRET = "c2VjcmV0LXRoYXQtaXMtbm90LXRvLWJlLXRvbGQtdG8tYW55Ym9keQ"


def log_of(name: str) -> str:
    return (LOGS / f"{name}.log").read_text()


def output_of(name: str) -> str:
    return (LOGS / f"{name}.out").read_text()


def problem_of(name: str) -> Problem:
    return read_problem(1, output_of(name), log_of(name), NOW, URL)


def error_of(name: str) -> SslmError:
    return to_error(problem_of(name), NOW)


def answered(status: int, body: str, *, headers: str = "", extra: str = "") -> str:
    """Return a log of one answer of the CA."""
    stamp = "2026-11-24 12:30:00,000:DEBUG:"
    return (
        f"{stamp}acme.client:Sending POST request to https://acme.example.test/order:\n"
        f'{{"payload": "{SECRET}"}}\n'
        f"{stamp}acme.client:Received response:\nHTTP {status}\nServer: nginx\n{headers}\n{body}\n"
        f"{extra}{stamp}certbot._internal.log:Exiting abnormally:\nTraceback (most recent …\n"
    )


def acme_error(code: str, detail: str, more: str = "") -> str:
    return f'{{"type": "urn:ietf:params:acme:error:{code}", "detail": "{detail}"{more}}}'


def read(log: str, output: str = "", status: int = 1) -> Problem:
    return read_problem(status, output, log, NOW, URL)


# --- names that were not validated ----------------------------------------------------------


def test_a_wrong_record() -> None:
    found = problem_of("dns-wrong")
    assert found.kind is ProblemKind.NOT_VALIDATED
    assert found.failed == ("a.example.test",)
    assert "Correct value not found for DNS challenge" in found.text
    assert found.text == (
        "the CA acme.example.test could not validate a.example.test: "
        "Correct value not found for DNS challenge (unauthorized)"
    )
    error = to_error(found, NOW)
    assert isinstance(error, ValidationFailed)
    assert error.names == ("a.example.test",)
    assert error.retry_at is None


def test_several_names_are_told_together_where_the_reason_is_the_same() -> None:
    error = error_of("several-names")
    assert isinstance(error, ValidationFailed)
    # The order of the CA; a wildcard's authorization names it without the star.
    assert set(error.names) == {
        "one.example.test",
        "two.example.test",
        "*.two.example.test",
        "three.example.test",
    }
    assert str(error).count("No TXT records found for DNS challenge (unauthorized)") == 1


def test_no_web_server() -> None:
    error = error_of("http-refused")
    assert isinstance(error, ValidationFailed)
    assert "connect: connection refused (connection)" in str(error)


@pytest.mark.parametrize("name", ["dns-wrong", "several-names", "http-refused"])
def test_without_a_log_the_console_tells_the_names(name: str) -> None:
    found = read_problem(1, output_of(name), "", NOW, URL)
    assert found.kind is ProblemKind.NOT_VALIDATED
    bare = {failed.removeprefix("*.") for failed in problem_of(name).failed}
    assert set(found.failed) == bare


def test_older_certbots_say_domain() -> None:
    said = "  Domain: a.example.test\n  Type:   dns\n  Detail: DNS problem: NXDOMAIN\n"
    assert read("", said).failed == ("a.example.test",)
    assert "DNS problem: NXDOMAIN" in read("", said).text


@pytest.mark.parametrize("code", ["caa", "dns", "tls", "connection", "incorrectResponse", "dnssec"])
def test_whatever_a_challenge_fails_of_it_may_pass(code: str) -> None:
    challenge = f'{{"type": "dns-01", "status": "invalid", "error": {acme_error(code, "Why")}}}'
    body = (
        '{"status": "invalid", "identifier": {"type": "dns", "value": "a.example.test"}, '
        f'"challenges": [{{"type": "http-01"}}, {challenge}]}}'
    )
    found = read(answered(200, body))
    assert isinstance(to_error(found, NOW), ValidationFailed)
    assert found.text.endswith(f"a.example.test: Why ({code})")


def test_an_authorization_counts_as_it_was_last_seen() -> None:
    def seen(status: str) -> str:
        name = '"identifier": {"type": "dns", "value": "a.example.test"}'
        return answered(200, f'{{"status": "{status}", {name}, "challenges": []}}').partition(
            "2026-11-24 12:30:00,000:DEBUG:certbot._internal.log"
        )[0]

    assert [bool(read(seen("pending") + seen(last)).failed) for last in ("valid", "invalid")] == [
        False,
        True,
    ]


def test_failed_names_are_told_even_if_the_ca_fails_after_that() -> None:
    body = '{"status": "invalid", "identifier": {"value": "a.example.test"}, "challenges": []}'
    first = answered(200, body).partition("2026-11-24 12:30:00,000:DEBUG:certbot._internal.log")[0]
    error = to_error(read(first + answered(500, acme_error("serverInternal", "Oops"))), NOW)
    assert isinstance(error, ValidationFailed)
    assert error.names == ("a.example.test",)
    assert "Oops" in str(error)


# --- limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("limited-header", NOW + timedelta(hours=2)),  # 7200 s, whatever the words say
        ("limited-words", datetime(2026, 11, 26, 3, 4, 5, tzinfo=UTC)),
        ("limited-untold", NOW + timedelta(hours=1)),
        ("busy-page", NOW + timedelta(minutes=2)),
    ],
)
def test_a_ca_that_limits_is_left_alone_until_then(name: str, when: datetime) -> None:
    error = error_of(name)
    assert type(error) is (RateLimited if "limited" in name else Transient)
    assert error.retry_at == when


def test_without_a_log_the_words_tell_until_when() -> None:
    found = read_problem(1, output_of("limited-words"), "", NOW, URL)
    assert found.kind is ProblemKind.LIMITED
    assert found.retry_at == datetime(2026, 11, 26, 3, 4, 5, tzinfo=UTC)
    assert "too many certificates (5) already issued" in found.text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 60),
        ("1", 60),
        ("999999999999999999999999", 7 * 86400),
        ("Tue, 24 Nov 2026 13:33:00 GMT", 3600),
        ("Tuesday, 24-Nov-26 13:33:00 GMT", 3600),
        ("Tue Nov 24 13:33:00 2026", 3600),
        ("Tue, 24 Nov 2020 13:33:00 GMT", 60),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 7 * 86400),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 7 * 86400),
        ("Sat, 01 Jan 0001 00:00:00 +2359", 60),
        ("soon", 3600),
        ("-5", 3600),
        ("", 3600),
        ("१२", 3600),
        ("Tue, 99 Nov 2026 25:61:61 GMT", 3600),
    ],
)
def test_retry_after_is_believed_within_limits(value: str, seconds: int) -> None:
    log = answered(429, acme_error("rateLimited", "Slow"), headers=f"retry-AFTER: {value}\n")
    assert read(log).retry_at == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("words", "when"),
    [
        ("retry after 2026-11-24 15:00:00 UTC: see", datetime(2026, 11, 24, 15, tzinfo=UTC)),
        ("retry after 2026-11-24T15:00:00.123Z", datetime(2026, 11, 24, 15, tzinfo=UTC)),
        ("retry after 2036-11-24 15:00:00 UTC", NOW + timedelta(days=7)),
        ("retry after 2026-11-24 12:00:00 UTC", NOW + timedelta(minutes=1)),
        ("retry after 2026-13-44 99:00:00 UTC", NOW + timedelta(hours=1)),
        ("retry after lunch", NOW + timedelta(hours=1)),
    ],
)
def test_the_words_of_lets_encrypt_name_a_time(words: str, when: datetime) -> None:
    assert read(answered(429, acme_error("rateLimited", words))).retry_at == when


def test_a_paused_account_needs_a_person_and_the_whole_link() -> None:
    link = "https://unpause.example.test/sfe/v1/unpause?jwt=" + "e" * 300
    detail = f"Your account is temporarily prevented from requesting … Please visit: {link}"
    error = to_error(read(answered(429, acme_error("rateLimited", detail))), NOW)
    assert isinstance(error, Permanent)
    assert link in str(error)


def test_a_server_error_without_a_time_has_none() -> None:
    for body in (acme_error("serverInternal", "Oops"), "<html>503</html>"):
        error = to_error(read(answered(503, body)), NOW)
        assert type(error) is Transient
        assert error.retry_at is None


# --- refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said", "remedy"),
    [
        (
            "rejected",
            'issuance is forbidden by policy: "www.blocked-domain',
            "out of the service's",
        ),
        ("bad-csr", "CSR is using a weak key (badCSR)", "change [KeyOpts] or [X509]"),
        ("bad-profile", 'unrecognized profile name "nosuch" (invalidPro', "ca_preferred_acme_pro"),
        ("bad-contact", "contact email has forbidden domain", "correct or remove email in [X509]"),
        ("eab-needed", "takes only accounts that are bound", "set ca_eab_kid and ca_eab_hmac_k"),
        (
            "eab-unknown",
            "references a key that is not known",
            "correct ca_eab_kid and ca_eab_hmac_",
        ),
        ("new-terms", "Terms of service have changed", "(https://ca.example/agree?1) (https://ca"),
        ("deactivated", 'has status "deactivated"', "sslmctl account deactivate"),
    ],
)
def test_refusals_name_the_way_out(name: str, said: str, remedy: str) -> None:
    error = error_of(name)
    assert isinstance(error, Permanent)
    assert said in str(error)
    assert remedy in str(error)


def test_subproblems_are_told_with_their_names() -> None:
    error = error_of("rejected-several")
    assert isinstance(error, Permanent)
    assert "www.example.test: Cannot issue: forbidden by policy; localhost: Domain" in str(error)


def test_caa() -> None:
    """A record that forbids needs a person; one that could not be looked up does not."""
    error = error_of("caa-order")
    assert isinstance(error, Permanent)
    assert "CAA record for www.example.test prevents issuance; example.test: While" in str(error)
    assert "let the CAA record name this CA" in str(error)
    for detail in ("SERVFAIL looking up CAA", "DNS problem: query timed out"):
        assert type(to_error(read(answered(403, acme_error("caa", detail))), NOW)) is Transient
    forbids = read(answered(403, acme_error("caa", "CAA record for a.test prevents issuance")))
    assert isinstance(to_error(forbids, NOW), Permanent)


@pytest.mark.parametrize(
    "code",
    ["badPublicKey", "badSignatureAlgorithm", "unsupportedIdentifier", "unsupportedContact",
     "externalAccountRequired", "alreadyRevoked", "userActionRequired", "badCSR", "invalidContact",
     "rejectedIdentifier", "invalidProfile", "malformed", "badRevocationReason",
     "autoRenewalCanceled", "autoRenewalExpired", "autoRenewalCancellationInvalid",
     "autoRenewalRevocationNotSupported", "unknownDelegation", "onionCAARequired"],
)  # fmt: skip
def test_errors_that_would_come_again(code: str) -> None:
    """Of the error types of RFC 8555 and later ones those that need a person."""
    found = read(answered(403, acme_error(code, "Why")))
    assert isinstance(to_error(found, NOW), Permanent)
    assert found.text.partition(f"({code}); ")[2]  # the way out


@pytest.mark.parametrize(
    "code",
    ["badNonce", "compound", "connection", "dns", "incorrectResponse", "orderNotReady",
     "rateLimited", "serverInternal", "tls", "unauthorized", "alreadyReplaced", "of-tomorrow"],
)  # fmt: skip
def test_errors_that_may_pass(code: str) -> None:
    assert isinstance(to_error(read(answered(403, acme_error(code, "Why"))), NOW), Transient)


@pytest.mark.parametrize(("status", "permanent"), [(400, True), (404, False), (500, False)])
def test_a_malformed_order_is_not_sent_again_and_one_that_is_gone_is(
    status: int, *, permanent: bool
) -> None:
    """One name covered by the wildcard beside it; an order that expired; a CA in trouble."""
    detail = 'Domain name \\"www.example.test\\" is redundant with a wildcard domain in the request'
    found = read(answered(status, acme_error("malformed", detail)))
    assert isinstance(to_error(found, NOW), Permanent if permanent else Transient)
    assert ("no name that a wildcard among them covers" in found.text) is permanent


def registering(status: int, code: str, *, bound: bool = False) -> Problem:
    """Read the log of an account that the CA refuses to make."""
    stamp = "2026-11-24 12:30:00,000:DEBUG:acme.client:"
    meta = ', "meta": {"externalAccountRequired": true}' if bound else ""
    listed = f'{{"newAccount": "https://acme.example.test/order"{meta}}}'
    directory = f"{stamp}Received response:\nHTTP 200\nServer: nginx\n\n{listed}\n"
    return read(directory + answered(status, acme_error(code, "No more accounts")))


def test_accounts_that_a_ca_does_not_make_name_the_way_out() -> None:
    """One account per EAB key; so many accounts per address."""
    for code in ("unauthorized", "malformed", "externalAccountRequired"):
        found = registering(403, code, bound=True)
        assert isinstance(to_error(found, NOW), Permanent)
        assert "ask the CA for one key per certificate" in found.text
    limited = registering(429, "rateLimited")
    assert limited.retry_at is not None
    assert "each certificate makes an account of its own" in limited.text


def test_a_compound_error_is_what_its_parts_are() -> None:
    part = acme_error("rejectedIdentifier", "No", ', "identifier": {"value": "a.example.test"}')
    found = read(answered(400, acme_error("compound", "Several", f', "subproblems": [{part}, 7]')))
    assert isinstance(to_error(found, NOW), Permanent)
    assert "Several: a.example.test: No (compound)" in found.text


def test_an_order_that_the_ca_is_still_at_work_on() -> None:
    """It is no trouble to order again for: another order would be one too many."""
    error = error_of("never-issued")
    assert isinstance(error, StillProcessing)
    assert error.order == "http://acme.example.test/never/order/1"
    assert error.retry_at is None
    document = '{"status": "processing", "finalize": "https://acme.example.test/f"}'
    ending = "acme.errors.TimeoutError\n"
    log = answered(200, document, headers="Retry-After: 7200\n") + ending
    error = to_error(read(log), NOW)
    assert isinstance(error, StillProcessing)
    assert error.retry_at == NOW + timedelta(hours=2)
    for other in (document.replace("processing", "ready"), document.replace("finalize", "x")):
        assert type(to_error(read(answered(200, other) + ending), NOW)) is Transient


def test_known_words_of_certbot() -> None:
    said = "Client with the currently selected authenticator does not support any combination of "
    found = read("", f"{said}challenges that will satisfy the CA.\n")
    assert isinstance(to_error(found, NOW), Permanent)
    assert "(a wildcard needs dns-01)" in found.text
    found = read("", "OSError: Could not find a suitable TLS CA certificate bundle, invalid path\n")
    assert "ca_server_root" in found.text


# --- the account ----------------------------------------------------------------------------


def test_an_account_that_the_ca_does_not_know() -> None:
    found = problem_of("account-lost")
    assert found.kind is ProblemKind.ACCOUNT_LOST
    assert "Account https://acme.example.test/my-account/396650af3b0ad8ff not found." in found.text
    assert type(to_error(found, NOW)) is Transient


def test_only_the_last_answer_counts() -> None:
    """certbot gets over a bad nonce by itself."""
    log = answered(400, acme_error("accountDoesNotExist", "x")).partition(":DEBUG:certbot")[0]
    later = answered(500, acme_error("serverInternal", "Oops"))
    assert read(f"{log}\n{later}").kind is ProblemKind.CA_TROUBLE
    assert read(f"{log}\n{answered(200, '{}')}").kind is ProblemKind.OTHER


# --- the CA in trouble, or out of reach -----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "ca-down",
            "the CA at https://acme.example.test/dir cannot be reached: Connection refused",
        ),
        ("unresolved", "at https://ca.invalid/dir cannot be reached: its name cannot be resolved"),
        (
            "untrusted",
            "cannot be reached: its certificate is not trusted (unable to get local issuer "
            "certificate); name the root of a private CA with ca_server_root",
        ),
        ("no-answer", "/slow/order cannot be reached: no answer within 45 s"),
    ],
)
@pytest.mark.parametrize("with_log", [True, False])
def test_out_of_reach(name: str, text: str, *, with_log: bool) -> None:
    found = read_problem(1, output_of(name), log_of(name) if with_log else "", NOW, URL)
    assert found.kind is ProblemKind.UNREACHABLE
    assert type(to_error(found, NOW)) is Transient
    assert text in found.text or not with_log
    assert text.partition("cannot be reached")[2] in found.text


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "ConnectionError: ('Connection aborted.', RemoteDisconnected('Remote end closed'))",
            "it closed the connection without an answer",
        ),
        (
            "ConnectionError: ('Connection aborted.', ConnectionResetError(104, 'Connection reset "
            "by peer'))",
            "Connection reset by peer",
        ),
        (
            "ConnectTimeout: HTTPSConnectionPool(host='a', port=443): Max retries exceeded with "
            "url: /dir (Caused by ConnectTimeoutError(<X>, 'Connection to a timed out. (connect "
            "timeout=45)'))",
            "no answer within 45 s",
        ),
        (
            "SSLError: HTTPSConnectionPool(host='a', port=443): Max retries exceeded with url: / "
            "(Caused by SSLError(SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong version number "
            "(_ssl.c:1006)')))",
            "TLS failed (wrong version number)",
        ),
        (
            "SSLError: X (Caused by SSLError(SSLCertVerificationError(1, \"[SSL: CERTIFICATE_"
            "VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not "
            "valid for 'a'. (_ssl.c:1006)\")))",
            "its certificate is not trusted (Hostname mismatch, certificate is not valid for 'a')",
        ),
        (
            "ProxyError: X (Caused by ProxyError('Unable to connect to proxy', NewConnectionError"
            "('X: Failed to establish a new connection: [Errno 113] No route to host')))",
            "by its proxy, No route to host",
        ),
        ("ReadTimeout", "cannot be reached: ReadTimeout"),
        ("TooManyRedirects: Exceeded 30 redirects.", "Exceeded 30 redirects."),
    ],
)  # fmt: skip
def test_reasons_in_plain_words(said: str, reason: str) -> None:
    found = read("", f"An unexpected error occurred:\nrequests.exceptions.{said}\nAsk for help …\n")
    assert found.kind is ProblemKind.UNREACHABLE
    assert reason in found.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bad-nonce", "JWS has an invalid anti-replay nonce"),
        ("order-invalid", "The CA could not issue: an internal error (serverInternal)"),
        ("forged-lines", "/text500/order answers 500 Internal Server Error"),
    ],
)
def test_trouble_of_the_ca(name: str, text: str) -> None:
    found = problem_of(name)
    assert found.kind is ProblemKind.CA_TROUBLE
    assert text in found.text
    assert type(to_error(found, NOW)) is Transient


def test_a_nonce_that_certbot_does_not_try_again_names_the_way_out() -> None:
    found = {name: problem_of(name).why.within() for name in ("bad-nonce", "order-invalid")}
    told = {name: Failed.CERTBOT_NONCE in (one.code for one in why) for name, why in found.items()}
    assert told == {"bad-nonce": True, "order-invalid": False}


# --- certbot itself -------------------------------------------------------------------------


def test_another_certbot() -> None:
    said = "Another instance of Certbot is already running.\nAsk for help or search for …\n"
    found = read("", said)
    assert found.kind is ProblemKind.ANOTHER_RUN
    assert type(to_error(found, NOW)) is Transient


def test_usage() -> None:
    said = (
        "usage: \n  certbot [SUBCOMMAND] [options] [-d DOMAIN] ...\n\nCertbot can obtain …\n"
        "certbot: error: unrecognized arguments: --eab-hmac-key=" + SECRET + "\n"
    )
    found = read("", said, status=2)
    assert found.kind is ProblemKind.USAGE
    assert found.text.endswith("unrecognized arguments: --eab-hmac-key=…")
    assert isinstance(to_error(found, NOW), Permanent)
    assert "it said nothing" in read("", "", status=2).text


def test_anything_else_is_told_in_its_last_lines() -> None:
    said = (
        "Saving debug log to /srv/x\nAccount registered.\nRequesting a certificate for a\n"
        "An unexpected error occurred:\nOSError: [Errno 28] No space left on device\n"
        "Ask for help or search for solutions at …\n"
    )
    found = read("", said)
    assert found.kind is ProblemKind.OTHER
    assert found.text == "certbot exited with 1: OSError: [Errno 28] No space left on device"
    assert type(to_error(found, NOW)) is Transient
    assert read("", "", status=-15).text == "certbot died of signal 15: it said nothing"
    assert "signal 9 (SIGKILL; the kernel" in read("", "", status=-9).text
    assert read("2026-11-24 12:30:00,000:ERROR:certbot._internal.log:No luck\n").text.endswith(
        "certbot exited with 1: No luck"
    )


# --- whatever stands there ------------------------------------------------------------------


def is_fit(found: Problem) -> bool:
    texts = [found.text, *found.failed]
    bounded = len(found.text) <= MOST_TEXT and all(len(t) <= MOST_DETAIL for t in texts[1:])
    return bounded and all(text and text.isprintable() for text in texts)


@pytest.mark.parametrize("name", NAMES)
def test_every_text_is_one_line_without_secrets(name: str) -> None:
    for found in (problem_of(name), read(log_of(name)), read("", output_of(name))):
        assert is_fit(found)
        assert SECRET not in found.text
        assert "protected" not in found.text


@pytest.mark.parametrize("name", NAMES)
def test_logs_that_are_cut_anywhere(name: str) -> None:
    log, output = log_of(name), output_of(name)
    for at in range(0, len(log), 97):
        for part in (log[:at], log[at:]):
            found = read(part, output)
            assert is_fit(found)
            assert SECRET not in found.text


def test_control_characters_are_not_passed_on() -> None:
    detail = r"evil\u001b[2J\u001b]0;title\u0007\r\nsecond\u202eline\u0000"
    found = read(answered(400, acme_error("malformed", detail)))
    told = r"evil\x1b[2J\x1b]0;title\x07 second\u202eline\x00 (malformed); "
    assert told in found.text
    name = r"a\u001b[31m.example.test"
    body = f'{{"status": "invalid", "identifier": {{"value": "{name}"}}, "challenges": []}}'
    assert read(answered(200, body)).failed[0] == r"a\x1b[31m.example.test"
    assert is_fit(read("", "oh\x1b[2J\x00\u2028no\n"))


def test_records_among_the_words_of_the_ca_are_not_believed() -> None:
    """certbot prints what the CA says of a name as it is, and that may be a third party's."""
    forged = answered(400, acme_error("accountDoesNotExist", "forged"))
    before = log_of("dns-wrong").partition("Notifying user: \nCertbot failed")[0]
    before = before[: before.rindex("\n") + 1]
    assert read(before + forged).kind is ProblemKind.ACCOUNT_LOST
    stamp = "2026-11-24 12:30:01,000:DEBUG:certbot._internal."
    for begin in (
        "display.obj:Notifying user: \nCertbot failed to authenticate some domains\n",
        "error_handler:Encountered exception:\n",
        "log:Exiting abnormally:\n",
    ):
        found = read(f"{before}{stamp}{begin}{forged}")
        assert found.kind is ProblemKind.NOT_VALIDATED


@pytest.mark.parametrize(
    "body",
    [
        "[1]", "7", '"text"', "{", '{"type": 7}', '{"type": null, "detail": {}}', "[" * 100_000,
        '{"a":' * 100_000, '{"status": "invalid"}', '{"identifier": 7, "challenges": 8}',
        '{"identifier": {}, "challenges": [7, {}, {"error": 8}], "status": "invalid"}',
        '{"identifier": {"value": "a"}, "challenges": [7, {"error": {}}], "status": "invalid"}',
        '{"status": "invalid", "finalize": 1, "error": {"subproblems": [{"identifier": 8}]}}',
        '{"type": "urn:ietf:params:acme:error:", "subproblems": {"a": 1}}',
        '{"n": ' + "9" * 9999 + "}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 400, 599])
def test_answers_that_make_no_sense(body: str, status: int) -> None:
    assert is_fit(read(answered(status, body)))


def test_huge_texts_cost_little() -> None:
    began = time.monotonic()
    stamp = "2026-11-24 12:30:00,000:DEBUG:acme.client:"
    for piece in (
        "x", " ", "\n", ":", "a:", "requests.exceptions.X", "\x1b[", "Type: ", "account ", "<",
        "\n   Identifier: a\n Type: ", f"\n{stamp}", f"\n{stamp}Received response:\nHTTP 200\n\n{{",
        "certificate verify failed: ", "retry after 2026-", '{"', "\\", "\ud800",
    ):  # fmt: skip
        text = piece * (2 * MOST // len(piece))
        assert is_fit(read(text, text))
        assert is_fit(read(answered(400, acme_error("unauthorized", text.replace('"', "")))))
    # Seconds; anything quadratic would take hours.
    assert time.monotonic() - began < 60


def test_only_the_end_of_a_log_is_read() -> None:
    lost = answered(400, acme_error("accountDoesNotExist", "x")).partition(":DEBUG:certbot")[0]
    assert len(read_log(lost).answers) == 1
    assert not read_log(lost + "\n" + "x" * MOST).answers


@settings(max_examples=300)
@given(st.integers(-64, 255), st.text(max_size=300), st.text(max_size=300), st.integers(0, 599))
def test_any_text(status: int, output: str, body: str, code: int) -> None:
    for log in (body, answered(code, body, headers=f"Retry-After: {output}\n")):
        found = read_problem(status, output, log, NOW, body)
        assert is_fit(found)
        assert isinstance(to_error(found, NOW), SslmError)


@pytest.mark.parametrize(
    ("detail", "limit"),
    [
        (
            "too many new orders (300) from this account in the last 3h0m0s, retry after …",
            ("orders", ""),
        ),
        (
            'too many certificates (50) already issued for "example.com" in the last 168h0m0s',
            ("domain", "example.com"),
        ),
        (
            "too many certificates (5) already issued for this exact set of identifiers in …",
            ("names", ""),
        ),
        (
            'too many failed authorizations (5) for "www.example.com" in the last 1h0m0s',
            ("failed", "www.example.com"),
        ),
        (
            'too many certificates (50) already issued for "2001:db8::/64" in the last 168h0m0s',
            ("domain", "2001:db8::/64"),
        ),
        (
            'too many failed authorizations (5) for "2001:db8::1" in the last 1h0m0s',
            ("failed", "2001:db8::1"),
        ),
        ("Service busy; retry later.", ("", "")),
    ],
)
def test_what_a_ca_has_too_much_of(detail: str, limit: tuple[str, str]) -> None:
    assert limited(AcmeProblem("acme", status=429, type="rateLimited"), detail) == limit
    made = AcmeProblem("acme", status=429, new_account=True)
    assert limited(made, detail) == ("accounts", "")


def test_a_ca_that_has_too_much_to_do_is_no_limit() -> None:
    """Let's Encrypt says `rateLimited` with 503 too; without a time it is asked again soon."""
    busy = AcmeProblem("acme", status=503, type="rateLimited", detail="Service busy; retry later.")
    assert type(to_error(judged(busy, "ca", NOW), NOW)) is Transient
    said = judged(replace(busy, retry_after="120"), "ca", NOW)
    assert (said.kind, said.retry_at) == (ProblemKind.LIMITED, NOW + timedelta(minutes=2))
    assert judged(replace(busy, status=429), "ca", NOW).retry_at == NOW + timedelta(hours=1)
