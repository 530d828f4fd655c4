"""certbot, which speaks ACME for us: manual mode, our own CSR, a folder of its own per service.

What it is told, and what it leaves behind; `certbot_run` runs it. Options and files are those of
certbot's own documentation (https://eff-certbot.readthedocs.io/en/stable/using.html). The folder is
the one that ssl-mgr used, `cb/`, so that accounts made by it are used on.

    cb/accounts/<server>/…       accounts with their keys; never removed
    cb/accounts-lost/…           accounts that their CA knows no more
    cb/order/<set>/              csr.pem in; cert.pem, chain.pem, fullchain.pem out
    cb/work, cb/logs             certbot's own
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from sslmd.acme.account_folders import newest
from sslmd.acme.launch import closed, limited, tied
from sslmd.acme.orders import CertbotOrder
from sslmd.config.model import CaAccount, CaInfo, Engines, Validation
from sslmd.core.buckets import CaLimit, Rate
from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.pki.local_ca import Issued
from sslmd.store import files
from sslmd.store.layout import CERT, CHAIN, CSR, FULLCHAIN, OrderFolders, accounts_dir
from sslmd.wire.messages import SOCKET_ENV

RESUMER = str(Path(__file__).with_name("resume.py"))
HOOK = "sslm-auth-hook"

# Seconds that certbot waits for the CA to make the certificate, once everything is validated.
ISSUANCE = 300

# For how long an order that was cut short is taken up, and one that its CA was at work on. Let's
# Encrypt's orders live for a week; a CA that does not know one any more says so.
TAKEN_UP = timedelta(hours=2)
TAKEN_UP_OPEN = timedelta(days=7)

# Logs of earlier orders that are kept; each has some 50 kB.
OLD_LOGS = 10

# The exit statuses of `resume` when there is nothing to take up, because the order was not
# validated yet, or has failed.
NOTHING_TO_RESUME = 3
RESUME_INVALID = 4
# The CA is still at work on it.
RESUME_PROCESSING = 5

# Bytes of the log that are looked at: the end of it, where the trouble stands.
LOG_TAIL = 1 << 20

_END_GROUP = 'kill -s KILL -- "-$SSLM_GROUP"'
_URL = re.compile(r"https?://[\x21-\x7e]{1,500}")
_PREFERRED = {Validation.DNS_01: "dns", Validation.HTTP_01: "http"}
# What certbot, or the Python and OpenSSL below it, may go by.
_PASSED_ON = (
    *("LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


_LOCATION = re.compile(r"^Location: (https?://[\x21-\x7e]{1,500})\s*$", re.MULTILINE)

LogMark = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class AcmeServer:
    """The ACME server to ask, and what it wants to know. `root`: PEM to trust for its HTTPS.

    `ca`: how accounts that are shared there are called. `own`: each certificate has one.
    `account_rate`: how many it makes in a time, None if that is not known.
    """

    url: str
    root: Path | None
    validation: Validation
    email: str = ""
    preferred_chain: str = ""
    profile: str = ""
    eab_kid: str = ""
    eab_hmac_key_file: Path | None = None
    engine: Engines = Engines.ENGINE
    requests: int = 8
    ca: str = ""
    own: bool = True
    account_rate: Rate | None = None


def server_of(ca: CaInfo, email: str) -> AcmeServer:
    """Return the server that a CA's table of `ca-info.conf` names."""
    return AcmeServer(
        url=ca.server,
        root=ca.server_root,
        validation=ca.validation,
        email=email,
        preferred_chain=ca.preferred_chain,
        profile=ca.preferred_profile,
        eab_kid=ca.eab_kid,
        eab_hmac_key_file=ca.eab_hmac_key_file,
        engine=ca.engine,
        requests=ca.requests,
        ca=ca.name,
        own=ca.account is CaAccount.OWN,
        account_rate=ca.kept.get(CaLimit.ACCOUNTS),
    )


