"""`sslmd init`: what it writes can be loaded, and it touches nothing that is there."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sslmd.config.first import (
    Answers,
    FirstCa,
    Found,
    Service,
    Validation,
    first_files,
    usual_names,
)
from sslmd.config.load import load
from sslmd.config.model import Config, ServerKind
from sslmd.daemon import main as daemon
from sslmd.setup import init as setup_init
from sslmd.setup.next_steps import next_steps
from tests.stand.forked import run_forked
from tests.stand.server import PATIENCE, ROOT, wait_until

SSLMD = [sys.executable, "-m", "sslmd.daemon.main"]
# Without the daemon's own modules, which take a second to load.
INIT = [sys.executable, "-c", "import sys; from sslmd.setup import init; sys.exit(init.run())"]


def init(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return run_forked(setup_init.run, ["sslmd init", *words])


def everything(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(one.relative_to(folder)): (one.stat().st_mode, one.read_text() if one.is_file() else "")
        for one in folder.rglob("*")
    }


SERVER = Found("it", "systemctl reload it")
HTTP = (FirstCa.LETSENCRYPT, Validation.HTTP_01)


def answered(
    conf_dir: Path,
    *names: str,
    how: tuple[FirstCa, Validation] = (FirstCa.OWN, Validation.DNS_01),
    dane: bool = False,
    found: Sequence[ServerKind] = (),
) -> Answers:
    services = tuple(Service(name, usual_names("example.com", name, *how)) for name in names)
    servers = dict.fromkeys(found, SERVER)
    return Answers("example.com", services, *how, "me@example.com", dane, str(conf_dir), servers)


def written(answers: Answers) -> Config:
    conf_dir = Path(answers.conf_dir)
    for path, text in first_files(answers).items():
        file = conf_dir / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if path.startswith("tools/") else 0o644)
    return load(conf_dir)


@pytest.mark.parametrize("dane", [False, True])
@pytest.mark.parametrize("found", [(), tuple(ServerKind)], ids=["none", "all"])
@pytest.mark.parametrize(
    "names", [("web-ec", "web-rsa", "mail-ec", "ldap-ec"), ("mail-ec",), ("ldap-ec",)], ids=str
)
@pytest.mark.parametrize(
    "how", [(FirstCa.OWN, Validation.DNS_01), (FirstCa.LETSENCRYPT, Validation.DNS_01), HTTP]
)
def test_every_combination_can_be_loaded(
    how: tuple[FirstCa, Validation],
    names: tuple[str, ...],
    found: tuple[ServerKind, ...],
    dane: bool,
    tmp_path: Path,
) -> None:
    answers = answered(tmp_path / "conf.d", *names, how=how, dane=dane, found=found)
    config = written(answers)
    assert not config.warnings
    expected = {f"example.com/{name}" for name in names}
    if answers.ca is FirstCa.OWN:
        expected |= {"ca/my-root", "ca/my-int"}
    assert {str(cert) for cert in config.services} == expected
    assert bool(config.dns.acme_dirs) == answers.needs_dns
    classes = {one.kind: one for one in config.server_classes}
    if answers.needs_web:
        assert classes[ServerKind.WEB].servers == ("localhost",)
        assert str(classes[ServerKind.WEB].server_dir) == "/var/www/acme"
    assert ServerKind.WEB in classes or not answers.needs_web


def test_servers_are_not_looked_at_before_they_read_our_files(tmp_path: Path) -> None:
    conf_dir = tmp_path / "conf.d"
    answers = answered(conf_dir, "web-ec", "web-rsa", "mail-ec", found=tuple(ServerKind))
    config = written(answers)
    assert [one.kind for one in config.server_classes] == ["smtp", "imap", "web"]
    # They are looked at, and count as soon as they serve ours.
    assert all(one.probes for one in config.server_classes)
    assert all(probe.optional for one in config.server_classes for probe in one.probes)
    main = conf_dir / "ssl-mgr.conf"
    live = config.globals.prod_cert_dir / "example.com" / "web-ec" / "curr"
    web = main.read_text().partition("[web]")[2]
    assert f"Have the server read {live}/fullchain.pem" in web
    assert f"{live}/privkey.pem: as soon as" in web
    told = "\n".join(next_steps(answers, None))
    assert f"# have it read {live}/fullchain.pem and privkey.pem" in told
    assert "then: sslmctl status shows that [smtp] [imap] [web] serve it" in told


def test_next_steps_for_the_usual_place() -> None:
    usual = Path("/etc/ssl-mgr/conf.d")
    told = "\n".join(next_steps(answered(usual, "ldap-ec"), "/usr/bin/sslmd"))
    assert "--conf-dir" not in told
    assert "systemctl edit" not in told
    assert "have" not in told
    told = "\n".join(next_steps(answered(usual, "mail-ec", how=HTTP), None))
    assert "install -d -m 0755 /var/www/acme " in told
    assert "    #   [Service]\n    #   ReadWritePaths=/var/www/acme\n" in told
    assert "on port 80, /var/www/acme/example.com/.well-known/" in told


def test_next_steps_for_another_place() -> None:
    answers = answered(Path("/srv/tls/conf.d"), "web-ec", dane=True)
    told = "\n".join(next_steps(answers, "/usr/bin/sslmd"))
    for command in ("sslmd --check-config", "sslmctl doctor", "sslmctl trust"):
        assert f"    {command} --conf-dir /srv/tls/conf.d" in told
    assert (
        "    systemctl edit sslmd     # write there:\n"
        "    #   [Service]\n"
        "    #   Environment=SSL_MGR_TOPDIR=/srv/tls\n"
        "    #   ReadWritePaths=/srv/tls /etc/bind/acme /etc/bind/tlsa\n"
        "    systemctl enable --now sslmd\n"
    ) in told
    answers = answered(Path("/srv/tls/site"), "web-ec")
    told = "\n".join(next_steps(answers, "/usr/local/bin/sslmd"))
    assert (
        "    #   [Service]\n"
        "    #   ExecStart=\n"
        "    #   ExecStart=/usr/local/bin/sslmd --conf-dir /srv/tls/site\n"
        "    #   ReadWritePaths=/srv/tls\n"
    ) in told
    assert "SSL_MGR_TOPDIR" not in told


SAID = ["--domain", "example.com", "--ca", "own", "--service", "web-ec", "--no-dane"]


def test_where_nobody_can_be_asked(tmp_path: Path) -> None:
    conf_dir = tmp_path / "conf.d"
    done = init("--conf-dir", conf_dir, "--domain", "example.com", "--ca", "letsencrypt")
    assert done.returncode == 2
    assert (
        "nobody is there to ask for --validation, --service, --dane or --no-dane; say --yes to "
        "take the defaults"
    ) in done.stderr
    assert os.listdir(tmp_path) == []
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *INIT, "--conf-dir", str(conf_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert closed.returncode == 2
    assert "nobody is there to ask for --domain, --ca, --service" in closed.stderr
    done = init("--conf-dir", conf_dir, *SAID)
    assert done.returncode == 0, done.stderr
    assert len(load(conf_dir).services) == 3


@pytest.mark.parametrize("words", [["--help"], ["init", "--help"], ["--check-config"]], ids=str)
def test_a_terminal_that_cannot_show_every_sign(words: Sequence[str], tmp_path: Path) -> None:
    conf_dir = tmp_path / "ä…" / "conf.d"
    assert init("--conf-dir", tmp_path / "conf.d", *SAID).returncode == 0
    conf_dir.parent.mkdir()
    (tmp_path / "conf.d").rename(conf_dir)
    done = subprocess.run(
        [*SSLMD, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "SSL_MGR_TOPDIR": str(conf_dir.parent)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    if words != ["--help"]:
        assert b"\\u2026" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--ca", "own"],
        ["--ca", "letsencrypt", "--email", "hostmaster@example.com"],
        ["--ca", "letsencrypt", "--validation", "http-01"],
        ["--service", "web-ec,web-rsa", "--service", "mail-ec", "--dane"],
    ],
)
def test_flags_and_the_check(words: Sequence[str], tmp_path: Path) -> None:
    conf_dir = tmp_path / "top" / "conf.d"
    done = init("--conf-dir", conf_dir, "--domain", "example.com", "--yes", *words)
    assert done.returncode == 0, done.stderr
    assert f"{conf_dir} is written" in done.stdout
    assert os.listdir(conf_dir.parent) == ["conf.d"]
    for name, (mode, _) in everything(conf_dir).items():
        tool = name.startswith("tools") or stat.S_ISDIR(mode)
        assert stat.S_IMODE(mode) == (0o755 if tool else 0o644), name
    checked = run_forked(daemon.main, ["sslmd", "--check-config", "--conf-dir", conf_dir])
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_folder_that_the_package_made_is_used(tmp_path: Path) -> None:
    conf_dir = tmp_path / "conf.d"
    conf_dir.mkdir()
    words = ["--conf-dir", str(conf_dir), "--domain", "example.com", "--yes"]
    subprocess.run([*SSLMD, "init", *words], cwd=ROOT, check=True)
    assert (conf_dir / "ssl-mgr.conf").exists()


def test_a_configuration_that_is_there_stays(tmp_path: Path) -> None:
    conf_dir = tmp_path / "conf.d"
    conf_dir.mkdir()
    (conf_dir / "notes").write_text("mine")
    before = everything(tmp_path)
    done = init("--conf-dir", conf_dir, "--domain", "example.com", "--yes")
    assert done.returncode == 1
    assert f"there is a configuration in {conf_dir} already (notes)" in done.stderr
    assert "nothing was written" in done.stderr
    assert everything(tmp_path) == before
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    done = init("--conf-dir", tmp_path / "link", "--domain", "example.com", "--yes")
    assert done.returncode == 1
    assert "is no folder" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which domain?"),
        (["--domain", "ca"], "domain"),
        (["--domain", "exa'mple.com"], "domain"),
        (["--domain", "../etc"], "domain"),
        (["--domain", "*.example.com"], "domain"),
        (["--domain", "example.com", "--service", "../web"], "service"),
        (["--domain", "example.com", "--service", "dh"], "is for Diffie-Hellman groups"),
        (["--domain", "example.com", "--email", "me'@example.com"], "no mail address"),
        (["--domain", "example.com", "--ca", "other"], "invalid choice"),
        (["--domain", "example.com", "--validation", "dns-01"], "--ca letsencrypt"),
        (["--domain", "example.com", "--conf-dir", "/tmp/a 'b"], "letters, digits"),
    ],
)
def test_wrong_options(words: Sequence[str], message: str, tmp_path: Path) -> None:
    done = init("--conf-dir", tmp_path / "conf.d", *words, "--yes")
    assert done.returncode == 2
    assert message in done.stderr
    assert os.listdir(tmp_path) == []


def test_without_rights(tmp_path: Path) -> None:
    done = init("--conf-dir", "/proc/conf.d", "--domain", "example.com", "--yes")
    assert done.returncode == 1
    assert "/proc" in done.stderr
    assert "nothing was written" in done.stderr


class Person:
    """Somebody at a terminal."""

    def __init__(self, *words: str | Path) -> None:
        ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [*INIT, *map(str, words)],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            # A shell's background jobs ignore it, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(theirs)
        self._terminal = ours
        self.seen = ""

    def answer(self, question: str, text: str) -> None:
        self._read_until(question)
        os.write(self._terminal, f"{text}\n".encode())

    def interrupt(self, question: str) -> None:
        self._read_until(question)
        # Python notes a signal that comes right before it reads, and reads all the same.
        stat = Path(f"/proc/{self._process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", "it to wait")
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        self._read_until(None)
        os.close(self._terminal)
        return self._process.wait(30)

    def _read_until(self, text: str | None) -> None:
        start = len(self.seen)
        while text is None or text not in self.seen[start:]:
            assert select.select([self._terminal], [], [], PATIENCE)[0], self.seen
            try:
                data = os.read(self._terminal, 4096)
            except OSError:  # the terminal's other end is closed
                data = b""
            if not data:
                assert text is None, self.seen
                return
            self.seen += data.decode()


def test_a_person_answers(tmp_path: Path) -> None:
    conf_dir = tmp_path / "conf.d"
    person = Person("--conf-dir", conf_dir, "--ca", "letsencrypt")
    person.answer("Your domain", "exa mple")
    person.answer("Your domain", "example.org")
    person.answer("dns-01, http-01", "http-01")
    person.answer("Certificates", "web-ec mail-ec")
    person.answer("Names in web-ec", "example.org *.example.org")
    person.answer("Names in web-ec", "example.org www.example.org img.example.org")
    person.answer("Names in mail-ec", "")
    person.answer("Contact", "me@example.org")
    person.answer("TLSA", "")
    person.answer("Write it?", "y")
    assert person.end() == 0, person.seen
    assert "http-01 cannot prove a wildcard" in person.seen
    config = load(conf_dir)
    names = {str(cert): list(map(str, one.spec.names)) for cert, one in config.services.items()}
    assert names == {
        "example.org/web-ec": ["example.org", "www.example.org", "img.example.org"],
        "example.org/mail-ec": ["mail.example.org"],
    }


def test_what_is_odd_is_told(tmp_path: Path) -> None:
    """As where the files will be, not where they were looked at."""
    conf_dir = tmp_path / "conf.d"
    person = Person("--conf-dir", conf_dir, "--domain", "example.org", "--no-dane", "--ca", "own")
    person.answer("Certificates", "web-ec")
    person.answer("Names in web-ec", "example.org example.org")
    person.answer("Contact", "")
    person.answer("Write it?", "y")
    assert person.end() == 0, person.seen
    file = f"{conf_dir}/example.org/web-ec"
    assert re.search(rf"^warning: {file}:\d+: .*'example.org' is there twice", person.seen, re.M)


@pytest.mark.parametrize("how", ["no", "\x04", "interrupt"])
def test_a_person_thinks_better_of_it(how: str, tmp_path: Path) -> None:
    person = Person("--conf-dir", tmp_path / "conf.d", "--domain", "example.org", "--dane")
    for question in ("Who signs", "Certificates", "Names in web-ec", "Contact"):
        person.answer(question, "")
    if how == "interrupt":
        person.interrupt("Write it?")
    else:
        person.answer("Write it?", how)
    assert person.end() == 1, person.seen
    assert "nothing was written" in person.seen
    assert os.listdir(tmp_path) == []


KILLED_AT_EACH_STEP = """\
import os, sys
from sslmd.setup import init

def watch(event, args):
    global left
    writes = event == "open" and args[2] & os.O_WRONLY
    if writes or event in ("os.mkdir", "os.rename", "os.link", "os.chmod"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)

left, count, status = 0, 0, 9
sys.addaudithook(watch)
while status == 9:
    count += 1
    top = f"{sys.argv[1]}/{count}"
    os.mkdir(top)
    pid = os.fork()
    if pid == 0:
        left = count
        os._exit(init.run(["--conf-dir", f"{top}/conf.d", "--domain", "example.com", "--yes"]))
    status = os.waitpid(pid, 0)[1]
sys.exit(status)
"""


def test_no_moment_at_which_half_of_it_is_there(tmp_path: Path) -> None:
    """Killed at each step of writing: the folder is whole or not there."""
    command = [sys.executable, "-c", KILLED_AT_EACH_STEP, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    runs = list(tmp_path.iterdir())
    assert len(runs) > 10
    whole = [run for run in runs if (run / "conf.d").exists()]
    assert 1 <= len(whole) < 4
    for run in whole:
        assert len(load(run / "conf.d").services) == 3
