"""`sslm-mgr`: ssl-mgr's command line, for hands and cron jobs that are used to it.

The daemon does by itself what this was run for. What it asks of the daemon is what `sslmctl` asks,
which says it better: every action here is one or more of its commands.

Exit status: as `sslmctl`, the worst of what was done; but what waits is no failure of a job that
comes again by the clock, and ssl-mgr's never was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from sslmd import __version__
from sslmd.console.answers import Cert, certs_of
from sslmd.console.args import Formatter, ask_certs, count_arg
from sslmd.console.program import DONE, USAGE, WAITING, CtlError, run_tool
from sslmd.console.text import clock, complain, printable, say
from sslmd.core.names import SetName
from sslmd.ctl import main as sslmctl
from sslmd.wire.messages import SOCKET_ENV, SOCKET_PATH, Method

Command = list[str]

# What the daemon takes for -roll-mins, and ssl-mgr.conf for min_roll_mins.
MOST_MINUTES = 525_600


def parser(*, dev: bool) -> argparse.ArgumentParser:
    """Return the parser of the command line; with `dev`, that behind the word `dev`."""
    top = argparse.ArgumentParser(
        prog="sslm-mgr dev" if dev else "sslm-mgr",
        description="ssl-mgr's command line. sslmd renews and rolls by itself; this asks it to.",
        epilog="Options may have one dash or two. sslm-mgr dev -h shows more.",
        allow_abbrev=False,
        formatter_class=Formatter,
    )
    top.add_argument(
        "certs", nargs="*", metavar="GROUP:SERVICE", help="group:service,service or group:ALL"
    )
    flag = _flags(top)
    flag("s", "status", "show the certificates; with -v everything of each")
    flag("", "renew", "renew what is due")
    flag("", "roll", "make next the new curr, where its time has come")
    top.add_argument(
        "-roll-mins", "--roll-mins", "-min-roll-mins", "--min-roll-mins", metavar="MINUTES",
        type=count_arg, help="roll what was issued so long ago, whatever min_roll_mins says",
    )  # fmt: skip
    flag("f", "force", "renew what is not due; roll without waiting, whatever -roll-mins says")
    flag("r", "reuse", "keep the key of curr")
    flag("d", "debug", "show what would be done and what is planned; do nothing")
    flag("t", "test", "ask the CA's test server")
    flag("n", "dry-run", "only try whether the CA would")
    flag("", "dns-refresh", "write the DNS records of zones again, and reload", "dns")
    top.add_argument(
        "-clean-keep", "--clean-keep", metavar="N", type=count_arg,
        help="remove old sets, all but so many (at least 1)",
    )  # fmt: skip
    flag("", "clean-all", "remove old sets of every certificate, inactive groups' too")
    flag("v", "verb", "say more", "verbose")
    if dev:
        flag("", "certs-prod", "bring servers the certificates that they should have",
             "certs-to-prod")  # fmt: skip
        for short, name in (("keys", "new-keys"), ("csr", "new-csr"), ("cert", "new-cert")):
            flag("", name, "make a new next: key, request and certificate", short)
        flag("", "copy-csr", "with these, or -renew: keep the key of curr", "copy")
        flag("", "next-to-curr", "make next the new curr without waiting, as -roll -f", "ntoc")
        flag("", "force-server-restarts", "restart every server class, and DNS", "fsr")
    top.add_argument(
        "-socket", "--socket", metavar="PATH", default=os.environ.get(SOCKET_ENV) or SOCKET_PATH,
        help="socket of the daemon ($SSLMD_SOCKET)",
    )  # fmt: skip
    top.add_argument("-version", "--version", action="version", version=f"sslm-mgr {__version__}")
    return top


def _flags(top: argparse.ArgumentParser) -> Callable[..., None]:
    def flag(short: str, name: str, text: str, *others: str) -> None:
        words = [*others, name]
        options = [f"-{short}"] if short else []
        options += [dashes + word for word in words for dashes in ("-", "--")]
        top.add_argument(
            *options, dest=name.replace("-", "_"), action="store_true", default=False, help=text
        )

    return flag


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_tool("sslm-mgr", lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> int:
    dev = argv[:1] == ["dev"]
    parse = parser(dev=dev)
    args = parse.parse_intermixed_args(argv[1:] if dev else argv)
    args.certs = list(_certs(args.certs))
    if dev:
        _take_dev(args)
    worst = DONE
    found = False
    for command in _commands(args, dev=dev):
        found = True
        if args.debug and command and command[0] not in ("status", "show", "plan"):
            say(f"would do: sslmctl {printable(' '.join(command))}")
        elif command:
            status = sslmctl.main([*command, "--socket", args.socket])
            worst = max(worst, DONE if status == WAITING else status)
    if not found:
        parse.print_usage(sys.stderr)
        raise CtlError("say what to do: -s, -renew, -roll, …", USAGE)
    return worst


def _certs(words: Sequence[str]) -> Iterator[str]:
    """Yield certificates as `sslmctl` has them: the manual also writes group:[one, two]."""
    text = " ".join(words).replace(", ", ",").replace(": ", ":")
    for word in text.split():
        yield word.replace("[", "").replace("]", "").rstrip(",")


def _take_dev(args: argparse.Namespace) -> None:
    """The daemon makes key, request and certificate in one go."""
    if args.new_keys or args.new_csr or args.new_cert:
        args.renew = args.force_renew = True
    elif args.copy_csr and not args.renew:
        text = "-copy goes with -keys, -csr, -cert or -renew: the daemon makes all of them"
        raise CtlError(text, USAGE)
    args.reuse = args.reuse or args.copy_csr


def _commands(args: argparse.Namespace, *, dev: bool) -> Iterator[Command]:
    """Yield what to ask of the daemon, in the order of ssl-mgr's own; an empty one for nothing."""
    certs = args.certs
    forced = args.force or getattr(args, "force_renew", False)
    to_curr = dev and args.next_to_curr
    if (args.test or args.dry_run) and (args.roll or to_curr):
        text = "-t and -n make no certificate that could be rolled: leave them out, or the roll"
        raise CtlError(text, USAGE)
    if args.renew or args.test or args.dry_run:
        yield _renewal(args, forced=forced)
    if to_curr or (args.roll and args.force):
        yield ["roll", "--force", *certs]
    elif args.roll:
        yield _roll(args)
    if dev and args.certs_prod:
        yield ["deliver", *certs]
    restarts = dev and args.force_server_restarts
    if restarts:
        yield from _restarts(args)
    if args.dns_refresh or restarts:
        yield ["dns-refresh", *certs]
    if args.clean_all or args.clean_keep is not None:
        # ssl-mgr keeps one at least, too.
        keep = [] if args.clean_keep is None else ["--keep", str(max(args.clean_keep, 1))]
        yield ["clean", *keep, *(["--inactive"] if args.clean_all else certs)]
    if args.status and args.verb:
        yield from (["show", cert.name] for cert in _status(args))
    elif args.status:
        yield ["status", *certs]
    if args.debug and (args.renew or args.roll or to_curr or not args.status):
        yield ["plan", *certs]