def test_server_of(ca: CaInfo, email: str, *, binds_accounts: bool) -> AcmeServer:
    """Return the CA's test server. `binds_accounts`: it wants EAB (RFC 8555 §7.3.4)."""
    server = replace(
        server_of(ca, email),
        url=ca.test_server,
        root=ca.test_server_root,
        preferred_chain="",
        ca=f"{ca.name}.test",
        account_rate=ca.test_kept.get(CaLimit.ACCOUNTS),
    )
    return server if binds_accounts else replace(server, eab_kid="", eab_hmac_key_file=None)


# --- what it is told ---------------------------------------------------------------------


def find_certbot() -> str:
    """Return certbot's path: the one beside our Python, else in PATH; raise `Permanent`."""
    if path := _beside_python("certbot"):
        return path
    raise Permanent(Reason(Failed.NO_CERTBOT))


def find_hook(configured: Path | None) -> str:
    """Return the path of the hook; raise `Permanent` if it cannot be run."""
    if configured is not None:
        if os.access(configured, os.X_OK) and not configured.is_dir():
            return str(configured)
        raise Permanent(Reason(Failed.NO_OWN_HOOK, file=str(configured)))
    if path := _beside_python(HOOK):
        return path
    raise Permanent(Reason(Failed.NO_HOOK, file=HOOK))


def _beside_python(program: str) -> str | None:
    beside = os.path.join(os.path.dirname(sys.executable), program)
    return beside if os.access(beside, os.X_OK) else shutil.which(program, path=_search_path())


def _search_path() -> str:
    return os.environ.get("PATH") or _PATH


def command(server: AcmeServer, place: OrderFolders, hook: str, certbot: str) -> list[str]:
    """Return the whole command line, without anything secret on it.

    Its first words tie certbot to the life of the daemon (see `launch`).
    """
    words = [*tied(), certbot, "certonly"]
    words += ["--non-interactive", "--agree-tos", "--no-eff-email", "--no-directory-hooks"]
    words += ["--manual", f"--preferred-challenges={_PREFERRED[server.validation]}"]
    # certbot gives the hooks to a shell.
    # certbot would go on without a hook that failed, whatever became of it (I8): it does not.
    words += [f"--manual-auth-hook={shlex.quote(hook)} auth || {_END_GROUP}"]
    words += [f"--manual-cleanup-hook={shlex.quote(hook)} cleanup"]
    words += ["--disable-hook-validation"]
    words += [f"--csr={place.order}/{CSR}", f"--cert-path={place.order}/{CERT}"]
    words += [f"--chain-path={place.order}/{CHAIN}"]
    words += [f"--fullchain-path={place.order}/{FULLCHAIN}"]
    words += _folders(server, place)
    words += [f"--issuance-timeout={ISSUANCE}", *_contact(server)]
    if account := newest(place.home, server.url):
        words += [f"--account={account.ident}"]
    if server.preferred_chain:
        words += [f"--preferred-chain={server.preferred_chain}"]
    if server.profile:
        words += [f"--preferred-profile={server.profile}"]
    return [*words, *_binding(server, place)]


def register_command(server: AcmeServer, place: OrderFolders, certbot: str) -> list[str]:
    """Return the command that makes an account, and orders nothing (RFC 8555 §7.3)."""
    return [
        *(*tied(), certbot, "register", "--non-interactive", "--agree-tos", "--no-eff-email"),
        *_folders(server, place),
        *_contact(server),
        *_binding(server, place),
    ]


# Every value stands in one word with its option: whatever it begins with, it is no option itself.


def _folders(server: AcmeServer, place: OrderFolders) -> list[str]:
    """Return where certbot works, and for which CA."""
    words = [f"--config-dir={place.home}", f"--work-dir={place.work}"]
    words += [f"--logs-dir={place.logs}", f"--max-log-backups={OLD_LOGS}"]
    return [*words, f"--server={server.url}"]


