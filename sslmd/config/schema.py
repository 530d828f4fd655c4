"""What `ssl-mgr.conf` may hold, and what it means.

The reference manual is made of these descriptions, so they speak to the admin. A `Table`
checks one table by itself; what needs two tables or two files is left to `load`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import (
    BeforeValidator,
    PlainValidator,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from sslmd.config import values
from sslmd.config.model import Endpoint, NextKey, PostCopy, Probe, ServerKind, ServiceMatch
from sslmd.config.table import (
    NESTED,
    NEXT_KEY,
    NUMBER,
    RENEW_DAYS,
    SINGLE,
    SPREAD_DAYS,
    Commands,
    NameServers,
    NextKeyWord,
    PathText,
    PathTexts,
    Table,
    Text,
    Triggers,
    Windows,
    choice,
    key,
)
from sslmd.core.dh import NAMED_BITS, NAMES, OWN_AGE, OWN_BITS, DhGroup
from sslmd.core.names import DomainName, ZoneName

PUBLIC_RESOLVERS = ("1.1.1.1", "8.8.8.8", "9.9.9.9", "208.67.222.222")


class Globals(Table):
    """`[globals]`."""

    verb: bool = key("true or false", "Write more detail to the log.", default=False)
    sslm_auth_hook: PathText = key(
        "path",
        "The program that certbot's manual mode calls for every challenge.",
        default="",
        shown="the installed one",
    )
    certs_dir: PathText = key(
        "path",
        "The working tree: every set of every certificate, their links and notes. It holds "
        "private keys, the CA's too.",
        default="certs",
        shown="`<top>/certs`",
    )
    prod_cert_dir: PathText = key(
        "path",
        "The production tree: what servers use and what is copied to them, without the CA's keys.",
        default="prod-certs",
        shown="`<top>/prod-certs`",
    )
    logdir: PathText = key(
        "path", "Also write the log to files here.", default="", shown="the journal"
    )
    clean_keep: Annotated[int, NUMBER] = key(
        "number of sets",
        "How many of the newest sets to keep beside those that `curr`, `next` and `prev` point at.",
        default=5,
        ge=1,
        le=100_000,
    )
    min_roll_mins: Annotated[float, NUMBER] = key(
        "minutes",
        "A `next` becomes `curr` no sooner than this after it was issued. With DANE it also waits "
        "for two TTLs from the moment when every name server showed its TLSA records; both waits "
        "run side by side.",
        default=90,
        ge=0,
        le=525_600,
    )
    renew_expire_days: Annotated[float, NUMBER] = key("days", RENEW_DAYS, default=30, ge=0, le=3650)
    renew_expire_days_spread: Annotated[float, NUMBER] = key(
        "days", SPREAD_DAYS, default=0, ge=0, le=3650
    )
    dns_check_delay: float = key(
        "seconds",
        "How long to wait between publishing a challenge and the first go-ahead to the CA, even "
        "if every name server shows it already.",
        default=240,
        ge=0,
        le=86_400,
    )
    dns_check_timeout: float = key(
        "seconds",
        "Give up waiting for the name servers after this long; it is tried again later.",
        default=3600,
        ge=1,
        le=604_800,
    )
    dns_xtra_ns: NameServers = key(
        "list of `host`, `ip`, `ip:port`, `[ip6]:port`",
        "More name servers that must show a challenge before the CA is told to look, beside the "
        "authoritative ones. `[]` asks none.",
        default=[Endpoint(ip) for ip in PUBLIC_RESOLVERS],
        shown=", ".join(PUBLIC_RESOLVERS),
    )
    dns_validating_resolver: Annotated[Endpoint | None, PlainValidator(values.resolver)] = key(
        "`ip` or `ip:port`",
        "A resolver that validates DNSSEC, best on this machine. It is asked before an order of "
        "an ACME CA, whether the zone's DNSSEC holds, and before a roll with DANE, whether it "
        "shows the TLSA records of the new key, and as valid. It is also asked for CAA records "
        "where the name servers of the zone are silent. Without it, orders go by the resolvers of "
        "`/etc/resolv.conf`, and by what they say of DNSSEC if they validate; rolls ask none.",
        default=None,
        shown="none",
    )
    dane_next_key: NextKeyWord = key("`at-renew` or `at-roll`", NEXT_KEY, default=NextKey.AT_RENEW)
    cmd_timeout: float = key(
        "seconds",
        "A `restart_cmd` or `post_copy_cmd` that runs longer is ended, with every process it "
        "started, and counts as failed.",
        default=120,
        ge=1,
        le=86_400,
    )
    post_copy_cmd: Annotated[
        list[Annotated[PostCopy, PlainValidator(values.post_copy)]], NESTED
    ] = key(
        "list of `[host, command]`",
        "Commands to run on this machine after certificates were copied to the host, which the "
        "command gets as its last argument. The host is written as in `servers`, the user that "
        "logs in there left out or not; `localhost` and other names of this machine count as "
        "well. One that fails keeps the host's servers from being restarted, and is tried again "
        "with the copy.",
        default=[],
    )
    keep: Annotated[list[Annotated[str, PlainValidator(values.kept)]], SINGLE] = key(
        "list of paths below `prod_cert_dir`",
        "Files and folders of the production tree, here and on other servers, that hold private "
        "keys or certificates and that sslmd did not put there: they are meant to be there. Others "
        "are reported until they are gone. A folder stands for all that is in it. Nothing that is "
        "named here is ever removed, not by `prune` either. Where `prod_cert_dir` was another "
        "folder before, the same paths count below that.",
        default=[],
    )
    preferred_acme_profile: Text = key(
        "text",
        "The default of `ca_preferred_acme_profile` in `ca-info.conf`.",
        default="",
        shown="none",
    )


class Group(Table):
    """One `[[groups]]`."""

    domain: Text = key(
        "domain or `ca`", "The group: an apex domain, or `ca` for the site's own CA."
    )
    services: Annotated[list[str], SINGLE] = key(
        "list of service names, or `'ALL'`",
        "The certificates of the group that are looked after; each has a file in the group's "
        "folder. `ALL` or `*` means every service file there.",
        default=[],
    )
    active: bool = key(
        "true or false",
        "Only a group with `true` is looked after; any other is left alone, as in ssl-mgr: nothing "
        "of it is renewed, copied or removed.",
        default=False,
    )


def _any_zone(value: Any) -> ZoneName | None:
    if isinstance(value, str) and value.lower() in ("default", "*"):
        return None
    return values.named(ZoneName.parse, "write a domain, 'default' or '*'")(value)


_key_name = values.named(DomainName.parse, "write the name in the key statement")


class Primary(Table):
    """One `[[dns_primary]]`."""

    domain: Annotated[ZoneName | None, PlainValidator(_any_zone)] = key(
        "apex domain, `default` or `*`",
        "The zone. `default` (or `*`) stands for every zone without a table of its own.",
    )
    server: Annotated[Endpoint, PlainValidator(values.endpoint)] = key(
        "host or IP address", "The zone's primary name server, or the way to it from here."
    )
    port: Annotated[int | None, PlainValidator(values.port_of)] = key(
        "port", "The port of `server`.", default=None, shown="53"
    )
    nameservers: NameServers = key(
        "list of `ip:port`",
        "The authoritative name servers to watch in place of those in the zone's NS records: "
        "for hidden primaries, split horizon and tests.",
        default=[],
    )
    update: bool = key(
        "true or false",
        "Send records by dynamic update (RFC 2136) to `server`, in place of include files.",
        default=False,
    )
    tsig_key_file: PathText = key(
        "path",
        "The key that signs updates: a `key` statement as `tsig-keygen` writes it, or the bare "
        "secret, with the next two keys beside it.",
        default="",
        shown="none: unsigned",
    )
    tsig_name: Annotated[DomainName | None, PlainValidator(_key_name)] = key(
        "name",
        "The name of a key whose file holds the bare secret.",
        default=None,
        shown="none",
    )
    tsig_algorithm: Annotated[
        str,
        choice("hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"),
    ] = key("name", "The algorithm of that key.", default="", shown="`hmac-sha256`")


class RenewInfo(Table):
    """`[renew_info]` of ssl-mgr 7, whose keys have a number in their names: see `renew`."""

    target_N: float | None = key(  # noqa: N815
        "days, 0 to 3650",
        "Renew certificates that live N days (any number, such as `target_90`) this many days "
        "before they expire. Lives without a key have ssl-mgr's: 0.25 (0), 0.5 (1), 1 (2), 2 (5), "
        "5 (10), 10 (45), 20 (60), 30 (90), 45 (120), 60 (300).",
        default=None,
        shown="as ssl-mgr 7.7",
    )
    rand_adj_N: float | None = key(  # noqa: N815
        "days, 0 to 3650",
        "Move the day of renewal of certificates that live N days by up to this many days, either "
        "way, drawn once per certificate.",
        default=None,
        shown="5 for 120 days, else 0",
    )


class Dns(Table):
    """`[dns]`."""

    restart_cmd: Commands = key(
        "command, or list of commands",
        "Makes the name server on this machine take the changed include files; it also has to "
        "raise the zone's serial, and to sign. It runs once for all zones that wait: "
        "`--serial_bump` and these zones are appended; if the command has `{zones}`, the zones "
        "take its place instead. With `{zone}` it runs for each zone (docs/dns-tools.md).",
        default=[],
        shown="none",
    )
    acme_dir: PathTexts = key(
        "path, or list of paths",
        "Folder for the include files `acme-challenge.<zone>`; of several, every one gets the "
        "same.",
        default=[],
        shown="none",
    )
    tlsa_dirs: PathTexts = key(
        "list of paths",
        "Folders for the include files `tlsa.<zone>`; every one gets the same. Not needed for "
        "zones with `update = true`. Without either, TLSA records are yours to publish: `sslmctl "
        "dane` lists them.",
        default=[],
    )
    depends: Triggers = key(
        "list of `dns`, `tlsa`, `cert`",
        "`cert`: `restart_cmd` is run when a certificate was rolled, too. `dns` and `tlsa` say "
        "nothing new: it is run for changes of its own records in any case.",
        default=[],
    )
    pass_zones: bool = key(
        "true or false",
        "`false` runs `restart_cmd` just as it is written, once for all zones that wait.",
        default=True,
    )
    also_known: ClassVar[frozenset[str]] = frozenset({"skip_prod_copy"})


class Dh(Table):
    """`[dh]`."""

    groups: Annotated[list[Text], SINGLE] = key(
        "list of groups, or `'ALL'`",
        "The groups of `[[groups]]` that get a folder `dh` in the production tree. `ALL` or `*` "
        "means every active group but `ca`.",
    )
    params: Annotated[
        list[Annotated[DhGroup, PlainValidator(values.dh_group)]], BeforeValidator(values.dh_groups)
    ] = key(
        "list of names and bits",
        f"`{NAMES[-1]}` to `{NAMES[0]}` are the groups of RFC 7919, always the same: written to "
        f"`dh-{NAMES[0]}.pem` where that is missing. For a number from {OWN_BITS.start} to "
        f"{OWN_BITS.stop - 1} a group of so many bits is generated by `openssl` (`dh4096.pem`): "
        "that takes minutes, for the largest hours. The link `dhparam.pem` leads to the first.",
        default=[DhGroup(NAMED_BITS[0])],
    )
    max_age: float = key(
        "days",
        "Generated groups older than that are generated again.",
        default=OWN_AGE.days,
        ge=1,
        le=3650,
    )


def _probes(value: Any, ports: ValidatorFunctionWrapHandler) -> Any:
    """`true` stands for the default probes; `false` and `'none'` become an `Unprobed`."""
    if value is True:
        return None
    return values.unprobed(value) or ports(value)


class Servers(Table):
    """`[smtp]`, `[imap]`, `[other]`, and `[web]` but for its own keys."""

    servers: Annotated[list[Annotated[str, PlainValidator(values.server)]], SINGLE] = key(
        "list of hosts",
        "The servers of this class, `user@host` if ssh should use another user. They are reached "
        "by `ssh` and `rsync` with the configuration of the daemon's user, without anybody there "
        "to type a password, and have the production tree at the same path as this machine. "
        "`localhost`, this machine's own names and its addresses are served without ssh.",
        default=[],
    )
    restart_cmd: Commands = key(
        "command, or list of commands",
        "Run on every server, in this order, when its certificates changed. There is no shell: "
        "words are split and quotes are taken as a shell would, nothing more, and an operator of a "
        "shell (`&&`, `;`, `|`, `>`, `$(`) outside of quotes is a mistake. A program named by a "
        "relative path starts at the top directory.",
        default=[],
        shown="none",
    )
    svc_depends: Annotated[
        list[Annotated[ServiceMatch, PlainValidator(values.service_match)]], NESTED
    ] = key(
        "list of `[group, [services]]`",
        "The certificates that this class uses: only these, keys included, go to its servers, "
        "and a change of any of them restarts it. The group `any` (`all`, `*`) stands for "
        "every group, the service `ALL` (`*`) for every service. A CA's key never goes anywhere.",
        default=[],
        shown="none; `[other]`: every certificate",
    )
    depends: Triggers = key(
        "list of `dns`, `tlsa`, `cert`",
        "What else restarts the class: with `cert` a change of any certificate; with `tlsa` or "
        "`dns`, which mean the same, changed TLSA records of a zone that has a certificate of the "
        "class (challenges restart nothing). A mail server does not need it.",
        default=[],
    )
    skip_prod_copy: bool = key(
        "true or false",
        "Copy nothing: the servers see the production tree by other means, such as NFS.",
        default=False,
    )
    probe: Annotated[
        list[Annotated[Probe, PlainValidator(values.probe)]] | None, WrapValidator(_probes)
    ] = key(
        "list of `[port, word, name]`, `false` or `'none'`",
        "Ports to connect to after a restart, to prove that the new certificate is served. The "
        "word is `tls`, or with STARTTLS `smtp`, `imap`, `pop3`; the name is sent as SNI; both "
        "may be left out. A default port counts from the moment it first served one of our "
        "certificates. A probe with a name is for the certificates that have it; one without asks "
        "for the first name of each. `localhost` stands for 127.0.0.1 and ::1. With `false` "
        "nothing is looked at: the servers stay `restarted`, and `sslmctl check` warns after a "
        "day. `'none'` says that no port shows these certificates by TLS: `check` counts them, "
        "and does not warn.",
        default=None,
        shown="smtp: 25 `smtp`; imap: 993 `tls`; web: 443 `tls`; other: none",
    )
    probe_timeout: float = key(
        "seconds",
        "How long after a restart the new certificates have to show, all of the class together.",
        default=60,
        ge=1,
        le=3600,
    )
    prune: bool = key(
        "true or false",
        "Remove from the servers every certificate that they are not meant to have, whoever put it "
        "there: ssl-mgr copied its whole tree, the keys of the CA too. Where classes share a host, "
        "all of them must say so. What sslmd itself has put there goes in any case when it is not "
        "granted any more, and files that are no certificates' never do.",
        default=False,
    )
    key_owner: Annotated[str, PlainValidator(values.owner)] = key(
        "user name or number",
        "Owner of private keys on the servers: a name is looked up there.",
        default="",
        shown="who logs in",
    )
    key_group: Annotated[str, PlainValidator(values.owner)] = key(
        "group name or number",
        "Group of private keys on the servers: a name is looked up there. Where owner, group or "
        "mode let others in, the folders on the way to the key let them pass too (`o+x`).",
        default="",
        shown="that of who logs in",
    )
    key_mode: Annotated[int | None, PlainValidator(values.key_mode)] = key(
        "`'0640'` or `0o640`",
        "Mode of private keys on the servers: never more than `0640`.",
        default=None,
        shown="`0600`",
    )
    roll_window: Windows = key(
        "list of windows",
        "Times when certificates that this class uses may be rolled, as `'Sat 02:00-05:00 "
        "Europe/Berlin'`: days (`Mon-Fri,Sun`; none: every day), hours, time zone (none: UTC). "
        "Any one of the list is enough, but all classes that use a certificate, and its own "
        "`roll_window`, have to be open at the same time. An expired certificate does not wait, "
        "nor one that would expire first. Windows that are never open together, or so seldom that "
        "a certificate could expire, are a mistake.",
        default=[],
        shown="at any time",
    )
    restart_window: Windows = key(
        "list of windows",
        "Times when servers of this class may be restarted, written like `roll_window`. The "
        "`restart_window` of the certificate has to be open at the same time.",
        default=[],
        shown="at any time",
    )


class Web(Servers):
    """`[web]`: the keys of the other classes, and these."""

    server_dir: PathText = key(
        "path",
        "The folder under which the web servers keep a folder per site; http-01 "
        "challenges are put there.",
        default="",
        shown="none",
    )
    http_check: bool = key(
        "true or false",
        "Fetch an http-01 challenge ourselves before the CA is told to look.",
        default=True,
    )


_OPTION = (
    "it is an option of ssl-mgr's command line; it has no effect in this file, there or here",
    "remove it",
)
_OWN = ("ssl-mgr sets it by itself; it has no effect here", "remove it")
_TOP = (
    "it has no effect here: the top directory is the one that holds conf.d",
    "remove it, and start sslmd with --conf-dir if the files are elsewhere",
)
Globals.without_effect = {
    **dict.fromkeys(
        (
            "debug",
            "test",
            "force",
            "force_server_restarts",
            "reuse",
            "reuse_keys",
            "dry_run",
            "status",
            "renew",
            "renew_cert",
            "renew_cert_now",
            "refresh_cert",
            "roll",
            "new_keys",
            "new_csr",
            "new_cert",
            "cert",
            "copy_csr",
            "next_to_curr",
            "certs_to_prod",
            "clean_all",
            "dns_refresh",
        ),
        _OPTION,
    ),
    **dict.fromkeys(
        ("okay", "root_privs", "grps_svcs", "conf_grps_svcs", "ca_infos", "called_from_certbot"),
        _OWN,
    ),
    **dict.fromkeys(("top_dir", "conf_dir"), _TOP),
}
Dns.without_effect = {
    "svc_depends": (
        "it has no effect: [dns] is run for changed records",
        "remove it, or write depends = ['cert'] to run it at every roll as well",
    )
}
Servers.without_effect = {
    "server_dir": ("it has no effect: only [web] shows challenges", "remove it, or move it there")
}
Web.without_effect = {}

CLASSES: dict[ServerKind, type[Servers]] = {
    ServerKind.SMTP: Servers,
    ServerKind.IMAP: Servers,
    ServerKind.WEB: Web,
    ServerKind.OTHER: Servers,
}

IN_GLOBALS = dict.fromkeys(Globals.model_fields, "in [globals]")
for _table in (Group, Primary, Dns, Dh, Servers, Web):
    _table.homes = IN_GLOBALS
