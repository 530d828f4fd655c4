"""Messages in earnest: Postfix has the mail, from a process of systemd's and from the daemon's."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path

import pytest

from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.trouble import Severity
from sslmd.notify import failed_unit
from sslmd.workers.notify import COMMAND, Outgoing, Sender
from tests.stand import mailbox
from tests.stand.hooks import Hooks
from tests.stand.mailbox import HOST, MailHost
from tests.stand.server import ROOT, wait_until
from tests.stand.tools import MAIN, Site

HOSTILE = "CA says: no\r\nBcc: x@example.org\r\n\r\n.\r\n<b>\x1b[31m\u202e"
WHAT = Outgoing(f"3 certificates: {HOSTILE}", (HOSTILE, ".", "Ü"), Severity.CRITICAL)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailHost]:
    if lacking := mailbox.missing():
        pytest.skip(lacking)
    with MailHost(tmp_path_factory.mktemp("mail")) as one:
        yield one


def sender(top: Path, to: list[str], **more: object) -> tuple[Sender, Site]:
    site = Site(top, f"{MAIN}\n[[notify]]\nname = 'admins'\nto = {to}\n")
    return Sender(site.tools.site, site.tools.threads, **more), site  # type: ignore[arg-type]


async def hand_over(sending: tuple[Sender, Site]) -> tuple[int, ...]:
    handing, site = sending
    (to,) = site.tools.site.config.notify
    return (await handing.hand_over(WHAT, to)).took


def is_as_meant(mail: EmailMessage) -> None:
    assert "Bcc" not in mail
    assert str(mail["Subject"]).startswith("3 certificates: CA says: no Bcc: x@example.org . <b>")
    assert "\\x1b[31m\\u202e" in str(mail["Subject"])
    body = mail.get_body(("plain",))
    assert body is not None
    first, second, third, *_ = body.get_content().splitlines()
    assert first.startswith("CA says: no Bcc: x@example.org")
    assert (second, third) == (".", "Ü")


async def test_the_daemon_s_own_program_mails_by_sendmail(host: MailHost, tmp_path: Path) -> None:
    """As another user, whose name stands in the mail: `postdrop` is setgid."""
    before = len(host.mails)
    by_itself = sender(
        tmp_path, ["mailto:root"], socket="/nowhere", command=host.within([*COMMAND])
    )
    assert await hand_over(by_itself) == (0,)
    mail = host.wait_mails(before + 1)[-1]
    is_as_meant(mail)
    assert mail["To"] == f"root@{HOST}"
    assert mail["Delivered-To"] == f"root@{HOST}"
    assert mail["Auto-Submitted"] == "auto-generated"
    user = "sslmd-notify" if _is_there("sslmd-notify") else "nobody"
    assert f"{user}@{HOST}" in str(mail["From"])


def _is_there(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@pytest.fixture
def socket(host: MailHost, tmp_path: Path) -> Iterator[Path]:
    """What sslmd-notify.socket is: systemd listens, and starts the program for each message."""
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is not installed (Debian package systemd)")
    path = tmp_path / "notify.sock"
    argv = [activate, "--accept", "--inetd", f"--listen={path}", *COMMAND]
    process = subprocess.Popen(host.within(argv), start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_until(path.exists, "the socket")
        yield path
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def test_by_systemd_s_socket_to_mail_and_to_a_web_hook(
    host: MailHost, socket: Path, tmp_path: Path
) -> None:
    before = len(host.mails)
    with Hooks() as hooks:
        smtp = f"mailto://127.0.0.1:{host.port}/?from=sslmd@{HOST}&to=ops@{HOST}&mode=insecure"
        to = ["mailto:admin@mail.example.test", smtp, hooks.at("topic", "ntfy"), hooks.at("500")]
        handing, site = sender(tmp_path, to, socket=str(socket), command=["/nowhere"])
        (options,) = site.tools.site.config.notify
        done = await handing.hand_over(WHAT, options)
        assert done.took == (0, 1, 2)
        assert isinstance(done.failure, Transient)
        assert done.failure.reason.code is Failed.NOTIFY_STATUS
        assert len(hooks.to("topic")) == 1
    mails = host.wait_mails(before + 2)[before:]
    local, by_smtp = sorted(mails, key=lambda one: one["Delivered-To"] != f"admin@{HOST}")
    is_as_meant(local)
    assert by_smtp["Delivered-To"] == f"ops@{HOST}"
    assert "Bcc" not in by_smtp
    assert by_smtp["From"] == f"sslmd@{HOST}"
    body = by_smtp.get_body()
    assert body is not None
    assert "‹b›" in body.get_content()
    assert not {"<", "\x1b", "\u202e"} & set(body.get_content())


async def test_a_mail_server_that_refuses(host: MailHost, socket: Path, tmp_path: Path) -> None:
    smtp = f"mailto://127.0.0.1:{host.port}/?from=a@example.org&to=x@elsewhere.test"
    handing, site = sender(tmp_path, [smtp], socket=str(socket), command=["/nowhere"])
    (options,) = site.tools.site.config.notify
    with pytest.raises(Transient) as err:
        await handing.hand_over(WHAT, options)
    assert err.value.reason.code is Failed.NOTIFY_REPLY
    assert err.value.reason["status"] == 550


def test_a_unit_that_failed_is_told_of(host: MailHost, tmp_path: Path) -> None:
    """What OnFailure= starts: a mail, with what systemd says of the unit."""
    before = len(host.mails)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\nprintf 'x %s: failed\\n\\033[31mconf.d: mistake\\n' \"$6\"\n")
    systemctl.chmod(0o755)
    done = subprocess.run(
        host.within([sys.executable, "-m", "sslmd.notify", "--failed", "sslmd.service"]),
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            failed_unit.ENVIRONMENT: "mailto:root mailto:ops slak://s3cr3t",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1  # one of them is no address
    assert done.stderr == "sslmd-notify: slak: not sent: bad-address\n"
    mails = host.wait_mails(before + 2)[before:]
    assert {mail["To"] for mail in mails} == {f"root@{HOST}", f"ops@{HOST}"}
    for mail in mails:
        assert str(mail["Subject"]).startswith("sslmd.service failed on ")
        text = mail.get_content()
        assert "x sslmd.service: failed\n\\x1b[31mconf.d: mistake\n" in text
        assert "journalctl -u sslmd.service" in text
