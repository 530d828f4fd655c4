"""CAs as they are: slow, forgetful, out of order, and sometimes wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.core.spec import KeySpec, KeyType
from sslmd.pki.keys import generate_key
from tests.stand.acme_site import (
    ARG,
    CERT,
    ENGINES,
    ZONE,
    World,
    accounts,
    needs,
    verify,
    world,
)
from tests.stand.bind import Primary, Zone
from tests.stand.pebble import Pebble
from tests.stand.proxy import Answer, Proxy, seen_through
from tests.stand.samples import key_pem, leaf_spec, make_leaf, make_root, make_sub, with_life
from tests.stand.site import codes_in

# What a renewal that fails leaves otherwise than it was, and nobody else uses.
PASSING = (
    "state.toml",
    "/cb/",
    "/.accounts/",
    "/db/",
    "/next",
    ".sslmd.lock",
    ".notices.toml",
    "/.hosts/",
    "acme-challenge.",
)

NAMES = [ZONE, f"*.{ZONE}", f"www.{ZONE}"]


@pytest.fixture(params=ENGINES)
def here(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    with world(tmp_path, request.param) as one:
        yield one


def ready(here: World, **options: object) -> tuple[Primary, Pebble]:
    """Start BIND and Pebble, and write a configuration."""
    primary = here.bind()
    ca = here.pebble(primary, **options)
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write({CERT: NAMES})
    return primary, ca


# Tries of certbot at a CA that refuses 15 % of all nonces: one in four fails. At 50 % hardly one of
# its runs comes to an end, and nothing is certain but what is told.
TRIES = {"engine": 3, "certbot": 8}


@pytest.mark.parametrize("percent", [15, 50])
def test_a_ca_that_refuses_nonces(here: World, percent: int) -> None:
    """It comes, or the reason and the way out stand in the status; nothing is lost on the way."""
    _, ca = ready(here, settings={"PEBBLE_WFE_NONCEREJECT": str(percent)})
    here.site.write({CERT: [ZONE]})
    here.site.start()
    failures: list[set[str]] = []
    for attempt in range(1, TRIES[here.site.engine] + 1):
        line = here.site.wait_line_of(("certificate issued", f"attempt {attempt} failed"))
        if "certificate issued" in line:
            break
        one = here.site.status()[CERT]
        assert "nonce" in one["last_error"]
        assert one["next_try"]
        failures.append(set(codes_in({key: one[key] for key in ("error_code", "error_facts")})))
        here.site.ctl("renew", "--no-wait", ARG)
    else:
        assert (here.site.engine, percent) == ("certbot", 50)
    assert len(accounts(here.site)) <= 1
    assert ca.failures() == 0
    if here.site.engine == "engine":
        assert ca.orders() == 1
        here.site.wait_settled()
        verify(here.site, ca)
        return
    assert ca.orders() <= len(failures) + 1
    # An order that the CA validates already is taken up, which tries as often as the engine.
    untaken = {"order-not-taken-up", "order-untold"}
    assert all("certbot-nonce" in codes or codes & untaken for codes in failures), failures


def test_a_ca_that_takes_its_time(here: World) -> None:
    """Its roots are found by a link, as those of Debian's ca-certificates are."""
    _, ca = ready(here, settings={"PEBBLE_VA_SLEEPTIME": "3"})
    roots = here.site.top / "roots"
    roots.mkdir()
    (roots / "root.pem").symlink_to(os.path.relpath(ca.root_file, roots))
    (roots / "4042bcee.0").symlink_to("root.pem")
    here.site.ca = here.site.ca.replace(f"'{ca.root_file}'", f"'{roots}/4042bcee.0'")
    here.site.write({CERT: NAMES})
    here.site.start()
    here.site.wait_settled()
    verify(here.site, ca)


