"""What the keys of one table say together: checks, and what is made of several of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sslmd.config import shell
from sslmd.config.kinds import Endpoint, RenewBy, ServerKind, ServiceMatch, TsigKey, Unprobed
from sslmd.config.locate import KeyPath
from sslmd.config.model import CaInfo, DnsPrimary, GlobalOptions, ServerClass
from sslmd.config.renew import Leads
from sslmd.config.report import Source
from sslmd.config.server_tables import DEFAULT_PROBES
from sslmd.config.table import made_of, path
from sslmd.core.names import BadName, parse_service, shown
from sslmd.core.spec import Timing

EVERYTHING = ServiceMatch(None, None, cas=False)

# ssl-mgr has a hook of the same name, wherever it is installed: it speaks to ssl-mgr, not to this
# daemon.
_HOOK = "sslm-auth-hook"

_WITH_COMMANDS = ("dns", *map(str, ServerKind))


def timing(leads: Leads, min_roll: timedelta, renew_by: RenewBy) -> Timing:
    """Return the timing for these leads; the spread is at most as long as the lead."""
    days = timedelta(days=leads.days)
    spread = timedelta(days=min(leads.spread, leads.days))
    return Timing(days, spread, min_roll, leads.by_life, renew_by is RenewBy.CA)


def check_spread(source: Source, key: KeyPath, days: float, spread: float) -> None:
    """Warn if the spread is longer than the time before expiry."""
    if spread > days:
        source.warn(
            key,
            f"{spread:g} days are more than renew_expire_days, which is {days:g}",
            f"{days:g} is used; write {days:g} or less",
        )


def global_options(table: Any, leads: Leads, top: str, source: Source) -> GlobalOptions:
    """Return `[globals]`; `leads` is what it says about renewals, or `[renew_info]` does."""
    renewals = timing(leads, timedelta(minutes=table.min_roll_mins), table.renew_by)
    made = made_of(GlobalOptions, table, top, timing=renewals)
    hook, certs, prod = made.auth_hook, made.certs_dir, made.prod_cert_dir
    if hook is not None and hook.name == _HOOK:
        # The installed one is beside our Python, or leads there.
        ours = {
            os.path.realpath(os.path.join(os.path.dirname(program), _HOOK))
            for program in (sys.executable, os.path.realpath(sys.executable))
        }
        if os.path.realpath(hook) not in ours:
            source.warn(
                ("globals", "sslm_auth_hook"),
                f"{hook} is taken for ssl-mgr's hook; the daemon's own is used",
                "remove the key",
            )
        made = replace(made, auth_hook=None)
    if certs == prod or certs in prod.parents or prod in certs.parents:
        # The production tree is copied to servers, the working tree holds the CA's keys (I1).
        source.mistake(
            ("globals", "prod_cert_dir"),
            f"{prod} and certs_dir ({certs}) are the same folder, or one holds the other",
            "write two separate folders",
        )
    return made


def dns_primary(table: Any, top: str, source: Source, key: KeyPath) -> DnsPrimary:
    """Return one `[[dns_primary]]`."""
    server = table.server if table.port is None else Endpoint(table.server.host, table.port)
    tsig = None
    if table.tsig_key_file:
        name = str(table.tsig_name or "")
        algorithm = table.tsig_algorithm or ("hmac-sha256" if name else "")
        tsig = TsigKey(path(table.tsig_key_file, top), name, algorithm)
    elif table.tsig_name or table.tsig_algorithm:
        word = "tsig_name" if table.tsig_name else "tsig_algorithm"
        source.mistake((*key, word), "there is no key to go with it", "add tsig_key_file = 'path'")
    if tsig and not table.update:
        source.warn(
            (*key, "tsig_key_file"),
            "the key has no use without dynamic updates",
            "add update = true, or remove it",
        )
    return made_of(DnsPrimary, table, top, server=server, tsig=tsig)


def server_class(kind: ServerKind, table: Any, top: str, source: Source) -> ServerClass:
    """Return one of `[smtp] [imap] [web] [other]`."""
    derived: dict[str, Any] = {"kind": kind}
    if table.servers and "svc_depends" not in table.model_fields_set:
        derived["svc_depends"] = _granted_by_default(kind, source)
    if isinstance(table.probe, Unprobed):
        derived["unprobed"] = table.probe
    else:
        named = table.probe
        derived["probes"] = DEFAULT_PROBES[kind] if named is None else tuple(named)
    return made_of(ServerClass, table, top, **derived)


def _granted_by_default(kind: ServerKind, source: Source) -> tuple[ServiceMatch, ...]:
    """Say what a class without `svc_depends` gets.

    ssl-mgr copied everything to every server. For `[other]` that is what the class is for
    (backup hosts), CAs apart; elsewhere a key goes only where somebody wants it (I1).
    """
    what, granted = "no certificate", tuple[ServiceMatch, ...]()
    remedy = "write svc_depends = [['any', ['ALL']]] for all, or [['group', ['service', …]], …]"
    if kind is ServerKind.OTHER:
        what, granted = "every certificate with its key", (EVERYTHING,)
        remedy = "write svc_depends = [['any', ['ALL']]] if that is meant"
    source.warn((kind.value,), f"without svc_depends, its servers get {what}", remedy)
    return granted


def ca_info(name: str, table: Any, profile: str, top: str, source: Source) -> CaInfo:
    """Return one table of `ca-info.conf`; `profile` is the ACME profile asked for by default."""
    if bool(table.ca_eab_kid) != bool(table.ca_eab_hmac_key_file):
        there, missing = "ca_eab_kid", "ca_eab_hmac_key_file"
        if not table.ca_eab_kid:
            there, missing = missing, there
        source.mistake((name, there), f"it needs {missing} beside it", f"add {missing} = '…'")
    try:
        parse_service(name)
    except BadName as err:
        source.mistake((name,), str(err), "give the CA another name")
    if name == "self":
        source.warn(
            (name,),
            "signing_ca = 'self' means that a certificate signs itself, not this table",
            "give the CA another name",
        )
    made = made_of(CaInfo, table, top, name=name)
    return made if made.preferred_profile else replace(made, preferred_profile=profile)


def check_profile(info: CaInfo, raw: object, source: Source) -> None:
    """Warn where ssl-mgr 7 asks an ACME CA for another profile; `raw` is the CA's table."""
    written = isinstance(raw, dict) and "ca_preferred_acme_profile" in raw
    if not info.is_own and not written and not info.preferred_profile:
        source.warn(
            (info.name,),
            "ssl-mgr 7 asks for the profile tlsserver where none is named; here the CA chooses",
            "write ca_preferred_acme_profile = 'tlsserver' to keep that, or '' for the CA's choice",
        )


