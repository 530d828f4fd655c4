"""What certbot is told, and what is made of the files that it leaves behind."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.acme import accounts, certbot
from sslmd.acme.certbot import AcmeServer
from sslmd.acme.orders import CertbotOrder
from sslmd.config.model import Validation
from sslmd.core.errors import Permanent
from sslmd.core.names import CertId
from sslmd.store.layout import OrderFolders

URL = "https://acme.example/directory"
SERVER = AcmeServer(URL, None, Validation.DNS_01, email="admin@example.com")
CSR = b"-----BEGIN CERTIFICATE REQUEST-----\n"
NOW = datetime.now(UTC)
NEW_ORDER = "https://acme.example/new-order"


@pytest.fixture
def place(tmp_path: Path) -> OrderFolders:
    return OrderFolders(str(tmp_path / "cb"), str(tmp_path / "cb/order/20260601-12:00:00"))


def account(
    place: OrderFolders, name: str, age: float = 0, url: str = "acme.example/directory"
) -> Path:
    folder = Path(place.home, "accounts", url, name)
    folder.mkdir(parents=True)
    regr = folder / "regr.json"
    regr.write_text(json.dumps({"body": {}, "uri": f"https://acme.example/acct/{name}"}))
    os.utime(regr, (1e9 - age, 1e9 - age))
    return folder


def told(place: OrderFolders, server: AcmeServer = SERVER) -> dict[str, str]:
    """Return the options of the command line with their values."""
    words = certbot.command(server, place, "/opt/sslm hook", "/usr/bin/certbot")
    assert words[5:7] == ["/usr/bin/certbot", "certonly"]
    assert words[3].endswith("launch.py")
    assert words[4] == str(os.getpid())
    # A value that stood alone could be taken for an option.
    assert all(word.startswith("--") for word in words[7:])
    return dict(word.partition("=")[::2] for word in words[7:])


def test_the_command_line(place: OrderFolders) -> None:
    options = told(place)
    assert options["--server"] == URL
    assert options["--email"] == "admin@example.com"
    assert options["--preferred-challenges"] == "dns"
    assert options["--csr"] == f"{place.order}/csr.pem"
    assert options["--config-dir"] == place.home
    # certbot gives it to a shell
    assert options["--manual-auth-hook"] == (
        "'/opt/sslm hook' auth || kill -s KILL -- \"-$SSLM_GROUP\""
    )
    assert options["--manual-cleanup-hook"] == "'/opt/sslm hook' cleanup"
    assert "--account" not in options
    assert "--config" not in options
    for flag in ("--non-interactive", "--agree-tos", "--manual", "--no-directory-hooks"):
        assert flag in options


def test_what_a_ca_wants_to_know(place: OrderFolders) -> None:
    server = replace(
        SERVER,
        email="",
        validation=Validation.HTTP_01,
        preferred_chain="Old Root",
        profile="tlsserver",
        eab_kid="kid-1",
    )
    options = told(place, server)
    assert "--register-unsafely-without-email" in options
    assert "--email" not in options
    assert options["--preferred-challenges"] == "http"
    assert options["--preferred-chain"] == "Old Root"
    assert options["--preferred-profile"] == "tlsserver"
    assert options["--config"] == f"{place.order}/eab.ini"


@pytest.mark.parametrize("value", ["--manual-auth-hook", "-n", "--pre-hook=touch x"])
def test_a_value_that_looks_like_an_option_is_a_value(place: OrderFolders, value: str) -> None:
    server = replace(SERVER, preferred_chain=value, profile=value, email=value)
    account(place, value)
    options = told(place, server)
    for name in ("--preferred-chain", "--preferred-profile", "--email", "--account"):
        assert options[name] == value


def test_with_several_accounts_the_newest_is_used(place: OrderFolders) -> None:
    account(place, "aaa", age=1)
    account(place, "bbb")
    account(place, "ccc", age=2)
    account(place, "zzz", url="other.example/directory")
    Path(place.home, "accounts/acme.example/directory/not-an-account").mkdir()
    assert told(place)["--account"] == "bbb"
    assert accounts.account_uri(place.home, URL) == "https://acme.example/acct/bbb"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"uri": 7}', "\x00"])
def test_a_damaged_account_has_no_uri(place: OrderFolders, content: str) -> None:
    (account(place, "aaa") / "regr.json").write_text(content)
    assert accounts.account_uri(place.home, URL) == ""
    assert accounts.account_uri(place.home, "https://other.example/dir") == ""


def test_a_lost_account_is_set_aside_with_its_key(place: OrderFolders) -> None:
    for number in range(2):
        folder = account(place, "aaa")
        (folder / "private_key.json").write_text(f"key {number}")
        aside = Path(accounts.set_account_aside(place.home, URL, NOW))
        assert (aside / "private_key.json").read_text() == f"key {number}"
        assert not folder.exists()
    assert accounts.set_account_aside(place.home, URL, NOW) == ""
    assert len(list(Path(place.home, "accounts-lost/acme.example/directory").iterdir())) == 2


def test_the_environment_has_the_order_and_no_more_than_it_needs(
    place: OrderFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    order = CertbotOrder(CertId("example.com", "web"), ["example.com"], http=False)
    server = replace(SERVER, root=Path("/roots.pem"))
    env = certbot.environment(server, place, order, "/run/sock")
    assert env["SSLM_ORDER"] == order.ident
    assert env["SSLMD_SOCKET"] == "/run/sock"
    assert env["REQUESTS_CA_BUNDLE"] == "/roots.pem"
    assert env["https_proxy"] == "http://proxy.example:3128"
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert env["TMPDIR"] == env["HOME"] == f"{place.home}/work"
    assert "SSLM_ORDER" not in certbot.environment(SERVER, place)


def test_folders_and_files_are_private(place: OrderFolders, tmp_path: Path) -> None:
    key = tmp_path / "eab.key"
    key.touch(0o600)
    key.write_text("c2VjcmV0LWhtYWMta2V5\n")
    server = replace(SERVER, eab_kid="kid-1", eab_hmac_key_file=key)
    before = os.umask(0)
    try:
        certbot.prepare(place, CSR, server)
    finally:
        os.umask(before)
    ini = Path(place.order, "eab.ini")
    assert ini.read_text() == "eab-kid = kid-1\neab-hmac-key = c2VjcmV0LWhtYWMta2V5\n"
    for path in (ini, Path(place.order, "csr.pem")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (place.order, f"{place.home}/logs", f"{place.home}/work"):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    words = certbot.command(server, place, "/hook", "/certbot")
    assert not any("c2VjcmV0" in word for word in words)


@pytest.mark.parametrize("content", ["", "two words", "a\nb", "key!", "\xff"])
def test_what_is_no_eab_key_is_refused_without_telling_it(
    place: OrderFolders, tmp_path: Path, content: str
) -> None:
    key = tmp_path / "eab.key"
    key.touch(0o600)
    key.write_text(content)
    with pytest.raises(Permanent, match=r"bare base64url") as refused:
        certbot.prepare(place, CSR, replace(SERVER, eab_kid="k", eab_hmac_key_file=key))
    assert content not in str(refused.value).replace(str(key), "") or not content
    nowhere = replace(SERVER, eab_kid="k", eab_hmac_key_file=tmp_path / "none")
    with pytest.raises(Permanent, match="is not there"):
        certbot.prepare(place, CSR, nowhere)


@pytest.mark.parametrize("mode", [0o604, 0o644])
def test_an_eab_key_that_others_can_read_is_refused(
    place: OrderFolders, tmp_path: Path, mode: int
) -> None:
    key = tmp_path / "eab.key"
    key.write_text("c2VjcmV0LWhtYWMta2V5\n")
    key.chmod(mode)
    with pytest.raises(Permanent, match=r"can be read by others .*; run: chmod 0600 "):
        certbot.prepare(place, CSR, replace(SERVER, eab_kid="k", eab_hmac_key_file=key))


@pytest.mark.parametrize("folder", ["", "accounts/acme.example/directory"])
def test_a_folder_with_accounts_that_others_can_write_to_is_refused(
    place: OrderFolders, folder: str
) -> None:
    path = Path(place.home, folder)
    path.mkdir(parents=True)
    path.chmod(0o777)
    with pytest.raises(Permanent, match="can be written by everybody"):
        certbot.prepare(place, CSR, SERVER)


# --- what it leaves behind ---------------------------------------------------------------


def left(place: OrderFolders, *names: str) -> None:
    certbot.prepare(place, CSR, SERVER)
    for name in names:
        Path(place.order, name).write_bytes(name.encode())


def test_an_order_is_whole_when_its_last_file_is_there(place: OrderFolders) -> None:
    assert certbot.collect(place, CSR, SERVER) is None
    left(place, "cert.pem", "chain.pem")
    assert certbot.collect(place, CSR, SERVER) is None
    left(place, "cert.pem", "chain.pem", "fullchain.pem")
    found = certbot.collect(place, CSR, SERVER)
    assert found is not None
    assert (found.cert_pem, found.chain_pem) == (b"cert.pem", b"chain.pem")
    assert certbot.collect(place, CSR + b"other", SERVER) is None
    assert certbot.collect(place, CSR, replace(SERVER, url="https://other.example/")) is None
    certbot.clear(place)
    assert certbot.collect(place, CSR, SERVER) is None


def test_what_is_far_too_long_is_no_certificate(place: OrderFolders) -> None:
    left(place, "chain.pem", "fullchain.pem")
    with open(f"{place.order}/cert.pem", "wb") as stream:
        stream.truncate(50 << 20)
    with pytest.raises(Permanent, match="bytes"):
        certbot.collect(place, CSR, SERVER)


def test_a_new_order_begins_with_an_empty_folder(place: OrderFolders) -> None:
    left(place, "cert.pem", "chain.pem", "fullchain.pem")
    certbot.prepare(place, CSR, SERVER)
    assert sorted(os.listdir(place.order)) == ["csr.pem", "server"]


def test_the_log_of_an_earlier_run_is_not_taken_for_this_ones(place: OrderFolders) -> None:
    certbot.prepare(place, CSR, SERVER)
    assert certbot.read_log(place, certbot.log_mark(place)) == ""
    log = Path(place.log)
    log.write_text("the last one's")
    before = certbot.log_mark(place)
    assert certbot.read_log(place, before) == ""
    log.write_text("this one's: \xff")
    assert certbot.read_log(place, before).startswith("this one's")
    log.write_text("x" * (certbot.LOG_TAIL + 10) + "end")
    assert len(certbot.read_log(place, before)) == certbot.LOG_TAIL
    assert certbot.read_log(place, before).endswith("end")


def logged(place: OrderFolders, answer: str, csr: str = "") -> None:
    Path(place.log).write_text(
        f"Arguments: ['--csr', '{csr or place.order}/csr.pem']\n"
        f"Sending POST request to {NEW_ORDER}:\nHTTP 201\n{answer}\n"
    )


def test_an_interrupted_order_is_found_in_the_log(place: OrderFolders) -> None:
    left(place)
    account(place, "aaa")
    assert certbot.interrupted(place, CSR, SERVER, NEW_ORDER, NOW) == ""
    logged(place, "Location: https://acme.example/order/7\nServer: x")
    assert certbot.interrupted(place, CSR, SERVER, NEW_ORDER, NOW) == "https://acme.example/order/7"
    command = certbot.resume_command(SERVER, place, "https://acme.example/order/7")
    assert command[-5:] == [
        URL,
        f"{place.home}/accounts/acme.example/directory/aaa",
        "https://acme.example/order/7",
        place.order,
        "",
    ]

    assert certbot.interrupted(place, CSR + b"x", SERVER, NEW_ORDER, NOW) == ""
    assert certbot.interrupted(place, CSR, SERVER, "https://acme.example/other", NOW) == ""
    assert certbot.interrupted(place, CSR, SERVER, "", NOW) == ""
    logged(place, "Location: https://acme.example/order/7", csr="/another/order")
    assert certbot.interrupted(place, CSR, SERVER, NEW_ORDER, NOW) == ""
    logged(place, "Location: --option")
    assert certbot.interrupted(place, CSR, SERVER, NEW_ORDER, NOW) == ""
    logged(place, "Location: https://acme.example/order/7")
    late = datetime.now(UTC) + certbot.TAKEN_UP + timedelta(minutes=1)
    assert certbot.interrupted(place, CSR, SERVER, NEW_ORDER, late) == ""
    elsewhere = replace(SERVER, url="https://acme.example/other")
    account(place, "bbb", url="acme.example/other")
    assert certbot.interrupted(place, CSR, elsewhere, NEW_ORDER, NOW) == ""
    certbot.clear(place)
    assert certbot.interrupted(place, CSR, SERVER, NEW_ORDER, NOW) == ""


# --- programs ----------------------------------------------------------------------------


def test_the_installed_programs_are_found() -> None:
    assert os.access(certbot.find_certbot(), os.X_OK)
    assert certbot.find_hook(None).endswith("/sslm-auth-hook")


def test_a_program_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Permanent, match=r"correct sslm_auth_hook"):
        certbot.find_hook(tmp_path / "none")
    with pytest.raises(Permanent, match=r"correct sslm_auth_hook"):
        certbot.find_hook(tmp_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Permanent, match=r"no program certbot; install it"):
        certbot.find_certbot()


def test_what_was_offered_is_noted_until_it_is_known_how_it_went(place: OrderFolders) -> None:
    certbot.prepare(place, CSR, SERVER)
    assert certbot.offered(place) == ()
    certbot.note_offered(place, ["example.com", "www.example.com"])
    certbot.clear(place)
    assert certbot.offered(place) == ("example.com", "www.example.com")
    certbot.forget_offered(place)
    certbot.forget_offered(place)
    assert certbot.offered(place) == ()


# --- an order that the CA is at work on -------------------------------------------------------


def test_an_order_that_the_ca_is_at_work_on_is_kept_for_long(
    place: OrderFolders, tmp_path: Path
) -> None:
    account(place, "a" * 32)
    certbot.prepare(place, CSR, SERVER)
    url = "https://acme.example/order/7"
    now = datetime.now(UTC)

    def found(days: float, server: AcmeServer = SERVER, csr: bytes = CSR) -> str:
        when = now + timedelta(days=days)
        return certbot.interrupted(place, csr, server, "https://acme.example/new", when)

    assert found(0) == ""
    certbot.note_open(place, url)
    certbot.note_open(place, "https://acme.example/order/8")  # it is that one still
    assert found(0) == found(6.9) == url
    assert found(7.1) == ""
    assert found(0, csr=CSR + b"other") == ""
    assert found(0, replace(SERVER, url="https://other.example/")) == ""
    Path(f"{place.order}/open").write_text("file:///etc/passwd\n")
    assert found(0) == ""
    certbot.clear(place)
    assert found(0) == ""


def test_the_command_that_makes_an_account_alone(place: OrderFolders) -> None:
    words = certbot.register_command(replace(SERVER, eab_kid="kid-1"), place, "/bin/certbot")
    assert words[words.index("/bin/certbot") + 1] == "register"
    said = " ".join(words)
    assert f"--server={URL} --email=admin@example.com --config={place.order}/eab.ini" in said
    assert "kid-1" not in said
    assert "--register-unsafely-without-email" in certbot.register_command(
        replace(SERVER, email=""), place, "/bin/certbot"
    )
