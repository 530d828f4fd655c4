"""Builds configuration directories for the tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sslmd.config.grants import UNUSED
from sslmd.config.load import load
from sslmd.config.model import Config
from sslmd.core.errors import ConfigError, Mistake

ROOT = """\
name = 'Root'
group = 'ca'
service = 'my-root'
signing_ca = 'self'

[X509]
    CN = 'Root'
"""
INTERMEDIATE = """\
name = 'Intermediate'
group = 'ca'
service = 'my-int'
signing_ca = 'my-root'

[X509]
    CN = 'Intermediate'
"""
WEB = """\
name = 'Web'
group = 'example.com'
service = 'web'
signing_ca = 'my-int'

[X509]
    CN = 'example.com'
    sans = ['example.com', 'www.example.com']
"""
CAS = """\
[my-root]
    ca_type = 'self'

[my-int]
    ca_type = 'local'

[le-dns]
    ca_type = 'certbot'
    ca_validation = 'dns-01'

[le-http]
    ca_type = 'letsencrypt'
    ca_validation = 'http-01'
"""
MAIN = """\
[globals]
    verb = true

[[groups]]
    domain = 'ca'
    services = ['my-root', 'my-int']
    active = true
[[groups]]
    domain = 'example.com'
    services = ['web']
    active = true
[dns]
    acme_dir = 'acme'
    tlsa_dirs = ['tlsa']

[web]
    server_dir = 'sites'
    svc_depends = [['any', ['web']]]
"""


def is_unused(warning: Mistake) -> bool:
    """Whether a warning is of a certificate that no server uses."""
    return UNUSED in str(warning)


class Tree:
    """A right configuration, to which a test does something."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.conf = top / "conf.d"
        self.conf.mkdir(mode=0o755)
        self.write("ssl-mgr.conf", MAIN)
        self.write("ca-info.conf", CAS)
        self.write("ca/my-root", ROOT)
        self.write("ca/my-int", INTERMEDIATE)
        self.write("example.com/web", WEB)

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self.conf / name

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file, and its folder if need be."""
        path = self.path(name)
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.parent.chmod(0o755)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o644)

    def change(self, name: str, old: str, new: str) -> None:
        """Replace a text that is in a file once."""
        text = self.path(name).read_text()
        assert text.count(old) == 1
        self.write(name, text.replace(old, new))

    def load(self) -> Config:
        """Load it, without the warnings that no server uses a certificate: `MAIN` has none."""
        config = load(self.conf)
        kept = tuple(one for one in config.warnings if not is_unused(one))
        return replace(config, warnings=kept)

    def mistakes(self) -> list[str]:
        """Load it; return its mistakes as they are printed, files relative to conf.d."""
        with pytest.raises(ConfigError) as caught:
            self.load()
        assert str(caught.value) == "\n".join(map(str, caught.value.mistakes))
        return [self.short(str(mistake)) for mistake in caught.value.mistakes]

    def warnings(self) -> list[str]:
        """Load it; return its warnings in the same way."""
        return [self.short(str(warning)) for warning in self.load().warnings]

    def short(self, text: str) -> str:
        """Return a message with `conf.d` as `…`."""
        return text.replace(str(self.conf) + "/", "").replace(str(self.conf), "…")
