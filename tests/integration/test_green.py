"""A site with everything wrong at once: every command names it; corrected, all is green again.

One certificate that no server class uses, one class with `probe = false`, one port with a foreign
certificate, one certificate that is held, one that has expired, and a reload that was refused.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.test_doctor import doctor, told
from tests.stand import nginx
from tests.stand.delivery_site import ZONE, DeliverySite, Table
from tests.stand.nginx import Nginx
from tests.stand.server import free_port, wait_until

pytestmark = pytest.mark.skipif(bool(nginx.missing()), reason=nginx.missing())

WEB, HELD, OLD, LONE = (f"{ZONE}/{one}" for one in ("web", "held", "old", "lone"))
KEY = "-----BEGIN PRIVATE KEY-----\n"
SERVICES = {one: [f"{one}.{ZONE}"] for one in ("web", "mail", "lone", "held", "old")}


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _cert(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: tuple[str, ec.EllipticCurvePrivateKey] | None = None,
    *,
    ended: timedelta = timedelta(days=-30),
) -> bytes:
    """Return a certificate of 90 days that has `ended` so long ago; without `signer` a CA's."""
    end = datetime.now(UTC).replace(microsecond=0) - ended
    issuer, its_key = signer or (name, key)

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    made = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=90))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(its_key.public_key()),
            critical=False,
        )
        .sign(its_key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


class Green:
    """The site, and the servers that its certificates are for: all on this machine."""

    def __init__(self, top: Path, stack: ExitStack) -> None:
        self.top = top
        self.site = DeliverySite(top / "site")
        stack.callback(self.site.end)
        self.port = free_port()
        self.mail_port = free_port()
        self._stack = stack
        self.site.services = dict(SERVICES)
        self.site.globals["dns_xtra_ns"] = "[]"
        self.foreign()
        self.web = stack.enter_context(self._nginx("web", self.port, self.top / "served"))
        reload = self.web.restart_cmd
        self.site.tables = {
            "imap": Table(["localhost"], f"[['{ZONE}', ['mail', 'held']]]", ["true"]),
            "web": Table(
                ["localhost"],
                f"[['{ZONE}', ['web', 'old']]]",
                [reload],
                probe=f"[[{self.port}, 'tls', 'web.{ZONE}']]",
            ),
        }
        self.site.tables["web"].more = "probe_timeout = 3"
        self.site.write()
        text = (self.site.conf / "ssl-mgr.conf").read_text()
        self.site.put("ssl-mgr.conf", text.replace("probe_timeout = 5\nprobe_", "probe_"))
        # Nobody can renew this one: its CA is out of reach.
        self.site.put("ca-info.conf", f"{(self.site.conf / 'ca-info.conf').read_text()}{_FAR}")
        old = self.site.conf / ZONE / "old"
        old.write_text(old.read_text().replace("'my-int'", "'far'"))
        self.expired()

    def _nginx(self, name: str, port: int, folder: Path) -> Nginx:
        pair = (folder / "fullchain.pem", folder / "privkey.pem")
        return Nginx(self.top / f"nginx-{name}", {}, tls=[pair], tls_port=port)

    def foreign(self) -> None:
        """Have the web server serve a certificate of somebody else's."""
        folder = self.top / "served"
        folder.mkdir()
        key = _key()
        (folder / "fullchain.pem").write_bytes(_cert("foreign.example.org", key))
        (folder / "privkey.pem").write_bytes(_pem(key))

    def expired(self) -> None:
        """Put a certificate into the tree that ended yesterday, as another tool had it made."""
        folder = self.site.top / "certs" / ZONE / "old"
        name = f"{datetime.now(UTC) - timedelta(days=91):%Y%m%d-%H:%M:%S}"
        (folder / "db" / name).mkdir(parents=True)
        ca_key, key = _key(), _key()
        ca = _cert("Far", ca_key, ended=timedelta(days=-60))
        cert = _cert(f"old.{ZONE}", key, ("Far", ca_key), ended=timedelta(days=1))
        files = {"privkey": _pem(key), "cert": cert, "chain": ca, "fullchain": cert + ca}
        for file, content in files.items():
            path = folder / "db" / name / f"{file}.pem"
            path.write_bytes(content)
            path.chmod(0o600)
        (folder / "curr").symlink_to(f"db/{name}")

    def serve_ours(self) -> None:
        """Let the web server read the certificate in use, and start a mail server with its own."""
        curr = self.site.prod / ZONE / "web/curr"
        for name in ("fullchain.pem", "privkey.pem"):
            (self.top / "served" / name).write_bytes((curr / name).read_bytes())
        subprocess.run(self.web.restart_cmd, shell=True, check=True)
        mail = self.site.prod / ZONE / "mail/curr"
        self._stack.enter_context(self._nginx("mail", self.mail_port, mail))


_FAR = """\
[far]
ca_type = 'certbot'
ca_server = 'https://127.0.0.1:9/directory'
"""


def test_everything_is_named_and_green_when_corrected(tmp_path: Path) -> None:
    with ExitStack() as stack:
        green = Green(tmp_path, stack)
        site = green.site
        # No mail server listens at the default port of this machine: it cannot be looked at.
        site.begin()
        site.wait_line("cannot be reached")
        site.wait_settled(f"{ZONE}/web", f"{ZONE}/old")
        site.wait_line("does not serve the new certificate")
        state = site.top / "certs" / ZONE / "held/state.toml"
        good_state = state.read_text()

        def is_held() -> bool:
            # What the daemon notes at this moment takes the place of the file.
            state.write_text("version = 99\n")
            site.ctl("reload")
            return "version" in (site.status(HELD)[HELD]["last_error"] or "")

        wait_until(is_held, "it to be held")
        main = site.conf / "ssl-mgr.conf"
        good = main.read_text()
        main.write_text(good.replace("min_roll_mins = 0", "min_roll_mins = -1"))
        site.ctl("reload", status=1)
        _all_is_named(site)

        # Corrected, one after the other. What is held goes on with the next command for it.
        state.write_text(good_state)
        site.status(HELD)
        wait_until(lambda: site.status()[HELD]["last_error"] is None, "it to go on")
        old = site.conf / OLD
        old.write_text(old.read_text().replace("'far'", "'my-int'"))
        cas = site.conf / "ca-info.conf"
        cas.write_text(cas.read_text().replace(_FAR, ""))
        green.serve_ours()
        text = good.replace("'old']", "'old', 'lone']").replace(
            "probe = false", f"probe = [[{green.mail_port}, 'tls', 'mail.{ZONE}']]"
        )
        main.write_text(text)
        assert site.status()[OLD]["curr"] is not None
        site.ctl("reload")
        site.ctl("restart", "web")
        site.ctl("restart", "imap")
        site.wait_settled()
        assert site.ctl("check").stdout.startswith("SSLMD OK")
        found = doctor(site, 0)
        elsewhere = ("names", "clock", "daemon")  # what this machine lacks
        assert {level for where, level, _ in found if where not in elsewhere} == {"ok"}, found
        assert told(found, "daemon", "wrong") == ""
        status = site.ctl("status").stdout
        assert "0 due, 0 in trouble" in status
        assert "probe = false" not in status
        assert "problem" not in site.ctl("show", OLD).stdout

        _what_does_not_belong_there(site)


def _all_is_named(site: DeliverySite) -> None:
    """Each command names all that is wrong, with the exit status that the manual says."""
    found = doctor(site, 1)
    bad = told(found, "daemon", "wrong")
    assert f"{HELD}: " in bad
    assert "version" in bad
    assert f"{OLD}: expired" in bad
    (lone,) = (text for _, level, text in found if "no server uses it" in text and level != "ok")
    assert f"{LONE}: no server uses it" in lone  # half a configuration says nothing of that
    assert "ssl-mgr.conf:2: globals.min_roll_mins" in bad
    assert "far" in told(found, "CAs", "wrong")
    assert f"{OLD}: set " in told(found, "sets", "wrong")
    mistakes = told(found, "configuration", "wrong")
    assert "ssl-mgr.conf:2: globals.min_roll_mins" in mistakes
    assert "a reload is refused" in mistakes
    assert "foreign.example.org" in told(found, "ports", "wrong")
    assert "[imap] localhost port 993" in told(found, "ports", "unseen")

    one = site.status()
    assert "version" in one[HELD]["last_error"]
    assert one[HELD]["next_try"] is not None
    assert "foreign.example.org" in one[WEB]["last_error"]
    assert (one[LONE]["unused"], one[WEB]["used_by"]) == (True, ["web"])
    (mail,) = one[f"{ZONE}/mail"]["servers"]
    assert (mail["state"], mail["unseen"]) == ("restarted", "not looked at: probe = false")
    shown = " ".join(site.ctl("status").stdout.split())
    for words in (
        "globals.min_roll_mins: -1 is too small",
        "the next start would fail",
        "it is of version 99",
        "foreign.example.org",
        "expired 24 h ago",
        "no server uses it",
        "imap on localhost restarted, but not looked at: probe = false",
        "4 in trouble",
    ):
        assert words in shown
    for cert, words in (
        (HELD, "it is of version 99"),
        (WEB, "foreign.example.org"),
        (OLD, "expired 24 h ago"),
        (LONE, "no server uses it"),
        (f"{ZONE}/mail", "not looked at: probe = false"),
    ):
        assert words in site.ctl("show", cert).stdout

    line = site.ctl("check", status=2).stdout
    assert f"{OLD} expired" in line
    assert "trouble=4;" in line
    for cert, words in (
        (HELD, "it is of version 99"),
        (WEB, "foreign.example.org"),
        (LONE, "no server uses it"),
    ):
        line = site.ctl("check", cert, status=1).stdout
        assert f"{cert} " in line
        assert words in line
        assert "the configuration was refused" in line
    assert site.ctl("dane").stdout == "none of the certificates has dane_tls\n"
    # What was refused before it was accepted is no wait: 1, not 5.
    site.ctl("renew", HELD, status=1)
    site.ctl("deliver", HELD, status=1)


def _what_does_not_belong_there(site: DeliverySite) -> None:
    """A key that nobody knows is named until it is said to be meant; what was withdrawn goes."""
    main = site.conf / "ssl-mgr.conf"
    (site.prod / ZONE / "mine.key").write_text(KEY)
    (site.prod / "old.example/www/curr").mkdir(parents=True)
    (site.prod / "old.example/www/curr/privkey.pem").write_text(KEY)
    (site.conf / LONE).unlink()
    main.write_text(main.read_text().replace(", 'lone'", ""))
    site.ctl("reload")
    wait_until(lambda: not (site.prod / LONE).exists(), "it to go")
    site.wait_line("do not belong there: ")
    assert (site.prod / "old.example/www/curr/privkey.pem").exists()
    done = site.ctl("check", status=1)
    assert f"{ZONE}/mine.key, old.example/www with its key" in done.stdout

    keep = f"keep = ['old.example', '{ZONE}/mine.key']"
    text = main.read_text().replace("[globals]", f"[globals]\n{keep}", 1)
    main.write_text(text.replace("probe = [[", "probe = 'none' # [["))
    site.ctl("reload")
    wait_until(lambda: "SSLMD OK" in site.ctl("check", status=None).stdout, "green")
    site.ctl("forget", "localhost", status=1)
    assert "nothing is known of 'nowhere'" in site.ctl("forget", "nowhere", status=1).stderr