def _renewal(args: argparse.Namespace, *, forced: bool) -> Command:
    if args.test and args.dry_run:
        raise CtlError("-t or -n, not both: a dry run asks the test server anyway", USAGE)
    if args.test:
        return ["renew", "--test", *args.certs]
    if args.dry_run:
        return ["renew", "--dry-run", *args.certs]
    words = ["renew", *(["--reuse"] if args.reuse else [])]
    if forced:
        words += ["--force"] if args.certs else ["--force", "--all"]
    return [*words, *args.certs]


def _roll(args: argparse.Namespace) -> Command:
    """Return the roll of what can be rolled; cron's job has nothing to complain of otherwise."""
    if args.roll_mins is not None and args.roll_mins > MOST_MINUTES:
        raise CtlError(f"-roll-mins can be {MOST_MINUTES} at most (a year)", USAGE)
    minutes = [] if args.roll_mins is None else ["--min-roll-mins", str(args.roll_mins)]
    if not args.certs:
        return ["roll", *minutes]
    ready = [cert.name for cert in _status(args) if _is_ready(cert, args)]
    if not ready:
        say("nothing to roll")
    return ["roll", *minutes, *ready] if ready else []


def _is_ready(cert: Cert, args: argparse.Namespace) -> bool:
    now = datetime.now(UTC)
    next_, roll_at = cert.sub("next"), cert.time("roll_at")
    if not next_:
        complain(f"{cert.name}: nothing on deck")
        return False
    if args.roll_mins is None:
        if roll_at is not None and roll_at <= now:
            return True
        complain(f"{cert.name}: {cert.text('reason')}; -f rolls it now")
        return False
    issued = next_.time("issued_at") or SetName.parse(next_.text("set")).time
    until = min(issued, now) + timedelta(minutes=args.roll_mins)
    if cert.curr and now < until:
        complain(f"{cert.name}: not before {clock(until)} (-roll-mins)")
        return False
    return True


def _restarts(args: argparse.Namespace) -> Iterator[Command]:
    """Yield a restart of each class with a server that has one of the certificates.

    Not of `dns`: refreshing the zones runs its command.
    """
    servers = (server for cert in _status(args) for server in cert.subs("servers"))
    kinds = sorted({server.text("class") for server in servers} - {"dns"})
    if not kinds:
        say("no server has a certificate: none to restart")
    yield from (["restart", kind] for kind in kinds)


def _status(args: argparse.Namespace) -> list[Cert]:
    return certs_of(ask_certs(args, Method.STATUS))


if __name__ == "__main__":
    sys.exit(main())
