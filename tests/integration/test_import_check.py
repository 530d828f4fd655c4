"""`sslmctl import --check` on the sites that ssl-mgr made, and on such sites altered by hand.

What it says is what a daemon would do: no file is changed by it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sslmd.setup.import_check import check
from tests.stand.responder import Responder
from tests.stand.server import ROOT, wait_until
from tests.stand.site import Site
from tests.stand.ssl_mgr_site import MADE, VERSIONS, files, name_server, through_links, unpack

# Nothing listens there.
CLOSED = 9

# Where the daemon does not do yet what is promised. All lines with this name can go, when it does.

AS_IT_IS = "it can be taken over: the first start makes, changes and restarts nothing"

Say = Callable[..., tuple[int, str]]


def snapshot(top: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        data = os.readlink(path).encode() if path.is_symlink() else b""
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else data
        found[str(path)] = (info.st_mode, info.st_mtime_ns, data)
    return found


@pytest.fixture
def say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Look at a tree; return exit status and text. Nothing may have been changed."""
    root = tmp_path / "root"
    root.mkdir()

    def look(top: Path, now: datetime = MADE) -> tuple[int, str]:
        before = snapshot(top)
        status = check(str(top), now, str(root))
        assert snapshot(top) == before
        return status, capsys.readouterr().out

    return look


def row(text: str, cert: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{cert} ")]
    return line


# --- as they are ------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_site_is_taken_over_as_it_is(tmp_path: Path, say: Say, version: str) -> None:
    """Its name server does not answer."""
    status, text = say(unpack(version, tmp_path, port=CLOSED))
    assert status == 0, text
    assert AS_IT_IS in text
    assert "NEW ROOT" not in text
    assert "AT ONCE" not in text
    assert "What would be" not in text


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_same_with_a_name_server_that_answers(
    tmp_path: Path, say: Say, version: str
) -> None:
    async with Responder(name_server) as responder:
        top = unpack(version, tmp_path, port=responder.server.port)
        here = f"port = {responder.server.port}"
        servers = f"nameservers = ['127.0.0.1:{responder.server.port}']"
        edit(top / "conf.d/ssl-mgr.conf", here, f"{here}\n    {servers}")
        status, text = await asyncio.to_thread(say, top)
    assert status == 0, text
    assert AS_IT_IS in text
    assert "cannot be asked" not in text
    assert responder.asked("MX")


async def test_a_tlsa_rr_that_is_missing_is_reported_and_not_written(
    tmp_path: Path, say: Say
) -> None:
    """MX hosts are known: the daemon would write it, and nobody else."""
    async with Responder(name_server) as responder:
        top = unpack("7.8.1", tmp_path, port=responder.server.port)
        here = f"port = {responder.server.port}"
        servers = f"nameservers = ['127.0.0.1:{responder.server.port}']"
        edit(top / "conf.d/ssl-mgr.conf", here, f"{here}\n    {servers}")
        path = (top / "certs/example.com/mail-ec/curr").resolve() / "tlsa.rr"
        path.unlink()
        _, text = await asyncio.to_thread(say, top)
    assert f"{path} is not there: it is written" in text


@pytest.mark.parametrize("version", VERSIONS)
def test_a_year_later_nothing_is_due(tmp_path: Path, say: Say, version: str) -> None:
    """What lies on deck waits for its TLSA records, for as long as nobody shows them."""
    status, text = say(unpack(version, tmp_path, port=CLOSED), MADE + timedelta(days=365))
    assert status == 0, text
    assert "on deck; waits for its TLSA records" in row(text, "example.com/mail-ec")


# --- altered ----------------------------------------------------------------------------


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new))


def other_names(top: Path) -> None:
    path = top / "conf.d/example.com/web-rsa"
    edit(path, "sans = [", "sans = ['shop.example.com', ")


def other_key(top: Path) -> None:
    edit(top / "conf.d/example.com/wild-ec", "secp256r1", "secp384r1")


def another_ca(top: Path) -> None:
    edit(top / "conf.d/example.com/web-rsa", "acorn-int", "acorn-root")


def renamed_root(top: Path) -> None:
    (top / "conf.d/ca/acorn-root").rename(top / "conf.d/ca/acorn-top")
    edit(top / "conf.d/ca/acorn-top", "'acorn-root'", "'acorn-top'")
    edit(top / "conf.d/ca/acorn-int", "'acorn-root'", "'acorn-top'")
    for name in ("ssl-mgr.conf", "ca-info.conf"):
        path = top / "conf.d" / name
        path.write_text(path.read_text().replace("acorn-root", "acorn-top"))


