"""sslm-info, sslm-verify and sslm-dhparm, as their users run them."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from sslmd.ctl import sslm_mgr
from sslmd.offline import sslm_dhparm, sslm_info, sslm_verify
from sslmd.pki.chain import bundle, fullchain
from sslmd.pki.csr import make_csr
from sslmd.pki.dhparam import dhparam
from tests.stand.forked import run_forked
from tests.stand.samples import (
    EC256,
    RSA2048,
    ca_spec,
    key_pem,
    leaf_spec,
    make_leaf,
    make_root,
    make_sub,
)

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC).replace(microsecond=0)


def run(tool: str, *args: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    main = importlib.import_module(f"sslmd.offline.{tool}").main
    done = run_forked(main, [tool.replace("_", "-"), *args], given=stdin)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set as the daemon makes it, and the root beside."""
    top = tmp_path_factory.mktemp("site")
    root = make_root(now=NOW - timedelta(days=1))
    sub = make_sub(root, now=NOW - timedelta(days=1))
    spec = leaf_spec("www.example.com", ("www.example.com", "*.example.org", "192.0.2.7"))
    leaf = make_leaf(sub, spec, now=NOW)
    (top / "set").mkdir()
    made = {
        "privkey.pem": key_pem(),
        "csr.pem": make_csr(key_pem(), spec),
        "cert.pem": leaf.cert_pem,
        "chain.pem": leaf.chain_pem,
        "fullchain.pem": fullchain(leaf.cert_pem, leaf.chain_pem),
        "bundle.pem": bundle(key_pem(), leaf.cert_pem, leaf.chain_pem),
    }
    for name, content in made.items():
        (top / "set" / name).write_bytes(content)
    (top / "root.pem").write_bytes(root.cert_pem)
    other = make_root(ca_spec("other"), now=NOW, key=key_pem(EC256, "other"))
    (top / "other.pem").write_bytes(other.cert_pem)
    return top


@pytest.mark.parametrize("dev", [False, True])
def test_the_man_page_of_sslm_mgr_knows_every_option(dev: bool) -> None:
    text = (ROOT / "docs/man/sslm-mgr.1").read_text().replace("\\-", "-")
    for action in sslm_mgr.parser(dev=dev)._actions:
        for option in action.option_strings:
            assert f"-{option.lstrip('-')}" in text or option in ("-h", "--help"), option


@pytest.mark.parametrize("tool", [sslm_info, sslm_verify, sslm_dhparm])
def test_the_man_page_knows_every_option(tool: ModuleType) -> None:
    parser: argparse.ArgumentParser = tool.parser()
    text = (ROOT / f"docs/man/{parser.prog}.1").read_text().replace("\\-", "-")
    options = {option for action in parser._actions for option in action.option_strings}
    assert not [option for option in options - {"-h", "--help"} if option not in text]


# --- sslm-info ---


def test_info_shows_a_set(site: Path) -> None:
    done = run("sslm_info", site / "set")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "names           www.example.com, *.example.org, 192.0.2.7" in done.stdout
    assert "BEGIN" not in done.stdout
    together = [line for line in done.stdout.splitlines() if line.startswith("one key: ")]
    (mine,) = [line for line in together if "private key" in line]
    for name in ("privkey.pem", "csr.pem", "cert.pem", "fullchain.pem #1", "bundle.pem #1"):
        assert f"{site}/set/{name}" in mine


def test_info_as_json_and_from_stdin(site: Path) -> None:
    content = (site / "set/bundle.pem").read_bytes()
    done = run("sslm_info", "--json", stdin=content)
    document = json.loads(done.stdout)
    (file,) = document["files"]
    assert file["file"] == "stdin"
    assert [one["kind"] for one in file["found"]][:2] == ["private key", "certificate"]
    assert file["found"][1]["names"] == ["www.example.com", "*.example.org", "192.0.2.7"]
    assert document["same_key"] == [["private key stdin #1", "certificate stdin #2"]]
    assert run("sslm_info", "-v", "-", stdin=content).returncode == 0


