"""`sslmd init`: a first configuration, from flags and a few questions.

It is written beside its place, loaded as the daemon would, and only then renamed: a crash, a
mistake or a full disk leaves nothing behind, and what is there already is never touched.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sslmd.config.first import (
    BIND_RELOAD,
    Answers,
    FirstCa,
    Found,
    Service,
    Validation,
    first_files,
    usual_names,
)
from sslmd.config.load import load, locate_conf_dir
from sslmd.config.model import ServerKind
from sslmd.core.errors import ConfigError, SslmError
from sslmd.core.names import BadName, CertId, GroupName, ZoneName, parse_san
from sslmd.core.plain import plain
from sslmd.dns.ask import DnsAsker
from sslmd.dns.resolver import Resolver
from sslmd.net.inside import Inside
from sslmd.servers.own_user import ROOT as ROOT_USER
from sslmd.servers.own_user import USER
from sslmd.setup.init_look import look
from sslmd.setup.next_steps import next_steps
from sslmd.store.files import make_dirs, sync_dir, write_new

Answer = TypeVar("Answer")

# What is restarted where such a server is on this machine: its program, and the command.
_SERVERS = (
    (ServerKind.SMTP, Found("postfix", "systemctl reload postfix")),
    (ServerKind.SMTP, Found("exim4", "systemctl reload exim4")),
    (ServerKind.IMAP, Found("dovecot", "systemctl reload dovecot")),
    (ServerKind.WEB, Found("nginx", "systemctl reload nginx")),
    (ServerKind.WEB, Found("apache2", "systemctl reload apache2")),
    (ServerKind.WEB, Found("httpd", "systemctl reload httpd")),
    (ServerKind.WEB, Found("caddy", "systemctl reload caddy")),
)
# Servers are where only root's PATH leads.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_SIMPLE_PATH = re.compile(r"[A-Za-z0-9_./+-]+")


class _Wrong(ValueError):
    """What was answered cannot be; the text says what could."""


class _Stopped(Exception):
    """Nobody is there to answer any more, or they said no."""


def run(argv: Sequence[str] | None = None) -> int:
    """Run `sslmd init` with these arguments; return the exit status: 0, 1 failed, 2 usage."""
    parser = _parser()
    args = parser.parse_args(argv)
    somebody = sys.stdin is not None and sys.stdin.isatty()
    asks = somebody and not args.yes
    if args.user or args.trees:
        return _own_user(args, parser, somebody=somebody)
    # Nobody has to give a contact.
    said: dict[str, object] = {
        "--domain": args.domain,
        "--ca": args.ca,
        "--validation": args.validation or args.ca != FirstCa.LETSENCRYPT,
        "--service": args.service,
        "--dane or --no-dane": args.dane is not None,
    }
    unsaid = ", ".join(option for option, answer in said.items() if not answer)
    if unsaid and not (somebody or args.yes):
        parser.error(f"nobody is there to ask for {unsaid}; say --yes to take the defaults")
    try:
        conf_dir = locate_conf_dir(args.conf_dir, os.environ)
        _refuse_existing(conf_dir)
        answers = _Interview(asks).answers(args, conf_dir)
        looked = asyncio.run(look(answers, Resolver(DnsAsker(Inside()))))
        answers = replace(answers, resolvers=looked.resolvers)
        if asks:
            print(f"\nThis will be written to {answers.conf_dir}:")
            for path in first_files(answers):
                print(f"  {path}")
            if not _yes_or_no(input("Write it? [yes]: ").strip() or "yes"):
                raise _Stopped
        warnings = [*_write(answers, conf_dir), *looked.remarks]
    except _Wrong as err:
        parser.error(str(err))
    except (SslmError, OSError) as err:
        print(plain(f"sslmd init: {err}; nothing was written"), file=sys.stderr)
        return 1
    except (_Stopped, EOFError, KeyboardInterrupt):
        print("\nsslmd init: nothing was written", file=sys.stderr)
        return 1
    for warning in warnings:
        print(plain(f"warning: {warning}"), file=sys.stderr)
    print("\n".join(next_steps(answers, shutil.which("sslmd"))))
    return 0


def _own_user(args: argparse.Namespace, parser: argparse.ArgumentParser, *, somebody: bool) -> int:
    """Change the user of a daemon that has a configuration."""
    from sslmd.setup import init_user  # not for a first configuration

    if not args.user:
        parser.error("--trees is for --user")
    if args.domain or args.service or args.email or args.ca or args.validation or args.dane:
        parser.error("--user is for a configuration that is there: write one first, without it")
    if not (somebody or args.yes or args.trees):
        parser.error("nobody is there to agree; say --yes")
    return init_user.run(args, parser, asks=somebody and not args.yes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sslmd init",
        description="Write a first configuration. Asks for what the options do not say.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--conf-dir",
        metavar="DIR",
        help="where; default $SSL_MGR_TOPDIR/conf.d, else /etc/ssl-mgr/conf.d",
    )
    parser.add_argument("--domain", metavar="NAME", help="your domain, such as example.com")
    parser.add_argument(
        "--service",
        metavar="NAME",
        action="append",
        help="a certificate: web-ec, web-rsa, mail-ec, …; may be given again; default web-ec",
    )
    parser.add_argument("--email", metavar="ADDRESS", help="contact for the CA's account; optional")
    parser.add_argument(
        "--ca",
        choices=[one.value for one in FirstCa],
        help="who signs: a CA of your own, made here, or Let's Encrypt; default own",
    )
    parser.add_argument(
        "--validation",
        choices=[one.value for one in Validation],
        help="how Let's Encrypt sees that names are yours; default dns-01",
    )
    parser.add_argument(
        "--dane",
        action=argparse.BooleanOptionalAction,
        help="publish TLSA records; the zone has to be signed (DNSSEC)",
    )
    parser.add_argument(
        "--user",
        nargs="?",
        const=USER,
        choices=(USER, ROOT_USER),
        help=f"have a daemon that is configured run as a user of its own, {USER}; or as root again",
    )
    parser.add_argument(
        "--trees",
        action="store_true",
        help="with --user: only give it what it works on; the unit says so before its start",
    )
    parser.add_argument(
        "--yes", action="store_true", help="ask nothing; take the default of what is not said"
    )
    return parser


def _refuse_existing(conf_dir: Path) -> None:
    """Raise unless `conf_dir` is not there, or an empty folder."""
    if conf_dir.is_symlink() or (conf_dir.exists() and not conf_dir.is_dir()):
        raise SslmError(f"{conf_dir} is there already, and is no folder")
    with suppress(FileNotFoundError):
        there = sorted(os.listdir(conf_dir))
        if there:
            some = ", ".join(there[:3]) + (", …" if there[3:] else "")
            raise SslmError(
                f"there is a configuration in {conf_dir} already ({some}); look at it with"
                " `sslmd --check-config`, or begin elsewhere with --conf-dir"
            )


# --- questions ------------------------------------------------------------------------


class _Interview:
    """Gets every answer from an option, from a person, or by default."""

    def __init__(self, asks: bool) -> None:  # noqa: FBT001 - the one thing that it is made of
        self._asks = asks

    def answers(self, args: argparse.Namespace, conf_dir: Path) -> Answers:
        if not _SIMPLE_PATH.fullmatch(str(conf_dir)):
            raise _Wrong(f"--conf-dir {conf_dir}: use letters, digits and . _ + - / only")
        domain = self._one("Your domain", args.domain, _own_domain(), _domain)
        ca = FirstCa(self._one("Who signs: own, letsencrypt", args.ca, FirstCa.OWN, FirstCa))
        validation = Validation.DNS_01
        if ca is FirstCa.LETSENCRYPT:
            text = "How it sees that names are yours: dns-01, http-01"
            validation = self._one(text, args.validation, Validation.DNS_01, Validation)
        elif args.validation:
            raise _Wrong("--validation is for --ca letsencrypt: the own CA believes you")
        text = "Certificates (services), such as web-ec mail-ec"
        given = ",".join(args.service) if args.service else None
        names = self._one(text, given, "web-ec", lambda said: _services(domain, said))
        services = tuple(Service(name, self._names(domain, name, ca, validation)) for name in names)
        email = self._one("Contact for the CA (may be empty)", args.email, "", _email)
        dane = args.dane
        if dane is None:
            text = "Publish TLSA records (DANE; needs DNSSEC): yes, no"
            dane = self._one(text, None, "no", _yes_or_no)
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN))
        found: dict[ServerKind, Found] = {}
        for kind, one in _SERVERS:
            if kind not in found and shutil.which(one.program, path=path):
                found[kind] = one
        return Answers(domain, services, ca, validation, email, dane, str(conf_dir), found)

    def _names(
        self, domain: str, service: str, ca: FirstCa, validation: Validation
    ) -> tuple[str, ...]:
        usual = usual_names(domain, service, ca, validation)

        def parse(text: str) -> tuple[str, ...]:
            names = tuple(str(parse_san(word)) for word in re.split(r"[\s,]+", text.strip()))
            if validation is Validation.HTTP_01 and any("*" in name for name in names):
                raise _Wrong("http-01 cannot prove a wildcard; leave it out, or use dns-01")
            return names

        return self._one(f"Names in {service}", None, " ".join(usual), parse)

    def _one(
        self, text: str, given: str | None, usual: str, parse: Callable[[str], Answer]
    ) -> Answer:
        """Return one answer; a person may try again, an option is final."""
        if given is not None or not self._asks:
            try:
                return parse(usual if given is None else given)
            except ValueError as err:
                raise _Wrong(str(err)) from None
        while True:
            said = input(f"{text} [{usual}]: ").strip() or usual
            try:
                return parse(said)
            except ValueError as err:
                print(f"  {err}")


def _domain(text: str) -> str:
    if not text:
        raise _Wrong("which domain? --domain example.com")
    try:
        GroupName.parse(text)
        return str(ZoneName.parse(text))
    except BadName as err:
        raise _Wrong(f"domain: {err}") from None


def _services(domain: str, text: str) -> tuple[str, ...]:
    try:
        certs = [CertId.of(domain, word) for word in re.split(r"[\s,]+", text)]
        return tuple(dict.fromkeys(cert.service for cert in certs))
    except BadName as err:
        raise _Wrong(f"service: {err}") from None


def _email(text: str) -> str:
    if text and (not _EMAIL.fullmatch(text) or len(text) > 255):
        raise _Wrong(f"{text!r} is no mail address, such as hostmaster@example.com")
    return text


def _yes_or_no(text: str) -> bool:
    if text.lower() in ("y", "yes", "n", "no"):
        return text.lower().startswith("y")
    raise _Wrong("yes or no")


def _own_domain() -> str:
    """Return the domain that this machine is in, if it knows one."""
    domain = socket.gethostname().partition(".")[2]
    with suppress(BadName):
        return str(ZoneName.parse(domain)) if "." in domain else ""
    return ""


# --- writing --------------------------------------------------------------------------


def _write(answers: Answers, conf_dir: Path) -> list[str]:
    """Write the files beside `conf_dir`, load them, and rename; return what is odd about them.

    Raises `SslmError`, `OSError`.
    """
    parent = conf_dir.parent
    make_dirs(str(parent), 0o755)
    folder = tempfile.mkdtemp(prefix=f".{conf_dir.name}-", dir=parent)
    try:
        os.chmod(folder, 0o755)  # noqa: S103 - as /etc is: nothing in it is secret
        for path, text in first_files(answers).items():
            whole = os.path.join(folder, path)
            make_dirs(os.path.dirname(whole), 0o755)
            write_new(whole, text.encode(), 0o755 if path == BIND_RELOAD else 0o644)
        try:
            config = load(Path(folder))
        except ConfigError as err:
            lines = "\n".join(map(str, err.mistakes)).replace(folder, str(conf_dir))
            raise SslmError(f"that makes no configuration:\n{lines}\n") from None
        try:
            os.rename(folder, conf_dir)  # over an empty folder, too
        except OSError as err:
            if err.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise SslmError(f"meanwhile something else was written to {conf_dir}") from None
        sync_dir(str(parent))
        return [str(warning).replace(folder, str(conf_dir)) for warning in config.warnings]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
