"""Certificates that no server uses, and what is said to be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslmd.config.grants import UNUSED, unused
from sslmd.config.load import load
from sslmd.config.model import Probe, Unprobed, UsedBy
from sslmd.core.names import CertId
from sslmd.core.starttls import ProbeWord
from tests.stand.conf import MAIN, WEB, Tree

CERT = CertId("example.com", "web")
USED = MAIN + "    servers = ['localhost']\n"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def warnings(tree: Tree) -> list[str]:
    return [tree.short(str(one)) for one in load(tree.conf).warnings]


def test_a_certificate_that_no_server_uses(tree: Tree) -> None:
    line = f"example.com/web:3: service: {UNUSED}; "
    remedy = "name it in svc_depends of a class that has servers, or write used_by = 'none'"
    unserved = (
        MAIN,  # a class without servers restarts nobody
        MAIN.replace("[['any', ['web']]]", "[['any', ['mail']]]") + "    servers = ['localhost']\n",
        MAIN[: MAIN.index("[web]")],
    )
    for text in unserved:
        tree.write("ssl-mgr.conf", text)
        (warning,) = (one for one in warnings(tree) if UNUSED in one)
        assert warning.startswith(line + remedy)
        assert unused(load(tree.conf)) == [CERT]  # not the CAs
    used = (USED, USED.replace("[['any', ['web']]]", "[]") + "    depends = ['cert']\n")
    for text in used:
        tree.write("ssl-mgr.conf", text)
        assert warnings(tree) == []
        assert unused(load(tree.conf)) == []


def test_one_that_no_server_is_to_use(tree: Tree) -> None:
    before = load(tree.conf).services[CERT]
    tree.write("example.com/web", f"used_by = 'none'\n{WEB}")
    assert warnings(tree) == []
    service = load(tree.conf).services[CERT]
    assert service.used_by is UsedBy.NONE
    assert service.fingerprint == before.fingerprint  # it is the same certificate
    tree.write("ssl-mgr.conf", USED)
    assert warnings(tree) == [
        "example.com/web:1: used_by: servers of [web] use it all the same; remove this key"
    ]
    tree.write("example.com/web", f"used_by = 'web'\n{WEB}")
    (mistake,) = tree.mistakes()
    assert mistake == (
        "example.com/web:1: used_by: 'web' is not known here; write 'none'; servers are named in "
        "svc_depends of their class"
    )


def test_of_many_only_some_are_named(tree: Tree) -> None:
    for number in range(30):
        tree.write(f"example.com/web{number}", WEB.replace("'web'", f"'web{number}'"))
    tree.change("ssl-mgr.conf", "services = ['web']", "services = 'ALL'")
    said = warnings(tree)
    assert len(said) == 21
    assert "no server uses 11 more certificates: example.com/web" in said[-1] + said[0] + " ".join(
        said
    )


def test_what_a_class_says_of_probes(tree: Tree) -> None:
    def found(probe: str) -> tuple[tuple[Probe, ...], Unprobed | None]:
        tree.write("ssl-mgr.conf", f"{USED}{probe}\n")
        (one,) = load(tree.conf).server_classes
        return one.probes, one.unprobed

    default = (Probe(443, ProbeWord.TLS, optional=True),)
    assert found("") == found("probe = true") == (default, None)
    assert found("probe = false") == found("probe = []") == ((), Unprobed.FALSE)
    assert found("probe = 'none'") == ((), Unprobed.NONE)
    assert found("probe = [8443]") == ((Probe(8443, ProbeWord.TLS),), None)


def test_paths_that_are_meant_to_be_in_production(tree: Tree) -> None:
    tree.change("ssl-mgr.conf", "verb = true", "keep = ['example.com/old/', './x//y.key']")
    assert load(tree.conf).globals.keep == ("example.com/old", "x/y.key")
    for path in ("/srv/x", "../x", "a/../..", "", "."):
        tree.write("ssl-mgr.conf", MAIN.replace("verb = true", f"keep = '{path}'"))
        (mistake,) = tree.mistakes()
        assert "is not a path inside the production tree; write it as it is below" in mistake
