"""What a daemon of its own user needs: which files of the system say so, and what it may restart.

The user is in no group but its own, that of the socket, and those by which it gives keys to servers
and speaks to the name server here. polkit lets it do to units what the configuration names, and
nothing else: the verbs are those that systemd hands it (systemctl(1); org.freedesktop.systemd1(5)).
"""

from __future__ import annotations

import grp
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sslmd.config.model import Argv, Config
from sslmd.servers import unit as units
from sslmd.store.owners import Gift
from sslmd.wire.messages import SOCKET_GROUP

USER, ROOT = "_sslmd", "root"
HOME = "/var/lib/sslmd"
RUN = "/run/sslmd"

# The last of them: as root a folder of another user may have wanted CAP_DAC_OVERRIDE.
DROP_IN = "/etc/systemd/system/sslmd.service.d/zz-user.conf"
SOCKET = "/etc/systemd/system/sslmd-notify.socket.d/zz-user.conf"
SYSUSERS = "/etc/sysusers.d/sslmd-user.conf"
TMPFILES = "/etc/tmpfiles.d/sslmd.conf"  # in place of the packaged file of this name
POLKIT = "/etc/polkit-1/rules.d/50-sslmd-user.rules"

# Begins what is written, so that it is known again.
MARK = "Written by sslmd init --user"

# systemctl's words, and what systemd asks polkit for.
VERBS = {
    "reload": "reload",
    "restart": "restart",
    "try-restart": "try-restart",
    "reload-or-restart": "reload-or-restart",
    "try-reload-or-restart": "reload-or-try-restart",
    "start": "start",
}
_POLKITD = ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd", "/usr/libexec/polkit-1/polkitd")

# Commands that only root may run, or that need what the unit does not have.
_ROOTS = {
    **dict.fromkeys(
        ("systemd-run", "sudo", "su", "runuser", "doas", "pkexec"),
        "only root may; make a unit of it (Type=oneshot) and write systemctl start UNIT",
    ),
    **dict.fromkeys(
        ("kill", "pkill", "killall"),
        "signals processes of other users; write systemctl reload UNIT",
    ),
    "postfix": "only root may; write systemctl reload postfix",
    "nginx": "only root may; write systemctl reload nginx",
    "apachectl": "only root may; write systemctl reload apache2",
    "apache2ctl": "only root may; write systemctl reload apache2",
    "service": "only root may; write systemctl reload UNIT",
}
_RNDC_KEYS = ("/etc/bind/rndc.key", "/etc/rndc.key")
_NAMED = frozenset({"rndc", "bind-reload"})

# Folders that are other programs' as well, whatever is below: never given whole.
_COMMON = frozenset(
    {
        *("/etc/ssl", "/etc/pki", "/etc/bind", "/etc/letsencrypt", "/usr/local", "/usr/lib"),
        *("/usr/share", "/var/lib", "/var/log", "/var/cache", "/var/www"),
    }
)
_UNIT_SUFFIX = re.compile(r"\.(service|socket|target|timer|path)\Z")
_INCLUDES = re.compile(r"(?:acme-challenge|tlsa)\..*|\.(?:acme-challenge|tlsa)\..*\.new")
_LOGS = re.compile(r"sslmd\.log.*")


@dataclass(slots=True)
class UserNeeds:
    """What a configuration needs of the machine.

    `units`: what is done to each, by systemd's words; `refused`: what would not work, each with the
    way out; `remarks`: what an admin should look at.
    """

    units: dict[str, set[str]] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def needs_of(config: Config, here: frozenset[str], unit_name: Callable[[str], str]) -> UserNeeds:
    """Return what a daemon needs that is not root; `unit_name`: what systemd calls a unit. Blocks.

    `here`: the hosts that are this machine.
    """
    found = UserNeeds()
    for argv, key in units.commands(config, here).items():
        _command(argv, key, found)
    named: dict[str, set[str]] = {}
    for name, verbs in sorted(found.units.items()):
        named.setdefault(unit_name(name), set()).update(verbs)
    found.units = named
    for one in config.server_classes:
        if not here.intersection(one.servers):
            continue
        if one.key_owner not in ("", USER):
            found.refused.append(
                f"key_owner = '{one.key_owner}' of [{one.kind}]: only root may give keys away on "
                "this machine; write key_group and key_mode = '0640' in its place"
            )
        if one.key_group:
            found.groups.add(one.key_group)
        if one.server_dir is not None:
            found.remarks.append(
                f"{USER} has to be able to write to {one.server_dir} (server_dir of [{one.kind}]): "
                f"setfacl -m u:{USER}:rwx {one.server_dir}"
            )
    for tree in _trees(config):
        if len(tree.parts) < 3 or str(tree) in _COMMON:
            found.refused.append(
                f"{tree} is not sslmd's alone, and is not given away; write another certs_dir or "
                "prod_cert_dir, and move what is there"
            )
    told = "; ".join(f"{', '.join(sorted(verbs))} {name}" for name, verbs in found.units.items())
    if found.units and not any(map(os.path.exists, _POLKITD)):
        found.refused.append(
            f"there is no polkit, by which {USER} may do {told}; run: "
            "apt install polkitd (polkit on other systems)"
        )
    hosts = sorted({host for one in config.server_classes for host in one.servers} - here)
    if hosts:
        found.remarks += [
            f"to other machines {USER} logs in with a key of its own:",
            *_ssh(hosts),
        ]
    return found


def _trees(config: Config) -> list[Path]:
    own = config.globals
    return [Path(os.path.realpath(one)) for one in (own.certs_dir, own.prod_cert_dir)]


