"""From the checked tables of `ssl-mgr.conf` and `ca-info.conf` to the types of `model`.

What needs more than one table is checked here; paths and programs become absolute.
"""

from __future__ import annotations

import os
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
    Probe,
    ProbeWord,
    ServerClass,
    ServerKind,
    ServiceMatch,
    TsigKey,
)
from sslmd.config.report import Notes, Source
from sslmd.config.schema import Dh, Dns, Globals, Primary, RenewInfo, Servers, Web
from sslmd.config.schema_service import CaTable
from sslmd.core.names import BadName, parse_service
from sslmd.core.spec import Timing

# A default port counts only if it answered before the restart.
DEFAULT_PROBES = {
    ServerKind.SMTP: (Probe(25, ProbeWord.SMTP, optional=True),),
    ServerKind.IMAP: (Probe(993, ProbeWord.TLS, optional=True),),
    ServerKind.WEB: (Probe(443, ProbeWord.TLS, optional=True),),
    ServerKind.OTHER: (),
}
EVERYTHING = ServiceMatch(None, None, cas=False)

# ssl-mgr's own hook speaks to ssl-mgr, not to this daemon.
_FOREIGN_HOOK = "/ssl-mgr/sslm-auth-hook"


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

    def argv(self, words: Argv) -> Argv:
        """Return a command whose program, if it is a relative path, starts at the top."""
        if words and "/" in words[0] and not words[0].startswith("/"):
            return (str(self.path(words[0])), *words[1:])
        return words

    def commands(self, commands: Iterable[Argv]) -> tuple[Argv, ...]:
        """Return the commands that are not empty."""
        return tuple(self.argv(words) for words in commands if words)


def timing(days: float, spread: float, min_roll: timedelta) -> Timing:
    """Return the timing for `days` before expiry; the spread is at most as long as they are."""
    return Timing(timedelta(days=days), timedelta(days=min(spread, days)), min_roll)


def check_spread(notes: Notes, source: Source, key: KeyPath, days: float, spread: float) -> None:
    """Warn if the spread is longer than the time before expiry."""
    if spread > days:
        notes.warn(
            source,
            key,
            f"{spread:g} days are more than renew_expire_days, which is {days:g}",
            f"{days:g} is used; write {days:g} or less",
        )


def global_options(
    table: Globals, renew: RenewInfo, places: Places, notes: Notes, source: Source
) -> GlobalOptions:
    """Return `[globals]`, with what `[renew_info]` overrides."""
    days, spread = table.renew_expire_days, table.renew_expire_days_spread
    key: KeyPath = ("globals", "renew_expire_days_spread")
    if renew.target_90 is not None:
        days = renew.target_90
    if renew.rand_adj_90 is not None:
        spread, key = renew.rand_adj_90, ("renew_info", "rand_adj_90")
    check_spread(notes, source, key, days, spread)
    hook = table.sslm_auth_hook
    if hook.endswith(_FOREIGN_HOOK):
        notes.warn(
            source,
            ("globals", "sslm_auth_hook"),
            f"{hook} belongs to ssl-mgr; the daemon's own hook is used",
            "remove the key",
        )
        hook = ""
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
        auth_hook=places.maybe(hook),
        logdir=places.maybe(table.logdir),
        clean_keep=table.clean_keep,
        timing=timing(days, spread, timedelta(minutes=table.min_roll_mins)),
        dns_check_delay=timedelta(seconds=table.dns_check_delay),
        dns_check_timeout=timedelta(seconds=table.dns_check_timeout),
        dns_extra_servers=tuple(dict.fromkeys(table.dns_xtra_ns)),
        dns_validating_resolver=table.dns_validating_resolver,
        dane_next_key=table.dane_next_key,
        cmd_timeout=timedelta(seconds=table.cmd_timeout),
        post_copy=tuple(PostCopy(one.host, places.argv(one.argv)) for one in table.post_copy_cmd),
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
        acme_dirs=tuple(dict.fromkeys(places.path(text) for text in table.acme_dir if text)),
        tlsa_dirs=tuple(dict.fromkeys(places.path(text) for text in table.tlsa_dirs if text)),
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
    probes = DEFAULT_PROBES[kind] if table.probe is None else tuple(table.probe)
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


def is_own(info: CaInfo) -> bool:
    """Whether a CA is the site's own."""
    return info.kind is not CaKind.ACME


def own_names(cas: Mapping[str, CaInfo]) -> list[str]:
    """Return the names of the site's own CAs."""
    return [name for name, info in cas.items() if is_own(info)]
