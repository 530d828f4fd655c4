"""Every command that the documents show is run as it stands there; other blocks are what they say.

Most run in a booted Debian with the package, in the order of the documents, as root. What cannot
sensibly run there is in `ELSEWHERE`, with the test that runs it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from sslmd.config.first import Answers, FirstCa, Service, first_files
from sslmd.config.load import load
from tests.packaging.documents import MARKDOWN, Block, Command, blocks, commands
from tests.packaging.scenes import AGENT, BEFORE, HOME, prepared
from tests.packaging.story import Site
from tests.stand.machine import Machine, package, skip_unless_possible
from tests.stand.server import ROOT, wait_until

BLOCKS = blocks()
COMMANDS = [command for block in BLOCKS for command in commands(block)]
# README, "A short tour": on the example, which needs no machine.
TOUR = [one for one in COMMANDS if one.block.heading == "A short tour"]

HERE = "tests/packaging/test_docs_commands.py"
_DANE = (
    "needs a mail server, a signed zone and a resolver that validates",
    "tests/integration/test_dane_verdicts.py::test_others_agree_before_during_and_after_a_roll",
)
_ACCOUNTS = "tests/acme/test_accounts.py::test_certbot_shows_it"
_CHANGED = "tests/acme/test_account_changes.py::test_contact_and_end"
_REPLACED = "tests/integration/test_replace.py::test_a_drill_and_a_replacement_that_is_waited_for"
# Why a command does not run in the machine, and the test that runs it, or what it does.
ELSEWHERE = {
    **{
        one.text: ("belongs to the example", f"{HERE}::test_the_tour_of_the_readme") for one in TOUR
    },
    "make run": ("needs a checkout", f"{HERE}::test_the_tour_of_the_readme"),
    "make test": ("would run this", f"{HERE}::test_make_test_runs_before_a_change_lands"),
    "make deb": (
        "needs a checkout and a network",
        "tests/packaging/test_machine.py::test_the_package_from_its_installation_to_its_end",
    ),
    "make install PREFIX=/usr/local": (
        "needs a checkout and a network",
        "tests/packaging/test_install.py::test_everything_is_there",
    ),
    "(cd packaging/arch && makepkg -si)": (
        "needs Arch Linux",
        "tests/packaging/test_install.py::test_arch_gets_the_same",
    ),
    "posttls-finger -c -l dane -L summary,certmatch example.com": _DANE,
    "danetool --check mail.example.com --port 25 --starttls-proto smtp": _DANE,
}
for one in COMMANDS:
    if one.text.startswith("/usr/lib/sslmd/bin/certbot "):
        ELSEWHERE[one.text] = (
            "needs an ACME CA",
            "tests/integration/test_acme_known_keys.py"
            "::test_a_certificate_is_revoked_and_an_account_ended",
        )
    elif one.text.startswith("certbot show_account "):
        ELSEWHERE[one.text] = ("needs an ACME CA", _ACCOUNTS)
    elif one.text.startswith("sslmctl account "):
        ELSEWHERE[one.text] = ("needs an ACME CA", _CHANGED)
    elif one.text.startswith("sslmctl replace "):
        ELSEWHERE[one.text] = ("needs an ACME CA", _REPLACED)

# The exit status that the text says, where it is not 0.
STATUS = {"sslmctl roll example.com:web-ec": 1}  # README: earlier is refused
# Output that the site of this test cannot have.
OUTPUT_ELSEWHERE = {
    "sslmctl dane example.com:mail-ec": _DANE,
    "sslmctl status example.com:mail-ec": (
        "needs a signed zone",
        "tests/integration/test_dane.py::test_ten_cycles",
    ),
}

# What asks a person, who presses Enter each time.
ASKS = {"sslmd init": r'printf "\n\n\n\n\n\n\n" | script -qec "sslmd init" /dev/null'}

# What differs from run to run.
_VARYING = (
    (re.compile(r"\d{8}-\d\d:\d\d:\d\d"), "SET"),
    (re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?( [A-Z]{3,4})?)?"), "DATE"),
    (re.compile(r"\b[0-9a-f]{20,}\b"), "HEX"),
    (re.compile(r"renews \S+ on"), "renews CERT on"),  # by the draw
    (re.compile(r"\d+"), "N"),
    (re.compile(r"\s+"), " "),
)


class Shell:
    """What a person has before them: `cd` and `export` hold for the commands that follow."""

    def __init__(self, run: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
        self._run = run
        self._kept = "exec 2>&1\n"

    def type(self, command: Command) -> None:
        """Run a command; raise AssertionError if status or output are not as the document says."""
        done = self._run(self._kept + ASKS.get(command.text, command.text))
        wanted = STATUS.get(command.text, 0)
        assert done.returncode == wanted, (
            f"{command}\nexit status {done.returncode}, not {wanted}:\n{done.stdout}"
        )
        if command.text.startswith(("cd ", "export ")):
            self._kept += command.text + "\n"
        if command.shown and command.text not in OUTPUT_ELSEWHERE:
            said = "".join(shape(line) + "\n" for line in done.stdout.splitlines())
            assert re.fullmatch("".join(map(pattern, command.shown)), said), f"{command}\n{said}"


def pattern(line: str) -> str:
    """Return what a line of output has to match; `…` stands for any text, alone for any lines."""
    if line.strip() == "…":
        return r"(.*\n)*?"
    return re.escape(shape(line)).replace("…", ".*") + r"\n"


def shape(line: str) -> str:
    """Return a line of output without what differs from run to run."""
    for varying, word in _VARYING:
        line = varying.sub(word, line)
    return line.rstrip()


# --- without a machine ----------------------------------------------------------------


def test_every_kind_of_block_is_known() -> None:
    """A fence says what is in it, and a test looks whether it is: ```sh, ```toml ssl-mgr.conf …"""
    known = {*PLAIN, *IN_MACHINE}
    unknown = [f"{block}: {block.kind!r}" for block in BLOCKS if _kind(block) not in known]
    assert not unknown, f"none of {sorted(known)}: {unknown}"


def test_every_exception_is_of_a_command_and_has_its_test() -> None:
    texts = {command.text for command in COMMANDS}
    assert not {*ELSEWHERE, *STATUS, *OUTPUT_ELSEWHERE, *ASKS} - texts
    for _, test in (*ELSEWHERE.values(), *OUTPUT_ELSEWHERE.values()):
        path, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test


def test_every_scene_has_its_heading() -> None:
    headings = {(block.path.name, block.heading) for block in BLOCKS}
    assert not BEFORE.keys() - headings


def test_make_test_runs_before_a_change_lands() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text().splitlines()


def test_commands_within_sentences_are_understood() -> None:
    """Of those that are not run: the subcommand is one, and has the options."""
    wrong = []
    for path in MARKDOWN:
        spans = re.findall(r"`((?:sslmctl|sslmd|sslm-[a-z-]+) [^`]+)`", path.read_text())
        for command in " && ".join(spans).split(" && "):
            words = command.replace("…", " ").split()
            options = {word for word in words if word.startswith("-")}
            sub = [word for word in words[1:2] if word.islower() and word not in options]
            known = re.findall(r"(?<![\w-])--?[\w-]+", manual(words[0], *sub))
            if not known or not options <= set(known):
                wrong.append(f"{path.name}: {command}")
    assert not wrong


@cache
def manual(program: str, *sub: str) -> str:
    """Return what a program says of itself with --help; nothing if it does not know `sub`."""
    command = [str(Path(sys.executable).with_name(program)), *sub, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout if done.returncode == 0 else ""


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.kind not in ("sh", "console")], ids=str
)
def test_a_block_is_what_it_says(block: Block, tmp_path: Path) -> None:
    if look := PLAIN.get(_kind(block)):
        look(block, tmp_path)


def is_no_command(block: Block, _: Path) -> None:
    programs = "make|apt|sslm[a-z-]*|systemctl|journalctl|ssh[a-z-]*|tar|rsync|certbot|rndc|[$]"
    for line in block.text.splitlines():
        assert not re.match(rf"({programs}) ", line), f"{block}: looks like a command: {line}"


def is_json(block: Block, _: Path) -> None:
    for line in block.text.splitlines():
        assert json.loads(line.removeprefix("> ").removeprefix("< "))["jsonrpc"] == "2.0"


def is_configuration(block: Block, folder: Path) -> None:
    """As part of a first configuration it has neither mistakes nor warnings."""
    services = Service("web-ec", ("example.com",)), Service("mail-ec", ("mail.example.com",))
    conf = folder / "conf.d"
    for name, text in first_files(Answers("example.com", services, FirstCa.OWN)).items():
        (conf / name).parent.mkdir(parents=True, exist_ok=True)
        (conf / name).write_text(text)
    main = conf / "ssl-mgr.conf"
    tables = {main: tomllib.loads(main.read_text())}
    for name in ("smtp", "web"):  # as they would be if a server had been found
        users = {"servers": ["localhost"], "svc_depends": [["example.com", ["ALL"]]]}
        tables[main][name] = {**users, "restart_cmd": "systemctl reload it"}
    for service in services:
        path = conf / "example.com" / service.name
        tables[path] = tomllib.loads(path.read_text())
        del tables[path]["used_by"]  # it says that no server was found
    for one in BLOCKS:  # what stands below a heading is one configuration
        if _kind(one) == "toml" and (one.path, one.heading) == (block.path, block.heading):
            path = conf / one.kind.split()[1]
            tables.setdefault(path, tomllib.loads(path.read_text()))
            merge(tables[path], tomllib.loads(one.text))
    for path, changed in tables.items():
        path.write_text(tomli_w.dumps(changed))
    for file in (conf, *conf.rglob("*")):
        file.chmod(file.stat().st_mode & ~0o022)
    assert not load(conf).warnings


def merge(tables: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and name in tables:
            merge(tables[name], value)
        else:
            tables[name] = value


PLAIN: dict[str, Callable[[Block, Path], None]] = {
    "text": is_no_command,
    "json": is_json,
    "toml": is_configuration,
}


def test_the_tour_of_the_readme(tmp_path: Path) -> None:
    """`make run`, and in another terminal what the README shows: what is answered, too."""
    for name in ("Makefile", "pyproject.toml", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "conf.d-example", tmp_path / "conf.d-example")
    for one in (tmp_path / "conf.d-example").rglob("*"):
        one.chmod(one.stat().st_mode & ~0o022)
    # The environment is there: -o keeps make from bringing it up to date.
    make = ["make", "--old-file=.venv/.ready", "run"]
    log = (tmp_path / "log").open("w")
    daemon = subprocess.Popen(
        make, cwd=tmp_path, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
    )

    def typed(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, stdout=-1, text=True, timeout=60, check=False
        )

    try:
        told = f"{tmp_path}/.venv/bin/sslmctl --socket {tmp_path}/run/sslmd.sock status"
        wait_until(lambda: "6 live" in typed(f"{told} 2>&1").stdout, "the example")
        assert told in (tmp_path / "log").read_text()
        shell = Shell(typed)
        for command in TOUR:
            shell.type(command)
        assert "web" in (tmp_path / "run/restarts.log").read_text()
    finally:
        os.killpg(daemon.pid, signal.SIGINT)
        try:
            assert daemon.wait(30) in (0, 2, -signal.SIGINT)  # what make says of its end
        finally:
            log.close()
            daemon.kill()


# --- in a machine ---------------------------------------------------------------------


def test_every_command_of_the_documents() -> None:
    """One story, in the order of the documents; what went wrong is told in the end."""
    skip_unless_possible()
    deb = package("bookworm")
    wrong = []
    with Machine("bookworm") as machine:
        prepared(machine, deb)
        machine.boot()
        site = Site(machine)

        def typed(script: str) -> subprocess.CompletedProcess[str]:
            within = f"cd {HOME}; export SSH_AUTH_SOCK={AGENT}\n{script}"
            return machine.run("bash", "-o", "pipefail", "-c", within, status=None)

        scene = dict(BEFORE)
        for block in BLOCKS:
            try:
                if begin := scene.pop((block.path.name, block.heading), None):
                    begin(site)
                if look := IN_MACHINE.get(_kind(block)):
                    look(block, site, Shell(typed))
            except AssertionError as err:
                log = machine.run("journalctl", "-u", "sslmd", "-n", "8", "-o", "cat").stdout
                wrong.append(f"{block}: {err}\nThe journal of sslmd ends with:\n{log}")
        for text in sorted(within_sentences()):
            done = typed(f"exec 2>&1; {text}")
            if done.returncode not in (0, 1) or "usage:" in done.stdout:
                wrong.append(f"{text}: {done.returncode}: {done.stdout}")
    assert not wrong, "\n\n".join(wrong)


def within_sentences() -> set[str]:
    """Return commands on something that is there. Whether they do anything is up to the moment."""
    programs = "sslmctl|sslm-[a-z]+|journalctl|install|rndc|delv"
    found = set()
    for path in MARKDOWN:
        text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        spans = re.findall(rf"`((?:{programs}) [^`]+)`", text.replace("\n", " "))
        found |= {one for one in spans if re.search(r"example\.com|/etc/|SSLM_", one)}
    return {one for one in found if "…" not in one}


def runs(block: Block, _: Site, shell: Shell) -> None:
    for command in commands(block):
        if command.text not in ELSEWHERE:
            shell.type(command)


def is_program(block: Block, site: Site, _: Shell) -> None:
    """It runs, on nothing but Debian's Python."""
    site.run("/usr/bin/python3", "-I", "-", given=block.text)