def _command(argv: Argv, key: str, found: UserNeeds) -> None:
    name, shown = os.path.basename(argv[0]), " ".join(argv)
    if name == "systemctl":
        words = [word for word in argv[1:] if not word.startswith("-")]
        verb = VERBS.get(words[0]) if words else None
        if verb is None or len(words) == 1:
            found.refused.append(
                f"{key}: {shown}: {USER} is let do only {', '.join(VERBS)} to units that are named"
            )
            return
        for word in words[1:]:
            full = word if _UNIT_SUFFIX.search(word) else f"{word}.service"
            found.units.setdefault(full, set()).add(verb)
    elif why := _ROOTS.get(name):
        found.refused.append(f"{key}: {shown}: {why}")
    elif name in _NAMED:
        found.groups |= _named_groups()
    elif name not in ("true", "false", "echo", "logger", "ssh"):
        found.remarks.append(f"{key}: {shown} is run as {USER}: see that it may")


def _named_groups() -> set[str]:
    """Return the group that may read the key of `rndc`, none if that is nobody, or root's."""
    for path in _RNDC_KEYS:
        with suppress(OSError, KeyError):
            info = os.stat(path)
            if info.st_gid and info.st_mode & 0o040:
                return {grp.getgrgid(info.st_gid).gr_name}
    return set()


def _ssh(hosts: list[str]) -> Iterator[str]:
    as_it = f"runuser -u {USER} --"
    yield f"    {as_it} ssh-keygen -t ed25519 -N '' -f {HOME}/.ssh/id_ed25519"
    for host in hosts:
        where = host if "@" in host else f"root@{host}"
        yield f"    {as_it} ssh-copy-id -i {HOME}/.ssh/id_ed25519.pub {where}"
    yield f"    names, ports and keys of {ROOT}'s ~/.ssh/config are not its own: {HOME}/.ssh/config"


# --- what is given to it ----------------------------------------------------------------


def gifts(config: Config) -> list[Gift]:
    """Return what belongs to the daemon's user, whoever that is."""
    own, dns = config.globals, config.dns
    found = [Gift(str(path)) for path in _trees(config)]
    found += [Gift(str(path), _INCLUDES) for path in (*dns.acme_dirs, *dns.tlsa_dirs)]
    if own.logdir is not None:
        found.append(Gift(str(own.logdir), _LOGS))
    keys = [one.tsig.file for one in config.dns_primaries if one.tsig is not None]
    keys += [one.eab_hmac_key_file for one in config.cas.values() if one.eab_hmac_key_file]
    keys += [one.to_file for one in config.notify if one.to_file is not None]
    found += [Gift(str(path)) for path in keys if os.path.isfile(path)]
    found.append(Gift(RUN))
    return list(dict.fromkeys(found))


# --- the files of the system ------------------------------------------------------------


def drop_in(before: str = "", *, closed_homes: bool = True, user: str = USER) -> str:
    """Return the drop-in; `before`: a command that runs before the daemon, with all rights of root.

    `closed_homes`: nothing that the configuration names lies in /root or /home.
    """
    lines = [f"# {MARK}. To go back: sslmd init --user root", "[Service]"]
    if user != ROOT:
        lines += [f"User={user}", f"Group={user}", "CapabilityBoundingSet="]
        lines += ["ProtectHome=yes"] * closed_homes
        lines += ["ProtectProc=invisible", "RemoveIPC=yes"]
    if before:
        lines.append(f"ExecStartPre=+{before}")
    return "\n".join([*lines, ""])


def socket() -> str:
    """Return the drop-in by which messages are taken from it (`wire.sending`)."""
    return f"# {MARK}\n[Socket]\nSocketUser={USER}\n"


def sysusers(groups: Iterable[str]) -> str:
    """Return what makes the user, for systemd-sysusers(8)."""
    members = [f"m {USER} {group}" for group in sorted({SOCKET_GROUP, *groups})]
    made = f'u {USER} - "Certificate daemon" {HOME} /usr/sbin/nologin'
    return "\n".join([f"# {MARK}", made, *members, ""])


def tmpfiles() -> str:
    """Return the folders, in place of those of the package, for systemd-tmpfiles(8)."""
    return f"""\
# {MARK}: as the package has it, for another user.
d {RUN} 0750 {USER} {SOCKET_GROUP}
d /etc/ssl-mgr :0755 :root :root
d /etc/ssl-mgr/conf.d :0755 :root :root
d /etc/ssl-mgr/certs :0750 :{USER} :{USER}
d /etc/ssl-mgr/prod-certs :0750 :{USER} :{USER}
d {HOME} 0700 {USER} {USER}
d {HOME}/.ssh 0700 {USER} {USER}
"""


def polkit(those: Mapping[str, Iterable[str]]) -> str:
    """Return the rule that lets it do just that to just these units."""
    allowed = {name: sorted(verbs) for name, verbs in those.items()}
    return f"""\
// {MARK}: what the commands of its configuration do.
polkit.addRule(function(action, subject) {{
    var allowed = {json.dumps(allowed, indent=4).replace(chr(10), chr(10) + "    ")};
    var unit = action.lookup("unit");
    if (action.id == "org.freedesktop.systemd1.manage-units" && subject.user == "{USER}" &&
        Object.prototype.hasOwnProperty.call(allowed, unit) &&
        allowed[unit].indexOf(action.lookup("verb")) >= 0) {{
        return polkit.Result.YES;
    }}
}});
"""


def closed_homes(config: Config) -> bool:
    """Whether nothing that the daemon uses lies in a folder that ProtectHome=yes hides."""
    paths = [Path(gift.path) for gift in gifts(config)] + [config.conf_dir]
    return not any(path.is_relative_to(home) for path in paths for home in ("/root", "/home"))
