"""The tables of `ssl-mgr.conf` for name servers: `[[dns_primary]]` and `[dns]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import PlainValidator

from sslmd.config import addresses, values
from sslmd.config.kinds import Argv, Endpoint, Trigger, TsigKey
from sslmd.config.table import (
    Commands,
    NameServers,
    PathText,
    PathTexts,
    Triggers,
    choice,
    commands,
    folders,
    key,
    table,
    trigger_set,
)
from sslmd.config.tables import IN_GLOBALS
from sslmd.core.names import DomainName, ZoneName


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
        "port",
        "The port of `server`.",
        default=None,
        shown="53",
    )
    nameservers: tuple[Endpoint, ...] = key(
        "list of `ip:port`",
        "The authoritative name servers to watch in place of those in the zone's NS records: "
        "for hidden primaries, split horizon and tests.",
        default=[],
        read=NameServers,
    )
    update: bool = key(
        "true or false",
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
        "name",
        "The name of a key whose file holds the bare secret.",
        default=None,
        shown="none",
    )
    tsig_algorithm: ClassVar[
        Annotated[
            str,
            choice("hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"),
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
    pass_zones: bool = key(
        "true or false",
        "`false` runs `restart_cmd` just as it is written, once for all zones that wait.",
        default=True,
    )