def test_authorizations_that_are_valid_already(here: World) -> None:
    primary, ca = ready(here, settings={"PEBBLE_AUTHZREUSE": "100"})
    here.site.start()
    here.site.wait_settled()
    here.site.wait_line("challenge records were taken back")
    before, reloads = len(ca.validations()), primary.reloads(ZONE)

    here.site.ctl("force-renew", ARG)
    here.site.ctl("roll", "--force", ARG, status=None)
    here.site.wait_settled()
    verify(here.site, ca)
    assert len(ca.validations()) == before  # there was nothing to prove
    assert primary.reloads(ZONE) == reloads


def test_an_alternate_chain_that_is_preferred(here: World) -> None:
    _, ca = ready(here, settings={"PEBBLE_ALTERNATE_ROOTS": "1", "PEBBLE_CHAIN_LENGTH": "2"})

    def subject(root: str) -> str:
        done = subprocess.run(
            ["openssl", "x509", "-noout", "-subject", "-nameopt", "multiline"],
            input=root,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.partition("commonName")[2].partition("=")[2].strip().splitlines()[0]

    other = subject(ca.roots()[1])
    assert other != subject(ca.roots()[0])
    here.site.use(ca, more=f"ca_preferred_chain = '{other}'")
    here.site.write({CERT: NAMES})
    here.site.start()
    here.site.wait_settled()
    chain = (here.site.live(CERT) / "chain.pem").read_text()
    assert chain.count("BEGIN CERTIFICATE") == 2
    root = here.site.top / "root.pem"
    root.write_text(ca.roots()[1])
    subprocess.run(
        [
            "openssl",
            "verify",
            "-CAfile",
            root,
            "-untrusted",
            here.site.live(CERT) / "chain.pem",
            here.site.live(CERT) / "cert.pem",
        ],
        check=True,
        capture_output=True,
    )


def test_a_profile(here: World) -> None:
    _, ca = ready(here, profiles={"classic": 90, "short": 6})
    needs(ca, "profiles")
    here.site.use(ca, more="ca_preferred_acme_profile = 'short'")
    here.site.write({CERT: NAMES})
    here.site.start()
    curr = here.site.wait_settled()[CERT]["curr"]
    life = datetime.fromisoformat(curr["not_after"]) - datetime.fromisoformat(curr["not_before"])
    assert life < timedelta(days=7)


def test_an_account_that_is_bound_to_another(here: World, tmp_path: Path) -> None:
    secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    _, ca = ready(here, accounts={"kid-1": secret})
    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert "ca_eab_kid" in line or "externalAccountRequired" in line
    here.site.stop()

    key = tmp_path / "eab.key"
    key.write_text(secret + "\n")
    key.chmod(0o600)
    here.site.use(ca, more=f"ca_eab_kid = 'kid-1'\nca_eab_hmac_key_file = '{key}'")
    here.site.write({CERT: NAMES})
    here.site.start()
    here.site.wait_settled()
    everything = "".join(here.site.lines) + here.site.ctl("show", ARG).stdout
    assert secret not in everything
    for path in (here.site.top / "certs").rglob("*"):
        if path.is_file():
            assert secret not in path.read_text(errors="replace"), path


def test_a_ca_that_is_down(here: World) -> None:
    _, ca = ready(here)
    ca.kill()
    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert ca.directory in line
    assert "refused" in line
    one = here.site.status()[CERT]
    assert one["next_try"]
    assert one["curr"] is None

    ca.start()
    here.site.ctl("renew", ARG)
    here.site.wait_settled()


def test_a_ca_that_dies_in_the_middle_of_an_order(here: World) -> None:
    _, late, ca = here.lagging()
    ca.kill()
    late.refresh(ZONE)
    here.site.wait_line("attempt 1 failed")
    assert here.site.status()[CERT]["next_try"]

    # It comes back and knows nothing: neither the order nor the account.
    ca.start()
    here.site.ctl("renew", "--no-wait", ARG)
    here.site.wait_line("does not know our account")
    here.site.wait_line("does not show", 2)
    late.refresh(ZONE)
    here.site.wait_settled()
    verify(here.site, ca)
    assert len(accounts(here.site, lost=True)) == 1
    assert len(accounts(here.site)) == 1


def refusing(answer: Answer, status: int, code: str, detail: str, **headers: str) -> Answer:
    """Return what a CA says when it takes no order."""
    if answer.path != "/order-plz":
        return answer
    body = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail}
    said = {**answer.headers, **headers, "Content-Type": "application/problem+json"}
    return Answer(answer.path, status, said, json.dumps(body).encode())


