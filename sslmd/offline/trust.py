"""`sslmctl trust`: has this machine, and browsers on it, believe the site's own CA.

    Debian, Ubuntu   /usr/local/share/ca-certificates   update-ca-certificates(8)
    Fedora, RHEL     /etc/pki/ca-trust/source/anchors   update-ca-trust(8)
    Arch             /etc/ca-certificates/trust-source/anchors   update-ca-trust(8)
    SUSE             /etc/pki/trust/anchors             update-ca-certificates(8)
    Firefox, Chrome  NSS databases in the home          certutil(1)

Needs no daemon: the configuration tells where the roots are.
"""

from __future__ import annotations

import argparse
import glob
import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from sslmd.console.args import Commands, command
from sslmd.console.program import DONE, FAILED, NOT_PERMITTED, USAGE, CtlError
from sslmd.console.text import complain, printable, say
from sslmd.core.errors import SslmError
from sslmd.core.names import BadName
from sslmd.offline.other_user import Person, call_as, run_as, shown_as

SYSTEM, NSS = "system", "nss"

# Where roots are put, the command that takes them up, and what it needs when one is gone.
_STORES = (
    ("/usr/local/share/ca-certificates", "update-ca-certificates", ("--fresh",)),
    ("/etc/pki/ca-trust/source/anchors", "update-ca-trust", ()),
    ("/etc/ca-certificates/trust-source/anchors", "update-ca-trust", ()),
    ("/etc/pki/trust/anchors", "update-ca-certificates", ("--fresh",)),
)
# Of the whole machine: what some programs look at beside the user's own.
_MACHINES = "/etc/pki/nssdb"
# Below a home, each a folder with cert9.db.
_DATABASES = (
    ".pki/nssdb",
    "snap/chromium/current/.pki/nssdb",
    ".mozilla/firefox/*",
    "snap/firefox/common/.mozilla/firefox/*",
    ".var/app/org.mozilla.firefox/.mozilla/firefox/*",
)
# Of one user; nobody has as many.
_MOST_DATABASES = 100


@dataclass(frozen=True)
class Root:
    """A certificate to trust. `name`: of its file and in databases; `path`: where it is."""

    name: str
    path: str
    pem: bytes


@dataclass(frozen=True)
class Step:
    """Something to do: to run a command, which reads `data`; or to write that to `path`.

    `source`: where the data is from. `person`: who does it, None for ourselves. `alone`: its
    failure does not keep the next from being done.
    """

    words: tuple[str, ...] = ()
    path: str = ""
    data: bytes = b""
    source: str = ""
    person: Person | None = None
    alone: bool = False

    def shown(self) -> str:
        """Return it as a line for a shell."""
        if self.path:
            return shlex.join(("install", "-m", "0644", self.source, self.path))
        words = (*(shown_as(self.person) if self.person else ()), *self.words)
        return shlex.join(words) + (f" < {shlex.quote(self.source)}" if self.data else "")


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "trust",
        run,
        "have this machine believe the site's own CA",
        "Puts its roots into the trust store of the system and into the databases of browsers.",
    )
    parser.add_argument(
        "roots",
        nargs="*",
        metavar="ROOT",
        help="ca:service, or a file; none: every root of the configuration",
    )
    parser.add_argument("--remove", action="store_true", help="take them out again")
    parser.add_argument("--print", action="store_true", dest="show", help="only show the commands")
    parser.add_argument(
        "--store", choices=(SYSTEM, NSS), action="append",
        help="only the system's trust store, or only browsers'",
    )  # fmt: skip
    parser.add_argument(
        "--conf-dir", metavar="DIR", default="", help="configuration (/etc/ssl-mgr/conf.d)"
    )


def run(args: argparse.Namespace) -> int:
    """Find the roots, then do or show what has to be done."""
    stores = args.store or [SYSTEM, NSS]
    roots = list(_roots(args))
    steps = []
    if SYSTEM in stores:
        if os.geteuid() and not args.show:
            raise CtlError(
                "only root changes the system's trust store; use sudo, --store nss for your own "
                "browsers, or --print",
                NOT_PERMITTED,
            )
        steps += _system(roots, remove=args.remove)
    if NSS in stores:
        steps += _browsers(roots, remove=args.remove, needed=args.store == [NSS])
    if args.show:
        for step in steps:
            say(printable(step.shown()))
        return DONE
    return _do(steps)


# --- what to trust --------------------------------------------------------------------------


def _roots(args: argparse.Namespace) -> Iterator[Root]:
    from sslmd.offline.sslm_info import read

    found = [_named(word, args) for word in args.roots] or _configured(args)
    for name, path in found:
        try:
            pem = _checked(read(path))
        except SslmError as err:
            raise CtlError(f"{path}: {err}") from None
        yield Root(f"sslmd-{name}", os.path.abspath(path), pem)


def _named(word: str, args: argparse.Namespace) -> tuple[str, str]:
    group, colon, service = word.replace("/", ":", word.startswith("ca/")).partition(":")
    if group == "ca" and colon:
        known = dict(_configured(args))
        if service not in known:
            names = ", ".join(f"ca:{name}" for name in known)
            raise CtlError(f"{word} is no root of the configuration; there is {names}", USAGE)
        return service, known[service]
    name = os.path.basename(word).rpartition(".")[0] or os.path.basename(word)
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name), word