def check_commands(data: Mapping[str, object], top: str, main: Source) -> None:
    """Warn about what a shell would expand in commands, and about paths with spaces.

    `data` is `ssl-mgr.conf`, of whatever form: its mistakes are told elsewhere.
    """
    for key, line in _command_lines(data):
        if " " in line and os.path.isfile(path(line, top)):
            # ssl-mgr takes the whole text of `[dns]`, and after a copy, for the program.
            main.warn(
                key,
                f"{shown(line)} is a file with a space in its name, and is split there",
                f'write "{shown(line)}", with both kinds of quotes',
            )
        elif found := shell.expansions(line):
            main.warn(
                key,
                f"no shell runs this, so the program gets {' '.join(map(shown, found))} as written",
                "write sh -c '…' around the whole if a shell should see it, else quotes",
            )


def _command_lines(data: Mapping[str, object]) -> Iterator[tuple[KeyPath, str]]:
    """Yield every command line with its place."""
    for name in _WITH_COMMANDS:
        table = data.get(name)
        lines = table.get("restart_cmd") if isinstance(table, dict) else None
        for index, line in enumerate(lines if isinstance(lines, list) else [lines]):
            if isinstance(line, str):
                yield (name, "restart_cmd", index), line
    for index, one in enumerate(tables if isinstance(tables := data.get("notify"), list) else []):
        if isinstance(one, dict) and isinstance(line := one.get("command"), str):
            yield ("notify", index, "command"), line
    options = data.get("globals")
    if isinstance(options, dict) and isinstance(line := options.get("alive_command"), str):
        yield ("globals", "alive_command"), line
    pairs = options.get("post_copy_cmd") if isinstance(options, dict) else None
    for index, pair in enumerate(pairs if isinstance(pairs, list) else []):
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str):
            yield ("globals", "post_copy_cmd", index), pair[1]