def another_root(top: Path) -> None:
    text = (top / "conf.d/ca/acorn-root").read_text().replace("acorn-root", "acorn-new")
    (top / "conf.d/ca/acorn-new").write_text(re.sub(r"CN = '.*'", "CN = 'New Root'", text))
    edit(top / "conf.d/ssl-mgr.conf", "'acorn-root', ", "'acorn-root', 'acorn-new', ")


def stale_production(top: Path) -> None:
    prev = top / "certs/example.com/web-ec/prev"
    for path in prev.iterdir():
        shutil.copy(path, top / "prod-certs/example.com/web-ec/curr" / path.name)


def next_in_waiting(top: Path) -> None:
    """The older set is in use again, and the newer one on deck."""
    folder = top / "certs/example.com/web-ec"
    new, old = os.readlink(folder / "curr"), os.readlink(folder / "prev")
    for name, target in (("curr", old), ("next", new)):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
    stale_production(top)


def records_of_another_key(top: Path) -> None:
    for path in top.rglob("tlsa.example.com"):
        text = path.read_text()
        data = next(line.split()[-1] for line in text.splitlines() if " TLSA 3 1 1 " in line)
        path.write_text(text.replace(data, "ab" * 32))


def a_service_less(top: Path) -> None:
    edit(top / "conf.d/ssl-mgr.conf", "['post-ec', 'site-ec']", "['site-ec']")


def next_is_curr(top: Path) -> None:
    folder = top / "certs/example.com/web-ec"
    (folder / "next").symlink_to(os.readlink(folder / "curr"))


def server_elsewhere(top: Path) -> None:
    edit(top / "conf.d/ssl-mgr.conf", "['localhost']", "['192.0.2.7']")


def diffie_hellman(top: Path) -> None:
    path = top / "conf.d/ssl-mgr.conf"
    path.write_text(f"{path.read_text()}\n[dh]\ngroups = ['example.com']\nparams = ['ffdhe2048']\n")


WEB = "prod-certs/example.com/web-ec/curr"


@pytest.mark.parametrize(
    ("version", "alter", "told"),
    [
        (
            "5.2.0",
            other_names,
            ["asks for other names: +shop.example.com"],
        ),
        ("5.2.0", other_key, ["asks for a key ec secp384r1"]),
        pytest.param(
            "5.2.0",
            another_ca,
            ["asks for the CA acorn-root"],
        ),
        (
            "5.2.0",
            another_root,
            [
                "NEW ROOT: there is no certificate yet",
                "NEW ROOT: ca/acorn-new would get another key",
            ],
        ),
        ("5.2.0", stale_production, [f"{WEB} is another set, or none: set 20261129-13:11:44"]),
        (
            "7.8.1",
            stale_production,
            [
                f"{WEB} is another set, or none: set 20261129-20:11:58",
                "[web] on localhost is restarted for",
                "restarted.sh web; ",
            ],
        ),
        pytest.param(
            "5.2.0",
            records_of_another_key,
            [
                "_25._tcp.mail.example.com TLSA 3 1 1 940a",
                "is added",
                f"TLSA 3 1 1 {'ab' * 15}… is removed",
                "[dns] restart_cmd is run for example.com",
            ],
        ),
        pytest.param(
            "5.2.0",
            a_service_less,
            [
                "_25._tcp.mail.example.net TLSA 3 1 1 583d",
                "is removed",
                "example.net/post-ec is in production",
            ],
        ),
        ("5.2.0", next_is_curr, ["web-ec/next leads to the same set"]),
        ("7.8.1", server_elsewhere, ["192.0.2.7 is visited by ssh"]),
        (
            "5.2.0",
            diffie_hellman,
            ["prod-certs/example.com/dh/dh-ffdhe2048.pem is written ([dh])"],
        ),
    ],
)
def test_what_would_be_done_is_told(
    tmp_path: Path,
    say: Say,
    version: str,
    alter: Callable[[Path], None],
    told: list[str],
) -> None:
    top = unpack(version, tmp_path, port=CLOSED)
    _, before = say(top)
    alter(top)
    status, text = say(top)
    assert status == 1
    assert AS_IT_IS not in text
    for one in told:
        assert one in text, f"{one!r} is not in:\n{text}"
        assert one not in before
    assert text.endswith("nothing was changed\n")


