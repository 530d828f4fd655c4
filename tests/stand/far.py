"""A site whose certificates are copied to a host of its own: an sshd with its own files."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sslmd.core.jobs import Copy, Told
from sslmd.core.names import CertId
from tests.reasons import because
from tests.stand import host
from tests.stand.host import Host
from tests.stand.server import PLACES
from tests.stand.sshd import ssh_on_path
from tests.stand.tools import GLOBALS, GROUPS, INT, ROOT, WEB, Site
from tests.workers.test_restart import MAIL
from tests.workers.test_restart import service as service_text

FAR = "far.example.net"
# Another name of the same machine.
ALSO = "also.example.net"
EVERYTHING = "[['any', ['ALL']]]"


def server_class(name: str, grants: str, *more: str, hosts: str = FAR) -> str:
    """Return a table of the configuration."""
    lines = [f"[{name}]", f"servers = ['{hosts}']", f"svc_depends = {grants}", "probe = false"]
    return "\n".join([*lines, *more, ""])


class FarSite:
    """A site, the host `far`, and in `sent` all that rsync was ever told to bring there."""

    def __init__(self, top: Path, far: Host, classes: str) -> None:
        self.site = Site(
            top / "site",
            f"{GLOBALS}{GROUPS}{classes}",
            files={"example.com/mail": service_text("example.com", "mail")},
        )
        self.far = far
        self.sent = top / "sent"

    def configure(self, classes: str, globals_: str = "") -> None:
        """Have other server classes from now on."""
        self.site.write("ssl-mgr.conf", f"{GLOBALS}{globals_}{GROUPS}{classes}")
        config = self.site.tools.site.config
        self.site.reload()
        assert self.site.tools.site.config != config

    async def made(self, *certs: CertId) -> FarSite:
        """Make certificates and have them in production; return itself."""
        for cert in certs or (ROOT, INT, WEB, MAIL):
            await self.site.renew(cert)
            await self.site.deliver(cert)
            self.site.save(cert)
        return self

    def job(self, *certs: CertId) -> Copy:
        """Return the job that copies the sets in use."""
        return Copy(FAR, tuple(Told(cert, self.site.live(cert)) for cert in certs), because("test"))

    def curr(self, cert: CertId) -> Path:
        """Return where the host has a certificate."""
        return self.far.root / cert.group / cert.service / "curr"

    def there(self) -> set[str]:
        """Return the certificates that the host has."""
        found = self.far.root.glob("*/*/curr")
        return {f"{one.parent.parent.name}/{one.parent.name}" for one in found}

    def was_sent(self) -> set[str]:
        """Return the files that were sent."""
        found = self.sent.rglob("*")
        return {"/".join(path.parts[-3:]) for path in found if path.is_file()}

    def waiting(self) -> list[str]:
        """Return what still lies here to be sent."""
        folder = Path(self.site.tree.root) / ".outgoing"
        return os.listdir(folder) if folder.exists() else []


@contextmanager
def far_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: str, *, disk: str = ""
) -> Iterator[FarSite]:
    """Start the host and find it by `ssh`; skip where programs are missing."""
    if lacking := host.missing():
        pytest.skip(lacking)
    with Host(tmp_path / "far", [FAR, ALSO], tmp_path / "site" / "prod-certs", disk=disk) as far:
        path = ssh_on_path(tmp_path / "bin", far)
        made = FarSite(tmp_path, far, classes)
        rsync = shlex.quote(str(shutil.which("rsync", path=PLACES)))
        # The last word but one is the folder that is sent.
        (path / "rsync").write_text(f"""\
#!/bin/sh
for word; do before=$last last=$word; done
mkdir -p {shlex.quote(str(made.sent))}
cp -a "$before" {shlex.quote(str(made.sent))}/$$
exec {rsync} "$@"
""")
        (path / "rsync").chmod(0o755)
        monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
        yield made
