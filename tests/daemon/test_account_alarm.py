"""Trouble with an account at a CA: one alarm for all who use it, over restarts, with an end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.acme.account_folders import Folder
from sslmd.acme.ca_problem import ca_error
from sslmd.acme.certbot import AcmeServer, eab_key
from sslmd.config.model import CaInfo, CaKind, Validation
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.errors import Permanent, SslmError, Trouble
from sslmd.core.events import AttemptFailed
from sslmd.core.names import CertId
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, Track
from sslmd.core.trouble import Severity
from sslmd.net.acme_messages import AcmeProblem
from sslmd.store.state import STATE, Notes
from tests.stand.alarm_stand import ADMINS, Stand
from tests.stand.tools import Tools, believe

URL = "https://ca.example/dir"
CA = CaInfo("le", CaKind.ACME, server=URL)
WEB, MAIL = CertId("example.com", "web-ec"), CertId("example.com", "mail-ec")
DAY = timedelta(days=1)


def says(code: str, detail: str = "", *, status: int = 403, new: bool = False) -> AcmeProblem:
    return AcmeProblem("acme", URL, status, code, detail=detail, new_account=new)


DEACTIVATED = says("unauthorized", 'the account is "deactivated"')


@pytest.fixture
def stand(tools: Tools) -> Iterator[Stand]:
    tools.site.config = replace(
        tools.site.config, cas={**tools.site.config.cas, "le": CA}, notify=(ADMINS,)
    )
    one = Stand(tools)
    one.hub.load()
    one.notices.reconfigured()
    for cert in (WEB, MAIL):
        entry = one.hub.registry[cert]
        spec = replace(entry.wanted.spec, signer=AcmeCa("le"))
        believe(one.hub.registry, cert, wanted=replace(entry.wanted, spec=spec))
    yield one
    assert not one.bugs


def fail(stand: Stand, cert: CertId, err: SslmError) -> Trouble:
    """An order fails, as `daemon.certs` takes that in."""
    trouble = replace(Trouble.of(err, 0, stand.now, jitter=0.0), ca="le")
    stand.hub.registry.put(cert, AttemptFailed(Track.RENEW, trouble))
    return trouble


async def test_an_account_that_its_ca_refuses(stand: Stand) -> None:
    for cert in (WEB, MAIL):
        fail(stand, cert, ca_error(DEACTIVATED, URL, stand.now))
    await stand.minute(12)
    (alarm,) = stand.alarms(AlarmKind.ACCOUNT)
    assert (alarm.subjects, alarm.severity) == (("le",), Severity.WARNING)
    assert "deactivated" in str(alarm.cause)
    (message,) = stand.postman.took
    assert "account" in [row["kind"] for row in message.document["alarms"]]
    # It is used again.
    for cert in (WEB, MAIL):
        believe(stand.hub.registry, cert, state=CertState())
    await stand.minute(12)
    assert not stand.alarms(AlarmKind.ACCOUNT)
    over = [row for row in stand.postman.took[-1].document["alarms"] if row["kind"] == "account"]
    assert [row["news"] for row in over] == ["over"]


async def test_it_is_known_after_a_restart_too(stand: Stand, tools: Tools) -> None:
    trouble = fail(stand, WEB, ca_error(DEACTIVATED, URL, stand.now))
    await stand.look()
    (before,) = stand.alarms(AlarmKind.ACCOUNT)
    noted = STATE.decode(STATE.encode(Notes(state=CertState(trouble=trouble)))).state
    assert noted.trouble is not None
    assert noted.trouble.reason == trouble.reason
    believe(stand.hub.registry, WEB, state=noted)
    await stand.look()
    (after,) = stand.alarms(AlarmKind.ACCOUNT)
    assert after.id == before.id
    assert "deactivated" in str(after.cause)


async def test_another_ca_is_another_account(stand: Stand) -> None:
    fail(stand, WEB, ca_error(DEACTIVATED, URL, stand.now))
    await stand.look()
    assert stand.alarms(AlarmKind.ACCOUNT)
    wanted = stand.hub.registry[WEB].wanted
    other = replace(wanted, spec=replace(wanted.spec, signer=AcmeCa("other")))
    believe(stand.hub.registry, WEB, wanted=other)
    await stand.look()
    assert not stand.alarms(AlarmKind.ACCOUNT)


@pytest.mark.parametrize(
    ("problem", "is_account"),
    [
        (DEACTIVATED, True),
        (says("externalAccountRequired", "bind it"), True),
        (says("unauthorized", "the key is unknown", new=True), True),
        (says("malformed", "no", status=400, new=True), True),
        (says("invalidContact", "no such domain", status=400), True),
        (says("userActionRequired", "new terms"), True),
        (says("rateLimited", "too many registrations", status=429, new=True), True),
        (says("rateLimited", "too many certificates", status=429), False),
        (says("rejectedIdentifier", "policy forbids it", status=400), False),
        (says("unauthorized", "no TXT record"), False),
        (says("serverInternal", "account service is down", status=500), False),
        (says("caa", "CAA forbids it"), False),
        (AcmeProblem("unreachable", URL, type="no-answer", detail="10"), False),
    ],
)
def test_what_is_the_account_s(stand: Stand, problem: AcmeProblem, *, is_account: bool) -> None:
    assert fail(stand, WEB, ca_error(problem, URL, stand.now)).account is is_account


def test_keys_that_cannot_be_used(stand: Stand, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path), "https://ca.example/1")
    eab = tmp_path / "eab"
    server = AcmeServer(URL, None, Validation.DNS_01, eab_kid="kid", eab_hmac_key_file=eab)
    for read in (folder.key, lambda: eab_key(server)):
        with pytest.raises(Permanent) as missing:
            read()
        assert fail(stand, WEB, missing.value).account
    for place in (eab, tmp_path / "private_key.json"):
        place.write_text("no key")
        place.chmod(0o600)
    for read in (folder.key, lambda: eab_key(server)):
        with pytest.raises(Permanent) as odd:
            read()
        assert fail(stand, WEB, odd.value).account
    eab.chmod(0o644)  # others can read it
    with pytest.raises(Permanent) as open_to_others:
        eab_key(server)
    assert fail(stand, WEB, open_to_others.value).account
