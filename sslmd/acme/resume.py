"""Take up an order that was cut short after its challenges were validated (I5).

    resume.py SERVER ACCOUNT_DIR ORDER_URL FOLDER PREFERRED_CHAIN [offered]

certbot cannot: it begins every run with a new order. So that a daemon killed at the wrong moment
does not order a certificate twice, this fetches the old one (RFC 8555 §7.4), with the account and
the CSR that certbot used, and leaves the same files as certbot would. A program of its own: the
`acme` library would cost the daemon more memory than all its certificates.

Exit status: 0 it is there, 3 there is nothing to take up (it was not validated yet, or the CA does
not know it), 4 it is invalid, 5 the CA is still at work on it (with its Retry-After on stdout), 1
anything else, with the reason on stderr: it may be there later.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from typing import Any

import requests
from acme import client, errors, messages
from certbot import crypto_util
from josepy.jwa import ES256, ES384, ES512, RS256
from josepy.jwk import JWK, JWKEC
from requests.adapters import HTTPAdapter

NOTHING = 3
INVALID = 4
PROCESSING = 5

# RFC 8555 §6.7: what a CA says of an order or an account that it does not know.
_UNKNOWN = frozenset({"malformed", "unauthorized", "accountDoesNotExist", "notFound"})

# Seconds for the CA to validate what was offered to it, and between looks.
VALIDATING = 30
PAUSE = 1.0

# Seconds for the CA to make the certificate. Who takes longer is asked again later: an order that
# waits here keeps its place from others.
WORKING = 10.0
DEADLINE = 60  # for the certificate to be fetched

# Bytes of one answer; chains have 10 kB.
MOST = 1 << 20

# How often a request whose nonce the CA refuses is made again. The library does so once; but then
# the certificate that the CA has made would have to be ordered again (I14).
NONCES = 8

# RFC 7518 §3.1: what signs with which kind of account key.
_ALGORITHMS = {256: ES256, 384: ES384, 521: ES512}


def main(argv: list[str]) -> int:
    """Do it; return the exit status."""
    server, account, order, folder, preferred, *offered = argv
    acme = _client(server, account)
    csr = _read(f"{folder}/csr.pem")
    try:
        body, _ = _order(acme, order)
        end = time.monotonic() + (VALIDATING if offered else 0)
        while body.status == messages.STATUS_PENDING and time.monotonic() < end:
            time.sleep(PAUSE)
            body, _ = _order(acme, order)
    except messages.Error as err:
        sys.stderr.write(f"the order is not to be had: {err.detail}\n")
        return NOTHING if err.code in _UNKNOWN else 1
    resource = messages.OrderResource(body=body, uri=order, csr_pem=csr, authorizations=[])
    deadline = datetime.datetime.now() + datetime.timedelta(seconds=DEADLINE)  # noqa: DTZ005  (acme's way)
    if body.status == messages.STATUS_READY:
        acme.begin_finalization(resource)
    elif body.status not in (messages.STATUS_PROCESSING, messages.STATUS_VALID):
        sys.stderr.write(f"the order is {body.status}\n")
        return INVALID if body.status == messages.STATUS_INVALID else NOTHING
    body, later = _order(acme, order)
    end = time.monotonic() + WORKING
    while body.status == messages.STATUS_PROCESSING and not later and time.monotonic() < end:
        time.sleep(PAUSE)
        body, later = _order(acme, order)
    if body.status == messages.STATUS_PROCESSING:
        sys.stdout.write(f"Retry-After: {later}\n")
        return PROCESSING
    if body.status == messages.STATUS_INVALID:
        sys.stderr.write("the order is invalid\n")
        return INVALID
    done = acme.poll_finalization(resource, deadline, bool(preferred))
    chains = [done.fullchain_pem, *(done.alternative_fullchains_pem or ())]
    whole = crypto_util.find_chain_with_issuer(chains, preferred) if preferred else chains[0]
    cert, chain = crypto_util.cert_and_chain_from_fullchain(whole)
    # fullchain.pem last: when it is there, the others are whole.
    for name, text in (("cert.pem", cert), ("chain.pem", chain), ("fullchain.pem", whole)):
        _write(f"{folder}/{name}", text)
    return 0


def _order(acme: client.ClientV2, url: str) -> tuple[messages.Order, str]:
    """Return an order, and when to ask again, as the CA says it, if that is not at once."""
    found = acme.net.post(url, None, new_nonce_url=acme.directory["newNonce"])
    later = found.headers.get("Retry-After", "").strip()[:40]
    if later.isdecimal() and int(later) <= PAUSE:
        later = ""
    return messages.Order.from_json(found.json()), later


def _client(server: str, account: str) -> client.ClientV2:
    key = JWK.json_loads(_read(f"{account}/private_key.json").decode())
    known = messages.RegistrationResource.json_loads(_read(f"{account}/regr.json").decode())
    algorithm = RS256
    if isinstance(key, JWKEC):
        algorithm = _ALGORITHMS[key.key.key_size]
    network = _Network(key, account=known, alg=algorithm, user_agent="sslmd")
    for scheme in ("https://", "http://"):
        network.session.mount(scheme, _Bounded())
    return client.ClientV2(client.ClientV2.get_directory(server, network), network)


class _Network(client.ClientNetwork):
    """Makes a request again with another nonce, as often as the engine does (RFC 8555 §6.5)."""

    def post(self, *words: Any, **options: Any) -> requests.Response:
        for left in reversed(range(NONCES)):
            try:
                return super().post(*words, **options)
            except messages.Error as err:
                if err.code != "badNonce" or not left:
                    raise
        raise AssertionError


class _Bounded(HTTPAdapter):
    """Takes no answer that is longer than `MOST`."""

    def send(
        self, request: requests.PreparedRequest, *words: Any, **options: Any
    ) -> requests.Response:
        answer = super().send(request, *words, **{**options, "stream": True})
        body = b""
        for piece in answer.iter_content(1 << 16):
            body += piece
            if len(body) > MOST:
                answer.close()
                raise ValueError(f"the answer at {request.url} has more than {MOST} bytes")
        # `content` gives what `iter_content` has left there.
        answer._content = body
        return answer


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (errors.Error, messages.Error, OSError, ValueError, KeyError) as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
