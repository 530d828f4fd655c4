"""The tables of `ssl-mgr.conf` but for those of servers: what they may hold, and what it means.

The reference manual is made of these descriptions, so they speak to the admin. Each table is
checked by itself; what needs two tables or two files is left to `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, PlainValidator

from sslmd.config import addresses, notify_address, values
from sslmd.config.kinds import AliveUrl, Argv, Endpoint, NextKey, PostCopy, RenewBy
from sslmd.config.table import (
    NESTED,
    NEXT_KEY,
    NUMBER,
    RENEW_BY,
    RENEW_DAYS,
    SINGLE,
    SPREAD_DAYS,
    NameServers,
    NextKeyWord,
    PathText,
    RenewByWord,
    Table,
    Text,
    argv,
    described,
    each_once,
    flag,
    key,
    one_command,
    path,
    path_key,
    table,
    table_of,
    time_key,
)
from sslmd.core.dh import NAMED_BITS, NAMES, OWN_AGE, OWN_BITS, DhGroup
from sslmd.core.spec import Timing

PUBLIC_RESOLVERS = ("1.1.1.1", "8.8.8.8", "9.9.9.9", "208.67.222.222")


_OPTION = (
    "it is an option of ssl-mgr's command line; it has no effect in this file, there or here",
    "remove it",
)
_OWN = ("ssl-mgr sets it by itself; it has no effect here", "remove it")
_TOP = (
    "it has no effect here: the top directory is the one that holds conf.d",
    "remove it, and start sslmd with --conf-dir if the files are elsewhere",
)
_OPTIONS = """
    debug test force force_server_restarts reuse reuse_keys dry_run status renew renew_cert
    renew_cert_now refresh_cert roll new_keys new_csr new_cert cert copy_csr next_to_curr
    certs_to_prod clean_all dns_refresh