def _contact(server: AcmeServer) -> list[str]:
    return [f"--email={server.email}"] if server.email else ["--register-unsafely-without-email"]


def _binding(server: AcmeServer, place: OrderFolders) -> list[str]:
    return [f"--config={place.eab_file}"] if server.eab_kid else []


def resume_command(server: AcmeServer, place: OrderFolders, order_url: str) -> list[str]:
    """Return the command that fetches the certificate of an order that was cut short."""
    account = newest(place.home, server.url)
    words = [*tied(), *closed(RESUMER), server.url]
    words += [account.path if account else "", order_url, place.order]
    return [*words, server.preferred_chain, *(["offered"] if offered(place) else [])]


def environment(
    server: AcmeServer, place: OrderFolders, order: CertbotOrder | None = None, socket: str = ""
) -> dict[str, str]:
    """Return certbot's environment; by it the hooks find the daemon and their order."""
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= {"PATH": _search_path(), **limited()}
    # What certbot cannot log it leaves in TMPDIR, and a cli.ini in HOME would change its orders.
    env |= {"TMPDIR": place.work, "HOME": place.work}
    if order is not None:
        env |= {SOCKET_ENV: socket, "SSLM_ORDER": order.ident}
    if server.root is not None:
        env["REQUESTS_CA_BUNDLE"] = str(server.root)
    elif "REQUESTS_CA_BUNDLE" in os.environ:
        env["REQUESTS_CA_BUNDLE"] = os.environ["REQUESTS_CA_BUNDLE"]
    return env


def prepare(place: OrderFolders, csr: bytes, server: AcmeServer) -> None:
    """Make the folders of an order and put into them what certbot reads; blocks."""
    for folder in (place.home, accounts_dir(place.home, server.url)):
        files.check_dir(folder)
    files.remove_tree(place.order)
    for folder in (place.work, place.logs, place.order):
        files.make_dirs(folder, 0o700)
    files.write_file(place.server_note, server.url.encode())
    files.write_file(f"{place.order}/{CSR}", csr)
    if server.eab_kid:
        files.write_file(place.eab_file, _eab(server))


def _eab(server: AcmeServer) -> bytes:
    """Return a configuration file with the key of EAB: on a command line, `ps` would show it."""
    return f"eab-kid = {server.eab_kid}\neab-hmac-key = {eab_key(server)}\n".encode()


def eab_key(server: AcmeServer) -> str:
    """Return the key of EAB, base64url; raises `Permanent` if it cannot be had. Blocks."""
    assert server.eab_hmac_key_file is not None
    path = str(server.eab_hmac_key_file)
    try:
        key = files.read_secret(path, limit=4096).decode("ascii").strip()
    except FileNotFoundError:
        raise Permanent(Reason(Failed.EAB_FILE_MISSING, file=path)) from None
    except Permanent as err:
        raise Permanent(Reason(Failed.EAB_FILE_UNREAD, why=err.reason)) from None
    except UnicodeDecodeError:
        key = ""
    if not key or any(not (char.isalnum() or char in "-_=") for char in key):
        raise Permanent(Reason(Failed.EAB_FILE_BAD, file=path))
    return key


# --- what it leaves behind ---------------------------------------------------------------


def collect(place: OrderFolders, csr: bytes, server: AcmeServer) -> Issued | None:
    """Return what an order of that CSR at that server brought, None if it is not there; blocks.

    Raises `Permanent` for answers too long to be certificates.
    """
    try:
        if not is_of(place, csr, server):
            return None
        # certbot writes this one last: when it is there, the others are whole.
        os.stat(f"{place.order}/{FULLCHAIN}")
        for name in (CERT, CHAIN):
            if os.stat(f"{place.order}/{name}").st_size > files.MAX_FILE:
                most = files.MAX_FILE
                raise Permanent(
                    Reason(Failed.CA_SENT_TOO_MUCH, url=server.url, file=name, most=most)
                )
        cert, chain = (files.read_file(f"{place.order}/{name}") for name in (CERT, CHAIN))
    except FileNotFoundError:
        return None
    return Issued(cert, chain)