def _configured(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the services that sign themselves, and their certificates."""
    # It takes longer to load than all the rest.
    from sslmd.config.files import locate_conf_dir
    from sslmd.config.load import load
    from sslmd.core.spec import SelfSigned
    from sslmd.store.layout import Tree

    folder = locate_conf_dir(args.conf_dir, os.environ)
    try:
        config = load(folder)
    except (SslmError, BadName) as err:
        raise CtlError(f"the configuration in {folder} cannot be used: {err}") from None
    tree = Tree(str(config.globals.certs_dir))
    found = [
        (cert.service, f"{tree.link(cert, 'curr')}/cert.pem")
        for cert, service in config.services.items()
        if isinstance(service.spec.signer, SelfSigned)
    ]
    if not found:
        raise CtlError(f"no service in {folder} signs itself: there is no root to trust")
    return found


def _checked(pem: bytes) -> bytes:
    """Return the one certificate of `pem`, which has to be a root that is valid now."""
    from cryptography.hazmat.primitives.serialization import Encoding

    from sslmd.core.errors import Permanent
    from sslmd.pki.chain import check_chain, check_may_issue, is_self_issued, load_cert
    from sslmd.pki.pem import MALFORMED

    cert = load_cert(pem)
    try:
        if not is_self_issued(cert):
            raise Permanent("it is no root: another CA signed it; trust that one")
        check_chain(cert, [])
        check_may_issue(cert, "it", between=0)
        if datetime.now(UTC) > cert.not_valid_after_utc:
            raise Permanent("it has expired")
    except MALFORMED as err:
        raise Permanent(f"it is damaged: {err}") from None
    return cert.public_bytes(Encoding.PEM)


# --- the system's store ---------------------------------------------------------------------


def _system(roots: Sequence[Root], *, remove: bool) -> list[Step]:
    search = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    there = [one for one in _STORES if os.path.isdir(one[0]) and shutil.which(one[1], path=search)]
    if not there:
        places = ", ".join(folder for folder, _, _ in _STORES)
        raise CtlError(
            f"this system has no trust store that is known here ({places}); install "
            "ca-certificates, or leave it out with --store nss"
        )
    folder, program, fresh = there[0]
    steps = []
    for root in roots:
        path = f"{folder}/{root.name}.crt"
        if not remove:
            steps.append(Step((), path, root.pem, root.path))
        elif os.path.lexists(path):
            steps.append(Step(("rm", "--", path)))
    # Also where nothing is left to remove: the run before may have been cut short.
    found = shutil.which(program, path=search) or program
    return [*steps, Step((found, *(fresh if remove else ())))]


# --- browsers -------------------------------------------------------------------------------


def _browsers(roots: Sequence[Root], *, remove: bool, needed: bool) -> list[Step]:
    person = _person()
    home = person.home if person else os.path.expanduser("~")
    # What is in a home is looked for and changed as who lives there: links may lead anywhere.
    databases = call_as(person, lambda: _databases(home)) if person else _databases(home)
    shared = [_MACHINES] if os.path.isfile(f"{_MACHINES}/cert9.db") and not os.geteuid() else []
    if not databases and not shared:
        if needed:
            raise CtlError(f"no browser has a database in {home}; start it once")
        return []
    certutil = shutil.which("certutil")
    if certutil is None:
        text = "certutil, which writes browsers' databases, is not installed (libnss3-tools, nss)"
        if needed:
            raise CtlError(text)
        complain(f"{text}: those in {home} are left alone")
        return []
    steps = []
    for folder in (*shared, *databases):
        for root in roots:
            words = (certutil, *(("-D",) if remove else ("-A", "-t", "C,,")))
            words += ("-d", f"sql:{folder}", "-n", root.name)
            # That user need not be able to read where the root is.
            given = (b"", "") if remove else (root.pem, root.path)
            who = person if folder in databases else None
            steps.append(Step(words, "", *given, who, alone=True))
    return steps


def _databases(home: str) -> list[str]:
    found = (
        folder
        for pattern in _DATABASES
        for folder in sorted(glob.glob(f"{glob.escape(home)}/{pattern}"))
        if os.path.isfile(f"{folder}/cert9.db")
    )
    return list(islice(found, _MOST_DATABASES))


def _person() -> Person | None:
    """Return whose browsers are meant, None for ourselves."""
    sudo = os.environ.get("SUDO_USER", "")
    if os.geteuid() or not sudo:
        return None
    try:
        entry = pwd.getpwnam(sudo)
    except KeyError:
        return None
    return Person(sudo, entry.pw_uid, entry.pw_gid, entry.pw_dir) if entry.pw_uid else None


# --- doing it -------------------------------------------------------------------------------


def _do(steps: Sequence[Step]) -> int:
    exit_status = DONE
    for step in steps:
        say(printable(step.shown()))
        try:
            _one(step)
        except OSError as err:
            raise CtlError(f"{step.shown()}: {err.strerror}") from None
        except CtlError as err:
            if not step.alone:
                raise
            complain(f"sslmctl: {printable(err.text)}", "red")
            exit_status = FAILED
    return exit_status


def _one(step: Step) -> None:
    if step.path:
        from sslmd.store import files

        try:
            files.write_file(step.path, step.data, 0o644)
        except SslmError as err:
            raise CtlError(str(err)) from None
        return
    if step.person is not None:
        status, said = run_as(step.person, step.words, step.data)
    else:
        done = subprocess.run(step.words, input=step.data, capture_output=True, check=False)
        status, said = (
            done.returncode,
            (done.stderr or done.stdout).decode(errors="replace").strip(),
        )
    if status:
        raise CtlError(f"{step.words[0]} failed with {status}: {said[-500:]}")
