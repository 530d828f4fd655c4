"""What was not seen, is used by nobody, or does not belong there is named until it is mended."""

from __future__ import annotations

from pathlib import Path

from tests.integration.delivery_world import ZONE, DeliverySite, Table
from tests.servers.server import wait_until

WEB, SPARE = f"{ZONE}/web", f"{ZONE}/spare"
KEY = "-----BEGIN PRIVATE KEY-----\n"


def test_states_say_no_more_than_was_seen(tmp_path: Path) -> None:
    site = DeliverySite(tmp_path / "site")
    site.services = {"web": ["www.example.com"], "spare": ["spare.example.com"]}
    grants = f"[['{ZONE}', ['web']]]"
    site.tables = {"web": Table(["localhost"], grants, ["true"])}
    site.write()
    try:
        site.begin()
        site.wait_rest(WEB.replace("/", ":"))
        wait_until(lambda: site.status()[SPARE]["phase"] == "settled", "both to settle")
        (server,) = site.status()[WEB]["servers"]
        assert (server["state"], server["unseen"]) == ("restarted", "not looked at: probe = false")
        assert site.status()[WEB]["used_by"] == ["web"]
        assert site.status()[SPARE]["unused"] is True
        shown = " ".join(site.ctl("status").stdout.split())
        assert "web on localhost restarted, but not looked at: probe = false" in shown
        assert "no server uses it" in shown
        done = site.ctl("check", status=1)
        assert f"{SPARE} no server uses it" in done.stdout

        # A key that nobody knows, and a certificate that leaves, though a class names localhost.
        (site.prod / ZONE / "mine.key").write_text(KEY)
        (site.prod / "old.example" / "www" / "curr").mkdir(parents=True)
        (site.prod / "old.example/www/curr/privkey.pem").write_text(KEY)
        assert (site.prod / SPARE).exists()
        (site.conf / SPARE).unlink()
        del site.services["spare"]
        site.configure()
        wait_until(lambda: not (site.prod / SPARE).exists(), "it to go")
        site.wait_line("found certificates or keys that do not belong there: ")
        assert (site.prod / "old.example/www/curr/privkey.pem").exists()
        done = site.ctl("check", status=1)
        assert f"{ZONE}/mine.key, old.example/www with its key" in done.stdout

        # Said to be meant, all is green by itself.
        site.globals["keep"] = f"['old.example', '{ZONE}/mine.key']"
        site.tables["web"].probe = "'none'"
        site.configure()
        wait_until(lambda: "SSLMD OK" in site.ctl("check", status=None).stdout, "green")
        (server,) = site.status()[WEB]["servers"]
        assert (server["state"], server["meant"]) == ("restarted", True)

        site.ctl("forget", "localhost", status=1)
        assert "nothing is known of 'nowhere'" in site.ctl("forget", "nowhere", status=1).stderr
    finally:
        site.end()
