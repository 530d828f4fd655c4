"""The public collections of odd certificates, where a package or a folder brings them.

- `cryptography-vectors` (PyPI), with NIST's PKITS: a development dependency. Where it is not
  installed, `SSLMD_VECTORS` may name its folder `cryptography_vectors`.
- x509-limbo: `SSLMD_LIMBO` names its limbo.json.
- Any folder of certificate files, such as zlint's `v3/testdata`: `SSLMD_CERT_FILES`.

What is not there is skipped, and named.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.offline import sslm_info, sslm_verify
from sslmd.pki.judge import Terms, find_path
from sslmd.pki.parsed import Parsed, Use, parse
from sslmd.pki.pem import MAX_BYTES

pytestmark = pytest.mark.filterwarnings(
    "ignore::cryptography.utils.CryptographyDeprecationWarning", "ignore::UserWarning"
)

LIMBO, FILES = "SSLMD_LIMBO", "SSLMD_CERT_FILES"


def _vectors() -> Path | None:
    found = importlib.util.find_spec("cryptography_vectors")
    if found is not None and found.origin is not None:
        return Path(found.origin).parent
    named = os.environ.get("SSLMD_VECTORS")
    return Path(named) if named else None


VECTORS = _vectors()
needs_vectors = pytest.mark.skipif(
    VECTORS is None,
    reason="the package cryptography-vectors is missing (pip install cryptography-vectors)",
)


def _run(tool: object, *args: str) -> tuple[int, str]:
    """Run a tool in this process; return its exit status and what it complains of."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with warnings.catch_warnings():
            status = tool.main(args)  # type: ignore[attr-defined]
    err.flush()
    return status, err.buffer.getvalue().decode()


def _files(top: Path) -> Iterator[Path]:
    for path in sorted(top.rglob("*")):
        if path.is_file() and 0 < path.stat().st_size < MAX_BYTES:
            yield path


def _all_end_well(files: Iterable[Path], good: Path) -> None:
    """Every file in every place is shown, or refused in one line; nothing is raised."""
    found = list(files)
    assert found
    for path in found:
        for tool, args in (
            (sslm_info, [path]),
            (sslm_verify, ["--name", "example.com", path]),
            (sslm_verify, ["--root", path, good]),
            (sslm_verify, ["--chain", path, good]),
        ):
            status, complaint = _run(tool, *map(str, args))
            assert status in (0, 1), path
            assert bool(status) == bool(complaint), (path, complaint)
            if complaint.startswith("sslm-verify: "):
                assert complaint.count("\n") == 1, (path, complaint)


@needs_vectors
@pytest.mark.parametrize(
    ("part", "each"),  # those of PKITS are much alike
    [("x509/custom", 1), ("x509/PKITS_data/certs", 8), ("x509/requests", 1), ("pkcs7", 1)],
)
def test_files_of_cryptography(part: str, each: int, good: Path) -> None:
    assert VECTORS is not None
    _all_end_well([*_files(VECTORS / part)][::each], good)


@pytest.mark.skipif(FILES not in os.environ, reason=f"{FILES} names no folder of certificates")
def test_files_of_a_folder(good: Path) -> None:
    _all_end_well(_files(Path(os.environ[FILES])), good)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.stand.samples import make_root

    path = tmp_path_factory.mktemp("good") / "root.pem"
    path.write_bytes(make_root(now=datetime.now(UTC)).cert_pem)
    return path


# --- NIST PKITS ---------------------------------------------------------------------------------

# Tests of policies and of lists of revoked certificates, which are not looked at, and what the
# manual says: DSA is not known, basicConstraints have to be critical.
_A_TEST = re.compile(r"(?:Valid|Invalid).*Test\d+EE\Z")
_NOT_OURS = re.compile(
    r"[cC]RL|Revoked|Polic|ExplicitPolicy|InvalidIDP|distributionPoint|onlyContains|onlySome|"
    r"SerialNumber|DSA|basicConstraintsNotCriticalTest4|SeparateCertificate|crlIssuer|"
    # Of new and old keys of one CA: what is wrong in these is a list of revoked certificates.
    r"InvalidBasicSelfIssued"
)