def is_of(place: OrderFolders, csr: bytes, server: AcmeServer) -> bool:
    """Whether the folder is of an order for that CSR, at that server; raises FileNotFoundError."""
    url = files.read_file(place.server_note)
    return url == server.url.encode() and files.read_file(f"{place.order}/{CSR}") == csr


def interrupted(
    place: OrderFolders, csr: bytes, server: AcmeServer, new_order: str, now: datetime
) -> str:
    """Return the URL of the order that a run was cut short at, "" if there is none to be found.

    The folder of an order stays only where nobody could remove it. certbot does not note the
    URL; it stands in its log, as the Location of the answer to a request to `new_order` (RFC
    8555 §7.4). Old ones are not taken up: who knows why it never went well. Where the log is
    another day's, or another version's, a new order is made. One that the CA is at work on is
    noted (`note_open`), and is taken up until the CA has made the certificate, or given it up.
    Blocks.
    """
    try:
        begun = os.stat(f"{place.order}/{CSR}").st_mtime
        if not is_of(place, csr, server) or newest(place.home, server.url) is None:
            return ""
    except FileNotFoundError:
        return ""
    with suppress(FileNotFoundError):  # none that the CA was at work on
        since = os.stat(place.open_note).st_mtime
        order = files.read_file(place.open_note).decode("ascii", "replace").strip()
        is_old = now.timestamp() - since > TAKEN_UP_OPEN.total_seconds()
        if _URL.fullmatch(order) and not is_old:
            return order
    if now.timestamp() - begun > TAKEN_UP.total_seconds():
        return ""
    log = read_log(place, None)
    if not new_order or f"{place.order}/{CSR}" not in log:
        return ""
    _, asked, answer = log.rpartition(f"Sending POST request to {new_order}:")
    found = _LOCATION.search(answer) if asked else None
    return found[1] if found else ""


def note_open(place: OrderFolders, order: str) -> None:
    """Note that the CA is at work on the order of this folder; blocks."""
    if not os.path.lexists(place.open_note):  # its age counts
        files.write_file(place.open_note, f"{order}\n".encode())


def clear(place: OrderFolders) -> None:
    """Remove the files of an order, and what earlier ones left behind; blocks."""
    files.remove_tree(os.path.dirname(place.order))


def log_mark(place: OrderFolders) -> LogMark:
    """Return what tells the log of one run from that of the next, None without a log; blocks."""
    try:
        there = os.stat(place.log)
    except OSError:
        return None
    return there.st_ino, there.st_size, there.st_mtime_ns


def note_offered(place: OrderFolders, names: Iterable[str]) -> None:
    """Note that these names are now offered to the CA, which counts failures; blocks."""
    text = "".join(f"{name}\n" for name in names)
    files.write_file(place.offered_note, text.encode())


def offered(place: OrderFolders) -> tuple[str, ...]:
    """Return the names of an order that was cut short after it was offered; blocks."""
    try:
        text = files.read_file(place.offered_note).decode("ascii", "replace")
    except FileNotFoundError:
        return ()
    return tuple(text.split())


def forget_offered(place: OrderFolders) -> None:
    """It is known how the order went; blocks."""
    files.remove_file(place.offered_note)


def read_log(place: OrderFolders, before: LogMark) -> str:
    """Return the end of certbot's log, "" if it is the one from `before`; blocks.

    A certbot that ends before it logs leaves the log of its last run.
    """
    if log_mark(place) == before:
        return ""
    try:
        with open(place.log, "rb") as stream:
            stream.seek(max(os.fstat(stream.fileno()).st_size - LOG_TAIL, 0))
            return stream.read(LOG_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
