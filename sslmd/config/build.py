"""From the checked tables of `ssl-mgr.conf` and `ca-info.conf` to the types of `model`.

What needs more than one table is checked here; paths and programs become absolute.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from sslmd.config.locate import KeyPath
from sslmd.config.model import (
    LETS_ENCRYPT,
    LETS_ENCRYPT_STAGING,
    Argv,
    CaInfo,
    CaKind,
    DhOptions,
    DnsOptions,
    DnsPrimary,
    Endpoint,
    GlobalOptions,
    PostCopy,
    ServerClass,
    ServerKind,
    ServiceMatch,
    TsigKey,
    Unprobed,
)
from sslmd.config.probes import DEFAULT_PROBES
from sslmd.config.renew import Leads
from sslmd.config.report import Notes, Source
from sslmd.config.schema import Dh, Dns, Globals, Primary, Servers, Web
from sslmd.config.schema_service import CaTable
from sslmd.core.names import BadName, parse_service
from sslmd.core.spec import Timing

EVERYTHING = ServiceMatch(None, None, cas=False)

# ssl-mgr has a hook of the same name, wherever it is installed: it speaks to ssl-mgr, not to this
# daemon.
_HOOK = "sslm-auth-hook"


class Places:
    """Makes paths absolute: relative ones start at the top directory."""

    def __init__(self, top: Path) -> None:
        self.top = str(top)

    def path(self, text: str) -> Path:
        """Return the absolute path of `text`, links not resolved."""
        return Path(os.path.abspath(os.path.join(self.top, text)))

    def maybe(self, text: str) -> Path | None:
        """Return the absolute path of `text`, None for an empty one."""
        return self.path(text) if text else None

    def folders(self, texts: Iterable[str]) -> tuple[Path, ...]:
        """Return the absolute paths of folders, each once; empty texts are left out."""
        return tuple(dict.fromkeys(self.path(text) for text in texts if text))

    def argv(self, words: Argv) -> Argv:
        """Return a command whose program, if it is a relative path, starts at the top."""
        if words and "/" in words[0] and not words[0].startswith("/"):
            return (str(self.path(words[0])), *words[1:])
        return words

    def commands(self, commands: Iterable[Argv]) -> tuple[Argv, ...]:
        """Return the commands that are not empty."""
        return tuple(self.argv(words) for words in commands if words)


def timing(leads: Leads, min_roll: timedelta) -> Timing:
    """Return the timing for these leads; the spread is at most as long as the lead."""
    days = timedelta(days=leads.days)
    spread = timedelta(days=min(leads.spread, leads.days))
    return Timing(days, spread, min_roll, leads.by_life)


def check_spread(notes: Notes, source: Source, key: KeyPath, days: float, spread: float) -> None:
    """Warn if the spread is longer than the time before expiry."""
    if spread > days:
        notes.warn(
            source,
            key,
            f"{spread:g} days are more than renew_expire_days, which is {days:g}",
            f"{days:g} is used; write {days:g} or less",
        )


def usual_leads(table: Globals, notes: Notes, source: Source) -> Leads:
    """Return what `[globals]` says about renewals, where there is no `[renew_info]`."""
    days, spread = table.renew_expire_days, table.renew_expire_days_spread
    check_spread(notes, source, ("globals", "renew_expire_days_spread"), days, spread)
    return Leads(days, spread)


def global_options(
    table: Globals, leads: Leads, places: Places, notes: Notes, source: Source
) -> GlobalOptions:
    """Return `[globals]`; `leads` is what it says about renewals, or `[renew_info]` does."""
    hook = places.maybe(table.sslm_auth_hook)
    if hook is not None and hook.name == _HOOK:
        if not _is_ours(hook):
            notes.warn(
                source,
                ("globals", "sslm_auth_hook"),
                f"{hook} is taken for ssl-mgr's hook; the daemon's own is used",
                "remove the key",
            )
        hook = None
    certs, prod = places.path(table.certs_dir), places.path(table.prod_cert_dir)
    if certs == prod or certs in prod.parents or prod in certs.parents:
        # The production tree is copied to servers, the working tree holds the CA's keys (I1).
        notes.mistake(
            source,
            ("globals", "prod_cert_dir"),
            f"{prod} and certs_dir ({certs}) are the same folder, or one holds the other",
            "write two separate folders",
        )
    return GlobalOptions(
        certs_dir=certs,
        prod_cert_dir=prod,
        verbose=table.verb,
        auth_hook=hook,
        logdir=places.maybe(table.logdir),
        clean_keep=table.clean_keep,
        timing=timing(leads, timedelta(minutes=table.min_roll_mins)),
        dns_check_delay=timedelta(seconds=table.dns_check_delay),
        dns_check_timeout=timedelta(seconds=table.dns_check_timeout),
        dns_extra_servers=tuple(dict.fromkeys(table.dns_xtra_ns)),
        dns_validating_resolver=table.dns_validating_resolver,
        dane_next_key=table.dane_next_key,
        cmd_timeout=timedelta(seconds=table.cmd_timeout),
        post_copy=tuple(PostCopy(one.host, places.argv(one.argv)) for one in table.post_copy_cmd),
        keep=tuple(dict.fromkeys(table.keep)),
    )


def _is_ours(hook: Path) -> bool:
    """Whether a hook is the installed one: it is beside our Python, or leads there."""
    return os.path.realpath(hook) in (
        os.path.realpath(os.path.join(os.path.dirname(program), _HOOK))
        for program in (sys.executable, os.path.realpath(sys.executable))
    )


def dh_options(table: Dh, groups: Iterable[str]) -> DhOptions:
    """Return `[dh]`, for the groups that it names."""
    return DhOptions(
        groups=tuple(groups),
        params=tuple(dict.fromkeys(table.params)),
        max_age=timedelta(days=table.max_age),
    )


def dns_options(table: Dns, places: Places) -> DnsOptions:
    """Return `[dns]`."""
    return DnsOptions(
        restart=places.commands(table.restart_cmd),
        acme_dirs=places.folders(table.acme_dir),
        tlsa_dirs=places.folders(table.tlsa_dirs),
        depends=frozenset(table.depends),
        pass_zones=table.pass_zones,
    )


def dns_primary(
    table: Primary, places: Places, notes: Notes, source: Source, key: KeyPath
) -> DnsPrimary:
    """Return one `[[dns_primary]]`."""
    server = table.server if table.port is None else Endpoint(table.server.host, table.port)
    tsig = None
    if table.tsig_key_file:
        name = str(table.tsig_name or "")
        algorithm = table.tsig_algorithm or ("hmac-sha256" if name else "")
        tsig = TsigKey(places.path(table.tsig_key_file), name, algorithm)
    elif table.tsig_name or table.tsig_algorithm:
        word = "tsig_name" if table.tsig_name else "tsig_algorithm"
        notes.mistake(
            source, (*key, word), "there is no key to go with it", "add tsig_key_file = 'path'"
        )
    if tsig and not table.update:
        notes.warn(
            source,
            (*key, "tsig_key_file"),
            "the key has no use without dynamic updates",
            "add update = true, or remove it",
        )
    return DnsPrimary(table.domain, server, tuple(table.nameservers), table.update, tsig)


def server_class(
    kind: ServerKind, table: Servers, places: Places, notes: Notes, source: Source
) -> ServerClass:
    """Return one of `[smtp] [imap] [web] [other]`."""
    granted = tuple(table.svc_depends)
    if table.servers and "svc_depends" not in table.model_fields_set:
        granted = _granted_by_default(kind, notes, source)
    named: object = table.probe
    unprobed = named if isinstance(named, Unprobed) else None
    probes = DEFAULT_PROBES[kind] if table.probe is None else ()
    if unprobed is None and table.probe is not None:
        probes = tuple(table.probe)
    web = table if isinstance(table, Web) else Web()
    return ServerClass(
        kind=kind,
        servers=tuple(dict.fromkeys(table.servers)),
        restart=places.commands(table.restart_cmd),
        svc_depends=granted,
        depends=frozenset(table.depends),
        server_dir=places.maybe(web.server_dir),
        http_check=web.http_check,
        skip_prod_copy=table.skip_prod_copy,
        probes=probes,
        probe_timeout=timedelta(seconds=table.probe_timeout),
        unprobed=unprobed,
        prune=table.prune,
        key_owner=table.key_owner,
        key_group=table.key_group,
        key_mode=table.key_mode,
        roll_window=tuple(table.roll_window),
        restart_window=tuple(table.restart_window),
    )


def _granted_by_default(kind: ServerKind, notes: Notes, source: Source) -> tuple[ServiceMatch, ...]:
    """Say what a class without `svc_depends` gets.

    ssl-mgr copied everything to every server. For `[other]` that is what the class is for
    (backup hosts), CAs apart; elsewhere a key goes only where somebody wants it (I1).
    """
    if kind is ServerKind.OTHER:
        notes.warn(
            source,
            (kind.value,),
            "without svc_depends, its servers get every certificate with its key",
            "write svc_depends = [['any', ['ALL']]] if that is meant",
        )
        return (EVERYTHING,)
    notes.warn(
        source,
        (kind.value,),
        "without svc_depends, its servers get no certificate",
        "write svc_depends = [['any', ['ALL']]] for all, or [['group', ['service', …]], …]",
    )
    return ()


def ca_info(
    name: str, table: CaTable, profile: str, places: Places, notes: Notes, source: Source
) -> CaInfo:
    """Return one table of `ca-info.conf`; `profile` is the ACME profile asked for by default."""
    if bool(table.ca_eab_kid) != bool(table.ca_eab_hmac_key_file):
        there, lacking = "ca_eab_kid", "ca_eab_hmac_key_file"
        if not table.ca_eab_kid:
            there, lacking = lacking, there
        notes.mistake(
            source, (name, there), f"it needs {lacking} beside it", f"add {lacking} = '…'"
        )
    try:
        parse_service(name)
    except BadName as err:
        notes.mistake(source, (name,), str(err), "give the CA another name")
    if name == "self":
        notes.warn(
            source,
            (name,),
            "signing_ca = 'self' means that a certificate signs itself, not this table",
            "give the CA another name",
        )
    return CaInfo(
        name=name,
        description=table.ca_desc,
        kind=table.ca_type,
        validation=table.ca_validation,
        preferred_chain=table.ca_preferred_chain,
        preferred_profile=table.ca_preferred_acme_profile or profile,
        server=table.ca_server or LETS_ENCRYPT,
        server_root=places.maybe(table.ca_server_root),
        test_server=table.ca_test_server or LETS_ENCRYPT_STAGING,
        test_server_root=places.maybe(table.ca_test_server_root),
        eab_kid=table.ca_eab_kid,
        eab_hmac_key_file=places.maybe(table.ca_eab_hmac_key_file),
    )


def check_profile(info: CaInfo, raw: object, notes: Notes, source: Source) -> None:
    """Warn where ssl-mgr 7 asks an ACME CA for another profile; `raw` is the CA's table."""
    written = isinstance(raw, dict) and "ca_preferred_acme_profile" in raw
    if not is_own(info) and not written and not info.preferred_profile:
        notes.warn(
            source,
            (info.name,),
            "ssl-mgr 7 asks for the profile tlsserver where none is named; here the CA chooses",
            "write ca_preferred_acme_profile = 'tlsserver' to keep that, or '' for the CA's choice",
        )


def is_own(info: CaInfo) -> bool:
    """Whether a CA is the site's own."""
    return info.kind is not CaKind.ACME


def own_names(cas: Mapping[str, CaInfo]) -> list[str]:
    """Return the names of the site's own CAs."""
    return [name for name, info in cas.items() if is_own(info)]
