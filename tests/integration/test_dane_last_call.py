"""A roll that can never happen is an alarm in time, and not waited for in silence for ever."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stand import bind
from tests.stand.bind import Primary, Secondary, Zone
from tests.stand.dane_site import ARG, CERT, HOST, ZONE, DaneSite
from tests.stand.faketime import faked, needs_faketime
from tests.stand.server import free_port

pytestmark = [
    needs_faketime,
    pytest.mark.skipif(bool(bind.missing()), reason=bind.missing()),
]

# Days: of the certificate in use; its alarm begins a sixth of that before the end, and silent name
# servers do not count in the last twentieth.
LIFE = 20


class World:
    """A zone with a secondary that gets no transfer any more, and a site with DANE.

    Nobody listens at its port: who serves what is no matter here.
    """

    def __init__(self, top: Path, stack: ExitStack) -> None:
        zone = Zone(ZONE, f"@ MX 10 {HOST}.\nmail A 127.0.0.1\n")
        self.primary = stack.enter_context(Primary(top / "ns1", [zone]))
        self.behind = stack.enter_context(Secondary(top / "ns2", self.primary, notify=False))
        self.site = DaneSite(top / "site")
        stack.callback(self.site.end)
        self.offset = top / "offset"
        self.offset.write_text("+0")
        self.port = free_port()
        address, _, port = self.primary.address.partition(":")
        self.site.primary = (
            f"[[dns_primary]]\ndomain = 'default'\nserver = '{address}'\nport = {port}\n"
            f"nameservers = ['{self.primary.address}', '{self.behind.address}']\n"
        )
        self.site.dns = (
            f"tlsa_dirs = ['{self.primary.tlsa_dir}']\n"
            f'restart_cmd = "{self.primary.restart_cmd}"\n'
        )
        self.site.smtp = (
            f"[smtp]\nservers = ['localhost']\nsvc_depends = [['{ZONE}', ['ALL']]]\n"
            "probe = 'none'\n"
        )
        self.site.dane = f"[[{self.port}, 'tcp', 3, 1, 1, 'MX']]"
        self.write(LIFE)

    def write(self, days: int) -> None:
        """Have the CA sign for so many days."""
        self.site.write()
        with (self.site.conf / "ca/my-int").open("a") as file:
            file.write(f"[CA]\nsign_end_days = {days}\n")

    def later(self, hours: int) -> None:
        """Set the daemon's clock to so many hours after the start."""
        seen = sum("the clock was set by" in line for line in self.site.lines)
        self.offset.write_text(f"+{hours}h")
        self.site.wait_line("the clock was set by", seen + 1)


def test_an_alarm_in_time_and_silent_servers_do_not_count_in_the_end(tmp_path: Path) -> None:
    with ExitStack() as stack:
        world = World(tmp_path, stack)
        site, behind = world.site, world.behind
        owner = f"_{world.port}._tcp.{HOST}"
        site.start(env=faked(world.offset))
        world.primary.wait_answer(owner, "TLSA", "3 1 1 ")
        behind.refresh(ZONE)
        before = site.wait_settled()[CERT]["curr"]["serial"]

        # The next one lives long enough; one name server will never show its record.
        world.write(10 * LIFE)
        site.ctl("reload")
        site.ctl("force-renew", ARG)
        site.wait_line(
            f"waits for its TLSA records in DNS: {behind.address} does not show _{world.port}"
        )
        assert behind.address in site.cert()["reason"]
        assert "expires at" not in site.ctl("check", status=None).stdout

        world.later(24 * LIFE - 72)
        line = site.wait_line("cannot be rolled")
        assert "the certificate in use expires at" in line
        assert behind.address in line
        assert f"sslmctl roll --force {ARG}" in line
        assert "by usage 3 accept it" in line
        for command, status in (("check", 1), ("show", 0), ("status", 0)):
            words = [command, ARG] if command == "show" else [command]
            shown = " ".join(site.ctl(*words, status=status).stdout.split())
            assert "cannot be rolled" in shown, (command, shown)
        assert "cannot be rolled" in (site.cert()["last_error"] or site.cert()["reason"])

        # It answers: as long as it does, clients that check DANE would be turned away.
        world.later(24 * LIFE - 12)
        assert site.cert()["curr"]["serial"] == before
        behind.stop()
        line = site.wait_line("all name servers that answer have shown")
        assert behind.address in line
        site.wait_line("is live in place of")
        assert site.cert()["curr"]["serial"] != before