def test_info_says_what_is_wrong_and_shows_the_rest(site: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.pem"
    torn.write_bytes((site / "set/cert.pem").read_bytes()[:200])
    huge = tmp_path / "huge.pem"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(tmp_path / "fifo.pem")
    done = run(
        "sslm_info", torn, huge, "/bin/true", tmp_path, tmp_path / "none.pem",
        tmp_path / "fifo.pem", "/dev/zero", site / "set/cert.pem",
    )  # fmt: skip
    assert done.returncode == 1
    for said in ("cut off", "no key or certificate is that large", "binary", "Is a directory",
                 "No such file", "it is empty"):  # fmt: skip
        assert said in done.stderr
    assert "www.example.com" in done.stdout


def test_info_shows_what_is_whole_beside_what_is_torn(site: Path, tmp_path: Path) -> None:
    whole = (site / "set/cert.pem").read_bytes()
    torn = tmp_path / "torn.pem"
    torn.write_bytes(whole + whole[:200])
    done = run("sslm_info", torn)
    assert done.returncode == 1
    assert "www.example.com" in done.stdout
    assert "a PEM block in it is cut off or damaged" in done.stderr


def test_a_pipe_is_read_to_its_end(site: Path, tmp_path: Path) -> None:
    """What comes a while later belongs to it as well."""
    fifo = tmp_path / "fifo.pem"
    os.mkfifo(fifo)
    leaf, rest = (site / "set" / name for name in ("cert.pem", "chain.pem"))
    for tool, args in (("sslm_info", [fifo]), ("sslm_verify", [fifo, "--root", site / "root.pem"])):
        held = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # somebody reads from the beginning
        end = os.open(fifo, os.O_WRONLY)  # and writes
        script = f"cat {leaf}; sleep 0.3; cat {rest}"
        writing = subprocess.Popen(["sh", "-c", script], stdout=end)
        os.close(end)
        done = run(tool, *args)
        os.close(held)
        assert writing.wait(30) == 0
        assert done.returncode == 0, done.stderr
        assert "Test sub" in done.stdout


def test_info_as_json_is_for_programs(site: Path) -> None:
    done = run("sslm_info", "--json", site / "root.pem", site / "set/cert.pem")
    (root,), (leaf,) = (one["found"] for one in json.loads(done.stdout)["files"])
    assert root["issuer"] == root["subject"]
    assert 0 < leaf["days_left"] < root["days_left"]
    assert leaf["life_days"] >= leaf["days_left"] > 0
    assert 0 <= leaf["age_days"] < 1 <= root["age_days"] < 2
    text = run("sslm_info", site / "root.pem").stdout
    assert re.search(r"life +\d+ days\n", text)
    assert re.search(r"issued +1.0 days ago\n", text)


def test_info_of_odd_certificates_in_use_says_nothing_on_stderr() -> None:
    """Libraries warn programmers of a serial number of 0 and the like."""
    code = (
        "import warnings; from sslmd.console.program import run_tool; "
        "run_tool('x', lambda: warnings.warn('odd'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""


def test_info_loads_little_for_one_file(site: Path) -> None:
    """What makes keys and knows trees is not needed to show a certificate."""
    code = (
        "import sys; from sslmd.offline.sslm_info import main; assert main(sys.argv[1:]) == 0; "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(site / "set/cert.pem")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = set(done.stderr.split())
    assert "sslmd.pki.describe" in loaded
    assert not loaded & {"asyncio", "pydantic", "shutil", "sslmd.core.spec", "sslmd.store.layout"}


def test_info_of_names_that_would_steer_a_terminal(tmp_path: Path) -> None:
    name = tmp_path / "a\x1b[2Jb.pem"
    name.write_bytes(key_pem())
    done = run("sslm_info", name)
    assert "\x1b" not in done.stdout + done.stderr


# --- sslm-verify ---


def test_verify_of_a_directory_as_ssl_mgr_did_it(site: Path) -> None:
    done = run("sslm_verify", site / "set")
    assert done.returncode == 0
    assert "chain: signed by CN=Test sub" in done.stdout
    assert f"key: {site}/set/privkey.pem matches" in done.stdout
    # A file in it did as well.
    assert run("sslm_verify", "-q", site / "set/cert.pem").stdout == ""


def test_verify_up_to_a_root(site: Path) -> None:
    for file in ("set", "set/fullchain.pem", "set/cert.pem"):
        done = run("sslm_verify", "--root", site / "root.pem", site / file)
        assert done.returncode == 0
        assert "root: leads to CN=Test root" in done.stdout
    done = run("sslm_verify", "--root", site / "other.pem", site / "set")
    assert done.returncode == 1
    assert "root: it does not lead to a certificate of that file" in done.stderr
    assert run("sslm_verify", site / "root.pem").returncode == 0


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("www.example.com", True),
        ("WWW.Example.com", True),
        ("a.example.org", True),
        ("a.b.example.org", False),
        ("example.org", False),
        ("*.example.org", True),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("example.com", False),
        ("not a name", False),
    ],
)
def test_verify_names(site: Path, name: str, fits: bool) -> None:
    done = run("sslm_verify", "--name", name, site / "set")
    assert done.returncode == (0 if fits else 1), done.stderr
    if not fits:
        assert done.stderr.startswith("name: ")


def test_verify_says_everything_that_is_wrong(site: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(key_pem(RSA2048))
    late = (NOW + timedelta(days=5000)).isoformat()
    done = run(
        "sslm_verify", "--chain", site / "other.pem", "--key", wrong, "--at", late,
        site / "set/cert.pem",
    )  # fmt: skip
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "chain",
        "dates",
        "key",
    ]
    assert "certificate 1 did not sign the leaf" in done.stderr
    assert "expired on" in done.stderr
    assert f"{wrong} does not match the certificate" in done.stderr
    assert done.stdout.endswith("not verified\n")


def test_verify_of_what_is_no_certificate(site: Path, tmp_path: Path) -> None:
    for file, said in (
        (tmp_path, "cert.pem: cannot be read"),
        (site / "set/privkey.pem", "no certificate is in it"),
        (Path("/bin/true"), "no certificate is in it"),
    ):
        done = run("sslm_verify", file)
        assert done.returncode == 1
        assert said in done.stderr
    assert run("sslm_verify", "--at", "yesterday", site / "set").returncode == 2


# --- sslm-dhparm ---


def test_dhparm_writes_the_groups_once_and_keeps_the_link(tmp_path: Path) -> None:
    assert run("sslm_dhparm", tmp_path).returncode == 0
    made = tmp_path / "dh"
    assert sorted(path.name for path in made.iterdir()) == [
        *(f"dh-ffdhe{bits}.pem" for bits in sorted([2048, 3072, 4096, 6144, 8192])),
        "dhparam.pem",
    ]
    assert os.readlink(made / "dhparam.pem") == "dh-ffdhe8192.pem"
    assert (made / "dhparam.pem").read_bytes() == dhparam(8192)
    assert (made / "dhparam.pem").stat().st_mode & 0o777 == 0o644
    os.utime(made / "dh-ffdhe8192.pem", (0, 0))
    (made / "dhparam.pem").unlink()
    done = run("sslm_dhparm", "-k", "ffdhe4096,ffdhe8192", tmp_path)
    assert done.stdout == f"{made}/dhparam.pem leads to dh-ffdhe4096.pem\n"
    assert (made / "dh-ffdhe8192.pem").stat().st_mtime == 0  # they do not age
    run("sslm_dhparm", "-f", "-k", "ffdhe8192", tmp_path)
    assert (made / "dh-ffdhe8192.pem").stat().st_mtime > 0


def test_dhparm_in_subdirectories_but_not_those_of_the_ca(tmp_path: Path) -> None:
    for name in ("example.com", "ca", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "example.com")
    assert run("sslm_dhparm", "-s", "-k", "ffdhe2048", tmp_path).returncode == 0
    assert (tmp_path / "example.com/dh/dhparam.pem").exists()
    assert not (tmp_path / "ca/dh").exists()
    assert not (tmp_path / ".git/dh").exists()
    done = run("sslm_dhparm", "-s", "-k", "ffdhe2048", tmp_path / "example.com/dh")
    assert (done.returncode, "has no subdirectories" in done.stderr) == (1, True)


def test_dhparm_generates_sizes_when_they_are_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[list[str]] = []

    def generate(argv: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        made.append(argv[1:])
        return subprocess.CompletedProcess(argv, 0, dhparam(2048))

    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/openssl")
    monkeypatch.setattr("subprocess.run", generate)
    argv = ["-k", "2048,ffdhe2048", str(tmp_path)]
    assert sslm_dhparm.main(argv) == 0
    assert sslm_dhparm.main(argv) == 0
    assert made == [["dhparam", "2048"]]
    path = tmp_path / "dh/dh2048.pem"
    assert os.readlink(tmp_path / "dh/dhparam.pem") == "dh2048.pem"
    old = path.stat().st_mtime - 121 * 86400
    os.utime(path, (old, old))
    assert sslm_dhparm.main(["-a", "122", *argv]) == 0
    assert len(made) == 1
    assert sslm_dhparm.main(argv) == 0
    assert len(made) == 2
    assert path.stat().st_mtime > old
    assert "generating" in capsys.readouterr().out


def test_dhparm_refuses_what_is_wrong(tmp_path: Path) -> None:
    for keys in ("1024", "ffdhe1024", "", "99999999", "dh"):
        done = run("sslm_dhparm", "-k", keys, tmp_path)
        assert done.returncode == 2
    assert not (tmp_path / "dh").exists()
    done = run("sslm_dhparm", "-k", "ffdhe2048", tmp_path / "none", tmp_path)
    assert done.returncode == 1
    assert "none is not a directory" in done.stderr
    assert (tmp_path / "dh/dhparam.pem").exists()  # the other was done
    (tmp_path / "dh/dhparam.pem").unlink()
    (tmp_path / "dh/dhparam.pem").write_bytes(b"mine")
    done = run("sslm_dhparm", "-k", "ffdhe2048", tmp_path)
    assert (done.returncode, "move it away" in done.stderr) == (1, True)
    assert (tmp_path / "dh/dhparam.pem").read_bytes() == b"mine"
