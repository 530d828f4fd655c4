"""What hosts have too little or too much of, as `sslmctl doctor` sees it."""

from __future__ import annotations

from pathlib import Path

from sslmd.core.host.needs import Belonging
from sslmd.core.names import CertId
from sslmd.doctor.servers import _of_needs, needs_there
from sslmd.doctor.symptoms import Grade
from sslmd.servers.ssh import ShellAnswer
from sslmd.store.note_kinds import HOST_NOTE, HostNote
from tests.stand.far import FAR, server_class
from tests.stand.tools import GLOBALS, GROUPS, INT, ROOT, WEB, Site
from tests.workers.test_restart import service as service_text

MAIL = CertId("example.com", "mail")


async def test_what_a_host_lacks_and_what_does_not_belong_there(tmp_path: Path) -> None:
    web = server_class("web", "[['example.com', ['web']]]")
    text = f"{GLOBALS}{GROUPS}{web}"
    site = Site(tmp_path, text, files={"example.com/mail": service_text("example.com", "mail")})
    for cert in (ROOT, INT, WEB, MAIL):
        await site.renew(cert)
        await site.deliver(cert)
    config = site.tools.site.config
    have = (
        *(("have", "with example.com/mail"), ("have", "with ca/old")),
        *(("have", "without Not/A Name"), ("stray", "ca/x/old.key")),
    )
    HOST_NOTE.write(site.tree.host_note(FAR), HostNote(holds=frozenset({MAIL}), machine="m"))
    found = needs_there(config, FAR, ShellAnswer(have, ""), site.now)
    assert [one.told.cert for one in found.lacking] == [WEB]
    assert [one.cert for one in found.to_go] == [MAIL]
    stray = Belonging("ca/x/old.key")
    assert found.surplus == [Belonging("ca/old", CertId("ca", "old"), has_key=True), stray]
    told = list(_of_needs("ssh", config, FAR, found, is_told=False))
    assert [one.level for one in told] == [Grade.WRONG, Grade.ODD, Grade.WRONG]
    assert "example.com/web" in told[0].text
    assert "example.com/mail with its key" in told[1].text
    assert "ca/old with its key, ca/x/old.key" in told[2].text
    # What the daemon says of it is not said again.
    assert list(_of_needs("ssh", config, FAR, found, is_told=True)) == told[:2]
    # What it has is not lacking.
    all_there = ShellAnswer((("have", "with example.com/web"),), "")
    assert needs_there(config, FAR, all_there, site.now).lacking == []