def upside_down(answer: Answer) -> Answer:
    """Return a chain with its issuers first, one certificate twice, and a stranger among them."""
    if not answer.path.startswith("/certZ/"):
        return answer
    mark = b"-----END CERTIFICATE-----\n"
    leaf, *issuers = [one.strip() + b"\n" + mark for one in answer.body.split(mark) if one.strip()]
    assert len(issuers) == 2
    came = b"".join([*reversed(issuers), make_root().cert_pem, leaf, issuers[0]])
    return Answer(answer.path, 200, answer.headers, came)


def test_a_ca_with_ways_of_its_own(here: World) -> None:
    """CAA allows one account alone; profile and chain are not there; what it sends is mixed up."""
    records = '@ CAA 0 issue "pebble.letsencrypt.org; accounturi=https://x.example/1"'
    primary = here.bind(Zone(ZONE, records))
    ca = here.pebble(
        primary,
        profiles={"classic": 90, "shortlived": 6},
        settings={"PEBBLE_CHAIN_LENGTH": "2"},
    )
    needs(ca, "caaIdentities")
    needs(ca, "profiles")
    wishes = "ca_preferred_acme_profile = 'shortlvied'\nca_preferred_chain = 'ISRG Root X1'"
    with Proxy(ca, upside_down) as proxy:
        here.site.use(seen_through(ca, proxy), more=wishes)
        here.site.publish(primary)
        here.site.write({CERT: [ZONE]})
        here.site.start()
        line = here.site.wait_line("attempt 1 failed")
        account = re.search(r"account +(https://localhost\S+)", here.site.ctl("show", ARG).stdout)
        assert account is not None
        assert "https://x.example/1" in line
        assert account[1] in line
        ours = f'issue "pebble.letsencrypt.org; accounturi={account[1]}"'
        assert f"write `{ZONE}. CAA 0 {ours}`" in line
        assert ca.orders() == 0

        # The admin writes what the refusal says.
        path = primary.zone_file(ZONE)
        path.write_text(path.read_text().replace(records, f"@ CAA 0 {ours}"))
        primary.reload(ZONE)
        here.site.ctl("renew", ARG)
        curr = here.site.wait_settled()[CERT]["curr"]
        assert len(accounts(here.site)) == 1
        # The chain is as it should be, and as short.
        assert (here.site.live(CERT) / "fullchain.pem").read_text().count("BEGIN") == 3
        verify(here.site, ca)

        # What was not met is told, and repeated as long as that certificate is in use.
        profile, chain = curr["unmet"]
        assert "'shortlvied' (ca_preferred_acme_profile)" in profile
        assert "'classic', 'shortlived'" in profile
        assert "'ISRG Root X1' (ca_preferred_chain)" in chain
        for text in (profile, chain):
            assert here.site.wait_line(text)
        here.site.stop()

        # As if three more had been issued, and cleaned away.
        state = here.site.top / "certs" / CERT / "state.toml"
        head, history, tail = state.read_text().partition("[[history]]")
        issued = re.search(r'\[\[issued\]\]\nserial = "\w+"\n(?:.+\n)+', head)
        assert issued is not None
        more = (re.sub("serial = .*", f'serial = "{one}"', issued[0]) for one in ("1a", "1b", "1c"))
        state.write_text("\n".join([head.rstrip(), *more, "", history]) + tail)
        here.site.start()
        shown = " ".join(here.site.ctl("show", ARG).stdout.split())
        assert profile in shown
        assert "of 5 certificates" not in shown  # whose limit that is nobody knows
        assert here.site.status()[CERT]["curr"]["unmet"] == [profile, chain]
        done = here.site.ctl("force-renew", "--no-wait", ARG)
        assert "4 of 5 used" in done.stdout + done.stderr
        here.site.stop()