def is_drop_in(block: Block, site: Site, _: Shell) -> None:
    with_it = "/etc/systemd/system/sslmd.service.d/shown.conf"
    site.machine.write(with_it, block.text)
    unit = "/lib/systemd/system/sslmd.service"
    done = site.run("systemd-analyze", "verify", "--man=no", unit, status=None)
    site.run("rm", with_it)
    assert (done.returncode, done.stderr) == (0, "")


def is_polkit_rule(block: Block, site: Site, _: Shell) -> None:
    rule = "/etc/polkit-1/rules.d/50-shown.rules"
    site.machine.write(rule, block.text)
    site.run("systemctl", "restart", "polkit")
    pid = site.run("systemctl", "show", "--value", "-p", "MainPID", "polkit").stdout.strip()
    said = site.run("journalctl", f"_PID={pid}", "-o", "cat").stdout
    site.run("rm", rule)
    assert "Error" not in said, said


def is_nginx(block: Block, site: Site, _: Shell) -> None:
    site.machine.write("/etc/nginx/conf.d/shown.conf", block.text)
    done = site.run("nginx", "-t", status=None)
    site.run("rm", "/etc/nginx/conf.d/shown.conf")
    assert done.returncode == 0, done.stderr


def is_sudoers(block: Block, site: Site, _: Shell) -> None:
    site.run("visudo", "-c", "-f", "-", given=block.text)


def is_named(block: Block, site: Site, _: Shell) -> None:
    """`named update-policy` is a part of that statement; without it, of named.conf."""
    text = block.text
    if block.kind.endswith(" update-policy"):
        text = f'zone "example.com" {{ type primary; file "z"; update-policy {{ {text} }}; }};'
    site.machine.write("/root/shown.conf", text)
    site.run("named-checkconf", "/root/shown.conf")


IN_MACHINE: dict[str, Callable[[Block, Site, Shell], None]] = {
    "sh": runs,
    "console": runs,
    "python": is_program,
    "ini": is_drop_in,
    "javascript": is_polkit_rule,
    "nginx": is_nginx,
    "sudoers": is_sudoers,
    "named": is_named,
}


def _kind(block: Block) -> str:
    return block.kind.split(" ")[0]
