"""Notifiers that hang, refuse or are not there, in a daemon with its sender: nothing else is late.

The senders are processes of the daemon's own; who takes the messages is a server on loopback.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from sslmd.core.failed import Failed
from sslmd.core.trouble import Severity
from tests.stand.hooks import Hooks
from tests.stand.host import missing_namespaces
from tests.stand.server import wait_until
from tests.stand.site import Site, codes_in, first_tables

# The sender itself gives up after a minute: as long as that this server is waited for.
HANGS = "silent?rto=3600"

# Where programs look for sendmail; the other places are links to it.
SENDMAIL = "/usr/sbin/sendmail"
WITHOUT_SENDMAIL = (
    *("unshare", "--mount", "--propagation=private", "sh", "-c"),
    f'[ ! -e {SENDMAIL} ] || mount --bind /dev/null {SENDMAIL}; exec "$@"',
    "sh",
)


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks() as one:
        yield one


def configure(site: Site, **notifiers: str) -> None:
    """A certificate that no server uses, which is an alarm from the first moment on."""
    site.put_own_cas()
    site.put_service("example.com/web", "my-int", ["example.com"])
    tables = [
        f"[[notify]]\nname = '{name}'\nto = '{to}'\nafter = '0 s'\n"
        for name, to in notifiers.items()
    ]
    site.put("ssl-mgr.conf", first_tables({}, ["ca", "example.com"]) + "\n".join(tables))


def notifiers(site: Site) -> dict[str, dict[str, Any]]:
    """What `status` says of each."""
    (*_, answer) = site.ask("status")
    return {one["name"]: one for one in answer["result"]["notifiers"]}


def tried(site: Site, *names: str) -> dict[str, dict[str, Any]]:
    """Return how these stand when all of them took a message, or did not."""

    def done() -> bool:
        found = notifiers(site)
        return all(found[name]["sent"] or found[name]["attempts"] for name in names)

    wait_until(done, f"messages to {names}")
    return notifiers(site)


def wait_of(one: dict[str, Any], since: datetime) -> timedelta:
    """How long a notifier is left alone, from the try at most."""
    return datetime.fromisoformat(one["next_try"]) - since


def senders(site: Site) -> set[int]:
    """The processes of the daemon that send."""
    assert site.process is not None
    (*_, answer) = site.ask("status")
    pid = answer["result"]["daemon"]["pid"]
    done = subprocess.run(["pgrep", "-P", str(pid), "-f", "sslmd.notify"], **PIPED)
    return {int(one) for one in done.stdout.split()}


PIPED: dict[str, Any] = {"capture_output": True, "text": True, "check": False}


def test_nothing_waits_for_one_that_hangs(bare_site: Site, hooks: Hooks) -> None:
    site = bare_site
    configure(site, hangs=hooks.at(HANGS), well=hooks.at("ok"))
    site.start()
    wait_until(lambda: hooks.to("silent"), "the message that hangs")
    site.wait_settled()
    site.ctl("renew", "--force", "example.com:web")
    site.wait_on_deck("example.com/web")
    assert tried(site, "well")["well"]["sent"]
    assert notifiers(site)["hangs"]["attempts"] == 0
    assert len(hooks.to("silent")) == 1

    # Nobody waits for it at the end, and its sender is not left behind.
    (sender,) = senders(site)
    assert site.stop() == 0
    wait_until(lambda: not os.path.exists(f"/proc/{sender}"), "the end of the sender")


def test_who_fails_is_tried_by_the_table_and_told(bare_site: Site, hooks: Hooks) -> None:
    if lacking := missing_namespaces():
        pytest.skip(lacking)
    site = bare_site
    to = {"refuses": "500", "waits": "429-600", "talks": "huge", "well": "ok"}
    configure(site, nobody="mailto:root", **{name: hooks.at(what) for name, what in to.items()})
    begun = datetime.now().astimezone()
    site.start(wrapper=WITHOUT_SENDMAIL)
    found = tried(site, *to, "nobody")
    now = datetime.now().astimezone()
    assert all(found[name]["sent"] for name in ("well", "talks"))
    least, most = wait_of(found["refuses"], begun), wait_of(found["refuses"], now)
    assert (least >= timedelta(minutes=1), most <= timedelta(minutes=1.1)) == (True, True)
    least, most = wait_of(found["waits"], begun), wait_of(found["waits"], now)
    assert (least >= timedelta(minutes=10), most <= timedelta(minutes=10)) == (True, True)
    assert wait_of(found["nobody"], begun) >= timedelta(days=1)

    # They are in `check` with the next look; after a restart they are left alone as before.
    site.stop()
    waited = len(hooks.to(to["waits"]))
    site.start(wrapper=WITHOUT_SENDMAIL)
    wait_until(lambda: site.ask("alarms")[-1]["result"]["looked_at"], "a look")
    site.ctl("check", "--kind", "notifier", status=Severity.WARNING)
    for words in (["status"], ["alarms"], ["check"], ["check", "--passive", "host"]):
        said = site.ctl(*words, status=None).stdout
        assert "messages to refuses fail" in said
    for name, code in (("refuses", Failed.NOTIFY_STATUS), ("nobody", Failed.NO_SENDMAIL)):
        assert code in codes_in(site.ask("notify", name=name)[-1]["result"])
    # Who works hears of the others.
    wait_until(lambda: any(b"messages to" in one.body for one in hooks.to("ok")), "the message")
    assert len(hooks.to(to["waits"])) == waited