def test_an_order_that_the_ca_refuses_is_not_sent_again_and_again(here: World) -> None:
    """A name that it does not sign; a name beside the wildcard that covers it (Let's Encrypt)."""
    _, ca = ready(here)
    said = {
        "rejectedIdentifier": f"the policy forbids issuing for www.{ZONE}",
        "malformed": f"Domain name 'www.{ZONE}' is redundant with a wildcard domain",
    }
    code = "rejectedIdentifier"

    with Proxy(ca, lambda answer: refusing(answer, 400, code, said[code])) as proxy:
        here.site.use(seen_through(ca, proxy))
        here.site.write({CERT: NAMES})
        here.site.start()
        here.site.wait_line(f"www.{ZONE} is covered by *.{ZONE}, which stands beside it")
        for attempt, code in enumerate(said, 1):
            if attempt > 1:
                here.site.ctl("renew", "--no-wait", ARG)
            assert said[code] in here.site.wait_line(f"attempt {attempt} failed")
            tried = datetime.fromisoformat(here.site.status()[CERT]["next_try"])
            assert tried > datetime.now(UTC) + timedelta(hours=20)  # nothing to wait for: daily
        here.site.stop()


def test_a_validation_that_fails_is_counted_and_held_back(here: World) -> None:
    """Pebble asks another name server than the ones that we watch."""
    primary = here.bind()
    other = here.bind_other()
    ca = here.pebble(other)
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write({CERT: [ZONE]})
    here.site.start()
    for attempt in range(1, 5):
        line = here.site.wait_line(f"attempt {attempt} failed")
        assert ZONE in line
        if attempt < 4:
            here.site.ctl("renew", "--no-wait", ARG)
    assert ca.failures() == 4
    one = here.site.status()[CERT]
    assert "4 times within 60 min" in one["reason"]
    assert one["next_try"]

    # Neither an admin nor a restart goes past it.
    here.site.ctl("force-renew", ARG, status=None)
    here.site.stop()
    here.site.start()
    assert "4 times within 60 min" in here.site.status()[CERT]["reason"]
    assert ca.failures() == 4


# --- CAs that give something else ------------------------------------------------------------


def test_a_limit_that_the_ca_tells_is_kept_to(here: World) -> None:
    _, ca = ready(here)

    detail = "too many new orders recently: come again later"

    def limit(answer: Answer) -> Answer:
        return refusing(answer, 429, "rateLimited", detail, **{"Retry-After": "7200"})

    with Proxy(ca, limit) as proxy:
        here.site.use(seen_through(ca, proxy))
        here.site.write({CERT: NAMES})
        here.site.start()
        line = here.site.wait_line("attempt 1 failed")
        assert detail in line
        tried = datetime.fromisoformat(here.site.status()[CERT]["next_try"])
        now = datetime.now(UTC)
        assert now + timedelta(minutes=115) < tried < now + timedelta(minutes=121)
        asked = proxy.paths.count("/order-plz")

        # Over a restart, and though an admin asks.
        here.site.stop()
        here.site.start()
        here.site.ctl("renew", ARG, status=None)
        assert datetime.fromisoformat(here.site.status()[CERT]["next_try"]) == tried
        assert proxy.paths.count("/order-plz") == asked


