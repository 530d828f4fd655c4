"""`sslmctl account`: the accounts at ACME CAs."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from sslmd.console.answers import Fields
from sslmd.console.args import Commands, arg, ask, command, flag
from sslmd.console.program import DONE
from sslmd.console.table import Row, print_table
from sslmd.console.text import printable_json, say
from sslmd.core.plain import local
from sslmd.wire.messages import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json

# Seconds. The CA is asked, and may be slow.
_TIMEOUT = 300.0

_CHANGES = ("contact", "rollover", "deactivate", "share")


def add(commands: Commands) -> None:
    """Declare the command."""
    command(
        commands,
        "account",
        run,
        "show and change the accounts at ACME CAs",
        "list: every account, and how many certificates use it. show: its URL, what the CA says of "
        "it, and the CAA record that allows this account alone. contact: the addresses that the CA "
        "knows (none: it forgets them). rollover: another key for the account. deactivate: its "
        "end, for good. "
        "share: certificates that have accounts of their own use the CA's one account from now on.",
        arg("action", choices=("list", "show", *_CHANGES), nargs="?", default="list"),
        arg("of", metavar="CA|CERT", nargs="?", default="", help="a CA of ca-info.conf, or a CERT"),
        arg("emails", metavar="EMAIL", nargs="*", help="for contact"),
        flag("--all", "share: at every CA"),
        flag("--yes", "deactivate: it is meant"),
        flag("--json", "list, show: print what the daemon answers"),
    )


def run(args: argparse.Namespace) -> int:
    """Do what is asked for."""
    if args.emails and args.action != "contact":
        args.parser.error(f"account {args.action} takes one CA or CERT")
    if args.action in _CHANGES:
        return _change(args)
    if args.action == "show" and not args.of:
        args.parser.error("account show takes a CA or a CERT")
    answer = ask(args, Method.ACCOUNTS, {"of": args.of})
    if args.json:
        print(printable_json(json.dumps(answer)))
        return DONE
    accounts = Fields(answer).subs("accounts")
    if args.action == "show":
        for number, one in enumerate(accounts):
            if number:
                say("")
            _show(one)
    else:
        _list(accounts)
    return DONE


def _list(accounts: list[Fields]) -> None:
    now = datetime.now(UTC)
    rows = []
    for one in accounts:
        since = one.time("since")
        url = one.text("url") or "none yet: the first order makes it"
        number = str(one.number("count"))
        cells = (one.text("name"), number, local(since, now) if since else "")
        rows.append(Row([(cell, "") for cell in cells], [(url, "")]))
    if rows:
        print_table(("ACCOUNT", "CERTS", "SINCE", "URL"), rows)
    else:
        say("no certificate is from an ACME CA")


def _show(one: Fields) -> None:
    since, now = one.time("since"), datetime.now(UTC)
    rows = {
        "account": one.text("url") or "none yet: the first order makes it",
        "CA": " ".join(filter(None, (one.text("ca"), one.text("server")))),
        "it says": one.text("at_ca"),
        "EAB": one.text("eab_kid"),
        "since": local(since, now) if since else "",
        "folder": one.text("folder"),
        "shared": "by all of the CA's certificates" if one.flag("shared") else "by nobody",
        "certs": f"{one.number('count')}: {', '.join(one.texts('certs')[:20])}",
    }
    for name, value in rows.items():
        if value:
            say(f"{name:<8} {value}")
    if lines := one.texts("caa"):
        say("CAA      allows this account alone:")
    for line in lines:
        say(f"  {line}")


def _change(args: argparse.Namespace) -> int:
    params: dict[str, Json] = {"action": args.action, "of": args.of}
    if args.action == "contact":
        params["emails"] = list(args.emails)
    if args.all:
        params["all"] = True
    if args.yes:
        params["sure"] = True
    for one in Fields(ask(args, Method.ACCOUNT, params, _TIMEOUT)).subs("changed"):
        say(f"{one.text('name')}: {one.text('text')}")
        for line in one.texts("caa"):
            say(f"  {line}")
    return DONE