@needs_vectors
def test_paths_of_pkits() -> None:
    assert VECTORS is not None
    certs: dict[str, Parsed] = {}
    for path in sorted((VECTORS / "x509/PKITS_data/certs").glob("*.crt")):
        with contextlib.suppress(Permanent):
            certs[path.stem] = parse(path.read_bytes())
    root = certs.pop("TrustAnchorRootCertificate")
    counted = {True: 0, False: 0}
    for name, leaf in certs.items():
        if not _A_TEST.match(name) or _NOT_OURS.search(name):
            continue
        terms = Terms(datetime(2026, 6, 1, tzinfo=UTC), Use.ANY)
        found = find_path(leaf, list(certs.values()), [root], terms)
        right = found is not None and not found[1]
        assert right == name.startswith("Valid"), (name, found and found[1])
        counted[right] += 1
    assert min(counted.values()) > 30


# --- x509-limbo ---------------------------------------------------------------------------------

# What the manual names as different: a CA is no server, lists of revoked certificates and a limit
# on the length of a path are not looked at.
_DIFFERENT = {"rfc5280::ca-as-leaf", "pathlen::validation-ignores-pathlen-in-leaf"}
_SKIPPED_FEATURES = {
    "has-crl", "max-chain-depth", "has-policy-constraints", "rfc5280-incompatible-with-webpki",
    "pedantic-public-suffix-wildcard", "pedantic-webpki-subscriber-key", "pedantic-webpki-eku",
    "pedantic-serial-number", "pedantic-rfc5280",
}  # fmt: skip
# Refused by limbo, accepted by OpenSSL's strict mode and here.
_LENIENT = re.compile(
    r"webpki::cn::|webpki::aki::root-with-aki|rfc5280::nc::invalid-dnsname-leading-period|"
    r"rfc5280::san::underscore-dns|"
    r"webpki::san::san-critical-with-nonempty-subject|webpki::forbidden-rsa-not-divisible"
)


@pytest.mark.skipif(
    LIMBO not in os.environ, reason=f"{LIMBO} does not name x509-limbo's limbo.json"
)
def test_limbo(tmp_path: Path) -> None:
    cases = json.loads(Path(os.environ[LIMBO]).read_text())["testcases"]
    wrong: list[str] = []
    for case in cases:
        # BetterTLS' thousands take minutes; SSLMD_LIMBO_ALL asks for them.
        if case["id"].startswith("bettertls::") and "SSLMD_LIMBO_ALL" not in os.environ:
            continue
        if case["id"] in _DIFFERENT or _SKIPPED_FEATURES & set(case["features"]):
            continue
        if _LENIENT.match(case["id"]) and case["expected_result"] == "FAILURE":
            continue
        named = case["expected_peer_name"]
        args = [
            "-q", *_written(tmp_path, case),
            *(["--name", named["value"]] if named else []),
            *(["--at", case["validation_time"]] if case["validation_time"] else []),
        ]  # fmt: skip
        status, said = _run(sslm_verify, *args)
        if (status == 0) != (case["expected_result"] == "SUCCESS"):
            wrong.append(f"{case['id']}: {said or 'verified'}")
    assert not wrong, "\n".join(wrong)


def _written(folder: Path, case: dict[str, object]) -> list[str]:
    parts = {
        "leaf": [case["peer_certificate"]],
        "chain": case["untrusted_intermediates"],
        "root": case["trusted_certs"],
    }
    for name, pems in parts.items():
        assert isinstance(pems, list)
        (folder / name).write_text("\n".join(map(str, pems)))
    return [
        str(folder / "leaf"), "--chain", str(folder / "chain"), "--root", str(folder / "root"),
    ]  # fmt: skip