"""
_SET = "okay root_privs grps_svcs conf_grps_svcs ca_infos called_from_certbot"
_NO_EFFECT = {
    **dict.fromkeys(_OPTIONS.split(), _OPTION),
    **dict.fromkeys(_SET.split(), _OWN),
    **dict.fromkeys(("top_dir", "conf_dir"), _TOP),
}


@table(without_effect=_NO_EFFECT)
class GlobalOptions:
    """`[globals]`. `timing`: what several keys, and `[renew_info]`, say of renewals and rolls."""

    certs_dir: Path = key(
        "path",
        "The working tree: every set of every certificate, their links and notes. It holds "
        "private keys, the CA's too.",
        default="certs",
        shown="`<top>/certs`",
        read=PathText,
        to=path,
    )
    prod_cert_dir: Path = key(
        "path",
        "The production tree: what servers use and what is copied to them, without the CA's keys.",
        default="prod-certs",
        shown="`<top>/prod-certs`",
        read=PathText,
        to=path,
    )
    verbose: bool = flag("Write more detail to the log.", default=False, name="verb")
    auth_hook: Path | None = path_key(
        "The program that certbot's manual mode calls for every challenge.",
        shown="the installed one",
        name="sslm_auth_hook",
    )
    logdir: Path | None = path_key("Also write the log to files here.", shown="the journal")
    clean_keep: Annotated[int, NUMBER] = key(
        "number of sets",
        "How many of the newest sets to keep beside those that `curr`, `next` and `prev` point at.",
        default=5,
        ge=1,
        le=100_000,
    )
    min_roll_mins: ClassVar[Annotated[float, NUMBER]] = key(
        "minutes",
        "A `next` becomes `curr` no sooner than this after it was issued. With DANE it also waits "
        "for two TTLs from the moment when every name server showed its TLSA records; both waits "
        "run side by side.",
        default=90,
        ge=0,
        le=525_600,
    )
    renew_expire_days: ClassVar[Annotated[float, NUMBER]] = key(
        "days", RENEW_DAYS, default=30, ge=0, le=3650
    )
    renew_expire_days_spread: ClassVar[Annotated[float, NUMBER]] = key(
        "days", SPREAD_DAYS, default=0, ge=0, le=3650
    )
    renew_by: RenewBy = key("`ca` or `days`", RENEW_BY, default=RenewBy.CA, read=RenewByWord)
    dns_check_delay: timedelta = time_key(
        "seconds",
        "How long to wait between publishing a challenge and the first go-ahead to the CA, even "
        "if every name server shows it already.",
        default=240,
        ge=0,
        le=86_400,
    )
    dns_check_timeout: timedelta = time_key(
        "seconds",
        "Give up waiting for the name servers after this long; it is tried again later.",
        default=3600,
        ge=1,
        le=604_800,
    )
    dns_extra_servers: tuple[Endpoint, ...] = key(
        "list of `host`, `ip`, `ip:port`, `[ip6]:port`",
        "More name servers that must show a challenge before the CA is told to look, beside the "
        "authoritative ones. `[]` asks none.",
        default=[Endpoint(ip) for ip in PUBLIC_RESOLVERS],
        shown=", ".join(PUBLIC_RESOLVERS),
        name="dns_xtra_ns",
        read=NameServers,
        to=each_once,
    )
    dns_validating_resolver: Annotated[Endpoint | None, PlainValidator(addresses.resolver)] = key(
        "`ip` or `ip:port`",
        "A resolver that validates DNSSEC, best on this machine. It is asked before an order of "
        "an ACME CA, whether the zone's DNSSEC holds, and before a roll with DANE, whether it "
        "shows the TLSA records of the new key, and as valid. It is also asked for CAA records "
        "where the name servers of the zone are silent. Without it, orders go by the resolvers of "
        "`/etc/resolv.conf`, and by what they say of DNSSEC if they validate; rolls ask none.",
        default=None,
        shown="none",
    )
    dane_next_key: NextKey = key(
        "`at-renew` or `at-roll`", NEXT_KEY, default=NextKey.AT_RENEW, read=NextKeyWord
    )
    cmd_timeout: timedelta = time_key(
        "seconds",
        "A `restart_cmd` or `post_copy_cmd` that runs longer is ended, with every process it "
        "started, and counts as failed.",
        default=120,
        ge=1,
        le=86_400,
    )
    post_copy: tuple[PostCopy, ...] = key(
        "list of `[host, command]`",
        "Commands to run on this machine after certificates were copied to the host, which the "
        "command gets as its last argument. The host is written as in `servers`, the user that "
        "logs in there left out or not; `localhost` and other names of this machine count as "
        "well. One that fails keeps the host's servers from being restarted, and is tried again "
        "with the copy.",
        default=[],
        name="post_copy_cmd",
        read=Annotated[list[Annotated[PostCopy, PlainValidator(addresses.post_copy)]], NESTED],
        to=lambda pairs, top: tuple(PostCopy(one.host, argv(one.argv, top)) for one in pairs),
    )
    keep: tuple[str, ...] = key(
        "list of paths below `prod_cert_dir`",
        "Files and folders of the production tree, here and on other servers, that hold private "
        "keys or certificates and that sslmd did not put there: they are meant to be there. Others "
        "are reported until they are gone. A folder stands for all that is in it. Nothing that is "
        "named here is ever removed, not by `prune` either. Where `prod_cert_dir` was another "
        "folder before, the same paths count below that.",
        default=[],
        read=Annotated[list[Annotated[str, PlainValidator(values.kept)]], SINGLE],
        to=each_once,
    )
    preferred_profile: Text = key(
        "text",
        "The default of `ca_preferred_acme_profile` in `ca-info.conf`.",
        default="",
        shown="none",
        name="preferred_acme_profile",
    )
    alive_url: Annotated[AliveUrl | None, PlainValidator(notify_address.alive_url)] = key(
        "URL",
        "Fetched every hour while the daemon works as it should: the address that a dead man's "
        "switch gives you, such as healthchecks.io or one of your own. It raises the alarm where "
        "nothing comes any more, also when this machine is off.",
        default=None,
        shown="none",
    )
    alive_command: Argv = key(
        "command",
        "The same by a program of yours, which is run every hour.",
        default=[],
        shown="none",
        read=Annotated[Argv, PlainValidator(values.command)],
        to=one_command,
    )
    timing: Timing = Timing(timedelta(0), timedelta(0), timedelta(0))


IN_GLOBALS = dict.fromkeys(table_of(GlobalOptions).model_fields, "in [globals]")


class GroupTable(Table):
    """One `[[groups]]`."""

    domain: Text = described(
        "domain or `ca`", "The group: an apex domain, or `ca` for the site's own CA."
    )
    services: Annotated[list[str], SINGLE] = described(
        "list of service names, or `'ALL'`",
        "The certificates of the group that are looked after; each has a file in the group's "
        "folder. `ALL` or `*` means every service file there.",
        default=[],
    )
    active: bool = described(
        "true or false",
        "Only a group with `true` is looked after; any other is left alone, as in ssl-mgr: nothing "
        "of it is renewed, copied or removed.",
        default=False,
    )
    homes: ClassVar[Mapping[str, str]] = IN_GLOBALS


class RenewInfo(Table):
    """`[renew_info]` of ssl-mgr 7, whose keys have a number in their names: see `renew`."""

    target_N: float | None = described(  # noqa: N815
        "days, 0 to 3650",
        "Renew certificates that live N days (any number, such as `target_90`) this many days "
        "before they expire. Lives without a key have ssl-mgr's: 0.25 (0), 0.5 (1), 1 (2), 2 (5), "
        "5 (10), 10 (45), 20 (60), 30 (90), 45 (120), 60 (300).",
        default=None,
        shown="as ssl-mgr 7.7",
    )
    rand_adj_N: float | None = described(  # noqa: N815
        "days, 0 to 3650",
        "Move the day of renewal of certificates that live N days by up to this many days, either "
        "way, drawn once per certificate.",
        default=None,
        shown="5 for 120 days, else 0",
    )


@table(homes=IN_GLOBALS)
class DhOptions:
    """`[dh]`: Diffie-Hellman groups (`params`) in the production tree of this machine.

    `groups`: those whose folders get them, none where that is not asked for. The link leads to the
    first of `params`. `max_age` is for those that are generated here.
    """

    groups: tuple[str, ...] = key(
        "list of groups, or `'ALL'`",
        "The groups of `[[groups]]` that get a folder `dh` in the production tree. `ALL` or `*` "
        "means every active group but `ca`.",
        read=Annotated[list[Text], SINGLE],
    )
    params: tuple[DhGroup, ...] = key(
        "list of names and bits",
        f"`{NAMES[-1]}` to `{NAMES[0]}` are the groups of RFC 7919, always the same: written to "
        f"`dh-{NAMES[0]}.pem` where that is missing. For a number from {OWN_BITS.start} to "
        f"{OWN_BITS.stop - 1} a group of so many bits is generated by `openssl` (`dh4096.pem`): "
        "that takes minutes, for the largest hours. The link `dhparam.pem` leads to the first.",
        default=[DhGroup(NAMED_BITS[0])],
        read=Annotated[
            list[Annotated[DhGroup, PlainValidator(values.dh_group)]],
            BeforeValidator(values.dh_groups),
        ],
        to=each_once,
    )
    max_age: timedelta = time_key(
        "days",
        "Generated groups older than that are generated again.",
        default=OWN_AGE.days,
        ge=1,
        le=3650,
    )
