"""`sslmctl dane`: what DNS shows, what ports serve, and what should be."""

from __future__ import annotations

import argparse
import json

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, add_certs, chosen, command, connect
from sslmd.console.errors import DONE, FAILED
from sslmd.console.text import say
from sslmd.wire.messages import Method

# Seconds. Name servers and ports that do not answer are waited for, side by side.
TIMEOUT = 180.0


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = command(
        commands,
        "dane",
        run,
        "compare TLSA records, name servers and ports (exit status 0 or 1)",
        "Asks every name server for the TLSA records of the certificates, connects to every "
        "address of every port that has some, and tells what does not fit. The daemon does this "
        "every day by itself, and at most once a minute for those who ask: until then they get the "
        "last answer, with its age.",
    )
    add_certs(parser)
    parser.add_argument(
        "--now", action="store_true", help="ask the world again, within that minute (admins only)"
    )
    parser.add_argument("--json", action="store_true", help="print what the daemon answers")


def run(args: argparse.Namespace) -> int:
    """Ask for it and print it; 1 if something does not fit, was not looked at or is not there."""
    with connect(args) as daemon:
        # Left out where it is not asked for: a daemon of before does not know it.
        params = {"certs": chosen(args), **({"now": True} if args.now else {})}
        result = daemon.call(Method.DANE, params, timeout=TIMEOUT)
    certs = Fields(result).subs("certs")
    if args.json:
        say(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        for one in certs:
            _print(one)
        if not certs:
            say("none of the certificates has dane_tls")
        if any(map(_is_old, certs)):
            say("looked at less than a minute ago; an admin has it done again: sslmctl dane --now")
    return DONE if all(one.flag("ok") for one in certs) else FAILED


def _verdict(one: Fields) -> tuple[str, str]:
    """Return what there is to say in a word or two, and its colour."""
    if one.flag("ok"):
        return "all fits", "green"
    if any(finding.flag("wrong") for finding in one.subs("findings")):
        return "NOT WELL", "red"
    if any(finding.flag("unseen") for finding in one.subs("findings")):
        return "NOT ALL COULD BE LOOKED AT", "yellow"
    return "NOT PUBLISHED", "yellow"


def _is_old(one: Fields) -> bool:
    """Whether it was not looked at for this question; a daemon of before always did that."""
    return "fresh" in one.names() and not one.flag("fresh")


def _print(one: Fields) -> None:
    verdict, colour = _verdict(one)
    age = f" ({one.number('age')} s ago)" if _is_old(one) and one.text("at") else ""
    say(f"{one.text('cert')}: {verdict}{age}", colour)
    for record in one.subs("records"):
        ttl = record.number("ttl")
        coming = "  ; of the next key" if record.text("of") == "next" else ""
        say(f"  {record.text('owner')}. {ttl} IN TLSA {record.text('record')}{coming}")
    for finding in one.subs("findings"):
        wrong = finding.flag("wrong")
        mark, colour = ("!!", "red") if wrong else ("ok", "")
        if finding.flag("warning") or (finding.flag("unseen") and not wrong):
            mark, colour = "??", "yellow"
        say(f"  {mark} {finding.text('where')}: {finding.text('text')}", colour)
    say(f"  {one.text('reason')}")