def test_what_is_due(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    # Within the five days of the spread, either side of 30 days before the end.
    status, text = say(top, datetime(2031, 10, 28, tzinfo=UTC))
    assert status == 1
    assert "is RENEWED AT ONCE: " in row(text, "example.com/web-rsa")
    assert "or until 2031-11-03: the day is drawn" in row(text, "example.com/web-rsa")
    # Past it: no doubt.
    status, text = say(top, datetime(2031, 11, 10, tzinfo=UTC))
    assert status == 1
    assert "the day is drawn" not in row(text, "example.com/web-rsa")
    # Past their end.
    status, text = say(top, datetime(2031, 12, 1, tzinfo=UTC))
    assert status == 1
    assert "AT ONCE: it expired on 2031-11-28" in row(text, "example.com/web-rsa")
    assert "is RENEWED" not in row(text, "ca/acorn-root")
    assert "NEW ROOT" not in text


def test_a_next_that_waits(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    next_in_waiting(top)
    # ssl-mgr made it at 19:11:44 UTC; min_roll_mins is 90.
    _, text = say(top)
    assert "rolls at 2026-11-29 20:41:44 UTC" in row(text, "example.com/web-ec")
    status, text = say(top, MADE + timedelta(days=1))
    assert status == 1
    assert "is ROLLED AT ONCE: next is issued" in row(text, "example.com/web-ec")
    assert "1 certificate rolled at once" in text


# --- CAs that cannot be used ------------------------------------------------------------


def key_lost(folder: Path) -> None:
    (folder / "privkey.pem").unlink()
    (folder / "bundle.pem").unlink()


def key_empty(folder: Path) -> None:
    (folder / "privkey.pem").write_bytes(b"")


def key_of_another(folder: Path) -> None:
    shutil.copy(folder.parents[2] / "acorn-int/curr/privkey.pem", folder / "privkey.pem")


def key_encrypted(folder: Path) -> None:
    path = str(folder / "privkey.pem")
    data = (folder / "privkey.pem").read_bytes()
    words = ["-aes256", "-passout", "pass:secret", "-out", path]
    subprocess.run(["openssl", "pkey", *words], check=True, capture_output=True, input=data)


@pytest.mark.parametrize("alter", [key_lost, key_empty, key_of_another, key_encrypted])
def test_a_root_without_its_key(tmp_path: Path, say: Say, alter: Callable[[Path], None]) -> None:
    """It is not replaced: what only an admin can decide is said, and the exit status is 1."""
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    curr = (top / "certs/ca/acorn-root/curr").resolve()
    alter(curr)
    status, text = say(top)
    assert status == 1
    assert "HELD, until an admin decides: " in row(text, "ca/acorn-root")
    assert "NEW ROOT" not in text
    assert "privkey.pem" in row(text, "ca/acorn-root")


def test_a_ca_without_curr(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    (top / "certs/ca/acorn-root/curr").unlink()
    status, text = say(top)
    assert status == 1
    assert "HELD, until an admin decides: " in row(text, "ca/acorn-root")
    assert "NEW ROOT" not in text
    assert "20261129-13:11:34" in row(text, "ca/acorn-root")


def test_a_root_by_another_name(tmp_path: Path, say: Say) -> None:
    """What it signed is there: it is not made again."""
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    renamed_root(top)
    status, text = say(top)
    assert status == 1
    assert "HELD, until an admin decides: " in row(text, "ca/acorn-top")
    assert "NEW ROOT" not in text


def test_a_root_that_is_asked_for_with_another_key(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    edit(top / "conf.d/ca/acorn-root", "secp384r1", "secp256r1")
    status, text = say(top)
    assert status == 1
    assert "HELD, until an admin decides: " in row(text, "ca/acorn-root")
    assert "NEW ROOT" not in text


# --- bad input --------------------------------------------------------------------------


def test_a_next_that_is_older_than_curr(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    folder = top / "certs/example.com/web-ec"
    (folder / "next").symlink_to(os.readlink(folder / "prev"))
    status, text = say(top)
    assert status == 1
    assert "set 20261129-13:11:41, is older than curr" in row(text, "example.com/web-ec")


def test_two_cas_of_one_name(tmp_path: Path, say: Say) -> None:
    """The site has a second root, which was made with the first one's names."""
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    _, before = say(top)
    assert "have the same name" not in before
    service = (top / "conf.d/ca/acorn-root").read_text().replace("acorn-root", "acorn-twin")
    service = re.sub(r"CN = '.*'", "CN = 'Acorn Twin'", service)
    (top / "conf.d/ca/acorn-twin").write_text(service)
    edit(top / "conf.d/ssl-mgr.conf", "'acorn-root', ", "'acorn-root', 'acorn-twin', ")
    curr = top / "certs/ca/acorn-twin/db/20261129-13:11:34"
    shutil.copytree((top / "certs/ca/acorn-root/curr").resolve(), curr)
    (curr.parents[1] / "curr").symlink_to("db/20261129-13:11:34")
    (curr / "privkey.pem").write_bytes(
        generate_private_key(SECP384R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    resign_subject(curr / "cert.pem", curr / "privkey.pem", top / "certs/ca/acorn-root/curr")
    _, text = say(top)
    assert "have the same name and different keys" in text
    assert "ca/acorn-twin and ca/acorn-root" in text or "ca/acorn-root and ca/acorn-twin" in text


def resign_subject(cert: Path, key: Path, like: Path) -> None:
    """Make a root with the key at `key` and just the name of the one in `like`."""
    old = x509.load_pem_x509_certificate((like / "cert.pem").read_bytes())
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, EllipticCurvePrivateKey)
    new = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, SHA384())
    )
    cert.write_bytes(new.public_bytes(Encoding.PEM))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
def test_a_tree_of_another_user(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    for folder, _, names in os.walk(top / "certs"):
        for path in (folder, *(f"{folder}/{name}" for name in names)):
            os.chown(path, 4711, 4711, follow_symlinks=False)
    status, text = say(top)
    assert status == 1
    assert f"certs_dir: {top}/certs belongs to uid 4711" in text
    assert "belongs to uid 4711" in row(text, "ca/acorn-root")
    assert "AT ONCE" not in text
    assert "NEW ROOT" not in text


def test_production_on_a_file_system_that_is_read_only(tmp_path: Path) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    prod = top / "prod-certs"
    mounted = f"mount --bind {prod} {prod} && mount -o remount,bind,ro {prod}"
    command = f'{mounted} && exec "$@"'
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*unshare, mounted, "sh"], check=False, capture_output=True).returncode:
        pytest.skip("unshare cannot mount anything here")
    check_it = [sys.executable, "-m", "sslmd.ctl.main", "import", "--check", str(top)]
    before = snapshot(top)
    done = subprocess.run(
        [*unshare, command, "sh", *check_it],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert snapshot(top) == before
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"prod_cert_dir: {prod} is on a file system that is read-only" in done.stdout


@contextmanager
def ssl_mgr(top: Path, folder: Path) -> Iterator[int]:
    """A program of that name that works on the tree; it ends with its input."""
    folder.mkdir()
    program = folder / "sslm-mgr"
    program.write_text("# of ssl_mgr\nimport sys\nprint('here', flush=True)\nsys.stdin.read()\n")
    running = subprocess.Popen(
        [sys.executable, program, "-renew"],
        env={**os.environ, "SSL_MGR_TOPDIR": str(top)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "here\n"
    try:
        yield running.pid
    finally:
        running.communicate()


def test_a_tree_that_ssl_mgr_works_on(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    with ssl_mgr(top, tmp_path / "bin") as pid:
        status, text = say(top)
        assert status == 1
        assert "ssl-mgr works on this tree" in text
        assert f"(process {pid}: its command" in text
        # Nor does a daemon start there.
        site = Site(top, example=None)
        site.start(ready=False)
        line = site.wait_line("ssl-mgr works on")
        assert f"ssl-mgr works on {top} at this moment (process {pid}" in line
        assert "Wait until it has ended" in line
        assert site.wait() == 1
        assert not (top / "certs/.sslmd.lock").exists()
    _, text = say(top)
    assert "at this moment" not in text


def test_two_trees_do_not_hold_up_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = unpack("5.2.0", tmp_path / "a", port=CLOSED), tmp_path / "b" / "ssl-mgr"
    (other / "conf.d").mkdir(parents=True)
    site = Site(one, example=None)
    with ssl_mgr(other, tmp_path / "bin"):
        site.start()
        assert site.stop() == 0


# --- what is said beside that -----------------------------------------------------------


def test_keys_that_others_can_read_are_said_and_are_no_change(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    was, before = say(top)
    key = (top / "certs/example.com/web-ec/curr").resolve() / "privkey.pem"
    key.chmod(0o644)
    status, text = say(top)
    assert f"{key} can be read by others: it becomes 0600" in text
    assert status == was
    assert text.splitlines()[-2:] == before.splitlines()[-2:]


def test_a_key_in_production_that_a_server_may_read_by_its_group_is_a_change(
    tmp_path: Path, say: Say
) -> None:
    top = unpack("7.8.1", tmp_path, port=CLOSED)
    key = top / "prod-certs/example.com/web-ec/curr/privkey.pem"
    key.chmod(0o640)
    status, text = say(top)
    assert status == 1
    assert f"{key} can be read by others: it becomes 0600" in text
    assert "key_group" in text


def test_groups_that_are_left_alone(tmp_path: Path, say: Say) -> None:
    _, text = say(unpack("5.2.0", tmp_path, port=CLOSED))
    assert "example.org is not active" in text


def test_usages_that_a_renewal_drops(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    edit(
        top / "conf.d/example.com/web-rsa",
        "[X509]",
        "[X509]\n    ext_key_usage = ['serverAuth', 'clientAuth', 'emailProtection', "
        "'codeSigning', 'timeStamping']",
    )
    _, text = say(top)
    (line,) = [line for line in text.splitlines() if "write ext_key_usage into [X509]" in line]
    assert "codeSigning, emailProtection, timeStamping: " in line
    assert "example.com/web-ec" in line
    assert "example.com/web-rsa" not in line
    assert "ca/" not in line


@pytest.mark.parametrize(
    ("element", "told"),
    [
        ("", "would have them at example.org, mail.example.org."),
        (", ['mail.example.org']", "would have them at mail.example.org."),
    ],
)
def test_ports_whose_records_are_at_other_hosts(
    tmp_path: Path, say: Say, element: str, told: str
) -> None:
    top = unpack("7.8.1", tmp_path, port=CLOSED)
    edit(
        top / "conf.d/example.org/mail-ec",
        "[465, 'tcp', 3, 1, 1, 'MX']",
        f"[465, 'tcp', 3, 1, 1{element}]",
    )
    status, text = say(top)
    assert status == 1
    (line,) = [line for line in text.splitlines() if "write into dane_tls" in line]
    assert "465 at example.org, mail.example.org, mx2.example.org" in line
    assert told in line
    assert "[465, 'tcp', 3, 1, 1, " in line.partition("write into dane_tls: ")[2]
    assert "_465._tcp.mx2.example.org TLSA 3 1 1 573f" in text


def test_cron_and_the_unit(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    (tmp_path / "root/etc/cron.d").mkdir(parents=True)
    (tmp_path / "root/etc/cron.d/certs").write_text("5 1 * * 2 root /usr/bin/sslm-mgr -renew\n")
    _, text = say(top)
    assert "etc/cron.d/certs starts sslm-mgr" in text
    assert "systemctl edit sslmd, and paste:\n      [Service]\n" in text
    assert f"Environment=SSL_MGR_TOPDIR={top}\n" in text


def test_mistakes_are_all_said(tmp_path: Path, say: Say) -> None:
    top = unpack("5.2.0", tmp_path, port=CLOSED)
    edit(top / "conf.d/ssl-mgr.conf", "min_roll_mins = 90", "min_roll_mins = 'soon'")
    edit(top / "conf.d/example.com/web-rsa", "rsa_bits = ", "rsa_bits = 1")
    status, text = say(top)
    assert status == 1
    assert "ssl-mgr.conf:" in text
    assert "min_roll_mins" in text
    assert "web-rsa:" in text


def test_the_command(tmp_path: Path) -> None:
    """As it is run, with the clock of today."""
    top = unpack("7.8.1", tmp_path, port=CLOSED)
    done = Site(top, example=None).ctl("import", "--check", str(top), status=0)
    assert AS_IT_IS in done.stdout
    assert done.stderr == ""


def test_a_start_does_what_was_said(tmp_path: Path, say: Say) -> None:
    """A command after the copy is run where something is copied; nothing else is done."""
    top = unpack("7.8.1", tmp_path, port=CLOSED)
    note = tmp_path / "noted"
    command = f"[['localhost', '/usr/bin/touch {note}']]"
    _, before_that = say(top)
    edit(top / "conf.d/ssl-mgr.conf", "[globals]", f"[globals]\n    post_copy_cmd = {command}")
    status, text = say(top)
    assert (status, "post_copy_cmd is run" in text) == (0, False), f"{before_that}\n{text}"
    (top / "prod-certs/example.com/web-ec/curr/fullchain.pem").unlink()
    status, text = say(top)
    assert status == 1
    assert f"run for localhost: /usr/bin/touch {note}" in text
    before = files(top, "certs", "prod-certs")
    site = Site(top, example=None)
    site.start()
    try:
        wait_until(note.exists, "the command after the copy")
    finally:
        assert site.stop() == 0
    for name, was in before.items():
        now = through_links(top, name) if not was.link else files(top, "certs").get(name)
        assert now is not None, name
        assert now.digest == was.digest, name