def test_a_limit_of_the_account_holds_its_other_certificates(here: World) -> None:
    _, ca = ready(here)
    detail = "too many new orders (300) from this account in the last 3h0m0s"
    other = f"{ZONE}/mail"

    def limit(answer: Answer) -> Answer:
        return refusing(answer, 429, "rateLimited", detail, **{"Retry-After": "7200"})

    with Proxy(ca, limit) as proxy:
        here.site.use(seen_through(ca, proxy))
        here.site.write({CERT: NAMES})
        here.site.start()
        here.site.wait_line("attempt 1 failed")
        asked = proxy.paths.count("/order-plz")
        here.site.write({CERT: NAMES, other: [f"mail.{ZONE}"]})
        here.site.ctl("reload")
        for _ in range(2):
            reason = here.site.status()[other]["reason"]
            assert "wants to be left alone until" in reason
            assert detail in reason
            here.site.stop()
            here.site.start()
        assert proxy.paths.count("/order-plz") == asked


def _wrong(kind: str, site_key: bytes) -> bytes:
    """Return a chain that a CA should not have given for this key."""
    now = datetime.now(UTC)
    root = make_root(now=now)
    sub = make_sub(root, now=now)
    spec = leaf_spec(ZONE, tuple(NAMES))
    match kind:
        case "another key":
            leaf = make_leaf(sub, spec, now=now, key=key_pem())
        case "other names":
            leaf = make_leaf(sub, leaf_spec(ZONE, (ZONE, "evil.test")), now=now, key=site_key)
        case "fewer names":
            leaf = make_leaf(sub, leaf_spec(ZONE, (ZONE,)), now=now, key=site_key)
        case "expired":
            then = now - timedelta(days=30)
            old = make_root(now=then - timedelta(days=1))
            short = with_life(make_sub(old, now=then), timedelta(days=10))
            leaf = make_leaf(short, spec, now=then, key=site_key)
        case "a chain that does not verify":
            leaf = make_leaf(sub, spec, now=now, key=site_key)
            key = generate_key(KeySpec(KeyType.EC, curve="secp384r1"))
            stranger = make_sub(make_root(key=key, now=now), key=key, now=now)
            return leaf.cert_pem + stranger.cert_pem
        case "no chain":
            return make_leaf(sub, spec, now=now, key=site_key).cert_pem
        case "garbage":
            return b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" * 2
        case _:
            return b"x" * (50 << 20)
    return leaf.cert_pem + leaf.chain_pem


WRONG = (
    "another key",
    "other names",
    "fewer names",
    "expired",
    "a chain that does not verify",
    "no chain",
    "garbage",
    "50 MB",
)


def test_what_a_ca_should_not_have_given_is_refused(here: World) -> None:
    _, ca = ready(here)
    here.site.start()
    before = here.site.wait_settled()[CERT]["curr"]["set"]
    here.site.stop()
    tree = here.site.snapshot(*PASSING)
    kind = ""

    def change(answer: Answer) -> Answer:
        if not kind or not answer.path.startswith("/certZ/"):
            return answer
        deck = here.site.top / "certs" / CERT / "next" / "privkey.pem"
        return Answer(answer.path, 200, answer.headers, _wrong(kind, deck.read_bytes()))

    with Proxy(ca, change) as proxy:
        here.site.use(seen_through(ca, proxy))
        here.site.write({CERT: NAMES})
        here.site.start()
        for kind in WRONG:
            done = here.site.ctl("force-renew", ARG, status=1)
            assert "failed" in done.stdout + done.stderr, kind
            one = here.site.status()[CERT]
            assert one["curr"]["set"] == before, kind
            assert one["next"] is None, kind
            assert one["last_error"], kind
            assert len(one["last_error"]) < 1000, kind
            assert here.site.snapshot(*PASSING) == tree, kind

        # The next one is right, and is taken.
        kind = ""
        here.site.ctl("renew", ARG)
        here.site.wait_settled()
        assert here.site.status()[CERT]["curr"]["set"] != before
        verify(here.site, ca)
