"""What the shells offer, and that the documents know every command."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys

import pytest

from sslmd.ctl.main import parser
from sslmd.wire.messages import ErrorCode, Method, Notice
from sslmd.wire.params import PARAMS
from tests.ctl.fake_daemon import ROOT, FakeDaemon, environment, result, sslmctl, steps
from tests.ctl.samples import cert, status

_DRIVER = """
sslmctl() { "$PYTHON" -m sslmd.ctl.main "$@"; }
source "$SCRIPT"
COMP_LINE="sslmctl $*"
COMP_POINT=${#COMP_LINE}
COMP_WORDS=(sslmctl)
for word in "$@"; do
    # As bash does it: a colon is a word of its own.
    while [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; do
        COMP_WORDS+=("${word%%:*}" :)
        word=${word#*:}
        last=$word
    done
    [[ $word || ! ${last+set} ]] && COMP_WORDS+=("$word")
done
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_sslmctl
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(*words: str, socket: str = "/nonexistent", breaks: str = "") -> set[str]:
    """Press Tab in bash behind the last of `words`."""
    driver = f"COMP_WORDBREAKS='{breaks}'{_DRIVER}" if breaks else _DRIVER
    done = subprocess.run(
        ["bash", "--norc", "-c", driver, "bash", *words],
        env=environment(
            PYTHON=sys.executable,
            SCRIPT=str(ROOT / "docs/completion/sslmctl.bash"),
            SSLMD_SOCKET=socket,
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(("shell", "file"), [("bash", "sslmctl.bash"), ("zsh", "_sslmctl")])
def test_the_scripts_in_docs_are_what_the_command_prints(shell: str, file: str) -> None:
    done = sslmctl("completion", shell)
    assert done.returncode == 0
    assert done.stdout == (ROOT / "docs/completion" / file).read_text()


@pytest.mark.parametrize(("shell", "file"), [("bash", "sslmctl.bash"), ("zsh", "_sslmctl")])
def test_the_shells_can_read_them(shell: str, file: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", str(ROOT / "docs/completion" / file)], check=True, timeout=60)


def test_commands_and_options() -> None:
    assert complete("re") == {"renew", "reload", "replace", "report", "restart"}
    assert complete("--s") == {"--socket"}
    assert complete("renew", "--f") == {"--force"}
    assert complete("completion", "z") == {"zsh"}
    assert complete("status", "x") == set()


def test_certificates() -> None:
    certs = (cert("web-ec"), cert("mail-ec"), cert("$(touch /tmp/oops)"), cert("a b"))
    with FakeDaemon({Method.STATUS: result(status(*certs))}) as fake:
        names = {"example.com:web-ec", "example.com:mail-ec"}
        assert complete("renew", "", socket=fake.path) == names
        assert complete("renew", "exa", socket=fake.path) == names
        assert complete("--socket", fake.path, "show", "example.com/w") == {"example.com/web-ec"}
        # Bash completes what stands behind the last colon.
        assert complete("renew", "example.com:", socket=fake.path) == {"web-ec", "mail-ec"}
        assert complete("renew", "example.com:w", socket=fake.path) == {"web-ec"}
        assert complete("renew", "a:b", "example.com:m", socket=fake.path) == {"mail-ec"}
        one = complete("renew", "example.com:w", socket=fake.path, breaks=" ")
        assert one == {"example.com:web-ec"}


def test_names_are_silent_without_a_daemon() -> None:
    with FakeDaemon({Method.STATUS: steps(None)}) as fake:
        for path in ("/nonexistent", fake.path):
            done = sslmctl("_names", "--socket", path)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    return {name: one for name, one in action.choices.items() if not name.startswith("_")}


def test_the_man_page_knows_every_command_and_option() -> None:
    text = (ROOT / "docs/man/sslmctl.1").read_text().replace("\\-", "-")
    for name, command in commands().items():
        assert re.search(rf"^\.BI? {name}\b|^\.BR {name}\b", text, re.MULTILINE), name
        for action in command._actions:
            for option in action.option_strings:
                assert option in text, f"{name} {option}"


def test_the_socket_document_knows_every_method_parameter_and_code() -> None:
    text = (ROOT / "docs/socket-api.md").read_text()
    words = {*Method, *Notice, *(name for names in PARAMS.values() for name in names)}
    assert not [word for word in words if f"`{word}`" not in text]
    assert not [code for code in ErrorCode if f"| {code.value} |" not in text]
