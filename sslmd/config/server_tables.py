"""The server classes of `ssl-mgr.conf`: `[smtp]`, `[imap]`, `[web]`, `[other]`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import PlainValidator, ValidatorFunctionWrapHandler, WrapValidator

from sslmd.config import addresses, values
from sslmd.config.kinds import Argv, Probe, ProbeWord, ServerKind, ServiceMatch, Trigger, Unprobed
from sslmd.config.table import (
    NESTED,
    SINGLE,
    Commands,
    PathText,
    Triggers,
    Windows,
    commands,
    each_once,
    key,
    maybe,
    seconds,
    table,
    trigger_set,
)
from sslmd.config.tables import IN_GLOBALS
from sslmd.core.host.needs import KEY_MODE, KeyAccess
from sslmd.core.names import CertId
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
    server_dir: Path | None = key(
        "path",
        "The folder under which the web servers keep a folder per site; http-01 "
        "challenges are put there.",
        default="",
        shown="none",
        read=PathText,
        to=maybe,
    )
    http_check: bool = key(
        "true or false",
        "Fetch an http-01 challenge ourselves before the CA is told to look.",
        default=True,
    )
    skip_prod_copy: bool = key(
        "true or false",
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
    probe_timeout: timedelta = key(
        "seconds",
        "How long after a restart the new certificates have to show, all of the class together.",
        default=60,
        ge=1,
        le=3600,
        read=float,
        to=seconds,
    )
    unprobed: Unprobed | None = None
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
    roll_window: Group = key(
        "list of windows",
        "Times when certificates that this class uses may be rolled, as `'Sat 02:00-05:00 "
        "Europe/Berlin'`: days (`Mon-Fri,Sun`; none: every day), hours, time zone (none: UTC). "
        "Any one of the list is enough, but all classes that use a certificate, and its own "
        "`roll_window`, have to be open at the same time. An expired certificate does not wait, "
        "nor one that would expire first. Windows that are never open together, or so seldom that "
        "a certificate could expire, are a mistake.",
        default=[],
        shown="at any time",
        read=Windows,
    )
    restart_window: Group = key(
        "list of windows",
        "Times when servers of this class may be restarted, written like `roll_window`. The "
        "`restart_window` of the certificate has to be open at the same time.",
        default=[],
        shown="at any time",
        read=Windows,
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
