"""The tables of `ssl-mgr.conf` for servers: `[[dns_primary]]`, `[dns]`, and the server classes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import PlainValidator, ValidatorFunctionWrapHandler, WrapValidator

from sslmd.config import addresses, values
from sslmd.config.kinds import (
    Argv,
    Endpoint,
    Probe,
    ServerKind,
    ServiceMatch,
    Trigger,
    TsigKey,
    Unprobed,
)
from sslmd.config.table import (
    NESTED,
    SINGLE,
    Commands,
    NameServers,
    PathText,
    PathTexts,
    Triggers,
    commands,
    each_once,
    flag,
    folders,
    key,
    path_key,
    table,
    time_key,
    trigger_set,
    windows_key,
    words,
)
from sslmd.config.tables import IN_GLOBALS
from sslmd.core.host.needs import KEY_MODE, KeyAccess
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.starttls import ProbeWord
from sslmd.core.windows import Group

# Keys that only `[web]` has.
WEB_ALONE = ("server_dir", "http_check")

# The ports that show a class's certificates where its table names none. One counts from the moment
# it first served a certificate of ours.
DEFAULT_PROBES = {
    ServerKind.SMTP: (Probe(25, ProbeWord.SMTP, optional=True),),
    ServerKind.IMAP: (Probe(993, ProbeWord.TLS, optional=True),),
    ServerKind.WEB: (Probe(443, ProbeWord.TLS, optional=True),),
    ServerKind.OTHER: (),
}


def _probes(value: Any, ports: ValidatorFunctionWrapHandler) -> Any:
    """`true` stands for the default probes; `false` and `'none'` become an `Unprobed`."""
    if value is True:
        return None
    return values.unprobed(value) or ports(value)


@table(
    without_effect={
        "server_dir": (
            "it has no effect: only [web] shows challenges",
            "remove it, or move it there",
        )
    },
    homes=IN_GLOBALS,
)
class ServerClass:
    """One of `[smtp] [imap] [web] [other]`.

    A class is granted the certificates that `svc_depends` matches (I1), see `receives`.
    `restart` holds argv lists, run in order on every server. `probes`: what to look at after a
    restart; `unprobed`: what the file says where there are none. `server_dir` and `http_check`
    serve http-01. `key_mode` None: as it is in the tree.
    """

    kind: ServerKind
    servers: tuple[str, ...] = key(
        "list of hosts",
        "The servers of this class, `user@host` if ssh should use another user. They are reached "
        "by `ssh` and `rsync` with the configuration of the daemon's user, without anybody there "
        "to type a password, and have the production tree at the same path as this machine. "
        "`localhost`, this machine's own names and its addresses are served without ssh.",
        default=[],
        read=Annotated[list[Annotated[str, PlainValidator(addresses.server)]], SINGLE],
        to=each_once,
    )
    restart: tuple[Argv, ...] = key(
        "command, or list of commands",
        "Run on every server, in this order, when its certificates changed. There is no shell: "
        "words are split and quotes are taken as a shell would, nothing more, and an operator of a "
        "shell (`&&`, `;`, `|`, `>`, `$(`) outside of quotes is a mistake. A program named by a "
        "relative path starts at the top directory.",
        default=[],
        shown="none",
        name="restart_cmd",
        read=Commands,
        to=commands,
    )
    svc_depends: tuple[ServiceMatch, ...] = key(
        "list of `[group, [services]]`",
        "The certificates that this class uses: only these, keys included, go to its servers, "
        "and a change of any of them restarts it. The group `any` (`all`, `*`) stands for "
        "every group, the service `ALL` (`*`) for every service. A CA's key never goes anywhere.",
        default=[],
        shown="none; `[other]`: every certificate",
        read=Annotated[list[Annotated[ServiceMatch, PlainValidator(values.service_match)]], NESTED],
    )
    depends: frozenset[Trigger] = key(
        "list of `dns`, `tlsa`, `cert`",
        "What else restarts the class: with `cert` a change of any certificate; with `tlsa` or "
        "`dns`, which mean the same, changed TLSA records of a zone that has a certificate of the "
        "class (challenges restart nothing). A mail server does not need it.",
        default=[],
        read=Triggers,
        to=trigger_set,
    )
    server_dir: Path | None = path_key(
        "The folder under which the web servers keep a folder per site; http-01 "
        "challenges are put there.",
        shown="none",
    )
    http_check: bool = flag(
        "Fetch an http-01 challenge ourselves before the CA is told to look.", default=True
    )
    skip_prod_copy: bool = flag(
        "Copy nothing: the servers see the production tree by other means, such as NFS.",
        default=False,
    )
    probe: ClassVar[
        Annotated[
            list[Annotated[Probe, PlainValidator(values.probe)]] | None, WrapValidator(_probes)
        ]
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
    probes: tuple[Probe, ...] = ()
    probe_timeout: timedelta = time_key(
        "seconds",
        "How long after a restart the new certificates have to show, all of the class together.",
        default=60,
        ge=1,
        le=3600,
    )
    unprobed: Unprobed | None = None
    prune: bool = flag(
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
    roll_window: Group = windows_key(
        "Times when certificates that this class uses may be rolled, as `'Sat 02:00-05:00 "
        "Europe/Berlin'`: days (`Mon-Fri,Sun`; none: every day), hours, time zone (none: UTC). "
        "Any one of the list is enough, but all classes that use a certificate, and its own "
        "`roll_window`, have to be open at the same time. An expired certificate does not wait, "
        "nor one that would expire first. Windows that are never open together, or so seldom that "
        "a certificate could expire, are a mistake."
    )
    restart_window: Group = windows_key(
        "Times when servers of this class may be restarted, written like `roll_window`. The "
        "`restart_window` of the certificate has to be open at the same time."
    )

    def receives(self, cert: CertId) -> bool:
        """Whether the class is granted `cert` and restarts for it."""
        return any(match.matches(cert) for match in self.svc_depends)

    @property
    def access(self) -> KeyAccess:
        """Who may read private keys on its servers."""
        mode = KEY_MODE if self.key_mode is None else self.key_mode
        return KeyAccess(self.key_owner, self.key_group, mode)

    @property
    def ports(self) -> tuple[Probe, ...]:
        """The ports to look at when somebody wants to know what is served.

        Those that are named, else the default ones: also where `probe` says that nothing is proven.
        """
        return self.probes or DEFAULT_PROBES[self.kind]


def _any_zone(value: Any) -> ZoneName | None:
    if isinstance(value, str) and value.lower() in ("default", "*"):
        return None
    return values.named(ZoneName.parse, "write a domain, 'default' or '*'")(value)


_key_name = values.named(DomainName.parse, "write the name in the key statement")


@table(homes=IN_GLOBALS)
class DnsPrimary:
    """One `[[dns_primary]]`. `domain` None is the one for all zones without their own.

    `nameservers`, when not empty, stand in place of the NS lookup. `update`: records go there by
    RFC 2136, signed with `tsig` if there is one.
    """

    domain: Annotated[ZoneName | None, PlainValidator(_any_zone)] = key(
        "apex domain, `default` or `*`",
        "The zone. `default` (or `*`) stands for every zone without a table of its own.",
    )
    server: Annotated[Endpoint, PlainValidator(addresses.endpoint)] = key(
        "host or IP address", "The zone's primary name server, or the way to it from here."
    )
    port: ClassVar[Annotated[int | None, PlainValidator(values.port_of)]] = key(
        "port", "The port of `server`.", default=None, shown="53"
    )
    nameservers: tuple[Endpoint, ...] = key(
        "list of `ip:port`",
        "The authoritative name servers to watch in place of those in the zone's NS records: "
        "for hidden primaries, split horizon and tests.",
        default=[],
        read=NameServers,
    )
    update: bool = flag(
        "Send records by dynamic update (RFC 2136) to `server`, in place of include files.",
        default=False,
    )
    tsig_key_file: ClassVar[PathText] = key(
        "path",
        "The key that signs updates: a `key` statement as `tsig-keygen` writes it, or the bare "
        "secret, with the next two keys beside it.",
        default="",
        shown="none: unsigned",
    )
    tsig_name: ClassVar[Annotated[DomainName | None, PlainValidator(_key_name)]] = key(
        "name", "The name of a key whose file holds the bare secret.", default=None, shown="none"
    )
    tsig_algorithm: ClassVar[
        Annotated[
            str, words(["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"])
        ]
    ] = key("name", "The algorithm of that key.", default="", shown="`hmac-sha256`")
    tsig: TsigKey | None = None


@table(
    also_known={"skip_prod_copy"},
    without_effect={
        "svc_depends": (
            "it has no effect: [dns] is run for changed records",
            "remove it, or write depends = ['cert'] to run it at every roll as well",
        )
    },
    homes=IN_GLOBALS,
)
class DnsOptions:
    """`[dns]`: the include files, and the command that makes the name servers load them."""

    restart: tuple[Argv, ...] = key(
        "command, or list of commands",
        "Makes the name server on this machine take the changed include files; it also has to "
        "raise the zone's serial, and to sign. It runs once for all zones that wait: "
        "`--serial_bump` and these zones are appended; if the command has `{zones}`, the zones "
        "take its place instead. With `{zone}` it runs for each zone (docs/dns-tools.md).",
        default=[],
        shown="none",
        name="restart_cmd",
        read=Commands,
        to=commands,
    )
    acme_dirs: tuple[Path, ...] = key(
        "path, or list of paths",
        "Folder for the include files `acme-challenge.<zone>`; of several, every one gets the "
        "same.",
        default=[],
        shown="none",
        name="acme_dir",
        read=PathTexts,
        to=folders,
    )
    tlsa_dirs: tuple[Path, ...] = key(
        "list of paths",
        "Folders for the include files `tlsa.<zone>`; every one gets the same. Not needed for "
        "zones with `update = true`. Without either, TLSA records are yours to publish: `sslmctl "
        "dane` lists them.",
        default=[],
        read=PathTexts,
        to=folders,
    )
    depends: frozenset[Trigger] = key(
        "list of `dns`, `tlsa`, `cert`",
        "`cert`: `restart_cmd` is run when a certificate was rolled, too. `dns` and `tlsa` say "
        "nothing new: it is run for changes of its own records in any case.",
        default=[],
        read=Triggers,
        to=trigger_set,
    )
    pass_zones: bool = flag(
        "`false` runs `restart_cmd` just as it is written, once for all zones that wait.",
        default=True,
    )
